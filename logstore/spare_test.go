package logstore

import (
	"runtime"
	"runtime/debug"
	"testing"

	"muster/logstore/vfs"
)

// The groups of a node write their snapshots one after the other. What the next
// one takes anew is garbage of the one before, and stays in memory until a
// collection.
func TestSnapshotsShareTheirBuffers(t *testing.T) {
	// A collection may take away what waits to be used again.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	r := testReplica(1)
	s := fillStore(t, mustOpen(t, vfs.OS{}, Options{Dir: t.TempDir()}), r)
	defer s.Close()
	state := stream(5 * blockBytes)
	least := uint64(1 << 40)
	for index := uint64(1); index <= 10; index++ { // under the race detector some buffers are dropped on purpose
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		makeSnapshot(t, s, r, baseAt(r, 1, index), state)
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	if least > 64<<10 {
		t.Errorf("a snapshot of %d bytes takes %d bytes of memory that none before it had", len(state), least)
	}
}
