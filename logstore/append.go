package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"muster/raft"
)

// Append keeps all of ws: it returns after they are durable, in one write and
// one sync unless they are very large. It takes its time and waits for the
// disk. The entries' bytes are copied.
//
// One that wraps [ErrFull] says that the disk has no room, not even in the
// reserve: nothing of ws is written, and the same may be asked again later. Any
// other error is final: what was durable before stays so, of ws any beginning
// may be, and every later call returns the error, which then wraps
// [ErrStopped]. A disk that did not sync is not asked again, because it may
// have dropped what it could not write and would say that all is well.
func (s *Store) Append(ws []Write) error {
	if err := s.halt.err(); err != nil {
		return err
	}
	if err := s.room.admit(s.needs(ws)); errors.Is(err, ErrFull) {
		s.room.measure()
		return err
	} else if err != nil {
		return s.stop(err)
	}
	s.adopt()
	if err := s.append(ws); err != nil {
		return s.stop(err)
	}
	s.room.measure()
	return nil
}

// stop ends the log. Where room was lacking for what had been admitted, which must
// not be, it says so with ErrStopped: with ErrFull alone the owner would take the
// batch for one that may be asked again.
func (s *Store) stop(err error) error {
	s.halt.because(err)
	if errors.Is(err, ErrFull) {
		return s.halt.err()
	}
	return err
}

func (s *Store) append(ws []Write) error {
	if writes(ws) {
		// What is moved comes first in the batch: it is how the log stands
		// before ws.
		if _, err := s.moveForward(); err != nil {
			return err
		}
	}
	for i := range ws {
		if err := s.put(&ws[i]); err != nil {
			return fmt.Errorf("append to the log of %s: %w", ws[i].Replica, err)
		}
	}
	if len(s.records) == 0 {
		return nil // commits alone wait for company
	}
	if err := s.flush(true, false); err != nil {
		return err
	}
	return s.room.keepPace()
}

// Idle is called when nothing was appended for a while. It writes the durable
// offset, and the commits that had no record to travel with, notes in the witness
// how far the log is, and goes on with the preparation of the next segment. If there is nothing to do it costs
// nothing.
func (s *Store) Idle() error {
	if err := s.halt.err(); err != nil {
		return err
	}
	s.adopt()
	err := s.settle()
	if err == nil {
		err = s.home.reach(s.home.promised)
	}
	if err == nil {
		err = s.room.prepare(idleFillBytes)
	}
	if err == nil {
		err = s.room.fillReserve(idleFillBytes)
	}
	if err == nil {
		err = s.keepHeadroom()
	}
	if err == nil {
		err = s.snapshots.sweep()
	}
	if err != nil {
		return s.stop(err)
	}
	s.room.measure()
	return nil
}

// settle writes what Idle and Close write.
func (s *Store) settle() error {
	if !s.room.admitRest() {
		return nil // the promises of the next batch need the room more
	}
	for _, p := range s.late {
		p.ahead.late = false
		if p.ahead.has && !p.ahead.gone && s.commit(p) > p.ahead.kept {
			if err := s.putState(p); err != nil {
				return err
			}
		}
	}
	s.late = s.late[:0]
	moved, err := s.moveForward()
	if err != nil {
		return err
	}
	if len(s.records) == 0 && !s.promised && !s.index.reclaimable() {
		return nil
	}
	return s.flush(moved, true)
}

// writes says whether there is anything in ws but commits.
func writes(ws []Write) bool {
	for i := range ws {
		if w := &ws[i]; len(w.Entries) > 0 || len(w.Mended) > 0 || w.HasState || w.Base != nil || w.Remove || w.Note != nil {
			return true
		}
	}
	return false
}

