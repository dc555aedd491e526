package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/raft"
	"muster/repl/wire"
)

// busyMax is what a busy machine may add to the time that anything takes.
const busyMax = 20 * time.Second

// A node that takes a connection and ends it at once must not be dialled as
// fast as the processor can; and when the transport closes, nothing of it is
// left.
func TestPeerThatHangsUp(t *testing.T) {
	before := goleak.IgnoreCurrent()
	var dials atomic.Int64
	p := NewPeers(PeersConfig{
		Dial: func(context.Context, raft.NodeID, string) (net.Conn, error) {
			dials.Add(1)
			a, b := net.Pipe()
			b.Close()
			return a, nil
		},
		Counters: new(wire.Counters), Log: slog.New(slog.DiscardHandler),
	})
	p.SetNode(7, "somewhere")
	began := time.Now()
	for dials.Load() < 2 || time.Since(began) < 500*time.Millisecond {
		p.SendBeat(7, &wire.Beat{}, false)
		p.Flush()
		time.Sleep(5 * time.Millisecond) // the pace is what is tested
		if time.Since(began) > busyMax {
			t.Fatal("it is not dialled again")
		}
	}
	p.Close()
	p.SetNode(8, "too late")
	took := time.Since(began)
	if n, most := dials.Load(), 12+int64(took/peerRetryMax); n > most { // 0, 20, 60, 140, 300 ms
		t.Errorf("%d dials in %s, want %d at most", n, took, most)
	}
	goleak.VerifyNone(t, before)
}

// A host that vanishes without a word takes what is written to it for minutes,
// as far as the system can tell. Pings show it.
func TestPeerThatVanishes(t *testing.T) {
	t.Parallel()
	dials := make(chan time.Time, 100)
	p := NewPeers(PeersConfig{
		Dial: func(context.Context, raft.NodeID, string) (net.Conn, error) {
			a, b := net.Pipe()
			dials <- time.Now()
			go func() {
				d := wire.NewDecoder(wire.FrameMax)
				for i := 0; ; i++ {
					h, _, err := wire.ReadFrame(b, d)
					if err != nil {
						return
					}
					if i > 0 {
						continue // it takes pings and says nothing
					}
					_ = wire.WriteFrame(b, wire.TypePong, h.Request, &wire.Empty{})
				}
			}()
			return a, nil
		},
		Counters: new(wire.Counters), Log: slog.New(slog.DiscardHandler),
	})
	defer p.Close()
	p.SetNode(7, "somewhere")
	// Pings go with heartbeats, which have no answer.
	beats := time.NewTicker(100 * time.Millisecond)
	defer beats.Stop()
	next := func() time.Time {
		for {
			select {
			case at := <-dials:
				return at
			case <-beats.C:
				p.SendBeat(7, &wire.Beat{}, false)
				p.Flush()
			}
		}
	}
	first, second := next(), next()
	// The first ping is answered, the second is not.
	took, want := second.Sub(first), 2*peerPingPause+peerPongMax
	if took < want-time.Second || took > want+busyMax {
		t.Errorf("given up after %s, want %s", took, want)
	}
}

// What a peer says before it hangs up is what the log shows.
func TestPeerSaysWhy(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	o := &peer{owner: NewPeers(PeersConfig{Counters: new(wire.Counters)})}
	go func() {
		_ = wire.WriteFrame(b, wire.TypeError, 0, wire.UnknownNode(7, "it is not on the peer list", "empty its data directory"))
		b.Close()
	}()
	err := o.hear(a, new(pinging))
	if !errors.Is(err, &wire.Error{Code: wire.CodeUnknownNode}) {
		t.Errorf("got %v, want unknown-node", err)
	}
}

