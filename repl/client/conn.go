package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Limits of a connection.
const (
	// outBytesMax is how much may wait to be written before callers wait: a
	// few of the largest values. What is tried again does not wait.
	outBytesMax = 4 << 20
	// outBytesKept is the largest buffer that is kept for the next batch.
	outBytesKept = 1 << 20
	// busyOpen and busyBytes are how many requests may be open on a
	// connection, and how many bytes wait to be written, before the next
	// connection takes a share. With 64 callers over 16 connections, each
	// slot having its own, a set cost the client 15 µs and the nodes 61; over
	// the first alone 8 and 43 (three nodes, 2 cores). With 1,024 callers a
	// set cost the client 4.8 µs, and with 128 in place of 256 5.8. One
	// connection for all costs no more; the others are for more cores than
	// one reader can use.
	busyOpen  = 256
	busyBytes = 256 << 10
)

// link is one connection. Two goroutines serve it:
//
//	write  started by dial; connects, says hello, then writes what gathered,
//	       one batch at a time. Ends when the link fails.
//	read   started by write after the hello; completes every answer in its
//	       buffer before it reads again. Ends when the link fails.
type link struct {
	courier *courier
	bond    *bond
	addr    string
	as      string          // the user whose certificate was shown; empty: none was. Set before the link is up
	cluster uint64          // that the node's certificate names; 0: none has. Set before the link is up
	ctx     context.Context // ends with the link
	end     context.CancelFunc
	wake    chan struct{} // from senders to write: there is something; never closed
	space   chan struct{} // a token when a full buffer was taken; passed on by who takes it

	// heard is when bytes last arrived, asked when the oldest ping without
	// an answer was sent (0: none), in the client's time.
	heard, asked atomic.Int64
	waiting      atomic.Int64 // len(out), for those who only look
	open, stands atomic.Int32 // those of pending, for those who only look

	mu      sync.Mutex // no other lock is taken under it
	conn    net.Conn
	up      bool
	retired bool // it takes no more calls, and ends when those that it has are answered
	awake   bool // write has a token, or is about to look
	err     error
	out     []byte
	pending pending
	// batches counts what was written. Of them, seen were by spoke, in the client's
	// time: when the health of the link was last looked at and there was more.
	batches, seen uint64
	spoke         time.Duration
	// probe is the request that is looked at for the pressure, sent at probed,
	// in the client's time; 0: none.
	probe  uint64
	probed time.Duration
}

// bond is the connections to one peer that live and die together.
type bond struct {
	peer  Peer
	links []*link
	// used is when a request was last known to be open on any of them, in the
	// client's time.
	used     atomic.Int64
	worn     atomic.Bool // the keys of a link have protected enough
	pressure pressure

	// guarded by Client.mu
	missing int // links that are not up yet
	failed  bool
	// serves says that the core's peer is connected by it, or is to be. An heir begins to serve once it is up; its
	// former ceases to then.
	serves       bool
	heir, former *bond         // that is to replace it, and that it is to replace; nil: none
	again        time.Duration // no heir is dialled before
	fails        int           // heirs that came to nothing
	node         raft.NodeID   // that answers, once it is up, and its cluster's id
	cluster      uint64
}

var errStopped = errors.New("closed")

// write is the link's first goroutine.
func (l *link) write() {
	defer l.courier.running.Done()
	conn, g, err := l.connect()
	if err != nil {
		l.fail(err)
		return
	}
	now := int64(l.courier.now())
	l.heard.Store(now)
	l.bond.used.Store(now)
	l.mu.Lock()
	l.conn, l.spoke = conn, time.Duration(now)
	l.up = l.err == nil
	up := l.up
	l.mu.Unlock()
	if !up {
		conn.Close()
		return
	}
	l.courier.running.Add(1)
	go l.read(conn, g.Decoder)
	l.courier.linkUp(l, g)
	l.writeBatches(conn)
}

