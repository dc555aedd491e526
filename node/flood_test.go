package node

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

func slotOf(k []byte) shardmap.Slot { return shardmap.SlotOf(k) }

// fill has s ask for more than it reads, until the node reads no more from it. It
// returns the node's end.
func fill(t testing.TB, r *runningNode, s *speaker) *connection {
	t.Helper()
	if _, err := s.set("{fill}", strings.Repeat("x", 64<<10)); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the connection
		for i := uint64(0); ; i++ {
			if _, err := s.Write(frame(wire.TypeGet, 0, i, getBody(wire.ReadLinearizable, "{fill}"))); err != nil {
				return
			}
		}
	}()
	c := r.otherEnd(s)
	until(t, "the node stops reading", func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.node.limits.over(c.inflight, c.node.held.Load()) {
			return fmt.Errorf("%d bytes are in flight", c.inflight)
		}
		return nil
	})
	return c
}

// goodClient does what a client does, on a connection of its own, until it is
// stopped. Each request must succeed.
type goodClient struct {
	rounds atomic.Int64
	done   chan struct{} // closed by stop
	ended  chan struct{} // closed by its goroutine
}

func newGoodClient(t testing.TB, r *runningNode) *goodClient {
	t.Helper()
	s := r.client()
	g := &goodClient{done: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(g.ended)
		defer s.Close()
		for {
			select {
			case <-g.done:
				return
			default:
			}
			if err := s.works(); err != nil {
				t.Errorf("a good client, after %d rounds: %v", g.rounds.Load(), err)
				return
			}
			g.rounds.Add(1)
		}
	}()
	return g
}

// stop ends it, and checks that it got something done.
func (g *goodClient) stop(t testing.TB) {
	t.Helper()
	until(t, "a good client got something done", func() error {
		select {
		case <-g.ended:
			return nil // it has said why
		default:
		}
		if g.rounds.Load() == 0 {
			return errors.New("it has not")
		}
		return nil
	})
	close(g.done)
	<-g.ended
}

