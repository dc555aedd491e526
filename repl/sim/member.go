package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
)

// membership changes the members of all groups, group 0 included, as an operator would, or
// the meta group one day: it adds replicas on nodes that have none, removes some (the
// leader's too), makes learners of voters and voters of learners, and replaces some, in two
// changes or in one. It asks any node that believes that it leads, does not wait for earlier
// changes, accepts refusals, and now and then asks once more for a change that was made.
//
// It also stands in for the table of the meta group, which does not know of changes yet:
// from the memberships that are committed somewhere, often not the newest, nodes learn which
// replicas they are to make and which they may retire.
type membership struct {
	c       *cluster
	active  bool
	pace    time.Duration // between two changes, on average
	least   int           // how many voters it leaves a group
	byWord  bool          // nodes make a replica only once its leader has spoken to it
	replace []replacement // by group
	asked   [][]raft.Change
}

// replacement is under way: the replica on node old goes once that on node new
// votes.
type replacement struct {
	old raft.ReplicaID
	new raft.NodeID
}

const (
	placeEvery = 100 * time.Millisecond
	// askedMax is how many of the changes of a group may be asked for once more.
	askedMax = 4
)

func (x *membership) init(c *cluster, active bool) {
	x.c, x.active = c, active
	x.replace = make([]replacement, len(c.truth))
	x.asked = make([][]raft.Change, len(c.truth))
	if !active {
		return
	}
	x.pace = c.chance.skewed(3*time.Second, 60*time.Second)
	x.byWord = c.chance.below(2) == 0
	// A node whose disk is damaged stays away, and the others must still be a majority
	// without it.
	x.least = 3
	if !slices.ContainsFunc(c.chaos.enabled, func(f Fault) bool { return f >= BitFlip && f <= ZeroTail }) {
		x.least = 1 + c.chance.below(3)
	}
	c.note(0, "memberships change every %s, %d voters at least, made by word %t", x.pace, x.least, x.byWord)
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
	var before repl.GroupView
	for _, v := range lead.host.View() {
		if v.Replica.Group == g {
			before = v
		}
	}
	m := &before.Status.Membership
	if len(m.Voters) == 0 {
		c.fail("n%d leads group %d and knows of no member", lead.index, g)
	}
	var ch raft.Change
	if all := x.asked[g]; len(all) > 0 && rnd.below(3) == 0 {
		ch = all[rnd.below(len(all))]
	} else {
		ch = x.draw(g, lead, &before.Status)
		if rnd.below(2) == 0 {
			ch.After = before.Status.MembershipAt.Index
		}
	}
	stale := ch.After != 0 && ch.After < before.Status.MembershipAt.Index
	if !stale && (isNothing(&ch) || !x.leaves(m, &ch)) {
		return
	}
	changed, err := lead.host.Change(g, ch)
	next := changed.Membership
	switch {
	case err == nil:
		c.note(lead.index, "changes group %d: %s: %s", g, describeChange(&ch), describe(&next))
		c.truth[g].proposed = append(c.truth[g].proposed, next)
		c.result.Fired[Members]++
		x.took(lead, &before, &ch)
		if ch.After != 0 {
			x.asked[g] = append(x.asked[g], ch)
			x.asked[g] = x.asked[g][max(0, len(x.asked[g])-askedMax):]
		}
	case errors.Is(err, raft.ErrLags):
		if !slices.ContainsFunc(ch.Promote, func(id raft.ReplicaID) bool { return !caughtUp(&before.Status, id) }) {
			c.fail("n%d: group %d refuses %s, though all have caught up: %v", lead.index, g, describeChange(&ch), err)
		}
	case errors.Is(err, raft.ErrChange) || errors.Is(err, raft.ErrStopped):
		c.fail("n%d: group %d of %s refuses %s: %v", lead.index, g, describe(m), describeChange(&ch), err)
	}
	lead.turn()
}

// took checks a change that a leader took: by its disk it was made for the membership that is
// in force, and what it promotes is there and can be fed from its log.
func (x *membership) took(lead *node, before *repl.GroupView, ch *raft.Change) {
	g := before.Replica.Group
	if s := lead.ledger.shadows[before.Replica]; s != nil && ch.After != 0 && len(s.changes) > 0 {
		if last := s.changes[len(s.changes)-1]; last.id.Index > ch.After {
			x.c.fail("I6: n%d takes a change of group %d (%s) that was made for the membership of entry %d; its log has another one, %s (%s), since",
				lead.index, g, describeChange(ch), ch.After, last.id, describe(&last.members))
		}
	}
	for _, id := range ch.Promote {
		for _, p := range before.Status.Progress {
			if p.Replica == id && (!p.Active || p.State != raft.ProgressReplicate || p.Match < before.Status.Base.Index || p.Next <= before.Status.Last.Index) {
				x.c.fail("I14: n%d makes a voter of replica %d of group %d, which lags: it holds all up to %d, is sent %d next (%s, active %t); the log is %s to %s",
					lead.index, id, g, p.Match, p.Next, p.State, p.Active, before.Status.Base, before.Status.Last)
			}
		}
	}
}

