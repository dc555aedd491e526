package sim

import (
	"math"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
)

// Lies of a member, or of a client that claims to be one: numbers at their extremes, in
// everything that a node takes from another. One lie can't be told from the truth, that
// there are two leaders: a replica that hears it stops, as it must.

// far returns a term that no replica reaches in a run, or that none can have.
func (c *chance) far(own uint64) uint64 {
	far := [...]uint64{own + raft.TermReach*16, raft.TermLimit / 2, raft.TermLimit - 1, raft.TermLimit, math.MaxUint64}
	return far[c.below(len(far))]
}

// most returns a number at its extreme.
func (c *chance) most() uint64 {
	most := [...]uint64{raft.IndexLimit, raft.TermLimit - 1, raft.TermLimit, math.MaxUint64}
	return most[c.below(len(most))]
}

// lie tells a node some of these lies, in the name of another node of the cluster.
// Afterwards its terms and votes must be what they were, and none of its replicas may
// have stopped.
func (x *chaos) lie() bool {
	c := x.c
	n, liar := c.nodes[c.chance.below(len(c.nodes))], c.nodes[c.chance.below(len(c.nodes))]
	if n == liar || !n.up || n.paused || n.dead || n.leave.closing {
		return false
	}
	before := n.host.View()
	if len(before) == 0 {
		return false
	}
	for range 1 + c.chance.below(8) {
		n.hearLie(liar.id, &before[c.chance.below(len(before))])
	}
	n.turn()
	if !n.up {
		return true
	}
	for _, v := range n.host.View() {
		for i := range before {
			was := &before[i]
			if was.Replica == v.Replica && (v.Status.Term != was.Status.Term || v.Status.Vote != was.Status.Vote || v.Stopped != was.Stopped) {
				c.fail("n%d believes a lie of n%d about %s: it was in term %d with vote %d, and is in term %d with vote %d, stopped: %q",
					n.index, liar.index, v.Replica, was.Status.Term, was.Status.Vote, v.Status.Term, v.Status.Vote, v.Stopped)
			}
		}
	}
	return true
}

// hearLie tells the node one lie about one group.
func (n *node) hearLie(from raft.NodeID, v *repl.GroupView) {
	rnd := &n.c.chance
	group, incarnation := v.Replica.Group, v.Replica.Incarnation
	sender := raft.ReplicaID(rnd.most())
	for _, m := range v.Status.Membership.Voters {
		if m.Node == from {
			sender = m.Replica
		}
	}
	own := v.Status.Term
	switch rnd.below(9) {
	case 0: // of another group, or of another life of it
		incarnation += raft.Incarnation(1 + rnd.next()%math.MaxUint32)
		fallthrough
	case 1, 2:
		e := &wire.Envelope{Group: group, Incarnation: incarnation, Mark: n.c.markOf(from), Message: raft.Message{
			Type: raft.MessageType(1 + rnd.below(int(raft.MsgQuiet))), From: sender, To: v.Replica.ID,
			Term: rnd.far(own), Log: v.Status.Last, Reject: rnd.below(2) == 0, Round: rnd.next()}}
		switch m := &e.Message; rnd.below(4) {
		case 0: // in the term of today, an index beyond any log
			m.Term = own
			m.Log.Index = rnd.most()
		case 1:
			m.Term, m.Commit = own, rnd.most()
		}
		n.host.Receive(from, e)
	case 3:
		b := &wire.Beat{Mark: n.c.markOf(from), Sequence: rnd.most(), Fullness: wire.Fullness(rnd.below(3))}
		b.Messages = []wire.BeatMessage{
			{Group: group, Incarnation: incarnation, From: sender, To: v.Replica.ID, Term: rnd.far(own), Round: rnd.next()},
			{Group: group, Incarnation: incarnation, From: sender, To: v.Replica.ID, Term: max(own, 1), Commit: rnd.most()},
			{Group: group, Incarnation: incarnation, From: sender, To: v.Replica.ID, Term: max(own, 1), Time: raft.TimeLimit + raft.GroupTime(rnd.next()>>2)},
		}
		b.Rests = []wire.Rest{{Group: group, Incarnation: incarnation, Leader: sender, Term: rnd.far(own)}}
		n.host.ReceiveBeat(from, b, rnd.below(2) == 0)
	case 4:
		n.host.ReceiveRepair(from, &wire.Repair{Start: rnd.most(), Number: rnd.most(), Group: group, Incarnation: incarnation,
			Wanted: []wire.RepairSpan{{First: 0, Last: rnd.most()}, {First: rnd.most(), Last: math.MaxUint64}}})
	case 5:
		id := raft.LogID{Term: rnd.far(own), Index: v.Status.Last.Index}
		n.host.ReceiveRepairAnswer(from, &wire.RepairAnswer{Start: n.start, Number: rnd.most(), Group: group, Incarnation: incarnation,
			Base: id, Last: id, Commit: rnd.most(), Snapshot: rnd.most()})
	case 6:
		n.host.ReceiveSnapshotRequest(from, &wire.SnapshotRequest{Start: rnd.most(), Number: rnd.most(), Group: group,
			Incarnation: incarnation, Replica: sender, Index: rnd.most()})
	case 7:
		// A life that does not exist, a batch that no log reaches, or a life whose number
		// would leave none for the real one.
		n.host.Receive(from, &wire.Envelope{Group: group, Incarnation: incarnation, Mark: rnd.next(), Batch: rnd.most(), Message: raft.Message{
			Type: raft.MsgVote, From: sender, To: v.Replica.ID, Term: own + 1, Log: v.Status.Last}})
		n.host.ReceiveBeat(from, &wire.Beat{Mark: n.c.markOf(from), Batch: rnd.most()}, false)
		n.host.ReceiveLifeQuestion(from, &wire.LifeQuestion{Number: rnd.most(), Standing: wire.StandingSettled, Batch: rnd.most(),
			Lives: []wire.LifeLink{{Number: rnd.most(), Mark: rnd.next() | 1, Last: rnd.most()}}})
	case 8:
		term := rnd.far(own)
		c := &wire.Chunk{Number: rnd.most(), Group: group, Incarnation: incarnation, From: sender, To: v.Replica.ID,
			Term: term, Base: raft.LogID{Term: term, Index: rnd.most()}, Size: rnd.most()}
		if have, why := n.host.WantsSnapshot(from, c); have || why == "" {
			n.c.fail("n%d wants a snapshot of %s that no replica can have", n.index, v.Replica)
		}
	}
}

