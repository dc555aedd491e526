package shardmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/cespare/xxhash/v2"
)

// A slot is sent and stored as a stream of bytes, equal for equal states,
// little-endian:
//
//	 0  8    "mustslot"
//	 8  u16  format: 2, or 3 with former owners, or 4 with leases, what ends, or details
//	10  u16  slot
//	12  u32  number of sessions
//	16  u64  number of records
//	24  u64  last version
//	32  u64  digest
//	40       with format 4 an i64, how many nanoseconds the slot's time is ahead of its
//	         group's (ending.go); with formats 3 and 4 the former owners (former.go), with 3 at
//	         least one
//	         records, by kind, those of a kind by key, each:
//	           0  u64  version
//	           8  u32  length of the value
//	          12  u16  length of the key
//	          14  u8   kind, as in record.go
//	          15  u8   how it ends, as in record.go; not 0 only with format 4
//	          16       key, value, and unless it never ends u64 the time or the lease
//	         sessions, by id and principal, each:
//	           0  u64  id
//	           8  u64  principal
//	          16  u64  group time of the last use
//	          24  u64  floor
//	          32  u32  number of outcomes
//	          36       outcomes, by sequence, each:
//	                     0  u64  sequence
//	                     8  u64  term
//	                    16  u64  index
//	                    24  u64  version; in a conflict, the current one
//	                    32  u32  keys deleted
//	                    36  u8   status
//	                    37  u8   1 if it has a detail, which it has only with format 4
//	                    38  u16  group in whose log term and index are
//	                    40       if it has one: u32 the length of the detail, and the
//	                             detail (detail.go)
//
// The digest covers everything but the first 16 bytes, so it tells this state from
// any other. It is the slot's, and with format 4 that and the xxhash64 of 6 and how far the
// slot's time is ahead, u64 each, little-endian. The stream has no checksum of its own: files and frames that
// carry it have theirs, since the digest is known only at the end.
const (
	snapshotMagic   = "mustslot"
	snapshotHeader  = 40
	snapshotRecord  = 16
	snapshotSession = 36
	snapshotOutcome = 40

	slotFormatBare    = 2 // without former owners
	slotFormatFormers = 3
	slotFormatEndings = 4
	snapshotAhead     = 8
)

// ErrSnapshot is wrapped by errors about bytes that are no snapshot of a slot.
var ErrSnapshot = errors.New("not a snapshot of a slot")

// WriteTo writes the copy's snapshot to w, in pieces of some 64 KiB or one
// record. What memory no longer holds as it was written is an error: who cuts
// off a log behind a snapshot must be able to read it.
func (c *SlotCopy) WriteTo(w io.Writer) (int64, error) {
	s := streamWriter{w: w}
	err := c.write(&s, nil)
	if err == nil {
		err = s.flush()
	}
	if err != nil {
		err = fmt.Errorf("write snapshot of slot %d: %w", c.slot, err)
	}
	return s.total, err
}

