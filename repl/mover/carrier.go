package mover

import (
	"cmp"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// Carrier carries the slots whose source is a group that is led on its node, each through
// all steps of its move. For those whose target is led here it takes the steps that need no
// data, once the source's carrier has said nothing for a while. Like the mover it owns
// nothing that lasts: what is to be done next, [Next] says by what the three logs say, and
// another leader's carrier begins there.
//
// One goroutine calls it.
//
// # Duties of the owner
//
//  1. Hand in each new table ([Carrier.Table]), and whether each data group is led here
//     ([Carrier.Lead]), anew with each term.
//  2. Call [Carrier.Turn] after each call of another method, and at the latest at the time
//     that Turn returned.
//  3. Carry out the actions. The steps for one group leave in the order in which Turn
//     returned them: of two that change places one is refused, and sent again.
//  4. Say how each action ended: Stepped, Viewed, Copied or Decided with its answer, or Ended
//     with the reason why there is none. What never ends counts as failed after a while. Answers
//     that are lost, late, or come twice do no harm.
//  5. The copies that are handed in are the carrier's: it releases them.
type Carrier struct {
	self raft.NodeID // whose carrier it is; set once

	table   *shardmap.Table
	leads   map[raft.GroupID]uint64 // groups that are led here, with the term
	anew    bool                    // the table or the leads have changed since the moves were read from them
	carries map[moveKey]*carry
	order   []*carry // the same, by number and slot

	sweeps   map[raft.GroupID]*sweep // of the groups that are led here
	sweeping int                     // looks that have not ended. Invariant: <= sweepsMax
	sweepAt  time.Duration           // before which no group is to be looked through

	number  uint64 // of the last action
	attempt uint64 // of the last attempt
	flights map[uint64]*trip
	fars    map[raft.GroupID]*far
	rate    rate
	counts  CarryCounts

	// Of one turn.
	actions []CarryAction
	wake    time.Duration
	due     map[errand][]*carry
}

// CarryCounts are what a carrier has done since it was made, for people to read.
type CarryCounts struct {
	Slots    uint64        // that targets took over
	Refused  uint64        // that targets refused to take over
	Bytes    uint64        // of content that was sent, again ones included
	Chunks   uint64        // that were sent
	Again    uint64        // pieces that were sent again because one before them was lost
	PauseMax time.Duration // the longest from seal to takeover, as seen here
}

// NewCarrier returns the carrier of a node.
func NewCarrier(self raft.NodeID) *Carrier {
	return &Carrier{self: self, leads: map[raft.GroupID]uint64{}, carries: map[moveKey]*carry{}, sweeps: map[raft.GroupID]*sweep{},
		flights: map[uint64]*trip{}, fars: map[raft.GroupID]*far{}}
}

// Table hands in a table that is newer than the last. It is not changed afterwards.
func (c *Carrier) Table(now time.Duration, t *shardmap.Table) {
	c.table, c.anew = t, true
	c.rate.set(now, t.SlotRate())
}

// Lead hands in the term in which a group is led here, with an entry of that term applied; 0
// if it is not.
func (c *Carrier) Lead(g raft.GroupID, term uint64) {
	if term == c.leads[g] {
		return
	}
	c.anew = true
	// The attempts of another leadership are over, and its copies may be of a state that was
	// replaced. What is closed goes on: the table does not tell of it any more.
	for _, k := range c.order {
		if k.move.State != Closed && (k.move.From == g || k.move.To == g) {
			c.drop(k)
		}
	}
	delete(c.leads, g)
	delete(c.sweeps, g)
	if term != 0 {
		c.leads[g] = term
		c.sweeps[g], c.sweepAt = &sweep{due: true}, 0
	}
}

// Counts returns what was done so far.
func (c *Carrier) Counts() CarryCounts { return c.counts }

// StuckMove is a move in which nothing has happened for a while.
type StuckMove struct {
	Slot   shardmap.Slot
	Number uint64
	From   raft.GroupID
	To     raft.GroupID
	Since  time.Duration // when something happened last
	Why    string        // what was in the way last; "" if that is not known
}

// Stuck returns the moves from groups led here in which nothing has happened for longer than
// some time, by number and slot. Those of paused jobs wait, and are not stuck.
func (c *Carrier) Stuck(now, longer time.Duration) (stuck []StuckMove) {
	for _, k := range c.order {
		if k.helps || k.paused && !k.sealed() || k.move.State == Closed || now-k.changed <= longer {
			continue
		}
		s := StuckMove{Slot: k.slot, Number: k.move.Number, From: k.move.From, To: k.move.To, Since: k.changed}
		for _, g := range [...]raft.GroupID{k.move.To, k.move.From, 0} {
			if f := c.fars[g]; f != nil && f.err != nil {
				s.Why = f.err.Error()
				break
			}
		}
		stuck = append(stuck, s)
	}
	return stuck
}

// Stepped hands in the answer to a step.
func (c *Carrier) Stepped(now time.Duration, number uint64, r *wire.StepAnswer) {
	f := c.land(number)
	if f == nil || f.kind != CarryStep {
		return
	}
	c.reached(f.group)
	if f.group == 0 {
		c.endMeta(now, f)
		return
	}
	if f.what == Chunk {
		c.far(f.group).refused, c.far(f.group).chunkAt = 0, 0
	}
	if len(r.Results) != len(f.carries) {
		c.lost(f)
		return
	}
	for i, k := range f.carries {
		if k.slot != r.Results[i].View.Slot {
			c.lost(f)
			return
		}
	}
	for i, k := range f.carries {
		k.stepped(now, c, f, i, r.ID.Index, &r.Results[i])
	}
}

// Viewed hands in the answer to a view.
func (c *Carrier) Viewed(now time.Duration, number uint64, r *wire.SlotViewAnswer) {
	f := c.land(number)
	if f == nil || f.kind != CarryView {
		return
	}
	c.reached(f.group)
	rows := make(map[shardmap.Slot]*shardmap.SlotView, len(r.Rows))
	for i := range r.Rows {
		rows[r.Rows[i].Slot] = &r.Rows[i]
	}
	for _, k := range f.carries {
		if v := rows[k.slot]; v != nil {
			s := k.side(f.group)
			s.unsure = false
			k.learn(now, c, s, r.At.Index, v, byView)
		}
	}
}

// Copied hands in copies of slots, and how each stood, as of one entry of the group's log:
// one for each slot of the action, in order; nil where the group does not have the slot.
func (c *Carrier) Copied(now time.Duration, number uint64, copies []*shardmap.SlotCopy, views []shardmap.SlotView, at raft.LogID) {
	f := c.land(number)
	if f == nil || f.kind != CarryCopy || len(copies) != len(f.carries) || len(views) != len(f.carries) {
		for _, o := range copies {
			if o != nil {
				o.Release()
			}
		}
		return
	}
	c.reached(f.group)
	for i, k := range f.carries {
		s := &k.source
		k.learn(now, c, s, at.Index, &views[i], byStep)
		if copies[i] == nil {
			continue
		}
		if k.gone || f.streams[i] != k.stream || k.paused && !k.sealed() {
			copies[i].Release()
			continue
		}
		k.take(now, c, copies[i], &views[i], at)
	}
}

// Ended hands in that an action has ended without an answer. A step to the meta group ends
// with a nil error when its entry is applied.
func (c *Carrier) Ended(now time.Duration, number uint64, err error) {
	f := c.land(number)
	if f == nil {
		return
	}
	if err == nil && f.kind == CarryStep && f.group == 0 {
		c.reached(0)
		c.endMeta(now, f)
		return
	}
	c.fail(now, f, err)
}

// Turn returns what is to be done now, and when to call it again at the latest.
func (c *Carrier) Turn(now time.Duration) (actions []CarryAction, next time.Duration) {
	if c.table == nil || c.table.Level < shardmap.MovesLevel {
		return nil, never
	}
	c.expire(now)
	if c.anew {
		c.anew = false
		c.read(now)
	}
	c.wake, c.due = never, map[errand][]*carry{}
	c.sweep(now)
	b := c.bill(now)
	for _, k := range c.order {
		k.consider(now, c, b)
	}
	c.send(now)
	c.haul(now)
	c.retain()
	for _, f := range c.flights {
		c.wake = min(c.wake, f.until)
	}
	actions, c.actions = c.actions, nil
	return actions, max(c.wake, now)
}

// read takes the moves that concern this node from the table.
func (c *Carrier) read(now time.Duration) {
	for i := range c.table.Moves {
		m := &c.table.Moves[i]
		_, source := c.leads[m.From]
		_, target := c.leads[m.To]
		if !source && !target {
			continue
		}
		if target {
			s := c.sweeps[m.To]
			s.moved, c.sweepAt = true, min(c.sweepAt, s.at)
		}
		j, _ := c.table.Job(m.Job)
		for s := m.SlotRange.From; s <= m.SlotRange.To; s++ {
			key := moveKey{s, m.Number}
			k := c.carries[key]
			if k == nil {
				k = c.carry(now, key, !source)
			}
			k.seen = c.table.Index
			one := *m
			one.SlotRange = shardmap.SlotRange{From: s, To: s}
			paused := j.State == shardmap.JobPaused
			if k.move != one || k.paused != paused {
				k.move, k.paused, k.sayAt = one, paused, 0
				k.source.group, k.target.group = m.From, m.To
				k.happened(now)
			}
		}
	}
	for _, k := range c.order {
		if k.seen != c.table.Index && k.move.State != Closed {
			k.move.State, k.sayAt = Closed, 0
			if b := k.target.view; b == nil || decisionOf(b, k.move.Number) == nil {
				k.target.unsure = true // it has decided, if only to refuse
			}
			k.happened(now)
		}
	}
	c.sort()
}

// carry begins with a move.
func (c *Carrier) carry(now time.Duration, key moveKey, helps bool) *carry {
	k := &carry{slot: key.slot, helps: helps, changed: now}
	k.move.Number = key.number
	c.carries[key] = k
	c.order = append(c.order, k)
	return k
}

func (c *Carrier) sort() {
	slices.SortFunc(c.order, func(a, b *carry) int {
		return cmp.Or(cmp.Compare(a.move.Number, b.move.Number), cmp.Compare(a.slot, b.slot))
	})
}

// drop forgets what is known of a move. If it still concerns this node it is read again.
func (c *Carrier) drop(k *carry) {
	c.forget(k)
	c.anew = true
}

// forget gives a carry up. It leaves the order with the next retain.
func (c *Carrier) forget(k *carry) {
	k.end()
	k.gone = true
	delete(c.carries, k.key())
}

// retain forgets moves that are over, or dropped. With a target that was removed its
// decision is gone.
func (c *Carrier) retain() {
	c.order = slices.DeleteFunc(c.order, func(k *carry) bool {
		if k.gone {
			return true
		}
		if !k.over() {
			if k.move.State != Closed {
				return false
			}
			if _, there := c.table.Group(k.move.To); there {
				return false
			}
		}
		c.forget(k)
		return true
	})
}
