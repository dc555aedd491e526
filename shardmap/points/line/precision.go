package line

import (
	"time"

	"muster/shardmap/points"
)

// Precision is what one unit of the times in a text is.
type Precision time.Duration

// The precisions.
const (
	Nanosecond  = Precision(time.Nanosecond)
	Microsecond = Precision(time.Microsecond)
	Millisecond = Precision(time.Millisecond)
	Second      = Precision(time.Second)
	Minute      = Precision(time.Minute)
	Hour        = Precision(time.Hour)
)

// ParsePrecision reads a precision as requests name it: n, ns or nothing; u, µ or us; ms; s; m; h. InfluxDB takes
// any other word for nanoseconds, which puts points into the year 1970; here it is a [points.Error].
func ParsePrecision(name string) (Precision, error) {
	switch name {
	case "", "n", "ns":
		return Nanosecond, nil
	case "u", "µ", "us":
		return Microsecond, nil
	case "ms":
		return Millisecond, nil
	case "s":
		return Second, nil
	case "m":
		return Minute, nil
	case "h":
		return Hour, nil
	}
	return 0, points.Refuse(points.UnknownPrecision, []byte(name))
}

// nanoseconds returns a time in nanoseconds, and reports whether an int64 holds it.
func (p Precision) nanoseconds(t int64) (int64, bool) {
	ns := t * int64(p)
	return ns, ns/int64(p) == t
}

// floor returns the last time at or before t that the precision can name, or t where there is none.
func (p Precision) floor(t int64) int64 {
	return max(points.TimeMin, points.WindowOf(t, time.Duration(p)).First)
}
