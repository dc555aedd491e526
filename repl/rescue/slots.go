package rescue

import (
	"cmp"
	"fmt"
	"slices"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/shardmap"
)

// SlotRun is what the log of a group says, as a survivor has it, of slots about which it
// says the same.
type SlotRun struct {
	From    shardmap.Slot    `json:"from"`
	To      shardmap.Slot    `json:"to"` // included
	Holding shardmap.Holding `json:"holding,omitempty"`
	// Number and Target are of the move for which the slots are sealed.
	Number uint64       `json:"number,omitempty"`
	Target raft.GroupID `json:"target,omitempty"`
	Mark   uint64       `json:"mark,omitempty"`
	// Import and Source are of the move of which a copy is here.
	Import    uint64              `json:"import,omitempty"`
	Source    raft.GroupID        `json:"source,omitempty"`
	Decisions []shardmap.Decision `json:"decisions,omitempty"`
}

func (r *SlotRun) says(o *SlotRun) bool {
	return r.Holding == o.Holding && r.Number == o.Number && r.Target == o.Target && r.Mark == o.Mark &&
		r.Import == o.Import && r.Source == o.Source && slices.Equal(r.Decisions, o.Decisions)
}

// decision returns what was decided about a move; nil: nothing, or it was forgotten.
func (r *SlotRun) decision(n uint64) *shardmap.Decision {
	for i := range r.Decisions {
		if r.Decisions[i].Number == n {
			return &r.Decisions[i]
		}
	}
	return nil
}

// slotRuns returns what a state says of slots, but of those of which it says nothing.
func slotRuns(m repl.StateMachine) (runs []SlotRun) {
	own, ok := m.(*machine.Map)
	if !ok {
		return nil
	}
	for s := range shardmap.Slot(shardmap.Slots) {
		v := own.State.View(s)
		r := SlotRun{From: s, To: s, Holding: v.Holding, Number: v.Number, Target: v.Target, Mark: v.Mark, Import: v.Import.Number, Source: v.Import.Source, Decisions: v.Decisions}
		if r.says(&SlotRun{}) {
			continue
		}
		if n := len(runs); n > 0 && runs[n-1].To+1 == s && runs[n-1].says(&r) {
			runs[n-1].To = s
			continue
		}
		runs = append(runs, r)
	}
	return runs
}

// Steps that a group which is made anew takes as its state is made, in this order: each is
// an entry that might stand in its log.
const (
	// StepUnseal: the target has refused the move, and the group lost that it knew.
	StepUnseal = "unseal"
	// StepSeal: nobody serves the slot until the target of the move has decided, because
	// the group may have lost a seal that it had committed.
	StepSeal = "seal"
	// StepDrop: the slot went elsewhere, and the group lost that it knew.
	StepDrop = "drop"
)

var stepKinds = []struct {
	name string
	kind shardmap.CommandKind
}{{StepUnseal, shardmap.CommandUnseal}, {StepSeal, shardmap.CommandSeal}, {StepDrop, shardmap.CommandDrop}}

// PlanStep is a step about one slot.
type PlanStep struct {
	Step   string        `json:"step"`
	Slot   shardmap.Slot `json:"slot"`
	Number uint64        `json:"number"`
	Peer   raft.GroupID  `json:"peer"` // the target
}

// commands returns the commands of a group's steps, in the order in which they apply.
func (g *GroupPlan) commands() (all []shardmap.Command) {
	for _, k := range stepKinds {
		var steps []shardmap.Step
		for _, s := range g.Steps {
			if s.Step == k.name {
				step := shardmap.Step{Slot: s.Slot, Number: s.Number}
				if k.kind == shardmap.CommandSeal {
					step.Peer = s.Peer // the others name none
				}
				steps = append(steps, step)
			}
		}
		for some := range slices.Chunk(steps, shardmap.StepsMax) {
			all = append(all, shardmap.StepCommand(k.kind, some))
		}
	}
	return all
}

