package column

import (
	"math"
	"math/rand/v2"
	"testing"
)

// The coding of whole numbers is chosen by a sample of them. Columns as series have them get no longer by it, whatever coding
// would have been the shortest. Times of which one in twenty is off by a little, a quarter of a byte each, get longer by three
// hundredths at most: two codings of them differ by less than samples do.
func TestSampleFindsTheShortest(t *testing.T) {
	for seed := range uint64(10) {
		sampleFinds(t, rand.New(rand.NewPCG(seed, 2)))
	}
}

func sampleFinds(t *testing.T, random *rand.Rand) {
	sum := func(step func(i int) int64) func(int) int64 {
		at := int64(1e15)
		return func(i int) int64 { at += step(i); return at }
	}
	for _, c := range []struct {
		name  string
		worst float64 // how many times as long as the shortest
		value func(int) int64
	}{
		{"counter", 1.005, sum(func(int) int64 { return random.Int64N(1001) })},
		{"counter that is reset", 1.005, sum(func(i int) int64 { return random.Int64N(1001) - int64(i%211/210)*100_000 })},
		{"walk", 1.005, sum(func(int) int64 { return random.Int64N(201) - 100 })},
		{"percentages", 1.005, func(int) int64 { return random.Int64N(101) }},
		{"mostly the same", 1.005, func(int) int64 { return int64(random.IntN(200) / 199 * 1000) }},
		{"outliers", 1.005, func(int) int64 { return random.Int64N(16) + int64(random.IntN(50)/49)<<40 }},
		{"late times", 1.005, func(i int) int64 { return int64(i)*1e10 + 1e6*random.Int64N(1000) }},
		{"nearly even times", 1.03, func(i int) int64 { return int64(i)*1e10 + int64(random.IntN(20)/19) }},
	} {
		made, shortest := 0, 0
		for range 20 {
			values := make([]int64, 1000)
			for i := range values {
				values[i] = c.value(i)
			}
			s, best := look(values), math.MaxInt
			if s.step == 0 {
				continue // all are equal: there is nothing to choose
			}
			made += len(appendWhole(nil, values, formDeltaOfDelta))
			of := s.choices(values, formDeltaOfDelta)
			for i := range of.list[:of.n] {
				best = min(best, len(appendCoded(nil, &of.list[i], values)))
			}
			shortest += best
		}
		if float64(made) > float64(shortest)*c.worst {
			t.Errorf("%s: %d bytes, and %d with the best codings", c.name, made, shortest)
		}
	}
}
