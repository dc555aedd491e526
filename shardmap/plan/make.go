package plan

import (
	"cmp"
	"fmt"
	"slices"

	"muster/raft"
	"muster/shardmap"
)

// Make returns what should move. The error is of the settings.
//
// Healthy groups move only if all of their voters are live: while one is silent,
// a joint change would let a second loss stop the group. What is broken does not
// wait for that.
func Make(t *shardmap.Table, known *Known, s Settings) (Plan, error) {
	if err := s.Check(); err != nil {
		return Plan{}, err
	}
	c := newCluster(t, known, s)
	// What is there, and what has to go.
	for i := range c.groups {
		c.survey(&c.groups[i])
	}
	// The groups that are closest to their end choose first.
	order := make([]*group, len(c.groups))
	for i := range order {
		order[i] = &c.groups[i]
	}
	slices.SortStableFunc(order, func(a, b *group) int { return cmp.Compare(a.quorum().Spare(), b.quorum().Spare()) })
	for _, g := range order {
		c.resume(g)
	}
	for _, g := range order {
		c.settle(g)
	}
	if s.Balance == BalanceOn {
		c.spread()
		c.even()
		c.thrift()
	}
	c.lead()
	meta := c.planMeta()
	c.scarceZones()

	out := &writer{c: c}
	out.group(meta)
	slices.SortStableFunc(order, func(a, b *group) int {
		return cmp.Or(cmp.Compare(a.urgency(), b.urgency()), cmp.Compare(a.quorum().Spare(), b.quorum().Spare()))
	})
	for _, g := range order {
		out.group(g)
	}
	out.plan.Problems = c.problems
	slices.SortStableFunc(out.plan.Problems, func(a, b Problem) int { return cmp.Compare(a.Group, b.Group) })
	out.plan.work = c.work
	return out.plan, nil
}

// nobody stands where a node's number would, if there is none.
const nobody int32 = -1

// node is a line of the peer list. Nodes are numbered by their place in it.
type node struct {
	id   raft.NodeID
	name string
	zone int
	// takes: new replicas may be put here. stays: those that are here may remain.
	// Invariant: takes implies stays and live.
	takes, stays, live bool
	away               string // why not stays, for a person
	held               int    // data replicas as it began
	led                int    // data groups that preferred it as it began

	// Data groups that shall have a replica here, and those that shall prefer it.
	groups []*group
	leads  []*group
}

func (n *node) load() int { return len(n.groups) }

// member is a replica of today.
type member struct {
	node    int32 // nobody: its node has left the table
	id      raft.ReplicaID
	at      raft.NodeID
	state   ReplicaState
	counts  bool // answers now, as a voter
	learner bool // it does not vote today
	copy    bool // and is not to
	wanted  bool // it stays though it should go: nobody can take its place
}

// group is a group as it is, and as it shall be.
type group struct {
	row     *shardmap.TableGroup
	known   Group
	members []member
	// fixed: nothing of it may change. whole: all voters are live, so that a change
	// for no more than evenness puts nothing at risk.
	fixed, whole bool
	bad          []member // voters that have to go, the most urgent first
	size         int      // how many voters it shall have, if there are nodes for them
	want         []int32  // nodes whose replicas shall vote
	prefer       int32
	began        int32  // prefer as it was
	renew        int32  // a node whose replica is removed first and then made anew
	pinned       bool   // prefer stays
	why          string // why the number of voters changes, for a person
	zoned        bool   // moved for the zones' sake
}

func (g *group) quorum() (q Quorum) {
	for _, m := range g.members {
		if m.learner {
			continue
		}
		q.Voters++
		if m.counts {
			q.Live++
		}
	}
	return q
}

// on returns the replica that stands on node n today.
func (g *group) on(n int32) (member, bool) {
	for _, m := range g.members {
		if m.node == n {
			return m, true
		}
	}
	return member{}, false
}

// votes reports whether a replica on node n votes today.
func (g *group) votes(n int32) bool {
	m, ok := g.on(n)
	return ok && !m.learner
}

// begun reports whether the replica on node n is one that became a learner to vote.
func (g *group) begun(n int32) bool {
	m, ok := g.on(n)
	return ok && m.learner && !m.copy
}

// home reports whether a replica on n costs nothing, because it is there.
func (g *group) home(n int32) bool {
	_, ok := g.on(n)
	return ok && n != g.renew
}

// meta reports whether g is the meta group, which stands on all nodes and so counts
// for nothing in what a node has to carry.
func (g *group) meta() bool { return g.row.ID == 0 }

