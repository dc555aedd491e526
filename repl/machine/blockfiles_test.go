package machine_test

import (
	"bytes"
	"slices"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points/block"
)

// sealedGroup is a replica of group 1 with both shards of window 7, to which points come and whose heads are sealed.
type sealedGroup struct {
	t     *testing.T
	m     *machine.Map
	index uint64
}

func newSealedGroup(t *testing.T) *sealedGroup {
	g := &sealedGroup{t: t, m: machine.NewMap(replicaOf(1, 7), func() *shardmap.Table { return nil })}
	g.apply(shardmap.RaiseCommand(shardmap.Level))
	return g
}

func (g *sealedGroup) apply(c shardmap.Command) {
	g.t.Helper()
	g.index++
	if _, _, err := g.m.Apply(payloadEntry(g.index, raft.EntryNormal, payloadOf(&c)), true, nil); err != nil {
		g.t.Fatal(err)
	}
}

// write brings points to both shards.
func (g *sealedGroup) write() {
	g.t.Helper()
	shards := map[shardmap.ShardID]bool{}
	for _, p := range pointsOf(g.t, "cpu,host=a v=1 1\ncpu,host=b v=2 2\ncpu,host=c v=3 3\ncpu,host=d v=4 4") {
		shards[p.Shard.ShardID] = true
		g.apply(p.Command())
	}
	if len(shards) != 2 {
		g.t.Fatalf("points for %d shards, want both", len(shards))
	}
}

// seal freezes the head of a shard, and names its file by a byte if that is not 0; it takes the place of the newest merge files.
func (g *sealedGroup) seal(shard uint32, merge uint32, name byte) {
	g.t.Helper()
	s := g.m.State.Shards()[shard]
	number := s.Points.Generation()
	g.apply((&shardmap.PointsSeal{Shard: s.ShardID, Number: number, Merge: merge}).Command())
	if name != 0 {
		g.apply((&shardmap.PointsSealed{Shard: s.ShardID, Number: number, Sum: sumOf(name), Size: 100, Values: 1, First: 1, Last: 4}).Command())
	}
}

func sumOf(name byte) (sum block.Sum) {
	sum[0] = name
	return sum
}

// A state names the files that were confirmed and not replaced, once each, and a replica that begins with its snapshot names
// the same: what is only frozen has no file, and what a later seal has merged is not needed any more.
func TestBlockFilesOfAState(t *testing.T) {
	g := newSealedGroup(t)
	if sums := g.m.BlockFiles(); len(sums) != 0 {
		t.Errorf("an empty state names %d files", len(sums))
	}
	for _, step := range []struct {
		shard, merge uint32
		name         byte
		want         []byte
	}{
		{0, 0, 9, []byte{9}},
		{1, 0, 3, []byte{3, 9}},
		{0, 0, 3, []byte{3, 9}}, // equal points of two shards
		{0, 2, 5, []byte{3, 5}},
		{1, 1, 7, []byte{5, 7}},
		{1, 1, 0, []byte{5, 7}}, // frozen, and not confirmed
	} {
		g.write()
		g.seal(step.shard, step.merge, step.name)
		var want []block.Sum
		for _, name := range step.want {
			want = append(want, sumOf(name))
		}
		if got := g.m.BlockFiles(); !slices.Equal(got, want) {
			t.Errorf("%+v: the state names %x", step, got)
		}
		var snapshot bytes.Buffer
		other := machine.NewMap(replicaOf(1, 7), func() *shardmap.Table { return nil })
		id := raft.LogID{Term: 1, Index: g.index}
		if _, err := g.m.Copy().WriteTo(&snapshot); err != nil {
			t.Fatal(err)
		}
		if err := other.Restore(&snapshot, id, 0); err != nil {
			t.Fatal(err)
		}
		if got := other.BlockFiles(); !slices.Equal(got, want) {
			t.Errorf("%+v: a replica that begins with the snapshot names %x", step, got)
		}
	}
}

// onDisk are the block files that a replica has.
type onDisk map[block.Sum]bool

func (d onDisk) missing(sums []block.Sum) (n int) {
	for _, s := range sums {
		if !d[s] {
			n++
		}
	}
	return n
}

// Fetch implements [repl.SnapshotFiles]: nothing comes by itself.
func (d onDisk) Fetch(_ logstore.Snapshot, _ raft.NodeID, list func() ([]repl.BlockFile, error)) (int, error) {
	files, err := list()
	sums := make([]block.Sum, len(files))
	for i := range files {
		sums[i] = files[i].Sum
	}
	return d.missing(sums), err
}

// A crash comes after a snapshot has arrived and before all its block files have. The log reaches back behind it, so the replica begins
// without it, and takes it once the files are there. If they were lost after that, the replica begins with it all the same: the
// log goes back no further, and other replicas have them.
func TestCrashBeforeBlockFiles(t *testing.T) {
	g := newSealedGroup(t)
	g.write()
	g.seal(0, 0, 5)
	g.write()
	g.seal(1, 0, 3)
	at := raft.LogID{Term: 1, Index: g.index}
	disk := onDisk{sumOf(5): true}
	f := &follower{t: t, disk: vfs.NewMem(), group: 1, arrives: disk}
	f.make = func() repl.StateMachine {
		return machine.NewMap(replicaOf(1, 1), func() *shardmap.Table { return nil })
	}
	f.lacks = func(_ logstore.Replica, sums []block.Sum) int { return disk.missing(sums) }
	f.begin()
	// The log has all up to the snapshot and one entry more, of which only the first is known to be committed.
	var entries []raft.Entry
	for i := range at.Index + 1 {
		command := shardmap.RaiseCommand(shardmap.Level)
		entries = append(entries, f.entry(i+1, raft.EntryNormal, payloadOf(&command)))
	}
	f.host.Receive(2, &wire.Envelope{Group: 1, Incarnation: 1, Mark: 2, Message: raft.Message{Type: raft.MsgAppend, From: 2, To: 1, Term: 1, Commit: 1, Entries: entries}})
	f.turn()
	for _, crash := range []bool{true, false} {
		if a := f.arrive(g.m, at); a.State != wire.ChunkTaken || a.Offset == 0 {
			t.Fatalf("without a file it is answered with %+v", a)
		}
		if crash {
			f.again()
		}
		if got := f.applied(); got.Index != 1 || len(f.store.Snapshots(f.replica())) != 1 {
			t.Fatalf("without a file it stands at %s, with %d snapshots", got, len(f.store.Snapshots(f.replica())))
		}
	}
	disk[sumOf(3)] = true
	f.install(g.m, at)
	for _, has := range []bool{true, false} {
		disk[sumOf(3)] = has
		f.again()
		if got := f.applied(); got != at {
			t.Errorf("with the file: %t, it begins at %s, want %s", has, got, at)
		}
	}
	files, err := machine.SnapshotFiles(f.store, f.store.Snapshots(f.replica())[0])
	if err != nil || !slices.Equal(files, g.m.BlockFiles()) {
		t.Errorf("its snapshot lists %x, %v", files, err)
	}
}
