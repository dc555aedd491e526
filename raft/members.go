package raft

// members knows the membership in force and those it may fall back to. A
// membership is in force from the moment its entry is in the log (the paper,
// section 6), so truncating the entry brings back the one before.
type members struct {
	// history holds what is in force from each index on. Its first is
	// committed, and is the only committed one.
	history []memberChange
	// changes counts the changes of what is in force. When it has moved, the next
	// Ready tells the owner.
	changes uint64
}

// memberChange is a membership and what brought it in force: its entry, or the base that
// the log begins after.
type memberChange struct {
	id         LogID
	membership Membership
}

func (m *members) now() *Membership {
	if bug("configuration at commit") {
		return &m.history[0].membership
	}
	return &m.history[len(m.history)-1].membership
}

// nowAt returns the id that names the membership in force, see [Status.MembershipAt].
func (m *members) nowAt() LogID {
	if now := &m.history[len(m.history)-1]; now.id.Index > 0 || now.membership.Blank() {
		return now.id
	}
	return foundingAt
}

// foundingAt names the membership of the founding. No entry brought it, and 0 must stay
// free to name none. Index 1 is never taken by another membership: the first entry of a
// log is the no-op of its first leader.
var foundingAt = LogID{Index: 1}

// isAt reports whether the membership in force was in force at an index, which is
// committed. Another leader, whose log began later, may name the membership by its base.
// All up to there is committed, so it is the same here, and no other membership came
// between the entry here and there.
func (m *members) isAt(index, commit uint64) bool {
	return m.nowAt().Index <= index && index <= commit
}

// settled reports whether the membership in force is committed, and not joint.
func (m *members) settled() bool {
	now := &m.history[0].membership
	return len(m.history) == 1 && len(now.Outgoing) == 0 && !now.Blank()
}

// committed returns the newest membership that is known to be committed.
func (m *members) committed() *Membership { return &m.history[0].membership }

// at returns the membership in force at index; nil if it is forgotten.
func (m *members) at(index uint64) *Membership {
	for i := len(m.history) - 1; i >= 0; i-- {
		if m.history[i].id.Index <= index {
			return &m.history[i].membership
		}
	}
	return nil
}

// reset begins anew with a membership that is committed.
func (m *members) reset(id LogID, membership Membership) {
	m.history = []memberChange{{id, membership}}
	m.changes++
}

func (m *members) push(id LogID, membership Membership) {
	m.history = append(m.history, memberChange{id, membership})
	m.changes++
}

// truncate forgets memberships that entries from index on brought, and reports
// whether there were any.
func (m *members) truncate(index uint64) bool {
	n := len(m.history)
	for n > 1 && m.history[n-1].id.Index >= index {
		n--
	}
	changed := n < len(m.history)
	m.history = m.history[:n]
	if changed {
		m.changes++
	}
	return changed
}

// commit forgets memberships that can't come back.
func (m *members) commit(index uint64) {
	for len(m.history) > 1 && m.history[1].id.Index <= index {
		m.history = m.history[1:]
	}
}

// mayVote reports whether id is a voter, or was one before entries that are not
// known to be committed. The latter still stands for election, without counting
// itself: its log may be the only one with the entry that removes it, and then
// nobody else can win (the dissertation, section 4.2.2).
func (m *members) mayVote(id ReplicaID) bool {
	for i := range m.history {
		if m.history[i].membership.Votes(id) {
			return true
		}
	}
	return false
}

// mayBe reports whether a replica of that id may be a member, as far as this log
// can tell. One that is not in force here may have been added by entries that
// are still on their way, or been removed by one that is not committed. The only
// certain thing is that an id does not come back once its removal is committed.
func (m *members) mayBe(id ReplicaID) bool {
	if id >= m.history[0].membership.Next || bug("removed node still votes") {
		return true
	}
	for i := range m.history {
		if _, ok := m.history[i].membership.Member(id); ok {
			return true
		}
	}
	return false
}
