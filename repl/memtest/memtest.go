// Package memtest measures in tests how much memory something allocates.
package memtest

import (
	"math"
	"runtime"
)

// runs is how often Allocated calls f.
const runs = 3

// Allocated returns how many bytes f makes the process allocate. The runtime counts for all goroutines, and others of the test
// binary allocate as well, so it is the least of a few runs.
func Allocated(f func()) int {
	least := uint64(math.MaxUint64)
	for range runs {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		least = min(least, after.TotalAlloc-before.TotalAlloc)
	}
	return int(least)
}
