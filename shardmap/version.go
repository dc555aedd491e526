package shardmap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"muster/raft"
)

// Where a rule says so (versionrules.go), a slot keeps the last versions of a key: each is a record of
// kind [KindVersion], so moves, snapshots, digests, copies and walks take it along as they take any
// record. It ends at a time as keys do. It makes no event and counts as no key.
//
// # The record
//
// Its name orders the versions of a key one behind the other:
//
//	0      u16  length of the key, big-endian
//	2           the key
//	2+len  u64  the version, big-endian: that of the record, too
//
// Its value is little-endian:
//
//	 0  u64  bytes of values that versions of the key had before this one, for the bound below
//	 8  u64  term of the entry that made the version
//	16  u64  its index; both 0: it was made before the key had a rule
//	24  u64  time of the slot then; 0 with term and index
//	32  u64  when the command was admitted, by the clock of the node that did, in ms since 1970; 0: not known
//	40  u64  principal that sent the command; 0: nobody in particular
//	48  u16  group in whose log term and index are; 0 with them
//	50  u8   how it came about: 1 set, 2 deleted, 3 expired
//	51  u8   1 if the value follows, else 0
//	52       the value
//
// The newest version of a key that is there has no value and no end: the key has the value. When the
// key changes, the record gets the value that is replaced, and an end: a version ages from the
// moment at which it was replaced, and a delete from when it was made. So a key that was never
// changed again keeps its newest version for ever, and nothing outlives a deleted key by more than the
// rule's age.
//
// # The bounds
//
// A change removes the oldest versions of its key that are more than the rule allows, or whose values
// come to more than [VersionsBytesMax] with those after them. Both follow from the oldest record and the
// newest, whatever lies between. Where a rule's age was made shorter, later versions may end first, and
// their values count until the oldest goes.
//
// A change of a key that no longer has a rule removes the record of the version that it replaces. What
// else the key has grows old.

const (
	// VersionsMax bounds the versions of one key that a rule may keep.
	VersionsMax = 100
	// VersionsBytesMax bounds the values of the versions that a key had before its newest, in
	// bytes. A larger value is not kept once it is replaced, nor is what was before it.
	VersionsBytesMax = 4 << 20

	versionNameHead = 2 // before the key
	versionNameTail = 8 // behind it
	versionNameMax  = versionNameHead + KeyMax + versionNameTail
	versionHead     = 52
)

// Bugs that are planted to show that tests find them.
const (
	bugVersionOfDelete  = "version of a delete lost"
	bugVersionsTime     = "time of versions lost in a move"
	bugVersionsBound    = "one version more than the rule keeps"
	bugVersionPrincipal = "version by whoever changed the key next"
)

// VersionHow is how a version of a key came about. Numbers are for ever: they are on the wire.
type VersionHow uint8

const (
	VersionSet     VersionHow = 1 // the key got the value
	VersionDeleted VersionHow = 2 // a command deleted the key, or revoked its lease
	VersionExpired VersionHow = 3 // its time had passed, or that of its lease
)

func (h VersionHow) String() string {
	switch h {
	case VersionSet:
		return "set"
	case VersionDeleted:
		return "deleted"
	case VersionExpired:
		return "expired"
	}
	return fmt.Sprintf("how %d", uint8(h))
}

// versionMade is what is known of how a version came about.
type versionMade struct {
	id        raft.LogID
	at        slotTime
	wall      uint64 // ms since 1970
	principal Principal
	group     raft.GroupID
	how       VersionHow
}

// versionRecord is the value of a record of a version.
type versionRecord []byte

func (v versionRecord) before() uint64 { return binary.LittleEndian.Uint64(v) }
func (v versionRecord) valued() bool   { return v[51] == 1 }
func (v versionRecord) value() []byte  { return v[versionHead:] }
func (v versionRecord) how() VersionHow {
	return VersionHow(v[50])
}

