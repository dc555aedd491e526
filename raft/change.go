package raft

import (
	"fmt"
	"slices"

	"muster/raft/quorum"
)

// NewMember is a replica to be made: where, and what it shall become.
type NewMember struct {
	Node NodeID
	Goal Goal
}

// Change is a change of the membership. Several replicas may come and go in
// one. A new replica is a learner at first, so that it takes nothing from the
// group's majority while it has no log; with GoalVoter the leader promotes it
// by itself. To replace a voter without being one short, remove the old one
// after the new one was promoted.
type Change struct {
	Add    []NewMember
	Remove []ReplicaID
}

// Change appends a new membership to the leader's log and returns it, with the
// ids of the new replicas. It is in force at once, here and wherever it
// arrives, and may be lost, with the leader, until it is committed.
//
// If it takes away voters it is a joint configuration (the paper, section 6):
// until that is committed, and the one that leaves it appended, each decision
// wants a majority of the old voters and one of the new, so that at no time
// two majorities without a common replica can decide. Whoever leads in a joint
// configuration proposes to leave it.
func (g *Group) Change(c Change) (Membership, error) {
	if g.stopped != nil {
		return Membership{}, g.stopped
	}
	if g.role != RoleLeader {
		return Membership{}, ErrNotLeader
	}
	if g.transfer.to != 0 {
		return Membership{}, fmt.Errorf("%w: to replica %d", ErrTransferring, g.transfer.to)
	}
	if g.changing() && !bug("two changes in flight") {
		return Membership{}, fmt.Errorf("%w: the last change is of entry %d, committed is %d, in term %d", ErrChanging,
			g.members.history[len(g.members.history)-1].index, g.log.commit, g.term)
	}
	m, err := c.apply(g.members.now())
	if err != nil {
		return Membership{}, err
	}
	if !g.alive(m.Voters) {
		return Membership{}, fmt.Errorf("%w: of the %d voters that stay, too few were heard of within an election timeout", ErrNoMajority, len(m.Voters))
	}
	g.wake()
	g.proposeMembership(m)
	return m, nil
}

// apply returns the membership that c makes of m.
func (c Change) apply(old *Membership) (Membership, error) {
	bad := func(format string, a ...any) (Membership, error) {
		return Membership{}, fmt.Errorf("%w: %w", ErrChange, fmt.Errorf(format, a...))
	}
	if len(c.Add) == 0 && len(c.Remove) == 0 {
		return bad("nothing is added or removed")
	}
	m := Membership{Voters: slices.Clone(old.Voters), Learners: slices.Clone(old.Learners), Next: old.Next}
	for i, id := range c.Remove {
		if slices.Contains(c.Remove[:i], id) {
			return bad("replica %d is removed twice", id)
		}
		if v := find(m.Voters, id); v >= 0 {
			m.Voters = slices.Delete(m.Voters, v, v+1)
			m.Outgoing = old.Voters
		} else if l := find(m.Learners, id); l >= 0 {
			m.Learners = slices.Delete(m.Learners, l, l+1)
		} else {
			return bad("replica %d, which is to be removed, is not a member", id)
		}
	}
	for i, a := range c.Add {
		if slices.ContainsFunc(c.Add[:i], func(b NewMember) bool { return b.Node == a.Node }) {
			return bad("node %s is added twice", a.Node)
		}
		for _, list := range [...][]Member{old.Voters, old.Outgoing, old.Learners} {
			for _, member := range list {
				if member.Node == a.Node {
					return bad("node %s holds replica %d already", a.Node, member.Replica)
				}
			}
		}
		if a.Node == 0 || a.Goal != GoalVoter && a.Goal != GoalCopy {
			return bad("node %s is to be a %s", a.Node, a.Goal)
		}
		m.Learners = append(m.Learners, Member{Replica: m.Next, Node: a.Node, Goal: a.Goal})
		m.Next++
	}
	if err := m.Check(); err != nil {
		return bad("%w", err)
	}
	return m, nil
}

// changing says whether no change may begin: one is not committed or left yet,
// or, for want of a commit in its own term, this leader can't know. Without
// the last two leaders may each add to a membership that the other does not
// know of, and the majorities of the two need not meet (the fault of
// single-server changes that was found in 2015; it holds for joint ones alike).
func (g *Group) changing() bool {
	term, _ := g.log.termAt(g.log.commit)
	return len(g.members.history) > 1 || len(g.members.now().Outgoing) > 0 || term != g.term
}

