package node

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"muster/node/probe"
	"muster/raft"
	"muster/repl"
	"muster/repl/health"
	"muster/repl/wire"
)

// checking drives the checker of this node: it hands in polls, and makes the probes that the checker
// begins.
type checking struct {
	node   *Node
	mail   mailbox       // for run
	prober *probe.Prober // set before init
	queue  chan making   // from run, to the workers; never closed
	busy   atomic.Int64  // probes that are queued or under way

	// Owned by run.
	core    *health.Checker
	workers int
	making  map[uint64]context.CancelFunc       // ends the probe of that number, which is queued or under way
	held    map[uint64]func(*wire.ChecksAnswer) // takes the answer to a poll that is held, by ticket
}

// making is a probe that is to be made until its context ends.
type making struct {
	health.Probe
	ctx context.Context
}

func (d *checking) init(n *Node) {
	d.node, d.mail = n, newMailbox()
	d.core = health.NewChecker(n.self().Node, n.mark, slices.Collect(maps.Keys(n.cfg.Checks)))
	d.queue = make(chan making, health.ProbesMax)
	d.making = make(map[uint64]context.CancelFunc)
	d.held = make(map[uint64]func(*wire.ChecksAnswer))
}

// poll hands in the poll of a node, which may be this one. run calls answer, later: while the
// checker has nothing to say it holds the answer.
func (d *checking) poll(from raft.NodeID, q *wire.Checks, answer func(*wire.ChecksAnswer)) {
	d.mail.post(func(now time.Duration) {
		if ans, ticket := d.core.Poll(now, from, q); ans != nil {
			answer(ans)
		} else {
			d.held[ticket] = answer
		}
	})
}

// run owns the checker.
func (d *checking) run() {
	n := d.node
	loop := n.running()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for d.mail.wait(n.ctx, timer) {
		for _, f := range d.mail.take() {
			f(loop.Now())
		}
		due, answers, next := d.core.Turn(loop.Now())
		for _, number := range d.core.Cancelled() {
			d.cancel(number)
		}
		for i := range due {
			d.begin(loop, due[i])
		}
		for _, a := range answers {
			d.held[a.Ticket](a.Checks)
			delete(d.held, a.Ticket)
		}
		timer.Reset(next - loop.Now())
	}
}

// begin has a probe made. There is a worker for each that is under way, so none waits for
// another; and at most as many as the checker has under way. One that takes longer than the
// checker waits for it still has its worker, so there may be more probes than workers. What
// finds no place in the queue either is not made.
func (d *checking) begin(loop *repl.Loop, x health.Probe) {
	ctx, cancel := context.WithTimeout(d.node.ctx, x.Deadline-loop.Now())
	d.making[x.Number] = cancel
	select {
	case d.queue <- making{x, ctx}:
	default:
		d.skip(x.Number)
		return
	}
	if d.busy.Add(1) > int64(d.workers) && d.workers < health.ProbesMax {
		d.workers++
		d.node.ended.Go(d.work)
	}
}

// work makes probes until the node ends.
func (d *checking) work() {
	for {
		select {
		case <-d.node.ctx.Done():
			return
		case x := <-d.queue:
			d.make(x)
			d.busy.Add(-1)
		}
	}
}

// make makes a probe, unless its context has ended before it begins: then it was cancelled, or
// this process has stood still, and nothing is said of the target.
func (d *checking) make(x making) {
	if x.ctx.Err() != nil {
		d.skip(x.Number)
		return
	}
	r := d.prober.Run(x.ctx, &x.Spec)
	d.mail.post(func(now time.Duration) {
		d.cancel(x.Number)
		d.core.Done(now, x.Number, r)
	})
}

// skip tells the checker that a probe was not made.
func (d *checking) skip(number uint64) {
	d.mail.post(func(now time.Duration) {
		d.cancel(number)
		d.core.Skipped(now, number)
	})
}

// cancel ends a probe. Its worker closes what it has open, says that it has ended, and is free.
// Of one that has ended it gives the context back.
func (d *checking) cancel(number uint64) {
	if cancel := d.making[number]; cancel != nil {
		cancel()
		delete(d.making, number)
	}
}

// takeChecks takes the poll of a node that leads groups.
func takeChecks(c *connection, h wire.Header, r repl.Reply, body []byte) {
	if byMember(c, r) == nil {
		return
	}
	q := new(wire.Checks)
	if err := q.Read(body); err != nil {
		c.refuse(r, wire.BadBody(h.Type, err))
		return
	}
	c.node.checking.poll(c.peer, q, func(ans *wire.ChecksAnswer) {
		c.answerNow(r, wire.TypeChecksAnswer, ans.Append(nil))
	})
}

// counts returns what the checker has done and has; false if ctx ends before it is known.
func (d *checking) counts(ctx context.Context) (health.CheckerCounts, bool) {
	return countsOf(ctx, &d.mail, func(time.Duration) health.CheckerCounts { return d.core.Counts() })
}
