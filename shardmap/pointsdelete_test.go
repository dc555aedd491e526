package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"muster/raft"
	"muster/shardmap/points"
	"muster/shardmap/points/shard"
)

// testDelete returns the delete of a measurement from both shards of a window, as tests have them.
func testDelete(window WindowID, measurement string) *PointsDelete {
	d := &PointsDelete{Name: "metrics", Measurement: []byte(measurement), First: math.MinInt64, Last: math.MaxInt64}
	for n := range points.Shard(testShards) {
		d.Shards = append(d.Shards, ShardRef{ShardID{window, n}, testShards, 5, 6, points.Window{First: int64(window) * 1000, Last: int64(window)*1000 + 999}})
	}
	return d
}

// A delete that is none, or more than an entry may be, is refused before the log.
func TestPointsDeleteRefused(t *testing.T) {
	with := func(f func(d *PointsDelete)) Command {
		d := testDelete(1, "cpu")
		f(d)
		return d.Command()
	}
	many := make([]ShardRef, DeleteShardsMax+1)
	for i := range many {
		many[i] = ShardRef{ShardID{WindowID(i + 1), 0}, 1, 5, 6, points.Window{}}
	}
	for _, tt := range []struct {
		what    string
		command Command
		want    string
	}{
		{"a session", func() Command { c := testDelete(1, "cpu").Command(); c.Session, c.Sequence = 7, 1; return c }(), "field session: 7; want 0"},
		{"no shards", with(func(d *PointsDelete) { d.Shards = nil }), "of 0 shards, want 1 to 256"},
		{"too many shards", with(func(d *PointsDelete) { d.Shards = many }), "of 257 shards, want 1 to 256"},
		{"a shard twice", with(func(d *PointsDelete) { d.Shards[1] = d.Shards[0] }), "out of order"},
		{"a shard that the window does not have", with(func(d *PointsDelete) { d.Shards[1].Shard = testShards }), "want 0 to one less"},
		{"no measurement", with(func(d *PointsDelete) { d.Measurement = nil }), "a measurement of 0 bytes"},
		{"a long measurement", with(func(d *PointsDelete) { d.Measurement = make([]byte, points.KeyMax+1) }), "a measurement of 65536 bytes"},
		{"a span that ends before it begins", with(func(d *PointsDelete) { d.First, d.Last = 1, 0 }), "from 1 to 0"},
		{"a series of another measurement", with(func(d *PointsDelete) { d.Series = items("cpus,host=a") }), "none of measurement"},
		{"a series twice", with(func(d *PointsDelete) { d.Series = items("cpu,host=a", "cpu,host=a") }), "out of order"},
		{"a key that is too long", with(func(d *PointsDelete) { d.Series = items("cpu," + strings.Repeat("x", points.KeyMax)) }), "want at most 65535"},
		{"too many keys", with(func(d *PointsDelete) { d.Series = manySeries(5000) }), "more than 163840"},
		{"a command without a body", Command{Kind: CommandPointsDelete}, "0 items; want one"},
	} {
		err := tt.command.Validate(Limits{ValueMax: 10, Level: Level})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want %q", tt.what, err, tt.want)
		}
	}
}

func manySeries(n int) (keys [][]byte) {
	for i := range n {
		keys = append(keys, fmt.Appendf(nil, "cpu,host=%s-%06d", strings.Repeat("x", 30), i))
	}
	return keys
}

// The pieces of a delete fit in entries, and name together what it names.
func TestPiecesOfDelete(t *testing.T) {
	d := testDelete(1, "cpu")
	d.Shards = nil
	for i := range 2*DeleteShardsMax + 1 {
		d.Shards = append(d.Shards, ShardRef{ShardID{WindowID(i + 1), 0}, 1, 5, 6, points.Window{}})
	}
	for _, series := range [][][]byte{nil, items("cpu,host=a"), manySeries(9000), {append([]byte("cpu,"), make([]byte, points.KeyMax-4)...)}} {
		d.Series = series
		var shards []ShardRef
		got := map[ShardID][][]byte{}
		for p := range d.Pieces() {
			c := p.Command()
			if err := c.Validate(Limits{ValueMax: 10, Level: Level}); err != nil {
				t.Fatalf("%d series: %v", len(series), err)
			}
			for _, s := range p.Shards {
				if got[s.ShardID] == nil {
					shards = append(shards, s)
				}
				got[s.ShardID] = append(got[s.ShardID], append([][]byte{nil}, p.Series...)...)
			}
		}
		if !slices.Equal(shards, d.Shards) {
			t.Errorf("%d series: of %d shards", len(series), len(shards))
		}
		for id, keys := range got {
			keys = slices.DeleteFunc(keys, func(k []byte) bool { return k == nil })
			if !slices.EqualFunc(keys, series, bytes.Equal) {
				t.Errorf("%s: %d series, want %d", id, len(keys), len(series))
			}
		}
	}
}

