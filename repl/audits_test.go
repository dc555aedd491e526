package repl

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
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
	gone int       // how often those who look at it were told that nothing comes any more
}

// Ran implements [Observed].
func (a *audited) Ran() bool { return false }

// Gone implements [Observed].
func (a *audited) Gone() { a.gone++ }

// NextDue implements [Expirer].
func (a *audited) NextDue() (at raft.GroupTime, waits bool) { return a.node.c.due, a.node.c.due > 0 }

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

// Restore implements [StateMachine]. A log that is replayed needs the digests, though the machine
// is mute.
func (a *audited) Restore(from io.Reader, at raft.LogID, now raft.GroupTime) error {
	err := a.register.Restore(from, at, now)
	a.sums = a.sumsOf()
	return err
}

func (a *audited) Restored() {
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
func (c *auditedCluster) fenced() (all []logstore.Replica) {
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

// Whatever is wrong with the state of one replica, leader or not, it is found and fenced, also
// across power cuts, and gets the state of the others, which are never fenced.
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

// auditedCluster is a cluster whose replicas are compared.
type auditedCluster struct{ *cluster }

// newAudited returns a cluster whose replicas are compared.
func newAudited(t *testing.T, seed uint64) *auditedCluster {
	return newAuditedOf(t, seed, 3, SnapshotPolicy{BytesMin: 4 << 10})
}

// whenAsked has states written down when somebody asks for it.
var whenAsked = SnapshotPolicy{BytesMin: 1 << 40, RestBytes: 1 << 40, LogBytesMax: 1 << 40, OverBytesMin: 1 << 40}

// newAuditedOf returns one in which so many of the nodes have a replica of group 1.
func newAuditedOf(t *testing.T, seed uint64, voters int, p SnapshotPolicy) *auditedCluster {
	c := newCluster(t, seed, 0)
	c.voters = map[raft.GroupID]int{1: voters}
	c.audits, c.audited = true, auditPolicy
	c.policy = p
	c.start(3)
	return &auditedCluster{c}
}

// equal reports whether all nodes hold the same.
func (c *auditedCluster) equal() bool {
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
func (c *auditedCluster) checkAudited() {
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

// readyToAudit has some values in group 1, on all nodes that have it, before the first
// comparison.
func (c *auditedCluster) readyToAudit(values int) {
	c.t.Helper()
	c.audited.Every, c.audited.Walk = 0, 0
	c.write(1, values)
	c.until("all nodes have applied the same", c.alike)
}

// alike reports whether all nodes that have group 1 run, hold the same there, and none is fenced.
func (c *auditedCluster) alike() bool {
	first := c.nodes[0]
	for _, n := range c.nodes[:c.votersOf(1)] {
		if n.host == nil || n.host.groups[1] == nil || first.host.groups[1] == nil || n.host.groups[1].fence != nil ||
			!restsAt(n, first.host.groups[1].applied) || !slices.Equal(stateOf(n).history, stateOf(first).history) {
			return false
		}
	}
	return c.leader(1) != nil
}

// restsAt reports whether a node has all of group 1 up to an entry, and no command under way.
func restsAt(n *testNode, at raft.LogID) bool {
	g := n.host.groups[1]
	st := g.core.Status()
	return g.applied == at && st.Last == at && st.Commit == at.Index && len(g.commands.queue) == 0 && len(g.commands.waiting.all()) == 0
}

// stateOf returns what a node holds of group 1.
func stateOf(n *testNode) *audited { return n.host.groups[1].machine.(*audited) }

// fenceOf returns what a node does about its replica of group 1, or nil.
func fenceOf(n *testNode) *fence {
	if n.host == nil || n.host.groups[1] == nil {
		return nil
	}
	return n.host.groups[1].fence
}

// flaw is what is wrong with a state.
type flaw uint8

const (
	flipped   flaw = iota // a bit in memory, which a walk sees
	rewritten             // as it was written, and wrong
)

// spoil makes what a node holds of group 1 wrong, and returns which part is.
func spoil(n *testNode, how flaw) (part uint32) {
	m := stateOf(n)
	i := len(m.history) / 2
	m.history[i] ^= 1 << 20
	if how == rewritten {
		m.sums = m.sumsOf()
	}
	return uint32(m.history[i] % 8)
}

// steps lets so many random things happen.
func (c *cluster) steps(n int) {
	for range n {
		c.step()
	}
}

// counts adds up what the audits of all nodes have done.
func (c *auditedCluster) counts() (sum AuditCounts) {
	for _, n := range c.nodes {
		if n.host != nil {
			sum.Entries += n.host.Audits.counts.Entries
			sum.Rounds += n.host.Audits.counts.Rounds
			sum.Ties += n.host.Audits.counts.Ties
			sum.Fenced += n.host.Audits.counts.Fenced
			sum.Rebuilt += n.host.Audits.counts.Rebuilt
		}
	}
	return sum
}
