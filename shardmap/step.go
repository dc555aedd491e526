package shardmap

import (
	"fmt"
	"strings"

	"muster/raft"
	"muster/shardmap/pack"
)

// A slot moves from one group, the source, to another, the target, by entries in the
// logs of the two. Each such entry carries one step for each of many slots, since
// slots move by the thousand; what becomes of a step is decided slot by slot
// (slotmove.go). All steps but a chunk, which has data (piece.go), look alike.

const (
	// StepsMax bounds the slots of one command: an entry is applied in one go.
	StepsMax = 256
	// stepFields is how many fields a step has.
	stepFields = 9
	// stepBytesMin is what a step takes at least: its head, and each field in a byte.
	stepBytesMin = 1 + stepFields
)

// Attempt tells one leader's sending of a slot from all others: the leader's term, and
// what it counts within it.
type Attempt struct{ Term, Number uint64 }

// Less reports whether a is an earlier attempt than b.
func (a Attempt) Less(b Attempt) bool {
	return a.Term < b.Term || a.Term == b.Term && a.Number < b.Number
}

func (a Attempt) String() string { return fmt.Sprintf("%d/%d", a.Term, a.Number) }

// Step is one slot's part of a command that moves slots, but of no chunk. What its kind
// of command has no use for is zero. Its bytes are a msgpack array:
//
//	[slot, number, peer, empty, term, index, time, chunks, digest]
//
// with empty as true or false. A command's only item is an array of them, by slot, no
// slot twice.
type Step struct {
	Slot   Slot
	Number uint64         // of the move
	Peer   raft.GroupID   // the other group: of a seal the target, of a takeover and a refuse the source
	Empty  bool           // of a seal: only if the slot has no record of any kind
	At     raft.LogID     // of a takeover: the seal's log id
	Time   raft.GroupTime // of a takeover: the source's group time at the seal
	Chunks uint64         // of a takeover: how many there were
	Digest uint64         // of a takeover: the slot's, at the seal
}

// StepCommand returns the command of kind k for these steps, at most [StepsMax], which
// are in the order of their slots.
func StepCommand(k CommandKind, steps []Step) Command {
	b := pack.AppendArray(nil, len(steps))
	for i := range steps {
		s := &steps[i]
		b = pack.AppendArray(b, stepFields)
		b = pack.AppendUint(b, uint64(s.Slot))
		b = pack.AppendUint(b, s.Number)
		b = pack.AppendUint(b, uint64(s.Peer))
		b = pack.AppendBool(b, s.Empty)
		b = pack.AppendUint(b, s.At.Term)
		b = pack.AppendUint(b, s.At.Index)
		b = pack.AppendUint(b, uint64(s.Time))
		b = pack.AppendUint(b, s.Chunks)
		b = pack.AppendUint(b, s.Digest)
	}
	return Command{Kind: k, Slot: steps[0].Slot, Items: [][]byte{b}}
}

// ReadSteps reads the steps of a command that moves slots, but of no chunk.
func ReadSteps(c *Command) ([]Step, error) {
	r, err := c.moveBody()
	if err != nil {
		return nil, err
	}
	if c.Kind == CommandChunk {
		return nil, fmt.Errorf("%w: a chunk has pieces, not steps", ErrCommand)
	}
	steps := list(r, stepBytesMin, func() (s Step) {
		r.fields("step", stepFields)
		s.Slot, s.Number, s.Peer = Slot(r.UintMax(Slots-1)), r.Uint(), raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
		s.Empty = r.Bool()
		s.At = raft.LogID{Term: r.Uint(), Index: r.Uint()}
		s.Time, s.Chunks, s.Digest = raft.GroupTime(r.Uint()), r.Uint(), r.Uint()
		return s
	})
	if err := r.err(); err != nil {
		return nil, err
	}
	if len(steps) == 0 || len(steps) > StepsMax {
		return nil, fmt.Errorf("%w: %s of %d slots, want 1 to %d", ErrCommand, c.Kind, len(steps), StepsMax)
	}
	for i := range steps {
		if i > 0 && steps[i-1].Slot >= steps[i].Slot {
			return nil, fmt.Errorf("%w: %s: slot %d after slot %d", ErrCommand, c.Kind, steps[i].Slot, steps[i-1].Slot)
		}
		if err := steps[i].check(c.Kind); err != nil {
			return nil, fmt.Errorf("%w: %s of slot %d: %w", ErrCommand, c.Kind, steps[i].Slot, err)
		}
	}
	return steps, nil
}

