package windows

import (
	"slices"
	"time"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/points"
)

const (
	// askPause lies between two questions for one clock.
	askPause = 30 * time.Second
	// fresh is for how long a clock counts after it was heard. Within it the host's own clock may go wrong
	// by some milliseconds.
	fresh = 2 * time.Minute
)

const second = int64(time.Second)

// bugOneClock is planted to show that the tests find it: retention goes by the leader's clock alone.
const bugOneClock = "retention by the clock of the leader"

// clock is what the clock of a node has shown.
type clock struct {
	at   time.Duration // of the host, when it was heard
	wall int64         // Unix seconds
}

// Clock hands in what the clock of a node shows, in Unix seconds, as it was just heard.
func (c *Core) Clock(host time.Duration, n raft.NodeID, wall int64) {
	if c.leads {
		c.clocks[n] = clock{host, wall}
	}
}

// voters are the nodes that vote in the meta group, by the table.
func (c *Core) voters() (nodes []raft.NodeID) {
	for _, r := range c.table.Meta.Replicas {
		if r.Role == shardmap.ReplicaVoter {
			nodes = append(nodes, r.Node)
		}
	}
	return nodes
}

// Agreed returns the time, in Unix seconds, that the clocks of a majority of the meta group's voters have
// all passed; false: too few of them are known.
func (c *Core) Agreed(now Now) (wall int64, ok bool) {
	own := now.Wall / second
	if bug(bugOneClock) {
		return own, true
	}
	var shown []int64
	voters := c.voters()
	for _, n := range voters {
		if n == c.self {
			shown = append(shown, own)
			continue
		}
		if k, heard := c.clocks[n]; heard && now.Host-k.at <= fresh {
			shown = append(shown, k.wall+int64((now.Host-k.at)/time.Second))
		}
	}
	majority := len(voters)/2 + 1
	if len(voters) == 0 || len(shown) < majority {
		return 0, false
	}
	slices.Sort(shown)
	return shown[len(shown)-majority], true
}

// retain hides windows that are over, and drops those that were hidden for long enough.
func (c *Core) retain(now Now, wake func(time.Duration)) {
	in := &c.table.Catalog
	if !slices.ContainsFunc(in.Windows, func(w shardmap.Window) bool {
		p, _ := in.Policy(w.Policy)
		return p.Duration > 0
	}) {
		return
	}
	c.ask(now, wake)
	at, ok := c.Agreed(now)
	if !ok || at <= 0 {
		return
	}
	var hide, drop []shardmap.WindowID
	for i := range in.Windows {
		w := &in.Windows[i]
		p, _ := in.Policy(w.Policy)
		switch {
		case !w.Over(&p, min(at, points.TimeMax/second)*second):
		case w.Hidden == 0:
			hide = append(hide, w.ID)
		case at-w.Hidden >= shardmap.WindowHiddenSeconds:
			drop = append(drop, w.ID)
		}
	}
	if len(hide) > 0 && !c.saying(now, shardmap.TableWindowHide, wake) {
		payload, _ := shardmap.AppendHideWindows(nil, &shardmap.HideWindows{Windows: first(hide), At: at})
		c.propose(now, shardmap.TableWindowHide, payload, wake)
	}
	if len(drop) > 0 && !c.saying(now, shardmap.TableWindowDrop, wake) {
		payload, _ := shardmap.AppendDropWindows(nil, &shardmap.DropWindows{Windows: first(drop), At: at})
		c.propose(now, shardmap.TableWindowDrop, payload, wake)
	}
}

// first returns as many windows as one command may name, in order.
func first(ids []shardmap.WindowID) []shardmap.WindowID {
	slices.Sort(ids)
	return ids[:min(len(ids), shardmap.WindowBatchMax)]
}

// ask asks for the clocks of the other voters.
func (c *Core) ask(now Now, wake func(time.Duration)) {
	for _, n := range c.voters() {
		if n == c.self {
			continue
		}
		if until, ok := c.asks[n]; ok && now.Host < until {
			wake(until)
			continue
		}
		c.asks[n] = now.Host + askPause
		wake(c.asks[n])
		c.actions = append(c.actions, Action{Kind: Ask, Node: n})
	}
}
