package column

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The coding of whole numbers is chosen by a sample of them. Columns as series have them must not get longer by it than by one
// hundredth, whatever coding would have been the shortest.
func TestSampleFindsTheShortest(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	sum := func(step func(i int) int64) func(int) int64 {
		at := int64(1e15)
		return func(i int) int64 { at += step(i); return at }
	}
	for name, value := range map[string]func(int) int64{
		"counter":               sum(func(int) int64 { return random.Int64N(1001) }),
		"counter that is reset": sum(func(i int) int64 { return random.Int64N(1001) - int64(i%211/210)*100_000 }),
		"walk":                  sum(func(int) int64 { return random.Int64N(201) - 100 }),
		"percentages":           func(int) int64 { return random.Int64N(101) },
		"mostly the same":       func(int) int64 { return int64(random.IntN(200) / 199 * 1000) },
		"outliers":              func(int) int64 { return random.Int64N(16) + int64(random.IntN(50)/49)<<40 },
		"late times":            func(i int) int64 { return int64(i)*1e10 + 1e6*random.Int64N(1000) },
		"nearly even times":     func(i int) int64 { return int64(i)*1e10 + int64(random.IntN(20)/19) },
	} {
		made, shortest := 0, 0
		for range 20 {
			values := make([]int64, 1000)
			for i := range values {
				values[i] = value(i)
			}
			made += len(appendWhole(nil, values, formDeltaOfDelta))
			s, best := look(values), math.MaxInt
			c := s.choices(values, formDeltaOfDelta)
			for i := range c.list[:c.n] {
				best = min(best, len(appendCoded(nil, &c.list[i], values)))
			}
			shortest += best
		}
		if made > shortest+shortest/100 {
			t.Errorf("%s: %d bytes, and %d with the best codings", name, made, shortest)
		}
	}
}
