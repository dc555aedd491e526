package logstore

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// model is the slow, obvious log: all replicas in memory, nothing shared.
type model map[Replica]modelLog

type modelLog struct {
	base    Base
	state   raft.HardState // Commit is what was told, which disk may not know yet
	sure    uint64         // the commit that the disk must know
	entries []raft.Entry
}

func (l modelLog) last() raft.LogID {
	if n := len(l.entries); n > 0 {
		return l.entries[n-1].ID
	}
	return l.base.ID
}

// after returns the model with ws done.
func (m model) after(ws []Write) model {
	m = maps.Clone(m)
	for _, w := range ws {
		if w.Note != nil {
			continue
		}
		l := m[w.Replica]
		if w.Base != nil {
			keep := []raft.Entry(nil)
			for i, e := range l.entries {
				if e.ID == w.Base.ID {
					keep = l.entries[i+1:]
				}
			}
			if l.base.ID == w.Base.ID {
				keep = l.entries
			}
			l.base, l.entries = *w.Base, keep
			l.state.Commit = max(l.state.Commit, w.Base.ID.Index)
			l.sure = max(l.sure, w.Base.ID.Index)
		}
		if w.HasState {
			l.state.Term, l.state.Vote = w.State.Term, w.State.Vote
		}
		l.state.Commit = max(l.state.Commit, w.Commit, w.State.Commit)
		if len(w.Entries) > 0 {
			keep := w.Entries[0].ID.Index - l.base.ID.Index - 1
			l.entries = append(slices.Clone(l.entries[:keep]), w.Entries...)
		}
		if w.HasState {
			l.sure = max(l.sure, min(w.State.Commit, l.last().Index))
		}
		m[w.Replica] = l
		if w.Remove {
			delete(m, w.Replica)
		}
	}
	return m
}

// settled returns the model after what writes the commits that had to wait.
func (m model) settled() model {
	m = maps.Clone(m)
	for id, l := range m {
		l.sure = min(l.state.Commit, l.last().Index)
		m[id] = l
	}
	return m
}

// beginnings returns the models with one part more of ws done in each. An
// Append that is too large for one batch may stop between any two parts.
func (m model) beginnings(ws []Write) []model {
	var all []model
	add := func(w Write) {
		m = m.after([]Write{w})
		all = append(all, m)
	}
	for _, w := range ws {
		if w.Base != nil {
			add(Write{Replica: w.Replica, Base: w.Base, Commit: w.Commit})
		}
		if w.HasState {
			add(Write{Replica: w.Replica, State: w.State, HasState: true, Commit: w.Commit})
		}
		for i := range w.Entries {
			add(Write{Replica: w.Replica, Entries: w.Entries[:i+1], Commit: w.Commit})
		}
		if w.Remove {
			add(Write{Replica: w.Replica, Remove: true})
		}
	}
	return all
}

// differs says where a store is not what the model says.
func (m model) differs(s *Store) error {
	want := slices.SortedFunc(maps.Keys(m), compareReplicas)
	if got := s.Replicas(); !slices.Equal(got, want) {
		return fmt.Errorf("replicas %v, want %v", got, want)
	}
	for id, l := range m {
		r, err := s.Restore(id)
		if err != nil {
			return err
		}
		if r.Base != l.base.ID || r.Last != l.last() || r.State.Term != l.state.Term || r.State.Vote != l.state.Vote {
			return fmt.Errorf("%s: base %s, last %s, state %+v; want %s, %s, %+v", id, r.Base, r.Last, r.State, l.base.ID, l.last(), l.state)
		}
		if r.State.Commit < l.sure || r.State.Commit > l.state.Commit || r.State.Commit > r.Last.Index {
			return fmt.Errorf("%s: commit %d, was told %d and kept %d, last is %s", id, r.State.Commit, l.state.Commit, l.sure, r.Last)
		}
		if fmt.Sprint(r.Membership) != fmt.Sprint(l.base.Membership) {
			return fmt.Errorf("%s: membership %v, want %v", id, r.Membership, l.base.Membership)
		}
		if len(l.entries) == 0 {
			continue
		}
		got, err := s.Read(id, l.entries[0].ID.Index, l.last().Index, math.MaxInt)
		if err != nil {
			return err
		}
		if len(got) != len(l.entries) {
			return fmt.Errorf("%s: %d entries, want %d", id, len(got), len(l.entries))
		}
		for i, e := range l.entries {
			if string(got[i].Raw) != string(e.Raw) {
				return fmt.Errorf("%s: entry %s, want %s", id, got[i].ID, e.ID)
			}
		}
		if n := len(got); r.Time != got[n-1].Time {
			return fmt.Errorf("%s: time %d, want %d", id, r.Time, got[n-1].Time)
		}
	}
	return nil
}