// A shard keeps so many deletes until its next seal. One more changes nothing, at the shards that have room neither.
func TestManyDeletesOfAShard(t *testing.T) {
	m, index := NewMap(testGroup), uint64(0)
	do := func(c Command) Result {
		index++
		return apply(t, m, index, 0, &c)
	}
	do(RaiseCommand(Level))
	one := testDelete(1, "cpu")
	one.Shards = one.Shards[1:]
	for _, p := range pointsBodies(t, 1, "cpu,host=a v=1 1000\ncpu,host=b v=1 1000\ncpu,host=c v=1 1000\ncpu,host=d v=1 1000") {
		if p.Shard == one.Shards[0] {
			do(p.Command())
		}
	}
	for range shard.TombstonesMax {
		if r := do(one.Command()); r.Status != StatusApplied {
			t.Fatalf("entry %d: %s", index, r.Status)
		}
	}
	digests := m.Digests(nil)
	if r := do(testDelete(1, "cpu").Command()); r.Status != StatusManyDeletes || len(m.Shards()) != 1 || !slices.Equal(digests, m.Digests(nil)) {
		t.Errorf("%s, and there are %d shards", r.Status, len(m.Shards()))
	}
}

// deletesOfNothing says what is wrong with a shard that has neither points nor files, and gets more deletes than a shard keeps; "":
// nothing. No seal ends them: the oldest are forgotten, on all replicas alike.
func deletesOfNothing(t testing.TB) string {
	m, index := NewMap(testGroup), uint64(0)
	do := func(c Command) Result {
		index++
		return apply(t, m, index, 0, &c)
	}
	do(RaiseCommand(Level))
	const more = 3
	for range shard.TombstonesMax + more {
		if r := do(testDelete(1, "cpu").Command()); r.Status != StatusApplied {
			return fmt.Sprintf("delete %d: %s", index, r.Status)
		}
	}
	p := m.Shards()[0].Points
	if n := p.Tombstones(); n != shard.TombstonesMax {
		return fmt.Sprintf("%d deletes are kept, want %d", n, shard.TombstonesMax)
	}
	fill := pointsBodies(t, 1, "cpu v=1 1000")[0]
	fill.Mode = PointsFill
	for _, tt := range []struct {
		taken uint64
		want  Status
	}{{more, StatusForgotten}, {more + 1, StatusApplied}} { // the first entry is no delete
		fill.Taken = tt.taken
		if r := do(fill.Command()); r.Status != tt.want || m.Shard(fill.Shard.ShardID).Points.HeadValues() != 0 {
			return fmt.Sprintf("a fill that was taken at entry %d: %s, want %s and no value", tt.taken, r.Status, tt.want)
		}
	}
	return ""
}

func TestDeletesOfNothing(t *testing.T) {
	if wrong := deletesOfNothing(t); wrong != "" {
		t.Error(wrong)
	}
}

// A delete that no admission lets through stops the group, and changes nothing; one that comes too early or too late is
// answered.
func TestDeletesThatComeWrong(t *testing.T) {
	m := NewMap(testGroup)
	raise, drop := RaiseCommand(Level), (&DropShards{Windows: []WindowID{2}}).Command()
	early := testDelete(1, "cpu").Command()
	if r := apply(t, m, 1, 0, &early); r.Status != StatusNotRaised {
		t.Errorf("before the group is raised: %s", r.Status)
	}
	apply(t, m, 2, 0, &raise)
	apply(t, m, 3, 0, &early)
	apply(t, m, 4, 0, &drop)
	late := testDelete(2, "cpu").Command()
	if r := apply(t, m, 5, 0, &late); r.Status != StatusApplied || len(m.Shards()) != testShards {
		t.Errorf("of a window that was dropped: %s, and there are %d shards", r.Status, len(m.Shards()))
	}
	digests := m.Digests(nil)
	other := testDelete(1, "cpu")
	other.Shards[0].Policy++
	another := other.Command()
	if _, err := m.Apply(raft.LogID{Term: 1, Index: 6}, 0, &another); !errors.Is(err, ErrInvariant) {
		t.Errorf("of another policy: %v", err)
	}
	broken := Command{Kind: CommandPointsDelete, Items: items("x")}
	if _, err := m.Apply(raft.LogID{Term: 1, Index: 6}, 0, &broken); !errors.Is(err, ErrCommand) {
		t.Errorf("bytes that are no delete: %v", err)
	}
	if !slices.Equal(digests, m.Digests(nil)) || m.Applied().Index != 5 {
		t.Error("they have changed something")
	}
}

// deletedFill says what is wrong with a group that gets a fill, as the first points of a shard, which was taken before a
// delete of them; "": nothing.
func deletedFill(t testing.TB) string {
	m := NewMap(testGroup)
	raise, deleted := RaiseCommand(Level), testDelete(1, "cpu").Command()
	apply(t, m, 1, 0, &raise)
	apply(t, m, 2, 0, &deleted)
	fill := pointsBodies(t, 1, "cpu v=1 1000")[0]
	fill.Mode, fill.Taken = PointsFill, 1
	before := fill.Command()
	apply(t, m, 3, 0, &before)
	values := func() int64 { return m.Shard(fill.Shard.ShardID).Points.HeadValues() }
	if n := values(); n != 0 {
		return fmt.Sprintf("taken before the delete: %d values are there", n)
	}
	fill.Taken = 2
	after := fill.Command()
	apply(t, m, 4, 0, &after)
	if n := values(); n != 1 {
		return fmt.Sprintf("taken after the delete: %d values are there", n)
	}
	return ""
}

func TestDeletedFill(t *testing.T) {
	if wrong := deletedFill(t); wrong != "" {
		t.Error(wrong)
	}
}
