package repl

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/wire"
)

// audited is a register whose replicas are compared. Its parts are the values, by the rest
// that eight leaves.
type audited struct {
	*register
	mute bool
	sums [8]uint64 // kept of the parts, as entries are applied
}

func (a *audited) sumsOf() (sums [8]uint64) {
	for i, v := range a.history {
		sums[v%8] += uint64(crc32.ChecksumIEEE(binary.LittleEndian.AppendUint64(nil, v^uint64(i)<<32)))
	}
	return sums
}

func (a *audited) Apply(e raft.Entry, answer bool, out []byte) (wire.Type, []byte, error) {
	v := binary.LittleEndian.Uint64(e.Payload())
	times := 1
	if w := a.node.c.wrong; w != nil && !a.mute && w.node == a.node.id && w.group == a.group && w.skips+w.twices > 0 {
		if w.skips > 0 {
			times, w.skips = 0, w.skips-1
		} else {
			times, w.twices = 2, w.twices-1
		}
		if !w.struck {
			w.part, w.struck = uint32(v%8), true
		}
	}
	for range times {
		a.history = append(a.history, v)
		a.sums[v%8] += uint64(crc32.ChecksumIEEE(binary.LittleEndian.AppendUint64(nil, v^uint64(len(a.history)-1)<<32)))
	}
	if !a.mute {
		a.node.history[a.group] = a.history
	}
	return wire.TypeWriteAnswer, binary.LittleEndian.AppendUint64(out, v), nil
}

func (a *audited) Restored() {
	a.sums = a.sumsOf()
	a.node.history[a.group] = a.history
}

// Mute implements [Muter].
func (a *audited) Mute(mute bool) {
	if !a.mute && mute {
		a.sums = a.sumsOf()
	}
	a.mute = mute
}

// Digests implements [Audited].
func (a *audited) Digests(out []wire.AuditRow) []wire.AuditRow {
	for i, sum := range a.sums {
		out = append(out, wire.AuditRow{Part: uint32(i), Digest: sum})
	}
	return out
}

// Walk implements [Audited].
func (a *audited) Walk() Walk { return &auditedWalk{of: a} }

type auditedWalk struct {
	of     *audited
	next   int
	faults []WalkFault
}

func (w *auditedWalk) Step(int) bool {
	if sums := w.of.sumsOf(); sums[w.next] != w.of.sums[w.next] {
		w.faults = append(w.faults, WalkFault{uint32(w.next), "its sum is another one"})
	}
	w.next++
	return w.next == 8
}

func (w *auditedWalk) Faults() []WalkFault { return w.faults }
func (w *auditedWalk) End()                {}

// wrong is what is done to the state of one replica.
type wrong struct {
	node          raft.NodeID
	group         raft.GroupID
	skips, twices int // of the entries that come
	part          uint32
	struck        bool
}

// auditPolicy is that of the tests: a cluster's clock runs for some ten seconds.
var auditPolicy = AuditPolicy{Every: time.Second, Walk: 2 * time.Second, Understood: true}

// fenced returns which replicas of all nodes are fenced.
func (c *cluster) fenced() (all []logstore.Replica) {
	for _, n := range c.nodes {
		if n.host == nil {
			continue
		}
		for _, g := range n.host.order {
			if g.fence != nil {
				all = append(all, g.replica)
			}
		}
	}
	return all
}

