package errands

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"muster/raft"
	"muster/shardmap"
)

const (
	// notePause lies between two notes of how far an errand is: each is an entry of the meta group,
	// and goes to every node.
	notePause = time.Second
	// sayAgain is after how long a command is proposed again that has not changed the table.
	sayAgain = 2 * time.Second
	// triesMax is how often an errand is begun that ends with an error and has got no further since the
	// last time.
	triesMax = 8
	// restMin and restMax bound the pause before the next try, which doubles. Together the pauses are longer
	// than a group lacks a leader, or a node takes to start.
	restMin = 500 * time.Millisecond
	restMax = 15 * time.Second
)

// errUnfinished is the error of a Start that has ended by itself, without one, before its end.
var errUnfinished = errors.New("it ended before its end")

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// Now is what the clocks of the host show.
type Now struct {
	Host time.Duration // that goes on evenly
	Wall int64         // Unix seconds; it may jump
}

// ActionKind says what the owner is to do.
type ActionKind uint8

const (
	Propose ActionKind = iota + 1 // put Payload into the meta group's log
	Start                         // do the errand of Job, under Number; of a delete learn the slots' last versions, and wait for its Send
	Send                          // delete what the delete under Number found there, and nothing newer
	Stop                          // end what was started under Number
	Prune                         // remove the files that [Prunable] names for Keep
)

var actionNames = [...]string{Propose: "propose", Start: "start", Send: "send", Stop: "stop", Prune: "prune"}

func (k ActionKind) String() string { return actionNames[k] }

// Action is something that the owner is to do.
type Action struct {
	Kind    ActionKind
	Payload []byte       // of a Propose
	Number  uint64       // of a Start, a Send or a Stop
	Job     shardmap.Job // of a Start, as the table has it: a delete goes on at its slot, a backup is written to its file
	Keep    int          // of a Prune
}

// Progress is how far an errand is.
type Progress struct {
	Slot  shardmap.Slot // of a delete: none below it has such a key left
	Keys  uint64        // that this Start has deleted, or written
	Bytes uint64        // of the file
}

// Outcome is how a Start has ended.
type Outcome struct {
	Progress
	Err   error // nil: all of it is done
	Final bool  // Err is of a kind that goes away by itself in no time
}

// Core decides. One goroutine calls it. It is made for one node, and acts only while the meta group is
// led there.
type Core struct {
	self raft.NodeID

	// Of this leadership.
	leads   bool
	runs    []*run
	says    map[string]time.Duration // commands that were proposed: until when they are not again
	rests   map[uint64]*rest         // by job: those whose last try has failed
	takes   map[uint64]string        // by job: the file that this leader has proposed to write
	counts  map[uint64]uint64        // by job: how many keys were deleted by the last note that was proposed
	ended   map[uint64]int64         // by job: when a backup was first seen to have ended otherwise than well
	prunes  int                      // what the files were pruned for last; 0: they were not, or there is a new one
	actions []Action

	number uint64          // of the last Start; it goes on over leaderships
	at     int64           // of the last delete that was taken up; it goes on likewise
	table  *shardmap.Table // nil: none yet
}

// run is a Start.
type run struct {
	number   uint64
	job      shardmap.Job // as it was begun
	stopping bool
	now      Progress
	noted    time.Duration // when its progress was noted last
	// Of a delete. Invariant: sent only once the table has a note with at, which was proposed after bounded.
	bounded, sent bool     // the owner has the slots' versions; it may delete
	at            int64    // Unix seconds, greater than in any note before; 0: it was not proposed yet
	over          *Outcome // nil: it has not ended
}

// rest is a job whose last try has failed.
type rest struct {
	tries int
	slot  shardmap.Slot // that it had come to
	until time.Duration // when it is tried again
}

// New returns a core for a node.
func New(self raft.NodeID) *Core {
	c := &Core{self: self}
	c.forget()
	return c
}

