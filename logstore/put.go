package logstore

import (
	"encoding/binary"
	"fmt"

	"muster/raft"
)

// putAll adds the records of all that a turn of the owner writes, for any replicas,
// in the order given. They are one run of the batch: moved records come before it, and
// the directory after it.
func (wr *writer) putAll(ws []Write) error {
	for i := range ws {
		if err := wr.put(&ws[i]); err != nil {
			return fmt.Errorf("append to the log of %s: %w", ws[i].Replica, err)
		}
	}
	return nil
}

// put checks one Write and adds its records to the batch.
func (wr *writer) put(w *Write) error {
	if w.Note != nil {
		if w.Replica != (Replica{}) {
			return fmt.Errorf("%w: a note belongs to no replica", ErrWrite)
		}
		return wr.putNote(w.Note)
	}
	p := wr.index.replicas[w.Replica]
	if p == nil {
		// Without a base, a start could not tell a log that begins here from one that
		// has lost its beginning.
		if w.Base == nil && !w.Remove {
			return fmt.Errorf("%w: the first write of a replica has a base", ErrWrite)
		}
		// A removed replica that came back would have forgotten what it promised.
		if g := wr.index.graves[w.Replica.Group]; g.covers(w.Replica) {
			return fmt.Errorf("%w: it was removed (newest removal: replica %d)", ErrWrite, g.replica.ID)
		}
		p = wr.index.add(w.Replica)
	}
	if p.ahead.gone {
		return fmt.Errorf("%w: it was removed", ErrWrite)
	}
	if w.Base != nil {
		if err := wr.putBase(p, w.Base); err != nil {
			return err
		}
	}
	// The commit before this write decides what it may truncate: it may replace
	// uncommitted entries and commit those that take their place.
	committed := p.ahead.state.Commit
	if err := wr.putPromises(p, w); err != nil {
		return err
	}
	if len(w.Mended) > 0 {
		if err := wr.putMended(p, w.Mended); err != nil {
			return err
		}
	}
	if len(w.Entries) > 0 {
		if err := wr.putEntries(p, committed, w.Entries); err != nil {
			return err
		}
	}
	if w.HasState && wr.commit(p) > p.ahead.kept {
		// No record of this write carries the commit, and the caller needs it on
		// disk together with the rest of ws: another replica may exist because of it.
		if err := wr.putState(p); err != nil {
			return err
		}
	}
	if w.Remove {
		if _, err := wr.begin(p, kindRemove, recordHeaderSize); err != nil {
			return err
		}
		wr.end(0)
		p.ahead.gone = true
	}
	return nil
}

// putPromises takes over term, vote and commit. A promise is never taken back. That is
// checked here, in production too, because a replica that takes one back may have voted
// twice.
func (wr *writer) putPromises(p *replica, w *Write) error {
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
			if err := wr.putState(p); err != nil {
				return err
			}
		}
	}
	// A commit alone gets no record: it is a convenience, and travels with the next one.
	if commit > a.state.Commit {
		a.state.Commit = commit
		if !a.late {
			a.late = true
			wr.late = append(wr.late, p)
		}
	}
	return nil
}

func (wr *writer) putState(p *replica) error {
	b, err := wr.begin(p, kindState, recordHeaderSize+stateSize)
	if err != nil {
		return err
	}
	r := &wr.records[len(wr.records)-1]
	r.state = p.ahead.state
	binary.LittleEndian.PutUint64(b[recordHeaderSize:], r.state.Term)
	binary.LittleEndian.PutUint64(b[recordHeaderSize+8:], uint64(r.state.Vote))
	wr.end(0)
	return nil
}

