package shardmap

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"muster/raft"
	"muster/shardmap/pack"
)

// MoveBegin begins moves of slots that a running job is to move. Their number is the index
// of the entry:
//
//	[job, [[from, to], …], to, empty]
type MoveBegin struct {
	Job   uint64
	Slots []SlotRange // as [SlotRanges] makes them
	To    raft.GroupID
	Empty bool // only slots without any record are to move
}

// MoveRecord says that targets have taken slots over: from now on they are looked for
// there.
//
//	[[[from, to, number], …]]
//
// It is decided slot by slot: a move that is not open is passed over. So whoever knows of a
// takeover may say so, late or twice.
type MoveRecord struct {
	Moves []NumberedRange
}

// MoveCancel flags open moves as no longer wanted. The body is as of [MoveRecord], and so
// is what happens to a move that is not open.
type MoveCancel struct {
	Moves []NumberedRange
}

// CloseReason says why a move was closed. Numbers are for ever.
type CloseReason uint8

const (
	ClosedTaken     CloseReason = 1 // the target has it, and the source has dropped it
	ClosedCancelled CloseReason = 2 // the source keeps it, because it is no longer wanted
	ClosedNotEmpty  CloseReason = 3 // the source keeps it, because there is something in it
)

func (w CloseReason) String() string {
	switch w {
	case ClosedTaken:
		return "taken"
	case ClosedCancelled:
		return "cancelled"
	case ClosedNotEmpty:
		return "not empty"
	}
	return fmt.Sprintf("reason %d", uint8(w))
}

// MoveEnd is one run of a [MoveClose].
type MoveEnd struct {
	NumberedRange
	Taken bool // by the target; else it has refused
	Why   CloseReason
}

// MoveClose forgets moves that both groups have ended:
//
//	[[[from, to, number, taken, why], …]]
//
// It is decided slot by slot: a taken one is closed if it is recorded, any other one if it
// is open, and what is neither is passed over. A slot that was not empty is noted in its
// job as one that stays.
type MoveClose struct {
	Moves []MoveEnd
}

// AppendMoveBegin appends the bytes of m to b. At this level the error is always nil.
func AppendMoveBegin(b []byte, m *MoveBegin) ([]byte, error) {
	b = appendTableHead(b, TableMoveBegin, 4)
	b = pack.AppendUint(b, m.Job)
	b = appendRanges(b, m.Slots)
	b = pack.AppendUint(b, uint64(m.To))
	return pack.AppendBool(b, m.Empty), nil
}

// AppendMoveRecord appends the bytes of m to b. At this level the error is always nil.
func AppendMoveRecord(b []byte, m *MoveRecord) ([]byte, error) {
	b = appendTableHead(b, TableMoveRecord, 1)
	return appendNumbered(b, m.Moves), nil
}

// AppendMoveCancel appends the bytes of m to b. At this level the error is always nil.
func AppendMoveCancel(b []byte, m *MoveCancel) ([]byte, error) {
	b = appendTableHead(b, TableMoveCancel, 1)
	return appendNumbered(b, m.Moves), nil
}

// AppendMoveClose appends the bytes of m to b. At this level the error is always nil.
func AppendMoveClose(b []byte, m *MoveClose) ([]byte, error) {
	b = appendTableHead(b, TableMoveClose, 1)
	b = pack.AppendArray(b, len(m.Moves))
	for _, e := range m.Moves {
		b = pack.AppendArray(b, 5)
		b = pack.AppendUint(b, uint64(e.From))
		b = pack.AppendUint(b, uint64(e.To))
		b = pack.AppendUint(b, e.Number)
		b = pack.AppendBool(b, e.Taken)
		b = pack.AppendUint(b, uint64(e.Why))
	}
	return b, nil
}

func appendNumbered(b []byte, moves []NumberedRange) []byte {
	b = pack.AppendArray(b, len(moves))
	for _, m := range moves {
		b = pack.AppendArray(b, 3)
		b = pack.AppendUint(b, uint64(m.From))
		b = pack.AppendUint(b, uint64(m.To))
		b = pack.AppendUint(b, m.Number)
	}
	return b
}

func (r *tableReader) moveBegin() (tableCommand, error) {
	m := new(MoveBegin)
	r.fields("begin of moves", 4)
	m.Job, m.Slots, m.To, m.Empty = r.Uint(), r.ranges(), r.groupID(), r.Bool()
	return m, r.err()
}

// numberedBytesMin is what a run of numbered slots takes at least.
const numberedBytesMin = 4

func (r *tableReader) numbered() []NumberedRange {
	return list(r, numberedBytesMin, func() (m NumberedRange) {
		r.fields("numbered slots", 3)
		m.SlotRange, m.Number = r.slotRange(), r.Uint()
		return m
	})
}

