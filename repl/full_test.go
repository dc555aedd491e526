package repl

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// Thrifty implements Thrifty: a number with this bit stands for a command that
// frees room.
func (r *register) Thrifty(payload []byte) bool {
	return binary.LittleEndian.Uint64(payload)&frees != 0
}

const frees = 1 << 62

// fullCluster is a cluster whose disks can be filled.
type fullCluster struct {
	*cluster
	said said
	next uint64
	kept map[raft.GroupID][]uint64 // what was acknowledged
}

const (
	// tightBytes is a disk on which a log that goes on soon fills up.
	tightBytes = 10 * tightSegment
	// tightSegment makes a reserve that is large against a batch.
	tightSegment = 256 << 10
	wideBytes    = 1 << 30
)

func newFullCluster(t *testing.T, seed uint64) *fullCluster {
	return newFullClusterOf(t, seed, tightSegment)
}

func newFullClusterOf(t *testing.T, seed uint64, segment int64) *fullCluster {
	c := &fullCluster{cluster: newCluster(t, seed, 0), kept: map[raft.GroupID][]uint64{}}
	// No snapshot frees the log: full stays full.
	c.policy.OverBytesMin, c.policy.RestBytes, c.policy.BytesMin = 1<<40, 1<<40, 1<<40
	c.segment = segment
	c.cluster.start(3)
	c.until("all groups are led by the preferred", func() bool {
		for g := range raft.GroupID(testGroups) {
			if n := c.leader(g); n == nil || n.id != raft.NodeID(g)+1 {
				return false
			}
		}
		return true
	})
	return c
}

// ask proposes a command of some bytes to whoever leads, and waits for the
// answer.
func (c *fullCluster) ask(g raft.GroupID, bit uint64, size int) string {
	c.t.Helper()
	c.next++
	v := c.next | bit
	payload := binary.LittleEndian.AppendUint64(nil, v)
	payload = append(payload, make([]byte, size)...)
	c.until("somebody leads", func() bool { return c.leader(g) != nil })
	n := c.leader(g)
	n.host.Propose(Proposal{Group: g, Entry: raft.NewEntry(raft.EntryNormal, payload), Reply: Reply{To: &c.said, Request: v}})
	n.turn()
	c.until("it is answered", func() bool { return c.said.to(v) != "" })
	if c.said.to(v) == wire.TypeWriteAnswer.String() {
		c.kept[g] = append(c.kept[g], v)
	}
	return c.said.to(v)
}

// write asks until it is done, as a client does.
func (c *fullCluster) write(g raft.GroupID, bit uint64, size int) {
	c.t.Helper()
	for range 400 {
		if c.ask(g, bit, size) == wire.TypeWriteAnswer.String() {
			return
		}
		for range 200 {
			c.step()
		}
	}
	c.t.Fatalf("a write of group %d is never done", g)
}

// fill writes until a node says that its disk is full.
func (c *fullCluster) fill(g raft.GroupID, n *testNode) {
	c.t.Helper()
	last := ""
	for range 2000 {
		if n.host.full.own != wire.FullNot || n.host.full.space.Short && c.nodes[1].host.groups[1].short() {
			c.until("all know of it", func() bool {
				for _, o := range c.nodes {
					if is, _ := o.host.full.of(n.id); is != n.host.full.own {
						return false
					}
				}
				return true
			})
			return
		}
		if last = c.ask(g, 0, 12000); last != wire.TypeWriteAnswer.String() {
			for range 50 { // it was answered at once: let the word of it get round
				c.step()
			}
		}
	}
	for _, o := range c.nodes {
		c.t.Logf("node %d: %+v %+v", o.id, o.store.Space(), o.host.Contacts().Fullness())
	}
	c.t.Fatalf("the disk of node %d is never full, the last write was answered %q", n.id, last)
}

// settle gives all disks room and holds the nodes against what was kept.
func (c *fullCluster) settle() {
	c.t.Helper()
	for _, n := range c.nodes {
		n.disk.Limit(wideBytes)
	}
	defer func() {
		if c.t.Failed() {
			for _, n := range c.nodes {
				c.t.Logf("node %d: %+v %+v", n.id, n.store.Space(), n.host.Contacts().Fullness())
			}
		}
	}()
	c.until("nobody is full", func() bool {
		for _, n := range c.nodes {
			for _, o := range c.nodes {
				if is, _ := n.host.full.of(o.id); is != wire.FullNot {
					return false
				}
			}
		}
		return true
	})
	for g := range raft.GroupID(testGroups) {
		c.write(g, 0, 10)
	}
	c.until("all nodes have applied the same", c.settled)
	c.check()
	for g, kept := range c.kept {
		for _, v := range kept {
			if !slices.Contains(c.nodes[0].history[g], v) {
				c.t.Fatalf("group %d: %d was acknowledged and is lost", g, v)
			}
		}
	}
	if s := c.leader(1); s == nil || s.id != 2 {
		c.until("the preferred leads again", func() bool { s := c.leader(1); return s != nil && s.id == 2 })
	}
}

