package client

import (
	"fmt"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// PeerAt returns the peer at addr, a new one if none is known there; NoPeer if
// there are [PeerMax] already.
func (k *Core) PeerAt(addr string) Peer { return k.peers.at(addr) }

// Accepted says that the dial to p was accepted, and that the hello follows. It
// is no promise: what accepts a connection may be a muster that stands still,
// or none.
func (k *Core) Accepted(p Peer) {
	x := k.peers.all[p]
	x.accepting, x.accepted = true, true
}

// Connected says that p is up and that node id of the cluster answers there.
func (k *Core) Connected(now time.Duration, p Peer, id raft.NodeID, cluster uint64) {
	x := k.peers.all[p]
	x.cluster = cluster
	if k.peers.foreign(x) {
		k.rejectForeign(now, p)
		return
	}
	x.state, x.fails, x.refused, x.cause, x.met, x.said = peerUp, 0, false, nil, true, nil
	x.unreached = false
	k.peers.connected = true
	k.peers.crowd = false
	found := k.peers.identify(p, id)
	k.table.wanted = k.table.wanted || found.replaced
	if found.gone != NoPeer {
		k.table.replace(found.gone, found.stays)
		for _, c := range k.parked.matching(func(c *Call) bool { return c.on == onPeer && c.onPeer == found.gone }) {
			c.onPeer = found.stays
			k.parked.add(c, onPeer, c.wake)
		}
	}
	k.parkedOnPeer(now, p)
	if k.table.wanted {
		k.table.askAfter = now
		k.table.ask(now, &k.peers)
	}
	for _, c := range k.parked.matching(func(c *Call) bool {
		return c.on == onTable && (c.Target == ToAny || c.Target == ToMeta || k.config.Forward == ForwardAlways)
	}) {
		k.route(now, c)
	}
	k.follow.open(now, k)
}

func (k *Core) rejectForeign(now time.Duration, p Peer) {
	x := k.peers.all[p]
	k.todo.add(Action{Kind: ActHangUp, Peer: p})
	k.Disconnected(now, p, wire.WrongCluster("node at "+x.addr(),
		fmt.Sprintf("its cluster id is %016x, that of other endpoints %016x", x.cluster, k.peers.cluster),
		"give endpoints of one cluster"))
}

// Disconnected says that p could not be reached, refused us, or was lost. A nil
// err means that the connection was closed because nothing was asked for long.
func (k *Core) Disconnected(now time.Duration, p Peer, err error) {
	x := k.peers.all[p]
	wasUp := x.state == peerUp
	k.peers.lost(now, x, err)
	if wasUp && err != nil {
		k.table.replace(p, NoPeer)
	}
	if k.table.asked == p {
		k.TableFailed(now, p, err)
	}
	k.follow.lost(p)
	k.follow.open(now, k)
	k.parkedOnPeer(now, p)
	if err != nil && !k.peers.hopeful() {
		k.peers.dialAfter = now // the next peer need not wait for this one
		for _, c := range k.parked.matching(func(c *Call) bool { return c.on == onTable }) {
			k.route(now, c)
		}
	}
}

// parkedOnPeer routes the calls again that waited for p. A leader that could
// not be dialled leads for them no longer.
func (k *Core) parkedOnPeer(now time.Duration, p Peer) {
	if k.peers.all[p].state == peerDown {
		k.table.replace(p, NoPeer)
	}
	for _, c := range k.parked.matching(func(c *Call) bool { return c.on == onPeer && k.peers.resolve(c.onPeer) == k.peers.resolve(p) }) {
		if k.peers.all[p].cause != nil {
			c.cause = k.peers.all[p].cause
		}
		k.route(now, c)
	}
}
