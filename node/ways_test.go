package node

import (
	"fmt"
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

// wearing is a connection whose keys have protected enough once that is said.
type wearing struct {
	net.Conn
	worn atomic.Bool
}

func (c *wearing) Worn() bool { return c.worn.Load() }

// A way whose keys have protected enough takes no more questions, and ends when those that it has are answered:
// none is lost, and the next one makes another way.
func TestWornWayIsReplaced(t *testing.T) {
	if wrong := wornWay(t); wrong != "" {
		t.Error(wrong)
	}
}

func wornWay(t *testing.T) string {
	w := &ways{node: &Node{limits: defaultLimits()}, what: "questions", within: readyMax, silence: readyMax, bytesMax: 1 << 20, questionsMax: 1 << 20}
	over := make(chan error, 3)
	w.took = func(uint64, wire.Type, []byte) error { return nil }
	w.over = func(_ raft.NodeID, _ pending, err error) { over <- err }
	y := &way{ways: w, to: 7, wake: make(chan struct{}, 1), waiting: make(map[uint64]pending)}
	w.open = map[raft.NodeID]*way{7: y}
	near, far := net.Pipe()
	defer far.Close()
	conn := &wearing{Conn: near}
	ended := make(chan error, 1)
	go func() { ended <- y.talk(conn, wire.NewDecoder(wire.FrameMax)) }()
	d := wire.NewDecoder(wire.FrameMax)
	ask := func(number uint64) wire.Header {
		t.Helper()
		q := question{pending: pending{number: number, group: 3}, kind: wire.TypeSlotView, body: &wire.SlotView{Group: 3, Slots: []shardmap.SlotRange{{From: 1, To: 1}}}}
		if err := w.send(7, q); err != nil {
			t.Fatal(err)
		}
		h, _, err := wire.ReadFrame(far, d)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	answer := func(h wire.Header) error {
		return wire.WriteFrame(far, wire.TypeSlotViewAnswer, h.Request, &wire.SlotViewAnswer{Group: 3})
	}
	first := ask(1)
	conn.worn.Store(true)
	second := ask(2)
	w.mu.Lock()
	takes := w.open[7]
	w.mu.Unlock()
	if takes != nil {
		return "it takes questions, though its keys have protected enough"
	}
	for _, h := range []wire.Header{second, first} {
		if err := answer(h); err != nil {
			return fmt.Sprintf("it has ended with question %d open: %v", h.Request, err)
		}
		if err := <-over; err != nil {
			return fmt.Sprintf("question %d: %v", h.Request, err)
		}
	}
	<-ended // it is closed when it has no more to wait for
	return ""
}
