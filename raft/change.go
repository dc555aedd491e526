package raft

import (
	"fmt"
	"slices"

	"muster/raft/quorum"
)

// NewMember is a replica to be made: its node, and what it is to become.
type NewMember struct {
	Node NodeID
	Goal Goal
}

// Change is a change of the membership. Several replicas may come and go, begin to vote
// and cease to in one. A new replica is a learner at first, so that it takes nothing from
// the group's majority while it has no log; with GoalVoter the leader promotes it by
// itself. To replace a voter without being one short, add a copy, and once that has
// caught up promote it and remove the old one in one change.
type Change struct {
	// After, if not 0, is the index of the [Status.MembershipAt] that the change was
	// made for: with any other membership in force it is refused with [ErrStale]. So a
	// change that is asked for twice is made once.
	After uint64
	Add   []NewMember
	// Promote are learners that vote from now on. One that has not caught up
	// ([Progress.CaughtUp]) has the change refused with [ErrLags]: as a voter it would
	// be missing from the majority until it has.
	Promote []ReplicaID
	// Demote are voters that keep their log and vote no more, with GoalCopy.
	Demote []ReplicaID
	Remove []ReplicaID
}

// Changed is a change of the membership that a leader has appended: the id of its
// entry, by which [Group.ChangeStage] tells how far it has come, and the membership in
// force from there on, with the ids of the new replicas.
type Changed struct {
	At         LogID
	Membership Membership
}

// ChangeStage is how far a change of the membership has come, as far as one replica
// knows.
type ChangeStage uint8

const (
	// ChangePending: its entry is not known to be committed. Left when it is, or when
	// another entry stands in its place.
	ChangePending ChangeStage = 1
	// ChangeJoint: it is committed, and voters that it takes away still decide. The
	// leader leaves the joint configuration by itself.
	ChangeJoint ChangeStage = 2
	// ChangePromoting: a learner that is to vote has not caught up. The leader promotes
	// it by itself, with a joint configuration of its own.
	ChangePromoting ChangeStage = 3
	// ChangeDone: the membership is what was asked for, or what later changes made of
	// it, and nothing more happens to it by itself.
	ChangeDone ChangeStage = 4
	// ChangeLost: a later leader did not have its entry. It can be asked for again.
	ChangeLost ChangeStage = 5
	// ChangePast: the log here begins after it, so whether it was lost can't be told.
	// The membership in force tells what became of it.
	ChangePast ChangeStage = 6
)

func (s ChangeStage) String() string {
	switch s {
	case ChangePending:
		return "pending"
	case ChangeJoint:
		return "joint"
	case ChangePromoting:
		return "promoting"
	case ChangeDone:
		return "done"
	case ChangeLost:
		return "lost"
	case ChangePast:
		return "past"
	}
	return fmt.Sprintf("stage %d", uint8(s))
}

// ChangeStage returns how far the change whose entry is at has come.
func (g *Group) ChangeStage(at LogID) ChangeStage {
	r := &g.replica
	term, here := r.log.termAt(at.Index)
	committed, _ := r.log.termAt(r.log.commit)
	// Terms don't go back along a log. So a committed entry before at with a later term,
	// or one after at with an earlier term, shows that at was lost.
	switch {
	case at.Index > r.log.commit && at.Term < committed:
		return ChangeLost
	case at.Index > r.log.commit:
		return ChangePending
	case here && at.Term != term, !here && at.Term > r.log.base.Term:
		return ChangeLost
	case !here:
		return ChangePast
	}
	return r.members.committed().settles()
}

// settles returns which of the steps that happen by themselves a committed membership
// still has before it.
func (m *Membership) settles() ChangeStage {
	if len(m.Outgoing) > 0 {
		return ChangeJoint
	}
	for _, l := range m.Learners {
		if l.Goal == GoalVoter {
			return ChangePromoting
		}
	}
	return ChangeDone
}