// write writes the copy. What memory no longer holds as it was written is an error, unless left is
// not nil: then it is written as it is, and left counts what can't be reached.
func (c *SlotCopy) write(s *streamWriter, left *LeftOut) error {
	if bug("snapshot without session table") {
		bare := *c
		bare.sessions, c = sessionView{}, &bare
	}
	if left == nil && c.wrong != "" {
		return fmt.Errorf("%w: slot %d: %s", ErrInvariant, c.slot, c.wrong)
	}
	if err := s.room(snapshotHeader + snapshotAhead + formersMaxBytes); err != nil {
		return err
	}
	s.b = append(s.b, snapshotMagic...)
	s.b = binary.LittleEndian.AppendUint16(s.b, c.format)
	s.b = binary.LittleEndian.AppendUint16(s.b, uint16(c.slot))
	records, sessions := 0, c.sessions.count
	for i := range c.kinds {
		records += c.kinds[i].count
	}
	if left != nil {
		records, sessions = c.reached(left)
	}
	s.b = binary.LittleEndian.AppendUint32(s.b, uint32(sessions))
	s.b = binary.LittleEndian.AppendUint64(s.b, uint64(records))
	s.b = binary.LittleEndian.AppendUint64(s.b, c.last)
	digest := c.Digest()
	if c.format >= slotFormatEndings {
		digest += aheadSum(c.ahead)
	}
	s.b = binary.LittleEndian.AppendUint64(s.b, digest)
	if c.format >= slotFormatEndings {
		s.b = binary.LittleEndian.AppendUint64(s.b, uint64(c.ahead))
	}
	if c.format >= slotFormatFormers {
		s.b = c.formers.append(s.b)
	}
	sum := uint64(0)
	for i := range c.kinds {
		k := &c.kinds[i]
		n, before := 0, []byte(nil)
		lost := k.view.reach(func(rec record) error {
			content, key := rec.content(), rec.key()
			if h := xxhash.Sum64(content); left == nil && (h != rec.hash() || rec.kind() != k.kind) {
				return rec.rotten(c.slot, h)
			}
			// Nobody could read a snapshot whose keys are out of order.
			if left == nil && before != nil && bytes.Compare(before, key) >= 0 {
				return fmt.Errorf("%w: slot %d: key %s stands behind key %s", ErrInvariant, c.slot, ShowKey(key), ShowKey(before))
			}
			n, sum, before = n+1, sum+rec.hash(), key
			if err := s.room(len(content)); err != nil {
				return err
			}
			s.b = append(s.b, content...)
			return nil
		})
		if lost.err != nil {
			return lost.err
		}
		if left == nil && n != k.count {
			return fmt.Errorf("%w: slot %d: %d records of kind %d were reached, %d were counted", ErrInvariant, c.slot, n, k.kind, k.count)
		}
	}
	if left == nil && sum != c.recordSum {
		return fmt.Errorf("%w: slot %d: its records sum up to %016x, kept was %016x", ErrInvariant, c.slot, sum, c.recordSum)
	}
	n := 0
	sum = 0
	err := c.sessions.each(func(k *session) error {
		if err := s.room(snapshotSession); err != nil {
			return err
		}
		var lost LeftOut
		if k = k.reached(&lost); left != nil {
			left.add(lost)
		} else if lost != (LeftOut{}) {
			return fmt.Errorf("%w: slot %d: session %d of principal %d leads nowhere: %s", ErrInvariant, c.slot, k.id, k.principal, lost)
		}
		n, sum = n+1, sum+k.hash()
		s.b = appendSessionHead(s.b, k)
		for _, o := range k.kept() {
			detail := k.detail(&o)
			sum += o.hash(k.sessionKey, detail)
			if err := s.room(snapshotOutcome + detailHead + len(detail)); err != nil {
				return err
			}
			s.b = appendOutcome(s.b, &o, detail)
		}
		return nil
	})
	if err == nil && left == nil && (sum != c.sessionSum || n != c.sessions.count) && !bug("snapshot without session table") {
		err = fmt.Errorf("%w: slot %d: its %d sessions sum up to %016x, kept was %016x, and their number %d", ErrInvariant, c.slot, n, sum, c.sessionSum, c.sessions.count)
	}
	return err
}

// format is the oldest that has a place for all that is in the slot.
func (s *slotState) format() uint16 {
	switch {
	case !s.endings.empty() || s.endings.aheadBy() != 0 || s.sessions.details > 0:
		return slotFormatEndings
	case s.formers != nil:
		return slotFormatFormers
	}
	return slotFormatBare
}

// aheadSum is the part of a snapshot's digest that is about the slot's time.
func aheadSum(ahead int64) uint64 {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 16), 6) // as in slotDigest
	return xxhash.Sum64(binary.LittleEndian.AppendUint64(b, uint64(ahead)))
}

// SlotSnapshot is a slot that was read from a snapshot and belongs to no map
// yet.
type SlotSnapshot struct {
	slot  Slot
	state *slotState
}

// Slot returns which slot this is.
func (s *SlotSnapshot) Slot() Slot { return s.slot }

