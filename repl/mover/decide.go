package mover

import (
	"fmt"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// decide looks at everything and asks for what is to be done next. It is called whenever
// something may have changed, and remembers nothing of the last time.
func (c *Core) decide(now time.Duration) {
	v := c.view(now, c.table)
	c.look.wanted = c.lacksLeaders(v)
	c.record(v)
	w := &work{view: v, free: c.table.MoveParallel()}
	for _, moves := range v.moving {
		if moves {
			w.free--
		}
	}
	c.jobs.note(now, c.table)
	w.read()
	c.begins(w)
	w.joins()
	w.leaves()
	w.byHand()
	w.steps()
	c.ends(w)
	c.progress(w)
	w.slotJobs()
}

// lacksLeaders reports whether some group's leader is not known, other than because a
// change there has just been asked for. One that is silent is none any more.
func (c *Core) lacksLeaders(v *view) bool {
	lacks := func(id raft.GroupID) bool { g := c.of(id); return (g.told == nil || c.silent(g.from)) && g.flight == 0 }
	return lacks(0) || slices.ContainsFunc(v.table.Groups, func(g shardmap.TableGroup) bool { return lacks(g.ID) })
}

// record has the table note what the groups' leaders have told. Nodes learn from the
// table what to hold, so nothing else is done to a group before.
func (c *Core) record(v *view) {
	for _, r := range v.records {
		c.propose(v.now, fmt.Sprintf("members %d", r.ID), append1(shardmap.AppendMembers(nil, &shardmap.Members{
			Group: r.ID, Incarnation: r.Incarnation, Seen: r.Seen, Next: r.Next, Replicas: r.Replicas,
		})))
	}
}

// append1 is the bytes of a command, which the appending functions of this level always
// make.
func append1(b []byte, err error) []byte {
	if err != nil {
		panic(fmt.Sprintf("a command of the mover can't be written: %v", err))
	}
	return b
}

// work is what one decision does.
type work struct {
	*view
	free    int       // how many groups more may begin to change
	repair  plan.Plan // what is broken, asked for, or too few
	balance plan.Plan // the same, and what makes nodes even; made only if it is needed
	// open are the groups of repair in which no job about a node has a part, and that are
	// not just tidied while a job is paused.
	open  []raft.GroupID
	waits map[raft.GroupID]string // why a step waits, for a person
	// waitsFor says what jobs about one group wait for.
	waitsFor map[uint64]string
}

// settings returns what the planner has to know of the settings.
func settings(t *shardmap.Table, b plan.Balance) plan.Settings {
	return plan.Settings{Replicas: t.Replicas(), MetaVoters: t.MetaVoters(), Balance: b}
}

// make plans. The settings of a table are always good.
func (v *view) make(b plan.Balance) plan.Plan {
	p, err := plan.Make(v.table, &v.known, settings(v.table, b))
	if err != nil {
		panic(fmt.Sprintf("the table has a setting that it must have refused: %v", err))
	}
	return p
}

// read makes the plans, and finds out whom their steps belong to.
func (w *work) read() {
	w.waits = map[raft.GroupID]string{}
	w.repair = w.make(plan.BalanceOff)
	paused := slices.ContainsFunc(w.table.Jobs, func(j shardmap.Job) bool { return j.State == shardmap.JobPaused && !j.Kind.AboutKeys() })
	if paused {
		w.repair.Steps = slices.DeleteFunc(w.repair.Steps, w.tidies)
	}
	for i := range w.repair.Steps {
		s := &w.repair.Steps[i]
		if !slices.Contains(w.open, s.Group) && !w.claimed(s) {
			w.open = append(w.open, s.Group)
		}
	}
	if j := w.running(shardmap.JobBalance); j != nil || w.mayBalance() {
		w.balance = w.make(plan.BalanceOn)
	}
}

// tidies reports whether a step does no more than take back learners that were on their
// way. While a job is paused they wait for it.
func (w *work) tidies(s plan.Step) bool {
	if s.Kind != plan.Remove || s.Group == 0 {
		return false
	}
	row, _ := w.table.Group(s.Group)
	for _, p := range s.Out {
		state := w.known.Groups[s.Group].Replicas[p.Replica]
		if _, there := w.table.Node(p.Node); !there || state != plan.Learning && state != plan.Learned {
			return false
		}
	}
	return len(row.Replicas) > 0
}

// claimed reports whether a step is the work of a job about a node that runs: one that
// holds a replica of its group, or is to lead it.
func (w *work) claimed(s *plan.Step) bool {
	row, _ := w.table.Group(s.Group)
	for i := range w.table.Jobs {
		j := &w.table.Jobs[i]
		switch j.Kind {
		case shardmap.JobDrain, shardmap.JobRemove, shardmap.JobReplace, shardmap.JobRole:
		default:
			continue
		}
		if j.State == shardmap.JobRunning && (row.Preferred == j.Node || slices.ContainsFunc(row.Replicas, func(r shardmap.TableReplica) bool { return r.Node == j.Node })) {
			return true
		}
	}
	return false
}

// running returns a job of a kind that runs.
func (w *work) running(kinds ...shardmap.JobKind) *shardmap.Job {
	for i := range w.table.Jobs {
		if j := &w.table.Jobs[i]; j.State == shardmap.JobRunning && slices.Contains(kinds, j.Kind) {
			return j
		}
	}
	return nil
}

// unfinished returns a job of a kind that has not ended.
func (v *view) unfinished(kind shardmap.JobKind) *shardmap.Job {
	for i := range v.table.Jobs {
		if j := &v.table.Jobs[i]; !j.State.Finished() && j.Kind == kind {
			return j
		}
	}
	return nil
}

// steps asks for the first step of each group.
func (w *work) steps() {
	p, may := &w.repair, func(id raft.GroupID) bool {
		return !slices.Contains(w.open, id) || w.running(shardmap.JobRepair) != nil
	}
	balances := w.running(shardmap.JobBalance) != nil
	if balances {
		p, may = &w.balance, func(raft.GroupID) bool { return true }
	}
	begun := map[raft.GroupID]bool{}
	for i := range p.Steps {
		s := &p.Steps[i]
		if begun[s.Group] {
			continue
		}
		begun[s.Group] = true
		if !w.settled(s.Group) || !may(s.Group) {
			continue
		}
		if !w.moving[s.Group] && (w.free <= 0 || balances && s.Kind == plan.Add && (w.unsure || w.joining())) {
			continue // what is too much on a node would have to move again
		}
		again := *s
		if err := plan.Recheck(w.table, &w.known, &again); err != nil {
			// What its leader has said may have passed, as of a copy that had not caught up.
			w.waits[s.Group], w.c.of(s.Group).watched = err.Error(), true
			continue
		}
		if !w.moving[s.Group] {
			w.moving[s.Group] = true
			w.free--
		}
		w.do(&again)
	}
}

// joining reports whether a node that is there is about to become one that takes replicas.
func (w *work) joining() bool {
	return slices.ContainsFunc(w.table.Jobs, func(j shardmap.Job) bool {
		return j.Kind == shardmap.JobJoin && j.State == shardmap.JobRunning && !w.c.silent(j.Node)
	})
}

// do asks for one step.
func (w *work) do(s *plan.Step) {
	g := w.c.of(s.Group)
	if s.Kind == plan.Prefer {
		w.c.propose(w.now, fmt.Sprintf("prefer %d", s.Group), append1(shardmap.AppendPrefer(nil, &shardmap.Prefer{Group: s.Group, Node: s.In[0].Node})))
		return
	}
	var ch raft.Change
	for _, p := range s.In {
		if s.Kind == plan.Add {
			ch.Add = append(ch.Add, raft.NewMember{Node: p.Node, Goal: raft.GoalCopy})
		} else if l, ok := on(g.members.Learners, p.Node); ok {
			ch.Promote = append(ch.Promote, l.Replica)
		}
	}
	for _, p := range s.Out {
		_, votes := on(g.members.Voters, p.Node)
		if s.Group == 0 && votes && plan.Stays(w.table, &w.known, p) {
			ch.Demote = append(ch.Demote, p.Replica)
		} else {
			ch.Remove = append(ch.Remove, p.Replica)
		}
	}
	w.change(s.Group, ch)
}

// change asks a group's leader for a change of the membership that it told of.
func (w *work) change(id raft.GroupID, ch raft.Change) {
	g := w.c.of(id)
	row, _ := w.table.Group(id)
	ch.After = g.told.At.Index
	g.flight = w.c.begin(w.now, Action{Kind: Change, Node: g.from, Group: id, Incarnation: row.Incarnation, Change: ch}, "")
}

// on returns the member of a list that is on a node.
func on(list []raft.Member, n raft.NodeID) (raft.Member, bool) {
	i := slices.IndexFunc(list, func(m raft.Member) bool { return m.Node == n })
	if i < 0 {
		return raft.Member{}, false
	}
	return list[i], true
}

// joins gives nodes that join their copy of the meta group.
func (w *work) joins() {
	if !w.settled(0) {
		return
	}
	g := w.c.of(0)
	var ch raft.Change
	for i := range w.table.Jobs {
		j := &w.table.Jobs[i]
		if j.Kind != shardmap.JobJoin || j.State != shardmap.JobRunning {
			continue
		}
		if _, there := w.table.Node(j.Node); there && !holds(&g.members, j.Node) {
			ch.Add = append(ch.Add, raft.NewMember{Node: j.Node, Goal: raft.GoalCopy})
		} else if there {
			g.watched = true
		}
	}
	if len(ch.Add) > 0 {
		w.change(0, ch)
	}
}

func holds(m *raft.Membership, n raft.NodeID) bool {
	for o := range m.All() {
		if o.Node == n {
			return true
		}
	}
	return false
}

// leaves takes from nodes that are removed what votes nowhere: the copies, and that of the
// meta group last, from which the node learns what happens to it.
func (w *work) leaves() {
	gone := func(n raft.NodeID) bool {
		j := jobOf(w.table, n)
		return j != nil && j.Kind == shardmap.JobRemove && j.State == shardmap.JobRunning && w.held[n] == 0
	}
	take := func(row *shardmap.TableGroup, may func(n raft.NodeID) bool) {
		if !w.settled(row.ID) {
			return
		}
		var ch raft.Change
		for _, l := range w.c.of(row.ID).members.Learners {
			if gone(l.Node) && may(l.Node) {
				ch.Remove = append(ch.Remove, l.Replica)
			}
		}
		if len(ch.Remove) > 0 {
			w.change(row.ID, ch)
		}
	}
	for i := range w.table.Groups {
		take(&w.table.Groups[i], func(raft.NodeID) bool { return true })
	}
	take(&w.table.Meta, func(n raft.NodeID) bool { return w.named[n] == 1 })
}

// replicaOf names a replica of a row.
func replicaOf(row *shardmap.TableGroup, id raft.ReplicaID) logstore.Replica {
	return logstore.Replica{Group: row.ID, Incarnation: row.Incarnation, ID: id}
}
