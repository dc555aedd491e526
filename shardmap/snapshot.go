package shardmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"muster/raft"
)

// A slot travels and is kept as a stream of bytes, equal for equal states,
// little-endian:
//
//	 0  8    "mustslot"
//	 8  u16  format, 1
//	10  u16  slot
//	12  u32  number of sessions
//	16  u64  number of records
//	24  u64  last version
//	32  u64  digest
//	40       records, by key, each:
//	           0  u64  version
//	           8  u64  group time at which it expires; 0 never
//	          16  u32  length of the value
//	          20  u16  length of the key
//	          22  u8   kind, as in record.go
//	          23  u8   zero
//	          24       key, value
//	         sessions, by id, each:
//	           0  u64  id
//	           8  u64  group time of the last use
//	          16  u64  floor
//	          24  u32  number of outcomes
//	          28       outcomes, by sequence, each:
//	                     0  u64  sequence
//	                     8  u64  term
//	                    16  u64  index
//	                    24  u64  version; in a conflict, the current one
//	                    32  u32  keys deleted
//	                    36  u32  status
//
// The digest is over all of it but the first 16 bytes, so the stream needs no
// checksum of its own to be told from another state; files and frames that
// carry it have theirs, because the digest is known only at the end.
const (
	snapshotMagic       = "mustslot"
	snapshotFormat      = 1
	snapshotHeader      = 40
	snapshotRecord      = 24
	snapshotSession     = 28
	snapshotOutcome     = 40
	snapshotWriteBuffer = 64 << 10 // bytes gathered for one Write
	snapshotReadStep    = 512      // bytes that a claim gets before they have arrived
)

// ErrSnapshot is wrapped by errors about bytes that are no snapshot of a slot.
var ErrSnapshot = errors.New("not a snapshot of a slot")

// WriteTo writes the copy's snapshot to w, in pieces of some 64 KiB or one
// record.
func (c *SlotCopy) WriteTo(w io.Writer) (int64, error) {
	if bug("snapshot without session table") {
		bare := *c
		bare.sessions, c = nil, &bare
	}
	b := append(make([]byte, 0, snapshotWriteBuffer), snapshotMagic...)
	b = binary.LittleEndian.AppendUint16(b, snapshotFormat)
	b = binary.LittleEndian.AppendUint16(b, uint16(c.slot))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(c.sessions)))
	b = binary.LittleEndian.AppendUint64(b, uint64(c.count))
	b = binary.LittleEndian.AppendUint64(b, c.last)
	b = binary.LittleEndian.AppendUint64(b, c.Digest())
	total := int64(0)
	flush := func() error {
		n, err := w.Write(b)
		total += int64(n)
		b = b[:0]
		if err != nil {
			return fmt.Errorf("write snapshot of slot %d: %w", c.slot, err)
		}
		return nil
	}
	for at := c.view.seek(nil); ; at.next() {
		rec := at.record()
		if rec == nil {
			break
		}
		content := rec.content()
		if len(b) > 0 && len(b)+len(content) > snapshotWriteBuffer {
			if err := flush(); err != nil {
				return total, err
			}
		}
		b = append(b, content...)
	}
	for i := range c.sessions {
		s := &c.sessions[i]
		b = binary.LittleEndian.AppendUint64(b, s.id)
		b = binary.LittleEndian.AppendUint64(b, uint64(s.used))
		b = binary.LittleEndian.AppendUint64(b, s.floor)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s.kept())))
		for _, o := range s.kept() {
			b = binary.LittleEndian.AppendUint64(b, o.sequence)
			b = binary.LittleEndian.AppendUint64(b, o.id.Term)
			b = binary.LittleEndian.AppendUint64(b, o.id.Index)
			b = binary.LittleEndian.AppendUint64(b, o.version)
			b = binary.LittleEndian.AppendUint32(b, o.deleted)
			b = binary.LittleEndian.AppendUint32(b, uint32(o.status))
			if len(b) >= snapshotWriteBuffer {
				if err := flush(); err != nil {
					return total, err
				}
			}
		}
	}
	return total, flush()
}

