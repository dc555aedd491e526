package shardmap

import (
	"encoding/binary"
	"fmt"

	"muster/raft"
)

// What follows makes faults of memory for tests, of this package and of others. No exported name
// leads here but under the build tag plantedbugs, so the linker leaves it out of the binary.

// flipper flips bits of what a map has in memory.
type flipper struct {
	draw func(n int) int // returns a number below n
	m    *Map
	// slots are those of m that are here or on their way, and leased those in which keys end with
	// leases, which are few.
	slots, leased []Slot
}

// newFlipper returns a flipper of m. Of all slots m has only a few: if one were drawn from all,
// nearly every flip would be of what is kept of the whole group.
func newFlipper(draw func(n int) int, m *Map) *flipper {
	f := &flipper{draw: draw, m: m}
	for s := range Slot(Slots) {
		if st := slotStateOf(m, s); st != nil {
			f.slots = append(f.slots, s)
			if e := st.endings; e != nil && e.attached.count > 0 {
				f.leased = append(f.leased, s)
			}
		}
	}
	return f
}

// flip is one bit that was flipped.
type flip struct {
	what string
	part Part
	back func()
	// seps is the store whose separators have the bit, some of which decide nothing; nil: it is elsewhere.
	seps *store
}

// bitOf returns a flip of a bit of a field.
func bitOf[T ~int | ~int64 | ~uint16 | ~uint32 | ~uint64](r *flipper, what string, s Part, field *T, bits int) *flip {
	mask := T(1) << r.draw(bits)
	*field ^= mask
	return &flip{what: what, part: s, back: func() { *field ^= mask }}
}

func (r *flipper) byteOf(what string, s Part, b []byte) *flip {
	if len(b) == 0 {
		return nil
	}
	at, mask := r.draw(len(b)), byte(1)<<r.draw(8)
	b[at] ^= mask
	return &flip{what: fmt.Sprintf("%s, byte %d", what, at), part: s, back: func() { b[at] ^= mask }}
}

// store flips a bit of a store; nil if there is none of what was drawn. What no one reads is left
// out: the filling of records and leaves, and how old a leaf is.
func (r *flipper) store(what string, s Part, o *store) *flip {
	if o.count == 0 {
		return nil
	}
	i := r.draw(len(o.leaves))
	l := o.leaf(i)
	switch r.draw(11) {
	case 10:
		f := r.byteOf(what+" separators", s, o.seps)
		if f != nil {
			f.seps = o
		}
		return f
	case 0:
		return bitOf(r, what+" lookup", s, &o.lookup.entries[r.draw(len(o.lookup.entries))], 64)
	case 1:
		return r.byteOf(what+" order", s, l.refs(0, l.len()))
	case 2:
		return r.byteOf(what+" length of a leaf", s, l[8:16])
	case 3:
		return bitOf(r, what+" place of a leaf", s, &o.leaves[i].ref, 32)
	case 4:
		return bitOf(r, what+" end of a separator", s, &o.leaves[i].end, 32)
	case 5:
		return bitOf(r, what+" count", s, &o.count, 63)
	case 6:
		return bitOf(r, what+" count of the lookup", s, &o.lookup.count, 63)
	case 7:
		return bitOf(r, what+" sum", s, &o.sum, 64)
	}
	rec := o.at(l.ref(r.draw(l.len())))
	return r.byteOf(what+" record", s, rec[:recordHeader+rec.keyLen()+rec.valueLen()+rec.ends().size()])
}