func (r *tableReader) moveRecord() (tableCommand, error) {
	m := new(MoveRecord)
	r.fields("record of moves", 1)
	m.Moves = r.numbered()
	return m, r.err()
}

func (r *tableReader) moveCancel() (tableCommand, error) {
	m := new(MoveCancel)
	r.fields("cancel of moves", 1)
	m.Moves = r.numbered()
	return m, r.err()
}

func (r *tableReader) moveClose() (tableCommand, error) {
	m := new(MoveClose)
	r.fields("close of moves", 1)
	m.Moves = list(r, numberedBytesMin+2, func() (e MoveEnd) {
		r.fields("closed slots", 5)
		e.SlotRange, e.Number = r.slotRange(), r.Uint()
		e.Taken, e.Why = r.Bool(), CloseReason(r.UintMax(255))
		if r.Err() == nil && (e.Why < ClosedTaken || e.Why > ClosedNotEmpty) && r.level == nil {
			r.level = fmt.Errorf("move closed for %s: %w", e.Why, ErrLevel)
		}
		return e
	})
	return m, r.err()
}

// apply returns the table with the moves begun.
func (m *MoveBegin) apply(t *Table, id raft.LogID) (*Table, error) {
	i, err := jobList(t.Jobs).about(m.Job, "")
	if err != nil {
		return t, err
	}
	j := &t.Jobs[i]
	refused := func(kind RefusalKind, format string, args ...any) error {
		return &Refusal{Kind: kind, Object: fmt.Sprintf("job %d", m.Job), Found: fmt.Sprintf(format, args...), Next: fmt.Sprintf("see muster job show %d", m.Job)}
	}
	switch {
	case !j.Kind.AboutSlots():
		return t, refused(RefusedConflict, "it is a %s, which moves no slots", j.Kind)
	case j.State != JobRunning || j.Cancelled:
		return t, refused(RefusedConflict, "it is %s", j.standing())
	case m.Empty != (j.Kind == JobAssign):
		return t, refused(RefusedRequest, "a move of it is begun as if it were another kind of job than %s", j.Kind)
	}
	if err := checkRanges(m.Slots); err != nil || len(m.Slots) == 0 {
		return t, refused(RefusedRequest, "slots that begin to move are no runs, or none: %v", err)
	}
	var begun []Move
	for s := range eachOf(m.Slots) {
		to, ok := j.Target(s)
		switch {
		case !ok || to.To != m.To:
			return t, refused(RefusedConflict, "slot %d is not to move to %s", s, m.To)
		case t.Slots[s] != to.From:
			return t, refused(RefusedConflict, "slot %d is of %s by now", s, t.Slots[s])
		}
		if open, ok := t.MoveOf(s); ok {
			return t, refused(RefusedConflict, "slot %d moves already, begun by entry %d", s, open.Number)
		}
		number := id.Index
		if bug("move number used twice") {
			number = m.Job
		}
		begun = append(begun, Move{SlotRange: SlotRange{s, s}, Number: number, From: to.From, To: to.To, State: MoveOpen, Empty: m.Empty, Job: m.Job})
	}
	each := moveList(t.Moves).each()
	if len(each)+len(begun) > MovesMax {
		return t, refused(RefusedConflict, "%d slots are on their way, as many as may be", len(each))
	}
	made := t.draft(id)
	made.Moves = runs(append(each, begun...))
	return made.Table, nil
}

// apply returns the table with the slots of open moves at their targets.
func (m *MoveRecord) apply(t *Table, id raft.LogID) (*Table, error) {
	return eachMove(t, id, m.Moves, func(made draft, i int, move *Move) bool {
		if move.State != MoveOpen && !bug("move recorded twice") {
			return true
		}
		move.State = MoveTaken
		made.Slots[move.SlotRange.From], made.Epoch = move.To, id.Index
		return true
	})
}

// apply returns the table with the open moves flagged.
func (m *MoveCancel) apply(t *Table, id raft.LogID) (*Table, error) {
	return eachMove(t, id, m.Moves, func(_ draft, i int, move *Move) bool {
		move.Cancelled = move.Cancelled || move.State == MoveOpen
		return true
	})
}

// apply returns the table without the moves that have ended.
func (m *MoveClose) apply(t *Table, id raft.LogID) (*Table, error) {
	named := make([]NumberedRange, len(m.Moves))
	for i := range m.Moves {
		named[i] = m.Moves[i].NumberedRange
	}
	return eachMove(t, id, named, func(made draft, i int, move *Move) bool {
		end := &m.Moves[i]
		if end.Taken != (move.State == MoveTaken) || end.Taken != (end.Why == ClosedTaken) {
			return true
		}
		if end.Why == ClosedNotEmpty {
			made.keep(move.Job, move.SlotRange.From)
		}
		return false
	})
}

