package rafttest

import (
	"errors"
	"fmt"

	"muster/raft"
)

// Check watches a group from outside and records what must never happen. It
// knows nothing of how the core works.
type Check struct {
	// Broken holds what was found.
	Broken []string
	// Commit is the largest index that any replica has handed out as
	// committed; a read that begins now must see at least that.
	Commit uint64

	leaders   map[uint64]raft.ReplicaID // by term
	before    map[entryKey]raft.LogID   // the id that stands before each entry
	committed []entryKey                // by index - 1
	digests   map[uint64]uint64         // of the state machines, by index
	wishes    map[wish]raft.LogID       // the last ids of logs whose owners asked for votes
	settled   map[uint64]string         // encoded memberships that leaders called settled, by the index of their names
	replicas  map[raft.ReplicaID]*seen
	kept      []keptSlice
}

// wish is one election that one replica wants to win.
type wish struct {
	from raft.ReplicaID
	term uint64
	pre  bool
}

// keptSlice is a slice that was handed out, with what it held then.
type keptSlice struct {
	entries []raft.Entry
	ids     []raft.LogID
}

type entryKey struct {
	id  raft.LogID
	sum uint32
}

type seen struct {
	state   raft.HardState // the last one handed out
	base    raft.LogID     // where log begins
	log     []entryKey     // as handed out to be written
	changes []change       // the memberships of log, that at base first
	handed  uint64
	number  uint64
}

// NewCheck returns a Check of a group just founded.
func NewCheck() *Check {
	return &Check{leaders: map[uint64]raft.ReplicaID{}, before: map[entryKey]raft.LogID{}, digests: map[uint64]uint64{},
		wishes: map[wish]raft.LogID{}, settled: map[uint64]string{}, replicas: map[raft.ReplicaID]*seen{}}
}

func (c *Check) broken(format string, a ...any) {
	c.Broken = append(c.Broken, fmt.Sprintf(format, a...))
}

func (c *Check) keep(entries []raft.Entry) {
	if len(entries) == 0 {
		return
	}
	k := keptSlice{entries: entries}
	for _, e := range entries {
		k.ids = append(k.ids, e.ID)
	}
	c.kept = append(c.kept, k)
}

// Unchanged checks that no slice that was ever handed out was written to.
func (c *Check) Unchanged() {
	for _, k := range c.kept {
		for i, e := range k.entries {
			if e.ID != k.ids[i] {
				c.broken("a slice that was handed out held %s and holds %s", k.ids[i], e.ID)
			}
		}
	}
}

// Started records that r was started from its disk.
func (c *Check) Started(r *Replica) {
	s := &seen{state: r.Disk.State, handed: r.Disk.Machine.Base.Index, base: r.Disk.Snapshot.Base,
		changes: []change{{r.Disk.Snapshot.Base.Index, r.Disk.Snapshot.Membership}}}
	for _, e := range r.Disk.Entries {
		s.log = append(s.log, entryKey{e.ID, e.Checksum()})
		s.change(e)
	}
	st := r.Group.Status()
	if st.Term != s.state.Term || st.Vote != s.state.Vote || st.Commit < s.state.Commit {
		c.broken("I5: replica %d had %+v on disk and starts with term %d vote %d commit %d", r.ID, s.state, st.Term, st.Vote, st.Commit)
	}
	c.replicas[r.ID] = s
}

// Compacted records that r's log begins later.
func (c *Check) Compacted(r *Replica) {
	s, base := c.replicas[r.ID], r.Disk.Snapshot.Base
	s.log = s.log[base.Index-s.base.Index:]
	s.base = base
}

// Applied checks r's state machine. I10: all are the same at one index.
func (c *Check) Applied(r *Replica) {
	index, digest := r.Machine.Base.Index, r.Machine.Digest
	if known, ok := c.digests[index]; ok && known != digest {
		c.broken("I10: replica %d has another state at %s than another had", r.ID, r.Machine.Base)
	}
	c.digests[index] = digest
}

