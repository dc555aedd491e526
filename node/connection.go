package node

import (
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/rights"
	"muster/repl/wire"
)

// connection is one accepted connection after its hello. Its reader takes all frames
// that have arrived, hands all commands among them to the loop at once, and continues
// reading; its writer sends the answers that have gathered.
type connection struct {
	// Set once.
	node   *Node
	conn   net.Conn
	peer   raft.NodeID // the node at the other end; 0 for a client
	silent time.Duration
	// standing is what the other side has proven to be: what it may send.
	standing wire.Sender
	who      rights.Principal // for whom it speaks, if it is a client's
	judge    *rights.Judge    // of the requests that the reader reads
	greeting *wire.Greeting   // what its hello has said
	claim    *claimant        // that the connection is a member's own; nil for others
	wake     chan struct{}    // one token: out has something, or the connection ends. From many, to write.
	idle     chan struct{}    // closed by the writer when it has ended

	// worn is set when the connection has carried more than it may; the reader sees to that, after what it has read.
	worn atomic.Bool
	// leaving is why the connection ends in a moment: nothing more of a client is admitted, so that it hears
	// of each request what became of it. nil: it stays.
	leaving atomic.Pointer[wire.Error]
	// long counts the reads that wait for a lister, or are with one.
	long     atomic.Int32
	scanning // the parts of queries that it asks for

	// requests turns frames into what the replicas do, and what they return into
	// answers. The reader hands in; any goroutine may answer.
	requests machine.Requests

	// Owned by the reader.
	feeds     bool // a peer's cores speak to ours over it
	decoder   *wire.Decoder
	arrival   arrival // of what is in decoder
	envelopes []wire.Envelope
	full      bool        // the last request was one too many for now
	now       machine.Now // on the loop's clock, for all that one read brought; 0: not read yet
	readAt    time.Time   // when that read returned; zero once what it brought was handed on
	backlog   backlog     // for shed

	mu       sync.Mutex
	room     sync.Cond // of mu: inflight has shrunk, or closed is set
	out      outbox    // guarded by mu: answers that wait to be sent
	inflight int       // guarded by mu: bytes of requests not yet answered, of answers being made, and of out
	unsent   bool      // guarded by mu: out grew since the last Flush
	sending  int       // guarded by mu: bytes that the writer has taken out of out, and not sent
	spare    bool      // guarded by mu: the streams are told once there is room for them
	shed     shedder   // guarded by mu
	closed   bool      // guarded by mu: nothing more is queued or read; what is queued is still sent
}

// newConnection takes over a connection whose hello is done, with the decoder that may
// hold the bytes after it.
func newConnection(n *Node, conn net.Conn, g *wire.Greeting, who rights.Principal) *connection {
	c := &connection{node: n, conn: conn, decoder: g.Decoder, silent: n.limits.clientSilence, standing: g.Sender(), greeting: g, who: who, judge: rights.NewJudge(n.name), wake: make(chan struct{}, 1), idle: make(chan struct{})}
	switch c.standing {
	case wire.SenderMember, wire.SenderRenewer:
		c.peer, c.silent = g.Hello.Node, n.limits.peerSilence
	case wire.SenderFounder, wire.SenderInviter, wire.SenderJoiner:
		c.silent = n.limits.founderSilence
	}
	c.scanning.of = &n.querying
	c.room.L = &c.mu
	// Peers and clients have separate limits, so that neither kind can lock the other
	// out.
	c.arrival = arrival{of: &n.arriving.clients, conn: conn, wake: func() {
		c.mu.Lock()
		c.room.Broadcast() // the reader may wait for room
		c.mu.Unlock()
	}}
	if c.standing == wire.SenderMember {
		c.arrival.of = &n.arriving.peers
	}
	c.requests.Routes = &n.carrying.routes
	c.requests.Time = func(id raft.GroupID) raft.GroupTime { return repl.TimeOf(n.host, id) }
	c.requests.Streams.Feed = n.watching.feed
	c.requests.Principal, c.requests.Counts = who.User, n.laws.counts
	c.requests.Init(c, machine.RequestLimits{Wait: n.limits.wait, Inline: machine.InlineMax, Page: n.limits.inflightBytesShare})
	return c
}

// hold counts bytes in, or out again. c.mu is held.
func (c *connection) hold(bytes int) {
	c.inflight += bytes
	c.node.held.Add(int64(bytes))
}

// Answer implements [repl.Replier].
func (c *connection) Answer(r repl.Reply, t wire.Type, body []byte) (first bool) {
	return answer(c, r, t, 0, body)
}

