package node

import (
	"sync/atomic"
	"time"

	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
)

const (
	// cutOffAfter is how long a node that does not hear of the meta group's leader still answers
	// users: it may have missed that their rights were taken away.
	cutOffAfter = time.Minute
	// contactPause lies between two looks at that.
	contactPause = time.Second
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

	// identify overrides [principalOf]; nil but in tests.
	identify atomic.Pointer[func(*wire.Greeting) principal]

	now atomic.Pointer[law] // nil before the first table
	// cut is set while this node has not heard of the meta group's leader for cutOffAfter.
	cut atomic.Bool

	// Owned by run.
	heard time.Time // when the meta group's leader was heard of last
}

func (l *laws) init(n *Node) {
	l.node, l.changed, l.heard = n, make(chan struct{}, 1), time.Now()
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

// run looks again at what is open when the rules have changed, and whether this node hears of the
// meta group, until the node ends.
func (l *laws) run() {
	pause := time.NewTicker(contactPause)
	defer pause.Stop()
	for {
		select {
		case <-l.changed:
			l.review()
		case now := <-pause.C:
			if law := l.now.Load(); law != nil && law.asked && (l.contact(now) || l.cut.Load()) {
				l.review()
			}
		case <-l.node.ctx.Done():
			return
		}
	}
}

// contact notes whether this node hears of the meta group's leader, and reports whether that says
// something else of users than before.
func (l *laws) contact(now time.Time) (changed bool) {
	loop := l.node.running()
	lead, ok := metaLead(loop)
	if !ok {
		return false
	}
	if lead.fresh() && (lead.node == l.node.self().Node || heardOf(loop, lead)) {
		l.heard = now
	}
	cut := now.Sub(l.heard) > l.node.limits.cutOffAfter
	return l.cut.Swap(cut) != cut
}

// bugFrozenRules is planted to show that its test finds it: a node whose own table stands still goes by that
// for ever, because others of its groups speak with the one that leads the meta group.
const bugFrozenRules = "rules of a replica that has stopped"

// fresh reports whether what is known of the meta group's lead may be of now.
func (m *metaLeading) fresh() bool { return m.node != 0 && (!m.frozen || bug(bugFrozenRules)) }

// heardOf reports whether a node was heard of within an election timeout.
func heardOf(loop *repl.Loop, lead metaLeading) (is bool) {
	now := loop.Now()
	loop.Ask(func(h *repl.Host) {
		ago, ever := h.Contacts().Heard(lead.node, now)
		is = ever && ago <= aliveWithin
	})
	return is
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
			c.refuse(repl.Reply{To: c}, wire.Unauthorized("connection", "the cluster goes by certificates now, and it has proven to be no user",
				"connect again with a certificate, or log in: muster auth login"))
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
