package sim

import (
	"bufio"
	"errors"
	"slices"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/machine"
	"muster/repl/rescue"
	"muster/shardmap"
)

// A run with [Options.Lose] ends differently: at some moment under faults all processes
// end, and most disks never come back. The survivors' directories, as crashes, rot and
// copies from earlier moments have left them, go through package rescue, as muster recover
// does it, and what it says and makes is compared with what is known of the groups:
//
//   - a group that is kept has lost nothing that anybody ever applied;
//   - of one that begins anew, the chosen log has all that any usable survivor knew to be
//     committed, and the state is that which the model has at the log's end;
//   - nothing gets a log id that a lost disk may have given.
//
// The power goes while a plan is applied, too.
type loss struct {
	c         *cluster
	survivors []*node
	reports   []*rescue.Report
	plan      *rescue.Plan
	spoilt    bool // their logs have rotted after the last write
}

// LossResult is what came of a run with Lose.
type LossResult struct {
	Recovered map[string]int // groups, by what became of them
	Hopeless  int            // the loss left no log of group 0 that could be used
	Damaged   int            // how often a damaged log was taken
	Cuts      int            // how often the power went while a plan was applied
	Compared  int            // keys of groups that began anew
}

// spoilEvery is how many runs there are for each in which the survivors' logs rot.
const spoilEvery = 3

// applyCuts bounds how often the power goes while a plan is applied to one disk.
const applyCuts = 3

// run ends the cluster's run.
func (l *loss) run() {
	c := l.c
	c.chaos.stop()
	for _, n := range c.nodes {
		n.files.disarm()
		n.refusals.endAll()
		n.files.makeRoom()
		n.crash(c.chaos.power())
	}
	l.draw()
	if l.spoilt = c.chance.below(spoilEvery) == 0; l.spoilt {
		l.spoil()
	}
	l.inspect()
	if !l.makePlan() {
		c.result.Loss.Hopeless++
		return
	}
	for i := range l.plan.Groups {
		l.check(&l.plan.Groups[i])
	}
	for _, n := range l.survivors {
		l.apply(n)
	}
}

// draw draws the survivors.
func (l *loss) draw() {
	for _, n := range l.c.nodes {
		if !n.dead && !n.waiting { // a host that was not taken in yet has no directory
			l.survivors = append(l.survivors, n)
		}
	}
	for lose := 1 + l.c.chance.below(len(l.c.nodes)-1); lose > 0 && len(l.survivors) > 1; lose-- {
		i := l.c.chance.below(len(l.survivors))
		l.survivors = slices.Delete(l.survivors, i, i+1)
	}
}

// spoil flips a bit somewhere in each survivor's log.
func (l *loss) spoil() {
	for _, n := range l.survivors {
		var all []string
		names, err := n.files.mem.List(dataDir + "/" + logstore.LogDir)
		if err != nil {
			l.c.fail("n%d: %v", n.index, err)
		}
		for _, name := range names {
			all = append(all, dataDir+"/"+logstore.LogDir+"/"+name)
		}
		name := all[l.c.chance.below(len(all))]
		if size := len(n.files.mem.Bytes(name)); size > 0 {
			n.files.mem.Corrupt(name, int64(l.c.chance.below(size)), 1<<l.c.chance.below(8))
		}
	}
}

// inspect leaves out the survivors of which no report can be made, or none that is of
// use.
func (l *loss) inspect() {
	l.survivors = slices.DeleteFunc(l.survivors, func(n *node) bool {
		before := n.files.mem.Ops()
		r, err := rescue.Inspect(n.files.mem, dataDir)
		if n.files.mem.Ops() != before {
			l.c.fail("inspect changes the disk of n%d", n.index)
		}
		switch {
		case err == nil && r.Unknown == "":
			l.reports = append(l.reports, r)
			return false
		case err == nil:
			l.c.note(n.index, "is left out: %s", r.Unknown)
		case errors.Is(err, logstore.ErrDamaged), errors.Is(err, logstore.ErrIdentity), errors.Is(err, logstore.ErrNoLog):
			l.c.note(n.index, "is left out: %v", err)
		default:
			l.c.fail("inspect n%d: %v", n.index, err)
		}
		return true
	})
}

