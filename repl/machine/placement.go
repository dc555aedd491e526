package machine

import (
	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/shardmap"
)

// Placement reads from a group's row in the table which replica of it a node
// should have, and who the members are to begin with; false if it should have
// none.
func Placement(g *shardmap.TableGroup, self raft.NodeID) (repl.Placement, bool) {
	p := repl.Placement{Replica: logstore.Replica{Group: g.ID, Incarnation: g.Incarnation}}
	for _, r := range g.Replicas {
		if r.Role == shardmap.ReplicaVoter {
			p.Membership.Voters = append(p.Membership.Voters, raft.Member{Replica: r.Replica, Node: r.Node, Goal: raft.GoalVoter})
		} else {
			p.Membership.Learners = append(p.Membership.Learners, raft.Member{Replica: r.Replica, Node: r.Node, Goal: raft.GoalCopy})
		}
		if r.Node == g.Preferred {
			p.Preferred = r.Replica
		}
		if r.Node == self {
			p.Replica.ID = r.Replica
		}
		p.Membership.Next = max(p.Membership.Next, r.Replica+1)
	}
	return p, p.Replica.ID != 0
}