// connect dials and says hello.
func (l *link) connect() (net.Conn, *wire.Greeting, error) {
	o := &l.courier.options
	ctx, cancel := context.WithTimeout(l.ctx, o.DialTimeout)
	defer cancel()
	conn, err := o.Dial(ctx, l.addr)
	if err != nil {
		return nil, nil, err
	}
	l.mu.Lock()
	l.conn = conn // so that fail closes it, also in the hello
	dead := l.err != nil
	l.mu.Unlock()
	if dead {
		conn.Close()
		return nil, nil, errStopped
	}
	l.courier.linkAccepted(l)
	over := conn // what the hello is said over
	if p := &l.courier.protection; p.on {
		t, user, err := p.over(conn, l.addr)
		if err != nil {
			conn.Close()
			return nil, nil, err
		}
		over, l.as, l.cluster = t, user, t.Peer.Name.Cluster
		l.wears(t)
	}
	// An address that a node gave is the one under which another node says
	// that it is reached. If what answers there is reached elsewhere, somebody
	// passes on what this client says; one that the user gave may be any name.
	said := l.addr
	if slices.Contains(o.Endpoints, l.addr) {
		said = ""
	}
	g, err := wire.ClientHello(over, wire.DialConfig{
		ToAddr:  said,
		Purpose: wire.PurposeClient, Role: wire.RoleClient,
		Cluster: o.Cluster, Secret: o.Secret,
		Level: shardmap.Level, Window: uint32(o.WindowMax),
	})
	if err == nil {
		err = unproven(l.addr, g)
	} else {
		err = l.courier.protection.unsaid(over, l.addr, err)
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return over, g, nil
}

func (l *link) writeBatches(conn net.Conn) {
	var batch []byte
	for {
		select {
		case <-l.wake:
		case <-l.ctx.Done():
			return
		}
		// Whoever can run now appends first: it costs them nothing, and
		// saves a write each.
		runtime.Gosched()
		for {
			l.mu.Lock()
			full := len(l.out) > outBytesMax
			batch, l.out = l.out, batch[:0]
			l.waiting.Store(0)
			if len(batch) == 0 {
				l.awake = false
			} else {
				l.batches++
			}
			l.mu.Unlock()
			if full {
				l.passSpace()
			}
			if len(batch) == 0 {
				break
			}
			if _, err := conn.Write(batch); err != nil {
				l.fail(err)
				return
			}
			if cap(batch) > outBytesKept {
				batch = nil
			}
		}
	}
}

// sent says what became of [link.send].
type sent uint8

const (
	sentOut sent = iota
	sentDown
	sentCancelled
)

// send puts c's request into the next batch. It does not wait.
func (l *link) send(c *call, now time.Duration) sent {
	c.at.Store(l) // before cancelled is looked at; see Client.cancel
	l.mu.Lock()
	if !l.up || l.retired {
		l.mu.Unlock()
		return sentDown
	}
	if c.cancelled.Load() {
		l.mu.Unlock()
		return sentCancelled
	}
	if c.Target == ToAny && !c.waits && len(l.courier.options.Endpoints) > 1 {
		c.patient = now + silenceMax<<min(c.turn, unansweredDoublings)
	}
	c.as = l.as
	id := l.pending.add(c)
	c.id.Store(id)
	if c.stream != nil {
		c.body, c.stream.attempt = c.stream.core.Begin(c.body[:0])
		l.pending.stands += c.stream.stands()
	}
	if l.pending.open == 1+l.pending.stands {
		// Silence counts from the first request that waits.
		l.heard.Store(int64(now))
		l.bond.used.Store(int64(now))
	}
	l.counted()
	l.bond.pressure.underWay.Add(1)
	if l.probe == 0 && c.stream == nil { // how long a stream takes says nothing of its node
		l.probe, l.probed = id, now
	}
	var start int
	l.out, start = wire.BeginFrame(l.out, c.kind, c.flags(), deadlineMs(c.Deadline-now), id)
	l.out = wire.EndFrame(append(l.out, c.body...), start)
	wake := l.filled()
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
	return sentOut
}

// counted notes that pending has other calls. Held: l.mu.
func (l *link) counted() {
	l.open.Store(int32(l.pending.open - l.pending.stands))
	if stands := int32(l.pending.stands); stands != l.stands.Load() { // to store costs more than to look
		l.stands.Store(stands)
	}
}

// filled notes that there is more in out, and returns whether write has to be woken.
// Held: l.mu.
func (l *link) filled() (wake bool) {
	l.waiting.Store(int64(len(l.out)))
	wake = !l.awake
	l.awake = true
	return wake
}

// busy says that another connection to the same peer had better take the next
// request.
func (l *link) busy() bool {
	return l.open.Load() >= busyOpen || l.waiting.Load() >= busyBytes
}

// deadlineMs is what a frame says about the time left: a little less than there
// is, so that a server that gives up can still say so. An attempt at a stream that goes on for ever has
// the time of any other call.
func deadlineMs(left time.Duration) uint32 {
	left = min(left, RetryMax)
	left -= min(left/10, 50*time.Millisecond)
	return uint32(max(left.Milliseconds(), 1))
}

// awaitSpace waits until the buffer is not full.
func (l *link) awaitSpace(done <-chan struct{}) {
	if l.waiting.Load() <= outBytesMax {
		return
	}
	for l.waiting.Load() > outBytesMax {
		select {
		case <-l.space:
		case <-done:
			return
		case <-l.ctx.Done():
			return
		}
	}
	l.passSpace()
}

func (l *link) passSpace() {
	select {
	case l.space <- struct{}{}:
	default:
	}
}

// take removes c if it waits here; false if it does not.
func (l *link) take(c *call) bool {
	l.mu.Lock()
	id := c.id.Load()
	there, wake := l.pending.get(id) == c, false
	if there {
		wake = l.forget(c, id)
		l.counted()
	}
	l.mu.Unlock()
	if wake {
		l.wake <- struct{}{}
	}
	return there
}

// answer is one frame that was read, with the call that waits for it.
type answer struct {
	call    *call
	attempt uint64 // of its stream
	head    wire.Header
	body    []byte
}

// read is the link's second goroutine.
func (l *link) read(conn net.Conn, d *wire.Decoder) {
	defer l.courier.running.Done()
	var batch []answer
	for {
		// The hello left nothing in d: we asked for nothing before.
		if err := d.Fill(conn); err != nil {
			l.fail(fmt.Errorf("connection to %s ended: %w", l.addr, err))
			return
		}
		now := l.courier.now()
		l.heard.Store(int64(now))
		l.asked.Store(0)
		batch = batch[:0]
		for {
			h, body, ok, err := d.Next()
			if err != nil {
				l.fail(fmt.Errorf("connection to %s: %w", l.addr, err))
				return
			}
			if !ok {
				break
			}
			if h.Request == 0 && h.Type == wire.TypeError {
				l.fail(fmt.Errorf("connection to %s: %w", l.addr, complaint(body)))
				return
			}
			batch = append(batch, answer{head: h, body: body})
		}
		last := l.match(batch, now)
		for i := range batch {
			switch a := &batch[i]; {
			case a.call == nil:
			case a.call.stream != nil:
				l.courier.streamed(a.call, l.bond.peer, a.attempt, a.head, a.body)
			default:
				l.courier.answered(a.call, l.bond.peer, a.head.Type, a.body)
			}
			batch[i] = answer{}
		}
		if last && l.bond.through() {
			l.fail(nil)
			return
		}
	}
}

// match finds the calls of a batch, all under one lock. A late answer to a call
// that was given up finds none. A ping is answered on the way. It reports whether the
// link is retired, and nobody waits on it any more.
func (l *link) match(batch []answer, now time.Duration) (last bool) {
	wake, answered, takes, among := false, 0, time.Duration(0), false
	l.mu.Lock()
	for i := range batch {
		switch h := &batch[i].head; h.Type {
		case wire.TypePing:
			wake = l.put(wire.TypePong, h.Request) || wake
		case wire.TypePong:
		default:
			c := l.pending.get(h.Request)
			batch[i].call = c
			if c != nil && c.stream != nil {
				batch[i].attempt = c.stream.attempt
			}
			if h.Flags&wire.FlagMore != 0 {
				if c != nil {
					c.Deadline = never // the next piece may take as long as its window is closed
				}
				continue
			}
			l.pending.take(h.Request)
			if c != nil && c.stream != nil {
				l.pending.stands -= c.stream.stands()
			}
			answered++
			among = among || h.Request == l.probe
		}
	}
	l.counted()
	if l.probe != 0 {
		takes = max(now-l.probed, 1)
	}
	if among {
		l.probe = 0
	}
	last = l.retired && l.pending.open == 0
	l.mu.Unlock()
	if answered > 0 {
		l.bond.pressure.answered(now, answered, takes, among)
	}
	if wake {
		l.wake <- struct{}{}
	}
	return last
}

// put puts a frame without fields into the next batch, and returns whether
// write has to be woken. Held: l.mu.
func (l *link) put(t wire.Type, request uint64) (wake bool) {
	if !l.up {
		return false
	}
	l.out = wire.AppendFrame(l.out, t, request, &wire.Empty{})
	return l.filled()
}

// complaint reads an error that is about the connection, not about a request.
func complaint(body []byte) error {
	e := new(wire.Error)
	if err := e.Read(body); err != nil {
		return err
	}
	return e
}

// fail ends the link, once; a nil err means that it was idle.
func (l *link) fail(err error) {
	l.mu.Lock()
	if l.err != nil {
		l.mu.Unlock()
		return
	}
	l.err = err
	if err == nil {
		l.err = errStopped
	}
	l.up = false
	calls := l.pending.all()
	l.out = nil
	l.waiting.Store(0)
	conn := l.conn
	l.mu.Unlock()
	l.end()
	if conn != nil {
		conn.Close()
	}
	l.courier.linkDown(l, calls, err)
}