func (r *flipper) sessions(s Part, t *sessions) *flip {
	if t.count == 0 {
		return nil
	}
	i := r.draw(len(t.blocks))
	list := t.blocks[i].list
	x := &list[r.draw(len(list))]
	switch r.draw(14) {
	case 0:
		return bitOf(r, "session id", s, &x.id, 64)
	case 1:
		return bitOf(r, "session's principal", s, &x.principal, 64)
	case 2:
		return bitOf(r, "session's last use", s, &x.used, 64)
	case 3:
		return bitOf(r, "session's floor", s, &x.floor, 64)
	case 4:
		return bitOf(r, "session's sum", s, &x.sum, 64)
	case 5:
		return bitOf(r, "count of sessions", s, &t.count, 63)
	case 6:
		return bitOf(r, "count of outcomes", s, &t.outcomes, 63)
	case 7:
		return bitOf(r, "bytes of details", s, &t.details, 63)
	case 8:
		return bitOf(r, "sum of sessions", s, &t.sum, 64)
	case 9:
		if t.ordered {
			n := &t.order.nodes[x.order]
			switch r.draw(4) {
			case 0:
				return bitOf(r, "node's next", s, &n.next, 32)
			case 1:
				return bitOf(r, "node's use", s, &n.used, 64)
			case 2:
				return bitOf(r, "node's session", s, &n.of.id, 64)
			}
			return bitOf(r, "session's node", s, &x.order, 32)
		}
		return nil
	}
	if len(x.kept()) == 0 {
		return nil
	}
	o := &x.kept()[r.draw(len(x.kept()))]
	switch r.draw(6) {
	case 0:
		return bitOf(r, "outcome's sequence", s, &o.sequence, 64)
	case 1:
		return bitOf(r, "outcome's index", s, &o.id.Index, 64)
	case 2:
		return bitOf(r, "outcome's version", s, &o.version, 64)
	case 3:
		return bitOf(r, "outcome's sum", s, &o.sum, 64)
	case 4:
		return bitOf(r, "outcome's deleted, or place of its detail", s, &o.deleted, 32)
	}
	if !o.detailed {
		return nil
	}
	return r.byteOf("detail", s, x.detail(o))
}

func (r *flipper) slot() *flip {
	if len(r.slots) == 0 {
		return nil
	}
	of := r.slots
	if len(r.leased) > 0 && r.draw(8) == 0 {
		of = r.leased
	}
	slot := of[r.draw(len(of))]
	st, s := slotStateOf(r.m, slot), Part(slot)
	switch r.draw(14) {
	case 0:
		return bitOf(r, "last version", s, &st.last, 64)
	case 12:
		if st.seal != nil {
			return r.seal(s, st.seal)
		}
		return nil
	case 13:
		if i := r.m.imports.of(slot); i != nil {
			return r.head(s, i)
		}
		return nil
	case 1, 2, 3, 4:
		all := []*store{&st.records}
		all = append(all, st.others...)
		i := r.draw(len(all))
		if r.draw(8) == 0 {
			return bitOf(r, fmt.Sprintf("bytes of kind %d", all[i].kind), s, &all[i].bytes, 63)
		}
		return r.store(fmt.Sprintf("kind %d", all[i].kind), s, all[i])
	case 5, 6, 7, 8:
		return r.sessions(s, &st.sessions)
	}
	e := st.endings
	if e == nil {
		return nil
	}
	n := r.draw(10)
	switch {
	case n < 2:
		return bitOf(r, "how far time is ahead", s, &e.ahead, 64)
	case n < 4:
		return bitOf(r, "first end", s, &e.first, 64)
	case n < 6 || e.attached.count == 0: // most have none
		return r.store("index of times", s, &e.due)
	case n < 7:
		lease := binary.BigEndian.Uint64(e.attached.at(e.attached.leaf(0).ref(0)).key())
		e.keys[lease] ^= 1
		return &flip{what: "keys of a lease", part: s, back: func() { e.keys[lease] ^= 1 }}
	}
	return r.store("index of leases", s, &e.attached)
}

func (r *flipper) seal(s Part, k *keptSeal) *flip {
	switch r.draw(4) {
	case 0:
		return bitOf(r, "number of a seal", s, &k.number, 64)
	case 1:
		return bitOf(r, "index of a seal", s, &k.at.Index, 64)
	case 2:
		return bitOf(r, "time of a seal", s, &k.time, 64)
	}
	return bitOf(r, "target of a seal", s, &k.target, 16)
}

