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

// at returns the offset that is in force at a time.
func (z *Zone) at(t int64) int64 {
	if len(z.From) == 0 {
		return 0
	}
	i, found := slices.BinarySearch(z.From, t)
	if !found {
		i = max(0, i-1)
	}
	return z.Offset[i]
}

// of returns the window that t is in: from start on, and before end. There must be windows.
//
// In a zone a window begins where it would by the clock of that zone, as long as the clock changes by less than the
// window is long; this is what InfluxDB does.
func (w *Windows) of(t int64) (start, end int64) {
	if w.Months > 0 {
		return w.calendar(t)
	}
	t = w.shifted(t)
	zone := w.Zone.at(t)
	into := (t + zone) % w.Every
	if into < 0 {
		into += w.Every
	}
	if start = influxql.MinTime; influxql.MinTime+into < t {
		start = t - into
	}
	start += w.Offset
	if change := zone - w.Zone.at(start); change != 0 && abs(change) < w.Every {
		start += change
	}
	if end = influxql.MaxTime; influxql.MaxTime-(w.Every-into) > t {
		end = t + w.Every - into
	}
	after := w.Zone.at(end)
	if change := zone - after; change != 0 && abs(change) < w.Every {
		// An hour that is there twice belongs to the window before the change; one that is left out to the window
		// after it, if the change is within that one.
		if change > 0 || w.Zone.at(end+change) == after {
			end += change
		}
	}
	return start, end + w.Offset
}

// calendar returns the window of months that t is in. They are counted from January of year 0, so that three months
// are a quarter and twelve are a year.
func (w *Windows) calendar(t int64) (start, end int64) {
	t = w.shifted(t)
	local := time.Unix(0, t).UTC().Add(time.Duration(w.Zone.at(t))) // a sum of nanoseconds could overflow
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
	local := begin.UnixNano()
	return local - w.Zone.at(local-w.Zone.at(local)) + w.Offset
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

// walk goes from window to window, as empty ones are filled in.
type walk struct {
	w          *Windows
	descending bool
	start      int64
	offset     int64 // of the zone, when the last window began
}

// begin makes the walk start at a window.
func (k *walk) begin(start int64) { k.start, k.offset = start, k.w.Zone.at(start) }

// next goes to the window after this one, or before it.
func (k *walk) next() {
	w := k.w
	if w.Months > 0 {
		start, end := w.calendar(k.start)
		if k.start = end; k.descending {
			k.start, _ = w.calendar(start - 1)
		}
		return
	}
	step := w.Every
	if k.descending {
		step = -step
	}
	k.start += step
	if now := w.Zone.at(k.start - 1); now != k.offset {
		if change := k.offset - now; abs(change) < w.Every {
			k.start += change
		}
		k.offset = now
	}
}

func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}
