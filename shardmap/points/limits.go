package points

import "math"

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