func (v versionRecord) made() versionMade {
	return versionMade{
		id:        raft.LogID{Term: binary.LittleEndian.Uint64(v[8:]), Index: binary.LittleEndian.Uint64(v[16:])},
		at:        slotTime(binary.LittleEndian.Uint64(v[24:])),
		wall:      binary.LittleEndian.Uint64(v[32:]),
		principal: Principal(binary.LittleEndian.Uint64(v[40:])),
		group:     raft.GroupID(binary.LittleEndian.Uint16(v[48:])),
		how:       v.how(),
	}
}

// current reports whether it is of a key that is there: the key has the value.
func (v versionRecord) current() bool { return v.how() == VersionSet && !v.valued() }

// appendVersionRecord appends a record's value. value is nil where none follows.
func appendVersionRecord(b []byte, before uint64, made *versionMade, value []byte) []byte {
	valued := byte(0)
	if value != nil {
		valued = 1
	}
	b = binary.LittleEndian.AppendUint64(b, before)
	b = binary.LittleEndian.AppendUint64(b, made.id.Term)
	b = binary.LittleEndian.AppendUint64(b, made.id.Index)
	b = binary.LittleEndian.AppendUint64(b, uint64(made.at))
	b = binary.LittleEndian.AppendUint64(b, made.wall)
	b = binary.LittleEndian.AppendUint64(b, uint64(made.principal))
	b = binary.LittleEndian.AppendUint16(b, uint16(made.group))
	return append(append(b, byte(made.how), valued), value...)
}

func appendVersionName(b, key []byte, version uint64) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(key)))
	return binary.BigEndian.AppendUint64(append(b, key...), version)
}

// versionedKey returns the key and the version of a record's name; false if it is none.
func versionedKey(name []byte) (key []byte, version uint64, ok bool) {
	if len(name) < versionNameHead+1+versionNameTail {
		return nil, 0, false
	}
	tail := len(name) - versionNameTail
	if key = name[versionNameHead:tail]; int(binary.BigEndian.Uint16(name)) != len(key) || len(key) > KeyMax {
		return nil, 0, false
	}
	return key, binary.BigEndian.Uint64(name[tail:]), true
}

// checkVersionRecord checks a whole record of a version, whose head was checked.
func checkVersionRecord(name, value []byte, version uint64, ends endingKind) error {
	key, of, ok := versionedKey(name)
	if !ok {
		return fmt.Errorf("a name of %d bytes is of no version of a key", len(name))
	}
	v := versionRecord(value)
	made := v.made()
	known := made.id != (raft.LogID{})
	switch {
	case of != version:
		return fmt.Errorf("version %d of key %s stands in a record of version %d", of, ShowKey(key), version)
	case made.how == 0 || made.how > VersionExpired || v[51] > 1:
		return fmt.Errorf("version %d of key %s came about by %d, then %d: %w", of, ShowKey(key), v[50], v[51], ErrLevel)
	case made.how != VersionSet && v.valued(), !v.valued() && len(value) != versionHead:
		return fmt.Errorf("version %d of key %s, %s, has a value of %d bytes", of, ShowKey(key), made.how, len(value)-versionHead)
	case v.current() != (ends == endsNever) || ends == endsWithLease:
		return fmt.Errorf("version %d of key %s, %s, ends by %d", of, ShowKey(key), made.how, ends)
	case made.group > raft.GroupMax || known != (made.group != 0) || !known && made.at|slotTime(made.wall)|slotTime(made.principal) != 0:
		return fmt.Errorf("version %d of key %s came about at %s of group %d; want a log id with its group, or nothing of either", of, ShowKey(key), made.id, made.group)
	}
	return nil
}

// locateRecord returns the slot of a record's name, and the name's hash. A lease's slot does not
// follow from its name. A name that no record of the kind can have is in no slot.
func locateRecord(kind RecordKind, name []byte) (s Slot, hash uint64) {
	if kind != KindVersion {
		return locate(name)
	}
	key, _, ok := versionedKey(name)
	if !ok {
		return Slots, 0
	}
	return SlotOf(key), hashKey(name)
}

