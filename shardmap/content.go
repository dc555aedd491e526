package shardmap

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"muster/raft"
)

// The content of a piece is what a pass changes in an import: items, little-endian, each
// with what it is in its first byte.
//
//	1  a record that is new or has changed
//	     1  as in a snapshot of a slot: version, lengths, kind, how it ends, key, value, end
//	2  a record that is gone
//	     1  u8   kind
//	     2  u16  length of the key
//	     4       key
//	3  a session that is new or has changed
//	     1  as in a snapshot of a slot, with all its outcomes
//	4  a session that is gone
//	     1  u64  id
//	     9  u64  principal
//	5  the end of the pass, in its last piece and in no other, once it has come to all else
//	     1  u64  last version
//	     9       formers (former.go)
//	6  the same, of a slot whose time is not its group's (ending.go)
//	     1  i64  how far it is ahead
//	     9       as 5 from byte 1 on
//
// Within a piece records stand by kind and key, gone ones among them, and sessions behind
// them by id and principal. Each item stands in one piece whole.
//
// What no sender can have meant is an error, found before anything is changed: a record of
// another slot, a length beyond the limits, an order that is none. What a sender may only
// have mistaken (a record gone that was never there, a slot that lacks something) is none.
// It shows at the takeover, which is refused unless the import has the slot's digest.
const (
	itemRecord      = 1
	itemRecordGone  = 2
	itemSession     = 3
	itemSessionGone = 4
	itemEnd         = 5
	itemEndAhead    = 6

	recordGoneHead  = 3 // behind the first byte
	sessionGoneSize = 16
	endHead         = 8
	endAhead        = 8
)

// contentItem is one item. What it names aliases the content.
type contentItem struct {
	tag        byte
	kind       RecordKind
	key, value []byte
	ending     ending
	hash       uint64 // of the key
	version    uint64
	session    session // without its outcomes
	outcomes   []byte  // of the session, checked
	count      int     // of outcomes
	details    int     // bytes of their details
	last       uint64
	ahead      int64
	formers    []byte // checked
}

// contentReader reads the items of a piece, one after the other.
type contentReader struct {
	b    []byte
	at   int
	slot Slot
	more bool // of the piece: no end is due

	phase   byte       // the last item's; an item of a lower one is out of order
	kind    RecordKind // of the record before
	key     []byte     // of the record before
	session sessionKey // of the session before
}

// readContent returns a reader of a piece's content.
func readContent(p *Piece) contentReader {
	return contentReader{b: p.Content, slot: p.Slot, more: p.More}
}

// fail returns an error about the item at hand.
func (r *contentReader) fail(format string, args ...any) error {
	return fmt.Errorf("%w: content of slot %d at byte %d: %w", ErrCommand, r.slot, r.at, fmt.Errorf(format, args...))
}

// need returns the next n bytes, and does not take them.
func (r *contentReader) need(n int) ([]byte, error) {
	if n > len(r.b)-r.at {
		return nil, r.fail("%d bytes are left of %d", len(r.b)-r.at, n)
	}
	return r.b[r.at : r.at+n], nil
}

// next reads the next item into it; false at the end of the content.
func (r *contentReader) next(it *contentItem) (ok bool, err error) {
	if r.at == len(r.b) {
		if !r.more && r.phase != itemEnd {
			return false, r.fail("the pass has no end")
		}
		return false, nil
	}
	tag := r.b[r.at]
	phase := tag
	switch tag {
	case itemRecordGone:
		phase = itemRecord
	case itemSessionGone:
		phase = itemSession
	case itemEndAhead:
		phase = itemEnd
	}
	if phase < r.phase || r.phase == itemEnd {
		return false, r.fail("item %d is out of order", tag)
	}
	it.tag, r.phase = tag, phase
	r.at++
	switch tag {
	case itemRecord:
		err = r.record(it)
	case itemRecordGone:
		err = r.recordGone(it)
	case itemSession:
		err = r.sessionItem(it)
	case itemSessionGone:
		err = r.sessionGone(it)
	case itemEnd:
		it.ahead = 0
		err = r.end(it)
	case itemEndAhead:
		var b []byte
		if b, err = r.need(endAhead); err != nil {
			break
		}
		if it.tag, it.ahead = itemEnd, int64(binary.LittleEndian.Uint64(b)); it.ahead == 0 {
			err = r.fail("a slot that is ahead by nothing")
			break
		}
		r.at += endAhead
		err = r.end(it)
	default:
		err = r.fail("item %d: %w", tag, ErrLevel)
	}
	return err == nil, err
}

