package node

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/windows"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// windowKeeper drives the core that makes windows of time series ahead, hides and drops them, and makes those
// that nodes ask for. While the meta group is led elsewhere it sleeps.
type windowKeeper struct {
	// Set once.
	node *Node
	wall func() time.Time // by which windows go: [time.Now], but in tests
	// Owned by run.
	core *windows.Core

	mail  mailbox     // for run
	leads atomic.Bool // the meta group is led here, with an entry of this term applied
}

func (k *windowKeeper) init(n *Node) {
	k.node, k.core, k.mail = n, windows.New(n.self().Node), newMailbox()
}

// led is told by the host when the lead of the meta group comes here, or goes.
func (k *windowKeeper) led(leads bool) {
	k.leads.Store(leads)
	k.mail.rouse()
}

// changed is told of each new table, and when a node is silent or back.
func (k *windowKeeper) changed() {
	if k.leads.Load() {
		k.mail.rouse()
	}
}

func (k *windowKeeper) run() {
	n := k.node
	timer := time.NewTimer(0)
	defer timer.Stop()
	for k.mail.wait(n.ctx, timer) {
		loop := n.running()
		queued := k.mail.take()
		leads := k.leads.Load() // first: a leader decides by a table of its own term
		table := n.table.Load()
		if table != nil {
			k.core.Table(table)
		}
		k.core.Lead(leads)
		for _, f := range queued {
			f(loop.Now())
		}
		if leads && table != nil && len(table.Catalog.Databases) > 0 {
			k.core.Known(k.alive(loop, table))
		}
		actions, next := k.core.Turn(windows.Now{Host: loop.Now(), Wall: k.wall().UnixNano()})
		for i := range actions {
			n.ended.Go(func() { k.act(loop, &actions[i]) })
		}
		timer.Reset(next - loop.Now())
	}
}

// act carries out one action.
func (k *windowKeeper) act(loop *repl.Loop, a *windows.Action) {
	n := k.node
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	switch a.Kind {
	case windows.Propose:
		if err := n.moves.propose(ctx, loop, a.Payload); err != nil && n.ctx.Err() == nil {
			n.log.Info("windows not kept", "command", orderText(a.Payload), "err", err)
		}
	case windows.Ask:
		var shown wire.ClockAnswer
		if err := n.caller.call(ctx, a.Node, n.addrOf(a.Node), wire.RolePeer, wire.TypeClock, new(wire.Empty), &shown); err != nil {
			return // the core asks again
		}
		k.mail.post(func(now time.Duration) { k.core.Clock(now, a.Node, shown.Time) })
	}
}

// alive is what this node, which leads the meta group, knows of others: a node that was not heard of for an
// election timeout gets no shard.
func (k *windowKeeper) alive(loop *repl.Loop, t *shardmap.Table) plan.Known {
	n := k.node
	known := plan.Known{Nodes: map[raft.NodeID]plan.Node{}}
	now, self := loop.Now(), n.self().Node
	loop.Ask(func(h *repl.Host) {
		for i := range t.Nodes {
			id := t.Nodes[i].ID
			if ago, ever := h.Contacts().Heard(id, now); id != self && (!ever || ago > awayAfter) {
				known.Nodes[id] = plan.Node{Health: plan.Silent}
			}
		}
	})
	return known
}

// answerClock answers with what the clock of this node shows.
func answerClock(c *connection, r repl.Reply) {
	if byMember(c, r) == nil {
		return
	}
	a := wire.ClockAnswer{Time: c.node.keeping.wall().Unix()}
	c.answerNow(r, wire.TypeClockAnswer, a.Append(nil))
}

// takeWindow answers with the window of a policy that takes points of a time, after it was made if need be.
func takeWindow(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Window
	if !readRequest(c, h, r, body, &q) {
		return
	}
	if c.standing == wire.SenderClient {
		takeWindowOfClient(c, r, &q)
		return
	}
	loop := byMember(c, r)
	if loop == nil {
		return
	}
	c.laterOrBusy(r, func() {
		ctx, cancel := context.WithTimeout(c.node.ctx, callTimeout)
		defer cancel()
		a, refusal := c.node.keeping.window(ctx, loop, &q)
		if refusal != nil {
			c.refuse(r, refusal)
			return
		}
		c.answerNow(r, wire.TypeWindowAnswer, a.Append(nil))
	})
}

// takeWindowOfClient answers a client, who asks any node. That asks the leader of the meta group in its own name, so the
// policy has to be of the database that the client's right goes by.
func takeWindowOfClient(c *connection, r repl.Reply, q *wire.Window) {
	n := c.node
	if table := n.table.Load(); table != nil && table.Level >= shardmap.PointsLevel {
		p, ok := table.Catalog.Policy(shardmap.PolicyID(q.Policy))
		if d, _ := table.Catalog.Database(p.Database); !ok || d.Name != q.Database {
			c.refuse(r, wire.NotFound(fmt.Sprintf("policy %d of database %q", q.Policy, q.Database), fmt.Sprintf("the table of index %d has no such policy", table.Index), "fetch the table, and take the policy from it"))
			return
		}
	}
	c.laterOrBusy(r, func() {
		ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
		defer cancel()
		a, err := n.keeping.of(ctx, shardmap.PolicyID(q.Policy), q.Time)
		if err != nil {
			e, ok := refusalIn(err)
			if !ok || e.Code == wire.CodeNotLeader { // the client would look for that leader, which it need not know
				e = wire.NotReady("window", err.Error(), "ask again: a window is made once", wire.BusyRetry)
			}
			c.refuse(r, e)
			return
		}
		c.answerNow(r, wire.TypeWindowAnswer, a.Append(nil))
	})
}