// nameMax is the most bytes that the name of a record may have.
func (k RecordKind) nameMax() int {
	if k == KindVersion {
		return versionNameMax
	}
	return KeyMax
}

// hasVersions reports whether the slot has a record of a version.
func hasVersions(s *slotState) bool {
	o := s.kind(KindVersion)
	return o != nil && o.count > 0
}

// keyVersions is where the versions of a key stand, from low on and below high.
type keyVersions struct {
	low, high cursor
}

// versionsOf returns where the versions of a key stand in a store. It uses buf, which it returns.
func versionsOf(v *view, key, buf []byte) (at keyVersions, _ []byte) {
	buf = appendVersionName(buf[:0], key, 0)
	at.low = v.seek(buf)
	binary.BigEndian.PutUint64(buf[len(buf)-versionNameTail:], math.MaxUint64) // which no key has
	at.high = v.seek(buf)
	return at, buf
}

// count returns how many there are. It reads no record.
func (at *keyVersions) count() int {
	n := at.high.pos - at.low.pos
	for i := at.low.leaf; i < at.high.leaf; i++ {
		n += at.low.v.leaf(i).len()
	}
	return n
}

// newest returns the record of the newest; nil if there is none.
func (at *keyVersions) newest() record {
	if at.count() == 0 {
		return nil
	}
	c := at.high
	return c.previous()
}

// keepVersion records that a key changes, before it does: was is its record, nil if it is not there, and
// version the one that it gets.
func keepVersion(s *slotState, m *Map, key []byte, was record, version uint64, how VersionHow) {
	k := &m.keeping
	rule, o := k.rule(key), s.kind(KindVersion)
	if rule == nil {
		if o != nil && o.count > 0 {
			unversioned(s, m, o, key)
		}
		return
	}
	if bug(bugVersionOfDelete) && how == VersionDeleted {
		return
	}
	o = s.of(KindVersion)
	end := ending{endsAt, uint64(s.time(m.turn.now).after(uint64(rule.Age)))}
	at, name := versionsOf(&o.view, key, k.name)
	newest, before, n := at.newest(), uint64(0), at.count()
	// Nobody has seen a version that the same entry has made, so it is no version of its own.
	if newest != nil {
		newest = told(m, newest)
		v := versionRecord(newest.value())
		if before = v.before(); v.valued() {
			before += uint64(len(v.value()))
		}
	}
	if was != nil && was.version() != version {
		was = told(m, was)
		made := versionMade{how: VersionSet}
		if newest != nil && newest.version() == was.version() {
			made = versionRecord(newest.value()).made()
			n--
		}
		if bug(bugVersionPrincipal) && made.group != 0 {
			made.principal = m.turn.by
		}
		putVersion(s, m, key, was.version(), before, &made, notNil(was.value()), end)
		before += uint64(was.valueLen())
		n++
	}
	if newest != nil && newest.version() == version {
		n--
	}
	made := versionMade{id: m.turn.id, at: s.time(m.turn.now), wall: m.turn.wall, principal: m.turn.by, group: m.group, how: how}
	if how == VersionSet {
		end = ending{}
	}
	putVersion(s, m, key, version, before, &made, nil, end)
	n++
	most := rule.Most
	if bug(bugVersionsBound) {
		most++
	}
	for ; n > 1; n-- {
		at, name = versionsOf(&o.view, key, name)
		oldest := at.low.record()
		if n <= most && before-versionRecord(told(m, oldest).value()).before() <= VersionsBytesMax {
			break
		}
		of := bytes.Clone(oldest.key()) // the record goes
		s.removeRecord(m, KindVersion, of, hashKey(of))
	}
	k.name = name
	s.noteDue(m)
}

