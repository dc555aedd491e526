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

func member(r shardmap.TableReplica) raft.Member {
	goal := raft.GoalCopy
	if r.Role == shardmap.ReplicaVoter {
		goal = raft.GoalVoter
	}
	return raft.Member{Replica: r.Replica, Node: r.Node, Goal: goal}
}
