package sim

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/audit"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// wildEvery is how many flaws there are for each while other faults strike.
	wildEvery = 3
	// wildMax bounds how long these strike before the flaw must be found.
	wildMax = 15 * time.Second
	// lookSlack is what an audit takes beside its pace: the leader waits for replicas that are
	// late, and one that has just begun to lead has its turn later.
	lookSlack = 15 * time.Second
	// tieMax is how much longer it may take without a majority: the replicas replay their logs, and
	// what the leader and they say about that may be lost several times.
	tieMax = 30 * time.Second
	// goneWithin bounds the search for a moment at which the wrong part is seen to have gone.
	goneWithin = 10 * time.Second
	// rebuildWithin bounds how long a fenced replica takes to become whole again.
	rebuildWithin = 60 * time.Second
	// slipWithin is how long a machine waits for an entry with which to make a mistake.
	slipWithin = 20 * time.Second
	// trustEvery is how long a person waits before trusting again.
	trustEvery = 5 * time.Second
	// stepDownWithin is after how long a fenced replica no longer leads.
	stepDownWithin = 2 * electionTimeout
	// strikeKinds are how many ways there are in which nodes crash while a replica is fenced.
	strikeKinds = 4
	// behindMax bounds how long a node is cut off that is to lack what a fenced replica has.
	behindMax = time.Second
)

// run makes states wrong, one after the other, while clients work.
func (x *flaws) run() {
	c := x.c
	c.chaos.init(c)
	c.chaos.stop()
	c.until("the paces of audits and walks are set", settleWithin, c.paces.set)
	c.note(0, "audits every %s, walks every %s", c.paces.audit, c.paces.walk)
	for end := c.now + c.options.Length; c.now < end; {
		x.round()
	}
	x.acknowledge()
	c.result.Flaws = FlawResult{x.counts, x.bearers, x.doubted, x.panics}
}

// round makes one flaw, and waits until it is over.
func (x *flaws) round() {
	c := x.c
	wild := c.chance.below(wildEvery) == 0
	if wild {
		c.chaos.resume()
	}
	c.run(c.chance.skewed(100*time.Millisecond, 5*time.Second))
	x.draw()
	if wild {
		c.run(c.chance.skewed(100*time.Millisecond, wildMax))
		x.calm()
	}
	x.await()
}

// calm ends all faults but the flaw.
func (x *flaws) calm() {
	c := x.c
	c.chaos.stop()
	c.net.heal()
	for _, n := range c.nodes {
		n.heal()
	}
	c.until("all nodes find each other", findWithin, func() bool { return haveMet(c.nodes) })
}

// draw draws a flaw, and waits for the moment at which it can be made.
func (x *flaws) draw() {
	c := x.c
	f := &flaw{kind: flawsDrawn[c.chance.below(len(flawsDrawn))], strikes: c.chance.below(3)}
	for end := c.now + slipWithin; c.now < end && x.open == nil; c.run(tick) {
		w := x.victim(f.kind)
		if w == nil {
			continue
		}
		f.node, f.replica = w.node, w.replica
		switch f.kind {
		case FlawSkipped, FlawTwice:
			w.slip.due = f
			for end := c.now + slipWithin; c.now < end && x.open == nil && w.node.up && w.live(); {
				c.step()
			}
			w.slip = slip{}
			return
		case FlawRestored:
			x.due = f
			w.node.crash(c.chaos.power())
			c.run(c.chance.between(0, slipWithin))
			x.due = nil
			return
		default:
			x.spoil(w, f)
		}
	}
}

// victim draws the machine of a replica that is whole and at work, half of the time one that
// leads; nil if it draws none.
func (x *flaws) victim(kind FlawKind) *watched {
	c := x.c
	g := raft.GroupID(0)
	if kind != FlawTable {
		g = raft.GroupID(1 + c.chance.below(len(c.truth)-1))
	}
	n := c.nodes[c.chance.below(len(c.nodes))]
	if lead := c.leaderOf(g); lead != nil && c.chance.below(2) == 0 {
		n = lead
	}
	if !n.up || n.paused || n.dead || n.leave.by > 0 || n.leave.closing || n.host == nil {
		return nil
	}
	r, ok := n.replica(g)
	if !ok {
		return nil
	}
	w, ok := n.host.Machine(g).(*watched)
	if !ok || w.replica != r || w.odd() {
		return nil
	}
	return w
}

// restored makes the flaw that is due when a process has loaded the state of a snapshot.
func (x *flaws) restored(w *watched) {
	if f := x.due; f != nil && w.node == f.node && w.replica == f.replica && w.node.host == nil && !w.odd() {
		x.due = nil
		x.spoil(w, f)
	}
}

