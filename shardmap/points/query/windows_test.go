package query

import (
	"testing"
	"time"

	"github.com/influxdata/influxql"
	"pgregory.net/rapid"
)

func location(t testing.TB, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// Windows begin by the clock of their zone, and a day or a month is as long as the clock makes it. The bounds were
// taken from calendars.
func TestWindows(t *testing.T) {
	const hour = int64(time.Hour)
	at := func(s string) int64 {
		v, err := time.Parse("2006-01-02T15:04Z", s)
		if err != nil {
			t.Fatal(err)
		}
		return v.UnixNano()
	}
	for _, c := range []struct {
		zone           string
		w              Windows
		of, start, end string
	}{
		{"UTC", Windows{Every: hour}, "2026-03-01T12:34Z", "2026-03-01T12:00Z", "2026-03-01T13:00Z"},
		{"UTC", Windows{Every: hour, Offset: hour / 4}, "2026-03-01T12:10Z", "2026-03-01T11:15Z", "2026-03-01T12:15Z"},
		{"UTC", Windows{Every: hour, Offset: -hour / 4}, "2026-03-01T12:50Z", "2026-03-01T12:45Z", "2026-03-01T13:45Z"},
		{"UTC", Windows{Every: 24 * hour}, "1969-12-31T23:59Z", "1969-12-31T00:00Z", "1970-01-01T00:00Z"},
		{"UTC", Windows{Every: 7 * 24 * hour}, "1970-01-07T23:59Z", "1970-01-01T00:00Z", "1970-01-08T00:00Z"},
		{"Europe/Berlin", Windows{Every: 24 * hour}, "2026-01-10T12:00Z", "2026-01-09T23:00Z", "2026-01-10T23:00Z"},
		{"Europe/Berlin", Windows{Every: 24 * hour}, "2026-03-29T12:00Z", "2026-03-28T23:00Z", "2026-03-29T22:00Z"}, // 23 hours
		{"Europe/Berlin", Windows{Every: 24 * hour}, "2026-10-25T00:30Z", "2026-10-24T22:00Z", "2026-10-25T23:00Z"}, // 25 hours
		{"Asia/Kathmandu", Windows{Every: hour}, "2026-01-10T12:00Z", "2026-01-10T11:15Z", "2026-01-10T12:15Z"},
		{"UTC", Windows{Months: 1}, "2024-02-29T23:59Z", "2024-02-01T00:00Z", "2024-03-01T00:00Z"},
		{"UTC", Windows{Months: 1}, "2023-02-28T23:59Z", "2023-02-01T00:00Z", "2023-03-01T00:00Z"},
		{"UTC", Windows{Months: 1}, "1969-12-31T23:59Z", "1969-12-01T00:00Z", "1970-01-01T00:00Z"},
		{"UTC", Windows{Months: 1, Offset: 24 * hour}, "2026-03-01T12:00Z", "2026-02-02T00:00Z", "2026-03-02T00:00Z"},
		{"UTC", Windows{Months: 3}, "2026-05-15T00:00Z", "2026-04-01T00:00Z", "2026-07-01T00:00Z"},
		{"UTC", Windows{Months: 12}, "2026-05-15T00:00Z", "2026-01-01T00:00Z", "2027-01-01T00:00Z"},
		{"UTC", Windows{Months: 120}, "2026-05-15T00:00Z", "2020-01-01T00:00Z", "2030-01-01T00:00Z"},
		{"Europe/Berlin", Windows{Months: 1}, "2026-03-15T00:00Z", "2026-02-28T23:00Z", "2026-03-31T22:00Z"},
		{"Europe/Berlin", Windows{Months: 1}, "2026-10-31T22:59Z", "2026-09-30T22:00Z", "2026-10-31T23:00Z"},
		{"America/New_York", Windows{Months: 12}, "2026-01-01T04:59Z", "2025-01-01T05:00Z", "2026-01-01T05:00Z"},
	} {
		c.w.Zone = ZoneOf(location(t, c.zone))
		start, end := c.w.of(at(c.of))
		if start != at(c.start) || end != at(c.end) {
			t.Errorf("%s in %+v of %s: got %s to %s, want %s to %s", c.of, c.w.Every, c.zone,
				time.Unix(0, start).UTC(), time.Unix(0, end).UTC(), c.start, c.end)
		}
	}
}

// The rules of a zone that a request brings must say what the library says, at each time, and must be few.
func TestZones(t *testing.T) {
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Apia"} {
		loc := location(t, name)
		z := ZoneOf(loc)
		if len(z.From) >= transitionsMax {
			t.Errorf("%s changes %d times", name, len(z.From))
		}
		rapid.Check(t, func(t *rapid.T) {
			at := rapid.Int64Range(time.Date(1850, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()).Draw(t, "at")
			if _, want := time.Unix(0, at).In(loc).Zone(); z.at(at) != int64(want)*int64(time.Second) {
				t.Errorf("%s at %s: got %d, want %d s", name, time.Unix(0, at).UTC(), z.at(at)/1e9, want)
			}
		})
	}
}

// Windows without changes of the clock, and those of the calendar, must follow each other without a gap, up to the ends of
// all times; else a point would be in none or in two.
func TestWindowsTile(t *testing.T) {
	berlin := ZoneOf(location(t, "Europe/Berlin"))
	rapid.Check(t, func(t *rapid.T) {
		w := Windows{Every: rapid.Int64Range(1, int64(1000*24*time.Hour)).Draw(t, "every")}
		if rapid.Bool().Draw(t, "calendar") {
			w = Windows{Months: rapid.Int64Range(1, 30).Draw(t, "months")}
			if rapid.Bool().Draw(t, "berlin") {
				w.Zone = berlin
			}
		} else {
			w.Offset = rapid.Int64Range(-w.Every+1, w.Every-1).Draw(t, "offset")
		}
		// Windows that are moved have no room for that within a window of the ends of all times.
		ends := abs(w.Offset) + w.Every*min(1, abs(w.Offset))
		at := rapid.Int64Range(influxql.MinTime+ends, influxql.MaxTime-1-ends).Draw(t, "at")
		start, end := w.of(at)
		if at < start || at >= end {
			t.Fatalf("%d is not in its window, %d to %d", at, start, end)
		}
		if end >= influxql.MaxTime-ends {
			return
		}
		if next, _ := w.of(end); next != end {
			t.Fatalf("the window behind %d to %d begins at %d", start, end, next)
		}
		if first, _ := w.of(start); start > influxql.MinTime && first != start {
			t.Fatalf("the begin %d is in a window that begins at %d", start, first)
		}
	})
}

// All times of a window must have the same window, over changes of the clock too, and windows must follow each other; else
// it would depend on the points that a shard has into which window they go, and filled rows would stand beside those with
// values.
func TestWindowsOfZones(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"} {
		zone := ZoneOf(location(t, name))
		rapid.Check(t, func(t *rapid.T) {
			w := Windows{Every: rapid.Int64Range(1, 2000).Draw(t, "minutes") * int64(time.Minute), Zone: zone}
			w.Offset = rapid.Int64Range(0, w.Every-1).Draw(t, "offset")
			if rapid.Bool().Draw(t, "whole") {
				w.Every, w.Offset = rapid.Int64Range(1, 48).Draw(t, "hours")*int64(time.Hour), 0
			}
			// Times are near a change of the clock, but for those at the end of all times, where windows are those of UTC.
			changes := zone.From[1:]
			for changes[len(changes)-1] > influxql.MaxTime-int64(30*24*time.Hour) {
				changes = changes[:len(changes)-1]
			}
			change := rapid.SampledFrom(changes).Draw(t, "change")
			at := change + rapid.Int64Range(-int64(60*time.Hour), int64(60*time.Hour)).Draw(t, "at")
			start, end := w.of(at)
			if at < start || at >= end {
				t.Fatalf("%d is not in its window, %d to %d", at, start, end)
			}
			for _, other := range []int64{start, end - 1, rapid.Int64Range(start, end-1).Draw(t, "other")} {
				if s, e := w.of(other); s != start || e != end {
					t.Fatalf("%s has the window %s to %s, and %s in it %s to %s", time.Unix(0, at).UTC(), time.Unix(0, start).UTC(), time.Unix(0, end).UTC(),
						time.Unix(0, other).UTC(), time.Unix(0, s).UTC(), time.Unix(0, e).UTC())
				}
			}
			if s, _ := w.of(end); s != end {
				t.Fatalf("the window behind %s begins at %s", time.Unix(0, end).UTC(), time.Unix(0, s).UTC())
			}
			if s := w.next(w.next(start, false), true); s != start {
				t.Fatalf("forth and back from %s is %s", time.Unix(0, start).UTC(), time.Unix(0, s).UTC())
			}
		})
	}
}
