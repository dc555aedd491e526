package wire

import (
	"fmt"
	"math"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// Step asks the leader of a group to put one command of a move into its log, which may
// carry that step of many slots: [group, incarnation, command].
//
// A data group's command is the body of a Write, with its checksum; the meta group's is
// as in an Order. Only what a move needs is taken: package machine says what.
type Step struct {
	Group       raft.GroupID
	Incarnation raft.Incarnation // a group made anew under the same number takes no step that was meant for the old one
	Command     []byte           // aliases what was read
}

const stepFields = 3

// Append appends the body.
func (s *Step) Append(b []byte) []byte {
	b = pack.AppendArray(b, stepFields)
	b = pack.AppendUint(b, uint64(s.Group))
	b = pack.AppendUint(b, uint64(s.Incarnation))
	return pack.AppendBytes(b, s.Command)
}

// Read reads the body.
func (s *Step) Read(body []byte) error {
	r := pack.NewReader(body)
	r.ArrayLen(stepFields)
	s.Group = raft.GroupID(r.UintMax(uint64(raft.GroupMax)))
	s.Incarnation = raft.Incarnation(r.Uint())
	s.Command = r.Bytes()
	if err := r.Done(); err != nil {
		return err
	}
	if len(s.Command) == 0 {
		return fmt.Errorf("field command: empty; want a command")
	}
	return nil
}

func (s *Step) lines() []string {
	lines := []string{fmt.Sprintf("group %s incarnation %d", s.Group, s.Incarnation)}
	what, err := s.describe()
	if err != nil {
		return append(lines, err.Error(), "command "+quoted(s.Command))
	}
	return append(lines, what)
}

// describe says in one line what the command does.
func (s *Step) describe() (string, error) {
	if s.Group == 0 {
		return shardmap.DescribeTable(s.Command)
	}
	var w writeBody
	if err := w.Read(s.Command); err != nil {
		return "", err
	}
	return w.command.Describe()
}

// StepAnswer answers a [Step] whose entry the group has applied:
//
//	[group, term, index, [[outcome, view] …]]
//
// with a result for each slot of the command, in its order, and views as
// shardmap.AppendView makes them. The meta group gives no results: what came of its
// entry is in the table.
type StepAnswer struct {
	Group   raft.GroupID
	ID      raft.LogID // of the entry
	Results []shardmap.StepResult
}

const (
	stepAnswerFields = 4
	stepResultFields = 2
)

// Append appends the body.
func (a *StepAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, stepAnswerFields)
	b = appendLogID(b, a.Group, a.ID)
	b = pack.AppendArray(b, len(a.Results))
	for i := range a.Results {
		b = pack.AppendArray(b, stepResultFields)
		b = pack.AppendUint(b, uint64(a.Results[i].Outcome))
		b = shardmap.AppendView(b, &a.Results[i].View)
	}
	return b
}

// Read reads the body.
func (a *StepAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	a.Group, a.ID = readLogID(&r)
	a.Results = views(&r, func() (s shardmap.StepResult) {
		n := r.Array()
		s.Outcome = shardmap.StepOutcome(r.UintMax(math.MaxUint8))
		s.View = shardmap.ReadView(&r)
		r.Trailing(n, stepResultFields)
		return s
	})
	r.Trailing(n, stepAnswerFields)
	return r.Done()
}

func (a *StepAnswer) lines() []string {
	lines := []string{"at " + raft.FormatLogID(a.Group, a.ID)}
	for i := range a.Results {
		lines = append(lines, fmt.Sprintf("outcome %d %s", a.Results[i].Outcome, viewShown(&a.Results[i].View)))
	}
	return lines
}

// SlotViewMax bounds the slots that one [SlotView] asks for.
const SlotViewMax = 1024

// SlotView asks the leader of a group what it has of some slots: [group, [[from, to] …]].
// The answer is linearizable.
type SlotView struct {
	Group raft.GroupID
	Slots []shardmap.SlotRange // in order; of 1 to SlotViewMax slots
}

func (m *SlotView) fields(f *fields) {
	f.exactly(2, func() {
		groupAndSlots(f, &m.Group, &m.Slots)
	})
}

// groupAndSlots lists a group and runs of slots, [group, [[from, to] …]].
func groupAndSlots(f *fields, g *raft.GroupID, slots *[]shardmap.SlotRange) {
	number(f, "group", g)
	slotRuns(f, slots)
}