// AnswerPiece implements [machine.Asker].
func (c *connection) AnswerPiece(r repl.Reply, t wire.Type, body []byte) (first bool) {
	return answer(c, r, t, wire.FlagMore, body)
}

// answer queues the answer to a request, with flags.
func answer(c *connection, r repl.Reply, t wire.Type, flags uint16, body []byte) (first bool) {
	if t == wire.TypeError {
		c.node.counters.Refused(r.Type, wire.CodeIn(body), 1)
	}
	// A large answer is copied before the lock is taken: others wait for it to answer, the
	// goroutine that serves all groups among them.
	if len(body) >= pieceFull {
		b, start := wire.BeginFrame(make([]byte, 0, wire.HeaderSize+len(body)), t, flags, 0, r.Request)
		return c.AnswerFrame(r, t, wire.EndFrame(append(b, body...), start))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gaveUp(r) {
		return false
	}
	b, start := wire.BeginFrame(c.out.begin(), t, flags, 0, r.Request)
	return c.queued(r, t, c.out.end(wire.EndFrame(append(b, body...), start)))
}

// AnswerWith implements [machine.Asker].
func (c *connection) AnswerWith(r repl.Reply, t wire.Type, m machine.Maker) (first, made bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gaveUp(r) {
		return false, true
	}
	b, start := wire.BeginFrame(c.out.begin(), t, 0, 0, r.Request)
	b, made = m.Make(b)
	if !made {
		c.out.end(b[:start])
		return false, false
	}
	return c.queued(r, t, c.out.end(wire.EndFrame(b, start))), true
}

// AnswerFrame implements [machine.Asker].
func (c *connection) AnswerFrame(r repl.Reply, t wire.Type, frame []byte) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gaveUp(r) {
		return false
	}
	c.out.add(frame)
	return c.queued(r, t, len(frame))
}

// gaveUp reports whether nobody waits for the answer to r any longer. c.mu is held.
func (c *connection) gaveUp(r repl.Reply) bool {
	if c.closed {
		c.hold(-r.Size)
		c.node.door.shedding.waiting.Add(-int64(r.Size))
		c.room.Broadcast() // its reader may wait for the last answer
	}
	return c.closed
}

// queued counts a frame of type t and some bytes in out, which answers r. c.mu is held.
func (c *connection) queued(r repl.Reply, t wire.Type, size int) (first bool) {
	c.hold(size - r.Size)
	c.node.counters.Out(t, size-wire.HeaderSize)
	c.node.door.shedding.waiting.Add(-int64(r.Size))
	c.shed.answered += r.Size
	if c.shed.looksAt(r.Request) {
		c.shed.heard(r.Request, sinceStart(c.node, time.Now()), c.node.limits.inflightBytes-c.node.limits.inflightBytes/shedPart)
	}
	first = !c.unsent
	c.unsent = true
	return first
}

// Flush implements [repl.Replier].
func (c *connection) Flush() {
	c.mu.Lock()
	c.unsent = false
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// answerNow answers from the reader, or from anywhere that has no turn to end.
func (c *connection) answerNow(r repl.Reply, t wire.Type, body []byte) {
	c.Answer(r, t, body)
	c.Flush()
}

func (c *connection) refuse(r repl.Reply, err *wire.Error) {
	c.answerNow(r, wire.TypeError, err.Append(nil))
}

// Reserve implements [machine.Asker]. There is no room if the answer is more than may
// wait for this connection, unless it is all that it has in flight, or, beyond each
// one's share, for all connections together.
func (c *connection) Reserve(r *repl.Reply, size int) bool {
	more := size - r.Size
	if more <= 0 {
		return true
	}
	l := &c.node.limits
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inflight+more > l.inflightBytes && c.inflight > r.Size {
		return false
	}
	// A connection within its share always gets room, whatever the others hold.
	if size > l.inflightBytesShare && c.node.held.Load()+int64(more) > l.inflightBytesAll {
		return false
	}
	c.hold(more)
	c.node.door.shedding.waiting.Add(int64(more))
	r.Size = size
	return true
}

// Deaf implements [machine.Asker]. It reports whether more answers wait than the other
// side may leave unread: of this connection or, beyond each one's share, of all.
func (c *connection) Deaf() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node.limits.over(c.out.size, c.node.held.Load())
}

// Spare implements [machine.Asker]. It refuses room to streams that would keep other
// answers waiting for long.
func (c *connection) Spare(size int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.size+c.sending+size <= streamsAhead {
		return true
	}
	c.spare = true
	return false
}