// forget forgets all that was learnt as a leader, but what has to be stopped.
func (c *Core) forget() {
	c.says, c.rests, c.takes, c.counts, c.ended = map[string]time.Duration{}, map[uint64]*rest{}, map[uint64]string{}, map[uint64]uint64{}, map[uint64]int64{}
	c.prunes, c.actions = 0, nil
}

// Lead hands in whether the meta group is led here, with an entry of this term applied.
func (c *Core) Lead(leads bool) {
	if leads != c.leads {
		c.forget()
		c.leads = leads
	}
}

// Table hands in a table that is newer than the last. It is not changed afterwards.
func (c *Core) Table(t *shardmap.Table) { c.table = t }

// Progress hands in how far a Start is.
func (c *Core) Progress(number uint64, p Progress) {
	if r := c.run(number); r != nil && r.over == nil {
		r.now = p
	}
}

// Bounded hands in that the Start of a delete has learnt the last versions of the slots.
func (c *Core) Bounded(number uint64) {
	if r := c.run(number); r != nil && r.over == nil {
		r.bounded = true
	}
}

// Ended hands in that a Start has ended.
func (c *Core) Ended(number uint64, o Outcome) {
	if r := c.run(number); r != nil && r.over == nil {
		r.now, r.over = o.Progress, &o
	}
}

func (c *Core) run(number uint64) *run {
	if i := slices.IndexFunc(c.runs, func(r *run) bool { return r.number == number }); i >= 0 {
		return c.runs[i]
	}
	return nil
}

// active reports whether there is anything to decide here.
func (c *Core) active() bool {
	return (c.leads || bug("errand by two leaders")) && c.table != nil && c.table.Founded() && c.table.Level >= shardmap.RangesLevel
}

// Turn returns what is to be done now, and when to call it again at the latest, by the host's clock.
func (c *Core) Turn(now Now) (actions []Action, next time.Duration) {
	next = never
	if !c.active() {
		c.stopAll()
	} else {
		next = c.decide(now)
	}
	actions, c.actions = c.actions, nil
	return actions, next
}

// stopAll stops what runs, because another node does it now.
func (c *Core) stopAll() {
	c.runs = slices.DeleteFunc(c.runs, func(r *run) bool { return r.over != nil })
	for _, r := range c.runs {
		c.stop(r)
	}
}

func (c *Core) stop(r *run) {
	if !r.stopping && r.over == nil {
		r.stopping = true
		c.actions = append(c.actions, Action{Kind: Stop, Number: r.number})
	}
}

// decide looks at everything, and asks for what is to be done next. It returns when to look again.
func (c *Core) decide(now Now) (next time.Duration) {
	next = never
	wake := func(at time.Duration) { next = min(next, max(at, now.Host)) }
	for key, until := range c.says {
		if now.Host >= until {
			delete(c.says, key)
		} else {
			wake(until)
		}
	}
	c.settle(now, wake)
	for _, kind := range [...]shardmap.JobKind{shardmap.JobDelete, shardmap.JobBackup} {
		if !slices.ContainsFunc(c.runs, func(r *run) bool { return r.job.Kind == kind }) {
			c.begin(now, kind, wake)
		}
	}
	c.schedule(now, wake)
	good, _ := c.table.LastBackup()
	if keep := c.table.BackupKeep(); good.ID != 0 && c.prunes != keep {
		c.prunes = keep
		c.actions = append(c.actions, Action{Kind: Prune, Keep: keep})
	}
	return next
}