func (r *contentReader) record(it *contentItem) error {
	head, err := r.need(snapshotRecord)
	if err != nil {
		return err
	}
	it.version = binary.LittleEndian.Uint64(head)
	it.kind = RecordKind(head[14])
	// Nothing is known of the slot's last version before the pass ends.
	keyLen, valueLen, err := checkRecord(head, it.version, slotFormats.newest)
	if err != nil {
		return r.fail("%w", err)
	}
	b, err := r.need(snapshotRecord + keyLen + valueLen)
	if err != nil {
		return err
	}
	if err := checkWhole(b, keyLen); err != nil {
		return r.fail("%w", err)
	}
	it.key, it.value, it.ending = b[snapshotRecord:snapshotRecord+keyLen], b[snapshotRecord+keyLen:], ending{by: endingKind(head[15])}
	if it.ending.by != endsNever {
		end := len(it.value) - endingSize
		it.ending.number = binary.LittleEndian.Uint64(it.value[end:])
		it.value = it.value[:end:end]
	}
	if err := r.follows(it); err != nil {
		return err
	}
	r.at += len(b)
	return nil
}

func (r *contentReader) recordGone(it *contentItem) error {
	head, err := r.need(recordGoneHead)
	if err != nil {
		return err
	}
	it.kind = RecordKind(head[0])
	n := int(binary.LittleEndian.Uint16(head[1:]))
	if n == 0 || n > it.kind.nameMax() {
		return r.fail("key of %d bytes, want 1 to %d", n, it.kind.nameMax())
	}
	b, err := r.need(recordGoneHead + n)
	if err != nil {
		return err
	}
	it.key = b[recordGoneHead:]
	if err := r.follows(it); err != nil {
		return err
	}
	r.at += len(b)
	return nil
}

// follows checks that a record, or one that is gone, is of the slot and stands behind the
// one before.
func (r *contentReader) follows(it *contentItem) error {
	if it.kind == 0 || it.kind > kindNewest {
		return r.fail("record of kind %d: %w; known are 1 to %d", it.kind, ErrLevel, kindNewest)
	}
	slot, hash := locateRecord(it.kind, it.key)
	switch {
	case slot != r.slot && it.kind != KindLease:
		return r.fail("key %s is in slot %d", ShowKey(it.key), slot)
	case it.kind < r.kind || it.kind == r.kind && bytes.Compare(r.key, it.key) >= 0:
		return r.fail("key %s of kind %d after %s of kind %d", ShowKey(it.key), it.kind, ShowKey(r.key), r.kind)
	}
	it.hash, r.kind, r.key = hash, it.kind, it.key
	return nil
}

func (r *contentReader) sessionItem(it *contentItem) error {
	head, err := r.need(snapshotSession)
	if err != nil {
		return err
	}
	s, n := sessionHead(head)
	if err := r.sessionFollows(s.sessionKey); err != nil {
		return err
	}
	if n > SlotOutcomesMax {
		return r.fail("%d outcomes, the limit is %d", n, SlotOutcomesMax)
	}
	if _, err := r.need(snapshotSession + n*snapshotOutcome); err != nil {
		return err
	}
	size, details, before := snapshotSession, 0, uint64(0)
	for i := range n {
		b, err := r.need(size + snapshotOutcome)
		if err != nil {
			return err
		}
		o, err := readOutcome(b[size:], &s)
		if err != nil {
			return r.fail("%w", err)
		}
		if size += snapshotOutcome; o.detailed {
			if b, err = r.need(size + detailHead); err != nil {
				return err
			}
			length := binary.LittleEndian.Uint32(b[size:])
			if length == 0 || length > DetailMax {
				return r.fail("a detail of %d bytes; want 1 to %d", length, DetailMax)
			}
			size, details = size+detailHead+int(length), details+int(length)
		}
		if o.sequence < s.floor || i > 0 && o.sequence <= before {
			return r.fail("session %d: sequence %d is out of order", s.id, o.sequence)
		}
		before = o.sequence
	}
	b, err := r.need(size)
	if err != nil {
		return err
	}
	it.session, it.outcomes, it.count, it.details = s, b[snapshotSession:], n, details
	r.at += size
	return nil
}

func (r *contentReader) sessionGone(it *contentItem) error {
	b, err := r.need(sessionGoneSize)
	if err != nil {
		return err
	}
	it.session = session{sessionKey: sessionKey{binary.LittleEndian.Uint64(b), Principal(binary.LittleEndian.Uint64(b[8:]))}}
	if err := r.sessionFollows(it.session.sessionKey); err != nil {
		return err
	}
	r.at += len(b)
	return nil
}

func (r *contentReader) sessionFollows(k sessionKey) error {
	if k.id == 0 || !r.session.below(k) {
		return r.fail("session %d of principal %d is out of order", k.id, k.principal)
	}
	r.session = k
	return nil
}

func (r *contentReader) end(it *contentItem) error {
	b, err := r.need(endHead + formersHead)
	if err != nil {
		return err
	}
	if r.more {
		return r.fail("the pass ends, though more is said to follow")
	}
	n, ok := formersLen(b[endHead:])
	if !ok {
		return r.fail("%d former owners, and then %d; the limit is %d", b[endHead], b[endHead+1], FormersMax)
	}
	if b, err = r.need(endHead + n); err != nil {
		return err
	}
	it.last, it.formers = binary.LittleEndian.Uint64(b), b[endHead:]
	if _, ok := readFormers(it.formers); !ok {
		return r.fail("the former owners can't be read")
	}
	r.at += len(b)
	return nil
}

