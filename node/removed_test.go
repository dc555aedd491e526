package node

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// joined adds a host to the cluster of first, and returns it with its config, with which
// it starts again as the same node.
func joined(t *testing.T, first *runningNode) (*runningNode, Config) {
	t.Helper()
	c := standbyConfig(t)
	host := start(t, c, defaultLimits())
	first.added(host.addr)
	host.isMember([]*runningNode{first})
	c.Listen = host.addr
	return host, c
}

// metaReplica returns the replica of the meta group that the node has.
func (r *runningNode) metaReplica() (id raft.ReplicaID) {
	if loop := r.node.running(); loop != nil {
		loop.Ask(func(h *repl.Host) {
			for _, v := range h.View() {
				if v.Replica.Group == 0 {
					id = v.Replica.ID
				}
			}
		})
	}
	return id
}

// without takes a node's copy of the meta group away, and records that.
func without(t *testing.T, first *runningNode, id raft.NodeID) {
	t.Helper()
	nodes := []*runningNode{first}
	until(t, "the copy is taken away", func() error {
		_, view := led(t, nodes, 0)
		for r := range view.Status.Membership.All() {
			if r.Node == id {
				var err error
				first.node.running().Ask(func(h *repl.Host) {
					_, err = h.Change(0, raft.Change{After: view.Status.MembershipAt.Index, Remove: []raft.ReplicaID{r.Replica}})
				})
				return fmt.Errorf("it has replica %d (%v)", r.Replica, err)
			}
		}
		return first.record(view)
	})
}

// removeNode takes a node without replicas off the list.
func removeNode(t *testing.T, first *runningNode, id raft.NodeID) {
	t.Helper()
	without(t, first, id)
	if err := first.node.announcer.propose(t.Context(), func() ([]byte, error) { return shardmap.AppendLeave(nil, &shardmap.Leave{Node: id}) }); err != nil {
		t.Fatal(err)
	}
}

// endsRemoved waits until a host has ended because it was removed, and makes sure that it
// does not start again.
func (r *runningNode) endsRemoved(c Config) {
	r.t.Helper()
	refused(r.t, "the end of the node", r.end(), wire.CodeRemoved, "empty data directory")
	id, _, err := logstore.ReadIdentity(vfs.OS{}, c.Data)
	if err != nil || id.Stage != logstore.StageRemoved {
		r.t.Errorf("its directory says %s (%v)", id.Stage, err)
	}
	err = run(r.t.Context(), c, slog.New(slog.DiscardHandler), defaultLimits(), func(*Node, string) {})
	refused(r.t, "another start", err, wire.CodeRemoved, c.Data, "empty data directory")
}

// A node that is removed is told, ends, and does not come back: while it runs, and when it
// was stopped meanwhile. It would look for its peers for ever otherwise, with votes that
// were counted once.
func TestRemovedNodeEnds(t *testing.T) {
	first := serving(t, defaultLimits())
	t.Run("while it runs", func(t *testing.T) {
		host, c := joined(t, first)
		removeNode(t, first, host.node.self().Node)
		host.endsRemoved(c)
	})
	t.Run("while it was stopped", func(t *testing.T) {
		host, c := joined(t, first)
		id := host.node.self().Node
		host.stop()
		removeNode(t, first, id)
		start(t, c, defaultLimits()).endsRemoved(c)
	})
	t.Run("while it joined", func(t *testing.T) {
		c := standbyConfig(t)
		host := start(t, c, defaultLimits())
		c.Listen = host.addr
		first.added(host.addr)
		id := host.node.self().Node
		until(t, "it is on the list", func() error {
			if _, known := first.node.table.Load().Node(id); !known {
				return errors.New("not yet")
			}
			return nil
		})
		removeNode(t, first, id)
		host.endsRemoved(c)
	})
}

// A word that a node was removed, from whoever listens where a member was, proves
// nothing: it stands in the place of the proof. The node must go on.
func TestUnprovenRemoval(t *testing.T) {
	first := serving(t, defaultLimits())
	host, _ := joined(t, first)
	id := host.node.self().Node
	host.node.dialled(first.node.self().Node, first.addr, wire.Removed(id, "somebody says so"))
	until(t, "the member was asked", func() error {
		if len(host.node.inquiry.wanted) > 0 {
			return errors.New("not yet")
		}
		return nil
	})
	s := host.client()
	defer s.Close()
	until(t, "the node serves", func() error { _, err := writeWith(s, wire.FlagForward, setCommand("k", "v")); return err })
}

