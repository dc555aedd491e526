package logstore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"muster/logstore/vfs"
	"muster/raft"
)

// finding is a record that is needed and that a reader beside Append could not read.
type finding struct {
	replica Replica
	kind    recordKind  // kindEntries, or a kind that is written again from memory
	run     run         // of kindEntries
	node    raft.NodeID // of kindNote
	at      place
	damage  Damage
}

// same reports whether o is about the same record.
func (n *finding) same(o *finding) bool { return n.at == o.at && n.kind == o.kind }

// refusal is a record that the disk refused to return.
type refusal struct {
	finding
	looks int // how often it was refused
}

// stretch is a part of a segment that the disk refused.
type stretch struct {
	segment  uint64
	from, to int64
}

// faults has the damage to needed records that was found beside Append, and what the
// disk refuses of them, see refused.go. Damage waits here for the goroutine of Append,
// which alone changes the index.
type faults struct {
	disk  vfs.FS
	dir   string // of the segments
	log   *slog.Logger
	index *index

	some atomic.Bool // the disk refuses something: a read that succeeds has to look whether that is back

	mu        sync.Mutex               // taken after index.mu, never held over a disk operation
	found     []finding                // guarded by mu; damage that the index does not know yet
	records   []refusal                // guarded by mu; refused while the log is in use
	stretches []stretch                // guarded by mu; refused when it was opened
	back      map[Replica][]raft.Entry // guarded by mu; what came back of the stretches, for the owner
	turn      int                      // guarded by mu; of LookAgain
}

// find records damage, once.
func (f *faults) find(n finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.ContainsFunc(f.found, func(o finding) bool { return o.same(&n) }) {
		return
	}
	f.found = append(f.found, n)
	f.log.Error("damage found", "err", &n.damage)
}

// adopt hands over the damage that was found since the last call. The caller holds
// index.mu until the index knows of it: in between, neither part has it.
func (f *faults) adopt() []finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	found := f.found
	f.found = nil
	return found
}

// foundIn returns the entries of a replica that were found damaged and that the
// index does not know as lost yet.
func (f *faults) foundIn(id Replica) []finding {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []finding
	for _, n := range f.found {
		if n.replica == id && n.kind == kindEntries {
			found = append(found, n)
		}
	}
	return found
}

// note records that the disk refused a record once more, and returns how often it has.
func (f *faults) note(n finding) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.some.Store(true)
	for i := range f.records {
		if o := &f.records[i]; o.same(&n) {
			o.looks++
			return o.looks
		}
	}
	n.damage.Refused = true
	f.records = append(f.records, refusal{n, 1})
	return 1
}

// forget drops a refused record: the disk has returned it, or nothing needs it there.
// It reports whether there was one.
func (f *faults) forget(at place) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := len(f.records)
	f.records = slices.DeleteFunc(f.records, func(o refusal) bool { return o.at == at })
	f.some.Store(len(f.records)+len(f.stretches) > 0)
	return len(f.records) < n
}

