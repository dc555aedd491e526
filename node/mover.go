package node

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/mover"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/plan"
)

const (
	// previewPatience is how long a preview waits for groups whose leaders have not told
	// of them since this node leads the meta group.
	previewPatience = 2 * time.Second
	// commandMax is how long a command of the mover may wait for its place in the log.
	commandMax = 3 * time.Second
)

// moves drives the mover of this node: it brings it events, and carries out what it
// decides. While the meta group is led elsewhere it sleeps.
type moves struct {
	node *Node
	// Owned by run.
	core     *mover.Core
	previews []previewing

	mail  mailbox     // for run
	leads atomic.Bool // the meta group is led here, with an entry of this term applied
}

func (m *moves) init(n *Node) {
	m.node, m.core, m.mail = n, mover.New(n.self().Node), newMailbox()
	report, preview := reporter(mover.ReportOf), planner(m.preview)
	n.orders.report.Store(&report)
	n.orders.preview.Store(&preview)
}

// led is told by the host when the lead of the meta group comes here, or goes.
func (m *moves) led(leads bool) {
	m.leads.Store(leads)
	m.mail.rouse()
}

// changed is told when the table has changed, or a node is silent or back.
func (m *moves) changed() {
	if m.leads.Load() {
		m.mail.rouse()
	}
}

func (m *moves) run() {
	n := m.node
	timer := time.NewTimer(0)
	defer timer.Stop()
	var table *shardmap.Table
	for m.mail.wait(n.ctx, timer) {
		loop := n.running()
		queued := m.mail.take()
		if t := n.table.Load(); t != nil && t != table {
			table = t
			m.core.Table(loop.Now(), t)
		}
		m.core.Lead(loop.Now(), m.leads.Load())
		for _, f := range queued {
			f(loop.Now())
		}
		if m.core.Leads() && table != nil {
			m.hear(loop, table)
		}
		actions, next := m.core.Turn(loop.Now())
		next = m.answer(loop.Now(), next)
		for i := range actions {
			n.ended.Go(func() { m.act(loop, &actions[i]) })
		}
		timer.Reset(next - loop.Now())
	}
}

// hear tells the core when each node was last heard of.
func (m *moves) hear(loop *repl.Loop, t *shardmap.Table) {
	self := m.node.self().Node
	type heard struct {
		node raft.NodeID
		ago  time.Duration
		ever bool
	}
	var all []heard
	now := loop.Now()
	loop.Ask(func(h *repl.Host) {
		for i := range t.Nodes {
			if id := t.Nodes[i].ID; id != self {
				ago, ever := h.Contacts().Heard(id, now)
				all = append(all, heard{id, max(ago, 0), ever})
			}
		}
	})
	for _, o := range all {
		m.core.Heard(now, o.node, o.ago, o.ever)
	}
}

// act carries out one action, and tells the core how it ended.
func (m *moves) act(loop *repl.Loop, a *mover.Action) {
	ctx, cancel := context.WithTimeout(m.node.ctx, callTimeout)
	defer cancel()
	var err error
	switch a.Kind {
	case mover.Propose:
		err = m.propose(ctx, loop, a.Payload)
	case mover.Change:
		err = m.change(ctx, loop, a)
	case mover.View:
		r := wire.SlotViewAnswer{Group: a.Group}
		if err = m.view(ctx, loop, a, &r); err == nil {
			m.mail.post(func(now time.Duration) { m.core.Viewed(now, a.Number, &r) })
		}
	case mover.Ask:
		var r mover.Report
		if r, err = m.ask(ctx, loop, a.Node); err == nil {
			m.mail.post(func(now time.Duration) { m.core.Report(now, a.Number, &r) })
		}
	}
	if err != nil && m.node.ctx.Err() == nil && a.Kind != mover.Ask && a.Kind != mover.View {
		m.node.log.Info("move held up", "action", a.Kind, "group", a.Group, "err", err)
	}
	m.mail.post(func(now time.Duration) { m.core.Ended(now, a.Number, err) })
}

// ask gets a node's report.
func (m *moves) ask(ctx context.Context, loop *repl.Loop, to raft.NodeID) (r mover.Report, err error) {
	n := m.node
	if to != n.self().Node {
		err = n.caller.call(ctx, to, n.addrOf(to), wire.RolePeer, wire.TypeReplicas, new(wire.Empty), &r)
		return r, err
	}
	if !loop.Ask(func(h *repl.Host) { r = mover.ReportOf(h) }) {
		err = errStopped
	}
	return r, err
}

