package shardmap

import (
	"errors"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap/pack"
)

// Errand is what the table has of a job that the leader of the meta group does itself, as a client
// of its own cluster: a delete of a prefix, or a backup. It changes no replica and moves no slot.
type Errand struct {
	// Prefix is what the keys begin with that a JobDelete deletes; empty: it deletes all keys.
	Prefix string // at most KeyMax bytes, any
	// Node does it, or did it last; 0: none has begun. A backup's file is on that node's host.
	Node raft.NodeID
	// File is the name of a backup in the directory of Node, once Node has begun to write it.
	File string // at most TableTextMax bytes
	// At is when Node began to write File, or took a JobDelete up, by its clock, in Unix seconds. Of a JobDelete it grows
	// each time, if need be ahead of the clock, so that a Start knows its own note.
	At int64
	// Slot: a JobDelete has left no key with the prefix in the slots below it. The next leader continues there.
	Slot Slot // Slots at most
	// Scheduled: the schedule wanted the backup, and no person.
	Scheduled bool
}

// ErrandAsks is what an order for an errand says of it:
//
//	[prefix, keys, scheduled, after]
type ErrandAsks struct {
	Prefix string // of a JobDelete; at most KeyMax bytes, any
	Keys   uint64 // how many it is about, as far as the sender knows
	// Scheduled: the leader's schedule wants a JobBackup because it is due After that job, the last
	// backup; 0: there was none. It is refused if there is a later one by now.
	Scheduled bool
	After     uint64
}

// NoteErrand records how far an unfinished errand is or, with a state that is finished, that it has
// ended:
//
//	[id, state, node, file, at, slot, done, total, bytes, why]
//
// With the state running it leaves a job paused that is.
type NoteErrand struct {
	ID          uint64
	State       JobState
	Node        raft.NodeID // that does it
	File        string      // at most TableTextMax bytes
	At          int64       // Unix seconds, 0 or more
	Slot        Slot        // Slots at most
	Done, Total uint64      // keys
	Bytes       uint64      // of the file
	Why         string      // at most TableTextMax bytes
}

const (
	errandFields     = 6
	errandAsksFields = 4
	noteErrandFields = 10
)

// AboutKeys reports whether a job of this kind is an errand: the leader of the meta group does it
// as a client of the cluster. Paused, it stops where it is; cancelled or failed, what it has
// deleted stays deleted, and a file that is not whole goes.
func (k JobKind) AboutKeys() bool { return k == JobDelete || k == JobBackup }

// LastBackup returns the last backup that is done, and the last one of all; the zero value: there
// is none.
func (t *Table) LastBackup() (good, last Job) {
	for i := range t.Jobs {
		j := &t.Jobs[i]
		if j.Kind != JobBackup {
			continue
		}
		if last = *j; j.State == JobDone {
			good = *j
		}
	}
	return good, last
}

// BareJobs returns jobs without the prefixes that they delete, which tell what keys there are.
func BareJobs(jobs []Job) []Job {
	bare := slices.Clone(jobs)
	for i := range bare {
		bare[i].Errand.Prefix = ""
	}
	return bare
}

// beginDelete checks the prefix.
func beginDelete(_ draft, j *Job) error {
	if n := len(j.Errand.Prefix); n > KeyMax {
		return &Refusal{Kind: RefusedRequest, Object: "job delete", Found: fmt.Sprintf("a prefix of %d bytes, the limit is %d", n, KeyMax), Next: "choose a shorter one: no key is as long"}
	}
	return nil
}

// beginBackup refuses what a backup has no use for.
func beginBackup(_ draft, j *Job) error {
	if j.Errand.Prefix != "" {
		return &Refusal{Kind: RefusedRequest, Object: "job backup", Found: "it names a prefix", Next: "leave it out: a backup has all keys"}
	}
	return nil
}

