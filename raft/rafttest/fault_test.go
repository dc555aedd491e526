package rafttest

import (
	"errors"
	"fmt"
	"slices"

	"muster/raft"
)

// What clients, operators and bad luck do in a random run.

func (n *run) ask(r *Replica) {
	if n.r.IntN(2) == 0 {
		n.reads++
		n.floors[n.reads] = n.Check.Commit
		_ = r.Group.ReadIndex(n.reads) // refused where no leader is known
		return
	}
	var entries []raft.Entry
	for range 1 + n.r.IntN(3) {
		n.word++
		entries = append(entries, raft.NewEntry(raft.EntryNormal, fmt.Appendf(nil, "word %d", n.word)))
	}
	if _, err := r.Group.Propose(raft.GroupTime(n.word), entries); err == nil {
		n.count["proposal"]++
	} else if errors.Is(err, raft.ErrBusy) {
		n.count["refused busy"]++
	}
}

// administer does what an operator does: to one who leads, most times.
func (n *run) administer() {
	r := n.any()
	for _, o := range n.Replicas {
		if o.Group != nil && o.Group.Status().Role == raft.RoleLeader && n.r.IntN(4) > 0 {
			r = o
		}
	}
	if r.Group == nil {
		return
	}
	switch n.r.IntN(7) {
	case 6:
		n.fence(r)
	case 0:
		if r.Group.Transfer(raft.ReplicaID(n.r.IntN(len(n.Replicas)+1))) == nil {
			n.count["transfer"]++
		}
	case 1:
		n.count["prefer"]++
		for _, o := range n.Replicas {
			if o.Group != nil {
				o.Group.Prefer(r.ID)
			}
		}
	case 2, 3:
		n.change(r)
	default:
		n.compact(n.any())
	}
}

// fence fences a replica and lets another one go, or lets it go itself.
func (n *run) fence(r *Replica) {
	if r.Fenced {
		n.count["unfence"]++
		n.Unfence(r)
		return
	}
	for _, o := range n.Replicas {
		if o.Fenced && n.r.IntN(2) == 0 {
			n.count["unfence"]++
			n.Unfence(o)
		}
	}
	n.count["fence"]++
	if r.Group.Status().Role == raft.RoleLeader {
		n.count["fenced leader"]++
	}
	n.Fence(r)
}

// change asks for some change, or once more for one that was asked for before, as whoever
// lost the answer would.
func (n *run) change(r *Replica) {
	st := r.Group.Status()
	c := n.drawChange(&st)
	switch n.r.IntN(4) {
	case 0, 1:
		c.After = st.MembershipAt.Index
	case 2:
		if n.guarded.After != 0 {
			n.count["repeated change"]++
			c = n.guarded
		}
	}
	if c.After != 0 {
		n.guarded = c
	}
	_, err := r.Group.Change(c)
	switch {
	case err == nil:
		n.node = max(n.node, newestNode(c))
		n.count["change"]++
		n.Check.Changes(r, c, &st)
		if len(c.Demote) > 0 {
			n.count["demotion"]++
		}
		if len(c.Promote) > 0 {
			n.count["explicit promotion"]++
		}
	case errors.Is(err, raft.ErrStale):
		n.count["stale change"]++
	case errors.Is(err, raft.ErrLags):
		n.count["lagging learner"]++
	case !errors.Is(err, raft.ErrNotLeader):
		n.count["refused change"]++
	}
}

func newestNode(c raft.Change) (newest raft.NodeID) {
	for _, a := range c.Add {
		newest = max(newest, a.Node)
	}
	return newest
}

func (n *run) drawChange(st *raft.Status) (c raft.Change) {
	m := &st.Membership
	for _, v := range m.Voters {
		switch n.r.IntN(8) {
		case 0, 1:
			c.Remove = append(c.Remove, v.Replica)
		case 2:
			c.Demote = append(c.Demote, v.Replica)
		}
	}
	for _, l := range m.Learners {
		lags := !slices.ContainsFunc(st.Progress, func(p raft.Progress) bool { return p.Replica == l.Replica && p.CaughtUp })
		switch n.r.IntN(8) {
		case 0:
			c.Remove = append(c.Remove, l.Replica)
		case 1, 2, 3, 4, 5:
			if !lags || n.r.IntN(8) == 0 {
				c.Promote = append(c.Promote, l.Replica)
			}
		}
	}
	for len(c.Add) < 2 && len(m.Voters)+len(m.Learners)+len(c.Add)-len(c.Remove) < 5 && n.r.IntN(2) == 0 {
		c.Add = append(c.Add, raft.NewMember{Node: n.node + 1 + raft.NodeID(len(c.Add)), Goal: raft.Goal(1 + n.r.IntN(2))})
	}
	return c
}

