package sim

import (
	"fmt"
	"slices"

	"muster/logstore"
	"muster/raft"
	"muster/repl/machine"
	"muster/shardmap"
)

// config is a membership that an entry brought.
type config struct {
	id      raft.LogID
	members raft.Membership
}

// there reports whether the cluster has the group.
func (t *truth) there() bool { return t.made && !t.gone }

// begin begins what is known of a group that a table has for the first time.
func (t *truth) begin(row *shardmap.TableGroup) {
	p, _ := machine.Placement(row, 0)
	t.made, t.founded, t.incarnation = true, &p.Founders, row.Incarnation
}

// founding returns the membership that the group began with.
func (t *truth) founding() *raft.Membership {
	if !t.made {
		return new(raft.Membership)
	}
	if t.founded == nil {
		t.incarnation = 1
		if t.group == 0 {
			m := t.c.metaPlacement(0).Founders
			t.founded = &m
			return t.founded
		}
		line, ok := t.c.newestTable().Group(t.group)
		if !ok {
			t.c.fail("group %d is not in the table", t.group)
		}
		p, _ := machine.Placement(&line, 0)
		t.founded, t.incarnation = &p.Founders, line.Incarnation
	}
	return t.founded
}

// committed returns the newest membership that some replica has applied.
func (t *truth) committed() *raft.Membership {
	if n := len(t.configs); n > 0 {
		return &t.configs[n-1].members
	}
	return t.founding()
}

// settled returns the memberships that some replica has applied and that are not joint, in
// order.
func (t *truth) settled() (list []*raft.Membership) {
	for i := range t.configs {
		if m := &t.configs[i].members; len(m.Outgoing) == 0 {
			list = append(list, m)
		}
	}
	return list
}

// inForce returns the membership that is in force at an index that some replica
// has applied.
func (t *truth) inForce(index uint64) *raft.Membership {
	for i := len(t.configs) - 1; i >= 0; i-- {
		if t.configs[i].id.Index <= index {
			return &t.configs[i].members
		}
	}
	return t.founding()
}

// isBase checks the base of a replica's log: it must be an entry that was applied, with
// the time and the membership of that place.
func (t *truth) isBase(n *node, id raft.LogID, at raft.GroupTime, m *raft.Membership) {
	if id.Index == 0 {
		return
	}
	if id.Index > uint64(len(t.entries)) || t.entries[id.Index-1].term != id.Term {
		t.c.fail("I3: n%d begins its log of group %d after %s, which is not committed", n.index, t.group, id)
	}
	if want := t.entries[id.Index-1].time; at != want {
		t.c.fail("I10: n%d begins its log of group %d after %s with group time %d, that entry's is %d", n.index, t.group, id, at, want)
	}
	if want := t.inForce(id.Index); string(m.Append(nil)) != string(want.Append(nil)) {
		t.c.fail("I6: n%d begins its log of group %d after %s with membership %s, in force there is %s", n.index, t.group, id, describe(m), describe(want))
	}
}

// removed reports whether the removal of a replica is committed.
func (t *truth) removed(id raft.ReplicaID) bool {
	if t.gone {
		return true
	}
	if len(t.configs) == 0 {
		return false
	}
	m := t.committed()
	_, ok := m.Member(id)
	return !ok && id < m.Next
}

// isQuorum reports whether the replicas for which in is true can decide: they need a
// majority of the voters and, in a joint configuration, one of the outgoing voters.
func isQuorum(m *raft.Membership, in func(raft.Member) bool) bool {
	for _, list := range [...][]raft.Member{m.Voters, m.Outgoing} {
		have := 0
		for _, v := range list {
			if in(v) {
				have++
			}
		}
		if len(list) > 0 && 2*have <= len(list) {
			return false
		}
	}
	return true
}

