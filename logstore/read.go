package logstore

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"muster/raft"
)

// reader reads entries from where the index says they are. It has no state: any number
// of goroutines may use it, beside Append.
type reader struct {
	index  *index
	faults *faults
}

// located is a run with the file that it is in.
type located struct {
	run
	segment *segment
}

// locateMax bounds how many runs are looked up under one hold of the lock.
const locateMax = 64

// Read returns the entries from lo to hi, or the first of them, at least one, that
// have not much more than maxBytes together. It has verified their checksums. The
// entries are the caller's.
//
// It may run beside Append, and sees only what is durable. Its errors are
// [ErrUnknown], [ErrCompacted], [ErrRange], a [Damage], one that wraps
// [ErrRefused], or the disk's. Entries that a Damage hit are lost from then on, see
// [Store.Damaged]; refused ones may be asked for again.
func (s *Store) Read(id Replica, lo, hi uint64, maxBytes int) ([]raft.Entry, error) {
	return s.reader.read(id, lo, hi, maxBytes)
}

// read does what [Store.Read] says.
func (rd *reader) read(id Replica, lo, hi uint64, maxBytes int) ([]raft.Entry, error) {
	var entries []raft.Entry
	var runs [locateMax]located
	bytes := 0
	for next := lo; next <= hi; {
		n, seed, err := rd.index.locate(id, next, hi, runs[:])
		if err != nil {
			return nil, err
		}
		for i := range runs[:n] {
			if runs[i].lost {
				return nil, runs[i].gone(id)
			}
			got, err := runs[i].read(id, seed)
			if err != nil {
				// The file is read without the lock, so the reclaimer may have moved
				// the run and given the file to another segment: that is no damage.
				if rd.index.moved(id, &runs[i]) {
					break // look it up again
				}
				if err = rd.faults.unread(id, &runs[i], err); errors.Is(err, ErrRefused) && len(entries) > 0 {
					return entries, nil // a caller that wants more asks again
				}
				return nil, err
			}
			if rd.faults.some.Load() {
				rd.faults.isBack(runs[i].at)
			}
			for _, e := range got {
				if e.ID.Index < next || e.ID.Index > hi {
					continue
				}
				if bytes += len(e.Raw); bytes > maxBytes && len(entries) > 0 {
					return entries, nil
				}
				entries = append(entries, e)
				next++
			}
		}
	}
	if len(entries) == 0 {
		return nil, fmt.Errorf("read entries %d to %d of %s: %w", lo, hi, id, ErrRange)
	}
	return entries, nil
}

// locate finds the runs that hold the entries from lo on.
func (x *index) locate(id Replica, lo, hi uint64, runs []located) (int, raft.Seed, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	refuse := func(err error) (int, raft.Seed, error) {
		return 0, 0, fmt.Errorf("read entries %d to %d of %s: %w", lo, hi, id, err)
	}
	p := x.replicas[id]
	switch {
	case p == nil || p.base == nil:
		return refuse(ErrUnknown)
	case lo <= p.base.ID.Index:
		return refuse(ErrCompacted)
	case hi > p.last().Index:
		return refuse(ErrRange)
	}
	n := 0
	for i := p.find(lo); i < len(p.runs) && p.runs[i].first <= hi && n < len(runs); i++ {
		runs[n] = located{p.runs[i], x.segment(p.runs[i].at.segment)}
		n++
	}
	if n == 0 || runs[0].first > lo {
		// This happens only if it is unknown what was lost.
		d := Damage{File: x.dir, Record: "log of " + id.String(), Reason: "it has a gap"}
		if p.where != nil {
			d = *p.where
		}
		return refuse(&d)
	}
	return n, p.seed, nil
}

// moved reports whether a run is no longer where it was: it was moved, or truncated,
// and its file may be another segment by now.
func (x *index) moved(id Replica, l *located) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	p := x.replicas[id]
	if p == nil {
		return true
	}
	i := p.find(l.first)
	return i >= len(p.runs) || p.runs[i].at != l.at
}

// gone is the error about a run that is lost.
func (l *located) gone(id Replica) error {
	return &Damage{
		File: l.segment.name, Offset: int64(l.at.offset),
		Record: fmt.Sprintf("entries %d to %d of term %d of %s", l.first, l.last(), l.term, id),
		Reason: l.why(), Refused: l.refused,
	}
}

func (l *located) why() string {
	if l.refused {
		return ErrRefused.Error()
	}
	return "they are lost"
}

