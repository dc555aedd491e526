package shardmap

import (
	"encoding/binary"
	"math"
	"time"

	"muster/raft"
)

// What ends at a group time ends at an entry of kind time, of all slots at once,
// and not where a slot is next written to: nobody may ever write to it again.
//
// All replicas must forget the same at the same entry, though one has applied all
// entries and another began with a snapshot yesterday. So what an entry forgets
// follows from the state before it and the entry alone. When there was last
// something to forget, and how far back it began, each replica keeps for itself:
// such bounds only spare looks that would find nothing.

const (
	// sessionGather is how long sessions that are due are gathered, in nanoseconds, so that
	// a group whose clients come and go writes an entry each ten seconds for them, and
	// not one for each.
	sessionGather = raft.GroupTime(10e9)
	// endGather is the same for keys and leases, for which people wait: at most five entries
	// a second. A client that waits for the lock of a dead holder won't notice.
	endGather = 200e6
	// expireLookMax bounds the sessions of the slots that one entry looks at, and
	// expireMax those that it forgets, in whole slots or a little more: two or three
	// milliseconds. What is left is due at once, and the next entry's. expireMax bounds the
	// records that one entry ends, too. A lease goes with all its keys, however many they
	// are: nobody may see it without them, nor them without it.
	expireLookMax = 1 << 17
	expireMax     = 1 << 12
	// expireStride lies between the slots with which consecutive entries begin:
	// eight of them begin all over the map, and each looks at an eighth of the
	// most sessions that there can be.
	expireStride = Slots/8 + 1
)

// NextDue reports whether anything in the map lasts until a time, and returns a group time
// before which there is no need to end anything. The goroutine that applies calls it.
func (m *Map) NextDue() (at raft.GroupTime, waits bool) {
	q := &m.quota
	at, waits = q.oldest+SessionKeep+sessionGather, q.sessions > 0
	if m.due != raft.GroupTime(endless) {
		due := raft.GroupTime(slotTime(m.due).after(endGather))
		if !waits || due < at {
			at, waits = due, true
		}
	}
	return at, waits
}

// Expire records a time entry. It forgets sessions that were not used for SessionKeep by then,
// and removes what has ended.
func (m *Map) Expire(id raft.LogID, t raft.GroupTime) error {
	now, err := m.follows(id, t)
	if err != nil {
		return err
	}
	m.history.rest(now)
	m.history.begin(id)
	e := expiry{m: m, id: id, now: now}
	e.forgetSessions()
	e.endDue()
	m.advance(id, now)
	return nil
}

// Sessions returns how many sessions all slots together remember. The goroutine
// that applies calls it.
func (m *Map) Sessions() int { return m.quota.sessions }

// expiry is a time entry at work.
type expiry struct {
	m   *Map
	id  raft.LogID
	now raft.GroupTime
}

// forgetSessions forgets due sessions in all slots, or begins to.
func (e *expiry) forgetSessions() {
	m, id, now := e.m, e.id, e.now
	q := &m.quota
	if q.sessions == 0 || !due(q.oldest, now) {
		return // nowhere is one due, whatever another replica's bound says
	}
	first := Slot(id.Index * expireStride % Slots)
	oldest, looked, gone := raft.GroupTime(math.MaxUint64), 0, 0
	for k := range Slot(Slots) {
		st := m.slot((first + k) % Slots)
		if st == nil && bug("outcomes forgotten under a seal") {
			st = m.slots.Load().sealed.at((first + k) % Slots)
		}
		// What is sealed, or an import, keeps what it has: the target goes by the digest.
		if st == nil || st.sessions.count == 0 {
			continue
		}
		// Both bounds count what the state holds, not what was done: this replica may
		// know of a slot that none of its sessions is due, and another may not.
		if looked < expireLookMax && gone < expireMax {
			looked += st.sessions.count
			st.mu.Lock()
			gone += st.sessions.expire(now, expireMax-gone, q)
			st.mu.Unlock()
		}
		oldest = min(oldest, st.sessions.noneBefore())
	}
	q.oldest = oldest
}

