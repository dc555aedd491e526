package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

// A heap that may grow by too little is collected all the time, one that may
// grow by too much is memory that a host does not have.
func TestHeapGrowth(t *testing.T) {
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 400},
		{6 << 20, 400},
		{24 << 20, 100},
		{48 << 20, 50},
		{240 << 20, 10},
		{10 << 30, 10},
	} {
		if got := heapGrowth(c.live); got != c.want {
			t.Errorf("%d MB live: got %d %%, want %d", c.live>>20, got, c.want)
		}
	}
}

// The setting follows the heap from one collection to the next, and gives way
// to the user's.
func TestCollectorFollowsTheHeap(t *testing.T) {
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	percent := func() int {
		p := debug.SetGCPercent(100)
		debug.SetGCPercent(p)
		return p
	}
	if os.Getenv("GOGC")+os.Getenv("GOMEMLIMIT") != "" {
		t.Skip("GOGC or GOMEMLIMIT is set")
	}
	t.Run("set by the user", func(t *testing.T) {
		t.Setenv("GOGC", "100")
		tuneCollector()
		if got := percent(); got != 100 {
			t.Errorf("got %d, want 100", got)
		}
	})
	live := make([]byte, 240<<20)
	tuneCollector()
	for end := time.Now().Add(20 * time.Second); percent() != heapRoomPart; runtime.GC() {
		if time.Now().After(end) {
			t.Fatalf("with 240 MB alive it is %d, want %d", percent(), heapRoomPart)
		}
	}
	runtime.KeepAlive(live)
}
