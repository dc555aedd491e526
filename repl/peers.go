package repl

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// PeersConfig is what Peers is made from.
type PeersConfig struct {
	// Dial connects to a node and says hello as a peer. The error of a node
	// that refuses is a *wire.Error.
	Dial func(ctx context.Context, id raft.NodeID, addr string) (net.Conn, error)
	// DialBulk is the same for a connection that carries snapshots.
	DialBulk func(ctx context.Context, id raft.NodeID, addr string) (net.Conn, error)
	// BulkRate bounds the bytes per second of snapshots to one node; 0: any.
	BulkRate int64
	// Sent is told the end of each snapshot, unless Peers closes before.
	Sent func(s *SnapshotStream, err error)
	// Store is where snapshots are, and where appends with Fetch set get their entries from.
	Store *logstore.Store
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

	mu    sync.Mutex
	peers map[raft.NodeID]*peer // guarded by mu
}

// NewPeers returns a transport that knows no node yet.
func NewPeers(cfg PeersConfig) *Peers {
	p := &Peers{cfg: cfg, peers: make(map[raft.NodeID]*peer)}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// SetNode makes a node known, or changes its address. After Close it does
// nothing.
func (p *Peers) SetNode(id raft.NodeID, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx.Err() != nil { // Close waits for those who are there by now
		return
	}
	if o := p.peers[id]; o != nil {
		o.setAddr(addr)
		return
	}
	o := &peer{owner: p, id: id, wake: make(chan struct{}, 1), addr: addr}
	p.peers[id] = o
	p.ended.Add(1)
	go o.run()
}

// Connected says whether there is a connection to a node.
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
		o.fetch(e, current)
	}
}

// SendBeat implements [Transport].
func (p *Peers) SendBeat(to raft.NodeID, b *wire.Beat, answer bool) {
	if o := p.peer(to); o != nil {
		o.sendBeat(b, answer)
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
		o.answerRepair(repair{answer: *a, replica: r, wanted: wanted})
	}
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
