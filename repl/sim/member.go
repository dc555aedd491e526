package sim

import (
	"errors"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
)

// membership changes the members of all groups, group 0 included, as an operator would, or
// the meta group one day: it adds replicas on nodes that have none, removes some (the
// leader's too), and replaces some. It asks any node that believes that it leads, does
// not wait for earlier changes, and accepts refusals.
//
// It also stands in for the table of the meta group, which does not know of changes yet:
// it makes replicas once the entry that adds them is applied somewhere, and retires them
// once their removal is.
type membership struct {
	c       *cluster
	active  bool
	pace    time.Duration // between two changes, on average
	least   int           // how many voters it leaves a group
	replace []replacement // by group
}

// replacement is under way: the replica on node old goes once that on node new
// votes.
type replacement struct {
	old raft.ReplicaID
	new raft.NodeID
}

const placeEvery = 100 * time.Millisecond

func (x *membership) init(c *cluster, active bool) {
	x.c, x.active = c, active
	x.replace = make([]replacement, len(c.truth))
	if !active {
		return
	}
	x.pace = c.chance.skewed(3*time.Second, 60*time.Second)
	// A node whose disk is damaged stays away, and the others must still be a majority
	// without it.
	x.least = 3
	if !slices.ContainsFunc(c.chaos.enabled, func(f Fault) bool { return f >= BitFlip && f <= ZeroTail }) {
		x.least = 1 + c.chance.below(3)
	}
	c.note(0, "memberships change every %s, %d voters at least", x.pace, x.least)
	x.plan()
	e := c.queue.get(evMember)
	e.answer = true
	c.after(placeEvery, e)
}

func (x *membership) plan() {
	d := x.c.chance.between(0, 2*x.pace)
	if x.c.chance.below(3) == 0 { // before the last one is through
		d = x.c.chance.skewed(10*time.Microsecond, 20*time.Millisecond)
	}
	x.c.after(d, x.c.queue.get(evMember))
}

// happen makes and retires replicas, or changes a group.
func (x *membership) happen(e *event) {
	if e.answer {
		x.place()
		next := x.c.queue.get(evMember)
		next.answer = true
		x.c.after(placeEvery, next)
		return
	}
	if x.c.chaos.stopped {
		return
	}
	x.plan()
	x.change(raft.GroupID(x.c.chance.below(len(x.c.truth))))
}

// change asks a node that leads the group for a change.
func (x *membership) change(g raft.GroupID) {
	c, rnd := x.c, &x.c.chance
	var leaders []*node
	for _, n := range c.nodes {
		if n.up && !n.paused && n.leads(g) {
			leaders = append(leaders, n)
		}
	}
	if len(leaders) == 0 {
		return
	}
	lead := leaders[rnd.below(len(leaders))]
	var m raft.Membership
	for _, v := range lead.host.View() {
		if v.Replica.Group == g {
			m = v.Status.Membership
		}
	}
	if len(m.Voters) == 0 {
		c.fail("n%d leads group %d and knows of no member", lead.index, g)
	}
	var spare []raft.NodeID
	for _, n := range c.nodes {
		if !n.dead && !slices.ContainsFunc(slices.Collect(m.All()), func(o raft.Member) bool { return o.Node == n.id }) {
			spare = append(spare, n.id)
		}
	}
	var ch raft.Change
	r := &x.replace[g]
	added := slices.IndexFunc(m.Voters, func(o raft.Member) bool { return o.Node == r.new })
	switch what := rnd.below(8); {
	case r.new != 0 && added >= 0:
		if _, ok := m.Member(r.old); ok && len(m.Voters) > x.least {
			ch.Remove = []raft.ReplicaID{r.old}
		}
		*r = replacement{}
	case what < 3: // one or several come
		for range 1 + rnd.below(2) {
			if len(spare) > 0 {
				i := rnd.below(len(spare))
				ch.Add = append(ch.Add, raft.NewMember{Node: spare[i], Goal: x.goal()})
				spare = slices.Delete(spare, i, i+1)
			}
		}
	case what < 6: // one or several go
		for range 1 + rnd.below(3) {
			all := slices.Concat(m.Voters, m.Learners)
			id := all[rnd.below(len(all))].Replica
			if rnd.below(4) == 0 {
				for _, v := range m.Voters {
					if v.Node == lead.id {
						id = v.Replica
					}
				}
			}
			if !slices.Contains(ch.Remove, id) && x.spares(&m, ch.Remove, id) {
				ch.Remove = append(ch.Remove, id)
			}
		}
	case what < 7: // one is replaced
		if len(spare) > 0 {
			*r = replacement{old: m.Voters[rnd.below(len(m.Voters))].Replica, new: spare[rnd.below(len(spare))]}
			ch.Add = []raft.NewMember{{Node: r.new, Goal: raft.GoalVoter}}
		}
	default: // at once
		id := m.Voters[rnd.below(len(m.Voters))].Replica
		if len(spare) > 0 && x.spares(&m, nil, id) {
			ch.Add = []raft.NewMember{{Node: spare[rnd.below(len(spare))], Goal: raft.GoalVoter}}
			ch.Remove = []raft.ReplicaID{id}
		}
	}
	if len(ch.Add) == 0 && len(ch.Remove) == 0 || !x.leaves(&m, &ch) {
		return
	}
	changed, err := lead.host.Change(g, ch)
	next := changed.Membership
	switch {
	case err == nil:
		c.note(lead.index, "changes group %d: adds %v, removes %v: %s", g, ch.Add, ch.Remove, describe(&next))
		c.truth[g].proposed = append(c.truth[g].proposed, next)
		c.result.Fired[Members]++
	case errors.Is(err, raft.ErrChange) || errors.Is(err, raft.ErrStopped):
		c.fail("n%d: group %d of %s refuses to add %v and remove %v: %v", lead.index, g, describe(&m), ch.Add, ch.Remove, err)
	}
	lead.turn()
}

