package shardmap

import (
	"encoding/binary"
	"math"

	"muster/raft"
)

// A key never ends, or ends at a time, or with a lease; a lease ends at a time. It stays until
// an entry of kind time removes it (expire.go), however long that takes: reads look at no
// time.
//
// # The time of a slot
//
// Times stand in the records of a slot, and a slot moves between groups, each of which has a
// time of its own. So a slot has a time too: that of its group, plus how far the slot is
// ahead. A takeover sets the latter, so that the slot's time continues where the seal stopped
// it. No record is rewritten: each keeps the time that it had left, and the time between seal
// and takeover does not count.
//
// # The order of ends
//
// An index orders the records of a slot that end at a time, by time, kind and name; another
// has the keys of each lease. Both follow from the records, and are in no snapshot, digest or
// move.

// endingKind is how a key ends. Numbers are for ever.
type endingKind uint8

const (
	endsNever     endingKind = 0
	endsAt        endingKind = 1 // at a time of its slot
	endsWithLease endingKind = 2
)

// size returns the bytes that a record has for its end.
func (k endingKind) size() int {
	if k == endsNever {
		return 0
	}
	return endingSize
}

const endingSize = 8

// ending is how and when a key ends.
type ending struct {
	by     endingKind
	number uint64 // the time, or the number of the lease
}

// endOf returns how a record ends; one that is nil never does. A lease has it in its value.
func endOf(r record) ending {
	switch {
	case r == nil:
		return ending{}
	case r.kind() == KindLease && isLeaseValue(r.valueLen()): // another length is a fault of memory
		return ending{endsAt, uint64(leaseDue(r.value()))}
	}
	return r.ending()
}

// End says when a key ends. The zero value: never.
type End struct {
	Ends  bool
	At    raft.GroupTime // it is there until an entry carries this time of its group, or a later one
	Lease LeaseID        // with which it ends; 0: it has a time of its own
}

// Remaining returns how many whole milliseconds are left at a time of the group; 0 if the key
// is due, and a time entry is about to remove it.
func (e *End) Remaining(now raft.GroupTime) uint64 {
	return uint64(e.At-min(e.At, now)) / millisecond
}

// endOfKey returns when the key of a record ends. ahead is by how much the time of its slot is ahead
// of its group's, in nanoseconds; leaseOf returns the record of a lease, or nil.
func endOfKey(slot Slot, rec record, ahead int64, leaseOf func(number uint64) record) End {
	by := rec.ending()
	end := End{Ends: true}
	if by.by == endsAt {
		end.At = slotTime(by.number).groupTime(ahead)
		return end
	}
	end.Lease = MakeLeaseID(slot, by.number)
	if lease := leaseOf(by.number); lease != nil {
		end.At = slotTime(endOf(lease).number).groupTime(ahead)
	}
	return end
}

// slotTime is a time of a slot, in nanoseconds.
type slotTime uint64

// endless is the time at which nothing ends: what would end at it or later never ends.
const endless = slotTime(math.MaxUint64)

// time returns the slot's time when its group's is now.
func (s *slotState) time(now raft.GroupTime) slotTime {
	ahead := s.endings.aheadBy()
	if ahead < 0 {
		back := uint64(-ahead)
		return slotTime(uint64(now) - min(uint64(now), back))
	}
	return slotTime(now).after(uint64(ahead))
}

// groupTime returns the group's time when the slot's is at.
func (s *slotState) groupTime(at slotTime) raft.GroupTime {
	return at.groupTime(s.endings.aheadBy())
}

// groupTime returns the time of the group when the slot's, which is so many nanoseconds ahead of it,
// is at.
func (at slotTime) groupTime(ahead int64) raft.GroupTime {
	if at == endless {
		return raft.GroupTime(endless)
	}
	if ahead > 0 {
		back := uint64(ahead)
		return raft.GroupTime(uint64(at) - min(uint64(at), back))
	}
	return raft.GroupTime(at.after(uint64(-ahead)))
}

// setAhead says how far the slot's time is ahead of its group's.
func (s *slotState) setAhead(ahead int64) {
	if s.endings == nil {
		if ahead == 0 {
			return
		}
		s.endings = newEndings()
	}
	s.endings.ahead, s.endings.aheadInverted = ahead, ^ahead
}

// resume makes the slot's time at when its group's is now. A slot in which nothing ends at a
// time takes its group's, so that most slots need not remember another. A service has times of
// the slot too: those at which its instances changed. So has a version.
func (s *slotState) resume(at slotTime, now raft.GroupTime) {
	if s.endings.timed() || s.hasServices() || hasVersions(s) && !bug(bugVersionsTime) {
		s.setAhead(int64(uint64(at) - uint64(now)))
	} else {
		s.setAhead(0)
	}
}

