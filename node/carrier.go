package node

import (
	"context"
	"fmt"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/mover"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// stepMax is how long a step of a move, or a look at its slots, may take at the group
	// that is asked. The carrier tries again by itself.
	stepMax = 3 * time.Second
	// moveStuckAfter is for how long nothing may happen in a move until a person should look
	// at it: some elections.
	moveStuckAfter = 30 * time.Second
	// stuckShown is how many moves that are stuck a status shows.
	stuckShown = 3
)

// carrying drives the carrier of this node: it brings it events, and carries out what it
// decides. It is a [repl.Replier] of the steps that this node's own groups take; the number
// of an action is that of its request.
type carrying struct {
	node   *Node
	mail   mailbox // for run
	ways   carryWays
	routes machine.Routes // where slots went, as far as this node knows more than its table

	// Owned by run.
	core *mover.Carrier
}

func (c *carrying) init(n *Node) {
	c.node, c.core, c.mail = n, mover.NewCarrier(n.self().Node), newMailbox()
	c.ways.init(c)
}

// led is told by the host when the lead of a data group comes here, or goes: then term is 0.
func (c *carrying) led(g raft.GroupID, term uint64) {
	c.mail.post(func(time.Duration) { c.core.Lead(g, term) })
}

// changed is told when the table has changed.
func (c *carrying) changed() { c.mail.rouse() }

func (c *carrying) run() {
	n := c.node
	loop := n.running()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var table *shardmap.Table
	for c.mail.wait(n.ctx, timer) {
		if t := n.table.Load(); t != nil && t != table {
			table = t
			c.core.Table(loop.Now(), t)
		}
		for _, f := range c.mail.take() {
			f(loop.Now())
		}
		actions, next := c.core.Turn(loop.Now())
		if len(actions) > 0 {
			// By the goroutine that owns the host: there it is known who leads, and what is
			// led here begins at once. Calls are made in the order in which they are posted.
			t := table
			loop.Post(func(h *repl.Host) {
				for i := range actions {
					if err := c.act(h, loop.Now(), t, &actions[i]); err != nil {
						c.ended(actions[i].Number, err)
					}
				}
			})
		}
		timer.Reset(next - loop.Now())
	}
}

func (c *carrying) ended(number uint64, err error) {
	c.mail.post(func(now time.Duration) { c.core.Ended(now, number, err) })
}

// act begins to carry out one action, in an event of the host. If it returns an error the
// action has ended.
func (c *carrying) act(h *repl.Host, now time.Duration, t *shardmap.Table, a *mover.CarryAction) error {
	self := c.node.self().Node
	switch a.Kind {
	case mover.CarryCopy:
		return c.copy(h, a)
	case mover.CarryDecisions:
		return c.decisions(h, a)
	}
	if lead := h.Forwards.Leader(a.Group); lead != self {
		return c.ways.send(lead, t, a)
	}
	reply := repl.Reply{To: c, Request: a.Number}
	if a.Kind == mover.CarryStep {
		step := wire.Step{Group: a.Group, Incarnation: a.Incarnation, Command: a.Command}
		p, refused := machine.StepProposal(&step, wire.SenderMember, t, wire.Origin{Time: clock(c.node.running(), time.Now()).Wall})
		if refused != nil {
			return refused
		}
		p.Deadline, p.Reply = now+stepMax, reply
		h.Propose(p)
		return nil
	}
	r := machine.SlotViewRead(&wire.SlotView{Group: a.Group, Slots: a.Slots})
	r.Deadline, r.Reply = now+stepMax, reply
	h.Read(r)
	return nil
}

// copy takes copies of slots of a group here, between two entries.
func (c *carrying) copy(h *repl.Host, a *mover.CarryAction) error {
	m, ok := h.Machine(a.Group).(*machine.Map)
	if !ok {
		return fmt.Errorf("group %s is not here", a.Group)
	}
	var copies []*shardmap.SlotCopy
	var views []shardmap.SlotView
	for _, r := range a.Slots {
		for s := r.From; s <= r.To; s++ {
			one, _ := m.State.CopyToMove(s)
			copies, views = append(copies, one), append(views, m.State.View(s))
		}
	}
	at := m.State.Applied()
	c.mail.post(func(now time.Duration) { c.core.Copied(now, a.Number, copies, views, at) })
	return nil
}

// decisions tells which decisions the replica of a group here keeps.
func (c *carrying) decisions(h *repl.Host, a *mover.CarryAction) error {
	m, ok := h.Machine(a.Group).(*machine.Map)
	if !ok {
		return fmt.Errorf("group %s is not here", a.Group)
	}
	decisions, number := m.State.Decisions(), a.Number
	c.mail.post(func(now time.Duration) { c.core.Decided(now, number, decisions) })
	return nil
}

