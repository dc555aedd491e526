package shardmap

import "encoding/binary"

// Limits of the details that are kept with outcomes, in bytes; the last detail may exceed
// them. Beyond them a transaction and a delete of a prefix, whose detail may name a key, are refused, as
// what has no room for its outcome. Commands about leases and services go on.
const (
	SlotDetailsMax  = 16 << 20
	GroupDetailsMax = 128 << 20
	// slotDetailsLimit is the most that a slot can have.
	slotDetailsLimit = SlotDetailsMax + DetailMax + SlotOutcomesMax*max(leaseDetailMax, maskedDetailMax)
)

// details are those of the outcomes of one session, one behind the other, each after its
// length; an outcome knows where its own begins. So a session without any costs one pointer,
// and outcomes have no pointers for the garbage collector to follow.
//
// Bytes that a copy sees never change: bytes is set once, and additions stand behind all that
// was there. The other fields are the writer's.
type details struct {
	bytes []byte
	epoch uint64 // of the table, when bytes was made
	used  int
	count int // that outcomes have
	live  int // bytes of those
}

const (
	detailHead = 4
	detailsMin = 64 // bytes for the first
	// detailsIdle is the most bytes that a session without details keeps for new ones.
	detailsIdle = 1 << 10
)

// detail returns the detail of an outcome of the session; nil if it has none.
func (s *session) detail(o *outcome) []byte {
	if !o.detailed {
		return nil
	}
	b := s.details.bytes[o.deleted:]
	end := detailHead + int(binary.LittleEndian.Uint32(b))
	return b[detailHead:end:end]
}

// result returns what became of the command of an outcome of the session.
func (s *session) result(o *outcome) Result {
	r := o.result()
	if o.detailed {
		r.Deleted, r.Detail = 0, s.detail(o)
	}
	return r
}

// addDetail keeps the detail of o, which is about to be one of the session's.
func (t *sessions) addDetail(s *session, o *outcome, detail []byte, q *sessionQuota) {
	size := detailHead + len(detail)
	if d := s.details; d == nil || d.used+size > len(d.bytes) {
		t.moveDetails(s, size)
	}
	o.detailed, o.deleted = true, s.details.add(detail)
	t.details += len(detail)
	q.details += len(detail)
}

// add keeps a detail for which there is room, and returns where it begins.
func (d *details) add(detail []byte) (at uint32) {
	at = uint32(d.used)
	binary.LittleEndian.PutUint32(d.bytes[d.used:], uint32(len(detail)))
	d.used += detailHead + copy(d.bytes[d.used+detailHead:], detail)
	d.count++
	d.live += len(detail)
	return at
}

// moveDetails moves the details that are left to a new array, with room for size bytes more
// and for as many again as they take.
func (t *sessions) moveDetails(s *session, size int) {
	was := s.details
	if was == nil {
		was = new(details)
	}
	room := was.live + was.count*detailHead
	made := &details{bytes: make([]byte, max(detailsMin, 2*room+size)), epoch: t.epoch}
	if was.count > 0 && s.epoch < t.shared {
		t.settle(s) // outcomes are written below
	}
	kept := s.kept()
	for i := range kept {
		if o := &kept[i]; o.detailed {
			o.deleted = made.add(s.detail(o))
		}
	}
	s.details = made
}

// forgetDetail forgets the detail of an outcome that is about to go, and returns its size.
func (t *sessions) forgetDetail(s *session, o *outcome) int {
	n := len(s.detail(o))
	s.details.count--
	s.details.live -= n
	t.details -= n
	return n
}

// detailBytes returns how many bytes of details the session has.
func (s *session) detailBytes() int {
	if s.details == nil {
		return 0
	}
	return s.details.live
}

// settleDetails frees the room of details once none is left.
func (t *sessions) settleDetails(s *session) {
	switch d := s.details; {
	case d.count > 0:
	case d.epoch >= t.shared && len(d.bytes) <= detailsIdle:
		d.used = 0
	default:
		s.details = nil
	}
}
