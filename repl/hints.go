package repl

import (
	"slices"
	"time"
)

// ShortTick is the length of a host's short ticks, in which groups that lost their leader
// take turns ([Hints]). It is mostly long enough for all nodes to see that a process has
// ended, and short beside the syncs of an election.
const ShortTick = 5 * time.Millisecond

// Hints gives short ticks to groups whose leader's node seems to have ended, so that they
// need not wait for a tick to ask for votes. It belongs to the goroutine that the host
// belongs to. While no group has lost its leader it asks for nothing.
type Hints struct {
	groups []*group // each once, those for which [raft.Group.ShortTick] is of use
}

// lose tells the core of a group that its leader is lost, and remembers why.
func (k *Hints) lose(g *group, why miss) {
	g.election.hint(why)
	g.core.LeaderLost()
	g.touch()
	if !g.hinted {
		g.hinted = true
		k.groups = append(k.groups, g)
	}
}

// Due reports whether the host needs another short tick, one [ShortTick] from now. Its owner
// asks after each turn. Short ticks end by themselves some tens of ms after a loss. A host that
// gets none elects leaders too, but later.
func (k *Hints) Due() bool { return len(k.groups) > 0 }

// Tick hands in that a short tick has passed. Turn the host afterwards.
func (k *Hints) Tick() {
	k.groups = slices.DeleteFunc(k.groups, func(g *group) bool {
		g.hinted = g.stopped == nil && g.hold == nil && !g.removed && g.core.ShortTick()
		if g.core.HasReady() {
			g.touch()
		}
		return !g.hinted
	})
}