// countChanges notes which changes a leader appends.
func (n *run) countChanges(r *Replica, rd *raft.Ready) {
	for _, e := range rd.Entries {
		if e.Kind != raft.EntryMembership || e.ID.Term != rd.State.Term {
			continue
		}
		m, _ := raft.ReadMembership(e.Payload())
		if len(m.Outgoing) > 0 {
			n.count["joint"]++
		}
		if len(m.Voters) > len(m.Outgoing) && len(m.Outgoing) > 0 {
			n.count["promotion"]++
		}
		if _, stays := m.Member(r.ID); len(m.Outgoing) == 0 && !stays {
			n.count["leader removes itself"]++
		} else if len(m.Outgoing) == 0 && !m.Votes(r.ID) {
			n.count["leader demotes itself"]++
		}
	}
}

func (n *run) compact(r *Replica) {
	base := r.Disk.Snapshot.Base.Index
	if r.Group == nil || r.Machine.Base.Index <= base || len(r.Taken) > 0 && r.Taken[0].Install != nil {
		return
	}
	for _, rd := range r.Taken {
		if rd.Install != nil {
			return // the log on disk is still the one before
		}
	}
	n.count["compact"]++
	index := base + 1 + n.r.Uint64N(r.Machine.Base.Index-base)
	// A replica that was made later has no membership before the entry that names it.
	// Without one a snapshot is of no use to anybody, and no owner takes it.
	if r.Disk.state(index).Membership.Blank() {
		return
	}
	n.Compact(r, index)
}

// phase changes who reaches whom, and has all but the leaders lose patience at
// once: leaders change often, and those cut off go on taking commands for a
// while that will not be committed.
func (n *run) phase() {
	n.Heal()
	if n.r.IntN(10) < 7 {
		n.split()
	}
	if n.r.IntN(2) == 0 {
		n.DropAll()
	}
	for _, r := range n.Replicas {
		if r.Group == nil {
			n.Start(r)
		}
		if n.r.IntN(12) == 0 {
			n.crash(r)
			n.Start(r)
		}
		for range n.Config.ElectionTicks {
			if r.Group.Status().Role != raft.RoleLeader {
				r.Group.Tick()
			}
		}
		r.Hold = n.r.IntN(5) == 0
	}
	n.any().Group.Campaign()
	n.calm = n.Config.QuietTicks > 0 && n.r.IntN(2) == 0
}

func (n *run) split() {
	n.count["split"]++
	side := n.r.Uint64()
	n.Heal()
	for a := range n.Replicas {
		for b := range n.Replicas {
			if side>>a&1 != side>>b&1 {
				n.Block(raft.ReplicaID(a+1), raft.ReplicaID(b+1))
			}
		}
	}
}

func (n *run) fault(r *Replica) {
	switch n.r.IntN(9) {
	case 0:
		if r.Group != nil {
			n.crash(r)
		}
	case 1:
		n.split()
	case 2: // one way of one link
		n.count["block"]++
		n.Block(n.any().ID, r.ID)
	case 3:
		n.Heal()
	case 4:
		n.count["slow disk"]++
		r.Hold = !r.Hold
	case 5:
		if r.Group != nil {
			r.Group.Campaign()
		}
	case 6:
		for _, r := range n.Replicas {
			if r.Group != nil && n.r.IntN(3) > 0 {
				n.count["hint"]++
				n.hints.lose(r)
			}
		}
	case 7:
		if r.Group != nil {
			n.count["hint taken back"]++
			r.Group.LeaderBack()
		}
	case 8:
		for _, r := range n.Replicas {
			if r.Group != nil && r.Group.Quiet() {
				n.count["wake"]++
				r.Group.Wake()
			}
		}
	}
}

