package logstore

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// story is one operation on the data directory, with what comes before it. All
// that has to hold whatever the disk does is tried on the same stories: the
// power goes at each of their steps (crash_test.go), each call to the disk
// fails (fault_test.go), and the order of their steps stands in a file
// (order_test.go). A new operation becomes a story here, and is tried in all
// three ways.
type story struct {
	name   string // also that of its file in testdata/order
	size   int64  // of a segment; 0: the smallest
	before func(*lifeRun)
	act    func(*lifeRun) error
	// long has too many steps to crash at each of them in every run.
	long bool
}

var one, two, three = testReplica(1), testReplica(2), testReplica(3)

// rolling is an entry for which there is no room after fill.
const rolling = 12000

var stories = []story{
	{name: "identity", before: func(r *lifeRun) {
		must(r.t, r.fs.MkdirAll("d"))
		must(r.t, r.identify(testIdentity))
	}, act: func(r *lifeRun) error {
		next := testIdentity
		next.Start++
		return r.identify(next)
	}},
	{name: "open-new", before: func(r *lifeRun) {}, act: (*lifeRun).open},
	{name: "found", before: begin, act: func(r *lifeRun) error { return r.append(founding(three)) }},
	{name: "append", before: begin, act: func(r *lifeRun) error {
		return r.append(r.more(one, 2, 100), Write{
			Replica: two, State: raft.HardState{Term: 3, Vote: 9}, HasState: true, Entries: span(two, 2, 1, 3, 50),
		})
	}},
	{name: "append-two-batches", before: begin, act: func(r *lifeRun) error {
		return r.append(r.more(one, 3, 3000), r.more(two, 3, 3000))
	}},
	{name: "append-many-batches", before: begin, act: func(r *lifeRun) error {
		// Of each kind, a record for which the batch has no room.
		full := func() Write { return r.more(one, 1, SegmentBytesMin/batchPart) }
		if err := r.append(full(), Write{Replica: two, State: raft.HardState{Term: 3, Vote: 9}, HasState: true}); err != nil {
			return err
		}
		if err := r.append(full(), founding(three)); err != nil {
			return err
		}
		if err := r.append(full(), Write{Replica: three, Remove: true}); err != nil {
			return err
		}
		// A base for which the log must first know what is in the batch.
		last := r.more(one, 1, 50)
		return r.append(last, Write{Replica: one, Base: &Base{ID: last.Entries[0].ID, Membership: voters(one.ID)}})
	}},
	{name: "append-larger-than-segment", before: begin, act: func(r *lifeRun) error {
		return r.append(r.more(one, 1, 2*SegmentBytesMin))
	}},
	{name: "truncate", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(Write{Replica: one, Commit: 3, Entries: span(one, 1, 1, 9, 50)}))
	}, act: func(r *lifeRun) error {
		return r.append(Write{Replica: one, State: raft.HardState{Term: 2, Vote: 9}, HasState: true, Entries: span(one, 2, 5, 6, 70)})
	}},
	{name: "idle", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 3, 50)))
	}, act: func(r *lifeRun) error {
		if err := r.append(Write{Replica: one, Commit: 2}); err != nil {
			return err
		}
		return errors.Join(r.idle(), r.idle())
	}},
	{name: "prepare-in-pieces", size: 512 << 10, before: begin, act: func(r *lifeRun) error {
		for range 3 {
			if err := r.append(r.more(one, 1, 60_000)); err != nil {
				return err
			}
		}
		return r.idle()
	}},
	{name: "roll", before: func(r *lifeRun) {
		begin(r)
		r.fill(1)
	}, act: func(r *lifeRun) error { return r.append(r.more(one, 1, rolling)) }},
	{name: "compact", before: func(r *lifeRun) {
		begin(r)
		r.fill(3)
	}, act: func(r *lifeRun) error { return r.compact(one) }},
	{name: "copy-forward", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(founding(three), r.more(two, 4, 3000)))
		must(r.t, r.append(Write{Replica: three, Remove: true}))
		r.fill(5)
		must(r.t, r.compact(one))
	}, act: func(r *lifeRun) error {
		for range 5 {
			if err := r.append(r.more(one, 1, 3000)); err != nil {
				return err
			}
		}
		return nil
	}},
	{name: "recycle", before: func(r *lifeRun) {
		begin(r)
		r.fill(3)
		must(r.t, r.compact(one))
		r.fill(4)
	}, act: func(r *lifeRun) error {
		return r.append(r.more(one, 1, rolling))
	}},
	{name: "install", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 9, 50)))
	}, act: func(r *lifeRun) error {
		at := Base{ID: raft.LogID{Term: 2, Index: 40}, Time: 40_000, Membership: voters(one.ID, 77)}
		return r.append(Write{Replica: one, Base: &at, State: raft.HardState{Term: 2}, HasState: true, Commit: 40, Entries: span(one, 2, 41, 43, 50)})
	}},
	{name: "snapshot-write", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 5, 50)))
		must(r.t, r.snapshot(one, 1000))
		must(r.t, r.compact(one))
		must(r.t, r.append(r.more(one, 5, 50)))
	}, act: func(r *lifeRun) error {
		if err := r.snapshot(one, snapshotPieceBytes+1); err != nil {
			return err
		}
		if err := r.compact(one); err != nil {
			return err
		}
		return r.dropSnapshots(one)
	}},
	{name: "snapshot-receive", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 5, 50)))
		must(r.t, r.snapshot(one, 1000))
		must(r.t, r.compact(one))
	}, act: func(r *lifeRun) error {
		at := Base{ID: raft.LogID{Term: 1, Index: 40}, Time: 40_000, Membership: voters(one.ID, 77)}
		if err := r.receive(one, at, snapshotPieceBytes/4); err != nil {
			return err
		}
		if err := r.append(Write{Replica: one, Base: &at, Commit: 40, Entries: span(one, 1, 41, 43, 50)}); err != nil {
			return err
		}
		return r.dropSnapshots(one)
	}},
	{name: "snapshot-give-up", before: begin, act: func(r *lifeRun) error {
		if err := r.append(r.more(one, 5, 50)); err != nil {
			return err
		}
		w, err := r.store.CreateSnapshot(one, r.baseOf(one))
		if err != nil {
			return err
		}
		if _, err := w.Write(make([]byte, snapshotPieceBytes+1)); err != nil {
			return err
		}
		return w.Abort()
	}},
	{name: "full-reserve", before: func(r *lifeRun) {
		begin(r)
		r.mem.Limit(r.mem.Used())
		r.fill(2)
	}, act: func(r *lifeRun) error { return r.append(r.more(one, 1, rolling)) }},
	{name: "full-identity", before: func(r *lifeRun) {
		must(r.t, r.fs.MkdirAll("d"))
		must(r.t, r.identify(testIdentity))
		begin(r)
		must(r.t, r.close())
		r.mem.Limit(r.mem.Used())
	}, act: func(r *lifeRun) error {
		next := *r.identity
		next.Start++
		return r.identify(next)
	}},
	{name: "remove", before: begin, act: func(r *lifeRun) error { return r.append(Write{Replica: two, Remove: true}) }},
	{name: "close", before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 3, 50)))
		must(r.t, r.append(Write{Replica: one, Commit: 2}))
	}, act: (*lifeRun).close},
	{name: "open", before: func(r *lifeRun) {
		begin(r)
		r.fill(2)
		must(r.t, r.close())
	}, act: (*lifeRun).open},
	{name: "recover-torn", before: func(r *lifeRun) {
		begin(r)
		r.mem.StopAt(2) // written, not synced
		if err := r.append(r.more(one, 3, 500)); !errors.Is(err, vfs.ErrPower) {
			r.t.Fatalf("an append without power: %v", err)
		}
		r.kill()
	}, act: (*lifeRun).open},
	{name: "recover-half-prepared", size: 512 << 10, before: func(r *lifeRun) {
		begin(r)
		must(r.t, r.append(r.more(one, 2, 60_000)))
		r.kill()
	}, act: (*lifeRun).open},
	{name: "recover-reclaimed", before: func(r *lifeRun) {
		begin(r)
		r.fill(4)
		must(r.t, r.compact(one))
		must(r.t, r.append(r.more(one, 1, 3000)))
		must(r.t, r.append(r.more(one, 1, 3000)))
		r.kill()
	}, act: func(r *lifeRun) error {
		if err := r.open(); err != nil {
			return err
		}
		return r.append(r.more(one, 1, 3000))
	}},
	{name: "life", long: true, before: func(r *lifeRun) {
		must(r.t, r.open())
	}, act: func(r *lifeRun) error {
		for range 160 {
			if err := r.step(); err != nil {
				return err
			}
		}
		return r.close()
	}},
}

