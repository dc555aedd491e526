package logstore

import (
	"errors"
	"io"
	"log/slog"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// The snapshots of a replica come and go with what the index says of its log: one
// is taken where the log has its base, counts as its state behind the log's
// beginning, and goes with the replica, though it be written right then. One would
// doubt it: it is written beside Append, which may remove the replica meanwhile.
func TestSnapshotsFollowTheIndex(t *testing.T) {
	disk := vfs.NewMem()
	must(t, disk.MkdirAll("d/snap"))
	x := &index{replicas: map[Replica]*replica{}, graves: map[raft.GroupID]grave{}}
	x.segments = []*segment{{number: 1, name: segmentName(1)}}
	log := slog.New(slog.DiscardHandler)
	s := &snapshots{
		disk: disk, dir: "d/snap", log: log, index: x, faults: &faults{log: log, index: x}, halt: &halt{}, figures: &figures{},
		headroom: &headroom{disk: disk, dir: "d", log: log, gauge: &gauge{disk: disk, dir: "d"}}, of: map[Replica][]kept{},
	}
	x.dropped = s.forget
	id := testReplica(1)
	at := func(index uint64) Base { return Base{ID: raft.LogID{Term: 1, Index: index}, Membership: voters(id.ID)} }
	if _, err := s.create(id, at(3)); !errors.Is(err, ErrUnknown) {
		t.Errorf("of a replica that the log does not hold: got %v", err)
	}
	p := x.add(id)
	base := at(0)
	x.take(&record{kind: kindBase, replica: p, base: &base, end: 0}, place{1, 512, 100})
	x.take(&record{kind: kindEntries, replica: p, first: 1, term: 1, count: 9}, place{1, 612, 100})
	write := func(index uint64) (Snapshot, error) {
		w, err := s.create(id, at(index))
		must(t, err)
		_, err = io.WriteString(w, "state")
		must(t, err)
		return w.Commit()
	}
	for _, index := range []uint64{3, 7} {
		_, err := write(index)
		must(t, err)
	}
	base = at(5)
	x.take(&record{kind: kindBase, replica: p, base: &base, end: 9}, place{1, 712, 100})
	if all := s.usable(id); len(all) != 2 || all[0].Base.ID.Index != 3 {
		t.Errorf("usable: %v", all)
	}
	if _, lost := s.stateLost(p); lost {
		t.Error("the state is lost, with a snapshot behind the log's beginning")
	}
	must(t, s.remove(id, raft.LogID{Term: 1, Index: 8}))
	if d, lost := s.stateLost(p); !lost || d.File == "" {
		t.Errorf("without a snapshot the state is there: %+v", d)
	}
	_, err := write(8)
	must(t, err)
	late, err := s.create(id, at(9))
	must(t, err)
	x.take(&record{kind: kindRemove, replica: p}, place{1, 812, 100})
	if _, err := late.Commit(); !errors.Is(err, ErrUnknown) {
		t.Errorf("the last is committed after the removal: %v", err)
	}
	must(t, s.sweep())
	if names, err := disk.List("d/snap"); err != nil || len(names) > 0 {
		t.Errorf("left: %v, %v", names, err)
	}
}