// crash keeps on disk what was synced, any first part of what was not, and of
// the state machine any state on the way to what it has applied.
func (n *run) crash(r *Replica) {
	n.count["crash"]++
	st := r.Group.Status()
	kept := 0
	if n.r.IntN(2) == 0 {
		kept = n.r.IntN(len(r.Taken) + 1)
	}
	if kept > 0 {
		n.count["part synced"]++
	}
	n.Crash(r, kept)
	at := r.Disk.Machine.Base.Index
	if most := min(st.Applied, r.Disk.State.Commit); most > at {
		r.Disk.Advance(at + n.r.Uint64N(most-at+1))
	}
}

// settle ends all faults; the group must elect a leader, commit, and end with
// equal logs.
func (n *run) settle() {
	n.Heal()
	for _, r := range n.Replicas {
		if r.Group == nil {
			n.Start(r)
		}
		r.Hold = false
		r.Group.Prefer(0)
	}
	n.leaveOne()
	for _, r := range n.Replicas {
		n.Unfence(r)
	}
	n.pass(30 * n.Config.ElectionTicks)
	lead := n.leader()
	if lead == nil {
		n.Check.broken("no leader after all faults ended")
		return
	}
	lead.Reads = nil
	if err := lead.Group.ReadIndex(1 << 40); err != nil {
		n.Check.broken("the leader takes no read: %v", err)
	}
	n.Run()
	if len(lead.Reads) != 1 {
		n.Check.broken("%d reads are answered, want 1", len(lead.Reads))
	}
	if _, err := lead.Group.Propose(0, []raft.Entry{raft.NewEntry(raft.EntryNormal, []byte("the last"))}); err != nil {
		n.Check.broken("the leader takes no command after all faults ended: %v", err)
		return
	}
	n.pass(n.Config.HeartbeatTicks * 6)
	want := lead.Group.Status()
	if len(want.Membership.Outgoing) > 0 {
		n.Check.broken("the joint configuration is not left: %s", words(want.Membership))
	}
	for _, l := range want.Membership.Learners {
		if l.Goal == raft.GoalVoter {
			n.Check.broken("replica %d is not promoted: %s", l.Replica, words(want.Membership))
		}
	}
	for _, id := range want.Membership.Replicas() {
		st := n.Replicas[id-1].Group.Status()
		if st.Last != want.Last || st.Commit != want.Last.Index || st.Applied != want.Last.Index || st.Leader != lead.ID {
			n.Check.broken("replica %d ends with %s, commit %d, applied %d, leader %d; the leader %d with %s",
				id, st.Last, st.Commit, st.Applied, st.Leader, lead.ID, want.Last)
		}
	}
}

// leaveOne fences all replicas but one, a voter of the longest log. It must come to lead, if it
// needs no state for that: a fenced replica would give it none.
func (n *run) leaveOne() {
	n.Run()
	newest := n.Replicas[0].Group.Status()
	for _, r := range n.Replicas[1:] {
		if st := r.Group.Status(); st.Last.NewerOrEqual(newest.Last) {
			newest = st
		}
	}
	voters := newest.Membership.Voters
	if newest.Joint || len(voters) == 0 {
		return
	}
	one := n.Replicas[voters[n.r.IntN(len(voters))].Replica-1]
	last := one.Group.Status().Last
	for _, r := range n.Replicas {
		if r.Disk.Snapshot.Base.Index > last.Index || !r.Group.Status().Membership.Votes(one.ID) {
			return // one of them, elected, would have a state to give, or another membership
		}
	}
	for _, r := range n.Replicas {
		if r != one {
			n.Fence(r)
		}
	}
	n.Unfence(one)
	n.pass(40 * n.Config.ElectionTicks)
	n.count["one may lead"]++
	if newest.Last != last {
		n.count["one may lead, and lacks entries"]++
	}
	if lead := n.leader(); lead != one {
		n.Check.broken("replica %d alone may lead, and does not: %+v", one.ID, one.Group.Status())
	}
}

// pass lets time go by without faults.
func (n *run) pass(ticks int) {
	for range ticks {
		for i := 0; i < len(n.Replicas); i++ {
			r := n.Replicas[i]
			n.tick(r)
			n.Run()
		}
	}
}

// leader returns the newest leader.
func (n *run) leader() (lead *Replica) {
	for _, r := range n.Replicas {
		if r.Group == nil {
			continue
		}
		if st := r.Group.Status(); st.Role == raft.RoleLeader && (lead == nil || st.Term > lead.Group.Status().Term) {
			lead = r
		}
	}
	return lead
}
