package shardmap

import (
	"encoding/binary"
	"fmt"

	"muster/raft"
)

// What the state of a map has of moves, beside the data of the slots, little-endian. A seal,
// by slot:
//
//	 0  u16  slot
//	 2  u16  group that it is sealed for
//	 4  u32  zero
//	 8  u64  number of the move
//	16  u64  term of the seal
//	24  u64  its index
//	32  u64  group time of the seal
//
// An import, by slot:
//
//	 0  u16  slot
//	 2  u16  group that it comes from
//	 4  u32  zero
//	 8  u64  number of the move
//	16  u64  attempt: term
//	24  u64  attempt: number
//	32  u64  pieces taken of it
//	40  u64  where the last whole pass ended: term
//	48  u64  index; both 0: none was whole
//	56  u64  where the pass that is under way ends: term
//	64  u64  index; both 0: none is
//
// A decision, by slot and number:
//
//	0  u16  slot
//	2  u16  group that the slot comes from
//	4  u32  1: taken over; 0: refused
//	8  u64  number of the move
//
// None of them contradicts the marks: a seal and a decision are no newer than the slot's
// mark, an import is.
const (
	moveCountsSize = 8
	sealSize       = 40
	importSize     = 72
	decisionSize   = 16
)

// movesCopy is what a map has of moves, at one entry. The slots themselves are among the
// copies, in the same order.
type movesCopy struct {
	seals     []sealedSlot
	imports   []importHead
	decisions decisions
}

// sealedSlot is a seal and the slot that it is of.
type sealedSlot struct {
	slot Slot
	seal
}

// copyMoves adds what m has of moves to c.
func (c *MapCopy) copyMoves(m *Map) {
	pages := m.slots.Load()
	if pages.sealedCount > 0 {
		for s := range Slot(Slots) {
			if st := pages.sealed.at(s); st != nil {
				if what := sealFault(st, true); what != "" {
					c.wrong = PartFault{Part(s), what}.String()
				}
				c.moves.seals = append(c.moves.seals, sealedSlot{s, st.seal.seal})
				c.slots = append(c.slots, st.copy(s))
			}
		}
	}
	for _, i := range m.imports {
		c.moves.imports = append(c.moves.imports, i.importHead)
		c.slots = append(c.slots, i.state.copy(i.slot))
	}
	c.moves.decisions = m.decisions
}

// moveCounts says how much there is of each.
type moveCounts struct {
	seals, imports, decisions int
}

func (c *movesCopy) counts() moveCounts {
	return moveCounts{len(c.seals), len(c.imports), len(c.decisions)}
}

func (c *movesCopy) any() bool { return c.counts() != moveCounts{} }

func (c moveCounts) size() int {
	return c.seals*sealSize + c.imports*importSize + c.decisions*decisionSize
}

// size is how much there is at most.
func (c *movesCopy) size() int { return moveCountsSize + c.counts().size() }

// append appends the counts as a state of a format has them.
func (c moveCounts) append(b []byte, format uint16) []byte {
	if format < mapFormatMoves {
		return b
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(c.seals))
	b = binary.LittleEndian.AppendUint16(b, uint16(c.imports))
	return binary.LittleEndian.AppendUint32(b, uint32(c.decisions))
}

// append appends the seals, imports and decisions.
func (c *movesCopy) append(b []byte) []byte {
	for i := range c.seals {
		s := &c.seals[i]
		b = appendMoveHead(b, s.slot, s.target, 0, s.number)
		b = appendPlace(b, s.at)
		b = binary.LittleEndian.AppendUint64(b, uint64(s.time))
	}
	for i := range c.imports {
		s := &c.imports[i]
		b = appendMoveHead(b, s.slot, s.source, 0, s.number)
		b = binary.LittleEndian.AppendUint64(b, s.attempt.Term)
		b = binary.LittleEndian.AppendUint64(b, s.attempt.Number)
		b = binary.LittleEndian.AppendUint64(b, s.chunks)
		b = appendPlace(b, s.at)
		b = appendPlace(b, s.to)
	}
	for i := range c.decisions {
		d := &c.decisions[i]
		taken := uint32(0)
		if d.Taken {
			taken = 1
		}
		b = appendMoveHead(b, d.Slot, d.Source, taken, d.Number)
	}
	return b
}

func appendMoveHead(b []byte, s Slot, g raft.GroupID, flag uint32, number uint64) []byte {
	b = binary.LittleEndian.AppendUint16(b, uint16(s))
	b = binary.LittleEndian.AppendUint16(b, uint16(g))
	b = binary.LittleEndian.AppendUint32(b, flag)
	return binary.LittleEndian.AppendUint64(b, number)
}

func appendPlace(b []byte, id raft.LogID) []byte {
	b = binary.LittleEndian.AppendUint64(b, id.Term)
	return binary.LittleEndian.AppendUint64(b, id.Index)
}

