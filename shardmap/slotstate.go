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
	// lastInverted is last again, for [Walk]: nothing else tells whether memory still holds it.
	lastInverted uint64   // Invariant: ^last
	endings      *endings // of the records; nil if nothing ever ended

	kept     []*keptSlot // by upto: the records as they were at open moments
	keptUpto uint64      // the number of the newest moment that the records were kept for

	// others are the records of other kinds, by kind; those only that there was a
	// record of. They stand behind what each command touches, whose place in the
	// lines of memory was measured.
	others []*store

	formers *formers  // nil: none; set before anybody else sees the slot
	seal    *keptSeal // while the slot is sealed; of the goroutine that applies
}

func newSlotState() *slotState {
	return &slotState{records: newStore(KindKey), lastInverted: ^uint64(0)}
}

func (s *slotState) setLast(version uint64) { s.last, s.lastInverted = version, ^version }

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

// kind returns the records of a kind, for reading; nil if there never were any.
func (s *slotState) kind(k RecordKind) *store {
	if k == KindKey {
		return &s.records
	}
	for _, o := range s.others {
		if o.kind == k {
			return o
		}
	}
	return nil
}

// putRecord puts a record of any kind in the place of the one with its name, if there is one.
func (s *slotState) putRecord(m *Map, kind RecordKind, n *newRecord) {
	if kind == KindVersion {
		m.keeping.some = true
	}
	o := s.of(kind)
	at, found := o.find(n.key, n.hash)
	var was ending
	if found {
		was = endOf(told(m, o.at(refOf(o.lookup.entries[at]))))
	}
	if kind == KindKey && len(m.tallies.rows) > 0 {
		by := Amount{1, int64(len(n.key) + len(n.value))}
		if found {
			by = Amount{0, int64(len(n.value) - o.at(refOf(o.lookup.entries[at])).valueLen())}
		}
		m.tallies.changed(s, m.turn.slot, n.key, by)
	}
	o.place(at, found, n)
	is := n.ending
	if kind == KindLease {
		is = ending{endsAt, uint64(leaseDue(n.value))}
	}
	if is != was {
		s.endsOtherwise(kind, n.key, was, is)
	}
}

// removeRecord removes a record of any kind, and reports whether it was there.
func (s *slotState) removeRecord(m *Map, kind RecordKind, name []byte, hash uint64) (found bool) {
	o := s.of(kind)
	at, found := o.find(name, hash)
	if !found {
		return false
	}
	if was := endOf(told(m, o.at(refOf(o.lookup.entries[at])))); was.by != endsNever {
		s.endsOtherwise(kind, name, was, ending{})
	}
	if kind == KindKey && len(m.tallies.rows) > 0 {
		was := o.at(refOf(o.lookup.entries[at]))
		m.tallies.changed(s, m.turn.slot, name, Amount{-1, -int64(was.keyLen() + was.valueLen())})
	}
	o.take(at, name)
	return true
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

// apply carries out c in the map's turn.
func (s *slotState) apply(m *Map, c *Command) Result {
	if c.Session == 0 {
		r := s.change(m, c)
		r.Group = m.group
		return r
	}
	session, r, done := s.sessions.begin(c, m.turn.now, &m.quota)
	if done {
		if r.ID == (raft.LogID{}) { // no outcome is kept: this entry decides
			r.Group, r.ID = m.group, m.turn.id
		}
		return r
	}
	r = s.change(m, c)
	r.Group = m.group
	s.sessions.finish(session, c.Sequence, r, &m.quota)
	return r
}

// change carries out c, without regard to its session. The caller adds the group
// to the result.
func (s *slotState) change(m *Map, c *Command) Result {
	id := m.turn.id
	if c.Condition != ConditionNone {
		key := c.Key(0)
		current := uint64(0)
		if rec := s.records.get(key, hashKey(key)); rec != nil {
			current = told(m, rec).version()
		}
		// The condition absent has Version 0, and 0 is no key's version.
		if current != c.Version {
			return Result{Status: StatusConflict, ID: id, Current: current}
		}
	}
	row := &commandRows[c.Kind]
	if row.change == nil {
		if row.act != nil {
			return row.act(s, m, c)
		}
		return Result{Status: StatusApplied, ID: id}
	}
	s.setLast(s.nextVersion(id))
	return Result{Status: StatusApplied, ID: id, Version: s.last, Deleted: row.change(s, m, c, s.last)}
}

// nextVersion is the version of what the entry id changes in the slot.
//
// The index alone would do if a slot never moved. A slot that comes from a
// group with a longer log has versions above this group's indexes, and a
// version must never go back, nor be given twice.
func (s *slotState) nextVersion(id raft.LogID) uint64 { return max(id.Index, s.last+1) }

// put gives a key a value and an ending.
func (s *slotState) put(m *Map, n *newRecord) {
	at, found := s.records.find(n.key, n.hash)
	var was record
	if found {
		if was = s.records.at(refOf(s.records.lookup.entries[at])); was.ends() != endsNever {
			was = told(m, was)
		}
	}
	if m.keeping.some {
		keepVersion(s, m, n.key, was, n.version, VersionSet)
	}
	m.history.set(m.turn.slot, n.key, n.value, n.version, was)
	// Mostly there is neither: most keys never end.
	if n.ending.by != endsNever || found && was.ends() != endsNever {
		s.endsOtherwise(KindKey, n.key, endOf(was), n.ending)
		s.noteDue(m)
	}
	if len(m.tallies.rows) > 0 {
		by := Amount{1, int64(len(n.key) + len(n.value))}
		if found {
			by = Amount{0, int64(len(n.value) - was.valueLen())}
		}
		m.tallies.changed(s, m.turn.slot, n.key, by)
	}
	s.records.place(at, found, n)
}

// remove removes a key at a version, and reports whether it was there. why is the kind of its
// event.
func (s *slotState) remove(m *Map, key []byte, hash, version uint64, why EventKind) bool {
	at, found := s.records.find(key, hash)
	if !found {
		return false
	}
	was := s.records.at(refOf(s.records.lookup.entries[at]))
	if was.ends() != endsNever {
		was = told(m, was)
	}
	if m.keeping.some {
		how := VersionDeleted
		if why == EventExpired {
			how = VersionExpired
		}
		keepVersion(s, m, key, was, version, how)
	}
	if why == EventExpired {
		m.history.expired(m.turn.slot, version, was)
	} else {
		m.history.del(m.turn.slot, version, was)
	}
	if was.ends() != endsNever {
		s.endsOtherwise(KindKey, key, was.ending(), ending{})
	}
	if len(m.tallies.rows) > 0 {
		m.tallies.changed(s, m.turn.slot, key, Amount{-1, -int64(was.keyLen() + was.valueLen())})
	}
	s.records.take(at, key)
	return true
}

// set is [CommandSet].
func (s *slotState) set(m *Map, c *Command, version uint64) (deleted uint32) {
	n := newRecord{hash: c.keyHash, version: version}
	for items := c.Items; len(items) >= 2; items = items[2:] {
		if n.key, n.value = items[0], items[1]; n.hash == 0 {
			n.hash = hashKey(n.key)
		}
		s.put(m, &n)
		n.hash = 0
	}
	return 0
}

// del is [CommandDel].
func (s *slotState) del(m *Map, c *Command, version uint64) (deleted uint32) {
	for _, key := range c.Items {
		if s.remove(m, key, hashKey(key), version, EventDel) {
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
			o := &s.kept()[j]
			sum += o.hash(s.sessionKey, s.detail(o))
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
