package rescue

import (
	"errors"
	"fmt"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
)

// The power goes at every operation that Apply does to the disk, and once more at some
// operation of the Apply after it. Until it is done the node does not start: either the
// directory is as it was, or its identity says that a plan is begun. All that the old logs
// held is there at each moment, in them or in the new ones. In the end the directory is
// what it is without a crash.
func TestCrashAtEveryOperation(t *testing.T) {
	if points := crashAtEveryOperation(t); points < 500 {
		t.Errorf("%d points, want 500", points)
	}
}

func crashAtEveryOperation(t testing.TB) (points int) {
	t.Helper()
	w := newWorld(t, map[int]log{2: {entries: 7}, 3: {entries: 9, term: 2, from: 4}})
	p := w.plan(Options{})
	for _, n := range w.survivors() {
		whole := w.nodes[n].Copy()
		must(t, Apply(whole, dir, p, ApplyOptions{Mark: 1, Chance: 1}))
		want := described(t, whole)
		ops := whole.Ops() - w.nodes[n].Copy().Ops()
		for at := 1; at <= ops; at++ {
			for _, mode := range vfs.CrashModes() {
				points++
				if err := crashAt(w.nodes[n].Copy(), p, at, mode, want); err != nil {
					t.Fatalf("n%d: crash at operation %d of %d, %s: %v", n, at, ops, mode, err)
				}
			}
		}
	}
	t.Logf("%d points", points)
	return points
}

func crashAt(disk *vfs.Mem, p *Plan, at int, mode vfs.CrashMode, want string) error {
	disk.StopAt(at)
	if err := Apply(disk, dir, p, ApplyOptions{Mark: 1, Chance: 1}); !errors.Is(err, vfs.ErrPower) {
		return fmt.Errorf("not cut short: %w", err)
	}
	disk.Crash(mode, uint64(at))
	if err := whatIsThere(disk, p); err != nil {
		return err
	}
	// Once more, somewhere else, and then to the end.
	disk.StopAt(1 + at*7%23)
	switch err := Apply(disk, dir, p, ApplyOptions{Mark: 2, Chance: 2}); {
	case errors.Is(err, vfs.ErrPower):
		disk.Crash(mode, uint64(at)+1)
		if err := whatIsThere(disk, p); err != nil {
			return fmt.Errorf("the second time: %w", err)
		}
	case err != nil:
		return err
	default:
		disk.StopAt(0)
	}
	if err := Apply(disk, dir, p, ApplyOptions{Mark: 3, Chance: 3}); err != nil {
		return fmt.Errorf("again: %w", err)
	}
	got, err := describe(disk)
	if err == nil && got != want {
		err = fmt.Errorf("got\n%s\nwant\n%s", got, want)
	}
	return err
}

// whatIsThere says what is wrong with a directory in which Apply was cut short.
func whatIsThere(disk *vfs.Mem, p *Plan) error {
	id, _, err := logstore.ReadIdentity(disk, dir)
	if err != nil {
		return err
	}
	if before := id.Recovery.Plan == 0 && id.ClusterID == uint64(p.From); before || id.Recovery.Done {
		// Its node may start: there is one replica of each group, and all of its state.
		r, err := open(disk)
		if err != nil {
			return fmt.Errorf("the node may start (%+v): %w", id.Recovery, err)
		}
		if inc := r.replicas[0].Incarnation; before != (inc == 1) {
			return fmt.Errorf("the node may start (%+v) with %s", id.Recovery, r.replicas[0])
		}
		return nil
	}
	s, err := logstore.OpenToRead(disk, dir)
	if err != nil {
		return err
	}
	defer s.Close()
	for i := range p.Groups {
		g := &p.Groups[i]
		if g.Action != Renew || g.Group != 0 && g.Source != ID(id.Node) {
			continue
		}
		whole := false
		for _, r := range s.Replicas() {
			st, err := stateOf(s, r)
			if err != nil {
				return err
			}
			whole = whole || r.Group == g.Group && (LogID(st.last) == g.End || LogID(st.last) == g.Base)
		}
		if !whole {
			return fmt.Errorf("all of group %d is gone", g.Group)
		}
	}
	return nil
}

// describe says what a directory holds, apart from its lives.
func describe(disk vfs.FS) (string, error) {
	r, err := open(disk)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("cluster %x recovery %+v meta %+v members %v doubt %q table %x", r.identity.ClusterID, r.identity.Recovery, r.identity.Meta, r.identity.Members, r.identity.Doubt.Why, r.table.AppendTo(nil))
	for _, replica := range r.store.Replicas() {
		o, _ := r.store.Outline(replica)
		text += fmt.Sprintf("\n%s: base %+v last %s state %+v, %d values", replica, o.Base, o.Last, o.State, r.values[replica.Group])
	}
	return text + fmt.Sprintf("\nremoved %v notes %v", r.store.Tombstones(), r.store.Notes()), nil
}

func described(t testing.TB, disk vfs.FS) string {
	t.Helper()
	s, err := describe(disk)
	must(t, err)
	return s
}

// A disk without room for the new snapshots is left as it was but for the plan's mark, and
// Apply goes on once there is room.
func TestApplyOnAFullDisk(t *testing.T) {
	w := newWorld(t, map[int]log{2: {entries: 7}})
	p := w.plan(Options{})
	whole := w.nodes[2].Copy()
	must(t, Apply(whole, dir, p, ApplyOptions{Mark: 1, Chance: 1}))
	disk := w.nodes[2]
	full := 0
	for room := int64(0); room < 1<<20; room += 4 << 10 {
		one := disk.Copy()
		one.Limit(one.Used() + room)
		err := Apply(one, dir, p, ApplyOptions{Mark: 1, Chance: 1})
		if err == nil {
			break
		}
		full++
		if !errors.Is(err, logstore.ErrFull) {
			t.Fatalf("with %d bytes: %v", room, err)
		}
		if err := whatIsThere(one, p); err != nil {
			t.Fatalf("with %d bytes: %v", room, err)
		}
		one.Limit(1 << 30)
		if err := Apply(one, dir, p, ApplyOptions{Mark: 2, Chance: 2}); err != nil {
			t.Fatalf("with %d bytes, and then with room: %v", room, err)
		}
		if got, want := described(t, one), described(t, whole); got != want {
			t.Errorf("with %d bytes: got\n%s\nwant\n%s", room, got, want)
		}
	}
	if full == 0 {
		t.Error("there was always room")
	}
}
