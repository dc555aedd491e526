package sim

import (
	"errors"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/mover"
	"muster/repl/wire"
)

const (
	// askLateMax is how late an answer to a mover can be, over its usual time: later
	// than the mover waits for it.
	askLateMax = 8 * time.Second
	// moveDeadline is how long a command of the mover may wait for its place in the log,
	// as in node/mover.go.
	moveDeadline = 3 * time.Second
	// moverStrikeEvery is how many actions of a mover there are for each behind which its
	// process dies, and moverStrikeSlots the same of runs in which slots move: there movers
	// do many times as much, and would spend the run on starting.
	moverStrikeEvery, moverStrikeSlots = 24, 120
)

// moves drives the mover of a process, as node/mover.go does: its core is the real one.
// What it asks of other nodes is lost, late, or done twice, and its process may die
// between two of its actions.
type moves struct {
	n     *node
	core  *mover.Core // of the process
	leds  bool        // the meta group is led here, as the host said last
	turns turns

	keeper keeper // of windows of time series (series.go)
}

// turns are when the cores of a process act.
type turns struct {
	planned uint64 // numbers those that were planned: only the newest is taken
}

// plan plans the next turn, instead of the one that was planned before.
func (t *turns) plan(n *node, kind eventKind, d time.Duration) {
	t.planned++
	e := n.event(kind)
	e.number = t.planned
	n.c.after(d, e)
}

// taken reports whether an event is the turn that was planned last.
func (t *turns) taken(e *event) bool { return e.number == t.planned }

// begin is the start of a process.
func (m *moves) begin() {
	m.core, m.leds = mover.New(m.n.id), false
}

// led is told by the host who leads a group here.
func (n *node) led(g raft.GroupID, term uint64) {
	n.carries.led(g, term)
	n.checks.lead(g, term)
	n.creds.led(g, term)
	n.divides.led(g, term)
	n.moves.keeper.led(g, term)
	n.moves.led(g, term)
}

func (m *moves) led(g raft.GroupID, term uint64) {
	if g == 0 {
		m.leds = term != 0
		m.plan(0)
	}
}

func (m *moves) plan(d time.Duration) {
	if m.n.c.order.active {
		m.turns.plan(m.n, evMove, d)
	}
}

// turn lets the mover act on what has happened.
func (m *moves) turn() {
	n, c := m.n, m.n.c
	now := n.ticks.now()
	t := n.known.table
	if t == nil {
		return
	}
	m.core.Table(now, t)
	m.core.Lead(now, m.leds)
	if m.leds {
		for i := range t.Nodes {
			if id := t.Nodes[i].ID; id != n.id {
				ago, ever := n.host.Contacts().Heard(id, now)
				m.core.Heard(now, id, max(ago, 0), ever)
			}
		}
	}
	actions, next := m.core.Turn(now)
	life := n.life
	for i := range actions {
		m.carry(&actions[i])
		if !n.up || n.life != life {
			return
		}
		if c.chaos.strikesMover(n) {
			c.note(n.index, "dies between two actions of its mover")
			n.crash(c.chaos.power())
			return
		}
	}
	if d := next - now; d < time.Hour {
		m.plan(max(d, time.Millisecond))
	}
}

// strikesMover reports whether the process that moves replicas dies now.
func (x *chaos) strikesMover(n *node) bool {
	every := moverStrikeEvery
	if x.c.shuffle.active {
		every = moverStrikeSlots
	}
	return !x.stopped && x.c.chance.below(every) == 0 && x.c.majorities(func(o *node) bool { return o != n && o.up && !o.paused && !o.dead && !o.halted })
}

