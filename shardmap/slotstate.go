package shardmap

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/cespare/xxhash/v2"

	"muster/raft"
)

// slotState is all that the cluster knows of one slot.
type slotState struct {
	mu       sync.Mutex // guards everything below; of other locks only that of moments is taken under it
	records  store      // of [KindKey]
	sessions sessions
	last     uint64 // the last version given; it never goes back

	kept     []*keptSlot // by upto: the records as they were at open moments
	keptUpto uint64      // the number of the newest moment that the records were kept for

	// others are the records of other kinds, by kind; those only that there was a
	// record of. They stand behind what each command touches, whose place in the
	// lines of memory was measured.
	others []*store

	formers *formers // nil: none; set before anybody else sees the slot
	seal    *seal    // while the slot is sealed; of the goroutine that applies
}

func newSlotState() *slotState { return &slotState{records: newStore(KindKey)} }

// of returns the records of a kind, for writing.
func (s *slotState) of(k RecordKind) *store {
	if k == KindKey {
		return &s.records
	}
	i, ok := slices.BinarySearchFunc(s.others, k, func(o *store, k RecordKind) int { return cmp.Compare(o.kind, k) })
	if !ok {
		made := newStore(k)
		s.others = slices.Insert(s.others, i, &made)
	}
	return s.others[i]
}

// stores calls f for the records of each kind that there are any of, by kind.
func (s *slotState) stores(f func(s *store)) {
	f(&s.records)
	for _, o := range s.others {
		f(o)
	}
}

// recordSum is the sum of the hashes of all records.
func (s *slotState) recordSum() (sum uint64) {
	s.stores(func(o *store) { sum += o.sum })
	return sum
}

// empty reports whether there is no record of any kind.
func (s *slotState) empty() bool {
	n := 0
	s.stores(func(o *store) { n += o.count })
	return n == 0
}

// digest sums up the slot.
func (s *slotState) digest() uint64 {
	return slotDigest(s.recordSum(), s.sessions.sum, s.last, s.formers)
}

// apply carries out c, of the entry id of group g, at group time now.
func (s *slotState) apply(g raft.GroupID, id raft.LogID, now raft.GroupTime, c *Command, q *sessionQuota) Result {
	if c.Session == 0 {
		r := s.change(id, c)
		r.Group = g
		return r
	}
	session, r, done := s.sessions.begin(c, now, q)
	if done {
		if r.ID == (raft.LogID{}) { // no outcome is kept: this entry decides
			r.Group, r.ID = g, id
		}
		return r
	}
	r = s.change(id, c)
	r.Group = g
	s.sessions.finish(session, c.Sequence, r, q)
	return r
}

// change carries out c, without regard to its session. The caller adds the group
// to the result.
func (s *slotState) change(id raft.LogID, c *Command) Result {
	if c.Condition != ConditionNone {
		key := c.Key(0)
		current := uint64(0)
		if rec := s.records.get(key, hashKey(key)); rec != nil {
			current = rec.version()
		}
		// The condition absent has Version 0, and 0 is no key's version.
		if current != c.Version {
			return Result{Status: StatusConflict, ID: id, Current: current}
		}
	}
	change := commandRows[c.Kind].change
	if change == nil {
		return Result{Status: StatusApplied, ID: id}
	}
	// The index alone would do if a slot never moved. A slot that comes from a
	// group with a longer log has versions above this group's indexes, and a
	// version must never go back, nor be given twice.
	s.last = max(id.Index, s.last+1)
	return Result{Status: StatusApplied, ID: id, Version: s.last, Deleted: change(s, c, s.last)}
}

// set is [CommandSet].
func (s *slotState) set(c *Command, version uint64) (deleted uint32) {
	hash := c.keyHash
	for items := c.Items; len(items) >= 2; items = items[2:] {
		if hash == 0 {
			hash = hashKey(items[0])
		}
		s.records.put(items[0], items[1], hash, version)
		hash = 0
	}
	return 0
}

// del is [CommandDel].
func (s *slotState) del(c *Command, _ uint64) (deleted uint32) {
	for _, key := range c.Items {
		if s.records.del(key, hashKey(key)) {
			deleted++
		}
	}
	return deleted
}

// slotDigest sums up a slot: its records, its sessions with their outcomes, its last
// version, and the groups that owned it before.
func slotDigest(records, sessions, last uint64, f *formers) uint64 {
	var b [16]byte
	binary.LittleEndian.PutUint64(b[0:], 4) // what is hashed: 1 are records, 2 sessions, 3 outcomes, 5 formers
	binary.LittleEndian.PutUint64(b[8:], last)
	return records + sessions + xxhash.Sum64(b[:]) + f.sum()
}

// check recomputes hashes and sums from all records and sessions, and compares
// them with those that are kept.
func (c *SlotCopy) check() error {
	var sum uint64
	for i := range c.kinds {
		k := &c.kinds[i]
		n := 0
		for at := k.view.seek(nil); ; at.next() {
			rec := at.record()
			if rec == nil {
				break
			}
			h := rec.computeHash()
			if h != rec.hash() || rec.kind() != k.kind {
				return rec.rotten(c.slot, h)
			}
			sum += h
			n++
		}
		if n != k.count {
			return fmt.Errorf("%w: slot %d: %d records of kind %d are in the index, %d were counted", ErrInvariant, c.slot, n, k.kind, k.count)
		}
	}
	if sum != c.recordSum {
		return fmt.Errorf("%w: slot %d: its records sum up to %016x, kept was %016x", ErrInvariant, c.slot, sum, c.recordSum)
	}
	sum = 0
	_ = c.sessions.each(func(s *session) error {
		sum += s.hash()
		for j := range s.kept() {
			sum += s.kept()[j].hash(s.sessionKey)
		}
		return nil
	})
	if sum != c.sessionSum {
		return fmt.Errorf("%w: slot %d: its sessions sum up to %016x, kept was %016x", ErrInvariant, c.slot, sum, c.sessionSum)
	}
	return nil
}

// rotten is the error for a record whose bytes are not those that were written.
func (r record) rotten(slot Slot, hash uint64) error {
	return fmt.Errorf("%w: slot %d: record of key %s (version %d) has hash %016x, its bytes have %016x",
		ErrInvariant, slot, ShowKey(r.key()), r.version(), r.hash(), hash)
}
