package sim

import (
	"fmt"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// Nodes come and go, by what people order, and replicas with them: the movers of package
// repl/mover do the rest, as they do in a process. Hosts join, two of one name too, leave,
// are killed for good, and come back when they are replaced already. Orders contradict
// each other, and jobs are paused and cancelled. Once all that is over each job must end,
// and each group be as it is set to be.

const (
	// joinersMax is how many hosts join in a run, after the founders.
	joinersMax = nodesMax - 5
	// nodesEvery is how many of the runs that know of it there are for each in which nodes
	// come and go.
	nodesEvery = 3
	// deadAfter is after how long a node of a run is dead.
	deadAfter = "20s"
	// leaveMax is how long a removed node goes on disturbing the others.
	leaveMax = 30 * time.Second
	// movedWithin bounds how long all jobs take to end once all faults are over.
	movedWithin = 5 * time.Minute
	watchEvery  = 200 * time.Millisecond
)

// order gives orders.
type order struct {
	c      *cluster
	active bool // movers act
	people bool // nodes come and go by orders
	pace   time.Duration
	kills  int                           // how many nodes may still be killed for good
	quiet  time.Duration                 // until when nothing is ordered
	gone   map[raft.NodeID]time.Duration // when nodes that were removed are switched off
}

func (x *order) init(c *cluster, active bool) {
	x.c, x.active, x.people, x.gone = c, active || c.shuffle.active, active, map[raft.NodeID]time.Duration{}
	if !x.active {
		return
	}
	if x.people {
		x.pace = c.chance.skewed(2*time.Second, 40*time.Second)
		x.kills = c.chance.below(3)
		c.note(0, "an order every %s, %d nodes are killed for good", x.pace, x.kills)
	}
	for _, n := range c.nodes {
		n.moves.plan(0)
		n.carries.plan(0)
	}
	if x.people {
		x.plan()
	}
	x.watch()
}

func (x *order) plan() { x.call(x.c.chance.between(0, 2*x.pace), x.happen) }

// watch looks again and again for nodes that were taken in, and for those that left.
func (x *order) watch() {
	c := x.c
	if t := c.newestTable(); t != nil {
		for _, n := range c.nodes {
			if n.waiting {
				if r, ok := t.Meta.ReplicaOn(n.id); ok {
					n.takenIn(r.Replica)
				}
				continue
			}
			if t.WasRemoved(n.id) && !n.dead {
				if at, ok := x.gone[n.id]; !ok {
					x.gone[n.id] = c.now + c.chance.between(0, leaveMax)
				} else if c.now >= at || c.chaos.stopped {
					c.note(n.index, "is switched off: it has left")
					n.crash(PowerKeep)
					n.dead = true
				}
			}
		}
	}
	c.order.call(watchEvery, x.watch)
}

// give has the leader of the meta group take an order.
func (x *order) give(b []byte, err error) {
	lead := x.c.leaderOf(0)
	if err != nil || lead == nil || lead.known.table == nil || lead.known.table.Level < 3 {
		return
	}
	if _, err := lead.known.table.Try(b); err != nil {
		x.c.note(lead.index, "refuses an order: %v", err)
		return
	}
	b = machine.CompletedOrder(b, lead.known.table, lead.id, lead.host.Contacts(), lead.ticks.now(), electionTimeout)
	lead.host.Propose(repl.Proposal{Group: 0, Entry: machine.NewEntry(wire.Origin{Time: lead.ticks.wall()}, b)})
	lead.turn()
}

func (x *order) job(j shardmap.NewJob) {
	x.c.note(0, "order: %s n%d, group %d, force %v, %s", j.Kind, j.Node, j.Group, j.Force, j.Role)
	x.give(shardmap.AppendNewJob(nil, &j))
}

func (x *order) happen() {
	c, rnd := x.c, &x.c.chance
	if c.chaos.stopped {
		return
	}
	x.plan()
	t := c.newestTable()
	if t == nil || t.Level < 3 || c.now < x.quiet {
		return
	}
	if v, _ := t.Setting("dead-after"); v != deadAfter {
		x.give(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "dead-after", Value: deadAfter}))
		return
	}
	n := t.Nodes[rnd.below(len(t.Nodes))].ID
	g := t.Groups[rnd.below(len(t.Groups))].ID
	serving := 0
	for _, o := range c.nodes {
		if !o.dead && !o.waiting {
			serving++
		}
	}
	switch rnd.below(16) {
	case 0, 1, 2:
		x.join(t)
	case 3, 4:
		x.job(shardmap.NewJob{Kind: shardmap.JobDrain, Node: n})
	case 5:
		if serving > 4 {
			x.job(shardmap.NewJob{Kind: shardmap.JobRemove, Node: n})
		}
	case 6:
		if serving > 4 {
			x.kill()
		}
	case 7:
		for _, o := range c.nodes {
			if _, there := t.Node(o.id); o.dead && there {
				x.job(shardmap.NewJob{Kind: shardmap.JobRemove, Node: o.id, Force: true})
			}
		}
	case 8:
		x.give(shardmap.AppendDrain(nil, &shardmap.Drain{Node: n}))
	case 9:
		x.job(shardmap.NewJob{Kind: []shardmap.JobKind{shardmap.JobAdd, shardmap.JobDel}[rnd.below(2)], Node: n, Group: g})
	case 10:
		x.job(shardmap.NewJob{Kind: shardmap.JobPromote, Node: n, Group: g})
	case 11:
		x.job(shardmap.NewJob{Kind: shardmap.JobRole, Node: n, Role: []shardmap.NodeRole{shardmap.NodeServer, shardmap.NodeClient}[rnd.below(2)]})
	case 12:
		x.give(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "replicas", Value: []string{"1", "3", "5"}[rnd.below(3)]}))
	case 13, 14:
		for _, j := range t.Jobs {
			if !j.State.Finished() && rnd.below(2) == 0 {
				s := []shardmap.JobState{shardmap.JobPaused, shardmap.JobRunning, shardmap.JobCancelled}[rnd.below(3)]
				c.note(0, "order: job %d (%s) is to be %s", j.ID, j.Kind, s)
				x.give(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: j.ID, State: s}))
			}
		}
	default:
		if len(t.Removed) > 0 { // a host that was removed, with its directory as it was
			id := t.Removed[rnd.below(len(t.Removed))]
			x.give(shardmap.AppendJoin(nil, &shardmap.Join{Node: x.row(id, nameOf(id))}))
		}
	}
}

