package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

var (
	errCrowded  = errors.New("too much is on its way to that node")
	errWayEnded = errors.New("the connection ended before the answer")
	errWayWorn  = errors.New("its keys of TLS have protected enough")
)

// ways are connections over which one part of this node asks others, one for each node,
// kept as long as it is used. Each question ends with one call: over.
type ways struct {
	// Set once.
	node *Node
	what string // the questions, for errors and the log
	// within is how long an answer may take: other nodes drop a question that has waited for
	// so long. A way ends when nothing has come over it for silence, since the last answer or
	// the first question after it; the next question makes another. Silence is more than
	// within, and less than another node bears of a silent member.
	within, silence time.Duration
	// bytesMax and questionsMax bound what is on its way to one node and not answered. A
	// question beyond them is refused at once.
	bytesMax, questionsMax int
	// took takes an answer; nothing of body is kept. It returns the error that the answer
	// is, or why it can't be read, and then has taken nothing.
	took func(number uint64, t wire.Type, body []byte) error
	// over is told how each question has ended: err is nil if its answer was taken.
	over func(to raft.NodeID, q pending, err error)

	mu   sync.Mutex
	open map[raft.NodeID]*way // guarded by mu
}

// question is what another node is asked.
type question struct {
	pending
	kind wire.Type
	body wire.Body
	size int // of the body, about
}

// pending is a question that waits for its answer.
type pending struct {
	number uint64       // one that no other question over these ways has
	group  raft.GroupID // that it is about, if it is about one
	bytes  int          // that it counts
}

// way is the connection to one node.
type way struct {
	ways *ways
	to   raft.NodeID
	wake chan struct{} // one token: something is queued. From many, to run; never closed

	// Guarded by ways.mu.
	queued  []byte             // frames
	waiting map[uint64]pending // by number: what is not answered, queued or sent
	bytes   int                // Invariant: of waiting
	asked   bool               // something was sent since the last answer
	retired bool               // its keys have protected enough: it ends with the last answer, and takes no more questions
}

// send asks a node. If it returns an error nothing was sent, and over is not called.
func (w *ways) send(to raft.NodeID, q question) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	y := w.open[to]
	if y == nil {
		y = w.begin(to)
	}
	q.bytes = q.size + requestOverhead
	if len(y.waiting) >= w.questionsMax || len(y.waiting) > 0 && y.bytes+q.bytes > w.bytesMax {
		return fmt.Errorf("node %s: %w: %d %s with %d bytes", to, errCrowded, len(y.waiting), w.what, y.bytes)
	}
	b, start := wire.BeginFrame(y.queued, q.kind, 0, uint32(w.within.Milliseconds()), q.number)
	y.queued = wire.EndFrame(q.body.Append(b), start)
	y.waiting[q.number] = q.pending
	y.bytes += q.bytes
	y.rouse()
	return nil
}

func (y *way) rouse() {
	select {
	case y.wake <- struct{}{}:
	default:
	}
}

// begin makes the way to a node. w.mu is held.
func (w *ways) begin(to raft.NodeID) *way {
	y := &way{ways: w, to: to, wake: make(chan struct{}, 1), waiting: make(map[uint64]pending)}
	if w.open == nil {
		w.open = make(map[raft.NodeID]*way)
	}
	w.open[to] = y
	w.node.ended.Go(y.run)
	return y
}

func (y *way) run() {
	w := y.ways
	err := y.serve()
	w.mu.Lock()
	if w.open[y.to] == y {
		delete(w.open, y.to)
	}
	waiting := y.waiting
	w.mu.Unlock()
	if len(waiting) > 0 && w.node.ctx.Err() == nil {
		w.node.log.Debug("way to a node ended", "what", w.what, "to", y.to, "unanswered", len(waiting), "err", err)
	}
	for _, q := range waiting {
		w.over(y.to, q, fmt.Errorf("%w: %w", errWayEnded, err))
	}
}

// serve dials, and serves the way until the connection ends, or nothing has come over it for
// too long.
func (y *way) serve() error {
	n := y.ways.node
	conn, g, err := n.caller.dial(n.ctx, y.to, n.addrOf(y.to), wire.PurposePeer, wire.RolePeer)
	if err != nil {
		return err
	}
	defer closeWith(n.ctx, conn)()
	return y.talk(conn, g.Decoder)
}

// talk sends what is queued, and reads the answers, over a connection, which it closes.
func (y *way) talk(conn net.Conn, d *wire.Decoder) error {
	read := make(chan error, 1) // from the reader, once
	go func() { read <- y.read(conn, d) }()
	var failed error
	for failed == nil {
		if wire.Worn(conn) && !bug(bugWornWay) && y.retire() {
			failed = errWayWorn
			continue
		}
		if out, first := y.unsent(); len(out) > 0 {
			// Only the first question gives the node time: were it each, one that is asked all
			// the time could be silent for ever.
			if first {
				failed = y.allowSilence(conn)
			}
			if failed == nil {
				failed = writeAll(conn, out, y.ways.node.limits.answerTimeout)
			}
			continue
		}
		select {
		case <-y.wake:
		case failed = <-read:
			read <- failed // for the end
		}
	}
	conn.Close()
	if err := <-read; !errors.Is(err, net.ErrClosed) {
		failed = err // what the other side said, if it did
	}
	return failed
}

// bugWornWay is planted to show that its test finds it: a way goes on, however much its keys have protected.
const bugWornWay = "worn way not replaced"

// retire has the next question make another way, and reports whether this one has no more to wait for.
func (y *way) retire() (done bool) {
	w := y.ways
	w.mu.Lock()
	defer w.mu.Unlock()
	y.retired = true
	if w.open[y.to] == y {
		delete(w.open, y.to)
	}
	return len(y.waiting) == 0
}

// unsent takes what is queued, and reports whether it is the first that is sent since the last
// answer.
func (y *way) unsent() (out []byte, first bool) {
	y.ways.mu.Lock()
	defer y.ways.mu.Unlock()
	out, y.queued = y.queued, nil
	if len(out) > 0 {
		first, y.asked = !y.asked, true
	}
	return out, first
}

// allowSilence has the connection end if nothing comes over it for so long from now on.
func (y *way) allowSilence(conn net.Conn) error {
	return conn.SetReadDeadline(time.Now().Add(y.ways.silence))
}

// writeAll writes b, a piece at a time.
func writeAll(conn net.Conn, b []byte, within time.Duration) error {
	for len(b) > 0 {
		piece := b[:min(len(b), answerPiece)]
		if _, err := wire.WriteWithin(conn, piece, within); err != nil {
			return err
		}
		b = b[len(piece):]
	}
	return nil
}

// read hands on answers until the connection ends.
func (y *way) read(conn net.Conn, d *wire.Decoder) error {
	w := y.ways
	for {
		if err := y.allowSilence(conn); err != nil {
			return err
		}
		h, body, err := wire.ReadFrame(conn, d)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("it was silent for %s", w.silence)
		}
		if err != nil {
			return err
		}
		w.mu.Lock()
		q, waits := y.waiting[h.Request]
		delete(y.waiting, h.Request)
		y.bytes -= q.bytes
		y.asked = false
		last := y.retired && len(y.waiting) == 0
		w.mu.Unlock()
		failed := w.took(h.Request, h.Type, body)
		if last {
			y.rouse() // it ends
		}
		if waits {
			w.over(y.to, q, failed)
			continue
		}
		if failed != nil { // it is about the connection, which ends
			return failed
		}
	}
}
