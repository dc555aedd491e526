package wire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"muster/raft"
)

// The hello, after the preamble:
//
//	dialler   Hello        who I am, my nonce
//	acceptor  Challenge    who I am, my nonce          or Error, and it hangs up
//	dialler   Proof        that I have the secret      or it hangs up
//	acceptor  Welcome      that I have it too, limits  or Error, and it hangs up
//
// The dialler proves first, so that whoever dials around learns nothing to
// guess a secret by. A proof is
//
//	HMAC-SHA256(secret,
//	    u8  1 the dialler's, 2 the acceptor's
//	    u32 length of the Hello's body, that body,
//	    u32 length of the Challenge's body, that body)    little-endian
//
// The two bodies hold both nonces, node ids, cluster names and ids, and also
// the version range and the level, so none of it can be changed on the way.
// Without TLS the proof stops strangers; it does not stop someone on the path,
// who can wait for its end and take over the connection.
//
// This file has the checks, as functions of bytes; hello.go runs them over a
// connection.

// side says whose proof it is, so that none can be sent back to its maker.
type side uint8

const (
	sideDialler  side = 1
	sideAcceptor side = 2
)

// makeProof returns nil where there is no secret.
func makeProof(secret []byte, s side, helloBody, challengeBody []byte) []byte {
	if len(secret) == 0 {
		return nil
	}
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte{byte(s)})
	for _, body := range [][]byte{helloBody, challengeBody} {
		var size [4]byte
		binary.LittleEndian.PutUint32(size[:], uint32(len(body)))
		mac.Write(size[:])
		mac.Write(body)
	}
	return mac.Sum(nil)
}

// Texts of what to do, each in one place.
const (
	nextSecret       = "give both sides the same --secret-file"
	nextNoSecret     = "start it with --secret-file, or leave the secret out here"
	nextNeedsSecret  = "give the cluster's secret with --secret-file"
	nextCluster      = "check --cluster and the address"
	nextOtherCluster = "check the address, or whose data directory this is"
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
	theirs := h.Cluster
	switch {
	case p == PurposeClient && h.Role == RoleClient:
		if theirs == "" { // it takes any
			theirs = c.Cluster
		}
	case p == PurposePeer && (h.Role == RolePeer || h.Role == RoleFounding), p == PurposeBulk && h.Role == RolePeer:
		if h.Node == 0 {
			return 0, BadRequest(object, "field node: a peer has an id, this is 0", "send the node's own id")
		}
	default:
		return 0, BadRequest(object, fmt.Sprintf("field role: %d on a connection of purpose %d", h.Role, p),
			"dial peers with purpose 1, as a client with purpose 2, for snapshots with purpose 3")
	}
	return version, checkCluster(object, "node "+c.Node.String(), theirs, c.Cluster, h.ClusterID, c.ClusterID)
}

// checkProof is the acceptor's look at a Proof.
func (c *AcceptConfig) checkProof(h *Hello, p *Proof, helloBody, challengeBody []byte) *Error {
	want := makeProof(c.Secret, sideDialler, helloBody, challengeBody)
	if hmac.Equal(want, p.Proof) {
		return nil
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

// checkChallenge is the dialler's look at a Challenge.
func (c *DialConfig) checkChallenge(addr string, m *Challenge) *Error {
	if e := m.checkTexts(addr); e != nil {
		return e
	}
	object := nodeObject(m.Node, addr)
	if m.Version < VersionMin || m.Version > VersionMax {
		return WrongVersion(object, m.Version, m.Version)
	}
	mine := c.Cluster
	if mine == "" && c.Role == RoleClient { // any will do
		mine = m.Cluster
	}
	if e := checkCluster(object, "this side", m.Cluster, mine, m.ClusterID, c.ClusterID); e != nil {
		return e
	}
	switch {
	case m.NeedsProof && len(c.Secret) == 0:
		return Unauthorized(object, "it asks for a proof, there is no secret here", nextNeedsSecret)
	case !m.NeedsProof && len(c.Secret) > 0:
		return Unauthorized(object, "it has no secret, so it can't prove to be of this cluster", nextNoSecret)
	}
	return nil
}

// checkWelcome is the dialler's look at a Welcome.
func (c *DialConfig) checkWelcome(addr string, m *Challenge, w *Welcome, helloBody, challengeBody []byte) *Error {
	if !hmac.Equal(makeProof(c.Secret, sideAcceptor, helloBody, challengeBody), w.Proof) {
		return Unauthorized(nodeObject(m.Node, addr), "its proof does not fit the secret here", nextSecret)
	}
	return nil
}
