package node

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"muster/node/overview"
	"muster/raft"
	"muster/raft/quorum"
	"muster/repl/mover"
	"muster/repl/wire"
	"muster/shardmap"
)

// What a status says of the cluster as the table has it: nodes that come and go, jobs
// that move replicas, groups that have too few of them, and what the next loss would
// cost. All of it is this node's own knowledge; it asks nobody.

// jobStuckAfter is how long a running job may show no progress before a person should look
// at it. A large replica is on its way for minutes.
const jobStuckAfter = 10 * time.Minute

// jobWatch remembers since when each running job has been where it is, by this node's own
// clock: the table has no times.
type jobWatch struct {
	mu   sync.Mutex
	seen map[uint64]seenJob // guarded by mu: of the running ones, by id
}

type seenJob struct {
	job   shardmap.Job
	since time.Time
}

// look notes what has moved, with each new table.
func (w *jobWatch) look(t *shardmap.Table, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := make(map[uint64]seenJob)
	for _, j := range t.Jobs {
		if j.State != shardmap.JobRunning {
			continue // one that is resumed begins anew
		}
		if old, ok := w.seen[j.ID]; ok && old.job.Equal(&j) {
			seen[j.ID] = old
		} else {
			seen[j.ID] = seenJob{j, now}
		}
	}
	w.seen = seen
}