// urgency sorts groups: what is broken, what was asked for, what is only uneven.
func (g *group) urgency() int {
	moves := false
	for _, n := range g.want {
		moves = moves || !g.votes(n)
	}
	switch {
	case g.fixed:
		return 5
	case len(g.bad) > 0 && !g.bad[0].counts:
		return 0
	case len(g.bad) > 0:
		return 1
	case g.why != "":
		return 2
	case moves:
		return 3
	}
	return 4
}

// cluster is what the parts of a plan share.
type cluster struct {
	settings Settings
	table    *shardmap.Table
	nodes    []node
	byID     map[raft.NodeID]int32
	zones    []string
	taking   int // nodes that take replicas
	known    *Known
	groups   []group
	problems []Problem
	work     int
}

func newCluster(t *shardmap.Table, known *Known, s Settings) *cluster {
	c := &cluster{settings: s, table: t, known: known, byID: make(map[raft.NodeID]int32, len(t.Nodes))}
	zones := map[string]int{}
	for i := range t.Nodes {
		row, k := &t.Nodes[i], known.Nodes[t.Nodes[i].ID]
		n := node{id: row.ID, name: row.Name, live: k.Health == Alive}
		if n.name == "" {
			n.name = row.ID.String()
		}
		switch {
		case k.Health == Dead:
			n.away = "is dead"
		case k.Health == Gone:
			n.away = "is gone for good"
		case k.Draining:
			n.away = "is being drained"
		case row.Role != shardmap.NodeServer:
			n.away = "is no server"
		default:
			n.stays = true
			n.takes = n.live
		}
		label := zoneOf(row)
		zone, ok := zones[label]
		if !ok {
			zone = len(c.zones)
			zones[label] = zone
			c.zones = append(c.zones, label)
		}
		n.zone = zone
		if n.takes {
			c.taking++
		}
		c.byID[row.ID] = int32(i)
		c.nodes = append(c.nodes, n)
	}
	c.groups = make([]group, len(t.Groups))
	for i := range t.Groups {
		c.read(&c.groups[i], &t.Groups[i])
		for _, m := range c.groups[i].members {
			if m.node != nobody && !m.learner {
				c.nodes[m.node].held++
			}
		}
		if p := c.groups[i].began; p != nobody {
			c.nodes[p].led++
		}
	}
	return c
}

// scarceZones says what a person may not have thought of: replicas that are spread as
// far as possible, and not far enough to survive the loss of a zone.
func (c *cluster) scarceZones() {
	seen := make([]bool, len(c.zones))
	k := 0
	for _, n := range c.nodes {
		if n.stays && !seen[n.zone] {
			seen[n.zone] = true
			k++
		}
	}
	if k > 1 && k < c.settings.Replicas {
		c.problems = append(c.problems, Problem{0, fmt.Sprintf("%d replicas of each group are spread over %d zones: the loss of one zone can stop groups", c.settings.Replicas, k),
			"add a node in another zone"})
	}
}

func zoneOf(n *shardmap.TableNode) string {
	for _, l := range n.Labels {
		if l.Key == ZoneLabel {
			return l.Value
		}
	}
	return ""
}

// read fills in a group as it is.
func (c *cluster) read(g *group, row *shardmap.TableGroup) {
	*g = group{row: row, known: c.known.Groups[row.ID], prefer: nobody, renew: nobody}
	g.members = make([]member, 0, len(row.Replicas))
	for _, r := range row.Replicas {
		m := member{node: nobody, at: r.Node, id: r.Replica, state: g.known.Replicas[r.Replica]}
		if n, ok := c.byID[r.Node]; ok {
			m.node = n
		}
		m.copy = r.Role != shardmap.ReplicaVoter
		m.learner = m.copy || m.state == Learning || m.state == Learned
		m.counts = !m.learner && m.state == Intact && m.node != nobody && c.nodes[m.node].live
		g.members = append(g.members, m)
	}
	if n, ok := c.byID[row.Preferred]; ok {
		g.prefer = n
	}
	g.began = g.prefer
}

// place and unplace keep a group's nodes and a node's groups the same.
func (c *cluster) place(g *group, n int32) {
	g.want = append(g.want, n)
	if g.meta() {
		return
	}
	c.nodes[n].groups = append(c.nodes[n].groups, g)
}

func (c *cluster) unplace(g *group, n int32) {
	g.want = without(g.want, n)
	if g.meta() {
		return
	}
	c.nodes[n].groups = without(c.nodes[n].groups, g)
}

// without takes one element out of list, in place and without keeping its order.
func without[T comparable](list []T, e T) []T {
	if i := slices.Index(list, e); i >= 0 {
		list[i] = list[len(list)-1]
		return list[:len(list)-1]
	}
	return list
}