// Change appends a new membership to the leader's log and returns it, with the
// ids of the new replicas. It is in force at once, here and wherever it
// arrives, and may be lost, with the leader, until it is committed.
//
// If it takes away voters it is a joint configuration (the paper, section 6):
// until that is committed, and the one that leaves it appended, each decision
// wants a majority of the old voters and one of the new, so that at no time
// two majorities without a common replica can decide. Any leader of a joint
// configuration proposes to leave it.
func (g *Group) Change(c Change) (Changed, error) {
	l, err := g.leader()
	if err != nil {
		return Changed{}, err
	}
	return l.change(c)
}

func (l *leader) change(c Change) (Changed, error) {
	r := l.replica
	if err := l.handsOver(); err != nil {
		return Changed{}, err
	}
	if l.changing() && !bug("two changes in flight") {
		return Changed{}, fmt.Errorf("%w: the last change is of entry %d, committed is %d, in term %d", ErrChanging,
			r.members.nowAt().Index, r.log.commit, r.term)
	}
	if c.After != 0 && !r.members.isAt(c.After, r.log.commit) && !bug("change without After") {
		return Changed{}, fmt.Errorf("%w: the change was made for the one of entry %d, in force is that of entry %d, committed is %d",
			ErrStale, c.After, r.members.nowAt().Index, r.log.commit)
	}
	m, err := c.apply(r.members.now())
	if err != nil {
		return Changed{}, err
	}
	for _, id := range c.Promote {
		p := l.followers.of(id) // nil for itself, which lacks nothing
		if p != nil && !l.caughtUp(p) && !bug("lagging learner promoted") {
			return Changed{}, fmt.Errorf("%w: replica %d has the log up to %d, which begins after %d and ends at %d here (%s, active %t)",
				ErrLags, id, p.match, r.log.base.Index, r.log.last.Index, p.state, l.active(p))
		}
	}
	// Once appended it is in force, and only a majority of its voters can commit it.
	if !l.alive(m.Voters) {
		return Changed{}, fmt.Errorf("%w: of the %d voters that stay, too few were heard of within an election timeout", ErrNoMajority, len(m.Voters))
	}
	r.wake()
	return Changed{At: l.proposeMembership(m), Membership: m}, nil
}

