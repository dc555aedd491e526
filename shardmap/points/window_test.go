package points

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Division rounds towards zero, and the ends of an int64 are in no whole window: times before 1970 and at
// both ends must be in the right one all the same.
func TestWindowOf(t *testing.T) {
	const day, week = int64(24 * time.Hour), int64(7 * 24 * time.Hour)
	for _, c := range []struct {
		time int64
		d    time.Duration
		want Window
	}{
		{0, 24 * time.Hour, Window{0, day - 1}},
		{day - 1, 24 * time.Hour, Window{0, day - 1}},
		{day, 24 * time.Hour, Window{day, 2*day - 1}},
		{-1, 24 * time.Hour, Window{-day, -1}},
		{-day, 24 * time.Hour, Window{-day, -1}},
		{-day - 1, 24 * time.Hour, Window{-2 * day, -day - 1}},
		{1_600_000_000_000_000_000, 7 * 24 * time.Hour, Window{2645 * week, 2646*week - 1}},
		{math.MinInt64, 1, Window{math.MinInt64, math.MinInt64}},
		{math.MaxInt64, 1, Window{math.MaxInt64, math.MaxInt64}},
		{math.MinInt64, time.Hour, Window{math.MinInt64, -2562047*int64(time.Hour) - 1}},
		{math.MaxInt64, time.Hour, Window{2562047 * int64(time.Hour), math.MaxInt64}},
		{TimeMin, math.MaxInt64, Window{-math.MaxInt64, -1}},
		{TimeMax, math.MaxInt64, Window{0, math.MaxInt64 - 1}},
		{math.MaxInt64, math.MaxInt64, Window{math.MaxInt64, math.MaxInt64}},
		{math.MinInt64, math.MaxInt64, Window{math.MinInt64, math.MinInt64}},
	} {
		if got := WindowOf(c.time, c.d); got != c.want {
			t.Errorf("window of %d with %s: got %v, want %v", c.time, c.d, got, c.want)
		}
	}
}

// Windows tile time: each time is in its window, which is that of both its ends, and has the right length. Held
// against integers without a bound.
func TestWindowsTile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.Int64().Draw(t, "time")
		d := time.Duration(rapid.Int64Range(1, math.MaxInt64).Draw(t, "d"))
		w := WindowOf(at, d)
		if !w.Contains(at) || WindowOf(w.First, d) != w || WindowOf(w.Last, d) != w {
			t.Fatalf("window of %d with %d: %v", at, d, w)
		}
		first := new(big.Int).Div(big.NewInt(at), big.NewInt(int64(d))) // Euclidean: rounds down
		first.Mul(first, big.NewInt(int64(d)))
		last := new(big.Int).Add(first, big.NewInt(int64(d)-1))
		if first.IsInt64() && first.Int64() != w.First || !first.IsInt64() && w.First != math.MinInt64 {
			t.Fatalf("window of %d with %d begins at %d, want %v", at, d, w.First, first)
		}
		if last.IsInt64() && last.Int64() != w.Last || !last.IsInt64() && w.Last != math.MaxInt64 {
			t.Fatalf("window of %d with %d ends at %d, want %v", at, d, w.Last, last)
		}
	})
}

// A length that no window has is a mistake of the program, and must not pass for some window.
func TestWindowsOfNoLength(t *testing.T) {
	for _, d := range []time.Duration{0, -1, math.MinInt64} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("windows of %d ns", d)
				}
			}()
			WindowOf(1, d)
		}()
	}
}