// moveBody returns a reader of the only item of a command that moves slots.
func (c *Command) moveBody() (*tableReader, error) {
	if !c.Kind.Moves() || len(c.Items) != 1 {
		return nil, fmt.Errorf("%w: %s with %d items moves no slot", ErrCommand, c.Kind, len(c.Items))
	}
	return &tableReader{Reader: pack.NewReader(c.Items[0])}, nil
}

// Moves reports whether a command of this kind moves slots.
func (k CommandKind) Moves() bool { return k >= CommandChunk && k <= CommandForget }

// check says what of a step no sender can have meant.
func (s *Step) check(k CommandKind) error {
	bare := Step{Slot: s.Slot, Number: s.Number}
	switch k {
	case CommandSeal:
		bare.Peer, bare.Empty = s.Peer, s.Empty
	case CommandRefuse:
		bare.Peer = s.Peer
	case CommandTakeover:
		bare = *s
		if s.At.Index == 0 || s.Chunks == 0 {
			return fmt.Errorf("seal at %s, %d chunks", s.At, s.Chunks)
		}
	}
	switch {
	case s.Number == 0:
		return fmt.Errorf("a move has the number 0")
	case bare.Peer == 0 && (k == CommandSeal || k == CommandTakeover || k == CommandRefuse):
		return fmt.Errorf("the other group is 0, want 1 to %d", raft.GroupMax)
	case bare != *s:
		return fmt.Errorf("it has fields of another kind")
	}
	return nil
}

// describeSteps says which slots a command is about: a run of slots with one number in
// one piece.
func describeSteps(c *Command) (string, error) {
	steps, err := ReadSteps(c)
	if err != nil {
		return "", err
	}
	var parts []string
	for i := 0; i < len(steps); {
		s := steps[i]
		n := 1
		for i+n < len(steps) && steps[i+n].Slot == s.Slot+Slot(n) && steps[i+n].Number == s.Number && steps[i+n].Peer == s.Peer {
			n++
		}
		i += n
		if len(parts) == describedMax {
			parts = append(parts, "…")
			break
		}
		text := fmt.Sprintf("%s number %d", SlotRange{s.Slot, s.Slot + Slot(n-1)}, s.Number)
		switch c.Kind {
		case CommandSeal:
			text += " for " + s.Peer.String()
			if s.Empty {
				text += " if empty"
			}
		case CommandTakeover:
			text += fmt.Sprintf(" from %s chunks %d", raft.FormatLogID(s.Peer, s.At), s.Chunks)
		case CommandRefuse:
			text += " from " + s.Peer.String()
		}
		parts = append(parts, text)
	}
	return "slots " + strings.Join(parts, ", "), nil
}

// StepOutcome says what became of one slot's step, or piece. Numbers are for ever: they
// are on the wire.
type StepOutcome uint8

const (
	StepDone     StepOutcome = 1 // it took effect now
	StepMarked   StepOutcome = 2 // something as new was decided: the slot's mark is no lower than the move's number
	StepBehind   StepOutcome = 3 // the piece is not the next one: the view's import says which is
	StepUnfit    StepOutcome = 4 // the slot is not as the step needs it: not owned, owned, sealed for another move, or the import is not whole or differs
	StepNotEmpty StepOutcome = 5 // the slot was to be sealed only if it is empty
	StepKnown    StepOutcome = 6 // it had taken effect before
)

func (o StepOutcome) String() string {
	names := [...]string{StepDone: "done", StepMarked: "marked", StepBehind: "behind", StepUnfit: "unfit", StepNotEmpty: "not empty", StepKnown: "known"}
	if o == 0 || int(o) >= len(names) {
		return fmt.Sprintf("outcome %d", uint8(o))
	}
	return names[o]
}

// StepResult is what became of one slot's step, and the slot as it was then.
type StepResult struct {
	Outcome StepOutcome
	View    SlotView
}