// makePlan reports false if there is none to be made of these survivors.
func (l *loss) makePlan() bool {
	if len(l.reports) == 0 {
		return false
	}
	o := rescue.Options{ID: l.c.chance.next() | 1, DropLost: true, TakeDamaged: l.c.chance.below(2) == 0}
	p, err := rescue.Make(l.reports, o)
	for stranger := (*rescue.NoMember)(nil); errors.As(err, &stranger); p, err = rescue.Make(l.reports, o) {
		l.leaveOut(stranger)
	}
	if errors.Is(err, rescue.ErrNotNow) {
		l.c.note(0, "no plan: %v", err)
		for _, r := range l.reports {
			if r.Table != nil && len(r.Groups) > 0 && r.Groups[0].Damage == "" {
				l.c.fail("no plan is made, though node %s has a table: %v", r.Node, err)
			}
		}
		return false
	}
	if err != nil {
		l.c.fail("make a plan: %v", err)
	}
	l.plan = p
	for i := range p.Groups {
		g := &p.Groups[i]
		l.c.note(0, "group %d: %s, from %s at %v: %s", g.Group, g.Action, g.Source, g.End, g.Loss)
		l.c.result.Loss.Recovered[g.Action]++
	}
	return true
}

// leaveOut leaves out a survivor that the newest table does not have, as the error asks
// for.
func (l *loss) leaveOut(e *rescue.NoMember) {
	l.c.note(0, "%v", e)
	for _, r := range l.reports {
		if r.Node != e.Newest {
			continue
		}
		if t, err := shardmap.ReadTable(r.Table); err != nil {
			l.c.fail("%v: %v", e, err)
		} else if _, ok := t.Node(raft.NodeID(e.Node)); ok {
			l.c.fail("%v, and it is there", e)
		}
	}
	l.survivors = slices.DeleteFunc(l.survivors, func(n *node) bool { return n == l.node(e.Node) })
	l.reports = slices.DeleteFunc(l.reports, func(r *rescue.Report) bool { return r.Node == e.Node })
}

// node returns the survivor of an id.
func (l *loss) node(id rescue.ID) *node { return l.c.nodes[id-1] }

// check compares what becomes of a group with what is known of it.
func (l *loss) check(g *rescue.GroupPlan) {
	t := l.c.truth[g.Group]
	switch g.Action {
	case rescue.Keep:
		// What anybody applied was committed, and a majority that survives has all of that.
		// Rot in the last batch of a log can't be told from a write that was never finished.
		if l.spoilt {
			break
		}
		last := uint64(len(t.entries))
		if !slices.ContainsFunc(l.survivors, func(n *node) bool { return l.holds(n, t, last) }) {
			t.c.fail("group %d is kept, and no survivor has its entry %d of term %d, which was committed\n%s", g.Group, last, t.entries[last-1].term, g.Loss)
		}
	case rescue.Renew:
		for _, r := range l.reports {
			if l.damaged(g) {
				break // all logs are, and what stands behind the damage is lost
			}
			for i := range r.Groups {
				if o := &r.Groups[i]; o.Group == g.Group && o.Damage == "" && o.Commit > 0 && !l.holds(l.node(g.Source), t, o.Commit) {
					t.c.fail("group %d begins anew from node %s, which lacks entry %d: node %s knows that it is committed", g.Group, g.Source, o.Commit, r.Node)
				}
			}
		}
		for id := range t.known {
			if g.Base.Index <= id.Index {
				t.c.fail("group %d begins anew at %v, and %s was written before", g.Group, g.Base, id)
			}
		}
	}
}

// damaged reports whether the chosen log of a group is.
func (l *loss) damaged(g *rescue.GroupPlan) bool {
	for _, r := range l.reports {
		for i := range r.Groups {
			if o := &r.Groups[i]; r.Node == g.Source && o.Group == g.Group && o.Damage != "" {
				l.c.result.Loss.Damaged++
				return true
			}
		}
	}
	return false
}

// holds reports whether the log on a survivor's disk has an entry that was committed.
func (l *loss) holds(n *node, t *truth, index uint64) bool {
	s, err := logstore.OpenToRead(n.files.mem, dataDir)
	if err != nil {
		l.c.fail("read the log of n%d: %v", n.index, err)
	}
	defer s.Close()
	for _, r := range s.Replicas() {
		o, ok := s.Outline(r)
		if _, hurt := s.DamageOf(r); r.Group != t.group || !ok || hurt {
			continue
		}
		if index <= o.Base.ID.Index {
			return true
		}
		if term, has := o.TermAt(index); has && (index > uint64(len(t.entries)) || term == t.entries[index-1].term) {
			return true
		}
	}
	return false
}

