package movetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap"
)

// The model knows small numbers. What stands for what keeps all that it looks at:
//
//   - a move's number: its rank among those of the slot; a mark: the rank of the highest
//     number that is not above it;
//   - a group: its place in the order in which the trace names them;
//   - an attempt: its rank among those of its move;
//   - a content, and so a log id of the source: a number for each log id, in the order in
//     which they appear. That one log id always has the same digest is checked here. The
//     digest of a takeover is the content of the seal's log id if it is that one's, else
//     a number that is no content.
//
// The names of the model's entries are those of slotmove.pml.
const (
	groupsMax = 8   // NG of replay.pml
	movesMax  = 120 // NM
	noContent = 1<<15 - 1
)

var names = map[shardmap.CommandKind]string{
	shardmap.CommandChunk: "mCHUNK", shardmap.CommandSeal: "mSEAL", shardmap.CommandTakeover: "mTAKE", shardmap.CommandRefuse: "mREFUSE",
	shardmap.CommandCancel: "mCANCEL", shardmap.CommandUnseal: "mUNSEAL", shardmap.CommandDrop: "mDROP", shardmap.CommandForget: "mFORGET",
}

// ErrTooLong: the trace has more moves or groups than the model takes.
var ErrTooLong = errors.New("more moves or groups than docs/moves/replay.pml takes")

// content is the slot as it was at a log id of a group.
type content struct {
	group raft.GroupID
	at    raft.LogID
}

// sealed is what is known of a move's seal.
type sealed struct {
	at     raft.LogID
	digest uint64
}

// writer maps one trace.
type writer struct {
	b        []byte
	numbers  []uint64
	groups   []raft.GroupID
	attempts map[uint64][]shardmap.Attempt // by number, in order
	contents map[content]int
	digests  map[int]uint64
	seals    map[uint64]sealed
	moves    map[uint64]shardmap.Move
	more     map[moreID]bool // pieces of which more followed
}

type moreID struct {
	number  uint64
	attempt shardmap.Attempt
	index   uint64
}

