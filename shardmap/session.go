package shardmap

import (
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/raft"
)

// Limits of what a slot remembers of sessions. They are part of the meaning of a
// command: all replicas forget and refuse alike, at the same entry.
const (
	// SessionKeep is the group time for which a session is remembered after
	// its last use. Clients stop retrying a command after half of it.
	SessionKeep = raft.GroupTime(600e9)
	// SlotSessionsMax bounds the sessions that one slot remembers. A client
	// process has one session in it, and each run of a command is a process:
	// that allows a hundred runs a second on one slot, for SessionKeep. With
	// 4,096, tried first, seven runs a second filled it.
	SlotSessionsMax = 65536
	// SlotOutcomesMax bounds the outcomes that one slot remembers: one for
	// each session, and one whole window; 6 MB.
	SlotOutcomesMax = SlotSessionsMax + SessionWindowMax
	// GroupSessionsMax bounds the sessions that all slots of a group remember
	// together; a client that writes to all slots has one in each. It allows 2,000
	// such clients in a group with an eighth of the slots, or 1,700 runs of a
	// command a second, for SessionKeep: some 130 MB on each replica.
	GroupSessionsMax = 1 << 20
	// GroupOutcomesMax bounds the outcomes in the same way: 120 MB.
	GroupOutcomesMax = 2 * GroupSessionsMax
)

// outcome is what became of one sequence of a session.
type outcome struct {
	sequence uint64
	id       raft.LogID
	version  uint64 // in a conflict, the current one
	sum      uint64 // Invariant: the outcome's hash
	deleted  uint32 // where it is detailed: where its detail begins among the session's (details.go)
	// group is the one whose log has the entry id. When the slot has moved, it is
	// another than the one that answers a retry.
	group  raft.GroupID
	status Status
	// detailed: it has a detail, and no deleted.
	detailed bool
}

func (o *outcome) result() Result {
	r := Result{Status: o.status, Group: o.group, ID: o.id, Deleted: o.deleted}
	if o.status == StatusConflict {
		r.Current = o.version
	} else {
		r.Version = o.version
	}
	return r
}

// sessionKey names a session. Clients choose the ids of their sessions, so an id
// alone would let one principal read, or forget, the outcomes of another: the
// sessions of two principals are two, whatever their ids.
type sessionKey struct {
	id        uint64
	principal Principal
}

// below orders sessions by id, which is drawn at random, so that the principal is
// hardly ever looked at.
func (k sessionKey) below(o sessionKey) bool {
	return k.id < o.id || k.id == o.id && k.principal < o.principal
}

// bugSessionOfAnother is planted to show that its test finds it: whoever knows the id of a session has it.
const bugSessionOfAnother = "session of another principal"

// sessionKey names the session of c.
func (c *Command) sessionKey() sessionKey {
	if bug(bugSessionOfAnother) {
		return sessionKey{c.Session, 0}
	}
	return sessionKey{c.Session, c.Principal}
}

// session is what one slot remembers of one session.
type session struct {
	sessionKey
	used  raft.GroupTime // of the last command
	floor uint64         // the highest seen; nothing below it is kept
	sum   uint64         // Invariant: the session's hash
	// outcomes[head:] are kept, by sequence. Those before are forgotten, and are
	// cleared away once they are as many as the rest.
	outcomes []outcome
	head     uint32
	order    uint32   // its node in the order of use
	epoch    uint64   // of the table, when the array of outcomes was made
	details  *details // of outcomes; nil as long as none ever had one
}

func (s *session) kept() []outcome { return s.outcomes[s.head:] }

// The digest of a session is the xxhash64 of its kind (2), id, principal, last use
// and floor; that of an outcome of its kind (3), session and fields, and if it has
// one of the xxhash64 of its detail; u64 little-endian each. Both are stored with the session or outcome: to hash it
// again when it changes or goes would be half of a session's cost per command.
func (s *session) hash() uint64 {
	var b [40]byte
	binary.LittleEndian.PutUint64(b[0:], 2)
	binary.LittleEndian.PutUint64(b[8:], s.id)
	binary.LittleEndian.PutUint64(b[16:], uint64(s.principal))
	binary.LittleEndian.PutUint64(b[24:], uint64(s.used))
	binary.LittleEndian.PutUint64(b[32:], s.floor)
	return xxhash.Sum64(b[:])
}

func (o *outcome) hash(of sessionKey, detail []byte) uint64 {
	var b [72]byte
	n, deleted := 64, o.deleted
	if o.detailed {
		binary.LittleEndian.PutUint64(b[64:], xxhash.Sum64(detail))
		n, deleted = len(b), 0
	}
	binary.LittleEndian.PutUint64(b[0:], 3)
	binary.LittleEndian.PutUint64(b[8:], of.id)
	binary.LittleEndian.PutUint64(b[16:], uint64(of.principal))
	binary.LittleEndian.PutUint64(b[24:], o.sequence)
	binary.LittleEndian.PutUint64(b[32:], o.id.Term)
	binary.LittleEndian.PutUint64(b[40:], o.id.Index)
	binary.LittleEndian.PutUint64(b[48:], o.version)
	binary.LittleEndian.PutUint64(b[56:], uint64(deleted)|uint64(o.status)<<32|uint64(o.group)<<40)
	return xxhash.Sum64(b[:n])
}

