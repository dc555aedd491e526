package repl

import (
	"fmt"
	"reflect"

	"muster/raft"
)

// CheckHost says where what a host keeps of its cores is not what they have. It
// is for tests, between two turns: whatever happened before, also in an earlier
// life, a host that goes by another membership, term or leader than its core
// sends to those who are no members, or not to those who are.
func CheckHost(h *Host) error {
	for _, g := range h.order {
		if g.stopped != nil || g.gone || g.dirty {
			continue
		}
		now := g.core.Status()
		for _, x := range [...]struct {
			what       string
			host, core any
		}{
			{"membership", g.members, now.Membership},
			{"state", g.state, raft.HardState{Term: now.Term, Vote: now.Vote, Commit: now.Commit}},
			{"role", g.role, now.Role},
			{"leader", g.lead, now.Leader},
		} {
			if !reflect.DeepEqual(x.host, x.core) {
				return fmt.Errorf("%s: %s %+v is what the host goes by, the core has %+v", g.name(), x.what, x.host, x.core)
			}
		}
	}
	return nil
}
