package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// slotTable is a table of groups, each with voters on nodes of given weights; no group owns
// a slot yet.
func slotTable(weights []uint32, groups [][]int) *shardmap.Table {
	t := &shardmap.Table{ClusterID: 1, Level: shardmap.Level}
	for i, w := range weights {
		t.Nodes = append(t.Nodes, shardmap.TableNode{ID: raft.NodeID(i + 1), Name: fmt.Sprint("n", i+1), Role: shardmap.NodeServer, Level: shardmap.Level, Weight: w})
	}
	for i, nodes := range groups {
		g := shardmap.TableGroup{ID: raft.GroupID(i + 1)}
		for k, n := range nodes {
			g.Replicas = append(g.Replicas, shardmap.TableReplica{Replica: raft.ReplicaID(k + 1), Node: raft.NodeID(n), Role: shardmap.ReplicaVoter})
		}
		t.Groups = append(t.Groups, g)
	}
	return t
}

func own(t *shardmap.Table, from, to shardmap.Slot, g raft.GroupID) {
	for s := from; s <= to; s++ {
		t.Slots[s] = g
	}
}

// follow returns the table as it is when the plan is carried out, and the error that makes
// the table refuse it.
func follow(t *shardmap.Table, p SlotPlan) (*shardmap.Table, error) {
	made := *t
	for i, to := range p.Targets {
		if i > 0 && p.Targets[i-1].SlotRange.To >= to.SlotRange.From {
			return nil, fmt.Errorf("target %s is out of order", to)
		}
		for s := to.SlotRange.From; s <= to.SlotRange.To; s++ {
			if made.Slots[s] != to.From || to.From == to.To {
				return nil, fmt.Errorf("slot %d is of %s, and is to move from %s to %s", s, made.Slots[s], to.From, to.To)
			}
			made.Slots[s] = to.To
		}
	}
	return &made, nil
}

func showTargets(p SlotPlan) (text string) {
	for _, to := range p.Targets {
		text += fmt.Sprintf("%s from %s to %s; ", to.SlotRange, to.From, to.To)
	}
	return text
}

