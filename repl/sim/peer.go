package sim

import (
	"time"

	"muster/raft"
)

// A node hears hints about the connections on which others speak to it. They prove
// nothing, so here they also come when nothing is wrong, and sometimes not when something
// is.

const (
	// peerSilence is after how long a cut link counts as a lost connection, as
	// in node/limits.go.
	peerSilence = 10 * time.Second
	// redialMin and redialMax bound the pause before the next dial, as in
	// repl/peer.go.
	redialMin = 20 * time.Millisecond
	redialMax = time.Second
	// handOverMax and handOverPause are those of a node that is told to stop,
	// as in node/run.go and repl/loop.go.
	handOverMax   = 2 * time.Second
	handOverPause = 5 * time.Millisecond
	// lifeWait is how long a replica that was started anew waits for silent voters, as
	// in repl/lives.go.
	lifeWait = 2 * raft.ElectionTicksDefault * tick
)

// waits reports whether a replica of the node has not heard all other voters since it was
// started, or lacks entries that one of them has named.
func (n *node) waits() bool {
	if n.host == nil {
		return true // it is about to start
	}
	for _, v := range n.host.View() {
		if v.Held || v.Short {
			return true
		}
	}
	return false
}

// lose ends the connection on which from speaks to to. The other end learns of it after
// word, and may see a new one sooner.
func (w *network) lose(from, to int, word time.Duration) {
	n := w.c.nodes[to-1]
	if !n.up || n.dead {
		return
	}
	e := n.event(evPeer)
	e.from, e.number = int32(from), 0
	w.c.after(word, e)
}

// loseForwards ends the connection on which from passes requests on to to. from learns of
// it after word.
func (w *network) loseForwards(from, to int, word time.Duration) {
	n := w.c.nodes[from-1]
	if !n.up || n.dead {
		return
	}
	e := n.event(evPeer)
	e.from, e.number = int32(to), 3
	w.c.after(word, e)
}

// dial brings a connection from one node to another after the usual pause.
func (w *network) dial(from, to int) {
	n := w.c.nodes[to-1]
	if !n.up || n.dead {
		return
	}
	e := n.event(evPeer)
	e.from, e.number = int32(from), 1
	w.c.after(w.c.chance.skewed(redialMin, redialMax), e)
}

// word takes a hint about a connection: one from another node has ended (number 0), is new
// (1) or is silent (2), or the one to that node has ended (3).
func (w *whereabouts) word(e *event) {
	from := int(e.from)
	switch e.number {
	case 2:
		if w.n.c.net.works(from, w.n.index) {
			return
		}
		w.n.post.forwardsLost(w.n.c.nodes[from-1]) // its pings were not answered
		fallthrough
	case 0:
		w.n.c.nodes[from-1].creds.links[w.n.index].up = false
		w.n.host.PeerLost(w.n.c.nodes[from-1].id)
	case 3:
		w.n.post.forwardsLost(w.n.c.nodes[from-1])
	case 1:
		if o := w.n.c.nodes[from-1]; o.up && o.where.reaches(w.n.index) {
			w.claim(o) // its hello has its address
			w.n.host.PeerBack(w.n.c.nodes[from-1].id)
			w.n.host.PeerReached(w.n.c.nodes[from-1].id)
		}
	}
}

// silence plans that the node at the end of a cut link gives up the connection.
func (w *network) silence(l link) {
	n := w.c.nodes[l.to-1]
	if !n.up || n.dead {
		return
	}
	e := n.event(evPeer)
	e.from, e.number = int32(l.from), 2
	w.c.after(peerSilence, e)
}

// parted tells the others that a process has ended: its system closes the connections.
// After a power loss nobody closes them.
func (w *whereabouts) parted() {
	for _, o := range w.n.c.nodes {
		if o != w.n && w.n.c.net.works(w.n.index, o.index) {
			w.n.c.net.lose(w.n.index, o.index, w.n.c.net.latency())
			w.n.c.net.loseForwards(o.index, w.n.index, w.n.c.net.latency())
		}
	}
}

// greet connects a process that starts with the others, in both directions.
func (w *whereabouts) greet() {
	for _, o := range w.n.c.nodes {
		if o != w.n {
			w.n.c.net.dial(w.n.index, o.index)
			w.n.c.net.dial(o.index, w.n.index)
		}
	}
}

// leave is the end of a process that is told to stop.
type leave struct {
	n       *node
	by      time.Duration // until when it hands over; 0: it was not told
	closing bool          // it only ends its last batch
}

// begin tells the process to stop: it hands over what it leads, then writes
// what is under way, closes its log, and ends.
func (l *leave) begin() {
	l.n.c.note(l.n.index, "is told to stop")
	l.by = l.n.c.now + handOverMax
	l.n.c.after(0, l.n.event(evStop))
}

// look checks whether all leadership has been handed over.
func (l *leave) look() {
	if left := l.n.host.HandOver(); left > 0 && l.n.c.now < l.by {
		l.n.turn()
		l.n.c.after(handOverPause, l.n.event(evStop))
		return
	}
	l.closing = true
	if l.n.writer.batch == nil {
		l.end()
	}
}

// end ends a process that was told to stop, once its last batch is on disk.
func (l *leave) end() {
	l.n.files.arm()
	err := l.n.store.Close()
	if f := l.n.files.failing.what(); f != "" {
		l.n.writer.failed(f, err)
		return
	}
	if l.n.refusals.caused(err) {
		l.n.writer.stoppedReading(err)
		return
	}
	if err != nil {
		l.n.c.fail("n%d: the log does not close: %v", l.n.index, err)
	}
	l.n.c.note(l.n.index, "stops, as it was told")
	l.n.end(PowerKeep)
	if l.n.decay.due == ZeroTail {
		l.n.c.chaos.zeroTail(l.n)
	}
}
