package shardmap

import (
	"bytes"
	"fmt"
	"iter"
	"math"

	"github.com/cespare/xxhash/v2"

	"muster/shardmap/pack"
	"muster/shardmap/points"
	"muster/shardmap/points/shard"
)

// PointsDelete is what a [CommandPointsDelete] says: the points of some series, or of all series of a measurement, in a
// span of time are taken away from shards of one group. It takes what the entries before it brought, and fills that were
// taken before it; points that are written later stay. The body is a msgpack array:
//
//	[[shard, …], name, measurement, [key, …], first, last]
//
// with each shard as [ShardRef] has it: a group that has none of a shard makes it, so that a fill which was taken
// before the delete, and comes behind it, finds the delete.
type PointsDelete struct {
	Shards      []ShardRef // by window and number, none twice; at most [DeleteShardsMax], all of one group
	Name        string     // of the database, as with points
	Measurement []byte     // as keys have it
	// Series are keys of the measurement, ascending, at most [DeleteSeriesBytesMax]; none: all of its series. A shard takes
	// note of those that are its own.
	Series      [][]byte
	First, Last int64 // the span, both ends included, in nanoseconds since 1970
}

const (
	pointsDeleteFields = 6
	shardRefBytes      = 1 + shardRefFields // at least
)

// An entry is applied in one go, and all that stands behind it waits. Each shard keeps a copy of the keys that are its
// own: at most 40 MiB of them if all windows have one shard, 3 MiB if they have 16. A larger delete takes several
// entries ([PointsDelete.Pieces]).
const (
	// DeleteShardsMax bounds the shards of one entry.
	DeleteShardsMax = 256
	// DeleteSeriesBytesMax bounds the bytes of its keys. One key always fits.
	DeleteSeriesBytesMax = 160 << 10
)

// bugDeleteAbsent is planted to show that its test finds it: a delete passes by shards that the group does not have yet.
const bugDeleteAbsent = "delete passes by absent shards"

// bugDeletesFull is planted to show that its test finds it: a shard without points is full of deletes for good.
const bugDeletesFull = "shard without points full of deletes"

// Command returns the command that takes the points away. Its slot means nothing.
func (d *PointsDelete) Command() Command {
	b := pack.AppendArray(nil, pointsDeleteFields)
	b = pack.AppendArray(b, len(d.Shards))
	for i := range d.Shards {
		b = d.Shards[i].append(b)
	}
	b = pack.AppendString(b, d.Name)
	b = pack.AppendBytes(b, d.Measurement)
	b = pack.AppendArray(b, len(d.Series))
	for _, key := range d.Series {
		b = pack.AppendBytes(b, key)
	}
	b = pack.AppendInt(b, d.First)
	return Command{Kind: CommandPointsDelete, Items: [][]byte{pack.AppendInt(b, d.Last)}}
}

// ReadPointsDelete reads the body of a [CommandPointsDelete]; its bytes alias the command. It does not look into the keys.
func ReadPointsDelete(c *Command) (d PointsDelete, err error) {
	if c.Kind != CommandPointsDelete || len(c.Items) != 1 {
		return d, fmt.Errorf("%w: %s with %d items deletes no points", ErrCommand, c.Kind, len(c.Items))
	}
	r := &tableReader{Reader: pack.NewReader(c.Items[0])}
	r.fields("delete of points", pointsDeleteFields)
	d.Shards = list(r, shardRefBytes, func() ShardRef { return readShardRef(r) })
	d.Name, d.Measurement = r.String(), r.Bytes()
	d.Series = list(r, 1, r.Bytes)
	d.First, d.Last = r.Int(), r.Int()
	if err := r.err(); err != nil {
		return d, err
	}
	return d, d.check()
}