// endDue ends what is due in the slots that the group serves, or begins to: in each slot in
// the order of ends. A slot that is sealed, or imported, keeps what it has.
func (e *expiry) endDue() {
	m := e.m
	now := wallClock(e.now)
	if now < m.due {
		e.lookAgain()
		return
	}
	first := Slot(e.id.Index * expireStride % Slots)
	due, gone := raft.GroupTime(endless), 0
	for k := range Slot(Slots) {
		slot := (first + k) % Slots
		st := m.slot(slot)
		if st == nil || !st.endings.timed() {
			continue
		}
		// What would end at endless never ends. A slot may be so far ahead of its group that its
		// time is endless all the same; but m.due is this replica's own, and must not decide
		// whether the slot gets another version.
		first, at := st.endings.first, st.time(now)
		if gone < expireMax && (first <= at && first != endless || bug("a look at what is due changes a slot")) {
			m.turn.id, m.turn.now, m.turn.slot, m.turn.by, m.turn.wall = e.id, e.now, slot, 0, 0
			st.mu.Lock()
			m.keep(st)
			gone += st.end(m, at, expireMax-gone)
			st.mu.Unlock()
		}
		if st.endings.timed() {
			due = min(due, st.groupTime(st.endings.first))
		}
	}
	m.due = due
}

// lookAgain finds out until when nothing ends. A command may have removed the record that was to end then: the
// group would tell its time for a year because of a version that is no longer there.
func (e *expiry) lookAgain() {
	m := e.m
	if m.due == raft.GroupTime(endless) || e.now < m.looked+lookEvery || bug(bugDueStays) {
		return
	}
	m.due, m.looked = raft.GroupTime(endless), e.now
	for s := range Slot(Slots) {
		if st := m.slot(s); st != nil {
			st.noteDue(m)
		}
	}
}

// lookEvery is how much group time lies between two such looks, each of which goes through all slots: a group that tells its
// time does so each minute, and one in which much ends more often.
const lookEvery = raft.GroupTime(30 * time.Second)

// bugDueStays is planted to show that its test finds it: a group goes on telling its time for what has gone.
const bugDueStays = "time told for what has gone"

// end removes what has ended by now, most records or a few more, and returns how many. All
// removals share one version, as those of a command do.
func (s *slotState) end(m *Map, now slotTime, most int) (gone int) {
	s.setLast(s.nextVersion(m.turn.id))
	for gone < most {
		kind, name, ok := s.due(now)
		switch {
		case !ok:
			return gone
		case kind == KindLease:
			gone += 1 + s.endLease(m, binary.BigEndian.Uint64(name), s.last, EventExpired)
		case kind == KindVersion && s.removeRecord(m, kind, name, hashKey(name)):
			gone++
		case kind == KindVersion:
			m.noteFault(m.turn.slot, "a version of a key, whose time has come, is not there")
			return gone
		case !s.remove(m, name, hashKey(name), s.last, EventExpired):
			m.noteFault(m.turn.slot, "key %s, whose time has come, is not there", ShowKey(name))
			return gone
		default:
			gone++
		}
	}
	return gone
}

// noneBefore returns a group time before which no session was used last.
func (t *sessions) noneBefore() raft.GroupTime {
	if t.count == 0 {
		return math.MaxUint64
	}
	if t.ordered {
		oldest, _ := t.order.oldest()
		return oldest.used
	}
	return t.oldest
}

// expire forgets sessions that were not used for SessionKeep, and returns how many:
// most or a few more, least recently used first; in a slot with few, all of them.
func (t *sessions) expire(now raft.GroupTime, most int, q *sessionQuota) (n int) {
	// A slot with so few may or may not keep their order of use, which depends on how
	// many it had before: all are forgotten, so that replicas need not agree on one.
	if t.count > sessionsOrdered {
		return t.forgetDue(now, most, q)
	}
	if !due(t.noneBefore(), now) {
		return 0
	}
	var keys [sessionsOrdered]sessionKey
	oldest := raft.GroupTime(math.MaxUint64)
	for i := range t.blocks {
		list := t.blocks[i].list
		for j := range list {
			if used := list[j].used; due(used, now) {
				keys[n] = list[j].sessionKey
				n++
			} else {
				oldest = min(oldest, used)
			}
		}
	}
	for _, key := range keys[:n] {
		block, at, _ := t.find(key)
		t.forget(block, at, q)
	}
	if !t.ordered {
		t.oldest = oldest
	}
	return n
}
