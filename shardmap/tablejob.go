package shardmap

import (
	"errors"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

// NewJob begins a job, whose id is the index of the entry:
//
//	[kind, node, group, force, role]                        of all kinds up to 10
//	[kind, node, group, force, role, [target, …]]           of those that move slots
//	[kind, node, group, force, role, asks]                  of errands
//	target: [first slot, last slot, owner or 0, new owner]
//	asks:   [prefix, keys, scheduled, after]
//
// What a job of that kind is not about is ignored.
type NewJob struct {
	Kind  JobKind
	Node  raft.NodeID
	Group raft.GroupID
	Force bool
	Role  NodeRole
	// Targets of a job that moves slots: in any order, no slot twice.
	Targets []SlotTarget
	Asks    ErrandAsks // of an errand
}

// SetJobState pauses an unfinished job, lets it run again, or ends it:
//
//	[id, state, why]
type SetJobState struct {
	ID    uint64
	State JobState
	Why   string // at most TableTextMax bytes
}

// JobProgress says how far an unfinished job is:
//
//	[id, done, total, why]
type JobProgress struct {
	ID          uint64
	Done, Total uint64 // replicas
	Why         string // at most TableTextMax bytes
}

// JobBytes says how far an unfinished job is that moves slots:
//
//	[id, done, total, bytes, bytes total, why]
type JobBytes struct {
	ID                uint64
	Done, Total       uint64 // slots
	Bytes, BytesTotal uint64
	Why               string // at most TableTextMax bytes
}

// AppendNewJob appends the bytes of n to b. At this level the error is always nil.
func AppendNewJob(b []byte, n *NewJob) ([]byte, error) {
	b = appendTableHead(b, TableJob, n.Kind.orderFields())
	b = pack.AppendUint(b, uint64(n.Kind))
	b = pack.AppendUint(b, uint64(n.Node))
	b = pack.AppendUint(b, uint64(n.Group))
	b = pack.AppendBool(b, n.Force)
	b = pack.AppendUint(b, uint64(n.Role))
	switch {
	case n.Kind.AboutSlots():
		b = appendTargets(b, n.Targets)
	case n.Kind.AboutKeys():
		b = n.Asks.append(b)
	}
	return b, nil
}

// orderFields is how many fields the order for a job of this kind has. Those without slots
// stay as builds of level 3 read them.
func (k JobKind) orderFields() int {
	const fields = 5
	if k.AboutSlots() || k.AboutKeys() {
		return fields + 1
	}
	return fields
}

// AppendJobState appends the bytes of s to b. At this level the error is always nil.
func AppendJobState(b []byte, s *SetJobState) ([]byte, error) {
	b = appendTableHead(b, TableJobState, 3)
	b = pack.AppendUint(b, s.ID)
	b = pack.AppendUint(b, uint64(s.State))
	return pack.AppendString(b, s.Why), nil
}

// AppendJobProgress appends the bytes of p to b. At this level the error is always nil.
func AppendJobProgress(b []byte, p *JobProgress) ([]byte, error) {
	b = appendTableHead(b, TableJobProgress, 4)
	b = pack.AppendUint(b, p.ID)
	b = pack.AppendUint(b, p.Done)
	b = pack.AppendUint(b, p.Total)
	return pack.AppendString(b, p.Why), nil
}

// AppendJobBytes appends the bytes of p to b. At this level the error is always nil.
func AppendJobBytes(b []byte, p *JobBytes) ([]byte, error) {
	b = appendTableHead(b, TableJobBytes, 6)
	for _, n := range [...]uint64{p.ID, p.Done, p.Total, p.Bytes, p.BytesTotal} {
		b = pack.AppendUint(b, n)
	}
	return pack.AppendString(b, p.Why), nil
}

func (r *tableReader) newJob() (tableCommand, error) {
	n := new(NewJob)
	// The kind decides how many fields there are, so it is read first.
	ahead := *r
	ahead.Array()
	n.Kind = JobKind(ahead.UintMax(255))
	if ahead.Err() == nil && n.Kind.row() == nil {
		r.level = fmt.Errorf("job of kind %d: %w", n.Kind, ErrLevel)
	}
	r.fields("job", n.Kind.orderFields())
	n.Kind, n.Node, n.Group = JobKind(r.UintMax(255)), raft.NodeID(r.Uint()), r.groupID()
	n.Force, n.Role = r.Bool(), NodeRole(r.UintMax(255))
	switch {
	case n.Kind.AboutSlots():
		n.Targets = r.targets()
	case n.Kind.AboutKeys():
		n.Asks = readErrandAsks(r)
	}
	return n, r.err()
}

func (r *tableReader) jobBytes() (tableCommand, error) {
	p := new(JobBytes)
	r.fields("job bytes", 6)
	p.ID, p.Done, p.Total, p.Bytes, p.BytesTotal = r.Uint(), r.Uint(), r.Uint(), r.Uint(), r.Uint()
	p.Why = r.String()
	return p, r.err()
}

func (r *tableReader) setJobState() (tableCommand, error) {
	s := new(SetJobState)
	r.fields("job state", 3)
	s.ID, s.State, s.Why = r.Uint(), JobState(r.UintMax(255)), r.String()
	if r.Err() == nil && (s.State == 0 || int(s.State) >= len(jobStateNames)) {
		r.level = fmt.Errorf("job state %d: %w", s.State, ErrLevel)
	}
	return s, r.err()
}

func (r *tableReader) jobProgress() (tableCommand, error) {
	p := new(JobProgress)
	r.fields("job progress", 4)
	p.ID, p.Done, p.Total, p.Why = r.Uint(), r.Uint(), r.Uint(), r.String()
	return p, r.err()
}

// apply returns the table with the job, begun.
func (n *NewJob) apply(t *Table, id raft.LogID) (*Table, error) {
	row := n.Kind.row()
	if row.level > t.Level {
		return t, below(t, "job "+row.name, row.level)
	}
	j := Job{ID: id.Index, Kind: n.Kind, State: JobRunning}
	if row.scope == ofOneNode || row.scope == ofOneGroup {
		node, ok := t.Node(n.Node)
		if !ok {
			return t, unknownNode(t, n.Node)
		}
		j.Node, j.Name = n.Node, node.Name
	}
	if row.scope == ofOneGroup {
		if _, ok := t.Group(n.Group); !ok {
			return t, unknownGroup(n.Group)
		}
		j.Group = n.Group
	}
	switch n.Kind {
	case JobRemove:
		j.Force = n.Force
	case JobRole:
		j.Role = n.Role
	case JobMove, JobAssign, JobRebalance:
		j.Targets = n.Targets
	case JobDelete, JobBackup:
		n.Asks.into(&j)
		if err := n.Asks.late(t, n.Kind); err != nil {
			return t, err
		}
	}
	made := t.draft(id)
	if rival := jobList(t.Jobs).rival(&j); rival != nil {
		if !rival.yields(&j) {
			return t, busy(t, rival)
		}
		made.endJob(rival.ID, JobCancelled, fmt.Sprintf("job %d removes the node", j.ID))
	}
	if open := jobList(made.Jobs).open(); open >= JobsMax {
		return t, &Refusal{Kind: RefusedConflict, Object: "job " + row.name, Found: fmt.Sprintf("%d jobs are unfinished, as many as may be", open), Next: "wait for some, or cancel them: muster job list"}
	}
	if row.begin != nil {
		if err := row.begin(made, &j); errors.Is(err, errSo) {
			return t, nil
		} else if err != nil {
			return t, err
		}
	}
	made.addJob(j)
	return made.Table, nil
}

// busy is the refusal of a job while another one is about the same.
func busy(t *Table, j *Job) error {
	object := "job " + j.Kind.String()
	switch j.Kind.row().scope {
	case ofOneNode:
		object = t.called(j.Node)
	case ofOneGroup:
		object = j.Group.String()
	}
	return &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("job %d (%s) is %s", j.ID, j.Kind, j.State), Next: fmt.Sprintf("muster job wait %d, or muster job cancel %d", j.ID, j.ID)}
}

