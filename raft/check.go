package raft

import (
	"fmt"
	"hash/crc32"
)

// check refuses a message that no correct replica sends to replica self.
func (m *Message) check(self ReplicaID) error {
	bad := func(format string, a ...any) error {
		return fmt.Errorf("%w: %w", ErrMessage, fmt.Errorf(format, a...))
	}
	switch {
	case m.To != self:
		return bad("it is for replica %d, this is %d", m.To, self)
	case m.From == 0 || m.From == self:
		return bad("it claims to be from replica %d, this is %d", m.From, self)
	case !m.Type.known():
		return bad("its type is not known")
	case m.Term == 0 || m.Term >= TermLimit:
		return bad("term %d is not between 1 and %d", m.Term, TermLimit-1)
	case m.Log.Index >= IndexLimit || m.Conflict.Index >= IndexLimit || m.Commit >= IndexLimit:
		return bad("of %s, %s and commit %d an index is not below %d", m.Log, m.Conflict, m.Commit, IndexLimit)
	case m.Log.Term > m.Term && m.Type != MsgReadIndexAnswer || m.Conflict.Term > m.Term:
		return bad("in term %d it names %s and %s", m.Term, m.Log, m.Conflict)
	case m.Install != nil && m.Install.Time >= TimeLimit:
		return bad("the snapshot's time %d is not below %d", m.Install.Time, TimeLimit)
	case m.Time >= TimeLimit:
		return bad("its time %d is not below %d", m.Time, TimeLimit)
	case m.Fetch != 0:
		return bad("its entries were not filled in")
	case len(m.Entries) > 0 && m.Type != MsgAppend:
		return bad("it has entries")
	case (m.Install != nil) != (m.Type == MsgSnapshot):
		return bad("a snapshot comes with what to install, and nothing else does")
	case m.Install != nil && (m.Log.Index == 0 || m.Install.Base != m.Log || m.Install.Membership.Blank()):
		return bad("the snapshot covers %s with %d voters, it claims %s", m.Install.Base, len(m.Install.Membership.Voters), m.Log)
	}
	if m.Install != nil {
		if err := m.Install.Membership.Check(); err != nil {
			return fmt.Errorf("%w: the snapshot's membership: %w", ErrMessage, err)
		}
	}
	return nil
}

// check refuses a message that can't be right in this replica's present state. It
// changes nothing but the reach.
func (r *replica) check(m *Message) error {
	if err := m.check(r.config.Self); err != nil {
		return err
	}
	if !r.members.mayBe(m.From) {
		return fmt.Errorf("%w: replica %d", ErrNotMember, m.From)
	}
	// Answers are counted by the membership in force, so their senders must be in it.
	// Anything else may come from a member that this log has not heard of yet.
	switch m.Type {
	case MsgPreVoteAnswer, MsgVoteAnswer, MsgAppendAnswer, MsgHeartbeatAnswer:
		if _, ok := r.members.now().Member(m.From); !ok {
			return fmt.Errorf("%w: replica %d", ErrNotMember, m.From)
		}
	}
	if err := r.reach.check(m.Term, r.term); err != nil {
		return err
	}
	// Whether a membership may follow can be told only if this log holds the entry that
	// they follow.
	var before *Membership
	if term, ok := r.log.termAt(m.Log.Index); ok && term == m.Log.Term {
		before = r.members.at(m.Log.Index)
	}
	return m.checkEntries(r.config.Seed, before)
}

// checkEntries refuses entries that no correct leader sends. members is in force
// before the first of them; nil: it is not known.
func (m *Message) checkEntries(seed Seed, members *Membership) error {
	before, time := m.Log, GroupTime(0)
	for i := range m.Entries {
		e := &m.Entries[i]
		var what string
		switch {
		case e.ID.Index != before.Index+1:
			what = "it leaves a gap or is out of order"
		case e.ID.Term < before.Term || e.ID.Term > m.Term:
			what = "its term is out of order"
		case e.Time < time:
			what = "its time goes back"
		case e.Time >= TimeLimit:
			what = "its time can't be"
		case len(e.Raw) < EntryHeaderSize || len(e.Raw) > EntryHeaderSize+PayloadSizeMax:
			what = "its length can't be"
		case !e.sealed(seed):
			what = "its header or checksum does not fit"
		}
		if what != "" {
			return fmt.Errorf("%w: entry %s after %s in term %d: %s", ErrMessage, e.ID, before, m.Term, what)
		}
		if e.Kind == EntryMembership {
			next, err := ReadMembership(e.Payload())
			if err == nil && next.Blank() {
				err = fmt.Errorf("%w: it has no members", ErrMembership)
			}
			if err == nil && members != nil && !members.Blank() && !bug("two changes in flight") {
				err = members.follows(&next)
			}
			if err != nil {
				return fmt.Errorf("%w: entry %s: %w", ErrMessage, e.ID, err)
			}
			members = &next
		}
		before, time = e.ID, e.Time
	}
	return nil
}

// sealed reports whether e's header and checksum are those of e.
func (e *Entry) sealed(seed Seed) bool {
	var h [EntryHeaderSize]byte
	e.header(&h)
	return [EntryHeaderSize - 4]byte(e.Raw[4:EntryHeaderSize]) == [EntryHeaderSize - 4]byte(h[4:]) &&
		crc32.Update(uint32(seed), castagnoli, e.Raw[4:]) == e.Checksum()
}
