package mover

import (
	"fmt"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// Preview returns what would be done after a command to the meta group, by what is known
// now, without doing it, and the index of the table that it is made from. The error is
// ErrNotLeading, of the bytes, or the refusal that the command would meet.
func (c *Core) Preview(now time.Duration, command []byte) (p plan.Plan, index uint64, err error) {
	if !c.active() {
		return p, 0, ErrNotLeading
	}
	index = c.table.Index
	t, err := c.table.Try(command)
	if err != nil {
		return p, 0, err
	}
	v := c.peek(now, t)
	if j := newestJob(t, func(j *shardmap.Job) bool { return j.ID > c.table.Index && !j.State.Finished() }); j != nil {
		switch {
		case j.Kind.AboutGroup():
			return v.byHandPlan(j), index, nil
		case j.Kind.AboutSlots():
			return p, index, nil // its targets say it all, and no replica moves for it
		}
	}
	b := plan.BalanceOff
	if t.Balance() && len(t.Jobs) == len(c.table.Jobs) && t.Index != c.table.Index {
		b = plan.BalanceOn // no job carries it out, so what follows is what balancing does
	}
	return v.make(b), index, nil
}

// Complete reports whether all groups' leaders have told of them, so that a preview is
// whole: those of groups that have a majority.
func (c *Core) Complete(now time.Duration) bool {
	return c.active() && !c.lacksLeaders(c.peek(now, c.table))
}

// peek makes a view that leaves what is known as it is.
func (c *Core) peek(now time.Duration, t *shardmap.Table) *view {
	of := *c
	of.groups = make(map[raft.GroupID]*group, len(c.groups))
	for id, g := range c.groups {
		copied := *g
		of.groups[id] = &copied
	}
	of.table = t
	return of.view(now, t)
}

// byHandPlan returns the steps of a job about one group.
func (v *view) byHandPlan(j *shardmap.Job) (p plan.Plan) {
	g := v.c.of(j.Group)
	row, _ := v.table.Group(j.Group)
	node, _ := v.table.Node(j.Node)
	if g.told == nil {
		p.Problems = []plan.Problem{{Group: j.Group, What: fmt.Sprintf("nothing is known of the replicas of group %d", j.Group), Remedy: plan.RemedyReport}}
		return p
	}
	const why = "as ordered"
	q := v.quorum(g, &row)
	at := plan.Place{Node: j.Node, Name: node.Name}
	step := func(kind plan.Kind, after plan.Quorum) *plan.Step {
		p.Steps = append(p.Steps, plan.Step{Kind: kind, Group: j.Group, Why: why, Before: q, After: after, Joint: min(q.Spare(), after.Spare())})
		q = after
		return &p.Steps[len(p.Steps)-1]
	}
	l, learns := on(g.members.Learners, j.Node)
	m, votes := on(g.members.Voters, j.Node)
	switch j.Kind {
	case shardmap.JobAdd:
		if at.Replica = l.Replica; !learns {
			s := step(plan.Add, q)
			s.In, s.Bytes = []plan.Place{at}, g.told.Bytes
			p.Moves, p.Bytes = 1, g.told.Bytes
		}
		if node.Role == shardmap.NodeServer {
			after := plan.Quorum{Voters: q.Voters + 1, Live: q.Live}
			if !v.c.silent(j.Node) {
				after.Live++
			}
			step(plan.Promote, after).In = []plan.Place{at}
		}
	case shardmap.JobDel:
		after := q
		if at.Replica = l.Replica; votes {
			at.Replica = m.Replica
			if after.Voters--; v.live(&row, m) {
				after.Live--
			}
		}
		step(plan.Remove, after).Out = []plan.Place{at}
	case shardmap.JobPromote:
		at.Replica = m.Replica
		step(plan.Prefer, q).In = []plan.Place{at}
	}
	if q.Spare() < 0 {
		p.Problems = append(p.Problems, plan.Problem{Group: j.Group, What: fmt.Sprintf("group %d would have %s", j.Group, q), Remedy: "wait until more of its voters are live"})
	}
	return p
}

// quorum counts a group's voters.
func (v *view) quorum(g *group, row *shardmap.TableGroup) (q plan.Quorum) {
	for _, m := range g.members.Voters {
		q.Voters++
		if v.live(row, m) {
			q.Live++
		}
	}
	return q
}

func (v *view) live(row *shardmap.TableGroup, m raft.Member) bool {
	return !v.c.silent(m.Node) && v.c.stateOf(m.Node, replicaOf(row, m.Replica)) == plan.Intact
}