// end lets the writer send what is queued, and nothing after it.
func (c *connection) end() {
	c.mu.Lock()
	c.closed = true
	c.room.Broadcast()
	c.mu.Unlock()
	c.scanning.hungUp.Store(true)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// settle waits until all requests of a connection are answered, atMost.
func settle(c *connection, atMost time.Duration) {
	over := false // guarded by mu
	late := time.AfterFunc(atMost, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		over = true
		c.room.Broadcast()
	})
	defer late.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.inflight > 0 && !c.closed && !over {
		c.room.Wait()
	}
}

// finish waits until all requests are answered that came before the other side closed:
// it may have closed its half only. A side that has hung up is noticed when an answer
// is written to it.
func (c *connection) finish() {
	c.requests.Streams.NoMore()
	late := time.AfterFunc(c.node.limits.answerTimeout, c.end)
	defer late.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.inflight > 0 && !c.closed {
		c.room.Wait()
	}
}

// linger waits a moment for the other side to hang up: if a connection is closed with
// unread bytes, the system may discard the last words that were sent.
func linger(conn net.Conn, atMost time.Duration) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || conn.SetReadDeadline(time.Now().Add(atMost)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, conn, lingerBytesMax) // only its end matters
}

// write is the writer: it sends what has gathered, until the connection ends.
func (c *connection) write() {
	defer close(c.idle)
	var batch [][]byte // with the writer
	left := 0          // bytes of batch, when the writer ends
	defer func() {
		c.conn.Close() // the reader may wait for the other side,
		c.end()        // or for room that only the writer makes
		c.mu.Lock()
		c.hold(-left - c.out.size)
		c.out = outbox{}
		c.mu.Unlock()
	}()
	var room []byte // for the next frames to gather in
	for range c.wake {
		c.mu.Lock()
		left = c.out.size
		c.sending = left
		batch = c.out.take(batch[:0], room)
		closed := c.closed
		c.mu.Unlock()
		room = nil
		for i, out := range batch {
			batch[i] = nil
			unsent, err := c.send(out)
			left -= len(out) - unsent
			if err != nil {
				return
			}
			if cap(out) <= roomKept {
				room = out
			}
		}
		if closed {
			linger(c.conn, c.node.limits.linger)
			return
		}
	}
}

// send writes out, a piece at a time. If it fails, it returns how much was left.
func (c *connection) send(out []byte) (left int, err error) {
	for len(out) > 0 {
		piece := out[:min(len(out), answerPiece)]
		if _, err := wire.WriteWithin(c.conn, piece, c.node.limits.answerTimeout); err != nil {
			return len(out), err
		}
		out = out[len(piece):]
		c.mu.Lock()
		c.hold(-len(piece))
		c.sending -= len(piece)
		c.room.Broadcast()
		tell := c.spare && c.out.size+c.sending <= streamsAhead/2
		if tell {
			c.spare = false
		}
		c.mu.Unlock()
		if tell {
			c.requests.Streams.Room()
		}
	}
	return 0, nil
}

// read is the reader: it hands on frames, until the connection ends. It returns nil if
// the other side ended it.
func (c *connection) read() error {
	c.decoder.Watch(c.arrival.resize)
	defer c.decoder.Drop() // not with the connection, which may linger
	since := time.Now()    // the last frame ended, or the next one began
	var until time.Time    // the deadline that is set, unless one has passed since
	for {
		// To set a deadline takes as long as to look at the clock three times. So one may
		// be early by a part of the silence: who is woken by it looks how long that has
		// lasted, and sets the next.
		if next := since.Add(c.silent); next.Sub(until) > c.silent/silenceParts {
			if err := c.conn.SetReadDeadline(next); err != nil {
				return err
			}
			until = next
		}
		// After the deadline is set: the new one may have replaced the one with which
		// wakeReader wakes, and then only this look finds the claim settled.
		if err := c.settled(); err != nil {
			return err
		}
		begun := c.decoder.Buffered() > 0
		var err error
		if !c.arrival.over.Load() {
			err = c.decoder.Fill(c.conn)
		}
		switch {
		case c.arrival.over.Load():
			c.refuse(repl.Reply{To: c}, tooMuchArrives(c.node.name))
			return errTooMuchArrives
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded) && time.Since(since) < c.silent:
			until = time.Time{}
			continue // woken: the deadline was early, or its claim is settled
		case err != nil:
			return err
		}
		// The deadline alone does not bound how old a frame is: where this process stood
		// still, what has arrived meanwhile may be read before the deadline is noticed. A
		// write from then could be applied once more, for another node may pass for its
		// leader, and its outcome be forgotten.
		now := time.Now()
		if now.Sub(since) >= c.silent {
			return os.ErrDeadlineExceeded
		}
		// A client's frame that drips in counts as silence too: when it is complete,
		// it must not be older than outcomes are remembered.
		if !begun || c.peer != 0 {
			since = now
		}
		c.readAt = now
		if c.standing == wire.SenderClient {
			askShedder(c)
		}
		for frames := 1; ; frames++ {
			h, body, ok, err := c.decoder.Next()
			if !ok && err == nil {
				break
			}
			if frames == 1 && err == nil {
				since = now
			}
			if err == nil {
				c.node.counters.In(h.Type, len(body))
				if c.backlog.limited && c.backlog.refuses(h, c.node.door.shedding.refusal) {
					c.node.counters.Refused(h.Type, wire.CodeBusy, 1)
					continue
				}
				err = c.dispatch(h, body)
			}
			if err != nil {
				c.handOn() // the frames before it are valid
				c.refuse(repl.Reply{To: c, Request: h.Request}, frameRefusal(h, err))
				return err
			}
			if c.full {
				c.handOn()
				if !c.admit() {
					return nil
				}
			}
			if frames%framesInARow == 0 {
				runtime.Gosched()
			}
		}
		c.handOn()
		if c.worn.Load() {
			endWorn(c)
		}
		if c.full && !c.admit() {
			return nil
		}
	}
}

