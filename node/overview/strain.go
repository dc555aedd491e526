package overview

import "time"

// A measurement moves about its limit: a round trip of some 100 ms is below it in one second and above it in the next. A
// verdict that followed each sample would change each second, and tell a person nothing. So a strain begins and ends only
// after a while, and the limit for its end is well within the one for its beginning.

const (
	// strainBegins is how long all samples must be beyond the limit before that is a finding: longer than two pings, so
	// that one slow answer is not enough.
	strainBegins = 5 * time.Second
	// strainEnds is how long all samples must be well within the limit before the finding ends.
	strainEnds = 15 * time.Second
	// strainKept is how long the last sample counts. After a longer gap, as at the first sample, the limit alone decides.
	strainKept = 15 * time.Second
)

// reading is how a measurement stands to its two limits.
type reading int

const (
	readingBetween reading = iota // the two limits, or not known precisely enough
	readingBeyond                 // the limit for the beginning
	readingWell                   // within the limit for the end
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
	found  bool      // it is a finding: set once it was beyond for strainBegins, cleared once it was well for strainEnds
	turned time.Time // since when all samples say that found is to change; zero: the last one does not
	seen   time.Time // when the last sample was
}

// strains are those of a cluster, by what they are of.
type strains map[string]strain

// next returns the strain after one more sample. known says that there was one before.
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

// after returns the strains that still count at a time: those seen within strainKept.
func (all strains) after(now time.Time) strains {
	kept := strains{}
	for of, s := range all {
		if now.Sub(s.seen) <= strainKept {
			kept[of] = s
		}
	}
	return kept
}
