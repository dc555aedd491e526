package shardmap

import (
	"bytes"
)

// SlotCopy is a slot as it was at one moment. Taking it is O(1) and stops no
// write; until it is released, the writer copies what it changes. One
// goroutine at a time may use it.
type SlotCopy struct {
	slot     Slot
	last     uint64
	kinds    []kindView  // the first is of keys
	first    [1]kindView // room for it: mostly there are no others
	sessions sessionView

	ahead  int64
	format uint16 // of its snapshot

	recordSum, sessionSum uint64
	outcomes, details     int    // of sessions
	wrong                 string // what memory no longer holds as it was written; "": nothing that shows without a walk
	formers               *formers

	of *slotState // nil once released
}

// kindView is the records of one kind.
type kindView struct {
	view  view
	count int
	bytes int64
	kind  RecordKind
	of    *store
}

// Copy returns a slot as it is now; owned is false, and there is no copy, if the
// slot is not this group's, or is sealed. Call it between two entries, on the goroutine that
// applies, if the copies of several slots must be of one log id.
func (m *Map) Copy(s Slot) (c *SlotCopy, owned bool) {
	st := m.slot(s)
	if st == nil {
		return nil, false
	}
	return st.copy(s), true
}

// CopyToMove is [Map.Copy] for whoever sends the slot to another group: it copies a sealed
// slot too. held is false if the group has none of it.
func (m *Map) CopyToMove(s Slot) (c *SlotCopy, held bool) {
	st := m.held(s)
	if st == nil {
		return nil, false
	}
	return st.copy(s), true
}

// copy returns the slot, whose number is s, as it is now.
func (st *slotState) copy(s Slot) *SlotCopy {
	st.mu.Lock()
	defer st.mu.Unlock()
	c := &SlotCopy{
		slot:       s,
		last:       st.last,
		sessions:   st.sessions.copyView(),
		recordSum:  st.recordSum(),
		sessionSum: st.sessions.sum,
		outcomes:   st.sessions.outcomes,
		details:    st.sessions.details,
		formers:    st.formers,
		ahead:      st.endings.aheadBy(),
		format:     st.format(),
		wrong:      keptFault(st),
		of:         st,
	}
	c.kinds = c.first[:0]
	st.stores(func(o *store) {
		c.kinds = append(c.kinds, kindView{view: o.copyView(), count: o.count, bytes: o.bytes, kind: o.kind, of: o})
	})
	return c
}

// keys returns the records of keys; none once c is released.
func (c *SlotCopy) keys() *view {
	if len(c.kinds) == 0 {
		return &view{}
	}
	return &c.kinds[0].view
}

// Release gives the copy up. It is empty from then on, and nothing that it
// handed out may be read. A second Release does nothing.
func (c *SlotCopy) Release() {
	st := c.of
	if st == nil {
		return
	}
	st.mu.Lock()
	for i := range c.kinds {
		c.kinds[i].of.releaseView()
	}
	st.sessions.releaseView()
	st.mu.Unlock()
	*c = SlotCopy{slot: c.slot}
}

// Slot returns which slot this is.
func (c *SlotCopy) Slot() Slot { return c.slot }

// Len returns the number of keys.
func (c *SlotCopy) Len() int {
	if len(c.kinds) == 0 {
		return 0
	}
	return c.kinds[0].count
}

// Digest returns the slot's digest.
func (c *SlotCopy) Digest() uint64 { return slotDigest(c.recordSum, c.sessionSum, c.last, c.formers) }

// Check recomputes the digest from the bytes in memory. Its error names a
// record that differs from what was written.
func (c *SlotCopy) Check() error { return c.check() }

// Find returns key's value and version, and when the key ends. The value is the slot's own:
// the caller may read it until Release, and not write to it. It costs a search in the order
// of the keys, several times the cost of [Map.Get].
func (c *SlotCopy) Find(key []byte) (value []byte, version uint64, end End, is Presence) {
	rec := c.keys().get(key)
	if rec == nil {
		return nil, 0, End{}, Absent
	}
	if rec.ends() != endsNever {
		end = endOfKey(c.slot, rec, c.ahead, c.leaseOf)
	}
	return rec.value(), rec.version(), end, Present
}

// leaseOf returns the record of a lease; nil if there is none.
func (c *SlotCopy) leaseOf(number uint64) record {
	for i := range c.kinds {
		if c.kinds[i].kind == KindLease {
			return c.kinds[i].view.get(leaseName(number))
		}
	}
	return nil
}

// get returns the record of a name; nil if there is none.
func (v *view) get(name []byte) record {
	at := v.seek(name)
	rec := at.record()
	if rec == nil || !bytes.Equal(rec.key(), name) {
		return nil
	}
	return rec
}

// ValueSize returns the bytes of key's value, or 0 if the key is not there.
func (c *SlotCopy) ValueSize(key []byte) int {
	rec := c.keys().get(key)
	if rec == nil {
		return 0
	}
	return rec.valueLen()
}

// Walk calls f for each key that is not below from, in order,
// until f returns false. Key and value alias the copy.
func (c *SlotCopy) Walk(from []byte, f func(key, value []byte, version uint64) bool) {
	for at := c.keys().seek(from); ; at.next() {
		rec := at.record()
		if rec == nil || !f(rec.key(), rec.value(), rec.version()) {
			return
		}
	}
}