// What a person would do, for clusters that one can see at a glance.
func TestSlotsPlan(t *testing.T) {
	even := []uint32{100, 100, 100}
	three := [][]int{{1, 2, 3}, {1, 2, 3}, {1, 2, 3}}
	mib := func(slots ...shardmap.Slot) (counts []SlotCount) {
		for _, s := range slots {
			counts = append(counts, SlotCount{Slot: s, Bytes: 1 << 20})
		}
		return counts
	}
	for _, c := range []struct {
		name   string
		table  *shardmap.Table
		counts []SlotCount
		slots  func(*shardmap.Table)
		want   string
	}{
		{"one new group of three", slotTable(even, three), nil,
			func(t *shardmap.Table) { own(t, 0, 149, 1); own(t, 150, 299, 2) }, "0-49 from g1 to g3; 150-199 from g2 to g3; "},
		{"even", slotTable(even, three), nil,
			func(t *shardmap.Table) { own(t, 0, 99, 1); own(t, 100, 199, 2); own(t, 200, 299, 3) }, ""},
		{"within the slack", slotTable(even, three), nil,
			func(t *shardmap.Table) { own(t, 0, 103, 1); own(t, 104, 201, 2); own(t, 202, 299, 3) }, ""},
		{"all bytes in two slots", slotTable(even, three[:2]), mib(3, 4),
			func(t *shardmap.Table) { own(t, 0, 9, 1); own(t, 10, 19, 2) }, "3-3 from g1 to g2; "},
		{"one slot is all there is", slotTable(even, three[:2]), mib(3),
			func(t *shardmap.Table) { own(t, 0, 9, 1); own(t, 10, 19, 2) }, "0-2 from g1 to g2; 4-9 from g1 to g2; "},
		{"a node of twice the weight", slotTable([]uint32{100, 200}, [][]int{{1}, {2}}), nil,
			func(t *shardmap.Table) { own(t, 0, 149, 1); own(t, 150, 299, 2) }, "0-49 from g1 to g2; "},
		{"a node of no weight", slotTable([]uint32{0, 100, 100}, [][]int{{1}, {2}, {3}}), nil,
			func(t *shardmap.Table) { own(t, 0, 4, 1); own(t, 5, 9, 2); own(t, 10, 14, 3) }, "0-1 from g1 to g2; 2-3 from g1 to g3; 4-4 from g1 to g2; "},
		{"no node has a weight", slotTable([]uint32{0, 0}, [][]int{{1}, {2}}), nil,
			func(t *shardmap.Table) { own(t, 0, 99, 1) }, ""},
		{"a node that has left", slotTable([]uint32{100}, [][]int{{1, 7}, {1}}), nil,
			func(t *shardmap.Table) { own(t, 0, 99, 1) }, "0-49 from g1 to g2; "},
		{"a job moves some already", slotTable(even, three[:2]), nil,
			func(t *shardmap.Table) {
				own(t, 0, 199, 1)
				t.Jobs = []shardmap.Job{{ID: 9, Kind: shardmap.JobMove, State: shardmap.JobRunning,
					Targets: []shardmap.SlotTarget{{SlotRange: shardmap.SlotRange{From: 0, To: 59}, From: 1, To: 2}}}}
			}, "60-99 from g1 to g2; "},
		{"one group", slotTable(even, three[:1]), nil, func(t *shardmap.Table) { own(t, 0, 4095, 1) }, ""},
		{"no group", slotTable(even, nil), nil, func(*shardmap.Table) {}, ""},
	} {
		c.slots(c.table)
		p := Slots(c.table, c.counts, SlotSettings{})
		if got := showTargets(p); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if _, err := follow(c.table, p); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// slotOff is by how much the group that is worst off is off its share, in bytes.
func slotOff(p SlotPlan, held func(SlotShare) uint64) (off int64) {
	for _, s := range p.Shares {
		off = max(off, int64(held(s))-int64(s.Share), int64(s.Share)-int64(held(s)))
	}
	return off
}

// A plan of few looks is compared with all that is possible: of a few slots of any sizes,
// each in any group. Nobody may be further off than in the best of these and by one slot;
// and what moves must not be more than some other way to be as good would move, save again
// one slot for each group.
func TestSlotsAgainstAll(t *testing.T) {
	worse, moved := 0, 0
	for seed := range uint64(*brute * 10) {
		r := rand.New(rand.NewPCG(seed, 31))
		groups := 2 + r.IntN(2)
		n := 1 + r.IntN(8)
		table := slotTable([]uint32{100, uint32(50 + r.IntN(200)), 100}, [][]int{{1}, {2}, {3}}[:groups])
		var counts []SlotCount
		var sizes []int64
		for s := range n {
			table.Slots[s] = raft.GroupID(1 + r.IntN(1+r.IntN(groups)))
			size := uint64(SlotBytesMin) << r.IntN(6)
			counts, sizes = append(counts, SlotCount{Slot: shardmap.Slot(s), Bytes: size}), append(sizes, int64(size))
		}
		p := Slots(table, counts, SlotSettings{})
		after, err := follow(table, p)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		// All ways to put n slots in the groups: the least that the worst group can be off,
		// and of those no worse than the plan the one that moves the least.
		off := slotOff(p, func(s SlotShare) uint64 { return s.After })
		best, least := int64(1)<<62, int64(1)<<62
		largest := slices.Max(sizes)
		ways := 1
		for range n {
			ways *= groups
		}
		for way := range ways {
			held, moves := make([]int64, groups), int64(0)
			for s, rest := 0, way; s < n; s, rest = s+1, rest/groups {
				g := rest % groups
				if held[g] += sizes[s]; raft.GroupID(g+1) != table.Slots[s] {
					moves += sizes[s]
				}
			}
			worst := int64(0)
			for g := range held {
				worst = max(worst, held[g]-int64(p.Shares[g].Share), int64(p.Shares[g].Share)-held[g])
			}
			best = min(best, worst)
			if worst <= off {
				least = min(least, moves)
			}
		}
		slack := max(int64(p.Shares[0].Share), int64(p.Shares[groups-1].Share))/20 + SlotBytesMin
		if off > best+largest+slack {
			t.Errorf("seed %d: %d bytes off, %d are possible, the largest slot has %d: %s", seed, off, best, largest, showTargets(p))
		}
		if int64(p.Bytes) > least+largest*int64(groups) {
			t.Errorf("seed %d: %d bytes move, %d would do, the largest slot has %d: %s", seed, p.Bytes, least, largest, showTargets(p))
		}
		if off > best+slack {
			worse++
		}
		if int64(p.Bytes) > least {
			moved++
		}
		if again := Slots(after, counts, SlotSettings{}); len(again.Targets) > 0 {
			t.Errorf("seed %d: then it has another plan: %s", seed, showTargets(again))
		}
	}
	t.Logf("of %d plans %d leave a group further off than the best by more than the slack, %d move more than some plan no worse", *brute*10, worse, moved)
}

// A cluster grows by a tenth and is rebalanced, at each size: nobody is further off then
// than the slack and one slot, nothing moves that need not, a second plan is empty, and the
// first is made before a person grows impatient.
func TestSlotsOfManyHosts(t *testing.T) {
	for size := 10; size <= max(*hosts, 1000); size *= 10 {
		r := seeded(size)
		groups := min(size, 2000)
		w := founded(size, groups, func(i int) string { return fmt.Sprint(i % 5) })
		table := &w.table
		var counts []SlotCount
		for s := range shardmap.Slots {
			size := uint64(r.ExpFloat64() * (1 << 20)) // some are large, most are not
			counts = append(counts, SlotCount{Slot: shardmap.Slot(s), Keys: size / 100, Bytes: size})
		}
		for i := range table.Nodes {
			table.Nodes[i].Weight = uint32(100 * (1 + r.IntN(2)))
		}
		for i := range (size + 9) / 10 {
			id := raft.NodeID(100000 + i)
			table.Nodes = append(table.Nodes, shardmap.TableNode{ID: id, Role: shardmap.NodeServer, Weight: 100})
		}
		for i := range (groups + 9) / 10 {
			g := shardmap.TableGroup{ID: raft.GroupID(groups + 1 + i)}
			for k := range 3 {
				n := table.Nodes[(size+i+k*7)%len(table.Nodes)]
				g.Replicas = append(g.Replicas, shardmap.TableReplica{Replica: raft.ReplicaID(k + 1), Node: n.ID, Role: shardmap.ReplicaVoter})
			}
			table.Groups = append(table.Groups, g)
		}
		began := time.Now()
		p := Slots(table, counts, SlotSettings{})
		took := time.Since(began)
		var total, need, largest uint64
		for _, s := range p.Shares {
			total += s.Before
			need += s.Before - min(s.Before, s.Share)
		}
		for _, c := range counts {
			largest = max(largest, c.Bytes)
		}
		off := slotOff(p, func(s SlotShare) uint64 { return s.After })
		t.Logf("%d hosts, %d groups: of %d MiB, %d move in %d runs, %d would have to; the worst group is %d KiB off its share, was %d KiB; planned in %s",
			len(table.Nodes), len(table.Groups), total>>20, p.Bytes>>20, len(p.Targets), need>>20, off>>10, slotOff(p, func(s SlotShare) uint64 { return s.Before })>>10, took.Round(time.Millisecond))
		for _, s := range p.Shares {
			if d := max(int64(s.After)-int64(s.Share), int64(s.Share)-int64(s.After)); d > int64(s.Share)/20+int64(largest)+SlotBytesMin {
				t.Errorf("%d hosts: %s has %d bytes, its share is %d", size, s.Group, s.After, s.Share)
			}
		}
		if p.Bytes > need+need/10 {
			t.Errorf("%d hosts: %d bytes move, %d would have to", size, p.Bytes, need)
		}
		after, err := follow(table, p)
		if err != nil {
			t.Fatal(err)
		}
		if again := Slots(after, counts, SlotSettings{}); len(again.Targets) > 0 {
			t.Errorf("%d hosts: then it has another plan: %s", size, showTargets(again))
		}
	}
}