// frameRefusal says why the connection ends at a frame.
func frameRefusal(h wire.Header, err error) *wire.Error {
	const next = "open another connection, and send what docs/protocol.md says"
	var bad *wire.FrameError
	switch {
	case errors.As(err, &bad) && bad.TooLarge:
		return wire.TooLarge("frame", bad.Problem, next)
	case errors.As(err, &bad):
		return wire.BadRequest("frame", bad.Problem, next)
	}
	return wire.BadRequest("frame of type "+h.Type.String(), err.Error(), next)
}

// admit waits until the connection may have more in flight. It reports false
// if it was closed meanwhile.
func (c *connection) admit() bool {
	c.backlog.wait(sinceStart(c.node, time.Now()))
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.over() && !c.closed && !c.arrival.over.Load() {
		c.room.Wait()
	}
	c.full = false
	return !c.closed
}

// accept counts a request in, and returns how to answer it.
func (c *connection) accept(h wire.Header) repl.Reply {
	size, expected := h.Length+requestOverhead, c.requests.Expected(h.Type)
	c.mu.Lock()
	if c.backlog.due && sheds(h) {
		c.backlog.due = false
		c.shed.look(h.Request, c.backlog.from, c.backlog.now)
	}
	// The size of the answer is counted in as far as it is known: so a connection that
	// asks for much and reads nothing is no longer read from, before the answers are
	// made. If all connections together hold too much, [connection.Reserve] refuses.
	if expected > 0 && c.node.held.Load()+int64(expected) <= c.node.limits.inflightBytesAll {
		size += expected
	}
	c.hold(size)
	c.node.door.shedding.waiting.Add(int64(size))
	c.full = c.over()
	c.mu.Unlock()
	return repl.Reply{To: c, Request: h.Request, Size: size, Type: h.Type}
}

// handOn gives everything that was read to the loop, in one go for each kind.
func (c *connection) handOn() {
	if loop := c.node.running(); loop != nil {
		if p := c.requests.Proposals(); len(p) > 0 {
			loop.Propose(p)
		}
		if r := c.requests.Reads(); len(r) > 0 {
			loop.Read(r)
		}
		if len(c.envelopes) > 0 {
			loop.Receive(c.peer, c.envelopes)
		}
	}
	if len(c.backlog.refusals) > 0 {
		sendRefusals(c)
	}
	c.requests.Clear()
	clear(c.envelopes)
	c.envelopes = c.envelopes[:0]
	c.now, c.readAt = machine.Now{}, time.Time{}
}

// clock returns the time, the same for all that one read brought: when it returned, or
// now if some of that has waited for room since.
func (c *connection) clock(loop *repl.Loop) machine.Now {
	if c.now.Host == 0 {
		if c.readAt.IsZero() {
			c.readAt = time.Now()
		}
		c.now = clock(loop, c.readAt)
	}
	return c.now
}

// clock returns what the clocks of a node show at t.
func clock(loop *repl.Loop, t time.Time) machine.Now {
	return machine.Now{Host: loop.At(t), Wall: uint64(max(0, t.UnixMilli()))}
}
