package client

import (
	"errors"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// Refused says that peer from answered c with e: this attempt was not applied,
// unless e says otherwise.
func (k *Core) Refused(now time.Duration, c *Call, from Peer, e *wire.Error) {
	k.adopt(now, c)
	from = k.resolve(from)
	c.turn++
	c.cause = e
	switch c.Target {
	case ToPeer:
		k.refusedByOnly(now, c, e)
		return
	case ToAny:
		k.refusedByOne(now, c, from, e)
		return
	}
	switch e.Code {
	case wire.CodeNotLeader:
		k.notLeader(now, c, from, e)
		return
	case wire.CodeMaybeApplied:
		if c.Write {
			c.Maybe = true
		}
		k.again(now, c)
		return
	case wire.CodeUnavailable, wire.CodeNotReady:
		// It said "later, here"; but where it has lost the others, one of
		// them may lead by now, and knows.
		k.unlead(c, from)
		k.again(now, c)
		return
	}
	switch e.Retry() {
	case wire.RetrySameNode:
		k.againAfter(now, c, e)
	case wire.RetryOtherNode:
		k.unlead(c, from)
		k.again(now, c)
	case wire.RetryRefresh:
		k.moved(now, c, e)
	default:
		k.finish(c, e)
	}
}

// refusedByOnly handles the refusal of the only node that may answer c. It is
// asked again if it is merely busy.
func (k *Core) refusedByOnly(now time.Duration, c *Call, e *wire.Error) {
	if e.Retry() == wire.RetrySameNode && !lasts(e, c) {
		k.againAfter(now, c, e)
		return
	}
	if e.Code == wire.CodeUnavailable && !c.Write {
		k.finish(c, noRead(e.Object, e))
		return
	}
	k.finish(c, e)
}

// notLeader follows the hint, if there is a new one.
func (k *Core) notLeader(now time.Duration, c *Call, from Peer, e *wire.Error) {
	k.unlead(c, from)
	hint := NoPeer
	if e.LeaderNode != 0 || e.LeaderAddr != "" {
		hint = k.peerOf(e.LeaderNode, e.LeaderAddr)
	}
	if hint == NoPeer || hint == from || c.hops >= HopsMax || c.Target > ToGroup {
		k.again(now, c)
		return
	}
	c.hops++
	k.lead(now, k.groupOf(c), hint)
	k.route(now, c)
}

// moved gets a newer table first. A call that was planned by the old one ends:
// its caller plans again.
func (k *Core) moved(now time.Duration, c *Call, e *wire.Error) {
	if e.Epoch > k.epoch {
		k.wantTable(now)
	}
	if c.Target == ToGroup {
		k.finish(c, e)
		return
	}
	on := onTable
	if e.Epoch <= k.epoch {
		on = onTime // the node is behind us; it will catch up
	}
	k.park(c, on, now+k.pause(c))
}

// again tries another replica after a pause, or at once where the leader
// becomes known.
func (k *Core) again(now time.Duration, c *Call) {
	on := onGroup
	if c.pauses%4 == 3 {
		k.wantTable(now) // perhaps the group has other replicas by now
	}
	if c.hops >= HopsMax {
		on = onTime // the hints went in a circle; a further one wakes nobody
	}
	k.park(c, on, now+k.pause(c))
}

// againAfter tries the same node again when it said, or later.
func (k *Core) againAfter(now time.Duration, c *Call, e *wire.Error) {
	wait := k.pause(c)
	if after := time.Duration(e.RetryAfterMs) * time.Millisecond; after > wait {
		wait = min(after, RedialMax) + k.random(PauseMin)
	}
	k.park(c, onTime, now+wait)
}

// Lost says that the connection to from ended before it answered c.
func (k *Core) Lost(now time.Duration, c *Call, from Peer, cause error) {
	k.adopt(now, c)
	if c.Write && !bug("lost request taken for refused") {
		c.Maybe = true
	}
	c.turn++
	c.cause, c.hops = cause, 0
	// At once the first time: most often another node leads by now or will
	// soon. If it is this very request that ends connections, the pauses
	// keep it from doing so all the time.
	if c.pauses == 0 {
		c.pauses++
		k.route(now, c)
		return
	}
	k.again(now, c)
}

// Unsent says that an ActSend could not be carried out: from is not connected
// any more.
func (k *Core) Unsent(now time.Duration, c *Call, from Peer) {
	k.adopt(now, c)
	if k.peers[k.resolve(from)].state == peerUp {
		// The connection is ending, and Disconnected not yet here; or there
		// is one already, and the call came in between.
		k.park(c, onTime, now+PauseMin/8)
		return
	}
	k.route(now, c)
}

// Crowded says that c was not sent, for its node has as much to do as it can
// answer in time. It tries again a few times a second: the calls that wait so
// are many, and each try takes its time from those that are answered.
func (k *Core) Crowded(now time.Duration, c *Call) {
	k.adopt(now, c)
	c.cause = errCrowded
	c.pauses = min(max(c.pauses, crowdedPauses), crowdedPausesMax)
	k.park(c, onTime, min(now+k.pause(c), max(now, c.Deadline)))
}

// lead notes that p leads the group, and sends there what waits for a leader, or
// for a connection to one that led before.
func (k *Core) lead(now time.Duration, id raft.GroupID, p Peer) {
	g := k.groups[id]
	if g == nil || g.leader == p {
		return
	}
	g.leader = p
	k.routes = nil
	for _, c := range k.parked.matching(func(c *Call) bool {
		waits := c.on == onGroup || c.on == onPeer && c.onPeer != p
		return waits && c.Target <= ToGroup && k.groupOf(c) == id
	}) {
		k.route(now, c)
	}
}

// unlead notes that p does not lead the group that c is for, if it is for one.
func (k *Core) unlead(c *Call, p Peer) {
	if c.Target > ToGroup {
		return
	}
	if g := k.groups[k.groupOf(c)]; g != nil && g.leader == p {
		g.leader = NoPeer
		k.routes = nil
	}
}

// Table hands in what peer from knows of the cluster.
func (k *Core) Table(now time.Duration, from Peer, t *wire.TopologyAnswer) {
	if k.asked != from {
		return
	}
	if k.cluster != 0 && t.ClusterID != 0 && t.ClusterID != k.cluster {
		k.TableFailed(now, from, errForeignTable)
		return
	}
	if k.known && t.Epoch < k.epoch {
		k.TableFailed(now, from, errOldTable)
		return
	}
	k.asked, k.wanted, k.askFails, k.tableCause = NoPeer, false, 0, nil
	k.askAfter = now + TablePauseMin
	k.known, k.epoch, k.routes = true, t.Epoch, nil
	k.peers[from].said = nil
	if k.cluster == 0 && t.ClusterID != 0 {
		k.cluster = t.ClusterID
		for p, x := range k.peers {
			if x.state == peerUp && k.isForeign(x) {
				k.rejectForeign(now, Peer(p))
			}
		}
	}
	if t.ValueMax > 0 {
		k.valueMax = int(t.ValueMax)
	}
	for _, n := range t.Nodes {
		k.peerOf(n.ID, n.Addr)
	}
	groups := make(map[raft.GroupID]*group, len(t.Groups))
	for _, x := range t.Groups {
		g := &group{leader: NoPeer}
		if old := k.groups[x.ID]; old != nil {
			g.leader = old.leader
		}
		for _, id := range x.Nodes {
			if p, ok := k.byID[id]; ok {
				g.nodes = append(g.nodes, k.resolve(p))
			}
		}
		// A leader that we know from its answers or from a hint is newer
		// than what a node has heard.
		if p, ok := k.byID[x.Leader]; ok && x.Leader != 0 && (g.leader == NoPeer || k.peers[g.leader].state == peerDown) {
			g.leader = k.resolve(p)
		}
		groups[x.ID] = g
	}
	k.groups = groups
	clear(k.slots[:])
	for _, r := range t.Slots {
		for s := int(r.From); s <= int(r.To) && s < len(k.slots); s++ {
			k.slots[s] = r.Group
		}
	}
	for _, c := range k.parked.matching(func(c *Call) bool {
		return c.on == onTable || c.on == onGroup && k.leaderOf(c) != NoPeer
	}) {
		k.route(now, c)
	}
}

// leaderOf returns the leader of c's group as far as is known.
func (k *Core) leaderOf(c *Call) Peer {
	if g := k.groups[k.groupOf(c)]; g != nil {
		return g.leader
	}
	return NoPeer
}

var errOldTable = errors.New("the table is older than ours")
