package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
)

// snapshotRateMax bounds how fast snapshots are written and sent, in bytes per
// second: the most that an int holds anywhere.
const snapshotRateMax = 1 << 30

// restorersMax is how many replicas are restored at once at the start: more than
// processors would only share these.
func restorersMax() int { return max(2, runtime.GOMAXPROCS(0)) }

// besides calls f for 0 to n-1, some of them concurrently, and returns after all.
func besides(n int, f func(i int)) {
	var ended sync.WaitGroup
	next := make(chan int) // from here, to those who work; closed here
	for range min(n, restorersMax()) {
		ended.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	ended.Wait()
}

// sent tells the host that the sending of a snapshot has ended.
func (n *Node) sent(s *repl.SnapshotStream, err error) {
	if loop := n.running(); loop != nil {
		loop.SnapshotSent(s, err)
	}
}

// ask makes the goroutine that owns the host call f.
func (n *Node) ask(f func(*repl.Host)) bool {
	loop := n.running()
	return loop != nil && loop.Ask(f)
}

// takeChunks serves a bulk connection: it takes the chunks of snapshots and questions for
// block files, one after another, and answers each. It waits for the disk, and at the end until the state is
// built; only this connection waits for it.
func (n *Node) takeChunks(conn net.Conn, g *wire.Greeting, own *claimant) error {
	g.Decoder.SetLimit(wire.ChunkFrameMax)
	if t, ok := conn.(*wire.TLSConn); ok {
		t.WearsAt(n.limits.keyBytesEnd, func() {}) // it is looked at below
	}
	var out []byte
	answer := func(t wire.Type, request uint64, body wire.Body) error {
		out = wire.AppendFrame(out[:0], t, request, body)
		n.counters.Out(t, len(out)-wire.HeaderSize)
		if err := conn.SetWriteDeadline(time.Now().Add(n.limits.answerTimeout)); err != nil {
			return err
		}
		_, err := conn.Write(out)
		return err
	}
	for {
		if err := conn.SetReadDeadline(time.Now().Add(n.limits.bulkSilence)); err != nil {
			return err
		}
		h, body, err := wire.ReadFrame(conn, g.Decoder)
		if errors.Is(err, io.EOF) {
			return nil
		}
		var t wire.Type
		var a wire.Body
		if err == nil {
			n.counters.In(h.Type, len(body))
			switch {
			case sendersOf(h.Type)&wire.SenderBulk == 0:
				err = errors.New("a connection of purpose 3 carries chunks, and questions for block files")
			case h.Flags != 0:
				err = fmt.Errorf("flags %#x, want 0", h.Flags)
			default:
				t, a, err = handlerOf(h.Type).chunk(n, g.Hello.Node, own, body)
			}
		}
		if err != nil {
			var broken net.Error
			if !errors.As(err, &broken) {
				if answer(wire.TypeError, h.Request, frameRefusal(h, err)) == nil {
					linger(conn, n.limits.linger)
				}
			}
			return err
		}
		if err := answer(t, h.Request, a); err != nil {
			return err
		}
		if wire.Worn(conn) && !bug(bugWornStays) {
			e := wornOut(&n.limits)
			if answer(wire.TypeError, 0, e) == nil {
				linger(conn, n.limits.linger)
			}
			return e
		}
	}
}

// takeChunk takes one chunk, once the member in whose name the connection came has said
// that it is its own.
func takeChunk(n *Node, from raft.NodeID, own *claimant, body []byte) (wire.Type, wire.Body, error) {
	var c wire.Chunk
	if err := c.Read(body); err != nil {
		return 0, nil, err
	}
	a := wire.ChunkAnswer{Number: c.Number, State: wire.ChunkRefused}
	inbox := n.inbox.Load()
	switch {
	case inbox == nil:
		a.Why = "the node does not serve yet"
	case !own.counted(n.ctx):
		a.Why = "the sender has not answered yet where it is dialled"
	default:
		a = inbox.Receive(from, &c)
	}
	return wire.TypeChunkAnswer, &a, nil
}