// moveCounts reads how much a state of a format has of moves.
func (d *snapshotReader) moveCounts(format uint16) (c moveCounts, err error) {
	b, err := d.take(moveCountsSize)
	if err != nil {
		return c, err
	}
	c = moveCounts{int(binary.LittleEndian.Uint16(b)), int(binary.LittleEndian.Uint16(b[2:])), int(binary.LittleEndian.Uint32(b[4:]))}
	if c == (moveCounts{}) && format == mapFormatMoves || c.seals > Slots || c.imports > Slots || c.decisions > Slots*DecisionsMax {
		return c, fmt.Errorf("%d seals, %d imports, %d decisions; want some with format 3, and at most %d, %d, %d", c.seals, c.imports, c.decisions, Slots, Slots, Slots*DecisionsMax)
	}
	return c, nil
}

// moveReader reads what append appended.
type moveReader struct {
	b   []byte
	err error // the first mistake
}

func (r *moveReader) uint64() uint64 {
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

func (r *moveReader) logID() raft.LogID { return raft.LogID{Term: r.uint64(), Index: r.uint64()} }

// head reads what each begins with.
func (r *moveReader) head(what string, flagMax uint32) (s Slot, g raft.GroupID, flag uint32, number uint64) {
	s, g, flag = Slot(binary.LittleEndian.Uint16(r.b)), raft.GroupID(binary.LittleEndian.Uint16(r.b[2:])), binary.LittleEndian.Uint32(r.b[4:])
	r.b = r.b[8:]
	number = r.uint64()
	if s >= Slots || g == 0 || g > raft.GroupMax || flag > flagMax || number == 0 {
		r.fail("%s of slot %d, group %d, number %d, with %d", what, s, g, number, flag)
	}
	return s, g, flag, number
}

func (r *moveReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// readMoves reads seals, imports and decisions, which are all of b. They must not
// contradict the marks, nor a slot be held twice.
func readMoves(b []byte, n moveCounts, m marks, owned []Slot) (c movesCopy, err error) {
	r := moveReader{b: b}
	var held [Slots]bool // owned or sealed
	for _, s := range owned {
		held[s] = true
	}
	for i := range n.seals {
		s, g, _, number := r.head("seal", 0)
		x := sealedSlot{s, seal{number: number, target: g, at: r.logID(), time: raft.GroupTime(r.uint64())}}
		if r.err != nil {
			return c, r.err
		}
		if i > 0 && c.seals[i-1].slot >= s || held[s] || number > m.of(s) || x.at.Index == 0 {
			r.fail("seal %d of slot %d at %s: the slot is out of order, or owned, or its mark is %d", number, s, x.at, m.of(s))
		}
		held[s] = true
		c.seals = append(c.seals, x)
	}
	for i := range n.imports {
		s, g, _, number := r.head("import", 0)
		x := importHead{slot: s, number: number, source: g, attempt: Attempt{r.uint64(), r.uint64()}, chunks: r.uint64(), at: r.logID(), to: r.logID()}
		if r.err != nil {
			return c, r.err
		}
		if i > 0 && c.imports[i-1].slot >= s || held[s] || number <= m.of(s) || x.chunks == 0 || x.at.Index == 0 && x.to.Index == 0 {
			r.fail("import %d of slot %d: the slot is out of order, or held, or its mark is %d, or nothing was taken", number, s, m.of(s))
		}
		c.imports = append(c.imports, x)
	}
	for i := range n.decisions {
		s, g, taken, number := r.head("decision", 1)
		if r.err != nil {
			return c, r.err
		}
		x := SlotDecision{s, Decision{Number: number, Taken: taken == 1, Source: g}}
		if i > 0 && (c.decisions[i-1].Slot > s || c.decisions[i-1].Slot == s && c.decisions[i-1].Number >= number) || number > m.of(s) {
			r.fail("decision %d about slot %d is out of order, or the slot's mark is %d", number, s, m.of(s))
		}
		if k := i - DecisionsMax; k >= 0 && c.decisions[k].Slot == s {
			r.fail("more than %d decisions about slot %d", DecisionsMax, s)
		}
		c.decisions = append(c.decisions, x)
	}
	return c, r.err
}

// moved reads the sealed slots and the imports into m.
func (d *snapshotReader) moved(m *loadedMap, c movesCopy) error {
	e := pagesEditor{pages: m.slots}
	for i := range c.seals {
		st, err := d.slotAt(c.seals[i].slot)
		if err != nil {
			return err
		}
		st.seal = c.seals[i].seal.keep()
		e.seal(c.seals[i].slot, st)
	}
	d.ofMove = true
	for _, head := range c.imports {
		st, err := d.slotAt(head.slot)
		if err != nil {
			return err
		}
		st.sessions.unordered()
		m.imports = append(m.imports, newSlotImport(head, st))
	}
	m.decisions = c.decisions
	return nil
}