func (wr *writer) putBase(p *replica, base *Base) error {
	a := &p.ahead
	if a.has && base.ID.Index < a.base.Index {
		return fmt.Errorf("%w: base %s after base %s", ErrWrite, base.ID, a.base)
	}
	if a.queued > 0 {
		// The index is consulted below, and holds only what is on disk.
		if err := wr.flush(promises, behind); err != nil {
			return err
		}
	}
	end := base.ID.Index
	term, holds := p.term(base.ID.Index)
	switch {
	case holds && term == base.ID.Term:
		// Log matching: the entries after base follow it, and may be acknowledged.
		end = p.last().Index
	case holds && base.ID.Index <= max(a.state.Commit, a.base.Index):
		return fmt.Errorf("%w: base %s, where the log has term %d and is committed", ErrWrite, base.ID, term)
	default:
		// The log does not hold the base, so none of its entries is known to follow it.
		a.last = base.ID
	}
	a.base, a.has = base.ID, true
	a.state.Commit = max(a.state.Commit, base.ID.Index)
	own := *base
	return wr.putBaseRecord(p, &own, end)
}

func (wr *writer) putBaseRecord(p *replica, base *Base, end uint64) error {
	members := base.Membership.Append(nil)
	b, err := wr.begin(p, kindBase, recordHeaderSize+baseSize+len(members))
	if err != nil {
		return err
	}
	r := &wr.records[len(wr.records)-1]
	r.base, r.end = base, end
	body := b[recordHeaderSize:]
	binary.LittleEndian.PutUint64(body[0:], base.ID.Term)
	binary.LittleEndian.PutUint64(body[8:], base.ID.Index)
	binary.LittleEndian.PutUint64(body[16:], uint64(base.Time))
	binary.LittleEndian.PutUint64(body[24:], end)
	copy(body[baseSize:], members)
	wr.end(0)
	return nil
}

// putEntries packs entries into records: one for each term, and at most runMax
// bytes in each that has several.
func (wr *writer) putEntries(p *replica, committed uint64, entries []raft.Entry) error {
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
			if n > 0 && size+more > runMax(wr.size) {
				break
			}
			size += more
		}
		if err := wr.putRun(p, entries[i:i+n], size); err != nil {
			return err
		}
		i += n
	}
	return nil
}

