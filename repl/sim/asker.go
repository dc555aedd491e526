package sim

import (
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// This is a node's end of a connection around [machine.Requests], which is what is
// tested. Package node does the same with sockets, memory and goroutines.

const (
	// inlineMax is the largest answer to a get that is made between two entries, in
	// bytes: so small that many are made beside them.
	inlineMax = 600
	// requestWait bounds how long a request is kept, however long its sender waits.
	requestWait = 60 * time.Second
	// crowdedEvery, deafEvery and fullEvery are how many answers there are for each
	// for which the node has no room, whose reader is deaf, or for which no lister is
	// free.
	crowdedEvery, deafEvery, fullEvery = 40, 200, 40
	// spareEvery is how many pages of streams there are for each that must wait for
	// room on its connection, for up to spareWait.
	spareEvery, spareWait = 20, 300 * time.Millisecond
	// epochEvery is how many requests there are for each change of the slots'
	// owners, in slots without keys; epochKnown how many requests a node gets until
	// it knows of one.
	epochEvery, epochKnown = 300, 6
)

// request is the arrival of a client's frame at the node.
func (k *conn) request(e *event) {
	n, r := k.node, repl.Reply{To: k, Request: e.number}
	table := n.known.show()
	if table == nil {
		k.Answer(r, wire.TypeError, wire.NotReady("node "+nameOf(n.id), "the table is not here", "wait", 100*time.Millisecond).Append(nil))
		return
	}
	if refusal := k.admits(e); refusal != nil {
		n.lawful.deny(&appeal{judge: k.judge, user: k.user, t: e.wtype, body: e.body, reply: r, first: refusal})
		return
	}
	if k.hears(e) {
		return
	}
	h := wire.Header{Length: len(e.body), Type: e.wtype, Flags: e.flags, Deadline: uint32(max(1, e.within.Milliseconds())), Request: e.number}
	k.requests.Take(h, e.body, r, table, machine.Now{Host: n.ticks.now(), Wall: n.ticks.wall()})
	n.handOn(&k.requests)
}

// watchedQuery asks the machine that is watched.
type watchedQuery struct{ inner repl.Query }

// Run implements [repl.Query].
func (q watchedQuery) Run(state repl.StateMachine, at raft.LogID, r repl.Reply) bool {
	return q.inner.Run(state.(*watched).inner, at, r)
}

// Answer implements [repl.Replier] for the node's end of the connection.
func (k *conn) Answer(r repl.Reply, t wire.Type, body []byte) bool {
	c := k.client.c
	streamed := t == wire.TypeScanPiece || t == wire.TypeWatchPiece || t == wire.TypeTablePiece || t == wire.TypeBackupPiece || t == wire.TypeStreamEnd
	if k.ended || !streamed && !c.reaches(k.client, k.node) {
		return false
	}
	e := c.queue.get(evAnswer)
	e.conn, e.client, e.number, e.wtype = k, k.client, r.Request, t
	e.from = int32(k.node.index)
	e.origin = c.flaws.originAt(k.node, t)
	e.body = append(e.body[:0], body...)
	at := max(c.now, k.node.outAt) + c.net.latency()
	switch t {
	case wire.TypeScanPiece, wire.TypeWatchPiece, wire.TypeTablePiece, wire.TypeBackupPiece:
		k.sends(r.Request, t, body)
		k.through(&k.toClient, at, e)
	case wire.TypeStreamEnd:
		c.users.ends(k, r.Request, body)
		k.through(&k.toClient, at, e)
	default:
		c.queue.push(at, e)
	}
	return false
}

// Flush implements [repl.Replier].
func (k *conn) Flush() {}

// AnswerWith implements [machine.Asker].
func (k *conn) AnswerWith(r repl.Reply, t wire.Type, m machine.Maker) (first, made bool) {
	c := k.client.c
	b, made := m.Make(c.scratch[:0])
	c.scratch = b[:0]
	if made {
		k.Answer(r, t, b)
	}
	return false, made
}

// AnswerFrame implements [machine.Asker].
func (k *conn) AnswerFrame(r repl.Reply, t wire.Type, frame []byte) bool {
	return k.Answer(r, t, frame[wire.HeaderSize:])
}

// AnswerPiece implements [machine.Asker].
func (k *conn) AnswerPiece(r repl.Reply, t wire.Type, body []byte) bool { return k.Answer(r, t, body) }

// acceptor is what the ends of connections at a node have in common, whoever dialled:
// whether there is room for an answer, and who reads what is long.
type acceptor struct{ node *node }

// Reserve implements [machine.Asker].
func (a *acceptor) Reserve(r *repl.Reply, size int) bool {
	if a.node.c.chance.below(crowdedEvery) == 0 {
		return false
	}
	r.Size = size
	return true
}

// Deaf implements [machine.Asker].
func (a *acceptor) Deaf() bool { return a.node.c.chance.below(deafEvery) == 0 }

// Later implements [machine.Asker].
func (a *acceptor) Later(read func()) (found string) { return a.node.beside.readLater(read) }

// Scan implements [machine.Asker].
func (a *acceptor) Scan(scan func()) (found string) { return a.node.beside.readLater(scan) }

// Over implements [machine.Asker]: queries of the simulator take no time, and nobody ends them.
func (a *acceptor) Over(uint64, shardmap.Principal, time.Duration) func() *wire.Error {
	return func() *wire.Error { return nil }
}

// Spare implements [machine.Asker].
func (k *conn) Spare(int) bool {
	c := k.client.c
	if c.chance.below(spareEvery) != 0 {
		return true
	}
	k.node.beside.spawn(func(t *task) {
		if t.wait(c.chance.between(0, spareWait)) {
			k.requests.Streams.Room()
		}
	})
	return false
}

// Ask implements [machine.Asker].
func (k *conn) Ask(r repl.Read, within time.Duration) *wire.Error {
	n := k.node
	r.Deadline = n.ticks.now() + within
	r.Query = watchedQuery{r.Query}
	e := n.event(evAsk)
	e.read = r
	n.c.after(0, e)
	return nil
}

// Table implements [machine.Asker].
func (k *conn) Table() *shardmap.Table { return k.node.known.show() }

// peerEnd is a node's end of a connection on which another node asks it something.
type peerEnd struct {
	acceptor
	say func(r repl.Reply, t wire.Type, body []byte) // brings an answer to the other node; it keeps nothing of body
}

// Answer implements [repl.Replier].
func (p *peerEnd) Answer(r repl.Reply, t wire.Type, body []byte) bool {
	p.say(r, t, body)
	return false
}

// Flush implements [repl.Replier].
func (p *peerEnd) Flush() {}

// AnswerWith implements [machine.Asker].
func (p *peerEnd) AnswerWith(r repl.Reply, t wire.Type, m machine.Maker) (first, made bool) {
	b, made := m.Make(nil)
	if made {
		p.Answer(r, t, b)
	}
	return false, made
}

// AnswerFrame implements [machine.Asker].
func (p *peerEnd) AnswerFrame(r repl.Reply, t wire.Type, frame []byte) bool {
	return p.Answer(r, t, frame[wire.HeaderSize:])
}

// AnswerPiece implements [machine.Asker].
func (p *peerEnd) AnswerPiece(r repl.Reply, t wire.Type, body []byte) bool {
	return p.Answer(r, t, body)
}

// Spare implements [machine.Asker]. No node asks another for a stream.
func (p *peerEnd) Spare(int) bool { return true }

// Ask implements [machine.Asker].
func (p *peerEnd) Ask(repl.Read, time.Duration) *wire.Error {
	return wire.Unavailable("stream", "no node asks another for one")
}

// Table implements [machine.Asker].
func (p *peerEnd) Table() *shardmap.Table { return p.node.known.show() }
