package node

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// Limits of the connections that others open to this node.
const (
	// clientsMax bounds the connections of clients, peersMax those of
	// peers: a flood of the one can't take the place of the other.
	clientsMax = 10_000
	peersMax   = 1_000
	// strangersMax bounds the connections that have not said hello yet.
	strangersMax = 1_000
	// clientSilenceMax is how long a client may say nothing. It bounds the
	// age of a frame that still arrives, and so how long the outcome of a
	// write must be remembered.
	clientSilenceMax = 60 * time.Second
	// peerSilenceMax is the same for a peer, which sends heartbeats.
	peerSilenceMax = 10 * time.Second
	// inflightBytesMax bounds the requests of one connection that wait for
	// their answers, and the answers that wait to be read. At the limit the
	// node stops reading from it.
	inflightBytesMax = 16 << 20
	// requestOverhead is what a request counts beside its bytes.
	requestOverhead = 256
	// answerTimeout is how long a client may take to read what was sent.
	answerTimeout = 10 * time.Second
	// lingerTime is how long the last answer of a connection that ends may
	// take to be read.
	lingerTime = 200 * time.Millisecond
	// arenaSize is how much is allocated at once for the entries of small
	// commands.
	arenaSize = 64 << 10
)

// connection is one accepted connection after its hello. Its reader takes all
// frames that have arrived, hands all commands among them to the loop at once,
// and reads on; its writer sends the answers that gathered.
type connection struct {
	// Set once.
	node   *Node
	conn   net.Conn
	peer   raft.NodeID // the node at the other end; 0 for a client
	silent time.Duration
	wake   chan struct{} // one token: out has something, or the connection ends
	idle   chan struct{} // closed by the writer when it has ended

	// Owned by the reader.
	decoder   *wire.Decoder
	command   shardmap.Command // scratch
	arena     []byte
	proposals []repl.Proposal
	reads     []repl.Read
	envelopes []wire.Envelope

	mu       sync.Mutex
	room     sync.Cond // of mu: inflight has shrunk, or closed is set
	out      []byte    // guarded by mu: answers that wait to be sent
	inflight int       // guarded by mu: bytes of requests not yet answered, and of out
	unsent   bool      // guarded by mu: out grew since the last Flush
	closed   bool      // guarded by mu: nothing more is queued, what is queued is still sent
}

// newConnection takes over a connection whose hello is done, with the decoder
// that may hold what came behind it.
func newConnection(n *Node, conn net.Conn, decoder *wire.Decoder, peer raft.NodeID) *connection {
	c := &connection{node: n, conn: conn, decoder: decoder, peer: peer, silent: clientSilenceMax, wake: make(chan struct{}, 1), idle: make(chan struct{})}
	if peer != 0 {
		c.silent = peerSilenceMax
	}
	c.decoder.SetLimit(wire.FrameMax)
	c.room.L = &c.mu
	return c
}

// Answer implements [repl.Replier].
func (c *connection) Answer(r repl.Reply, t wire.Type, body []byte) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inflight -= r.Size
	if c.closed {
		return false
	}
	before := len(c.out)
	b, start := wire.BeginFrame(c.out, t, 0, 0, r.Request)
	b = append(b, body...)
	c.out = wire.EndFrame(b, start)
	c.inflight += len(c.out) - before
	c.node.counters.Out(t, len(c.out)-before-wire.HeaderSize)
	first = !c.unsent
	c.unsent = true
	return first
}

// answerWith is [connection.Answer] for a body that is made in place. If make
// returns an error, that is the answer, and what it appended must be gone.
func (c *connection) answerWith(r repl.Reply, t wire.Type, make func(b []byte) ([]byte, *wire.Error)) (first bool) {
	c.mu.Lock()
	if c.closed {
		c.inflight -= r.Size
		c.mu.Unlock()
		return false
	}
	before := len(c.out)
	b, start := wire.BeginFrame(c.out, t, 0, 0, r.Request)
	b, bad := make(b)
	if bad != nil {
		c.out = b[:before]
		c.mu.Unlock()
		return c.Answer(r, wire.TypeError, bad.Append(nil))
	}
	defer c.mu.Unlock()
	c.out = wire.EndFrame(b, start)
	c.inflight += len(c.out) - before - r.Size
	c.node.counters.Out(t, len(c.out)-before-wire.HeaderSize)
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

// crowded says whether more answers wait than the other side reads.
func (c *connection) crowded() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.out) > inflightBytesMax
}

