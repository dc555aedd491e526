package bench

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

// The interval decides what is called faster, so its parts are held against
// sums that can be done by hand.
func TestCompareFigure(t *testing.T) {
	random := func() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
	for _, tt := range []struct {
		name  string
		a, b  []float64
		want  Figure
		exact bool // else the interval must hold the ratio, and lie within Low and High
	}{
		{"the same", []float64{4, 4, 4}, []float64{4, 4, 4}, Figure{A: 4, B: 4, Ratio: 1, Low: 1, High: 1}, true},
		{"twice, whatever the rounds did", []float64{10, 40, 20, 70}, []float64{20, 80, 40, 140}, Figure{A: 30, B: 60, Ratio: 2, Low: 2, High: 2, Clear: true}, true},
		{"a half", []float64{2, 8, 4}, []float64{1, 4, 2}, Figure{A: 4, B: 2, Ratio: 0.5, Low: 0.5, High: 0.5, Clear: true}, true},
		{"nothing to divide by", []float64{0, 0, 1}, []float64{1, 1, 1}, Figure{A: 0, B: 1}, true},
		{"noise", []float64{1, 2, 3}, []float64{3, 1, 2}, Figure{A: 2, B: 2, Ratio: 1, Low: 1. / 3, High: 3}, false},
	} {
		got := compareFigure(tt.a, tt.b, random())
		if tt.exact {
			if got != tt.want {
				t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
			}
			continue
		}
		if got.A != tt.want.A || got.B != tt.want.B || got.Ratio != tt.want.Ratio || got.Clear ||
			got.Low < tt.want.Low || got.Low > got.Ratio || got.High < got.Ratio || got.High > tt.want.High || got.Low == got.High {
			t.Errorf("%s: got %+v, want about %+v", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct {
		q    float64
		want float64
	}{{0, 1}, {0.25, 2}, {0.5, 3}, {0.625, 3.5}, {1, 5}} {
		if got := percentile([]float64{1, 2, 3, 4, 5}, tt.q); got != tt.want {
			t.Errorf("percentile %v: got %v, want %v", tt.q, got, tt.want)
		}
	}
	if got := median([]float64{9, 1, 5, 3}); got != 4 {
		t.Errorf("median: got %v, want 4", got)
	}
}

// An interval of 95 % must hold the true ratio about that often, though the
// machine drifts, and not be so wide that nothing is ever clear.
func TestCompareCovers(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	const trials, truth = 60, 1.1
	held, clear := 0, 0
	for trial := range trials {
		a, b := make([]Result, 9), make([]Result, 9)
		drift := 1.0
		for i := range a {
			drift *= math.Exp(random.NormFloat64() * 0.1)
			a[i].OpsPerS = 1000 * drift * math.Exp(random.NormFloat64()*0.02)
			b[i].OpsPerS = truth * 1000 * drift * math.Exp(random.NormFloat64()*0.02)
		}
		c, err := Compare(a, b, 1, uint64(trial))
		if err != nil {
			t.Fatal(err)
		}
		f := c.Figures[0]
		if f.Low <= truth && truth <= f.High {
			held++
		}
		if f.Clear {
			clear++
		}
		if again, _ := Compare(a, b, 1, uint64(trial)); !reflect.DeepEqual(c, again) {
			t.Fatalf("the same twice gives %+v and %+v", c, again)
		}
	}
	if held < trials*85/100 || clear < trials/4 {
		t.Errorf("of %d intervals %d hold the ratio and %d are clear; want nearly all and a quarter", trials, held, clear)
	}
	t.Logf("%d of %d hold it, %d are clear", held, trials, clear)
}

// Rounds that don't pair up can't be compared.
func TestCompareRefuses(t *testing.T) {
	for _, n := range [][2]int{{0, 0}, {4, 4}, {5, 6}} {
		if _, err := Compare(make([]Result, n[0]), make([]Result, n[1]), 1, 1); err == nil {
			t.Errorf("%d and %d rounds were compared", n[0], n[1])
		}
	}
}
