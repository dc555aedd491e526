package client

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/wire"
)

// relay listens where a member once was, and passes on what it hears to a member
// elsewhere. It counts who came, and who proved themselves to it.
type relay struct {
	net.Listener
	came, proved atomic.Int64
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l}
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.came.Add(1)
			go r.pass(conn, to)
		}
	}()
	t.Cleanup(func() { l.Close() })
	return r
}

func (r *relay) pass(conn net.Conn, to string) {
	defer conn.Close()
	far, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer far.Close()
	go func() { _, _ = io.Copy(conn, far) }()
	if _, err := io.CopyN(far, conn, wire.PreambleSize); err != nil {
		return
	}
	d := wire.NewDecoder(wire.FrameMax)
	for {
		h, body, err := wire.ReadFrame(conn, d)
		if err != nil {
			return
		}
		if h.Type == wire.TypeProof {
			r.proved.Add(1)
		}
		b, start := wire.BeginFrame(nil, h.Type, h.Flags, h.Deadline, h.Request)
		if _, err := far.Write(wire.EndFrame(append(b, body...), start)); err != nil {
			return
		}
	}
}

// A table names the addresses of members that are gone, and whoever listens
// there passes on what a client says to a member that lives. The client must not
// prove to it that it has the secret: the one in the middle would be a client
// then, without knowing it.
func TestClientProvesNothingToARelay(t *testing.T) {
	f := newFake(t, 2, 2)
	f.nodes[1].stop()
	r := newRelay(t, f.nodes[0].addr)
	f.mu.Lock()
	f.nodes[1].addr = r.Addr().String()
	f.mu.Unlock()
	c := f.open(Options{Endpoints: []string{f.nodes[0].addr, f.nodes[0].addr}, Secret: nil})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := byte(0); ctx.Err() == nil; i++ { // keys of both groups
			_, _, _ = c.Get(ctx, [][]byte{{i}}, ReadOptions{})
		}
	}()
	for deadline := time.Now().Add(20 * time.Second); r.came.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the client never dials the address in the table")
		}
	}
	for range 100 { // it is dialled again and again
		if r.came.Load() > 2 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	<-done
	if n := r.proved.Load(); n != 0 {
		t.Errorf("of %d connections the client proved itself on %d", r.came.Load(), n)
	}
}