// await waits until the flaw is over: found, on its replica alone, and mended.
func (x *flaws) await() {
	c, f := x.c, x.open
	if f == nil {
		return
	}
	f.since = c.now
	for x.open == f {
		c.run(tick)
		if f.replica.Group == 0 && c.now-f.asked > time.Second {
			f.asked = c.now // without commands nothing is compared
			c.probe(0)
		}
		if f.split {
			f.trust()
		}
		n := f.node
		lead := c.leaderOf(f.replica.Group)
		switch {
		case !n.up || n.paused || lead == nil && !f.split:
			f.since = c.now
		case f.fenced == 0 && c.now-f.since > f.within():
			x.missed(f)
		case f.fenced > 0 && c.now-max(f.since, f.fenced) > rebuildWithin:
			c.fail("I17: fenced at %.3f s, and not whole again within %s: %s\n%s", f.fenced.Seconds(), rebuildWithin, f, c.picture())
		case f.fenced > 0 && f.strikes > 0 && c.chance.below(20) == 0:
			f.strikes--
			switch c.chance.below(strikeKinds) {
			case 0: // what a leader wrote last may be on its own disk alone
				for _, n := range c.nodes {
					n.crash(c.chaos.power())
				}
				continue
			case 1:
				f.outrun(lead)
				continue
			}
			if v := c.chaos.victim(); v != nil && c.chance.below(3) == 0 {
				n = v
			}
			n.crash(c.chaos.power())
		}
	}
}

// outrun has all nodes but the leader's and that of the fenced replica fall behind, and then the
// leader's crash: of those that are live the fenced replica alone may have what is committed.
func (f *flaw) outrun(lead *node) {
	c := f.node.c
	if lead == nil || lead == f.node {
		return
	}
	for _, n := range c.nodes {
		if n != lead && n != f.node {
			c.net.isolate(n.index)
		}
	}
	c.run(c.chance.between(tick, behindMax))
	lead.crash(c.chaos.power())
	c.net.heal()
}

// within bounds how long the flaw may take to be found.
func (f *flaw) within() time.Duration {
	p := &f.node.c.paces
	d := p.audit + p.walk + lookSlack
	if f.tied {
		d += tieMax
	}
	return d
}

// missed is called when a flaw should have been found. It may have been overwritten: then the
// replica is like the others.
func (x *flaws) missed(f *flaw) {
	c := x.c
	what := f.state.wrong()
	if what == "" {
		what = f.state.unlike()
	}
	if what == "" {
		// A wrong value that was overwritten may have entered the history of events, which is in
		// snapshots but in no digest.
		f.state.truth.trimmed, f.state.flaw, f.vanished = true, nil, true
		f.ends(FlawVanished)
		return
	}
	// The replica may have applied an entry just now that no other has yet.
	if c.now-f.since > f.within()+goneWithin {
		c.fail("I17: not found within %s: %s: %s\n%s", c.now-f.since, f, what, c.picture())
	}
}

// wrong says what in a state is not what the log says, by a look at all of it, or nothing.
func (w *watched) wrong() string {
	t := w.truth
	if w.state == nil {
		if !t.isTable(w, w.at) {
			return "the table is another one"
		}
		return ""
	}
	if what := t.differs(w, w.at); what != "" {
		return what
	}
	for _, s := range t.c.lives.slots {
		l := t.c.lives.of(s)
		k, ok := l.spanAt(t.group, w.at.Index)
		if !ok {
			continue
		}
		copied, owned := w.state.State.Copy(s)
		if !owned {
			return fmt.Sprintf("slot %d is not served", s)
		}
		err := copied.Check()
		copied.Release()
		if err != nil {
			return err.Error()
		}
		for _, name := range l.names() {
			want, _ := l.at(name, k, w.at.Index)
			value, version, is := w.state.State.Get([]byte(name), nil)
			if there := is == shardmap.Present; there != want.there || there && (version != want.version || valueNumber(value) != want.number) {
				return fmt.Sprintf("key %q is at version %d with write %d (there: %v); it should be version %d of write %d (there: %v)",
					name, version, valueNumber(value), there, want.version, want.number, want.there)
			}
		}
	}
	return ""
}

// unlike says in which part a state differs from that of a replica that stands at the same entry,
// or that there is none.
func (w *watched) unlike() string {
	for _, n := range w.node.c.nodes {
		if n == w.node || !n.up {
			continue
		}
		if o, ok := n.host.Machine(w.replica.Group).(*watched); ok && o.at == w.at && !o.odd() {
			if parts := audit.Differing(w.Digests(nil), o.Digests(nil)); len(parts) > 0 {
				return fmt.Sprintf("parts %v differ from those of n%d", parts, n.index)
			}
			return ""
		}
	}
	return "no other replica stands at the same entry"
}

