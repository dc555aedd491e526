package node

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/trust"
	"muster/repl/wire"
)

// Anyone who knows the secret can say a hello in any member's name. So a connection in
// a member's name does not count until that member, which this node has dialled itself
// at its address, has said that the connection is its own:
//
//	M → N   a connection, to which N gives a challenge
//	N → M   a connection, dialled where N knows M to be, or finds it: Attest, with the challenge's nonce
//	M → N   over this one: AttestAnswer, with the address that M dialled for it
//	N       compares that with its own
//
// N made the nonce and told it only to the host that dialled, so only M can know that
// it is M's. A host in the middle gains nothing: M names the address that it dialled,
// and that is not N's. One gap remains while members have no certificates: if a
// member does not answer where it is known, a host that knows the secret can pose as
// that member by listening elsewhere. A connection whose dialler has shown the member's
// certificate counts at once, without a question.

const (
	// attestWait is how long frames are kept, and requests wait, until a member has
	// been asked: as long as a dial that is not answered takes.
	attestWait = dialTimeout
	// attestRetry is after how long a member that was not asked yet may try again.
	attestRetry = 20 * time.Millisecond
	// keptBytesMax bounds the frames of one connection that are kept
	// meanwhile. Others are dropped: raft sends them again.
	keptBytesMax = 1 << 20
	// claimsMax bounds the connections in one member's name that are not settled
	// yet. One more ends the oldest: the member's own are settled within a round
	// trip, those that others open in the name of an absent member never are.
	claimsMax = 16
	// keptOverhead is how much a frame counts in addition to its bytes.
	keptOverhead = 128
)

// dials are the connections that this node has dialled as a member, by the
// nonce of the challenge that each was given.
type dials struct {
	mu   sync.Mutex
	open map[wire.Nonce]dialled // guarded by mu
}

type dialled struct {
	to   raft.NodeID
	addr string
}

// add records the challenge that a connection of this node was given.
func (d *dials) add(nonce wire.Nonce, to raft.NodeID, addr string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open == nil {
		d.open = make(map[wire.Nonce]dialled)
	}
	d.open[nonce] = dialled{to, addr}
}

func (d *dials) remove(nonce wire.Nonce) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, nonce)
}

// addr returns where the connection of a nonce was dialled, if it was to asker.
func (d *dials) addr(nonce wire.Nonce, asker raft.NodeID) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c, ok := d.open[nonce]; ok && c.to == asker {
		return c.addr
	}
	return ""
}

// ownDial is a connection that this node attests until it is closed.
type ownDial struct {
	net.Conn
	dials *dials
	nonce wire.Nonce // set in the hello
	guard *guard     // knows it until it is closed; nil: it does not
	// shown and met are the roots of the certificates that this node and the other one have shown; zero:
	// none, or one that proves nothing.
	shown, met trust.RootID
	company    *trust.Own // what this node had of its company's CA when it dialled; nil: nothing
}

func (c *ownDial) Close() error {
	c.dials.remove(c.nonce)
	if c.guard != nil {
		c.guard.forgets(c.Conn)
	}
	return c.Conn.Close()
}

// CloseWrite tells the other side that nothing more comes; what it still says arrives.
func (c *ownDial) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}

// Worn reports whether the keys of the connection have protected enough; see [wire.Worn].
func (c *ownDial) Worn() bool { return wire.Worn(c.Conn) }

// WriteWithin implements [wire.TimedWriter].
func (c *ownDial) WriteWithin(b []byte, within time.Duration) (n int, err error) {
	return wire.WriteWithin(c.Conn, b, within)
}

// claimant is a connection that came in a member's name.
type claimant struct {
	// Set once.
	node    raft.NodeID
	nonce   wire.Nonce
	number  uint64              // those of later connections are higher
	settled chan struct{}       // closed by claimants, once own is set
	refuse  func(e *wire.Error) // called if the connection is not the member's own
	own     bool                // read only once settled is closed

	wake func() // called once the claim is settled: the reader may wait for a frame

	// Owned by the reader of the connection.
	kept      []keptFrame // until it is settled
	keptBytes int
	keptSince time.Time // when the first of them came
	late      bool      // attestWait has passed, and frames are dropped
}