// One follower without room stops no write, and is not sent what it has no room
// for again and again; it votes on, and catches up when it has room.
func TestOneFollowerFull(t *testing.T) {
	for seed := range uint64(15) {
		c := newFullCluster(t, seed)
		full := c.nodes[2] // leads group 2 alone
		full.disk.Limit(tightBytes)
		c.fill(1, full)
		c.until("its groups are led by others", func() bool { n := c.leader(2); return n != nil && n != full })
		for range 60 {
			if seed%2 == 1 { // word of it is late, all the time
				c.leader(1).host.contacts.of[full.id].fullness = wire.FullNot
			}
			c.write(1, 0, 12000)
		}
		if lag := len(c.leader(1).history[1]) - len(full.history[1]); lag < 50 {
			t.Fatalf("the full disk took the writes: %d behind", lag)
		}
		room := full.store.Space()
		if room.Reserve < room.Kept/2 {
			t.Errorf("what the group does without has eaten the reserve: %+v", room)
		}
		c.until("its leader knows of it", func() bool {
			n := c.leader(1)
			return n != nil && n.host.contacts.of[full.id].fullness != wire.FullNot
		})
		entries := c.entriesTo[full.id]
		for before := c.now; c.now < before+3*time.Second; {
			c.step()
		}
		if n := c.entriesTo[full.id] - entries; n > 0 {
			t.Errorf("%d entries were sent to a disk that has no room", n)
		}
		if !full.host.groups[1].core.Status().Membership.Votes(3) || full.host.groups[1].lead == 0 {
			t.Error("the full node has lost its leader")
		}
		// It votes: one of the others goes, and the group still has a leader.
		gone := c.nodes[0]
		gone.crash()
		for g := range raft.GroupID(testGroups) {
			c.until("two are enough to elect", func() bool { n := c.leader(g); return n != nil && n != gone })
		}
		gone.start()
		c.settle()
	}
}

// A leader without room hands over to one that has some, and stays a follower
// although it is preferred, until it has room.
func TestLeaderFull(t *testing.T) {
	for seed := range uint64(15) {
		c := newFullCluster(t, seed)
		full := c.leader(1)
		full.disk.Limit(tightBytes)
		c.fill(1, full)
		c.until("another leads", func() bool { n := c.leader(1); return n != nil && n != full })
		for range 40 {
			c.write(1, 0, 12000)
			if c.leader(1) == full {
				t.Fatal("the full node leads again")
			}
		}
		c.settle()
	}
}

// Where no majority has room, writes are refused and say why, by whoever leads;
// what frees room passes, reads pass, elections pass, and power cuts do no harm.
func TestMajorityFull(t *testing.T) {
	for seed := range uint64(20) {
		c := newFullCluster(t, seed)
		full := []*testNode{c.nodes[0], c.nodes[1]}
		if seed%2 == 1 {
			full = append(full, c.nodes[2])
		}
		for _, n := range full {
			n.disk.Limit(tightBytes)
		}
		for _, n := range full {
			c.fill(1, n)
		}
		for g := range raft.GroupID(testGroups) {
			got := ""
			for range 30 { // what is left besides the reserve may take a few
				if got = c.ask(g, 0, 12000); got == "full" {
					break
				}
			}
			if got != "full" {
				t.Errorf("seed %d: a write of group %d is answered %q, want full", seed, g, got)
			}
			c.write(g, frees, 10)
			c.read(g)
		}
		for _, n := range c.nodes {
			n.crash()
			c.until("the others lead", func() bool {
				for g := range raft.GroupID(testGroups) {
					if o := c.leader(g); o == nil || o == n {
						return false
					}
				}
				return true
			})
			n.start()
			if slices.Contains(full, n) && !n.store.Space().Full {
				t.Errorf("seed %d: after a start the disk of node %d is not full any more: %+v", seed, n.id, n.store.Space())
			}
			c.until("all are up to date", func() bool {
				for g := range raft.GroupID(testGroups) {
					if l := c.leader(g); l == nil || n.host.groups[g].applied.Index < l.host.groups[g].applied.Index {
						return false
					}
				}
				return true
			})
			for g := range raft.GroupID(testGroups) {
				c.write(g, frees, 10)
				c.read(g)
			}
		}
		for _, n := range full {
			if n.batch != nil && n.store.Space().Reserve == 0 {
				t.Errorf("seed %d: node %d has used up its reserve", seed, n.id)
			}
		}
		c.settle()
	}
}

