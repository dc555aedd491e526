package machine_test

import (
	"bytes"
	"slices"
	"testing"

	"muster/raft"
	"muster/repl/machine"
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
