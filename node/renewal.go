package node

import (
	"net"

	"muster/repl/trust"
)

// bugKeptBySecret is planted to show that its test finds it: connections to members go on by the secret
// until that has had its time.
const bugKeptBySecret = "connection by the secret not replaced"

// outdated reports whether a connection to a member that this node has made is to be replaced by another one: by
// then both may show certificates under the root that issues, and it was made before. What it was made by ends
// without a word: the secret when the last member has its certificate, a former root when it is retired.
func (g *guard) outdated(conn net.Conn) bool {
	own, ok := conn.(*ownDial)
	shows := g.holder.Get().Root()
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