// about returns the place of an unfinished job, or the refusal of a command about it.
func (l jobList) about(id uint64, why string) (int, error) {
	object := fmt.Sprintf("job %d", id)
	i, ok := l.job(id)
	switch {
	case !ok:
		return 0, &Refusal{Kind: RefusedAbsent, Object: object, Found: "there is none, or it ended long ago", Next: "see muster job list"}
	case l[i].State.Finished() && !bug("a finished job changes"):
		return 0, &Refusal{Kind: RefusedConflict, Object: object, Found: fmt.Sprintf("it is %s already", l[i].State), Next: fmt.Sprintf("see muster job show %d", id)}
	case len(why) > TableTextMax:
		return 0, &Refusal{Kind: RefusedRequest, Object: object, Found: fmt.Sprintf("a text of %d bytes, the limit is %d", len(why), TableTextMax), Next: "say it in fewer words"}
	}
	return i, nil
}

// apply returns the table with the job in its new state.
func (s *SetJobState) apply(t *Table, id raft.LogID) (*Table, error) {
	i, err := jobList(t.Jobs).about(s.ID, s.Why)
	if err != nil {
		return t, err
	}
	j := t.Jobs[i]
	if j.Kind.AboutSlots() {
		if made, err := s.whileMoving(t, id, i); made != nil {
			return made, err
		}
	}
	made := t.draft(id)
	if !s.State.Finished() {
		if j.State == s.State && j.Why == s.Why {
			return t, nil
		}
		now := made.editJob(i)
		now.State, now.Why = s.State, s.Why
		return made.Table, nil
	}
	switch undo := j.Kind.row().undo; {
	case s.State == JobCancelled && undo != nil:
		if err := undo(made, &j); err != nil {
			return t, err
		}
	case s.State == JobDone && (j.Kind == JobAdd || j.Kind == JobDel):
		if _, ok := made.Group(j.Group); ok {
			made.editGroup(j.Group).ByHand = true
		}
	}
	made.endJob(j.ID, s.State, s.Why)
	return made.Table, nil
}

