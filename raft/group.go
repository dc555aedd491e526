package raft

import (
	"fmt"
	"slices"
)

// Group is one replica's part in one group. It is not safe for concurrent
// use; what it hands out is.
type Group struct {
	config  Config
	log     log
	members members

	term  uint64
	reach reach // of term
	vote  ReplicaID
	role  Role
	lead  ReplicaID // Invariant: nobody else leads in term
	// floor: a log that is older neither votes nor stands for election, see
	// [Group.Resume].
	floor LogID

	ticks     uint64 // since New, while awake
	timer     timer
	hint      hint
	resting   bool
	idle      int       // a leader's: ticks since it had something to do
	sinceBeat int       // a leader's: ticks since its last heartbeats
	votes     votes     // a candidate's and pre-candidate's
	followers followers // a leader's
	sendDue   bool      // a leader's: appends may be due
	reads     reads
	questions questions
	transfer  transfer
	preferred ReplicaID
	preferAt  uint64 // the tick before which no preference is carried out
	stopped   error
	out       output
	handed    handed
	syncs     syncs
}

// New returns a Group that goes on where r ends. It keeps the slices of r.
func New(c Config, r Restored) (*Group, error) {
	if err := c.fill(); err != nil {
		return nil, fmt.Errorf("new group: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("new group: %w", err)
	}
	g := &Group{
		config:    c,
		timer:     timer{election: c.ElectionTicks, chance: chance(c.Chance)},
		term:      r.State.Term,
		reach:     reach{left: TermReach},
		vote:      r.State.Vote,
		role:      RoleFollower,
		followers: followers{self: c.Self},
	}
	commit := max(r.State.Commit, r.Base.Index)
	g.log = log{
		base: r.Base, terms: slices.Clone(r.Terms), last: r.Last, time: r.Time,
		tail: r.Tail[:len(r.Tail):len(r.Tail)], first: r.Applied + 1,
		commit: commit, durable: r.Last.Index, written: r.Last.Index,
		handed: r.Applied, applied: r.Applied,
	}
	for _, e := range r.Tail {
		g.log.bytes += len(e.Raw)
	}
	g.log.waiting = g.log.bytes
	g.members.push(r.Base.Index, r.Membership)
	for _, e := range r.Changes {
		m, err := ReadMembership(e.Payload())
		if err != nil {
			return nil, fmt.Errorf("new group: entry %s: %w", e.ID, err)
		}
		g.members.push(e.ID.Index, m)
	}
	g.members.commit(commit)
	g.handed = g.hand()
	g.handed.state.Commit = r.State.Commit
	fresh := chance(^c.Chance)
	g.questions.number = fresh.next() >> 1
	g.timer.reset()
	return g, nil
}

// check says what in r can't be.
func (r *Restored) check() error {
	bad := func(format string, a ...any) error { return fmt.Errorf("restored: "+format, a...) }
	if err := r.Membership.Check(); err != nil {
		return bad("%w", err)
	}
	commit := max(r.State.Commit, r.Base.Index)
	switch {
	case r.State.Term >= TermLimit:
		return bad("term %d is not below %d", r.State.Term, TermLimit)
	case r.Last.Index < r.Base.Index:
		return bad("the log ends at %s, before its beginning %s", r.Last, r.Base)
	case r.State.Term < r.Last.Term:
		return bad("term %d is before that of the last entry %s", r.State.Term, r.Last)
	case commit > r.Last.Index:
		return bad("%d is committed, but the log ends at %s", commit, r.Last)
	case r.Applied < r.Base.Index || r.Applied > commit:
		return bad("%d is applied, which is not between the beginning %s and the commit %d", r.Applied, r.Base, commit)
	case uint64(len(r.Tail)) != r.Last.Index-r.Applied:
		return bad("%d entries of the tail, want %d to %d", len(r.Tail), r.Applied+1, r.Last.Index)
	case r.Last.Index == r.Base.Index && (len(r.Terms) != 0 || r.Last != r.Base):
		return bad("an empty log with %d terms ends at %s, not at its beginning %s", len(r.Terms), r.Last, r.Base)
	case r.Last.Index > r.Base.Index && len(r.Terms) == 0:
		return bad("no terms for the entries up to %s", r.Last)
	}
	before := TermRun{First: r.Base.Index, Term: r.Base.Term}
	for i, run := range r.Terms {
		if run.First <= before.First || run.First > r.Last.Index || run.Term < before.Term ||
			(i == 0) != (run.First == r.Base.Index+1) || i > 0 && run.Term == before.Term {
			return bad("entries of term %d from %d on after those of term %d from %d on", run.Term, run.First, before.Term, before.First)
		}
		before = run
	}
	if before.Term != r.Last.Term {
		return bad("the last entry is %s, but the last term is %d", r.Last, before.Term)
	}
	for i, e := range r.Tail {
		if e.ID.Index != r.Applied+1+uint64(i) || len(e.Raw) < EntryHeaderSize {
			return bad("entry %s of the tail stands where %d should", e.ID, r.Applied+1+uint64(i))
		}
	}
	at := r.Base.Index
	for _, e := range r.Changes {
		if e.ID.Index <= at || e.ID.Index > r.Last.Index || e.Kind != EntryMembership || len(e.Raw) < EntryHeaderSize {
			return bad("entry %s (%s) is no change of the membership after %d", e.ID, e.Kind, at)
		}
		at = e.ID.Index
	}
	return nil
}

// Tick tells that one tick has passed.
func (g *Group) Tick() {
	if g.stopped != nil || g.resting {
		return
	}
	g.ticks++
	g.reach.tick()
	if g.role == RoleLeader {
		g.leaderTick()
		return
	}
	g.timer.silence++
	g.questions.tick(g.config.HeartbeatTicks)
	g.hintTick()
	if !g.timer.expired() {
		return
	}
	g.lead = 0
	g.loseReads()
	if g.electable() {
		g.preCampaign()
	} else if find(g.members.now().Learners, g.config.Self) >= 0 {
		g.call()
	}
}

// electable says whether this replica may stand for election: it is a voter,
// its disk could keep its own vote, and its log is all that it may have
// acknowledged.
func (g *Group) electable() bool {
	return !g.Short() && (g.members.mayVote(g.config.Self) || bug("removed node still votes")) && !g.stalled()
}

// Campaign starts an election now, by asking whether it would be won. A leader
// goes on leading, and who has no vote waits.
func (g *Group) Campaign() {
	if g.stopped == nil && g.role != RoleLeader && g.electable() {
		g.wake()
		g.preCampaign()
	}
}

// TermAt returns the term of the entry at index; false if the log does not
// hold it.
func (g *Group) TermAt(index uint64) (uint64, bool) { return g.log.termAt(index) }

// Recall returns those of the entries lo to hi that are in memory: all that are
// not applied, and the newest of those that are.
func (g *Group) Recall(lo, hi uint64) []Entry {
	return g.log.slice(max(lo, g.log.first), min(hi, g.log.last.Index))
}

// LeadsIn says whether this replica leads in term.
func (g *Group) LeadsIn(term uint64) bool {
	return g.stopped == nil && g.role == RoleLeader && g.term == term
}

// Status returns a picture of the Group. It shares nothing that changes.
func (g *Group) Status() Status {
	s := Status{
		Term: g.term, Vote: g.vote, Role: g.role, Leader: g.lead,
		Commit: g.log.commit, Applied: g.log.applied, Durable: g.log.durable,
		Last: g.log.last, Base: g.log.base, Time: g.log.time,
		Membership:    *g.members.now(),
		Joint:         len(g.members.now().Outgoing) > 0,
		Transferee:    g.transfer.to,
		Quiet:         g.resting,
		Stalled:       g.stalled(),
		PendingReads:  g.reads.pending() + len(g.questions.list),
		UnsyncedTicks: g.syncs.ticks(g.ticks),
		Stopped:       g.stopped,
	}
	for i := range g.followers.list {
		p := &g.followers.list[i]
		s.Progress = append(s.Progress, Progress{
			Replica: p.replica, Match: p.match, Next: p.next, State: p.state,
			Active: g.active(p),
		})
	}
	return s
}

func (g *Group) hardState() HardState {
	return HardState{Term: g.term, Vote: g.vote, Commit: g.log.commit}
}

// stop ends this replica's part for good, because of what must never happen.
// What it has not handed out yet is dropped: nothing more leaves it.
func (g *Group) stop(reason error) error {
	g.stopped = fmt.Errorf("%w: %w", ErrStopped, reason)
	g.role, g.lead = RoleFollower, 0
	g.followers.list = nil
	g.out = output{}
	g.reads, g.questions = reads{}, questions{}
	g.transfer, g.hint, g.resting = transfer{}, hint{}, false
	return g.stopped
}