// Answer implements [repl.Replier].
func (c *carrying) Answer(r repl.Reply, t wire.Type, body []byte) bool {
	if err := c.took(r.Request, t, body); err != nil {
		c.ended(r.Request, err)
	}
	return false
}

// Flush implements [repl.Replier].
func (c *carrying) Flush() {}

// took hands the answer to an action to the carrier; nothing of body is kept. If the answer is an
// error, or can't be read, it returns that and hands in nothing.
func (c *carrying) took(number uint64, t wire.Type, body []byte) error {
	if err := errorIn(t, body); err != nil {
		return err
	}
	switch t {
	case wire.TypeStepAnswer:
		a := new(wire.StepAnswer)
		if err := a.Read(body); err != nil {
			return err
		}
		c.mail.post(func(now time.Duration) { c.core.Stepped(now, number, a) })
		c.follow(a)
	case wire.TypeSlotViewAnswer:
		a := new(wire.SlotViewAnswer)
		if err := a.Read(body); err != nil {
			return err
		}
		c.mail.post(func(now time.Duration) { c.core.Viewed(now, number, a) })
	case wire.TypeOrderAnswer: // the meta group's: it is applied
		c.ended(number, nil)
	default:
		return fmt.Errorf("answer of type %s", t)
	}
	return nil
}

// follow notes which slots a group has taken over, as its log says. Clients that wait here for
// one are then sent there at once: long before this node's table and the source's log say so.
func (c *carrying) follow(a *wire.StepAnswer) {
	taken := false
	for i := range a.Results {
		if c.routes.Learn(&a.Results[i].View, a.Group) {
			taken = true
		}
	}
	if taken {
		c.node.running().Post(func(*repl.Host) {}) // its next turn looks at what was deferred
	}
}

// stuck returns the problems with moves from groups that this node leads in which nothing
// happens.
func (c *carrying) stuck(t *shardmap.Table) []wire.Problem {
	var moves []mover.StuckMove
	var at time.Duration
	if !c.mail.ask(c.node.ctx, func(now time.Duration) { moves, at = c.core.Stuck(now, moveStuckAfter), now }) {
		return nil
	}
	return stuckMoves(moves, at, t)
}

// stuckMoves are the problems with some moves.
func stuckMoves(moves []mover.StuckMove, at time.Duration, t *shardmap.Table) (list []wire.Problem) {
	for i := range moves {
		if i == stuckShown {
			list = append(list, wire.Problem{What: fmt.Sprintf("%d more slots are stuck on their way", len(moves)-i), Remedy: "see muster slot list, and muster job list"})
			break
		}
		list = append(list, stuckMove(&moves[i], at, t))
	}
	return list
}

// stuckMove is the problem with one move.
func stuckMove(m *mover.StuckMove, now time.Duration, t *shardmap.Table) wire.Problem {
	p := wire.Problem{What: fmt.Sprintf("slot %d is stuck on its way from group %s to group %s: nothing has happened for %s", m.Slot, m.From, m.To, (now - m.Since).Round(time.Second))}
	if m.Why != "" {
		p.What += ": " + m.Why
	}
	p.Remedy = "bring back the nodes of the two groups that are missing; the move goes on by itself"
	if move, open := t.MoveOf(m.Slot); open && move.Number == m.Number && move.Job != 0 {
		p.Remedy += fmt.Sprintf("; muster job cancel %d gives it up, if group %s can still be asked", move.Job, m.To)
	}
	return p
}

// counts returns what this node has carried; false if ctx ends before it is known.
func (c *carrying) counts(ctx context.Context) (mover.CarryCounts, bool) {
	return countsOf(ctx, &c.mail, func(time.Duration) mover.CarryCounts { return c.core.Counts() })
}

// rows are the counters of what this node has carried.
func (c *carrying) rows() (rows []wire.CounterRow) {
	n, ok := c.counts(c.node.ctx)
	if !ok {
		return nil
	}
	for _, r := range []wire.CounterRow{
		{Name: "slots: moved", Out: n.Slots},
		{Name: "slots: refused by their targets", Out: n.Refused},
		{Name: "slots: chunks", Out: n.Chunks, BytesOut: n.Bytes},
		{Name: "slots: pieces sent again", Out: n.Again},
		{Name: "slots: longest pause, in ms", Out: uint64(n.PauseMax.Milliseconds())},
	} {
		if r.Out > 0 {
			rows = append(rows, r)
		}
	}
	return rows
}
