package sim

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// Slots move, by what people order, and groups come and go with them: the carriers of
// package repl/mover do the rest, as they do in a process. Slots go back and forth, alone
// and many at once, orders contradict each other, and jobs are paused and cancelled at any
// step. Once all that is over each move must have ended (I12), each slot be served by
// exactly one group, which is the one that the table names (I11), and nothing be left of
// the moves.

const (
	// slotsEvery is how many runs there are for each in which slots move.
	slotsEvery = 6
	// groupsMax bounds the groups that a run ever has, those that were removed included.
	groupsMax = 6
	// besideMax is how many slots without keys a run has after each that has some: so runs of
	// slots move too, and slots that are empty.
	besideMax = 2
	// regretEvery is how many seals there are for each behind which people cancel the job, if
	// they do so at all.
	regretEvery = 2
	// clearsEvery is how many runs in which slots move there are for each in which clients delete prefixes of slots that are
	// about to be sealed.
	clearsEvery = 2
	// noMove is no move's number: group 0 was founded by that entry, or later.
	noMove = 1
	// deadNever is after how long a node is dead in runs in which none is replaced.
	deadNever = "24h"
)

// shuffle orders groups and slots.
type shuffle struct {
	c      *cluster
	active bool
	clears bool   // clients that rush to a slot also delete its prefixes
	own    chance // of clears
	pace   time.Duration
	last   []shardmap.SlotTarget    // of the last order that moved slots
	table  *shardmap.Table          // the newest; nil before the founding
	moves  map[moveID]shardmap.Move // that are not closed, by the newest table

	command shardmap.Command // read last; see sealing
}

// moveID names a move.
type moveID struct {
	slot   shardmap.Slot
	number uint64
}

// draw decides whether slots move in the run. It draws from a chance of its own: runs in
// which none do are as if there were no such fault.
func (x *shuffle) draw(c *cluster) {
	own := chance(c.options.Seed*0xd1342543de82ef95 + 7)
	x.c = c
	x.active = c.options.has(Slots, own.below(slotsEvery) == 0)
	x.clears = x.active && own.below(clearsEvery) == 0
	x.own = own
	x.moves = map[moveID]shardmap.Move{}
}

// init begins the orders.
func (x *shuffle) init() {
	if !x.active {
		return
	}
	c := x.c
	x.pace = c.chance.skewed(500*time.Millisecond, 15*time.Second)
	c.note(0, "an order about slots every %s", x.pace)
	x.plan()
}

func (x *shuffle) plan() { x.c.order.call(x.c.chance.between(0, 2*x.pace), x.happen) }

// beside adds slots without keys beside those of the tags.
func (x *shuffle) beside() {
	if !x.active {
		return
	}
	c := x.c
	for _, s := range slices.Clone(c.lives.slots) {
		g := c.lives.founder(s)
		for i := range shardmap.Slot(c.chance.below(besideMax + 1)) {
			if o := s + 1 + i; o < shardmap.Slots && c.lives.founder(o) == g && !slices.Contains(c.lives.slots, o) {
				c.slots[g], c.lives.slots = append(c.slots[g], o), append(c.lives.slots, o)
			}
		}
	}
	slices.Sort(c.lives.slots)
}

// happen gives the next order.
func (x *shuffle) happen() {
	c, rnd := x.c, &x.c.chance
	if c.chaos.stopped {
		return
	}
	x.plan()
	t := c.newestTable()
	if t == nil || x.spareDead(t) || t.Level < shardmap.MovesLevel {
		return
	}
	group := func() raft.GroupID { return t.Groups[rnd.below(len(t.Groups))].ID }
	slot := func() shardmap.Slot { return c.lives.slots[rnd.below(len(c.lives.slots))] }
	switch rnd.below(16) {
	case 0, 1:
		x.create(t)
	case 2, 15:
		x.remove(t)
	case 3, 4, 5:
		s := slot()
		x.order(shardmap.JobMove, shardmap.SlotTarget{SlotRange: shardmap.SlotRange{From: s, To: s}, To: group()})
	case 6, 7: // a slot with those beside it
		s := slot()
		to := s
		for slices.Contains(c.lives.slots, to+1) {
			to++
		}
		x.order(shardmap.JobMove, shardmap.SlotTarget{SlotRange: shardmap.SlotRange{From: s, To: to}, To: group()})
	case 8: // all that one group has
		from, to := group(), group()
		var all []shardmap.SlotTarget
		for _, s := range c.lives.slots {
			if t.Slots[s] == from {
				all = append(all, shardmap.SlotTarget{SlotRange: shardmap.SlotRange{From: s, To: s}, From: from, To: to})
			}
		}
		x.order(shardmap.JobMove, all...)
	case 9: // as a plan would have it
		var some []shardmap.SlotTarget
		for _, s := range c.lives.slots {
			if rnd.below(3) == 0 {
				some = append(some, shardmap.SlotTarget{SlotRange: shardmap.SlotRange{From: s, To: s}, From: t.Slots[s], To: group()})
			}
		}
		x.order(shardmap.JobRebalance, some...)
	case 10:
		s := slot()
		x.order(shardmap.JobAssign, shardmap.SlotTarget{SlotRange: shardmap.SlotRange{From: s, To: s}, To: group()})
	case 11: // back again
		var back []shardmap.SlotTarget
		for _, to := range x.last {
			back = append(back, shardmap.SlotTarget{SlotRange: to.SlotRange, To: c.lives.owner(to.SlotRange.From)})
		}
		x.order(shardmap.JobMove, back...)
	case 12:
		v := []string{"1", "2", "512"}[rnd.below(3)]
		x.c.order.give(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "slot-parallel", Value: v}))
	default:
		for i := range t.Jobs {
			if j := &t.Jobs[i]; j.Kind.AboutSlots() && !j.State.Finished() && rnd.below(2) == 0 {
				s := []shardmap.JobState{shardmap.JobPaused, shardmap.JobRunning, shardmap.JobCancelled}[rnd.below(3)]
				c.note(0, "order: job %d (%s) is to be %s", j.ID, j.Kind, s)
				c.order.give(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: j.ID, State: s}))
			}
		}
	}
}