// hits returns the damage that entries at a place count as, and whether they count as
// damaged: the disk has refused them at least looks times.
func (f *faults) hits(id Replica, at place, looks int) (Damage, bool) {
	if !f.some.Load() {
		return Damage{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.records {
		if o := &f.records[i]; o.replica == id && o.at == at && o.kind == kindEntries && o.looks >= looks {
			return o.damage, true
		}
	}
	return Damage{}, false
}

// opened takes over what the disk refused while the log was opened.
func (f *faults) opened(all []stretch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stretches = all
	f.some.Store(len(all) > 0)
}

// refuse records that the disk refused a record once more, and reports whether it
// counts as damage by now.
func (f *faults) refuse(n finding) bool {
	n.damage.Refused = !bug("refused read taken for loss")
	if !n.damage.Refused {
		f.find(n)
		return true
	}
	looks := f.note(n)
	switch looks {
	case 1:
		f.log.Warn("disk refuses a read", "file", n.damage.File, "offset", n.damage.Offset, "record", n.damage.Record, "reason", n.damage.Reason)
	case refusedLooks:
		if n.kind != kindEntries {
			// Its content is in memory and will be written again elsewhere, so
			// nobody needs it there.
			f.find(n)
			f.forget(n.at)
			break
		}
		f.log.Error("damage found", "err", &n.damage)
	}
	return looks >= refusedLooks
}

// unread records why a run can't be read, and returns the error for the reader.
func (f *faults) unread(id Replica, l *located, err error) error {
	var d *Damage
	n := finding{replica: id, kind: kindEntries, run: l.run, at: l.at}
	switch {
	case errors.As(err, &d):
		n.damage = *d
		f.find(n)
		f.forget(l.at)
	case errors.Is(err, ErrRefused):
		n.damage = l.refusal(id, err)
		if f.refuse(n) {
			return &n.damage
		}
	}
	return err
}

// refusal is the damage that a run counts as if the disk goes on refusing it.
func (l *located) refusal(id Replica, err error) Damage {
	d := l.gone(id).(*Damage)
	d.Reason, d.Refused = err.Error(), true
	return *d
}

// isBack records that the disk has returned a record.
func (f *faults) isBack(at place) {
	if f.some.Load() && f.forget(at) {
		f.log.Info("disk returns what it refused", "segment", at.segment, "offset", at.offset)
	}
}

// lossOf returns what a replica lost of its log, and whether it lost anything. It
// is called with index.mu held.
func (f *faults) lossOf(id Replica) (Damaged, bool) {
	x := f.index
	d := Damaged{Replica: id}
	if x.unknown.size > 0 {
		d.Promises, d.Where = true, x.unknownIs
	}
	p := x.replicas[id]
	if p == nil {
		return d, d.Promises
	}
	if p.lost > 0 || p.lostAt.size > 0 {
		d.Promises = d.Promises || p.lostAt.size > 0
		d.Where = *p.where
	}
	found, runs := f.foundIn(id), p.runs
	if p.lost == 0 && len(found) == 0 && !f.some.Load() {
		runs = nil // nothing is known to be lost; the scrub asks at each step, with mu held, and runs may be many
	}
	for i := range runs {
		n := &runs[i]
		lost := p.lost > 0 && n.lost
		for k := 0; k < len(found) && !lost; k++ {
			if found[k].at == n.at {
				if lost = true; len(d.Lost) == 0 && !d.Promises {
					d.Where = found[k].damage
				}
			}
		}
		if !lost {
			var where Damage
			if where, lost = f.hits(id, n.at, refusedLooks); lost && len(d.Lost) == 0 && !d.Promises {
				d.Where = where
			}
		}
		if !lost {
			continue
		}
		if k := len(d.Lost) - 1; k >= 0 && d.Lost[k].Last+1 == n.first && d.Lost[k].Term == n.term {
			d.Lost[k].Last = n.last()
		} else {
			d.Lost = append(d.Lost, Span{First: n.first, Last: n.last(), Term: n.term})
		}
	}
	return d, d.Promises || len(d.Lost) > 0
}

// checkRecord reads a record that is needed, and fills in what is wrong with it.
func checkRecord(seg *segment, n *finding) error {
	b := make([]byte, n.at.size)
	_, err := ReadAt(seg.file, b, int64(n.at.offset))
	if err == nil || err == io.EOF {
		_, _, err = readRecord(b, seg.at(int64(n.at.offset)))
	}
	if err != nil {
		n.damage = Damage{File: seg.name, Offset: int64(n.at.offset), Record: fmt.Sprintf("%s of %s", n.kind, n.replica), Reason: err.Error()}
	}
	return err
}

// lossNow is lossOf for a caller that does not hold index.mu.
func (f *faults) lossNow(id Replica) (Damaged, bool) {
	f.index.mu.Lock()
	defer f.index.mu.Unlock()
	return f.lossOf(id)
}