func (wr *writer) putRun(p *replica, entries []raft.Entry, size int) error {
	a := &p.ahead
	b, err := wr.begin(p, kindEntries, size)
	if err != nil {
		return err
	}
	r := &wr.records[len(wr.records)-1]
	r.first, r.term, r.count = entries[0].ID.Index, entries[0].ID.Term, uint32(len(entries))
	at := recordHeaderSize
	for i := range entries {
		e := &entries[i]
		// After the write, broken memory or a broken owner can't be told from a broken
		// disk any more.
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
	wr.figures.count(func(c *Stats) { c.Entries += uint64(size - recordHeaderSize) })
	a.last = entries[len(entries)-1].ID
	wr.end(r.count)
	return nil
}

func (wr *writer) putMoved(p *replica, entries []raft.Entry) (int, error) {
	size := recordHeaderSize
	for i := range entries {
		size += len(entries[i].Raw)
	}
	b, err := wr.begin(p, kindMoved, size)
	if err != nil {
		return 0, err
	}
	r := &wr.records[len(wr.records)-1]
	r.first, r.term, r.count = entries[0].ID.Index, entries[0].ID.Term, uint32(len(entries))
	at := recordHeaderSize
	for i := range entries {
		r.changes = r.changes || entries[i].Kind == raft.EntryMembership
		at += copy(b[at:], entries[i].Raw)
	}
	wr.end(r.count)
	return size, nil
}

// putMended adds entries that the log had lost.
func (wr *writer) putMended(p *replica, entries []raft.Entry) error {
	if p.ahead.queued > 0 {
		// The index is consulted below, and holds only what is on disk.
		if err := wr.flush(promises, behind); err != nil {
			return err
		}
	}
	from, size := 0, recordHeaderSize
	end := func(to int) error {
		if from == to {
			return nil
		}
		_, err := wr.putMoved(p, entries[from:to])
		from, size = to, recordHeaderSize
		return err
	}
	for i := range entries {
		e := &entries[i]
		got, err := raft.ReadEntry(p.seed, e.Raw)
		switch {
		case err != nil:
			return fmt.Errorf("%w: mended entry %s: %w", ErrWrite, e.ID, err)
		case got.ID != e.ID || len(got.Raw) != len(e.Raw):
			return fmt.Errorf("%w: mended entry %s holds %s", ErrWrite, e.ID, got.ID)
		}
		if p.base != nil && e.ID.Index <= p.base.ID.Index {
			if err := end(i); err != nil {
				return err
			}
			from = i + 1
			continue
		}
		// Another replica may have sent it, but only an entry of an id that this log
		// held is given back: anything else would be a new promise.
		k := p.find(e.ID.Index)
		if k == len(p.runs) || p.runs[k].first > e.ID.Index || p.runs[k].term != e.ID.Term {
			return fmt.Errorf("%w: mended entry %s was not in the log", ErrWrite, e.ID)
		}
		lost := p.runs[k].lost // read now: end may write what is queued, and then k is another run
		if !lost {
			_, lost = wr.faults.hits(p.id, p.runs[k].at, 1)
		}
		if i > from && (e.ID.Index != entries[i-1].ID.Index+1 || e.ID.Term != entries[i-1].ID.Term || size+len(e.Raw) > runMax(wr.size)) || !lost {
			if err := end(i); err != nil {
				return err
			}
			if !lost {
				from = i + 1
				continue
			}
		}
		size += len(e.Raw)
	}
	return end(len(entries))
}

// putLost adds the record that says that entries are lost or, without a count, what
// the replica promised.
func (wr *writer) putLost(p *replica, first, term uint64, count uint32) (int, error) {
	b, err := wr.begin(p, kindLost, recordHeaderSize+lostSize)
	if err != nil {
		return 0, err
	}
	r := &wr.records[len(wr.records)-1]
	r.first, r.term, r.count = first, term, count
	binary.LittleEndian.PutUint64(b[recordHeaderSize:], first)
	binary.LittleEndian.PutUint64(b[recordHeaderSize+8:], term)
	wr.end(count)
	return r.size, nil
}

// putLate adds the commits that had no record to travel with.
func (wr *writer) putLate() error {
	for _, p := range wr.late {
		p.ahead.late = false
		if p.ahead.has && !p.ahead.gone && wr.commit(p) > p.ahead.kept {
			if err := wr.putState(p); err != nil {
				return err
			}
		}
	}
	wr.late = wr.late[:0]
	return nil
}

// begin makes room for a record at the end of the batch. If the batch would become too
// large, it writes that first and starts a new one.
func (wr *writer) begin(p *replica, kind recordKind, size int) ([]byte, error) {
	if len(wr.records) > 0 && len(wr.buf)+size > int(wr.size/batchPart) {
		if err := wr.flush(promises, behind); err != nil {
			return nil, err
		}
	}
	if len(wr.buf) == 0 {
		wr.buf = extend(wr.buf, batchHeaderSize)
	}
	at := len(wr.buf)
	wr.buf = extend(wr.buf, size)
	wr.records = append(wr.records, record{kind: kind, replica: p, at: at, size: size})
	p.ahead.queued++
	return wr.buf[at:], nil
}

// end closes the record that begin began.
func (wr *writer) end(count uint32) {
	r := &wr.records[len(wr.records)-1]
	p := r.replica
	r.commit = wr.commit(p)
	p.ahead.kept = max(p.ahead.kept, r.commit)
	putRecordHeader(wr.buf[r.at:r.at+r.size], r.kind, p.id, count, r.commit)
}

// commit is the largest commit that a record of p may carry now. A write may commit
// entries that only its later records bring; a commit past the end of the log on disk
// would look like lost entries.
func (wr *writer) commit(p *replica) uint64 { return min(p.ahead.state.Commit, p.ahead.last.Index) }

// putNote adds a note to the batch.
func (wr *writer) putNote(note *Note) error {
	b, err := wr.begin(&wr.index.peers.nobody, kindNote, recordHeaderSize+noteSize)
	if err != nil {
		return err
	}
	wr.records[len(wr.records)-1].note = *note
	note.put(b[recordHeaderSize:])
	wr.end(0)
	return nil
}
