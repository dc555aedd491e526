package shardmap

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Walk recomputes what a map holds from its bytes, slot by slot, and compares it with what the map
// keeps of it: the hash of each record, session and outcome, and their sums and counts; where the
// lookup and the order of keys lead; what ends when; how long sessions were not used; seals, imports,
// marks and decisions; of the history what an earlier walk saw, and the values before. It finds what
// memory no longer holds as it was written, before somebody reads it or a snapshot takes it along.
//
// It goes in steps, between which entries are applied. Of each slot it takes a copy, so that
// records and sessions sum up to what was kept at one moment. What has no copies it compares as it
// is at each step. So a walk costs whoever writes to the slot what a snapshot does: a copy of what
// is changed meanwhile.
//
// It does not tell whether what was written is right. Replicas that applied different things
// differ by their digests.
type Walk struct {
	m      *Map
	faults []PartFault
	done   bool

	begun bool // what is no slot's was compared
	next  Slot // with which the walk continues
	// Of the slot at hand; st is nil between two.
	slot  Slot
	st    *slotState
	copy  *SlotCopy
	stamp walkStamp // when the copy was taken
	phase walkPhase

	kind     int    // the place among the copy's kinds, or the slot's lookups or indexes of ends
	leaf     int    // of the kind, or block of the sessions
	pos      int    // of the leaf, block or lookup
	key      []byte // of the record before, or of the session
	session  sessionKey
	sum      uint64 // of the slot's records or sessions
	count    int    // of the kind's records, of the sessions, or of what is in a lookup
	bytes    int64  // of the kind's records
	outcomes int
	details  int
	entries  int // how long the lookup was; if it has grown, it is compared from its start again
	// In the index of keys that end with leases: the lease at hand, when its keys began, and how
	// many there were of them, and of leases before.
	lease    uint64
	leaseAt  walkStamp
	attached int
	leases   int

	block uint64 // of the history, with which the walk continues; 0: the group's counts come first
}

// walkPhase is what of a slot is compared.
type walkPhase uint8

const (
	walkRecords  walkPhase = iota // of the copy, in their order
	walkLookups                   // where they lead
	walkSessions                  // of the copy
	walkEnds                      // the indexes of what ends
	walkedSlot
)

// walkStamp tells whether a slot has changed.
type walkStamp struct{ last, records, sessions uint64 }

func stampOf(s *slotState) walkStamp { return walkStamp{s.last, s.recordSum(), s.sessions.sum} }

const (
	walkSlotCost  = 32 // bytes that a look at a slot's head counts
	walkLeafCost  = 12 // and one at a leaf in the list of leaves
	walkPlaceCost = 8  // and one at a place of a lookup, empty or not
	walkEntryCost = 64 // and one at the record behind it, beside its key
)

// NewWalk returns a walk through m. The goroutine that applies calls each step, between two entries.
func NewWalk(m *Map) *Walk { return &Walk{m: m} }

// Step compares some more, about as much as lies in so many bytes. It may take a record or a block
// more than that, and the whole list of leaves of a large slot. It reports whether the walk has come
// to its end.
func (w *Walk) Step(bytes int) (done bool) {
	for bytes > 0 && !w.done {
		bytes -= w.some(bytes)
	}
	return w.done
}

// End gives the walk up, and releases the copy that it holds. A walk that has come to its end holds
// none.
func (w *Walk) End() {
	w.leave()
	w.done = true
}

// some does a part of a step, and returns what it cost.
func (w *Walk) some(budget int) (cost int) {
	if w.st == nil {
		switch {
		case !w.begun:
			w.begun = true
			return w.heads()
		case w.next < Slots:
			return w.enter()
		case w.block == 0:
			w.block = 1
			return w.quota()
		}
		return w.history()
	}
	what, st := "", w.st
	st.mu.Lock() // those who take copies, as for a listing, write epochs
	switch w.phase {
	case walkRecords:
		cost, what = w.records(budget)
	case walkLookups:
		cost, what = w.lookups(budget)
	case walkSessions:
		cost, what = w.sessions(budget)
	case walkEnds:
		cost, what = w.ends(budget)
	}
	st.mu.Unlock()
	switch {
	case what != "":
		w.fault(what)
	case w.phase == walkedSlot:
		w.leave()
	}
	return cost + 1
}