// standing returns the jobs that have stood still for too long, by id.
func (w *jobWatch) standing(now time.Time) (list []wire.DoctorJob) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen {
		stood := now.Sub(s.since)
		if stood < jobStuckAfter {
			continue
		}
		waits := s.job.Why
		if waits == "" {
			waits = "it does not say what it waits for"
		}
		list = append(list, wire.DoctorJob{ID: s.job.ID, StoodMs: uint64(stood.Milliseconds()),
			Name: jobCalled(&s.job), Why: fmt.Sprintf("it has moved no %s, %d of %d are done; %s", strings.TrimSuffix(s.job.Unit(), "s"), s.job.Done, s.job.Total, waits),
			Remedy: fmt.Sprintf("see what it waits for, with muster job show %d; muster job cancel %d gives it up", s.job.ID, s.job.ID)})
	}
	slices.SortFunc(list, func(a, b wire.DoctorJob) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// stuck returns the problems with jobs that have stood still for too long.
func (w *jobWatch) stuck(now time.Time) (list []wire.Problem) {
	for _, j := range w.standing(now) {
		list = append(list, overview.StuckJob(&j))
	}
	return list
}

// jobCalled is a job for a sentence.
func jobCalled(j *shardmap.Job) string {
	s := fmt.Sprintf("job %d (%s", j.ID, j.Kind)
	if j.Kind.AboutGroup() {
		s += fmt.Sprintf(" group %d", j.Group)
	}
	if j.Name != "" {
		s += " " + j.Name
	}
	return s + ")"
}

// outlook is what a status is made of that is about the whole cluster.
type outlook struct {
	answer *wire.StatusAnswer // nodes and groups are there
	table  *shardmap.Table
	alive  map[raft.NodeID]bool
}

func newOutlook(a *wire.StatusAnswer, t *shardmap.Table) *outlook {
	o := &outlook{answer: a, table: t, alive: make(map[raft.NodeID]bool)}
	for _, n := range a.Nodes {
		o.alive[n.ID] = n.Status != wire.NodeDead
	}
	return o
}

// servers are the nodes that replicas may vote on: those that are not to give theirs up.
func (o *outlook) servers() int { return serversOf(o.table) }

func serversOf(t *shardmap.Table) (n int) {
	for _, x := range t.Nodes {
		if x.Role == shardmap.NodeServer && !x.Draining {
			n++
		}
	}
	return n
}

// jobAbout returns the unfinished job of one of some kinds about a node; nil if there is none.
func (o *outlook) jobAbout(id raft.NodeID, kinds ...shardmap.JobKind) *shardmap.Job {
	for i := range o.table.Jobs {
		j := &o.table.Jobs[i]
		if j.Node == id && !j.State.Finished() && slices.Contains(kinds, j.Kind) {
			return j
		}
	}
	return nil
}

// replacements says of each dead node when its replicas are made elsewhere.
func (o *outlook) replacements() map[raft.NodeID]string {
	list := make(map[raft.NodeID]string)
	for i := range o.answer.Nodes {
		if n := &o.answer.Nodes[i]; n.Status == wire.NodeDead {
			list[n.ID] = o.replacement(n)
		}
	}
	return list
}

func (o *outlook) replacement(n *wire.StatusNode) string {
	if o.table.Level < mover.Level {
		return "" // nobody replaces it by itself
	}
	if j := o.jobAbout(n.ID, shardmap.JobReplace, shardmap.JobRemove); j != nil {
		what := fmt.Sprintf("; %s makes its replicas elsewhere", jobCalled(j))
		if j.State == shardmap.JobPaused {
			what += fmt.Sprintf(", once muster job resume %d lets it", j.ID)
		}
		return what
	}
	holds, can := false, true
	o.table.EachGroup(func(g *shardmap.TableGroup) bool {
		if r, ok := g.ReplicaOn(n.ID); ok && r.Role == shardmap.ReplicaVoter {
			holds = true
			can = can && o.hasRoom(g)
		}
		return true
	})
	// The leader of the meta group counts from when it last heard of the node itself, so
	// this is about.
	left := o.table.DeadAfter() - time.Duration(n.LastHeardMs)*time.Millisecond
	switch {
	case !holds:
		return ""
	case !can:
		return "; its replicas can't be made elsewhere, for no other server has room for them: add one with muster node add"
	case n.LastHeardMs == 0:
		return fmt.Sprintf("; its replicas are made elsewhere once it has been silent for %s", o.table.DeadAfter())
	case left <= 0:
		return "; its replicas are made elsewhere from now on"
	}
	return fmt.Sprintf("; unless it is back, its replicas are made elsewhere in about %s", left.Round(time.Second))
}

// hasRoom reports whether a server that lives, and is not to give up its own, has no voter
// of the group yet.
func (o *outlook) hasRoom(g *shardmap.TableGroup) bool {
	return slices.ContainsFunc(o.table.Nodes, func(n shardmap.TableNode) bool {
		r, has := g.ReplicaOn(n.ID)
		return n.Role == shardmap.NodeServer && !n.Draining && o.alive[n.ID] && (!has || r.Role != shardmap.ReplicaVoter)
	})
}

// wanted is how many voters a group is to have: what the setting says, as far as there are
// servers, and odd. A group whose replicas a person chose has as many as it has.
func (o *outlook) wanted(g *shardmap.TableGroup) int {
	if g.ByHand {
		return 0
	}
	want := o.table.Replicas()
	if g.ID == 0 {
		want = o.table.MetaVoters()
	}
	if want = min(want, o.servers()); want%2 == 0 {
		want-- // the planner makes no even number of voters: one more is one more that may fail
	}
	return want
}

// counted is the voters of a group, by its leader's word where this node has it.
func (o *outlook) counted(g *wire.StatusGroup) (voters, live int) {
	for _, r := range g.Replicas {
		if r.Role != shardmap.ReplicaVoter {
			continue
		}
		voters++
		if o.alive[r.Node] && r.State != wire.ReplicaLost && r.State != wire.ReplicaDamaged {
			live++
		}
	}
	return voters, live
}

// short is the problem that groups have fewer voters than they should.
func (o *outlook) short() []wire.Problem {
	var groups []raft.GroupID
	least, want := 0, 0
	for i := range o.answer.Groups {
		g := &o.answer.Groups[i]
		row, ok := o.table.Group(g.ID)
		voters, live := o.counted(g)
		// Of one that has as many as it should, the nodes that don't answer are named.
		if w := o.wanted(&row); ok && voters < w {
			if len(groups) == 0 || live < least {
				least = live
			}
			groups, want = append(groups, g.ID), max(want, w)
		}
	}
	if len(groups) == 0 {
		return nil
	}
	p := wire.Problem{What: fmt.Sprintf("%s too few replicas: the least is %d that vote and live, of %d that are wanted", named(groups, "has", "have"), least, want),
		Remedy: "wait: they are made by themselves; muster job list shows how far that is"}
	if o.table.Level < mover.Level {
		p.Remedy = "start the newer muster on all nodes: replicas are made by themselves then"
	}
	return []wire.Problem{p}
}

// notes are what is worth knowing of a healthy cluster.
func (o *outlook) notes() (list []wire.Problem) {
	list = append(list, o.cost()...)
	list = append(list, fewGroups(o.table)...)
	for i := range o.table.Jobs {
		if j := &o.table.Jobs[i]; j.State == shardmap.JobPaused {
			list = append(list, wire.Problem{What: jobCalled(j) + " is paused", Remedy: fmt.Sprintf("muster job resume %d lets it run again", j.ID)})
		}
	}
	return list
}

// fewGroups tells that there are fewer groups than servers.
func fewGroups(t *shardmap.Table) []wire.Problem {
	groups, servers := len(t.Groups), serversOf(t)
	if groups >= servers {
		return nil
	}
	p := wire.Problem{What: fmt.Sprintf("there are fewer groups (%d) than servers (%d): a group has one leader, so some servers lead none and do less", groups, servers),
		Remedy: "nothing needs to be done; muster group create makes one more, and muster slot rebalance gives it slots"}
	if t.Level < shardmap.MovesLevel {
		p.Remedy = "nothing needs to be done; start the newer muster on all nodes, and groups can be made"
	}
	return []wire.Problem{p}
}

// cost says what one more lost node would cost: which groups it stops, and which nodes those
// are.
func (o *outlook) cost() []wire.Problem {
	var groups []raft.GroupID
	risky := make(map[raft.NodeID]bool)
	dead := false
	for i := range o.answer.Groups {
		g := &o.answer.Groups[i]
		voters, live := o.counted(g)
		if voters == 0 || live != quorum.Majority(voters) {
			continue // it can lose one, or has stopped already
		}
		groups = append(groups, g.ID)
		for _, r := range g.Replicas {
			risky[r.Node] = risky[r.Node] || r.Role == shardmap.ReplicaVoter && o.alive[r.Node]
		}
	}
	var names []string
	for _, n := range o.answer.Nodes {
		dead = dead || n.Status == wire.NodeDead
		if risky[n.ID] {
			names = append(names, n.Name)
		}
	}
	if len(groups) == 0 {
		return nil
	}
	if more := len(names) - groupsNamedMax; more > 0 {
		names = append(names[:groupsNamedMax], fmt.Sprintf("%d more", more))
	}
	p := wire.Problem{What: fmt.Sprintf("one more lost node stops %s, if it is one of: %s", named(groups, "", ""), strings.Join(names, ", ")), Remedy: "wait until the jobs that muster job list shows are done"}
	switch servers := o.servers(); {
	case dead:
		p.Remedy = "bring the dead nodes back, or wait until their replicas are made elsewhere"
	case servers < shardmap.GroupVoters:
		p.Remedy = fmt.Sprintf("add servers with muster node add HOST:PORT until there are %d", shardmap.GroupVoters)
	case o.table.Replicas() < shardmap.GroupVoters:
		p.Remedy = fmt.Sprintf("muster setting set replicas %d gives each group a spare", shardmap.GroupVoters)
	}
	return []wire.Problem{p}
}

// stages gives nodes that come or go their own status. A dead one stays that.
func (o *outlook) stages() {
	for i := range o.answer.Nodes {
		n := &o.answer.Nodes[i]
		row, ok := o.table.Node(n.ID)
		if !ok || n.Status != wire.NodeAlive {
			continue
		}
		if _, has := o.table.Meta.ReplicaOn(n.ID); !has || o.jobAbout(n.ID, shardmap.JobJoin) != nil {
			n.Status = wire.NodeJoining
		} else if row.Draining {
			n.Status = wire.NodeDraining
		}
	}
}
