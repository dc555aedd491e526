package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// Limits of the connections to other nodes.
const (
	// peerBufferMax is how many bytes the buffers of a connection keep between
	// two bursts.
	peerBufferMax = 4 << 20
	// peerWriteTimeout is how long the other side may take to read
	// peerPiece bytes before the connection is given up.
	peerWriteTimeout = 5 * time.Second
	peerPiece        = 1 << 20
	// peerPingPause is the least that lies between two pings, peerPongMax is how
	// long the answer may take. What is written to a host that has gone is taken by
	// the system, which sends it again after ever longer pauses, up to two
	// minutes: once the host is back, a new connection is there long before.
	// Neither has a timer: see [pinging].
	peerPingPause = time.Second
	peerPongMax   = 4 * time.Second
	// peerDialTimeout bounds one attempt to connect.
	peerDialTimeout = 2 * time.Second
	// peerRetryMin and peerRetryMax bound the pause between attempts; it
	// doubles from the one to the other.
	peerRetryMin = 20 * time.Millisecond
	peerRetryMax = time.Second
	// saidMax bounds the addresses of one node of which the log has said why
	// it was not reached there.
	saidMax = 16
)

// peer is the connection to one other node.
type peer struct {
	// Set once.
	owner  *Peers
	id     raft.NodeID
	wake   chan struct{}   // one token: something is queued, the address changed, or heir is set
	more   chan struct{}   // one token: a snapshot is queued. From sendSnapshot, to the goroutine that sends them
	review chan struct{}   // one token: look whether the connection is outdated. From Peers.Review, to renew
	ctx    context.Context // ends when the node is forgotten, or all are
	cancel context.CancelFunc

	unread string // why entries were not read, when the log said so last; owned by the goroutine that writes to the connection

	// Guarded by Peers.mu.
	snapshots []*SnapshotStream // wait to be sent
	asked     []askedStream     // wait for block files on the other side, first those to be asked first
	sending   bool              // a goroutine sends them

	mu        sync.Mutex
	outbox    outbox   // guarded by mu: what waits to be written
	connected bool     // guarded by mu
	conn      net.Conn // guarded by mu
	addr      string   // guarded by mu: that conn was made to
	heir      net.Conn // guarded by mu: that is to replace conn; nil: none is

	link       Link      // guarded by mu: RTT and Why
	pingedAt   time.Time // guarded by mu: when the ping under way was sent; zero: none is
	answeredAt time.Time // guarded by mu
}

func (o *peer) disconnect() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn != nil {
		o.conn.Close()
	}
}

// queue adds to what waits, unless there is no connection.
func (o *peer) queue(add func(*outbox)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.connected {
		add(&o.outbox)
	}
}

// send queues a message. It is on the path of each entry, and needs no closure.
func (o *peer) send(e *wire.Envelope) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.connected {
		o.outbox.message(e)
	}
}

// sendBody queues a frame.
func (o *peer) sendBody(t wire.Type, body wire.Body) {
	o.queue(func(b *outbox) { b.body(t, body) })
}

// sendForward queues a request that is passed on. It reports false if there is no
// connection, or the queue is full.
func (o *peer) sendForward(number uint64, within time.Duration, f *wire.Forward) (queued bool) {
	o.queue(func(b *outbox) { queued = b.forward(number, within, f) })
	return queued
}

// flush ends a turn: what gathered in it leaves.
func (o *peer) flush() {
	o.mu.Lock()
	queued := o.outbox.endTurn()
	o.mu.Unlock()
	if queued {
		o.rouse()
	}
}

