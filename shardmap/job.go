package shardmap

import (
	"cmp"
	"fmt"
	"slices"

	"muster/raft"
)

// JobKind says what a job does. Numbers are for ever.
type JobKind uint8

const (
	JobDrain   JobKind = 1  // a node's leaders and replicas go elsewhere
	JobRemove  JobKind = 2  // a node is drained, then taken off the list
	JobReplace JobKind = 3  // a dead node's replicas are made elsewhere
	JobBalance JobKind = 4  // replicas and leaders are moved until they are even
	JobRepair  JobKind = 5  // what else the plan wants, as after a changed setting
	JobAdd     JobKind = 6  // a group gets a replica on a node
	JobDel     JobKind = 7  // a group's replica on a node goes
	JobPromote JobKind = 8  // a node becomes a group's preferred leader
	JobRole    JobKind = 9  // a node becomes a server, or a client
	JobJoin    JobKind = 10 // a node that joined gets its copy of the meta group

	JobMove      JobKind = 11 // slots get another owner
	JobAssign    JobKind = 12 // slots get another owner, those that are empty
	JobRebalance JobKind = 13 // slots get other owners, as a plan says

	JobDelete JobKind = 14 // all keys with a prefix are deleted
	JobBackup JobKind = 15 // all that the cluster serves is written to a file on a node's host
)

// JobState says where a job stands. Numbers are for ever.
type JobState uint8

const (
	// JobRunning: it is carried out. Left by a command, or by its end.
	JobRunning JobState = 1
	// JobPaused: a person stopped it for now; what it did stays. Left by a command.
	JobPaused JobState = 2
	// JobDone: all that it is for is so. Never left.
	JobDone JobState = 3
	// JobCancelled: it was given up, and what it had set out to do is no longer wanted.
	// Never left.
	JobCancelled JobState = 4
	// JobFailed: it can't be done. Never left.
	JobFailed JobState = 5
)

var jobStateNames = [...]string{JobRunning: "running", JobPaused: "paused", JobDone: "done", JobCancelled: "cancelled", JobFailed: "failed"}

func (s JobState) String() string {
	if s == 0 || int(s) >= len(jobStateNames) {
		return fmt.Sprintf("state %d", uint8(s))
	}
	return jobStateNames[s]
}

// Finished reports whether a job in this state never changes again.
func (s JobState) Finished() bool { return s >= JobDone }

// Job is something that takes the cluster more than one step, and that people can look
// at. It holds no plan: what is to be done next follows from the table and from what
// the groups' leaders report, at each step anew.
type Job struct {
	ID    uint64 // index of the entry that made it
	Kind  JobKind
	State JobState
	Node  raft.NodeID  // that it is about; 0: about none
	Group raft.GroupID // that it is about, if its kind is about a group
	Force bool         // JobRemove: the node is dead, and is asked nothing
	Role  NodeRole     // JobRole: the one it gets
	Name  string       // of the node when the job was made, for people to read
	// Done and Total are replicas or, of a job that moves slots, slots: how many are
	// where they are to be, and how many that is. Of an errand they are keys: how many it has
	// deleted or written, and how many it is about as far as known. They are what the last
	// leader counted, for people to read.
	Done, Total uint64
	// Why is what the job does or waits for now or, if it is finished, why it ended so.
	Why string // at most TableTextMax bytes
	// Targets are the slots that the job moves, by slot. No slot is in those of two
	// unfinished jobs. They go when the job ends, as do Kept and Cancelled.
	Targets []SlotTarget
	// Kept are the slots that stay where they are, because there was something in them.
	Kept []SlotRange
	// Bytes and BytesTotal are those of the slots: how many were moved, and how many are
	// to be, as far as known. Of a backup Bytes is the size of its file, and there is no total.
	Bytes, BytesTotal uint64
	// Cancelled: the job ends as cancelled when its moves are closed.
	Cancelled bool
	// Errand is what an errand has beside that; the zero value in all other jobs.
	Errand Errand
}

// jobScope says what a job is about.
type jobScope uint8

const (
	ofCluster  jobScope = iota + 1 // all of it; one job of that kind at a time
	ofOneNode                      // a node; one such job for each at a time
	ofOneGroup                     // a group's replica on a node; one such job for each group at a time
	ofSlots                        // slots; one such job for each slot at a time
	ofKeys                         // keys with a prefix; any number of them at a time, carried out one after the other
)

// jobRow is what there is to know of one kind of job.
type jobRow struct {
	name  string
	scope jobScope
	// level is the cluster's from which on there is such a job.
	level uint32
	// asked: a person may order it. All others are begun by the meta group's leader.
	asked bool
	// begin makes the change of the table by which the job begins, or says why it
	// can't. It may change made as a draft.
	begin func(made draft, j *Job) error
	// undo takes back what begin did, because the job is cancelled.
	undo func(made draft, j *Job) error
}

// jobRows are the kinds of jobs, by number.
var jobRows = [...]jobRow{
	JobDrain:   {name: "drain", scope: ofOneNode, asked: true, begin: beginDrain, undo: undoDrain},
	JobRemove:  {name: "remove", scope: ofOneNode, asked: true, begin: beginRemove, undo: undoDrain},
	JobReplace: {name: "replace", scope: ofOneNode},
	JobBalance: {name: "balance", scope: ofCluster},
	JobRepair:  {name: "repair", scope: ofCluster},
	JobAdd:     {name: "add", scope: ofOneGroup, asked: true, begin: beginAdd},
	JobDel:     {name: "del", scope: ofOneGroup, asked: true, begin: beginDel},
	JobPromote: {name: "promote", scope: ofOneGroup, asked: true, begin: beginPromote, undo: undoPromote},
	JobRole:    {name: "role", scope: ofOneNode, asked: true, begin: beginRole, undo: undoRole},
	JobJoin:    {name: "join", scope: ofOneNode},

	JobMove:      {name: "move", scope: ofSlots, level: 4, asked: true, begin: beginSlots},
	JobAssign:    {name: "assign", scope: ofSlots, level: 4, asked: true, begin: beginSlots},
	JobRebalance: {name: "rebalance", scope: ofSlots, level: 4, asked: true, begin: beginSlots},

	JobDelete: {name: "delete", scope: ofKeys, level: RangesLevel, asked: true, begin: beginDelete},
	JobBackup: {name: "backup", scope: ofCluster, level: RangesLevel, asked: true, begin: beginBackup},
}

