package repl

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
)

// cluster runs hosts in one goroutine, over a network and disks in memory, from
// one seed. Everything but the disk and the network is the real thing.
type cluster struct {
	t       *testing.T
	rnd     *rand.Rand
	now     time.Duration
	nodes   []*testNode
	net     []packet
	cut     map[[2]raft.NodeID]bool
	loss    int // percent
	twice   int // percent of the frames that are for none of the cores, delivered twice
	acked   map[uint64]bool
	segment int64 // bytes; 0: the least
	// entriesTo counts the entries that were sent to each node.
	entriesTo map[raft.NodeID]int

	// helped says that there is what mends each damaged replica, so that none
	// may say that there is not.
	helped bool

	// placed, if set, says that group 0's log makes the other groups: who
	// has applied something of it has them, and knows how they are founded.
	placed    bool
	foundings uint64 // of them, that were proposed
	wanted    uint64 // by group 1, once; 0: nothing is

	audits  bool                 // replicas are compared
	audited AuditPolicy          // and how
	wrong   *wrong               // what is wrong with the state of one; nil: nothing
	due     raft.GroupTime       // until when something of audited machines lasts; 0: nothing does
	voters  map[raft.GroupID]int // of groups that have no more than the first nodes

	gates bool // group 1 has a gate before its register

	// lasting, if set, says until when parts of a group's machine last.
	lasting func(raft.GroupID) []raft.GroupTime

	// policy is when states are written down; zero fields are the product's.
	policy   SnapshotPolicy
	wrote    uint64
	installs int // states that came from other nodes, of all lives
}

type packet struct {
	from, to raft.NodeID
	envelope *wire.Envelope
	beat     *wire.Beat
	answer   bool
	body     wire.Body // of a frame that is for none of the cores
}

type testNode struct {
	c       *cluster
	id      raft.NodeID
	disk    *vfs.Mem
	faulty  *vfs.Faulty // before disk, if there is one
	store   *logstore.Store
	host    *Host
	batch   *Batch        // on its way to disk
	rotten  bool          // a read met damage: the host is to be told
	only    bool          // what is on disk, and no other replica
	ahead   time.Duration // its clock, of the cluster's
	history map[raft.GroupID][]uint64
	senders []*testSender
	inbox   *Inbox
	work    *Work // that the host handed out and nobody has done
}

// testSender is a snapshot on its way.
type testSender struct {
	to     raft.NodeID
	stream *SnapshotStream
	sender *SnapshotSender
	idle   int // looks at it without anything to send
}

// acks is the replier of all writers.
type acks struct{ c *cluster }

func (a acks) Answer(r Reply, t wire.Type, body []byte) bool {
	if t == wire.TypeWriteAnswer {
		if got := binary.LittleEndian.Uint64(body); got != r.Request {
			a.c.t.Fatalf("request %d is answered with %d", r.Request, got)
		}
		a.c.acked[r.Request] = true
	}
	return false
}

func (a acks) Flush() {}

const testGroups = 3

var (
	oneSeed = flag.Int("seed", -1, "run this seed only")
	seeds   = flag.Int("seeds", 60, "how many seeds to run")
)

func newCluster(t *testing.T, seed uint64, nodes int) *cluster {
	c := &cluster{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), cut: map[[2]raft.NodeID]bool{}, acked: map[uint64]bool{}, entriesTo: map[raft.NodeID]int{}}
	c.start(nodes)
	return c
}

func (c *cluster) start(nodes int) {
	for i := range nodes {
		n := &testNode{c: c, id: raft.NodeID(i + 1), disk: vfs.NewMem()}
		c.nodes = append(c.nodes, n)
		n.start()
	}
}

func (n *testNode) machine(r logstore.Replica) StateMachine {
	state := register{node: n, group: r.Group}
	if n.c.audits {
		return &audited{register: &state}
	}
	if n.c.gates && r.Group == 1 {
		return &gate{register: &state}
	}
	if n.c.lasting != nil {
		return &lasting{register: state, ends: n.c.lasting(r.Group)}
	}
	return &state
}

