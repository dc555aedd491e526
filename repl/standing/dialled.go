package standing

import (
	"errors"

	"muster/raft"
	"muster/repl/trust"
)

// Meant decides whether a good certificate is that of the node which was dialled; id 0 stands for any node. cluster
// is the id that certificates of this cluster name; 0: the root says enough.
func (v *View) Meant(id raft.NodeID, cluster uint64, p *trust.Proven) Kind {
	_, pinned := v.Pin(p.Name.Node)
	switch {
	case p.Name.Kind != trust.KindNode:
		return NotNode
	case cluster != 0 && p.Name.Cluster != cluster:
		return OtherCluster
	case id != 0 && p.Name.Node != id:
		return OtherNode
	case v.mispinned(p):
		return OtherKey
	case p.Expired && !pinned:
		return Ended
	}
	// One that is pinned may have a certificate that has ended: only by what it hears from here does it know whom
	// to ask for another one.
	return Member
}

// Dialled decides about a peer that this node has dialled as node id, before anything is said to it. Unproven: only
// a hello that proves the secret may go on.
func (v *View) Dialled(id raft.NodeID, cluster uint64, s *Shown) Kind {
	pin, pinned := v.Pin(id)
	switch {
	case s.Err == nil:
		return v.Meant(id, cluster, &s.Proven)
	case errors.Is(s.Err, trust.ErrForeign) && v.outlived(id, s.Key):
		return Member
	case v.Only() && pinned && s.SelfMade && s.Key != pin:
		// A member that has lost no more than its certificate still has its key.
		return Wiped
	case !errors.Is(s.Err, trust.ErrFounding) && !errors.Is(s.Err, trust.ErrForeign), v.Only(), !v.Secret:
		return Worthless
	}
	return Unproven
}
