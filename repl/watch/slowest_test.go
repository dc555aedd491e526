package watch

import (
	"fmt"
	"testing"

	"muster/raft"
	"muster/shardmap"
)

// A watch whose client does not read ends once events that it has not seen are gone. Before
// that a person must be able to know, and not of a watch that has seen all there is, however
// long ago that was.
func TestSlowestWatch(t *testing.T) {
	const most, block = 16 << 10, 1 << 10
	hub, m := New(0), shardmap.NewMap(testGroup)
	m.History().Bound(most, most/2, block)
	id := raft.LogID{Term: 1}
	apply := func(c shardmap.Command) {
		t.Helper()
		id.Index++
		if _, err := m.Apply(id, 0, &c); err != nil {
			t.Fatal(err)
		}
		hub.Advance(testGroup)
	}
	apply(shardmap.OwnCommand(&shardmap.Own{Number: 1, Slots: []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}}))
	apply(shardmap.RaiseCommand(shardmap.LeasesLevel))
	hub.Group(testGroup, m.History())
	open := func(key string) *Watcher {
		slot := shardmap.SlotOf([]byte(key))
		slots := []shardmap.SlotRange{{From: slot, To: slot}}
		w, ok := hub.Watch(&Spec{Group: testGroup, Slots: slots, From: []byte(key), Exact: true}, []Start{{Slots: slots, At: shardmap.After(id)}}, func() {})
		if !ok {
			t.Fatal("no room")
		}
		return w
	}
	quiet, busy := open("quiet"), open("busy")
	for _, w := range []*Watcher{quiet, busy} {
		for {
			if _, s := w.Next(1 << 20); s == Nothing {
				break
			}
		}
	}
	far := 0
	for i := 0; ; i++ {
		apply(shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotOf([]byte("busy")), Items: [][]byte{[]byte("busy"), fmt.Appendf(nil, "%0100d", i)}})
		g, bytes, max := hub.Slowest()
		if bytes > 0 && (g != testGroup || max != most) {
			t.Fatalf("got group %s, at most %d", g, max)
		}
		if floor, _ := m.History().Bounds(); floor.Index > 3 { // the first of its events is gone
			break
		}
		if bytes < far || bytes > most {
			t.Fatalf("after %d bytes it is behind %d of %d", far, bytes, most)
		}
		far = bytes
	}
	if far < most*4/5 {
		t.Errorf("it was said to be behind %d of %d bytes at most, then events were gone", far, most)
	}
	if _, s := busy.Next(1 << 20); s != Compacted {
		t.Fatalf("got state %d, want compacted", s)
	}
	busy.Close()
	if g, bytes, _ := hub.Slowest(); bytes != 0 {
		t.Errorf("a watch that has seen all there is is said to be %d bytes behind in group %s", bytes, g)
	}
	quiet.Close()
}