// read reads the run's record and returns those of its entries that the run
// stands for.
func (l *located) read(id Replica, seed raft.Seed) ([]raft.Entry, error) {
	b := make([]byte, l.at.size)
	n, err := ReadAt(l.segment.file, b, int64(l.at.offset))
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read entries %d to %d of %s at offset %d of %s: %w", l.first, l.last(), id, l.at.offset, l.segment.name, err)
	}
	h, body, err := readRecord(b, l.segment.at(int64(l.at.offset)))
	if n < len(b) {
		err = fmt.Errorf("the file ends %d bytes before its end", len(b)-n)
	}
	if err == nil && (h.replica != id || h.kind != kindEntries && h.kind != kindMoved) {
		err = fmt.Errorf("it is one of %s of %s", h.kind, h.replica)
	}
	var entries []raft.Entry
	if err == nil {
		entries, err = readEntries(body, h.count, seed)
	}
	if err == nil {
		skip := l.first - entries[0].ID.Index
		if entries[0].ID.Index > l.first || skip+uint64(l.count) > uint64(len(entries)) || entries[0].ID.Term != l.term {
			err = fmt.Errorf("it holds %s to %s", entries[0].ID, entries[len(entries)-1].ID)
		} else {
			return entries[skip : skip+uint64(l.count)], nil
		}
	}
	return nil, &Damage{
		File: l.segment.name, Offset: int64(l.at.offset),
		Record: fmt.Sprintf("entries %d to %d of term %d of %s", l.first, l.last(), l.term, id),
		Reason: err.Error(),
	}
}

// readEntries reads the body of a record of entries.
func readEntries(b []byte, count uint32, seed raft.Seed) ([]raft.Entry, error) {
	if count == 0 || uint64(count) > uint64(len(b)/raft.EntryHeaderSize) {
		return nil, fmt.Errorf("it claims %d entries in %d bytes", count, len(b))
	}
	entries := make([]raft.Entry, 0, count)
	for range count {
		e, err := raft.ReadEntry(seed, b)
		if err != nil {
			return nil, err
		}
		if n := len(entries); n > 0 {
			if before := entries[n-1].ID; e.ID.Index != before.Index+1 || e.ID.Term != before.Term {
				return nil, fmt.Errorf("entry %s follows %s", e.ID, before)
			}
		}
		entries = append(entries, e)
		b = b[len(e.Raw):]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%d bytes follow its entries", len(b))
	}
	return entries, nil
}

// Restore returns what was found on disk of a replica. It leaves Applied and Tail to
// the owner, which knows how far its state machine has come, and reads the rest with
// Read. For a damaged replica it returns the [Damage] and also what can be read: all
// but lost memberships.
func (s *Store) Restore(id Replica) (raft.Restored, error) {
	return s.reader.restore(id)
}

// restore does what [Store.Restore] says.
func (rd *reader) restore(id Replica) (raft.Restored, error) {
	rd.index.mu.Lock()
	p := rd.index.replicas[id]
	if p == nil || p.base == nil {
		rd.index.mu.Unlock()
		return raft.Restored{}, fmt.Errorf("restore %s: %w", id, ErrUnknown)
	}
	r := raft.Restored{
		State:      p.state,
		Base:       p.base.ID,
		Membership: p.base.Membership,
		Last:       p.last(),
		Time:       p.base.Time,
	}
	runs := slices.Clone(p.runs)
	damaged, _ := rd.faults.lossOf(id)
	hurt := damaged.Promises || len(damaged.Lost) > 0
	rd.index.mu.Unlock()

	for i, n := range runs {
		if i == 0 || runs[i-1].term != n.term {
			r.Terms = append(r.Terms, raft.TermRun{First: n.first, Term: n.term})
		}
		// Only records that may hold a membership are read, and the last one for its time:
		// a start must not read the whole log twice.
		if !n.changes && i < len(runs)-1 {
			continue
		}
		entries, err := rd.read(id, n.first, n.last(), math.MaxInt)
		if errors.Is(err, ErrDamaged) {
			if d, ok := rd.faults.lossNow(id); ok && !hurt {
				damaged, hurt = d, true
			}
			continue
		}
		if err != nil {
			return raft.Restored{}, fmt.Errorf("restore %s: %w", id, err)
		}
		for _, e := range entries {
			if e.Kind == raft.EntryMembership {
				r.Changes = append(r.Changes, e)
			}
		}
		// Group time never goes back along a log: the last entry has the
		// largest.
		if i == len(runs)-1 {
			r.Time = max(r.Time, entries[len(entries)-1].Time)
		}
	}
	if hurt {
		return r, fmt.Errorf("restore: %w", damaged.Err())
	}
	return r, nil
}
