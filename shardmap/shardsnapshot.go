package shardmap

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/shardmap/points"
	"muster/shardmap/points/shard"
)

// The shards of a map stand in its state behind the history, little-endian:
//
//	 0  8    "mustshds"
//	 8  u32  number of shards
//	12  u32  number of windows whose shards were dropped, at least one of both
//	16  u64  the xxhash64 of all that stands here but the shards' own snapshots
//	24       the ids of those windows, u64 each, ascending
//	         the heads of the shards, by window and number, each:
//	           0  u64  window
//	           8  u32  number of the shard
//	          12  u32  shards of the window
//	          16  u64  database
//	          24  u64  policy
//	          32  i64  first time of the window, ns since 1970
//	          40  i64  last time
//	          48  u64  index of the first entry with points that are in no frozen head; 0: there are none
//	          56  u64  chain, which sums up the entries of the shard
//	          64  u32  1 if a head is frozen and in no file yet, else 0
//	          68  u32  how many files the file of that head takes the place of
//	         the snapshot of each shard (points/shard/snapshot.go), in that order, each with checksums of its own
const (
	shardsMagic    = "mustshds"
	shardsHeader   = 24
	shardHeadBytes = 72
	// groupShardsMax bounds the shards of a state that is read: the table has no more of all groups.
	groupShardsMax = ShardsMax
)

// shardsCopy is the shards of a map as they were at one entry.
type shardsCopy struct {
	list []shardCopy
	gone []WindowID
}

type shardCopy struct {
	GroupShard // without its Points
	view       *shard.View
}

// copy returns the shards as they are now.
func (g *groupShards) copy() (c shardsCopy) {
	c.gone = slices.Clone(g.gone)
	for _, s := range g.list {
		x := shardCopy{*s, s.Points.Copy()}
		x.Points, x.kept = nil, nil
		c.list = append(c.list, x)
	}
	return c
}

func (c *shardsCopy) any() bool { return len(c.list) > 0 || len(c.gone) > 0 }

// head returns what stands before the snapshots of the shards.
func (c *shardsCopy) head() []byte {
	b := append(make([]byte, 0, shardsHeader+8*len(c.gone)+shardHeadBytes*len(c.list)), shardsMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.list)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.gone)))
	b = binary.LittleEndian.AppendUint64(b, 0)
	for _, w := range c.gone {
		b = binary.LittleEndian.AppendUint64(b, uint64(w))
	}
	for i := range c.list {
		b = c.list[i].appendHead(b)
	}
	binary.LittleEndian.PutUint64(b[16:], shardsDigest(b))
	return b
}

// shardsDigest sums up a head, but for the place of the sum.
func shardsDigest(b []byte) uint64 {
	d := xxhash.New()
	_, _ = d.Write(b[:16]) // a hash takes everything
	_, _ = d.Write(b[shardsHeader:])
	return d.Sum64()
}

func (s *GroupShard) appendHead(b []byte) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Window))
	b = binary.LittleEndian.AppendUint32(b, uint32(s.Shard))
	b = binary.LittleEndian.AppendUint32(b, s.Shards)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Database))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Policy))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Span.First))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.Span.Last))
	b = binary.LittleEndian.AppendUint64(b, s.Since)
	b = binary.LittleEndian.AppendUint64(b, s.chain)
	sealing := uint32(0)
	if s.Sealing {
		sealing = 1
	}
	return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(b, sealing), s.Merge)
}

func (s *GroupShard) readHead(b []byte) error {
	s.Window, s.Shard = WindowID(binary.LittleEndian.Uint64(b)), points.Shard(binary.LittleEndian.Uint32(b[8:]))
	s.Shards = binary.LittleEndian.Uint32(b[12:])
	s.Database, s.Policy = DatabaseID(binary.LittleEndian.Uint64(b[16:])), PolicyID(binary.LittleEndian.Uint64(b[24:]))
	s.Span = points.Window{First: int64(binary.LittleEndian.Uint64(b[32:])), Last: int64(binary.LittleEndian.Uint64(b[40:]))}
	s.Since, s.chain = binary.LittleEndian.Uint64(b[48:]), binary.LittleEndian.Uint64(b[56:])
	sealing := binary.LittleEndian.Uint32(b[64:])
	s.Sealing, s.Merge = sealing == 1, binary.LittleEndian.Uint32(b[68:])
	if s.fault() != "" || sealing > 1 || !s.Sealing && s.Merge > 0 {
		return fmt.Errorf("%s has no such head: sealing %d, merge %d, %s", s.ShardID, sealing, s.Merge, s.fault())
	}
	return nil
}

