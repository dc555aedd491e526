package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net"

	"muster/raft"
	"muster/repl/trust"
)

// The hello, after the preamble:
//
//	dialler   Hello        who I am, my nonce
//	acceptor  Challenge    who I am, my nonce          or Error, and it hangs up
//	dialler   Proof        that I have the secret      or it hangs up
//	acceptor  Welcome      that I have it too, limits  or Error, and it hangs up
//
// The dialler proves first, so that a stranger who dials learns nothing by which to
// guess a secret. But it first checks whether the other side claims to be
// the node that was dialled, at the address that was dialled. Otherwise a listener
// at a node's former address could pass the hello on to another node, and would
// have a connection to that one in the dialler's name. A proof is
//
//	HMAC-SHA256(secret,
//	    u8  1 the dialler's, 2 the acceptor's
//	    over TLS: u32 32, the exporter of the TLS connection,
//	    u32 8, the preamble,
//	    u32 length of the Hello's body, that body,
//	    u32 length of the Challenge's body, that body,    little-endian
//	    and, for the acceptor's:
//	    u32 length of the Welcome's body, that body, with zeros for the proof)
//
// So every byte of the hello is either under a proof or has one value only: the
// headers of its frames have no flag, deadline or request number. Without TLS
// this stops strangers; it does not stop someone on the path to the right
// address, who can wait for the hello's end and take over the connection. Over TLS
// it does, if the two share a secret: nobody in between has two connections with one
// exporter.
//
// Over TLS a certificate may take the place of the secret, on either side. So a dialler
// that was asked for a proof may send an empty one there, and gets an empty one back; what
// it then may do is said by who accepts it ([AcceptConfig.Admit]). And a dialler that has
// a secret leaves it out if it is not asked for one, and the other side's certificate has
// said who that is.
//
// This file has the checks, as functions of bytes; hello.go runs them over a
// connection.

// side says whose proof it is, so that nobody can send a proof back to its maker.
type side uint8

const (
	sideDialler  side = 1
	sideAcceptor side = 2
)

// transcript is what a proof covers, in the order in which it was sent: the exporter of
// a TLS connection, the preamble, then bodies.
type transcript [][]byte

// secured notes what TLS has settled, if conn is over TLS.
func (g *Greeting) secured(conn net.Conn) {
	if t, ok := conn.(*TLSConn); ok {
		g.Exporter, g.Peer = t.exporter, t.Peer
	}
}

// transcript begins what the proofs of this hello cover.
func (g *Greeting) transcript(preamble, hello []byte) transcript {
	if !g.TLS() || bug("hello without the exporter") {
		return transcript{preamble, hello}
	}
	return transcript{g.Exporter, preamble, hello}
}