func (x *order) row(id raft.NodeID, name string) shardmap.TableNode {
	return shardmap.TableNode{ID: id, Name: name, Addr: addrOf(id), Role: shardmap.NodeServer, Version: "sim", Start: 1, Level: shardmap.Level}
}

// join has a host ask to be taken in, or two of one name.
func (x *order) join(t *shardmap.Table) {
	c := x.c
	if len(c.nodes) >= c.result.Nodes+joinersMax || len(c.nodes) >= nodesMax || slices.ContainsFunc(c.nodes, func(n *node) bool { return n.waiting }) {
		return
	}
	id := raft.NodeID(len(c.nodes) + 1)
	c.builds.nodes = append(c.builds.nodes, shardmap.Level)
	n := makeNode(c, int(id))
	n.waiting = true
	c.nodes = append(c.nodes, n)
	c.net.nodes = len(c.nodes)
	name := nameOf(id)
	if c.chance.below(4) == 0 { // of a name that is taken
		name = t.Nodes[c.chance.below(len(t.Nodes))].Name
	}
	c.note(n.index, "asks to be taken in as %s", name)
	n.asks(name)
}

// asks has a host ask until it is taken in, or hears that it was removed meanwhile. Refused
// for its name it is given another.
func (n *node) asks(name string) {
	c := n.c
	if !n.waiting || n.dead {
		return
	}
	if t := c.newestTable(); t.WasRemoved(n.id) { // before it heard that it was taken in
		c.note(n.index, "hears that it was removed, and ends")
		n.waiting, n.dead = false, true
		return
	}
	if !c.security.enrols(n) {
		c.order.give(shardmap.AppendJoin(nil, &shardmap.Join{Node: c.order.row(n.id, name)}))
	}
	c.order.call(c.chance.between(500*time.Millisecond, 2*time.Second), func() { n.asks(nameOf(n.id)) })
}

// takenIn is the moment from which on the host is a member: it begins its log with the
// blank base of its copy of the table.
func (n *node) takenIn(r raft.ReplicaID) {
	n.c.note(n.index, "is taken in, with replica %d of group 0", r)
	n.waiting = false
	n.meta = repl.Placement{Replica: logstore.Replica{Incarnation: 1, ID: r}}
	n.known.joined(n.c.newestTable())
	n.creds.takenIn(n.c.newestTable())
	n.beginLog()
	n.boot()
}