// take applies the steps to the state with which a group begins anew: as the last entries
// in front of where its log begins, which is so far ahead that there is room.
func (g *GroupPlan) take(m repl.StateMachine) error {
	own, ok := m.(*machine.Map)
	commands := g.commands()
	if !ok || len(commands) == 0 {
		return nil
	}
	for i := range commands {
		id := g.Base.raft()
		id.Index -= uint64(len(commands) - 1 - i)
		if _, err := own.State.Apply(id, raft.GroupTime(g.Time), &commands[i]); err != nil {
			return fmt.Errorf("take the steps of %s: %w", g.Group, err)
		}
		for _, r := range own.State.StepResults() {
			if r.Outcome != shardmap.StepDone {
				return fmt.Errorf("%s of slot %d in %s has no effect: outcome %d: %w", commands[i].Kind, r.View.Slot, g.Group, r.Outcome, ErrNotNow)
			}
		}
	}
	return nil
}

// claim is what one group has of a slot.
type claim struct {
	group  raft.GroupID
	anew   bool // the group begins anew, so that it may have lost what came last, and can be changed
	says   SlotRun
	number uint64 // of what it was given or sealed by; the higher is the newer
}

// newer reports whether a group has the slot by something that came later than what the
// other one has it by. A target that took it over came after the seal of that move.
func (c *claim) newer(o *claim) bool {
	if c.number != o.number {
		return (c.number > o.number) != bug("a lost seal beats a takeover")
	}
	return o.says.Holding == shardmap.HoldsSealed
}

// settling decides, slot by slot, what becomes of slots that were moving. A group that
// begins anew may have lost the seal of a slot, which its target has taken over since; or
// a takeover, and the source has forgotten the slot. So:
//
//   - Of several groups that have a slot, the one with the highest number is right: it took
//     the slot over last. The others have lost that they gave it away.
//   - A slot is sealed in a group that begins anew if any move of it from there is open.
//     The move is cancelled: the target has to refuse it, or has taken the slot over, by an
//     entry of its own log, before the source serves the slot again.
//   - A slot that nobody has is listed, for a person.
type settling struct {
	s     *surveyed
	plan  *Plan
	table *shardmap.Table
	moves []shardmap.Move // of the table that is made, one slot each
	slots [shardmap.Slots]raft.GroupID
	nobody,
	doubted []shardmap.Slot
}

// settle decides about all slots. Below the level of moves there is nothing to decide. The
// error is about a report of a build that said nothing of slots.
func (s *surveyed) settle(p *Plan) (*settling, error) {
	x := &settling{s: s, plan: p, table: s.table, slots: s.table.Slots}
	if s.table.Level < shardmap.MovesLevel {
		return x, nil
	}
	for _, r := range s.reports {
		if !r.TellsSlots {
			return nil, fmt.Errorf("make a plan: %w: the report of node %s does not say what it has of slots: make it anew, with the muster that runs there", ErrNotNow, r.Node)
		}
	}
	claims := x.claims()
	known := map[shardmap.Slot][]shardmap.Move{}
	for _, m := range s.table.Moves {
		for slot := m.SlotRange.From; slot <= m.SlotRange.To; slot++ {
			one := m
			one.SlotRange = shardmap.SlotRange{From: slot, To: slot}
			known[slot] = append(known[slot], one)
		}
	}
	for slot := range shardmap.Slot(shardmap.Slots) {
		x.slot(slot, claims[slot], known[slot])
	}
	for i := range p.Groups {
		slices.SortFunc(p.Groups[i].Steps, func(a, b PlanStep) int { return cmp.Compare(a.Slot, b.Slot) })
	}
	for _, list := range []struct {
		into  *[]string
		slots []shardmap.Slot
	}{{&p.Nobody, x.nobody}, {&p.Doubted, x.doubted}} {
		for _, r := range shardmap.SlotRanges(list.slots) {
			*list.into = append(*list.into, r.String())
		}
	}
	return x, nil
}