// look looks at the replicas of a node that are fenced, or were.
func (x *flaws) look(n *node) {
	views := n.host.View()
	f := x.open
	for i := range views {
		v := &views[i]
		switch {
		case v.Fenced == nil:
		case v.Fenced.Found == logstore.FenceUndecided && f != nil && v.Replica.Group == f.replica.Group && x.tainted(f):
			f.split = true
			x.made[madeFlaw{n.id, v.Replica.Group}] = true
		case f != nil && f.split && v.Replica.Group == f.replica.Group:
		default:
			x.accused(n.id, v.Replica.Group, v.Fenced.Parts, "a fence")
		}
	}
	if f != nil && f.node == n {
		i := slices.IndexFunc(views, func(v repl.GroupView) bool { return v.Replica == f.replica })
		if i < 0 {
			f.ends(FlawRestarted)
			return
		}
		f.look(&views[i])
	}
}

// look follows what becomes of the flaw.
func (f *flaw) look(v *repl.GroupView) {
	n, c := f.node, f.node.c
	w, _ := n.host.Machine(f.replica.Group).(*watched)
	switch {
	case v.Stopped != "" && f.fenced == 0:
		// Its state has refused an entry. A person starts the process anew.
		c.note(n.index, "group %d has stopped: %s", f.replica.Group, v.Stopped)
		f.stopped = true
		n.crash(c.chaos.power())
	case v.Stopped != "":
		c.fail("I17: group %d stops on n%d while it is fenced: %s: %s", f.replica.Group, n.index, v.Stopped, f)
	case v.Fenced != nil && f.fenced == 0:
		f.fenced, f.fencedAt, f.life, f.walked = c.now, v.Fenced.At, n.life, v.Fenced.Found == logstore.FenceByWalk
		c.note(n.index, "fenced after %s (%v): %s", f.fenced-f.made, v.Fenced.Found, f)
		f.onDisk()
		if v.Status.Role == raft.RoleLeader {
			f.leads = c.now
		}
	case v.Fenced != nil:
		f.onDisk()
		f.lookAtLead(v)
	case w == nil:
	case f.fenced > 0 && f.onDisk():
		c.fail("I17: n%d serves group %d, of which its disk says that it is fenced: %s", n.index, f.replica.Group, f)
	case f.fenced > 0 && !f.noted && f.life == n.life:
		c.fail("I17: n%d: the fence of group %d ends, and was never on disk: %s", n.index, f.replica.Group, f)
	case w.odd():
		if f.fenced > 0 && f.noted {
			c.fail("I17: n%d: the fence of group %d ends, and the state is still wrong: %s", n.index, f.replica.Group, f)
		}
		f.state = w // that its process has loaded
	case f.fenced == 0 || !f.noted:
		how := FlawRestarted
		if f.stopped {
			how = FlawStopped
		}
		f.ends(how)
	default:
		if what := w.wrong(); what != "" {
			c.fail("I17: n%d: the fence of group %d ends, and the state is not what the log says: %s: %s", n.index, f.replica.Group, f, what)
		}
		if f.split && n.c.flaws.anyFenced(f.replica.Group) {
			return
		}
		how := FlawAudited
		switch {
		case f.split:
			how = FlawUndecided
		case f.walked:
			how = FlawWalked
		}
		f.ends(how)
	}
}

// lookAtLead follows whether a fenced replica leads. One that led as it was fenced hands over. From
// then on it leads only when it was called on to bear its log, each time for a moment.
func (f *flaw) lookAtLead(v *repl.GroupView) {
	n, c := f.node, f.node.c
	switch {
	case v.Status.Role != raft.RoleLeader:
		f.leads = 0
		return
	case f.leads == 0 && !f.called:
		c.fail("I17: n%d begins to lead group %d in term %d, is fenced since %.3f s, and nobody has called for its log: %s", n.index, f.replica.Group, v.Status.Term, f.fenced.Seconds(), f)
	case f.leads == 0:
		f.leads, f.called = c.now, false
		c.flaws.bearers++
		c.note(n.index, "leads group %d in term %d to bear its log", f.replica.Group, v.Status.Term)
	}
	if c.now-f.leads > stepDownWithin {
		c.fail("I17: n%d leads group %d since %.3f s, fenced since %.3f s: %s", n.index, f.replica.Group, f.leads.Seconds(), f.fenced.Seconds(), f)
	}
}

