package query

import "muster/shardmap/points"

// Append appends the bytes of the sources:
//
//	u8      version
//	uvarint count, and each: text    names
//	uvarint count, and each: text    regular expressions
//
// A text is a uvarint, and as many bytes.
func (s *Sources) Append(b []byte) []byte {
	return appendTexts(appendTexts(append(b, Version), s.Names), s.Expressions)
}

// ReadSources reads the bytes of sources, which take some five times as much memory then. An error is a [DamageError], or a
// [LimitError]: all expressions together are bounded by [RegexMax] and [RepeatRegexMax].
func ReadSources(b []byte) (s Sources, err error) {
	in := read(b, 16*RequestMax)
	s.Names = in.list("names", points.KeyMax)
	s.Expressions = in.list("regular expressions", RegexMax)
	if err := in.end(); err != nil {
		return Sources{}, err
	}
	if err := BoundExpressions(s.Expressions); err != nil {
		return Sources{}, err
	}
	return s, nil
}

// BoundExpressions refuses regular expressions that together are over [RegexMax] or [RepeatRegexMax], the bounds of a
// text: few bytes of one with repetitions make megabytes of steps.
func BoundExpressions(all []string) error {
	var l lexer
	for _, e := range all {
		if err := l.boundRegex(e); err != nil {
			return err
		}
	}
	return nil
}

// list reads texts in any order, each of at most some bytes.
func (in *input) list(what string, most int) (list []string) {
	for range in.count(what, MeasurementsMax, 16) {
		list = append(list, in.text(most))
	}
	return list
}
