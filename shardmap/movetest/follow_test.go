package movetest

import (
	"errors"
	"strings"
	"testing"

	"muster/raft"
	"muster/shardmap"
)

// byHand is a trace of moves of one slot from group 1 to group 2, as the groups' logs have it.
type byHand struct {
	trace Trace
	move  shardmap.Move
}

func newByHand() *byHand {
	return &byHand{trace: Trace{Slot: 7, owner: 1}, move: shardmap.Move{SlotRange: shardmap.SlotRange{From: 7, To: 7}, Number: 40, From: 1, To: 2, State: shardmap.MoveOpen}}
}

func (h *byHand) table(k tableStep) {
	switch k {
	case flag:
		h.move.Cancelled = true
	case record:
		h.move.State = shardmap.MoveTaken
	}
	h.trace.steps = append(h.trace.steps, step{table: k, move: h.move})
}

func (h *byHand) remove(g raft.GroupID) {
	h.trace.steps = append(h.trace.steps, step{table: removal, group: g})
}

func (h *byHand) step(g raft.GroupID, k shardmap.CommandKind, s shardmap.Step, v shardmap.SlotView) {
	s.Slot, s.Number = 7, h.move.Number
	h.trace.steps = append(h.trace.steps, step{group: g, kind: k, step: s, result: shardmap.StepResult{Outcome: shardmap.StepDone, View: v}})
}

func (h *byHand) chunk(p shardmap.Piece, v shardmap.SlotView) {
	p.Slot, p.Number, p.Attempt = 7, h.move.Number, shardmap.Attempt{Term: 3, Number: 1}
	v.Import.Number, v.Import.Source, v.Import.Attempt = h.move.Number, 1, p.Attempt
	h.trace.steps = append(h.trace.steps, step{group: 2, kind: shardmap.CommandChunk, piece: p, result: shardmap.StepResult{Outcome: shardmap.StepDone, View: v}})
}

var (
	first  = raft.LogID{Term: 3, Index: 50}
	second = raft.LogID{Term: 3, Index: 60} // of the seal
)

func sealedView() shardmap.SlotView {
	return shardmap.SlotView{Holding: shardmap.HoldsSealed, Number: 40, Target: 2, Sealed: second, Digest: 99, Mark: 40, Keys: 1, Bytes: 1}
}

func decided(h shardmap.Holding, taken bool) shardmap.SlotView {
	return shardmap.SlotView{Holding: h, Mark: 40, Decisions: []shardmap.Decision{{Number: 40, Taken: taken, Source: 1}}}
}

// toSeal is a move up to its seal, and after that the rest of the slot if whole.
func (h *byHand) toSeal() {
	h.table(begin)
	h.chunk(shardmap.Piece{To: first, More: true}, shardmap.SlotView{Import: shardmap.ImportView{Chunks: 1, Partial: true}})
	h.chunk(shardmap.Piece{To: first, Index: 1}, shardmap.SlotView{Import: shardmap.ImportView{Chunks: 2, At: first, Digest: 98}})
	h.step(1, shardmap.CommandSeal, shardmap.Step{Peer: 2}, sealedView())
}

func (h *byHand) rest() {
	h.chunk(shardmap.Piece{From: first, To: second, Index: 2}, shardmap.SlotView{Import: shardmap.ImportView{Chunks: 3, At: second, Digest: 99}})
}

func (h *byHand) takeover(at raft.LogID, chunks, digest uint64) {
	h.step(2, shardmap.CommandTakeover, shardmap.Step{Peer: 1, At: at, Chunks: chunks, Digest: digest}, decided(shardmap.HoldsOwned, true))
}

