package node

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"muster/repl/machine"
	"muster/repl/wire"
)

// A connection that asks for large values and reads none must cost what may wait
// for it, and no more: neither answers that are made to be thrown away, nor as
// many refusals as it has asked questions.
func TestGreedyCostsWhatMayWait(t *testing.T) {
	const conns, size = 4, 900 << 10
	l := defaultLimits()
	l.inflightBytes, l.answerTimeout = 4<<20, time.Minute
	r := serving(t, l)
	s := r.client()
	if _, err := s.set("{large}", strings.Repeat("x", size)); err != nil {
		t.Fatal(err)
	}
	sent := func(typ string) (frames uint64) {
		for _, row := range r.node.counters.Rows() {
			if row.Name == typ {
				frames = row.Out
			}
		}
		return frames
	}
	answers, refusals := sent("GetAnswer"), sent("Error")
	var ask []byte
	for i := range uint64(64) {
		ask = append(ask, frame(wire.TypeGet, 0, i, getBody(wire.ReadLinearizable, "{large}"))...)
	}
	var greedy []*speaker
	var ends []*connection // the node's
	for range conns {
		g := r.client()
		if err := g.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		greedy, ends = append(greedy, g), append(ends, r.otherEnd(g))
		go func() { // ends with the connection
			for {
				if _, err := g.Write(ask); err != nil {
					return
				}
			}
		}()
	}
	until(t, "each has what it may have", func() error {
		for _, c := range ends {
			c.mu.Lock()
			waits := c.inflight >= l.inflightBytes-size // one more does not fit
			c.mu.Unlock()
			if !waits {
				return fmt.Errorf("%d bytes are held", r.node.held.Load())
			}
		}
		if made := sent("GetAnswer") - answers; made < 2*conns {
			return fmt.Errorf("%d answers were made", made)
		}
		return nil
	})
	if err := s.works(); err != nil {
		t.Errorf("a good client beside them: %v", err)
	}
	for _, c := range ends {
		c.mu.Lock()
		if bound := l.inflightBytes + size + 2*requestOverhead + 1000; c.inflight > bound {
			t.Errorf("%d bytes are in flight for one of them, the bound is %d", c.inflight, bound)
		}
		c.mu.Unlock()
	}
	// Beside what waits here, the system takes some to send.
	const system = 8 << 20
	if got, most := sent("GetAnswer")-answers, uint64(conns*(l.inflightBytes+system)/size); got > most {
		t.Errorf("%d answers for %d connections, want %d at most", got, conns, most)
	}
	// Before its first answer a connection may have asked for some.
	if got, most := sent("Error")-refusals, uint64(conns*2*l.inflightBytes/machine.AnswerUnknown); got > most {
		t.Errorf("%d refusals for %d connections, want %d at most", got, conns, most)
	}
	for _, g := range greedy {
		g.Close()
	}
	r.idle()
}

// What is appended to answers that nobody reads must not copy them: the
// goroutine that appends serves all groups.
func TestOutboxCopiesLittle(t *testing.T) {
	var o outbox
	small, large := make([]byte, 150), make([]byte, 1<<20)
	want := 0
	for i := range 200_000 {
		if i%10_000 == 0 {
			o.add(large)
			want += len(large)
		}
		if more := o.end(append(o.begin(), small...)); more != len(small) {
			t.Fatalf("%d bytes more, want %d", more, len(small))
		}
		want += len(small)
	}
	batch := o.take(nil, nil)
	got := 0
	for _, piece := range batch {
		got += len(piece)
		if len(piece) != len(large) && cap(piece) > 2*pieceFull {
			t.Errorf("a piece of %d bytes, with room for %d", len(piece), cap(piece))
		}
	}
	if got != want || o.size != 0 || len(o.pieces) != 0 {
		t.Errorf("%d bytes in %d pieces, want %d; %d are left", got, len(batch), want, o.size)
	}
}

// A connection sends its answers in the order in which they were made, whatever
// their sizes.
func TestOutboxKeepsOrder(t *testing.T) {
	var o outbox
	next := byte(0)
	var batch [][]byte
	for round := range 50 {
		for range round {
			switch next % 3 {
			case 0:
				o.add([]byte{next})
			default:
				o.end(append(o.begin(), next))
			}
			next++
		}
		batch = o.take(batch, nil)
	}
	want := byte(0)
	for _, piece := range batch {
		for _, b := range piece {
			if b != want {
				t.Fatalf("got %d, want %d", b, want)
			}
			want++
		}
	}
}
