package windows

import (
	"math"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/plan"
	"muster/shardmap/points"
)

const (
	// Ahead is how long before the end of a window the next one is made. It is InfluxDB's, and longer than any
	// group lacks a leader.
	Ahead = 30 * time.Minute
	// sayAgain is after how long a command is proposed again that has not changed the table.
	sayAgain = 2 * time.Second
	// rest is how long a policy is left alone whose window the table would refuse: it has as many as it may.
	rest = time.Minute
	// noGroup is after how long it is looked again for a data group that could take a shard.
	noGroup = time.Second
	// lookPause is how long the core sleeps at most where there is anything to keep: the leader's clock may jump.
	lookPause = 10 * time.Second
)

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// Now is what the clocks of the host show.
type Now struct {
	Host time.Duration // that goes on evenly
	Wall int64         // nanoseconds since 1970 UTC; it may jump
}

// ActionKind says what the owner is to do.
type ActionKind uint8

const (
	Propose ActionKind = iota + 1 // put Payload into the meta group's log
	Ask                           // ask Node what its clock shows
)

// Action is something that the owner is to do.
type Action struct {
	Kind    ActionKind
	Payload []byte      // of a Propose
	Node    raft.NodeID // of an Ask; never the node's own
}

// Core decides. One goroutine calls it. It is made for one node, and acts only while the meta group is
// led there.
type Core struct {
	self raft.NodeID

	// All that was learnt as the leader, and is forgotten when that ends.
	leads   bool
	says    map[shardmap.TableCommandKind]time.Duration // kinds of commands that were proposed: until when none is again
	rests   map[shardmap.PolicyID]time.Duration         // policies that get no window: until when
	asks    map[raft.NodeID]time.Duration               // clocks that were asked for: until when they are not again
	clocks  map[raft.NodeID]clock                       // as heard
	actions []Action

	known plan.Known
	table *shardmap.Table // nil: none yet
}

// New returns a core for a node.
func New(self raft.NodeID) *Core {
	c := &Core{self: self}
	c.forget()
	return c
}

// forget forgets all that was learnt as a leader.
func (c *Core) forget() {
	c.says, c.rests, c.asks, c.clocks = map[shardmap.TableCommandKind]time.Duration{}, map[shardmap.PolicyID]time.Duration{}, map[raft.NodeID]time.Duration{}, map[raft.NodeID]clock{}
	c.actions = nil
}

// Lead hands in whether the meta group is led here, with an entry of this term applied.
func (c *Core) Lead(leads bool) {
	if leads != c.leads {
		c.forget()
		c.leads = leads
	}
}

// Table hands in a table that is newer than the last. It is not changed afterwards.
func (c *Core) Table(t *shardmap.Table) {
	if t != c.table {
		c.table = t
		clear(c.says) // what was proposed is in it, or was refused
	}
}

// Known hands in which nodes are alive. It is not changed afterwards.
func (c *Core) Known(k plan.Known) { c.known = k }

// active reports whether there is anything to keep here.
func (c *Core) active() bool {
	t := c.table
	return c.leads && t != nil && t.Founded() && t.Level >= shardmap.PointsLevel && len(t.Catalog.Databases) > 0
}

// Turn returns what is to be done now, and when to call it again at the latest, by the host's clock.
func (c *Core) Turn(now Now) (actions []Action, next time.Duration) {
	if !c.active() {
		return nil, never
	}
	next = now.Host + lookPause
	wake := func(at time.Duration) { next = min(next, max(at, now.Host)) }
	c.make(now, wake)
	c.retain(now, wake)
	actions, c.actions = c.actions, nil
	return actions, next
}

// propose has a command put into the log, unless one of its kind is on its way.
func (c *Core) propose(now Now, k shardmap.TableCommandKind, payload []byte, wake func(time.Duration)) {
	c.says[k] = now.Host + sayAgain
	wake(c.says[k])
	c.actions = append(c.actions, Action{Kind: Propose, Payload: payload})
}

// saying reports whether a command of a kind is on its way.
func (c *Core) saying(now Now, k shardmap.TableCommandKind, wake func(time.Duration)) bool {
	until, ok := c.says[k]
	if !ok || now.Host >= until {
		return false
	}
	wake(until)
	return true
}

// make makes one window, if any policy lacks one. The groups of the next one follow from the table that has it.
func (c *Core) make(now Now, wake func(time.Duration)) {
	if c.saying(now, shardmap.TableWindow, wake) {
		return
	}
	in := &c.table.Catalog
	for i := range in.Policies {
		p := &in.Policies[i]
		if until, ok := c.rests[p.ID]; ok && now.Host < until {
			wake(until)
			continue
		}
		at, missing := c.missing(p, now, wake)
		if !missing {
			continue
		}
		groups := plan.Windows(c.table, &c.known, p.Shards)
		if len(groups) == 0 {
			wake(now.Host + noGroup)
			return
		}
		payload, err := shardmap.AppendNewWindow(nil, &shardmap.NewWindow{Policy: p.ID, Time: at, Shards: groups})
		if err == nil {
			_, err = c.table.Try(payload)
		}
		if err != nil {
			c.rests[p.ID] = now.Host + rest
			wake(c.rests[p.ID])
			continue
		}
		c.propose(now, shardmap.TableWindow, payload, wake)
		return
	}
}

// missing returns a time that a policy should have a window for, and has not.
func (c *Core) missing(p *shardmap.Policy, now Now, wake func(time.Duration)) (at int64, missing bool) {
	in := &c.table.Catalog
	d, _ := in.Database(p.Database)
	if now.Wall < points.TimeMin || now.Wall > points.TimeMax || d.Default != p.ID && len(in.WindowsOf(p.ID)) == 0 {
		return 0, false
	}
	w, ok := in.WindowAt(p.ID, now.Wall)
	if !ok {
		return now.Wall, true
	}
	if left := w.Truncated - now.Wall; left > int64(Ahead) { // it is in the window, so this is above 0
		wake(now.Host + time.Duration(min(left-int64(Ahead), int64(lookPause))))
		return 0, false
	}
	if w.Truncated > points.TimeMax {
		return 0, false // it is the last one of all
	}
	_, ok = in.WindowAt(p.ID, w.Truncated)
	return w.Truncated, !ok
}
