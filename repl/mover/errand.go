package mover

import (
	"cmp"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// errand is one kind of step for one group.
type errand struct {
	group raft.GroupID
	what  What // one step; wantView or wantCopy
}

// What is asked for beside steps.
const (
	wantView What = 1 << 14
	wantCopy What = 1 << 15
)

// want notes that something is to be done for a slot.
func (c *Carrier) want(g raft.GroupID, w What, k *carry) {
	e := errand{g, w}
	c.due[e] = append(c.due[e], k)
}

// send asks for all that is due, but for chunks.
func (c *Carrier) send(now time.Duration) {
	errands := make([]errand, 0, len(c.due))
	for e := range c.due {
		errands = append(errands, e)
	}
	slices.SortFunc(errands, func(a, b errand) int {
		return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(slices.Index(whats[:], a.what), slices.Index(whats[:], b.what)), cmp.Compare(a.what, b.what))
	})
	for _, e := range errands {
		if !c.rests(now, e.group) {
			c.errand(now, e, c.due[e])
		}
	}
}

// errand asks for one kind of thing, of many slots at once. While a step of that kind is
// under way the next ones gather.
func (c *Carrier) errand(now time.Duration, e errand, list []*carry) {
	many := e.what == wantView || e.what == wantCopy || e.what == Takeover
	if !many && c.busy(e) {
		return
	}
	most := shardmap.StepsMax
	switch {
	case e.what == Seal:
		most = sealSlots
	case e.what == wantView, e.what == wantCopy, ofMeta.Has(e.what):
		most = CarrySlotsMax
	}
	slices.SortStableFunc(list, func(a, b *carry) int { return cmp.Compare(a.slot, b.slot) })
	for len(list) > 0 {
		var these, later []*carry
		for _, k := range list {
			// No slot stands in a command twice.
			twice := len(these) > 0 && these[len(these)-1].slot == k.slot
			if len(these) < most && (!twice || e.what == wantView) {
				these = append(these, k)
			} else {
				later = append(later, k)
			}
		}
		c.one(now, e, these)
		if list = later; !many {
			return
		}
	}
}

// busy reports whether a step of that kind is under way.
func (c *Carrier) busy(e errand) bool {
	for _, f := range c.flights {
		if f.group == e.group && f.what == e.what {
			return true
		}
	}
	return false
}

// one sends one action about some slots, which are in order.
func (c *Carrier) one(now time.Duration, e errand, list []*carry) {
	f := &trip{what: e.what, carries: list}
	a := CarryAction{Kind: CarryStep, Group: e.group}
	switch {
	case e.what == wantView || e.what == wantCopy:
		a.Kind = CarryView
		if e.what == wantCopy {
			a.Kind = CarryCopy
		}
		a.Slots = slotsOf(list)
	case ofMeta.Has(e.what):
		a.Command = metaCommand(e.what, list)
	default:
		steps := make([]shardmap.Step, len(list))
		for i, k := range list {
			steps[i] = k.step(e.what)
		}
		command := shardmap.StepCommand(commandOf[e.what], steps)
		a.Command = wire.AppendWrite(nil, &command)
	}
	if e.what == wantCopy || e.what == Takeover {
		for _, k := range list {
			f.streams = append(f.streams, k.stream)
		}
	}
	c.launch(now, a, f)
}

var commandOf = map[What]shardmap.CommandKind{Seal: shardmap.CommandSeal, Cancel: shardmap.CommandCancel, Takeover: shardmap.CommandTakeover,
	Refuse: shardmap.CommandRefuse, Unseal: shardmap.CommandUnseal, Drop: shardmap.CommandDrop, Forget: shardmap.CommandForget}

// step returns the slot's part of a step.
func (k *carry) step(w What) shardmap.Step {
	s := shardmap.Step{Slot: k.slot, Number: k.move.Number}
	switch w {
	case Seal:
		s.Peer, s.Empty = k.move.To, k.move.Empty
	case Refuse:
		s.Peer = k.move.From
	case Takeover:
		a := k.source.view
		s.Peer, s.At, s.Time, s.Digest = k.move.From, a.Sealed, a.SealTime, a.Digest
		if s.Chunks = k.target.view.Import.Chunks; k.stream != nil {
			s.Chunks = k.stream.index
		}
	}
	return s
}

func slotsOf(list []*carry) []shardmap.SlotRange {
	slots := make([]shardmap.Slot, len(list))
	for i, k := range list {
		slots[i] = k.slot
	}
	return shardmap.SlotRanges(slots)
}

// metaCommand is a command to the meta group about some moves, runs of slots in one piece.
func metaCommand(w What, list []*carry) []byte {
	var ends []shardmap.MoveEnd
	for _, k := range list {
		end := shardmap.MoveEnd{NumberedRange: shardmap.NumberedRange{SlotRange: shardmap.SlotRange{From: k.slot, To: k.slot}, Number: k.move.Number}}
		switch a := k.source.view; {
		case w != Close:
		case k.move.State == shardmap.MoveTaken:
			end.Taken, end.Why = true, shardmap.ClosedTaken
		case k.move.Empty && a.Holding == shardmap.HoldsOwned && a.Bytes > 0:
			end.Why = shardmap.ClosedNotEmpty
		default:
			end.Why = shardmap.ClosedCancelled
		}
		if n := len(ends); n > 0 && ends[n-1].SlotRange.To+1 == k.slot {
			alike := ends[n-1]
			if alike.SlotRange = end.SlotRange; alike == end {
				ends[n-1].SlotRange.To = k.slot
				continue
			}
		}
		ends = append(ends, end)
	}
	if w == Close {
		return append1(shardmap.AppendMoveClose(nil, &shardmap.MoveClose{Moves: ends}))
	}
	named := make([]shardmap.NumberedRange, len(ends))
	for i := range ends {
		named[i] = ends[i].NumberedRange
	}
	if w == Flag {
		return append1(shardmap.AppendMoveCancel(nil, &shardmap.MoveCancel{Moves: named}))
	}
	return append1(shardmap.AppendMoveRecord(nil, &shardmap.MoveRecord{Moves: named}))
}