// claims returns what the chosen logs say of each slot.
func (x *settling) claims() (all [shardmap.Slots][]claim) {
	for i := range x.plan.Groups {
		g := &x.plan.Groups[i]
		best := x.s.best(g.Group, g.Was)
		if g.Group == 0 || best == nil {
			continue
		}
		for _, r := range best.group(g.Group, g.Was).Slots {
			number := r.Mark
			if r.Holding == shardmap.HoldsSealed {
				number = r.Number
			}
			for slot := r.From; slot <= min(r.To, shardmap.Slots-1); slot++ {
				all[slot] = append(all[slot], claim{g.Group, g.Action == Renew, r, number})
			}
		}
	}
	return all
}

// unfounded reports whether a group has not begun yet: it takes its first slots when it
// does.
func (x *settling) unfounded(id raft.GroupID) bool {
	row, _ := x.table.Group(id)
	best := x.s.best(id, uint64(row.Incarnation))
	return best != nil && len(best.group(id, uint64(row.Incarnation)).Slots) == 0 && len(row.FirstSlots) > 0
}

// step has a group take a step.
func (x *settling) step(id raft.GroupID, s PlanStep) {
	i := slices.IndexFunc(x.plan.Groups, func(g GroupPlan) bool { return g.Group == id })
	x.plan.Groups[i].Steps = append(x.plan.Groups[i].Steps, s)
}

// action is what becomes of a group; "" if the table has none such.
func (x *settling) action(id raft.GroupID) string {
	i := slices.IndexFunc(x.plan.Groups, func(g GroupPlan) bool { return g.Group == id })
	if i < 0 {
		return ""
	}
	return x.plan.Groups[i].Action
}

// slot decides about one slot.
func (x *settling) slot(s shardmap.Slot, claims []claim, moves []shardmap.Move) {
	of := func(g raft.GroupID) *claim {
		for i := range claims {
			if claims[i].group == g {
				return &claims[i]
			}
		}
		return &claim{group: g}
	}
	var newest *claim
	for i := range claims {
		if c := &claims[i]; c.says.Holding != shardmap.HoldsNothing && (newest == nil || c.newer(newest)) {
			newest = c
		}
	}
	if newest == nil {
		// Nobody has it. A group of which nothing is left may have had it.
		if owner := x.table.Slots[s]; owner != 0 && x.action(owner) != Leave && x.action(owner) != Refound && !x.unfounded(owner) {
			x.nobody = append(x.nobody, s)
		}
		return // and what moves there were have nothing to move
	}
	x.slots[s] = newest.group
	for i := range claims {
		if c := &claims[i]; c != newest && c.says.Holding != shardmap.HoldsNothing {
			moves = x.stale(s, c, newest, of, moves)
		}
	}
	moves = x.newest(s, newest, of, moves)
	x.moves = append(x.moves, moves...)
}

// stale decides about a slot in a group that has given it away, and lost that it did.
func (x *settling) stale(s shardmap.Slot, c, newest *claim, of func(raft.GroupID) *claim, moves []shardmap.Move) []shardmap.Move {
	n := c.number
	if c.says.Holding == shardmap.HoldsSealed {
		if d := of(c.says.Target).says.decision(n); d != nil && d.Taken {
			// The target still says what it decided, and whoever runs the move goes on.
			return x.keep(moves, shardmap.Move{SlotRange: shardmap.SlotRange{From: s, To: s}, Number: n, From: c.group, To: c.says.Target, State: shardmap.MoveOpen})
		}
	}
	switch {
	case !c.anew:
		x.doubted = append(x.doubted, s)
		return moves
	case c.says.Holding == shardmap.HoldsSealed:
		x.step(c.group, PlanStep{StepDrop, s, n, c.says.Target})
		return moves
	}
	n = newest.number
	d := newest.says.decision(n)
	x.step(c.group, PlanStep{StepSeal, s, n, newest.group})
	if newest.anew || d == nil || x.table.Slots[s] == newest.group {
		// The takeover is certain: all of that log is kept, or it was recorded.
		x.step(c.group, PlanStep{StepDrop, s, n, newest.group})
		return moves
	}
	// The newest log has the takeover, and it may not be committed: that group decides.
	x.slots[s] = c.group
	return x.keep(moves, shardmap.Move{SlotRange: shardmap.SlotRange{From: s, To: s}, Number: n, From: c.group, To: newest.group, State: shardmap.MoveOpen, Cancelled: true})
}