// fault notes what is wrong with the slot, and leaves it: where one thing is wrong, others may lead
// anywhere.
func (w *Walk) fault(what string) {
	w.faults = append(w.faults, PartFault{Part(w.slot), what})
	w.leave()
}

func (w *Walk) leave() {
	if w.copy != nil {
		w.copy.Release()
	}
	w.st, w.copy, w.phase = nil, nil, walkRecords
	w.begin()
}

// begin begins a part of a slot.
func (w *Walk) begin() {
	w.kind, w.leaf, w.pos, w.key, w.session = 0, 0, 0, w.key[:0], sessionKey{}
	w.sum, w.count, w.bytes, w.outcomes, w.details, w.entries = 0, 0, 0, 0, 0, 0
	w.lease, w.attached, w.leases = 0, 0, 0
}

func (w *Walk) after(phase walkPhase) {
	w.phase = phase
	w.begin()
}

// enter takes the next slot, and compares its heads: all but what grows with its records and
// sessions.
func (w *Walk) enter() (cost int) {
	s := w.next
	w.next++
	st := slotStateOf(w.m, s)
	if st == nil {
		return 1
	}
	w.slot, w.st = s, st
	cost = walkSlotCost
	st.mu.Lock()
	what := sealFault(st, w.m.slots.Load().sealed.at(s) == st)
	for _, o := range w.walked() {
		if what == "" {
			what = o.top()
		}
		cost += walkLeafCost * len(o.leaves)
	}
	if what == "" {
		what = headFault(st)
	}
	st.mu.Unlock()
	if what != "" {
		w.fault(what)
		return cost
	}
	w.copy, w.stamp = st.copy(s), stampOf(st)
	return cost
}

// slotStateOf returns what the map has of a slot, in whatever way; nil if that is nothing, or an import
// whose head is not what was written.
func slotStateOf(m *Map, s Slot) *slotState {
	st := m.held(s)
	if i := m.imports.of(s); st == nil && i != nil {
		if _, what := i.headFault(); what == "" {
			return i.state
		}
	}
	return st
}

// keptFault says what is wrong with the numbers of a slot that are kept twice.
func keptFault(s *slotState) string {
	if s.last != ^s.lastInverted {
		return fmt.Sprintf("the last version is %d by one field and %d by another", s.last, ^s.lastInverted)
	}
	if e := s.endings; e != nil && e.ahead != ^e.aheadInverted {
		return fmt.Sprintf("its time is ahead by %d by one field and by %d by another", e.ahead, ^e.aheadInverted)
	}
	return ""
}

// sealFault says what is wrong with the seal of a slot.
func sealFault(s *slotState, sealed bool) string {
	switch {
	case sealed != (s.seal != nil):
		return "it is sealed by its place and not by its seal, or the reverse"
	case sealed && s.seal.hash() != s.seal.kept:
		return fmt.Sprintf("its seal, by move %d to %s at %s, has hash %016x, it had %016x", s.seal.number, s.seal.target, s.seal.at, s.seal.hash(), s.seal.kept)
	}
	return ""
}

// headFault says what is wrong with the head of an import, and of which slot it is.
func (i *slotImport) headFault() (Slot, string) {
	if i.importHead.hash() == i.kept && i.slot == i.of {
		return i.slot, ""
	}
	// The sum says which of the two is the slot.
	slot, other := i.slot, i.importHead
	if other.slot = i.of; other.hash() == i.kept {
		slot = i.of
	}
	return slot, fmt.Sprintf("its import, by move %d from %s in attempt %d/%d, is not as it was written", i.number, i.source, i.attempt.Term, i.attempt.Number)
}

