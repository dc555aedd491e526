package client

import (
	"errors"
	"fmt"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// taken is what came of a group's turn.
type taken uint8

const (
	tookNothing taken = iota // it has nothing, or waits for another group
	tookSome                 // something, so that others may go on
	tookEvent                // the next event of the watch
)

// deliver returns the next event, if there is one: the groups take turns, a piece each.
func (w *Watching) deliver() (WatchEvent, bool) {
	for idle := 0; idle < len(w.turns) && w.failure == nil; {
		w.turn %= len(w.turns)
		f := w.turns[w.turn]
		var e WatchEvent
		switch w.take(f, &e) {
		case tookEvent:
			return e, true
		case tookSome:
			idle = 0
			if !f.inPage {
				w.turn++
			}
		default:
			idle++
			w.turn++
		}
	}
	return WatchEvent{}, false
}

// take goes on with one group, by a row or by the end of a piece.
func (w *Watching) take(f *followed, e *WatchEvent) taken {
	switch {
	case f.hasRow:
		return w.takeRow(f, e)
	case f.inPage && f.page.Next(&f.row):
		f.hasRow = true
		return w.takeRow(f, e)
	case f.inPage:
		f.inPage, f.at, f.advanced = false, f.page.At, true
		if !f.rows && w.idle() {
			*e = WatchEvent{Kind: WatchProgress}
			return tookEvent
		}
		return tookSome
	case f.stream == nil:
		return tookNothing
	case !f.begun:
		if w.came(f) {
			return tookSome
		}
		return w.takeEnd(f)
	}
	page, there := f.stream.next()
	w.used = append(w.used, f.stream)
	if !there {
		return w.takeEnd(f)
	}
	f.page, f.inPage, f.rows, f.fails, f.heard = page, true, page.Count > 0, 0, w.now
	return tookSome
}

// takeEnd takes the end of a group's stream, if it has ended. Others may wait for that: they
// have had their turns, and nothing else may ever happen.
func (w *Watching) takeEnd(f *followed) taken {
	if w.ended(f) {
		return tookSome
	}
	return tookNothing
}

// idle reports whether all groups have come further since that was last told.
func (w *Watching) idle() bool {
	for _, f := range w.turns {
		if f.stream != nil && !f.advanced {
			return false
		}
	}
	for _, f := range w.turns {
		f.advanced = false
	}
	return true
}

// takeRow goes on with the row of a group that is next.
func (w *Watching) takeRow(f *followed, e *WatchEvent) taken {
	row := &f.row
	at := shardmap.Position{ID: row.ID, N: row.N}
	if !f.at.Before(at) || f.page.At.Before(at) {
		w.fail(fmt.Errorf("piece of group %s: %w: %s behind %s", f.group, errEventsBack, shardmap.FormatPosition(f.group, at), shardmap.FormatPosition(f.group, f.at)))
		return tookNothing
	}
	if w.old(f) {
		f.hasRow, f.at, f.advanced = false, at, true
		return tookSome
	}
	next := f // the group that has the slot now
	switch row.Kind {
	case wire.WatchLeft:
		next = w.follow(row.Group)
		if !w.leaves(f, next) {
			return tookNothing
		}
	case wire.WatchCame:
		if !w.comes(f) {
			return tookNothing
		}
		delete(w.transit.slots, row.Slot)
		f.arrived = true
	case wire.WatchBack:
		delete(w.transit.slots, row.Slot)
		f.arrived = true
	case wire.WatchElsewhere:
		w.fail(fmt.Errorf("piece of group %s: a row of kind %s behind the first piece", f.group, row.Kind))
		return tookNothing
	}
	f.hasRow, f.at, f.advanced, f.blocked, f.named = false, at, true, 0, true
	w.alone(f, next)
	if !row.Kind.OfKey() {
		return tookSome
	}
	*e = WatchEvent{
		Kind: kindOf(row.Kind), Key: row.Key, Value: row.Value, Version: row.Version,
		Prev: row.Prev, PrevVersion: row.PrevVersion, Slot: row.Slot, Group: f.group, ID: row.ID, N: row.N,
	}
	return tookEvent
}

// old reports whether the row of f is of before the watch: of a move that was decided before
// the slot's start, or, in what a group keeps of all times, of a slot that has not come there
// since.
func (w *Watching) old(f *followed) bool {
	row := &f.row
	old := w.marks != nil && row.Number != 0 && row.Number <= w.marks[row.Slot]
	if !f.whole {
		return old
	}
	if row.Kind == wire.WatchCame {
		f.live[row.Slot] = !old
	}
	return !f.live[row.Slot]
}

// leaves reports whether the row of f that a slot leaves for next may be counted: there must
// be a position of next by then, in front of where the slot comes.
func (w *Watching) leaves(f, next *followed) bool {
	row := &f.row
	switch {
	case next.joined && (!next.fresh || !w.single), bug("a slot lost on its way"):
		// Of many slots, those that are held at next may wait for what f says behind this row.
	case next.joined || next.lost != nil:
		if !w.arrives(f, next) {
			return false
		}
		delete(next.arrivals, row.Slot)
	case next.stream != nil:
		return false
	case w.table.removed(next.group, row.Number):
		w.fail(w.gone(next.group, f.group))
		return false
	default:
		if w.due(next) {
			w.retry(next)
			w.open(next, fromPositions)
		}
		return false
	}
	next.named = true
	w.transit.slots[row.Slot] = &transit{from: f.group, to: row.Group, number: row.Number, lookAt: w.now + transitLook}
	return true
}

// comes reports whether the row of f that a slot has come may be counted: all that its former
// owner says of the slot must have been.
func (w *Watching) comes(f *followed) bool {
	row := &f.row
	former := w.groups[row.Group]
	t := w.transit.slots[row.Slot]
	switch {
	case t != nil && t.number == row.Number, bug("a takeover not waited for"):
		return true
	case row.Group == 0 || row.ID.Index <= f.settled.Index && (former == nil || !former.joined):
		return true // it came before the watch began
	case former == nil || !former.joined:
		// One of those that are followed will say that it leaves for there, if all that they
		// had to say was heard.
		if w.at(w.now + watchRetryMax); w.table.skips != 0 {
			w.followFormer(row.Group, f.group)
		} else if w.unnamed(f) {
			w.fail(wire.BadRequest("positions", fmt.Sprintf("no position of group %s, from which slot %d came to group %s behind %s", row.Group, row.Slot, f.group, shardmap.FormatPosition(f.group, f.at)),
				"give all log ids that the watch had, or watch from now"))
		}
	case former.passed(row.Sealed):
		w.fail(w.gone(former.group, f.group))
	case former.behind(row.Sealed):
		return true
	default:
		former.wanted = former.stream == nil
	}
	if w.table.removed(row.Group, row.Number) && (former == nil || former.stream == nil && !former.inPage) {
		w.fail(w.gone(row.Group, f.group))
	}
	return false
}

// unnamed reports whether the group from which the row of f says that a slot came has been named
// by nobody for so long that nobody will: all that are followed were heard of since.
func (w *Watching) unnamed(f *followed) bool {
	if f.blocked == 0 {
		f.blocked = max(w.now, 1)
	}
	if w.now < f.blocked+watchNamed {
		return false
	}
	for _, o := range w.turns {
		if o.stream != nil && !o.hasRow && o.heard < f.blocked+watchNamed/2 {
			return false
		}
	}
	return true
}

// followFormer follows a group from which a slot came to group by, though none that is followed
// has told that it left for there.
func (w *Watching) followFormer(g, by raft.GroupID) {
	if w.single {
		w.fail(w.gone(w.table.skips, by))
	} else if f := w.follow(g); !f.joined && f.stream == nil {
		f.again = true
	}
}

// behind reports whether all of entry id was given out. A position may stand behind the last
// event of an entry without saying that it was the last; the next row says it.
func (f *followed) behind(id raft.LogID) bool {
	switch {
	case f.at.ID.Index != id.Index:
		return f.at.ID.Index > id.Index
	case f.at.N == shardmap.AllEvents:
		return true
	}
	return f.hasRow && f.row.ID.Index > id.Index
}

// passed reports whether entry id is in what was not seen of a group.
func (f *followed) passed(id raft.LogID) bool {
	for _, s := range f.skipped {
		if s.from.Before(shardmap.After(id)) && s.to.ID.Index >= id.Index {
			return !bug("a gap passed over")
		}
	}
	return false
}

// gone returns the end of a watch that needs events of group g that are no longer kept; the
// group may be gone too. by is the group that has the slot next, or had it before.
func (w *Watching) gone(g, by raft.GroupID) error {
	why := fmt.Sprintf("a slot went from it, or to it, by what group %s says", by)
	if !w.table.known(g) {
		why = "the group was removed"
	}
	return &WatchEnd{Reason: wire.EndCompacted, Group: g, Why: errors.New(why), Resume: w.Positions()}
}