// spareDead has nodes whose disks are damaged for good stay what they are: to replace them
// is another fault. By the setting's default a job that replaces such a node would begin
// five minutes after it was last heard of, which is when [movedWithin] is over. It reports
// whether that is still to be ordered.
func (x *shuffle) spareDead(t *shardmap.Table) bool {
	if v, _ := t.Setting("dead-after"); !x.active || x.c.order.people || v == deadNever || t.Level < 3 {
		return false
	}
	x.c.order.give(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "dead-after", Value: deadNever}))
	return true
}

func (x *shuffle) order(k shardmap.JobKind, targets ...shardmap.SlotTarget) {
	x.c.note(0, "order: %s %v", k, targets)
	x.last = targets
	x.c.order.give(shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: k, Targets: targets}))
}

// create has a group made. No id is given twice: a log id names its group by that alone.
func (x *shuffle) create(t *shardmap.Table) {
	if g := raft.GroupID(len(x.c.truth)); g <= groupsMax {
		x.c.note(0, "order: group %d is to be made", g)
		x.c.order.give(shardmap.AppendGroupCreate(nil, &shardmap.GroupCreate{Group: g}))
	}
}

// remove has a group removed, mostly one that owns nothing: it may be on its way to.
func (x *shuffle) remove(t *shardmap.Table) {
	g := t.Groups[x.c.chance.below(len(t.Groups))].ID
	for i := range t.Groups {
		if o := t.Groups[i].ID; int(o) > x.c.options.Groups && !slices.Contains(t.Slots[:], o) && x.c.chance.below(2) == 0 {
			g = o
		}
	}
	x.c.note(0, "order: group %d is to be removed", g)
	x.c.order.give(shardmap.AppendGroupRemove(nil, &shardmap.GroupRemove{Group: g}))
}

// groups notes which groups a table has, if it is newer than those before.
func (x *shuffle) groups(t *shardmap.Table) {
	c := x.c
	if !x.active || !t.Founded() || t.Index <= c.tableAt {
		return
	}
	c.tableAt = t.Index
	for _, truth := range c.truth[1:] {
		if _, ok := t.Group(truth.group); truth.there() && !ok {
			truth.gone = true
			c.note(0, "group %d is gone", truth.group)
		}
	}
	for i := range t.Groups {
		row := &t.Groups[i]
		for len(c.truth) <= int(row.ID) {
			c.truth = append(c.truth, newTruth(c, raft.GroupID(len(c.truth))))
		}
		switch truth := c.truth[row.ID]; {
		case truth.gone:
			c.fail("group %d is there again, with incarnation %d, after it was removed with %d", row.ID, row.Incarnation, truth.incarnation)
		case !truth.made:
			truth.begin(row)
			c.note(0, "there is group %d: %s", row.ID, describe(truth.founded))
		}
	}
	x.watch(t)
}

// change is a step of a move at group 0.
type change struct {
	moveID
	step string
}