func (x *membership) goal() raft.Goal {
	if x.c.chance.below(8) == 0 {
		return raft.GoalCopy
	}
	return raft.GoalVoter
}

// leaves reports whether the nodes whose disks are whole are a majority of the voters
// after a change, and of the voters at each step towards it: learners become voters one
// by one, and two whole disks of four decide nothing, where three of five would.
func (x *membership) leaves(m *raft.Membership, ch *raft.Change) bool {
	stays := func(list []raft.Member) []raft.Member {
		return slices.DeleteFunc(slices.Clone(list), func(o raft.Member) bool { return slices.Contains(ch.Remove, o.Replica) })
	}
	next := raft.Membership{Voters: stays(m.Voters), Learners: stays(m.Learners)}
	for _, a := range ch.Add {
		next.Learners = append(next.Learners, raft.Member{Node: a.Node, Goal: a.Goal})
	}
	for _, due := range toCome(&next) {
		whole := 0
		for _, v := range due.Voters {
			if o := x.c.nodes[v.Node-1]; !o.dead && !o.decay.hurt {
				whole++
			}
		}
		if 2*whole <= len(due.Voters) {
			return false
		}
	}
	return true
}

// spares reports whether enough voters stay without id and those that are gone.
func (x *membership) spares(m *raft.Membership, gone []raft.ReplicaID, id raft.ReplicaID) bool {
	stay := 0
	voter := false
	for _, v := range m.Voters {
		if v.Replica == id {
			voter = true
		} else if !slices.Contains(gone, v.Replica) {
			stay++
		}
	}
	return !voter || stay >= x.least
}

// place makes each node make the replicas that it should have and lacks, and retire those
// that are no longer members.
func (x *membership) place() {
	for _, n := range x.c.nodes {
		if !n.up || n.paused || x.c.net.isolated(n.index) {
			continue
		}
		did := false
		for g := 0; g < len(x.c.truth); g++ {
			did = x.placeOne(n, x.c.truth[g]) || did
		}
		if did {
			n.turn()
		}
	}
}

func (x *membership) placeOne(n *node, t *truth) bool {
	if len(t.configs) == 0 {
		return false
	}
	m := t.committed()
	here, ok := n.replica(t.group)
	if ok {
		if _, member := m.Member(here.ID); member || here.ID >= m.Next {
			return false
		}
		x.c.note(n.index, "retires replica %d of group %d", here.ID, t.group)
		n.host.Retire(here)
		return true
	}
	for o := range m.All() {
		if n.decay.wounded[logstore.Replica{Group: t.group, Incarnation: t.incarnation, ID: o.Replica}] {
			return false // it is here, and can't be opened yet
		}
		if _, founder := t.founding().Member(o.Replica); o.Node == n.id && !founder {
			x.c.note(n.index, "makes replica %d of group %d", o.Replica, t.group)
			n.host.Place([]repl.Placement{{
				Replica:  logstore.Replica{Group: t.group, Incarnation: t.incarnation, ID: o.Replica},
				Founders: *t.founding(), Members: slices.Concat(m.Voters, m.Learners),
			}})
			return true
		}
	}
	return false
}

// replica returns the replica of a group that a node holds.
func (n *node) replica(g raft.GroupID) (logstore.Replica, bool) {
	if w, ok := n.host.Machine(g).(*watched); ok {
		return w.replica, true
	}
	return logstore.Replica{}, false
}
