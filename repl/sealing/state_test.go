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
	command shardmap.Command
}

// frozenHead is a head that was sealed.
type frozenHead struct {
	number    uint64
	ids       ids
	older     []block.Sum
	confirmed *shardmap.PointsSealed
}

// worldShard is the state of a shard. What of frozen is confirmed is no part of it: a replica has it as long as it needs it.
type worldShard struct {
	ref    shardmap.ShardRef
	head   ids
	since  Now
	frozen []*frozenHead
	files  []shardmap.PointsSealed
	seals  uint64
}

func (s *worldShard) copy() *worldShard {
	c := *s
	c.head, c.files, c.frozen = maps.Clone(s.head), slices.Clone(s.files), nil
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

// apply applies an entry. What it returns must not happen.
func (s *state) apply(e *entry, now Now) error {
	s.applied++
	if e.ids != nil {
		if s.dropped[e.shard.Window] {
			return nil
		}
		x := s.shards[e.shard]
		if x == nil {
			x = &worldShard{ref: shardmap.ShardRef{ShardID: e.shard, Shards: 2, Database: 1, Policy: 1}, head: ids{}}
			s.shards[e.shard] = x
		}
		if len(x.head) == 0 {
			x.since = now
		}
		maps.Copy(x.head, e.ids)
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
	k := min(int(p.Merge), len(x.files))
	f := &frozenHead{number: p.Number, ids: x.head}
	bytes := int64(len(x.head)) * headValue
	for _, older := range x.files[len(x.files)-k:] {
		f.older = append(f.older, older.Sum)
		bytes += older.Size
	}
	if k > 0 && bytes > mergeMax {
		return fmt.Errorf("seal %d of %s merges %d files with %d bytes in all", p.Number, p.Shard, k, bytes)
	}
	x.seals, x.head, x.frozen = p.Number, ids{}, append(x.frozen, f)
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
		at := len(x.files) - len(f.older)
		for i, o := range f.older {
			if at < 0 || x.files[at+i].Sum != o {
				return fmt.Errorf("seal %d of %s was made of a file that seal %d has replaced", p.Number, p.Shard, x.files[len(x.files)-1].Number)
			}
		}
		x.files = append(slices.Clone(x.files[:at]), p)
		return nil
	}
	return nil
}
