package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/hinting"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	// hintAskWithin is how long other nodes may take to keep a hint, all together, and hintAskPause how long one of them before the next
	// one is asked too: half of a group may be gone, and a writer waits for two seconds.
	hintAskWithin = time.Second
	hintAskPause  = 200 * time.Millisecond
	// hintWaitersMax bounds the requests about hints and durable entries that wait at a time. Each has a goroutine, and a hint its points.
	hintWaitersMax = 128
	// durableLook and durableLookMax bound the pause after which a leader looks again which voters have an entry; it doubles. Mostly the
	// last one has it a sync later; one that is down is not worth many looks.
	durableLook    = 2 * time.Millisecond
	durableLookMax = 64 * time.Millisecond
)

// await answers a request beside its connection: it waits for a disk, or for other nodes, for seconds, and the few goroutines that
// read for queries and listings must not.
func (k *hintKeeper) await(c *connection, r repl.Reply, answer func()) {
	if c.Deaf() {
		c.refuse(r, machine.Crowded())
		return
	}
	if k.waiters.Add(1) > hintWaitersMax {
		k.waiters.Add(-1)
		c.refuse(r, wire.Busy("writes of points", fmt.Sprintf("%d wait for disks or voters", hintWaitersMax), wire.BusyRetry))
		return
	}
	c.node.ended.Go(func() {
		defer k.waiters.Add(-1)
		answer()
	})
}

// takeHint keeps points, here or at a node of their group.
func takeHint(c *connection, h wire.Header, r repl.Reply, body []byte) {
	q := new(wire.Hint)
	if !readRequest(c, h, r, body, q) {
		return
	}
	member := c.standing == wire.SenderMember
	if member && byMember(c, r) == nil {
		return
	}
	loop, table := c.ready(r)
	if loop == nil {
		return
	}
	if table.Level < shardmap.PointsLevel {
		c.refuse(r, wire.OverLevel("request "+h.Type.String(), shardmap.PointsLevel, table.Level))
		return
	}
	if member {
		q.Where = wire.HintHere // a node that was asked by a node asks no other
	}
	q.Points = append([]byte(nil), q.Points...) // the frame is gone by then
	c.node.hinting.await(c, r, func() {
		ctx, cancel := context.WithTimeout(c.node.ctx, callTimeout)
		defer cancel()
		node, refused := c.node.hinting.place(ctx, loop, table, q)
		if refused != nil {
			c.refuse(r, refused)
			return
		}
		c.answerNow(r, wire.TypeHintAnswer, (&wire.HintAnswer{Node: node}).Append(nil))
	})
}

// place keeps a hint where it is wanted: at this node if that has a replica of the group, else at one that has. For level any it is
// kept here if none of them does.
func (k *hintKeeper) place(ctx context.Context, loop *repl.Loop, table *shardmap.Table, q *wire.Hint) (raft.NodeID, *wire.Error) {
	n := k.node
	self := n.self().Node
	row, ok := table.Group(q.Group)
	if !ok {
		return 0, wire.NotFound("hint", "the table has no such group", "take the group from the table")
	}
	here := q.Where == wire.HintHere
	for _, replica := range row.Replicas {
		here = here || replica.Node == self
	}
	if here {
		return self, k.keep(ctx, loop, q)
	}
	asking, cancel := context.WithTimeout(ctx, hintAskWithin)
	node, err := firstOf(asking, row.Replicas, func(ctx context.Context, to raft.NodeID) error {
		ask := wire.Hint{Where: wire.HintHere, Group: q.Group, Points: q.Points}
		return n.caller.call(ctx, to, n.addrOf(to), wire.RolePeer, wire.TypeHint, &ask, new(wire.HintAnswer))
	})
	cancel()
	switch refused, ok := refusalIn(err); {
	case err == nil:
		return node, nil
	case q.Where == wire.HintAny:
		return self, k.keep(ctx, loop, q)
	case ok:
		return 0, refused
	}
	return 0, wire.Unavailable("hint", "no node of the group keeps it: "+err.Error())
}

// firstOf has a node of a group do something that does no harm if several do it, and returns which one has done it first, or why the last
// of them has not. The next one is asked when one has refused, or has not answered for a while. It ends when all have that it has asked.
func firstOf(ctx context.Context, group []shardmap.TableReplica, ask func(context.Context, raft.NodeID) error) (raft.NodeID, error) {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type answer struct {
		node raft.NodeID
		err  error
	}
	answers := make(chan answer, len(group))
	err := errors.New("it has no replica")
	for asked, answered := 0, 0; asked < len(group) || answered < asked; {
		var pause <-chan time.Time
		if asked < len(group) {
			to := group[asked].Node
			asked++
			asking.Go(func() { answers <- answer{to, ask(ctx, to)} })
			pause = time.After(hintAskPause)
		}
		select {
		case a := <-answers:
			if answered++; a.err == nil {
				return a.node, nil
			}
			err = a.err
		case <-pause:
		case <-ctx.Done():
			return 0, fmt.Errorf("it has not answered in time: %w", context.Cause(ctx))
		}
	}
	return 0, err
}

