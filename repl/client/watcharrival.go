package client

import (
	"cmp"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// arrival is the slot of a watch of one, about to leave for a group which had no position when it
// was opened. That it comes there must be ahead of where the stream began: if the group keeps it no more,
// what happened there is lost, and a position behind it would hide that.
type arrival struct {
	number uint64 // of the move
	askAt  time.Duration
	asked  bool
	fine   bool       // the group has yet to decide, or has refused
	target raft.LogID // the group had decided by then
	source raft.LogID // the group that the slot leaves had the decision by then
}

// arrives reports whether the row of f that a slot leaves for next can be counted, since next
// tells that it comes, or will, or f that it comes back. The watch ends if neither can be.
func (w *Watching) arrives(f, next *followed) bool {
	row := &f.row
	if next.tells(wire.WatchCame, row) || f.tells(wire.WatchBack, row) {
		return true
	}
	c := next.arrivals[row.Slot]
	if c == nil || c.number != row.Number {
		c = &arrival{number: row.Number, askAt: w.now + watchRetry} // mostly it is there by then
		if next.arrivals == nil {
			next.arrivals = make(map[shardmap.Slot]*arrival)
		}
		next.arrivals[row.Slot] = c
	}
	next.wanted = next.stream == nil && next.lost == nil
	switch {
	case c.fine:
		return true
	case next.stream == nil && w.table.removed(next.group, row.Number):
		w.fail(w.gone(next.group, f.group))
	case c.asked:
	case w.now < c.askAt:
		w.at(c.askAt)
	case next.lost == nil && c.target == raft.LogID{}:
		w.askArrival(c, next.group, row.Slot, c.ofTarget)
	case next.lost == nil && !w.reaches(next, c.target):
	case w.table.removed(f.group, row.Number) && f.stream.Complete(): // it says no more
		w.fail(cmp.Or(next.lost, w.gone(next.group, f.group)))
	case c.source == raft.LogID{}:
		w.askArrival(c, f.group, row.Slot, c.ofSource)
	case !w.reaches(f, c.source):
	case next.lost != nil:
		w.fail(next.lost)
	default:
		w.fail(w.gone(next.group, f.group))
	}
	return false
}

// askArrival asks a group about a slot that is about to leave.
func (w *Watching) askArrival(c *arrival, g raft.GroupID, slot shardmap.Slot, then func(*shardmap.SlotView, raft.LogID)) {
	c.asked = true
	w.question(g, []shardmap.Slot{slot}, func(_ *WatchQuestion, a *wire.SlotViewAnswer) {
		c.asked, c.askAt = false, w.now+watchRetryMax
		if a != nil && len(a.Rows) == 1 {
			then(&a.Rows[0], a.At)
		}
	})
}

func (c *arrival) ofTarget(v *shardmap.SlotView, at raft.LogID) {
	if v.Mark < c.number || refused(v, c.number) {
		c.fine = true
	} else {
		c.target = at
	}
}

func (c *arrival) ofSource(v *shardmap.SlotView, at raft.LogID) {
	if v.Holding != shardmap.HoldsSealed || v.Number != c.number {
		c.source = at
	}
}

// refused reports whether a group says that it has refused a move.
func refused(v *shardmap.SlotView, number uint64) bool {
	return slices.ContainsFunc(v.Decisions, func(d shardmap.Decision) bool { return d.Number == number && !d.Taken })
}

// tells reports whether what is here of a group, and was not given out, has a row of a kind
// about the slot and the move of row.
func (f *followed) tells(kind wire.WatchKind, row *wire.WatchRow) bool {
	is := func(r *wire.WatchRow) bool { return r.Kind == kind && r.Slot == row.Slot && r.Number == row.Number }
	if f.hasRow && is(&f.row) || f.inPage && pieceTells(f.page, is) {
		return true
	}
	return f.stream != nil && f.stream.tells(is)
}

// reaches reports whether what is here of a group goes as far as id. A stream that is over
// never will, though it is kept as long as not all of it was given out: it is opened anew.
func (w *Watching) reaches(f *followed, id raft.LogID) bool {
	if !f.reach().Before(shardmap.After(id)) {
		return true
	}
	if w.at(w.now + watchRetryMax); f.stream != nil && f.stream.Complete() {
		w.drop(f)
		f.again = true
	}
	return false
}

// reach is how far what is here of a group goes.
func (f *followed) reach() shardmap.Position {
	if f.stream == nil || !f.begun {
		return f.at
	}
	return f.stream.arrived()
}

func pieceTells(p wire.WatchPiece, is func(*wire.WatchRow) bool) bool {
	for row := (wire.WatchRow{}); p.Next(&row); {
		if is(&row) {
			return true
		}
	}
	return false
}