// watch compares the moves of a table with those of the table before.
func (x *shuffle) watch(t *shardmap.Table) {
	moves := map[moveID]shardmap.Move{}
	var changed []change
	recorded := false
	for _, m := range t.Moves {
		for s := m.SlotRange.From; s <= m.SlotRange.To; s++ {
			id := moveID{s, m.Number}
			moves[id] = m
			was, ok := x.moves[id]
			switch {
			case !ok:
				if changed = append(changed, change{id, "begin"}); m.Number != t.Index {
					x.c.fail("I11: by entry %d of group 0 move %d of slot %d begins: a move's number is the entry that begins it", t.Index, m.Number, s)
				}
			case m.State != was.State:
				changed = append(changed, change{id, "record"})
				recorded = true
			case m.Cancelled != was.Cancelled:
				changed = append(changed, change{id, "flag"})
			}
		}
	}
	for id := range x.moves {
		if _, ok := moves[id]; !ok {
			changed = append(changed, change{id, "close"})
		}
	}
	slices.SortFunc(changed, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.slot, b.slot), cmp.Compare(a.number, b.number))
	})
	if x.table != nil {
		if steps := x.c.options.Moves; steps != nil {
			steps.Table(x.table, t)
		}
		if t.Epoch != x.table.Epoch && x.table.Epoch != 0 && !recorded {
			x.c.fail("I11: by entry %d of group 0 slots are another group's, and no open move is recorded", t.Index)
		}
	}
	x.moves, x.table = moves, t
	for _, o := range changed {
		x.note(o.slot, o.step, o.number, 0, true)
	}
}

// stepped notes a step in the log of a data group, when it is applied for the first time.
func (x *shuffle) stepped(t *truth, k shardmap.CommandKind, number uint64, o *stepOutcome) {
	x.note(o.slot, k.String(), number, t.group, o.done)
	if k == shardmap.CommandSeal && o.done && x.c.options.Regret && x.c.chance.below(regretEvery) == 0 {
		job := x.moves[moveID{o.slot, number}].Job
		x.c.order.call(0, func() {
			x.c.note(0, "order: job %d is to be cancelled, behind a seal", job)
			x.c.order.give(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: job, State: shardmap.JobCancelled}))
		})
	}
}

// answered records what a map has made of the command that its group's model took last.
func (x *shuffle) answered(t *truth, results []shardmap.StepResult) {
	command := &t.model.command
	if x.c.options.Moves == nil {
		return
	}
	if steps, err := shardmap.ReadSteps(command); err == nil && steps[0].Number == noMove {
		return // of a probe
	}
	if err := x.c.options.Moves.Applied(t.group, command, results); err != nil {
		x.c.fail("group %d has applied what can't be read: %v", t.group, err)
	}
}

func (x *shuffle) note(s shardmap.Slot, step string, number uint64, group raft.GroupID, done bool) {
	if done {
		x.c.result.Fired[Slots]++
	}
	x.c.note(0, "slot %d: %s %d of group %d, done %v", s, step, number, group, done)
}

// settled reports whether nothing is left of any move, by the table and by what the
// leaders have.
func (x *shuffle) settled(t *shardmap.Table) bool {
	if !x.active {
		return true
	}
	if len(t.Moves) > 0 {
		return false
	}
	for _, truth := range x.c.truth[1:] {
		if !truth.there() {
			continue
		}
		for _, h := range truth.model.holds {
			if h.sealed.Number != 0 || h.imported.Number != 0 || len(h.decisions) > 0 {
				return false
			}
		}
	}
	return true
}

// check checks, once all is over, that each slot is served by one group, by that which the
// table names, on each replica (I11), and that nothing is left of the moves (I12).
func (x *shuffle) check() {
	c := x.c
	if !x.active {
		return
	}
	table := c.newestTable()
	for _, s := range c.lives.slots {
		l := c.lives.of(s)
		if !l.servedBy(table.Slots[s]) {
			c.fail("I11: by the table slot %d is of group %d; it was served %v", s, table.Slots[s], l.spans)
		}
		for _, n := range c.nodes {
			for g := 1; g < len(c.truth) && !n.dead; g++ {
				w, ok := n.host.Machine(raft.GroupID(g)).(*watched)
				if !ok {
					continue
				}
				v := w.state.State.View(s)
				if (v.Holding == shardmap.HoldsOwned) != (table.Slots[s] == w.replica.Group) || v.Holding == shardmap.HoldsSealed || v.Import.Number != 0 || len(v.Decisions) > 0 {
					c.fail("I12: after all has ended n%d has of slot %d, which is of group %d, in group %d: %+v", n.index, s, table.Slots[s], g, v)
				}
			}
		}
	}
}

// picture describes what is under way, for a failure.
func (x *shuffle) picture() (s string) {
	t := x.c.newestTable()
	if !x.active || t == nil {
		return ""
	}
	for _, m := range t.Moves {
		s += fmt.Sprintf("move %d of slots %s from group %d to %d: %s, cancelled %v, job %d\n", m.Number, m.SlotRange, m.From, m.To, m.State, m.Cancelled, m.Job)
	}
	for _, truth := range x.c.truth[1:] {
		for slot, h := range truth.model.holds {
			if h.sealed.Number != 0 || h.imported.Number != 0 || len(h.decisions) > 0 {
				s += fmt.Sprintf("    group %d, slot %d: %+v\n", truth.group, slot, truth.model.view(truth, slot))
			}
		}
	}
	return s
}