// A node that has left the cluster is not dialled any more, and what is to be sent to it
// goes nowhere. Its connection, and the goroutines of it, stayed until the process ended.
func TestPeerIsForgotten(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dialled := make(chan net.Conn, 100)
	p := NewPeers(PeersConfig{
		Dial: func(_ context.Context, id raft.NodeID, _ string) (net.Conn, error) {
			a, b := net.Pipe()
			if id == 7 {
				dialled <- b
			}
			return a, nil
		},
		Counters: new(wire.Counters), Log: slog.New(slog.DiscardHandler),
	})
	p.SetNode(7, "somewhere")
	p.SetNode(8, "elsewhere")
	other := <-dialled
	p.Retain([]raft.NodeID{8})
	if _, err := io.Copy(io.Discard, other); err != nil {
		t.Fatal(err)
	}
	if p.Connected(7) || p.Addr(7) != "" || p.peer(7) != nil || p.peer(8) == nil {
		t.Errorf("connected %t, address %q", p.Connected(7), p.Addr(7))
	}
	p.SendBeat(7, &wire.Beat{}, false)
	p.Flush()
	p.Close()
	if len(dialled) > 0 {
		t.Errorf("it is dialled %d times again", len(dialled))
	}
	goleak.VerifyNone(t, before)
}

// The largest report of an audit, and a verdict, reach the other node as they were sent, on the
// connection on which everything small travels. A node that is not known gets nothing.
func TestAuditsTravel(t *testing.T) {
	far, near := net.Pipe()
	defer far.Close()
	p := NewPeers(PeersConfig{
		Dial:     func(context.Context, raft.NodeID, string) (net.Conn, error) { return near, nil },
		Counters: new(wire.Counters), Log: slog.New(slog.DiscardHandler),
	})
	defer p.Close()
	p.SetNode(7, "somewhere")
	report := &wire.AuditReport{Group: 3, Incarnation: 2, From: 1, To: 2, At: raft.LogID{Term: 4, Index: 9}, Rows: make([]wire.AuditRow, wire.AuditRowsMax)}
	for i := range report.Rows {
		report.Rows[i] = wire.AuditRow{Part: uint32(i), Digest: 1<<63 + uint64(i)}
	}
	verdict := &wire.AuditVerdict{Group: 3, Incarnation: 2, From: 1, To: 2, Term: 4, At: report.At, Kind: wire.VerdictDiffers, Parts: []uint32{5}, Sources: []raft.NodeID{7}}
	type heard struct {
		report  wire.AuditReport
		verdict wire.AuditVerdict
		err     error
	}
	ended := make(chan heard, 1)
	go func() {
		var h heard
		d := wire.NewDecoder(wire.FrameMax)
		for h.err == nil && h.verdict.Group == 0 {
			var head wire.Header
			var body []byte
			switch head, body, h.err = wire.ReadFrame(far, d); {
			case h.err != nil:
			case head.Type == wire.TypeAuditReport:
				h.err = h.report.Read(body)
			case head.Type == wire.TypeAuditVerdict:
				h.err = h.verdict.Read(body)
			}
		}
		ended <- h
	}()
	again := time.NewTicker(10 * time.Millisecond) // what is sent before there is a connection is lost
	defer again.Stop()
	for late := time.After(busyMax); ; {
		select {
		case got := <-ended:
			if got.err != nil || !reflect.DeepEqual(&got.report, report) || !reflect.DeepEqual(&got.verdict, verdict) {
				t.Errorf("got %v, %d rows of group %s, and %+v", got.err, len(got.report.Rows), got.report.Group, got.verdict)
			}
			return
		case <-late:
			t.Fatal("nothing arrives")
		case <-again.C:
			p.SendAudit(8, wire.TypeAuditReport, report)
			passing := *report
			p.SendAudit(7, wire.TypeAuditReport, &passing)
			passing.Group = 9 // nothing of it is kept
			p.SendAudit(7, wire.TypeAuditVerdict, verdict)
			p.Flush()
		}
	}
}

// replaced is the far side of connections to a node: what came over which of them, in order.
type replaced struct {
	mu     sync.Mutex
	frames []string // guarded by mu: type of each frame, behind the number of its connection
	open   int      // guarded by mu
	fewest int      // guarded by mu: that were open since there was one
}