// removedHello dials a node in the name of a member that was removed, and returns what is
// wrong with the answer.
func removedHello(t *testing.T) string {
	first := serving(t, defaultLimits())
	host, _ := joined(t, first)
	id := host.node.self()
	host.stop()
	removeNode(t, first, id.Node)
	s, err := dial(t, first.addr, first.peerHello(id.Node, id.Life().Number))
	if err == nil {
		s.Close()
		return "a node that was removed is let in"
	}
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.CodeRemoved {
		return fmt.Sprintf("a node that was removed is answered %v", err)
	}
	return ""
}

func TestRemovedNodeIsTurnedAway(t *testing.T) {
	if wrong := removedHello(t); wrong != "" {
		t.Error(wrong)
	}
}

// A node that was away while others joined, and while those that it knows went, is
// spoken to by nodes that it has never heard of. It asks them who is in the cluster, and
// takes them in.
func TestNodeThatWasAwayLearnsOfOthers(t *testing.T) {
	first := serving(t, defaultLimits())
	away, c := joined(t, first)
	away.stop()
	newer, _ := joined(t, first)
	id := newer.node.self().Node
	first.stop()
	away = start(t, c, defaultLimits())
	until(t, "it knows the node that joined", func() error {
		if t := away.node.known(); t == nil || away.node.running() == nil {
			return errors.New("it does not serve yet")
		} else if _, known := t.Node(id); !known {
			return errors.New("not yet")
		}
		if l := away.node.transport.Link(id); !l.Connected {
			return fmt.Errorf("not connected: %v", l.Err)
		}
		return nil
	})
}

// A copy of the meta group that was replaced while its node was away is one that the node
// knows nothing of, and only that copy could tell it. It learns of it by what is said to
// it.
func TestReplacedMetaReplicaIsMade(t *testing.T) {
	first := serving(t, defaultLimits())
	nodes := []*runningNode{first}
	away, c := joined(t, first)
	id, was := away.node.self().Node, away.metaReplica()
	away.stop()
	without(t, first, id)
	until(t, "it has another copy", func() error { return copied(t, nodes) })
	row, _ := first.node.table.Load().Meta.ReplicaOn(id)
	if row.Replica <= was {
		t.Fatalf("it had replica %d, and has %d", was, row.Replica)
	}
	away = start(t, c, defaultLimits())
	index := first.node.table.Load().Index
	until(t, "it has the new copy", func() error {
		t := away.node.table.Load()
		if has := away.metaReplica(); has != row.Replica || t == nil || t.Index < index {
			return fmt.Errorf("it has replica %d, the table names %d", has, row.Replica)
		}
		return nil
	})
	// And it is so after another start, which begins with what the identity says.
	away.stop()
	away = start(t, c, defaultLimits())
	until(t, "it has the new copy still", func() error {
		if has := away.metaReplica(); has != row.Replica {
			return fmt.Errorf("it has replica %d, the table names %d", has, row.Replica)
		}
		return nil
	})
}

// All nodes come back under other addresses at once, a node that joined among them. Each
// was given one of the new addresses; the table has all of them in the end.
func TestAllMoveAtOnce(t *testing.T) {
	first := serving(t, defaultLimits())
	second, two := joined(t, first)
	third, three := joined(t, first)
	one := first.node.cfg
	for _, r := range []*runningNode{first, second, third} {
		r.stop()
	}
	addrs := freeAddrs(t, 3)
	one.Listen, two.Listen, three.Listen = addrs[0], addrs[1], addrs[2]
	two.Join, three.Join = addrs[:1], addrs[:1]
	var nodes []*runningNode
	for _, c := range []Config{one, two, three} {
		nodes = append(nodes, start(t, c, defaultLimits()))
	}
	for _, r := range nodes {
		until(t, "the table has all new addresses", func() error {
			table := r.node.table.Load()
			if table == nil {
				return errors.New("no table")
			}
			for i := range table.Nodes {
				if !slices.Contains(addrs, table.Nodes[i].Addr) {
					return errors.New(strings.Join([]string{table.Nodes[i].Name, table.Nodes[i].Addr}, " at "))
				}
			}
			return nil
		})
	}
}
