package sealing

import (
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/points/block"
)

// BenchmarkTurn is a turn of a node with 10,000 shards of ten files each in ten groups that it leads, of which one has changed.
func BenchmarkTurn(b *testing.B) {
	c := New(1, Limits{Soft: 1 << 40, Hard: 1 << 41})
	number := uint64(0)
	shards := map[raft.GroupID][]ShardView{}
	for g := range raft.GroupID(10) {
		var disk []block.Sum
		for w := range shardmap.WindowID(1000) {
			v := inWindow(w+1, ShardView{HeadBytes: 1000, HeadValues: 100, HeadSince: time.Second, Seals: 10})
			for range 10 {
				number++
				f := shardmap.PointsSealed{Number: number, Sum: block.Sum{byte(number), byte(number >> 8), byte(number >> 16)}, Values: 1 << 20, Size: 1 << 20}
				v.Files = append(v.Files, f)
				disk = append(disk, f.Sum)
			}
			shards[g] = append(shards[g], v)
		}
		c.Disk(g, disk)
		c.Snapshots(g, disk)
		c.Shards(g, shards[g])
		c.Group(g, GroupView{Term: 1, Current: true})
	}
	c.Turn(time.Second)
	for b.Loop() {
		c.Shard(3, shards[3][500])
		if actions, _ := c.Turn(time.Minute); len(actions) > 0 {
			b.Fatalf("it asks for %q", tell(actions))
		}
	}
}
