package machine

import (
	"fmt"
	"slices"

	"muster/raft"
	"muster/repl/watch"
	"muster/repl/wire"
	"muster/shardmap"
)

// opening is what must be known to settle where a watch begins.
//
// A slot that moves has its events in the logs of several groups, one stint behind the other.
// Its client has a position in each of these logs, and must be sent each event once, in this
// order: if a group took a slot over from X, which had sealed it at S, the client reads nothing
// behind the takeover before it has read X up to S. It can, because it names all slots that it
// watches at every group, so that it sees each takeover and waits there. Therefore a position
// in the group's own log says all, as long as the history still has what comes behind it.
//
// If it no longer has, and the client gives the position all the same (0, for a group that it
// never read), all takeovers in the history are behind it, and each slot begins in front of its
// first one. Without any position in this log, only takeovers from groups of which the client
// has not seen all are behind what it has seen, and the slot begins in front of the first of
// these; if the client has seen all of the slot in the group that had it before, the slot
// begins behind its last takeover. So a client that was away can continue though much else has
// happened here.
//
// A client that begins now opens one group after the other. Meanwhile a slot may go from a
// group that it has opened to one that it has not, and the client would miss what happened
// there before it opened that one. Rows of kind elsewhere tell it so, by the positions that it
// gives of the groups that are open.
type opening struct {
	request *wire.Watch
	history *shardmap.History
	at      raft.LogID // what was applied
	held    bool       // the group has at least one of the slots
	coming  bool       // a slot may be on its way here
	own     shardmap.Position
	hasOwn  bool
	// slots are all of the request, if it matters where each came from; else nil.
	slots []slotOrigin
}

type slotOrigin struct {
	slot shardmap.Slot
	shardmap.Origin
}

// newOpening notes what the group knows at the entry at. It is called between two entries.
func newOpening(q *wire.Watch, m *Map, at raft.LogID) *opening {
	o := &opening{request: q, history: m.State.History(), at: at}
	for i := range q.Positions {
		if !q.Now && q.Positions[i].Group == q.Group {
			o.own, o.hasOwn = q.Positions[i].Position, true
		}
	}
	if t := m.table(); t != nil {
		o.coming = slices.ContainsFunc(t.Moves, func(v shardmap.Move) bool {
			return v.To == m.Group && slices.ContainsFunc(q.Slots, func(r shardmap.SlotRange) bool { return r.From <= v.SlotRange.To && v.SlotRange.From <= r.To })
		})
	}
	each := len(q.Positions) > 0 && !o.keepsOwn()
	for _, run := range q.Slots {
		for s := run.From; s <= run.To; s++ {
			from := m.State.Origin(s)
			o.held, o.coming = o.held || from.Held, o.coming || from.Coming
			if each {
				o.slots = append(o.slots, slotOrigin{s, from})
			} else if o.held {
				return o
			}
		}
	}
	return o
}

// keepsOwn reports whether the client's position in the group's own log says all: there is
// one, and the history has what comes behind it.
func (o *opening) keepsOwn() bool {
	if !o.hasOwn {
		return false
	}
	c, kept := o.history.Cursor(o.own)
	if kept {
		c.Close()
	}
	return kept
}

// beginning is where a watch begins.
type beginning struct {
	starts    []watch.Start
	at        shardmap.Position // the first of them
	elsewhere []wire.WatchRow
	leaves    bool       // no slot is here: it ends at what was applied
	compacted bool       // it can't begin: the history no longer has some of what it must send
	floor     raft.LogID // where the history begins, if compacted
}

// settle returns where the watch begins, or why it is refused.
func (o *opening) settle() (*beginning, *wire.Error) {
	b := &beginning{leaves: !o.held && !o.coming}
	q := o.request
	switch {
	case q.Now:
		return o.fromNow(b)
	case o.keepsOwn():
		b.start(q.Slots, o.own)
		return b, nil
	case o.slots == nil: // the position has fallen out of the history since
		b.compacted = true
		b.floor, _ = o.history.Bounds()
		return b, nil
	}
	return o.bySlot(b)
}

// start begins slots at a position.
func (b *beginning) start(slots []shardmap.SlotRange, at shardmap.Position) {
	if len(b.starts) == 0 || at.Before(b.at) {
		b.at = at
	}
	b.starts = append(b.starts, watch.Start{Slots: slots, At: at})
}

// fromNow begins all slots at what is applied.
func (o *opening) fromNow(b *beginning) (*beginning, *wire.Error) {
	b.start(o.request.Slots, shardmap.After(o.at))
	if o.slots == nil {
		return b, nil
	}
	tookOver, err := o.takeovers()
	if err != nil {
		return nil, err
	}
	for i := range o.slots {
		s := &o.slots[i]
		left := []shardmap.Former{} // whom the slot came from, up to where the watch begins
		for _, t := range tookOver[s.slot] {
			if t.at.Index <= o.at.Index {
				left = append(left, t.from)
			}
		}
		if n := len(s.Formers); n > 0 && !slices.Contains(left, s.Formers[n-1]) {
			left = append(left, s.Formers[n-1])
		}
		for _, f := range left {
			if o.waits(f) {
				b.elsewhere = append(b.elsewhere, wire.WatchRow{Kind: wire.WatchElsewhere, Slot: s.slot, Group: f.Group, Sealed: f.Sealed})
			}
		}
	}
	return b, nil
}

