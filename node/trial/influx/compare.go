package influx

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
	"muster/shardmap/points/rows"
)

// Answerer is what a query is put to.
type Answerer interface {
	Query(text string, now time.Time) ([]rows.Series, error)
}

// Answer is what one of them answers.
type Answer struct {
	Series []rows.Series
	Err    error
}

// bound is by how much floats may differ that are sums: relative to the largest number of their column, for a
// difference of two sums can be small beside them. The others are equal to the last bit.
//
// The order of summation differs: InfluxDB adds the values of all series of a group in the order of time, and shards
// add up their own.
const bound = 1e-11

// summed are the functions whose floats depend on the order of summation.
var summed = []string{"mean", "sum", "stddev", "cumulative_sum", "moving_average"}

// Difference returns how got differs from want, the answer of InfluxDB; nothing if it does not. Both may be errors; their
// words are free.
func Difference(q Query, want, got Answer) string {
	switch {
	case want.Err != nil && got.Err != nil:
		return ""
	case want.Err != nil:
		return fmt.Sprintf("want an error: %v; got %d series", want.Err, len(got.Series))
	case got.Err != nil:
		return fmt.Sprintf("want %d series; got the error %v", len(want.Series), got.Err)
	case len(want.Series) != len(got.Series):
		return fmt.Sprintf("want %d series, got %d", len(want.Series), len(got.Series))
	}
	loose := slices.ContainsFunc(q.Features, func(f string) bool { return slices.Contains(summed, f) })
	for i := range want.Series {
		if d := differ(&want.Series[i], &got.Series[i], loose); d != "" {
			return fmt.Sprintf("series %d: %s", i, d)
		}
	}
	return ""
}

func differ(want, got *rows.Series, loose bool) string {
	switch {
	case want.Name != got.Name:
		return fmt.Sprintf("want name %q, got %q", want.Name, got.Name)
	case !slices.Equal(want.Tags, got.Tags):
		return fmt.Sprintf("want tags %q, got %q", want.Tags, got.Tags)
	case !slices.Equal(want.Columns, got.Columns):
		return fmt.Sprintf("want columns %q, got %q", want.Columns, got.Columns)
	case want.Len() != got.Len():
		return fmt.Sprintf("want %d rows, got %d", want.Len(), got.Len())
	case zone(want) != zone(got):
		return fmt.Sprintf("want times of zone %s, got %s", zone(want), zone(got))
	}
	scale := make([]float64, len(want.Columns))
	for i, v := range want.Values {
		if v.Kind == column.Float {
			c := i % len(scale)
			scale[c] = max(scale[c], math.Abs(v.Float()))
		}
	}
	for i, w := range want.Values {
		c := i % len(scale)
		if g := got.Values[i]; w != g && !(loose && near(w, g, scale[c])) {
			return fmt.Sprintf("row %d, %s: want %s, got %s", i/len(scale), want.Columns[c], text(w), text(g))
		}
	}
	return ""
}

func near(a, b points.Value, scale float64) bool {
	return a.Kind == column.Float && b.Kind == column.Float && math.Abs(a.Float()-b.Float()) <= bound*scale
}

// zone is that of the times.
func zone(s *rows.Series) string {
	if s.Location == nil {
		return "UTC"
	}
	return s.Location.String()
}

// text writes a value with its kind.
func text(v points.Value) string {
	switch v.Kind {
	case column.Float:
		return fmt.Sprintf("float %v", v.Float())
	case column.Integer:
		return fmt.Sprintf("integer %d", v.Integer())
	case column.Unsigned:
		return fmt.Sprintf("unsigned %d", v.Unsigned())
	case column.Boolean:
		return fmt.Sprintf("boolean %t", v.Boolean())
	case column.String:
		return fmt.Sprintf("string %q", v.Text())
	}
	return "null"
}

// Show writes an answer for a person, with at most so many rows.
func (a Answer) Show(most int) string {
	if a.Err != nil {
		return "error: " + a.Err.Error() + "\n"
	}
	var b strings.Builder
	for _, s := range a.Series {
		fmt.Fprintf(&b, "%s %v %v\n", s.Name, s.Tags, s.Columns)
		for i := range s.Len() {
			if most--; most < 0 {
				b.WriteString("  …\n")
				return b.String()
			}
			for c, v := range s.Row(i) {
				if c == 0 && s.Timed {
					b.WriteString("  " + time.Unix(0, v.Integer()).UTC().Format(time.RFC3339Nano))
				} else {
					b.WriteString("  " + text(v))
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// cut returns an answer with as many series of each measurement, and as many rows of each of them, as the limits leave.
func (a Answer) cut(l Limits) Answer {
	var left []rows.Series
	seen := map[string]int{} // series of a measurement
	for _, s := range a.Series {
		n := seen[s.Name] - l.SkippedSeries
		seen[s.Name]++
		if n < 0 || l.Series > 0 && n >= l.Series {
			continue
		}
		from := min(l.SkippedRows, s.Len())
		to := s.Len()
		if l.Rows > 0 {
			to = min(to, from+l.Rows)
		}
		if s.Values = s.Values[from*len(s.Columns) : to*len(s.Columns)]; len(s.Values) > 0 {
			left = append(left, s)
		}
	}
	return Answer{left, a.Err}
}
