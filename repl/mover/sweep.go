package mover

import (
	"slices"
	"time"

	"muster/shardmap"
)

const (
	// sweepPause lies between two looks at a group for decisions that nobody has told it to
	// forget, while slots move.
	sweepPause = time.Minute
	// sweepsMax bounds the groups that are looked through at a time. A node that has just
	// started leads all its groups at once, and is busy with more than its carrier. If the
	// carrier asked about a thousand groups at once, a node too slow to answer all of them
	// within [hereMax] would be asked about most of them again and again.
	sweepsMax = 16
)

// sweep looks through a group that is led here for decisions about moves that are closed.
// Whoever carries a move has its target forget it; but it may die in between, and then
// nothing in the table tells of the move any more.
//
// The replica here is asked, not the group. It leads, so it has applied all that was decided
// before; what is decided later is the business of whoever carries it. Nearly every group has
// nothing to tell, so the cost of a look must not grow with the number of slots.
type sweep struct {
	due    bool          // a look is to begin
	asking bool          // one has begun and not ended
	at     time.Duration // before which it does not begin again
	moved  bool          // slots were on their way to the group since it began last, or are by what it found
}

// sweep begins looks at the groups for which they are due, as many as [sweepsMax] lets.
func (c *Carrier) sweep(now time.Duration) {
	if now < c.sweepAt {
		c.wake = min(c.wake, c.sweepAt)
		return
	}
	c.sweepAt = never
	for _, g := range inOrder(c.leads) {
		s := c.sweeps[g]
		if !s.due && s.moved {
			if s.due = now >= s.at; !s.due {
				c.sweepAt = min(c.sweepAt, s.at)
			}
		}
		if s.asking || !s.due {
			continue
		}
		if c.rests(now, g) {
			c.sweepAt = min(c.sweepAt, c.far(g).retryAt)
			continue
		}
		if c.sweeping == sweepsMax {
			return // the end of one of them has the others looked at
		}
		c.sweeping++
		*s = sweep{asking: true, at: now + sweepPause}
		c.launch(now, CarryAction{Kind: CarryDecisions, Group: g}, &trip{sweep: s})
	}
	c.wake = min(c.wake, c.sweepAt)
}

// landed ends a look.
func (c *Carrier) landed(s *sweep) {
	s.asking = false
	c.sweeping--
	c.sweepAt = 0
}

// Decided hands in the decisions that the replica here of a group keeps, by slot and number.
func (c *Carrier) Decided(now time.Duration, number uint64, decisions []shardmap.SlotDecision) {
	f := c.land(number)
	if f == nil || f.kind != CarryDecisions {
		return
	}
	if _, ok := c.leads[f.group]; !ok || c.sweeps[f.group] != f.sweep {
		return
	}
	for _, d := range decisions {
		if d.Number > c.table.Index {
			// The table here is behind: it does not even have the entry that began the move. When it
			// comes, the move may be closed already, and then only another look finds the decision.
			f.sweep.moved = true
			continue
		}
		if c.inTable(d.Slot, d.Number) {
			continue
		}
		if key := (moveKey{d.Slot, d.Number}); c.carries[key] == nil {
			k := c.carry(now, key, true)
			k.move = shardmap.Move{SlotRange: shardmap.SlotRange{From: d.Slot, To: d.Slot}, Number: d.Number, From: d.Source, To: f.group, State: Closed}
			k.source.group, k.target.group = d.Source, f.group
			k.happened(now)
		}
	}
	c.sort()
}

// inTable reports whether a move is not closed.
func (c *Carrier) inTable(s shardmap.Slot, n uint64) bool {
	return slices.ContainsFunc(c.table.Moves, func(m shardmap.Move) bool { return m.Number == n && m.Has(s) })
}
