package mover

import (
	"strings"

	"muster/shardmap"
)

// What is a set of steps of a move.
type What uint16

const (
	Seal     What = 1 << iota // source: nobody serves the slot until the target has decided
	Cancel                    // source: it will not seal the slot for this move
	Chunk                     // target: a piece of the slot
	Takeover                  // target: it serves the slot
	Refuse                    // target: it will not take the slot over
	Unseal                    // source: it serves the slot again
	Drop                      // source: it forgets the slot
	Record                    // meta group: the slot is the target's
	Close                     // meta group: both groups are done
	Forget                    // target: nobody will ask for its decision again
	Flag                      // meta group: the move is no longer wanted

	ofSource = Seal | Cancel | Unseal | Drop
	ofTarget = Chunk | Takeover | Refuse | Forget
	ofMeta   = Record | Close | Flag
)

// whats are all steps, each as a set of its own, in the order in which they are proposed:
// what ends something before what begins something.
var whats = [...]What{Forget, Close, Record, Drop, Unseal, Cancel, Refuse, Flag, Takeover, Chunk, Seal}

var whatNames = map[What]string{Seal: "seal", Cancel: "cancel", Chunk: "chunk", Takeover: "takeover", Refuse: "refuse", Unseal: "unseal",
	Drop: "drop", Record: "record", Close: "close", Forget: "forget", Flag: "flag"}

// Has reports whether one of the steps of o is in the set.
func (w What) Has(o What) bool { return w&o != 0 }

func (w What) String() string {
	var names []string
	for _, one := range whats {
		if w.Has(one) {
			names = append(names, whatNames[one])
		}
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " ")
}

// Closed is the state of a move that the table, which is of the entry that began it or a
// later one, does not have: it was closed.
const Closed shardmap.MoveState = 0

// Next returns the steps of one slot's move that may be proposed by whoever reads this of
// it in the three logs: the move in the table, the slot at the source as a, at the target
// as b. What is not known is nil, and nothing is proposed that would depend on it.
//
// It is what docs/moves/slotmove.pml calls c…, step by step. Views may be old: then the
// groups refuse what is late. But what Next returns for views that are true is never
// refused.
func Next(m *shardmap.Move, a, b *shardmap.SlotView) (next What) {
	n := m.Number
	open, wanted := m.State == shardmap.MoveOpen, !m.Cancelled
	// What the source says.
	var owned, sealed, left, marked bool
	if a != nil {
		marked = a.Mark >= n
		owned = a.Holding == shardmap.HoldsOwned && !marked
		sealed = a.Holding == shardmap.HoldsSealed && a.Number == n
		left = marked && !sealed // it has cancelled, unsealed or dropped
	}
	// What the target says.
	taken, refused, undecided := false, false, b != nil
	if b != nil {
		if d := decisionOf(b, n); d != nil {
			taken, refused, undecided = d.Taken, !d.Taken, false
		}
	}
	mayDecide := undecided && b.Mark < n

	set := func(w What, may bool) {
		if may {
			next |= w
		}
	}
	set(Seal, open && wanted && owned)
	set(Cancel, open && !wanted && a != nil && !marked)
	set(Chunk, open && wanted && mayDecide && b.Holding == shardmap.HoldsNothing && (owned || sealed && !whole(a, b)))
	set(Takeover, open && wanted && mayDecide && sealed && whole(a, b) && b.Holding == shardmap.HoldsNothing)
	// The target is asked to refuse in any case, also where the source has only cancelled:
	// an import would stay behind otherwise.
	set(Refuse, open && !wanted && mayDecide && marked)
	// Only the target's log unseals or drops, never the wish to cancel: it may have taken
	// the slot over before it heard of that.
	set(Unseal, sealed && (refused || !wanted && bug("two deciders after a seal")))
	set(Drop, sealed && (taken || whole(a, b) && bug("source deletes before the target has committed")))
	set(Record, open && taken)
	set(Close, left && (m.State == shardmap.MoveTaken || open && refused))
	set(Forget, m.State == Closed && (taken || refused))
	return next
}

// decisionOf returns what a target has decided about a move; nil: nothing yet, or it was
// told to forget it.
func decisionOf(b *shardmap.SlotView, n uint64) *shardmap.Decision {
	for i := range b.Decisions {
		if b.Decisions[i].Number == n {
			return &b.Decisions[i]
		}
	}
	return nil
}

// whole reports whether the target has all that the source, which is sealed, has.
func whole(a, b *shardmap.SlotView) bool {
	if b == nil {
		return false
	}
	i := &b.Import
	return i.Number == a.Number && !i.Partial && i.At == a.Sealed && i.Digest == a.Digest
}
