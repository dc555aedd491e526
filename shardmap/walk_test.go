package shardmap

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// walkAll returns what a whole walk finds.
func walkAll(m *Map, step int) []PartFault {
	w := NewWalk(m)
	defer w.End()
	for !w.Step(step) {
	}
	return w.Faults()
}

// Any bit of what a map holds that memory loses must be found by one walk, named by its slot, in
// whatever part of it the bit lies, and nothing else with it. One would doubt it of what has no
// hash: where a lookup and the order of keys lead, counts, the order in which sessions were used,
// the indexes of what ends.
func TestWalkFindsEachFlip(t *testing.T) {
	flips := 3000
	if raceDetector {
		flips = 500 // one goroutine alone flips and walks
	}
	if *sameSeeds > 0 {
		flips *= 10
	}
	found := map[string]int{}
	const maps = 8
	for seed := range uint64(maps) {
		w, err := writeLogs(100+seed, Level)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range w.groups {
			walkAll(g.first, 5000) // the blocks of the history get their sums
		}
		rnd := rand.New(rand.NewPCG(seed, 31))
		var flippers []*flipper
		for _, g := range w.groups {
			flippers = append(flippers, newFlipper(rnd.IntN, g.first))
		}
		for n := range flips / maps {
			r := flippers[n%len(flippers)]
			f := r.flip()
			faults := walkAll(r.m, 1+rnd.IntN(100_000))
			harmless := len(faults) == 0 && f.seps != nil && checkStore(f.seps) == nil
			f.back()
			if harmless {
				continue
			}
			if len(faults) != 1 || faults[0].Part != f.part {
				t.Fatalf("map %d, flip %d, %s of %s: found %v", seed, n, f.what, f.part, faults)
			}
			what, _, _ := strings.Cut(f.what, ", byte ")
			found[what]++
		}
		for _, g := range w.groups {
			if faults := walkAll(g.first, 5000); len(faults) > 0 {
				t.Fatalf("map %d: with all bits back, found %v", seed, faults)
			}
		}
	}
	if raceDetector {
		return
	}
	// A run in which no bit of a part was flipped shows nothing about it.
	for _, what := range []string{
		"kind 1 record", "kind 1 lookup", "kind 1 order", "kind 1 separators", "kind 1 place of a leaf", "kind 1 count", "kind 1 sum", "kind 2 record", "kind 3 record",
		"session id", "outcome's sequence", "detail", "node's use", "sum of sessions",
		"index of times record", "index of times lookup", "index of leases lookup", "keys of a lease", "first end",
		"last version", "sessions of all slots", "history", "last block of the history", "end of the history",
		"how far time is ahead", "number of a seal", "pieces of an import", "slot of an import", "mark", "number of a decision", "founding",
	} {
		if found[what] == 0 {
			t.Errorf("of %d bits none was of: %s", flips, what)
		}
	}
	t.Log(found)
}

// BenchmarkWalk is a whole walk, by what lies in the map.
func BenchmarkWalk(b *testing.B) {
	m := owning(allSlots())
	value := make([]byte, 100)
	for i := range uint64(*benchKeys) {
		apply(b, m, i+1, 0, &Command{Kind: CommandSet, Slot: SlotByServer, Items: [][]byte{fmt.Appendf(nil, "user/%d/cart", i), value}})
	}
	b.SetBytes(m.Bytes())
	steps, longest := 0, time.Duration(0)
	for b.Loop() {
		w := NewWalk(m)
		for done := false; !done; steps++ {
			at := time.Now()
			done = w.Step(64 << 10)
			longest = max(longest, time.Since(at))
		}
		w.End()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(*benchKeys), "ns/key")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(steps), "µs/step")
	b.ReportMetric(float64(longest.Microseconds()), "µs/longest")
}