// draw makes up a change of a group.
func (x *membership) draw(g raft.GroupID, lead *node, st *raft.Status) (ch raft.Change) {
	rnd, m := &x.c.chance, &st.Membership
	var spare []raft.NodeID
	for _, n := range x.c.nodes {
		if !n.dead && !slices.ContainsFunc(slices.Collect(m.All()), func(o raft.Member) bool { return o.Node == n.id }) {
			spare = append(spare, n.id)
		}
	}
	r := &x.replace[g]
	added := slices.IndexFunc(m.Voters, func(o raft.Member) bool { return o.Node == r.new })
	switch what := rnd.below(14); {
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
			if id := x.anyMember(m, lead); !slices.Contains(ch.Remove, id) && x.spares(m, ch.Remove, id) {
				ch.Remove = append(ch.Remove, id)
			}
		}
	case what < 7: // one is replaced, in several changes
		if len(spare) > 0 {
			*r = replacement{old: m.Voters[rnd.below(len(m.Voters))].Replica, new: spare[rnd.below(len(spare))]}
			ch.Add = []raft.NewMember{{Node: r.new, Goal: raft.GoalVoter}}
		}
	case what < 8: // at once
		id := m.Voters[rnd.below(len(m.Voters))].Replica
		if len(spare) > 0 && x.spares(m, nil, id) {
			ch.Add = []raft.NewMember{{Node: spare[rnd.below(len(spare))], Goal: raft.GoalVoter}}
			ch.Remove = []raft.ReplicaID{id}
		}
	case what < 10: // a voter votes no more
		if id := x.anyMember(m, lead); m.Votes(id) && x.spares(m, nil, id) {
			ch.Demote = []raft.ReplicaID{id}
		}
	case len(m.Learners) == 0: // one comes, for the changes below
		if len(spare) > 0 {
			ch.Add = []raft.NewMember{{Node: spare[rnd.below(len(spare))], Goal: raft.GoalCopy}}
		}
	default: // a learner votes, and another goes, or becomes one, or neither
		id := m.Learners[rnd.below(len(m.Learners))].Replica
		if !caughtUp(st, id) && rnd.below(4) > 0 {
			break // it would be refused
		}
		ch.Promote = []raft.ReplicaID{id}
		other := x.anyMember(m, lead)
		switch rnd.below(4) {
		case 0:
		case 1:
			if m.Votes(other) {
				ch.Demote = []raft.ReplicaID{other}
			}
		default:
			if other != id {
				ch.Remove = []raft.ReplicaID{other}
			}
		}
	}
	return ch
}

// anyMember draws a member; the leader's own more often than the others.
func (x *membership) anyMember(m *raft.Membership, lead *node) raft.ReplicaID {
	all := slices.Concat(m.Voters, m.Learners)
	id := all[x.c.chance.below(len(all))].Replica
	if x.c.chance.below(4) == 0 {
		for _, v := range m.Voters {
			if v.Node == lead.id {
				id = v.Replica
			}
		}
	}
	return id
}

func isNothing(ch *raft.Change) bool {
	return len(ch.Add)+len(ch.Promote)+len(ch.Demote)+len(ch.Remove) == 0
}

func describeChange(ch *raft.Change) string {
	return fmt.Sprintf("after %d adds %v, promotes %v, demotes %v, removes %v", ch.After, ch.Add, ch.Promote, ch.Demote, ch.Remove)
}

// caughtUp reports whether a leader says of a replica that it has caught up.
func caughtUp(st *raft.Status, id raft.ReplicaID) bool {
	return slices.ContainsFunc(st.Progress, func(p raft.Progress) bool { return p.Replica == id && p.CaughtUp })
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
	next := raft.Membership{}
	for _, v := range m.Voters {
		if !slices.Contains(ch.Remove, v.Replica) && !slices.Contains(ch.Demote, v.Replica) {
			next.Voters = append(next.Voters, v)
		}
	}
	for _, l := range m.Learners {
		if slices.Contains(ch.Promote, l.Replica) {
			next.Voters = append(next.Voters, l)
		} else if !slices.Contains(ch.Remove, l.Replica) {
			next.Learners = append(next.Learners, l)
		}
	}
	if len(next.Voters) < x.least && len(next.Voters) < len(m.Voters) {
		return false
	}
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

// place has each node make the replicas that it should have and lacks, and retire those
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

// placeOne does that for one group, and reports whether there may be anything to do.
func (x *membership) placeOne(n *node, t *truth) bool {
	known := t.settled()
	if len(known) == 0 {
		return false
	}
	m := known[len(known)-1]
	if x.c.chance.below(2) == 0 {
		m = known[x.c.chance.below(len(known))] // its table is older
	}
	n.host.Keep(repl.KeptGroups{Rows: []repl.Kept{{Group: t.group, Incarnation: t.incarnation, Replicas: m.Replicas(), Next: m.Next}}})
	here, ok := n.replica(t.group)
	did := ok && t.removed(here.ID)
	for o := range m.All() {
		r := logstore.Replica{Group: t.group, Incarnation: t.incarnation, ID: o.Replica}
		switch _, founder := t.founding().Member(o.Replica); {
		case o.Node != n.id || founder || ok && here == r || n.ledger.of(r).removed:
		case n.decay.wounded[r]: // it is here, and can't be opened yet
		case x.byWord && !n.unmade[r]: // nobody has spoken to it
		default:
			delete(n.unmade, r)
			x.c.note(n.index, "makes replica %d of group %d", o.Replica, t.group)
			n.host.Place([]repl.Placement{{Replica: r, Founders: *t.founding(), Members: slices.Concat(m.Voters, m.Learners)}})
			did = true
		}
	}
	return did
}

// replica returns the replica of a group that a node holds.
func (n *node) replica(g raft.GroupID) (logstore.Replica, bool) {
	if w, ok := n.host.Machine(g).(*watched); ok {
		return w.replica, true
	}
	if n.c.flaws.active { // the host shows no state that is wrong
		for _, v := range n.host.View() {
			if v.Replica.Group == g && v.Fenced != nil {
				return v.Replica, true
			}
		}
	}
	return logstore.Replica{}, false
}
