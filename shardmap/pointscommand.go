package shardmap

import (
	"fmt"
	"math"
	"strings"

	"muster/shardmap/pack"
	"muster/shardmap/points"
	"muster/shardmap/points/block"
)

// ShardID names a shard within the cluster. A window keeps its number of shards, and its id is never used
// again.
type ShardID struct {
	Window WindowID
	Shard  points.Shard
}

func (s ShardID) String() string { return fmt.Sprintf("shard %d of window %d", s.Shard, s.Window) }

// ShardRef is a shard with all that a group has to know to make it. The entries of a group say it, and
// nothing of it is looked up in the table: a replica that applies an entry later has another one.
type ShardRef struct {
	ShardID
	Shards   uint32 // of the window
	Database DatabaseID
	Policy   PolicyID
	Span     points.Window
}

const shardRefFields = 7

// append appends the reference: [window, shard, shards, database, policy, first, last], the times in
// nanoseconds since 1970.
func (s *ShardRef) append(b []byte) []byte {
	b = pack.AppendArray(b, shardRefFields)
	b = pack.AppendUint(b, uint64(s.Window))
	b = pack.AppendUint(b, uint64(s.Shard))
	b = pack.AppendUint(b, uint64(s.Shards))
	b = pack.AppendUint(b, uint64(s.Database))
	b = pack.AppendUint(b, uint64(s.Policy))
	b = pack.AppendInt(b, s.Span.First)
	return pack.AppendInt(b, s.Span.Last)
}

func readShardRef(r *tableReader) (s ShardRef) {
	r.fields("shard", shardRefFields)
	s.Window, s.Shard, s.Shards = WindowID(r.Uint()), points.Shard(r.UintMax(math.MaxUint32)), uint32(r.UintMax(math.MaxUint32))
	s.Database, s.Policy = DatabaseID(r.Uint()), PolicyID(r.Uint())
	s.Span = points.Window{First: r.Int(), Last: r.Int()}
	if what := s.fault(); what != "" && r.Err() == nil {
		r.Fail(what)
	}
	return s
}

// PointsMode says what becomes of a point that is there already. Numbers are for ever.
type PointsMode uint8

const (
	PointsWrite PointsMode = 1 // the later entry's value stands
	PointsFill  PointsMode = 2 // the value that is there stays: the share waited somewhere as a hint
)

