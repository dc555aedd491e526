package notary

import (
	"slices"

	"muster/raft"
	"muster/shardmap"
)

// A node that votes in the meta group no longer has no use for the keys that wrap those of roots, and
// whoever gets hold of its disk has. It may have the only copy, so it gives each key to voters first, and
// removes its file once they have said that theirs is there. A voter says so only as long as it is one by
// its own table: else two nodes that go by different tables might each rely on the other.

// Held says which wrapping keys are in files here.
func (b *Bearer) Held(keys []shardmap.WrapKeyID) {
	b.held = append(b.held[:0], keys...)
	slices.SortFunc(b.held, func(x, y shardmap.WrapKeyID) int { return slices.Compare(x[:], y[:]) })
}

// bugDropped is planted to show that its test finds it: a key goes before another node has it.
const bugDropped = "wrapping key removed before another holds it"

// part returns the next step of a node that is to get rid of its wrapping keys.
func (b *Bearer) part() (a Action, has bool) {
	var voters []raft.NodeID
	for _, r := range b.table.Meta.Replicas {
		if r.Role == shardmap.ReplicaVoter {
			voters = append(voters, r.Node)
		}
	}
	if len(voters) == 0 || slices.Contains(voters, b.self) {
		clear(b.sure) // it is handed what it lacks, and what others had may change meanwhile
		return a, false
	}
	for _, k := range b.held {
		named := slices.ContainsFunc(b.table.Security.Roots, func(r shardmap.Root) bool { return r.WrapKey == k })
		if !named {
			continue // of a root that may be proposed yet; nobody would take it
		}
		missing := slices.DeleteFunc(slices.Clone(voters), func(n raft.NodeID) bool { return slices.Contains(b.sure[k], n) })
		if len(voters)-len(missing) >= min(keepersMin, len(voters)) || bug(bugDropped) {
			return Action{Kind: Drop, WrapKey: k}, true
		}
		return Action{Kind: Hand, WrapKey: k, Node: missing[b.turns%len(missing)]}, true
	}
	return a, false
}

// parted takes how such a step has ended.
func (b *Bearer) parted(a *Action, err error) {
	switch {
	case err != nil:
		b.turns++
	case a.Kind == Hand:
		if b.sure == nil {
			b.sure = make(map[shardmap.WrapKeyID][]raft.NodeID)
		}
		b.sure[a.WrapKey] = append(b.sure[a.WrapKey], a.Node)
	}
}