// begin returns a run on an empty disk in memory, which is reached through
// through if that is not nil.
func (s *story) begin(t testing.TB, seed uint64, through func(vfs.FS) vfs.FS) *lifeRun {
	mem := vfs.NewMem()
	r := newRun(seed, nil)
	r.t, r.mem, r.fs, r.size = t, mem, mem, s.size
	if through != nil {
		r.fs = through(mem)
	}
	s.before(r)
	return r
}

// begin opens a log with two replicas.
func begin(r *lifeRun) {
	must(r.t, r.open())
	must(r.t, r.append(founding(one), founding(two)))
}

// open does what a node does at its start: it says in its identity that it was
// started once more, which also makes durable what it read there, and opens the
// log.
func (r *lifeRun) open() error {
	if r.identity != nil {
		next, err := r.readIdentity()
		if err != nil {
			return err
		}
		next.Start++
		if err := r.identify(next); err != nil {
			return err
		}
	}
	r.salt++
	size := r.size
	if size == 0 {
		size = SegmentBytesMin
	}
	s, err := Open(Options{FS: r.fs, Dir: "d", SegmentBytes: size, Chance: r.salt})
	if err == nil {
		r.store = s
	}
	return err
}

func (r *lifeRun) close() error {
	err := r.store.Close()
	r.store = nil
	if err == nil {
		r.done = r.done.settled()
	}
	return err
}

