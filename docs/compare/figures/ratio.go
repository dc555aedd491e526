package figures

import (
	"math"
	"slices"
)

// Ratio is the subject's figure to another system's: the median of the ratios of
// the rounds, with the lowest and the highest of them.
//
// If rounds are alike and independent, the true median lies outside of n rounds
// with a chance of 2^(1-n): one in four with three, one in sixteen with five.
type Ratio struct {
	Median, Low, High float64
	Rounds            int
}

// Against compares the subject with another system in one figure of one case.
// Rounds in which one of the two is missing, or the other's figure is 0, do not
// count; ok is false if none does.
func Against(rows []Row, of, system string, figure func(Row) float64) (r Ratio, ok bool) {
	subject, other := byRound(rows, of, Subject, figure), byRound(rows, of, system, figure)
	var ratios []float64
	for round, s := range subject {
		if o, there := other[round]; there && o > 0 {
			ratios = append(ratios, s/o)
		}
	}
	if len(ratios) == 0 {
		return Ratio{}, false
	}
	return Ratio{
		Median: Median(ratios), Low: slices.Min(ratios), High: slices.Max(ratios), Rounds: len(ratios),
	}, true
}

// byRound is a figure for each round: the median, where a round has several rows.
func byRound(rows []Row, of, system string, figure func(Row) float64) map[int]float64 {
	all := map[int][]float64{}
	for _, r := range rows {
		if r.Case == of && r.System == system {
			all[r.Round] = append(all[r.Round], figure(r))
		}
	}
	medians := map[int]float64{}
	for round, values := range all {
		medians[round] = Median(values)
	}
	return medians
}

// Median is the middle value, or half way between the two in the middle; NaN if
// there are none.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
