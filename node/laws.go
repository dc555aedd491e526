package node

import (
	"context"
	"sync/atomic"
	"time"

	"muster/repl"
	"muster/repl/rights"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

const (
	// contactPause lies between two looks at whether this node's table is that of the meta group, and
	// contactPauseLost while users are refused for it.
	contactPause     = time.Second
	contactPauseLost = 100 * time.Millisecond
)

// laws are what users may do, by the table that this node has.
type laws struct {
	// Set once.
	node    *Node
	changed chan struct{} // one token: now is another one. From the goroutine that applies, to run; never closed
	// current waits until this node's table has all that was committed before: [tableNow], but in tests.
	current func(context.Context) error
	// jump is the last jump of the wall clock: [repl.Loop.ClockJump], but in tests.
	jump func() repl.ClockJump

	// identify overrides [principalOf]; nil but in tests.
	identify atomic.Pointer[func(*wire.Greeting) rights.Principal]

	now     atomic.Pointer[rights.Law] // nil before the first table
	contact atomic.Uint32              // a [rights.Contact], as of the last look

	// Owned by run.
	confirmer rights.Confirmer // by the time since the node was started
	jumps     int              // of the wall clock that were heard of
}

func (l *laws) init(n *Node) {
	l.node, l.changed = n, make(chan struct{}, 1)
	l.current = func(ctx context.Context) error { return tableNow(ctx, n.running()) }
	l.jump = func() (j repl.ClockJump) {
		if loop := n.running(); loop != nil {
			j = loop.ClockJump()
		}
		return j
	}
	l.confirmer = rights.NewConfirmer(n.limits.cutOffAfter)
}

// tableChanged is called by the goroutine that applies, with each new table.
func (l *laws) tableChanged(t *shardmap.Table) {
	next, changed := l.now.Load().Follow(t)
	l.now.Store(next)
	if !changed {
		return
	}
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// hides reports whether a user is not told what others may do, and by which prefixes.
func (l *laws) hides(p rights.Principal) bool {
	return !p.Open && p.Node == 0 && !l.counts(p.User)
}

// sees returns a function that reports whether a user is told of a database: it has some right to it, or looks after the cluster.
func (l *laws) sees(p rights.Principal) func(database string) bool {
	now := l.now.Load()
	if now == nil || !l.hides(p) {
		return func(string) bool { return true }
	}
	its := now.Rules.Of(p.User)
	return func(database string) bool {
		for _, v := range [...]access.Verbs{access.Read, access.Write, access.List, access.Watch, access.Admin} {
			if its.May(v, access.Databases, []byte(database)) {
				return true
			}
		}
		return false
	}
}

// counts reports whether a user is told what is in the cluster, in numbers and names: it runs the cluster, or looks
// after it. Before there is a table there is nothing to tell.
func (l *laws) counts(user shardmap.Principal) bool {
	now := l.now.Load()
	if now == nil {
		return true
	}
	its := now.Rules.Of(user)
	return its.May(access.Read, access.Cluster, nil) || its.May(access.Admin, access.Cluster, nil)
}

// known is what is known of the meta group.
func (l *laws) known() rights.Contact { return rights.Contact(l.contact.Load()) }

// of settles for whom a connection speaks.
func (l *laws) of(g *wire.Greeting) (rights.Principal, *wire.Error) {
	if f := l.identify.Load(); f != nil {
		return (*f)(g), nil
	}
	return principalOf(g, l.node.table.Load())
}

// run looks again at what is open when the rules have changed, and whether this node's table is that of the
// meta group, until the node ends.
func (l *laws) run() {
	n := l.node
	pause := time.NewTimer(0)
	defer pause.Stop()
	answers, under := make(chan time.Time, 1), false // from the confirmation that is under way
	for {
		select {
		case <-l.changed:
			l.review()
			continue
		case at := <-answers:
			under = false
			if !at.IsZero() {
				l.confirmer.Confirmed(at.Sub(n.started))
			}
		case now := <-pause.C:
			if l.slept() {
				l.confirmer.Slept(now.Sub(n.started))
			}
			if !under && l.confirmer.Wants(now.Sub(n.started), l.now.Load()) {
				under = true
				n.ended.Go(func() { answers <- l.confirm(now) })
			}
			if l.known() == rights.ContactGood {
				pause.Reset(contactPause)
			} else {
				pause.Reset(contactPauseLost)
			}
		case <-n.ctx.Done():
			return
		}
		is, changed := l.confirmer.Look(time.Since(n.started))
		l.contact.Store(uint32(is))
		if changed {
			l.review()
		}
	}
}

// slept reports whether the host may have been suspended since the last call. The monotonic clock stands still then,
// and the wall clock jumps ahead, as it does when somebody sets it.
func (l *laws) slept() bool {
	jump, was := l.jump(), l.jumps
	l.jumps = jump.Count
	return jump.Count > was && (jump.By > 0 || jump.Count > was+1)
}

// bugHeardIsEnough is planted to show that its test finds it: it is enough that the meta group has a leader, however
// far behind this node's own replica is. The other half of it is in repl/rights.
const bugHeardIsEnough = "rules of a replica that is behind"

// confirm returns the time, which is now, at which the meta group had changed nothing yet that is not in this
// node's table; zero: that can't be known. That the leader is heard of is not enough: this node's replica
// may have stopped, be damaged, or lack room for what is sent to it.
func (l *laws) confirm(now time.Time) (at time.Time) {
	ctx, cancel := context.WithTimeout(l.node.ctx, callTimeout)
	defer cancel()
	if l.current(ctx) == nil {
		return now
	}
	if lead, ok := metaLead(l.node.running()); ok && lead.node != 0 && bug(bugHeardIsEnough) {
		return now
	}
	return at
}

// outdated says why what was settled for a new connection holds no longer, or returns nil.
func (l *laws) outdated(p rights.Principal) *wire.Error {
	if !p.Early || l.now.Load() == nil {
		return nil
	}
	return wire.NotReady("user "+p.Name, "the connection was made before this node had read who may do what", "connect again", startedRetry)
}

// review ends what was allowed when it began and is not any more: streams, and connections that were
// open before everybody had to prove who he is, or before this node could tell what that means.
func (l *laws) review() {
	now := l.now.Load()
	if now == nil {
		return
	}
	for _, c := range l.node.door.clients() {
		switch e := l.outdated(c.who); {
		case e != nil:
			l.node.door.dismiss(c, c.conn, e, onItsWay)
		case c.who.Open && now.Asked:
			l.node.door.dismiss(c, c.conn, madeBefore(), onItsWay)
		case !c.who.Open:
			l.reviewStreams(c)
		}
	}
}

// reviewStreams ends those streams of a connection that its user may not have any more.
func (l *laws) reviewStreams(c *connection) {
	j := rights.NewJudge(l.node.name)
	c.requests.Streams.Review(func(t wire.Type, body []byte) *wire.Error {
		return j.Allows(c.who, t, body, l.now.Load(), l.known())
	})
}

// clients returns the connections of clients.
func (d *door) clients() (all []*connection) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.conns {
		if c != nil && c.standing == wire.SenderClient {
			all = append(all, c)
		}
	}
	return all
}