// check holds the delete to its limits and its order.
func (d *PointsDelete) check() error {
	switch n := len(d.Shards); {
	case n == 0 || n > DeleteShardsMax:
		return fmt.Errorf("%w: delete of points of %d shards, want 1 to %d", ErrCommand, n, DeleteShardsMax)
	case len(d.Measurement) == 0 || len(d.Measurement) > points.KeyMax:
		return fmt.Errorf("%w: delete of points of a measurement of %d bytes, want 1 to %d", ErrCommand, len(d.Measurement), points.KeyMax)
	case d.First > d.Last:
		return fmt.Errorf("%w: delete of points from %d to %d, want a span that does not end before it begins", ErrCommand, d.First, d.Last)
	}
	for i := range d.Shards[1:] {
		if d.Shards[i].compare(d.Shards[i+1].ShardID) >= 0 {
			return fmt.Errorf("%w: delete of points: %s is out of order, want them by window and number", ErrCommand, d.Shards[i+1].ShardID)
		}
	}
	size := 0
	for i, key := range d.Series {
		switch size += len(key); {
		case size > DeleteSeriesBytesMax:
			return fmt.Errorf("%w: delete of points of series whose keys have more than %d bytes", ErrCommand, DeleteSeriesBytesMax)
		case len(key) > points.KeyMax:
			return fmt.Errorf("%w: delete of points: a key of %d bytes, want at most %d", ErrCommand, len(key), points.KeyMax)
		case !bytes.Equal(points.MeasurementOf(key), d.Measurement):
			return fmt.Errorf("%w: delete of points: series %s is none of measurement %s", ErrCommand, ShowKey(key), ShowKey(d.Measurement))
		case i > 0 && bytes.Compare(d.Series[i-1], key) >= 0:
			return fmt.Errorf("%w: delete of points: series %s is out of order, want ascending keys", ErrCommand, ShowKey(key))
		}
	}
	return nil
}

// Pieces returns the deletes that are together d, each of which fits in an entry: what d names in order may be more than
// that. Each piece is carried out by itself.
func (d *PointsDelete) Pieces() iter.Seq[*PointsDelete] {
	return func(yield func(*PointsDelete) bool) {
		for shards := d.Shards; len(shards) > 0; {
			n := min(len(shards), DeleteShardsMax)
			piece := *d
			piece.Shards, shards = shards[:n], shards[n:]
			if len(d.Series) == 0 && !yield(&piece) {
				return
			}
			for series := d.Series; len(series) > 0; {
				size, n := len(series[0]), 1
				for n < len(series) && size+len(series[n]) <= DeleteSeriesBytesMax {
					size += len(series[n])
					n++
				}
				part := piece
				part.Series, series = series[:n], series[n:]
				if !yield(&part) {
					return
				}
			}
		}
	}
}

// PointsDeleteOutcome counts the shards that a delete named. The detail of the result of a [CommandPointsDelete] is a msgpack
// array:
//
//	[deleted, passed, dropped]
type PointsDeleteOutcome struct {
	Deleted uint64 // keep what was named no longer
	Passed  uint64 // have no time of the span, or none of the series can be in them
	Dropped uint64 // are of windows that were dropped
}

const pointsDeleteOutcomeFields = 3

// Append appends the bytes of the outcome.
func (o *PointsDeleteOutcome) Append(b []byte) []byte {
	b = pack.AppendArray(b, pointsDeleteOutcomeFields)
	return pack.AppendUint(pack.AppendUint(pack.AppendUint(b, o.Deleted), o.Passed), o.Dropped)
}

// Read reads the bytes of an outcome from r.
func (o *PointsDeleteOutcome) Read(r *pack.Reader) error {
	r.ArrayLen(pointsDeleteOutcomeFields)
	o.Deleted, o.Passed, o.Dropped = r.Uint(), r.Uint(), r.Uint()
	return r.Err()
}

