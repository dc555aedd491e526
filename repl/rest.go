package repl

import (
	"muster/raft"
	"muster/repl/wire"
)

// Groups that rest, and on whose word
//
// A group that rests has no heartbeats of its own, and its followers count no
// ticks. That their leader's node is heard of says nothing about the leader: the
// node goes on to send heartbeats where that one replica stopped, was found
// damaged, was removed, or is a follower since its process started anew. So a
// leader's node also names the groups that it leads and that rest, all of them
// in turn, some with each heartbeat. A follower rests for as long as it is named:
//
//   - What isn't said for an election timeout isn't so, whatever became of the
//     leader. The follower takes its leader for lost, as if the connection to it
//     had closed. That is a hint: the others are asked, and a leader that lives
//     is woken by the question.
//   - A node that was started anew leads nothing. It introduces itself (lives.go),
//     and its followers needn't wait until its word runs out.
//
// A node that names a group wrongly, or names it under another term, keeps
// nobody at rest for whom the replica, its incarnation and its term are not
// those that the follower rests on. A node can lie about a group that it really
// led; then the group lacks a leader until somebody asks something of it.

// vouchesPerTimeout is how often a group that rests is named in an election
// timeout: as many heartbeats may be lost, less one, before it wakes for
// nothing. Naming costs some ten bytes for each group and time.
const vouchesPerTimeout = 4

// vouching is how far the turn has come in which a node is told which groups
// rest.
type vouching struct {
	next int    // of the host's groups
	last uint64 // the tick of the last part
}

// vouchFor adds the part of the groups that is due to be named to a node.
func (h *Host) vouchFor(n raft.NodeID, v *vouching, rests []wire.Rest) []wire.Rest {
	passed := int(h.ticks - v.last)
	if uint64(passed) < h.beatTicks() {
		return rests
	}
	v.last = h.ticks
	all, round := len(h.order), max(h.cfg.ElectionTicks/vouchesPerTimeout, 1)
	for range min((all*passed+round-1)/round, all) {
		if v.next >= all {
			v.next = 0
		}
		g := h.order[v.next]
		v.next++
		if g.quiet && g.stopped == nil && g.role == raft.RoleLeader && g.livesOn(n) {
			rests = append(rests, g.rest())
		}
	}
	return rests
}

// rest is what this node says of the group, which it leads.
func (g *group) rest() wire.Rest {
	return wire.Rest{Group: g.replica.Group, Incarnation: g.replica.Incarnation, Leader: g.replica.ID, Term: g.state.Term}
}

// vouched takes a node's word that a group that it leads rests.
func (h *Host) vouched(from raft.NodeID, r *wire.Rest) {
	g := h.groups[r.Group]
	if g == nil || g.replica.Incarnation != r.Incarnation || g.lead != r.Leader || g.state.Term != r.Term {
		return
	}
	if node, ok := g.node(r.Leader); ok && node == from {
		g.vouchedAt = h.ticks
	}
}

// noteRest notes whether the group rests after this turn's work.
func (g *group) noteRest() {
	quiet := g.stopped != nil || g.core.Quiet()
	if quiet && !g.quiet {
		g.vouchedAt = g.host.ticks
	}
	g.setQuiet(quiet)
}

// restTick ends a rest on the word of a leader that nobody gives any more.
func (g *group) restTick() {
	h := g.host
	if g.stopped != nil || g.role == raft.RoleLeader || h.ticks-g.vouchedAt < uint64(h.cfg.ElectionTicks) ||
		bug("resting group without leader") {
		return
	}
	node, _ := g.node(g.lead)
	if c := h.contacts[node]; c != nil && c.silent {
		g.core.Wake() // it may be heard of again at any moment
	} else {
		g.core.LeaderLost()
	}
	g.touch()
}
