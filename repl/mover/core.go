package mover

import (
	"errors"
	"math"
	"slices"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/plan"
)

// Report is what a node answers: how the groups stand that it leads, and which replicas
// of its own do not count.
type Report = wire.ReplicasAnswer

// Level is that of the table from which on a mover does anything: below it some member
// does not know the commands.
const Level = 3

const (
	// silentAfter is for how long nothing is heard of a node that counts as silent. An
	// idle node speaks each quarter of an election timeout.
	silentAfter = 2 * time.Second
	// suspectAfter: a node of which nothing was heard for so long is looked at again
	// when it would be silent. The owner calls once when a node is missed, which is a tick
	// before an election timeout has passed at the earliest, and this is well below that.
	suspectAfter = silentAfter / 4
	// jobPause is the longest time between two decisions while a job runs: whatever else
	// it waits for, and whoever fails to say that it has come.
	jobPause = 5 * time.Second
)

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

var (
	// ErrNotLeading: the meta group is not led here. Another node's mover acts.
	ErrNotLeading = errors.New("the meta group is not led here")

	errNoAnswer = errors.New("no answer came in time")
)

// Core decides. One goroutine calls it. It is made for one node, and acts only while the
// meta group is led there.
type Core struct {
	self raft.NodeID

	// Of this leadership.
	leads   bool
	number  uint64   // of the last action; it goes on over leaderships
	actions []Action // that the next Turn returns
	flights map[uint64]*flight
	says    map[string]*said // by what they are about
	look    look
	nodes   map[raft.NodeID]*contact
	groups  map[raft.GroupID]*group
	jobs    jobMemory
	sizes   slotSizes

	table  *shardmap.Table // nil: none yet
	due    bool            // something has changed since the last decision
	at     time.Duration   // before which the next decision is not made
	looked time.Duration   // when the last decision was made
	wake   time.Duration   // when there is one to make although nothing has changed
}

// contact is what is known of another node.
type contact struct {
	heard  time.Duration // when it was last heard of, or this leader had the first reason to listen
	ever   bool
	silent bool
	asking uint64 // the Ask that has not ended; 0: none
	bad    map[logstore.Replica]plan.ReplicaState
	badAt  time.Duration // when it is to be asked again because of bad
}

// New returns a core for a node.
func New(self raft.NodeID) *Core {
	c := &Core{self: self}
	c.forget()
	return c
}

// forget forgets all that was learnt as a leader.
func (c *Core) forget() {
	c.actions, c.flights, c.says = nil, map[uint64]*flight{}, map[string]*said{}
	c.nodes, c.groups = map[raft.NodeID]*contact{}, map[raft.GroupID]*group{}
	c.look, c.jobs, c.sizes = look{}, jobMemory{next: never, again: never}, slotSizes{}
	c.due, c.at, c.looked, c.wake = true, 0, 0, never
}

// Lead hands in whether the meta group is led here, with an entry of this term applied.
func (c *Core) Lead(now time.Duration, leads bool) {
	if leads == c.leads {
		return
	}
	c.forget()
	c.leads = leads
	c.look.all(now)
}

// Leads reports what Lead was last told.
func (c *Core) Leads() bool { return c.leads }

// Table hands in a table that is newer than the last. It is not changed afterwards.
func (c *Core) Table(_ time.Duration, t *shardmap.Table) {
	c.table = t
	c.due = true
}

// Heard hands in how long ago a node was heard of, if ever.
func (c *Core) Heard(now time.Duration, n raft.NodeID, ago time.Duration, ever bool) {
	k := c.nodes[n]
	if k == nil {
		// The time begins now: nodes join while this node leads, too.
		k = &contact{heard: now, silent: true}
		c.nodes[n] = k
	}
	if ever && (now-ago > k.heard || !k.ever) {
		k.heard, k.ever = max(k.heard, now-ago), true
	}
	// Only what this leader has measured counts: the one before may have heard of the node
	// all the time, where this one had no reason to listen.
	silent := !ever || ago >= silentAfter
	if silent != k.silent {
		k.silent = silent
		c.due = true
		// Its groups have other leaders now, or it says what its disk has lost.
		c.look.all(now)
	}
}

// Report hands in the answer to the Ask of that number. One that comes when the Ask has
// ended is of no use: what it says may be older than what was done since.
func (c *Core) Report(now time.Duration, a uint64, r *Report) {
	if f := c.flights[a]; c.active() && f != nil && f.kind == Ask {
		c.learn(now, a, f.node, r)
	}
}

