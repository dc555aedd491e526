package shardmap

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/shardmap/points"
	"muster/shardmap/points/shard"
)

// A group has the points of shards, which are no slots: each came with the first entry that brought points to it
// or took some away, and goes with an entry that drops its window. Package shard tells what an entry does to a shard.
//
// A seal is two entries. The first one freezes the head: from it on all replicas have the same head to make a file of,
// beside the log. The second one names the file that the leader has made. A replica that makes another one has
// a wrong state.

// GroupShard is a shard as a group has it. Its Points change with each entry; a [shard.View] does not.
type GroupShard struct {
	ShardRef
	Points *shard.Shard
	// Since is the index of the first entry that brought points which are in no frozen head; 0: there are none.
	Since uint64
	// Sealing reports whether a head is frozen and in no file yet; Merge is how many files its file will take the place of.
	Sealing bool
	Merge   uint32
	// chain sums up the entries that have changed the shard, in their order. Replicas with equal chains have applied the
	// same ones; what their memory makes of them shows when they seal, by the name of the file.
	chain uint64
	// kept are heads whose files the replica may not have yet; see heads.go.
	kept []KeptHead
}

// note adds an entry to the chain, by what it says.
func (s *GroupShard) note(at entryAt, what ...uint64) {
	s.chain = sumOf(16, append([]uint64{s.chain, at.id.Term, at.id.Index}, what...)...)
}

// empty reports whether the shard has neither points nor files: then no seal of it is taken. All replicas find the same, whatever
// their memory makes of points that were replaced or deleted.
func (s *GroupShard) empty() bool {
	return s.Since == 0 && !s.Sealing && len(s.Points.Files()) == 0
}

// groupShards are the shards of a map. The goroutine that applies owns them.
type groupShards struct {
	list []*GroupShard // by id
	// gone are windows whose shards were dropped, the last goneWindowsMax of them, ascending: an entry that was on its way
	// must not make them again.
	gone    []WindowID
	made    uint64 // how many shards entries have made here
	changes uint64 // grows with each change of what a seal goes by
	keeps   bool   // heads are kept until [groupShards.ReleaseHead]
	reader  points.ShareReader
}

// bugShardAgain is planted to show that its test finds it: points that were on their way make a shard again whose window
// was dropped.
const bugShardAgain = "dropped shard made again"

// bugSealAgain is planted to show that its test finds it: a seal that comes twice seals twice.
const bugSealAgain = "seal of points applied twice"

// goneWindowsMax bounds the windows that a group remembers. An entry that comes later than so many drops makes a shard
// that no window has any more; whoever leads the group drops it again.
const goneWindowsMax = 1024

// Shards returns the shards of the group, by window and number. The goroutine that applies calls it, and changes
// nothing.
func (g *groupShards) Shards() []*GroupShard { return g.list }

// Shard returns a shard of the group; nil: it has none of it. The goroutine that applies calls it.
func (g *groupShards) Shard(id ShardID) *GroupShard {
	i, ok := g.find(id)
	if !ok {
		return nil
	}
	return g.list[i]
}

// ShardChanges returns a number that grows whenever something has changed by which heads are sealed or files are kept:
// points, seals, files, drops.
func (g *groupShards) ShardChanges() uint64 { return g.changes }

// ShardsMade returns how many shards entries have made since the map was begun or loaded.
func (g *groupShards) ShardsMade() uint64 { return g.made }

func (g *groupShards) find(id ShardID) (int, bool) {
	return slices.BinarySearchFunc(g.list, id, func(s *GroupShard, id ShardID) int { return s.compare(id) })
}

func (s ShardID) compare(o ShardID) int {
	return cmp.Or(cmp.Compare(s.Window, o.Window), cmp.Compare(s.Shard, o.Shard))
}

// isGone reports whether a window was dropped, as far as the group remembers.
func (g *groupShards) isGone(w WindowID) bool {
	_, gone := slices.BinarySearch(g.gone, w)
	return gone && !bug(bugShardAgain)
}

// add makes a shard that the group does not have.
func (g *groupShards) add(ref *ShardRef) *GroupShard {
	i, _ := g.find(ref.ShardID)
	s := &GroupShard{ShardRef: *ref, Points: shard.New(ref.Span)}
	g.list = slices.Insert(g.list, i, s)
	g.made++
	return s
}

