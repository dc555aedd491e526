package logstore

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

var flipAll = flag.Bool("flips", false, "damage every byte and every sector of the small log, not a sample")

// rotten is a small log on a disk, and all that there is to know of it.
type rotten struct {
	disk    *vfs.Mem
	want    model
	written map[string]string // each entry ever written, by replica and id
	removed []Replica
	files   []string
}

// smallLog makes a log of a few groups that take part in all there is, over
// several segments, idle at the end, so that the durable offset covers it.
func smallLog(t *testing.T, seed uint64, segments uint64) *rotten {
	t.Helper()
	l := &rotten{disk: vfs.NewMem(), written: map[string]string{}}
	r := newRun(seed, mustOpen(t, l.disk, Options{Chance: seed}))
	for step := 0; r.store.index.active.number < segments || step < 40; step++ {
		if step%9 == 8 {
			must(t, r.store.Idle())
			continue
		}
		ws := r.writes()
		must(t, r.store.Append(ws))
		for _, w := range ws {
			r.made[w.Replica.Group] = max(r.made[w.Replica.Group], w.Replica.ID)
			for _, e := range w.Entries {
				l.written[fmt.Sprint(w.Replica, e.ID)] = string(e.Raw)
			}
			if w.Remove {
				l.removed = append(l.removed, w.Replica)
			}
		}
		r.done = r.done.after(ws)
	}
	must(t, r.store.Idle())
	must(t, r.store.Idle())
	l.want = r.done
	for _, seg := range r.store.index.segments {
		l.files = append(l.files, seg.name)
	}
	must(t, r.store.closeFiles())
	return l
}

// verdict is what became of one damage.
type verdict struct{ cases, unhurt, lost, promises, unknown int }

func (v *verdict) add(o verdict) {
	v.cases += o.cases
	v.unhurt += o.unhurt
	v.lost += o.lost
	v.promises += o.promises
	v.unknown += o.unknown
}

// judge opens a log that was damaged. Nothing of it may be served wrong, and
// nothing be missing that is not said to be lost. What can be mended is, and
// then all is as it was.
func (l *rotten) judge(disk *vfs.Mem, again bool) (verdict, error) {
	v := verdict{cases: 1}
	report, err := Verify(disk, "d")
	if err != nil {
		return v, fmt.Errorf("verify: %w", err)
	}
	s, err := Open(Options{FS: disk, Dir: "d", SegmentBytes: SegmentBytesMin, Chance: 99})
	if err != nil {
		return v, err
	}
	defer func() { s.closeFiles() }()
	hurt := lossesOf(s)
	if got, want := fmt.Sprint(report.Damaged), fmt.Sprint(hurt); got != want && !s.tookBack {
		return v, fmt.Errorf("Verify says that %s is lost, Open that %s is", got, want)
	}
	if len(hurt) > 0 && len(report.Damages) == 0 {
		return v, fmt.Errorf("%v is lost, and Verify names no place", hurt)
	}
	for _, id := range s.Replicas() {
		if err := l.servedRight(s, id); err != nil {
			return v, err
		}
	}
	if len(hurt) > 0 && hurt[0].Replica == (Replica{}) {
		v.unknown++
		return v, nil
	}
	if got, want := len(s.Replicas()), len(l.want); got != want {
		return v, fmt.Errorf("%d replicas, want %d", got, want)
	}
	for _, id := range l.removed {
		if g := s.index.graves[id.Group]; !g.covers(id) {
			return v, fmt.Errorf("the removal of %s is gone", id)
		}
	}
	var mended []Write
	for id, w := range l.want {
		d, _ := s.DamageOf(id)
		if d.Promises {
			v.promises++
			return v, nil
		}
		if err := w.isThere(s, id); err != nil {
			return v, err
		}
		entries, err := w.lost(s, id, d.Lost)
		if err != nil {
			return v, err
		}
		if len(entries) > 0 {
			mended = append(mended, Write{Replica: id, Mended: entries})
		}
	}
	if len(mended) == 0 {
		v.unhurt++
	} else {
		v.lost++
	}
	if err := s.Append(mended); err != nil {
		return v, fmt.Errorf("mend: %w", err)
	}
	if err := l.want.differs(s); err != nil {
		return v, fmt.Errorf("mended: %w", err)
	}
	if !again {
		return v, nil
	}
	if err := s.Close(); err != nil {
		return v, err
	}
	if s, err = Open(Options{FS: disk, Dir: "d", SegmentBytes: SegmentBytesMin, Chance: 98}); err != nil {
		return v, fmt.Errorf("opened again: %w", err)
	}
	if d := lossesOf(s); len(d) > 0 {
		return v, fmt.Errorf("mended, and opened again: %v", d)
	}
	if err := l.want.differs(s); err != nil {
		return v, fmt.Errorf("mended, and opened again: %w", err)
	}
	return v, nil
}

// lossesOf leaves out that there are no snapshots, of which these tests make
// none.
func lossesOf(s *Store) []Damaged {
	var all []Damaged
	for _, d := range s.Damaged() {
		if d.State = false; d.Promises || len(d.Lost) > 0 {
			all = append(all, d)
		}
	}
	return all
}

