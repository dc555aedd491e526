package node

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// dialBackTimeout bounds the dial of a host that asks to be taken in. It waits for the
	// answer meanwhile, and founderSilence bounds that.
	dialBackTimeout = callTimeout / 2
	// inviteWait is for how long a host that was invited is watched: most that is wrong
	// with it comes out when it asks to be taken in, which takes it a few milliseconds.
	inviteWait = 2 * time.Second
	// inviteLook lies between two looks at such a host.
	inviteLook = 100 * time.Millisecond
	// recruitsMax bounds the Joins and AddNodes that this node works on.
	recruitsMax = 64
)

// recruiter takes hosts into the cluster: it invites them, and answers those that ask.
type recruiter struct {
	// Set once.
	node *Node

	under atomic.Int32 // requests that are worked on
}

// beside answers a request in a goroutine of its own, because it waits for other hosts;
// or refuses r, if there are too many.
func (m *recruiter) beside(c *connection, r repl.Reply, answer func(ctx context.Context)) {
	if m.under.Add(1) > recruitsMax {
		m.under.Add(-1)
		c.refuse(r, wire.Busy("node "+m.node.name, fmt.Sprintf("%d hosts wait to be taken in, the limit is %d", recruitsMax, recruitsMax), time.Second))
		return
	}
	m.node.ended.Go(func() {
		defer m.under.Add(-1)
		answer(m.node.ctx)
	})
}

// takeJoin answers a host that asks to become a member.
func takeJoin(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Join
	if !readRequest(c, h, r, body, &q) {
		return
	}
	if node := c.greeting.Hello.Node; q.Node != node {
		c.refuse(r, wire.Unauthorized("join of node "+q.Node.String(), "node "+node.String()+" asks", "ask for the node that the hello names"))
		return
	}
	m := &c.node.recruiter
	m.beside(c, r, func(ctx context.Context) {
		a, refusal := m.takeIn(ctx, &q)
		m.node.trail.done(c, wire.TypeJoin, fmt.Sprintf("node %s (%s) at %s", q.Node, q.Name, q.Addr), 0, refusal)
		if refusal != nil {
			c.refuse(r, refusal)
			return
		}
		c.answerNow(r, wire.TypeJoinAnswer, a.Append(nil))
	})
}

// bugNotDialledBack is planted to show that its test finds it: a host is taken in that
// nobody can reach.
const bugNotDialledBack = "host not dialled back"

// takeIn has the table name a host, and returns the host's replica of the meta group once
// the table names that too. Everything that can be wrong with the host is found before
// anything is changed.
func (m *recruiter) takeIn(ctx context.Context, q *wire.Join) (a wire.JoinAnswer, refusal *wire.Error) {
	n := m.node
	loop, t := n.running(), n.table.Load()
	if refusal := n.ledHere(loop); refusal != nil {
		return a, refusal
	}
	if a, ok := takenIn(t, q); ok {
		return a, nil
	}
	command, refusal := admitJoin(t, q)
	if refusal != nil {
		return a, refusal
	}
	// Of a node that is on the list as it is now, this was found out before.
	if row, known := t.Node(q.Node); !known || row.Addr != q.Addr {
		if refusal := m.dialBack(ctx, q); refusal != nil {
			return a, refusal
		}
	}
	// The table may have changed since, and refuses again what has become wrong: of two
	// hosts with one name that came at once, the second.
	if err := n.announcer.propose(ctx, func() ([]byte, error) { return command, nil }); err != nil {
		return a, proposalError("join of node "+q.Node.String(), err)
	}
	// The mover gives it a replica of the meta group; then the host asks again.
	return a, wire.NotReady("node "+q.Name, "it is on the list, and its copy of the table is being made", "wait", joinPauseMin)
}

