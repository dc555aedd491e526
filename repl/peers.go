package repl

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// PeersConfig is what Peers is made from.
type PeersConfig struct {
	// Own is where this node is dialled, Seeds are addresses at which others
	// may be; see [Addresses].
	Own   string
	Seeds []string
	// Dial connects to a node and says hello as a peer. The error of a node
	// that refuses is a *wire.Error; where another node answers, or the right
	// one says that it is elsewhere, it is a *wire.ElsewhereError.
	Dial func(ctx context.Context, id raft.NodeID, addr string) (net.Conn, error)
	// Outdated, if not nil, reports whether a connection that Dial has made to a node is to be replaced by
	// another one, beside those that are [wire.Worn]. It must not wait. What it says of a connection may change: see [Peers.Review].
	Outdated func(id raft.NodeID, conn net.Conn) bool
	// Replaced, if not nil, is called once a connection to a node has taken the place of one that was outdated.
	Replaced func(id raft.NodeID)
	// DialBulk is the same as Dial for a connection that carries snapshots.
	DialBulk func(ctx context.Context, id raft.NodeID, addr string) (net.Conn, error)
	// BulkRate bounds the bytes per second of snapshots to one node; 0: any. It is what
	// [Peers.SetBulkRate] goes back to.
	BulkRate int64
	// Sent is told the end of each snapshot, unless Peers closes before.
	Sent func(s *SnapshotStream, err error)
	// Store is where snapshots are, and where appends with Fetch set get their entries from.
	Store *logstore.Store
	// Up, if not nil, is called once a connection to a node stands.
	Up func(id raft.NodeID)
	// Attested, if not nil, is called with a node's answer to AskAttest.
	Attested func(id raft.NodeID, a *wire.AttestAnswer)
	// Forwarded, if not nil, is called with what a node answers to requests that were
	// passed on to it. It may keep the answers.
	Forwarded func(id raft.NodeID, answers []ForwardAnswer)
	// ForwardsLost, if not nil, is called when the connection to a node ends; see
	// [Forwards.Lost].
	ForwardsLost func(id raft.NodeID, left, queued uint64)
	// DamageFound, if not nil, is called where the log can't be read.
	DamageFound func()
	// FetchBytes is how much of these is sent at once.
	FetchBytes int
	Counters   *wire.Counters
	Log        *slog.Logger
}

// Peers is the [Transport] over TCP. It keeps one connection to each other
// node, on which it only sends: what the other node has to say comes over the
// connection that the other node opened. Pings are answered on the same one, so
// that a host that has gone without a word is noticed.
type Peers struct {
	// Set once.
	cfg    PeersConfig
	ctx    context.Context
	cancel context.CancelFunc
	ended  sync.WaitGroup
	rate   atomic.Int64 // bytes per second of snapshots to one node; 0: any

	mu    sync.Mutex
	peers map[raft.NodeID]*peer // guarded by mu

	places    sync.Mutex // taken with no other lock of Peers, or behind mu
	addresses *Addresses // guarded by places
}