func (r *flipper) head(s Part, i *slotImport) *flip {
	switch r.draw(7) {
	case 0:
		return bitOf(r, "number of an import", s, &i.number, 64)
	case 1:
		return bitOf(r, "source of an import", s, &i.source, 16)
	case 2:
		return bitOf(r, "attempt of an import", s, &i.attempt.Number, 64)
	case 3:
		return bitOf(r, "pieces of an import", s, &i.chunks, 64)
	case 4:
		return bitOf(r, "end of a pass of an import", s, &i.at.Index, 64)
	case 5:
		return bitOf(r, "slot of an import", s, &i.slot, 16)
	}
	return bitOf(r, "end of an import's next pass", s, &i.to.Term, 64)
}

// group flips a bit of what is no slot's.
func (r *flipper) group() *flip {
	m := r.m
	switch r.draw(8) {
	case 0:
		return bitOf(r, "sessions of all slots", PartSessions, &m.quota.sessions, 63)
	case 1:
		return bitOf(r, "founding", PartFounding, &m.founded, 64)
	case 2:
		return bitOf(r, "count of seals", PartFounding, &m.slots.Load().sealedCount, 63)
	case 3:
		if n := len(m.marks); n > 0 {
			return bitOf(r, "mark", PartMarks, &m.marks[r.draw(n)].mark, 64)
		}
	case 4:
		if n := len(m.decisions); n > 0 {
			d := &m.decisions[r.draw(n)]
			if r.draw(2) == 0 {
				d.Taken = !d.Taken
				return &flip{what: "what a decision is", part: PartDecisions, back: func() { d.Taken = !d.Taken }}
			}
			return bitOf(r, "number of a decision", PartDecisions, &d.Number, 64)
		}
	case 5:
		return bitOf(r, "level that the group was raised to", PartHistory, &m.history.raised, 32)
	default:
		return r.history(m.history)
	}
	return nil
}

func (r *flipper) history(h *History) *flip {
	ring := h.ring.Load()
	if ring == nil {
		return nil
	}
	i := r.draw(len(ring.blocks))
	k := ring.blocks[i]
	switch {
	case k == h.tail && r.draw(4) == 0:
		return bitOf(r, "end of the history", PartHistory, &h.used, 63)
	case k == h.tail:
		return r.byteOf("last block of the history", PartHistory, k.buf[:h.used])
	case r.draw(8) == 0:
		return bitOf(r, "end of a block of the history", PartHistory, &k.used, 63)
	}
	return r.byteOf("history", PartHistory, k.buf[:k.used])
}

// flip flips some bit.
func (r *flipper) flip() *flip {
	for {
		of := r.slot
		if r.draw(15) == 0 {
			of = r.group
		}
		if f := of(); f != nil {
			return f
		}
	}
}

// spoil flips a bit, or swaps two places, in a slot of m, such that the map can go on: it may give
// wrong answers, but mostly finds its way in its own indexes. It returns nil if m has no slot.
func (r *flipper) spoil() *flip {
	if len(r.slots) == 0 {
		return nil
	}
	for {
		slot := r.slots[r.draw(len(r.slots))]
		st, f := slotStateOf(r.m, slot), (*flip)(nil)
		st.mu.Lock()
		switch n := r.draw(10); {
		case n < 6:
			all := append([]*store{&st.records}, st.others...)
			f = r.spoilStore(Part(slot), all[r.draw(len(all))])
		case n < 9:
			f = r.spoilSession(Part(slot), &st.sessions)
		default:
			f = bitOf(r, "last version", Part(slot), &st.last, spoiledBits)
		}
		st.mu.Unlock()
		if f != nil {
			return f
		}
	}
}

// spoiledBits are the bits of a number that may be flipped: it stays far from its end.
const spoiledBits = 40

