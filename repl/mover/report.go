package mover

import (
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap/plan"
)

// ReportOf returns what a node knows of replicas that nobody else does. A group's leader
// tells of it once it has applied an entry of its term: before that it does not know
// whether the membership that it goes by is in force.
func ReportOf(h *repl.Host) Report {
	var r Report
	unfit := false
	for _, v := range h.View() {
		if v.Mending != nil && v.Mending.Anyones && !unfit {
			unfit = true
			r.Bad = append(r.Bad, wire.BadReplica{State: plan.Lost})
		}
		switch {
		case v.Mending != nil && v.Mending.Damage.Promises && !v.Mending.Damage.Where.Refused:
			r.Bad = append(r.Bad, badReplica(&v, plan.Lost))
		case v.Down() || v.Stopped != "":
			r.Bad = append(r.Bad, badReplica(&v, plan.Damaged))
		case v.Held:
			r.Bad = append(r.Bad, badReplica(&v, plan.Doubtful))
		}
		if v.Status.Role != raft.RoleLeader || v.Stopped != "" || v.Down() || v.Applied.Term != v.Status.Term {
			continue
		}
		g := wire.ReportedGroup{
			Group: v.Replica.Group, Incarnation: v.Replica.Incarnation, Term: v.Status.Term,
			At: v.Status.MembershipAt, Settled: v.Status.Settled && v.Applied.Index >= v.Status.MembershipAt.Index, Bytes: v.Bytes, Membership: v.Status.Membership.Append(nil),
		}
		for _, p := range v.Status.Progress {
			g.Progress = append(g.Progress, wire.ReportedReplica{Replica: p.Replica, CaughtUp: p.CaughtUp, Active: p.Active})
		}
		r.Groups = append(r.Groups, g)
	}
	return r
}

func badReplica(v *repl.GroupView, s plan.ReplicaState) wire.BadReplica {
	return wire.BadReplica{Group: v.Replica.Group, Incarnation: v.Replica.Incarnation, Replica: v.Replica.ID, State: s}
}