// apply returns the membership that c makes of m.
func (c Change) apply(old *Membership) (Membership, error) {
	bad := func(format string, a ...any) (Membership, error) {
		return Membership{}, fmt.Errorf("%w: %w", ErrChange, fmt.Errorf(format, a...))
	}
	if len(c.Add)+len(c.Promote)+len(c.Demote)+len(c.Remove) == 0 {
		return bad("it changes nothing")
	}
	m := Membership{Voters: slices.Clone(old.Voters), Learners: slices.Clone(old.Learners), Next: old.Next}
	named := slices.Concat(c.Promote, c.Demote, c.Remove)
	for i, id := range named {
		if slices.Contains(named[:i], id) {
			return bad("replica %d is named twice", id)
		}
		if _, ok := old.Member(id); !ok {
			return bad("replica %d is not a member", id)
		}
	}
	for _, id := range c.Promote {
		member, ok := take(&m.Learners, id)
		if !ok {
			return bad("replica %d, which is to vote, votes already", id)
		}
		member.Goal = GoalVoter
		put(&m.Voters, member)
	}
	for _, id := range c.Demote {
		member, ok := take(&m.Voters, id)
		if !ok {
			return bad("replica %d, which is to vote no more, does not vote", id)
		}
		member.Goal = GoalCopy
		put(&m.Learners, member)
	}
	for _, id := range c.Remove {
		if _, ok := take(&m.Voters, id); !ok {
			take(&m.Learners, id)
		}
	}
	if !slices.Equal(m.Voters, old.Voters) {
		// A majority of the new voters need not meet every majority of the old ones, so
		// until the joint configuration is left the old voters must agree too.
		m.Outgoing = old.Voters
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

// changing reports whether no change may begin: one is not committed, or a joint
// configuration is not left yet, or this leader has not committed an entry of its
// own term and so can't know. Without that last condition two leaders could each
// append a change of which the other does not know, and the majorities of the two
// need not meet (the fault of single-server changes that was found in 2015; joint
// ones have it too).
func (l *leader) changing() bool {
	r := l.replica
	term, _ := r.log.termAt(r.log.commit)
	return len(r.members.history) > 1 || len(r.members.now().Outgoing) > 0 || term != r.term
}

// proposeMembership appends m and returns the id of its entry. From here on m counts:
// the leader feeds the members of m, and asks the majorities of m.
func (l *leader) proposeMembership(m Membership) LogID {
	r := l.replica
	id := LogID{Term: r.term, Index: r.log.last.Index + 1}
	r.append([]Entry{SealedEntry(r.config.Seed, id, r.log.time, EntryMembership, m.Append(nil))})
	l.idle = 0
	l.sendDue = true
	l.followMembership(id.Index)
	return id
}

// followMembership makes the followers those of the membership in force. New ones
// are sent the entry next first.
func (l *leader) followMembership(next uint64) {
	r := l.replica
	l.followers.become(r.members.now(), next, r.ticks)
	if l.transfer.to != 0 && find(r.members.now().Voters, l.transfer.to) < 0 {
		l.transfer = transfer{} // its target can no longer win
	}
}

// settleMembership does what the commit of a membership calls for.
func (l *leader) settleMembership() {
	r := l.replica
	if len(r.members.history) > 1 {
		return
	}
	m := r.members.now()
	if len(m.Outgoing) > 0 {
		// Both majorities hold the joint configuration now, so no majority of the old
		// voters can decide without it (the paper, section 6). A leader of a later term
		// waits for an entry of its own: before that it does not know of the commit.
		if term, _ := r.log.termAt(r.log.commit); term == r.term {
			left := *m
			left.Outgoing = nil
			l.proposeMembership(left)
		}
		return
	}
	// A leader that is no voter led on, without counting itself, until the others hold
	// the membership without it (the paper, section 6). Now they do.
	if !m.Votes(r.config.Self) {
		if heir := l.heir(); heir != 0 {
			r.send(heir, Message{Type: MsgTimeoutNow, Log: r.log.last})
		}
		r.becomeFollower(r.term, 0)
	}
}

// promote makes voters of the learners that are to vote and have caught up. It runs with
// the heartbeats, so that replicas that were added together are mostly promoted together.
func (l *leader) promote() {
	r := l.replica
	m := r.members.now()
	if len(m.Learners) == 0 || l.handsOver() != nil || l.changing() {
		return
	}
	// Several may be promoted at once, and then majorities before and after need not
	// meet: so the old voters must agree too.
	next := Membership{Voters: slices.Clone(m.Voters), Outgoing: m.Voters, Next: m.Next}
	for _, learner := range m.Learners {
		if learner.Goal == GoalVoter && l.caughtUp(l.followers.of(learner.Replica)) {
			put(&next.Voters, learner)
		} else {
			next.Learners = append(next.Learners, learner)
		}
	}
	if len(next.Voters) == len(m.Voters) || len(next.Voters) > MembersMax {
		return
	}
	if l.alive(next.Voters) {
		l.proposeMembership(next)
	}
}

// caughtUp reports whether a learner may vote: it is active, all was sent to it, and what
// it has not acknowledged yet fits into one append. As a voter it is missing from no
// majority for longer than that takes.
func (l *leader) caughtUp(p *progress) bool {
	r := l.replica
	return l.active(p) && p.state == ProgressReplicate && p.next > r.log.last.Index &&
		p.inflightBytes <= r.config.AppendBytesMax && p.match >= r.log.base.Index
}

// active reports whether a replica was heard of within an election timeout.
func (l *leader) active(p *progress) bool {
	r := l.replica
	return p.active(r.ticks, r.config.ElectionTicks)
}

// alive reports whether a majority of voters is active.
func (l *leader) alive(voters []Member) bool {
	n := 0
	for _, v := range voters {
		if v.Replica == l.replica.config.Self || l.active(l.followers.of(v.Replica)) {
			n++
		}
	}
	return n >= quorum.Majority(len(voters))
}

// follows returns why next can't come after m in a log, or nil. It makes sure that
// every majority of the one shares a replica with every majority of the other.
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
