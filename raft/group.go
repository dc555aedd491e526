package raft

import (
	"fmt"
	"slices"
)

// Group is one replica's part in one group, as its owner sees it: calls in,
// Readies out. [replica] and [leader] say what the protocol does in between.
// A Group is not safe for concurrent use; what it hands out is.
type Group struct {
	replica replica
	handed  handed
}

// New returns a Group that continues where r ends. It keeps the slices of r.
func New(c Config, r Restored) (*Group, error) {
	if err := c.fill(); err != nil {
		return nil, fmt.Errorf("new group: %w", err)
	}
	if err := r.check(c.Self); err != nil {
		return nil, fmt.Errorf("new group: %w", err)
	}
	// A snapshot covers committed entries only, so its base is committed even where
	// the commit on disk is older.
	commit := max(r.State.Commit, r.Base.Index)
	g := &Group{replica: replica{
		config: c,
		term:   r.State.Term,
		reach:  reach{left: TermReach},
		vote:   r.State.Vote,
		role:   RoleFollower,
		syncs:  syncs{patience: max(c.ElectionTicks/2, 1)},
		timer:  timer{election: c.ElectionTicks, chance: chance(c.Chance)},
		log: log{
			base: r.Base, terms: slices.Clone(r.Terms), last: r.Last, time: r.Time,
			tail: r.Tail[:len(r.Tail):len(r.Tail)], first: r.Applied + 1,
			commit: commit, durable: r.Last.Index, written: r.Last.Index,
			handed: r.Applied, applied: r.Applied,
		},
	}}
	me := &g.replica
	if len(r.Tail) == 0 {
		me.log.passed = r.Time
	}
	for _, e := range r.Tail {
		me.log.bytes += len(e.Raw)
	}
	me.log.waiting = me.log.bytes
	me.members.push(r.Base, r.Membership)
	for _, e := range r.Changes {
		m, err := ReadMembership(e.Payload())
		if err != nil {
			return nil, fmt.Errorf("new group: entry %s: %w", e.ID, err)
		}
		me.members.push(e.ID, m)
	}
	// Those after the commit may still be truncated, and then an earlier one is in
	// force again.
	me.members.commit(commit)
	g.handed = g.hand()
	// If the base raised the commit, the first Ready writes it.
	g.handed.state.Commit = r.State.Commit
	// Questions are numbered from a random place, so that an answer to an earlier
	// start fits none of this one. Half the range is left to count up in.
	fresh := chance(^c.Chance)
	me.questions.number = fresh.next() >> 1
	me.timer.reset()
	return g, nil
}

// Tick tells the Group that one tick has passed.
func (g *Group) Tick() {
	r := &g.replica
	if r.stopped != nil || r.resting {
		return
	}
	r.ticks++
	r.reach.tick()
	if r.leading != nil {
		r.leading.tick()
	} else {
		r.awaitLeader()
	}
}

// Campaign starts an election now, by asking whether it would be won. It does
// nothing at a leader, or at a replica that may not stand for election.
func (g *Group) Campaign() {
	if r := &g.replica; r.stopped == nil && r.leading == nil && r.electable() {
		r.wake()
		r.preCampaign()
	}
}

// TermAt returns the term of the entry at index; false if the log does not
// hold it.
func (g *Group) TermAt(index uint64) (uint64, bool) { return g.replica.log.termAt(index) }

// Recall returns those of the entries lo to hi that are in memory: all that are
// not applied, and the newest applied ones.
func (g *Group) Recall(lo, hi uint64) []Entry {
	l := &g.replica.log
	return l.slice(max(lo, l.first), min(hi, l.last.Index))
}

// LeadsIn reports whether this replica leads in term.
func (g *Group) LeadsIn(term uint64) bool {
	return g.replica.leading != nil && g.replica.term == term
}

// Status returns a picture of the Group. It shares nothing that changes.
func (g *Group) Status() Status {
	r := &g.replica
	s := Status{
		Term: r.term, Vote: r.vote, Role: r.role, Leader: r.lead,
		Commit: r.log.commit, Applied: r.log.applied, Durable: r.log.durable,
		Last: r.log.last, Base: r.log.base, Time: r.log.time,
		Membership:    *r.members.now(),
		MembershipAt:  r.members.nowAt(),
		Joint:         len(r.members.now().Outgoing) > 0,
		Settled:       r.members.settled(),
		Transferee:    g.Transferee(),
		Quiet:         r.resting,
		Fenced:        r.fenced,
		Stalled:       r.syncs.stalled(r.ticks),
		PendingReads:  r.pendingReads(),
		UnsyncedTicks: r.syncs.ticks(r.ticks),
		Stopped:       r.stopped,
	}
	if l := r.leading; l != nil {
		for i := range l.followers.list {
			p := &l.followers.list[i]
			s.Progress = append(s.Progress, Progress{
				Replica: p.replica, Match: p.match, Next: p.next, State: p.state,
				Active: l.active(p), CaughtUp: l.caughtUp(p), Fenced: p.fenced,
			})
		}
	}
	return s
}
