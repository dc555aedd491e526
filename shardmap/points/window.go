package points

import (
	"fmt"
	"math"
	"time"
)

// Window is a span of time whose points are stored and dropped together; InfluxDB says shard group.
// Both ends belong to it, so that the last window of all needs no time that there is not.
type Window struct {
	First, Last int64 // in nanoseconds since 1970 UTC
}

// WindowOf returns the window that a time is in, if windows last d: they begin at the multiples of d,
// counted from 1970 UTC in both directions. Where the first or the last of all would reach beyond what
// an int64 holds it ends there. A d that is not positive is a mistake of the caller, and panics.
//
// InfluxDB counts from the year 1, so that its windows of a week begin on Mondays and these on Thursdays, as
// GROUP BY time(1w) does in both.
func WindowOf(t int64, d time.Duration) Window {
	if d <= 0 {
		panic(fmt.Sprintf("points: windows of %d ns", d))
	}
	into := t % int64(d) // how far t is behind the window's begin
	if into < 0 {
		into += int64(d)
	}
	w := Window{First: math.MinInt64, Last: math.MaxInt64}
	if t >= math.MinInt64+into {
		w.First = t - into
	}
	if rest := int64(d) - 1 - into; t <= math.MaxInt64-rest {
		w.Last = t + rest
	}
	return w
}

// Contains reports whether a time is in the window.
func (w Window) Contains(t int64) bool { return w.First <= t && t <= w.Last }