// Ready checks a Ready that r's owner has taken.
func (c *Check) Ready(r *Replica, rd *raft.Ready) {
	s := c.replicas[r.ID]
	if rd.Number != s.number+1 {
		c.broken("replica %d: Ready %d follows %d", r.ID, rd.Number, s.number)
	}
	s.number = rd.Number
	last := s.last() // when the Ready before was taken; the log is no older now
	c.install(r.ID, s, rd)
	c.state(r.ID, s, rd)
	c.entries(r.ID, s, rd)
	c.commits(r, s, rd)
	if rd.Role == raft.RoleLeader {
		c.leader(r.ID, s, rd)
		st := r.Group.Status()
		c.named(r, &st)
	}
	c.keep(rd.Entries)
	c.keep(rd.Committed)
	for _, m := range rd.Messages {
		c.keep(m.Entries)
		switch m.Type {
		case raft.MsgVote, raft.MsgTransferVote, raft.MsgVoteAnswer, raft.MsgAppendAnswer:
			c.broken("replica %d sends %s before its sync", r.ID, m.Type)
		}
		c.votes(last, m)
	}
	for _, m := range rd.AfterSync {
		c.votes(last, m)
	}
}

// install: a snapshot covers only committed entries, and more than was applied.
func (c *Check) install(id raft.ReplicaID, s *seen, rd *raft.Ready) {
	if rd.Install == nil {
		return
	}
	base := rd.Install.Base
	if n := uint64(len(c.committed)); base.Index > n || c.committed[base.Index-1].id != base {
		c.broken("replica %d installs a snapshot of %s, which is not committed", id, base)
	}
	if base.Index <= s.handed {
		c.broken("replica %d installs a snapshot of %s after it was handed %d", id, base, s.handed)
	}
	s.base, s.log, s.handed = base, nil, base.Index
	s.changes = []change{{base.Index, rd.Install.Membership}}
}

// state: I5, term, vote and commit never go back.
func (c *Check) state(id raft.ReplicaID, s *seen, rd *raft.Ready) {
	a, b := s.state, rd.State
	if b.Term < a.Term || b.Commit < a.Commit || a.Term == b.Term && a.Vote != 0 && a.Vote != b.Vote {
		c.broken("I5: replica %d goes from %+v to %+v", id, a, b)
	}
	if (a != b) != rd.StateChanged {
		c.broken("replica %d: StateChanged is %v from %+v to %+v", id, rd.StateChanged, a, b)
	}
	if want := a.Term != b.Term || a.Vote != b.Vote || len(rd.Entries) > 0 || rd.Install != nil; want != rd.MustSync {
		c.broken("replica %d: MustSync is %v, want %v", id, rd.MustSync, want)
	}
	s.state = b
}

// last returns the id of the last entry of the log.
func (s *seen) last() raft.LogID {
	if n := len(s.log); n > 0 {
		return s.log[n-1].id
	}
	return s.base
}

// entries: I2, one log id has one content and one log before it. It is checked for
// each entry when that is written, and so holds for whole logs by induction.
func (c *Check) entries(id raft.ReplicaID, s *seen, rd *raft.Ready) {
	if len(rd.Entries) == 0 {
		return
	}
	at := rd.Entries[0].ID.Index
	if end := s.base.Index + uint64(len(s.log)); at > end+1 || at <= s.base.Index {
		c.broken("replica %d writes %d in a log from %s to %d", id, at, s.base, end)
		return
	}
	keep := at - s.base.Index - 1
	s.log = s.log[:keep:keep]
	s.truncate(at)
	for _, e := range rd.Entries {
		prev := s.last()
		key := entryKey{e.ID, e.Checksum()}
		if known, ok := c.before[key]; ok && known != prev {
			c.broken("I2: entry %s follows %s and, at replica %d, %s", e.ID, known, id, prev)
		}
		c.before[key] = prev
		s.log = append(s.log, key)
		c.change(id, s, rd, e)
	}
}

// commits: I4, same index, same entry, everywhere; each handed out once, in
// order, and only when it is on this replica's disk.
func (c *Check) commits(r *Replica, s *seen, rd *raft.Ready) {
	id := r.ID
	for _, e := range rd.Committed {
		if e.ID.Index > r.Disk.Last() || e.ID.Index <= r.Disk.Snapshot.Base.Index || r.Disk.At(e.ID.Index).ID != e.ID {
			c.broken("replica %d is handed %s, which is not synced there", id, e.ID)
		}
		if e.ID.Index != s.handed+1 {
			c.broken("replica %d is handed %s after %d", id, e.ID, s.handed)
		}
		s.handed = e.ID.Index
		key := entryKey{e.ID, e.Checksum()}
		switch n := uint64(len(c.committed)); {
		case e.ID.Index > n+1:
			c.broken("replica %d commits %s, nobody has committed %d", id, e.ID, n+1)
		case e.ID.Index == n+1:
			c.committed = append(c.committed, key)
			c.Commit = n + 1
		case c.committed[e.ID.Index-1] != key:
			c.broken("I4: replica %d commits %s, committed before is %s", id, e.ID, c.committed[e.ID.Index-1].id)
		}
	}
}