// proposeMembership appends m. From here on it counts: the leader feeds whom m
// names, and asks the majorities of m.
func (g *Group) proposeMembership(m Membership) {
	id := LogID{Term: g.term, Index: g.log.last.Index + 1}
	g.append([]Entry{SealedEntry(g.config.Seed, id, g.log.time, EntryMembership, m.Append(nil))})
	g.idle = 0
	g.sendDue = true
	g.followMembership(id.Index)
}

// followMembership makes progress that of the members in force. Those who are
// new are sent the entry next first.
func (g *Group) followMembership(next uint64) {
	g.followers.become(g.members.now(), next, g.ticks)
	if g.transfer.to != 0 && find(g.members.now().Voters, g.transfer.to) < 0 {
		g.transfer = transfer{}
	}
}

// settleMembership does what the commit of a membership calls for.
func (g *Group) settleMembership() {
	if len(g.members.history) > 1 {
		return
	}
	m := g.members.now()
	if len(m.Outgoing) > 0 {
		if term, _ := g.log.termAt(g.log.commit); term == g.term {
			left := *m
			left.Outgoing = nil
			g.proposeMembership(left)
		}
		return
	}
	// A leader that is no voter has led, without counting itself, until those
	// who stay can do without it (the paper, section 6). Now they can.
	if !m.Votes(g.config.Self) {
		if heir := g.heir(); heir != 0 {
			g.sendTimeoutNow(heir)
		}
		g.becomeFollower(g.term, 0)
	}
}

// promote makes voters of all learners that shall be and have caught up: all
// was sent to them, and what they have not acknowledged yet fits into one
// append. It runs with the heartbeats, so that those who were added together
// are mostly promoted together.
func (g *Group) promote() {
	m := g.members.now()
	if len(m.Learners) == 0 || g.transfer.to != 0 || g.changing() {
		return
	}
	next := Membership{Voters: slices.Clone(m.Voters), Outgoing: m.Voters, Next: m.Next}
	for _, l := range m.Learners {
		p := g.followers.of(l.Replica)
		if l.Goal == GoalVoter && g.active(p) && p.state == ProgressReplicate &&
			p.next > g.log.last.Index && p.inflightBytes <= g.config.AppendBytesMax && p.match >= g.log.base.Index {
			next.Voters = append(next.Voters, l)
		} else {
			next.Learners = append(next.Learners, l)
		}
	}
	if len(next.Voters) == len(m.Voters) || len(next.Voters) > MembersMax {
		return
	}
	slices.SortFunc(next.Voters, func(a, b Member) int { return compare(a.Replica, b.Replica) })
	if g.alive(next.Voters) {
		g.proposeMembership(next)
	}
}

// active says whether a replica was heard of within an election timeout.
func (g *Group) active(p *progress) bool {
	return p.active(g.ticks, g.config.ElectionTicks)
}

// alive says whether a majority of voters is active.
func (g *Group) alive(voters []Member) bool {
	n := 0
	for _, v := range voters {
		if v.Replica == g.config.Self || g.active(g.followers.of(v.Replica)) {
			n++
		}
	}
	return n >= quorum.Majority(len(voters))
}

// follows says why next can't come after m in a log, if it can't. What it asks
// for is that a majority of the one always meets a majority of the other.
func (m *Membership) follows(next *Membership) error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: %w", ErrMembership, fmt.Errorf(format, a...))
	}
	joint, nextJoint := len(m.Outgoing) > 0, len(next.Outgoing) > 0
	switch {
	case next.Next < m.Next:
		return bad("the next replica to allot goes back from %d to %d", m.Next, next.Next)
	case joint && nextJoint:
		return bad("a joint configuration follows another")
	case nextJoint && !slices.Equal(next.Outgoing, m.Voters):
		return bad("the outgoing voters are not those that were in force")
	case !nextJoint && !slices.Equal(next.Voters, m.Voters):
		return bad("the voters change without a joint configuration")
	}
	for _, list := range [...][]Member{next.Voters, next.Learners} {
		for _, member := range list {
			old, ok := m.Member(member.Replica)
			if !ok && member.Replica < m.Next {
				return bad("replica %d comes back", member.Replica)
			}
			if ok && old.Node != member.Node {
				return bad("replica %d goes from node %s to %s", member.Replica, old.Node, member.Node)
			}
		}
	}
	return nil
}
