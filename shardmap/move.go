package shardmap

import (
	"cmp"
	"fmt"
	"slices"

	"muster/raft"
)

// MoveState says how far a move is, as far as the table knows. Numbers are for ever.
type MoveState uint8

const (
	// MoveOpen: the slot is still its source's, by the table. Left by a record, when the
	// target has taken it over, or by a close, when the target has refused it.
	MoveOpen MoveState = 1
	// MoveTaken: the slot is recorded as its target's; the source may not have dropped it
	// yet. Left by a close.
	MoveTaken MoveState = 2
)

func (s MoveState) String() string {
	switch s {
	case MoveOpen:
		return "open"
	case MoveTaken:
		return "taken"
	}
	return fmt.Sprintf("move state %d", uint8(s))
}

// Move is a run of slots on their way from one group to another, all begun by one entry.
// What becomes of each, the logs of the two groups decide; here stands only what is wanted,
// and what was decided.
type Move struct {
	SlotRange
	Number    uint64 // index of the entry that began it; with a slot it names one move
	From, To  raft.GroupID
	State     MoveState
	Cancelled bool   // it is no longer wanted; the target may have taken the slot over all the same
	Empty     bool   // only slots without any record move
	Job       uint64 // that it is part of. Invariant: an unfinished one
}

// MovesMax bounds the slots of all moves that are not closed, each counted as often as it
// moves.
const MovesMax = Slots

// NumberedRange names moves: those of a run of slots that one entry began.
type NumberedRange struct {
	SlotRange
	Number uint64
}

func (r NumberedRange) String() string { return fmt.Sprintf("%s of %d", r.SlotRange, r.Number) }

// MoveOf returns the open move of a slot, as the run that it is part of; false if there is
// none.
func (t *Table) MoveOf(s Slot) (Move, bool) {
	for i := range t.Moves {
		if m := &t.Moves[i]; m.State == MoveOpen && m.Has(s) {
			return *m, true
		}
	}
	return Move{}, false
}

// Open reports whether the move n of a slot is open: begun, and neither recorded nor
// closed.
func (t *Table) Open(s Slot, n uint64) bool {
	m, ok := t.MoveOf(s)
	return ok && m.Number == n
}

// moveList are moves that are not closed, as the table has them: by their first slot, then
// by number, each run as long as it can be. No slot is in two open ones; in how many taken
// ones it is, only [MovesMax] bounds.
type moveList []Move

// ofJob returns the moves that are part of a job.
func (l moveList) ofJob(id uint64) (some []Move) {
	for i := range l {
		if l[i].Job == id {
			some = append(some, l[i])
		}
	}
	return some
}

// slots returns how many slots they are, each counted as often as it moves.
func (l moveList) slots() (n int) {
	for i := range l {
		n += l[i].Len()
	}
	return n
}

// each returns the moves one slot at a time, by slot and number: an order in which a
// command can look for its own. At most [MovesMax] of them, some tens of microseconds; the
// table changes a few hundred times while all slots move.
func (l moveList) each() []Move {
	each := make([]Move, 0, l.slots())
	for i := range l {
		for s := range l[i].each() {
			m := l[i]
			m.SlotRange = SlotRange{s, s}
			each = append(each, m)
		}
	}
	slices.SortFunc(each, byFirstSlot)
	return each
}

// runs makes the list of moves that stand one slot at a time. It may reorder each.
func runs(each []Move) []Move {
	slices.SortFunc(each, func(a, b Move) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.SlotRange.From, b.SlotRange.From))
	})
	var list []Move
	for _, m := range each {
		if n := len(list); n > 0 && list[n-1].goesOn(&m) {
			list[n-1].SlotRange.To = m.SlotRange.To
			continue
		}
		list = append(list, m)
	}
	slices.SortFunc(list, byFirstSlot)
	return list
}

// goesOn reports whether next is what m is, about the slots behind it.
func (m *Move) goesOn(next *Move) bool {
	alike := *next
	alike.SlotRange = m.SlotRange
	return alike == *m && m.SlotRange.To+1 == next.SlotRange.From
}

func byFirstSlot(a, b Move) int {
	return cmp.Or(cmp.Compare(a.SlotRange.From, b.SlotRange.From), cmp.Compare(a.Number, b.Number))
}
