package node

import (
	"crypto/x509"

	"muster/raft"
	"muster/repl/trust"
)

// A member whose certificate is good no longer is known by its key, which the table pins: it may ask for
// another one, and where nobody leads who could make that, it helps to elect somebody.

// bugHalfExpired is planted to show that its test finds it: where the certificates of some voters have ended,
// and the others are not a majority, nobody leads until those have ended too.
const bugHalfExpired = "no leader while some certificates have ended"

// bugOutlived is planted to show that its test finds it: a member that missed the last word on its new certificate,
// and the end of the root of its former one, stays outside for good.
const bugOutlived = "member left behind by a retired root"

// outlived reports whether a certificate under no root that is trusted here is that of a member by its key: its
// root was retired while the member was away, or before the answer came that brought it the next one. The key is what
// it is known by. Whose pinned certificate was denied must not come in by another one.
func (g *guard) outlived(node raft.NodeID, chain []*x509.Certificate) bool {
	t := g.table()
	if t == nil || g.reads() || len(chain) == 0 || bug(bugOutlived) {
		return false
	}
	pin, ok := t.Security.Pin(node)
	return ok && trust.KeyIDOf(chain[0]) == trust.KeyID(pin.Key) && !t.Security.IsDenied(pin.Serial)
}