// appendTo appends the statements that have the model follow the trace.
func (t *Trace) appendTo(b []byte, number int) ([]byte, error) {
	w := writer{b: b, attempts: map[uint64][]shardmap.Attempt{}, contents: map[content]int{}, digests: map[int]uint64{}, seals: map[uint64]sealed{},
		moves: map[uint64]shardmap.Move{}, more: map[moreID]bool{}}
	for i := range t.steps {
		switch s := &t.steps[i]; {
		case s.table == removal:
		case s.table != 0:
			w.numbers = append(w.numbers, s.move.Number)
		case s.kind == shardmap.CommandChunk:
			p := &s.piece
			w.numbers = append(w.numbers, p.Number)
			w.attempts[p.Number] = append(w.attempts[p.Number], p.Attempt)
			w.more[moreID{p.Number, p.Attempt, p.Index}] = p.More
		default:
			w.numbers = append(w.numbers, s.step.Number)
		}
	}
	slices.Sort(w.numbers)
	w.numbers = slices.Compact(w.numbers)
	for n, all := range w.attempts {
		slices.SortFunc(all, func(a, b shardmap.Attempt) int {
			return cmp.Or(cmp.Compare(a.Term, b.Term), cmp.Compare(a.Number, b.Number))
		})
		w.attempts[n] = slices.Compact(all)
	}
	w.say("TRACE", number, w.group(t.owner))
	for i := range t.steps {
		if err := w.step(&t.steps[i]); err != nil {
			return nil, fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	if len(w.numbers) > movesMax || len(w.groups) > groupsMax || len(w.contents) >= noContent {
		return nil, ErrTooLong
	}
	return w.b, nil
}

// say appends one event; what it doesn't need is 0.
func (w *writer) say(event string, args ...any) {
	const fields = 9
	w.b = fmt.Appendf(w.b, "c!%s", event)
	for i := range fields {
		if i < len(args) {
			w.b = fmt.Appendf(w.b, ",%v", args[i])
		} else {
			w.b = append(w.b, ",0"...)
		}
	}
	w.b = append(w.b, ";\n"...)
}

// move returns a number's rank, of a mark that of the move which raised it.
func (w *writer) move(number uint64) int {
	i, ok := slices.BinarySearch(w.numbers, number)
	if ok {
		i++
	}
	return i
}

func (w *writer) group(g raft.GroupID) int {
	i := slices.Index(w.groups, g)
	if i < 0 {
		i = len(w.groups)
		w.groups = append(w.groups, g)
	}
	return i
}

func (w *writer) attempt(number uint64, a shardmap.Attempt) int {
	return slices.Index(w.attempts[number], a) + 1
}

func (w *writer) content(group raft.GroupID, at raft.LogID) int {
	if at == (raft.LogID{}) {
		return 0
	}
	c := content{group, at}
	if w.contents[c] == 0 {
		w.contents[c] = len(w.contents) + 1
	}
	return w.contents[c]
}

// same notes the digest of a content.
func (w *writer) same(c int, digest uint64) error {
	if was, ok := w.digests[c]; ok && was != digest {
		return fmt.Errorf("the slot has two digests at one log id: %016x and %016x", was, digest)
	}
	w.digests[c] = digest
	return nil
}

func number(is bool) int {
	if is {
		return 1
	}
	return 0
}

func (w *writer) step(s *step) error {
	if s.table != 0 {
		w.ofTable(s)
		return nil
	}
	n := s.step.Number
	if s.kind == shardmap.CommandChunk {
		n = s.piece.Number
	}
	m, ok := w.moves[n]
	if !ok {
		return fmt.Errorf("%s of move %d, which has not begun", s.kind, n)
	}
	done := number(s.result.Outcome == shardmap.StepDone)
	v := &s.result.View
	of := m.To
	args := []any{names[s.kind], w.move(n)}
	switch s.kind {
	case shardmap.CommandSeal:
		of = m.From
		if done == 1 {
			w.seals[n] = sealed{v.Sealed, v.Digest}
			c := w.content(of, v.Sealed)
			if err := w.same(c, v.Digest); err != nil {
				return err
			}
			w.say("WRITE", w.group(of), c)
		}
		args = append(args, 0, 0, 0, 0, number(v.Keys == 0 && v.Bytes == 0), number(s.step.Empty))
	case shardmap.CommandCancel, shardmap.CommandUnseal, shardmap.CommandDrop:
		of = m.From
		args = append(args, 0, 0, 0, 0, 0, 0)
	case shardmap.CommandTakeover:
		digest := noContent
		seal, ok := w.seals[n]
		if ok && seal.digest == s.step.Digest {
			digest = w.content(m.From, seal.at)
		}
		args = append(args, 0, s.step.Chunks, 0, digest, 0, number(ok && seal.at == s.step.At))
	case shardmap.CommandChunk:
		p := &s.piece
		piece := "WHOLE"
		if p.More {
			piece = "FIRST"
		} else if p.Index > 0 && w.more[moreID{n, p.Attempt, p.Index - 1}] {
			piece = "LAST"
		}
		seal, ok := w.seals[n]
		to := w.content(m.From, p.To)
		args = append(args, w.attempt(n, p.Attempt), p.Index, w.content(m.From, p.From), to, piece, number(ok && seal.at == p.To))
		if done == 1 && !p.More {
			if err := w.same(to, v.Import.Digest); err != nil {
				return err
			}
		}
	default:
		args = append(args, 0, 0, 0, 0, 0, 0)
	}
	if s.group != of {
		return fmt.Errorf("%s of move %d in the log of group %d, want %d", s.kind, n, s.group, of)
	}
	w.say("STEP", append(args, done)...)
	w.view(s.group, v)
	return nil
}

func (w *writer) ofTable(s *step) {
	if s.table == removal {
		w.say("REMOVAL", w.group(s.group))
		return
	}
	m := &s.move
	n := w.move(m.Number)
	state := "OPEN"
	switch s.table {
	case begin:
		w.moves[m.Number] = *m
		w.say("BEGIN", n, w.group(m.From), w.group(m.To))
	case flag:
		w.say("FLAG", n)
	case record:
		w.say("STEP", "mRECORD", n, 0, 0, 0, 0, 0, 0, 1)
	case closing:
		as := "REFUSED"
		if m.State == shardmap.MoveTaken {
			as = "TOOK"
		}
		w.say("STEP", "mCLOSE", n, 0, as, 0, 0, 0, 0, 1)
		state = "CLOSED"
	}
	if s.table != closing && m.State == shardmap.MoveTaken {
		state = "TAKEN"
	}
	w.say("MOVE", n, state, number(m.Cancelled))
}

// view has what a group holds be compared.
func (w *writer) view(g raft.GroupID, v *shardmap.SlotView) {
	holding := map[shardmap.Holding]string{shardmap.HoldsNothing: "NOTHING", shardmap.HoldsOwned: "OWNED", shardmap.HoldsSealed: "SEALED"}[v.Holding]
	i := &v.Import
	w.say("VIEW", w.group(g), holding, w.move(v.Number), w.move(v.Mark), w.move(i.Number), w.attempt(i.Number, i.Attempt), i.Chunks, w.content(i.Source, i.At), number(i.Partial))
	for n, m := range w.moves {
		if m.To != g {
			continue
		}
		decision := "0"
		for _, d := range v.Decisions {
			if d.Number == n && d.Taken {
				decision = "TOOK"
			} else if d.Number == n {
				decision = "REFUSED"
			}
		}
		w.say("DECISION", w.move(n), decision)
	}
}

// Count counts the traces in which each of the model's transitions took effect.
func Count(traces []Trace) map[string]int {
	all := map[string]int{}
	for i := range traces {
		for name := range traces[i].transitions() {
			all[name]++
		}
	}
	return all
}

// Transitions are those of the model: what an entry can change of a slot.
var Transitions = []string{"begin", "flag", "record", "close taken", "close refused", "seal", "cancel", "first piece", "next piece",
	"takeover", "refuse", "unseal", "drop", "forget"}

// Removal is the transition of the model that only a cluster makes whose groups come and go:
// group 0 removes a group from which the slot moved, or to which.
const Removal = "removal"

func (t *Trace) transitions() map[string]bool {
	has := map[string]bool{}
	for i := range t.steps {
		s := &t.steps[i]
		name := s.kind.String()
		switch {
		case s.table == closing && s.move.State == shardmap.MoveTaken:
			name = "close taken"
		case s.table != 0:
			name = map[tableStep]string{begin: "begin", flag: "flag", record: "record", closing: "close refused", removal: Removal}[s.table]
		case s.result.Outcome != shardmap.StepDone:
			continue
		case s.kind == shardmap.CommandChunk && s.piece.Index == 0:
			name = "first piece"
		case s.kind == shardmap.CommandChunk:
			name = "next piece"
		}
		has[name] = true
	}
	return has
}
