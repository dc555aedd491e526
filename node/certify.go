package node

import (
	"time"

	"muster/repl"
	"muster/repl/wire"
)

// certifyRetry is after how long somebody who wants a certificate asks again.
const certifyRetry = 200 * time.Millisecond

// noRoot says why this node makes no certificate.
func noRoot(n *Node) *wire.Error {
	return wire.NotReady("node "+n.name, "the cluster has no root that issues certificates", "wait until it has one; a cluster without TLS gets one with muster ca create", certifyRetry)
}

// takeEnrol answers a host that has a token and wants its first certificate.
func takeEnrol(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Enrol
	if readRequest(c, h, r, body, &q) {
		c.refuse(r, noRoot(c.node))
	}
}

// takeRenew answers a member or a user that wants a certificate.
func takeRenew(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Renew
	if readRequest(c, h, r, body, &q) {
		c.refuse(r, noRoot(c.node))
	}
}

// takeKeep keeps a key that wraps those of roots, or gives it to another voter.
func takeKeep(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Keep
	if readRequest(c, h, r, body, &q) && byMember(c, r) != nil {
		c.refuse(r, noRoot(c.node))
	}
}

// takeHolds hears which certificate a member has.
func takeHolds(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Holds
	if readRequest(c, h, r, body, &q) && byMember(c, r) != nil {
		c.refuse(r, noRoot(c.node))
	}
}

// takeAuthority answers an order about the cluster's roots.
func takeAuthority(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Authority
	if readRequest(c, h, r, body, &q) {
		c.refuse(r, noRoot(c.node))
	}
}
