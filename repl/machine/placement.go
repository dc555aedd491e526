package machine

import (
	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/shardmap"
)

// Placement reads from a group's row in the table which replica of it a node
// should have; false if it should have none.
func Placement(g *shardmap.TableGroup, self raft.NodeID) (repl.Placement, bool) {
	p := repl.Placement{Replica: logstore.Replica{Group: g.ID, Incarnation: g.Incarnation}}
	for _, r := range g.Founders {
		if m := member(r); m.Goal == raft.GoalVoter {
			p.Founders.Voters = append(p.Founders.Voters, m)
		} else {
			p.Founders.Learners = append(p.Founders.Learners, m)
		}
		p.Founders.Next = max(p.Founders.Next, r.Replica+1)
	}
	for _, r := range g.Replicas {
		p.Members = append(p.Members, member(r))
		if r.Node == g.Preferred {
			p.Preferred = r.Replica
		}
		if r.Node == self {
			p.Replica.ID = r.Replica
		}
	}
	return p, p.Replica.ID != 0
}

// Kept reads from the table what it knows of the memberships of all groups.
func Kept(t *shardmap.Table) repl.KeptGroups {
	rows := make([]repl.Kept, 0, 1+len(t.Groups))
	for g := range t.EachGroup {
		k := repl.Kept{Group: g.ID, Incarnation: g.Incarnation, Next: g.Next, Replicas: make([]raft.ReplicaID, 0, len(g.Replicas))}
		for _, r := range g.Replicas {
			k.Replicas = append(k.Replicas, r.Replica)
		}
		rows = append(rows, k)
	}
	return repl.KeptGroups{Rows: rows, AllAt: t.Index}
}

func member(r shardmap.TableReplica) raft.Member {
	goal := raft.GoalCopy
	if r.Role == shardmap.ReplicaVoter {
		goal = raft.GoalVoter
	}
	return raft.Member{Replica: r.Replica, Node: r.Node, Goal: goal}
}