// servedRight reads each entry that can be read.
func (l *rotten) servedRight(s *Store, id Replica) error {
	o, _ := s.Outline(id)
	for i := o.Base.ID.Index + 1; i <= o.Last.Index; i++ {
		got, err := s.Read(id, i, i, 0)
		if err != nil {
			continue
		}
		if want, ok := l.written[fmt.Sprint(id, got[0].ID)]; !ok || want != string(got[0].Raw) || got[0].ID.Index != i {
			return fmt.Errorf("%s: entry %d is served as %s, which was not written like that", id, i, got[0].ID)
		}
	}
	return nil
}

// isThere says what is missing of what is never lost without Promises.
func (l modelLog) isThere(s *Store, id Replica) error {
	o, ok := s.Outline(id)
	switch {
	case !ok:
		return fmt.Errorf("%s is gone", id)
	case o.Base.ID != l.base.ID || fmt.Sprint(o.Base.Membership) != fmt.Sprint(l.base.Membership) || o.Base.Time != l.base.Time:
		return fmt.Errorf("%s begins after %s, want %s", id, o.Base.ID, l.base.ID)
	case o.State.Term != l.state.Term || o.State.Vote != l.state.Vote:
		return fmt.Errorf("%s is in term %d with vote %d, want %d and %d", id, o.State.Term, o.State.Vote, l.state.Term, l.state.Vote)
	case o.Last != l.last():
		return fmt.Errorf("%s ends with %s, want %s", id, o.Last, l.last())
	}
	return nil
}

// lost returns the entries that are said to be lost; all others must be there.
func (l modelLog) lost(s *Store, id Replica, spans []Span) ([]raft.Entry, error) {
	var lost []raft.Entry
	for _, e := range l.entries {
		i := slices.IndexFunc(spans, func(n Span) bool { return n.First <= e.ID.Index && e.ID.Index <= n.Last })
		got, err := s.Read(id, e.ID.Index, e.ID.Index, math.MaxInt)
		switch {
		case i >= 0 && spans[i].Term != e.ID.Term:
			return nil, fmt.Errorf("%s: entry %s is lost as one of term %d", id, e.ID, spans[i].Term)
		case i >= 0 && err == nil:
			return nil, fmt.Errorf("%s: entry %s is said to be lost, and is served", id, e.ID)
		case i >= 0:
			lost = append(lost, e)
		case err != nil:
			return nil, fmt.Errorf("%s: entry %s is gone, and nothing says so: %w", id, e.ID, err)
		case string(got[0].Raw) != string(e.Raw):
			return nil, fmt.Errorf("%s: entry %s is served as %s", id, e.ID, got[0].ID)
		}
	}
	n := uint64(0)
	for _, span := range spans {
		n += span.Last - span.First + 1
	}
	if n != uint64(len(lost)) {
		return nil, fmt.Errorf("%s: %d entries are said to be lost, of which the log had %d", id, n, len(lost))
	}
	return lost, nil
}

// The disk rots under a small log whose durable offset covers all of it: each
// byte, each sector, each page, each file. Nothing is served wrong and nothing
// goes silently; what is lost is known to the entry, and given back, all is as
// before.
func TestRotEverywhere(t *testing.T) {
	enumerates(t)
	l := smallLog(t, 21, 3)
	var table strings.Builder
	fmt.Fprintf(&table, "%-18s %8s %8s %8s %8s %8s\n", "damage", "cases", "unhurt", "lost", "promises", "unknown")
	for _, fault := range vfs.Rot() {
		var sum verdict
		for _, name := range l.files {
			size := int64(len(l.disk.Bytes(name)))
			step, from := int64(vfs.SectorSize), int64(0)
			switch fault {
			case vfs.BitFlip:
				if step = 1; !*flipAll {
					step = 211
				}
			case vfs.ZeroPage:
				step = pageSize
			case vfs.Truncated:
				step = 4 * pageSize
			case vfs.Missing:
				step = size
			}
			if !*flipAll && (fault == vfs.StaleSector || fault == vfs.ZeroSector || fault == vfs.Misdirected) {
				step *= 3
			}
			for at := from; at < size; at += step {
				disk := l.disk.Copy()
				changed, err := disk.Damage(name, at, fault)
				must(t, err)
				if !changed {
					continue
				}
				v, err := l.judge(disk, at/step%7 == 0)
				if err != nil {
					t.Fatalf("%s at %d of %s: %v", fault, at, name, err)
				}
				sum.add(v)
			}
		}
		fmt.Fprintf(&table, "%-18s %8d %8d %8d %8d %8d\n", fault, sum.cases, sum.unhurt, sum.lost, sum.promises, sum.unknown)
		single := fault != vfs.Truncated && fault != vfs.Missing
		if sum.cases == 0 || sum.lost == 0 || single && sum.promises+sum.unknown > 0 {
			t.Errorf("%s: %+v: one sector or page that is damaged should cost entries only", fault, sum)
		}
	}
	t.Logf("%d files\n%s", len(l.files), table.String())
}