// SlotSnapshot is a slot that was read from a snapshot and belongs to no map
// yet.
type SlotSnapshot struct {
	slot  Slot
	state *slotState
}

// Slot returns which slot this is.
func (s *SlotSnapshot) Slot() Slot { return s.slot }

// ReadSnapshot reads what [SlotCopy.WriteTo] wrote, and nothing beyond. It
// believes nothing: order, slot, limits and digest are checked, and memory is
// taken as bytes arrive, not as they are announced. r should be buffered.
func ReadSnapshot(r io.Reader) (*SlotSnapshot, error) {
	d := snapshotReader{r: r}
	s, err := d.slot()
	if err != nil && !errors.Is(err, ErrLevel) {
		err = fmt.Errorf("%w: at byte %d: %w", ErrSnapshot, d.offset, err)
	}
	return s, err
}

// Install makes m hold the snapshot's slot, in place of what it held; m must
// own the slot. The snapshot is used up.
func (m *Map) Install(s *SlotSnapshot) error {
	st := m.slot(s.slot)
	if st == nil {
		return fmt.Errorf("install snapshot: slot %d is not this group's", s.slot)
	}
	if s.state == nil {
		return fmt.Errorf("%w: install snapshot of slot %d twice", ErrInvariant, s.slot)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.records.copies > 0 {
		// Copies that are out are released to this slot later; they go on
		// seeing what they saw, and count as copies of what is here now.
		s.state.records.copies = st.records.copies
		s.state.records.epoch++
		s.state.records.shared = s.state.records.epoch
		s.state.records.topShared, s.state.records.bufsShared = true, true
	}
	st.records, st.sessions, st.last = s.state.records, s.state.sessions, s.state.last
	s.state = nil
	return nil
}

// Restore tells m that its slots stand at the entry id, at group time t: what
// was installed came from a snapshot taken there.
func (m *Map) Restore(id raft.LogID, t raft.GroupTime) {
	m.advance(id, t)
}

type snapshotReader struct {
	r       io.Reader
	offset  int64
	scratch []byte // grows to the largest record
	slotOf  Slot
}

// take returns the next n bytes, until the next call.
func (d *snapshotReader) take(n int) ([]byte, error) {
	d.scratch = d.scratch[:0]
	for len(d.scratch) < n {
		have := len(d.scratch)
		step := min(n-have, max(have, snapshotReadStep))
		if cap(d.scratch) < have+step {
			grown := make([]byte, have, have+step)
			copy(grown, d.scratch)
			d.scratch = grown
		}
		d.scratch = d.scratch[:have+step]
		got, err := io.ReadFull(d.r, d.scratch[have:])
		d.offset += int64(got)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return d.scratch, nil
}

func (d *snapshotReader) slot() (*SlotSnapshot, error) {
	head, err := d.take(snapshotHeader)
	if err != nil {
		return nil, err
	}
	if string(head[:8]) != snapshotMagic {
		return nil, fmt.Errorf("begins with %q, want %q", head[:8], snapshotMagic)
	}
	if f := binary.LittleEndian.Uint16(head[8:]); f != snapshotFormat {
		return nil, fmt.Errorf("snapshot of format %d: %w; known is %d", f, ErrLevel, snapshotFormat)
	}
	d.slotOf = Slot(binary.LittleEndian.Uint16(head[10:]))
	if d.slotOf >= Slots {
		return nil, fmt.Errorf("slot %d, the last is %d", d.slotOf, Slots-1)
	}
	sessions, records := binary.LittleEndian.Uint32(head[12:]), binary.LittleEndian.Uint64(head[16:])
	st := &slotState{records: newStore(), last: binary.LittleEndian.Uint64(head[24:])}
	want := binary.LittleEndian.Uint64(head[32:])
	if sessions > SlotSessionsMax {
		return nil, fmt.Errorf("%d sessions, the limit is %d", sessions, SlotSessionsMax)
	}
	var before []byte
	for range records {
		if before, err = d.record(st, before); err != nil {
			return nil, err
		}
	}
	for range sessions {
		if err := d.session(&st.sessions); err != nil {
			return nil, err
		}
	}
	if got := digest(st.records.sum, st.sessions.sum, st.last); got != want {
		return nil, fmt.Errorf("slot %d: what was read has digest %016x, the snapshot says %016x", d.slotOf, got, want)
	}
	return &SlotSnapshot{d.slotOf, st}, nil
}

// record reads one record into st and returns its key in the memory of before.
func (d *snapshotReader) record(st *slotState, before []byte) ([]byte, error) {
	head, err := d.take(snapshotRecord)
	if err != nil {
		return nil, err
	}
	version := binary.LittleEndian.Uint64(head[0:])
	expire := raft.GroupTime(binary.LittleEndian.Uint64(head[8:]))
	valueLen, keyLen := binary.LittleEndian.Uint32(head[16:]), int(binary.LittleEndian.Uint16(head[20:]))
	switch kind, zero := head[22], head[23]; {
	case kind != recordKindKey || zero != 0 || expire != 0:
		return nil, fmt.Errorf("record of kind %d, %d, expiring at %d: %w", kind, zero, expire, ErrLevel)
	case keyLen == 0 || keyLen > KeyMax || valueLen > ValueMaxLimit:
		return nil, fmt.Errorf("key of %d bytes, value of %d; the limits are 1 to %d, and %d", keyLen, valueLen, KeyMax, ValueMaxLimit)
	case version == 0 || version > st.last:
		return nil, fmt.Errorf("version %d, the slot's last is %d", version, st.last)
	}
	body, err := d.take(keyLen + int(valueLen))
	if err != nil {
		return nil, err
	}
	key := body[:keyLen]
	slot, hash := locate(key)
	switch {
	case slot != d.slotOf:
		return nil, fmt.Errorf("key %s is in slot %d, not %d", show(key), slot, d.slotOf)
	case len(before) > 0 && bytes.Compare(before, key) >= 0:
		return nil, fmt.Errorf("key %s after %s", show(key), show(before))
	}
	st.records.put(key, body[keyLen:], hash, version, expire)
	return append(before[:0], key...), nil
}

func (d *snapshotReader) session(t *sessions) error {
	b, err := d.take(snapshotSession)
	if err != nil {
		return err
	}
	s := session{
		id:    binary.LittleEndian.Uint64(b[0:]),
		used:  raft.GroupTime(binary.LittleEndian.Uint64(b[8:])),
		floor: binary.LittleEndian.Uint64(b[16:]),
	}
	n := int(binary.LittleEndian.Uint32(b[24:]))
	if last := len(t.list); s.id == 0 || last > 0 && t.list[last-1].id >= s.id {
		return fmt.Errorf("session %d is out of order", s.id)
	}
	if t.outcomes+n > SlotOutcomesMax {
		return fmt.Errorf("%d outcomes and more, the limit is %d", t.outcomes+n, SlotOutcomesMax)
	}
	for range n {
		if b, err = d.take(snapshotOutcome); err != nil {
			return err
		}
		o := outcome{
			sequence: binary.LittleEndian.Uint64(b[0:]),
			id:       raft.LogID{Term: binary.LittleEndian.Uint64(b[8:]), Index: binary.LittleEndian.Uint64(b[16:])},
			version:  binary.LittleEndian.Uint64(b[24:]),
			deleted:  binary.LittleEndian.Uint32(b[32:]),
			status:   Status(b[36]),
		}
		if st := binary.LittleEndian.Uint32(b[36:]); st != uint32(StatusApplied) && st != uint32(StatusConflict) {
			return fmt.Errorf("session %d, sequence %d: status %d: %w", s.id, o.sequence, st, ErrLevel)
		}
		if k := len(s.outcomes); o.sequence < s.floor || k > 0 && s.outcomes[k-1].sequence >= o.sequence {
			return fmt.Errorf("session %d: sequence %d is out of order", s.id, o.sequence)
		}
		s.outcomes = append(s.outcomes, o)
		t.sum += o.hash(s.id)
	}
	t.sum += s.hash()
	t.outcomes += n
	t.list = append(t.list, s)
	return nil
}