// put checks one Write and adds its records to the batch.
func (s *Store) put(w *Write) error {
	if w.Note != nil {
		if w.Replica != (Replica{}) {
			return fmt.Errorf("%w: a note is of no replica", ErrWrite)
		}
		return s.index.peers.put(s, w.Note)
	}
	p := s.index.replicas[w.Replica]
	if p == nil {
		if w.Base == nil && !w.Remove {
			return fmt.Errorf("%w: the first write of a replica has a base", ErrWrite)
		}
		if g := s.index.graves[w.Replica.Group]; g.covers(w.Replica) {
			return fmt.Errorf("%w: it was removed (newest removal: replica %d)", ErrWrite, g.replica.ID)
		}
		p = s.index.add(w.Replica)
	}
	if p.ahead.gone {
		return fmt.Errorf("%w: it was removed", ErrWrite)
	}
	if w.Base != nil {
		if err := s.putBase(p, w.Base); err != nil {
			return err
		}
	}
	// What was committed before this write: it may truncate entries that are
	// not, and commit those that take their place.
	committed := p.ahead.state.Commit
	if err := s.putPromises(p, w); err != nil {
		return err
	}
	if len(w.Mended) > 0 {
		if err := s.putMended(p, w.Mended); err != nil {
			return err
		}
	}
	if len(w.Entries) > 0 {
		if err := s.putEntries(p, committed, w.Entries); err != nil {
			return err
		}
	}
	if w.HasState && s.commit(p) > p.ahead.kept {
		// No record of this write carries the commit, and the caller wants
		// it on disk together with what else is in ws: another replica may
		// exist because of it.
		if err := s.putState(p); err != nil {
			return err
		}
	}
	if w.Remove {
		if _, err := s.begin(p, kindRemove, recordHeaderSize); err != nil {
			return err
		}
		s.end(0)
		p.ahead.gone = true
	}
	return nil
}

// putPromises takes over term, vote and commit. What a replica promised never
// goes back: that is checked here, in production too, because a replica that
// does it may have voted twice.
func (s *Store) putPromises(p *replica, w *Write) error {
	a := &p.ahead
	commit := w.Commit
	if w.HasState {
		n := w.State
		switch {
		case n.Term < a.state.Term:
			return fmt.Errorf("%w: term %d after term %d", ErrWrite, n.Term, a.state.Term)
		case n.Term == a.state.Term && a.state.Vote != 0 && n.Vote != a.state.Vote:
			return fmt.Errorf("%w: vote for replica %d in term %d after one for replica %d", ErrWrite, n.Vote, n.Term, a.state.Vote)
		}
		commit = max(commit, n.Commit)
		if n.Term != a.state.Term || n.Vote != a.state.Vote {
			a.state.Term, a.state.Vote = n.Term, n.Vote
			if err := s.putState(p); err != nil {
				return err
			}
		}
	}
	if commit > a.state.Commit {
		a.state.Commit = commit
		if !a.late {
			a.late = true
			s.late = append(s.late, p)
		}
	}
	return nil
}

func (s *Store) putState(p *replica) error {
	b, err := s.begin(p, kindState, recordHeaderSize+stateSize)
	if err != nil {
		return err
	}
	r := &s.records[len(s.records)-1]
	r.state = p.ahead.state
	binary.LittleEndian.PutUint64(b[recordHeaderSize:], r.state.Term)
	binary.LittleEndian.PutUint64(b[recordHeaderSize+8:], uint64(r.state.Vote))
	s.end(0)
	return nil
}

func (s *Store) putBase(p *replica, base *Base) error {
	a := &p.ahead
	if a.has && base.ID.Index < a.base.Index {
		return fmt.Errorf("%w: base %s after base %s", ErrWrite, base.ID, a.base)
	}
	if a.queued > 0 {
		// What the log holds is looked up below, so it must be on disk.
		if err := s.flush(true, false); err != nil {
			return err
		}
	}
	end := base.ID.Index
	term, holds := p.term(base.ID.Index)
	switch {
	case holds && term == base.ID.Term:
		end = p.last().Index
	case holds && base.ID.Index <= max(a.state.Commit, a.base.Index):
		return fmt.Errorf("%w: base %s, where the log has term %d and is committed", ErrWrite, base.ID, term)
	default:
		a.last = base.ID
	}
	a.base, a.has = base.ID, true
	a.state.Commit = max(a.state.Commit, base.ID.Index)
	own := *base
	return s.putBaseRecord(p, &own, end)
}

func (s *Store) putBaseRecord(p *replica, base *Base, end uint64) error {
	members := base.Membership.Append(nil)
	b, err := s.begin(p, kindBase, recordHeaderSize+baseSize+len(members))
	if err != nil {
		return err
	}
	r := &s.records[len(s.records)-1]
	r.base, r.end = base, end
	body := b[recordHeaderSize:]
	binary.LittleEndian.PutUint64(body[0:], base.ID.Term)
	binary.LittleEndian.PutUint64(body[8:], base.ID.Index)
	binary.LittleEndian.PutUint64(body[16:], uint64(base.Time))
	binary.LittleEndian.PutUint64(body[24:], end)
	copy(body[baseSize:], members)
	s.end(0)
	return nil
}

