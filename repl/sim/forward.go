package sim

import (
	"math"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
)

// Some clients reach only one node, which passes their requests on. Half of them know
// that, and the others find out that they can't reach the leaders.

const (
	// confinedEvery is how many clients there are for each that reaches only one node.
	confinedEvery = 4
	// passersMax bounds the connections from other nodes that a node remembers: each
	// process of each node opens one.
	passersMax = 4 * nodesMax
)

// SendForward implements [repl.Transport].
func (p *post) SendForward(to raft.NodeID, number uint64, within time.Duration, f *wire.Forward) bool {
	n := p.n
	if !n.where.found[to] {
		return false
	}
	n.c.users.passes(n, f)
	e := n.c.queue.get(evFrame)
	e.wtype, e.number, e.within, e.back = wire.TypeForward, number, within, n.life
	// It goes over one connection, which ends with the process at either end. If the
	// next process took it, it would say that it applied nothing, and could not know
	// what the one before did with it.
	e.life = n.c.nodes[to-1].life
	e.body = f.Append(e.body[:0])
	n.c.net.send(n, to, e)
	return true
}

// passer is a node's end of the connection on which another node passes requests on.
type passer struct {
	peerEnd
	from     *node
	life     uint32 // of the process that passes on
	requests machine.Requests
}

// passerOf returns the end of the connection from a process of another node.
func (p *post) passerOf(from *node, life uint32) *passer {
	for _, k := range p.passers {
		if k.from == from && k.life == life {
			return k
		}
	}
	k := &passer{peerEnd: peerEnd{acceptor: acceptor{node: p.n}}, from: from, life: life}
	k.say = k.send
	k.requests.Routes, k.requests.Time = p.n.known.routes, p.n.timeOf
	k.requests.Init(k, machine.RequestLimits{Wait: requestWait, Inline: inlineMax, Page: wire.ListBytesMax})
	if len(p.passers) >= passersMax {
		p.passers = p.passers[1:]
	}
	p.passers = append(p.passers, k)
	return k
}

// forward takes a request that another node passes on.
func (p *post) forward(e *event) {
	n, k := p.n, p.passerOf(p.n.c.nodes[e.from-1], e.back)
	r := repl.Reply{To: k, Request: e.number}
	table := n.known.show()
	if table == nil {
		k.Answer(r, wire.TypeError, wire.NotReady("node "+nameOf(n.id), "the table is not here", "wait", 100*time.Millisecond).Append(nil))
		return
	}
	if refusal := n.lawful.admitsForward(e.body); refusal != nil {
		n.lawful.deny(&appeal{judge: n.lawful.judge, t: wire.TypeForward, body: e.body, reply: r, first: refusal})
		return
	}
	h := wire.Header{Length: len(e.body), Type: wire.TypeForward, Deadline: uint32(max(1, e.within.Milliseconds())), Request: e.number}
	k.requests.TakeForward(h, e.body, r, table, machine.Now{Host: n.ticks.now(), Wall: n.ticks.wall()})
	n.handOn(&k.requests)
}

// handOn gives the host what a client's requests have become.
func (n *node) handOn(requests *machine.Requests) {
	for _, p := range requests.Proposals() {
		n.host.Propose(p)
	}
	for _, read := range requests.Reads() {
		read.Query = watchedQuery{read.Query}
		n.host.Read(read)
	}
	requests.Clear()
}

// forwardAnswered takes an answer to a request that this node passed on.
func (p *post) forwardAnswered(e *event) {
	if e.wtype != wire.TypeError {
		p.n.c.result.Forwarded++
	}
	x := &p.n.c.flaws
	x.relays(p.n, e)
	x.passedOn = &e.origin
	p.n.host.Forwards.Answered(raft.NodeID(e.from), e.number, e.wtype, e.body)
	x.passedOn = nil
}

// forwardsLost ends the connection to another node, when this one learns of it. All that
// it passed on may have reached the other.
func (p *post) forwardsLost(to *node) {
	p.n.host.Forwards.Lost(to.id, math.MaxUint64, math.MaxUint64)
}

// send sends an answer to the process that passed the request on.
func (k *passer) send(r repl.Reply, t wire.Type, body []byte) {
	if !k.node.up || k.from.life != k.life {
		return
	}
	e := k.node.c.queue.get(evFrame)
	e.wtype, e.number = t, r.Request
	e.body = append(e.body[:0], body...)
	e.life, e.origin = k.life, k.node.origin()
	k.node.c.net.send(k.node, k.from.id, e)
}

// confinedTo reports whether a client may reach a node. Some clients reach only one; once
// the disk of that one is damaged for good, they get another.
func (cl *simClient) confinedTo(n *node) bool {
	if cl.only == 0 {
		return true
	}
	for cl.c.nodes[cl.only-1].dead {
		cl.only = cl.only%len(cl.c.nodes) + 1
	}
	return cl.only == n.index
}
