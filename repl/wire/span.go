package wire

import (
	"bytes"
	"errors"
	"fmt"

	"muster/shardmap"
	"muster/shardmap/pack"
)

// Span says which of the keys that begin with a prefix a listing is of, and how. It came with level
// [shardmap.RangesLevel]: below that a node refuses all but the zero span, of which no byte is sent.
//
// A prefix is always there besides, if only the empty one, and a grant must cover it. So a client
// whose user may not list all keys names in it what all keys from From to To begin with.
type Span struct {
	// From is the first key, To the first behind the last; without bytes: no bound. From may be
	// one byte longer than a key: what follows a key is longer than that.
	From, To []byte
	// Descending lists the last key first. The keys after another are then those below it.
	Descending bool
	// Counting has keys counted and none sent: the answer has no rows, but [ListAnswer.Counted].
	// Keys are counted by slot, and in a slot by key; so After is where the count of its slot
	// goes on, and that of slots before it is over.
	Counting bool
}

// spanFields counts the fields of a span.
const spanFields = 4

// zero reports whether s is that of listings below [shardmap.RangesLevel].
func (s *Span) zero() bool {
	return len(s.From) == 0 && len(s.To) == 0 && !s.Descending && !s.Counting
}

// Level returns the level of clusters of which it may be asked.
func (s *Span) Level() uint32 {
	if s.zero() {
		return 0
	}
	return shardmap.RangesLevel
}

// Check refuses bounds between which there is no key with a prefix, whatever keys there are.
func (s *Span) Check(prefix []byte) error {
	if s.zero() {
		return nil
	}
	end := shardmap.EndOfPrefix(prefix)
	switch {
	case len(s.From) > shardmap.KeyMax+1 || len(s.To) > shardmap.KeyMax+1:
		return fmt.Errorf("field from of %d bytes, to of %d, want %d at most", len(s.From), len(s.To), shardmap.KeyMax+1)
	case len(s.To) > 0 && bytes.Compare(s.From, s.To) >= 0:
		return fmt.Errorf("field to: %s, want a key above field from: %s", shardmap.ShowKey(s.To), shardmap.ShowKey(s.From))
	case end != nil && bytes.Compare(s.From, end) >= 0:
		return fmt.Errorf("field from: %s, want one that is not above all keys with prefix %s", shardmap.ShowKey(s.From), shardmap.ShowKey(prefix))
	case len(s.To) > 0 && bytes.Compare(s.To, prefix) <= 0:
		return fmt.Errorf("field to: %s, want one above prefix %s", shardmap.ShowKey(s.To), shardmap.ShowKey(prefix))
	case s.Descending && s.Counting:
		return fmt.Errorf("field descending: true, want false where keys are counted")
	}
	return nil
}

func (s *Span) read(r *pack.Reader) error {
	s.From, s.To = r.Bytes(), r.Bytes()
	s.Descending, s.Counting = r.Bool(), r.Bool()
	if r.Err() == nil && s.zero() {
		return errors.New("a span that says nothing, want a list that ends before it")
	}
	return r.Err()
}