func (o *peer) rouse() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// run keeps the connection: dials, writes what is queued, dials again.
func (o *peer) run() {
	defer o.owner.ended.Done()
	defer o.cancel()
	ctx, log := o.ctx, o.owner.cfg.Log
	pause := peerRetryMin
	said, reached := make(map[string]string), false // said: by address
	for ctx.Err() == nil {
		addr := o.next()
		conn, err := o.dial(ctx, addr)
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			o.unreached(addr, err)
			o.owner.missed(addr, err)
			if _, again := said[addr]; err.Error() != said[addr] && (again || len(said) < saidMax) { // one line per change, not per attempt
				said[addr] = err.Error()
				level := slog.LevelWarn
				if !reached {
					level = slog.LevelInfo // it may just not be up yet
				}
				log.Log(ctx, level, "peer not reached", "peer", o.id, "addr", addr, "err", err)
			}
			o.rest(ctx, pause)
			pause = min(2*pause, peerRetryMax)
			continue
		}
		reached = true
		log.Info("peer connected", "peer", o.id, "addr", addr)
		since := time.Now()
		err = o.serve(ctx, conn, addr)
		o.lost()
		if ctx.Err() != nil {
			return
		}
		o.unlinked(err)
		level := slog.LevelWarn
		if e := (*wire.Error)(nil); errors.As(err, &e) && e.Retry() == wire.RetrySameNode {
			level = slog.LevelInfo // it wants another connection, and nothing is wrong
		}
		log.Log(ctx, level, "peer lost", "peer", o.id, "addr", addr, "err", err)
		clear(said)
		if time.Since(since) > peerRetryMax {
			pause = peerRetryMin
			continue
		}
		o.rest(ctx, pause) // it takes us and ends it: not as fast as we can
		pause = min(2*pause, peerRetryMax)
	}
}

var errNoAddress = errors.New("every address that is known of it is another node's, or this one's")

// next returns where to dial now.
func (o *peer) next() string {
	o.owner.places.Lock()
	defer o.owner.places.Unlock()
	return o.owner.addresses.Next(o.id)
}

func (o *peer) dial(ctx context.Context, addr string) (net.Conn, error) {
	if addr == "" {
		return nil, errNoAddress
	}
	return o.owner.cfg.Dial(ctx, o.id, addr)
}

// lost notes that there is no connection any more.
func (o *peer) lost() {
	o.owner.places.Lock()
	defer o.owner.places.Unlock()
	o.owner.addresses.Lost(o.id)
}

// rest waits, but no longer than until there may be another address. It waits
// for peerRetryMin at least: whoever can say a hello in the node's name could
// else have it dialled as fast as hellos come.
func (o *peer) rest(ctx context.Context, pause time.Duration) {
	least := time.After(peerRetryMin)
	select {
	case <-ctx.Done():
		return
	case <-o.wake:
	case <-time.After(pause):
		return
	}
	select {
	case <-ctx.Done():
	case <-least:
	}
}

// serve writes to one connection, made to addr, and to those that replace it, until one breaks.
func (o *peer) serve(ctx context.Context, conn net.Conn, addr string) error {
	l := newLine(conn)
	o.owner.ended.Add(1)
	go o.listen(l)
	o.mu.Lock()
	o.conn, o.addr, o.connected = conn, addr, true
	o.mu.Unlock()
	o.owner.found(o, addr)
	if up := o.owner.cfg.Up; up != nil {
		up(o.id)
	}
	o.lookAgain()
	defer func() {
		l.conn.Close()
		o.mu.Lock()
		if o.heir != nil {
			o.heir.Close()
		}
		o.conn, o.heir, o.connected = nil, nil, false
		left, queued := o.outbox.drop()
		o.mu.Unlock()
		if lost := o.owner.cfg.ForwardsLost; lost != nil && queued > 0 {
			lost(o.id, left, queued)
		}
		select {
		case <-o.wake: // it was about frames that are gone
		default:
		}
	}()
	var out []byte
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-l.closed:
			l.closed <- err // for retire
			next, taken := o.takeOver(l)
			if !taken {
				return err
			}
			l = next
		case <-o.wake:
			l, _ = o.takeOver(l)
		}
		ping, err := l.pings.look(time.Since(l.pings.began))
		if err != nil {
			return l.reason(err)
		}
		if ping {
			if err := o.sendPing(l.conn); err != nil {
				return l.reason(err)
			}
		}
		if out, err = o.writeQueued(l.conn, out); err != nil {
			return l.reason(err)
		}
	}
	return ctx.Err()
}

// writeQueued writes what gathered and, of what has to be read from the disk
// first, one append and one answer: more would be as much memory for each, and
// what gathers meanwhile, heartbeats among it, would wait for all of them. Where
// more is left the token says so. out is used again.
func (o *peer) writeQueued(conn net.Conn, out []byte) ([]byte, error) {
	o.mu.Lock()
	out = o.outbox.take(out)
	f, fetches := takeFirst(&o.outbox.fetches)
	r, repairs := takeFirst(&o.outbox.repairs)
	more := len(o.outbox.fetches) > 0 || len(o.outbox.repairs) > 0
	o.mu.Unlock()
	if fetches {
		out = o.appendFetched(out, &f)
	}
	if repairs {
		r.answer.Entries = ReadIntact(o.owner.cfg.Store, r.replica, r.wanted, wire.RepairBytesMax)
		out = appendBody(out, o.owner.cfg.Counters, wire.TypeRepairAnswer, &r.answer)
	}
	if more {
		o.rouse()
	}
	err := writePieces(conn, out)
	if cap(out) > peerBufferMax {
		out = nil // a burst should not hold its memory for ever
	}
	return out, err
}