// makeProof returns nil if there is no secret.
func makeProof(secret []byte, s side, said transcript) []byte {
	if len(secret) == 0 {
		return nil
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte{byte(s)})
	if bug("proof without preamble") {
		said = said[1:]
	}
	if bug("proof without welcome") && s == sideAcceptor {
		said = said[:len(said)-1]
	}
	for _, part := range said {
		var size [4]byte
		binary.LittleEndian.PutUint32(size[:], uint32(len(part)))
		mac.Write(size[:])
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// proofAt is where the proof begins in the body of a Welcome: behind one byte
// that opens an array and two that open a bin of its length.
const proofAt = 3

// prove fills in the acceptor's proof, which covers the rest of the Welcome.
func (w *Welcome) prove(secret []byte, said transcript) {
	if len(secret) == 0 {
		return
	}
	w.Proof = make([]byte, ProofSize)
	w.Proof = makeProof(secret, sideAcceptor, append(said[:len(said):len(said)], w.Append(nil)))
}

// withoutProof returns the body of a Welcome with zeros for its proof, or nil
// if it has none where it must be.
func withoutProof(body []byte) []byte {
	if len(body) < proofAt+ProofSize || body[0]&0xf0 != 0x90 || body[1] != 0xc4 || body[2] != ProofSize {
		return nil
	}
	body = append([]byte(nil), body...)
	clear(body[proofAt : proofAt+ProofSize])
	return body
}

// What to do next, each text once.
const (
	nextSecret       = "give both sides the same --secret-file"
	nextNoSecret     = "start it with --secret-file, or leave the secret out here"
	nextNoProof      = "check the address; hosts that found a cluster together need the same --secret-file, and one that is founded is known by its certificates: there leave --secret-file out, and give a host that is to join --token-file"
	nextNeedsSecret  = "give the cluster's secret with --secret-file"
	nextCluster      = "check --cluster and the address"
	nextOtherCluster = "check the address, or whose data directory this is; after muster recover every survivor needs the same plan, and a node that it left out comes back with an empty directory"
	nextOtherNode    = "start the node that belongs there; its members look for it elsewhere meanwhile"
	nextOtherAddr    = "dial it there, or give it this address with --advertise"
)

// checkCluster compares what the other side, them, and this side, self, say
// about their cluster.
func checkCluster(them, self, theirs, mine string, theirID, myID uint64) *Error {
	if theirs != mine {
		return WrongCluster(them, fmt.Sprintf("%s is of %q, %s of %q", them, theirs, self, mine), nextCluster)
	}
	if theirID != myID && theirID != 0 && myID != 0 {
		return WrongCluster(them, fmt.Sprintf("both are called %q, but %s has cluster id %016x, %s %016x",
			mine, them, theirID, self, myID), nextOtherCluster)
	}
	return nil
}

// commonVersion returns the highest version in the range and in ours.
func commonVersion(lowest, highest uint8) (uint8, bool) {
	v := min(highest, VersionMax)
	return v, v >= max(lowest, VersionMin)
}

// nodeObject names the other side in an error.
func nodeObject(n raft.NodeID, addr string) string {
	switch {
	case n == 0 && addr == "":
		return "client"
	case n == 0:
		return "node at " + addr
	case addr == "":
		return "node " + n.String()
	}
	return fmt.Sprintf("node %s at %s", n, addr)
}

// checkHello is the acceptor's look at a Hello.
func (c *AcceptConfig) checkHello(p Purpose, low, high uint8, h *Hello) (version uint8, e *Error) {
	if e := h.checkTexts(); e != nil {
		return 0, e // before anything that it says of itself is repeated
	}
	object := nodeObject(h.Node, h.Advertise)
	if h.VersionMin != low || h.VersionMax != high {
		return 0, BadRequest(object, fmt.Sprintf("the preamble says %d to %d, the hello %d to %d",
			low, high, h.VersionMin, h.VersionMax), "send the same in both")
	}
	version, ok := commonVersion(low, high)
	if !ok {
		return 0, WrongVersion(object, low, high)
	}
	theirs, mine := h.Cluster, c.Cluster
	switch {
	case p == PurposeClient && h.Role == RoleClient:
		if theirs == "" { // it takes any
			theirs = c.Cluster
		}
	case p == PurposePeer && h.Role >= RolePeer && h.Role <= RoleJoining && h.Role != RoleClient, p == PurposeBulk && h.Role == RolePeer:
		if h.Node == 0 {
			return 0, BadRequest(object, "field node: a peer has an id, this is 0", "send the node's own id")
		}
		theirs, mine = unnamed(h.Role, theirs, mine)
	default:
		return 0, BadRequest(object, fmt.Sprintf("field role: %d on a connection of purpose %d", h.Role, p),
			"dial peers with purpose 1, as a client with purpose 2, for snapshots with purpose 3")
	}
	return version, checkCluster(object, "node "+c.Node.String(), theirs, mine, h.ClusterID, c.ClusterID)
}

// unnamed gives a host that was told no name of a cluster, and is on its way into one,
// the name of the other side's: the dialler that joins, and the acceptor that is
// invited.
func unnamed(r Role, dialler, acceptor string) (string, string) {
	switch {
	case r == RoleJoining && dialler == "":
		return acceptor, acceptor
	case r == RoleInviting && acceptor == "":
		return dialler, dialler
	}
	return dialler, acceptor
}

// checkProof is the acceptor's check of a Proof.
func (c *AcceptConfig) checkProof(g *Greeting, p *Proof, said transcript) *Error {
	h := &g.Hello
	want := makeProof(c.Secret, sideDialler, said)
	if hmac.Equal(want, p.Proof) {
		g.KnowsSecret = len(want) > 0
		return nil
	}
	if g.TLS() && len(p.Proof) == 0 {
		return nil // it has a certificate, or will be told what it may do without one
	}
	found := fmt.Sprintf("its secret is not that of node %s", c.Node)
	switch {
	case len(want) == 0:
		found = fmt.Sprintf("it sent a proof, node %s has no secret", c.Node)
	case len(p.Proof) == 0:
		found = fmt.Sprintf("it sent no proof, node %s asks for one", c.Node)
	}
	return Unauthorized(nodeObject(h.Node, h.Advertise), found, nextSecret)
}

// ElsewhereError refuses to prove anything to a node that is not the dialled one,
// or that claims another address. Nothing that it says of itself is proven.
type ElsewhereError struct {
	Refusal   *Error
	Challenge Challenge
}

func (e *ElsewhereError) Error() string { return e.Refusal.Error() }

func (e *ElsewhereError) Unwrap() error { return e.Refusal }

// checkChallenge is the dialler's check of a Challenge.
func (c *DialConfig) checkChallenge(addr string, g *Greeting) error {
	m := &g.Challenge
	if e := c.checkFriend(addr, g); e != nil {
		return e
	}
	if c.To != 0 && c.To != m.Node && !bug("peer not checked by the dialler") {
		return &ElsewhereError{UnknownNode(m.Node, fmt.Sprintf("it answers at %s, where node %s was", addr, c.To), nextOtherNode), *m}
	}
	if c.ToAddr != "" && !bug("address not checked by the dialler") && NormalAddr(c.ToAddr) != NormalAddr(m.Advertise) {
		return &ElsewhereError{UnknownNode(m.Node, fmt.Sprintf("dialled at %s, it says that it is reached at %s", c.ToAddr, m.Advertise), nextOtherAddr), *m}
	}
	return nil
}

// checkFriend returns an error if the sender of a Challenge can't be of the cluster.
func (c *DialConfig) checkFriend(addr string, g *Greeting) *Error {
	m := &g.Challenge
	if e := m.checkTexts(addr); e != nil {
		return e
	}
	object := nodeObject(m.Node, addr)
	if m.Version < VersionMin || m.Version > VersionMax {
		return WrongVersion(object, m.Version, m.Version)
	}
	mine, theirs := unnamed(c.Role, c.Cluster, m.Cluster)
	if mine == "" && c.Role == RoleClient { // any will do
		mine = theirs
	}
	if e := checkCluster(object, "this side", theirs, mine, m.ClusterID, c.ClusterID); e != nil {
		return e
	}
	if c.Role != RoleClient && m.Level < c.ClusterLevel {
		return Behind(m.Node, addr, m.Level, c.ClusterLevel)
	}
	// Certificates of a cluster that was recovered name the id of before. Which cluster's they are, their
	// root says; and which of two that have recovered apart this is, the id in the hello.
	// A company's CA names no node: there it is the one that was dialled, until it says who it is.
	if p := g.Peer.Name; p.Node != 0 && p.Node != m.Node && g.Peer.Root != (trust.RootID{}) {
		return Unauthorized(object, fmt.Sprintf("its certificate is of node %s, it says that it is node %s", p.Node, m.Node), nextOtherNode)
	}
	switch {
	case m.NeedsProof && len(c.Secret) == 0 && !g.TLS():
		return Unauthorized(object, "it asks for a proof, there is no secret here", nextNeedsSecret)
	case !g.TLS() || c.Role != RoleClient && c.Role != RoleFounding:
		return c.checkProven(addr, g)
	}
	return nil
}

// checkProven refuses one that neither a secret nor a certificate proves to be of the cluster. Clients and
// founders hear it first, over TLS, and tell it no proof: it may be a host that waits, or a cluster
// that is founded by now, and says so.
func (c *DialConfig) checkProven(addr string, g *Greeting) *Error {
	if m := &g.Challenge; !m.NeedsProof && len(c.Secret) > 0 && g.Peer == (trust.Proven{}) {
		if g.TLS() && c.Unproven {
			return nil
		}
		if g.TLS() {
			return Unauthorized(nodeObject(m.Node, addr), "it has shown no certificate that counts here, and has no secret, so it can't prove to be of this cluster", nextNoProof)
		}
		return Unauthorized(nodeObject(m.Node, addr), "it has no secret, so it can't prove to be of this cluster", nextNoSecret)
	}
	return nil
}

// checkWelcome is the dialler's check of a Welcome.
func checkWelcome(addr string, secret []byte, g *Greeting, body []byte, said transcript) *Error {
	var want []byte
	if len(secret) > 0 {
		want = makeProof(secret, sideAcceptor, append(said, withoutProof(body)))
	}
	if !hmac.Equal(want, g.Welcome.Proof) {
		return Unauthorized(nodeObject(g.Challenge.Node, addr), "its proof does not fit the secret here", nextSecret)
	}
	return nil
}
