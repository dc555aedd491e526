package node

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// By default the collector lets the heap double before it runs again, and a node's
// state lives in the heap: a node with 200 MB of keys would take 400. But most of that
// has no pointers and costs the collector nothing. So the heap may grow only by a small
// part of what lives in it. A small heap may grow by more, and is collected less often:
// by heapRoomMin less a sixteenth of what lives, while that is more than the part.
const (
	heapRoomMin  = 24 << 20 // bytes
	heapRoomPart = 8        // percent of what lives
	// heapRoomSlack is how far the setting may be off: changing it stops the
	// process for some ten microseconds.
	heapRoomSlack = 10 // percent
)

// The runtime returns free memory to the system only beyond a tenth more than the heap
// may become, which suits a heap that grows and shrinks. Under a limit it returns what
// is beyond 95 % of that, and this heap hardly shrinks. So the limit is set such that
// 95 % of it covers what the heap may become and the memory beside the heap. The limit
// costs no collections, because the heap would have to be larger still to cause one; and
// if the memory beside the heap grows by more than that, the next collection sets the
// limit anew.
const (
	limitRoom    = 1 << 20 // bytes
	limitPart    = 95      // percent of the limit beyond which the runtime returns memory
	limitPercent = 2       // percent by which the limit may be off
)

// TuneCollector keeps the settings of the process's garbage collector in line with its
// heap from now on, unless the user has set GOGC or GOMEMLIMIT. It is for a process that
// runs one node and little else: serve.
func TuneCollector() { tuneCollector() }

// tuneCollector does so until stop is called, which tests want. It works in the
// finalizers that the runtime runs after each collection.
func tuneCollector() (stop func()) {
	t := &collectorTuner{percent: 100}
	stop = func() { t.stopped.Store(true) }
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if os.Getenv(name) != "" {
			return stop
		}
	}
	t.adjust()
	t.again()
	return stop
}

type collectorTuner struct {
	stopped atomic.Bool

	// Of the goroutine that runs finalizers, after the first call.
	percent int   // as set last
	limit   int64 // as set last, bytes
	samples [len(collectorSamples)]metrics.Sample
}

var collectorSamples = [...]string{
	"/gc/heap/live:bytes",
	"/memory/classes/total:bytes",
	"/memory/classes/heap/released:bytes",
	"/memory/classes/heap/free:bytes",
	"/memory/classes/heap/objects:bytes",
}

// again arranges for adjust to be called after the next collection.
func (t *collectorTuner) again() {
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) {
		if t.stopped.Load() {
			return
		}
		t.adjust()
		t.again()
	})
}

func (t *collectorTuner) adjust() {
	for i, name := range collectorSamples {
		t.samples[i].Name = name
	}
	metrics.Read(t.samples[:])
	live := t.samples[0].Value.Uint64()
	want := heapGrowth(live)
	if off := want - t.percent; max(off, -off)*100 > heapRoomSlack*t.percent {
		t.percent = want
		debug.SetGCPercent(want)
	}
	beside := t.samples[1].Value.Uint64()
	for _, s := range t.samples[2:] {
		beside -= min(s.Value.Uint64(), beside)
	}
	limit := memoryLimit(live, beside)
	if off := limit - t.limit; max(off, -off)*100 > limitPercent*t.limit {
		t.limit = limit
		debug.SetMemoryLimit(limit)
	}
}

// heapRoom is by how many bytes a heap with live bytes of live objects may grow.
func heapRoom(live uint64) uint64 {
	return max(live*heapRoomPart/100, heapRoomMin-min(live/16, heapRoomMin))
}

// heapGrowth is [heapRoom] in percent, as the runtime wants it. It is rounded: truncated,
// it would be 7 for most heaps and 8 for some, and each collection might change the
// setting.
func heapGrowth(live uint64) int {
	of := max(live, heapRoomMin/4)
	return int((100*heapRoom(live) + of/2) / of)
}

// memoryLimit is the limit for the runtime, in bytes, if live bytes of the heap are live
// objects and beside bytes are not objects: stacks, tables of the runtime, holes between
// objects.
func memoryLimit(live, beside uint64) int64 {
	return int64((live + heapRoom(live) + beside + limitRoom) * 100 / limitPart)
}