// view gets how slots stand in a group, from the node that led it last. What is led here is
// as far as this node has applied: the sizes that the mover asks for are for people to read.
func (m *moves) view(ctx context.Context, loop *repl.Loop, a *mover.Action, r *wire.SlotViewAnswer) (err error) {
	n := m.node
	if a.Node != n.self().Node {
		return n.caller.call(ctx, a.Node, n.addrOf(a.Node), wire.RolePeer, wire.TypeSlotView, &wire.SlotView{Group: a.Group, Slots: a.Slots}, r)
	}
	if !loop.Ask(func(h *repl.Host) {
		state, ok := h.Machine(a.Group).(*machine.Map)
		if !ok {
			err = raft.ErrNotLeader
			return
		}
		for _, run := range a.Slots {
			for s := run.From; s <= run.To; s++ {
				r.Rows = append(r.Rows, state.State.View(s))
			}
		}
	}) {
		err = errStopped
	}
	return err
}

// change asks a group's leader to change its membership.
func (m *moves) change(ctx context.Context, loop *repl.Loop, a *mover.Action) (err error) {
	n := m.node
	q := wire.Change{Group: a.Group, Incarnation: a.Incarnation, After: a.Change.After, Promote: a.Change.Promote, Demote: a.Change.Demote, Remove: a.Change.Remove}
	for _, r := range a.Change.Add {
		q.Add = append(q.Add, wire.AddedReplica{Node: r.Node, Goal: r.Goal})
	}
	n.log.Info("membership is to change", "group", a.Group, "leader", a.Node, "after", q.After, "add", q.Add, "promote", q.Promote, "demote", q.Demote, "remove", q.Remove)
	if a.Node != n.self().Node {
		return n.caller.call(ctx, a.Node, n.addrOf(a.Node), wire.RolePeer, wire.TypeChange, &q, new(wire.ChangeAnswer))
	}
	if !loop.Ask(func(h *repl.Host) {
		if _, e := n.change(h, &q); e != nil {
			err = e
		}
	}) {
		err = errStopped
	}
	return err
}

// propose puts a command into the meta group's log, and waits until it is applied.
func (m *moves) propose(ctx context.Context, loop *repl.Loop, command []byte) error {
	now := clock(loop, time.Now())
	w := newWaiter()
	loop.Propose([]repl.Proposal{{Group: 0, Entry: machine.NewEntry(wire.Origin{Time: now.Wall}, command), Deadline: now.Host + commandMax, Reply: repl.Reply{To: w}}})
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-loop.Over():
		return errStopped
	}
}

// previewing is a preview that somebody waits for.
type previewing struct {
	command []byte
	until   time.Duration // when it is made of what is known by then
	done    chan previewed
}

type previewed struct {
	plan  plan.Plan
	index uint64
	err   error
}

// preview says what would be done after a command, once all groups' leaders have told of
// them, or when that takes too long.
func (m *moves) preview(command []byte) (plan.Plan, uint64, error) {
	w := previewing{command: command, done: make(chan previewed, 1)}
	m.mail.post(func(now time.Duration) {
		w.until = now + previewPatience
		m.previews = append(m.previews, w)
	})
	select {
	case p := <-w.done:
		return p.plan, p.index, p.err
	case <-m.node.ctx.Done():
		return plan.Plan{}, 0, errStopped
	}
}

// answer answers the previews that need not wait longer. It returns when it is to be
// called again at the latest.
func (m *moves) answer(now, next time.Duration) time.Duration {
	if len(m.previews) == 0 {
		return next
	}
	whole := m.core.Complete(now)
	var wait []previewing
	for _, w := range m.previews {
		if m.core.Leads() && !whole && now < w.until {
			wait, next = append(wait, w), min(next, w.until)
			continue
		}
		var p previewed
		p.plan, p.index, p.err = m.core.Preview(now, w.command)
		if errors.Is(p.err, mover.ErrNotLeading) {
			p.err = wire.NotReady("node "+m.node.name, p.err.Error(), "ask again in a moment", wire.BusyRetry)
		}
		w.done <- p
	}
	m.previews = wait
	return next
}