// Whatever is wrong with the state of one replica, and wherever its group is led: it is found,
// fenced, also over power cuts, and gets the state of the others, who are never fenced.
func TestWrongStateIsMended(t *testing.T) {
	first, seeds := 0, *seeds
	if *oneSeed >= 0 {
		first, seeds = *oneSeed, 1
	}
	leaders, restarts := 0, 0
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := newAudited(t, uint64(seed))
			next := uint64(0)
			write := func(g raft.GroupID) {
				if n := c.leader(g); n != nil && c.rnd.IntN(100) < 3 {
					next++
					c.propose(n, g, next)
				}
			}
			work := func(steps int) {
				for range steps {
					if c.rnd.IntN(100) < 3 {
						write(raft.GroupID(c.rnd.IntN(testGroups)))
					}
					c.step()
				}
			}
			c.until("all groups are led", func() bool { return c.leader(0) != nil && c.leader(1) != nil && c.leader(2) != nil })
			work(3000)
			w := &wrong{node: raft.NodeID(c.rnd.IntN(3) + 1), group: raft.GroupID(c.rnd.IntN(testGroups))}
			c.wrong = w
			n := c.nodes[w.node-1]
			if c.leader(w.group) == n {
				leaders++
			}
			m := n.host.groups[w.group].machine.(*audited)
			switch k := c.rnd.IntN(4); {
			case k == 0:
				w.skips = 1 + c.rnd.IntN(2)
			case k == 1:
				w.twices = 1 + c.rnd.IntN(2)
			case len(m.history) == 0:
				w.skips = 1
			default: // a bit in memory; or one that looks as if it had been written
				i := c.rnd.IntN(len(m.history))
				w.part, w.struck = uint32(m.history[i]%8), true
				m.history[i] ^= 1 << (3 + c.rnd.IntN(20))
				n.history[w.group] = m.history
				if k == 3 {
					m.sums = m.sumsOf()
				}
			}
			c.until("the fault strikes", func() bool { write(w.group); return w.struck })
			if m := n.host.groups[w.group].machine.(*audited); c.rnd.IntN(3) == 0 && slices.Equal(m.history, m.node.history[w.group]) {
				n.host.AskSnapshot(w.group) // the disk gets it too
			}
			fencedOnce := false
			c.until("it is fenced", func() bool {
				write(w.group)
				for _, r := range c.fenced() {
					if r.ID != raft.ReplicaID(w.node) || r.Group != w.group {
						t.Fatalf("%s is fenced, wrong is the one of node %d in group %d", r, w.node, w.group)
					}
					fencedOnce = true
				}
				return fencedOnce
			})
			g := n.host.groups[w.group]
			if parts := g.fence.note.Parts; !slices.Contains(parts, w.part) {
				t.Errorf("parts %v are named, %d was hit", parts, w.part)
			}
			if c.rnd.IntN(2) == 0 {
				work(c.rnd.IntN(400))
				durable := len(n.store.Fences()) > 0
				n.crash()
				restarts++
				work(c.rnd.IntN(1000))
				n.start()
				if g := n.host.groups[w.group]; durable && g != nil && g.fence == nil && !n.store.Fences()[0].Rebuilt {
					t.Errorf("the fence was on disk, and is not in force after a restart")
				}
			}
			w.skips, w.twices = 0, 0
			c.until("all are equal, and none is fenced", func() bool {
				write(w.group)
				for _, r := range c.fenced() {
					if r.ID != raft.ReplicaID(w.node) || r.Group != w.group {
						t.Fatalf("%s is fenced, wrong is the one of node %d in group %d", r, w.node, w.group)
					}
				}
				// A fence that a power cut took may have left its fault on the disk.
				return c.settled() && len(c.fenced()) == 0 && c.equal()
			})
			work(2000)
			c.until("all nodes have applied the same", c.settled)
			if all := c.fenced(); len(all) > 0 {
				t.Errorf("%v is fenced, and nothing is wrong any more", all)
			}
			c.checkAudited()
		})
	}
	if seeds >= 60 && (leaders < 10 || restarts < 10) {
		t.Errorf("%d leaders were wrong, %d nodes crashed while they were fenced; the test shows little", leaders, restarts)
	}
}

// newAudited returns a cluster whose replicas are compared.
func newAudited(t *testing.T, seed uint64) *cluster {
	c := newCluster(t, seed, 0)
	c.audits = true
	c.policy = SnapshotPolicy{BytesMin: 4 << 10}
	c.start(3)
	return c
}

// equal reports whether all nodes hold the same.
func (c *cluster) equal() bool {
	for g := range raft.GroupID(testGroups) {
		for _, n := range c.nodes {
			if !slices.Equal(n.host.groups[g].machine.(*audited).history, c.nodes[0].host.groups[g].machine.(*audited).history) {
				return false
			}
		}
	}
	return true
}

// checkAudited compares what all nodes hold.
func (c *cluster) checkAudited() {
	c.t.Helper()
	c.check()
	for g := range raft.GroupID(testGroups) {
		for _, n := range c.nodes {
			m := n.host.groups[g].machine.(*audited)
			if m.mute || m.sums != m.sumsOf() || !slices.Equal(m.history, c.nodes[0].history[g]) {
				c.t.Errorf("group %d: node %d holds %v (mute: %v), node 1 %v", g, n.id, m.history, m.mute, c.nodes[0].history[g])
			}
		}
	}
}

func (c *cluster) auditPolicy() AuditPolicy {
	if c.audits {
		return auditPolicy
	}
	return AuditPolicy{}
}
