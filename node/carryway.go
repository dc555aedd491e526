package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"muster/raft"
	"muster/repl/mover"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// waySilence is for how long a way to another node may be silent: longer than an answer
	// takes, and shorter than that node bears a silent member. Then it ends; the next action
	// makes another.
	waySilence = stepMax + 2*time.Second
	// wayBytesMax and wayActionsMax bound what is on its way to one node and not answered.
	// What is over is refused at once; the carrier comes back. It has less under way itself
	// (package mover), unless answers are lost.
	wayBytesMax   = 32 << 20
	wayActionsMax = 4096
)

var (
	errNoWay    = errors.New("no node is known that holds a replica of the group")
	errCrowded  = errors.New("too much is on its way to that node")
	errWayEnded = errors.New("the connection ended before the answer")
)

// carryWays are the connections over which this node has others carry out actions of its
// carrier, one for each node, kept as long as it is used.
type carryWays struct {
	carrying *carrying // set once

	mu      sync.Mutex
	open    map[raft.NodeID]*carryWay    // guarded by mu, as is all that follows
	leaders map[raft.GroupID]raft.NodeID // as other nodes told
	turns   map[raft.GroupID]int         // whom to ask next who leads
}

func (w *carryWays) init(c *carrying) {
	w.carrying = c
	w.open = make(map[raft.NodeID]*carryWay)
	w.leaders = make(map[raft.GroupID]raft.NodeID)
	w.turns = make(map[raft.GroupID]int)
}

// carryWay is the connection to one node.
type carryWay struct {
	ways *carryWays
	to   raft.NodeID
	wake chan struct{} // one token: something is queued. From many, to run

	// Guarded by ways.mu.
	queued  []byte           // frames
	waiting map[uint64]onWay // by number: what is not answered, queued or sent
	bytes   int              // Invariant: of waiting
}

// onWay is an action that waits for its answer.
type onWay struct {
	group raft.GroupID
	bytes int
}

// send has an action carried out by another node: the one that leads the group, if that is
// known. If it returns an error nothing was sent.
func (w *carryWays) send(lead raft.NodeID, t *shardmap.Table, a *mover.CarryAction) error {
	kind, body := wire.TypeStep, wire.Body(&wire.Step{Group: a.Group, Incarnation: a.Incarnation, Command: a.Command})
	if a.Kind == mover.CarryView {
		kind, body = wire.TypeSlotView, &wire.SlotView{Group: a.Group, Slots: a.Slots}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if lead == 0 {
		lead = w.whom(t, a.Group)
	}
	if lead == 0 {
		return fmt.Errorf("group %s: %w", a.Group, errNoWay)
	}
	way := w.open[lead]
	if way == nil {
		way = &carryWay{ways: w, to: lead, wake: make(chan struct{}, 1), waiting: make(map[uint64]onWay)}
		w.open[lead] = way
		n := w.carrying.node
		n.ended.Add(1)
		go func() {
			defer n.ended.Done()
			way.run()
		}()
	}
	size := len(a.Command) + requestOverhead
	if len(way.waiting) >= wayActionsMax || len(way.waiting) > 0 && way.bytes+size > wayBytesMax {
		return fmt.Errorf("node %s: %w: %d actions with %d bytes", lead, errCrowded, len(way.waiting), way.bytes)
	}
	b, start := wire.BeginFrame(way.queued, kind, 0, uint32(stepMax.Milliseconds()), a.Number)
	way.queued = wire.EndFrame(body.Append(b), start)
	way.waiting[a.Number] = onWay{a.Group, size}
	way.bytes += size
	select {
	case way.wake <- struct{}{}:
	default:
	}
	return nil
}

// whom returns the node that is said to lead a group of which no replica here knows that,
// or one that holds a replica: each time another, for one that is cut off from its group would
// have the same to say every time. It is 0 if there is none. w.mu is held.
func (w *carryWays) whom(t *shardmap.Table, g raft.GroupID) raft.NodeID {
	if lead, known := w.leaders[g]; known {
		return lead
	}
	row, _ := t.Group(g)
	self := w.carrying.node.self().Node
	for range row.Replicas {
		w.turns[g]++
		if to := row.Replicas[w.turns[g]%len(row.Replicas)].Node; to != self {
			return to
		}
	}
	return 0
}

// learn notes who leads a group, by what became of an action that a node was to carry out.
// w.mu is held.
func (w *carryWays) learn(g raft.GroupID, from raft.NodeID, err error) {
	e, refused := refusalIn(err)
	switch {
	case err == nil:
		w.leaders[g] = from
		return
	case refused && e.Code.Retry() != wire.RetryOtherNode && e.Code != wire.CodeUnavailable && e.Code != wire.CodeNotReady:
		return // it is about the action
	}
	delete(w.leaders, g)
	if refused && e.Code == wire.CodeNotLeader && e.LeaderNode != 0 && e.LeaderNode != from && e.LeaderNode != w.carrying.node.self().Node {
		w.leaders[g] = e.LeaderNode
	}
}

func (y *carryWay) run() {
	err := y.serve()
	c := y.ways.carrying
	y.ways.mu.Lock()
	delete(y.ways.open, y.to)
	waiting := y.waiting
	for _, o := range waiting {
		y.ways.learn(o.group, y.to, err)
	}
	y.ways.mu.Unlock()
	if len(waiting) > 0 && c.node.ctx.Err() == nil {
		c.node.log.Debug("way for steps ended", "to", y.to, "unanswered", len(waiting), "err", err)
	}
	for number := range waiting {
		c.ended(number, fmt.Errorf("node %s: %w: %w", y.to, errWayEnded, err))
	}
}

// serve dials, sends what is queued, and reads the answers, until the connection has been
// silent for too long, or ends.
func (y *carryWay) serve() error {
	n := y.ways.carrying.node
	conn, g, err := n.caller.dial(n.ctx, y.to, n.addrOf(y.to), wire.PurposePeer, wire.RolePeer)
	if err != nil {
		return err
	}
	defer closeWith(n.ctx, conn)()
	read := make(chan error, 1) // from the reader, once
	go func() { read <- y.read(conn, g.Decoder) }()
	var failed error
	for failed == nil {
		y.ways.mu.Lock()
		out := y.queued
		y.queued = nil
		y.ways.mu.Unlock()
		if len(out) > 0 {
			if failed = conn.SetReadDeadline(time.Now().Add(waySilence)); failed == nil {
				failed = writeAll(conn, out, n.limits.answerTimeout)
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
func (y *carryWay) read(conn net.Conn, d *wire.Decoder) error {
	c := y.ways.carrying
	if err := conn.SetReadDeadline(time.Now().Add(waySilence)); err != nil {
		return err
	}
	for {
		h, body, err := wire.ReadFrame(conn, d)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("it was silent for %s", waySilence)
		}
		if err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(waySilence)); err != nil {
			return err
		}
		y.ways.mu.Lock()
		o, waits := y.waiting[h.Request]
		delete(y.waiting, h.Request)
		y.bytes -= o.bytes
		y.ways.mu.Unlock()
		failed := c.took(h.Request, h.Type, body)
		if !waits {
			if failed != nil { // it is about the connection, which ends
				return failed
			}
			continue
		}
		y.ways.mu.Lock()
		y.ways.learn(o.group, y.to, failed)
		y.ways.mu.Unlock()
		if failed != nil {
			c.ended(h.Request, fmt.Errorf("node %s: %w", y.to, failed))
		}
	}
}
