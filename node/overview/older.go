package overview

import (
	"slices"
	"strings"

	"muster/repl/wire"
)

// Nodes of before problems had kinds send words alone. While a cluster is upgraded node by node, the status that is
// believed may be of such a node: it is understood by the words that it uses. Those are fixed, and nothing here follows the
// words of today.

// Words of older releases.
const (
	olderNoMajority = "no majority of voters alive"
	olderNoLeader   = "no leader"
)

// kindOf returns a problem with its kind, which is found by its words if its node has told none.
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
