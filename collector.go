package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// The collector lets the heap grow by as much again as lives in it before it
// looks at it again, and a node's state lives in it: a node with 200 MB of keys
// would take 400. But most of that has no pointers and costs the collector
// nothing. So what the heap may grow by is a small part of what lives, and
// never less than what keeps a small heap from being looked at all the time.
const (
	heapRoomMin  = 24 << 20 // bytes
	heapRoomPart = 10       // percent of what lives
	// heapRoomSlack is by how much the setting may be off: to change it stops
	// the process for some ten microseconds.
	heapRoomSlack = 10 // percent
)

// tuneCollector keeps the collector's setting in line with the heap, from now
// on, unless the user has set it. It works in the finalizers that the runtime
// runs after each collection.
func tuneCollector() {
	for _, name := range []string{"GOGC", "GOMEMLIMIT"} {
		if os.Getenv(name) != "" {
			return
		}
	}
	t := &collectorTuner{percent: 100}
	t.adjust()
	t.again()
}

type collectorTuner struct {
	percent int // as set last
	sample  [1]metrics.Sample
}

// again has adjust called after the next collection.
func (t *collectorTuner) again() {
	runtime.SetFinalizer(new([16]byte), func(*[16]byte) {
		t.adjust()
		t.again()
	})
}

func (t *collectorTuner) adjust() {
	t.sample[0].Name = "/gc/heap/live:bytes"
	metrics.Read(t.sample[:])
	want := heapGrowth(t.sample[0].Value.Uint64())
	if off := want - t.percent; max(off, -off)*100 > heapRoomSlack*t.percent {
		t.percent = want
		debug.SetGCPercent(want)
	}
}

// heapGrowth is by how many percent a heap may grow of which live bytes live.
func heapGrowth(live uint64) int {
	return max(heapRoomPart, int(100*heapRoomMin/max(live, heapRoomMin/4)))
}
