package logstore

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"

	"muster/logstore/vfs"
	"muster/raft"
)

// freshIdentity is that of a node that has no log yet.
func freshIdentity() Identity {
	id := testIdentity
	id.Chain, id.Stopped, id.Settled, id.Doubt = nil, 0, 0, Doubt{}
	id.Witness, id.NextWitness, id.Missed, id.Segments = Witness{}, Witness{}, nil, nil
	return id
}

// settle makes a node of an empty directory.
func settle(r *lifeRun) {
	must(r.t, r.fs.MkdirAll("d"))
	must(r.t, r.identify(freshIdentity()))
}

// begin opens a log with two replicas.
func begin(r *lifeRun) {
	if r.identity == nil {
		settle(r)
	}
	must(r.t, r.open())
	must(r.t, r.append(founding(one), founding(two)))
}

// open does what a node does at its start: it reads who it is, opens the log, and
// begins a life, which also makes durable what it read.
func (r *lifeRun) open() error {
	r.salt++
	var id Identity
	if r.identity != nil {
		var err error
		if id, err = r.readIdentity(); err != nil {
			return err
		}
	}
	size := r.size
	if size == 0 {
		size = SegmentBytesMin
	}
	s, err := Open(Options{FS: r.fs, Dir: "d", SegmentBytes: size, Chance: r.salt})
	if err != nil {
		return err
	}
	r.store = s
	if r.identity == nil {
		return nil
	}
	next, err := id.Begin(0, r.salt, s.SyncedBatch())
	must(r.t, err)
	r.changing = append(r.changing[:len(r.changing):len(r.changing)], next)
	if next, err = BeginLife(s, id, 0, r.salt); err != nil {
		return err
	}
	r.identity, r.changing = &next, nil
	if !next.Doubt.None() {
		return fmt.Errorf("a doubt on an honest disk: %s", next.Doubt.Why)
	}
	return nil
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
	r.noting = r.noting[:0:0]
	for _, w := range ws {
		if w.Note != nil {
			r.noting = append(r.noting, *w.Note)
		}
		for _, e := range w.Entries {
			r.written[fmt.Sprint(w.Replica, e.ID)] = string(e.Raw)
		}
	}
	if err := r.store.Append(ws); err != nil {
		return err
	}
	for _, w := range ws {
		if w.Note != nil {
			continue
		}
		r.made[w.Replica.Group] = max(r.made[w.Replica.Group], w.Replica.ID)
		if w.Remove {
			r.removed = append(r.removed, w.Replica)
			r.buried[w.Replica.Group] = max(r.buried[w.Replica.Group], w.Replica.ID)
		}
	}
	r.done, r.doing = r.done.after(ws), nil
	r.notes = maps.Clone(r.notes)
	for _, n := range r.noting {
		if r.notes[n.Node] = n; n.Life == (Life{}) {
			delete(r.notes, n.Node)
		}
	}
	r.noting = nil
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

// fill appends until the rest of a segment is too small for the entry that rolls.
func (r *lifeRun) fill(segment uint64) {
	for r.store.index.active.number < segment || r.store.index.active.size-r.store.index.active.end >= rolling {
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

// fence notes a fence, or removes the one of a replica if it has no finding.
func (r *lifeRun) fence(f Fence) error {
	r.fencing = append(r.fencing[:len(r.fencing):len(r.fencing)], f)
	write := func() error { return r.store.WriteFence(f) }
	if f.Found == 0 {
		write = func() error { return r.store.RemoveFence(f.Replica) }
	}
	if err := write(); err != nil {
		return err
	}
	r.fences = maps.Clone(r.fences)
	if r.fences == nil {
		r.fences = map[Replica]Fence{}
	}
	if r.fences[f.Replica] = f; f.Found == 0 {
		delete(r.fences, f.Replica)
	}
	r.fencing = nil
	return nil
}

// keepAside keeps a state of some bytes aside.
func (r *lifeRun) keepAside(id Replica, size int) error {
	r.putting = string(stream(size))
	_, err := r.store.KeepAside(id, raft.LogID{Term: 1, Index: uint64(size)}, func(w io.Writer) error {
		_, err := io.WriteString(w, r.putting)
		return err
	})
	if err == nil {
		r.asides = append(r.asides[:len(r.asides):len(r.asides)], r.putting)
		r.putting = ""
	}
	return err
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
// durable, because others rely on what was found; then it appends for a while, and
// looks once more.
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
