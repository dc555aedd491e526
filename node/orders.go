package node

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// planner makes the plan of what would be done after a command, and says for the table
// of which index it is. It answers within callTimeout, and refuses what the table would
// refuse, with a shardmap.Refusal.
type planner func(command []byte) (p plan.Plan, index uint64, err error)

// reporter says in a turn of the host what this node alone knows of replicas.
type reporter func(h *repl.Host) wire.ReplicasAnswer

// plansShown is how many plans a node remembers that it has shown: those of a handful of
// terminals, for as long as somebody looks at one.
const plansShown = 64

// awayAfter is after which silence a node gets no replica of a group that is made: the
// longest election timeout.
const awayAfter = 2 * electionTicks * tick

// orders is what people ask of the meta group, at the node that leads it.
type orders struct {
	preview atomic.Pointer[planner]  // nil until the node plans
	report  atomic.Pointer[reporter] // nil until the node plans

	mu    sync.Mutex
	under bool        // guarded by mu: an order is between its admission and its outcome
	shown []shownPlan // guarded by mu: oldest first
}

// shownPlan is a plan that somebody was shown.
type shownPlan struct {
	index         uint64 // of the table that it was made for
	command, plan [sha256.Size]byte
}

// begin reports whether an order may be admitted now. Another one may change what it is
// checked against, so there is one at a time: of two that were given at once, on plans
// of the same table, the second finds its plan stale.
func (o *orders) begin() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.under {
		return false
	}
	o.under = true
	return true
}

func (o *orders) end() {
	o.mu.Lock()
	o.under = false
	o.mu.Unlock()
}

// show remembers a plan that is shown.
func (o *orders) show(s shownPlan) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shown = append(o.shown, s)
	if n := len(o.shown) - plansShown; n > 0 {
		o.shown = slices.Delete(o.shown, 0, n)
	}
}

// wasShown reports whether a plan was shown.
func (o *orders) wasShown(s shownPlan) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Contains(o.shown, s)
}

// hashed returns what a plan is known by: its command, and what a person is shown of it.
func hashed(command []byte, p *plan.Plan, index uint64) shownPlan {
	a := planAnswer(p, 0)
	return shownPlan{index, sha256.Sum256(command), sha256.Sum256(a.Append(nil))}
}

// takeOrder carries out an order, or shows its plan.
func takeOrder(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Order
	if !readRequest(c, h, r, body, &q) {
		return
	}
	// Planning takes longer than the reader may be kept from the next frame.
	c.laterOrBusy(r, func() {
		if q.Plan {
			c.node.showPlan(c, r, &q)
		} else {
			c.node.giveOrder(c, h, r, &q)
		}
	})
}

// admitOrder returns the loop if this node leads the meta group, and its table takes the
// order as it is now.
func (n *Node) admitOrder(q *wire.Order) (*repl.Loop, *wire.Error) {
	loop, table := n.running(), n.table.Load()
	if loop == nil || table == nil {
		return nil, n.notReady()
	}
	// First of all: another node's table may be behind, and then whatever it finds wrong
	// with the order is no answer.
	if e := n.ledHere(loop); e != nil {
		return nil, e
	}
	return loop, machine.AdmitOrder(q.Command, table)
}

// planFor makes the plan for a command.
func (n *Node) planFor(command []byte) (p plan.Plan, index uint64, e *wire.Error) {
	preview := n.orders.preview.Load()
	if preview == nil {
		return p, 0, wire.NotReady("node "+n.name, "it makes no plans yet", "try again in a moment", startedRetry)
	}
	p, index, err := (*preview)(command)
	if err != nil {
		return p, 0, machine.OrderError(err)
	}
	return p, index, nil
}

// showPlan answers with what would be done.
func (n *Node) showPlan(c *connection, r repl.Reply, q *wire.Order) {
	if _, e := n.admitOrder(q); e != nil {
		c.refuse(r, e)
		return
	}
	p, index, e := n.planFor(q.Command)
	if e != nil {
		c.refuse(r, e)
		return
	}
	n.orders.show(hashed(q.Command, &p, index))
	a := planAnswer(&p, index)
	c.answerNow(r, wire.TypeOrderAnswer, a.Append(nil))
}