// kill ends the process; the system stays up.
func (r *lifeRun) kill() {
	r.mem.Crash(vfs.KeepUnsynced, 0)
	r.store = nil
}

func (r *lifeRun) idle() error {
	err := r.store.Idle()
	if err == nil {
		r.done = r.done.settled()
	}
	return err
}

// append keeps ws, in the store and in the model.
func (r *lifeRun) append(ws ...Write) error {
	r.doing = r.done.beginnings(ws)
	if err := r.store.Append(ws); err != nil {
		return err
	}
	for _, w := range ws {
		r.made[w.Replica.Group] = max(r.made[w.Replica.Group], w.Replica.ID)
		if w.Remove {
			r.buried[w.Replica.Group] = max(r.buried[w.Replica.Group], w.Replica.ID)
		}
	}
	r.done, r.doing = r.done.after(ws), nil
	return nil
}

// baseOf is the last entry of a replica that is committed, as a base.
func (r *lifeRun) baseOf(id Replica) Base {
	l := r.done[id]
	e := l.entries[l.state.Commit-l.base.ID.Index-1]
	return Base{ID: e.ID, Time: e.Time, Membership: voters(id.ID)}
}

// compact drops all of a replica's log that is committed.
func (r *lifeRun) compact(id Replica) error {
	base := r.baseOf(id)
	w := Write{Replica: id, Base: &base}
	r.doing = r.done.beginnings([]Write{w})
	if err := r.store.Compact(id, *w.Base); err != nil {
		return err
	}
	r.done, r.doing = r.done.after([]Write{w}), nil
	return nil
}

// more is the next entries of a replica, all committed.
func (r *lifeRun) more(id Replica, count uint64, size int) Write {
	l := r.done[id]
	last := l.last().Index
	return Write{Replica: id, Commit: last + count, Entries: span(id, l.state.Term, last+1, last+count, size)}
}

// fill goes on until the rest of a segment is too small for the entry that
// rolls.
func (r *lifeRun) fill(segment uint64) {
	for r.store.active.number < segment || r.store.active.size-r.store.active.end >= rolling {
		must(r.t, r.append(r.more(one, 1, 3000)))
	}
}

