package cmd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// membersOf are the nodes of a status as a table has them, so that they can be named.
func membersOf(status *wire.StatusAnswer) *shardmap.Table {
	t := &shardmap.Table{}
	for i := range status.Nodes {
		n := &status.Nodes[i]
		t.Nodes = append(t.Nodes, shardmap.TableNode{ID: n.ID, Name: n.Name, Addr: n.Addr})
	}
	return t
}

// takeWaiting takes what a node says of its replica, which waits for a person's word.
func (k *comparison) takeWaiting(g wire.CheckedGroup) {
	if len(g.Replicas) > 0 {
		k.wait[g.Group] = append(k.wait[g.Group], g)
		k.want(g.Group)
	}
}

// forget forgets what a node has said of its replicas in some groups, or in all.
func (k *comparison) forget(n raft.NodeID, groups []raft.GroupID) {
	for id, all := range k.wait {
		if len(groups) == 0 || slices.Contains(groups, id) {
			k.wait[id] = slices.DeleteFunc(all, func(g wire.CheckedGroup) bool { return g.Replicas[0].Node == n })
		}
	}
}

// needsWord reports whether a group stands still until a person has said which of its replicas is
// right. A leader's comparison overrides that: the group has served since, or is about to.
func (k *comparison) needsWord(id raft.GroupID) bool {
	g := k.found[id]
	return len(k.wait[id]) > 0 && (g.At.Index == 0 || slices.ContainsFunc(g.Replicas, func(p wire.CheckedReplica) bool { return p.State == wire.CheckedUndecided }))
}

// waiting is what all nodes together say of a group that needs a person's word.
func (k *comparison) waiting(id raft.GroupID) wire.CheckedGroup {
	all := k.wait[id]
	// A group that was made anew has a newer incarnation, and what is left of the old one says nothing.
	last := slices.MaxFunc(all, func(a, b wire.CheckedGroup) int { return cmp.Compare(a.Incarnation, b.Incarnation) })
	g := wire.CheckedGroup{Group: id, Incarnation: last.Incarnation}
	g.Why = fmt.Sprintf("%s; muster check --group %d --fix --trust NODE decides", last.Why, id)
	for _, o := range all {
		if o.Incarnation == last.Incarnation {
			g.Replicas = append(g.Replicas, o.Replicas...)
		}
	}
	slices.SortFunc(g.Replicas, func(a, b wire.CheckedReplica) int { return cmp.Compare(a.Replica, b.Replica) })
	return g
}

// replicaNodes are the nodes that have a replica of a group, in their order: as the endpoint knows them,
// and those that say so. An endpoint that was started while group 0 had no leader knows of no group.
func (k *comparison) replicaNodes(id raft.GroupID) (nodes []raft.NodeID) {
	for i := range k.known {
		for _, p := range k.known[i].Replicas {
			if k.known[i].ID == id && p.Node != 0 {
				nodes = append(nodes, p.Node)
			}
		}
	}
	for _, g := range k.wait[id] {
		for _, p := range g.Replicas {
			nodes = append(nodes, p.Node)
		}
	}
	slices.SortFunc(nodes, func(a, b raft.NodeID) int { return cmp.Compare(k.order(a), k.order(b)) })
	return slices.Compact(nodes)
}

// order is where a node stands among those that the endpoint knows.
func (k *comparison) order(n raft.NodeID) int {
	return slices.IndexFunc(k.nodes, func(o wire.StatusNode) bool { return o.ID == n })
}

// trust has a group begin again with the state of the replica on n, if a person agrees, and waits until
// all its replicas have that.
func (s *errand) trust(ctx context.Context, k *comparison, id raft.GroupID, n *shardmap.TableNode, agreed consent) error {
	name := nodeNames(k.nodes)
	var others []string
	has := false
	for _, o := range k.replicaNodes(id) {
		if o == n.ID {
			has = true
		} else {
			others = append(others, name(o))
		}
	}
	err := k.silent[n.ID]
	switch {
	case !has:
		return withStatus(exitNotFound, "group %d: %s has no replica of it; %s have", id, called(n), strings.Join(others, ", "))
	case err != nil:
		return fmt.Errorf("ask %s at %s: %w", called(n), n.Addr, err)
	case !k.needsWord(id):
		return withStatus(exitRefused, "group %d: it does not wait for anybody to say which replica is right; muster check --group %d says how it stands", id, id)
	}
	text := fmt.Sprintf("the state that %s has of group %d, as its snapshot and log say, becomes that of the group", cmp.Or(n.Name, n.ID.String()), id)
	if len(others) > 0 {
		text += fmt.Sprintf("; %s get it, and keep what they hold now in aside/ of their data directories", strings.Join(others, ", "))
	}
	s.propose(&proposal{lines: []string{"plan to trust one replica:", "  " + text}, binds: [][]byte{[]byte(text)}})
	if agreed != consentGiven && !s.agrees(ctx) {
		return notConfirmed()
	}
	m := mend{group: id}
	for _, p := range k.waiting(id).Replicas {
		m.replicas = append(m.replicas, p.Replica)
	}
	err = s.with(ctx, func(ctx context.Context) error {
		a, err := k.asks(ctx, n.Addr, wire.Check{Groups: []raft.GroupID{id}, Trust: true})
		if err != nil {
			return fmt.Errorf("%s at %s: %w", called(n), n.Addr, err)
		}
		for i := range a.Groups {
			if why := a.Groups[i].Why; why != "" {
				return withStatus(exitRefused, "%s at %s: %s", called(n), n.Addr, why)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.mend(ctx, k, []mend{m}, func() bool { return false })
}
