package rights

import (
	"testing"
	"time"

	"muster/repl/wire"
)

// A node that can't make sure of its table says nothing to users once that is too old, however often it was
// sure before, and after a start until it is sure once. One would doubt it: it asks again long before, and
// answers come late.
func TestContact(t *testing.T) {
	if wrong := contactWrong(); wrong != "" {
		t.Error(wrong)
	}
}

// contactWrong returns at which step of a node's life users are answered who must not be, or the other way round.
func contactWrong() string {
	const cutOff, slept = 8 * time.Second, -2
	open, users := new(Law), &Law{Users: true}
	c := NewConfirmer(cutOff)
	for _, step := range []struct {
		what      string
		confirmed time.Duration // -1: it is not; -2: it was suspended
		at        time.Duration
		law       *Law
		is        Contact
		wants     bool
	}{
		{"before the table", -1, 0, nil, ContactNone, true},
		{"long after the start", -1, 2 * cutOff, users, ContactNone, true},
		{"the first time", 2 * cutOff, 2 * cutOff, users, ContactGood, false},
		{"where nobody is a user", -1, 2*cutOff + cutOff/2, open, ContactGood, false},
		{"before it is time", -1, 2*cutOff + cutOff/confirmParts - 1, users, ContactGood, false},
		{"when it is time", -1, 2*cutOff + cutOff/confirmParts, users, ContactGood, true},
		{"at the end of the time", -1, 3 * cutOff, users, ContactGood, true},
		{"behind it", -1, 3*cutOff + 1, users, ContactLost, true},
		{"by an answer that is too late", 2*cutOff + 2, 3*cutOff + 3, users, ContactLost, true},
		{"by one that is late", 2*cutOff + 4, 3*cutOff + 4, users, ContactGood, true},
		{"right behind that", -1, 3*cutOff + 5, users, ContactLost, true},
		{"once more", 4 * cutOff, 4 * cutOff, users, ContactGood, false},
		{"after a suspension", slept, 4*cutOff + 2, users, ContactLost, true},
		{"by an answer to a question from before it", 4*cutOff + 1, 4*cutOff + 3, users, ContactLost, true},
		{"by one from after it", 4*cutOff + 2, 4*cutOff + 4, users, ContactGood, false},
	} {
		was := c.contact
		switch {
		case step.confirmed >= 0:
			c.Confirmed(step.confirmed)
		case step.confirmed == slept:
			c.Slept(step.at)
		}
		is, changed := c.Look(step.at)
		switch wants := c.Wants(step.at, step.law); {
		case is != step.is || changed != (is != was):
			return step.what + ": contact " + string('0'+rune(is)) + ", want " + string('0'+rune(step.is))
		case wants != step.wants:
			return step.what + ": it is to make sure at the wrong time"
		}
	}
	for c, want := range map[Contact]wire.Code{ContactNone: wire.CodeNotReady, ContactLost: wire.CodeUnavailable} {
		if e := c.silences(wire.TypeGet, "n"); e == nil || e.Code != want {
			return "users are answered without contact"
		}
	}
	if e := ContactGood.silences(wire.TypeGet, "n"); e != nil {
		return "users are refused: " + e.Error()
	}
	return ""
}