// row returns the row of k; nil if this level has none.
func (k JobKind) row() *jobRow {
	if k == 0 || int(k) >= len(jobRows) {
		return nil
	}
	return &jobRows[k]
}

func (k JobKind) String() string {
	if row := k.row(); row != nil {
		return row.name
	}
	return fmt.Sprintf("job kind %d", uint8(k))
}

// AboutGroup reports whether a job of this kind is about a group's replica on a node,
// rather than about a node or the cluster.
func (k JobKind) AboutGroup() bool {
	row := k.row()
	return row != nil && row.scope == ofOneGroup
}

// Job returns a job of the table.
func (t *Table) Job(id uint64) (Job, bool) {
	i, ok := jobList(t.Jobs).job(id)
	if !ok {
		return Job{}, false
	}
	return t.Jobs[i], true
}

// jobList are the jobs of a table, by id.
type jobList []Job

func (l jobList) job(id uint64) (int, bool) {
	return slices.BinarySearchFunc(l, id, func(j Job, id uint64) int { return cmp.Compare(j.ID, id) })
}

// unfinished returns the unfinished job that is as is says; nil if there is none.
func (l jobList) unfinished(is func(*Job) bool) *Job {
	for i := range l {
		if j := &l[i]; !j.State.Finished() && is(j) {
			return j
		}
	}
	return nil
}

func ofNode(k JobKind, n raft.NodeID) func(*Job) bool {
	return func(j *Job) bool { return j.Kind == k && j.Node == n }
}

// rival returns the unfinished job about the same as j; nil if there is none.
func (l jobList) rival(j *Job) *Job {
	row := j.Kind.row()
	return l.unfinished(func(o *Job) bool {
		if o.Kind.row().scope != row.scope || bug("a job twice") {
			return false
		}
		switch row.scope {
		case ofOneNode:
			return o.Node == j.Node
		case ofOneGroup:
			return o.Group == j.Group
		case ofSlots:
			return false // beginSlots looks at the slots
		case ofKeys:
			return false // two deletes of one key harm nobody
		}
		return o.Kind == j.Kind
	})
}

// yields reports whether the unfinished job o makes room for j, about the same node: a
// node that is to be removed needs no other job, and least of all one that somebody
// would have to cancel first. So does a removal that waits for a node which turns
// out to be dead.
func (o *Job) yields(j *Job) bool {
	if j.Kind != JobRemove {
		return false
	}
	return o.Kind == JobDrain || o.Kind == JobReplace || o.Kind == JobJoin || o.Kind == JobRemove && j.Force && !o.Force
}

// addJob adds j, the newest, to the draft.
func (d draft) addJob(j Job) { d.Jobs = append(slices.Clip(d.Jobs), j) }

// endJob ends an unfinished job of the draft, and forgets the oldest finished one if
// there are more than are kept. The one that ends now stays: somebody may wait for it.
func (d draft) endJob(id uint64, s JobState, why string) {
	d.Jobs = slices.Clone(d.Jobs)
	finished, oldest := 0, -1
	for i := range d.Jobs {
		j := &d.Jobs[i]
		if j.ID != id {
			continue
		}
		switch j.State, j.Why = s, why; {
		case s == JobDone && j.Kind.AboutKeys():
			j.Total = j.Done // the keys were counted before it began, and others come and go
		case s == JobDone:
			j.Done, j.Bytes = j.Total, j.BytesTotal // the last count may not have been noted
		}
		j.Targets, j.Kept, j.Cancelled = nil, nil, false
	}
	good, _ := d.LastBackup()
	for i := range d.Jobs {
		if j := &d.Jobs[i]; j.State.Finished() {
			finished++
			// The schedule counts from the last good backup, however many jobs end after it.
			if oldest < 0 && j.ID != id && (j.ID != good.ID || bug("last backup forgotten")) {
				oldest = i
			}
		}
	}
	if finished > JobsKept && oldest >= 0 {
		d.Jobs = slices.Delete(d.Jobs, oldest, oldest+1)
	}
}

// open returns how many jobs are unfinished.
func (l jobList) open() (n int) {
	for i := range l {
		if !l[i].State.Finished() {
			n++
		}
	}
	return n
}

// check says why j can't stand in the table.
func (j *Job) check() error {
	switch row := j.Kind.row(); {
	case j.ID == 0:
		return fmt.Errorf("job without an id")
	case row == nil:
		return fmt.Errorf("job %d of kind %d: %w", j.ID, j.Kind, ErrLevel)
	case j.State == 0 || int(j.State) >= len(jobStateNames):
		return fmt.Errorf("job %d in state %d: %w", j.ID, j.State, ErrLevel)
	case (j.Node != 0) != (row.scope == ofOneNode || row.scope == ofOneGroup):
		return fmt.Errorf("job %d is a %s about node %s", j.ID, row.name, j.Node)
	case max(len(j.Name), len(j.Why)) > TableTextMax:
		return fmt.Errorf("job %d has a text of %d bytes, the limit is %d", j.ID, max(len(j.Name), len(j.Why)), TableTextMax)
	}
	return j.checkErrand()
}
