package client

import (
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// transit is a slot that has left one group and not come to the other. Mostly it comes within
// milliseconds. If the other group took it over in a part of its events that is no longer kept,
// nothing will ever say so; so after a while the two groups are asked.
type transit struct {
	from, to raft.GroupID
	number   uint64 // of the move

	lookAt  time.Duration
	asked   bool
	decided raft.LogID // of the target: it had decided by then, and not refused as far as it knows
	settled raft.LogID // of the source: it had the decision by then
}

// transits are the slots that are on their way.
type transits struct {
	of    *Watching // set once
	slots map[shardmap.Slot]*transit
}

// transitLook is how long a slot is on its way before the groups are asked about it, and
// between two questions.
const transitLook = 5 * time.Second

// look asks about slots that are on their way for long.
func (x *transits) look() {
	w := x.of
	var due []shardmap.Slot
	for slot, t := range x.slots {
		switch {
		case t.asked:
		case t.lookAt <= w.now:
			due = append(due, slot)
		default:
			w.at(t.lookAt)
		}
	}
	slices.Sort(due) // the same events give the same questions
	for _, slot := range due {
		x.lookAfter(slot, x.slots[slot])
	}
}

func (x *transits) lookAfter(slot shardmap.Slot, t *transit) {
	w := x.of
	source, target := w.groups[t.from], w.groups[t.to]
	switch {
	case w.table.removed(t.to, t.number):
		w.fail(w.gone(t.to, t.from))
	case t.decided == raft.LogID{}:
		x.askAfter(slot, t, t.to, x.ofTarget)
	case target != nil && !target.behind(t.decided):
		t.lookAt = w.now + transitLook // the takeover may be among what has not come yet
	case w.table.removed(t.from, t.number) && (source == nil || source.stream == nil): // it says no more
		w.fail(w.gone(t.to, t.from))
	case t.settled == raft.LogID{}:
		x.askAfter(slot, t, t.from, x.ofSource)
	case source != nil && !source.behind(t.settled):
		t.lookAt = w.now + transitLook       // so may that it came back
		source.wanted = source.stream == nil // it had none of the slots, and has gone on since
	default:
		w.fail(w.gone(t.to, t.from))
	}
	if w.failure == nil && !t.asked {
		w.at(t.lookAt)
	}
}

func (x *transits) askAfter(slot shardmap.Slot, t *transit, g raft.GroupID, then func(*transit, *shardmap.SlotView, raft.LogID)) {
	w := x.of
	t.asked = true
	w.question(g, []shardmap.Slot{slot}, func(_ *WatchQuestion, a *wire.SlotViewAnswer) {
		t.asked, t.lookAt = false, w.now+transitLook
		if a != nil && len(a.Rows) == 1 {
			then(t, &a.Rows[0], a.At)
		}
	})
}

// ofTarget takes what the target has of the slot.
func (x *transits) ofTarget(t *transit, v *shardmap.SlotView, at raft.LogID) {
	if v.Mark >= t.number && !refused(v, t.number) {
		t.decided = at
	}
}

// ofSource takes what the source has of the slot: while it is sealed for the move the target
// may still decide, or have refused.
func (x *transits) ofSource(t *transit, v *shardmap.SlotView, at raft.LogID) {
	if v.Holding != shardmap.HoldsSealed || v.Number != t.number {
		t.settled = at
	}
}

// awaited reports whether a slot is on its way to a group.
func (x *transits) awaited(f *followed) bool {
	for _, t := range x.slots {
		if t.to == f.group {
			return true
		}
	}
	return false
}