// The model takes what groups may do and refuses what they may not, whatever it is that
// differs: the guards at the entry, whose turn it is, and what a group holds afterwards.
func TestFollow(t *testing.T) {
	cases := []struct {
		name   string
		refuse bool
		make   func(h *byHand)
	}{
		{"a move", false, func(h *byHand) {
			h.toSeal()
			h.rest()
			h.takeover(second, 3, 99)
			h.table(record)
			h.step(1, shardmap.CommandDrop, shardmap.Step{}, shardmap.SlotView{Mark: 40})
			h.table(closing)
			h.step(2, shardmap.CommandForget, shardmap.Step{}, shardmap.SlotView{Holding: shardmap.HoldsOwned, Mark: 40})
		}},
		{"a move that is cancelled behind its seal", false, func(h *byHand) {
			h.toSeal()
			h.table(flag)
			h.step(2, shardmap.CommandRefuse, shardmap.Step{Peer: 1}, decided(shardmap.HoldsNothing, false))
			h.step(1, shardmap.CommandUnseal, shardmap.Step{}, shardmap.SlotView{Holding: shardmap.HoldsOwned, Mark: 40})
			h.table(closing)
		}},
		{"a former owner is removed", false, func(h *byHand) {
			h.toSeal()
			h.rest()
			h.takeover(second, 3, 99)
			h.table(record)
			h.step(1, shardmap.CommandDrop, shardmap.Step{}, shardmap.SlotView{Mark: 40})
			h.table(closing)
			h.remove(1)
		}},
		{"a source is removed before the move is closed", true, func(h *byHand) {
			h.toSeal()
			h.rest()
			h.takeover(second, 3, 99)
			h.table(record)
			h.step(1, shardmap.CommandDrop, shardmap.Step{}, shardmap.SlotView{Mark: 40})
			h.remove(1)
		}},
		{"the owner is removed", true, func(h *byHand) {
			h.toSeal()
			h.rest()
			h.takeover(second, 3, 99)
			h.table(record)
			h.step(1, shardmap.CommandDrop, shardmap.Step{}, shardmap.SlotView{Mark: 40})
			h.table(closing)
			h.remove(2)
		}},
		{"two deciders", true, func(h *byHand) {
			h.toSeal()
			h.table(flag)
			h.step(1, shardmap.CommandUnseal, shardmap.Step{}, shardmap.SlotView{Holding: shardmap.HoldsOwned, Mark: 40})
		}},
		{"the target serves early", true, func(h *byHand) {
			h.toSeal()
			h.takeover(second, 3, 99)
		}},
		{"a takeover of another digest", true, func(h *byHand) {
			h.toSeal()
			h.rest()
			h.takeover(second, 3, 98)
		}},
		{"a takeover of fewer pieces", true, func(h *byHand) {
			h.toSeal()
			h.rest()
			h.takeover(second, 2, 99)
		}},
		{"a takeover at another log id", true, func(h *byHand) {
			h.toSeal()
			h.rest()
			h.takeover(first, 3, 99)
		}},
		{"the source deletes first", true, func(h *byHand) {
			h.toSeal()
			h.rest()
			h.step(1, shardmap.CommandDrop, shardmap.Step{}, shardmap.SlotView{Mark: 40})
		}},
		{"a piece is left out", true, func(h *byHand) {
			h.toSeal()
			h.chunk(shardmap.Piece{From: first, To: second, Index: 3}, shardmap.SlotView{Import: shardmap.ImportView{Chunks: 4, At: second, Digest: 99}})
		}},
		{"a group has another mark", true, func(h *byHand) {
			h.toSeal()
			v := sealedView()
			v.Mark = 0
			h.trace.steps[len(h.trace.steps)-1].result.View = v
		}},
		{"one log id, two digests", true, func(h *byHand) {
			h.toSeal()
			h.rest()
			h.trace.steps[len(h.trace.steps)-1].result.View.Import.Digest = 97
		}},
		{"a close before the drop", true, func(h *byHand) {
			h.toSeal()
			h.rest()
			h.takeover(second, 3, 99)
			h.table(record)
			h.table(closing)
		}},
	}
	for _, c := range cases {
		h := newByHand()
		c.make(h)
		err := Follow("../../docs/moves", t.TempDir(), []Trace{h.trace})
		if errors.Is(err, ErrNoSpin) {
			t.Skip(err)
		}
		if (err != nil) != c.refuse {
			t.Errorf("%s: got %v, want a refusal: %v", c.name, err, c.refuse)
		}
		if err != nil && !strings.Contains(err.Error(), "refused: trace 1") && !strings.Contains(err.Error(), "two digests") && !strings.Contains(err.Error(), "assert") {
			t.Errorf("%s: the refusal doesn't say where: %v", c.name, err)
		}
	}
}
