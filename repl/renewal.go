package repl

import (
	"context"
	"net"
	"time"

	"muster/repl/wire"
)

// A connection that stands is replaced by another one where it was made by what will count no
// longer, or where its keys have protected enough: the next one is there before the former ends, so that
// nobody takes the node for lost.
//
//	renew    dials the next connection, and hands it to serve
//	serve    sends a ping over it, and all else from then on
//	retire   waits for the answer: then the other side counts the next connection as one over which
//	         this node's cores speak. It ends the former one's way there, and waits for what
//	         is still answered on it.

const (
	// renewRetryMin and renewRetryMax bound the pause between two attempts to replace a connection; it
	// doubles from the one to the other. News ([Peers.Review]) begin it anew.
	renewRetryMin = 20 * time.Millisecond
	renewRetryMax = 10 * time.Second
	// retireMax bounds how long a connection that was replaced waits for the answers that are due on it.
	retireMax = 5 * time.Second
)

// line is one connection to a node.
type line struct {
	conn   net.Conn
	pings  pinging
	closed chan error // from the goroutine that listens, once; never closed
}

func newLine(conn net.Conn) *line {
	return &line{conn: conn, pings: pinging{began: time.Now(), due: peerPingPause}, closed: make(chan error, 1)}
}

// bugWornKept is planted to show that its test finds it: a connection goes on, however much its keys have
// protected.
const bugWornKept = "worn connection not replaced"

// worn reports whether the keys of a connection have protected enough.
func worn(conn net.Conn) bool { return wire.Worn(conn) && !bug(bugWornKept) }

// outdated reports whether a connection that Dial has made to the node is to be replaced.
func (o *peer) outdated(conn net.Conn) bool {
	return worn(conn) || o.owner.cfg.Outdated != nil && o.owner.cfg.Outdated(o.id, conn)
}

// Review has each connection that stands looked at again ([PeersConfig.Outdated], [wire.Worn]).
func (p *Peers) Review() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.peers {
		o.lookAgain()
	}
}

// lookAgain has renew look at the connection.
func (o *peer) lookAgain() {
	select {
	case o.review <- struct{}{}:
	default: // it is about to
	}
}

// Outdated counts the connections that stand and are to be replaced by what [PeersConfig.Outdated] says.
func (p *Peers) Outdated() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.peers {
		if conn, _ := o.standing(); conn != nil && p.cfg.Outdated(o.id, conn) {
			n++
		}
	}
	return n
}

// standing returns the connection that stands, and where it was made to; nil: there is none.
func (o *peer) standing() (conn net.Conn, addr string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.conn, o.addr
}

// renew replaces the connection whenever it is outdated, until the node is forgotten.
func (o *peer) renew() {
	defer o.owner.ended.Done()
	timer := time.NewTimer(renewRetryMax)
	timer.Stop()
	defer timer.Stop()
	pause := renewRetryMin
	for {
		select {
		case <-o.ctx.Done():
			return
		case <-o.review:
			pause = renewRetryMin
		case <-timer.C:
		}
		conn, addr := o.standing()
		if conn == nil || !o.outdated(conn) {
			timer.Stop() // news will tell
			continue
		}
		o.replace(o.ctx, conn, addr)
		timer.Reset(pause)
		pause = min(2*pause, renewRetryMax)
	}
}

// replace makes another connection to a node in the place of former, which was made to addr. One that is no
// better is closed again: the other side may not be so far yet.
func (o *peer) replace(ctx context.Context, former net.Conn, addr string) {
	next, err := o.dial(ctx, addr)
	if err != nil {
		return // what is wrong with the one that stands, it says itself
	}
	o.mu.Lock()
	taken := o.conn == former && o.heir == nil && !o.outdated(next)
	if taken {
		o.heir = next
	}
	o.mu.Unlock()
	if !taken {
		next.Close()
		return
	}
	o.rouse()
}

// takeOver continues on the connection that is to replace l, if there is one: what is queued from now on goes
// over that.
func (o *peer) takeOver(l *line) (next *line, taken bool) {
	o.mu.Lock()
	conn, left := o.heir, o.outbox.left
	o.heir = nil
	if conn != nil {
		o.conn = conn
	}
	o.mu.Unlock()
	if conn == nil {
		return l, false
	}
	next, answered := newLine(conn), make(chan struct{})
	// The first ping goes before all else: the former connection ends with its answer.
	next.pings.due, next.pings.first = 0, answered
	o.owner.ended.Add(2)
	go o.listen(next)
	go o.retire(l, answered, left)
	o.owner.cfg.Log.Info("peer connected anew", "peer", o.id)
	if f := o.owner.cfg.Replaced; f != nil {
		f(o.id)
	}
	return next, true
}

// retire ends a connection that another one has replaced, once that is answered. Of the requests that were
// passed on, those up to left went over the former.
func (o *peer) retire(l *line, answered <-chan struct{}, left uint64) {
	defer o.owner.ended.Done()
	late := time.NewTimer(retireMax)
	defer late.Stop()
	ended := false
	select {
	case <-answered:
		if half, ok := l.conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // if it can't be told, it is closed below
		}
	case <-l.closed:
		ended = true
	case <-o.ctx.Done():
	case <-late.C:
	}
	if !ended {
		select {
		case <-l.closed:
		case <-o.ctx.Done():
		case <-late.C:
		}
	}
	l.conn.Close()
	if lost := o.owner.cfg.ForwardsLost; lost != nil && left > 0 && o.ctx.Err() == nil {
		lost(o.id, left, left)
	}
}