// takenIn is the answer to a host for which the table has a replica of the meta group.
func takenIn(t *shardmap.Table, q *wire.Join) (a wire.JoinAnswer, ok bool) {
	row, known := t.Node(q.Node)
	if !known || row.Addr != q.Addr {
		return a, false
	}
	replica, ok := t.Meta.ReplicaOn(q.Node)
	if !ok {
		return a, false
	}
	return wire.JoinAnswer{ClusterID: t.ClusterID, Incarnation: t.Meta.Incarnation, Replica: replica.Replica, Level: t.Level, Members: nodeAddrs(t),
		Index: t.Index, Roots: trustedRoots(t)}, true
}

// nodeAddrs lists all nodes of the table.
func nodeAddrs(t *shardmap.Table) []wire.NodeAddr {
	var all []wire.NodeAddr
	for i := range t.Nodes {
		all = append(all, wire.NodeAddr{Node: t.Nodes[i].ID, Addr: t.Nodes[i].Addr})
	}
	return all
}

// admitJoin returns the command that puts a host on the list, or why it must not be
// there, as far as the table tells.
func admitJoin(t *shardmap.Table, q *wire.Join) (command []byte, refusal *wire.Error) {
	object := "node " + q.Node.String()
	if t.WasRemoved(q.Node) {
		return nil, wire.Removed(q.Node, fmt.Sprintf("cluster %q", t.Cluster))
	}
	// Every member would keep it, and show it on terminals.
	said := wire.Announce{Node: q.Node, Start: q.Start, Addr: q.Addr, Version: q.Version, Name: q.Name, Labels: q.Labels, Level: q.Level}
	if err := checkAnnouncement(&said); err != nil {
		return nil, wire.BadRequest(object, err.Error(), "start that node with a name, labels and an address that are right")
	}
	return joinCommand(t, q.Row())
}

// joinCommand returns the command that puts a node on the list, or why the table refuses
// it.
func joinCommand(t *shardmap.Table, node shardmap.TableNode) (command []byte, refusal *wire.Error) {
	command, err := shardmap.AppendJoin(nil, &shardmap.Join{Node: node})
	if err == nil {
		_, err = t.Try(command)
	}
	if err != nil {
		return nil, machine.OrderError(err)
	}
	return command, nil
}

// dialBack makes sure that the host answers at the address that it gave: all members are
// going to dial it there.
func (m *recruiter) dialBack(ctx context.Context, q *wire.Join) *wire.Error {
	if bug(bugNotDialledBack) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, dialBackTimeout)
	defer cancel()
	conn, _, err := m.node.caller.dial(ctx, q.Node, q.Addr, wire.PurposePeer, wire.RoleInviting)
	if err != nil {
		return wire.Unreached(q.Node, q.Addr, fmt.Sprintf("node %s (%s) dialled it there: %s", m.node.name, m.node.addr, err))
	}
	conn.Close()
	return nil
}

// proposalError makes the typed refusal of a command of this node itself.
func proposalError(object string, err error) *wire.Error {
	if e, ok := refusalIn(err); ok {
		return e
	}
	return wire.MaybeApplied(object, err.Error())
}

// takeInvite answers a member that asks this host into its cluster.
func takeInvite(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Invite
	if err := q.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	a, refusal := c.node.enrolment.invite(&q)
	c.node.trail.done(c, wire.TypeInvite, fmt.Sprintf("cluster %016x", q.ClusterID), 0, refusal)
	if refusal != nil {
		c.refuse(r, refusal)
		return
	}
	c.answerNow(r, wire.TypeInviteAnswer, a.Append(nil))
}

