package overview

import (
	"slices"
	"strings"

	"muster/repl/wire"
)

// Nodes of a build before problems had kinds send words alone. While a cluster is upgraded node by node, the status that is
// believed may be from such a node, and is understood by its words. Those are fixed: they don't follow the words that nodes
// of this build use.

// Words of older releases.
const (
	olderNoMajority = "no majority of voters alive"
	olderNoLeader   = "no leader"
)

// kindOf returns a problem with its kind. If its node has not told one, the words give it.
func kindOf(a *wire.StatusAnswer, p wire.Problem) wire.Problem {
	if p.Kind != wire.ProblemOther {
		return p
	}
	groups, _, one := strings.Cut(p.What, " has ")
	if !one {
		groups, _, _ = strings.Cut(p.What, " have ")
	}
	switch {
	case strings.Contains(p.What, olderNoMajority):
		p.Kind, p.About = wire.ProblemMajority, wire.SumOf(groups)
	case strings.Contains(p.What, olderNoLeader):
		p.Kind, p.About = wire.ProblemLeader, wire.SumOf(groups)
	default:
		i := slices.IndexFunc(a.Nodes, func(n wire.StatusNode) bool { return strings.HasPrefix(p.What, "node "+n.Name+" ("+n.Addr+") ") })
		if i >= 0 {
			p.Kind, p.About = wire.ProblemNode, uint32(i)
		}
	}
	return p
}