// headFault says what is wrong with what a slot keeps beside its records and sessions.
func headFault(s *slotState) string {
	if what := keptFault(s); what != "" {
		return what
	}
	t := &s.sessions
	if len(t.firsts) != len(t.blocks) {
		return fmt.Sprintf("%d blocks of sessions, and %d of their first ones", len(t.blocks), len(t.firsts))
	}
	for i := range t.blocks {
		list := t.blocks[i].list
		if len(list) == 0 || len(list) > sessionBlockMax || t.blocks[i].epoch > t.epoch {
			return fmt.Sprintf("block %d of %d sessions, of epoch %d", i, len(list), t.blocks[i].epoch)
		}
		if i == 0 {
			continue
		}
		before := t.blocks[i-1].list
		if f := t.firsts[i]; list[0].sessionKey.below(f) || !before[len(before)-1].sessionKey.below(f) {
			return fmt.Sprintf("block %d of the sessions does not begin at session %d", i, f.id)
		}
	}
	e := s.endings
	if e == nil {
		return ""
	}
	first := endless
	if e.due.count > 0 && len(e.due.leaves) > 0 {
		if rec, ok := e.due.recordAt(e.due.leaf(0).ref(0)); ok && rec.keyLen() >= dueHead {
			first = slotTime(binary.BigEndian.Uint64(rec.key()))
		}
	}
	if e.first != first {
		return fmt.Sprintf("the first end is kept to be at %d, and is at %d", e.first, first)
	}
	return ""
}

// top says what is wrong with the list of leaves and the counts of a store.
func (s *store) top() string {
	if s.count != s.lookup.count || s.count < 0 {
		return fmt.Sprintf("%d records, and %d in the lookup", s.count, s.lookup.count)
	}
	if s.count > 0 && (len(s.leaves) == 0 || s.count >= len(s.lookup.entries)) {
		return fmt.Sprintf("%d records, in %d leaves and a lookup of %d", s.count, len(s.leaves), len(s.lookup.entries))
	}
	end := uint32(0)
	for i := range s.leaves {
		c := s.leaves[i]
		if c.end < end || int(c.end) > len(s.seps) {
			return fmt.Sprintf("the separator of leaf %d ends at byte %d of %d", i, c.end, len(s.seps))
		}
		if i > 1 && bytes.Compare(s.separator(i-1), s.seps[end:c.end]) >= 0 {
			return fmt.Sprintf("the separator of leaf %d is not above the one before", i)
		}
		end = c.end
		if c.ref.chunk() >= len(s.bufs) || c.ref.offset()+leafSize > len(s.bufs[c.ref.chunk()]) {
			return fmt.Sprintf("leaf %d lies outside of the slot's chunks", i)
		}
		if l := s.leaf(i); record(l).kind() != kindLeaf || l.len() < 1 || l.len() > leafMax || l.epoch() > s.epoch {
			return fmt.Sprintf("what should be leaf %d is of kind %d, with %d records, of epoch %d", i, record(l).kind(), l.len(), l.epoch())
		}
	}
	if int(end) != len(s.seps) {
		return fmt.Sprintf("the separators take %d bytes of %d", end, len(s.seps))
	}
	return ""
}

// recordAt returns the record that r leads to, if there can be one.
func (v *view) recordAt(r ref) (record, bool) {
	if r.chunk() >= len(v.bufs) {
		return nil, false
	}
	buf := v.bufs[r.chunk()]
	if r.offset()+recordHeader > len(buf) {
		return nil, false
	}
	rec := record(buf[r.offset():])
	return rec, rec.kind() != kindLeaf && rec.ends() <= endsWithLease && rec.size() <= len(rec)
}