// ReadSnapshot reads what [SlotCopy.WriteTo] wrote, which must be all of r. It
// trusts nothing: it checks order, slot, limits and digest, and takes memory as
// bytes arrive, not as they are announced.
func ReadSnapshot(r io.Reader) (*SlotSnapshot, error) {
	d := snapshotReader{streamReader: streamReader{r: r}}
	s, err := d.slot()
	if err == nil {
		err = d.end()
	}
	if err != nil {
		return nil, d.fail(err)
	}
	return s, nil
}

// Install replaces m's slot by the snapshot's; m must own the slot. The snapshot
// is used up.
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
	m.keep(st)
	m.keeping.some = m.keeping.some || hasVersions(s.state)
	// Copies of other kinds are released to the store that they are of, which
	// nobody changes any more. That of keys stays, with what is new in it.
	if st.records.copies > 0 {
		// Unreleased copies are released to this slot later. They keep what they
		// saw, and count as copies of the new records.
		s.state.records.copies = st.records.copies
		s.state.records.epoch++
		s.state.records.shared = s.state.records.epoch
		s.state.records.topShared, s.state.records.bufsShared = true, true
	}
	if n := st.sessions.copies; n > 0 {
		s.state.sessions.takeCopies(n)
	}
	m.quota.sessions += s.state.sessions.count - st.sessions.count
	m.quota.outcomes += s.state.sessions.outcomes - st.sessions.outcomes
	m.quota.details += s.state.sessions.details - st.sessions.details
	st.records, st.others, st.sessions = s.state.records, s.state.others, s.state.sessions
	st.setLast(s.state.last)
	st.formers, st.endings = s.state.formers, s.state.endings
	st.noteDue(m)
	m.services.changes++
	s.state = nil
	return nil
}

type snapshotReader struct {
	streamReader
	format  uint16 // of the slot at hand
	slotOf  Slot
	state   *slotState // that is read
	newest  RecordKind // that is understood; 0: kindNewest
	entries []uint64   // scratch of bulk
	ofMove  bool       // what is read is an import
}

func (d *snapshotReader) sessionsMax() int {
	if d.ofMove {
		return importSessionsMax
	}
	return SlotSessionsMax
}

func (d *snapshotReader) outcomesMax() int {
	if d.ofMove {
		return importOutcomesMax
	}
	return SlotOutcomesMax
}

func (d *snapshotReader) detailsMax() int {
	if d.ofMove {
		return importDetailsMax
	}
	return slotDetailsLimit
}

// fail wraps err with the position in the stream.
func (d *snapshotReader) fail(err error) error {
	if errors.Is(err, ErrLevel) || errors.Is(err, ErrOlder) {
		return err
	}
	return fmt.Errorf("%w: at byte %d: %w", ErrSnapshot, d.offset, err)
}

func (d *snapshotReader) slot() (*SlotSnapshot, error) {
	head, err := d.take(snapshotHeader)
	if err != nil {
		return nil, err
	}
	if string(head[:8]) != snapshotMagic {
		return nil, fmt.Errorf("begins with %q, want %q", head[:8], snapshotMagic)
	}
	format := binary.LittleEndian.Uint16(head[8:])
	d.format = format
	if err := slotFormats.check(format); err != nil {
		return nil, err
	}
	d.slotOf = Slot(binary.LittleEndian.Uint16(head[10:]))
	if d.slotOf >= Slots {
		return nil, fmt.Errorf("slot %d, the last is %d", d.slotOf, Slots-1)
	}
	sessions, records := binary.LittleEndian.Uint32(head[12:]), binary.LittleEndian.Uint64(head[16:])
	st := newSlotState()
	st.setLast(binary.LittleEndian.Uint64(head[24:]))
	want := binary.LittleEndian.Uint64(head[32:])
	if limit := d.sessionsMax(); int(sessions) > limit {
		return nil, fmt.Errorf("%d sessions, the limit is %d", sessions, limit)
	}
	if format >= slotFormatEndings {
		b, err := d.take(snapshotAhead)
		if err != nil {
			return nil, err
		}
		if ahead := int64(binary.LittleEndian.Uint64(b)); ahead != 0 {
			st.setAhead(ahead)
			want -= aheadSum(ahead)
		} else {
			want -= aheadSum(0)
		}
	}
	if format >= slotFormatFormers {
		if st.formers, err = d.formers(); err != nil {
			return nil, err
		}
	}
	if err := d.records(st, records); err != nil {
		return nil, err
	}
	before := sessionKey{}
	for range sessions {
		if before, err = d.session(&st.sessions, before); err != nil {
			return nil, err
		}
	}
	st.sessions.arrange()
	if !d.ofMove && !st.leasesWhole() {
		return nil, fmt.Errorf("slot %d: a key ends with a lease that is not there", d.slotOf)
	}
	if need := st.format(); format != need && format >= slotFormatEndings {
		return nil, fmt.Errorf("slot %d of format %d: what is in it needs format %d", d.slotOf, format, need)
	}
	if got := st.digest(); got != want {
		return nil, fmt.Errorf("slot %d: what was read has digest %016x, the snapshot says %016x", d.slotOf, got, want)
	}
	return &SlotSnapshot{d.slotOf, st}, nil
}

