package repl

import (
	"testing"
	"time"
)

// A clock that is set, forward or back, is seen, and so is a machine that was suspended. One
// that a daemon corrects little by little, however far, has not jumped.
func TestClockJumps(t *testing.T) {
	var j jumps
	wall, mono := time.Duration(0), time.Duration(0)
	look := func(dWall, dMono time.Duration, count int, by time.Duration) {
		t.Helper()
		wall, mono = wall+dWall, mono+dMono
		j.look(wall, mono)
		got := ClockJump{}
		if last := j.last.Load(); last != nil {
			got = *last
		}
		if got.Count != count || got.By != by {
			t.Fatalf("at %s: got %+v, want %d jumps, the last by %s", mono, got, count, by)
		}
	}
	look(time.Hour, time.Second, 0, 0) // it may have been set before the first look
	for range 1000 {
		look(52*time.Millisecond, 50*time.Millisecond, 0, 0)
	}
	look(3*time.Minute+time.Second, time.Second, 1, 3*time.Minute)
	look(time.Second, time.Second, 1, 3*time.Minute)
	look(-5*time.Second, time.Second, 2, -6*time.Second)
	if at := j.last.Load().At; at != mono {
		t.Errorf("seen at %s, want %s", at, mono)
	}
}