func (m PointsMode) String() string {
	switch m {
	case PointsWrite:
		return "write"
	case PointsFill:
		return "fill"
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// PointsBody is what a [CommandPoints] says. The body, which is its only item, is a msgpack array:
//
//	[shard, name, mode, taken, bin]
//
// with the shard as [ShardRef] has it, and the share as points.Share.Append writes it.
type PointsBody struct {
	Shard ShardRef
	Name  string // of the database, as its writer knows it: what it takes to write there goes by that
	Mode  PointsMode
	// Taken is, of a fill, the index that the group had applied when the hint was taken: a delete behind
	// it takes these points too. 0 with a write.
	Taken uint64
	Share []byte // aliases the command
}

const pointsFields = 5

// PointsSizeMax bounds the bytes of a share in one entry. An entry is applied in one go, and all that
// stands behind it waits: a megabyte is some 2 ms. A larger share takes several entries.
const PointsSizeMax = 1 << 20

// PointsValuesMax bounds the values of a share in one entry. Few bytes can tell of many values, and a reader spends
// some 40 bytes of memory for each, 256 at most.
const PointsValuesMax = 1 << 18

// appendHead appends the body of p, but for the n bytes of the share, which stand at its end.
func (p *PointsBody) appendHead(b []byte, n int) []byte {
	b = pack.AppendArray(b, pointsFields)
	b = p.Shard.append(b)
	b = pack.AppendString(b, p.Name)
	b = pack.AppendUint(b, uint64(p.Mode))
	b = pack.AppendUint(b, p.Taken)
	return pack.AppendBytesHead(b, n)
}

// Command returns the command that brings the share to its shard. Its slot, which every command has, means
// nothing.
func (p *PointsBody) Command() Command {
	body := append(p.appendHead(nil, len(p.Share)), p.Share...)
	return Command{Kind: CommandPoints, Items: [][]byte{body}}
}

// ReadPoints reads the body of a [CommandPoints]. It does not look into the share.
func ReadPoints(c *Command) (p PointsBody, err error) {
	if c.Kind != CommandPoints || len(c.Items) != 1 {
		return p, fmt.Errorf("%w: %s with %d items brings no points", ErrCommand, c.Kind, len(c.Items))
	}
	r := tableReader{Reader: pack.NewReader(c.Items[0])}
	r.fields("points", pointsFields)
	p.Shard = readShardRef(&r)
	p.Name = r.String()
	p.Mode, p.Taken, p.Share = PointsMode(r.UintMax(math.MaxUint8)), r.Uint(), r.Bytes()
	if err := r.err(); err != nil {
		return p, err
	}
	if p.Mode == 0 || p.Mode > PointsFill {
		return p, fmt.Errorf("points with mode %d: %w; known are 1 to %d", p.Mode, ErrLevel, PointsFill)
	}
	return p, nil
}

// PointsSeal is what a [CommandPointsSeal] says: at this entry the head of a shard is frozen, under a number
// that is one higher than that of the one before, and a block file is to be made of it and of the newest
// Merge files of the shard. The body is a msgpack array:
//
//	[window, shard, number, merge, over]
//
// A seal with another number than the next one changes nothing.
type PointsSeal struct {
	Shard  ShardID
	Number uint64
	Merge  uint32 // files
	// Over says that the window is over. The shard forgets which series it has had: what is counted of all windows that there
	// are would take memory for ever.
	Over bool
}

const pointsSealFields = 5

// Command returns the command that seals the head.
func (s *PointsSeal) Command() Command {
	b := pack.AppendArray(nil, pointsSealFields)
	b = s.Shard.append(b)
	b = pack.AppendUint(b, s.Number)
	b = pack.AppendUint(b, uint64(s.Merge))
	b = pack.AppendBool(b, s.Over)
	return Command{Kind: CommandPointsSeal, Items: [][]byte{b}}
}

func (s ShardID) append(b []byte) []byte {
	return pack.AppendUint(pack.AppendUint(b, uint64(s.Window)), uint64(s.Shard))
}

func readShardID(r *tableReader) ShardID {
	return ShardID{WindowID(r.Uint()), points.Shard(r.UintMax(math.MaxUint32))}
}

// ReadPointsSeal reads the body of a [CommandPointsSeal].
func ReadPointsSeal(c *Command) (s PointsSeal, err error) {
	if c.Kind != CommandPointsSeal || len(c.Items) != 1 {
		return s, fmt.Errorf("%w: %s with %d items seals no points", ErrCommand, c.Kind, len(c.Items))
	}
	r := tableReader{Reader: pack.NewReader(c.Items[0])}
	r.fields("seal of points", pointsSealFields)
	s.Shard, s.Number, s.Merge = readShardID(&r), r.Uint(), uint32(r.UintMax(math.MaxUint32))
	s.Over = r.Bool()
	return s, r.err()
}

// PointsSealed is what a [CommandPointsSealed] says: the leader has made the file of a seal, and this is
// its name. A replica that makes another one of the same head has a wrong state. The body is a msgpack
// array:
//
//	[window, shard, number, sum, values, first, last, size]
type PointsSealed struct {
	Shard       ShardID
	Number      uint64 // of the seal
	Sum         block.Sum
	Values      uint64
	First, Last int64 // times of the first and the last point, in nanoseconds since 1970
	Size        int64 // of the leader's file, in bytes; that of another replica may differ
}

const pointsSealedFields = 8

// Command returns the command that names the file of a seal.
func (s *PointsSealed) Command() Command {
	b := pack.AppendArray(nil, pointsSealedFields)
	b = s.Shard.append(b)
	b = pack.AppendUint(b, s.Number)
	b = pack.AppendBytes(b, s.Sum[:])
	b = pack.AppendUint(b, s.Values)
	b = pack.AppendInt(b, s.First)
	b = pack.AppendInt(b, s.Last)
	b = pack.AppendUint(b, uint64(s.Size))
	return Command{Kind: CommandPointsSealed, Items: [][]byte{b}}
}

// ReadPointsSealed reads the body of a [CommandPointsSealed].
func ReadPointsSealed(c *Command) (s PointsSealed, err error) {
	if c.Kind != CommandPointsSealed || len(c.Items) != 1 {
		return s, fmt.Errorf("%w: %s with %d items names no file of points", ErrCommand, c.Kind, len(c.Items))
	}
	r := tableReader{Reader: pack.NewReader(c.Items[0])}
	r.fields("sealed points", pointsSealedFields)
	s.Shard, s.Number = readShardID(&r), r.Uint()
	sum := r.Bytes()
	s.Values, s.First, s.Last, s.Size = r.Uint(), r.Int(), r.Int(), int64(r.UintMax(math.MaxInt64))
	if err := r.err(); err != nil {
		return s, err
	}
	if len(sum) != len(s.Sum) {
		return s, fmt.Errorf("%w: sealed points: a sum of %d bytes, want %d", ErrCommand, len(sum), len(s.Sum))
	}
	copy(s.Sum[:], sum)
	return s, nil
}

// DropShards is what a [CommandDropShards] says: the group forgets the shards of some windows, and takes no
// points for them any more. The body is a msgpack array:
//
//	[[window, …]]
type DropShards struct {
	Windows []WindowID // ascending, at most [DropShardsMax]
}

// DropShardsMax bounds the windows of one [DropShards].
const DropShardsMax = 1024

const dropShardsFields = 1

// Command returns the command that drops the shards.
func (d *DropShards) Command() Command {
	b := pack.AppendArray(nil, dropShardsFields)
	b = pack.AppendArray(b, len(d.Windows))
	for _, w := range d.Windows {
		b = pack.AppendUint(b, uint64(w))
	}
	return Command{Kind: CommandDropShards, Items: [][]byte{b}}
}

// ReadDropShards reads the body of a [CommandDropShards].
func ReadDropShards(c *Command) (d DropShards, err error) {
	if c.Kind != CommandDropShards || len(c.Items) != 1 {
		return d, fmt.Errorf("%w: %s with %d items drops no shards", ErrCommand, c.Kind, len(c.Items))
	}
	r := &tableReader{Reader: pack.NewReader(c.Items[0])}
	r.fields("drop shards", dropShardsFields)
	d.Windows = list(r, 1, func() WindowID { return WindowID(r.Uint()) })
	if err := r.err(); err != nil {
		return d, err
	}
	if len(d.Windows) > DropShardsMax {
		return d, fmt.Errorf("%w: drop shards of %d windows, want %d at most", ErrCommand, len(d.Windows), DropShardsMax)
	}
	for i, w := range d.Windows {
		if w == 0 || i > 0 && w <= d.Windows[i-1] {
			return d, fmt.Errorf("%w: drop shards: window %d is out of order", ErrCommand, w)
		}
	}
	return d, nil
}

// validatePoints checks a client's points, and that they belong to the shard and the window that they name. Package machine
// knows whether the table has those.
func (c *Command) validatePoints(Limits) error {
	p, err := ReadPoints(c)
	switch {
	case err != nil:
		return fmt.Errorf("%w: field body: %w", ErrRequest, err)
	case c.Session != 0:
		return fmt.Errorf("%w: field session: %d; want 0: points are stored once however often they are sent", ErrRequest, c.Session)
	case p.Mode == PointsWrite && p.Taken != 0:
		return fmt.Errorf("%w: field taken: %d; want 0, with mode %s", ErrRequest, p.Taken, p.Mode)
	case len(p.Share) > PointsSizeMax:
		return fmt.Errorf("%w: field share: %d bytes; the limit is %d", ErrTooLarge, len(p.Share), PointsSizeMax)
	}
	if n := points.ShareValues(p.Share); n > PointsValuesMax {
		return fmt.Errorf("%w: field share: %d values; the limit is %d", ErrTooLarge, n, PointsValuesMax)
	}
	var r points.ShareReader
	batch, err := r.Read(p.Share, p.Shard.Span)
	if err != nil {
		return fmt.Errorf("%w: field share: %w", ErrRequest, err)
	}
	for s := range batch.Series() {
		if is := points.HashOf(s.Key()).Shard(p.Shard.Shards); is != p.Shard.Shard {
			return fmt.Errorf("%w: field shard: %d of %d; series %s is in shard %d", ErrRequest, p.Shard.Shard, p.Shard.Shards, ShowKey(s.Key()), is)
		}
	}
	return nil
}

func describePoints(c *Command) (string, error) {
	p, err := ReadPoints(c)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s of %s, mode %s, %d values in %d bytes", p.Shard.ShardID, describeText(p.Name), p.Mode, points.ShareValues(p.Share), len(p.Share)), nil
}

func describePointsSeal(c *Command) (string, error) {
	p, err := ReadPointsSeal(c)
	text := fmt.Sprintf("%s number %d, with the newest %d files", p.Shard, p.Number, p.Merge)
	if p.Over {
		text += ", its window being over"
	}
	return text, err
}

func describePointsSealed(c *Command) (string, error) {
	p, err := ReadPointsSealed(c)
	return fmt.Sprintf("%s number %d: %d values from %d to %d in %s, %d bytes", p.Shard, p.Number, p.Values, p.First, p.Last, p.Sum, p.Size), err
}

func describeDropShards(c *Command) (string, error) {
	d, err := ReadDropShards(c)
	if err != nil {
		return "", err
	}
	windows := make([]string, min(len(d.Windows), describedMax))
	for i := range windows {
		windows[i] = fmt.Sprint(d.Windows[i])
	}
	return fmt.Sprintf("of %d windows: %s", len(d.Windows), strings.Join(windows, ", ")), nil
}