// keptFrame is a frame that came before it was known who sent it.
type keptFrame struct {
	header wire.Header
	body   []byte
}

// state reports whether the claim is settled, and how.
func (c *claimant) state() (own, settled bool) {
	select {
	case <-c.settled:
		return c.own, true
	default:
		return false, false
	}
}

// counted waits until it is known whether the connection is its member's own, for at
// most attestWait, and reports whether it is.
func (c *claimant) counted(ctx context.Context) bool {
	if own, settled := c.state(); settled {
		return own
	}
	timer := time.NewTimer(attestWait)
	defer timer.Stop()
	select {
	case <-c.settled:
		return c.own
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// keep keeps a frame until the claim is settled. It does not wait for that, because
// the other side's own question may be behind the frame. It reports true once, when it
// has become too late.
func (c *claimant) keep(h wire.Header, body []byte) (late bool) {
	if len(c.kept) == 0 && !c.late {
		c.keptSince = time.Now()
	}
	if !c.late && time.Since(c.keptSince) > attestWait {
		c.late, c.kept, c.keptBytes = true, nil, 0
		return true
	}
	if size := len(body) + keptOverhead; !c.late && c.keptBytes+size <= keptBytesMax {
		c.kept = append(c.kept, keptFrame{h, append([]byte(nil), body...)})
		c.keptBytes += size
	}
	return false
}

// claimants are the open connections in members' names, until they are settled.
type claimants struct {
	mu   sync.Mutex
	open map[wire.Nonce]*claimant // guarded by mu
	last uint64                   // guarded by mu: the number of the newest
}

// add records a claim. If it is one too many in the member's name, it returns the oldest
// of them, which the caller refuses.
func (c *claimants) add(one *claimant) (refused *claimant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		c.open = make(map[wire.Nonce]*claimant)
	}
	same, oldest := 0, (*claimant)(nil)
	for _, o := range c.open {
		if o.node != one.node {
			continue
		}
		if same++; oldest == nil || o.number < oldest.number {
			oldest = o
		}
	}
	if same >= claimsMax {
		refused = oldest
		delete(c.open, refused.nonce)
	}
	c.last++
	one.number = c.last
	c.open[one.nonce] = one
	return refused
}

func (c *claimants) remove(one *claimant) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, one.nonce)
}

// of returns the nonces of the claims in a node's name.
func (c *claimants) of(id raft.NodeID) (nonces []wire.Nonce) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for nonce, one := range c.open {
		if one.node == id {
			nonces = append(nonces, nonce)
		}
	}
	return nonces
}

// settle takes the word of a member that was dialled at its address. own is
// whether the connection with the nonce is its own.
func (c *claimants) settle(member raft.NodeID, nonce wire.Nonce, own bool) {
	c.mu.Lock()
	one := c.open[nonce]
	// A member answers for connections in its own name only.
	if one == nil || one.node != member {
		c.mu.Unlock()
		return
	}
	delete(c.open, nonce)
	c.mu.Unlock()
	one.own = own
	close(one.settled)
	one.wake()
	if !own {
		one.refuse(wire.Unauthorized("connection in the name of node "+member.String(), "that node answers at its address, and says that it is not its own",
			"give each node a data directory of its own, and run no copy of one"))
	}
}

// attesting is how a node makes sure that it counts only members, and that others
// count it.
type attesting struct {
	own    string                     // where this node is; set once
	peers  atomic.Pointer[repl.Peers] // nil before this node dials others
	dials  dials
	claims claimants
}

// claim records a connection that came in a member's name, and asks that member about
// it if there is a connection to it; otherwise [attesting.ask] does, once there is one.
// refuse is called if it is not the member's own.
func (v *attesting) claim(g *wire.Greeting, wake func(), refuse func(e *wire.Error)) *claimant {
	one := &claimant{wake: wake, node: g.Hello.Node, nonce: g.Challenge.Nonce, settled: make(chan struct{}), refuse: refuse}
	// Its key has said it already: the certificate is that node's, and its key is the one that the
	// cluster knows.
	if g.Peer.Name.Node == one.node && one.node != 0 {
		one.own = true
		close(one.settled)
		return one
	}
	if refused := v.claims.add(one); refused != nil {
		refused.refuse(wire.Busy("connections in the name of node "+refused.node.String(), fmt.Sprintf("%d wait for that node's word, the limit is %d", claimsMax+1, claimsMax), time.Second))
	}
	if p := v.peers.Load(); p != nil {
		p.AskAttest(one.node, one.nonce)
	}
	return one
}