func (c *fullCluster) read(g raft.GroupID) {
	c.t.Helper()
	c.until("somebody answers a read", func() bool {
		n := c.leader(g)
		if n == nil {
			return false
		}
		c.next++
		v := c.next
		n.host.Read(Read{Group: g, Deadline: c.now + time.Second, Reply: Reply{To: &c.said, Request: v}, Query: anything{}})
		n.turn()
		c.until("the read is answered", func() bool { return c.said.to(v) != "" })
		return c.said.to(v) == wire.TypeGetAnswer.String()
	})
}

// A disk can be short of room and not full: what is prepared lasts for much, and
// not for one large entry. A follower that can't take that one must say so, or it
// is sent the same for ever, and a group of two such followers waits for them
// without a word.
func TestShortForOneEntry(t *testing.T) {
	const segment, large = 4 << 20, 5 << 19 // less than a segment, and more than is prepared where a disk is nearly full
	for seed := range uint64(6) {
		c := newFullClusterOf(t, seed, segment)
		lead := c.leader(1)
		var tight []*testNode
		for _, n := range c.nodes {
			if n != lead {
				tight = append(tight, n)
				n.disk.Limit(1) // nothing more is prepared
			}
		}
		if seed%2 == 0 {
			tight = tight[:1]
			c.nodes[0].disk.Limit(wideBytes)
			c.nodes[2].disk.Limit(wideBytes)
			tight[0].disk.Limit(1)
		}
		n := tight[0]
		fits := func() bool { // a large one, by what is prepared
			for _, n := range tight {
				if s := n.store.Space(); !s.Short || s.Prepared+s.Reserve-large-appendRoom >= s.Kept/lastPart {
					return true
				}
			}
			return false
		}
		for i := 0; fits(); i++ {
			if i == 400 || n.store.Space().Full {
				t.Fatalf("seed %d: node %d is full: %+v", seed, n.id, n.store.Space())
			}
			c.write(1, 0, 100_000)
			for range 20 {
				c.step()
			}
		}
		c.next++
		v := c.next
		payload := append(binary.LittleEndian.AppendUint64(nil, v), make([]byte, large)...)
		lead = c.leader(1)
		lead.host.Propose(Proposal{Group: 1, Entry: raft.NewEntry(raft.EntryNormal, payload), Reply: Reply{To: &c.said, Request: v}})
		lead.turn()
		c.until("the leader knows that it can't be taken there", func() bool {
			for _, n := range tight {
				if o := c.leader(1); o == nil || o.host.contacts.of[n.id] == nil || o.host.contacts.of[n.id].fullness == wire.FullNot {
					return false
				}
			}
			return true
		})
		if len(tight) == 1 {
			c.until("the others do without it", func() bool { return c.said.to(v) == wire.TypeWriteAnswer.String() })
			c.kept[1] = append(c.kept[1], v)
		} else if got := c.ask(1, 0, 4000); got != "full" {
			t.Errorf("seed %d: a write of a group that waits for two disks is answered %q, want full", seed, got)
		}
		c.settle()
	}
}

// A log that is short of room has some left in each of two segments, and not
// enough in either for one large entry, though there is in both together. Such an
// entry is refused before it is in the log of anybody. One would doubt it: it was
// taken by the sum, and then the log of each node waited for room with it, and
// with it all groups.
func TestLargerThanAnySegment(t *testing.T) {
	c := newFullClusterOf(t, 41, 16<<20)
	for _, n := range c.nodes {
		n.disk.Limit(n.disk.Used())
	}
	for range 50 { // until all know how much room there is
		c.step()
	}
	space := c.nodes[0].store.Space()
	t.Logf("%+v", space)
	const large = 1200 << 10
	if space.Prepared+space.Reserve < large+large/2 || space.Prepared > large {
		t.Fatalf("the room is another: %+v", space)
	}
	if said := c.ask(0, 0, large); said == wire.TypeWriteAnswer.String() {
		t.Errorf("%d bytes were written, there is %+v", large, space)
	}
	for g := range raft.GroupID(testGroups) {
		c.write(g, 0, 100)
	}
}
