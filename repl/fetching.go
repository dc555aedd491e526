package repl

import (
	"cmp"
	"slices"

	"muster/raft"
	"muster/repl/wire"
)

// Appends whose entries are read from the log
//
// A replica that was away needs entries that its leader no longer holds in memory.
// Its leader's core asks for one such append at a time, of up to a mebibyte; but a
// node that was away has a replica of each of its groups, and the other nodes lead
// a part of all groups each. Unbounded, a node that comes back among a thousand
// groups has every other node read a third of a gigabyte at once, and gets all of
// it before it has written any.
//
// So only some are under way to a node, and to all nodes: sent, and not answered
// yet. The others wait, one for each group. What is not answered for long is taken
// for lost: that only lets another one go.
const (
	// fetchesMax is how many such appends are under way to one node: with
	// [raft.AppendBytesMaxDefault] each, 8 MiB, as much as of one group that is
	// fed from memory. It is enough to keep a disk of the other side busy.
	fetchesMax = 8
	// fetchesAllMax is how many are under way to all nodes, 32 MiB.
	fetchesAllMax = 32
	// fetchPatience is after how many ticks, 1 s, one is taken for lost.
	fetchPatience = 20
)

// fetching is what the host knows of these appends.
type fetching struct {
	host     *Host
	queues   []*fetchQueue // by node
	underWay int           // to all nodes
}

// fetchQueue is those to one node.
type fetchQueue struct {
	node    raft.NodeID
	flights []flight
	waiting []wire.Envelope // in the order of their coming, one for each group
}

// flight is an append that is not answered.
type flight struct {
	group raft.GroupID
	since uint64 // tick
}

// add sends an append whose entries are to be read, or lets it wait. Of a
// group for which one is under way the core asks again: that one may be lost, or
// slow, and a second one would be read for nothing.
func (f *fetching) add(to raft.NodeID, e *wire.Envelope) {
	q := f.queue(to)
	if i := slices.IndexFunc(q.waiting, func(w wire.Envelope) bool { return w.Group == e.Group }); i >= 0 {
		q.waiting[i] = *e
		return
	}
	if slices.ContainsFunc(q.flights, func(f flight) bool { return f.group == e.Group }) {
		return
	}
	q.waiting = append(q.waiting, *e)
	f.send(q)
}

// send sends of what waits for a node as much as may be under way.
func (f *fetching) send(q *fetchQueue) {
	for len(q.waiting) > 0 && len(q.flights) < fetchesMax && f.underWay < fetchesAllMax {
		e := q.waiting[0]
		q.waiting = slices.Delete(q.waiting, 0, 1)
		g := f.host.groups[e.Group]
		if g == nil || g.leading.Load() != e.Message.Term || !g.feeds(q.node, &e.Message) {
			continue // it no longer leads
		}
		q.flights = append(q.flights, flight{group: e.Group, since: f.host.ticks})
		f.underWay++
		term := e.Message.Term
		f.host.cfg.Transport.Fetch(q.node, &e, func() bool { return g.leading.Load() == term })
	}
}

// answered notes that a node answered an append of a group.
func (f *fetching) answered(from raft.NodeID, id raft.GroupID) {
	if f.underWay == 0 {
		return
	}
	q := f.queue(from)
	if i := slices.IndexFunc(q.flights, func(f flight) bool { return f.group == id }); i >= 0 {
		q.flights = slices.Delete(q.flights, i, i+1)
		f.underWay--
		f.sendAll(q)
	}
}

// tick gives up what was not answered for long.
func (f *fetching) tick() {
	if f.underWay == 0 {
		return
	}
	for _, q := range f.queues {
		before := len(q.flights)
		q.flights = slices.DeleteFunc(q.flights, func(o flight) bool { return f.host.ticks-o.since >= fetchPatience })
		f.underWay -= before - len(q.flights)
	}
	f.sendAll(nil)
}

// sendAll sends what may be sent, to one node first: it has made room.
func (f *fetching) sendAll(first *fetchQueue) {
	if first != nil {
		f.send(first)
	}
	for _, q := range f.queues {
		f.send(q)
	}
}

// queue returns the one of a node.
func (f *fetching) queue(n raft.NodeID) *fetchQueue {
	i, ok := slices.BinarySearchFunc(f.queues, n, func(q *fetchQueue, n raft.NodeID) int { return cmp.Compare(q.node, n) })
	if !ok {
		f.queues = slices.Insert(f.queues, i, &fetchQueue{node: n})
	}
	return f.queues[i]
}
