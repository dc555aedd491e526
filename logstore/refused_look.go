package logstore

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"muster/raft"
)

// unread takes note of why a run can't be read, and returns what is said of it.
func (s *Store) unread(id Replica, l *located, err error) error {
	var d *Damage
	f := finding{replica: id, kind: kindEntries, run: l.run, at: l.at}
	switch {
	case errors.As(err, &d):
		f.damage = *d
		s.find(f)
		s.refusals.forget(l.at)
	case errors.Is(err, ErrRefused):
		f.damage = l.refusal(id, err)
		if s.refuse(f) {
			return &f.damage
		}
	}
	return err
}

// refusal is what is said of a run that the disk refuses.
func (l *located) refusal(id Replica, err error) Damage {
	d := l.gone(id).(*Damage)
	d.Reason, d.Refused = err.Error(), true
	return *d
}

// refuse takes note that the disk refused a record once more, and reports whether
// it counts as damage by now.
func (s *Store) refuse(f finding) bool {
	f.damage.Refused = !bug("refused read taken for loss")
	if !f.damage.Refused {
		s.find(f)
		return true
	}
	looks := s.refusals.note(f)
	switch looks {
	case 1:
		s.log.Warn("disk refuses a read", "file", f.damage.File, "offset", f.damage.Offset, "record", f.damage.Record, "reason", f.damage.Reason)
	case refusedLooks:
		if f.kind != kindEntries {
			// It is in memory, and written again elsewhere: nobody needs it
			// there any more.
			s.find(f)
			s.refusals.forget(f.at)
			break
		}
		s.log.Error("damage found", "err", &f.damage)
	}
	return looks >= refusedLooks
}

// returned takes note that the disk has returned a record.
func (s *Store) returned(at place) {
	if s.refusals.some.Load() && s.refusals.forget(at) {
		s.log.Info("disk returns what it refused", "segment", at.segment, "offset", at.offset)
	}
}

// LookAgain asks the disk once more for one of the things that it refused, in
// turns, and reports whether there was any. It may run beside Append and Read, but
// not beside Scrub or itself. The owner calls it at its own pace, some time
// apart: what is refused refusedLooks times counts as damage then, and no longer
// once the disk returns it.
func (s *Store) LookAgain() bool {
	r := &s.refusals
	r.mu.Lock()
	turn, records, stretches := r.turn, slices.Clone(r.records), slices.Clone(r.stretches)
	r.turn++
	r.mu.Unlock()
	snapshots := s.refusedSnapshots()
	all := len(records) + len(stretches) + len(snapshots)
	if all == 0 {
		return false
	}
	switch i := turn % all; {
	case i < len(records):
		s.lookAtRecord(records[i].finding)
	case i < len(records)+len(stretches):
		s.lookAtStretch(stretches[i-len(records)])
	default:
		s.lookAtSnapshot(&snapshots[i-len(records)-len(stretches)])
	}
	return true
}

func (s *Store) lookAtRecord(f finding) {
	needed := s.index.neededWithin(f.at.segment, int64(f.at.offset), int64(f.at.offset)+1)
	if !slices.ContainsFunc(needed, func(o finding) bool { return o.at == f.at && o.kind == f.kind && o.replica == f.replica }) {
		s.refusals.forget(f.at) // it was moved, mended, or is needed no more
		return
	}
	seg := s.index.segmentNow(f.at.segment)
	if seg == nil || seg.file == nil {
		return
	}
	switch err := s.checkRecord(seg, &f); {
	case err == nil:
		s.returned(f.at)
	case errors.Is(err, ErrRefused):
		s.refuse(f)
	case s.index.segmentNow(f.at.segment) != seg: // it was freed meanwhile
	default:
		s.find(f)
		s.refusals.forget(f.at)
	}
}