// carry carries out one action.
func (m *moves) carry(a *mover.Action) {
	n, c := m.n, m.n.c
	core, life := m.core, n.life
	ended := func(err error) {
		if n.up && n.life == life && m.core == core {
			core.Ended(n.ticks.now(), a.Number, err)
			m.plan(0)
		}
	}
	switch a.Kind {
	case mover.Propose:
		n.host.Propose(repl.Proposal{Group: 0, Entry: machine.NewEntry(wire.Origin{Time: n.ticks.wall()}, a.Payload),
			Deadline: n.ticks.now() + moveDeadline, Reply: repl.Reply{To: moveReply{ended}}})
	case mover.Ask:
		m.call(a.Node, func(o *node) (back func()) {
			r := mover.ReportOf(o.host)
			return func() {
				if n.up && n.life == life && m.core == core {
					core.Report(n.ticks.now(), a.Number, &r)
					ended(nil)
				}
			}
		}, ended)
	case mover.View:
		n.carries.view(a.Group, a.Slots, func(r *wire.SlotViewAnswer) {
			core.Viewed(n.ticks.now(), a.Number, r)
			m.plan(0)
		}, ended)
	case mover.Change:
		m.call(a.Node, func(o *node) (back func()) {
			changed, err := o.host.Change(a.Group, a.Change)
			switch {
			case err == nil:
				c.note(o.index, "changes group %d for n%d: %s: %s", a.Group, n.index, describeChange(&a.Change), describe(&changed.Membership))
				c.truth[a.Group].proposed = append(c.truth[a.Group].proposed, changed.Membership)
				c.result.Fired[Nodes]++
			case errors.Is(err, raft.ErrChange):
				c.fail("n%d: the mover of n%d wants of group %d what can never be: %s: %v", o.index, n.index, a.Group, describeChange(&a.Change), err)
			}
			o.turn()
			return func() { ended(err) }
		}, ended)
	}
}

// fate draws what becomes of a question to another node: how many times it comes there, whether the answer is
// lost, and how late both are.
func fate(c *cluster) (times int, lost bool, late time.Duration) {
	times = 1
	if c.chaos.stopped {
		return times, lost, late
	}
	switch c.chance.below(12) {
	case 0:
		times = 2
	case 1:
		lost = true
	case 2:
		late = c.chance.skewed(time.Millisecond, askLateMax)
	}
	return times, lost, late
}

// call has another node do something, and brings the answer back: or not, or late, or it
// is done twice.
func (m *moves) call(to raft.NodeID, do func(o *node) (back func()), failed func(error)) {
	n, c := m.n, m.n.c
	o := c.nodes[to-1]
	if o == n {
		do(n)()
		return
	}
	times, lost, late := fate(c)
	for range times {
		c.order.call(c.net.latency()+late/2, func() {
			if !o.up || o.paused || o.host == nil || !n.where.reaches(o.index) {
				c.order.call(c.net.latency(), func() { failed(errUnreached) })
				return
			}
			back := do(o)
			if o.where.reaches(n.index) && !lost {
				c.order.call(c.net.latency()+late/2, back)
			}
		})
	}
}

var errUnreached = errors.New("not reached")

// call has f called after a while.
func (x *order) call(d time.Duration, f func()) {
	e := x.c.queue.get(evCall)
	e.call = f
	x.c.after(d, e)
}

// moveReply takes the outcome of a command of the mover.
type moveReply struct{ ended func(error) }

// Answer implements [repl.Replier].
func (o moveReply) Answer(_ repl.Reply, t wire.Type, body []byte) bool {
	var err error
	if t == wire.TypeError {
		e := new(wire.Error)
		if err = e.Read(body); err == nil {
			err = e
		}
	}
	o.ended(err)
	return false
}

// Flush implements [repl.Replier].
func (moveReply) Flush() {}

// unmade notes that another node has spoken to a replica that is not here. A process asks
// that node for its table.
func (k *known) unmade(from raft.NodeID, r logstore.Replica) {
	k.n.unmade[r] = true
	if k.n.c.order.active {
		k.ask(from)
	}
}

// ask has a node learn the table of another, which has spoken to a replica that is not
// here.
func (k *known) ask(from raft.NodeID) {
	n := k.n
	life := n.life
	n.c.order.call(2*n.c.net.latency(), func() {
		o := n.c.nodes[from-1]
		if !n.up || n.life != life || n.paused || !o.up || o.known.table == nil || !n.where.asks(o) {
			return
		}
		if k.table == nil || o.known.table.Index > k.table.Index {
			k.follow(o.known.table)
			n.creds.introduce(o)
			n.turn()
		}
	})
}