// slotRuns lists runs of slots, [[from, to] …].
func slotRuns(f *fields, slots *[]shardmap.SlotRange) {
	list(f, "slots", slots, 3, func(f *fields, r *shardmap.SlotRange) {
		f.exactly(2, func() {
			number(f, "from", &r.From)
			number(f, "to", &r.To)
		})
	})
}

// Append appends the body.
func (m *SlotView) Append(b []byte) []byte { return appendFields(b, m) }

// Read reads the body.
func (m *SlotView) Read(body []byte) error {
	if err := readFields(body, m); err != nil {
		return err
	}
	return checkGroupAndSlots(m.Group, m.Slots, SlotViewMax)
}

// checkGroupAndSlots refuses a group that can't be, runs of slots that are not in order, and
// no slot or more than most.
func checkGroupAndSlots(g raft.GroupID, runs []shardmap.SlotRange, most int) error {
	if g > raft.GroupMax {
		return fmt.Errorf("field group: %d; want %d at most", g, raft.GroupMax)
	}
	n := 0
	for i, r := range runs {
		if r.To >= shardmap.Slots || r.From > r.To || i > 0 && r.From <= runs[i-1].To {
			return fmt.Errorf("field slots: run %s; want runs in order, of slots 0 to %d", r, shardmap.Slots-1)
		}
		n += r.Len()
	}
	if n < 1 || n > most {
		return fmt.Errorf("field slots: %d of them; want 1 to %d", n, most)
	}
	return nil
}

// SlotViewAnswer answers a [SlotView]: [group, term, index, time, [view …]], a view for
// each slot, in order, as shardmap.AppendView makes it.
type SlotViewAnswer struct {
	Group raft.GroupID
	At    raft.LogID     // the views are as of here
	Time  raft.GroupTime // of the group, there
	Rows  []shardmap.SlotView
}

const slotViewAnswerFields = 5

// Append appends the body.
func (a *SlotViewAnswer) Append(b []byte) []byte {
	b = pack.AppendArray(b, slotViewAnswerFields)
	b = appendLogID(b, a.Group, a.At)
	b = pack.AppendUint(b, uint64(a.Time))
	b = pack.AppendArray(b, len(a.Rows))
	for i := range a.Rows {
		b = shardmap.AppendView(b, &a.Rows[i])
	}
	return b
}

// Read reads the body.
func (a *SlotViewAnswer) Read(body []byte) error {
	r := pack.NewReader(body)
	n := r.Array()
	a.Group, a.At = readLogID(&r)
	a.Time = raft.GroupTime(r.Uint())
	a.Rows = views(&r, func() shardmap.SlotView { return shardmap.ReadView(&r) })
	r.Trailing(n, slotViewAnswerFields)
	return r.Done()
}

func (a *SlotViewAnswer) lines() []string {
	lines := []string{fmt.Sprintf("at %s time %s", raft.FormatLogID(a.Group, a.At), time.Duration(a.Time))}
	for i := range a.Rows {
		lines = append(lines, viewShown(&a.Rows[i]))
	}
	return lines
}

// views reads a list of views, or of what holds one. It grows as they are read: a claimed
// count alone gets no memory.
func views[T any](r *pack.Reader, one func() T) (all []T) {
	n := r.Array()
	for i := 0; i < n && r.Err() == nil; i++ {
		all = append(all, one())
	}
	return all
}

// viewShown shows a view in one line, without what is zero.
func viewShown(v *shardmap.SlotView) string {
	line := fmt.Sprintf("slot %d %s mark %d keys %d bytes %d last %d", v.Slot, v.Holding, v.Mark, v.Keys, v.Bytes, v.Last)
	if v.Number != 0 {
		line += fmt.Sprintf(" move %d target %s sealed %s time %s digest %016x", v.Number, v.Target, v.Sealed, time.Duration(v.SealTime), v.Digest)
	}
	if i := &v.Import; i.Number != 0 {
		line += fmt.Sprintf(" import %d source %s attempt %s chunks %d at %s digest %016x partial %t", i.Number, i.Source, i.Attempt, i.Chunks, i.At, i.Digest, i.Partial)
	}
	for _, d := range v.Decisions {
		line += fmt.Sprintf(" decision %d taken %t source %s", d.Number, d.Taken, d.Source)
	}
	return line
}
