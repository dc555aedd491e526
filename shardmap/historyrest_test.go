package shardmap

import (
	"bytes"
	"testing"

	"muster/raft"
)

// A group to which no event has come for long keeps of its history what a snapshot has, on every
// replica, and gives the rest of the memory back. One would doubt that the replicas agree
// afterwards: one that began with a snapshot meanwhile does not know when the last event came.
func TestHistoryAtRest(t *testing.T) {
	rested, rests := 0, 5
	if raceDetector {
		rests = 1 // one goroutine does it all
	}
	for seed, c := range []struct {
		bounds  pastBounds
		sizeMax int // of a value
	}{{smallBounds, 20}, {smallBounds, 300}, {smallBounds, 5000}, {shippedBounds, 40_000}} {
		p := newPast(t, uint64(seed), c.bounds)
		from := p.load(mapBytes(t, p.m))
		for range rests {
			for range 200 {
				p.entry(c.sizeMax, from)
			}
			last := p.m.Time()
			late := NewMap(testGroup)
			late.history.Bound(p.bound())
			if err := late.Load(bytes.NewReader(mapBytes(t, p.m)), p.id, last+SessionKeep); err != nil {
				t.Fatal(err)
			}
			all := []*Map{p.m, from, late}
			before := p.m.history.ring.Load().blocks
			snapshot := p.m.history.copy()
			kept := len(snapshot.blocks)
			snapshot.release()
			more := len(before) > kept // else one entry alone fills the history
			if more {
				rested++
			}
			for _, passed := range []struct {
				now   raft.GroupTime
				rests bool
			}{{SessionKeep, false}, {SessionKeep + 1, more}} {
				p.id.Index++
				for _, m := range all {
					if err := m.Expire(p.id, last+passed.now); err != nil {
						t.Fatal(err)
					}
					p.check(m.history)
				}
				blocks := p.m.history.ring.Load().blocks
				if passed.rests && len(blocks) != kept || !passed.rests && len(blocks) != len(before) {
					t.Fatalf("seed %d: %d ns without an event leave %d of %d blocks, a snapshot has %d", seed, passed.now, len(blocks), len(before), kept)
				}
			}
			for range 50 {
				want := mapBytes(t, p.m)
				for i, m := range all {
					if !bytes.Equal(mapBytes(t, m), want) {
						t.Fatalf("seed %d, entry %s: replica %d has another history", seed, p.id, i)
					}
				}
				p.entry(c.sizeMax, from, late)
			}
			p.check(late.history)
		}
	}
	if rested < 2*rests {
		t.Errorf("%d histories had something to give back: the test shows nothing", rested)
	}
}
