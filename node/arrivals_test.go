package node

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"muster/repl/wire"
)

// unfinished sends the beginning of a frame that claims so many bytes, and as
// many of them as are given.
func (s *speaker) unfinished(claims, sends int) error {
	b, start := wire.BeginFrame(nil, wire.TypeWrite, 0, 0, 7)
	b = wire.EndFrame(append(b, make([]byte, sends)...), start)
	binary.LittleEndian.PutUint32(b, uint32(claims))
	_, err := s.Write(b)
	return err
}

// now returns how many connections have a large frame under way, and the
// bytes that all of them take.
func (a *arrivals) now() (large int, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.large), a.bytes
}

// A connection that sends all of a large frame but its end takes that much memory, and a
// hundred of them take a hundred times that. Together they must take no more than there
// is for frames that arrive, and a frame that is sent at once must arrive.
func TestUnfinishedFrames(t *testing.T) {
	l := defaultLimits()
	l.arrivingBytes = 16 << 20
	r := serving(t, l)
	const each = 3 << 20
	var slow []*speaker
	for i := range 40 {
		s := r.client()
		slow = append(slow, s)
		if err := s.unfinished(wire.FrameMax, each); err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		c := r.otherEnd(s)
		until(t, "what it sent has arrived", func() error {
			large, bytes := r.node.arriving.clients.now()
			if bytes > l.arrivingBytes {
				t.Fatalf("%d bytes of %d connections, the limit is %d", bytes, large, l.arrivingBytes)
			}
			if !r.attended(c) {
				t.Fatalf("connection %d was cut off, and is the newest", i)
			}
			c.arrival.of.mu.Lock()
			defer c.arrival.of.mu.Unlock()
			if c.arrival.size < each {
				return fmt.Errorf("%d bytes", c.arrival.size)
			}
			return nil
		})
	}
	// The oldest of them are told why, and end.
	refused(t, "the oldest", slow[0].lastWords(), wire.CodeBusy, "too many large frames arrive at once")
	// One that is sent at once arrives among them.
	s := r.client()
	value := make([]byte, 1<<20-1000)
	if _, err := s.set("{large}", string(value)); err != nil {
		t.Errorf("a large write among them: %v", err)
	}
	for _, s := range slow {
		s.Close()
	}
	s.Close()
	until(t, "nothing of them is left", func() error {
		if large, bytes := r.node.arriving.clients.now(); large != 0 || bytes != 0 {
			return fmt.Errorf("%d connections with %d bytes", large, bytes)
		}
		return nil
	})
	r.idle()
}

// Frames of peers have a limit of their own, so that clients can't end an append.
func TestUnfinishedFramesOfPeers(t *testing.T) {
	l := defaultLimits()
	l.arrivingBytes = 1 << 20
	nodes := founders(t, 2, l)
	r, other := nodes[0], nodes[1].node.self()
	peer, err := dialAs(nodes[1], r, r.peerHello(other.Node, other.Life().Number))
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.unfinished(wire.FrameMax, 600<<10); err != nil {
		t.Fatal(err)
	}
	until(t, "it has arrived", func() error {
		if large, _ := r.node.arriving.peers.now(); large != 1 {
			return fmt.Errorf("%d large frames", large)
		}
		return nil
	})
	var clients []*connection
	for range 4 {
		s := r.client()
		clients = append(clients, r.otherEnd(s))
		if err := s.unfinished(wire.FrameMax, 600<<10); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all but one of the clients' have ended", func() error {
		left := 0
		for _, c := range clients {
			if !c.arrival.over.Load() {
				left++
			}
		}
		if left != 1 {
			return fmt.Errorf("%d have not", left)
		}
		return nil
	})
	if large, _ := r.node.arriving.peers.now(); large != 1 {
		t.Error("the peer's frame has ended with those of clients")
	}
}

// What a connection for snapshots may claim is a chunk, not the largest frame
// there is: there may be hundreds of them.
func TestUnfinishedChunk(t *testing.T) {
	nodes := founders(t, 2, defaultLimits())
	r, other := nodes[0], nodes[1].node.self()
	hello := r.peerHello(other.Node, other.Life().Number)
	hello.Purpose = wire.PurposeBulk
	s, err := dialAs(nodes[1], r, hello)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.unfinished(wire.ChunkFrameMax+1, 10); err != nil {
		t.Fatal(err)
	}
	refused(t, "a chunk that claims too much", s.lastWords(), wire.CodeTooLarge, fmt.Sprint(wire.ChunkFrameMax))
}

// The order in which large buffers end is that in which they became large,
// whatever they do meanwhile; and one that is alone may have more than all.
func TestArrivalsEndTheOldest(t *testing.T) {
	r := &arrivals{max: 1000, share: 100}
	conn := func() *arrival {
		a, b := net.Pipe()
		t.Cleanup(func() { a.Close(); b.Close() })
		go io.Copy(io.Discard, b)
		return &arrival{of: r, conn: a, wake: func() {}}
	}
	a, b, c := conn(), conn(), conn()
	a.resize(5000)
	if a.over.Load() {
		t.Error("one that is alone has ended")
	}
	a.resize(400)
	b.resize(400)
	a.resize(500)
	c.resize(100) // its share: not counted
	if large, bytes := r.now(); large != 2 || bytes != 900 {
		t.Errorf("%d large ones with %d bytes", large, bytes)
	}
	c.resize(300)
	if !a.over.Load() || b.over.Load() || c.over.Load() {
		t.Errorf("ended: %v %v %v, want the oldest", a.over.Load(), b.over.Load(), c.over.Load())
	}
	a.resize(700) // it is about to end: no longer counted
	a.resize(0)
	b.resize(100)
	c.resize(0)
	if large, bytes := r.now(); large != 0 || bytes != 0 {
		t.Errorf("%d large ones with %d bytes", large, bytes)
	}
	defer time.AfterFunc(readyMax, func() { a.conn.Close() }).Stop()
	if _, err := a.conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("its reader is not woken: %v", err)
	}
}
