package sim

import (
	"slices"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/mover"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// carryDeadline is how long a step may wait for its place in a log, or a view for its
	// answer, as in node/carrier.go.
	carryDeadline = 3 * time.Second
	// carryDoubleEvery, carryLossEvery and carryLateEvery are how many steps and views there
	// are for each that arrives twice, is lost or unanswered, or is late.
	carryDoubleEvery, carryLossEvery, carryLateEvery = 24, 24, 12
	// carryStrikeEvery is how many actions of a carrier there are for each behind which its
	// process dies, and for each behind which it stands still.
	carryStrikeEvery = 300
	// carryAstrayEvery is how many steps and views there are for each that goes to some node
	// instead of that which leads.
	carryAstrayEvery = 32
)

// carries drives the carrier of a process, as node/carrier.go does: its core is the real
// one, and so is what takes its steps at the other node. What it sends is lost, late, or
// arrives twice, and its process may die or stand still between two of its actions.
type carries struct {
	n     *node
	core  *mover.Carrier // of the process
	table *shardmap.Table
	turns turns
	pipes [nodesMax + 1]time.Duration // when the last frame to each node arrives
}

// begin is the start of a process.
func (k *carries) begin() {
	k.core, k.table, k.pipes = mover.NewCarrier(k.n.id), nil, [nodesMax + 1]time.Duration{}
}

// led is told who leads a group here.
func (k *carries) led(g raft.GroupID, term uint64) {
	if g != 0 && k.n.c.shuffle.active {
		k.core.Lead(g, term)
		k.plan(0)
	}
}

func (k *carries) plan(d time.Duration) {
	if k.n.c.shuffle.active {
		k.turns.plan(k.n, evCarry, d)
	}
}

// turn lets the carrier act on what has happened.
func (k *carries) turn() {
	n, c := k.n, k.n.c
	now := n.ticks.now()
	if t := n.known.table; t != nil && t != k.table {
		k.table = t
		k.core.Table(now, t)
	}
	actions, next := k.core.Turn(now)
	life := n.life
	for i := range actions {
		k.carry(&actions[i])
		switch {
		case c.chaos.strikesCarrier(n):
			c.note(n.index, "dies between two actions of its carrier")
			n.crash(c.chaos.power())
			return
		case c.chaos.strikesCarrier(n):
			d := c.chance.skewed(100*time.Millisecond, 20*time.Second)
			c.note(n.index, "stands still for %s between two actions of its carrier", d)
			c.order.call(0, func() {
				if n.up && n.life == life && !n.paused {
					n.pause(d)
				}
			})
		}
	}
	if d := next - now; d < time.Hour {
		k.plan(max(d, time.Millisecond))
	}
}

// strikesCarrier reports whether something befalls the process that carries slots now.
func (x *chaos) strikesCarrier(n *node) bool {
	begun := len(x.powers) > 0
	return begun && !x.stopped && x.c.chance.below(carryStrikeEvery) == 0 && x.c.majorities(func(o *node) bool { return o != n && o.up && !o.paused && !o.dead && !o.halted })
}

// carry carries out one action.
func (k *carries) carry(a *mover.CarryAction) {
	n, core := k.n, k.core
	ended := func(err error) {
		core.Ended(n.ticks.now(), a.Number, err)
		k.plan(0)
	}
	switch a.Kind {
	case mover.CarryCopy:
		n.soon(n.c.chance.skewed(10*time.Microsecond, 20*time.Millisecond), func() { k.copy(a) })
	case mover.CarryDecisions:
		n.soon(n.c.chance.skewed(10*time.Microsecond, 20*time.Millisecond), func() { k.decisions(a) })
	case mover.CarryStep:
		if a.Group != 0 {
			n.c.shuffle.sealing(a.Command)
		}
		q := wire.Step{Group: a.Group, Incarnation: a.Incarnation, Command: a.Command}
		k.ask(a.Group, wire.TypeStep, q.Append(nil), func(t wire.Type, body []byte) {
			if a.Group == 0 && t != wire.TypeError { // what it came to is in the table
				ended(nil)
				return
			}
			var r wire.StepAnswer
			if err := k.read(t, wire.TypeStepAnswer, body, &r); err != nil {
				ended(err)
				return
			}
			core.Stepped(n.ticks.now(), a.Number, &r)
			k.plan(0)
		}, ended)
	case mover.CarryView:
		k.view(a.Group, a.Slots, func(r *wire.SlotViewAnswer) {
			core.Viewed(n.ticks.now(), a.Number, r)
			k.plan(0)
		}, ended)
	}
}

// view asks the leader of a group how slots stand there. It leaves out those that the run
// does not use: no group has anything of them, and they would be nearly all rows.
func (k *carries) view(g raft.GroupID, slots []shardmap.SlotRange, viewed func(*wire.SlotViewAnswer), ended func(error)) {
	some := []shardmap.Slot{slots[0].From} // a view is of one slot at least
	for _, s := range k.n.c.lives.slots {
		if slices.ContainsFunc(slots, func(r shardmap.SlotRange) bool { return r.From <= s && s <= r.To }) {
			some = append(some, s)
		}
	}
	q := wire.SlotView{Group: g, Slots: shardmap.SlotRanges(some)}
	k.ask(g, wire.TypeSlotView, q.Append(nil), func(t wire.Type, body []byte) {
		var r wire.SlotViewAnswer
		if err := k.read(t, wire.TypeSlotViewAnswer, body, &r); err != nil {
			ended(err)
			return
		}
		viewed(&r)
	}, ended)
}

