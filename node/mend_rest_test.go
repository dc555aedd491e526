package node

import (
	"testing"
	"time"
)

// The scrub reads until it has read everything, and then rests until an hour has passed
// since it began. Meanwhile it looks at what the disk refuses, and seldom where that is
// nothing. A walk over a large disk takes longer than an hour, and the next one follows it
// at once. Without the rest a node that holds a little read it over and over.
func TestScrubRests(t *testing.T) {
	at := time.Now()
	s := scrubbing{begin: at}
	for _, test := range []struct {
		what    string
		passed  time.Duration
		do      func()
		due     bool
		pause   time.Duration
		refused bool
	}{
		{"it starts", 0, func() {}, true, scrubPause, false},
		{"a step is done", time.Minute, func() {}, true, scrubPause, false},
		{"all is read", time.Minute, func() { s.walked(at) }, false, lookRarelyPause, false},
		{"something is refused", time.Minute, func() {}, false, lookAgainPause, true},
		{"it is back", time.Minute, func() {}, false, lookRarelyPause, false},
		{"an hour has passed", scrubRound - 4*time.Minute, func() {}, true, scrubPause, false},
		{"that walk takes long", 3 * scrubRound, func() { s.walked(at) }, true, scrubPause, false},
		{"scrubbing is off", 0, func() { s.off = true }, false, lookRarelyPause, false},
	} {
		at = at.Add(test.passed)
		s.refused = test.refused
		if test.do(); s.due(at) != test.due || s.pause(at) != test.pause {
			t.Errorf("%s: a step is due: %v, pause %s; want %v, %s", test.what, s.due(at), s.pause(at), test.due, test.pause)
		}
	}
}
