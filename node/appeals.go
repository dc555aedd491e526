package node

import (
	"context"
	"time"

	"muster/repl"
	"muster/repl/rights"
	"muster/repl/wire"
)

// appealPause lies at least between two questions whether this node's table is of today: a client that asks again and
// again for what it may not have costs the meta group's leader no more than that.
const appealPause = 5 * time.Millisecond

// appeal is a request that was refused by a table that may be behind.
type appeal struct {
	from   *connection
	header wire.Header
	reply  repl.Reply
	body   []byte
	first  *wire.Error // the refusal
}

// appeals are the refusals that wait until this node's table is sure to be of today.
type appeals struct {
	node  *Node
	asked chan appeal // from readers, to run; never closed

	// Owned by run.
	held  rights.Appeals[appeal]
	judge *rights.Judge
}

func (a *appeals) init(n *Node) {
	a.node, a.asked, a.judge = n, make(chan appeal, rights.AppealsMax), rights.NewJudge(n.name)
}

// take keeps a refused request, and reports whether there is room for it.
func (a *appeals) take(x appeal) bool {
	select {
	case a.asked <- x:
		return true
	default:
		return false
	}
}

// run judges again what was refused, once the table is sure to be of the time of the refusal, until the node ends.
func (a *appeals) run() {
	n := a.node
	answers := make(chan error, 1) // of the question that is under way
	var last time.Time             // when that began
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case x := <-a.asked:
			if !a.held.Add(x) {
				a.close(&x, x.first)
			}
		case err := <-answers:
			for _, x := range a.held.Ended() {
				a.decide(&x, err)
			}
		case <-pause.C:
		case <-n.ctx.Done():
			return
		}
		if since := time.Since(last); since < appealPause {
			pause.Reset(appealPause - since)
			continue
		}
		if a.held.Begin() {
			last = time.Now()
			n.ended.Go(func() { answers <- a.current() })
		}
	}
}

// current waits until this node's table has all that was committed before.
func (a *appeals) current() error {
	ctx, cancel := context.WithTimeout(a.node.ctx, callTimeout)
	defer cancel()
	return a.node.laws.current(ctx)
}

// decide judges again. err says why the table is not known to be of today; the first refusal stands then.
func (a *appeals) decide(x *appeal, err error) {
	if err != nil {
		a.close(x, x.first)
		return
	}
	l, e := &a.node.laws, (*wire.Error)(nil)
	if x.header.Type == wire.TypeForward {
		e = a.judge.AllowsForwarded(x.body, l.now.Load(), l.known())
	} else {
		e = a.judge.Allows(x.from.who, x.header.Type, x.body, l.now.Load(), l.known())
	}
	a.close(x, rights.Review(a.node.name, x.first, e))
}

// close tells the client.
func (a *appeals) close(x *appeal, e *wire.Error) {
	x.from.refuse(x.reply, e)
	a.node.trail.denied(x.from, x.header.Type, x.body, e)
}