// appendFetched adds an append with the entries that it is to carry, if they can
// be read and their leader still leads.
func (o *peer) appendFetched(out []byte, f *fetch) []byte {
	e := &f.envelope
	if err := o.fill(e); err != nil {
		if why := errors.Unwrap(err).Error(); why != o.unread { // one line per change: the follower asks again with each heartbeat
			o.unread = why
			o.owner.cfg.Log.Warn("entries not read for a follower", "group", e.Group, "peer", o.id, "err", err)
		}
		if found := o.owner.cfg.DamageFound; found != nil && errors.Is(err, logstore.ErrDamaged) {
			found()
		}
		return out
	}
	if !f.current() {
		return out
	}
	return appendEnvelope(out, o.owner.cfg.Counters, e)
}

// reason returns why the connection was closed, if that is known, instead of
// an error that says that it was.
func (l *line) reason(err error) error {
	select {
	case why := <-l.closed:
		return why
	default:
		return err
	}
}

func (o *peer) sendPing(conn net.Conn) error {
	o.owner.cfg.Counters.Out(wire.TypePing, 1)
	o.pinged()
	return writePieces(conn, wire.AppendFrame(nil, wire.TypePing, 0, &wire.Empty{}))
}

// writePieces writes out; a slow line may take its time, one that stands still
// may not.
func writePieces(conn net.Conn, out []byte) error {
	for len(out) > 0 {
		piece := out[:min(len(out), peerPiece)]
		if _, err := wire.WriteWithin(conn, piece, peerWriteTimeout); err != nil {
			return err
		}
		out = out[len(piece):]
	}
	return nil
}

// fill reads the entries that an append is to carry.
func (o *peer) fill(e *wire.Envelope) error {
	m := &e.Message
	r := logstore.Replica{Group: e.Group, Incarnation: e.Incarnation, ID: m.From}
	entries, err := o.owner.cfg.Store.Read(r, m.Log.Index+1, m.Fetch, o.owner.cfg.FetchBytes)
	if err != nil {
		return fmt.Errorf("entries %d to %d: %w", m.Log.Index+1, m.Fetch, err)
	}
	m.Entries, m.Fetch = entries, 0
	return nil
}

// listen notices that the other side closed, or has gone. Nothing is said to us
// here but answers: to pings, to what it is asked to attest, to requests that were
// passed on to it; and an error frame before the end.
func (o *peer) listen(l *line) {
	defer o.owner.ended.Done()
	l.closed <- o.hear(l.conn, &l.pings)
	l.conn.Close()
}

func (o *peer) hear(conn net.Conn, pings *pinging) error {
	d := wire.NewDecoder(wire.FrameMax)
	for {
		if err := d.Fill(conn); err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("closed by the other side")
			}
			return err
		}
		pings.heard()
		var answers []ForwardAnswer
		for {
			h, body, ok, err := d.Next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			o.owner.cfg.Counters.In(h.Type, len(body))
			if h.Request != 0 && answersForward(h.Type) {
				answers = append(answers, ForwardAnswer{h.Request, h.Type, append([]byte(nil), body...)})
				continue
			}
			if err := o.heard(pings, h, body); err != nil {
				return err
			}
		}
		if f := o.owner.cfg.Forwarded; f != nil && len(answers) > 0 {
			f(o.id, answers)
		}
	}
}

// heard takes any other frame. An error ends the connection.
func (o *peer) heard(pings *pinging, h wire.Header, body []byte) error {
	switch h.Type {
	case wire.TypePong:
		o.answered()
		pings.answered()
		return nil
	case wire.TypeAttestAnswer:
		a := new(wire.AttestAnswer)
		if a.Read(body) != nil {
			break
		}
		if f := o.owner.cfg.Attested; f != nil {
			f(o.id, a)
		}
		return nil
	case wire.TypeError:
		if e := new(wire.Error); e.Read(body) == nil {
			return e
		}
	}
	return fmt.Errorf("the other side sent %s where it only listens", h.Type)
}