// lifeRun drives a store through a life from a seed: groups that append, truncate,
// vote, compact, take snapshots, are removed and made again.
type lifeRun struct {
	chance *rand.Rand
	store  *Store
	done   model   // what was acknowledged
	doing  []model // what may be there instead while an Append is under way: any beginning of it
	made   map[raft.GroupID]raft.ReplicaID
	buried map[raft.GroupID]raft.ReplicaID // the newest that was removed
	groups int

	notes  map[raft.NodeID]Note // acknowledged
	noting []Note               // under way since
	steps  uint64

	fences  map[Replica]Fence // acknowledged
	fencing []Fence           // under way since; one without a finding: its removal
	asides  []string          // the states of the files that were acknowledged, oldest first
	putting string            // the state of the one under way

	written map[string]string // each entry that an Append was given, by replica and id
	removed []Replica

	// A story sets these; see there.
	t         testing.TB
	mem       *vfs.Mem
	fs        vfs.FS // mem, or what stands before it
	size      int64  // of a segment
	salt      uint64
	states    map[raft.LogID][]byte // what the snapshots of all bases hold
	snapshots []raft.LogID          // acknowledged, of replica one
	opening   int                   // operations of the last recovery
	identity  *Identity             // acknowledged
	changing  []Identity            // under way since: any may be there
}

func newRun(seed uint64, s *Store) *lifeRun {
	return &lifeRun{chance: rand.New(rand.NewPCG(seed, 1)), store: s, done: model{}, groups: 4, notes: map[raft.NodeID]Note{},
		made: map[raft.GroupID]raft.ReplicaID{}, buried: map[raft.GroupID]raft.ReplicaID{}, states: map[raft.LogID][]byte{}, written: map[string]string{}}
}

// writes makes up the writes of one Append: at most one for each group.
func (r *lifeRun) writes() []Write {
	var ws []Write
	for g := range raft.GroupID(r.groups) {
		if r.chance.IntN(2) == 0 {
			continue
		}
		var id Replica
		for have := range r.done {
			if have.Group == g {
				id = have
			}
		}
		if id.ID == 0 {
			id = Replica{Group: g, Incarnation: 1, ID: r.made[g] + 1}
			ws = append(ws, founding(id))
			continue
		}
		ws = append(ws, r.write(id, r.done[id]))
	}
	if r.steps++; r.steps%4 == 0 {
		n := Note{Node: raft.NodeID(r.steps%3 + 2), Life: Life{r.steps, r.steps + 1}, Trusted: Life{r.steps / 2, r.steps + 7}, Batch: Batch(r.steps)}
		if r.steps%7 == 0 {
			n = Note{Node: n.Node} // forget it
		}
		ws = append(ws, Write{Note: &n})
	}
	return ws
}

