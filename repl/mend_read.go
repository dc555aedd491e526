package repl

import (
	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// ReadIntact returns those of the wanted entries of a replica that its log can
// read, in order, as many as have not much more than maxBytes. It reads from the
// disk: a [Transport] calls it where nothing waits for it.
func ReadIntact(s *logstore.Store, id logstore.Replica, wanted []wire.RepairSpan, maxBytes int) []raft.Entry {
	var entries []raft.Entry
	for _, w := range wanted {
		for next := w.First; next <= w.Last && maxBytes > 0; {
			got, err := s.Read(id, next, w.Last, maxBytes)
			if err != nil {
				break
			}
			for i := range got {
				maxBytes -= len(got[i].Raw)
			}
			entries = append(entries, got...)
			next += uint64(len(got))
		}
	}
	return entries
}
