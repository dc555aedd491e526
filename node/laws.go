package node

import (
	"context"
	"sync/atomic"
	"time"

	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

const (
	// cutOffAfter is for how long a node still answers users after its table was last known to be that of
	// the meta group: it may have missed since then that their rights were taken away.
	cutOffAfter = time.Minute
	// confirmParts is how often a node makes sure of that in cutOffAfter: one answer may be lost, or late.
	confirmParts = 4
	// contactPause lies between two looks at that, and contactPauseLost while users are refused for it.
	contactPause     = time.Second
	contactPauseLost = 100 * time.Millisecond
)

// contact is whether a node's table is that of the meta group, as far as the node knows.
type contact uint32

const (
	// contactNone: nothing is known since this start, and the table may be as old as the last stop, or older.
	contactNone contact = iota
	// contactGood: it was, within the last cutOffAfter.
	contactGood
	// contactLost: it was, longer ago.
	contactLost
)

// bugFormerRules is planted to show that its test finds it: a change of rights reaches only those who
// connect after it.
const bugFormerRules = "rules of a former table"

// law is what users may do, by one table. Nothing changes it.
type law struct {
	table *shardmap.Table
	epoch uint64 // of the rules
	rules *access.Rules
	// asked: everybody has to prove who he is.
	asked bool
}

// laws are what users may do, by the table that this node has.
type laws struct {
	// Set once.
	node    *Node
	changed chan struct{} // one token: now is another one. From the goroutine that applies, to run; never closed
	// current waits until this node's table has all that was committed before: [tableNow], but in tests.
	current func(context.Context) error

	// identify overrides [principalOf]; nil but in tests.
	identify atomic.Pointer[func(*wire.Greeting) principal]

	now atomic.Pointer[law] // nil before the first table
	// contact is a [contact].
	contact atomic.Uint32

	// Owned by run.
	confirmed time.Time // the table was that of the meta group then; zero: not since this start
}

func (l *laws) init(n *Node) {
	l.node, l.changed = n, make(chan struct{}, 1)
	l.current = func(ctx context.Context) error { return tableNow(ctx, n.running()) }
}

// tableChanged is called by the goroutine that applies, with each new table.
func (l *laws) tableChanged(t *shardmap.Table) {
	s := &t.Security
	next := &law{table: t, epoch: s.Rules, asked: s.Mode == shardmap.SecurityOnly}
	was := l.now.Load()
	if was != nil && was.epoch == next.epoch && was.asked == next.asked {
		next.rules = was.rules
		l.now.Store(next)
		return
	}
	if was != nil && was.epoch != 0 && bug(bugFormerRules) {
		return
	}
	next.rules = rulesOf(s)
	l.now.Store(next)
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// hides reports whether a user is not told what others may do, and by which prefixes.
func (l *laws) hides(p principal) bool {
	now := l.now.Load()
	if p.open || p.node != 0 || now == nil {
		return false
	}
	rights := now.rules.Of(p.user)
	return !rights.May(access.Read, access.Cluster, nil) && !rights.May(access.Admin, access.Cluster, nil)
}

// rulesOf compiles the rules of a table.
func rulesOf(s *shardmap.Security) *access.Rules {
	users := make([]access.User, len(s.Users))
	for i := range s.Users {
		users[i] = access.User{ID: s.Users[i].ID, Roles: s.Users[i].Roles}
	}
	return access.Compile(users, s.Roles)
}

// of settles for whom a connection speaks.
func (l *laws) of(g *wire.Greeting) (principal, *wire.Error) {
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
				l.confirmed = at
			}
		case now := <-pause.C:
			if !under && l.wants(now) {
				under = true
				n.ended.Go(func() { answers <- l.confirm(now) })
			}
			if contact(l.contact.Load()) == contactGood {
				pause.Reset(contactPause)
			} else {
				pause.Reset(contactPauseLost)
			}
		case <-n.ctx.Done():
			return
		}
		if l.look(time.Now()) {
			l.review()
		}
	}
}

// wants reports whether it is time to make sure that this node's table is that of the meta group. Where
// nobody is asked who he is it is so once, at a start.
func (l *laws) wants(now time.Time) bool {
	law := l.now.Load()
	return l.confirmed.IsZero() || law != nil && law.asked && now.Sub(l.confirmed) >= l.node.limits.cutOffAfter/confirmParts
}

// bugHeardIsEnough is planted to show that its test finds it: it is enough that the meta group has a leader, however
// far behind this node's own replica is, and after a start nothing is needed.
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

// look reports whether what is known of that says something else of users than before.
func (l *laws) look(now time.Time) (changed bool) {
	next := contactGood
	switch {
	case l.confirmed.IsZero() && !bug(bugHeardIsEnough):
		next = contactNone
	case now.Sub(l.confirmed) > l.node.limits.cutOffAfter && !l.confirmed.IsZero():
		next = contactLost
	}
	return contact(l.contact.Swap(uint32(next))) != next
}

// silenced says why no user is answered, or returns nil.
func (l *laws) silenced(t wire.Type) *wire.Error {
	switch contact(l.contact.Load()) {
	case contactNone:
		return wire.NotReady("node "+l.node.name, "it has just started, and does not know yet whether what it knows of users is what group 0 says today", "try again in a moment; if it stays, see whether a majority of group 0's nodes runs", startedRetry)
	case contactLost:
		return wire.Unavailable(t.String(), "this node does not hear of group 0's leader, or is behind it, and can't know who may do what any more")
	}
	return nil
}

// outdated says why what was settled for a new connection holds no longer, or returns nil.
func (l *laws) outdated(p principal) *wire.Error {
	if !p.early || l.now.Load() == nil {
		return nil
	}
	return wire.NotReady("user "+p.name, "the connection was made before this node had read who may do what", "connect again", startedRetry)
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
			c.refuse(repl.Reply{To: c}, e)
			c.end()
		case c.who.open && now.asked:
			c.refuse(repl.Reply{To: c}, madeBefore())
			c.end()
		case !c.who.open:
			l.reviewStreams(c)
		}
	}
}

// reviewStreams ends those streams of a connection that its user may not have any more.
func (l *laws) reviewStreams(c *connection) {
	j := newJudge()
	c.requests.Streams.Review(func(t wire.Type, body []byte) *wire.Error {
		return l.allows(j, c.who, t, body)
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