func (n *testNode) start() {
	n.history = map[raft.GroupID][]uint64{}
	n.batch, n.host, n.work, n.senders = nil, nil, nil, nil
	var disk vfs.FS = n.disk
	if n.faulty != nil {
		disk = n.faulty
	}
	store, err := logstore.Open(logstore.Options{FS: disk, Dir: "data", SegmentBytes: max(n.c.segment, 64<<10), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		n.c.t.Fatalf("node %d: open log: %v", n.id, err)
	}
	n.store = store
	beginLife(n.c.t, disk, store, n.id, n.c.rnd.Uint64()|1)
	n.host, err = NewHost(HostConfig{
		Self: n.id, Store: store, Transport: n,
		Machine:       n.machine,
		Snapshots:     n.c.policy,
		Addr:          func(raft.NodeID) string { return "" },
		Audits:        func() AuditPolicy { return n.c.audited },
		Chance:        n.c.rnd.Uint64(),
		ElectionTicks: raft.ElectionTicksDefault, HeartbeatTicks: raft.HeartbeatTicksDefault, QuietTicks: 20,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		n.c.t.Fatalf("node %d: %v", n.id, err)
	}
	n.inbox = NewInbox(InboxConfig{Store: store, Machine: n.machine, Log: slog.New(slog.DiscardHandler), Host: func(f func(*Host)) bool {
		f(n.host)
		n.turn()
		return true
	}})
	var others []raft.NodeID
	for i := range 3 {
		if id := raft.NodeID(i + 1); id != n.id {
			others = append(others, id)
		}
	}
	n.host.SetNodes(others)
	if n.only {
		return
	}
	n.place(0, 1)
	if !n.c.placed || len(n.history[0]) > 0 {
		n.place(1, testGroups)
	}
}

// beginLife does for a host that is to be made what a node does: it begins another
// life of the directory "data".
func beginLife(t testing.TB, disk vfs.FS, store *logstore.Store, id raft.NodeID, mark uint64) {
	t.Helper()
	was, found, err := logstore.ReadIdentity(disk, "data")
	if err == nil && !found {
		was = logstore.Identity{Stage: logstore.StageMember, Cluster: "test", ClusterID: 1, Node: id}
	}
	if err == nil {
		_, err = logstore.BeginLife(store, was, 0, mark)
	}
	if err != nil {
		t.Fatalf("node %d: begin a life: %v", id, err)
	}
}

// place asks for the node's replicas of some groups.
func (n *testNode) place(from, to raft.GroupID) {
	for g := from; g < to; g++ {
		m := raft.Membership{Next: 4}
		voters := n.c.votersOf(g)
		for i := range voters {
			m.Voters = append(m.Voters, raft.Member{Replica: raft.ReplicaID(i + 1), Node: raft.NodeID(i + 1), Goal: raft.GoalVoter})
		}
		if int(n.id) > voters {
			continue
		}
		n.host.Place([]Placement{{Replica: logstore.Replica{Group: g, Incarnation: 1, ID: raft.ReplicaID(n.id)}, Founders: m, Preferred: raft.ReplicaID(g) + 1}})
	}
}

// votersOf returns how many nodes have a replica of a group.
func (c *cluster) votersOf(g raft.GroupID) int {
	if n, few := c.voters[g]; few {
		return n
	}
	return 3
}

// crash takes the node's power: what was not synced is gone.
func (n *testNode) crash() {
	n.disk.Crash(vfs.DropUnsynced, 0)
	n.host, n.store, n.batch, n.work, n.senders = nil, nil, nil, nil, nil
}

func (n *testNode) turn() {
	if n.host == nil {
		return
	}
	if b := n.host.Turn(n.c.now + n.ahead); b != nil {
		if n.batch != nil {
			n.c.t.Fatalf("node %d: a second batch while the first is under way", n.id)
		}
		n.batch = b
	}
	if w := n.host.Work(); w != nil {
		if n.work != nil {
			n.c.t.Fatalf("node %d: a second work while the first is under way", n.id)
		}
		n.work = w
	}
	if n.rotten {
		n.rotten = false
		n.host.DamageFound()
		n.turn()
	}
}

// stop ends the node in order: its log says that all of it is durable.
func (n *testNode) stop() {
	for n.batch != nil || n.work != nil {
		n.sync()
		n.doWork()
	}
	if err := n.store.Close(); err != nil {
		n.c.t.Fatalf("node %d: close: %v", n.id, err)
	}
	n.host, n.store, n.senders = nil, nil, nil
}

// kill ends the node between two batches, without a word: what it wrote is there, and
// nothing that a clean stop leaves.
func (n *testNode) kill() {
	for n.batch != nil || n.work != nil {
		n.sync()
		n.doWork()
	}
	n.disk.Crash(vfs.KeepUnsynced, 0)
	n.host, n.store, n.senders = nil, nil, nil
}

// step lets one random thing happen.
func (c *cluster) step() {
	n := c.nodes[c.rnd.IntN(len(c.nodes))]
	switch k := c.rnd.IntN(100); {
	case k < 60 && len(c.net) > 0:
		i := c.rnd.IntN(min(len(c.net), 8)) // some reordering
		p := c.net[i]
		c.net = slices.Delete(c.net, i, i+1)
		if p.body != nil && c.rnd.IntN(100) < c.twice {
			c.net = append(c.net, p)
		}
		c.deliver(p)
	case k < 80:
		n.sync()
	case k < 90:
		c.now += 5 * time.Millisecond
		if n.host != nil {
			n.host.Tick()
			n.turn()
		}
	case k < 93:
		n.doWork()
	case k < 97:
		n.sendChunk()
	default:
		if n.host != nil && n.host.Hints.Due() {
			n.host.Hints.Tick()
		}
		n.turn()
	}
}

func (n *testNode) sync() {
	if n.host == nil {
		return
	}
	if err := n.store.MakeRoom(); errors.Is(err, vfs.ErrPower) {
		n.host, n.store, n.batch, n.work, n.senders = nil, nil, nil, nil, nil
		return
	} else if err != nil {
		n.c.t.Fatalf("node %d: make room: %v", n.id, err)
	}
	if n.batch == nil {
		return
	}
	b := n.batch
	err := n.store.Append(b.Writes)
	if errors.Is(err, logstore.ErrFull) && !errors.Is(err, logstore.ErrStopped) {
		return // later
	}
	n.batch = nil
	if errors.Is(err, vfs.ErrPower) {
		n.host, n.store, n.batch, n.work, n.senders = nil, nil, nil, nil, nil
		return
	}
	if err != nil {
		n.c.t.Fatalf("node %d: append: %v", n.id, err)
	}
	n.host.Synced(b)
	n.turn()
}

func (c *cluster) deliver(p packet) {
	to := c.nodes[p.to-1]
	if to.host == nil || c.cut[[2]raft.NodeID{p.from, p.to}] || c.rnd.IntN(100) < c.loss {
		return
	}
	switch b := p.body.(type) {
	case *wire.Repair:
		to.host.ReceiveRepair(p.from, b)
	case *wire.RepairAnswer:
		to.host.ReceiveRepairAnswer(p.from, b)
	case *wire.SnapshotRequest:
		to.host.ReceiveSnapshotRequest(p.from, b)
	case *wire.LifeQuestion:
		to.host.ReceiveLifeQuestion(p.from, b)
	case *wire.LifeAnswer:
		to.host.ReceiveLifeAnswer(p.from, b)
	case *wire.AuditReport:
		to.host.Audits.ReceiveReport(p.from, b)
	case *wire.AuditVerdict:
		to.host.Audits.ReceiveVerdict(p.from, b)
	case *wire.Chunk:
		a := to.inbox.Receive(p.from, b)
		c.net = append(c.net, packet{from: p.to, to: p.from, body: &a})
	case *wire.ChunkAnswer:
		for _, o := range to.senders {
			if o.to == p.from && o.sender != nil {
				o.sender.Answered(b)
			}
		}
	}
	if p.beat != nil {
		to.host.ReceiveBeat(p.from, p.beat, p.answer)
	} else if p.envelope != nil {
		// Over the wire and back: what a host does to an entry must not
		// show at the sender.
		body := wire.AppendEnvelope(nil, p.envelope)
		e, err := wire.ReadEnvelope(wire.TypeOf(p.envelope.Message.Type), body, func(g raft.GroupID, i raft.Incarnation) (raft.Seed, bool) {
			return raft.EntrySeed(g, i), true
		})
		if err != nil {
			c.t.Fatalf("envelope: %v", err)
		}
		to.host.Receive(p.from, &e)
	}
	to.turn()
}

// told lets a message arrive that a node sent in the life that is noted of it, or, if
// none is, in one that is noted now.
func (n *testNode) told(from raft.NodeID, e *wire.Envelope) {
	others := n.host.lives.others
	if o := others[from]; o == nil || !o.noted {
		life := logstore.Life{Number: 1, Mark: uint64(from)}
		others[from] = &other{node: from, noted: true, note: logstore.Note{Node: from, Life: life, Trusted: life}}
	}
	e.Mark = others[from].note.Life.Mark
	n.host.Receive(from, e)
}

// leader returns a node that leads a group, or nil.
func (c *cluster) leader(g raft.GroupID) *testNode {
	for _, n := range c.nodes {
		if n.host != nil {
			if o := n.host.groups[g]; o != nil && o.role == raft.RoleLeader {
				return n
			}
		}
	}
	return nil
}

func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	for range 400_000 {
		if ok() {
			return
		}
		c.step()
	}
	for _, n := range c.nodes {
		if n.host != nil {
			for _, v := range n.host.View() {
				c.t.Logf("node %d: group %d %+v", n.id, v.Replica.Group, v.Status)
			}
		}
	}
	c.t.Fatalf("never: %s", what)
}

func (c *cluster) propose(n *testNode, g raft.GroupID, v uint64) {
	n.host.Propose(Proposal{Group: g, Entry: raft.NewEntry(raft.EntryNormal, binary.LittleEndian.AppendUint64(nil, v)), Reply: Reply{To: acks{c}, Request: v}})
	n.turn()
}

// check holds the nodes against each other, and against what was acknowledged.
func (c *cluster) check() {
	c.t.Helper()
	for g := range raft.GroupID(testGroups) {
		var longest []uint64
		for _, n := range c.nodes {
			if h := n.history[g]; len(h) > len(longest) {
				longest = h
			}
		}
		for _, n := range c.nodes {
			h := n.history[g]
			if !slices.Equal(h, longest[:len(h)]) {
				c.t.Fatalf("group %d: node %d applied %v, another %v", g, n.id, h, longest)
			}
		}
		seen := map[uint64]bool{}
		for _, v := range longest {
			if seen[v] {
				c.t.Fatalf("group %d: %d was applied twice", g, v)
			}
			seen[v] = true
		}
	}
}

// settled reports whether all nodes are up and have applied the same.
func (c *cluster) settled() bool {
	for g := range raft.GroupID(testGroups) {
		if c.leader(g) == nil {
			return false
		}
		for _, n := range c.nodes {
			if n.host == nil || n.host.groups[g] == nil || n.host.groups[g].applied != c.nodes[0].host.groups[g].applied {
				return false
			}
			o := n.host.groups[g].core.Status()
			if o.Commit != o.Last.Index || o.Applied != o.Commit {
				return false
			}
		}
	}
	return true
}

// Whatever is lost on the network and at power cuts, what a client was told is
// there is there, on all nodes, in one order, once. One would doubt it: three
// groups share one log, messages overtake each other, and promises wait for
// syncs that a crash prevents.
func TestAcknowledgedSurvives(t *testing.T) {
	first, seeds := 0, *seeds
	if *oneSeed >= 0 {
		first, seeds = *oneSeed, 1
	}
	acked := 0
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := newCluster(t, uint64(seed), 3)
			c.loss = c.rnd.IntN(3) * 5
			next := uint64(0)
			for range 3000 {
				switch k := c.rnd.IntN(1000); {
				case k < 60:
					g := raft.GroupID(c.rnd.IntN(testGroups))
					if n := c.leader(g); n != nil {
						next++
						c.propose(n, g, next)
					}
				case k < 62:
					n := c.nodes[c.rnd.IntN(3)]
					if n.host != nil {
						n.crash()
					}
				case k < 66:
					n := c.nodes[c.rnd.IntN(3)]
					if n.host == nil {
						n.start()
					}
				case k < 68:
					a, b := raft.NodeID(c.rnd.IntN(3)+1), raft.NodeID(c.rnd.IntN(3)+1)
					c.cut[[2]raft.NodeID{a, b}] = true
				case k < 70:
					clear(c.cut)
				default:
					for range 10 {
						c.step()
					}
				}
			}
			clear(c.cut)
			c.loss = 0
			for _, n := range c.nodes {
				if n.host == nil {
					n.start()
				}
			}
			c.until("all nodes have applied the same", c.settled)
			c.check()
			for v := range c.acked {
				found := false
				for g := range raft.GroupID(testGroups) {
					found = found || slices.Contains(c.nodes[0].history[g], v)
				}
				if !found {
					t.Fatalf("%d was acknowledged and is lost", v)
				}
			}
			acked += len(c.acked)
		})
	}
	if acked < 10*seeds {
		t.Errorf("%d writes were acknowledged in %d runs; the test shows nothing", acked, seeds)
	}
}
