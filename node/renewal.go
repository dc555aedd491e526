package node

import (
	"fmt"
	"net"

	"muster/repl/trust"
	"muster/repl/wire"
)

// bugKeptBySecret is planted to show that its test finds it: connections to members go on by the secret
// until that has had its time.
const bugKeptBySecret = "connection by the secret not replaced"

// outdated reports whether a connection to a member that this node has made is to be replaced by another one: by
// then both may show certificates under the root that issues, and it was made before. What it was made by ends
// without a word: the secret when the last member has its certificate, a former root when it is retired. With
// certificates of a company's CA it is outdated once this node has taken other files: that CA may be on its way out.
func (g *guard) outdated(conn net.Conn) bool {
	own, ok := conn.(*ownDial)
	h := g.holder.Get()
	if ok && own.company != nil && h.Own != nil {
		return own.company != h.Own && !bug(bugKeptByFormerFiles)
	}
	shows := h.Root()
	if !ok || bug(bugKeptBySecret) || shows == (trust.RootID{}) || own.shown == shows && own.met == shows {
		return false
	}
	t := g.table()
	if t == nil {
		return false
	}
	issuing, issues := t.Security.Issuing()
	return issues && trust.RootID(issuing.ID) == shows
}

// bugWornStays is planted to show that its test finds it: a connection that somebody else has made goes on, however
// much its keys have protected.
const bugWornStays = "worn connection stays"

// wornOut tells the other side, which has made a connection, that it should have replaced it.
func wornOut(l *limits) *wire.Error {
	return wire.NotReady("connection", fmt.Sprintf("its keys of TLS have protected %d bytes in one direction, and no more may come under them", l.keyBytesEnd),
		"connect again, and before so much has come the next time", startedRetry)
}

// endWorn ends a connection that has carried twice as much as it should. Members and the client library replace
// theirs before.
func endWorn(c *connection) {
	c.worn.Store(false) // it is told once
	if bug(bugWornStays) {
		return
	}
	c.node.log.Info("connection carried too much", "from", c.conn.RemoteAddr(), "bytes", c.node.limits.keyBytesEnd)
	c.node.door.dismiss(c, c.conn, wornOut(&c.node.limits), 0) // nothing more may come under its keys
}
