package mover

import (
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap/plan"
)

const (
	// lookPause lies between two times at which all nodes are asked because it is not
	// known who leads some group. It doubles up to lookPauseMax.
	lookPause    = 250 * time.Millisecond
	lookPauseMax = 8 * time.Second
	// watchPause lies between two times at which a group's leader is asked while
	// something is under way there. It doubles up to watchPauseMax.
	watchPause    = 50 * time.Millisecond
	watchPauseMax = time.Second
	// badPause lies between two times at which a node is asked whose replicas do not
	// count: it says nothing by itself when they do again.
	badPause = 5 * time.Second
	// refusedPause is how long a group is left alone whose change failed. It
	// doubles up to refusedPauseMax.
	refusedPause    = 250 * time.Millisecond
	refusedPauseMax = 10 * time.Second
)

// look says when all nodes are to be asked.
type look struct {
	due    bool // at once
	wanted bool // some group's leader is not known, as of the last decision
	at     time.Duration
	pause  time.Duration
	// Of this node itself, which is no contact of its own.
	asking uint64 // the Ask that has not ended
	bad    map[logstore.Replica]plan.ReplicaState
	badAt  time.Duration // when it is to be asked again because of bad
}

// all has all nodes asked with the next Turn.
func (l *look) all(time.Duration) { l.due, l.pause = true, lookPause }

// group is what is known of a group.
type group struct {
	// told is what its leader said last; nil: nothing since floor. Only an answer to an
	// Ask with a larger number than floor counts: it was given after the last change
	// that was asked for.
	told    *wire.ReportedGroup
	members raft.Membership // of told
	from    raft.NodeID     // that said so
	floor   uint64

	flight   uint64        // the Change that has not ended; 0: none
	sureAt   time.Duration // until when its leader should have told what came of the last change
	retryAt  time.Duration // before which no change is asked for
	failures int           // of changes, in a row
	refused  error         // why the last change failed; nil: it did not

	watched bool          // something is under way: its leader is asked again
	watchAt time.Duration // when
	watch   time.Duration // the pause after that
}

// changed notes the end of a change. What is known of the group is not true any more.
func (g *group) changed(now time.Duration, floor uint64, err error) {
	g.flight, g.floor = 0, floor
	g.told = nil
	g.watchAt, g.watch = now, watchPause
	g.sureAt = now + changeMax
	if g.refused = err; err == nil {
		g.failures = 0
		return
	}
	g.retryAt = now + doubled(refusedPause, g.failures, refusedPauseMax)
	g.failures++
}

// of returns what is known of a group.
func (c *Core) of(id raft.GroupID) *group {
	g := c.groups[id]
	if g == nil {
		g = new(group)
		c.groups[id] = g
	}
	return g
}

// learn takes a report.
func (c *Core) learn(now time.Duration, a uint64, from raft.NodeID, r *Report) {
	said := make(map[raft.GroupID]bool, len(r.Groups))
	for i := range r.Groups {
		told := &r.Groups[i]
		row, ok := c.table.Group(told.Group)
		if !ok || row.Incarnation != told.Incarnation {
			continue
		}
		g := c.of(told.Group)
		said[told.Group] = true
		// Two nodes may say that they lead: one of them has not heard of the other's term.
		if a <= g.floor || g.told != nil && g.told.Incarnation == told.Incarnation && g.told.Term > told.Term {
			continue
		}
		m, err := raft.ReadMembership(told.Membership)
		if err != nil {
			continue // of a build that writes it otherwise
		}
		if g.told == nil || g.told.At != told.At || g.told.Settled != told.Settled || g.from != from {
			c.due = true
			g.watch = watchPause
		}
		g.told, g.members, g.from = told, m, from
	}
	for id, g := range c.groups {
		if g.from == from && !said[id] && (g.told != nil || a > g.floor) {
			g.told, g.from = nil, 0 // it is led elsewhere now
			c.look.all(now)
			c.due = true
		}
	}
	bad := make(map[logstore.Replica]plan.ReplicaState, len(r.Bad))
	for _, b := range r.Bad {
		bad[logstore.Replica{Group: b.Group, Incarnation: b.Incarnation, ID: b.Replica}] = b.State
	}
	if k := c.nodes[from]; k != nil {
		k.bad, k.badAt = bad, now+badPause
	} else if from == c.self {
		c.look.bad, c.look.badAt = bad, now+badPause
	}
}

// ask asks those nodes that are due.
func (c *Core) ask(now time.Duration) {
	l := &c.look
	due := map[raft.NodeID]bool{}
	if l.due || l.wanted && now >= l.at {
		l.due = false
		l.at = now + l.pause
		l.pause = min(2*l.pause, lookPauseMax)
		for i := range c.table.Nodes {
			due[c.table.Nodes[i].ID] = true
		}
	}
	for _, id := range inOrder(c.groups) {
		g := c.groups[id]
		if g.watched && g.flight == 0 && now >= g.watchAt && g.from != 0 && !due[g.from] {
			due[g.from] = true
		}
	}
	for n, k := range c.nodes {
		if len(k.bad) > 0 && now >= k.badAt {
			due[n] = true
		}
	}
	if len(l.bad) > 0 && now >= l.badAt {
		due[c.self] = true
	}
	for _, n := range inOrder(due) {
		if c.silent(n) || c.asks(n) != 0 {
			continue
		}
		a := c.begin(now, Action{Kind: Ask, Node: n}, "")
		if n == c.self {
			l.asking, l.badAt = a, now+badPause
		} else {
			c.nodes[n].asking = a
			c.nodes[n].badAt = now + badPause
		}
		for _, g := range c.groups {
			if g.watched && g.from == n {
				g.watchAt = now + g.watch
				g.watch = min(2*g.watch, watchPauseMax)
			}
		}
	}
}

// asks returns the Ask of a node that has not ended.
func (c *Core) asks(n raft.NodeID) uint64 {
	if n == c.self {
		return c.look.asking
	}
	if k := c.nodes[n]; k != nil {
		return k.asking
	}
	return 0
}

// nextAsk returns when somebody is to be asked.
func (c *Core) nextAsk() time.Duration {
	next := never
	if c.look.wanted {
		next = c.look.at
	}
	for _, g := range c.groups {
		if g.watched && g.flight == 0 && g.from != 0 && !c.silent(g.from) && c.asks(g.from) == 0 {
			next = min(next, g.watchAt)
		}
	}
	for n, k := range c.nodes {
		if len(k.bad) > 0 && !k.silent && c.asks(n) == 0 {
			next = min(next, k.badAt)
		}
	}
	if len(c.look.bad) > 0 && c.look.asking == 0 {
		next = min(next, c.look.badAt)
	}
	return next
}

// stateOf returns what a node has said of a replica of its own.
func (c *Core) stateOf(n raft.NodeID, r logstore.Replica) plan.ReplicaState {
	if n == c.self {
		return c.look.bad[r]
	}
	if k := c.nodes[n]; k != nil {
		return k.bad[r]
	}
	return plan.Intact
}
