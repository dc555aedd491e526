package repl

import (
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/raft"
)

// An owner that finds the state of a replica wrong, which no comparison has, has it fenced: it shows its state to nobody, and is right
// again with that of another node, whether it leads or not. Each replica is seen with who has the others, and without its machine
// while it is fenced.
func TestReplicaFoundWrongByItsOwner(t *testing.T) {
	for seed := range uint64(6) {
		c := newAuditedOf(t, seed, 3, whenAsked)
		c.until("all groups are led", func() bool { return c.leader(0) != nil && c.leader(1) != nil && c.leader(2) != nil })
		c.readyToAudit(20)
		n := c.nodes[seed%3]
		leads := c.leader(1) == n
		seen := func() (v ReplicaView, others []raft.NodeID) {
			n.host.Replicas.Each(func(x *ReplicaView) {
				if x.Replica.Group == 1 {
					v, others = *x, slices.Sorted(slices.Values(x.Others))
				}
			})
			return v, others
		}
		if v, others := seen(); v.Machine == nil || (v.Term != 0) != leads || len(others) != 2 || slices.Contains(others, n.host.cfg.Self) || v.Applied > n.host.Replicas.Last(1) {
			t.Fatalf("seed %d: before, it is %+v, with others on %v; it leads: %t", seed, v, others, leads)
		}
		if !n.host.Replicas.Has(1, n.replica().replica.Incarnation) || n.host.Replicas.Has(1, n.replica().replica.Incarnation+1) || n.host.Replicas.Last(99) != 0 {
			t.Errorf("seed %d: it is not told which replicas are here", seed)
		}
		n.host.Replicas.Wrong(99, "of a group that is not here")
		n.host.Replicas.Wrong(1, "its file differs")
		n.turn()
		if k := fenceOf(n); k == nil || k.note.Found != logstore.FenceByComparison || !strings.Contains(k.note.What, "its file differs") {
			t.Fatalf("seed %d: the fence is %+v", seed, k)
		}
		if v, _ := seen(); v.Machine != nil || v.Term != 0 {
			t.Errorf("seed %d: fenced, it is %+v", seed, v)
		}
		if got := readsLocally(n); got != "damaged" {
			t.Errorf("seed %d: a read is answered %q", seed, got)
		}
		c.until("all are alike", func() bool { return fenceOf(n) == nil && c.alike() })
		if v, _ := seen(); v.Machine == nil {
			t.Errorf("seed %d: rebuilt, it is %+v", seed, v)
		}
	}
}
