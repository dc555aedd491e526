package shardmap

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"muster/raft"
)

// The state of a map is kept as a stream of bytes, equal for equal states,
// little-endian:
//
//	 0  8    "mustkeys"
//	 8  u16  format, 1
//	10  u16  number of slots that the group owns
//	12       their numbers, u16 each, ascending
//	         the snapshot of each (snapshot.go), in that order
//
// The holder of the stream knows where the state stands (log id, group time), and
// has checksums. Each slot's digest covers its contents.
const (
	mapMagic  = "mustkeys"
	mapFormat = 1
	mapHeader = 12
)

// MapCopy is a map as it was at one entry. One goroutine at a time may use it.
type MapCopy struct {
	slots   []*SlotCopy
	written bool
}

// CopyAll returns all slots as they are now. The goroutine that applies calls it,
// between two entries. It costs some 0.2 µs for each slot.
func (m *Map) CopyAll() *MapCopy {
	c := &MapCopy{}
	for s := range Slot(Slots) {
		if copied, owned := m.Copy(s); owned {
			c.slots = append(c.slots, copied)
		}
	}
	return c
}

// Release gives the copy up. A second Release does nothing.
func (c *MapCopy) Release() {
	for _, s := range c.slots {
		s.Release()
	}
	c.slots, c.written = nil, true
}

// WriteTo writes the state to w, once. Each slot is released as soon as it is
// written, so that writes to it copy nothing from then on. After an error the
// caller must still call Release.
func (c *MapCopy) WriteTo(w io.Writer) (int64, error) {
	if c.written {
		return 0, fmt.Errorf("%w: write a copy that was written or released before", ErrInvariant)
	}
	c.written = true
	s := streamWriter{w: w}
	err := s.room(mapHeader + 2*len(c.slots))
	s.b = append(s.b, mapMagic...)
	s.b = binary.LittleEndian.AppendUint16(s.b, mapFormat)
	s.b = binary.LittleEndian.AppendUint16(s.b, uint16(len(c.slots)))
	for _, slot := range c.slots {
		s.b = binary.LittleEndian.AppendUint16(s.b, uint16(slot.Slot()))
	}
	for _, slot := range c.slots {
		if err == nil {
			err = slot.write(&s)
		}
		if err != nil {
			return s.total, fmt.Errorf("write slot %d: %w", slot.Slot(), err)
		}
		slot.Release()
	}
	if err := s.flush(); err != nil {
		return s.total, fmt.Errorf("write slots: %w", err)
	}
	return s.total, nil
}

// Load makes m the state that a [MapCopy] wrote, which must be all of r. m owns
// the slots in it, and stands at the entry at, at group time t. Load trusts
// nothing, like [ReadSnapshot]. After an error m is unchanged.
//
// Nobody else may use m yet. What it held before stays in memory
// until Load is done.
func (m *Map) Load(r io.Reader, at raft.LogID, t raft.GroupTime) error {
	d := snapshotReader{streamReader: streamReader{r: r}}
	loaded := NewMap(m.group, nil)
	if err := d.slots(loaded); err != nil {
		return d.fail(err)
	}
	loaded.quota.sessionsMax, loaded.quota.outcomesMax = m.quota.sessionsMax, m.quota.outcomesMax
	m.pages, m.quota = loaded.pages, loaded.quota
	m.advance(at, t)
	return nil
}

// slots reads all slots into m, which has none.
func (d *snapshotReader) slots(m *Map) error {
	head, err := d.take(mapHeader)
	if err != nil {
		return err
	}
	if string(head[:8]) != mapMagic {
		return fmt.Errorf("begins with %q, want %q", head[:8], mapMagic)
	}
	if f := binary.LittleEndian.Uint16(head[8:]); f != mapFormat {
		return fmt.Errorf("state of format %d: %w; known is %d", f, ErrLevel, mapFormat)
	}
	n := int(binary.LittleEndian.Uint16(head[10:]))
	if n > Slots {
		return fmt.Errorf("%d slots, there are %d", n, Slots)
	}
	b, err := d.take(2 * n)
	if err != nil {
		return err
	}
	owned := make([]Slot, n)
	for i := range owned {
		owned[i] = Slot(binary.LittleEndian.Uint16(b[2*i:]))
		if owned[i] >= Slots || i > 0 && owned[i-1] >= owned[i] {
			return fmt.Errorf("slot %d is out of order", owned[i])
		}
	}
	m.quota.oldest = math.MaxUint64
	for _, want := range owned {
		s, err := d.slot()
		if err != nil {
			return err
		}
		if s.slot != want {
			return fmt.Errorf("slot %d, due is %d", s.slot, want)
		}
		m.own(want, s.state)
		m.quota.sessions += s.state.sessions.count
		m.quota.outcomes += s.state.sessions.outcomes
		m.quota.oldest = min(m.quota.oldest, s.state.sessions.noneBefore())
	}
	return d.end()
}