func (r *flipper) spoilStore(s Part, o *store) *flip {
	if o.count == 0 {
		return nil
	}
	l := o.leaf(r.draw(len(o.leaves)))
	switch r.draw(5) {
	case 0:
		return bitOf(r, "sum of records", s, &o.sum, 64)
	case 1:
		at := r.draw(len(o.lookup.entries))
		for o.lookup.entries[at] == 0 {
			at = o.lookup.after(at)
		}
		e, mask := &o.lookup.entries[at], uint64(1)<<(32+r.draw(32))
		*e ^= mask
		return &flip{what: "lookup", part: s, back: func() { *e ^= mask }}
	case 2:
		if l.len() < 2 {
			return nil
		}
		i := r.draw(l.len() - 1)
		swap := func() {
			a, b := l.ref(i), l.ref(i+1)
			l.set(i, b)
			l.set(i+1, a)
		}
		swap()
		return &flip{what: "order of keys", part: s, back: swap}
	case 3:
		rec := o.at(l.ref(r.draw(l.len())))
		return r.byteOf("hash of a record", s, rec[:8])
	}
	// What lengths and ends are would lead elsewhere, and only the values of keys mean nothing here.
	if o.kind != KindKey {
		return nil
	}
	return r.byteOf("value of a record", s, o.at(l.ref(r.draw(l.len()))).value())
}

func (r *flipper) spoilSession(s Part, t *sessions) *flip {
	if t.count == 0 {
		return nil
	}
	list := t.blocks[r.draw(len(t.blocks))].list
	x := &list[r.draw(len(list))]
	switch r.draw(4) {
	case 0:
		return bitOf(r, "sum of sessions", s, &t.sum, 64)
	case 1:
		return bitOf(r, "floor of a session", s, &x.floor, spoiledBits)
	case 2:
		return bitOf(r, "last use of a session", s, &x.used, spoiledBits)
	}
	kept := x.kept()
	if len(kept) == 0 {
		return nil
	}
	o := &kept[r.draw(len(kept))]
	switch r.draw(3) {
	case 0:
		return bitOf(r, "index of an outcome", s, &o.id.Index, spoiledBits)
	case 1:
		return bitOf(r, "version of an outcome", s, &o.version, spoiledBits)
	}
	if o.detailed {
		return r.byteOf("detail of an outcome", s, x.detail(o))
	}
	return bitOf(r, "keys that an outcome says were deleted", s, &o.deleted, 8)
}

// spoil publishes a table with one thing in it changed, which shares no memory with the one before
// where it differs: whoever has that one sees nothing. To walks it is the same table, as if the change
// had been in its memory. It returns nil if there is no cluster.
func (m *TableMachine) spoil(draw func(n int) int) *flip {
	t := m.Table()
	if len(t.Nodes) == 0 {
		return nil
	}
	d := t.draft(raft.LogID{Index: t.Index})
	f := &flip{back: func() { m.made.of = t; m.table.Store(t) }}
	switch n := draw(5); {
	case n == 0 && len(t.Groups) > 0 && len(t.Nodes) > 1:
		g := d.editGroup(t.Groups[draw(len(t.Groups))].ID)
		at, _ := t.node(g.Preferred)
		g.Preferred = t.Nodes[(at+1)%len(t.Nodes)].ID
		f.what, f.part = "preferred leader of a group", PartGroups
	case n == 1 && len(t.Groups) > 1:
		s := draw(Slots)
		was := d.Slots[s]
		d.Slots[s] = t.Groups[draw(len(t.Groups))].ID
		if d.Slots[s] == was {
			d.Slots[s] = 0
		}
		f.what, f.part = "owner of a slot", PartSlots
	case n == 2 && len(t.Jobs) > 0:
		d.editJob(draw(len(t.Jobs))).Done ^= 1 << draw(spoiledBits)
		f.what, f.part = "progress of a job", PartJobs
	case n == 3:
		d.ValueMax ^= 1 << draw(16)
		f.what, f.part = "bound of values", PartCluster
	default:
		d.editNode(draw(len(t.Nodes))).Start ^= 1 << draw(spoiledBits)
		f.what, f.part = "starts of a node", PartNodes
	}
	m.made.of = d.Table
	m.table.Store(d.Table)
	return f
}
