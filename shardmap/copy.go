package shardmap

import (
	"bytes"
)

// SlotCopy is a slot as it was at one moment. Taking it is O(1) and stops no
// write; the writer then copies what it changes, for as long as the copy is
// out. One goroutine at a time may use it.
type SlotCopy struct {
	slot     Slot
	last     uint64
	view     view
	count    int
	sessions sessionView

	recordSum, sessionSum uint64

	of *slotState // nil once released
}

// Copy returns a slot as it is now, or nil if the slot is not this group's. Call
// it between two entries, from the goroutine that applies, where the copies of
// several slots must be of one log id.
func (m *Map) Copy(s Slot) *SlotCopy {
	st := m.slot(s)
	if st == nil {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return &SlotCopy{
		slot:       s,
		last:       st.last,
		view:       st.records.copyView(),
		count:      st.records.count,
		sessions:   st.sessions.copyView(),
		recordSum:  st.records.sum,
		sessionSum: st.sessions.sum,
		of:         st,
	}
}

// Release gives the copy up; it is empty from then on, and nothing that it
// handed out may be looked at any more. A second Release does nothing.
func (c *SlotCopy) Release() {
	st := c.of
	if st == nil {
		return
	}
	*c = SlotCopy{slot: c.slot}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.records.releaseView()
	st.sessions.releaseView()
}

// Slot returns which slot this is.
func (c *SlotCopy) Slot() Slot { return c.slot }

// Len returns the number of keys.
func (c *SlotCopy) Len() int { return c.count }

// Digest returns the slot's digest.
func (c *SlotCopy) Digest() uint64 { return digest(c.recordSum, c.sessionSum, c.last) }

// Check recomputes the digest from the bytes in memory. Its error names the
// record that is not what was written.
func (c *SlotCopy) Check() error { return c.check() }

// Get returns key's value and version. The value is the slot's own: it may be read
// until Release, and not be written to. It costs a search in the order of the keys,
// some times what [Map.Get] costs.
func (c *SlotCopy) Get(key []byte) (value []byte, version uint64, ok bool) {
	at := c.view.seek(key)
	rec := at.record()
	if rec == nil || !bytes.Equal(rec.key(), key) {
		return nil, 0, false
	}
	return rec.value(), rec.version(), true
}

// ValueSize returns the bytes of key's value, or 0 if the key is not there.
func (c *SlotCopy) ValueSize(key []byte) int {
	at := c.view.seek(key)
	rec := at.record()
	if rec == nil || !bytes.Equal(rec.key(), key) {
		return 0
	}
	return rec.valueLen()
}

// Walk calls f for each key from the first that is not below from, in order,
// until f returns false. Key and value alias the copy.
func (c *SlotCopy) Walk(from []byte, f func(key, value []byte, version uint64) bool) {
	for at := c.view.seek(from); ; at.next() {
		rec := at.record()
		if rec == nil || !f(rec.key(), rec.value(), rec.version()) {
			return
		}
	}
}