// kill takes a node away for good, if all groups can do without it, and without any
// other that may be away for now.
func (x *order) kill() {
	c := x.c
	n := c.nodes[c.chance.below(len(c.nodes))]
	if x.kills == 0 || n.dead || n.waiting || c.security.soleKeeper(n) || !c.majoritiesAfter(toCome, func(o *node) bool { return o != n && !o.dead && !o.waiting && !o.decay.hurt }) {
		return
	}
	// For an election timeout leaders believe that it is there, and may make a group smaller
	// whose majority needs it from then on. Nothing but recovery helps if that happens, so
	// nothing is under way, and nothing is ordered, for that long.
	if t := c.newestTable(); slices.ContainsFunc(t.Jobs, func(j shardmap.Job) bool { return !j.State.Finished() }) {
		return
	}
	x.quiet = c.now + 2*electionTimeout
	x.kills--
	c.note(n.index, "is gone for good")
	if n.up {
		n.crash(c.chaos.power())
	}
	n.dead = true
}

const (
	// nudgeEvery is how often something is ordered so that a cancelled repair is begun again.
	nudgeEvery = 30 * time.Second
	// heldFor is for how long the table stays as it is before what is left waits for a node. A
	// new replica may wait for seconds until the snapshot that it needs is known to be right.
	heldFor = nudgeEvery
)

// settle lets what is paused go on, and gives the groups room, so that all can end.
func (x *order) settle() {
	if !x.active {
		return
	}
	c := x.c
	c.note(0, "orders end: what is paused goes on")
	var nudge, since time.Duration
	index := uint64(0)
	c.until("each job has ended, and the movers have nothing left to do", movedWithin, func() bool {
		t, lead := c.newestTable(), c.leaderOf(0)
		if t == nil || lead == nil {
			return false
		}
		if t.Level < 3 {
			return true
		}
		if c.shuffle.spareDead(t) {
			return false
		}
		if t.Index != index {
			index, since = t.Index, c.now
		}
		for _, j := range t.Jobs {
			if j.State == shardmap.JobPaused {
				x.give(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: j.ID, State: shardmap.JobRunning}))
			}
		}
		if x.servers(t) < x.most(t) {
			for i := range t.Nodes {
				row := &t.Nodes[i]
				switch o := c.nodes[row.ID-1]; {
				case o.dead:
				case jobAbout(t, row.ID) != nil: // it takes a server away
					x.give(shardmap.AppendJobState(nil, &shardmap.SetJobState{ID: jobAbout(t, row.ID).ID, State: shardmap.JobCancelled}))
				case row.Role != shardmap.NodeServer:
					x.give(shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobRole, Node: row.ID, Role: shardmap.NodeServer}))
				case row.Draining:
					x.give(shardmap.AppendDrain(nil, &shardmap.Drain{Node: row.ID}))
				}
			}
			x.give(shardmap.AppendSetting(nil, &shardmap.Setting{Name: "replicas", Value: "3"}))
		}
		under := slices.ContainsFunc(t.Jobs, func(j shardmap.Job) bool { return !j.State.Finished() })
		if under && x.servers(t) >= x.most(t) || !lead.moves.core.Leads() {
			return false
		}
		held := c.now-since >= heldFor && x.held(t)
		if (held || lead.moves.core.Idle(lead.ticks.now())) && c.shuffle.settled(t) {
			return true
		}
		// A repair that was cancelled is begun again once something else is ordered. That
		// order may get lost, with a leader, so it is given until it helps.
		if first := c.leaderOf(1); !under && first != nil && c.now >= nudge {
			nudge = c.now + nudgeEvery
			x.job(shardmap.NewJob{Kind: shardmap.JobPromote, Node: first.id, Group: 1})
		}
		return false
	})
	if x.people {
		x.asSet()
	}
}

// held reports whether a replica is on its way to another node in a group of which a voter is
// gone for good, and is not to be replaced: no group moves while one of its voters is silent, so
// its mover waits, and asks, for ever.
func (x *order) held(t *shardmap.Table) bool {
	return slices.ContainsFunc(t.Groups, func(g shardmap.TableGroup) bool {
		has := func(role shardmap.ReplicaRole, dead bool) bool {
			return slices.ContainsFunc(g.Replicas, func(r shardmap.TableReplica) bool {
				return r.Role == role && x.c.nodes[r.Node-1].dead == dead
			})
		}
		return g.ID != 0 && has(shardmap.ReplicaLearner, false) && has(shardmap.ReplicaVoter, true)
	})
}

