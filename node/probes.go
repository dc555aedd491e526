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

// probes drives the checker of this node: it hands in polls, and makes the probes that the checker
// begins.
type probes struct {
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

func (p *probes) init(n *Node) {
	p.node, p.mail = n, newMailbox()
	p.core = health.NewChecker(n.self().Node, n.mark, slices.Collect(maps.Keys(n.cfg.Checks)))
	p.queue = make(chan making, health.ProbesMax)
	p.making = make(map[uint64]context.CancelFunc)
	p.held = make(map[uint64]func(*wire.ChecksAnswer))
}

// poll hands in the poll of a node, which may be this one. run calls answer, later: while the
// checker has nothing to say it holds the answer.
func (p *probes) poll(from raft.NodeID, q *wire.Checks, answer func(*wire.ChecksAnswer)) {
	p.mail.post(func(now time.Duration) {
		if ans, ticket := p.core.Poll(now, from, q); ans != nil {
			answer(ans)
		} else {
			p.held[ticket] = answer
		}
	})
}

// run owns the checker.
func (p *probes) run() {
	n := p.node
	loop := n.running()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-p.mail.wake:
		case <-timer.C:
		}
		for _, f := range p.mail.take() {
			f(loop.Now())
		}
		due, answers, next := p.core.Turn(loop.Now())
		for _, number := range p.core.Cancelled() {
			p.cancel(number)
		}
		for i := range due {
			p.begin(loop, due[i])
		}
		for _, a := range answers {
			p.held[a.Ticket](a.Checks)
			delete(p.held, a.Ticket)
		}
		timer.Reset(next - loop.Now())
	}
}

// begin has a probe made. There is a worker for each that is under way, so none waits for
// another; and at most as many as the checker has under way. One that takes longer than the
// checker waits for it still has its worker, so there may be more probes than workers. What
// finds no place in the queue either is not made.
func (p *probes) begin(loop *repl.Loop, x health.Probe) {
	ctx, cancel := context.WithTimeout(p.node.ctx, x.Deadline-loop.Now())
	p.making[x.Number] = cancel
	select {
	case p.queue <- making{x, ctx}:
	default:
		p.skip(x.Number)
		return
	}
	if p.busy.Add(1) > int64(p.workers) && p.workers < health.ProbesMax {
		p.workers++
		p.node.ended.Add(1)
		go func() {
			defer p.node.ended.Done()
			p.work()
		}()
	}
}

// work makes probes until the node ends.
func (p *probes) work() {
	for {
		select {
		case <-p.node.ctx.Done():
			return
		case x := <-p.queue:
			p.make(x)
			p.busy.Add(-1)
		}
	}
}

// make makes a probe, unless its context has ended before it begins: then it was cancelled, or
// this process has stood still, and nothing is said of the target.
func (p *probes) make(x making) {
	if x.ctx.Err() != nil {
		p.skip(x.Number)
		return
	}
	r := p.prober.Run(x.ctx, &x.Spec)
	p.mail.post(func(now time.Duration) {
		p.cancel(x.Number)
		p.core.Done(now, x.Number, r)
	})
}

// skip tells the checker that a probe was not made.
func (p *probes) skip(number uint64) {
	p.mail.post(func(now time.Duration) {
		p.cancel(number)
		p.core.Skipped(now, number)
	})
}

// cancel ends a probe. Its worker closes what it has open, says that it has ended, and is free.
// Of one that has ended it gives the context back.
func (p *probes) cancel(number uint64) {
	if cancel := p.making[number]; cancel != nil {
		cancel()
		delete(p.making, number)
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
	c.node.probes.poll(c.peer, q, func(ans *wire.ChecksAnswer) {
		c.answerNow(r, wire.TypeChecksAnswer, ans.Append(nil))
	})
}

// counts returns what the checker has done and has; all zero if the node stops.
func (p *probes) counts() (n health.CheckerCounts) {
	done := make(chan health.CheckerCounts, 1)
	p.mail.post(func(time.Duration) { done <- p.core.Counts() })
	select {
	case n = <-done:
	case <-p.node.ctx.Done():
	}
	return n
}