// end lets the writer send what is queued, and nothing after it.
func (c *connection) end() {
	c.mu.Lock()
	c.closed = true
	c.room.Broadcast()
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// linger waits for the other side to hang up, not for long: closing with bytes
// unread would have the system throw away the last word that was sent.
func (c *connection) linger() {
	half, ok := c.conn.(*net.TCPConn)
	if !ok || half.CloseWrite() != nil || c.conn.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, c.conn, inflightBytesMax) // only its end matters
}

// write is the writer: it sends what gathered, until the connection ends.
func (c *connection) write() {
	defer close(c.idle)
	defer c.conn.Close() // so that the reader notices
	var out []byte
	for range c.wake {
		c.mu.Lock()
		out, c.out = c.out, out[:0]
		closed := c.closed
		c.mu.Unlock()
		if len(out) == 0 {
			if closed {
				return
			}
			continue
		}
		if c.conn.SetWriteDeadline(time.Now().Add(answerTimeout)) != nil {
			return
		}
		if _, err := c.conn.Write(out); err != nil {
			return
		}
		c.mu.Lock()
		c.inflight -= len(out)
		c.room.Broadcast()
		c.mu.Unlock()
		if closed {
			c.linger()
			return
		}
		if cap(out) > 1<<20 {
			out = nil // a burst should not hold its memory for ever
		}
	}
}

// read is the reader: it hands on frames, until the connection ends.
func (c *connection) read() error {
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(c.silent)); err != nil {
			return err
		}
		if err := c.decoder.Fill(c.conn); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		for {
			h, body, ok, err := c.decoder.Next()
			if err != nil {
				c.refuse(repl.Reply{To: c, Request: h.Request}, wire.BadRequest("frame", err.Error(), "close this connection and open another"))
				return err
			}
			if !ok {
				break
			}
			c.node.counters.In(h.Type, len(body))
			if err := c.dispatch(h, body); err != nil {
				return err
			}
		}
		c.handOn()
		if !c.admit() {
			return nil
		}
	}
}

// admit waits until the connection may have more in flight. It reports false
// if it was closed meanwhile.
func (c *connection) admit() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.inflight > inflightBytesMax && !c.closed {
		c.room.Wait()
	}
	return !c.closed
}

// accept counts a request in, and says how to answer it.
func (c *connection) accept(h wire.Header) repl.Reply {
	size := h.Length + requestOverhead
	c.mu.Lock()
	c.inflight += size
	c.mu.Unlock()
	return repl.Reply{To: c, Request: h.Request, Size: size}
}

// handOn gives everything that was read to the loop, in one go for each kind.
func (c *connection) handOn() {
	if loop := c.node.running(); loop != nil {
		if len(c.proposals) > 0 {
			loop.Propose(c.proposals)
		}
		if len(c.reads) > 0 {
			loop.Read(c.reads)
		}
		if len(c.envelopes) > 0 {
			loop.Receive(c.peer, c.envelopes)
		}
	}
	clear(c.proposals)
	clear(c.reads)
	clear(c.envelopes)
	c.proposals, c.reads, c.envelopes = c.proposals[:0], c.reads[:0], c.envelopes[:0]
}

// entry copies a command's body behind the room for an entry's header: the one
// copy that it goes through on its way to the log.
func (c *connection) entry(body []byte) raft.Entry {
	size := raft.EntryHeaderSize + len(body)
	if size > arenaSize/4 {
		return raft.NewEntry(raft.EntryNormal, body)
	}
	if cap(c.arena)-len(c.arena) < size {
		c.arena = make([]byte, 0, arenaSize)
	}
	from := len(c.arena)
	c.arena = c.arena[:from+size]
	raw := c.arena[from : from+size : from+size]
	copy(raw[raft.EntryHeaderSize:], body)
	return raft.Entry{Kind: raft.EntryNormal, Raw: raw}
}

// deadline is when the sender of a frame stops to wait, on the loop's clock.
func deadline(h wire.Header, now time.Duration) time.Duration {
	if h.Deadline == 0 {
		return 0
	}
	return now + time.Duration(h.Deadline)*time.Millisecond
}