func (r *lifeRun) write(id Replica, l modelLog) Write {
	w := Write{Replica: id, Commit: l.state.Commit}
	last, term := l.last().Index, l.state.Term
	switch n := r.chance.IntN(100); {
	case n < 2:
		w.Remove = true
		return w
	case n < 12: // a new term, perhaps with a truncation
		term++
		w.HasState, w.State = true, raft.HardState{Term: term, Vote: raft.ReplicaID(r.chance.IntN(3))}
		if last > l.state.Commit {
			last -= r.chance.Uint64N(last - l.state.Commit + 1)
		}
	case n < 20 && l.state.Commit > l.base.ID.Index: // compaction
		at := l.entries[l.state.Commit-l.base.ID.Index-1]
		w.Base = &Base{ID: at.ID, Time: at.Time, Membership: voters(id.ID, id.ID+raft.ReplicaID(n%5+1))}
	case n < 22: // a snapshot from elsewhere, past the end or over what is not committed
		last = l.state.Commit + r.chance.Uint64N(50) + 1
		w.Base = &Base{ID: raft.LogID{Term: term, Index: last}, Time: raft.GroupTime(last * 1000), Membership: voters(id.ID)}
		w.Commit = last
		return w
	}
	if count := r.chance.Uint64N(5); count > 0 {
		w.Entries = span(id, term, last+1, last+count, r.chance.IntN(400))
		last += count
	}
	if last > w.Commit {
		w.Commit += r.chance.Uint64N(last - w.Commit + 1)
	}
	return w
}

// step does one thing.
func (r *lifeRun) step() error {
	if r.chance.IntN(10) == 0 {
		return r.idle()
	}
	return r.append(r.writes()...)
}

// check compares after a crash: of what was under way any beginning is there.
func (r *lifeRun) check() error {
	err := r.done.differs(r.store)
	for _, m := range r.doing {
		if err == nil {
			break
		}
		if m.differs(r.store) == nil {
			r.done, err = m, nil
		}
	}
	r.doing = nil
	for id := range r.done {
		r.made[id.Group] = max(r.made[id.Group], id.ID)
	}
	return errors.Join(err, r.checkNotes(), r.checkDamage(), r.checkGraves(), r.checkSnapshots(), r.checkFences(), r.checkAsides())
}

// checkNotes: of each node there is what was acknowledged, or what was under way.
func (r *lifeRun) checkNotes() error {
	got := map[raft.NodeID]Note{}
	for _, n := range r.store.Notes() {
		got[n.Node] = n
	}
	for node := range raft.NodeID(10) {
		n, want := got[node], r.notes[node]
		if n != want && !slices.ContainsFunc(r.noting, func(o Note) bool { return o.Node == node && (o == n || o.Life == n.Life && n.Node == 0) }) {
			return fmt.Errorf("note of node %s: %+v, want %+v", node, n, want)
		}
	}
	r.notes, r.noting = got, nil
	return nil
}

// checkDamage: a crash is no damage. A state is missed only where the run has
// bases and no snapshots.
func (r *lifeRun) checkDamage() error {
	for _, d := range r.store.Damaged() {
		if len(d.Lost) > 0 || d.Promises || d.State && len(r.states) > 0 {
			return d.Err()
		}
	}
	return nil
}

// checkSnapshots: the acknowledged ones are there, unless the log has moved past them
// or never got so far; none is there that nobody made, and no half of one.
func (r *lifeRun) checkSnapshots() error {
	there := map[raft.LogID]bool{}
	for id := range r.done {
		for _, sn := range r.store.Snapshots(id) {
			there[sn.Base.ID] = true
			got, err := readState(r.store, sn)
			if err != nil {
				return err
			}
			if string(got) != string(r.states[sn.Base.ID]) {
				return fmt.Errorf("%s holds %d bytes that it was not given", sn.File, len(got))
			}
		}
	}
	l := r.done[one]
	for _, id := range r.snapshots {
		if id.Index >= l.base.ID.Index && id.Index <= l.last().Index && !there[id] {
			return fmt.Errorf("the snapshot at %s is gone, the log has %s to %s", id, l.base.ID, l.last())
		}
	}
	return nil
}

// checkGraves: a replica that was removed must not come back.
func (r *lifeRun) checkGraves() error {
	removed := map[raft.GroupID]raft.ReplicaID{}
	for _, id := range r.store.Tombstones() {
		removed[id.Group] = id.ID
	}
	for g, id := range r.buried {
		if removed[g] < id {
			return fmt.Errorf("%s: replica %d was removed, the log knows of %d", g, id, removed[g])
		}
	}
	return nil
}