// planAnswer is a plan for a person, as much of it as an answer holds.
func planAnswer(p *plan.Plan, index uint64) wire.OrderAnswer {
	a := wire.OrderAnswer{Index: index, Bytes: p.Bytes}
	for i := range p.Steps[:min(len(p.Steps), wire.OrderStepsMax)] {
		a.Steps = append(a.Steps, wire.OrderStep{Text: p.Steps[i].String(), Risk: p.Steps[i].Risk()})
	}
	if more := len(p.Steps) - wire.OrderStepsMax; more > 0 {
		a.Problems = append(a.Problems, wire.Problem{What: fmt.Sprintf("%d more steps are not shown", more), Remedy: "move less at once to see them all"})
	}
	for _, x := range p.Problems[:min(len(p.Problems), wire.OrderProblemsMax-len(a.Problems))] {
		a.Problems = append(a.Problems, wire.Problem{What: x.What, Remedy: x.Remedy})
	}
	return a
}

// giveOrder puts an order into the meta group's log. The machine answers once it is
// applied.
func (n *Node) giveOrder(c *connection, h wire.Header, r repl.Reply, q *wire.Order) {
	if !n.orders.begin() {
		c.refuse(r, wire.Busy("order", "another one is under way", wire.BusyRetry))
		return
	}
	loop, e := n.admitOrder(q)
	if e == nil {
		e = n.stale(q)
	}
	noted := orderText(q.Command)
	var command []byte
	if e == nil {
		var err error
		if command, err = shardmap.Stamped(q.Command, c.who.User, time.Now().Unix()); err != nil {
			e = machine.OrderError(err)
		}
	}
	if e != nil {
		n.orders.end()
		n.trail.done(c, wire.TypeOrder, noted, 0, e)
		c.refuse(r, e)
		return
	}
	within := n.limits.wait
	if h.Deadline != 0 {
		within = min(within, time.Duration(h.Deadline)*time.Millisecond)
	}
	now := clock(loop, time.Now())
	reply := r
	reply.To = &orderReply{orders: &n.orders, to: c, noted: noted}
	loop.Propose([]repl.Proposal{{Group: 0, Entry: machine.NewEntry(wire.Origin{Principal: c.who.User, Rules: epochOf(c.who.User, n.table.Load()), Time: now.Wall}, n.completed(loop, command)), Deadline: now.Host + within, Reply: reply}})
}

// completed returns a command with what this node adds to it, which leads the meta group.
func (n *Node) completed(loop *repl.Loop, command []byte) []byte {
	t, now := n.table.Load(), loop.Now()
	loop.Ask(func(h *repl.Host) {
		command = machine.CompletedOrder(command, t, n.self().Node, h.Contacts(), now, awayAfter)
	})
	return command
}

// stale refuses an order whose plan was made for another table, if the plan for this
// one is another. While jobs run the table changes all the time, mostly in what says
// nothing about the plan.
func (n *Node) stale(q *wire.Order) *wire.Error {
	t := n.table.Load()
	if q.Index == 0 || q.Index == t.Index {
		return nil
	}
	p, _, e := n.planFor(q.Command)
	if e != nil {
		return e
	}
	if n.orders.wasShown(hashed(q.Command, &p, q.Index)) {
		return nil
	}
	return &wire.Error{Code: wire.CodeConflict, Object: "order", Text: "its plan is stale, nothing was changed",
		State: fmt.Sprintf("it was made for the table of index %d, the table is of index %d now, and its plan another", q.Index, t.Index),
		Next:  "give the order again, and look at the new plan"}
}

// orderReply passes the outcome of an order on, and lets the next one in.
type orderReply struct {
	orders *orders
	to     *connection
	noted  string // in the trail
	once   sync.Once
}

// orderText is what the trail says of an order.
func orderText(command []byte) string {
	text, err := shardmap.DescribeTable(command)
	if err != nil {
		return "" // the refusal says what is wrong with it
	}
	return text
}

// over lets the next order in, and notes what became of this one.
func (o *orderReply) over(t wire.Type, body []byte) {
	o.orders.end()
	var a wire.OrderAnswer
	var e *wire.Error
	if t == wire.TypeError {
		e = new(wire.Error)
		if e.Read(body) != nil {
			return
		}
	} else if a.Read(body) != nil {
		return
	}
	o.to.node.trail.done(o.to, wire.TypeOrder, o.noted, a.Index, e)
}

// Answer implements [repl.Replier].
func (o *orderReply) Answer(r repl.Reply, t wire.Type, body []byte) bool {
	o.once.Do(func() { o.over(t, body) })
	var e wire.Error
	if t == wire.TypeError && e.Read(body) == nil && e.Code == wire.CodeMaybeApplied {
		e.Object, e.Next = "order", "muster job list shows whether it is carried out; if it is not, give it again"
		body = e.Append(nil)
	}
	return o.to.Answer(r, t, body)
}

// Flush implements [repl.Replier].
func (o *orderReply) Flush() { o.to.Flush() }
