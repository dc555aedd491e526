package logstore

import (
	"errors"
	"io"
	"slices"

	"muster/raft"
)

// LookAgain asks the disk once more for one of the things that it refused, in turn,
// and reports whether there was any. It may run beside Append and Read, but not beside
// Scrub or itself. The owner leaves some time between calls: what is refused
// refusedLooks times counts as damage until the disk returns it.
func (s *Store) LookAgain() bool {
	turn, records, stretches := s.faults.next()
	snapshots := s.snapshots.allRefused()
	all := len(records) + len(stretches) + len(snapshots)
	if all == 0 {
		return false
	}
	switch i := turn % all; {
	case i < len(records):
		s.faults.lookAtRecord(records[i].finding)
	case i < len(records)+len(stretches):
		s.faults.lookAtStretch(stretches[i-len(records)])
	default:
		s.snapshots.lookAt(&snapshots[i-len(records)-len(stretches)])
	}
	return true
}

// Returned hands out entries of a replica, for [Write.Mended], that the disk refused
// when the log was opened and has returned since: not much more than returnedBytesMax
// at a time. Any goroutine may ask; it costs next to nothing.
func (s *Store) Returned(id Replica) []raft.Entry { return s.faults.handOut(id) }

// next returns everything that the disk refuses, and whose turn it is.
func (f *faults) next() (turn int, records []refusal, stretches []stretch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	turn, records, stretches = f.turn, slices.Clone(f.records), slices.Clone(f.stretches)
	f.turn++
	return turn, records, stretches
}

func (f *faults) lookAtRecord(n finding) {
	needed := f.index.neededWithin(n.at.segment, int64(n.at.offset), int64(n.at.offset)+1)
	if !slices.ContainsFunc(needed, func(o finding) bool { return o.same(&n) && o.replica == n.replica }) {
		f.forget(n.at) // it was moved or mended, or is no longer needed
		return
	}
	seg := f.index.segmentNow(n.at.segment)
	if seg == nil || seg.file == nil {
		return
	}
	switch err := checkRecord(seg, &n); {
	case err == nil:
		f.isBack(n.at)
	case errors.Is(err, ErrRefused):
		f.refuse(n)
	case f.index.segmentNow(n.at.segment) != seg: // it was freed meanwhile
	default:
		f.find(n)
		f.forget(n.at)
	}
}

// lookAtStretch reads a stretch again that was refused when the log was opened. Entries
// that come back wait for the owner, which gives them back to the log: see
// [Store.Returned].
func (f *faults) lookAtStretch(t stretch) {
	x := f.index
	x.mu.Lock()
	seg, waits := x.segment(t.segment), false
	for _, p := range x.replicas {
		waits = waits || slices.ContainsFunc(p.runs, func(n run) bool { return n.refused })
	}
	x.mu.Unlock()
	if !waits || seg == nil {
		f.over(t)
		return
	}
	if seg.file == nil {
		again, err := openSegment(f.disk, f.dir, t.segment)
		if err != nil || again.file == nil {
			return
		}
		defer again.file.Close()
		seg = again
	}
	// One page first: if the disk still refuses it, reading the whole segment would take
	// long for nothing.
	if _, err := ReadAt(seg.file, make([]byte, pageSize), t.from); err != nil && err != io.EOF {
		return
	}
	b, refused, err := seg.read(nil)
	if err != nil {
		return
	}
	x.mu.Lock()
	ws := x.findLost(seg, b[:seg.limit()])
	x.mu.Unlock()
	if len(refused) == 0 {
		f.log.Info("disk returns what it refused", "file", seg.name, "offset", t.from)
		f.over(t)
	}
	f.keepBack(ws)
}

// over drops a stretch.
func (f *faults) over(t stretch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stretches = slices.DeleteFunc(f.stretches, func(o stretch) bool { return o == t })
	f.some.Store(len(f.records)+len(f.stretches) > 0)
}

// keepBack keeps entries that came back, for handOut.
func (f *faults) keepBack(ws []Write) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.back == nil {
		f.back = map[Replica][]raft.Entry{}
	}
	for i := range ws {
		f.back[ws[i].Replica] = ws[i].Mended
	}
}

// handOut returns what [Store.Returned] does.
func (f *faults) handOut(id Replica) []raft.Entry {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.back[id]
	n, bytes := 0, 0
	for ; n < len(all) && bytes < returnedBytesMax; n++ {
		bytes += len(all[n].Raw)
	}
	if n == len(all) {
		delete(f.back, id)
	} else {
		f.back[id] = all[n:]
	}
	return all[:n:n]
}