// wroteConfig checks I6 when a membership is on a disk for the first time. before is the
// one before it in that log: it must be committed, and each of its quorums must share a
// replica with each quorum of the new one.
func (t *truth) wroteConfig(n *node, e *raft.Entry, before *config) {
	if _, ok := t.configAt[e.ID]; ok {
		return
	}
	m, err := raft.ReadMembership(e.Payload())
	if err != nil {
		t.c.fail("n%d writes entry %s of group %d: %v", n.index, e.ID, t.group, err)
	}
	t.configAt[e.ID] = &config{e.ID, m}
	t.proposed = append(t.proposed, m)
	old := &before.members
	if before.id.Index > 0 && !t.isCommitted(before) {
		t.c.fail("I6: n%d writes a membership of group %d at %s (%s); the one before, at %s (%s), is not committed",
			n.index, t.group, e.ID, describe(&m), before.id, describe(old))
	}
	all := slices.Concat(old.Voters, old.Outgoing, m.Voters, m.Outgoing)
	var ids []raft.ReplicaID
	for _, o := range all {
		ids = append(ids, o.Replica)
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	// The slow and obvious way: split the replicas in every possible way, and see whether
	// both sides could decide.
	for part := range 1 << len(ids) {
		in := func(o raft.Member) bool { return part>>slices.Index(ids, o.Replica)&1 != 0 }
		if isQuorum(old, in) && isQuorum(&m, func(o raft.Member) bool { return !in(o) }) {
			t.c.fail("I6: n%d writes a membership of group %d at %s (%s) of which a quorum decides without one of the membership before (%s)",
				n.index, t.group, e.ID, describe(&m), describe(old))
		}
	}
}

// isCommitted reports whether some replica has applied a membership, or could: a quorum
// of it has it on disk.
func (t *truth) isCommitted(x *config) bool {
	if x.id.Index <= uint64(len(t.entries)) {
		return t.entries[x.id.Index-1].term == x.id.Term
	}
	return isQuorum(&x.members, t.durable(x.id))
}

// durable returns a function that reports which replicas have an entry on disk. One whose
// node runs in doubt also counts with what it had before it forgot: an acknowledgement
// from then may be counted until the leader hears of the new life, and that neither votes
// nor acknowledges before it has it all back.
func (t *truth) durable(id raft.LogID) func(raft.Member) bool {
	return func(o raft.Member) bool {
		l := &t.c.nodes[o.Node-1].ledger
		r := logstore.Replica{Group: t.group, Incarnation: t.incarnation, ID: o.Replica}
		has := func(s *shadow) bool { return s != nil && !s.removed && s.holds(t, id) }
		return has(l.shadows[r]) || l.doubtful && has(l.forgotten[r])
	}
}

// decided checks, when an entry is applied for the first time, that a quorum has it on
// disk: a quorum of the membership in force there, or of a later one by which a leader
// already counts.
func (t *truth) decided(n *node, id raft.LogID) {
	if t.gone {
		return // nodes that have heard of that have removed their replicas, and the entry with them
	}
	in := t.durable(id)
	now := t.founding()
	if k := len(t.configs); k > 0 {
		now = &t.configs[k-1].members
	}
	if isQuorum(now, in) {
		return
	}
	// A membership is decided by its own quorum, and the next one waits for that.
	if k := len(t.configs); k > 0 && t.configs[k-1].id == id {
		t.undecided(n, id, now, in)
	}
	for _, o := range t.c.nodes {
		if o.host == nil {
			continue
		}
		for _, v := range o.host.View() {
			if v.Replica.Group == t.group {
				t.proposed = append(t.proposed, v.Status.Membership)
			}
		}
	}
	for i := range t.proposed {
		if m := &t.proposed[i]; isAfter(m, now) && isQuorum(m, in) {
			return
		}
	}
	t.undecided(n, id, now, in)
}

func (t *truth) undecided(n *node, id raft.LogID, now *raft.Membership, in func(raft.Member) bool) {
	var have []raft.ReplicaID
	for o := range now.Voting() {
		if in(o) {
			have = append(have, o.Replica)
		}
	}
	t.c.fail("I6: n%d applies %s of group %d, which no quorum of %s has on disk: only %v have", n.index, id, t.group, describe(now), have)
}

// isAfter reports whether b can come next after a: b is a joint configuration that
// begins at a, or has the voters of a, as when a joint one is left.
func isAfter(b, a *raft.Membership) bool {
	if len(b.Outgoing) > 0 {
		return slices.Equal(b.Outgoing, a.Voters)
	}
	return slices.Equal(b.Voters, a.Voters)
}

// possible returns the memberships that may be in force: the committed one, and those
// after it in some log or at some leader.
func (t *truth) possible() []*raft.Membership {
	now := t.committed()
	list := []*raft.Membership{now}
	for _, n := range t.c.nodes {
		if n.host != nil {
			for _, v := range n.host.View() {
				if v.Replica.Group == t.group && v.Status.Commit < v.Status.Last.Index && isAfter(&v.Status.Membership, now) {
					list = append(list, &v.Status.Membership)
				}
			}
		}
		for r, s := range n.ledger.shadows {
			if r.Group == t.group && !s.removed && len(s.changes) > 0 {
				if x := s.changes[len(s.changes)-1]; x.id.Index > uint64(len(t.entries)) {
					list = append(list, &x.members)
				}
			}
		}
	}
	return list
}

// toCome returns what a membership can become by itself: any of the learners that are to
// vote may have been promoted.
func toCome(m *raft.Membership) (list []raft.Membership) {
	var due []raft.Member
	for _, l := range m.Learners {
		if l.Goal == raft.GoalVoter {
			due = append(due, l)
		}
	}
	for some := range 1 << len(due) {
		next := raft.Membership{Voters: slices.Clone(m.Voters), Outgoing: m.Outgoing}
		for i, l := range due {
			if some>>i&1 != 0 {
				next.Voters = append(next.Voters, l)
			}
		}
		list = append(list, next)
	}
	return list
}

// replaced returns what a membership becomes when a learner takes a voter's place.
func replaced(m *raft.Membership) (list []raft.Membership) {
	for _, l := range m.Learners {
		for i := range m.Voters {
			next := raft.Membership{Voters: slices.Clone(m.Voters), Outgoing: m.Voters}
			next.Voters[i] = l
			list = append(list, next)
		}
	}
	return list
}

func describe(m *raft.Membership) string {
	s := "voters"
	for _, list := range [...]struct {
		name    string
		members []raft.Member
	}{{"", m.Voters}, {", outgoing", m.Outgoing}, {", learners", m.Learners}} {
		if len(list.members) == 0 {
			continue
		}
		s += list.name
		for _, o := range list.members {
			s += fmt.Sprintf(" %d@n%d", o.Replica, o.Node)
		}
	}
	return s
}