func (r *replaced) serve(conn net.Conn, number int, answers <-chan struct{}) {
	defer conn.Close()
	note := func(what string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.frames = append(r.frames, fmt.Sprint(number, " ", what))
	}
	d := wire.NewDecoder(wire.FrameMax)
	for {
		h, _, err := wire.ReadFrame(conn, d)
		if err != nil {
			note("end")
			r.mu.Lock()
			r.open--
			r.fewest = min(r.fewest, r.open)
			r.mu.Unlock()
			return
		}
		note(h.Type.String())
		if h.Type == wire.TypePing {
			<-answers
			_ = wire.WriteFrame(conn, wire.TypePong, h.Request, &wire.Empty{})
		}
	}
}

// A connection that is outdated goes on until the next one was answered: at no moment is there none, nothing
// that is sent meanwhile is lost, and requests that went over it wait for their answers as long as it is
// open. One that is outdated as well is no better, and is closed again.
func TestConnectionIsReplaced(t *testing.T) {
	before := goleak.IgnoreCurrent()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	far := new(replaced)
	answers := make(chan struct{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		var all sync.WaitGroup
		for number := 1; ; number++ {
			conn, err := listener.Accept()
			if err != nil {
				all.Wait()
				return
			}
			far.mu.Lock()
			if far.open++; number == 1 {
				far.fewest = 1
			}
			far.mu.Unlock()
			all.Go(func() { far.serve(conn, number, answers) })
		}
	}()
	var dials, good atomic.Int64 // connections before the one numbered good are outdated
	good.Store(1)
	var mu sync.Mutex
	numbers := make(map[net.Conn]int64)
	lost := make(chan uint64, 10)
	p := NewPeers(PeersConfig{
		Dial: func(ctx context.Context, _ raft.NodeID, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			mu.Lock()
			defer mu.Unlock()
			numbers[conn] = dials.Add(1)
			return conn, err
		},
		Outdated: func(_ raft.NodeID, conn net.Conn) bool {
			mu.Lock()
			defer mu.Unlock()
			return numbers[conn] < good.Load()
		},
		ForwardsLost: func(_ raft.NodeID, left, queued uint64) { lost <- left },
		Counters:     new(wire.Counters), Log: slog.New(slog.DiscardHandler),
	})
	p.SetNode(7, listener.Addr().String())
	until := func(what string, done func() bool) {
		t.Helper()
		for late := time.Now().Add(busyMax); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(late) {
				t.Fatalf("not so: %s; the far side heard %q", what, far.frames)
			}
		}
	}
	heard := func(frame string) func() bool {
		return func() bool {
			far.mu.Lock()
			defer far.mu.Unlock()
			return slices.Contains(far.frames, frame)
		}
	}
	until("it is connected", func() bool { return p.Connected(7) })
	if !p.SendForward(7, 5, time.Minute, &wire.Forward{Type: wire.TypeGet, Body: []byte{0x90}}) {
		t.Fatal("the request is not taken")
	}
	p.Flush()
	until("the request is there", heard("1 Forward"))
	good.Store(4) // the second and the third are no better
	p.Review()
	until("the fourth takes its place", heard("4 Ping"))
	p.SendBeat(7, &wire.Beat{}, false)
	p.Flush()
	far.mu.Lock()
	if slices.Contains(far.frames, "1 end") || far.open < 2 {
		t.Errorf("before the next one is answered: %q", far.frames)
	}
	far.mu.Unlock()
	select {
	case n := <-lost:
		t.Errorf("requests up to %d are given up before", n)
	default:
	}
	close(answers)
	until("what was sent meanwhile is there", heard("4 Beat"))
	until("the former one ends", heard("1 end"))
	if n := <-lost; n != 5 {
		t.Errorf("requests up to %d are given up after it, want 5", n)
	}
	far.mu.Lock()
	fewest := far.fewest
	far.mu.Unlock()
	if p.Outdated() != 0 || !p.Connected(7) || fewest < 1 {
		t.Errorf("%d are outdated, connected %t; the fewest at a time were %d", p.Outdated(), p.Connected(7), fewest)
	}
	p.Close()
	listener.Close()
	<-served
	goleak.VerifyNone(t, before)
}