// late refuses a backup of the schedule while there is a later one than it was to follow: two
// leaders, of which one does not know of the other, would take two in the time of one.
func (a *ErrandAsks) late(t *Table, k JobKind) error {
	_, last := t.LastBackup()
	if k != JobBackup || !a.Scheduled || last.ID == a.After || bug("backup twice in its time") {
		return nil
	}
	return &Refusal{Kind: RefusedConflict, Object: "job backup", Found: fmt.Sprintf("job %d is a later backup than the one it was to follow", last.ID), Next: "see muster job list"}
}

// into notes in a job what an order says.
func (a *ErrandAsks) into(j *Job) {
	j.Total = a.Keys
	j.Errand.Prefix = a.Prefix
	j.Errand.Scheduled = a.Scheduled && j.Kind == JobBackup
}

func (a *ErrandAsks) append(b []byte) []byte {
	b = pack.AppendArray(b, errandAsksFields)
	b = pack.AppendBytes(b, []byte(a.Prefix))
	b = pack.AppendUint(b, a.Keys)
	b = pack.AppendBool(b, a.Scheduled)
	return pack.AppendUint(b, a.After)
}

func readErrandAsks(r *tableReader) (a ErrandAsks) {
	r.fields("errand", errandAsksFields)
	a.Prefix, a.Keys, a.Scheduled, a.After = string(r.Bytes()), r.Uint(), r.Bool(), r.Uint()
	return a
}

func (a *ErrandAsks) describe(k JobKind) string {
	switch {
	case k == JobDelete:
		return fmt.Sprintf(" prefix %s of %d keys", describeText(a.Prefix), a.Keys)
	case a.Scheduled:
		return fmt.Sprintf(" scheduled after %d", a.After)
	}
	return ""
}

func (e *Errand) append(b []byte) []byte {
	b = pack.AppendArray(b, errandFields)
	b = pack.AppendBytes(b, []byte(e.Prefix))
	b = pack.AppendUint(b, uint64(e.Node))
	b = pack.AppendString(b, e.File)
	b = pack.AppendUint(b, uint64(e.At))
	b = pack.AppendUint(b, uint64(e.Slot))
	return pack.AppendBool(b, e.Scheduled)
}

func readErrand(r *tableReader) (e Errand) {
	r.fields("errand", errandFields)
	e.Prefix, e.Node, e.File = string(r.Bytes()), raft.NodeID(r.Uint()), r.String()
	e.At, e.Slot, e.Scheduled = int64(r.UintMax(1<<63-1)), Slot(r.UintMax(Slots)), r.Bool()
	return e
}

// checkErrand returns why a table can't have what the job has of an errand.
func (j *Job) checkErrand() error {
	e := &j.Errand
	switch {
	case !j.Kind.AboutKeys() && *e != Errand{}:
		return fmt.Errorf("job %d (%s) has an errand", j.ID, j.Kind)
	case len(e.Prefix) > KeyMax:
		return fmt.Errorf("job %d has a prefix of %d bytes, the limit is %d", j.ID, len(e.Prefix), KeyMax)
	case len(e.File) > TableTextMax:
		return fmt.Errorf("job %d has a file name of %d bytes, the limit is %d", j.ID, len(e.File), TableTextMax)
	case e.Slot > Slots || e.At < 0:
		return fmt.Errorf("job %d is at slot %d since %d", j.ID, e.Slot, e.At)
	case j.Kind == JobBackup && (e.Prefix != "" || e.Slot != 0), j.Kind == JobDelete && (e.File != "" || e.Scheduled):
		return fmt.Errorf("job %d (%s) has what belongs to another kind", j.ID, j.Kind)
	}
	return nil
}

// AppendNoteErrand appends the bytes of n to b. At this level the error is always nil.
func AppendNoteErrand(b []byte, n *NoteErrand) ([]byte, error) {
	b = appendTableHead(b, TableErrand, noteErrandFields)
	b = pack.AppendUint(b, n.ID)
	b = pack.AppendUint(b, uint64(n.State))
	b = pack.AppendUint(b, uint64(n.Node))
	b = pack.AppendString(b, n.File)
	b = pack.AppendUint(b, uint64(n.At))
	for _, v := range [...]uint64{uint64(n.Slot), n.Done, n.Total, n.Bytes} {
		b = pack.AppendUint(b, v)
	}
	return pack.AppendString(b, n.Why), nil
}