// settle moves each errand that was started a step further.
func (c *Core) settle(now Now, wake func(time.Duration)) {
	c.runs = slices.DeleteFunc(c.runs, func(r *run) bool {
		j, there := c.table.Job(r.job.ID)
		live := there && !j.State.Finished()
		if r.over == nil {
			switch {
			case !live || j.State != shardmap.JobRunning:
				c.stop(r)
			case r.stopping: // it was resumed, or the lead came back, before it had stopped
			case !r.sent:
				c.send(now, r, &j)
			case r.now != Progress{} && now.Host-r.noted >= notePause:
				if c.note(now, r, &j, shardmap.JobRunning, "") {
					r.noted = now.Host
				}
			default:
				wake(r.noted + notePause)
			}
			return false
		}
		switch {
		case !live:
			if there && j.State == shardmap.JobDone && j.Kind == shardmap.JobBackup {
				c.prunes = 0
			}
			return true
		case r.over.Err == nil && r.whole():
			// Also of a job that was paused meanwhile: nothing of it is left to be stopped.
			c.note(now, r, &j, shardmap.JobDone, c.toldOf(r))
			return false // until the table says so: another one may start then
		case r.stopping:
			c.note(now, r, &j, shardmap.JobRunning, "")
			delete(c.takes, j.ID)
			return true
		}
		return c.failed(now, r, &j)
	})
}

// whole reports whether a delete has come to the last slot.
func (r *run) whole() bool {
	return r.job.Kind != shardmap.JobDelete || r.now.Slot >= shardmap.Slots
}

// toldOf is what a backup that is done says of itself.
func (c *Core) toldOf(r *run) string {
	if r.job.Kind != shardmap.JobBackup {
		return ""
	}
	n, _ := c.table.Node(c.self)
	return short(fmt.Sprintf("%s on %s", r.job.Errand.File, n.Name))
}

// failed has an errand tried again after a while, or given up. It reports whether its run has ended.
func (c *Core) failed(now Now, r *run, j *shardmap.Job) bool {
	w := c.rests[j.ID]
	if w == nil || r.now.Slot > w.slot {
		w = &rest{slot: r.now.Slot}
		c.rests[j.ID] = w
	}
	if r.over.Err == nil {
		r.over.Err = errUnfinished
	}
	if r.over.Final || w.tries+1 >= triesMax {
		c.note(now, r, j, shardmap.JobFailed, r.over.Err.Error())
		return false // until the table says so
	}
	pause := min(restMin<<w.tries, restMax)
	w.tries++
	w.until = now.Host + pause
	c.note(now, r, j, shardmap.JobRunning, fmt.Sprintf("is tried again: %v", r.over.Err))
	delete(c.takes, j.ID)
	return true
}

// begin starts the oldest errand of a kind that runs and does not rest.
func (c *Core) begin(now Now, kind shardmap.JobKind, wake func(time.Duration)) {
	for i := range c.table.Jobs {
		j := &c.table.Jobs[i]
		if j.Kind != kind || j.State != shardmap.JobRunning {
			continue
		}
		if w := c.rests[j.ID]; w != nil && now.Host < w.until {
			wake(w.until)
			continue
		}
		if kind == shardmap.JobBackup && !c.taken(now, j) {
			return
		}
		c.number++
		job := *j
		job.Done = max(j.Done, c.counts[j.ID]) // the table may not have the last note of the Start before yet
		c.runs = append(c.runs, &run{number: c.number, job: job, sent: kind != shardmap.JobDelete, noted: now.Host - notePause, now: Progress{Slot: j.Errand.Slot}})
		c.actions = append(c.actions, Action{Kind: Start, Number: c.number, Job: *j})
		wake(now.Host + notePause)
		return
	}
}