// indexed returns where the order of keys leads for a key; false if it has none.
func (s *store) indexed(key []byte) (ref, bool) {
	if len(s.leaves) == 0 {
		return 0, false
	}
	l := s.leaf(s.leafOf(key))
	lo, hi := 0, min(l.len(), leafMax)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		rec, ok := s.recordAt(l.ref(mid))
		if !ok {
			return 0, false
		}
		switch bytes.Compare(rec.key(), key) {
		case 0:
			return l.ref(mid), true
		case -1:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return 0, false
}

// led reports whether the lookup leads to r, as the record of a key with this tag. Unlike
// [lookup.position] it comes to an end in a lookup without an empty entry.
func (l *lookup) led(tag uint32, r ref) bool {
	want := entryOf(tag, r)
	for n, i := 0, l.home(tag); n < len(l.entries); n, i = n+1, l.after(i) {
		switch l.entries[i] {
		case want:
			return true
		case 0:
			return false
		}
	}
	return false
}

// checked says what is wrong with a record by itself, and with its place behind the key before in
// leaf i.
func (v *view) checked(rec record, kind RecordKind, i int, before []byte) string {
	if h := rec.computeHash(); h != rec.hash() || rec.kind() != kind {
		return fmt.Sprintf("the record of key %s (version %d) has hash %016x, its bytes have %016x", ShowKey(rec.key()), rec.version(), rec.hash(), h)
	}
	key := rec.key()
	if len(before) > 0 && bytes.Compare(before, key) >= 0 {
		return fmt.Sprintf("key %s stands behind key %s", ShowKey(key), ShowKey(before))
	}
	if bytes.Compare(key, v.separator(i)) < 0 || i+1 < len(v.leaves) && bytes.Compare(key, v.separator(i+1)) >= 0 {
		return fmt.Sprintf("key %s stands in leaf %d, and its separators lead elsewhere", ShowKey(key), i)
	}
	return ""
}

// records compares the records of the copy.
func (w *Walk) records(budget int) (cost int, what string) {
	for cost < budget {
		if w.kind == len(w.copy.kinds) {
			if w.sum != w.copy.recordSum {
				return cost, fmt.Sprintf("its records sum up to %016x, kept is %016x", w.sum, w.copy.recordSum)
			}
			w.after(walkLookups)
			return cost, ""
		}
		k := &w.copy.kinds[w.kind]
		if w.leaf == len(k.view.leaves) {
			if w.count != k.count || w.bytes != k.bytes {
				return cost, fmt.Sprintf("%d records of kind %d with %d bytes, counted are %d with %d", w.count, k.kind, w.bytes, k.count, k.bytes)
			}
			w.kind, w.leaf, w.pos, w.key, w.count, w.bytes = w.kind+1, 0, 0, w.key[:0], 0, 0
			continue
		}
		l := k.view.leaf(w.leaf)
		if w.pos >= l.len() {
			w.leaf, w.pos = w.leaf+1, 0
			continue
		}
		r := l.ref(w.pos)
		rec, ok := k.view.recordAt(r)
		if !ok {
			return cost, fmt.Sprintf("leaf %d leads to no record", w.leaf)
		}
		if what = k.view.checked(rec, k.kind, w.leaf, w.key); what == "" {
			what = w.record(k, rec, r)
		}
		if what != "" {
			return cost, what
		}
		w.pos, w.count, w.sum, w.bytes = w.pos+1, w.count+1, w.sum+rec.hash(), w.bytes+int64(rec.keyLen()+rec.valueLen())
		w.key = append(w.key[:0], rec.key()...)
		cost += rec.size()
	}
	return cost, ""
}

// record compares a record of the copy with the slot as it is now.
func (w *Walk) record(k *kindView, rec record, r ref) string {
	key := rec.key()
	slot, hash := locateRecord(k.kind, key)
	switch {
	case slot != w.slot && k.kind != KindLease:
		return fmt.Sprintf("key %s is of slot %d", ShowKey(key), slot)
	case rec.version() == 0 || rec.version() > w.copy.last:
		return fmt.Sprintf("key %s has version %d, the slot's last is %d", ShowKey(key), rec.version(), w.copy.last)
	}
	is, there := k.of.indexed(key)
	switch {
	case !there && stampOf(w.st) == w.stamp:
		return fmt.Sprintf("the order of keys does not lead to key %s", ShowKey(key))
	case !there:
		return "" // it has gone since
	case !k.of.lookup.led(tagOf(hash), is):
		return fmt.Sprintf("the lookup does not lead to key %s", ShowKey(key))
	case is != r:
		return "" // it was written or moved since
	}
	return endsIndexed(w.st, rec)
}

// endsIndexed says what is wrong with how a record stands in the indexes of what ends.
func endsIndexed(s *slotState, rec record) string {
	var of *store
	var name []byte
	switch e := endOf(rec); {
	case e.by == endsNever:
		return ""
	case s.endings == nil:
		return fmt.Sprintf("key %s ends, and nothing is known of ends", ShowKey(rec.key()))
	case e.by == endsAt:
		of, name = &s.endings.due, dueName(slotTime(e.number), rec.kind(), rec.key())
	default:
		of, name = &s.endings.attached, attachedName(e.number, rec.key())
	}
	if r, ok := of.indexed(name); !ok || !of.lookup.led(tagOf(hashKey(name)), r) {
		return fmt.Sprintf("the end of key %s is not in its index", ShowKey(rec.key()))
	}
	return ""
}

// walked returns the stores of the slot: of its records, and of its indexes of what ends.
func (w *Walk) walked() (all []*store) {
	w.st.stores(func(o *store) { all = append(all, o) })
	if e := w.st.endings; e != nil {
		all = append(all, &e.due, &e.attached)
	}
	return all
}

// lookups compares the entries of the lookups with the records that they lead to.
func (w *Walk) lookups(budget int) (cost int, what string) {
	all := w.walked()
	for cost < budget {
		if w.kind >= len(all) {
			w.after(walkSessions)
			return cost, ""
		}
		s := all[w.kind]
		if w.entries != len(s.lookup.entries) {
			w.entries, w.pos, w.count = len(s.lookup.entries), 0, 0
		}
		if w.pos == w.entries {
			if w.count != s.lookup.count && stampOf(w.st) == w.stamp {
				return cost, fmt.Sprintf("the lookup has %d entries, counted are %d", w.count, s.lookup.count)
			}
			w.kind, w.pos, w.count, w.entries = w.kind+1, 0, 0, 0
			continue
		}
		e := s.lookup.entries[w.pos]
		w.pos++
		cost += walkPlaceCost
		if e == 0 {
			continue
		}
		w.count++
		rec, ok := s.recordAt(refOf(e))
		if !ok {
			return cost, "the lookup leads to no record"
		}
		key := rec.key()
		cost += walkEntryCost + len(key)
		if tag := tagOf(hashKey(key)); tag != uint32(e>>32) || !s.lookup.led(tag, refOf(e)) {
			return cost, fmt.Sprintf("the lookup has key %s where it is not found", ShowKey(key))
		}
		if r, ok := s.indexed(key); !ok || r != refOf(e) {
			return cost, fmt.Sprintf("lookup and order of keys lead to different records of key %s", ShowKey(key))
		}
	}
	return cost, ""
}

// sessions compares the sessions of the copy.
func (w *Walk) sessions(budget int) (cost int, what string) {
	c := w.copy
	for cost < budget {
		if w.leaf == len(c.sessions.blocks) {
			if w.sum != c.sessionSum || w.count != c.sessions.count || w.outcomes != c.outcomes || w.details != c.details {
				return cost, fmt.Sprintf("%d sessions, %d outcomes and %d bytes of details, which sum up to %016x; kept are %d, %d, %d and %016x",
					w.count, w.outcomes, w.details, w.sum, c.sessions.count, c.outcomes, c.details, c.sessionSum)
			}
			w.after(walkEnds)
			return cost, ""
		}
		list := c.sessions.blocks[w.leaf].list
		if w.pos == len(list) {
			w.leaf, w.pos = w.leaf+1, 0
			continue
		}
		s := &list[w.pos]
		n, what := w.oneSession(s)
		cost += n
		if what != "" {
			return cost, fmt.Sprintf("session %d of principal %d %s", s.id, s.principal, what)
		}
		w.pos, w.count, w.session = w.pos+1, w.count+1, s.sessionKey
	}
	return cost, ""
}

// oneSession compares one session of the copy, by itself and with its place among the others.
func (w *Walk) oneSession(s *session) (cost int, what string) {
	switch {
	case s.hash() != s.sum:
		return cost, fmt.Sprintf("has hash %016x, its fields have %016x", s.sum, s.hash())
	case !w.session.below(s.sessionKey):
		return cost, "is out of order"
	case int(s.head) > len(s.outcomes):
		return cost, fmt.Sprintf("has %d outcomes, of which %d have gone", len(s.outcomes), s.head)
	}
	kept, before := s.kept(), uint64(0)
	for i := range kept {
		o := &kept[i]
		if o.detailed && !s.holds(o) {
			return cost, fmt.Sprintf("lacks the detail of sequence %d", o.sequence)
		}
		detail := s.detail(o)
		if h := o.hash(s.sessionKey, detail); h != o.sum || o.sequence < s.floor || i > 0 && o.sequence <= before {
			return cost, fmt.Sprintf("has hash %016x for sequence %d, its fields have %016x; or it is out of order", o.sum, o.sequence, h)
		}
		before = o.sequence
		w.sum += o.sum
		w.details += len(detail)
		cost += snapshotOutcome + len(detail)
	}
	w.sum += s.sum
	w.outcomes += len(kept)
	return cost + snapshotSession, w.used(s)
}

// holds reports whether the detail of an outcome lies within those of its session.
func (s *session) holds(o *outcome) bool {
	if s.details == nil || int(o.deleted)+detailHead > len(s.details.bytes) {
		return false
	}
	b := s.details.bytes[o.deleted:]
	return detailHead+int(binary.LittleEndian.Uint32(b)) <= len(b)
}

// used says what is wrong with how the slot, as it is now, keeps when a session of the copy was
// used.
func (w *Walk) used(s *session) string {
	t := &w.st.sessions
	block, at, ok := t.find(s.sessionKey)
	if !ok {
		if stampOf(w.st) == w.stamp {
			return "is not found"
		}
		return ""
	}
	is := &t.blocks[block].list[at]
	if !t.ordered {
		if is.used < t.oldest {
			return fmt.Sprintf("was last used at %d, and the oldest is kept to be of %d", is.used, t.oldest)
		}
		return ""
	}
	nodes := t.order.nodes
	if is.order == 0 || int(is.order) >= len(nodes) {
		return "is not in the order of use"
	}
	x := nodes[is.order]
	if x.of != is.sessionKey || x.used != is.used || int(x.prev) >= len(nodes) || int(x.next) >= len(nodes) ||
		nodes[x.prev].next != is.order || nodes[x.next].prev != is.order || x.prev != 0 && nodes[x.prev].used > x.used {
		return "is out of place in the order of use"
	}
	return ""
}

// ends compares the indexes of what ends with the records.
func (w *Walk) ends(budget int) (cost int, what string) {
	e := w.st.endings
	for cost < budget {
		if e == nil || w.kind == 2 {
			w.phase = walkedSlot
			return cost, ""
		}
		s := [...]*store{&e.due, &e.attached}[w.kind]
		at := s.seek(w.key)
		rec := at.record()
		if rec != nil && len(w.key) > 0 && bytes.Equal(rec.key(), w.key) {
			at.next()
			rec = at.record()
		}
		if w.kind == 1 {
			what = w.leaseOf(rec)
		}
		if what != "" {
			return cost, what
		}
		if rec == nil {
			if stampOf(w.st) == w.stamp && w.sum != s.sum {
				return cost, fmt.Sprintf("an index of ends sums up to %016x, kept is %016x", w.sum, s.sum)
			}
			w.kind, w.key, w.sum = w.kind+1, w.key[:0], 0
			continue
		}
		if what = s.checked(rec, 0, at.leaf, w.key); what == "" {
			what = w.end(rec)
		}
		if what != "" {
			return cost, what
		}
		w.sum += rec.hash()
		w.key = append(w.key[:0], rec.key()...)
		cost += rec.size()
	}
	return cost, ""
}

// end says what is wrong with an entry of the index at hand.
func (w *Walk) end(entry record) string {
	key := entry.key()
	if len(key) <= attachedHead {
		return "an index of ends has an entry without a name"
	}
	want, kind, name := ending{endsWithLease, binary.BigEndian.Uint64(key)}, KindKey, key[attachedHead:]
	if w.kind == 0 {
		want.by, kind, name = endsAt, RecordKind(key[dueHead-1]), key[dueHead:]
	}
	of := w.st.kind(kind)
	if of != nil {
		if r, ok := of.indexed(name); ok && endOf(of.at(r)) == want {
			return ""
		}
	}
	return fmt.Sprintf("an index of ends has key %s, which ends otherwise", ShowKey(name))
}

// leaseOf counts the keys of leases, the next of which is in entry; nil: there are no more. What
// the slot keeps is compared if nothing has changed while they were counted.
func (w *Walk) leaseOf(entry record) string {
	lease := uint64(0)
	if entry != nil && entry.keyLen() > attachedHead {
		lease = binary.BigEndian.Uint64(entry.key())
	}
	stamp := stampOf(w.st)
	if lease != w.lease {
		if w.lease != 0 {
			w.leases++
			if kept := w.st.endings.keys[w.lease]; stamp == w.leaseAt && kept != w.attached {
				return fmt.Sprintf("lease %d has %d keys, counted are %d", w.lease, w.attached, kept)
			}
		}
		w.lease, w.attached, w.leaseAt = lease, 0, stamp
	}
	w.attached++
	if kept := w.st.endings.keys; entry == nil && stamp == w.stamp && w.leases != len(kept) {
		return fmt.Sprintf("%d leases have keys, counted are %d", w.leases, len(kept))
	}
	return ""
}