// A client that asks and never reads must not make the node gather answers for
// it without end, nor keep the goroutine that serves everybody waiting. It is
// cut off in the end, and then nothing of it is left.
func TestClientNeverReads(t *testing.T) {
	l := defaultLimits()
	l.inflightBytes, l.answerTimeout = 1<<20, time.Second
	r := serving(t, l)
	good := newGoodClient(t, r)
	s := r.client()
	if err := s.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	c := fill(t, r, s)
	// The writer has so much at most, as much gathers behind it, each with
	// one answer more; and the last request is the one that was too many.
	bound := 2*(l.inflightBytes+64<<10) + l.inflightBytes + 2*requestOverhead
	most := 0
	until(t, "it is cut off", func() error {
		if !r.attended(c) {
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		most = max(most, c.inflight)
		return errors.New("it is not")
	})
	if most > bound {
		t.Errorf("%d bytes were in flight, the bound is %d", most, bound)
	}
	good.stop(t)
	r.idle()
}

// A client that lists and never reads is another matter: pages are read by
// others, later, after the request was counted.
func TestListerNeverReads(t *testing.T) {
	l := defaultLimits()
	l.inflightBytes, l.answerTimeout = 1<<20, time.Second
	r := serving(t, l)
	s := r.client()
	for i := range 16 {
		if _, err := s.set(fmt.Sprintf("{page}%d", i), strings.Repeat("x", 64<<10)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	good := newGoodClient(t, r)
	list := wire.List{Group: r.node.table.Load().GroupOf(slotOf([]byte("{page}"))), Prefix: []byte("{page}")}
	var ask []byte
	for i := range uint64(200) {
		ask = append(ask, frame(wire.TypeList, 0, i, list.Append(nil))...)
	}
	c := r.otherEnd(s)
	go func() { // ends with the connection
		for {
			if _, err := s.Write(ask); err != nil {
				return
			}
		}
	}()
	most := 0
	until(t, "it is cut off", func() error {
		if !r.attended(c) {
			return nil
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		most = max(most, c.out.size)
		return errors.New("it is not")
	})
	// A page is 1 MiB at most; each lister may have one on its way.
	if bound := l.inflightBytes + (listersMax()+1)*(1<<20+64<<10); most > bound {
		t.Errorf("%d bytes of pages waited, the bound is %d", most, bound)
	}
	good.stop(t)
	r.idle()
}

// Many connections that are each within their limit can be too many together.
// Then large answers are refused, to be asked for again, and small ones are still made.
func TestAllConnectionsTogether(t *testing.T) {
	l := defaultLimits()
	l.inflightBytesAll, l.answerTimeout = 4<<20, time.Minute
	r := serving(t, l)
	var greedy []*speaker
	for range 8 {
		s := r.client()
		if err := s.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		greedy = append(greedy, s)
	}
	large := strings.Repeat("x", shardmap.ValueMaxDefault)
	if _, err := greedy[0].set("{large}", large); err != nil {
		t.Fatal(err)
	}
	if _, err := greedy[0].set("{small}", large[:1000]); err != nil {
		t.Fatal(err)
	}
	var ask []byte
	for i := range uint64(100) {
		ask = append(ask, frame(wire.TypeGet, 0, i, getBody(wire.ReadLinearizable, "{large}"))...)
	}
	var sent sync.WaitGroup
	for _, s := range greedy {
		sent.Go(func() { // ends with the connection
			for {
				if _, err := s.Write(ask); err != nil {
					return
				}
			}
		})
	}
	until(t, "the limit of all is reached", func() error {
		if held := r.node.held.Load(); held < l.inflightBytesAll-shardmap.ValueMaxDefault {
			return fmt.Errorf("%d bytes are held", held)
		}
		return nil
	})
	s := r.client()
	for range 50 {
		if got, err := s.get("{small}"); err != nil || got[0] != large[:1000] {
			t.Fatalf("a small get: %v", err)
		}
		if err := s.works(); err != nil {
			t.Fatalf("a good client: %v", err)
		}
	}
	// Each connection has its share beside the limit of all.
	if held, bound := r.node.held.Load(), l.inflightBytesAll+int64(9*2*l.inflightBytesShare); held > bound {
		t.Errorf("%d bytes are held, the bound is %d", held, bound)
	}
	// The system takes some of it to send; then there is no room for more.
	until(t, "a large get is refused", func() error {
		if got, err := s.get("{large}"); err == nil {
			return fmt.Errorf("got %d bytes", len(got[0]))
		} else {
			refused(t, "a large get", err, wire.CodeBusy, "try again")
		}
		return nil
	})
	for _, s := range greedy {
		s.Close()
	}
	sent.Wait()
	r.idle()
	if got, err := s.get("{large}"); err != nil || got[0] != large {
		t.Errorf("a large get afterwards: %v", err)
	}
}

// Clients that send as fast as they can get what one connection can get, and
// leave the rest to others. How much that is depends on how many processors the
// flood itself takes.
func TestFlood(t *testing.T) {
	const rounds, atLeast = 30, time.Second
	r := serving(t, defaultLimits())
	good := newGoodClient(t, r)
	var empty wire.Empty
	var burst []byte
	for i := range uint64(500) {
		burst = append(burst, frame(wire.TypePing, 0, i, empty.Append(nil))...)
		burst = append(burst, frame(wire.TypeGet, 0, i, getBody(wire.ReadLinearizable, "k"))...)
		burst = append(burst, frame(wire.Type(0x7777), 0, i, empty.Append(nil))...)
	}
	var flood sync.WaitGroup
	var conns []*speaker
	for range 4 {
		s := r.client()
		conns = append(conns, s)
		flood.Go(func() {
			for {
				if _, err := s.Write(burst); err != nil {
					return
				}
			}
		})
		flood.Go(func() { io.Copy(io.Discard, s) })
	}
	began, before, most := time.Now(), good.rounds.Load(), int64(0)
	until(t, "a good client does its rounds in the flood", func() error {
		most = max(most, r.node.held.Load())
		if n := good.rounds.Load() - before; n < rounds || time.Since(began) < atLeast {
			return fmt.Errorf("%d rounds in %s", n, time.Since(began))
		}
		return nil
	})
	t.Logf("%d rounds in %s, %d bytes held", good.rounds.Load()-before, time.Since(began), most)
	good.stop(t)
	for _, s := range conns {
		s.Close()
	}
	flood.Wait()
	// A burst that is in the buffer at the limit is still taken in.
	if bound := int64(len(conns)) * int64(r.node.limits.inflightBytes+2<<20); most > bound {
		t.Errorf("%d bytes were held, the bound is %d", most, bound)
	}
	r.idle()
}

// Connections that say nothing may not keep out those who do: 2,000 are opened
// and held, twice as many as may be in their hello at once, while a client
// comes again and again.
func TestSilentStrangers(t *testing.T) {
	r := serving(t, defaultLimits())
	good := newGoodClient(t, r)
	var silent []net.Conn
	defer func() {
		for _, c := range silent {
			c.Close()
		}
	}()
	for i := range 2000 {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		silent = append(silent, c)
		if i%100 == 99 {
			s := r.client() // a newcomer
			if err := s.works(); err != nil {
				t.Fatalf("a newcomer among %d silent connections: %v", i+1, err)
			}
			s.Close()
		}
		r.node.door.mu.Lock()
		n := len(r.node.door.seats.strangers.conns)
		r.node.door.mu.Unlock()
		if n > r.node.limits.strangers {
			t.Fatalf("%d strangers, the limit is %d", n, r.node.limits.strangers)
		}
	}
	until(t, "the silent ones are cut off", func() error {
		r.node.door.mu.Lock()
		defer r.node.door.mu.Unlock()
		if len(r.node.door.conns) > 1 {
			return fmt.Errorf("%d connections", len(r.node.door.conns))
		}
		return nil
	})
	good.stop(t)
}

// A connection that takes too long over the hello, or says nothing afterwards, is cut
// off; one that keeps speaking is not.
func TestSilence(t *testing.T) {
	t.Parallel()
	l := defaultLimits()
	l.clientSilence = silenceTested
	r := serving(t, l)
	good := newGoodClient(t, r)

	began := time.Now()
	slow, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	go func() {
		for _, b := range []byte("\xedmus\x03\x03\x02\x00 this is no hello, and comes slowly") {
			if _, err := slow.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(100 * time.Millisecond) // the pace is what is tested
		}
	}()
	cut := make(chan time.Duration, 1)
	go func() {
		io.Copy(io.Discard, slow)
		cut <- time.Since(began)
	}()

	since := time.Now() // before the node can have begun to count
	silent := r.client()
	if _, _, err := silent.read(); !errors.Is(err, io.EOF) {
		t.Errorf("a silent client: %v, want the end", err)
	}
	if took := time.Since(since); took < l.clientSilence {
		t.Errorf("a silent client was cut off after %s, want %s", took, l.clientSilence)
	}
	select {
	case took := <-cut:
		if took < wire.HelloTimeout {
			t.Errorf("a slow hello was cut off after %s, want %s", took, wire.HelloTimeout)
		}
	case <-time.After(readyMax):
		t.Error("a slow hello is not cut off")
	}
	good.stop(t)
}

// silenceTested is how long a client may say nothing to a node that is tested for
// that: longer than a busy machine stalls between two frames of a client that keeps
// speaking.
const silenceTested = wire.HelloTimeout

// A frame that drips in, a byte now and then, is never silent and never there.
// One would doubt that it is cut off: each byte is a sign of life.
func TestDrip(t *testing.T) {
	t.Parallel()
	l := defaultLimits()
	l.clientSilence = silenceTested
	r := serving(t, l)
	drip := func(s *speaker, bytes []byte, pause time.Duration) {
		for _, b := range bytes {
			if _, err := s.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(pause) // the pace is what is tested
		}
	}
	ping := frame(wire.TypePing, 0, 1, (&wire.Empty{}).Append(nil))
	slow, brisk := r.client(), r.client()
	go drip(slow, frame(wire.TypePing, 0, 1, make([]byte, 1000)), 50*time.Millisecond)
	go drip(brisk, ping, time.Millisecond)
	if h, _, err := brisk.read(); err != nil || h.Type != wire.TypePong {
		t.Errorf("a frame in many pieces: %s, %v", h.Type, err)
	}
	if _, _, err := slow.read(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a frame that drips is answered, or not cut off: %v", err)
	}
}

// The connections of others leave the process the descriptors that its own log
// needs, however few there are.
func TestLimitsFitDescriptors(t *testing.T) {
	for _, c := range []struct {
		descriptors               uint64
		clients, peers, strangers int
	}{
		{1 << 63, 10_000, 1_000, 1_000},
		{1 << 20, 10_000, 1_000, 1_000},
		{4096, 1_920, 960, 960},
		{1024, 384, 192, 192},
		{256, 4, 2, 2},
		{0, 4, 2, 2},
	} {
		l := limits{clients: 10_000, peers: 1_000, strangers: 1_000}
		l.fit(c.descriptors)
		if l.clients != c.clients || l.peers != c.peers || l.strangers != c.strangers {
			t.Errorf("%d descriptors: %d clients, %d peers, %d strangers; want %d, %d, %d", c.descriptors, l.clients, l.peers, l.strangers, c.clients, c.peers, c.strangers)
		}
	}
}