// putEntries packs entries into records: one for each term, and at most runMax
// bytes in each that has several.
func (s *Store) putEntries(p *replica, committed uint64, entries []raft.Entry) error {
	a := &p.ahead
	first := entries[0].ID.Index
	switch {
	case first > a.last.Index+1:
		return fmt.Errorf("%w: entry %s after %s leaves a gap", ErrWrite, entries[0].ID, a.last)
	case first <= a.base.Index:
		return fmt.Errorf("%w: entry %s, the log begins after %s", ErrWrite, entries[0].ID, a.base)
	case first <= committed && first <= a.last.Index:
		return fmt.Errorf("%w: entry %s would truncate what is committed up to %d", ErrWrite, entries[0].ID, committed)
	}
	for i := 0; i < len(entries); {
		size, n := recordHeaderSize, 0
		for ; i+n < len(entries) && entries[i+n].ID.Term == entries[i].ID.Term; n++ {
			more := len(entries[i+n].Raw)
			if n > 0 && size+more > runMax(s.size) {
				break
			}
			size += more
		}
		if err := s.putRun(p, entries[i:i+n], size); err != nil {
			return err
		}
		i += n
	}
	return nil
}

func (s *Store) putRun(p *replica, entries []raft.Entry, size int) error {
	a := &p.ahead
	b, err := s.begin(p, kindEntries, size)
	if err != nil {
		return err
	}
	r := &s.records[len(s.records)-1]
	r.first, r.term, r.count = entries[0].ID.Index, entries[0].ID.Term, uint32(len(entries))
	at := recordHeaderSize
	for i := range entries {
		e := &entries[i]
		// The check before the write is the last that can still tell broken
		// memory or a broken owner from a broken disk.
		got, err := raft.ReadEntry(p.seed, e.Raw)
		switch {
		case err != nil:
			return fmt.Errorf("%w: entry %s: %w", ErrWrite, e.ID, err)
		case got.ID != e.ID || len(got.Raw) != len(e.Raw):
			return fmt.Errorf("%w: entry %s holds %s", ErrWrite, e.ID, got.ID)
		case e.ID.Index != r.first+uint64(i):
			return fmt.Errorf("%w: entry %s does not follow %d", ErrWrite, e.ID, r.first+uint64(i)-1)
		case e.ID.Term > a.state.Term:
			return fmt.Errorf("%w: entry %s in term %d", ErrWrite, e.ID, a.state.Term)
		case i == 0 && a.last.Index == e.ID.Index-1 && e.ID.Term < a.last.Term:
			return fmt.Errorf("%w: entry %s after %s", ErrWrite, e.ID, a.last)
		}
		r.changes = r.changes || got.Kind == raft.EntryMembership
		at += copy(b[at:], e.Raw)
	}
	s.figures.count(func(c *Stats) { c.Entries += uint64(size - recordHeaderSize) })
	a.last = entries[len(entries)-1].ID
	s.end(r.count)
	return nil
}

// begin makes room for a record at the end of the batch, of which it starts a
// new one if this one would become too large.
func (s *Store) begin(p *replica, kind recordKind, size int) ([]byte, error) {
	if len(s.records) > 0 && len(s.buf)+size > int(s.size/batchPart) {
		if err := s.flush(true, false); err != nil {
			return nil, err
		}
	}
	if len(s.buf) == 0 {
		s.buf = extend(s.buf, batchHeaderSize)
	}
	at := len(s.buf)
	s.buf = extend(s.buf, size)
	s.records = append(s.records, record{kind: kind, replica: p, at: at, size: size})
	p.ahead.queued++
	return s.buf[at:], nil
}

// end closes the record that begin began.
func (s *Store) end(count uint32) {
	r := &s.records[len(s.records)-1]
	p := r.replica
	r.commit = s.commit(p)
	p.ahead.kept = max(p.ahead.kept, r.commit)
	putRecordHeader(s.buf[r.at:r.at+r.size], r.kind, p.id, count, r.commit)
}

// commit is the largest commit that a record of p may carry now.
func (s *Store) commit(p *replica) uint64 { return min(p.ahead.state.Commit, p.ahead.last.Index) }