// contentSum is what is to be known of a content before it is carried out.
type contentSum struct {
	newest uint64 // the newest version of its records
	last   uint64 // with the end of a pass: the slot's last version

	sessions, outcomes int // that are new or have changed
	details            int // bytes of those of the outcomes
}

// checkContent reads all of a piece's content, and changes nothing.
func checkContent(p *Piece) (sum contentSum, err error) {
	r := readContent(p)
	var it contentItem
	for {
		ok, err := r.next(&it)
		if !ok {
			return sum, err
		}
		switch it.tag {
		case itemRecord:
			sum.newest = max(sum.newest, it.version)
		case itemSession:
			sum.sessions++
			sum.outcomes += it.count
			sum.details += it.details
		case itemEnd:
			sum.last = it.last
		}
	}
}

// The writers of items, for a sender.

func appendRecordItem(b []byte, rec record) []byte {
	return append(append(b, itemRecord), rec.content()...)
}

func appendRecordGoneItem(b []byte, kind RecordKind, key []byte) []byte {
	b = append(b, itemRecordGone, byte(kind))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(key)))
	return append(b, key...)
}

func appendSessionItem(b []byte, s *session) []byte {
	return appendSession(append(b, itemSession), s)
}

func appendSessionGoneItem(b []byte, k sessionKey) []byte {
	b = append(b, itemSessionGone)
	b = binary.LittleEndian.AppendUint64(b, k.id)
	return binary.LittleEndian.AppendUint64(b, uint64(k.principal))
}

func appendEndItem(b []byte, last uint64, ahead int64, f *formers) []byte {
	if ahead == 0 {
		b = append(b, itemEnd)
	} else {
		b = binary.LittleEndian.AppendUint64(append(b, itemEndAhead), uint64(ahead))
	}
	return f.append(binary.LittleEndian.AppendUint64(b, last))
}

// appendSession appends a session as snapshots have it.
func appendSession(b []byte, s *session) []byte {
	b = appendSessionHead(b, s)
	for _, o := range s.kept() {
		b = appendOutcome(b, &o, s.detail(&o))
	}
	return b
}

func appendSessionHead(b []byte, s *session) []byte {
	b = binary.LittleEndian.AppendUint64(b, s.id)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.principal))
	b = binary.LittleEndian.AppendUint64(b, uint64(s.used))
	b = binary.LittleEndian.AppendUint64(b, s.floor)
	return binary.LittleEndian.AppendUint32(b, uint32(len(s.kept())))
}

func appendOutcome(b []byte, o *outcome, detail []byte) []byte {
	deleted, detailed := o.deleted, byte(0)
	if o.detailed {
		deleted, detailed = 0, 1
	}
	b = binary.LittleEndian.AppendUint64(b, o.sequence)
	b = binary.LittleEndian.AppendUint64(b, o.id.Term)
	b = binary.LittleEndian.AppendUint64(b, o.id.Index)
	b = binary.LittleEndian.AppendUint64(b, o.version)
	b = binary.LittleEndian.AppendUint32(b, deleted)
	b = append(b, byte(o.status), detailed)
	b = binary.LittleEndian.AppendUint16(b, uint16(o.group))
	if o.detailed {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(detail))), detail...)
	}
	return b
}

// sessionHead reads what stands before the outcomes of a session, and how many there are.
func sessionHead(b []byte) (s session, outcomes int) {
	return session{
		sessionKey: sessionKey{binary.LittleEndian.Uint64(b[0:]), Principal(binary.LittleEndian.Uint64(b[8:]))},
		used:       raft.GroupTime(binary.LittleEndian.Uint64(b[16:])),
		floor:      binary.LittleEndian.Uint64(b[24:]),
	}, int(binary.LittleEndian.Uint32(b[32:]))
}

// readOutcome reads an outcome of the session s, but for its detail, which stands behind it.
func readOutcome(b []byte, s *session) (outcome, error) {
	o := outcome{
		sequence: binary.LittleEndian.Uint64(b[0:]),
		id:       raft.LogID{Term: binary.LittleEndian.Uint64(b[8:]), Index: binary.LittleEndian.Uint64(b[16:])},
		version:  binary.LittleEndian.Uint64(b[24:]),
		deleted:  binary.LittleEndian.Uint32(b[32:]),
		status:   Status(b[36]),
		group:    raft.GroupID(binary.LittleEndian.Uint16(b[38:])),
	}
	o.detailed = b[37] == 1
	if b[37] > 1 || !o.status.kept(o.detailed) {
		return o, fmt.Errorf("session %d, sequence %d: status %d, then %d: %w", s.id, o.sequence, o.status, b[37], ErrLevel)
	}
	if o.detailed && o.deleted != 0 {
		return o, fmt.Errorf("session %d, sequence %d: %d deleted, and a detail", s.id, o.sequence, o.deleted)
	}
	if o.group == 0 || o.group > raft.GroupMax {
		return o, fmt.Errorf("session %d, sequence %d: group %d, want 1 to %d", s.id, o.sequence, o.group, raft.GroupMax)
	}
	return o, nil
}
