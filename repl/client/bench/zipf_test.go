package bench

import (
	"math"
	"math/rand/v2"
	"testing"
)

// How often a rank is drawn must follow the formula, for exponents below, at and
// over 1: a hot key that is twice as hot changes what a cluster can do.
func TestZipf(t *testing.T) {
	const draws = 100_000
	for _, tt := range []struct {
		n        int
		exponent float64
	}{{1, 0.99}, {2, 1}, {1000, 0.1}, {1000, 0.5}, {1000, 0.99}, {1000, 1}, {1000, 1.000001}, {1000, 2}, {50, ExponentMax}, {1_000_000, 0.99}} {
		z := newZipf(tt.n, tt.exponent)
		random := rand.New(rand.NewPCG(3, 4))
		low, high := make([]float64, 10), 0.0
		for range draws {
			k := z.draw(random)
			switch {
			case k < 0 || k >= tt.n:
				t.Fatalf("%d keys, exponent %v: drew %d", tt.n, tt.exponent, k)
			case k < len(low):
				low[k]++
			case k >= tt.n/2:
				high++
			}
		}
		sum, half := 0.0, 0.0 // of the weights, and of those from the middle on
		for k := range tt.n {
			w := math.Pow(float64(k+1), -tt.exponent)
			sum += w
			if k >= max(len(low), tt.n/2) {
				half += w
			}
		}
		check := func(what string, k int, got, chance float64) {
			t.Helper()
			// Five times the deviation of so many draws; the seed is fixed.
			if want := draws * chance; math.Abs(got-want) > 5*math.Sqrt(want*(1-chance))+1e-6*want {
				t.Errorf("%d keys, exponent %v: %s %d was drawn %v times, want %.1f", tt.n, tt.exponent, what, k, got, want)
			}
		}
		for k := range min(len(low), tt.n) {
			check("rank", k, low[k], math.Pow(float64(k+1), -tt.exponent)/sum)
		}
		check("the half from", tt.n/2, high, half/sum)
	}
}
