package client

import (
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// peerState is where a peer stands.
//
//	idle      known, not connected.      Left by a dial.
//	dialling  ActDial is under way.      Left by Connected or Disconnected.
//	up        takes calls.               Left by Disconnected.
//	down      could not be had, rests until a time. Left by a dial after it.
type peerState uint8

const (
	peerIdle peerState = iota
	peerDialling
	peerUp
	peerDown
)

// peer is what the core knows of one node.
type peer struct {
	addrs []string // the ones that the user gave first
	turn  int      // which of addrs is dialled next
	id    raft.NodeID
	// same is another peer that turned out to be the same node; this one is
	// then only a name for it.
	same    Peer
	state   peerState
	until   time.Duration // Invariant: not dialled before, while down
	fails   int
	refused bool   // it will not have us: secret, cluster or version
	met     bool   // it was up once, so it is one of ours that may come back
	cluster uint64 // the id in its last hello; 0: it had none
	// said is what it answered last to a question that any node can answer,
	// where that was a refusal; nil once it has answered.
	said error
	// saidAt is when it said so, or was last found not to be had.
	saidAt time.Duration
	// accepting says that the dial under way was accepted; accepted says so of
	// it, or else of the one before.
	accepting, accepted bool
	cause               error
}

func (x *peer) resting(now time.Duration) bool { return x.state == peerDown && now < x.until }

func (x *peer) addr() string { return x.addrs[x.turn%len(x.addrs)] }

// PeerMax bounds the peers of one client: far more than a cluster has nodes,
// and a bound on what false hints can make it remember.
const PeerMax = 1024

// PeerAt returns the peer at addr, a new one if none is known there.
func (k *Core) PeerAt(addr string) Peer {
	for p, x := range k.peers {
		if slices.Contains(x.addrs, addr) {
			return k.resolve(Peer(p))
		}
	}
	return k.addPeer(addr)
}

func (k *Core) addPeer(addr string) Peer {
	if len(k.peers) >= PeerMax {
		return NoPeer
	}
	k.peers = append(k.peers, &peer{addrs: []string{addr}, same: NoPeer})
	return Peer(len(k.peers) - 1)
}

// resolve returns the peer that p is a name for.
func (k *Core) resolve(p Peer) Peer {
	for k.peers[p].same != NoPeer {
		p = k.peers[p].same
	}
	return p
}

// peerOf returns the peer of a node that a table or a hint names.
func (k *Core) peerOf(id raft.NodeID, addr string) Peer {
	p, ok := k.byID[id]
	if !ok || id == 0 {
		if addr == "" {
			return NoPeer
		}
		p = k.PeerAt(addr)
		if p == NoPeer {
			return NoPeer
		}
		// The peer at this address may be known as another node, which
		// then has moved away or was replaced; the hello will tell.
		if x := k.peers[p]; id != 0 && x.id == 0 {
			x.id = id
			k.byID[id] = p
		}
		return p
	}
	p = k.resolve(p)
	if x := k.peers[p]; addr != "" && !slices.Contains(x.addrs, addr) {
		// One given by the user stays first; an older one that was learnt
		// gives way.
		x.addrs = append(x.addrs[:min(len(x.addrs), addrsMax-1)], addr)
	}
	return p
}

// addrsMax bounds the addresses kept for one node.
const addrsMax = 4

func (k *Core) dial(now time.Duration, p Peer) {
	x := k.peers[p]
	x.state = peerDialling
	k.out = append(k.out, Action{Kind: ActDial, Peer: p, Addr: x.addr()})
}

// Accepted says that the dial to p was accepted, and that the hello follows. It
// is no promise: what accepts a connection may be a muster that stands still,
// or none.
func (k *Core) Accepted(p Peer) {
	x := k.peers[p]
	x.accepting, x.accepted = true, true
}

// Connected says that p is up and that node id of the cluster answers there.
func (k *Core) Connected(now time.Duration, p Peer, id raft.NodeID, cluster uint64) {
	x := k.peers[p]
	x.cluster = cluster
	if k.isForeign(x) {
		k.rejectForeign(now, p)
		return
	}
	x.state, x.fails, x.refused, x.cause, x.met, x.said = peerUp, 0, false, nil, true, nil
	k.connected = true
	k.identify(p, id)
	k.parkedOnPeer(now, p)
	if k.wanted {
		k.askAfter = now
		k.ask(now)
	}
	for _, c := range k.parked.matching(func(c *Call) bool { return c.on == onTable && c.Target == ToAny }) {
		k.route(now, c)
	}
}

// isForeign reports whether x is known to be of another cluster than the one
// whose table the core has. Before there is a table, nobody is: whoever says
// hello first may be the one endpoint that does not belong to the others, and
// may have nothing to tell.
func (k *Core) isForeign(x *peer) bool {
	return k.cluster != 0 && x.cluster != 0 && x.cluster != k.cluster
}

func (k *Core) rejectForeign(now time.Duration, p Peer) {
	x := k.peers[p]
	k.out = append(k.out, Action{Kind: ActHangUp, Peer: p})
	k.Disconnected(now, p, wire.WrongCluster("node at "+x.addr(),
		fmt.Sprintf("its cluster id is %016x, that of other endpoints %016x", x.cluster, k.cluster),
		"give endpoints of one cluster"))
}

// identify notes which node answered at p, and folds peers that are the same.
func (k *Core) identify(p Peer, id raft.NodeID) {
	x := k.peers[p]
	if id == 0 || x.id == id {
		return
	}
	if x.id != 0 {
		// Another node lives there now than we were told.
		if k.byID[x.id] == p {
			delete(k.byID, x.id)
		}
		k.wanted = true
	}
	x.id = id
	other, ok := k.byID[id]
	if !ok {
		k.byID[id] = p
		return
	}
	other = k.resolve(other)
	if other == p {
		return
	}
	// p is connected, so p stays and the other becomes a name for it; unless
	// that one is connected too: then this connection is one too many, but
	// carries what is already on it to its end.
	if k.peers[other].state == peerUp {
		k.fold(p, other)
		return
	}
	k.byID[id] = p
	k.fold(other, p)
}

// fold makes gone a name for stays.
func (k *Core) fold(gone, stays Peer) {
	g, s := k.peers[gone], k.peers[stays]
	g.same = stays
	for _, a := range g.addrs {
		if !slices.Contains(s.addrs, a) && len(s.addrs) < addrsMax {
			s.addrs = append(s.addrs, a)
		}
	}
	for _, x := range k.groups {
		if x.leader == gone {
			x.leader = stays
			k.routes = nil
		}
	}
	for _, c := range k.parked.matching(func(c *Call) bool { return c.on == onPeer && c.onPeer == gone }) {
		c.onPeer = stays
		k.parked.add(c, onPeer, c.wake)
	}
}

// Disconnected says that p could not be reached, refused us, or was lost. A nil
// err means that the connection was closed because nothing was asked for long.
func (k *Core) Disconnected(now time.Duration, p Peer, err error) {
	x := k.peers[p]
	lost := x.state == peerUp
	if x.state == peerDialling {
		x.accepted = x.accepting
	}
	x.accepting = false
	switch {
	case err == nil:
		x.state = peerIdle
	default:
		x.cause, x.saidAt = err, now
		x.refused = refuses(err)
		x.turn++
		x.state = peerDown
		// A connection that was lost is tried again at once: most often it
		// is a node that was started again.
		x.until = now
		if !lost {
			x.until = now + k.redial(x)
		}
		x.fails++
	}
	if lost {
		for _, g := range k.groups {
			if g.leader == p && err != nil {
				g.leader = NoPeer
				k.routes = nil
			}
		}
	}
	if k.asked == p {
		k.TableFailed(now, p, err)
	}
	k.parkedOnPeer(now, p)
	if err != nil && !k.hopeful() {
		k.dialAfter = now // the next peer need not wait for this one
		for _, c := range k.parked.matching(func(c *Call) bool { return c.on == onTable }) {
			k.route(now, c)
		}
	}
}

// redial returns how long x rests after it could not be had.
func (k *Core) redial(x *peer) time.Duration {
	if x.refused {
		return RedialMax
	}
	d := min(PauseMin<<min(x.fails, 10), RedialMax)
	return d/2 + k.random(d/2+1)
}

// parkedOnPeer routes the calls again that waited for p. A leader that could
// not be dialled leads for them no longer.
func (k *Core) parkedOnPeer(now time.Duration, p Peer) {
	if k.peers[p].state == peerDown {
		for _, g := range k.groups {
			if g.leader == p {
				g.leader = NoPeer
				k.routes = nil
			}
		}
	}
	for _, c := range k.parked.matching(func(c *Call) bool { return c.on == onPeer && k.resolve(c.onPeer) == k.resolve(p) }) {
		if k.peers[p].cause != nil {
			c.cause = k.peers[p].cause
		}
		k.route(now, c)
	}
}