// newest decides about a slot in the group that has it, and what of its moves is left.
func (x *settling) newest(s shardmap.Slot, c *claim, of func(raft.GroupID) *claim, moves []shardmap.Move) []shardmap.Move {
	one := shardmap.SlotRange{From: s, To: s}
	holding := c.says.Holding
	if holding == shardmap.HoldsSealed {
		n, target := c.says.Number, of(c.says.Target)
		d := target.says.decision(n)
		switch {
		case d == nil && target.says.Mark >= n && c.anew:
			// It was refused and closed, and the group lost that it has the slot back.
			x.step(c.group, PlanStep{StepUnseal, s, n, target.group})
			holding = shardmap.HoldsOwned
		case d == nil && target.says.Mark >= n:
			x.doubted = append(x.doubted, s)
		default:
			// The target decides, anew if it lost its decision.
			moves = x.keep(moves, shardmap.Move{SlotRange: one, Number: n, From: c.group, To: c.says.Target, State: shardmap.MoveOpen})
			for i := range moves {
				if moves[i].Number == n && d == nil && !bug("a lost takeover stays recorded") {
					moves[i].State = shardmap.MoveOpen
				}
			}
		}
	}
	// Moves from here of which the table lost the beginning are known by what is at their
	// targets.
	for _, g := range x.plan.Groups {
		if t := of(g.Group); t.says.Import != 0 && t.says.Source == c.group && t.says.Import > c.says.Mark {
			moves = x.keep(moves, shardmap.Move{SlotRange: one, Number: t.says.Import, From: c.group, To: t.group, State: shardmap.MoveOpen, Cancelled: true})
		}
	}
	left := moves[:0:0]
	for _, m := range moves {
		from, to := of(m.From), of(m.To)
		d := to.says.decision(m.Number)
		switch {
		case m.State == shardmap.MoveOpen && d != nil && d.Taken:
			x.slots[s] = m.From // until whoever runs the move records that it is taken
		case m.State == shardmap.MoveOpen && m.From == x.slots[s]:
			if m.From == c.group && c.anew && holding == shardmap.HoldsOwned && c.says.Mark < m.Number && !bug("served before the target has decided") {
				// It may have been sealed. As long as the target has not decided, nobody
				// may serve it.
				x.step(c.group, PlanStep{StepSeal, s, m.Number, m.To})
				m.Cancelled = true
			}
		case m.State == shardmap.MoveTaken && m.From != x.slots[s] && (d != nil || from.says.Holding == shardmap.HoldsSealed && from.says.Number == m.Number):
			// The source has still to drop the slot, or the target to forget.
		default:
			continue // nothing is left of it
		}
		left = append(left, m)
	}
	return left
}

// keep adds a move unless it is among those of the table, and says that it is cancelled.
func (x *settling) keep(moves []shardmap.Move, m shardmap.Move) []shardmap.Move {
	for i := range moves {
		// There is one open move of a slot: what another one left waits for the next.
		if moves[i].Number == m.Number || moves[i].State == shardmap.MoveOpen {
			return moves
		}
	}
	if x.action(m.To) == "" || x.action(m.From) == "" {
		return moves // such a group is not made anew, and was removed
	}
	m.Cancelled = true // no job wants it
	return append(moves, m)
}
