package standing

import (
	"errors"

	"muster/raft"
	"muster/repl/trust"
)

// Shown is what another node has shown in a handshake.
type Shown struct {
	// Proven is what its certificate proves; the zero value: nothing.
	Proven trust.Proven
	// Err is why that is nothing; nil if it is something.
	Err error
	// Key is what the certificate is for, whatever that is worth: the other node has this key. The zero
	// value: it has shown none.
	Key trust.KeyID
	// SelfMade: the certificate is of its own making, as hosts show that have none of a cluster.
	SelfMade bool
	// Secret: it has proven that it knows the secret. [View.Dialled] decides before that.
	Secret bool
}

// bugRemovedLetIn is planted to show that its test finds it: a node that was removed is
// let in all the same.
const bugRemovedLetIn = "removed node let in"

// bugHalfExpired is planted to show that its test finds it: where the certificates of some voters have ended,
// and the others are not a majority, nobody leads until those have ended too.
const bugHalfExpired = "no leader while some certificates have ended"

// Names decides whether a certificate is that of the node in whose name somebody comes. It is Member also if the
// certificate says nothing.
func (v *View) Names(id raft.NodeID, p *trust.Proven) Kind {
	switch {
	case p.Name == (trust.Name{}):
	case p.Name.Kind != trust.KindNode:
		return NotNode
	case p.Name.Node != id:
		return OtherNode
	case v.mispinned(p):
		return OtherKey
	}
	return Member
}

// Came decides about a peer that comes in the name of node id. That the node is a member by the table is for the
// caller to say: this decides whether it is that node.
func (v *View) Came(id raft.NodeID, s *Shown) Kind {
	p := &s.Proven
	if k := v.Names(id, p); k.Refused() {
		return k
	}
	// A member that was removed ends by that word, and has no certificate any more by which to ask.
	if (p.Name.Node == id || errors.Is(s.Err, trust.ErrDenied)) && v.Table != nil && v.Table.WasRemoved(id) && !bug(bugRemovedLetIn) {
		return Left
	}
	// A certificate that is refused is told of at once: its owner wants it to count.
	outlived := v.outlived(id, s.Key)
	if s.Err != nil && !nothing(s.Err) && !s.Secret && !(errors.Is(s.Err, trust.ErrForeign) && outlived) {
		return Worthless
	}
	pin, pinned := v.Pin(id)
	switch {
	case p.Name.Node != 0 && !p.Expired:
		if pinned || v.Company || !v.Only() || v.Reads() || bug(bugRemovedLetIn) {
			return Member
		}
		// The certificate leaves after its key is in the table, and the one here may be older: much older, if this
		// node was away while the other one joined.
		return Unpinned
	case pinned && s.Key == pin:
		// It is that node, with a certificate that has ended, or whose root was retired, or with none: the answer
		// that brought it was lost. A cluster whose certificates have all ended must elect somebody who renews them; and so
		// must one of which this node's has not ended yet, for weeks perhaps, if its vote is needed.
		lapsed := p.Expired || p.Name.Node == 0 && outlived && !s.SelfMade
		if s.Secret || lapsed && (v.Ended || !v.Led() && !bug(bugHalfExpired)) {
			return Member
		}
		return Renewer
	case s.Secret:
		return Member
	case p.Expired:
		return Ended
	}
	return Nothing
}

// nothing reports whether a certificate proves nothing because there is none of a cluster.
func nothing(err error) bool {
	return errors.Is(err, trust.ErrNone) || errors.Is(err, trust.ErrFounding)
}
