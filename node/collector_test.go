package node

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
		{6 << 20, 394},
		{24 << 20, 94},
		{64 << 20, 31},
		{200 << 20, 8},
		{200<<20 + 1, 8},
		{200<<20 + 13, 8},
		{10000 << 20, 8},
	} {
		if got := heapGrowth(c.live); got != c.want {
			t.Errorf("%d MB live: got %d %%, want %d", c.live>>20, got, c.want)
		}
	}
}

// The limit is to have memory given back, not to have it collected more often:
// the runtime keeps 3 % of what the limit leaves to the heap unused, or 1 MiB,
// and what it gives back it takes anew before the heap is full.
func TestMemoryLimit(t *testing.T) {
	for _, live := range []uint64{0, 1 << 20, 6 << 20, 60 << 20, 220 << 20, 2 << 30, 20 << 30} {
		full := live + heapRoom(live)
		for _, beside := range []uint64{1 << 20, 20 << 20, live / 4} {
			limit := memoryLimit(live, beside) * (100 - limitPercent) / 100 // it may be off by so much
			left := limit - int64(beside)
			if left -= max(left*3/100, 1<<20); left < int64(full) {
				t.Errorf("%d MB live, %d beside: the heap is collected at %d MB for the limit, at %d for its growth", live>>20, beside>>20, left>>20, full>>20)
			}
			if gives := limit * limitPart / 100; gives > int64(full+beside)+limitRoom {
				t.Errorf("%d MB live, %d beside: what is beyond %d MB is given back, the heap with what is beside needs %d", live>>20, beside>>20, gives>>20, (full+beside)>>20)
			}
		}
	}
}

// The settings follow the heap from one collection to the next, and gives way
// to the user's.
func TestCollectorFollowsTheHeap(t *testing.T) {
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(-1))
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
		defer tuneCollector()()
		if got := percent(); got != 100 {
			t.Errorf("got %d, want 100", got)
		}
	})
	live := make([]byte, 240<<20)
	defer tuneCollector()()
	for end := time.Now().Add(20 * time.Second); percent() != heapRoomPart; runtime.GC() {
		if time.Now().After(end) {
			t.Fatalf("with 240 MB alive it is %d, want %d", percent(), heapRoomPart)
		}
	}
	if got, least := debug.SetMemoryLimit(-1), int64(len(live)); got < least || got > least*5/4 {
		t.Errorf("with %d bytes alive it is to keep to %d, want a quarter more at most", least, got)
	}
	runtime.KeepAlive(live)
}
