package points

import (
	"fmt"
	"math"
)

// The limits of a point. What InfluxDB 1.8 bounds has the same bound here, so that what it takes is
// taken; it leaves the number of tags and the length of a field's name open.
const (
	// KeyMax bounds the key of a series as it is written, in bytes. It is InfluxDB's, too.
	KeyMax = 65_535
	// TagsMax bounds the tags of a series. Sorting them, and each index over them, costs by their number.
	TagsMax = 256
	// NameMax bounds the name of a field as it is written, in bytes. The name stands in each column's head.
	NameMax = 1024
	// StringMax bounds a value of kind string, in bytes: what InfluxDB documents.
	StringMax = 65_536
	// PointsMax, ValuesMax and TextMax bound what one [Builder] takes: points, values, bytes of names and
	// strings. With all three reached a batch takes some 400 MB.
	PointsMax = 1 << 20
	ValuesMax = 8 << 20
	TextMax   = 64 << 20
)

// The times that a point may have, in nanoseconds since 1970 UTC: from 1677 to 2262. They are
// InfluxDB's. The three numbers that are left out stand for "before all", "after all" and "none" in
// queries.
const (
	TimeMin = math.MinInt64 + 2
	TimeMax = math.MaxInt64 - 1
)

// Limits bounds what a tag or a program that makes up names can do to a database. A shard counts by itself, since it is in one group:
// see [Limits.Of]. The zero value is no limits; a field that is 0 bounds nothing.
type Limits struct {
	Series uint32 // of a window
	Values uint32 // of one tag of one measurement, in a shard
	Fields uint32 // of one measurement, in a shard
}

// DefaultLimits are those of a database that names none: InfluxDB's, which has none of fields. Entries of logs go by them, so
// they are for ever.
var DefaultLimits = Limits{Series: 1_000_000, Values: 100_000, Fields: 10_000}

// LimitMax is the most that a limit may be.
const LimitMax = 1_000_000_000

// Check refuses limits that a database can't have; what says of which.
func (l Limits) Check() error {
	for _, x := range [...]struct {
		name string
		is   uint32
	}{{"series", l.Series}, {"values of a tag", l.Values}, {"fields of a measurement", l.Fields}} {
		if x.is == 0 || x.is > LimitMax {
			return fmt.Errorf("%d %s; want 1 to %d", x.is, x.name, LimitMax)
		}
	}
	return nil
}

// Of returns the limits of one of so many shards. Series are spread by a hash, so a shard may have some more than its part
// when the window has what it may: four times the root of its part more, which no shard has by chance. So nobody is refused below
// the limit. A value of a tag, and a field, may be in all shards, and is counted in each.
func (l Limits) Of(shards uint32) Limits {
	if shards > 1 && l.Series > 0 {
		part := (l.Series + shards - 1) / shards
		l.Series = min(l.Series, part+4*uint32(math.Ceil(math.Sqrt(float64(part)))))
	}
	return l
}
