package node

import (
	"errors"
	"fmt"
	"testing"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// led returns the node that leads a group, once one does that is not fenced and its membership is
// settled, and the group as that node sees it.
func led(t *testing.T, nodes []*runningNode, g raft.GroupID) (leads *runningNode, view repl.GroupView) {
	t.Helper()
	until(t, "the group has a leader whose membership is settled", func() error {
		for _, r := range nodes {
			found := false
			loop := r.node.running()
			if loop == nil {
				continue
			}
			loop.Ask(func(h *repl.Host) {
				for _, v := range h.View() {
					if v.Replica.Group == g && v.Status.Role == raft.RoleLeader && v.Status.Settled && v.Applied.Term == v.Status.Term && v.Fenced == nil {
						leads, view, found = r, v, true
					}
				}
			})
			if found {
				return nil
			}
		}
		return errors.New("none")
	})
	return leads, view
}

// another returns a node that is not r.
func another(nodes []*runningNode, r *runningNode) *runningNode {
	for _, n := range nodes {
		if n != r {
			return n
		}
	}
	return nil
}

// A change of a group's membership is asked for over a connection that may break, so it
// comes again: it must be made once. One would doubt it because the second one looks
// like a change of its own to a leader that keeps nothing of the first.
func TestChangeOnce(t *testing.T) {
	nodes := founders(t, 2, defaultLimits())
	const group = 1
	leads, view := led(t, nodes, group)
	other := another(nodes, leads)
	id := other.node.self()
	s, err := dialAs(other, leads, leads.peerHello(id.Node, id.Life().Number))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ask := func(s *speaker, q wire.Change) (a wire.ChangeAnswer, err error) {
		_, body, err := s.ask(wire.TypeChange, 0, q.Append(nil))
		if err == nil {
			err = a.Read(body)
		}
		return a, err
	}
	own, their := raft.ReplicaID(0), raft.ReplicaID(0)
	for _, m := range view.Status.Membership.Voters {
		if m.Node == id.Node {
			their = m.Replica
		} else {
			own = m.Replica
		}
	}
	q := wire.Change{Group: group, Incarnation: view.Replica.Incarnation, After: view.Status.MembershipAt.Index, Demote: []raft.ReplicaID{their}}

	for _, c := range []struct {
		name   string
		change func(*wire.Change)
		code   wire.Code
		want   string
	}{
		{"made for another membership", func(q *wire.Change) { q.After += 1_000_000 }, wire.CodeConflict, "membership has changed"},
		{"of another incarnation", func(q *wire.Change) { q.Incarnation++ }, wire.CodeNotLeader, "group g1"},
		{"of a group that is not here", func(q *wire.Change) { q.Group = 77 }, wire.CodeNotLeader, "group g77"},
		{"of no group", func(q *wire.Change) { q.Group = raft.GroupMax + 1 }, wire.CodeBadRequest, "field group"},
		{"for any membership", func(q *wire.Change) { q.After = 0 }, wire.CodeBadRequest, "field after"},
		{"of nothing", func(q *wire.Change) { q.Demote = nil }, wire.CodeBadRequest, "all empty"},
		{"of a replica that is not there", func(q *wire.Change) { q.Demote = []raft.ReplicaID{99} }, wire.CodeBadRequest, "replica 99"},
		{"of all voters", func(q *wire.Change) { q.Demote = nil; q.Remove = []raft.ReplicaID{own, their} }, wire.CodeBadRequest, "voter"},
		{"on a node that has one", func(q *wire.Change) {
			q.Demote, q.Add = nil, []wire.AddedReplica{{Node: id.Node, Goal: raft.GoalCopy}}
		}, wire.CodeBadRequest, "holds replica"},
	} {
		bad := q
		c.change(&bad)
		_, err := ask(s, bad)
		refused(t, c.name, err, c.code, c.want)
	}
	if _, v := led(t, nodes, group); v.Status.MembershipAt != view.Status.MembershipAt {
		t.Fatalf("a refused change was made: the membership is of %s, it was of %s", v.Status.MembershipAt, view.Status.MembershipAt)
	}

	// The right change, asked of the node that does not lead: it names the one that does.
	leader := leads.node.self()
	back, err := dialAs(leads, other, other.peerHello(leader.Node, leader.Life().Number))
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	_, err = ask(back, q)
	refused(t, "of the follower", err, wire.CodeNotLeader, leads.addr)

	a, err := ask(s, q)
	if err != nil {
		t.Fatal(err)
	}
	_, err = ask(s, q)
	refused(t, "the same change again", err, wire.CodeConflict, "membership")
	_, v := led(t, nodes, group)
	if m := &v.Status.Membership; len(m.Voters) != 1 || len(m.Learners) != 1 || m.Learners[0].Replica != their {
		t.Errorf("the membership is %+v, want replica %d demoted", m, their)
	}
	if v.Status.MembershipAt.Index < a.At.Index {
		t.Errorf("the change was answered with %s, and the membership is of %s", a.At, v.Status.MembershipAt)
	}
	_, err = ask(s, q)
	refused(t, "the same change later", err, wire.CodeConflict, "membership has changed")

	q.After, q.Demote, q.Promote = v.Status.MembershipAt.Index, nil, []raft.ReplicaID{their}
	until(t, "the copy has caught up and votes again", func() error {
		_, err := ask(s, q)
		if err != nil && !errors.Is(err, &wire.Error{Code: wire.CodeConflict}) {
			t.Fatal(err)
		}
		return err
	})
}

// A change in a member's name is not made before the member has said that the connection
// is its own, nor is a report given: whoever has the cluster's secret could take its
// groups apart.
func TestChangeOfAStranger(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	leads, view := led(t, nodes, 1)
	away := another(nodes, leads)
	id := away.node.self()
	away.stop()
	until(t, "the member is missed", func() error {
		if leads.node.transport.Connected(id.Node) {
			return errors.New("it is connected")
		}
		return nil
	})
	s, err := dial(t, leads.addr, leads.peerHello(id.Node, id.Life().Number+1))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	q := wire.Change{Group: 1, Incarnation: view.Replica.Incarnation, After: view.Status.MembershipAt.Index, Remove: []raft.ReplicaID{1}}
	_, _, err = s.ask(wire.TypeChange, 0, q.Append(nil))
	refused(t, "a change", err, wire.CodeNotReady, id.Node.String())
	_, _, err = s.ask(wire.TypeReplicas, 0, new(wire.Empty).Append(nil))
	refused(t, "a report", err, wire.CodeNotReady, id.Node.String())
	if _, v := led(t, nodes, 1); v.Status.MembershipAt != view.Status.MembershipAt {
		t.Error("the membership has changed")
	}
}

// The table goes to whoever may see it, whole, and comes back as it was: a client plans
// by it, and a node finds its replicas in it.
func TestTableAnswer(t *testing.T) {
	nodes := founders(t, 2, defaultLimits())
	leads, _ := led(t, nodes, 0)
	for _, r := range nodes {
		s := r.client()
		until(t, "the table of the node that leads", func() error {
			_, body, err := s.ask(wire.TypeTable, 0, new(wire.Empty).Append(nil))
			if err != nil {
				return err
			}
			var a wire.TableAnswer
			if err := a.Read(body); err != nil {
				return err
			}
			got, err := shardmap.ReadTable(a.State)
			if err != nil {
				return err
			}
			want := r.node.table.Load()
			if a.Index != want.Index || got.Index != want.Index || len(got.Nodes) != 2 || got.ClusterID != want.ClusterID {
				return fmt.Errorf("got the table of index %d, of %d nodes, want that of %d", a.Index, len(got.Nodes), want.Index)
			}
			if a.Leader != leads.node.self().Node {
				return fmt.Errorf("led by %s, want %s", a.Leader, leads.node.self().Node)
			}
			return nil
		})
		s.Close()
	}
}

// Each kind of connection between nodes has its own rights: a host that joins is no member
// yet, one that invites may be none of ours, and a member gives no orders. One would doubt
// it because all of them come with the purpose of a peer.
func TestEachSendersRight(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 2, defaultLimits())
	r := nodes[0]
	member := nodes[1].node.self()
	table := r.node.table.Load()
	with := func(role wire.Role, id raft.NodeID) wire.DialConfig {
		c := r.peerHello(id, 1)
		c.Role, c.Advertise = role, "127.0.0.1:1"
		return c
	}
	asMember, err := dialAs(nodes[1], r, r.peerHello(member.Node, member.Life().Number))
	if err != nil {
		t.Fatal(err)
	}
	joiner, err := dial(t, r.addr, with(wire.RoleJoining, 0x7777))
	if err != nil {
		t.Fatal(err)
	}
	inviter, err := dial(t, r.addr, with(wire.RoleInviting, 0x7777))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		s   *speaker
		who wire.Sender
	}{{asMember, wire.SenderMember}, {joiner, wire.SenderJoiner}, {inviter, wire.SenderInviter}} {
		for i := range wire.Type(1 << 8) {
			if !i.Known() || i.Senders()&c.who != 0 {
				continue
			}
			_, _, err := c.s.ask(i, 0, []byte{0x90})
			if i.Senders() == wire.SenderNobody {
				refused(t, fmt.Sprintf("%s by %s", i, c.who), err, wire.CodeBadRequest, "nobody sends this type")
			} else {
				refused(t, fmt.Sprintf("%s by %s", i, c.who), err, wire.CodeUnauthorized, c.who.String()+" sent it", i.Senders().String())
			}
		}
	}
	if now := r.node.table.Load(); len(now.Nodes) != len(table.Nodes) || len(now.Jobs) != len(table.Jobs) {
		t.Errorf("the table went from %d nodes and %d jobs to %d and %d", len(table.Nodes), len(table.Jobs), len(now.Nodes), len(now.Jobs))
	}
}
