package shardmap

import (
	"slices"

	"muster/shardmap/points/shard"
)

// A group calls the file of a frozen head by its name as soon as its leader has it. Another replica may still have to make
// it, of the head and of files that are replaced then. So it keeps both for as long as it wants, beside the state: they are in
// no snapshot and no digest.

// KeptHead is a frozen head whose file has been named.
type KeptHead struct {
	PointsSealed
	Merge uint32 // how many files the file has replaced
	Bytes int64  // of memory
	Fills bool   // see [shard.FrozenHead]
	// View is the shard before the file was named: the head is its oldest frozen one.
	View *shard.View
}

// KeepHeads has frozen heads kept when their files are named, each until [groupShards.ReleaseHead]. It is called before the
// first entry.
func (g *groupShards) KeepHeads() { g.keeps = true }

// KeptHeads returns the heads that are kept, the oldest first. The goroutine that applies calls it, and changes nothing.
func (s *GroupShard) KeptHeads() []KeptHead { return s.kept }

// Behind returns the shard read of heads that are kept, in the place of their files; nil: that is not possible, or none is. The
// goroutine that applies calls it.
func (s *GroupShard) Behind() *shard.View {
	if len(s.kept) == 0 {
		return nil
	}
	views := make([]*shard.View, len(s.kept))
	for i := range s.kept {
		views[i] = s.kept[i].View
	}
	return s.Points.Behind(views)
}

// ReleaseHead lets a head go that was kept. The goroutine that applies calls it.
func (g *groupShards) ReleaseHead(id ShardID, number uint64) {
	if s := g.Shard(id); s != nil {
		s.kept = slices.DeleteFunc(s.kept, func(k KeptHead) bool { return k.Number == number })
		g.changes++
	}
}

// keepHead keeps the oldest frozen head of a shard, whose file is about to be named.
func (g *groupShards) keepHead(s *GroupShard, p *PointsSealed) {
	if !g.keeps {
		return
	}
	h := s.Points.FrozenHeads()[0]
	s.kept = append(s.kept, KeptHead{PointsSealed: *p, Merge: s.Merge, Bytes: h.Bytes, Fills: h.Fills, View: s.Points.View()})
}
