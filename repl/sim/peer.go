package sim

import (
	"time"

	"muster/raft"
)

// What a node hears of the connections that others speak to it on: hints, which
// prove nothing, so that they come also when nothing is wrong, or not at all
// when something is.

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
	// lifeWait is for how long a replica that was started anew waits for voters that
	// are silent, as in repl/lives.go.
	lifeWait = 2 * raft.ElectionTicksDefault * tick
)

// waits reports whether a replica of the node has yet to hear other voters since it
// was started, or lacks entries that one of them told of.
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

// lose ends the connection on which from speaks to to. The other end learns of
// it after a while, and may see a new one sooner.
func (w *network) lose(from, to int, word time.Duration) {
	n := w.c.nodes[to-1]
	if !n.up || n.dead {
		return
	}
	e := n.event(evPeer)
	e.from, e.number = int32(from), 0
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

// peer is word of a connection from another node: it ended, it is silent
// (number 2), or there is a new one.
func (n *node) peer(e *event) {
	from, w := int(e.from), &n.c.net
	switch e.number {
	case 2:
		if w.works(from, n.index) {
			return
		}
		fallthrough
	case 0:
		n.host.PeerLost(n.c.nodes[from-1].id)
	case 1:
		if o := n.c.nodes[from-1]; o.up && o.where.reaches(n.index) {
			n.where.claim(o) // its hello has its address
			n.host.PeerBack(n.c.nodes[from-1].id)
			n.host.PeerReached(n.c.nodes[from-1].id)
		}
	}
}

// silence plans that the node at the end of a cut link gives the connection up.
func (w *network) silence(l link) {
	n := w.c.nodes[l.to-1]
	if !n.up || n.dead {
		return
	}
	e := n.event(evPeer)
	e.from, e.number = int32(l.from), 2
	w.c.after(peerSilence, e)
}

// parted tells the others that a process has ended: its system closes what it
// had open. Without power nobody does.
func (n *node) parted() {
	for _, o := range n.c.nodes {
		if o != n && n.c.net.works(n.index, o.index) {
			n.c.net.lose(n.index, o.index, n.c.net.latency())
		}
	}
}

// greet connects a process that starts with the others, in both directions.
func (n *node) greet() {
	for _, o := range n.c.nodes {
		if o != n {
			n.c.net.dial(n.index, o.index)
			n.c.net.dial(o.index, n.index)
		}
	}
}

// terminate tells the process to stop: it hands over what it leads, then writes
// what is under way, closes its log, and ends.
func (n *node) terminate() {
	n.c.note(n.index, "is told to stop")
	n.stopBy = n.c.now + handOverMax
	n.c.after(0, n.event(evStop))
}

// stopping is one look at whether the leadership has gone.
func (n *node) stopping() {
	if left := n.host.HandOver(); left > 0 && n.c.now < n.stopBy {
		n.turn()
		n.c.after(handOverPause, n.event(evStop))
		return
	}
	n.closing = true
	if n.batch == nil {
		n.close()
	}
}

// close ends a process that was told to, once its last batch is on disk.
func (n *node) close() {
	n.arm()
	err := n.store.Close()
	if f := n.failing.what(); f != "" {
		n.diskFailed(f, err)
		return
	}
	if n.refusedBy(err) {
		n.stoppedReading(err)
		return
	}
	if err != nil {
		n.c.fail("n%d: the log does not close: %v", n.index, err)
	}
	n.c.note(n.index, "stops, as it was told")
	n.end(PowerKeep)
	if n.rotDue == ZeroTail {
		n.c.chaos.zeroTail(n)
	}
}