// takeAddNodes invites hosts, and answers what became of each.
func takeAddNodes(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.AddNodes
	if !readRequest(c, h, r, body, &q) {
		return
	}
	m := &c.node.recruiter
	m.beside(c, r, func(ctx context.Context) {
		a := wire.AddNodesAnswer{Rows: make([]wire.AddedNode, len(q.Hosts))}
		var all sync.WaitGroup
		for i, host := range q.Hosts {
			all.Go(func() { a.Rows[i] = m.add(ctx, host) })
		}
		all.Wait()
		for i := range a.Rows {
			var refusal *wire.Error
			if row := &a.Rows[i]; row.State == 0 {
				refusal = &row.Why
			}
			m.node.trail.done(c, wire.TypeAddNodes, "host "+a.Rows[i].Addr, 0, refusal)
		}
		c.answerNow(r, wire.TypeAddNodesAnswer, a.Append(nil))
	})
}

// add invites one host, and watches it until it is on the list, or has been told why it
// can't be, or inviteWait has passed: then it is on its way.
func (m *recruiter) add(ctx context.Context, host string) (row wire.AddedNode) {
	row.Addr = host
	refuse := func(e *wire.Error) wire.AddedNode {
		row.State, row.Why = 0, *e
		return row
	}
	if err := checkReachable(host); err != nil {
		return refuse(wire.BadRequest("host", err.Error(), "give HOST:PORT as the host has it in --listen or --advertise"))
	}
	for until := time.Now().Add(inviteWait); ; {
		a, refusal := m.invite(ctx, host)
		if refusal != nil && passes(refusal.Code) && time.Now().Before(until) {
			if !m.pauses(ctx) {
				return refuse(refusal)
			}
			continue
		}
		if refusal != nil {
			return refuse(refusal)
		}
		if first := row.State == 0; first || a.State == wire.JoinMember {
			row.State = a.State
		}
		row.Node, row.Name = a.Node, a.Name
		t := m.node.table.Load()
		if t.WasRemoved(a.Node) {
			return refuse(wire.Removed(a.Node, fmt.Sprintf("cluster %q", t.Cluster)))
		}
		if known, ok := t.Node(a.Node); ok {
			row.Name = known.Name
			return row
		}
		if a.Why.Code != 0 && !passes(a.Why.Code) {
			return refuse(&a.Why)
		}
		if row.State == wire.JoinMember || time.Now().After(until) {
			return row
		}
		if !m.pauses(ctx) {
			return row
		}
	}
}

// pauses waits until it is time to look at a host again, and reports false if the node ends before.
func (m *recruiter) pauses(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(inviteLook):
		return true
	}
}

// invite asks the host at an address into the cluster.
func (m *recruiter) invite(ctx context.Context, host string) (a wire.InviteAnswer, refusal *wire.Error) {
	n := m.node
	t := n.table.Load()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	conn, g, err := n.caller.dial(ctx, 0, host, wire.PurposePeer, wire.RoleInviting)
	if err != nil {
		return a, inviteError(host, err)
	}
	defer conn.Close()
	// A host that can't be taken in where it is stays as it is: an empty directory at the
	// address of a node that is on the list, most of all. Its name it tells later.
	// It gets its certificate later, too, by its token, which says in what role it may come.
	nameless := shardmap.TableNode{ID: g.Challenge.Node, Addr: host, Role: shardmap.NodeServer, Level: g.Challenge.Level}
	uncertified := *t
	uncertified.Security.Mode, uncertified.Security.Pins = shardmap.SecurityOff, nil
	if _, refusal := joinCommand(&uncertified, nameless); refusal != nil {
		return a, refusal
	}
	if err := n.caller.ask(ctx, conn, g, wire.TypeInvite, &wire.Invite{ClusterID: t.ClusterID, Members: nodeAddrs(t)}, &a); err != nil {
		return a, inviteError(host, err)
	}
	return a, nil
}

// inviteError is why a host could not be invited, in parts.
func inviteError(host string, err error) *wire.Error {
	if e, ok := refusalIn(err); ok {
		return e
	}
	return &wire.Error{Code: wire.CodeUnavailable, Object: "host " + host, Text: "not invited", State: err.Error(),
		Next: "see that muster serve --standby runs there, and that this node reaches it at that address"}
}