// window returns the window that takes points of a time. If there is none, and this node leads the meta group, it
// makes one.
func (k *windowKeeper) window(ctx context.Context, loop *repl.Loop, q *wire.Window) (*wire.WindowAnswer, *wire.Error) {
	n := k.node
	if refusal := n.ledHere(loop); refusal != nil {
		return nil, refusal
	}
	table := n.table.Load()
	if table.Level < shardmap.PointsLevel {
		return nil, wire.OverLevel("request "+wire.TypeWindow.String(), shardmap.PointsLevel, table.Level)
	}
	if a := windowIn(table, q); a != nil {
		return a, nil
	}
	command, refusal := k.newWindow(loop, table, q)
	if refusal != nil {
		return nil, refusal
	}
	if err := n.moves.propose(ctx, loop, command); err != nil {
		if e, ok := refusalIn(err); ok {
			return nil, e
		}
		return nil, wire.NotReady("window", err.Error(), "ask again: a window is made once", wire.BusyRetry)
	}
	// It was applied here, and by now may be truncated, or gone with its policy.
	if a := windowIn(n.table.Load(), q); a != nil {
		return a, nil
	}
	return nil, wire.NotReady("window", "it is no longer there", "ask again", wire.BusyRetry)
}

// windowIn returns the window of a table that takes points of a time; nil if there is none, or it is hidden.
func windowIn(t *shardmap.Table, q *wire.Window) *wire.WindowAnswer {
	w, ok := t.Catalog.WindowAt(shardmap.PolicyID(q.Policy), q.Time)
	if !ok || w.Hidden != 0 {
		return nil
	}
	return &wire.WindowAnswer{Index: t.Index, Window: uint64(w.ID), Start: w.Start, End: w.End, Truncated: w.Truncated, Shards: w.Shards}
}

// newWindow returns the command that makes a window, or why there can be none.
func (k *windowKeeper) newWindow(loop *repl.Loop, t *shardmap.Table, q *wire.Window) ([]byte, *wire.Error) {
	id := shardmap.PolicyID(q.Policy)
	p, _ := t.Catalog.Policy(id) // the table refuses one that is not there
	known := k.alive(loop, t)
	groups := plan.Windows(t, &known, p.Shards)
	if len(groups) == 0 {
		return nil, wire.Unavailable("window", "no data group has a majority of its voters alive")
	}
	command, err := shardmap.AppendNewWindow(nil, &shardmap.NewWindow{Policy: id, Time: q.Time, Shards: groups})
	if err != nil {
		return nil, machine.OrderError(err)
	}
	made, err := t.Try(command)
	if err != nil {
		return nil, machine.OrderError(err)
	}
	w, _ := made.Catalog.WindowAt(id, q.Time)
	if w.Over(&p, k.wall().UnixNano()) {
		return nil, &wire.Error{Code: wire.CodeConflict, Object: "window", Text: "its points are no longer kept", State: fmt.Sprintf("policy %q keeps them for %s, and the window would end at %s", p.Name, p.Duration, time.Unix(0, w.End).UTC().Format(time.RFC3339)),
			Next: "write points of a later time, or keep them for longer: muster policy alter"}
	}
	return command, nil
}

// of returns the window of a policy that takes points of a time, in nanoseconds since 1970 UTC: by this node's table, and
// where that has none from the leader of the meta group, which makes it. An error is a [wire.Error], or about the way
// to the leader; it may be tried again.
func (k *windowKeeper) of(ctx context.Context, policy shardmap.PolicyID, at int64) (*wire.WindowAnswer, error) {
	n := k.node
	loop, table := n.running(), n.table.Load()
	if loop == nil || table == nil {
		return nil, n.notReady()
	}
	q := wire.Window{Policy: uint64(policy), Time: at}
	if a := windowIn(table, &q); a != nil {
		return a, nil
	}
	if table.Level < shardmap.PointsLevel {
		return nil, wire.OverLevel("window", shardmap.PointsLevel, table.Level)
	}
	lead, ok := metaLead(loop)
	switch {
	case !ok:
		return nil, n.notReady()
	case lead.node == 0:
		return nil, wire.Unavailable("group 0", "it has no leader")
	case lead.node != n.self().Node:
		a := new(wire.WindowAnswer)
		err := n.caller.call(ctx, lead.node, n.addrOf(lead.node), wire.RolePeer, wire.TypeWindow, &q, a)
		return a, err
	}
	a, refusal := k.window(ctx, loop, &q)
	if refusal != nil {
		return nil, refusal
	}
	return a, nil
}