// send has a delete begin that knows its bounds, once the table says that this Start has taken it up.
//
// This node may lead no longer without knowing it: it was paused, and its successor has finished the
// job. Keys that users have written since must stay, however late its commands come. So the
// order is: (1) learn the last version of each slot, (2) propose a note that nobody has proposed before,
// (3) wait until it is in the table. An entry that was proposed after (1) and took effect is behind (1) in
// time, and before the entry that ends the job in the log, because a job that has ended takes no note. Each
// bound is therefore older than the end of the job, and what is written after that has a greater version
// in its slot. A Start that comes too late gets no further than (2).
//
// The note is told from all others by its node and its time: at grows from Start to Start, also over
// leaderships, and those of other nodes have other names.
func (c *Core) send(now Now, r *run, j *shardmap.Job) {
	switch {
	case !r.bounded && !bug(bugSentUntaken):
		return
	case r.at != 0 && j.Errand.Node == c.self && j.Errand.At == r.at || bug(bugSentUntaken):
		r.sent, r.job.Errand.At = true, r.at
		c.actions = append(c.actions, Action{Kind: Send, Number: r.number})
		return
	case r.at == 0:
		c.at = max(now.Wall, c.at+1, j.Errand.At+1)
		r.at = c.at
		delete(c.says, takeKey(j.ID)) // of the Start before
	}
	n := shardmap.NoteErrand{ID: j.ID, State: shardmap.JobRunning, Node: c.self, At: r.at, Slot: j.Errand.Slot, Done: r.job.Done, Total: max(j.Total, r.job.Done), Bytes: j.Bytes, Why: j.Why}
	c.propose(now, takeKey(j.ID), append1(shardmap.AppendNoteErrand(nil, &n)))
}

// bugSentUntaken is planted to show that the worlds find it.
const bugSentUntaken = "delete sent before it is taken up"

// takeKey is the key of a command by which this leader takes a job up.
func takeKey(job uint64) string { return fmt.Sprintf("take %d", job) }

// taken reports whether the table says that this leader writes the file of a backup. If not it proposes
// that: the name has to be known before there is a file of that name.
func (c *Core) taken(now Now, j *shardmap.Job) bool {
	if f, ok := c.takes[j.ID]; ok && j.Errand.Node == c.self && j.Errand.File == f {
		return true
	}
	n := shardmap.NoteErrand{ID: j.ID, State: shardmap.JobRunning, Node: c.self, File: FileName(c.table.Cluster, now.Wall, c.table.Index), At: now.Wall, Total: j.Total}
	if c.propose(now, takeKey(j.ID), append1(shardmap.AppendNoteErrand(nil, &n))) {
		c.takes[j.ID] = n.File
	}
	return false
}

// note has the table note how far an errand is, or how it ended. It reports whether that is under way by now
// for the first time.
func (c *Core) note(now Now, r *run, j *shardmap.Job, s shardmap.JobState, why string) bool {
	n := shardmap.NoteErrand{ID: j.ID, State: s, Node: c.self, File: r.job.Errand.File, At: r.job.Errand.At, Total: r.job.Total, Bytes: r.now.Bytes, Why: short(why)}
	if j.Kind == shardmap.JobDelete {
		n.Slot, n.Done = r.now.Slot, r.job.Done+r.now.Keys // what it had deleted before counts
		c.counts[j.ID] = n.Done
	} else {
		n.Done = r.now.Keys
	}
	n.Total = max(n.Total, n.Done)
	key := fmt.Sprintf("note %d", j.ID)
	if s.Finished() {
		key = fmt.Sprintf("end %d", j.ID)
	} else if j.Done == n.Done && j.Errand.Slot == n.Slot && j.Bytes == n.Bytes && j.Why == n.Why && j.Errand.Node == n.Node {
		return false
	} else {
		delete(c.says, key) // it is another one than the last
	}
	return c.propose(now, key, append1(shardmap.AppendNoteErrand(nil, &n)))
}

// propose has a command proposed, if it is not under way. It reports whether it is new.
func (c *Core) propose(now Now, key string, payload []byte) bool {
	if _, under := c.says[key]; under {
		return false
	}
	c.says[key] = now.Host + sayAgain
	c.actions = append(c.actions, Action{Kind: Propose, Payload: payload})
	return true
}

// append1 is the bytes of a command, which the appending functions of this level always make.
func append1(b []byte, err error) []byte {
	if err != nil {
		panic(fmt.Sprintf("a command of an errand can't be written: %v", err))
	}
	return b
}

// short cuts a text to what the table keeps, and cuts through no character.
func short(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), shardmap.TableTextMax)], "")
}