// bySlot begins each slot where its client waits for it.
func (o *opening) bySlot(b *beginning) (*beginning, *wire.Error) {
	tookOver, err := o.takeovers()
	if err != nil {
		return nil, err
	}
	b.floor, _ = o.history.Bounds()
	runs := runsOfStarts{of: b}
	for i := range o.slots {
		s := &o.slots[i]
		at, found := o.begins(s, tookOver[s.slot])
		switch {
		case found:
			runs.add(s.slot, at)
		case o.knows(s):
			b.compacted = true
			return b, nil
		default:
			return nil, wire.BadRequest("positions of a watch", fmt.Sprintf("no position of group %s, nor of one that had slot %d before", o.request.Group, s.slot),
				"give the positions of all groups that were watched, or begin now")
		}
	}
	runs.end()
	return b, nil
}

// begins says where a slot begins; false: that is not kept, or nobody can tell.
func (o *opening) begins(s *slotOrigin, tookOver []takeover) (at shardmap.Position, found bool) {
	for _, t := range tookOver {
		switch {
		case o.own != (shardmap.Position{}) && o.lost(s, t):
			return at, false
		case o.own == (shardmap.Position{}) && o.met(t.from):
			// Of before the watch: since it began, its client went no further in that log
			// before it had opened this one.
		case o.hasOwn || o.waits(t.from):
			return shardmap.Position{ID: t.at}, true // none of the events of that entry was seen
		}
	}
	if !s.Held {
		// If the client has read this log before, the slot may have been here, and its last
		// events be among those that are gone. Else what was here is of before the watch.
		return shardmap.After(o.at), o.own == (shardmap.Position{}) || !s.Moved
	}
	if n := len(s.Formers); n > 0 && !o.hasOwn && o.met(s.Formers[n-1]) {
		for _, t := range tookOver {
			if t.from == s.Formers[n-1] {
				return shardmap.After(t.at), true
			}
		}
	}
	return at, false
}

// lost reports whether the group may have had the slot before the first takeover that the
// history has, and have given it up behind the client's position.
func (o *opening) lost(s *slotOrigin, first takeover) bool {
	if !s.Held || s.More {
		return true // nobody knows
	}
	for _, f := range s.Formers {
		if f.Group == o.request.Group && f.Sealed.Index > o.own.ID.Index && f.Sealed.Index < first.at.Index {
			return true
		}
	}
	return false
}

// knows reports whether the client has a position in a log that had the slot.
func (o *opening) knows(s *slotOrigin) bool {
	if o.hasOwn || s.More {
		return true
	}
	for _, f := range s.Formers {
		if _, given := o.position(f.Group); given {
			return true
		}
	}
	return false
}

// waits reports whether the client watches a former owner, and has not seen all of it.
func (o *opening) waits(f shardmap.Former) bool {
	p, given := o.position(f.Group)
	return given && p.ID.Index < f.Sealed.Index
}

// met reports whether the client has seen all of a former owner.
func (o *opening) met(f shardmap.Former) bool {
	p, given := o.position(f.Group)
	return given && p.ID.Index >= f.Sealed.Index
}

func (o *opening) position(g raft.GroupID) (p shardmap.Position, given bool) {
	for i := range o.request.Positions {
		if o.request.Positions[i].Group == g {
			return o.request.Positions[i].Position, true
		}
	}
	return p, false
}

// takeover is one of the group's, as its history has it.
type takeover struct {
	at   raft.LogID
	from shardmap.Former
}

// lookMax bounds how often the history is looked through: it may lose its oldest events
// meanwhile.
const lookMax = 3

// takeovers returns those of each slot of the request that the history has, in their order,
// behind the client's own position.
func (o *opening) takeovers() (map[shardmap.Slot][]takeover, *wire.Error) {
	for range lookMax {
		found := make(map[shardmap.Slot][]takeover)
		floor, _ := o.history.Bounds()
		c, kept := o.history.Cursor(shardmap.After(floor))
		if !kept {
			continue
		}
		var e shardmap.Event
		for c.Next(&e) {
			if e.Kind == shardmap.EventCame && hasSlot(o.request.Slots, e.Slot) && (!o.hasOwn || o.own.Before(e.Position())) {
				found[e.Slot] = append(found[e.Slot], takeover{at: e.ID, from: shardmap.Former{Group: e.Group, Sealed: e.Sealed}})
			}
		}
		lost := c.Lost()
		c.Close()
		if !lost {
			return found, nil
		}
	}
	return nil, wire.Busy(fmt.Sprintf("group %s", o.request.Group), "its history changes faster than it is looked through", wire.BusyRetry)
}

func hasSlot(runs []shardmap.SlotRange, s shardmap.Slot) bool {
	for _, r := range runs {
		if r.Has(s) {
			return true
		}
	}
	return false
}

// runsOfStarts gathers slots that begin at one position into runs.
type runsOfStarts struct {
	of  *beginning
	run shardmap.SlotRange
	at  shardmap.Position
	any bool
}

func (r *runsOfStarts) add(s shardmap.Slot, at shardmap.Position) {
	if r.any && r.at == at && s == r.run.To+1 {
		r.run.To = s
		return
	}
	r.end()
	r.run, r.at, r.any = shardmap.SlotRange{From: s, To: s}, at, true
}

func (r *runsOfStarts) end() {
	if r.any {
		r.of.start([]shardmap.SlotRange{r.run}, r.at)
	}
}
