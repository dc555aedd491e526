package mover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// What jobs end with, and wait for. The table keeps it, and people read it.
const (
	whyBack = "the node is back"
	whyLeft = "the node has left the cluster"
)

// declineMax is for how long an automatic job that a person cancelled is not begun again,
// if nobody orders anything meanwhile. What breaks later must not stay broken for ever.
const declineMax = time.Hour

// progressPause lies between two records of a job's progress.
const progressPause = time.Second

// jobMemory is what this leadership remembers of jobs. It only spares work: a new leader
// does without.
type jobMemory struct {
	told  map[uint64]time.Duration // when a job's progress was last recorded
	ended map[uint64]time.Duration // when a job was first seen to have ended
	next  time.Duration            // when progress is due that was held back
	again time.Duration            // when what was cancelled may begin again
}

// start has a job made.
func (w *work) start(j shardmap.NewJob) {
	w.c.propose(w.now, fmt.Sprintf("start %d %d", j.Kind, j.Node), append1(shardmap.AppendNewJob(nil, &j)))
}

// finish has a job ended.
func (w *work) finish(j *shardmap.Job, s shardmap.JobState, why string) {
	w.c.propose(w.now, fmt.Sprintf("finish %d", j.ID), append1(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: j.ID, State: s, Why: short(why)})))
}

// short cuts a text to what the table keeps, and cuts through no character.
func short(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), shardmap.TableTextMax)], "")
}

// note notes when jobs were first seen to have ended.
func (m *jobMemory) note(now time.Duration, t *shardmap.Table) {
	if m.ended == nil {
		m.told, m.ended = map[uint64]time.Duration{}, map[uint64]time.Duration{}
	}
	m.again = never
	for i := range t.Jobs {
		j := &t.Jobs[i]
		if _, seen := m.ended[j.ID]; !seen && j.State.Finished() {
			m.ended[j.ID] = now
		}
	}
}

// begins makes the jobs that nobody orders.
func (c *Core) begins(w *work) {
	for i := range w.table.Nodes {
		n := w.table.Nodes[i].ID
		switch {
		case jobOf(w.table, n) != nil:
		case !w.hasTable(n):
			w.start(shardmap.NewJob{Kind: shardmap.JobJoin, Node: n})
		case w.held[n] > 0 && c.lost(w.now, n) && !w.cancelled(n):
			w.start(shardmap.NewJob{Kind: shardmap.JobReplace, Node: n})
		}
	}
	if len(w.open) > 0 && w.unfinished(shardmap.JobRepair) == nil && w.unfinished(shardmap.JobBalance) == nil && !w.stopped(shardmap.JobRepair) {
		w.start(shardmap.NewJob{Kind: shardmap.JobRepair})
	}
	if w.mayBalance() && len(w.balance.Steps) > 0 {
		w.start(shardmap.NewJob{Kind: shardmap.JobBalance})
	}
}

// hasTable reports whether a node is to have a copy of the table, by the table.
func (v *view) hasTable(n raft.NodeID) bool {
	return slices.ContainsFunc(v.c.table.Meta.Replicas, func(r shardmap.TableReplica) bool { return r.Node == n })
}

// mayBalance reports whether nodes may be made even: nothing else is to be done, and a
// person has not just stopped it.
func (w *work) mayBalance() bool {
	switch {
	case !w.table.Balance(), w.missing, len(w.repair.Steps) > 0, w.unfinished(shardmap.JobBalance) != nil, w.stopped(shardmap.JobBalance):
		return false
	}
	return w.running(shardmap.JobDrain, shardmap.JobRemove, shardmap.JobReplace, shardmap.JobRepair, shardmap.JobRole, shardmap.JobJoin, shardmap.JobAdd, shardmap.JobDel) == nil
}

// stopped reports whether a person has cancelled the last job of a kind, and ordered
// nothing since.
func (w *work) stopped(kind shardmap.JobKind) bool {
	return w.declined(newestJob(w.table, func(j *shardmap.Job) bool { return j.Kind == kind }))
}

// cancelled reports the same of the replacement of a node that was not heard of since.
func (w *work) cancelled(n raft.NodeID) bool {
	j := newestJob(w.table, func(j *shardmap.Job) bool { return j.Node == n && j.Kind == shardmap.JobReplace })
	if !w.declined(j) {
		return false
	}
	k := w.c.nodes[n]
	return k == nil || !k.ever || k.heard <= w.c.jobs.ended[j.ID]
}

// declined reports whether a person has cancelled a job that nobody ordered: it is not
// begun again for a while, unless there is something new to do.
func (w *work) declined(j *shardmap.Job) bool {
	if j == nil || j.State != shardmap.JobCancelled || j.Why == whyBack {
		return false
	}
	until := w.c.jobs.ended[j.ID] + declineMax
	if w.now >= until || newestJob(w.table, func(o *shardmap.Job) bool { return o.ID > j.ID && !automatic(o.Kind) && !o.Kind.AboutKeys() }) != nil {
		return false
	}
	w.c.jobs.again = min(w.c.jobs.again, until)
	return true
}

// automatic reports whether jobs of a kind begin by themselves, and again if they are
// cancelled. A host that joins is new, so its job counts with those that people order.
func automatic(k shardmap.JobKind) bool {
	return k == shardmap.JobReplace || k == shardmap.JobBalance || k == shardmap.JobRepair
}

