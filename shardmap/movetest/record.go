// Package movetest tells whether groups move a slot as the model does.
//
// The model is docs/moves/slotmove.pml. A [Recorder] notes what group 0 and the maps of data
// groups did, in the order in which they did it; [Follow] has spin go through the same steps
// in the model, and compares what each step did, and what the group holds behind it.
//
// It makes no moves; tests of carriers and clusters do. Start with [Recorder].
package movetest

import (
	"cmp"
	"slices"

	"muster/raft"
	"muster/shardmap"
)

// Recorder makes the traces of all slots. Tell it of each entry once, in an order in which
// they were applied: an entry that was proposed because of another comes behind it.
type Recorder struct {
	slots map[shardmap.Slot]*Trace
}

// Trace is what became of one slot.
type Trace struct {
	Slot  shardmap.Slot
	owner raft.GroupID // before the first move
	steps []step
}

type tableStep uint8

const (
	begin tableStep = iota + 1
	flag
	record
	closing
	removal // of a group that had to do with the slot
)

// step is an entry, as far as it is about one slot.
type step struct {
	table tableStep     // of group 0; 0: of a data group
	move  shardmap.Move // of group 0: as it left it, of a close as it was

	group  raft.GroupID // that applied it, or that was removed
	kind   shardmap.CommandKind
	step   shardmap.Step  // of all but a chunk
	piece  shardmap.Piece // of a chunk
	result shardmap.StepResult
}

type moveID struct {
	slot   shardmap.Slot
	number uint64
}

func movesOf(t *shardmap.Table) map[moveID]shardmap.Move {
	all := map[moveID]shardmap.Move{}
	for _, m := range t.Moves {
		for s := m.SlotRange.From; s <= m.SlotRange.To; s++ {
			all[moveID{s, m.Number}] = m
		}
	}
	return all
}

func (r *Recorder) add(s shardmap.Slot, owner raft.GroupID, o step) {
	if r.slots == nil {
		r.slots = map[shardmap.Slot]*Trace{}
	}
	if r.slots[s] == nil {
		r.slots[s] = &Trace{Slot: s, owner: owner}
	}
	r.slots[s].steps = append(r.slots[s].steps, o)
}

// Table notes one entry of group 0, which made one table into another.
func (r *Recorder) Table(old, table *shardmap.Table) {
	before, after := movesOf(old), movesOf(table)
	for id, m := range before {
		if _, ok := after[id]; !ok {
			r.add(id.slot, 0, step{table: closing, move: m})
		}
	}
	for id, m := range after {
		was, ok := before[id]
		switch {
		case !ok:
			r.add(id.slot, m.From, step{table: begin, move: m})
		case was.State != m.State:
			r.add(id.slot, 0, step{table: record, move: m})
		case was.Cancelled != m.Cancelled:
			r.add(id.slot, 0, step{table: flag, move: m})
		}
	}
	for i := range old.Groups {
		g := old.Groups[i].ID
		if _, ok := table.Group(g); ok {
			continue
		}
		for s, t := range r.slots {
			if t.names(g) {
				r.add(s, 0, step{table: removal, group: g})
			}
		}
	}
}

// names reports whether a move of the trace is from a group or to it.
func (t *Trace) names(g raft.GroupID) bool {
	return slices.ContainsFunc(t.steps, func(s step) bool { return s.table == begin && (s.move.From == g || s.move.To == g) })
}

// Applied notes that a data group has applied a command that moves slots, with the results.
func (r *Recorder) Applied(group raft.GroupID, c *shardmap.Command, results []shardmap.StepResult) error {
	if c.Kind == shardmap.CommandChunk {
		pieces, err := shardmap.ReadPieces(c)
		for i, p := range pieces {
			p.Content = nil
			r.add(p.Slot, 0, step{group: group, kind: c.Kind, piece: p, result: kept(results[i])})
		}
		return err
	}
	steps, err := shardmap.ReadSteps(c)
	for i, s := range steps {
		r.add(s.Slot, 0, step{group: group, kind: c.Kind, step: s, result: kept(results[i])})
	}
	return err
}

// kept returns a result that stays what it is.
func kept(r shardmap.StepResult) shardmap.StepResult {
	r.View.Decisions = slices.Clone(r.View.Decisions)
	return r
}

// Traces returns a trace for each slot that has moved.
func (r *Recorder) Traces() (all []Trace) {
	for _, t := range r.slots {
		all = append(all, *t)
	}
	slices.SortFunc(all, func(a, b Trace) int { return cmp.Compare(a.Slot, b.Slot) })
	return all
}