// jobAbout returns the unfinished job that takes a node's replicas away, or nil.
func jobAbout(t *shardmap.Table, n raft.NodeID) *shardmap.Job {
	for i := range t.Jobs {
		if j := &t.Jobs[i]; !j.State.Finished() && j.Node == n && (j.Kind == shardmap.JobDrain || j.Kind == shardmap.JobRemove || j.Kind == shardmap.JobRole) {
			return j
		}
	}
	return nil
}

// servers counts the nodes that may hold replicas.
func (x *order) servers(t *shardmap.Table) (k int) {
	for i := range t.Nodes {
		if o := x.c.nodes[t.Nodes[i].ID-1]; !o.dead && t.Nodes[i].Role == shardmap.NodeServer && !t.Nodes[i].Draining {
			k++
		}
	}
	return k
}

// most returns how many voters the largest group has, or is to have. With fewer servers
// some job may wait for a node, rightly.
func (x *order) most(t *shardmap.Table) int {
	k := max(t.Replicas(), t.MetaVoters())
	for _, truth := range x.c.truth {
		if !truth.there() {
			continue
		}
		k = max(k, len(truth.committed().Voters))
	}
	return k
}

// asSet checks that each group has the voters that it is set to have, as far as there are
// nodes, and none that should not vote.
func (x *order) asSet() {
	c := x.c
	t := c.newestTable()
	servers := x.servers(t)
	if t.Level < 3 || servers < x.most(t) {
		return
	}
	for row := range t.EachGroup {
		m := c.truth[row.ID].committed()
		want := t.Replicas()
		if row.ID == 0 {
			want = t.MetaVoters()
		}
		if want = min(want, servers-1+servers%2); len(m.Voters) < want && !row.ByHand {
			c.fail("group %d has %s, want %d voters: %d servers", row.ID, describe(m), want, servers)
		}
		for _, o := range m.Voters {
			n, ok := t.Node(o.Node)
			if bad := !ok || n.Draining || n.Role != shardmap.NodeServer || c.nodes[o.Node-1].dead; bad && !row.ByHand {
				c.fail("group %d has %s, and n%d should not vote: %+v", row.ID, describe(m), o.Node, n)
			}
		}
	}
}

// checkTable checks what must hold of each table.
func (x *order) checkTable(n *node, t *shardmap.Table) {
	names, about := map[string]raft.NodeID{}, map[string]uint64{}
	for i := range t.Nodes {
		row := &t.Nodes[i]
		if o, taken := names[row.Name]; taken {
			x.c.fail("n%d knows two nodes of the name %s: n%d and n%d", n.index, row.Name, o, row.ID)
		}
		if names[row.Name] = row.ID; t.WasRemoved(row.ID) {
			x.c.fail("n%d knows n%d as a member that was removed", n.index, row.ID)
		}
	}
	for i := range t.Jobs {
		j := &t.Jobs[i]
		if j.State.Finished() {
			continue
		}
		if j.Kind.AboutSlots() {
			continue // there may be several
		}
		what := fmt.Sprintf("node %d", j.Node)
		if j.Kind.AboutGroup() {
			what = fmt.Sprintf("group %d", j.Group)
		} else if j.Node == 0 {
			what = j.Kind.String()
		}
		if o, twice := about[what]; twice {
			x.c.fail("n%d knows two jobs about %s: %d and %d", n.index, what, o, j.ID)
		}
		about[what] = j.ID
	}
}

// picture describes what orders came to, for a failure.
func (x *order) picture() (s string) {
	t := x.c.newestTable()
	if !x.active || t == nil {
		return ""
	}
	s = fmt.Sprintf("table %d, settings %v, removed %v\n", t.Index, t.Settings, t.Removed)
	for i := range t.Nodes {
		s += fmt.Sprintf("    n%d: %s, draining %v\n", t.Nodes[i].ID, t.Nodes[i].Role, t.Nodes[i].Draining)
	}
	for i := range t.Jobs {
		if j := &t.Jobs[i]; !j.State.Finished() {
			s += fmt.Sprintf("    job %d: %s n%d group %d force %v is %s: %d of %d, %s\n", j.ID, j.Kind, j.Node, j.Group, j.Force, j.State, j.Done, j.Total, j.Why)
		}
	}
	return s
}
