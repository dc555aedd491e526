package cmd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// fix has the replicas that differ rebuilt, if a person agrees, and waits for them.
func (s *errand) fix(ctx context.Context, k *comparison, agreed consent) error {
	plan := k.mends()
	if len(plan) == 0 {
		return nil // nothing to agree to
	}
	p := proposal{lines: []string{"plan to rebuild the replicas that differ:"}}
	for i := range plan {
		p.binds = append(p.binds, []byte(plan[i].text))
		if i < stepsShown {
			p.lines = append(p.lines, "  "+plan[i].text)
		}
	}
	if more := len(plan) - stepsShown; more > 0 {
		p.lines = append(p.lines, fmt.Sprintf("  and the same in %d more groups", more))
	}
	s.propose(&p)
	if agreed != consentGiven && !s.agrees(ctx) {
		return notConfirmed()
	}
	return s.mend(ctx, k, plan, func() bool {
		return !slices.ContainsFunc(plan, func(m mend) bool { return k.unmended(m) && !k.needsWord(m.group) })
	})
}

// mend has replicas rebuilt, and waits until they are whole, or over returns true.
func (s *errand) mend(ctx context.Context, k *comparison, plan []mend, over func() bool) error {
	whole := false
	err := s.with(ctx, func(ctx context.Context) error {
		return k.ask(ctx, s.timeout, func(int) wire.Check {
			return wire.Check{Groups: groupsOf(plan), Act: true}
		}, func() bool {
			whole = whole || !slices.ContainsFunc(plan, k.unmended)
			return whole || over()
		})
	})
	if err != nil || whole {
		return err
	}
	for i := range plan {
		if id := plan[i].group; k.needsWord(id) {
			return withStatus(exitRefused, "group %d: %s", id, k.waiting(id).Why)
		}
	}
	return withStatus(exitNoResult, "the replicas are being rebuilt, and not all are whole after %s; muster check shows when they are", s.timeout)
}

// mend is what --fix does in one group.
type mend struct {
	group    raft.GroupID
	replicas []raft.ReplicaID // that are wrong
	text     string
}

func groupsOf(plan []mend) []raft.GroupID {
	groups := make([]raft.GroupID, len(plan))
	for i := range plan {
		groups[i] = plan[i].group
	}
	return groups
}

// mends are the groups in which a replica is wrong, ascending.
func (k *comparison) mends() (plan []mend) {
	name := nodeNames(k.nodes)
	for _, id := range k.wanted {
		g := k.found[id]
		m := mend{group: id}
		var words []string
		undecided := false
		if k.needsWord(id) {
			continue // only a person can mend that
		}
		for i := range g.Replicas {
			p := &g.Replicas[i]
			if !wrong(p.State) {
				continue
			}
			m.replicas = append(m.replicas, p.Replica)
			undecided = undecided || p.State == wire.CheckedUndecided
			d := differingRow{Parts: shardmap.PartNames(p.Parts), More: p.PartsMore}
			words = append(words, fmt.Sprintf("replica %d on %s, which %s%s", p.Replica, orDash(name(p.Node)), isSo(p.State), d.in()))
		}
		if len(words) == 0 {
			continue
		}
		well, voters := k.voters(&g)
		what := "rebuild"
		if undecided {
			what = "replay the log of"
		}
		m.text = fmt.Sprintf("group %d: %s %s; %d of %d voters stay in order", id, what, strings.Join(words, ", and "), well, voters)
		plan = append(plan, m)
	}
	return plan
}

// isSo is a state as the end of "which".
func isSo(s wire.CheckedState) string {
	if s == wire.CheckedDiffers {
		return s.String()
	}
	return "is " + s.String()
}

// voters counts those of a group, and those among them that agree. A replica that the endpoint does not
// know yet counts as one.
func (k *comparison) voters(g *wire.CheckedGroup) (well, all int) {
	learners := make(map[raft.ReplicaID]bool)
	for i := range k.known {
		for _, p := range k.known[i].Replicas {
			if k.known[i].ID == g.Group && p.Role == shardmap.ReplicaLearner {
				learners[p.ID] = true
			}
		}
	}
	for i := range g.Replicas {
		if p := &g.Replicas[i]; !learners[p.Replica] {
			all++
			if p.State == wire.CheckedAgrees {
				well++
			}
		}
	}
	return well, all
}

// unmended reports whether a group still has a replica that is wrong, or has not yet been heard of since
// it was.
func (k *comparison) unmended(m mend) bool {
	g := k.found[m.group]
	return g.At.Index == 0 || slices.ContainsFunc(g.Replicas, func(p wire.CheckedReplica) bool {
		return wrong(p.State) || p.State == wire.CheckedSilent && slices.Contains(m.replicas, p.Replica)
	})
}