// apply carries the plan out on one disk, and looks at what is there.
func (l *loss) apply(n *node) {
	c, mem := l.c, n.files.mem
	apply := func() error {
		return rescue.Apply(mem, dataDir, l.plan, rescue.ApplyOptions{Mark: c.chance.next() | 1, Chance: c.chance.next(), Log: c.logger(n.index)})
	}
	for range c.chance.below(applyCuts + 1) {
		mem.StopAt(1 + c.chance.below(60))
		err := apply()
		if err == nil {
			mem.StopAt(0)
			break
		}
		if !errors.Is(err, vfs.ErrPower) {
			c.fail("apply to n%d: %v", n.index, err)
		}
		mem.Crash(crashModes[c.chaos.power()], c.chance.next())
		c.result.Loss.Cuts++
	}
	if err := apply(); err != nil {
		c.fail("apply to n%d: %v", n.index, err)
	}
	id, _, err := logstore.ReadIdentity(mem, dataDir)
	if err != nil || id.ClusterID != uint64(l.plan.To) || !id.Recovery.Done {
		c.fail("n%d after the plan: %+v, %v", n.index, id, err)
	}
	s, err := logstore.OpenToRead(mem, dataDir)
	if err != nil {
		c.fail("n%d after the plan: %v", n.index, err)
	}
	defer s.Close()
	for i := range l.plan.Groups {
		l.made(n, s, &l.plan.Groups[i])
	}
}

// made checks what a disk has of a group after the plan.
func (l *loss) made(n *node, s *logstore.Store, g *rescue.GroupPlan) {
	var has []logstore.Replica
	for _, r := range s.Replicas() {
		if r.Group == g.Group {
			has = append(has, r)
		}
	}
	mine := g.Action == rescue.Renew && (g.Group == 0 || l.node(g.Source) == n)
	switch {
	case g.Action == rescue.Keep:
	case !mine && len(has) > 0:
		l.c.fail("n%d still has %v of group %d after the plan", n.index, has, g.Group)
	case mine && (len(has) != 1 || uint64(has[0].Incarnation) != l.plan.Incarnation):
		l.c.fail("n%d has %v of group %d after the plan", n.index, has, g.Group)
	case mine && g.Group != 0:
		l.compare(n, s, has[0], g)
	}
}

// compare compares the state with which a group begins anew with the model.
func (l *loss) compare(n *node, s *logstore.Store, r logstore.Replica, g *rescue.GroupPlan) {
	t := l.c.truth[g.Group]
	all := s.Snapshots(r)
	if len(all) != 1 {
		l.c.fail("n%d has %d snapshots of %s", n.index, len(all), r)
	}
	file, err := s.OpenSnapshot(all[0])
	if err != nil {
		l.c.fail("n%d: %v", n.index, err)
	}
	defer file.Close()
	m := machine.NewMap(r, n.known.intended)
	if err := m.Restore(bufio.NewReader(file), all[0].Base.ID, all[0].Base.Time); err != nil {
		l.c.fail("n%d: %v", n.index, err)
	}
	if end := g.End; end.Index == 0 || end.Index > uint64(len(t.entries)) || t.entries[end.Index-1].term != end.Term {
		return // nobody has applied the end of that log, so the model has not either
	}
	l.c.lives.each(func(life *slotLife) {
		span, served := life.spanAt(g.Group, g.End.Index)
		if !served {
			return
		}
		for _, key := range life.names() {
			want, ok := life.at(key, span, g.End.Index)
			value, version, _ := m.State.Get([]byte(key), nil)
			there := version > 0
			if there != (ok && want.there) || there && (version != want.version || valueNumber(value) != want.number) {
				l.c.fail("%s begins anew at %v with %q at version %d of write %d (there: %v); it should be version %d of write %d (there: %v)",
					r, g.End, key, version, valueNumber(value), there, want.version, want.number, ok && want.there)
			}
			l.c.result.Loss.Compared++
		}
	})
}