// keep notes in a job that a slot stays where it is.
func (d draft) keep(job uint64, s Slot) {
	i, ok := jobList(d.Jobs).job(job)
	if !ok || d.Jobs[i].State.Finished() {
		return
	}
	j := d.editJob(i)
	kept := []Slot{s}
	for o := range eachOf(j.Kept) {
		kept = append(kept, o)
	}
	j.Kept = SlotRanges(kept)
}

// eachMove returns the table as it is after change was called for each move that is named,
// one slot at a time, with the place of its name. A change reports whether the move stays.
// What names no move is passed over; if nothing is different then, that is t itself.
func eachMove(t *Table, id raft.LogID, named []NumberedRange, change func(made draft, name int, m *Move) (stays bool)) (*Table, error) {
	for _, r := range named {
		if r.To >= Slots || r.From > r.To {
			return t, fmt.Errorf("slots %s are no run; they are 0 to %d", r.SlotRange, Slots-1)
		}
	}
	made, changed := t.draft(id), false
	var stay []Move
	for _, m := range moveList(t.Moves).each() {
		now, stays := m, true
		for i, r := range named {
			if r.Number == m.Number && r.Has(m.SlotRange.From) {
				stays = change(made, i, &now)
				break
			}
		}
		changed = changed || !stays || now != m
		if stays {
			stay = append(stay, now)
		}
	}
	if !changed && made.Epoch == t.Epoch {
		return t, nil
	}
	made.Moves = runs(stay)
	return made.Table, nil
}

// check says why the moves can't be those of the table.
func (l moveList) check(t *Table) error {
	for i := range l {
		m := &l[i]
		r := m.SlotRange
		switch j, _ := t.Job(m.Job); {
		case r.To >= Slots || r.From > r.To:
			return fmt.Errorf("move of slots %s, which are no run", r)
		case i > 0 && byFirstSlot(l[i-1], *m) >= 0:
			return fmt.Errorf("move %d of slots %s is out of order", m.Number, r)
		case m.Number == 0 || m.Number > t.Index:
			return fmt.Errorf("move %d of slots %s, the table changed last at %d", m.Number, r, t.Index)
		case m.State != MoveOpen && m.State != MoveTaken:
			return fmt.Errorf("move %d of slots %s in state %d: %w", m.Number, r, m.State, ErrLevel)
		case m.From == m.To:
			return fmt.Errorf("move %d of slots %s from %s to itself", m.Number, r, m.From)
		case !j.Kind.AboutSlots() || j.State.Finished():
			return fmt.Errorf("move %d of slots %s is of job %d, which moves none", m.Number, r, m.Job)
		}
		for _, g := range [...]raft.GroupID{m.From, m.To} {
			if err := mayOwn(t, g); err != nil {
				return fmt.Errorf("move %d of slots %s: %w", m.Number, r, err)
			}
		}
	}
	if n := l.slots(); n > MovesMax {
		return fmt.Errorf("%d slots are on their way, the limit is %d", n, MovesMax)
	}
	if !slices.Equal(runs(l.each()), l) {
		return errors.New("moves are not in runs as long as they can be")
	}
	var open [Slots]bool
	for _, m := range l.each() {
		switch s := m.SlotRange.From; {
		case m.State == MoveOpen && open[s]:
			return fmt.Errorf("slot %d has two open moves", s)
		case m.State == MoveOpen && t.Slots[s] != m.From:
			return fmt.Errorf("slot %d moves from %s, and is of %s", s, m.From, t.Slots[s])
		case m.State == MoveOpen:
			open[s] = true
		}
	}
	return nil
}

func (m *MoveBegin) describe() string {
	text := fmt.Sprintf("job %d slots %s to %s", m.Job, describeList(m.Slots), m.To)
	if m.Empty {
		text += " if empty"
	}
	return text
}

func (m *MoveRecord) describe() string { return "slots " + describeList(m.Moves) }
func (m *MoveCancel) describe() string { return "slots " + describeList(m.Moves) }
func (m *MoveClose) describe() string  { return "slots " + describeList(m.Moves) }

func (e MoveEnd) String() string { return fmt.Sprintf("%s %s", e.NumberedRange, e.Why) }

// describeList is a list within a line, of at most describedMax elements.
func describeList[E fmt.Stringer](list []E) string {
	var text []string
	for _, e := range list[:min(len(list), describedMax)] {
		text = append(text, e.String())
	}
	if len(list) > describedMax {
		text = append(text, "…")
	}
	return strings.Join(text, ", ")
}
