package mover

import (
	"cmp"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// view is the moment that a decision is made for: the table with each group's replicas as
// its leader has told them, and what is known besides.
type view struct {
	c     *Core
	now   time.Duration
	table *shardmap.Table // its groups are this view's own
	known plan.Known
	// missing: some group's leader has not told anything since the last change there.
	// Only a view without such groups can show that nothing is left to do.
	missing bool
	moving  map[raft.GroupID]bool // groups in which something is under way
	// unsure: some group has been asked to change, and its leader has not told yet what came
	// of it. Until then what nodes will carry is not known.
	unsure  bool
	records []shardmap.TableGroup // rows that the table does not have yet
	held    map[raft.NodeID]int   // voters of a node, and learners that are to vote
	named   map[raft.NodeID]int   // rows that name a node
}

// view makes a view of a table: the one of now, or one that a command would make.
func (c *Core) view(now time.Duration, t *shardmap.Table) *view {
	v := &view{c: c, now: now, table: new(shardmap.Table),
		known:  plan.Known{Nodes: map[raft.NodeID]plan.Node{}, Groups: map[raft.GroupID]plan.Group{}},
		moving: map[raft.GroupID]bool{}, held: map[raft.NodeID]int{}, named: map[raft.NodeID]int{}}
	*v.table = *t
	v.table.Groups = slices.Clone(t.Groups)
	v.group(&v.table.Meta)
	for i := range v.table.Groups {
		v.group(&v.table.Groups[i])
	}
	for _, r := range t.Meta.Replicas {
		v.named[r.Node]++
	}
	for i := range t.Groups {
		for _, r := range t.Groups[i].Replicas {
			v.named[r.Node]++
		}
	}
	for i := range t.Nodes {
		v.node(&t.Nodes[i])
	}
	return v
}

// jobOf returns the unfinished job about a node.
func jobOf(t *shardmap.Table, n raft.NodeID) *shardmap.Job {
	for i := range t.Jobs {
		// Those of a group name a node too, and are not about it.
		if j := &t.Jobs[i]; !j.State.Finished() && j.Node == n && !j.Kind.AboutGroup() {
			return j
		}
	}
	return nil
}

// node notes what is known of a node.
func (v *view) node(row *shardmap.TableNode) {
	c, id := v.c, row.ID
	j := jobOf(v.table, id)
	runs := func(kinds ...shardmap.JobKind) bool {
		return j != nil && j.State == shardmap.JobRunning && slices.Contains(kinds, j.Kind)
	}
	silent := c.silent(id)
	k := plan.Node{Health: plan.Alive, Draining: row.Draining}
	if j != nil && j.State == shardmap.JobPaused && (j.Kind == shardmap.JobDrain || j.Kind == shardmap.JobRemove) {
		k.Draining = false
	}
	switch {
	case runs(shardmap.JobRemove) && j.Force:
		k.Health = plan.Gone
	case runs(shardmap.JobRemove) && v.held[id] == 0:
		// With nothing left there that votes it is not to get its copy of the table again.
		k.Health = plan.Dead
	case runs(shardmap.JobReplace) && bug("replacement for a node that is back"):
		k.Health = plan.Dead
	case silent && (runs(shardmap.JobReplace) || runs(shardmap.JobDrain, shardmap.JobRemove, shardmap.JobRole) && c.lost(v.now, id)):
		k.Health = plan.Dead
	case j != nil && j.Kind == shardmap.JobJoin || v.named[id] == 0:
		k.Health = plan.Joining
	case silent:
		k.Health = plan.Silent
	case c.stateOf(id, logstore.Replica{}) != plan.Intact:
		// No replica can be made there, in the place of one that is lost either: the node
		// would take none, and be offered one after the other.
		k.Health = plan.Joining
	}
	v.known.Nodes[id] = k
}

// group puts what a group's leader said into its row, and what is known of it beside it.
func (v *view) group(row *shardmap.TableGroup) {
	defer func() {
		for _, r := range row.Replicas {
			if r.Role == shardmap.ReplicaVoter {
				v.held[r.Node]++
			}
		}
	}()
	c := v.c
	g := c.of(row.ID)
	g.watched = false
	if g.told == nil || g.told.Incarnation != row.Incarnation {
		// Whoever led it last most likely still does, and is asked soon. The looks at all
		// nodes, for who leads it otherwise, become rare while there are many.
		v.missing, g.watched = true, true
		v.moving[row.ID] = g.flight != 0
		v.unsure = v.unsure || g.flight != 0 || v.now < g.sureAt
		return
	}
	if !g.told.Settled && !bug("unsettled membership recorded") {
		v.missing, v.unsure = true, true
		v.moving[row.ID], g.watched = true, true
		return
	}
	rows := recorded(&g.members)
	if !slices.Equal(rows, row.Replicas) {
		if g.told.At.Index <= row.Seen.Index {
			// A later leader has told of a later membership.
			g.told, v.missing = nil, true
			return
		}
		r := *row
		r.Seen, r.Next, r.Replicas = g.told.At, g.members.Next, rows
		v.records = append(v.records, r)
		v.missing, v.unsure, v.moving[row.ID] = true, true, true
		return
	}
	k := plan.Group{Bytes: g.told.Bytes, Leader: g.from, Pinned: row.Pinned, Replicas: map[raft.ReplicaID]plan.ReplicaState{}}
	row.Replicas = slices.Clone(row.Replicas)
	voters := 0
	for i := range row.Replicas {
		r := &row.Replicas[i]
		if bad := c.stateOf(r.Node, logstore.Replica{Group: row.ID, Incarnation: row.Incarnation, ID: r.Replica}); bad != plan.Intact {
			k.Replicas[r.Replica] = bad
		}
		if r.Role == shardmap.ReplicaVoter {
			voters++
			continue
		}
		n, ok := v.table.Node(r.Node)
		copies := row.ID == 0 || !ok || n.Role != shardmap.NodeServer
		if !copies {
			r.Role = shardmap.ReplicaVoter // it is to be one
			if !c.silent(r.Node) {
				v.moving[row.ID], g.watched = true, true
			}
		}
		switch {
		case k.Replicas[r.Replica] == plan.Lost:
		case !g.caughtUp(r.Replica):
			k.Replicas[r.Replica] = plan.Learning
		case !copies:
			k.Replicas[r.Replica] = plan.Learned
		}
	}
	if row.ByHand {
		k.Voters = voters
	}
	if j := v.byHand(row.ID); j != nil && !v.repairsFirst(j, row, &k) {
		return // the job says what is to happen, and the planner would undo it
	}
	v.known.Groups[row.ID] = k
}

// caughtUp reports whether a learner may vote, by what the leader said.
func (g *group) caughtUp(r raft.ReplicaID) bool {
	for _, p := range g.told.Progress {
		if p.Replica == r {
			return p.CaughtUp
		}
	}
	return false
}

// byHand returns the unfinished job that changes a group's replicas.
func (v *view) byHand(id raft.GroupID) *shardmap.Job {
	for i := range v.table.Jobs {
		j := &v.table.Jobs[i]
		if !j.State.Finished() && j.Group == id && (j.Kind == shardmap.JobAdd || j.Kind == shardmap.JobDel) {
			return j
		}
	}
	return nil
}

// repairsFirst reports whether a job that takes a replica out of a group has to wait until
// the group has a voter in the place of another one that is gone: without both of them it
// may have no majority, and would wait for ever.
func (v *view) repairsFirst(j *shardmap.Job, row *shardmap.TableGroup, k *plan.Group) bool {
	return j.Kind == shardmap.JobDel && slices.ContainsFunc(row.Replicas, func(r shardmap.TableReplica) bool {
		return r.Role == shardmap.ReplicaVoter && r.Node != j.Node && (k.Replicas[r.Replica] == plan.Lost || v.c.lost(v.now, r.Node))
	})
}

// settled reports whether all is known of a group that has to be known to change it, and
// nothing is under way there.
func (v *view) settled(id raft.GroupID) bool {
	g := v.c.of(id)
	if g.told == nil || !g.told.Settled || g.flight != 0 || v.now < g.retryAt {
		return false
	}
	return !slices.ContainsFunc(v.records, func(r shardmap.TableGroup) bool { return r.ID == id })
}

// recorded returns the replicas of a membership as the table has them.
func recorded(m *raft.Membership) []shardmap.TableReplica {
	rows := make([]shardmap.TableReplica, 0, len(m.Voters)+len(m.Learners))
	for _, o := range m.Voters {
		rows = append(rows, shardmap.TableReplica{Replica: o.Replica, Node: o.Node, Role: shardmap.ReplicaVoter})
	}
	for _, o := range m.Learners {
		rows = append(rows, shardmap.TableReplica{Replica: o.Replica, Node: o.Node, Role: shardmap.ReplicaLearner})
	}
	slices.SortFunc(rows, func(a, b shardmap.TableReplica) int { return cmp.Compare(a.Replica, b.Replica) })
	return rows
}
