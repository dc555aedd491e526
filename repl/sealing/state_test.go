package sealing

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"muster/shardmap"
	"muster/shardmap/points/block"
)

// ids is a set of values: content of a head or a file.
type ids map[int]struct{}

func (a ids) with(others ...ids) ids {
	sum := ids{}
	maps.Copy(sum, a)
	for _, o := range others {
		maps.Copy(sum, o)
	}
	return sum
}

// name is the sum of a file with this content: equal content, equal name.
func (a ids) name() block.Sum {
	h := sha256.New()
	for _, id := range slices.Sorted(maps.Keys(a)) {
		_ = binary.Write(h, binary.BigEndian, uint64(id))
	}
	return block.Sum(h.Sum(nil))
}

// entry is one of the log: points, or one of the commands that the cores propose.
type entry struct {
	shard   shardmap.ShardID
	ids     ids
	fill    bool // the points yield to older ones
	command shardmap.Command
}

// frozenHead is a head that was sealed.
type frozenHead struct {
	number    uint64
	ids       ids
	fills     ids         // that are not in ids
	older     []block.Sum // files of the shard at the seal, oldest first
	merge     int         // so many of them are merged
	confirmed *shardmap.PointsSealed
}

// worldShard is the state of a shard. Frozen heads that are confirmed are no part of it: a replica keeps
// them for as long as it needs them.
type worldShard struct {
	ref    shardmap.ShardRef
	head   ids
	fills  ids // that are not in head
	since  Now
	frozen []*frozenHead
	files  []shardmap.PointsSealed
	seals  uint64
}

func (s *worldShard) copy() *worldShard {
	c := *s
	c.head, c.fills, c.files, c.frozen = maps.Clone(s.head), maps.Clone(s.fills), slices.Clone(s.files), nil
	for _, f := range s.frozen {
		if f.confirmed == nil {
			x := *f
			c.frozen = append(c.frozen, &x)
		}
	}
	return &c
}

// state is that of a replica at an entry.
type state struct {
	applied int // entries
	shards  map[shardmap.ShardID]*worldShard
	dropped map[shardmap.WindowID]bool
}

func newState() *state {
	return &state{shards: map[shardmap.ShardID]*worldShard{}, dropped: map[shardmap.WindowID]bool{}}
}

func (s *state) copy() *state {
	c := &state{applied: s.applied, shards: map[shardmap.ShardID]*worldShard{}, dropped: maps.Clone(s.dropped)}
	for id, x := range s.shards {
		c.shards[id] = x.copy()
	}
	return c
}

// files are those that the state lists.
func (s *state) files() (sums []block.Sum) {
	for _, x := range s.shards {
		for _, f := range x.files {
			sums = append(sums, f.Sum)
		}
	}
	return sums
}

// apply applies an entry. It returns an error for what must not happen.
func (s *state) apply(e *entry, now Now) error {
	s.applied++
	if e.ids != nil {
		if s.dropped[e.shard.Window] {
			return nil
		}
		x := s.shards[e.shard]
		if x == nil {
			x = &worldShard{ref: shardmap.ShardRef{ShardID: e.shard, Shards: 2, Database: 1, Policy: 1}, head: ids{}, fills: ids{}}
			s.shards[e.shard] = x
		}
		if len(x.head)+len(x.fills) == 0 {
			x.since = now
		}
		for id := range e.ids {
			if _, there := x.head[id]; e.fill && !there {
				x.fills[id] = struct{}{}
			} else {
				x.head[id] = struct{}{}
				delete(x.fills, id)
			}
		}
		return nil
	}
	switch e.command.Kind {
	case shardmap.CommandPointsSeal:
		return s.seal(&e.command)
	case shardmap.CommandPointsSealed:
		return s.sealed(&e.command)
	case shardmap.CommandDropShards:
		d, err := shardmap.ReadDropShards(&e.command)
		for _, w := range d.Windows {
			s.dropped[w] = true
			maps.DeleteFunc(s.shards, func(id shardmap.ShardID, _ *worldShard) bool { return id.Window == w })
		}
		return err
	}
	return fmt.Errorf("the core proposes %s", e.command.Kind)
}

func (s *state) seal(c *shardmap.Command) error {
	p, err := shardmap.ReadPointsSeal(c)
	x := s.shards[p.Shard]
	if err != nil || x == nil || p.Number != x.seals+1 {
		return err
	}
	f := &frozenHead{number: p.Number, ids: x.head, fills: x.fills, merge: min(int(p.Merge), len(x.files))}
	bytes := int64(len(x.head)+len(x.fills)) * headValue
	for i, older := range x.files {
		if f.older = append(f.older, older.Sum); i >= len(x.files)-f.merge {
			bytes += older.Size
		}
	}
	if f.merge > 0 && bytes > mergeMax {
		return fmt.Errorf("seal %d of %s merges %d files with %d bytes in all", p.Number, p.Shard, f.merge, bytes)
	}
	x.seals, x.head, x.fills, x.frozen = p.Number, ids{}, ids{}, append(x.frozen, f)
	return nil
}

func (s *state) sealed(c *shardmap.Command) error {
	p, err := shardmap.ReadPointsSealed(c)
	x := s.shards[p.Shard]
	if err != nil || x == nil {
		return err
	}
	for _, f := range x.frozen {
		if f.number != p.Number || f.confirmed != nil {
			continue
		}
		f.confirmed = &p
		at := len(x.files) - f.merge
		for i, o := range f.older[len(f.older)-f.merge:] {
			if at < 0 || x.files[at+i].Sum != o {
				return fmt.Errorf("seal %d of %s was made of a file that seal %d has replaced", p.Number, p.Shard, x.files[len(x.files)-1].Number)
			}
		}
		x.files = append(slices.Clone(x.files[:at]), p)
		return nil
	}
	return nil
}

// reads are the files that are read to make that of the head: those that are merged, and all if fills have to yield to what is there.
func (f *frozenHead) reads() []block.Sum {
	if len(f.fills) > 0 {
		return f.older
	}
	return f.older[len(f.older)-f.merge:]
}

// content is that of the file of the head; false: a file that it takes is not here.
func (f *frozenHead) content(disk map[block.Sum]ids) (ids, bool) {
	all, fills := maps.Clone(f.ids), maps.Clone(f.fills)
	for i, sum := range f.older {
		older, here := disk[sum]
		if !here && slices.Contains(f.reads(), sum) {
			return nil, false
		}
		if i >= len(f.older)-f.merge {
			all = all.with(older)
		}
		for id := range older {
			delete(fills, id)
		}
	}
	return all.with(fills), true
}