func readNoteErrand(r *tableReader) (tableCommand, error) {
	n := new(NoteErrand)
	r.fields("errand", noteErrandFields)
	n.ID, n.State, n.Node, n.File = r.Uint(), JobState(r.UintMax(255)), raft.NodeID(r.Uint()), r.String()
	n.At, n.Slot = int64(r.UintMax(1<<63-1)), Slot(r.UintMax(Slots))
	n.Done, n.Total, n.Bytes, n.Why = r.Uint(), r.Uint(), r.Uint(), r.String()
	if r.Err() == nil && (n.State == 0 || int(n.State) >= len(jobStateNames)) {
		r.level = fmt.Errorf("job state %d: %w", n.State, ErrLevel)
	}
	return n, r.err()
}

// apply returns the table with how far the errand is.
func (n *NoteErrand) apply(t *Table, id raft.LogID) (*Table, error) {
	i, err := jobList(t.Jobs).about(n.ID, n.Why)
	if err != nil {
		return t, err
	}
	object := fmt.Sprintf("job %d", n.ID)
	j := t.Jobs[i]
	if !j.Kind.AboutKeys() {
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: fmt.Sprintf("it is a %s, which is no errand", j.Kind), Next: fmt.Sprintf("see muster job show %d", n.ID)}
	}
	now := j
	now.Done, now.Total, now.Bytes, now.Why = n.Done, n.Total, n.Bytes, n.Why
	now.Errand.Node = n.Node
	if j.Kind == JobBackup {
		now.Errand.File, now.Errand.At = n.File, n.At
	} else {
		now.Errand.At, now.Errand.Slot = n.At, n.Slot
	}
	if err := now.checkErrand(); err != nil {
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: err.Error(), Next: fmt.Sprintf("see muster job show %d", n.ID)}
	}
	if n.State == JobPaused {
		return t, &Refusal{Kind: RefusedRequest, Object: object, Found: errPausedSo.Error(), Next: fmt.Sprintf("muster job pause %d", n.ID)}
	}
	if !n.State.Finished() && now.Equal(&j) {
		return t, nil
	}
	made := t.draft(id)
	*made.editJob(i) = now
	if n.State.Finished() {
		made.endJob(n.ID, n.State, n.Why)
	}
	return made.Table, nil
}

// errPausedSo: a note of how far an errand is does not pause it.
var errPausedSo = errors.New("a person pauses it, and no note of how far it is")

func (n *NoteErrand) describe() string {
	text := fmt.Sprintf("%d %s node %s done %d of %d", n.ID, n.State, n.Node, n.Done, n.Total)
	if n.File != "" {
		text += fmt.Sprintf(" file %s of %d bytes at %d", describeText(n.File), n.Bytes, n.At)
	} else {
		text += fmt.Sprintf(" slot %d", n.Slot)
	}
	return text + " why " + describeText(n.Why)
}

// ErrandPrefix returns what the keys begin with that an order wants deleted by a job; false if it is
// another order. It does not check the order.
func ErrandPrefix(payload []byte) (prefix []byte, ok bool) {
	r := tableReader{Reader: pack.NewReader(payload)}
	r.ArrayLen(2)
	if kind := r.Uint(); r.Err() != nil || TableCommandKind(kind) != TableJob {
		return nil, false
	}
	r.ArrayLen(JobDelete.orderFields())
	if kind := r.UintMax(255); r.Err() != nil || JobKind(kind) != JobDelete {
		return nil, false
	}
	r.Uint() // node
	r.Uint() // group
	r.Bool() // force
	r.Uint() // role
	r.ArrayLen(errandAsksFields)
	prefix = r.Bytes()
	return prefix, r.Err() == nil
}
