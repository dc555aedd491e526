package repl

import (
	"testing"
	"time"
)

// A ping is due a second after the one before, and overdue four seconds after the other
// side was last heard of. Nothing but what is sent looks at that.
func TestPinging(t *testing.T) {
	p := pinging{due: peerPingPause}
	for _, test := range []struct {
		what    string
		now     time.Duration
		do      func()
		ping    bool
		overdue bool
	}{
		{"too soon", peerPingPause - 1, func() {}, false, false},
		{"the first", peerPingPause, func() {}, true, false},
		{"it is under way", 2 * peerPingPause, func() {}, false, false},
		{"it is answered", 2 * peerPingPause, p.answered, true, false},
		{"it waits", 2*peerPingPause + peerPongMax - 1, func() {}, false, false},
		{"it waits too long", 2*peerPingPause + peerPongMax, func() {}, false, true},
		{"part of an answer has come", 2*peerPingPause + peerPongMax, func() {
			p.began = time.Now().Add(-3 * peerPingPause)
			p.heard()
		}, false, false},
		{"no more of it comes", 4*peerPingPause + peerPongMax, func() {}, false, true},
		{"the rest comes", 4*peerPingPause + peerPongMax, p.answered, true, false},
		{"answered late, the next is no sooner", 5*peerPingPause + peerPongMax - 1, p.answered, false, false},
		{"what comes without a ping is no answer", 5*peerPingPause + peerPongMax - 1, p.heard, false, false},
	} {
		test.do()
		ping, err := p.look(test.now)
		if ping != test.ping || (err != nil) != test.overdue {
			t.Errorf("%s: a ping is to be sent: %v, and error %v", test.what, ping, err)
		}
	}
}