// checkRecord reads a record that is needed, and fills in what is wrong with it.
func (s *Store) checkRecord(seg *segment, f *finding) error {
	b := make([]byte, f.at.size)
	_, err := readAt(seg.file, b, int64(f.at.offset))
	if err == nil || err == io.EOF {
		_, _, err = readRecord(b, seg.at(int64(f.at.offset)))
	}
	if err != nil {
		f.damage = Damage{File: seg.name, Offset: int64(f.at.offset), Record: fmt.Sprintf("%s of %s", f.kind, f.replica), Reason: err.Error()}
	}
	return err
}

// lookAtStretch reads again what was refused when the log was opened. What comes
// back of it waits for its owner, who gives it back to the log: see
// [Store.Returned].
func (s *Store) lookAtStretch(t stretch) {
	s.index.mu.Lock()
	seg, waits := s.index.segment(t.segment), false
	for _, p := range s.index.replicas {
		waits = waits || slices.ContainsFunc(p.runs, func(n run) bool { return n.refused })
	}
	s.index.mu.Unlock()
	if !waits || seg == nil {
		s.refusals.over(t)
		return
	}
	if seg.file == nil {
		again, err := openSegment(s.fs, s.dir, t.segment)
		if err != nil || again.file == nil {
			return
		}
		defer again.file.Close()
		seg = again
	}
	if _, err := readAt(seg.file, make([]byte, pageSize), t.from); err != nil && err != io.EOF {
		return
	}
	b, refused, err := seg.read(nil)
	if err != nil {
		return
	}
	s.index.mu.Lock()
	ws := s.index.findLost(seg, b[:seg.limit()])
	s.index.mu.Unlock()
	if len(refused) == 0 {
		s.log.Info("disk returns what it refused", "file", seg.name, "offset", t.from)
		s.refusals.over(t)
	}
	s.refusals.take(ws)
}

// over drops a stretch.
func (r *refusals) over(t stretch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stretches = slices.DeleteFunc(r.stretches, func(o stretch) bool { return o == t })
	r.some.Store(len(r.records)+len(r.stretches) > 0)
}

// take keeps entries that came back, for Returned.
func (r *refusals) take(ws []Write) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.returned == nil {
		r.returned = map[Replica][]raft.Entry{}
	}
	for i := range ws {
		r.returned[ws[i].Replica] = ws[i].Mended
	}
}

// Returned hands out entries of a replica that the disk refused when the log was
// opened, and that it has returned since, not much more than returnedBytesMax at
// a time: for [Write.Mended]. Any goroutine may ask; it costs next to nothing.
func (s *Store) Returned(id Replica) []raft.Entry {
	r := &s.refusals
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.returned[id]
	n, bytes := 0, 0
	for ; n < len(all) && bytes < returnedBytesMax; n++ {
		bytes += len(all[n].Raw)
	}
	if n == len(all) {
		delete(r.returned, id)
	} else {
		r.returned[id] = all[n:]
	}
	return all[:n:n]
}

// unmoved takes note that a piece can't be moved now.
func (s *Store) unmoved(w piece, err error) {
	p := w.replica
	l := located{p.runs[p.find(w.first)], s.index.segment(w.at.segment)}
	s.refuse(finding{replica: p.id, kind: kindEntries, run: l.run, at: l.at, damage: l.refusal(p.id, err)})
}

// awaited reports whether a piece is of entries that the disk refuses. It is not
// asked again here: that can take it seconds, and Append would wait.
func (s *Store) awaited(w piece) bool {
	if w.kind != kindMoved {
		return false
	}
	p := w.replica
	i := p.find(w.first)
	if i == len(p.runs) || p.runs[i].at != w.at {
		return false
	}
	_, refused := s.refusals.hits(p.id, w.at, 1)
	return refused || p.runs[i].refused
}

// moveWaiting has those pieces moved for which nothing is to be waited for now.
func (s *Store) moveWaiting() {
	m := &s.moving
	kept := m.waiting[:0]
	for _, w := range m.waiting {
		if s.awaited(w) {
			kept = append(kept, w)
		} else {
			m.work = append(m.work, w)
		}
	}
	m.waiting = kept
}