// read reads an answer, which is an error or of a type.
func (k *carries) read(t, want wire.Type, body []byte, b wire.Body) error {
	if t == wire.TypeError {
		e := new(wire.Error)
		if err := e.Read(body); err != nil {
			return err
		}
		return e
	}
	if err := b.Read(body); err != nil || t != want {
		k.n.c.fail("n%d: a %s in answer to its carrier, which wants a %s: %v", k.n.index, t, want, err)
	}
	return nil
}

// copy takes copies of slots from the node's own replica.
func (k *carries) copy(a *mover.CarryAction) {
	now := k.n.ticks.now()
	w, ok := k.n.host.Machine(a.Group).(*watched)
	if !ok || w.state == nil {
		k.core.Ended(now, a.Number, errUnreached)
		k.plan(0)
		return
	}
	var copies []*shardmap.SlotCopy
	var views []shardmap.SlotView
	for _, r := range a.Slots {
		for s := r.From; s <= r.To; s++ {
			copied, _ := w.state.State.CopyToMove(s)
			copies, views = append(copies, copied), append(views, w.state.State.View(s))
		}
	}
	k.core.Copied(now, a.Number, copies, views, w.state.State.Applied())
	k.plan(0)
}

// decisions says what the node's own replica has decided.
func (k *carries) decisions(a *mover.CarryAction) {
	now := k.n.ticks.now()
	if w, ok := k.n.host.Machine(a.Group).(*watched); ok && w.state != nil {
		k.core.Decided(now, a.Number, w.state.State.Decisions())
	} else {
		k.core.Ended(now, a.Number, errUnreached)
	}
	k.plan(0)
}

// leader returns the node that leads a group, as far as this one knows.
func (k *carries) leader(g raft.GroupID) *node {
	n, c := k.n, k.n.c
	if !c.chaos.stopped && c.chance.below(carryAstrayEvery) == 0 {
		return c.nodes[c.chance.below(len(c.nodes))]
	}
	for _, v := range n.host.View() {
		if m, ok := v.Status.Membership.Member(v.Status.Leader); ok && v.Replica.Group == g {
			return c.nodes[m.Node-1]
		}
	}
	if int(g) < len(c.truth) {
		return c.leaderOf(g)
	}
	return nil
}

// ask has the leader of a group take a frame, and brings the answer back: or not, or late,
// or the frame arrives twice. What waits in a process that stands still is read when it
// goes on.
func (k *carries) ask(g raft.GroupID, t wire.Type, body []byte, got func(wire.Type, []byte), failed func(error)) {
	n, c := k.n, k.n.c
	o := k.leader(g)
	if o == nil {
		n.soon(2*c.net.latency(), func() { failed(errUnreached) })
		return
	}
	times, lost, late := 1, false, time.Duration(0)
	if !c.chaos.stopped {
		switch {
		case c.chance.below(carryDoubleEvery) == 0:
			times = 2
		case c.chance.below(carryLossEvery) == 0:
			lost = true
		case c.chance.below(carryLateEvery) == 0:
			late = c.chance.skewed(time.Millisecond, askLateMax)
		}
	}
	there := c.now
	if o != n {
		there = max(c.now+c.net.latency(), k.pipes[o.index])
		k.pipes[o.index] = there
	}
	there += late // what an earlier carrier proposed here may wait for its place, too
	life := o.life
	for range times {
		c.order.call(there-c.now, func() {
			if !o.up || o.life != life || o.host == nil || o != n && !n.where.reaches(o.index) {
				n.soon(c.net.latency(), func() { failed(errUnreached) })
				return
			}
			o.soon(0, func() {
				end := &stepEnd{peerEnd: peerEnd{acceptor: acceptor{node: o}}}
				end.say = func(_ repl.Reply, t wire.Type, body []byte) {
					body = slices.Clone(body)
					if lost || o != n && !o.where.reaches(n.index) {
						return
					}
					d := time.Duration(0)
					if o != n {
						d = max(c.now, o.outAt) - c.now + c.net.latency() + late/2
					}
					n.soon(d, func() { got(t, body) })
				}
				end.take(t, body)
			})
		})
	}
}

// soon has f called in the node's process after a while, or later if that stands still
// then; never if it has ended by then.
func (n *node) soon(d time.Duration, f func()) { n.inLife(n.life, d, f) }

func (n *node) inLife(life uint32, d time.Duration, f func()) {
	n.c.order.call(d, func() {
		switch {
		case !n.up || n.life != life || n.leave.closing:
		case n.paused:
			n.inLife(life, tick, f)
		default:
			f()
		}
	})
}

// stepEnd is a node's end of a connection on which a carrier's frame has come.
type stepEnd struct {
	peerEnd
	requests machine.Requests
}

// take takes the frame.
func (e *stepEnd) take(t wire.Type, body []byte) {
	n := e.node
	e.requests.Routes = n.known.routes
	e.requests.Init(e, machine.RequestLimits{Wait: requestWait, Inline: inlineMax, Page: wire.ListBytesMax})
	r := repl.Reply{To: e, Request: 1}
	table := n.known.show()
	if table == nil {
		e.Answer(r, wire.TypeError, wire.NotReady("node "+nameOf(n.id), "the table is not here", "wait", 100*time.Millisecond).Append(nil))
		return
	}
	h := wire.Header{Length: len(body), Type: t, Deadline: uint32(carryDeadline.Milliseconds()), Request: r.Request}
	now := machine.Now{Host: n.ticks.now(), Wall: n.ticks.wall()}
	if t == wire.TypeStep {
		e.requests.Step(h, body, r, wire.SenderMember, table, now)
	} else {
		e.requests.Take(h, body, r, table, now)
	}
	n.handOn(&e.requests)
	n.turn()
}
