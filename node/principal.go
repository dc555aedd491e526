package node

import (
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// principal is for whom a client's connection speaks. It is settled once, when the connection is
// taken; what that may do follows from the table of the moment.
type principal struct {
	user shardmap.Principal // 0: nobody in particular
	name string             // of the user, as it was then
	// open: everything is allowed, because nobody is asked who he is: the cluster is an insecure
	// one, or has a secret only, which the other side has proven to know.
	open bool
}

// answerWhoami tells a client for whom its connection speaks.
func answerWhoami(c *connection, r repl.Reply) {
	a := wire.WhoamiAnswer{User: c.who.name, Principal: c.who.user, Open: c.who.open}
	c.answerNow(r, wire.TypeWhoamiAnswer, a.Append(nil))
}

// answerCanI tells whether something would be allowed.
func answerCanI(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.CanI
	if readRequest(c, h, r, body, &q) {
		a := wire.CanIAnswer{Allowed: true, By: openText}
		c.answerNow(r, wire.TypeCanIAnswer, a.Append(nil))
	}
}

// openText is why everything is allowed where nobody is asked who he is.
const openText = "nobody is asked who he is: the cluster has no users"

// takeLogin answers a guest that has a password and wants a certificate.
func takeLogin(c *connection, h wire.Header, r repl.Reply, body []byte) {
	var q wire.Login
	if readRequest(c, h, r, body, &q) {
		c.refuse(r, noRoot(c.node))
	}
}