// checkFences: of each replica there is the fence that was acknowledged, or one that was
// under way, and of one that was removed none.
func (r *lifeRun) checkFences() error {
	got := map[Replica]Fence{}
	for _, f := range r.store.Fences() {
		got[f.Replica] = f
	}
	same := func(a, b Fence) bool { return a.Found == 0 && b.Found == 0 || fmt.Sprint(a) == fmt.Sprint(b) }
	for _, id := range []Replica{one, two, three} {
		f, want := got[id], r.fences[id]
		_, there := r.done[id]
		if same(f, want) || f.Found == 0 && !there || slices.ContainsFunc(r.fencing, func(o Fence) bool { return o.Replica == id && same(f, o) }) {
			continue
		}
		return fmt.Errorf("fence of %s: %v, want %v or one of %v", id, f, want, r.fencing)
	}
	r.fences, r.fencing = got, nil
	return nil
}

// checkAsides: the newest of the states that were acknowledged are there, and none is
// there in part.
func (r *lifeRun) checkAsides() error {
	files, err := AsideFiles(r.store.fs, "d")
	if err != nil {
		return err
	}
	var got []string
	for _, file := range files {
		_, in, err := OpenAside(r.store.fs, file)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(in)
		if err = errors.Join(err, in.Close()); err != nil {
			return err
		}
		got = append(got, string(b))
	}
	want := r.asides
	if n := len(got); r.putting != "" && n > 0 && got[n-1] == r.putting {
		want = append(want[:len(want):len(want)], r.putting)
	}
	if want = want[max(0, len(want)-AsideMax):]; !slices.Equal(got, want) {
		return fmt.Errorf("%d states are kept aside, want %d, or they differ", len(got), len(want))
	}
	r.asides, r.putting = got, ""
	return nil
}

// readIdentity: there is what was acknowledged, or what was under way since.
func (r *lifeRun) readIdentity() (Identity, error) {
	got, found, err := ReadIdentity(r.fs, "d")
	switch {
	case err != nil:
		return got, err
	case !found:
		return got, errors.New("the identity is gone")
	case got.Life() != r.identity.Life() && !slices.ContainsFunc(r.changing, func(id Identity) bool { return id.Life() == got.Life() }):
		return got, fmt.Errorf("identity: life %s, want %s", got.Life(), r.identity.Life())
	}
	return got, nil
}

// A long life with many openings holds what the model holds, and the log's
// size stays in proportion to what is needed: segments are used again, and
// what they held in an earlier life never shows.
func TestLongLife(t *testing.T) { longLife(t) }

func longLife(t testing.TB) {
	t.Helper()
	for seed := range uint64(4) {
		fs := vfs.NewMem()
		r := newRun(seed, mustOpen(t, fs, Options{Chance: seed}))
		recycled := uint64(0)
		for i := range 3000 {
			must(t, r.step())
			if i%30 == 29 {
				if err := r.check(); err != nil {
					t.Fatalf("seed %d, step %d: %v", seed, i, err)
				}
			}
			if i%300 == 299 {
				n := r.store.Stats()
				recycled += n.Recycled
				if n.SegmentBytes > 3*n.NeededBytes+8*SegmentBytesMin {
					t.Errorf("seed %d, step %d: %d bytes of segments for %d that are needed", seed, i, n.SegmentBytes, n.NeededBytes)
				}
				must(t, r.store.Close())
				r.store = mustOpen(t, fs, Options{Chance: seed + uint64(i)})
				if err := r.check(); err != nil {
					t.Fatalf("seed %d, step %d, opened again: %v", seed, i, err)
				}
			}
		}
		if recycled < 5 {
			t.Errorf("seed %d: %d segments were used again, want more: the test shows nothing", seed, recycled)
		}
		must(t, r.store.Close())
	}
}