// formers reads the former owners of a slot, of which there is one at least with format 3.
func (d *snapshotReader) formers() (*formers, error) {
	head, err := d.need(formersHead)
	if err != nil {
		return nil, err
	}
	n, ok := formersLen(head)
	if !ok || n == formersHead && d.format < slotFormatEndings {
		return nil, fmt.Errorf("%d former owners, and then %d; want 1 to %d", head[0], head[1], FormersMax)
	}
	b, err := d.take(n)
	if err != nil {
		return nil, err
	}
	f, ok := readFormers(b)
	if !ok {
		return nil, fmt.Errorf("the former owners of slot %d can't be read", d.slotOf)
	}
	return f, nil
}

// detail reads the detail of an outcome.
func (d *snapshotReader) detail(t *sessions) ([]byte, error) {
	if d.format < slotFormatEndings {
		return nil, fmt.Errorf("a detail in a slot of format %d: %w", d.format, ErrLevel)
	}
	head, err := d.take(detailHead)
	if err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head)
	if limit := d.detailsMax(); n == 0 || n > DetailMax || t.details+int(n) > limit {
		return nil, fmt.Errorf("a detail of %d bytes after %d of others; want 1 to %d, and %d of all", n, t.details, DetailMax, limit)
	}
	return d.take(int(n))
}

// session reads a session, which before must be below, and returns its key.
func (d *snapshotReader) session(t *sessions, before sessionKey) (none sessionKey, err error) {
	b, err := d.take(snapshotSession)
	if err != nil {
		return none, err
	}
	s, n := sessionHead(b)
	if s.id == 0 || !before.below(s.sessionKey) {
		return none, fmt.Errorf("session %d of principal %d is out of order", s.id, s.principal)
	}
	if limit := d.outcomesMax(); t.outcomes+n > limit {
		return none, fmt.Errorf("%d outcomes and more, the limit is %d", t.outcomes+n, limit)
	}
	for range n {
		if b, err = d.take(snapshotOutcome); err != nil {
			return none, err
		}
		o, err := readOutcome(b, &s)
		if err != nil {
			return none, err
		}
		if k := len(s.outcomes); o.sequence < s.floor || k > 0 && s.outcomes[k-1].sequence >= o.sequence {
			return none, fmt.Errorf("session %d: sequence %d is out of order", s.id, o.sequence)
		}
		var detail []byte
		if o.detailed {
			if detail, err = d.detail(t); err != nil {
				return none, err
			}
			t.addDetail(&s, &o, detail, new(sessionQuota))
		}
		o.sum = o.hash(s.sessionKey, detail)
		s.outcomes = append(s.outcomes, o)
		t.sum += o.sum
	}
	s.sum = s.hash()
	t.sum += s.sum
	t.outcomes += n
	t.append(s)
	return s.sessionKey, nil
}
