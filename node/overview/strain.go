package overview

import "time"

// What is measured moves about its limit: a round trip of some 100 ms is below it in one second and above it in the next.
// A verdict that went along would tell a person nothing but that, each second. So a strain begins and ends only after a
// while, and has a limit for its end that is well within the one for its beginning.

const (
	// strainBegins is for how long all samples must be beyond the limit until that is a finding: longer than two pings,
	// so that one slow answer is none.
	strainBegins = 5 * time.Second
	// strainEnds is for how long all samples must be well within the limit until it is one no more.
	strainEnds = 15 * time.Second
	// strainKept is for how long it counts what the last sample showed. What nothing is known of is taken as it is, by
	// the limit alone.
	strainKept = 15 * time.Second
)

// reading is something measured, beside its limits. It may be neither: within the limit, but not well within it; or not
// known so precisely.
type reading int

const (
	readingBetween reading = iota
	readingBeyond          // the limit for the beginning
	readingWell            // within the limit for the end
)

// above is the reading of a value that should be small, and below of one that should be large.
func above[T ~int64 | ~uint64](value, begins, ends T) reading {
	switch {
	case value > begins:
		return readingBeyond
	case value <= ends:
		return readingWell
	}
	return readingBetween
}

func below[T ~int64 | ~uint64](value, begins, ends T) reading {
	switch {
	case value < begins:
		return readingBeyond
	case value >= ends:
		return readingWell
	}
	return readingBetween
}

// strain is what is known of something measured.
type strain struct {
	found  bool      // it is a finding. Left once it was well for strainEnds; entered once it was beyond for strainBegins
	turned time.Time // since when all samples say that found is to change; zero: the last one does not
	seen   time.Time // when the last sample was
}

// strains are those of a cluster, by what they are of.
type strains map[string]strain

// next is a strain one sample later. known: there is an earlier one.
func (s strain) next(r reading, now time.Time, known bool) strain {
	if !known || now.Sub(s.seen) > strainKept {
		return strain{found: r == readingBeyond, seen: now}
	}
	s.seen = now
	turns, after := readingBeyond, strainBegins
	if s.found {
		turns, after = readingWell, strainEnds
	}
	switch {
	case r != turns:
		s.turned = time.Time{}
	case s.turned.IsZero():
		s.turned = now
	case now.Sub(s.turned) >= after:
		s.found, s.turned = !s.found, time.Time{}
	}
	return s
}

// after returns the strains that count at a time: those of which it is not too long ago.
func (all strains) after(now time.Time) strains {
	kept := strains{}
	for of, s := range all {
		if now.Sub(s.seen) <= strainKept {
			kept[of] = s
		}
	}
	return kept
}
