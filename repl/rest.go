package repl

import (
	"muster/raft"
	"muster/repl/wire"
)

// Groups that rest, and on whose word
//
// A group that rests has no heartbeats of its own, and its followers count no
// ticks. Heartbeats of the leader's node say nothing about the leader: the
// node continues to send them when that one replica has stopped, was found
// damaged, was removed, or follows since its process restarted. So a
// leader's node also names the groups that it leads at rest, all of them
// in turn, some with each heartbeat. A follower rests for as long as its group is
// named:
//
//   - A group that is not named for an election timeout has no leader at rest,
//     whatever became of it. The follower treats the leader as lost, as if the
//     connection to it had closed. That is a hint: the others are asked, and the
//     question wakes a leader that lives.
//   - A node that has restarted leads nothing. It introduces itself (lives.go),
//     and its followers need not wait until its word runs out.
//
// A node that names a group wrongly, or under another term, keeps no follower at
// rest: replica, incarnation and term must be those on which the follower rests.
// A node can lie about a group that it really led; then the group lacks a leader
// until somebody asks something of it.

// resting is whether a group rests, and on whose word.
type resting struct {
	group *group
	quiet bool // no ticks are needed, see [raft.Group.Quiet]
	// vouchedAt is the tick when the leader's node last said that the group
	// rests, or the rest began.
	vouchedAt uint64
}

// vouchesPerTimeout is how often a group that rests is named in an election
// timeout: as many heartbeats, less one, may be lost before it wakes for
// nothing. Naming costs some ten bytes for each group and time.
const vouchesPerTimeout = 4

// vouching is the position in the turn by which a node learns which groups rest.
type vouching struct {
	next int    // of the host's groups
	last uint64 // the tick of the last part
}

// vouchFor adds the groups that are next to be named to a node.
func (a *heartbeats) vouchFor(n raft.NodeID, v *vouching, rests []wire.Rest) []wire.Rest {
	passed := int(a.host.ticks - v.last)
	if uint64(passed) < a.ticks() {
		return rests
	}
	v.last = a.host.ticks
	all, round := len(a.host.order), max(a.host.cfg.ElectionTicks/vouchesPerTimeout, 1)
	for range min((all*passed+round-1)/round, all) {
		if v.next >= all {
			v.next = 0
		}
		g := a.host.order[v.next]
		v.next++
		if g.resting.quiet && g.stopped == nil && g.role == raft.RoleLeader && g.livesOn(n) {
			rests = append(rests, g.resting.word())
		}
	}
	return rests
}

// word is what this node says of the group, which it leads.
func (r *resting) word() wire.Rest {
	return wire.Rest{Group: r.group.replica.Group, Incarnation: r.group.replica.Incarnation, Leader: r.group.replica.ID, Term: r.group.state.Term, Time: r.group.clock.word()}
}

// vouched takes a node's word that a group that it leads rests.
func (a *heartbeats) vouched(from raft.NodeID, r *wire.Rest) {
	g := a.host.groups[r.Group]
	if g == nil || g.replica.Incarnation != r.Incarnation || g.lead != r.Leader || g.state.Term != r.Term {
		return
	}
	if node, ok := g.node(r.Leader); ok && node == from {
		g.resting.vouchedAt = a.host.ticks
		g.core.Heard(r.Time)
	}
}

// note notes whether the group rests after this turn's work.
func (r *resting) note() {
	quiet := r.group.stopped != nil || r.group.core.Quiet()
	if quiet && !r.quiet {
		r.vouchedAt = r.group.host.ticks
	}
	r.set(quiet)
}

// tick ends a rest whose leader's word has run out.
func (r *resting) tick() {
	h := r.group.host
	if r.group.stopped != nil || r.group.role == raft.RoleLeader || h.ticks-r.vouchedAt < uint64(h.cfg.ElectionTicks) ||
		bug("resting group without leader") {
		return
	}
	node, _ := r.group.node(r.group.lead)
	if c := h.contacts.of[node]; c != nil && c.silent {
		r.group.core.Wake() // it may be heard of again at any moment
		r.group.touch()
	} else {
		h.Hints.lose(r.group, missRest)
	}
}