// write writes the shards.
func (c *shardsCopy) write(s *streamWriter) error {
	if err := s.flush(); err != nil {
		return err
	}
	n, err := s.w.Write(c.head())
	s.total += int64(n)
	for i := 0; i < len(c.list) && err == nil; i++ {
		var n int64
		if n, err = c.list[i].view.WriteTo(s.w); err != nil {
			err = fmt.Errorf("%s: %w", c.list[i].ShardID, err)
		}
		s.total += n
	}
	return err
}

// shards reads the shards.
func (d *snapshotReader) shards() (g groupShards, err error) {
	b, err := d.take(shardsHeader)
	if err != nil {
		return g, err
	}
	if string(b[:8]) != shardsMagic {
		return g, fmt.Errorf("shards begin with %q, want %q", b[:8], shardsMagic)
	}
	n, gone := int(binary.LittleEndian.Uint32(b[8:])), int(binary.LittleEndian.Uint32(b[12:]))
	if n > groupShardsMax || gone > goneWindowsMax || n+gone == 0 {
		return g, fmt.Errorf("%d shards, and %d windows that were dropped; want at most %d and %d, and one at least", n, gone, groupShardsMax, goneWindowsMax)
	}
	head := slices.Clone(b)
	if b, err = d.take(8*gone + shardHeadBytes*n); err != nil {
		return g, err
	}
	head = append(head, b...)
	if got, want := shardsDigest(head), binary.LittleEndian.Uint64(head[16:]); got != want {
		return g, fmt.Errorf("what was read of shards has digest %016x, the state says %016x", got, want)
	}
	b = head[shardsHeader:]
	for ; gone > 0; gone, b = gone-1, b[8:] {
		w := WindowID(binary.LittleEndian.Uint64(b))
		if k := len(g.gone); w == 0 || k > 0 && w <= g.gone[k-1] {
			return g, fmt.Errorf("window %d, which was dropped, is out of order", w)
		}
		g.gone = append(g.gone, w)
	}
	for ; n > 0; n, b = n-1, b[shardHeadBytes:] {
		s := new(GroupShard)
		if err := s.readHead(b); err != nil {
			return g, err
		}
		if k := len(g.list); k > 0 && g.list[k-1].compare(s.ShardID) >= 0 {
			return g, fmt.Errorf("%s is out of order", s.ShardID)
		}
		g.list = append(g.list, s)
	}
	for _, s := range g.list {
		if s.Points, err = shard.Load(d); err != nil {
			return g, fmt.Errorf("%s: %w", s.ShardID, err)
		}
		if what := s.contradiction(); what != "" {
			return g, fmt.Errorf("%s: %s", s.ShardID, what)
		}
	}
	return g, nil
}

// contradiction says where the points of a shard can't be those of its head.
func (s *GroupShard) contradiction() string {
	switch frozen, files := len(s.Points.Frozen()), len(s.Points.Files()); {
	case s.Points.Window() != s.Span:
		return fmt.Sprintf("its points are of a window from %d to %d", s.Points.Window().First, s.Points.Window().Last)
	case frozen > 1 || (frozen == 1) != s.Sealing:
		return fmt.Sprintf("%d of its heads are frozen, and it is being sealed: %t", frozen, s.Sealing)
	case uint64(s.Merge) > uint64(files):
		return fmt.Sprintf("its seal merges %d files of %d", s.Merge, files)
	}
	return ""
}

// Read implements [io.Reader]: it takes what is there.
func (d *streamReader) Read(p []byte) (int, error) {
	b := d.window(1)
	if len(b) == 0 {
		if d.err == nil || d.err == io.EOF {
			return 0, io.EOF
		}
		return 0, d.err
	}
	n := copy(p, b)
	d.skip(n)
	return n, nil
}

// fault says what can't be of a reference to a shard; "": nothing.
func (s *ShardRef) fault() string {
	switch {
	case s.Window == 0 || s.Database == 0 || s.Policy == 0:
		return fmt.Sprintf("window %d, database %d, policy %d; ids begin with 1", s.Window, s.Database, s.Policy)
	case uint32(s.Shard) >= s.Shards || s.Shards > math.MaxUint16:
		return fmt.Sprintf("shard %d of %d; want 0 to one less, and at most %d", s.Shard, s.Shards, math.MaxUint16)
	case s.Span.First > s.Span.Last:
		return fmt.Sprintf("a window from %d to %d; want one that does not end before it begins", s.Span.First, s.Span.Last)
	}
	return ""
}