// noteDue tells the map when the first record of the slot ends.
func (s *slotState) noteDue(m *Map) {
	if s.endings.timed() {
		m.due = min(m.due, s.groupTime(s.endings.first))
	}
}

// leasesWhole reports whether every lease with which a key ends is there.
func (s *slotState) leasesWhole() bool {
	if s.endings != nil {
		for number := range s.endings.keys { // in whatever order: all of them are looked up
			if s.leaseOf(number) == nil {
				return false
			}
		}
	}
	return true
}

// after returns the time that is d nanoseconds later, at most endless.
func (t slotTime) after(d uint64) slotTime { return t + slotTime(min(d, uint64(endless-t))) }

// milliseconds returns the time in milliseconds, in which services have it.
func (t slotTime) milliseconds() uint64 { return uint64(t) / millisecond }

// endings are the indexes of what ends in a slot: stores whose keys are what they order by,
// without values. They have no copies.
type endings struct {
	// due has time (big-endian), kind and name of each record that ends at a time.
	due store
	// attached has the lease's number (big-endian) and the key of each key that ends with a lease.
	attached store
	keys     map[uint64]int // of attached, by lease; a lease without keys is not in it
	first    slotTime       // Invariant: the first time in due; endless if that is empty

	// ahead is how far the slot's time is ahead of its group's, in nanoseconds. It alone does
	// not follow from the records.
	ahead         int64
	aheadInverted int64 // Invariant: ^ahead, for [Walk]
}

// aheadBy returns ahead; 0 for a slot in which nothing ever ended.
func (e *endings) aheadBy() int64 {
	if e == nil {
		return 0
	}
	return e.ahead
}

func newEndings() *endings {
	return &endings{due: newStore(0), attached: newStore(0), keys: map[uint64]int{}, first: endless, aheadInverted: ^0}
}

const (
	dueHead      = 9 // before the name
	attachedHead = 8 // before the key
)

func dueName(at slotTime, kind RecordKind, name []byte) []byte {
	b := make([]byte, 0, dueHead+len(name))
	b = append(binary.BigEndian.AppendUint64(b, uint64(at)), byte(kind))
	return append(b, name...)
}

func attachedName(lease uint64, key []byte) []byte {
	b := make([]byte, 0, attachedHead+len(key))
	return append(binary.BigEndian.AppendUint64(b, lease), key...)
}

// empty reports whether nothing ends.
func (e *endings) empty() bool { return e == nil || e.due.count == 0 && e.attached.count == 0 }

// timed reports whether anything ends at a time.
func (e *endings) timed() bool { return e != nil && e.due.count > 0 }

// endsOtherwise records that a record's ending changes from was to is. The zero ending stands
// for a record that is not there.
func (s *slotState) endsOtherwise(kind RecordKind, name []byte, was, is ending) {
	if s.endings == nil {
		s.endings = newEndings()
	}
	e := s.endings
	switch was.by {
	case endsAt:
		at := dueName(slotTime(was.number), kind, name)
		e.due.del(at, hashKey(at))
	case endsWithLease:
		at := attachedName(was.number, name)
		e.attached.del(at, hashKey(at))
		if e.keys[was.number]--; e.keys[was.number] == 0 {
			delete(e.keys, was.number)
		}
	}
	switch is.by {
	case endsAt:
		at := dueName(slotTime(is.number), kind, name)
		e.due.put(at, nil, hashKey(at), 0)
	case endsWithLease:
		at := attachedName(is.number, name)
		e.attached.put(at, nil, hashKey(at), 0)
		e.keys[is.number]++
	}
	e.first = endless
	if c := e.due.seek(nil); c.record() != nil {
		e.first = slotTime(binary.BigEndian.Uint64(c.record().key()))
	}
}

// due returns kind and name of the record that ends first, if its time has come. The name is
// good until the next change.
func (s *slotState) due(now slotTime) (kind RecordKind, name []byte, ok bool) {
	if s.endings == nil || s.endings.first > now || s.endings.first == endless {
		return 0, nil, false
	}
	c := s.endings.due.seek(nil)
	key := c.record().key()
	return RecordKind(key[dueHead-1]), key[dueHead:], true
}

// firstKeyOf returns the first of the keys that end with a lease; nil if there is none.
func (s *slotState) firstKeyOf(lease uint64) []byte {
	if s.endings == nil {
		return nil
	}
	c := s.endings.attached.seek(binary.BigEndian.AppendUint64(nil, lease))
	rec := c.record()
	if rec == nil || binary.BigEndian.Uint64(rec.key()) != lease {
		return nil
	}
	return rec.key()[attachedHead:]
}