// find returns the position of a sequence in kept, or where it would be. Most
// sequences are newer than all that are kept.
func (s *session) find(sequence uint64) (int, bool) {
	kept := s.kept()
	lo, hi := 0, len(kept)
	if hi == 0 || kept[hi-1].sequence < sequence {
		return hi, false
	}
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if kept[mid].sequence < sequence {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, kept[lo].sequence == sequence
}

// begin records that a command of a session has arrived. It returns the
// session. If done is set, it also returns the result that the command has without
// being carried out; the command then counts as no use of anything new.
//
// The session is good until the next begin.
func (t *sessions) begin(c *Command, now raft.GroupTime, q *sessionQuota) (s *session, r Result, done bool) {
	key := c.sessionKey()
	block, at, ok := t.find(key)
	if !ok {
		t.forgetDue(now, forgetMax, q)
		switch {
		case t.count >= SlotSessionsMax || t.outcomes >= SlotOutcomesMax:
			return nil, Result{Status: StatusTooManySessions}, true
		case q.full():
			return nil, Result{Status: StatusGroupTooManySessions}, true
		}
		block, at, _ = t.find(key) // forgetDue may have removed others
		s = t.insert(block, at, session{sessionKey: key, used: now, floor: c.Floor, epoch: t.epoch})
		if q.sessions++; q.sessions == 1 {
			q.oldest = now // later ones are used later
		}
	} else {
		b := &t.blocks[block]
		if b.epoch < t.shared { // [sessions.ownBlock], in place
			b = t.cloneBlock(block)
		}
		s = &b.list[at]
		t.sum -= s.sum
		s.used, s.floor = max(s.used, now), max(s.floor, c.Floor)
		t.touch(s)
		t.prune(s, q)
	}
	s.sum = s.hash()
	t.sum += s.sum
	// Below the floor the outcome is forgotten: the client has said that it
	// waits for none. Carrying the command out again could apply it twice, so
	// a late copy of it gets no answer but this.
	if c.Sequence < s.floor && !bug("retry applied twice") {
		return s, Result{Status: StatusStale}, true
	}
	if at, ok := s.find(c.Sequence); ok && !bug("retry applied twice") && !(c.Kind == CommandDelPrefix && bug(bugPrefixAgain)) {
		return s, s.result(&s.kept()[at]), true
	}
	switch {
	case t.outcomes >= SlotOutcomesMax, t.details >= SlotDetailsMax && c.Kind.answersMuch():
		return s, Result{Status: StatusTooManySessions}, true
	case q.outcomes >= q.outcomesMax, q.details >= q.detailsMax && c.Kind.answersMuch():
		return s, Result{Status: StatusGroupTooManySessions}, true
	}
	return s, Result{}, false
}

// finish keeps the outcome of a command for which begin returned done false.
// begin has made sure that there is room: a command whose outcome could not be
// kept must not be carried out.
func (t *sessions) finish(s *session, sequence uint64, r Result, q *sessionQuota) {
	o := outcome{sequence: sequence, group: r.Group, id: r.ID, version: r.Version, deleted: r.Deleted, status: r.Status}
	if r.Status == StatusConflict {
		o.version = r.Current
	}
	if len(r.Detail) > 0 && !bug("details of an outcome forgotten") {
		t.addDetail(s, &o, r.Detail, q)
	}
	o.sum = o.hash(s.sessionKey, r.Detail)
	at, _ := s.find(sequence)
	if len(s.outcomes) == cap(s.outcomes) && s.head > 0 {
		t.settle(s)
	}
	if at == len(s.kept()) {
		s.outcomes = append(s.outcomes, o) // behind the end of what any copy sees
	} else {
		if s.epoch < t.shared {
			t.settle(s)
		}
		s.outcomes = slices.Insert(s.outcomes, int(s.head)+at, o)
	}
	t.outcomes++
	q.outcomes++
	t.sum += o.sum
}

// prune forgets outcomes for which the session's client no longer waits.
func (t *sessions) prune(s *session, q *sessionQuota) {
	for int(s.head) < len(s.outcomes) && s.outcomes[s.head].sequence < s.floor {
		o := &s.outcomes[s.head]
		t.sum -= o.sum
		t.outcomes--
		q.outcomes--
		if o.detailed {
			q.details -= t.forgetDetail(s, o)
		}
		s.head++
	}
	if s.details != nil {
		t.settleDetails(s)
	}
	switch left := len(s.outcomes) - int(s.head); {
	case left == 0 && s.epoch >= t.shared: // as when a client has one command under way
		s.outcomes, s.head = s.outcomes[:0], 0
	case s.head > 0 && int(s.head) >= left:
		t.settle(s)
	}
}

// settle moves the kept outcomes to the front of an array that no copy sees.
func (t *sessions) settle(s *session) {
	if s.epoch < t.shared {
		s.outcomes, s.head, s.epoch = slices.Clone(s.kept()), 0, t.epoch
		return
	}
	n := copy(s.outcomes, s.kept())
	s.outcomes, s.head = s.outcomes[:n], 0
}