// stopLeader stops the leading replica of a group at rest, while its node continues. The
// node is started again a while later.
func (x *chaos) stopLeader() bool {
	c := x.c
	first := c.chance.below(len(c.truth))
	for i := range c.truth {
		t := c.truth[(first+i)%len(c.truth)]
		if lead := c.restingLeader(t); lead != nil && c.sparesReplica(t, lead) {
			lead.haltLeader(t)
			if lead.up {
				c.after(c.chance.skewed(2*electionTimeout, time.Minute), lead.event(evCrash))
			}
			return true
		}
	}
	return false
}

// restingLeader returns the node that leads a group at rest, or nil.
func (c *cluster) restingLeader(t *truth) *node {
	n := c.leaderOf(t.group)
	if n == nil || n.dead || n.leave.closing || n.leave.by > 0 {
		return nil
	}
	for _, v := range n.host.View() {
		if v.Replica.Group == t.group && v.Status.Quiet {
			return n
		}
	}
	return nil
}

// sparesReplica reports whether the running replicas of a group are a majority without a
// node, in each membership that may be or come in force.
func (c *cluster) sparesReplica(t *truth, without *node) bool {
	for _, m := range t.possible() {
		for _, next := range toCome(m) {
			if !isQuorum(&next, func(o raft.Member) bool {
				n := c.nodes[o.Node-1]
				return n != without && n.up && !n.paused && !n.dead && !n.halted && !n.decay.hurt && !c.net.isolated(n.index)
			}) {
				return false
			}
		}
	}
	return true
}

// haltLeader tells the leader of a group that another replica leads in its term.
func (n *node) haltLeader(t *truth) {
	for _, v := range n.host.View() {
		if v.Replica.Group != t.group {
			continue
		}
		for _, m := range v.Status.Membership.Voters {
			if m.Node == n.id {
				continue
			}
			n.c.note(n.index, "its replica of group %d, which leads at rest, stops", t.group)
			n.halted = true
			n.host.ReceiveBeat(m.Node, &wire.Beat{Mark: n.c.markOf(m.Node), Messages: []wire.BeatMessage{{Group: t.group, Incarnation: v.Replica.Incarnation,
				From: m.Replica, To: v.Replica.ID, Term: v.Status.Term}}}, false)
			n.turn()
			return
		}
	}
}
