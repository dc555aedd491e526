package bench

import (
	"math"
	"math/rand/v2"
)

// ExponentMax bounds the exponent of a zipf distribution: beyond it nearly all
// falls on the first key, whatever the exponent.
const ExponentMax = 10

// zipf draws ranks 0 to n-1, rank k with a chance in proportion to
// 1/(k+1)^exponent, by rejection-inversion (Hörmann and Derflinger, "Rejection-
// inversion to generate variates from monotone discrete distributions", ACM
// TOMACS 6, 1996): no table, and less than 1.1 draws on average, for any
// exponent over 0. The generator of math/rand/v2 needs an exponent over 1, where
// what is usual is 0.99.
type zipf struct {
	n        float64
	exponent float64
	low      float64 // where the area under the hat begins
	high     float64 // and where it ends
	sure     float64 // so near below a rank nothing is rejected
}

func newZipf(n int, exponent float64) zipf {
	z := zipf{n: float64(n), exponent: exponent}
	z.low = z.area(1.5) - 1
	z.high = z.area(z.n + 0.5)
	z.sure = 2 - z.inverse(z.area(2.5)-z.weight(2))
	return z
}

// weight is the chance of a rank, the first being 1, times a constant.
func (z *zipf) weight(x float64) float64 { return math.Exp(-z.exponent * math.Log(x)) }

// area is the integral of weight from 1 to x.
func (z *zipf) area(x float64) float64 {
	l := math.Log(x)
	return l * expm1Ratio((1-z.exponent)*l)
}

// inverse is the x of an area.
func (z *zipf) inverse(a float64) float64 {
	t := max(a*(1-z.exponent), -1) // rounding may take it past the pole
	return math.Exp(a * log1pRatio(t))
}

// expm1Ratio is (e^x-1)/x, also near 0, where the exponent is 1.
func expm1Ratio(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Expm1(x) / x
	}
	return 1 + x/2
}

// log1pRatio is log(1+x)/x, also near 0.
func log1pRatio(x float64) float64 {
	if math.Abs(x) > 1e-8 {
		return math.Log1p(x) / x
	}
	return 1 - x/2
}

func (z *zipf) draw(r *rand.Rand) int {
	for {
		u := z.high + r.Float64()*(z.low-z.high)
		x := z.inverse(u)
		k := min(max(math.Round(x), 1), z.n)
		if k-x <= z.sure || u >= z.area(k+0.5)-z.weight(k) {
			return int(k) - 1
		}
	}
}
