package repl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// bulkServer takes the chunks for a test's node over real connections, and cuts
// each of them after so many chunks.
type bulkServer struct {
	listener net.Listener
	cut      int // chunks after which a connection is closed; 0: never
	inbox    *Inbox

	mu    sync.Mutex // guards the host that the inbox asks
	taken int        // chunks with data
	conns int
	ended sync.WaitGroup
}

func (s *bulkServer) serve() {
	defer s.ended.Done()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.conns++
		s.take(conn)
	}
}

func (s *bulkServer) take(conn net.Conn) {
	defer conn.Close()
	d := wire.NewDecoder(wire.FrameMax)
	for n := 0; s.cut == 0 || n <= s.cut; n++ {
		_, body, err := wire.ReadFrame(conn, d)
		var c wire.Chunk
		if err != nil || c.Read(body) != nil {
			return
		}
		s.mu.Lock()
		if len(c.Data) > 0 {
			s.taken++
		}
		a := s.inbox.Receive(raft.NodeID(c.From), &c) // replicas have the numbers of their nodes here
		s.mu.Unlock()
		if wire.WriteFrame(conn, wire.TypeChunkAnswer, 0, &a) != nil {
			return
		}
	}
}

// largeSnapshot has a node make a snapshot of many chunks of a group, which another one needs.
func largeSnapshot(t *testing.T) (from, late *testNode, g *group, s logstore.Snapshot) {
	t.Helper()
	c, late := downAndBehind(t, 7)
	late.start()
	c.cut[[2]raft.NodeID{1, 3}], c.cut[[2]raft.NodeID{2, 3}] = true, true // it gets nothing else
	from = c.leader(1)
	g = from.host.groups[1]
	g.machine.(*register).history = append(g.machine.(*register).history, make([]uint64, 1<<18)...) // 2 MB
	c.write(1, 3)
	c.until("no work is under way", func() bool { from.doWork(); return !from.host.chores.working })
	from.host.chores.working = true
	from.work = g.snap.begin()
	from.doWork()
	s, ok := g.snap.newest()
	if !ok || s.Size < 2<<20 {
		t.Fatalf("the snapshot has %d bytes", s.Size)
	}
	return from, late, g, s
}

// A snapshot that is sent over connections that break arrives all the same, and
// goes on where it was: nothing is sent twice that was kept. When the transport
// closes, nothing of it is left.
func TestSnapshotOverBrokenConnections(t *testing.T) {
	before := goleak.IgnoreCurrent()
	from, late, g, s := largeSnapshot(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &bulkServer{listener: listener, cut: 3, inbox: late.inbox}
	server.ended.Add(1)
	go server.serve()

	ends := make(chan error, 1)
	p := NewPeers(PeersConfig{
		Dial: func(context.Context, raft.NodeID, string) (net.Conn, error) { return nil, errors.New("not today") },
		DialBulk: func(ctx context.Context, _ raft.NodeID, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
		BulkRate: 64 << 20, Sent: func(_ *SnapshotStream, err error) { ends <- err },
		Store: from.store, Counters: new(wire.Counters), Log: slog.New(slog.DiscardHandler),
	})
	p.SetNode(3, listener.Addr().String())
	sends, broken := 0, 0
	for over := false; !over; sends++ {
		if sends > 20 {
			t.Fatal("it does not arrive")
		}
		o := &SnapshotStream{Number: uint64(100 + sends), Snapshot: s, To: 3, Term: g.state.Term, group: g, node: 3}
		p.SendSnapshot(3, o)
		select {
		case err := <-ends:
			if over = err == nil; !over {
				broken++
			}
		case <-time.After(10 * time.Second):
			t.Fatal("its end is not told")
		}
	}
	server.mu.Lock()
	taken := server.taken
	server.mu.Unlock()
	// What was under way when a connection broke is sent again.
	chunks := int(s.Size+wire.ChunkBytesMax-1) / wire.ChunkBytesMax
	if broken < 2 || taken > chunks+broken*chunksInFlight {
		t.Errorf("%d connections broke, %d chunks were taken of a snapshot of %d", broken, taken, chunks)
	}
	if got := late.host.groups[1].applied; got != s.Base.ID {
		t.Errorf("the follower stands at %s, want %s", got, s.Base.ID)
	}
	// One that nobody needs any more ends, and one to a node that is not known.
	useless := &SnapshotStream{Snapshot: s, To: 3, Term: g.state.Term, group: g}
	useless.useless.Store(true)
	p.SendSnapshot(3, useless)
	if err := <-ends; !errors.Is(err, errUseless) {
		t.Errorf("a useless one ends with %v", err)
	}
	p.SendSnapshot(9, useless)
	if err := <-ends; err == nil {
		t.Error("one to nobody is said to have arrived")
	}
	p.Close()
	listener.Close()
	server.ended.Wait()
	goleak.VerifyNone(t, before)
}

// A pace holds back to what it says, and ends when it is told to.
func TestPace(t *testing.T) {
	stop := make(chan struct{})
	pace := NewPace(1<<20, stop)
	began := time.Now()
	for range 10 {
		if err := pace(32 << 10); err != nil {
			t.Fatal(err)
		}
	}
	// 320 KiB at 1 MiB/s, but for what may be caught up with and the last pause.
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("320 KiB at 1 MiB/s took %s", took)
	}
	close(stop)
	if err := pace(1); err == nil {
		t.Error("it goes on after its end")
	}
}

// wearing is a connection whose keys have protected enough after so many chunks.
type wearing struct {
	net.Conn
	limit   int
	written atomic.Int64
}

func (c *wearing) Worn() bool { return c.written.Load() > int64(c.limit)*wire.ChunkBytesMax }

func (c *wearing) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.written.Add(int64(n))
	return n, err
}

