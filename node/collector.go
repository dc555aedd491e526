package node

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
)

// The collector lets the heap grow by as much again as lives in it before it
// looks at it again, and a node's state lives in it: a node with 200 MB of keys
// would take 400. But most of that has no pointers and costs the collector
// nothing. So what the heap may grow by is a small part of what lives, and for a
// small heap more, which is looked at less often for it: a sixteenth of what lives
// below heapRoomMin, while that is more than the part.
const (
	heapRoomMin  = 24 << 20 // bytes
	heapRoomPart = 8        // percent of what lives
	// heapRoomSlack is by how much the setting may be off: to change it stops
	// the process for some ten microseconds.
	heapRoomSlack = 10 // percent
)

// What is free the runtime gives back to the system only beyond a tenth more
// than the heap may become, for a heap that grows and shrinks. Under a limit it
// gives back what is beyond 95 % of that, and this heap hardly shrinks. So the
// limit is set such that 95 % of it is what the heap may become, and what is
// beside it. To collect because of the limit the heap would have to be larger
// still, so it costs no collections; and where what is beside grows by more than
// that, the next collection sets it anew.
const (
	limitRoom    = 1 << 20 // bytes
	limitPart    = 95      // percent of the limit, from which on the runtime gives back
	limitPercent = 2       // by which it may be off
)

// TuneCollector keeps the settings of the process's garbage collector in line with
// its heap, from now on, unless GOGC or GOMEMLIMIT say that the user has set them.
// It is for a process that has one node in it and little else: serve.
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

// again has adjust called after the next collection.
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

// heapRoom is by how many bytes a heap may grow of which live bytes live.
func heapRoom(live uint64) uint64 {
	return max(live*heapRoomPart/100, heapRoomMin-min(live/16, heapRoomMin))
}

// heapGrowth is [heapRoom] in percent, which is how the runtime takes it. It is
// rounded: cut off, 8 % of most heaps would be 7, of some 8, and each collection
// might change the setting.
func heapGrowth(live uint64) int {
	of := max(live, heapRoomMin/4)
	return int((100*heapRoom(live) + of/2) / of)
}

// memoryLimit is what the runtime is told to keep to, when live bytes of the
// heap live and beside bytes are no objects: stacks, tables of the runtime, holes
// between objects.
func memoryLimit(live, beside uint64) int64 {
	return int64((live + heapRoom(live) + beside + limitRoom) * 100 / limitPart)
}