// identify replaces the identity.
func (r *lifeRun) identify(id Identity) error {
	r.changing = append(r.changing[:len(r.changing):len(r.changing)], id)
	err := WriteIdentity(r.fs, "d", id)
	if err == nil {
		r.identity, r.changing = &id, nil
	}
	return err
}

// snapshot makes a snapshot of all that a replica has committed.
func (r *lifeRun) snapshot(id Replica, size int) error {
	base := r.baseOf(id)
	r.states[base.ID] = stream(size)
	w, err := r.store.CreateSnapshot(id, base)
	if err != nil {
		return err
	}
	if _, err := w.Write(r.states[base.ID]); err != nil {
		return err
	}
	if _, err := w.Commit(); err != nil {
		return err
	}
	r.snapshots = append(r.snapshots[:len(r.snapshots):len(r.snapshots)], base.ID)
	return nil
}

// receive takes a snapshot that another replica of the group made.
func (r *lifeRun) receive(id Replica, base Base, size int) error {
	r.states[base.ID] = stream(size)
	disk := vfs.NewMem()
	other := mustOpen(r.t, disk, Options{})
	w := founding(id)
	w.Base = &base
	must(r.t, other.Append([]Write{w}))
	file := raw(r.t, disk, makeSnapshot(r.t, other, id, base, r.states[base.ID]).File)
	into, err := r.store.ReceiveSnapshot(id)
	if err != nil {
		return err
	}
	const chunk = 100_000
	for at := 0; at < len(file); at += chunk {
		if err := into.Chunk(int64(at), file[at:min(at+chunk, len(file))]); err != nil {
			return err
		}
	}
	if _, err = into.Commit(); err != nil {
		return err
	}
	r.snapshots = append(r.snapshots[:len(r.snapshots):len(r.snapshots)], base.ID)
	return nil
}

// dropSnapshots removes those before the base of the log.
func (r *lifeRun) dropSnapshots(id Replica) error {
	return r.store.RemoveSnapshots(id, r.done[id].base.ID)
}

// goOn does one thing more after a crash: any, but where there are snapshots
// only what goes along with them.
func (r *lifeRun) goOn() error {
	switch {
	case len(r.states) == 0:
		return r.step()
	case r.chance.IntN(2) == 0:
		return r.append(r.more(one, 1, 50))
	case r.done[one].state.Commit == r.done[one].base.ID.Index:
		return r.idle()
	}
	return errors.Join(r.snapshot(one, 500), r.compact(one), r.dropSnapshots(one))
}

// fork returns the run on another disk, with nothing open. If there was a want
// of room, it is over.
func (r *lifeRun) fork(disk *vfs.Mem) *lifeRun {
	f := *r
	disk.Limit(0)
	f.mem, f.fs, f.store = disk, disk, nil
	f.made, f.buried, f.states = maps.Clone(r.made), maps.Clone(r.buried), maps.Clone(r.states)
	f.chance = rand.New(rand.NewPCG(uint64(disk.Used()), r.salt))
	return &f
}

// rely takes the commits that were found for those that were told, and the disk
// for knowing them from now on.
func (r *lifeRun) rely() {
	r.done = maps.Clone(r.done)
	for id, l := range r.done {
		if restored, err := r.store.Restore(id); err == nil {
			l.state.Commit, l.sure = restored.State.Commit, restored.State.Commit
			r.done[id] = l
		}
	}
}

// survive opens the log and looks at all of it; then it takes away what is not
// durable, for what was found is relied on from now on; then it goes on for a
// while, and looks once more.
func (r *lifeRun) survive() error {
	for _, what := range []string{"opened", "opened once more", "opened after going on"} {
		if what != "opened" {
			r.mem.Crash(vfs.DropUnsynced, 0)
		}
		ops := r.mem.Ops()
		if err := r.open(); err != nil {
			return fmt.Errorf("%s: %w\n%s", what, err, r.mem)
		}
		if what == "opened" {
			r.opening = r.mem.Ops() - ops
		}
		if err := r.check(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		r.rely()
		for range 5 {
			if what != "opened once more" {
				break
			}
			if err := r.goOn(); err != nil {
				return fmt.Errorf("going on: %w", err)
			}
		}
	}
	return nil
}
