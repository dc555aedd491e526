package shardmap

import (
	"errors"
	"fmt"

	"muster/raft"
	"muster/shardmap/pack"
)

// NewJob begins a job, whose id is the index of the entry:
//
//	[kind, node, group, force, role]
//
// What a job of that kind is not about is ignored.
type NewJob struct {
	Kind  JobKind
	Node  raft.NodeID
	Group raft.GroupID
	Force bool
	Role  NodeRole
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

// AppendNewJob appends the bytes of n to b. At this level the error is always nil.
func AppendNewJob(b []byte, n *NewJob) ([]byte, error) {
	b = appendTableHead(b, TableJob, 5)
	b = pack.AppendUint(b, uint64(n.Kind))
	b = pack.AppendUint(b, uint64(n.Node))
	b = pack.AppendUint(b, uint64(n.Group))
	b = pack.AppendBool(b, n.Force)
	return pack.AppendUint(b, uint64(n.Role)), nil
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

func (r *tableReader) newJob() (tableCommand, error) {
	n := new(NewJob)
	r.fields("job", 5)
	n.Kind, n.Node, n.Group = JobKind(r.UintMax(255)), raft.NodeID(r.Uint()), r.groupID()
	n.Force, n.Role = r.Bool(), NodeRole(r.UintMax(255))
	if r.Err() == nil && n.Kind.row() == nil {
		r.level = fmt.Errorf("job of kind %d: %w", n.Kind, ErrLevel)
	}
	return n, r.err()
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
	j := Job{ID: id.Index, Kind: n.Kind, State: JobRunning}
	if row.scope != ofCluster {
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
	return text
}

func (s *SetJobState) describe() string {
	return fmt.Sprintf("%d %s why %s", s.ID, s.State, describeText(s.Why))
}

func (p *JobProgress) describe() string {
	return fmt.Sprintf("%d done %d of %d why %s", p.ID, p.Done, p.Total, describeText(p.Why))
}