// Ended hands in that an action has ended: it was carried out, or refused, or nothing is
// known of it.
func (c *Core) Ended(now time.Duration, a uint64, err error) { c.end(now, a, err) }

func (c *Core) end(now time.Duration, a uint64, err error) {
	f := c.flights[a]
	if f == nil {
		return
	}
	delete(c.flights, a)
	c.due = true
	switch f.kind {
	case Ask:
		if k := c.nodes[f.node]; k != nil && k.asking == a {
			k.asking = 0
		}
		if f.node == c.self {
			c.look.asking = 0
		}
	case Change:
		if g := c.groups[f.group]; g != nil {
			g.changed(now, c.number, err)
		}
		if err != nil {
			c.look.all(now) // it may be led elsewhere
		}
	case Propose:
		if s := c.says[f.key]; s != nil {
			s.open, s.until = false, now+sayAgain
		}
	}
}

// Idle reports whether a mover that leads has nothing to do and waits for nothing that it
// has asked for. Only news can change that, or a time that is far off.
func (c *Core) Idle(now time.Duration) bool {
	if !c.active() || c.due || now >= c.wake || len(c.flights) > 0 || len(c.actions) > 0 {
		return false
	}
	_, wake := c.next(now)
	return min(wake, c.nextAsk()) >= now+declineMax/2
}

// active reports whether there is anything to decide here.
func (c *Core) active() bool {
	return c.leads && c.table != nil && c.table.Founded() && c.table.Level >= Level
}

// Turn returns what is to be done now, and when to call it again at the latest.
func (c *Core) Turn(now time.Duration) (actions []Action, next time.Duration) {
	if !c.active() {
		c.actions = nil
		return nil, never
	}
	c.expire(now)
	c.retain()
	if now >= c.wake {
		c.due = true
	}
	if c.due && now >= c.at {
		c.due, c.looked = false, now
		c.decide(now)
		c.at = now + decidePause + time.Duration(len(c.table.Groups))*decideGroup
	}
	c.ask(now)
	actions, c.actions = c.actions, nil
	next, c.wake = c.next(now)
	return actions, next
}

const (
	// decidePause and, for each group, decideGroup lie between two decisions, so that
	// planning takes a part of one processor and no more, however many answers come.
	decidePause = 20 * time.Millisecond
	decideGroup = 100 * time.Microsecond
)

// retain forgets nodes and groups that are not in the table any more.
func (c *Core) retain() {
	for id := range c.nodes {
		if _, ok := c.table.Node(id); !ok {
			delete(c.nodes, id)
		}
	}
	for id := range c.groups {
		if _, ok := c.table.Group(id); !ok {
			delete(c.groups, id)
		}
	}
}

// next returns when something is due, and when that is a decision although nothing has
// changed.
func (c *Core) next(now time.Duration) (next, wake time.Duration) {
	wake = min(c.jobs.next, c.jobs.again)
	if slices.ContainsFunc(c.table.Jobs, func(j shardmap.Job) bool { return j.State == shardmap.JobRunning }) {
		wake = min(wake, c.looked+jobPause)
	}
	for _, s := range c.says {
		if !s.open && s.index == c.table.Index && s.until > now {
			wake = min(wake, s.until)
		}
	}
	for _, g := range c.groups {
		if g.retryAt > now {
			wake = min(wake, g.retryAt)
		}
		if g.told == nil && g.sureAt > now {
			wake = min(wake, g.sureAt)
		}
	}
	dead := c.table.DeadAfter()
	for _, k := range c.nodes {
		if k.silent && now-k.heard < dead {
			wake = min(wake, k.heard+dead)
		}
	}
	next = min(wake, c.nextAsk())
	if c.due {
		next = min(next, c.at)
	}
	for _, f := range c.flights {
		next = min(next, f.until)
	}
	for _, k := range c.nodes {
		if !k.silent && now-k.heard >= suspectAfter {
			next = min(next, k.heard+silentAfter)
		}
	}
	return max(next, now), wake
}

// silent reports whether nothing was heard of a node lately.
func (c *Core) silent(n raft.NodeID) bool {
	if n == c.self {
		return false
	}
	k := c.nodes[n]
	return k == nil || k.silent
}

// lost reports whether nothing was heard of a node for longer than the cluster's limit,
// as this leader measured it.
func (c *Core) lost(now time.Duration, n raft.NodeID) bool {
	k := c.nodes[n]
	return n != c.self && k != nil && k.silent && now-k.heard >= c.table.DeadAfter()
}

// inOrder returns the keys of a map in order: what follows from them must not depend on
// chance.
func inOrder[K ~uint64 | ~uint16, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