// takeHints tells what this node keeps, after it has tried or given up some of it.
func takeHints(c *connection, h wire.Header, r repl.Reply, body []byte) {
	q := new(wire.Hints)
	if !readRequest(c, h, r, body, q) {
		return
	}
	c.node.hinting.await(c, r, func() {
		n := c.node
		ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
		defer cancel()
		a, ok := countsOf(ctx, &n.hinting.mail, func(time.Duration) *wire.HintsAnswer { return n.hinting.shown(q) })
		e := (*wire.Error)(nil)
		if !ok {
			e = wire.Unavailable("hints of node "+n.name, "its disk has not answered in time")
		}
		if q.Act != wire.HintsList {
			n.trail.done(c, wire.TypeHints, q.Act.String(), 0, e)
		}
		if e != nil {
			c.refuse(r, e)
			return
		}
		c.answerNow(r, wire.TypeHintsAnswer, a.Append(nil))
	})
}

// shown does what q wants, and returns what there is then. run calls it.
func (k *hintKeeper) shown(q *wire.Hints) *wire.HintsAnswer {
	n := k.node
	a := &wire.HintsAnswer{Node: n.self().Node, Name: n.name, Dir: k.letters.dir, Letters: uint64(k.letters.bytes.Load())}
	of := q.Group
	if q.All {
		of = hinting.All
	}
	switch q.Act {
	case wire.HintsRetry:
		a.Hints = uint64(k.core.Retry(of))
	case wire.HintsPurge:
		hints, points := k.core.Purge(of)
		a.Hints, a.Points = uint64(hints), points
		if hints > 0 {
			n.log.Warn("hints are given up", "hints", hints, "points", points)
		}
	}
	for _, v := range k.core.Views() {
		if !q.All && v.Group != q.Group {
			continue
		}
		a.Queues = append(a.Queues, wire.HintQueue{Group: v.Group, Hints: uint64(v.Hints), Bytes: uint64(v.Bytes), Points: v.Points,
			Oldest: v.Oldest / int64(time.Second), Aside: uint64(v.Aside), Fails: uint64(v.Fails), Why: v.Why})
	}
	t := k.core.Totals()
	a.Arrived, a.Buried, a.Purged = t.Arrived, t.Buried, t.Purged
	for _, d := range k.store.Damages() {
		a.Damages = append(a.Damages, d.String())
	}
	return a
}

// takeDurable tells how many voters of a group have an entry on their disks, once all have or the wait is over.
func takeDurable(c *connection, h wire.Header, r repl.Reply, body []byte) {
	q := new(wire.Durable)
	if !readRequest(c, h, r, body, q) {
		return
	}
	loop, _ := c.ready(r)
	if loop == nil {
		return
	}
	c.node.hinting.await(c, r, func() {
		ctx, cancel := context.WithTimeout(c.node.ctx, min(callTimeout, time.Duration(q.WaitMs)*time.Millisecond))
		defer cancel()
		a, refused := durableAt(ctx, c.node, loop, q)
		if refused != nil {
			c.refuse(r, refused)
			return
		}
		c.answerNow(r, wire.TypeDurableAnswer, a.Append(nil))
	})
}

// durableAt waits until all voters of a group that is led here have an entry on their disks, as long as ctx lasts.
func durableAt(ctx context.Context, n *Node, loop *repl.Loop, q *wire.Durable) (a *wire.DurableAnswer, refused *wire.Error) {
	for pause := durableLook; ; pause = min(2*pause, durableLookMax) {
		a, refused = durableNow(n, loop, q)
		if refused != nil || a.Stored >= a.Voters {
			return a, refused
		}
		select {
		case <-ctx.Done():
			return a, nil
		case <-time.After(pause):
		}
	}
}

// bugAllCounts is planted to show that its test finds it: a voter counts that the leader feeds, whatever it has.
const bugAllCounts = "voter counts for level all before it has the entry"

// durableNow counts the voters of a group that is led here which have an entry on their disks. A follower's match counts in later
// terms, too: an entry that is committed is in each later leader's log.
func durableNow(n *Node, loop *repl.Loop, q *wire.Durable) (a *wire.DurableAnswer, refused *wire.Error) {
	refused = wire.NotReady("group", "this node has no replica of it", "ask its leader", wire.BusyRetry)
	loop.Ask(func(h *repl.Host) {
		for _, v := range h.View() {
			if v.Replica.Group != q.Group {
				continue
			}
			s := &v.Status
			if s.Role != raft.RoleLeader || s.Commit < q.Index {
				refused = wire.NotLeader(q.Group, leader(&v), n.addrOf(leader(&v)))
				return
			}
			a, refused = new(wire.DurableAnswer), nil
			for m := range s.Membership.Voting() {
				a.Voters++
				if m.Replica == v.Replica.ID && s.Durable >= q.Index {
					a.Stored++
				}
			}
			for _, p := range s.Progress {
				if s.Membership.Votes(p.Replica) && (p.Match >= q.Index || bug(bugAllCounts)) {
					a.Stored++
				}
			}
		}
	})
	return a, refused
}
