package query

import (
	"slices"
	"time"

	"github.com/influxdata/influxql"
)

// Windows are the intervals of a GROUP BY time(…): of a fixed length or by the calendar, in a time zone.
type Windows struct {
	Every  int64 // in ns; 0: none, or by the calendar
	Months int64 // 0: of a fixed length
	Offset int64 // in ns
	Zone   Zone
}

// None reports whether there are no intervals.
func (w *Windows) None() bool { return w.Every == 0 && w.Months == 0 }

// Zone is what must be known of a time zone: from when on which offset is in force. It is empty for UTC. A shard gets it
// with the request, so that all nodes cut at the same times though their hosts may have other editions of the zones.
type Zone struct {
	From   []int64 // in ns since 1970 UTC; Invariant: growing, the first one [influxql.MinTime]
	Offset []int64 // in ns east of UTC
}

// ZoneOf returns the zone of a location.
func ZoneOf(loc *time.Location) Zone {
	var z Zone
	if loc == nil || loc == time.UTC {
		return z
	}
	t := time.Unix(0, influxql.MinTime).In(loc)
	for len(z.From) < transitionsMax {
		_, east := t.Zone()
		offset := int64(east) * int64(time.Second)
		if n := len(z.From); n == 0 || z.Offset[n-1] != offset {
			z.From, z.Offset = append(z.From, max(t.UnixNano(), influxql.MinTime)), append(z.Offset, offset)
		}
		_, end := t.ZoneBounds()
		if end.IsZero() || end.After(time.Unix(0, influxql.MaxTime)) {
			break
		}
		if !end.After(t) {
			// The library gives bounds that end where they begin on the last day of some years, such as 2040.
			end = t.AddDate(0, 0, 1)
		}
		t = end
	}
	return z
}

// smallMax is the length up to which windows are cut where the clock changes, if they have to be. Longer ones begin by the
// clock: where it goes back a window has an hour more, and where it goes forth an hour less. InfluxDB decides by whether the change is smaller
// than the window, and mostly clocks change by an hour.
const smallMax = int64(time.Hour)

// of returns the window that t is in: from start on, and before end. There must be windows. All times of a window have the
// same one, so that it does not matter which of its points is seen first.
func (w *Windows) of(t int64) (start, end int64) {
	switch room := w.Every + 2*day; {
	case w.Months > 0:
		return w.calendar(t)
	// At the ends of all times there is no room to count by a clock.
	case len(w.Zone.From) == 0 || t < influxql.MinTime+room || t > influxql.MaxTime-room:
		return w.plain(t, 0)
	case w.Every <= smallMax:
		from, to, offset := w.segment(t)
		start, end = w.plain(t, offset)
		return max(start, from), min(end, to)
	}
	n := w.Zone.reached(t) - w.Offset
	if n %= w.Every; n < 0 {
		n += w.Every
	}
	local := w.Zone.reached(t) - n
	end = w.Zone.begin(local + w.Every)
	for next := local + w.Every; end <= t; next += w.Every {
		// The clock has left out the begins of several windows: the last of them counts.
		local, end = next, w.Zone.begin(next+w.Every)
	}
	return w.Zone.begin(local), end
}

// plain returns the window of t by a clock that is zone ns ahead of UTC all the time.
func (w *Windows) plain(t, zone int64) (start, end int64) {
	t = w.shifted(t)
	into := (t + zone) % w.Every
	if into < 0 {
		into += w.Every
	}
	if start = influxql.MinTime; influxql.MinTime+into < t {
		start = t - into
	}
	if end = influxql.MaxTime; influxql.MaxTime-(w.Every-into) > t {
		end = t + w.Every - into
	}
	return start + w.Offset, end + w.Offset
}

// day is more than any zone is from UTC, and more than a clock changes by at once.
const day = int64(26 * time.Hour)

// segment returns from when to when windows follow each other as they do at t, and the offset that is in force there. An
// hour more or less moves no windows of minutes of which an hour is full.
func (w *Windows) segment(t int64) (from, to, offset int64) {
	z := &w.Zone
	i := z.index(t)
	from, to = influxql.MinTime, influxql.MaxTime
	if i > 0 && (z.Offset[i]-z.Offset[i-1])%w.Every != 0 {
		from = z.From[i]
	}
	if i+1 < len(z.From) && (z.Offset[i+1]-z.Offset[i])%w.Every != 0 {
		to = z.From[i+1]
	}
	return from, to, z.Offset[i]
}

// at returns the offset that is in force at a time.
func (z *Zone) at(t int64) int64 {
	if len(z.From) == 0 {
		return 0
	}
	return z.Offset[z.index(t)]
}

// index returns which of the offsets is in force at a time.
func (z *Zone) index(t int64) int {
	i, found := slices.BinarySearch(z.From, t)
	if !found {
		i = max(0, i-1)
	}
	return i
}

// reached returns how far the clock has been at t or before: where it was put back it is what it showed before that.
func (z *Zone) reached(t int64) int64 {
	if len(z.From) == 0 {
		return t
	}
	i := z.index(t)
	most := t + z.Offset[i]
	for ; i > 0 && z.From[i] > t-day; i-- {
		most = max(most, z.From[i]-1+z.Offset[i-1])
	}
	return most
}

// begin returns when the clock shows a local time, or more than that, for the first time.
func (z *Zone) begin(local int64) int64 {
	if len(z.From) == 0 {
		return local
	}
	for i := z.index(local - day); ; i++ {
		u := max(local-z.Offset[i], z.From[i])
		if i+1 == len(z.From) || u < z.From[i+1] {
			return u
		}
	}
}

// calendar returns the window of months that t is in. They are counted from January of year 0, so that three months
// are a quarter and twelve are a year.
func (w *Windows) calendar(t int64) (start, end int64) {
	t = w.shifted(t)
	local := time.Unix(0, t).UTC().Add(time.Duration(w.Zone.reached(t) - t)) // a sum of nanoseconds could overflow
	month := int64(local.Year())*12 + int64(local.Month()) - 1
	month -= month % w.Months
	return w.month(month), w.month(month + w.Months)
}

// month returns when a month begins, counted from January of year 0.
func (w *Windows) month(n int64) int64 {
	begin := time.Date(int(n/12), time.Month(n%12+1), 1, 0, 0, 0, 0, time.UTC)
	if begin.Before(time.Unix(0, influxql.MinTime)) {
		return influxql.MinTime
	}
	if begin.After(time.Unix(0, influxql.MaxTime)) {
		return influxql.MaxTime
	}
	return w.Zone.begin(begin.UnixNano()) + w.Offset
}

// shifted returns a time without the offset of the windows.
func (w *Windows) shifted(t int64) int64 {
	if w.Offset > 0 && t < influxql.MinTime+w.Offset {
		return influxql.MinTime
	}
	if w.Offset < 0 && t > influxql.MaxTime+w.Offset {
		return influxql.MaxTime
	}
	return t - w.Offset
}

// next returns the start of the window behind the one that has t, or before it if the order is descending.
func (w *Windows) next(t int64, descending bool) int64 {
	start, end := w.of(t)
	if !descending {
		return end
	}
	if start > influxql.MinTime {
		start, _ = w.of(start - 1)
	}
	return start
}

func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}