// calls notes a voter's call for the log of the replica, which may be fenced already.
func (x *flaws) calls(n *node, e *wire.Envelope) {
	f, m := x.open, &e.Message
	if f != nil && f.node == n && f.replica.Group == e.Group && f.replica.ID == m.To && m.Type == raft.MsgPreVote && m.Reject {
		f.called = true
	}
}

// ended is the end of a node's process. A fence that is not on disk goes with it.
func (x *flaws) ended(n *node) {
	if f := x.open; f != nil && f.node == n && f.fenced > 0 && n.store != nil {
		f.leads, f.called = 0, false
		if f.onDisk(); !f.noted {
			f.fenced = 0
		}
	}
}

// anyFenced reports whether a replica of a group is fenced somewhere, or may be.
func (x *flaws) anyFenced(g raft.GroupID) bool {
	for _, n := range x.c.nodes {
		if _, ok := n.fencedIn(g); ok || !n.up {
			return true
		}
	}
	return false
}

// fencedIn returns the fence of the node's replica of a group, if it is fenced.
func (n *node) fencedIn(g raft.GroupID) (*repl.Fenced, bool) {
	if !n.up {
		return nil, false
	}
	views := n.host.View()
	i := slices.IndexFunc(views, func(v repl.GroupView) bool { return v.Replica.Group == g })
	if i < 0 {
		return nil, false
	}
	return views[i].Fenced, views[i].Fenced != nil
}

// trust is what a person does where nobody else can tell which replica is right: says that it is
// one without a flaw.
func (f *flaw) trust() {
	c := f.node.c
	if c.now-f.trusted < trustEvery {
		return
	}
	f.trusted = c.now
	for _, n := range c.nodes {
		if fenced, ok := n.fencedIn(f.replica.Group); ok && n != f.node && !n.paused && fenced.Found == logstore.FenceUndecided && c.truth[f.replica.Group].votes(n) {
			c.note(n.index, "its replica of group %d is trusted", f.replica.Group)
			if err := n.host.Audits.Trust(f.replica.Group); err != nil {
				c.fail("n%d: %v", n.index, err)
			}
			n.turn()
			return
		}
	}
}

// votes reports whether a node has a voter of the group.
func (t *truth) votes(n *node) bool {
	r, ok := n.replica(t.group)
	return ok && t.committed().Votes(r.ID)
}

// onDisk notes whether the fence is on disk, and reports whether it is in force there.
func (f *flaw) onDisk() (holds bool) {
	for _, o := range f.node.store.Fences() {
		if o.Replica == f.replica && o.At == f.fencedAt {
			holds = !o.Rebuilt
			f.noted = f.noted || holds
		}
	}
	return holds
}

// survives ends the process of a node that panics because of its memory.
func (n *node) survives() {
	if n.origin().odd == 0 {
		return
	}
	broken := recover()
	if broken == nil {
		return
	}
	if _, failed := broken.(*Failure); failed {
		panic(broken)
	}
	x := &n.c.flaws
	x.panics++
	if x.open != nil {
		x.open.stopped = true
	}
	n.c.note(n.index, "ends with a panic: %v\n%s", broken, debug.Stack())
	n.end(PowerKeep)
}

// judges checks what a leader tells a replica about its state (I17).
func (x *flaws) judges(from *node, to raft.NodeID, v *wire.AuditVerdict) {
	if v.Kind == wire.VerdictAgrees {
		if f := x.open; f != nil && f.node.id == to && f.replica.Group == v.Group && f.kind.shows() && f.state.at == v.At && f.state.wrong() != "" {
			x.c.fail("I17: n%d tells n%d that group %d is right at %s: wrong is %s", from.index, to, v.Group, v.At, f)
		}
		return
	}
	if f := x.open; f != nil && v.Kind == wire.VerdictReplay {
		f.tied = f.tied || f.replica.Group == v.Group
	}
	for _, f := range append(slices.Clone(x.past), x.open) {
		switch {
		case f == nil || f.replica.Group != v.Group || f.over > 0 && x.c.now-f.over > verdictMax:
		case f.split:
			return
		case v.Kind == wire.VerdictDiffers && (f.node.id != to || !f.named(v.Parts)):
		case v.Kind == wire.VerdictUndecided && !x.tainted(f):
		default:
			return
		}
	}
	x.c.fail("I17: n%d tells n%d that group %d at %s: %s, parts %v; wrong is: %s; and before: %v", from.index, to, v.Group, v.At, v.Kind, v.Parts, x.open, x.past)
}

// verdictMax is how late a verdict may be about what has ended.
const verdictMax = 70 * time.Second