// bearing is what a fenced replica may do because of a call for its log.
type bearing struct {
	fenced bool // it was fenced as its last Ready was taken
	called bool // by a replica that lacks what it has
	stands bool // because of that, this once
	leads  bool
}

// fenced: a replica that must not lead stands for election only when it is called on to bear its
// log, once for a call. As a leader it proposes nothing but the first entry of its term, and
// the end of a joint change. It calls for nobody's log.
func (c *Check) fenced(r *Replica, rd *raft.Ready) {
	b := &r.bearing
	if rd.Role != raft.RoleFollower && r.role == raft.RoleFollower {
		b.stands, b.called = b.called, false
	}
	switch {
	case rd.Role == raft.RoleLeader && r.outgoing < 0:
		if b.leads, r.outgoing = true, 0; !b.stands {
			c.broken("replica %d is fenced and begins to lead in term %d, and nobody has called for its log", r.ID, rd.State.Term)
		}
	case rd.Role == raft.RoleFollower:
		b.stands, b.leads = false, false
	}
	for _, e := range rd.Entries {
		if !b.leads || e.ID.Term != rd.State.Term {
			continue
		}
		m, err := raft.ReadMembership(e.Payload())
		if ends := e.Kind == raft.EntryMembership && err == nil && len(m.Outgoing) == 0; e.Kind != raft.EntryNoOp && !ends {
			c.broken("replica %d is fenced, leads to bear its log, and proposes %s", r.ID, e.ID)
		}
	}
	for _, m := range rd.Messages {
		// A message that waited to be taken when it was fenced may be a call.
		if m.Type == raft.MsgPreVote && m.Reject && b.fenced {
			c.broken("replica %d is fenced and calls for a longer log", r.ID)
		}
	}
	b.fenced = true
}

// leader: I1, one leader per term; I3, a leader holds all that was committed.
func (c *Check) leader(id raft.ReplicaID, s *seen, rd *raft.Ready) {
	term := rd.State.Term
	if other, ok := c.leaders[term]; ok && other != id {
		c.broken("I1: replicas %d and %d lead in term %d", other, id, term)
	} else if ok {
		return
	}
	c.leaders[term] = id
	for i, key := range c.committed {
		switch at := i - int(s.base.Index); {
		case at == -1 && key.id != s.base, at >= 0 && (at >= len(s.log) || s.log[at] != key):
			c.broken("I3: replica %d leads in term %d and lacks %s", id, term, key.id)
			return
		}
	}
}

// votes: a vote, or a promise of one, goes only to a replica whose log has all that
// the voter's has (the paper, section 5.4.1).
func (c *Check) votes(last raft.LogID, m raft.Message) {
	switch m.Type {
	case raft.MsgPreVote, raft.MsgVote, raft.MsgTransferVote:
		w := wish{m.From, m.Term, m.Type == raft.MsgPreVote}
		if known := c.wishes[w]; m.Log.NewerOrEqual(known) {
			c.wishes[w] = m.Log
		}
	case raft.MsgPreVoteAnswer, raft.MsgVoteAnswer:
		asked := c.wishes[wish{m.To, m.Term, m.Type == raft.MsgPreVoteAnswer}]
		if !m.Reject && !asked.NewerOrEqual(last) {
			c.broken("5.4.1: replica %d says %s to %d, whose log ends at %s, its own at %s", m.From, m.Type, m.To, asked, last)
		}
	}
}

// Refused records that a message between correct replicas was refused.
func (c *Check) Refused(m raft.Message, err error) {
	if errors.Is(err, raft.ErrStopped) || errors.Is(err, raft.ErrMessage) {
		c.broken("replica %d refused %s: %v", m.To, describe(m), err)
	}
}
