package shardmap

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"muster/raft"
)

// slotImport is what a group holds of a slot that it may take over. Nothing changes it but
// the pieces of its move: no client's command, and no time that passes.
type slotImport struct {
	importHead
	state *slotState
	// For [Walk]: of is the slot again, and kept the sum of the head.
	of   Slot
	kept uint64
}

func newSlotImport(head importHead, st *slotState) *slotImport {
	return &slotImport{head, st, head.slot, head.hash()}
}

// importHead is what an import knows beside its data.
type importHead struct {
	slot    Slot
	number  uint64 // Invariant: above the slot's mark
	source  raft.GroupID
	attempt Attempt
	chunks  uint64     // taken of this attempt
	at      raft.LogID // where the last whole pass ended; zero: none was whole
	to      raft.LogID // where the pass that is under way ends; zero: none is
}

func (i *importHead) partial() bool { return i.to != raft.LogID{} }

// imports are those of a map, by slot. They belong to the goroutine that applies.
type imports []*slotImport

func (l imports) find(s Slot) (int, bool) {
	return slices.BinarySearchFunc(l, s, func(i *slotImport, s Slot) int { return cmp.Compare(i.slot, s) })
}

// of returns the import of a slot; nil if there is none.
func (l imports) of(s Slot) *slotImport {
	if i, ok := l.find(s); ok {
		return l[i]
	}
	return nil
}

// put adds an import, or puts it in the place of the slot's.
func (l *imports) put(n *slotImport) {
	i, ok := l.find(n.slot)
	if ok {
		(*l)[i] = n
		return
	}
	*l = slices.Insert(*l, i, n)
}

// discard gives up the slot's import if its move's number is at most number.
func (l *imports) discard(s Slot, number uint64) {
	if i, ok := l.find(s); ok && (*l)[i].number <= number {
		*l = slices.Delete(*l, i, i+1)
	}
}

// Within a pass new sessions may have come before those that they replace are gone, so an
// import may hold up to twice as many sessions and outcomes as a slot.
const (
	importSessionsMax = 2 * SlotSessionsMax
	importOutcomesMax = 2 * SlotOutcomesMax
	importDetailsMax  = 2 * slotDetailsLimit
)

// fits reports whether a snapshot that is taken after the piece could still be read.
func (i *slotImport) fits(p *Piece, sum contentSum) bool {
	t := &i.state.sessions
	return (p.More || sum.last >= max(sum.newest, i.state.last)) && t.count+sum.sessions <= importSessionsMax &&
		t.outcomes+sum.outcomes <= importOutcomesMax && t.details+sum.details <= importDetailsMax
}

// take carries out a piece, whose content was checked to be sum.
//
// Records and sessions are changed in place: the slot's lock keeps out whoever releases a
// copy of them, which is a snapshot's.
func (i *slotImport) take(m *Map, p *Piece, sum contentSum) {
	i.state.mu.Lock()
	m.turn.slot = i.slot
	i.state.receive(m, p, sum)
	i.state.mu.Unlock()
	i.chunks++
	if p.More {
		i.to = p.To
	} else {
		i.at, i.to = p.To, raft.LogID{}
	}
	i.kept = i.importHead.hash()
}

// receive carries out the content of a piece.
func (s *slotState) receive(m *Map, p *Piece, sum contentSum) {
	r := readContent(p)
	var it contentItem
	for {
		ok, err := r.next(&it)
		if err != nil {
			panic("shardmap: content that was checked can't be read: " + err.Error())
		}
		if !ok {
			break
		}
		switch it.tag {
		case itemRecord:
			s.putRecord(m, it.kind, &newRecord{it.key, it.value, it.hash, it.version, it.ending})
		case itemRecordGone:
			s.removeRecord(m, it.kind, it.key, it.hash)
		case itemSession:
			s.sessions.receive(it.session, it.outcomes, it.count)
		case itemSessionGone:
			s.sessions.lose(it.session.sessionKey)
		case itemEnd:
			s.formers, _ = readFormers(it.formers)
			s.setAhead(it.ahead)
		}
	}
	// No version of a slot is above its last one, not even halfway through a pass, so a
	// snapshot of the import reads like one of a slot.
	s.setLast(max(s.last, sum.newest, sum.last))
}

// receive puts a session in the place of what is known of it. The order of use stays out:
// sessions arrive by id, and it is made when the slot is taken over.
func (t *sessions) receive(s session, outcomes []byte, count int) {
	t.lose(s.sessionKey)
	s.epoch = t.epoch
	s.outcomes = make([]outcome, 0, count)
	for b := outcomes; len(b) > 0; {
		o, _ := readOutcome(b, &s) // it was checked
		var detail []byte
		if b = b[snapshotOutcome:]; o.detailed {
			n := detailHead + int(binary.LittleEndian.Uint32(b))
			detail, b = b[detailHead:n], b[n:]
			t.addDetail(&s, &o, detail, new(sessionQuota)) // an import counts towards none
		}
		o.sum = o.hash(s.sessionKey, detail)
		t.sum += o.sum
		s.outcomes = append(s.outcomes, o)
	}
	s.sum = s.hash()
	t.sum += s.sum
	t.outcomes += len(s.outcomes)
	block, at, _ := t.find(s.sessionKey)
	t.place(block, at, s)
}

// lose forgets a session, if it is there.
func (t *sessions) lose(k sessionKey) {
	if block, at, ok := t.find(k); ok {
		t.forget(block, at, new(sessionQuota)) // an import counts towards none
	}
}

// unordered drops the order of use, of sessions that are an import's.
func (t *sessions) unordered() { t.ordered, t.order, t.oldest = false, useOrder{}, 0 }

// shift moves the last use of each session from one group's time to another's: each is as
// long ago as it was. A time before a group's first is its first.
func (t *sessions) shift(from, to raft.GroupTime) {
	t.unordered()
	t.oldest = math.MaxUint64
	for i := range t.blocks {
		b := t.ownBlock(i)
		for j := range b.list {
			s := &b.list[j]
			t.sum -= s.sum
			age := from - min(from, s.used)
			s.used = to - min(to, age)
			s.sum = s.hash()
			t.sum += s.sum
			t.oldest = min(t.oldest, s.used)
		}
	}
	t.arrange()
}

// add counts the sessions of a slot that the group serves from now on. It may have more
// than the limit then: what was promised to a client is kept, and new sessions wait.
func (q *sessionQuota) add(t *sessions) {
	if t.count == 0 {
		return
	}
	if oldest := t.noneBefore(); q.sessions == 0 || oldest < q.oldest {
		q.oldest = oldest
	}
	q.sessions += t.count
	q.outcomes += t.outcomes
	q.details += t.details
}

// drop counts the sessions of a slot no more.
func (q *sessionQuota) drop(t *sessions) {
	q.sessions -= t.count
	q.outcomes -= t.outcomes
	q.details -= t.details
}