func newestJob(t *shardmap.Table, ok func(*shardmap.Job) bool) (newest *shardmap.Job) {
	for i := range t.Jobs {
		if j := &t.Jobs[i]; ok(j) && (newest == nil || j.ID > newest.ID) {
			newest = j
		}
	}
	return newest
}

// ends ends the jobs that have nothing left to do.
func (c *Core) ends(w *work) {
	for i := range w.table.Jobs {
		j := &w.table.Jobs[i]
		if j.State.Finished() || j.Kind.AboutKeys() {
			continue
		}
		if j.Kind == shardmap.JobReplace && !c.silent(j.Node) && !bug("replacement for a node that is back") {
			w.finish(j, shardmap.JobCancelled, whyBack)
			continue
		}
		if j.State == shardmap.JobRunning {
			c.endsJob(w, j)
		}
	}
}

func (c *Core) endsJob(w *work, j *shardmap.Job) {
	row, there := w.table.Node(j.Node)
	if !there && j.Node != 0 {
		if j.Kind == shardmap.JobRemove {
			w.finish(j, shardmap.JobDone, "")
		} else {
			w.finish(j, shardmap.JobFailed, whyLeft)
		}
		return
	}
	switch j.Kind {
	case shardmap.JobDrain, shardmap.JobReplace:
		if w.held[j.Node] == 0 {
			w.finish(j, shardmap.JobDone, "")
		}
	case shardmap.JobRole:
		if row.Role == shardmap.NodeServer || w.held[j.Node] == 0 {
			w.finish(j, shardmap.JobDone, "")
		}
	case shardmap.JobRemove:
		if w.held[j.Node] == 0 && w.named[j.Node] == 0 {
			c.propose(w.now, fmt.Sprintf("leave %d", j.Node), append1(shardmap.AppendLeave(nil, &shardmap.Leave{Node: j.Node})))
		}
	case shardmap.JobJoin:
		g := c.of(0)
		l, copies := on(g.members.Learners, j.Node)
		switch {
		case !w.hasTable(j.Node):
		case g.told != nil && !c.silent(j.Node) && (!copies || g.caughtUp(l.Replica)):
			w.finish(j, shardmap.JobDone, "")
		case c.lost(w.now, j.Node):
			w.finish(j, shardmap.JobFailed, fmt.Sprintf("nothing was heard of it for %s; start it, or muster node remove --force", c.table.DeadAfter()))
		}
	case shardmap.JobBalance:
		if !w.missing && len(w.balance.Steps) == 0 {
			w.finish(j, shardmap.JobDone, "")
		}
	case shardmap.JobRepair:
		if !w.missing && len(w.open) == 0 {
			w.finish(j, shardmap.JobDone, "")
		}
	}
}

// progress has the table note how far jobs are.
func (c *Core) progress(w *work) {
	c.jobs.next = never
	for i := range w.table.Jobs {
		j := &w.table.Jobs[i]
		if j.State != shardmap.JobRunning || j.Kind.AboutSlots() || j.Kind.AboutKeys() {
			continue
		}
		left, why := w.left(j)
		// What is left can grow while the job runs. What was done stays done.
		p := shardmap.JobProgress{ID: j.ID, Done: j.Done, Total: j.Total, Why: short(why)}
		if left > j.Total-j.Done {
			p.Total = j.Done + left
		} else {
			p.Done = j.Total - left
		}
		if p.Done == j.Done && p.Total == j.Total && p.Why == j.Why {
			continue
		}
		if due, ok := c.jobs.told[j.ID]; ok && w.now < due {
			c.jobs.next = min(c.jobs.next, due)
			continue
		}
		c.jobs.told[j.ID] = w.now + progressPause
		c.propose(w.now, fmt.Sprintf("progress %d", j.ID), append1(shardmap.AppendJobProgress(nil, &p)))
	}
}

// left returns how many replicas a job still has to move, and what it does or waits for.
func (w *work) left(j *shardmap.Job) (replicas uint64, why string) {
	p := &w.repair
	mine := func(g raft.GroupID) bool {
		row, _ := w.table.Group(g)
		return row.Preferred == j.Node || slices.ContainsFunc(row.Replicas, func(r shardmap.TableReplica) bool { return r.Node == j.Node })
	}
	switch j.Kind {
	case shardmap.JobDrain, shardmap.JobReplace, shardmap.JobRemove, shardmap.JobRole:
		replicas = uint64(w.held[j.Node])
	case shardmap.JobBalance:
		p, mine = &w.balance, func(raft.GroupID) bool { return true }
		replicas = moves(p, mine)
	case shardmap.JobRepair:
		mine = func(g raft.GroupID) bool { return slices.Contains(w.open, g) }
		replicas = moves(p, mine)
	case shardmap.JobJoin:
		return 1, "waits until the node has its copy of the table"
	default:
		return 1, w.waitsFor[j.ID]
	}
	for i := range p.Steps {
		if s := &p.Steps[i]; mine(s.Group) {
			if waits := w.waits[s.Group]; waits != "" {
				return replicas, waits
			}
			return replicas, s.String()
		}
	}
	for i := range p.Problems {
		// What is said of the meta group may be about all.
		if o := &p.Problems[i]; mine(o.Group) {
			return replicas, o.String()
		}
	}
	return replicas, ""
}

// moves counts the replicas that steps bring into groups, or take out for good.
func moves(p *plan.Plan, mine func(raft.GroupID) bool) (n uint64) {
	for i := range p.Steps {
		if s := &p.Steps[i]; mine(s.Group) && s.Kind != plan.Add {
			n += uint64(max(len(s.In), len(s.Out)))
		}
	}
	return n
}
