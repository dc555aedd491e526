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
	host.isMember()
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

// removeNode orders a node off the list, and waits until it is.
func removeNode(t *testing.T, first *runningNode, id raft.NodeID, force shardmap.NewJob) {
	t.Helper()
	force.Kind, force.Node = shardmap.JobRemove, id
	order := wire.Order{Command: command(t)(shardmap.AppendNewJob(nil, &force))}
	s := first.client()
	defer s.Close()
	if _, err := asked(s, order); err != nil {
		t.Fatal(err)
	}
	until(t, "the node is off the list", func() error {
		if t := first.node.table.Load(); !t.WasRemoved(id) {
			return fmt.Errorf("jobs %+v", t.Jobs)
		}
		return nil
	})
}

// Ways to remove a node: with its help, and without it.
var gently, forcibly = shardmap.NewJob{}, shardmap.NewJob{Force: true}

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
	t.Parallel()
	first := serving(t, defaultLimits())
	t.Run("while it runs", func(t *testing.T) {
		host, c := joined(t, first)
		removeNode(t, first, host.node.self().Node, gently)
		host.endsRemoved(c)
	})
	t.Run("while it was stopped", func(t *testing.T) {
		host, c := joined(t, first)
		id := host.node.self().Node
		host.stop()
		removeNode(t, first, id, forcibly)
		start(t, c, defaultLimits()).endsRemoved(c)
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
	removeNode(t, first, id.Node, forcibly)
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
	t.Parallel()
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
	t.Parallel()
	first := serving(t, defaultLimits())
	away, c := joined(t, first)
	id, was := away.node.self().Node, away.metaReplica()
	away.stop()
	var row shardmap.TableReplica
	until(t, "it has another copy", func() error {
		if row, _ = first.node.table.Load().Meta.ReplicaOn(id); row.Replica > was {
			return nil
		}
		return replaceCopy(t, first, id, was)
	})
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

// replaceCopy has the meta group give a node another replica in the place of one, unless
// that is under way. The mover may be at it too.
func replaceCopy(t *testing.T, first *runningNode, id raft.NodeID, was raft.ReplicaID) (err error) {
	_, view := led(t, []*runningNode{first}, 0)
	change := raft.Change{After: view.Status.MembershipAt.Index}
	var has raft.ReplicaID
	for r := range view.Status.Membership.All() {
		if r.Node == id {
			has = r.Replica
		}
	}
	switch has {
	case was:
		change.Remove = []raft.ReplicaID{was}
	case 0:
		change.Add = []raft.NewMember{{Node: id, Goal: raft.GoalCopy}}
	default:
		return fmt.Errorf("the table does not know replica %d yet", has)
	}
	first.node.running().Ask(func(h *repl.Host) { _, err = h.Change(0, change) })
	return errors.Join(fmt.Errorf("it has replica %d", has), err)
}

// All nodes come back under other addresses at once, a node that joined among them. Each
// was given one of the new addresses; the table has all of them in the end.
func TestAllMoveAtOnce(t *testing.T) {
	t.Parallel()
	first := serving(t, defaultLimits())
	second, two := joined(t, first)
	third, three := joined(t, first)
	one := first.node.cfg
	stopTogether([]*runningNode{first, second, third})
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

// A node that joins reads the log of group 0 from its first entry, and so meets tables of
// long before. By those the nodes that feed it are strangers: it would turn them away,
// and never get further.
func TestMembersOfOldTables(t *testing.T) {
	id := &logstore.Identity{Node: 4, Members: []logstore.IdentityMember{{Node: 3, Addr: "c"}, {Node: 4, Addr: "d"}}}
	table := func(nodes ...raft.NodeID) *shardmap.Table {
		t := &shardmap.Table{ClusterID: 1}
		for _, n := range nodes {
			t.Nodes = append(t.Nodes, shardmap.TableNode{ID: n, Addr: fmt.Sprint(n)})
		}
		return t
	}
	gone := table(1, 2)
	gone.Removed = []raft.NodeID{4}
	for _, test := range []struct {
		name  string
		table *shardmap.Table
		want  []raft.NodeID
	}{
		{"none", nil, []raft.NodeID{3, 4}},
		{"of before the founding", &shardmap.Table{}, []raft.NodeID{3, 4}},
		{"of before it was taken in", table(1, 2), []raft.NodeID{3, 4}},
		{"with it", table(2, 3, 4, 5), []raft.NodeID{2, 3, 4, 5}},
		{"of after it was removed", gone, []raft.NodeID{1, 2}},
	} {
		var got []raft.NodeID
		for _, m := range members(id, test.table) {
			got = append(got, m.Node)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("table %s: got %v, want %v", test.name, got, test.want)
		}
	}
}