// deletePoints carries out [CommandPointsDelete]: at all shards that it names, or at none if one of them has no room for
// another delete before its next seal. A shard that has nothing to seal forgets its oldest delete.
func deletePoints(m *Map, at entryAt, c *Command) (Status, error) {
	d, err := ReadPointsDelete(c)
	if err != nil {
		return 0, err
	}
	if m.history.raised < PointsLevel {
		return StatusNotRaised, nil // its snapshots have no place for shards
	}
	var o PointsDeleteOutcome
	g := &m.groupShards
	reached := make([]shardDelete, 0, len(d.Shards))
	own := seriesOfShards{of: &d}
	for i := range d.Shards {
		ref := &d.Shards[i]
		if g.isGone(ref.Window) {
			o.Dropped++
			continue
		}
		s := g.Shard(ref.ShardID)
		if s != nil && s.ShardRef != *ref {
			return 0, fmt.Errorf("%w: delete of points of %s, which is another one here", ErrInvariant, ref)
		}
		series := own.in(ref)
		if d.Last < ref.Span.First || d.First > ref.Span.Last || len(d.Series) > 0 && len(series) == 0 || s == nil && bug(bugDeleteAbsent) {
			o.Passed++
			continue
		}
		x := shardDelete{ref, s, shard.Tombstone{Measurement: d.Measurement, Series: series, First: d.First, Last: d.Last}}
		if s != nil && s.Points.Room(&x.tombstone) != nil && (!s.empty() || bug(bugDeletesFull)) {
			return StatusManyDeletes, nil
		}
		reached = append(reached, x)
	}
	body := xxhash.Sum64(c.Items[0])
	for i := range reached {
		x := &reached[i]
		if x.shard == nil {
			x.shard = g.add(x.ref)
		}
		if x.shard.empty() {
			x.shard.Points.MakeRoom(&x.tombstone)
		}
		if err := x.shard.Points.Delete(x.tombstone, at.id.Index); err != nil {
			return 0, fmt.Errorf("%w: delete of points of %s: %w", ErrInvariant, x.ref, err)
		}
		x.shard.note(at, body)
		o.Deleted++
	}
	g.changes++
	m.turn.detail = o.Append(m.turn.detail[:0])
	return StatusApplied, nil
}

// shardDelete is what a delete takes from one shard.
type shardDelete struct {
	ref       *ShardRef
	shard     *GroupShard // nil: the group does not have it yet
	tombstone shard.Tombstone
}

// seriesOfShards tells which series of a delete are in which shard. It finds that out once for all windows of as many shards.
type seriesOfShards struct {
	of     *PointsDelete
	hashes []points.SeriesHash
	known  map[seriesPlace][][]byte
}

type seriesPlace struct {
	shard  points.Shard
	shards uint32
}

// in returns the series that are in one shard.
func (s *seriesOfShards) in(ref *ShardRef) [][]byte {
	if len(s.of.Series) == 0 {
		return nil
	}
	place := seriesPlace{ref.Shard, ref.Shards}
	if series, known := s.known[place]; known {
		return series
	}
	if s.hashes == nil {
		for _, key := range s.of.Series {
			s.hashes = append(s.hashes, points.HashOf(key))
		}
		s.known = map[seriesPlace][][]byte{}
	}
	var series [][]byte
	for i, h := range s.hashes {
		if h.Shard(ref.Shards) == ref.Shard {
			series = append(series, s.of.Series[i])
		}
	}
	s.known[place] = series
	return series
}

// validatePointsDelete checks a client's delete. Package machine knows whether the table has the shards.
func (c *Command) validatePointsDelete(Limits) error {
	if _, err := ReadPointsDelete(c); err != nil {
		return fmt.Errorf("%w: field body: %w", ErrRequest, err)
	}
	if c.Session != 0 {
		return fmt.Errorf("%w: field session: %d; want 0: points are deleted once however often that is sent", ErrRequest, c.Session)
	}
	return nil
}

func describePointsDelete(c *Command) (string, error) {
	d, err := ReadPointsDelete(c)
	if err != nil {
		return "", err
	}
	series := "all series"
	if n := len(d.Series); n > 0 {
		series = fmt.Sprintf("%d series", n)
	}
	span := "at all times"
	if d.First != math.MinInt64 || d.Last != math.MaxInt64 {
		span = fmt.Sprintf("from %d to %d", d.First, d.Last)
	}
	return fmt.Sprintf("of %s, %d shards, the first is %s: %s of %s %s", describeText(d.Name), len(d.Shards), d.Shards[0].ShardID, series, ShowKey(d.Measurement), span), nil
}
