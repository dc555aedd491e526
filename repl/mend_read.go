package repl

import (
	"errors"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// intactTries bounds how often a read that meets damage, or is refused, is repeated
// around it: each time the log knows the damage afterwards.
const intactTries = 16

// ReadIntact returns the wanted entries of a replica that its log can
// read, in order, up to about maxBytes. It reads from the
// disk: a [Transport] calls it where nothing waits for it.
func ReadIntact(s *logstore.Store, id logstore.Replica, wanted []wire.RepairSpan, maxBytes int) []raft.Entry {
	var entries []raft.Entry
	tries := intactTries
	for _, w := range wanted {
		for next := w.First; next <= w.Last && maxBytes > 0; {
			from, to, ok := nextIntact(s, id, next, w.Last)
			if !ok {
				break
			}
			got, err := s.Read(id, from, to, maxBytes)
			if (errors.Is(err, logstore.ErrDamaged) || errors.Is(err, logstore.ErrRefused)) && tries > 0 {
				tries--
				continue // nextIntact now skips what was found damaged, or refused too often
			}
			if err != nil {
				break // compacted, or truncated, since the question
			}
			for i := range got {
				maxBytes -= len(got[i].Raw)
			}
			entries = append(entries, got...)
			next = from + uint64(len(got))
		}
	}
	return entries
}

// nextIntact returns the first run of indexes from next to last that are not known
// to be lost.
func nextIntact(s *logstore.Store, id logstore.Replica, next, last uint64) (from, to uint64, ok bool) {
	d, _ := s.DamageOf(id)
	for _, l := range d.Lost {
		switch {
		case l.Last < next:
		case l.First > next:
			return next, min(last, l.First-1), true
		default:
			next = l.Last + 1
		}
	}
	return next, last, next <= last
}