// NewPeers returns a transport that knows no node yet.
func NewPeers(cfg PeersConfig) *Peers {
	p := &Peers{cfg: cfg, peers: make(map[raft.NodeID]*peer), addresses: NewAddresses(cfg.Own, cfg.Seeds)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.rate.Store(cfg.BulkRate)
	return p
}

// SetBulkRate bounds the bytes per second of snapshots to one node from now on, those
// that are under way too; 0: as [PeersConfig.BulkRate] says.
func (p *Peers) SetBulkRate(rate int64) {
	if rate == 0 {
		rate = p.cfg.BulkRate
	}
	p.rate.Store(rate)
}

// SetNode makes a node known, or changes the address that the table has of it.
// A connection that stands is kept: it is to that node. After Close it does
// nothing.
func (p *Peers) SetNode(id raft.NodeID, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil { // Close waits for those who are there by now
		return
	}
	p.places.Lock()
	changed := p.addresses.Know(id, addr)
	p.places.Unlock()
	if o := p.peers[id]; o != nil {
		if changed {
			o.rouse()
		}
		return
	}
	o := &peer{owner: p, id: id, wake: make(chan struct{}, 1), more: make(chan struct{}, 1), review: make(chan struct{}, 1), outbox: outbox{counters: p.cfg.Counters}}
	o.ctx, o.cancel = context.WithCancel(p.ctx)
	p.peers[id] = o
	p.ended.Add(1)
	go o.run()
	p.ended.Add(1)
	go o.renew()
}

// Retain forgets all nodes but these: their connections are closed, and they are not
// dialled any more. A snapshot that waits for one of them ends with an error.
func (p *Peers) Retain(nodes []raft.NodeID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, o := range p.peers {
		if slices.Contains(nodes, id) {
			continue
		}
		delete(p.peers, id)
		o.cancel()
		o.disconnect()
		p.places.Lock()
		p.addresses.Forget(id)
		p.places.Unlock()
	}
}

// Claim takes an address that a hello in a node's name gave: the node is dialled
// there, too, unless it answers where it was.
func (p *Peers) Claim(id raft.NodeID, addr string) {
	p.places.Lock()
	now := p.addresses.Claim(id, addr)
	p.places.Unlock()
	p.hurry(id, now)
}

// Told takes addresses at which another member has found nodes.
func (p *Peers) Told(nodes []wire.NodeAddr) {
	for _, n := range nodes {
		p.places.Lock()
		now := p.addresses.Tell(n.Node, n.Addr)
		p.places.Unlock()
		p.hurry(n.Node, now)
	}
}

// Addr returns where a node is: where it was found last, or where the table has
// it; empty if neither is known.
func (p *Peers) Addr(id raft.NodeID) string {
	p.places.Lock()
	defer p.places.Unlock()
	return p.addresses.Addr(id)
}

// hurry has a node dialled without waiting for the end of a pause.
func (p *Peers) hurry(id raft.NodeID, now bool) {
	if o := p.peer(id); o != nil && now {
		o.rouse()
	}
}

// AskAttest asks a node, if there is a connection to it, whether the connection
// whose challenge had the nonce is its own. Attested is called with the answer.
func (p *Peers) AskAttest(id raft.NodeID, nonce wire.Nonce) {
	if o := p.peer(id); o != nil {
		o.sendBody(wire.TypeAttest, &wire.Attest{Nonce: nonce})
		o.flush()
	}
}

// found notes that there is a connection to a node, and tells the others where
// it is, and it where they are.
func (p *Peers) found(o *peer, addr string) {
	p.places.Lock()
	p.addresses.Found(o.id, addr)
	met := p.addresses.Met()
	p.places.Unlock()
	var others []wire.NodeAddr
	for _, m := range met {
		if m.Node == o.id {
			continue
		}
		others = append(others, m)
		if other := p.peer(m.Node); other != nil {
			other.sendBody(wire.TypeAddresses, &wire.Addresses{Nodes: []wire.NodeAddr{{Node: o.id, Addr: addr}}})
			other.flush()
		}
	}
	if len(others) > 0 {
		o.sendBody(wire.TypeAddresses, &wire.Addresses{Nodes: others[:min(len(others), wire.AddressesMax)]})
		o.flush()
	}
}

// missed notes what a dial that did not reach a node told all the same.
func (p *Peers) missed(addr string, err error) {
	var e *wire.ElsewhereError
	if !errors.As(err, &e) {
		return
	}
	p.places.Lock()
	now := p.addresses.Elsewhere(addr, e.Challenge.Node, e.Challenge.Advertise)
	p.places.Unlock()
	p.hurry(e.Challenge.Node, now)
}

// Connected reports whether there is a connection to a node.
func (p *Peers) Connected(id raft.NodeID) bool {
	o := p.peer(id)
	if o == nil {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.connected
}

// Close closes all connections and waits for their goroutines.
func (p *Peers) Close() {
	p.cancel()
	p.mu.Lock()
	for _, o := range p.peers {
		o.disconnect()
	}
	p.mu.Unlock()
	p.ended.Wait()
}

func (p *Peers) peer(id raft.NodeID) *peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peers[id]
}

// Send implements [Transport].
func (p *Peers) Send(to raft.NodeID, e *wire.Envelope) {
	if o := p.peer(to); o != nil {
		o.send(e)
	}
}

// Fetch implements [Transport].
func (p *Peers) Fetch(to raft.NodeID, e *wire.Envelope, current func() bool) {
	if o := p.peer(to); o != nil {
		o.queue(func(b *outbox) { b.fetch(e, current) })
	}
}

// SendBeat implements [Transport].
func (p *Peers) SendBeat(to raft.NodeID, b *wire.Beat, answer bool) {
	if o := p.peer(to); o != nil {
		o.queue(func(q *outbox) { q.beat(b, answer) })
	}
}

// SendRepair implements [Transport].
func (p *Peers) SendRepair(to raft.NodeID, q *wire.Repair) {
	if o := p.peer(to); o != nil {
		o.sendBody(wire.TypeRepair, q)
	}
}

// AnswerRepair implements [Transport].
func (p *Peers) AnswerRepair(to raft.NodeID, a *wire.RepairAnswer, r logstore.Replica, wanted []wire.RepairSpan) {
	if o := p.peer(to); o != nil {
		o.queue(func(b *outbox) { b.repair(repair{answer: *a, replica: r, wanted: wanted}) })
	}
}

// SendLife implements [Transport].
func (p *Peers) SendLife(to raft.NodeID, t wire.Type, b wire.Body) {
	if o := p.peer(to); o != nil {
		o.sendBody(t, b)
	}
}

// SendAudit implements [Transport].
func (p *Peers) SendAudit(to raft.NodeID, t wire.Type, b wire.Body) {
	if o := p.peer(to); o != nil {
		o.sendBody(t, b)
	}
}

// SendForward implements [Transport].
func (p *Peers) SendForward(to raft.NodeID, number uint64, within time.Duration, f *wire.Forward) bool {
	o := p.peer(to)
	return o != nil && o.sendForward(number, within, f)
}

// SendSnapshotRequest implements [Transport].
func (p *Peers) SendSnapshotRequest(to raft.NodeID, q *wire.SnapshotRequest) {
	if o := p.peer(to); o != nil {
		o.sendBody(wire.TypeSnapshotRequest, q)
	}
}

// SendSnapshot implements [Transport].
func (p *Peers) SendSnapshot(to raft.NodeID, s *SnapshotStream) {
	err := errors.New("the node is not known")
	if o := p.peer(to); o != nil {
		err = o.sendSnapshot(s)
	}
	if err != nil && p.ctx.Err() == nil && p.cfg.Sent != nil {
		p.cfg.Sent(s, err)
	}
}

// Flush implements [Transport].
func (p *Peers) Flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.peers {
		o.flush()
	}
}
