package client

import (
	"errors"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Refused says that peer from answered c with e: this attempt was not applied,
// unless e says otherwise.
func (k *Core) Refused(now time.Duration, c *Call, from Peer, e *wire.Error) {
	k.adopt(now, c)
	from = k.peers.resolve(from)
	c.turn++
	c.cause = e
	switch c.Target {
	case ToPeer:
		k.refusedByOnly(now, c, e)
		return
	case ToAny:
		k.refusedByOne(now, c, from, e)
		return
	case ToMeta:
		k.meta.refused(now, c, from, e)
		return
	}
	switch e.Code {
	case wire.CodeNotLeader:
		k.notLeader(now, c, from, e)
		return
	case wire.CodeLevel:
		if c.Needs != 0 && k.table.level >= c.Needs {
			k.againAfter(now, c, e) // its copy of the table is behind
			return
		}
	case wire.CodeMaybeApplied:
		if c.Write {
			c.Maybe = true
		}
		k.again(now, c)
		return
	case wire.CodeUnavailable, wire.CodeNotReady:
		// It said "later, here"; but where it has lost the others, one of
		// them may lead by now, and knows.
		k.table.unlead(c, from)
		k.again(now, c)
		return
	}
	switch e.Retry() {
	case wire.RetrySameNode:
		k.againAfter(now, c, e)
	case wire.RetryOtherNode:
		k.table.unlead(c, from)
		k.again(now, c)
	case wire.RetryRefresh:
		k.moved(now, c, e)
	default:
		k.todo.finish(c, e)
	}
}

// refusedByOnly handles the refusal of the only node that may answer c. It is
// asked again if it is merely busy, or behind.
func (k *Core) refusedByOnly(now time.Duration, c *Call, e *wire.Error) {
	if e.Retry() == wire.RetrySameNode && !lasts(e, c) {
		k.againAfter(now, c, e)
		return
	}
	if e.Retry() == wire.RetryRefresh && c.Group != 0 && k.table.level >= shardmap.MovesLevel {
		k.moved(now, c, e) // it is of slots, by a plan
		return
	}
	if e.Retry() == wire.RetryRefresh {
		k.againAfter(now, c, e) // its copy of the slot's new group has yet to catch up
		return
	}
	if e.Code == wire.CodeUnavailable && !c.Write {
		k.todo.finish(c, noRead(e.Object, e))
		return
	}
	k.todo.finish(c, e)
}

// notLeader follows the hint, if there is a new one.
func (k *Core) notLeader(now time.Duration, c *Call, from Peer, e *wire.Error) {
	if k.config.Forward == ForwardAlways {
		k.again(now, c) // whom it hints at is not dialled from here
		return
	}
	group := k.table.groupOf(c)
	if c.Target == ToGroup && e.Group != 0 && e.Group != group {
		// By the node's table what c is about is of another group. Its caller planned by ours.
		k.table.want(now, &k.peers)
		k.todo.finish(c, &wire.Error{Code: wire.CodeMoved, Object: "group " + group.String(), Text: "another group owns its slots",
			State: "by the table of a node, group " + e.Group.String(), Next: "fetch the topology, then ask that one"})
		return
	}
	c.told = 0
	if e.Group != 0 && e.Group != group && c.Target == ToSlot {
		// The node's table and ours give the slot to different groups, and what it says is of
		// its own. It may be behind us or ahead: it is followed once, and a table will tell.
		group, c.told = e.Group, e.Group
		k.table.want(now, &k.peers)
		if c.pauses > 0 {
			k.table.unleadGroup(c.asked, from)
		}
	}
	k.table.unleadGroup(group, from)
	hint := NoPeer
	if e.LeaderNode != 0 || e.LeaderAddr != "" {
		hint = k.peers.named(e.LeaderNode, e.LeaderAddr)
	}
	if hint == NoPeer || hint == from || c.hops >= HopsMax || c.Target > ToGroup {
		k.again(now, c)
		return
	}
	c.hops++
	k.lead(now, group, hint)
	k.route(now, c)
}

// again tries another replica after a pause, or at once where the leader
// becomes known.
func (k *Core) again(now time.Duration, c *Call) {
	on := onGroup
	if c.pauses%4 == 3 {
		k.table.want(now, &k.peers) // perhaps the group has other replicas by now
	}
	if c.hops >= HopsMax {
		on = onTime // the hints went in a circle; a further one wakes nobody
	}
	k.park(c, on, now+k.Scouts.pause(now, c, k.chance.pause(c)))
}

// againAfter tries the same node again when it said, or later.
func (k *Core) againAfter(now time.Duration, c *Call, e *wire.Error) {
	wait := k.chance.pause(c)
	if after := time.Duration(e.RetryAfterMs) * time.Millisecond; after > wait {
		wait = min(after, RedialMax) + k.chance.below(PauseMin)
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
	c.cause, c.hops, c.told = cause, 0, 0
	if c.Target == ToMeta && c.Write {
		k.expire(c)
		return
	}
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

// Progressed says that the attempt of a stream that is about to be handed in, by
// Refused or Lost, brought something: what comes after it is a first attempt, with all
// the time that there is.
func (c *Call) Progressed(now time.Duration) {
	c.pauses, c.hops, c.Deadline = 0, 0, now+RetryMax
}

// Unsent says that an ActSend could not be carried out: from is not connected
// any more.
func (k *Core) Unsent(now time.Duration, c *Call, from Peer) {
	k.adopt(now, c)
	if k.peers.all[k.peers.resolve(from)].state == peerUp {
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
	k.park(c, onTime, min(now+k.chance.pause(c), max(now, c.Deadline)))
}

// lead notes that p leads the group, and sends there what waits for a leader, or
// for a connection to one that led before.
func (k *Core) lead(now time.Duration, id raft.GroupID, p Peer) {
	if !k.table.lead(id, p) {
		return
	}
	for _, c := range k.parked.matching(func(c *Call) bool {
		waits := c.on == onGroup || c.on == onPeer && c.onPeer != p
		return waits && c.Target <= ToGroup && k.table.groupOf(c) == id
	}) {
		k.route(now, c)
	}
}

// Table hands in what peer from, who was asked, knows of the cluster.
func (k *Core) Table(now time.Duration, from Peer, t *wire.TopologyAnswer) {
	if k.table.asked != from {
		return
	}
	if k.peers.cluster != 0 && t.ClusterID != 0 && t.ClusterID != k.peers.cluster {
		k.TableFailed(now, from, errForeignTable)
		return
	}
	if k.table.known && t.Index < k.table.index {
		k.TableFailed(now, from, errOldTable)
		return
	}
	k.table.answered()
	k.table.take(now, k, from, t)
}

// take takes what peer from knows for what is known from now on, and routes by it what has
// waited for that.
func (t *table) take(now time.Duration, k *Core, from Peer, a *wire.TopologyAnswer) {
	k.peers.all[from].said = nil
	// Which cluster is meant is known only now. Endpoints of another one are
	// rejected once the table is in place, so that what waits for them is routed
	// by it.
	first := k.peers.cluster == 0 && a.ClusterID != 0
	if first {
		k.peers.cluster = a.ClusterID
	}
	t.install(now, a, &k.peers)
	if first {
		for p, x := range k.peers.all {
			if x.state == peerUp && k.peers.foreign(x) {
				k.rejectForeign(now, Peer(p))
			}
		}
	}
	for _, c := range k.parked.matching(func(c *Call) bool {
		return c.on == onTable || c.on == onGroup && t.leaderOf(c) != NoPeer || t.knows(c)
	}) {
		k.route(now, c)
	}
	k.follow.open(now, k)
}

var errOldTable = errors.New("the table is older than ours")