// whileMoving returns the table as a job that moves slots leaves it, the one at i, where
// that is not as other jobs do: it can't end before its moves are closed, and does not turn
// back from a cancel. nil: it is as with other jobs.
func (s *SetJobState) whileMoving(t *Table, id raft.LogID, i int) (*Table, error) {
	j := &t.Jobs[i]
	refused := func(format string, args ...any) (*Table, error) {
		return t, &Refusal{Kind: RefusedConflict, Object: fmt.Sprintf("job %d", j.ID), Found: fmt.Sprintf(format, args...), Next: fmt.Sprintf("muster job wait %d", j.ID)}
	}
	if j.Cancelled && !s.State.Finished() {
		return refused("it is being cancelled: its moves come to an end first")
	}
	moves := moveList(t.Moves).ofJob(j.ID)
	switch {
	case !s.State.Finished() || len(moves) == 0:
		return nil, nil
	case s.State != JobCancelled:
		return refused("%d of its slots are on their way", moveList(moves).slots())
	case j.Cancelled:
		return t, nil
	}
	made := t.draft(id)
	now := made.editJob(i)
	now.State, now.Cancelled, now.Why = JobRunning, true, s.Why
	made.Moves = slices.Clone(t.Moves)
	for k := range made.Moves {
		if m := &made.Moves[k]; m.Job == j.ID && m.State == MoveOpen {
			m.Cancelled = true
		}
	}
	// Two runs that differed in the flag only are one now.
	made.Moves = runs(moveList(made.Moves).each())
	return made.Table, nil
}

// apply returns the table with how far the job is.
func (p *JobBytes) apply(t *Table, id raft.LogID) (*Table, error) {
	i, err := jobList(t.Jobs).about(p.ID, p.Why)
	if err != nil {
		return t, err
	}
	j := t.Jobs[i]
	if !j.Kind.AboutSlots() {
		return t, &Refusal{Kind: RefusedRequest, Object: fmt.Sprintf("job %d", p.ID), Found: fmt.Sprintf("it is a %s, which moves no slots", j.Kind), Next: fmt.Sprintf("see muster job show %d", p.ID)}
	}
	if j.Done == p.Done && j.Total == p.Total && j.Bytes == p.Bytes && j.BytesTotal == p.BytesTotal && j.Why == p.Why {
		return t, nil
	}
	made := t.draft(id)
	now := made.editJob(i)
	now.Done, now.Total, now.Bytes, now.BytesTotal, now.Why = p.Done, p.Total, p.Bytes, p.BytesTotal, p.Why
	return made.Table, nil
}

// apply returns the table with how far the job is.
func (p *JobProgress) apply(t *Table, id raft.LogID) (*Table, error) {
	i, err := jobList(t.Jobs).about(p.ID, p.Why)
	if err != nil {
		return t, err
	}
	if j := &t.Jobs[i]; j.Done == p.Done && j.Total == p.Total && j.Why == p.Why {
		return t, nil
	}
	made := t.draft(id)
	j := made.editJob(i)
	j.Done, j.Total, j.Why = p.Done, p.Total, p.Why
	return made.Table, nil
}

func (n *NewJob) describe() string {
	text := n.Kind.String()
	if n.Kind.AboutGroup() {
		text += " " + n.Group.String()
	}
	if n.Node != 0 {
		text += " node " + n.Node.String()
	}
	if n.Force {
		text += " force"
	}
	if n.Kind == JobRole {
		text += " " + n.Role.String()
	}
	switch {
	case n.Kind.AboutSlots():
		text += " " + describeTargets(n.Targets)
	case n.Kind.AboutKeys():
		text += n.Asks.describe(n.Kind)
	}
	return text
}

func (p *JobBytes) describe() string {
	return fmt.Sprintf("%d done %d of %d, %d of %d bytes why %s", p.ID, p.Done, p.Total, p.Bytes, p.BytesTotal, describeText(p.Why))
}

func (s *SetJobState) describe() string {
	return fmt.Sprintf("%d %s why %s", s.ID, s.State, describeText(s.Why))
}

func (p *JobProgress) describe() string {
	return fmt.Sprintf("%d done %d of %d why %s", p.ID, p.Done, p.Total, describeText(p.Why))
}
