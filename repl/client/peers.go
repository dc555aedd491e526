package client

import (
	"slices"
	"time"

	"muster/raft"
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

// peer is what is known of one node.
type peer struct {
	addrs []string // the ones that the user gave first
	turn  int      // which of addrs is dialled next
	id    raft.NodeID
	// same is another peer that turned out to be the same node; this one is
	// then only a name for it.
	same      Peer
	state     peerState
	until     time.Duration // Invariant: not dialled before, while down
	fails     int
	unreached bool   // the last dial failed, and it was not connected since
	refused   bool   // it will not have us: secret, cluster or version
	vacant    int    // dials, the last ones in a row, that found nothing listening at the address
	met       bool   // it was up once, so it is one of ours that may come back
	cluster   uint64 // the id in its last hello; 0: it had none
	// said is what it answered last to a question that any node can answer,
	// where that was a refusal; nil once it has answered.
	said error
	// saidAt is when it said so, or was last found not to be had.
	saidAt time.Duration
	// accepting says that the dial under way was accepted; accepted says so of
	// it, or else of the one before.
	accepting, accepted bool
	dialled             time.Duration // when the last dial began
	cause               error
}

func (x *peer) resting(now time.Duration) bool { return x.state == peerDown && now < x.until }

// nobodyThere reports whether nothing listens at any of its addresses, as found since a call began, or right before.
func (x *peer) nobodyThere(now, begun time.Duration) bool {
	return x.state == peerDown && x.vacant >= len(x.addrs) && (x.saidAt >= begun || now < x.saidAt+VacantFresh)
}

func (x *peer) addr() string { return x.addrs[x.turn%len(x.addrs)] }

const (
	// PeerMax bounds the peers of one client: far more than a cluster has nodes,
	// and a bound on what false hints can make it remember.
	PeerMax = 1024
	// addrsMax bounds the addresses kept for one node.
	addrsMax = 4
)

// peers are the nodes that a client knows, and how it stands with each: whom it
// can reach, whom it dials next, and which of them are one node under two
// addresses. It knows nothing of groups, nor of calls that wait.
type peers struct {
	// Set once.
	endpoints    []string // that the user named; the first of all are they, in this order
	forward      Forwarding
	helloStagger time.Duration
	todo         *actions
	chance       *chance

	all       []*peer
	byID      map[raft.NodeID]Peer
	cluster   uint64        // the id of the cluster that they are of; 0 until a table says it
	connected bool          // some peer was up once, in this client's life
	dialAfter time.Duration // no further peer is dialled just to have one before
	crowd     bool          // one that had accepted a connection had no time for its hello, and none was up since
}

func newPeers(endpoints []string, todo *actions, chance *chance) peers {
	k := peers{endpoints: endpoints, todo: todo, chance: chance, byID: make(map[raft.NodeID]Peer)}
	for _, addr := range endpoints {
		k.add(addr)
	}
	return k
}

// at returns the peer at addr, a new one if none is known there; NoPeer if there
// are [PeerMax] already.
func (k *peers) at(addr string) Peer {
	for p, x := range k.all {
		if slices.Contains(x.addrs, addr) {
			return k.resolve(Peer(p))
		}
	}
	return k.add(addr)
}

func (k *peers) add(addr string) Peer {
	if len(k.all) >= PeerMax {
		return NoPeer
	}
	k.all = append(k.all, &peer{addrs: []string{addr}, same: NoPeer})
	return Peer(len(k.all) - 1)
}

// resolve returns the peer that p is a name for.
func (k *peers) resolve(p Peer) Peer {
	for k.all[p].same != NoPeer {
		p = k.all[p].same
	}
	return p
}

// named returns the peer of a node that a table or a hint names.
func (k *peers) named(id raft.NodeID, addr string) Peer {
	p, ok := k.byID[id]
	if !ok || id == 0 {
		if addr == "" {
			return NoPeer
		}
		p = k.at(addr)
		if p == NoPeer {
			return NoPeer
		}
		// The peer at this address may be known as another node, which
		// then has moved away or was replaced; the hello will tell.
		if x := k.all[p]; id != 0 && x.id == 0 {
			x.id = id
			k.byID[id] = p
		}
		return p
	}
	p = k.resolve(p)
	if x := k.all[p]; addr != "" && !slices.Contains(x.addrs, addr) {
		// One given by the user stays first; an older one that was learnt
		// gives way.
		x.addrs = append(x.addrs[:min(len(x.addrs), addrsMax-1)], addr)
	}
	return p
}

// foreign reports whether x is known to be of another cluster than the one whose
// table the client has. Before there is a table, nobody is: whoever says hello
// first may be the one endpoint that does not belong to the others, and may have
// nothing to tell.
func (k *peers) foreign(x *peer) bool {
	return k.cluster != 0 && x.cluster != 0 && x.cluster != k.cluster
}

// identity is what a hello told of the node at a peer.
type identity struct {
	replaced bool // another node lives there now than was told
	// gone turned out to be the same node as stays, and is a name for it from now
	// on; both are NoPeer if none did.
	gone, stays Peer
}

// identify notes which node answered at p, and folds peers that are the same.
func (k *peers) identify(p Peer, id raft.NodeID) (found identity) {
	found.gone, found.stays = NoPeer, NoPeer
	x := k.all[p]
	if id == 0 || x.id == id {
		return found
	}
	if x.id != 0 {
		if k.byID[x.id] == p {
			delete(k.byID, x.id)
		}
		found.replaced = true
	}
	x.id = id
	other, ok := k.byID[id]
	if !ok {
		k.byID[id] = p
		return found
	}
	other = k.resolve(other)
	if other == p {
		return found
	}
	// p is connected, so p stays and the other becomes a name for it; unless
	// that one is connected too: then this connection is one too many, but
	// carries what is already on it to its end.
	found.gone, found.stays = other, p
	if k.all[other].state == peerUp {
		found.gone, found.stays = p, other
	} else {
		k.byID[id] = p
	}
	g, s := k.all[found.gone], k.all[found.stays]
	g.same = found.stays
	for _, a := range g.addrs {
		if !slices.Contains(s.addrs, a) && len(s.addrs) < addrsMax {
			s.addrs = append(s.addrs, a)
		}
	}
	return found
}

// lost notes that x could not be had, refused us, or was lost, by err; nil if
// nothing was asked for long.
func (k *peers) lost(now time.Duration, x *peer, err error) {
	wasUp := x.state == peerUp
	if x.state == peerDialling {
		x.accepted = x.accepting
		k.crowd = k.crowd || x.accepted && refusalOf(err) == nil
	}
	x.accepting = false
	if err == nil {
		x.state = peerIdle
		return
	}
	x.cause, x.saidAt = err, now
	x.refused = refuses(err)
	if x.vacant++; wasUp || !nobodyListens(err) {
		x.vacant = 0
	}
	x.turn++
	x.state = peerDown
	// A connection that was lost is tried again at once: most often it is a
	// node that was started again.
	x.until = now
	if !wasUp {
		x.until = now + k.redial(x)
		x.unreached = true
	}
	x.fails++
}

// redial returns how long x rests after it could not be had.
func (k *peers) redial(x *peer) time.Duration {
	if x.refused {
		return RedialMax
	}
	d := redialPause(x.fails)
	return d/2 + k.chance.below(d/2+1)
}

// redialPause doubles with each failure, from PauseMin to RedialMax.
func redialPause(fails int) time.Duration {
	const doublings = 10 // enough to reach RedialMax, too few to overflow
	return min(PauseMin<<min(fails, doublings), RedialMax)
}

func (k *peers) dial(now time.Duration, p Peer) {
	x := k.all[p]
	x.state, x.dialled = peerDialling, now
	k.todo.add(Action{Kind: ActDial, Peer: p, Addr: x.addr()})
}

// dialOne dials the next peer that may be had, so that there is one; not more
// than one within [DialStagger], and none while another one is given time for its
// hello. It returns when to look again.
func (k *peers) dialOne(now time.Duration) time.Duration {
	if now < k.dialAfter {
		return k.dialAfter
	}
	again := now + DialStagger
	for p, x := range k.all {
		if !k.free(Peer(p)) || x.state != peerIdle && x.state != peerDown {
			continue
		}
		at := k.helloUntil(x)
		if x.state == peerDown {
			at = max(at, x.until)
		}
		if at <= now {
			k.dial(now, Peer(p))
			k.dialAfter = now + DialStagger
			return k.dialAfter
		}
		again = min(again, at)
	}
	return max(again, now+PauseMin/2)
}

// helloUntil returns until when those that have accepted a connection are given time for their hello
// ([Config.HelloStagger]) before next is dialled too; 0 if that need not wait. One that has failed more often than next,
// or was lost since next was, is not waited for: it may stand still. After a hello for which there was no time, the
// next ones have twice as long: most likely many clients have come at once, and further dials make it worse.
func (k *peers) helloUntil(next *peer) (until time.Duration) {
	stagger := k.helloStagger
	if stagger == 0 {
		return 0
	}
	if k.crowd {
		stagger *= 2
	}
	for _, x := range k.all {
		if x.state == peerDialling && x.accepting && x.fails <= next.fails {
			until = max(until, x.dialled+stagger)
		}
	}
	return until
}

// free reports whether p may be asked what any node can answer.
func (k *peers) free(p Peer) bool {
	if k.all[p].same != NoPeer {
		return false // only a name for another
	}
	if k.forward != ForwardAlways || int(p) < k.endpointCount() {
		return true
	}
	for i := range k.endpointCount() {
		if k.resolve(Peer(i)) == p {
			return true
		}
	}
	return false
}

// dialOther dials one more peer if none that is connected is of use. It need not
// wait for those.
func (k *peers) dialOther(now time.Duration) {
	if !k.hopeful() {
		k.dialAfter = min(k.dialAfter, now)
		k.dialOne(now)
	}
}

// hopeful reports whether a peer is connected that may yet be of use.
func (k *peers) hopeful() bool {
	for _, x := range k.all {
		if x.state == peerUp && x.same == NoPeer && x.said == nil {
			return true
		}
	}
	return false
}

// anyUp returns a peer that is connected, another one each turn.
func (k *peers) anyUp(turn int) Peer {
	ups := 0
	for p, x := range k.all {
		if x.state == peerUp && k.free(Peer(p)) {
			ups++
		}
	}
	if ups == 0 {
		return NoPeer
	}
	nth := turn % ups
	for p, x := range k.all {
		if x.state == peerUp && k.free(Peer(p)) {
			if nth == 0 {
				return Peer(p)
			}
			nth--
		}
	}
	panic("client: a peer vanished")
}

// candidate picks one of the nodes of a group whose leader is not known: those
// that are connected first, another one each turn. From the second turn on it
// also connects to one more: the first may know nobody. If all are resting it
// returns NoPeer and until when.
func (k *peers) candidate(now time.Duration, nodes []Peer, turn int) (Peer, time.Duration) {
	ups, idle := make([]Peer, 0, 8), NoPeer
	until, rests := time.Duration(0), false
	for i := range nodes {
		p := k.resolve(nodes[(turn+i)%len(nodes)])
		switch x := k.all[p]; {
		case x.state == peerUp:
			ups = append(ups, p)
		case x.resting(now):
			if !rests || x.until < until {
				until, rests = x.until, true
			}
		case idle == NoPeer:
			idle = p
		}
	}
	if len(ups) == 0 {
		if idle == NoPeer && !rests {
			until = now + PauseMax // a group without nodes: a newer table may help
		}
		return idle, until
	}
	if idle != NoPeer && turn > 0 && k.all[idle].state != peerDialling {
		k.dial(now, idle)
	}
	slices.Sort(ups) // so that turns take one after the other
	return ups[turn%len(ups)], 0
}
