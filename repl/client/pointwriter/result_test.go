package pointwriter

import "testing"

// Each reason has words of its own: without, a client learns nothing of why a point is not there.
func TestWords(t *testing.T) {
	seen := map[string]bool{}
	for r := range dropReasons {
		if text := r.String(); text == "" || seen[text] {
			t.Errorf("reason %d is %q", r, text)
		} else {
			seen[text] = true
		}
	}
	for l := range levels {
		if got, err := ParseLevel(l.String()); err != nil || got != l {
			t.Errorf("%s is read as %s, %v", l, got, err)
		}
	}
	if l, err := ParseLevel(""); err != nil || l != Quorum {
		t.Errorf("no name is read as %s, %v", l, err)
	}
	if _, err := ParseLevel("two"); err == nil {
		t.Error("level two is taken")
	}
}
