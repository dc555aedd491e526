package mover

import (
	"fmt"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// byHand does what a person wants of one group.
func (w *work) byHand() {
	w.waitsFor = map[uint64]string{}
	for i := range w.table.Jobs {
		j := &w.table.Jobs[i]
		if !j.Kind.AboutGroup() || j.State != shardmap.JobRunning {
			continue
		}
		row, ok := w.table.Group(j.Group)
		node, there := w.table.Node(j.Node)
		switch {
		case !ok:
			w.finish(j, shardmap.JobFailed, "the group is not there any more")
		case !there: // ends says so
		case w.c.lost(w.now, j.Node) && j.Kind != shardmap.JobDel:
			w.finish(j, shardmap.JobFailed, fmt.Sprintf("nothing is heard of %s", node.Name))
		case !w.settled(j.Group) && w.c.of(j.Group).refused != nil:
			w.waitsFor[j.ID] = w.c.of(j.Group).refused.Error()
		case w.leftToPlan(j):
			w.waitsFor[j.ID] = fmt.Sprintf("waits until a voter of group %d that is gone is replaced", j.Group)
		case !w.settled(j.Group):
			w.waitsFor[j.ID] = fmt.Sprintf("waits until the leader of group %d has told of its replicas", j.Group)
		default:
			w.c.of(j.Group).watched = true
			w.oneByHand(j, &row, &node)
		}
	}
}

// decides reports whether the voters of a group without one of them have a majority that
// is live.
func (w *work) decides(g *group, row *shardmap.TableGroup, without raft.ReplicaID) bool {
	var q plan.Quorum
	for _, m := range g.members.Voters {
		if m.Replica == without {
			continue
		}
		if q.Voters++; w.live(row, m) {
			q.Live++
		}
	}
	return q.Spare() >= 0
}

// leftToPlan reports whether the planner works on the group of a job that changes its
// replicas.
func (w *work) leftToPlan(j *shardmap.Job) bool {
	_, planned := w.known.Groups[j.Group]
	return planned && j.Kind == shardmap.JobDel
}

func (w *work) oneByHand(j *shardmap.Job, row *shardmap.TableGroup, node *shardmap.TableNode) {
	g := w.c.of(j.Group)
	l, learns := on(g.members.Learners, j.Node)
	v, votes := on(g.members.Voters, j.Node)
	bad := w.c.stateOf(j.Node, replicaOf(row, max(l.Replica, v.Replica)))
	var ch raft.Change
	switch j.Kind {
	case shardmap.JobAdd:
		switch {
		case votes:
			w.finish(j, shardmap.JobDone, "")
			return
		case w.c.silent(j.Node):
			w.waitsFor[j.ID] = fmt.Sprintf("waits for %s", node.Name)
			return
		case !learns:
			ch.Add = []raft.NewMember{{Node: j.Node, Goal: raft.GoalCopy}}
		case !g.caughtUp(l.Replica) || bad != plan.Intact:
			w.waitsFor[j.ID] = fmt.Sprintf("waits until %s has what the group has", node.Name)
			return
		case node.Role == shardmap.NodeServer:
			ch.Promote = []raft.ReplicaID{l.Replica}
		default:
			w.finish(j, shardmap.JobDone, "")
			return
		}
	case shardmap.JobDel:
		switch {
		case votes && len(g.members.Voters) == 1:
			w.finish(j, shardmap.JobFailed, "it is the last voter")
			return
		case votes && !w.decides(g, row, v.Replica):
			// Its leader refuses that, unless the group rests: then nobody is missed there.
			w.waitsFor[j.ID] = fmt.Sprintf("waits until the voters that stay in group %d have a majority that is live", j.Group)
			return
		case votes && j.Group == 0:
			ch.Demote = []raft.ReplicaID{v.Replica} // each node keeps its copy of the table
		case votes:
			ch.Remove = []raft.ReplicaID{v.Replica}
		case learns && j.Group != 0:
			ch.Remove = []raft.ReplicaID{l.Replica}
		default:
			w.finish(j, shardmap.JobDone, "")
			return
		}
	case shardmap.JobPromote:
		switch {
		case row.Preferred != j.Node:
			w.finish(j, shardmap.JobFailed, "another node is preferred by now")
		case !votes:
			w.finish(j, shardmap.JobFailed, fmt.Sprintf("%s does not vote in group %d", node.Name, j.Group))
		case g.from == j.Node:
			w.finish(j, shardmap.JobDone, "")
		default:
			// The table says whom the group prefers, and its leader hands over by itself.
			w.waitsFor[j.ID] = fmt.Sprintf("waits until %s leads group %d", node.Name, j.Group)
		}
		return
	}
	if g.refused != nil {
		w.waitsFor[j.ID] = g.refused.Error()
	}
	w.change(j.Group, ch)
}