// notNil returns b, or a slice without bytes if b is nil.
func notNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// putVersion writes the record of a version.
func putVersion(s *slotState, m *Map, key []byte, version, before uint64, made *versionMade, value []byte, end ending) {
	k := &m.keeping
	k.name = appendVersionName(k.name[:0], key, version)
	k.value = appendVersionRecord(k.value[:0], before, made, value)
	s.putRecord(m, KindVersion, &newRecord{k.name, k.value, hashKey(k.name), version, end})
	if len(k.value) > versionScratchMax {
		k.value = nil
	}
}

// versionScratchMax bounds the memory that a map keeps to make a record of a version in.
const versionScratchMax = 64 << 10

// unversioned removes the record of the version that a change of a key without a rule replaces.
func unversioned(s *slotState, m *Map, o *store, key []byte) {
	at, name := versionsOf(&o.view, key, m.keeping.name)
	m.keeping.name = name
	newest := at.newest()
	if newest == nil || !versionRecord(told(m, newest).value()).current() {
		return
	}
	of := bytes.Clone(newest.key())
	s.removeRecord(m, KindVersion, of, hashKey(of))
}

// KeptVersion is one version of a key, as a listing shows it.
type KeptVersion struct {
	Version uint64
	How     VersionHow
	Value   []byte // nil if the key was deleted or has expired; good until f returns

	// How it came about, if that is known: of a version from before the key had a rule it is not,
	// and all of this is zero.
	Group     raft.GroupID
	ID        raft.LogID
	Principal Principal // who sent the command; 0: nobody in particular, or time did it
	Wall      uint64    // when it was admitted, by the clock of the node that did, in ms since 1970; 0: not known
	Ago       uint64    // ms that have passed since, by the time of the groups that had the slot
}

// VersionsOf calls f for the versions of a key that are older than before (0: all), the newest first:
// at most so many, and no more than have so many bytes in their values, but one at least. It reports
// whether there are more. A key that is there has its version shown, whether or not it has a rule. now
// is the group's time. is reports whether the slot is served here: then it is Present. The goroutine that
// applies calls it, between two entries.
func VersionsOf(m *Map, key []byte, before uint64, now raft.GroupTime, most, size int, f func(v *KeptVersion)) (more bool, is Presence) {
	s, hash := locate(key)
	pages := m.slots.Load()
	st := pages.at(s)
	if st == nil {
		return false, pages.presence(s)
	}
	if before == 0 {
		before = math.MaxUint64
	}
	given, used := 0, 0
	give := func(v *KeptVersion) bool {
		if more = given > 0 && (given == most || used+len(v.Value) > size); more {
			return false
		}
		given, used = given+1, used+len(v.Value)
		f(v)
		return true
	}
	rec := st.records.get(key, hash)
	var o *store
	if o = st.kind(KindVersion); o == nil {
		o = new(store)
	}
	at, _ := versionsOf(&o.view, key, nil)
	n := at.count()
	if rec != nil && rec.version() < before {
		newest := at.newest()
		if newest == nil || newest.version() != rec.version() {
			if !give(&KeptVersion{Version: rec.version(), How: VersionSet, Value: notNil(rec.value())}) {
				return more, Present
			}
		}
	}
	c := at.high
	for ; n > 0; n-- {
		of := c.previous()
		if of.version() >= before {
			continue
		}
		v := versionRecord(of.value())
		made := v.made()
		kept := KeptVersion{Version: of.version(), How: made.how, Group: made.group, ID: made.id, Principal: made.principal, Wall: made.wall}
		if t := st.time(now); made.group != 0 && t > made.at {
			kept.Ago = uint64(t-made.at) / millisecond
		}
		switch {
		case v.valued():
			kept.Value = notNil(v.value())
		case v.current() && rec != nil && rec.version() == of.version():
			kept.Value = notNil(rec.value())
		case v.current():
			continue // no rule was there when the key changed
		}
		if !give(&kept) {
			return more, Present
		}
	}
	return false, Present
}
