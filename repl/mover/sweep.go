package mover

import (
	"slices"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// sweepPause lies between two looks at a group for decisions that nobody has told it to
// forget, while slots move.
const sweepPause = time.Minute

// sweep looks through all slots of a group that is led here for decisions about moves that
// are closed. Whoever carries a move has its target forget it; but it may die in between,
// and then nothing in the table tells of the move any more.
type sweep struct {
	due    bool // from the first slot on
	asking bool
	next   shardmap.Slot
	at     time.Duration // before which it does not begin again
	moved  bool          // slots were on their way to the group since it began last
}

// sweep begins looks, or continues with them.
func (c *Carrier) sweep(now time.Duration) {
	for _, g := range inOrder(c.leads) {
		s := c.sweeps[g]
		if !s.due && s.next == 0 && s.moved {
			if now < s.at {
				c.wake = min(c.wake, s.at)
			} else {
				s.due = true
			}
		}
		if s.asking || !s.due && s.next == 0 || c.rests(now, g) {
			continue
		}
		if s.due {
			s.due, s.moved, s.next, s.at = false, false, 0, now+sweepPause
		}
		s.asking = true
		to := min(s.next+CarrySlotsMax, shardmap.Slots)
		c.launch(now, CarryAction{Kind: CarryView, Group: g, Slots: []shardmap.SlotRange{{From: s.next, To: to - 1}}}, &trip{what: wantView, sweep: s})
		s.next = to % shardmap.Slots
	}
}

// swept takes the answer.
func (c *Carrier) swept(now time.Duration, f *trip, r *wire.SlotViewAnswer) {
	f.sweep.asking = false
	if _, ok := c.leads[f.group]; !ok || c.sweeps[f.group] != f.sweep {
		return
	}
	for i := range r.Rows {
		v := &r.Rows[i]
		for _, d := range v.Decisions {
			if d.Number > c.table.Index || c.inTable(v.Slot, d.Number) {
				continue
			}
			if key := (moveKey{v.Slot, d.Number}); c.carries[key] == nil {
				k := c.carry(now, key, true)
				k.move = shardmap.Move{SlotRange: shardmap.SlotRange{From: v.Slot, To: v.Slot}, Number: d.Number, From: d.Source, To: f.group, State: Closed}
				k.source.group, k.target.group = d.Source, f.group
				k.happened(now)
			}
		}
	}
	c.sort()
}

// inTable reports whether a move is not closed.
func (c *Carrier) inTable(s shardmap.Slot, n uint64) bool {
	return slices.ContainsFunc(c.table.Moves, func(m shardmap.Move) bool { return m.Number == n && m.Has(s) })
}