// ask asks a member that was dialled about all connections in its name.
func (v *attesting) ask(member raft.NodeID) {
	for _, nonce := range v.claims.of(member) {
		v.peers.Load().AskAttest(member, nonce)
	}
}

// review has the connections that this node has made to other members looked at again: some are perhaps to
// be replaced.
func (v *attesting) review() {
	if p := v.peers.Load(); p != nil {
		p.Review()
	}
}

// answered takes a member's answer.
func (v *attesting) answered(member raft.NodeID, a *wire.AttestAnswer) {
	v.claims.settle(member, a.Nonce, a.Addr != "" && normalAddr(a.Addr) == normalAddr(v.own))
}

// dialling returns a connection to use and close instead of conn, for a hello to a
// member with the settings c. This node attests it from the challenge on: the other
// side may ask as soon as the hello is over.
func (v *attesting) dialling(conn net.Conn, c *wire.DialConfig) *ownDial {
	own := &ownDial{Conn: conn, dials: &v.dials}
	to, addr := c.To, c.ToAddr
	c.Challenged = func(m *wire.Challenge) error {
		own.nonce = m.Nonce
		v.dials.add(m.Nonce, to, addr)
		return nil
	}
	return own
}

// attest answers another node's question whether a connection in this node's name is
// its own.
func (c *connection) attest(_ wire.Header, r repl.Reply, body []byte) {
	var q wire.Attest
	if err := q.Read(body); err != nil {
		c.refuse(r, wire.BadBody(wire.TypeAttest, err))
		return
	}
	a := wire.AttestAnswer{Nonce: q.Nonce, Addr: c.node.attesting.dials.addr(q.Nonce, c.peer)}
	c.answerNow(r, wire.TypeAttestAnswer, a.Append(nil))
}

// bugUnattested is a planted bug: whatever comes in a member's name is counted.
const bugUnattested = "peer not asked whether it dialled"

// unsettled keeps or drops a frame as long as it is unknown who sent it. It reports
// false if the frame is to be handled; then it has handled all that was kept, because
// that came first.
func (c *connection) unsettled(h wire.Header, body []byte) (bool, error) {
	switch own, settled := c.claim.state(); {
	case !settled:
		if c.claim.keep(h, body) {
			c.node.notices.notCounted(c.peer, c.conn.RemoteAddr())
			c.node.trail.refused(c, wire.TypeAttest, "node "+c.peer.String(), c.uncounted())
		}
		return true, nil
	case !own:
		return true, nil
	}
	_, err := c.takeKept()
	return false, err
}

// takeKept handles the frames that came before it was known who sent them. With an error
// it returns the header of the frame that ends the connection.
func (c *connection) takeKept() (wire.Header, error) {
	kept := c.claim.kept
	c.claim.kept, c.claim.keptBytes = nil, 0
	for i := range kept {
		if err := c.dispatch(kept[i].header, kept[i].body); err != nil {
			return kept[i].header, err
		}
	}
	return wire.Header{}, nil
}

// wakeReader makes the reader look at its claim, which has been settled.
func (c *connection) wakeReader() { _ = c.conn.SetReadDeadline(time.Now()) }

// settled handles the kept frames, once it is known that they are the member's.
func (c *connection) settled() error {
	if c.claim == nil || len(c.claim.kept) == 0 {
		return nil
	}
	if own, settled := c.claim.state(); !settled || !own {
		return nil
	}
	h, err := c.takeKept()
	c.handOn()
	if err != nil {
		c.refuse(repl.Reply{To: c, Request: h.Request}, frameRefusal(h, err))
	}
	return err
}

// uncounted is the refusal of a request that a member may make only once it has
// answered at its address.
func (c *connection) uncounted() *wire.Error {
	return wire.NotReady("node "+c.peer.String(), fmt.Sprintf("node %s has not reached it at its address yet", c.node.name),
		"try again in a moment; if that does not help, check its --advertise, and that nothing stands between the two", attestRetry)
}