// A snapshot may be larger than what the keys of one connection may protect. It goes on over the next one: no chunk is
// sent twice, and no connection carries more than what may be under way beyond its limit.
func TestSnapshotOverWornConnections(t *testing.T) {
	if wrong := sentWorn(t); wrong != "" {
		t.Error(wrong)
	}
}

func sentWorn(t *testing.T) string {
	const limit = 2 // chunks
	from, late, g, s := largeSnapshot(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &bulkServer{listener: listener, inbox: late.inbox}
	server.ended.Add(1)
	go server.serve()
	ends := make(chan error, 1)
	dialled := make(chan *wearing, 100)
	p := NewPeers(PeersConfig{
		Dial: func(context.Context, raft.NodeID, string) (net.Conn, error) { return nil, errors.New("not today") },
		DialBulk: func(ctx context.Context, _ raft.NodeID, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			w := &wearing{Conn: conn, limit: limit}
			dialled <- w
			return w, err
		},
		Sent:  func(_ *SnapshotStream, err error) { ends <- err },
		Store: from.store, Counters: new(wire.Counters), Log: slog.New(slog.DiscardHandler),
	})
	p.SetNode(3, listener.Addr().String())
	p.SendSnapshot(3, &SnapshotStream{Number: 100, Snapshot: s, To: 3, Term: g.state.Term, group: g, node: 3})
	select {
	case err = <-ends:
	case <-time.After(busyMax):
		t.Fatal("its end is not told")
	}
	p.Close()
	listener.Close()
	server.ended.Wait()
	close(dialled)
	chunks := int(s.Size+wire.ChunkBytesMax-1) / wire.ChunkBytesMax
	if err != nil || server.taken != chunks || late.host.groups[1].applied != s.Base.ID {
		return fmt.Sprintf("of a snapshot of %d chunks %d were taken: %v", chunks, server.taken, err)
	}
	n := 0
	for w := range dialled {
		n++
		if got := w.written.Load(); got > (limit+chunksInFlight)*wire.ChunkBytesMax {
			return fmt.Sprintf("connection %d has carried %d bytes", n, got)
		}
	}
	if n < chunks/(limit+chunksInFlight) {
		return fmt.Sprintf("%d chunks over %d connections", chunks, n)
	}
	return ""
}