// bringPoints carries out [CommandPoints].
func bringPoints(m *Map, at entryAt, c *Command) (Status, error) {
	p, err := ReadPoints(c)
	if err != nil {
		return 0, err
	}
	if m.history.raised < PointsLevel {
		return StatusNotRaised, nil // its snapshots have no place for shards
	}
	g := &m.groupShards
	if g.isGone(p.Shard.Window) {
		return StatusNoShard, nil
	}
	i, have := g.find(p.Shard.ShardID)
	if have && g.list[i].ShardRef != p.Shard {
		return 0, fmt.Errorf("%w: points for %s, which is another one here", ErrInvariant, p.Shard)
	}
	batch, err := g.reader.Read(p.Share, p.Shard.Span)
	if err != nil {
		return 0, fmt.Errorf("%w: points for %s: %w", ErrCommand, p.Shard, err)
	}
	var s *GroupShard
	if have {
		s = g.list[i]
	} else {
		s = g.add(&p.Shard)
	}
	limits := c.Limits
	if limits == (points.Limits{}) {
		limits = points.DefaultLimits
	}
	s.Points.Limit(limits.Of(s.Shards))
	var r shard.Result
	if p.Mode == PointsFill {
		if r, err = s.Points.Fill(batch, p.Taken); err != nil {
			return StatusForgotten, nil
		}
	} else {
		r = s.Points.Apply(batch, shard.Write)
	}
	if r.Stored > 0 && s.Since == 0 {
		s.Since = at.id.Index
	}
	s.note(at, uint64(p.Mode), binary.LittleEndian.Uint64(p.Share[len(p.Share)-8:])) // the share's own checksum
	g.changes++
	o := outcomeOf(&r)
	m.turn.detail = o.Append(m.turn.detail[:0])
	return StatusApplied, nil
}

// sealPoints carries out [CommandPointsSeal].
func sealPoints(m *Map, at entryAt, c *Command) (Status, error) {
	p, err := ReadPointsSeal(c)
	if err != nil {
		return 0, err
	}
	s := m.Shard(p.Shard)
	if s == nil {
		return StatusNoShard, nil
	}
	// A seal that waits for another one would count files that are gone by then. And one of nothing makes no file, or the
	// one that is there, unless deletes have taken something from it.
	least := uint32(0)
	if s.Since == 0 {
		if least = 2; s.Points.Tombstones() > 0 {
			least = 1
		}
	}
	if p.Number != s.Points.Generation() && !bug(bugSealAgain) || s.Sealing && !bug(bugSealAgain) || int(p.Merge) > len(s.Points.Files()) || p.Merge < least {
		return StatusMarked, nil
	}
	s.Points.Freeze()
	if p.Over {
		s.Points.Forget()
	}
	s.Since, s.Sealing, s.Merge = 0, true, p.Merge
	s.note(at, p.Number, uint64(p.Merge))
	m.groupShards.changes++
	return StatusApplied, nil
}

// namePoints carries out [CommandPointsSealed].
func namePoints(m *Map, at entryAt, c *Command) (Status, error) {
	p, err := ReadPointsSealed(c)
	if err != nil {
		return 0, err
	}
	s := m.Shard(p.Shard)
	if s == nil {
		return StatusNoShard, nil
	}
	if frozen := s.Points.Frozen(); len(frozen) == 0 || frozen[0] != p.Number {
		return StatusMarked, nil
	}
	m.keepHead(s, &p)
	f := shard.File{Sum: p.Sum, Size: p.Size, Values: p.Values, First: p.First, Last: p.Last}
	if _, err := s.Points.Confirm(p.Number, f, int(s.Merge)); err != nil {
		return 0, fmt.Errorf("%w: %s: %w", ErrInvariant, p.Shard, err)
	}
	s.Sealing, s.Merge = false, 0
	s.note(at, p.Number, binary.LittleEndian.Uint64(p.Sum[:]))
	m.groupShards.changes++
	return StatusApplied, nil
}

// dropShards carries out [CommandDropShards].
func dropShards(m *Map, _ entryAt, c *Command) (Status, error) {
	d, err := ReadDropShards(c)
	if err != nil {
		return 0, err
	}
	if m.history.raised < PointsLevel {
		return StatusNotRaised, nil
	}
	g := &m.groupShards
	g.list = slices.DeleteFunc(g.list, func(s *GroupShard) bool {
		_, dropped := slices.BinarySearch(d.Windows, s.Window)
		return dropped
	})
	for _, w := range d.Windows {
		if i, known := slices.BinarySearch(g.gone, w); !known {
			g.gone = slices.Insert(g.gone, i, w)
		}
	}
	if n := len(g.gone) - goneWindowsMax; n > 0 {
		g.gone = slices.Delete(g.gone, 0, n)
	}
	g.changes++
	return StatusApplied, nil
}

// any reports whether the group has, or has dropped, any shard.
func (g *groupShards) any() bool { return len(g.list) > 0 || len(g.gone) > 0 }

// sum sums up all shards.
func (g *groupShards) sum() uint64 {
	d := xxhash.New()
	var b [6 * 8]byte
	for _, s := range g.list {
		sealing := uint64(0)
		if s.Sealing {
			sealing = 1
		}
		for i, v := range [...]uint64{uint64(s.Window), uint64(s.Shard), s.Since, sealing, uint64(s.Merge), s.chain} {
			binary.LittleEndian.PutUint64(b[8*i:], v)
		}
		_, _ = d.Write(b[:]) // a hash takes everything
	}
	for _, w := range g.gone {
		binary.LittleEndian.PutUint64(b[:], uint64(w))
		_, _ = d.Write(b[:8])
	}
	return sumOf(17, d.Sum64())
}
