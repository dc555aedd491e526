package repl

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The system's ticker ticks again and again, can be made slow and fast, and leaves
// nothing behind.
func TestTicker(t *testing.T) {
	before := goleak.IgnoreCurrent()
	began := time.Now()
	k := newTicker(time.Millisecond)
	next := func() {
		t.Helper()
		select {
		case at := <-k.channel():
			if at.Before(began) || at.After(time.Now()) {
				t.Errorf("it says that it is %s, %s after the beginning", at, at.Sub(began))
			}
		case <-time.After(busyMax):
			t.Fatal("it does not tick")
		}
	}
	for range 3 {
		next()
	}
	if took := time.Since(began); took < 2*time.Millisecond { // one may wait while another is due
		t.Errorf("three ticks of a millisecond took %s", took)
	}
	k.reset(time.Hour)
	slow := time.Now()
	for range 2 { // one of before may be on its way, and one wait to be taken
		select {
		case <-k.channel():
		case <-time.After(20 * time.Millisecond):
		}
	}
	select {
	case <-k.channel():
		t.Errorf("it ticks %s after the interval became an hour", time.Since(slow))
	case <-time.After(20 * time.Millisecond):
	}
	k.reset(time.Millisecond)
	next()
	next()
	k.stop()
	goleak.VerifyNone(t, before)
}
