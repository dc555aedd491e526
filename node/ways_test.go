package node

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// A node that stands still, or is behind a network that drops what is sent, is asked again and
// again: its connection may be dead although nobody says so, and a fresh one would work. So
// questions alone must not keep a way open; answers must.
func TestWayEndsInSilence(t *testing.T) {
	const silence, pace = 250 * time.Millisecond, 25 * time.Millisecond
	w := &ways{node: &Node{limits: defaultLimits()}, what: "questions", within: silence, silence: silence, bytesMax: 1 << 20, questionsMax: 1 << 20}
	var taken atomic.Uint64
	w.took = func(uint64, wire.Type, []byte) error { return nil }
	w.over = func(raft.NodeID, pending, error) { taken.Add(1) }
	y := &way{ways: w, to: 7, wake: make(chan struct{}, 1), waiting: make(map[uint64]pending)}
	w.open = map[raft.NodeID]*way{7: y}

	near, far := net.Pipe()
	defer far.Close()
	var mute atomic.Bool
	go func() {
		d := wire.NewDecoder(wire.FrameMax)
		for {
			h, _, err := wire.ReadFrame(far, d)
			if err != nil {
				return
			}
			if !mute.Load() && wire.WriteFrame(far, wire.TypeSlotViewAnswer, h.Request, &wire.SlotViewAnswer{Group: 3}) != nil {
				return
			}
		}
	}()
	ended := make(chan error, 1)
	go func() { ended <- y.talk(near, wire.NewDecoder(wire.FrameMax)) }()

	// ask keeps asking for a time, or until the way has ended.
	number := uint64(0)
	ask := func(within time.Duration) (is bool, err error) {
		over, tick := time.After(within), time.NewTicker(pace)
		defer tick.Stop()
		for {
			number++
			q := question{pending: pending{number: number, group: 3}, kind: wire.TypeSlotView, body: &wire.SlotView{Group: 3, Slots: []shardmap.SlotRange{{From: 1, To: 1}}}}
			if err := w.send(7, q); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				return true, err
			case <-over:
				return false, nil
			case <-tick.C:
			}
		}
	}
	if is, err := ask(3 * silence); is || taken.Load() == 0 {
		t.Fatalf("after %d answers: ended %v, with %v", taken.Load(), is, err)
	}
	mute.Store(true)
	if is, err := ask(20 * silence); !is || !strings.Contains(err.Error(), "silent for") {
		t.Errorf("asked all the time, and never answered: ended %v, with %v", is, err)
	}
}
