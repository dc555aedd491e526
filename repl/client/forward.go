package client

import (
	"slices"
	"time"
)

// Forwarding says when a client asks nodes to pass its requests on to the node that
// leads the group, instead of going there itself. A request that is passed on costs
// the cluster half as much again, and its client a little more time.
type Forwarding uint8

const (
	// ForwardWhenCut asks for it where the leader that the client was pointed at
	// can't be reached from where the client is. It goes there itself again as soon
	// as that can be.
	ForwardWhenCut Forwarding = iota
	// ForwardAlways sends all to the endpoints, to the first as long as it is
	// connected, and dials no other node: for a program beside one node, or one that
	// reaches no other.
	ForwardAlways
	// ForwardNever asks for it at no time.
	ForwardNever
)

// cutOff reports whether x can't be reached, as far as is known: it was dialled, in
// vain, and has not been reached since.
func (x *peer) cutOff() bool { return x.unreached && x.state != peerUp }

// around reports whether calls to the group have to go around its leader, or go to no
// leader in any case. Where nobody said who leads, it is one of the group's nodes, and may
// be cut off with all of them: a node that has no replica can't say.
func (k *peers) around(g *group) bool {
	switch {
	case k.forward == ForwardAlways:
		return true
	case k.forward == ForwardNever:
		return false
	case g.named == NoPeer:
		return len(g.nodes) > 0 && !slices.ContainsFunc(g.nodes, func(p Peer) bool { return !k.all[k.resolve(p)].cutOff() })
	}
	g.named = k.resolve(g.named)
	return k.all[g.named].cutOff()
}

// redialCut dials a peer that was down, if it has rested.
func (k *peers) redialCut(now time.Duration, p Peer) {
	if x := k.all[p]; x.state == peerDown && !x.resting(now) {
		k.dial(now, p)
	}
}

// passer picks the peer that is to pass on a call to the group, another one each turn;
// if there is none, NoPeer and until when. A leader that could not be reached, or where it
// is not known any that may lead, is dialled meanwhile, from time to time.
func (k *peers) passer(now time.Duration, g *group, turn int) (Peer, time.Duration) {
	if k.forward == ForwardAlways {
		p := k.anyUp(turn)
		if p == NoPeer {
			return NoPeer, k.dialOne(now)
		}
		return p, 0
	}
	if g.named != NoPeer {
		k.redialCut(now, g.named)
	}
	p, until := k.candidate(now, g.nodes, turn)
	if g.named == NoPeer && p != NoPeer {
		k.redialCut(now, p)
	}
	if p != NoPeer && p != g.named && k.all[p].state == peerUp {
		return p, 0
	}
	// No other node of the group is connected. Any may do: it passes the call on to
	// one that has a replica.
	if up := k.anyUp(turn); up != NoPeer {
		return up, 0
	}
	if p != NoPeer && p == g.named {
		return NoPeer, now + PauseMin
	}
	return p, max(until, now+PauseMin)
}
