package repl

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/wire"
)

// eager has states written down all the time: after some ten entries, and
// whenever a group rests.
var eager = SnapshotPolicy{BytesMin: 500, RestBytes: 100, RestTicks: 20, LogBytesMax: 4000, OverBytesMin: 50, RetryTicks: 5, HoldTicks: 10}

// snapCluster is a cluster that writes its states down all the time.
func snapCluster(t *testing.T, seed uint64) *cluster {
	c := newCluster(t, seed, 0)
	c.policy = eager
	c.start(3)
	return c
}

// write proposes values to a group until so many more are acknowledged.
func (c *cluster) write(g raft.GroupID, n int) {
	c.t.Helper()
	before := len(c.acked)
	c.until("writes are acknowledged", func() bool {
		if len(c.acked) >= before+n {
			return true
		}
		if lead := c.leader(g); lead != nil && len(c.net) < 200 {
			c.wrote++
			c.propose(lead, g, c.wrote)
		}
		return false
	})
}

// back gives power to all nodes that have none, and starts them.
func (c *cluster) back() {
	for _, n := range c.nodes {
		if n.host == nil {
			n.start()
		}
	}
}

// sameFiles holds the snapshots of all nodes against each other: those of one
// base are the same, byte by byte.
func (c *cluster) sameFiles() (compared int) {
	c.t.Helper()
	files := map[string][]byte{}
	for _, n := range c.nodes {
		for _, g := range n.host.order {
			for _, s := range n.store.Snapshots(g.replica) {
				key := fmt.Sprint(g.replica.Group, s.Base.ID)
				b := n.disk.Bytes(s.File)
				if was, ok := files[key]; ok {
					compared++
					if !bytes.Equal(was, b) {
						c.t.Errorf("snapshots of group %d at %s differ", g.replica.Group, s.Base.ID)
					}
				}
				files[key] = b
			}
		}
	}
	return compared
}

// With snapshots at every moment, power cuts and a network that loses, repeats
// nothing is lost, no command is applied twice, and equal states are equal
// files. One would doubt it: the state is taken beside the log, and comes from
// other nodes in the midst of what this one was doing.
func TestAcknowledgedSurvivesSnapshots(t *testing.T) {
	first, seeds := 0, *seeds
	if *oneSeed >= 0 {
		first, seeds = *oneSeed, 1
	}
	installs, compared, compacted := 0, 0, 0
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			c := snapCluster(t, uint64(seed))
			c.loss = c.rnd.IntN(3) * 5
			for range 3000 {
				switch k := c.rnd.IntN(1000); {
				case k < 80:
					g := raft.GroupID(c.rnd.IntN(testGroups))
					if n := c.leader(g); n != nil {
						c.wrote++
						c.propose(n, g, c.wrote)
					}
				case k < 82:
					if n := c.nodes[c.rnd.IntN(3)]; n.host != nil {
						if n.work != nil { // in the midst of it
							n.disk.StopAt(1 + c.rnd.IntN(8))
							n.work.Run(n.store, nil)
						}
						n.crash()
					}
				case k < 86:
					if n := c.nodes[c.rnd.IntN(3)]; n.host == nil {
						n.start()
					}
				case k < 88:
					a, b := raft.NodeID(c.rnd.IntN(3)+1), raft.NodeID(c.rnd.IntN(3)+1)
					c.cut[[2]raft.NodeID{a, b}] = true
				case k < 90:
					clear(c.cut)
				default:
					for range 10 {
						c.step()
					}
				}
			}
			clear(c.cut)
			c.loss = 0
			c.back()
			c.until("all nodes have applied the same", c.settled)
			c.check()
			for v := range c.acked {
				if !slices.ContainsFunc([]raft.GroupID{0, 1, 2}, func(g raft.GroupID) bool { return slices.Contains(c.nodes[0].history[g], v) }) {
					t.Fatalf("%d was acknowledged and is lost", v)
				}
			}
			compared += c.sameFiles()
			installs += c.installs
			for _, n := range c.nodes {
				for _, g := range n.host.order {
					if g.snap.base.Index > 0 {
						compacted++
					}
					if all := n.store.Snapshots(g.replica); len(all) > 4 {
						t.Errorf("%d snapshots of group %d are kept", len(all), g.replica.Group)
					}
				}
			}
		})
	}
	t.Logf("%d states came from other nodes, %d logs were compacted, %d pairs of files compared", installs, compacted, compared)
	if *oneSeed < 0 && (installs < seeds/4 || compacted < seeds || compared < seeds/8) {
		t.Errorf("in %d runs %d states came from other nodes, %d logs were compacted, %d pairs of files compared; the test shows too little", seeds, installs, compacted, compared)
	}
}

// downAndBehind has node 3 miss what the others then compact.
func downAndBehind(t *testing.T, seed uint64) (*cluster, *testNode) {
	c := snapCluster(t, seed)
	c.until("all have the same", c.settled)
	c.write(1, 5)
	late := c.nodes[2]
	late.crash()
	c.until("group 1 has a leader", func() bool { return c.leader(1) != nil })
	c.write(1, 60)
	c.until("the log is compacted", func() bool {
		for _, n := range c.nodes[:2] {
			if n.host.groups[1].snap.base.Index < 50 {
				return false
			}
		}
		return true
	})
	return c, late
}

// A follower that was down while the log went on, and was compacted, is given
// the state: whatever happens on the way, in the end all have the same.
func TestFollowerTakesSnapshot(t *testing.T) {
	under := func(c *cluster) bool { // a chunk has left, and the end has not come
		for _, n := range c.nodes {
			for _, o := range n.senders {
				if o.sender != nil && o.sender.begun && o.stream.To == 3 {
					return true
				}
			}
		}
		return false
	}
	for _, test := range []struct {
		what string
		do   func(c *cluster, late *testNode)
	}{
		{"nothing", func(*cluster, *testNode) {}},
		{"the leader goes while it sends", func(c *cluster, late *testNode) {
			c.until("a snapshot is on its way", func() bool { return under(c) })
			lead := c.leader(1)
			lead.crash()
			c.until("another leads", func() bool { return c.leader(1) != nil })
			c.write(1, 5)
		}},
		{"the follower goes while it takes", func(c *cluster, late *testNode) {
			c.until("a snapshot is on its way", func() bool { return under(c) })
			late.crash()
			c.write(1, 20)
		}},
		{"the line breaks in the midst", func(c *cluster, late *testNode) {
			c.until("a snapshot is on its way", func() bool { return under(c) })
			c.cut[[2]raft.NodeID{1, 3}], c.cut[[2]raft.NodeID{2, 3}] = true, true
			for range 3000 {
				c.step()
			}
			clear(c.cut)
		}},
		{"writes go on", func(c *cluster, late *testNode) { c.write(1, 100) }},
		{"its own state is being written down", func(c *cluster, late *testNode) {
			g := late.host.groups[1]
			if late.work == nil && g.applied.Index > g.snap.base.Index {
				late.host.chores.working = true
				late.work = g.snap.begin()
			}
			work := late.work
			late.work = nil
			c.until("the snapshot is there", func() bool { return late.host.groups[1].applied.Index >= 50 })
			if work != nil {
				late.work = work
				late.doWork()
			}
		}},
		{"a reader waits", func(c *cluster, late *testNode) {
			q := &askedAt{}
			late.host.Read(Read{Group: 1, Local: true, After: 50, Query: q, Reply: Reply{To: acks{c}}})
			c.until("the read is answered", func() bool { return q.at.Index >= 50 })
		}},
	} {
		t.Run(test.what, func(t *testing.T) {
			installs := 0
			for seed := range uint64(8) {
				c, late := downAndBehind(t, seed)
				late.start()
				before := c.installs
				test.do(c, late)
				c.back()
				c.until("all nodes have applied the same", c.settled)
				c.check()
				c.sameFiles()
				installs += c.installs - before
				late.crash() // and finds it again
				late.start()
				c.until("all nodes have applied the same", c.settled)
				c.check()
			}
			if installs < 6 { // a leader that goes may have the log still
				t.Errorf("%d states came from other nodes in 8 runs", installs)
			}
		})
	}
}

type askedAt struct{ at raft.LogID }

func (q *askedAt) Run(_ StateMachine, at raft.LogID, _ Reply) bool {
	q.at = at
	return false
}

// offer is the first chunk of a snapshot of group 1 for node 3.
func offer(s logstore.Snapshot, term uint64) *wire.Chunk {
	return &wire.Chunk{Number: 9, Group: 1, Incarnation: 1, From: s.Replica.ID, To: 3, Term: term, Base: s.Base.ID, Size: uint64(s.Size)}
}

// What is not for this replica, not newer than what it has, or not what it
// claims to be does no harm, and the sender is told why.
func TestSnapshotsNotTaken(t *testing.T) {
	c, late := downAndBehind(t, 1)
	late.start()
	sender := c.leader(1)
	other := 3 - sender.id // of the nodes that were there
	s, ok := sender.host.groups[1].snap.newest()
	if !ok {
		t.Fatal("there is no snapshot")
	}
	file := slices.Clone(sender.disk.Bytes(s.File))
	term := sender.host.groups[1].state.Term
	was := late.host.groups[1].applied
	change := func(f func(c *wire.Chunk)) *wire.Chunk {
		o := offer(s, term)
		f(o)
		return o
	}
	for _, test := range []struct {
		what  string
		chunk *wire.Chunk
		want  string
	}{
		{"a group that is not here", change(func(c *wire.Chunk) { c.Group = 7 }), "the group is not here"},
		{"an earlier incarnation", change(func(c *wire.Chunk) { c.Incarnation = 0 }), "the replica here is"},
		{"a later incarnation", change(func(c *wire.Chunk) { c.Incarnation = 2 }), "the replica here is"},
		{"another replica", change(func(c *wire.Chunk) { c.To = 2 }), "the replica here is"},
		{"a term that is over", change(func(c *wire.Chunk) { c.Term = term; late.host.groups[1].state.Term = term + 1 }), "it is of term"},
		{"one that was not asked for", change(func(c *wire.Chunk) { c.Term = 0 }), "it was not asked for"},
		{"one of another node's replica", change(func(c *wire.Chunk) { c.From, c.Term = raft.ReplicaID(other), term+1 }), "does not live on the node"},
		{"one of another leader of the term", change(func(c *wire.Chunk) { c.Term = term + 1; late.host.groups[1].lead = raft.ReplicaID(other) }), "leads in term"},
		{"a chunk before the question", change(func(c *wire.Chunk) { c.Data = file[:10] }), "ask first where to begin"},
	} {
		if a := late.inbox.Receive(sender.id, test.chunk); a.State != wire.ChunkRefused || !strings.Contains(a.Why, test.want) {
			t.Errorf("%s: got %+v, want it refused because %s", test.what, a, test.want)
		}
	}
	late.host.groups[1].state.Term, late.host.groups[1].lead = late.host.groups[1].core.Status().Term, 0

	// A bad byte, then the whole of it; gaps and repetitions on the way.
	for _, bad := range []bool{true, false} {
		if a := late.inbox.Receive(sender.id, offer(s, term)); a.State != wire.ChunkTaken || a.Offset != 0 {
			t.Fatalf("the question: %+v", a)
		}
		sent := slices.Clone(file)
		if bad {
			sent[len(sent)/2] ^= 1
		}
		chunk := func(from, to int) wire.ChunkAnswer {
			return late.inbox.Receive(sender.id, change(func(c *wire.Chunk) { c.Offset, c.Data = uint64(from), sent[from:to] }))
		}
		third := len(sent) / 3
		if a := chunk(0, third); a.State != wire.ChunkTaken || a.Offset != uint64(third) {
			t.Fatalf("the first third: %+v", a)
		}
		if a := chunk(2*third, len(sent)); a.State != wire.ChunkTaken || a.Offset != uint64(third) {
			t.Fatalf("a gap: %+v", a)
		}
		if a := chunk(0, third); a.State != wire.ChunkTaken || a.Offset != uint64(third) {
			t.Fatalf("the first third again: %+v", a)
		}
		if a := late.inbox.Receive(other, change(func(c *wire.Chunk) { c.From, c.Term = raft.ReplicaID(other), term+1 })); a.Offset != uint64(third) {
			t.Fatalf("another sender is not told where to go on: %+v", a)
		}
		a := chunk(third, len(sent))
		if bad && (a.State != wire.ChunkRefused || late.host.groups[1].applied != was || len(late.store.Snapshots(late.host.groups[1].replica)) > 0) {
			t.Fatalf("a bad byte: %+v, applied %s", a, late.host.groups[1].applied)
		}
		if !bad && (a.State != wire.ChunkDone || late.host.groups[1].applied != s.Base.ID) {
			t.Fatalf("the whole: %+v, applied %s, want %s", a, late.host.groups[1].applied, s.Base.ID)
		}
	}
	// The same once more, and one that is older than the state.
	if a := late.inbox.Receive(sender.id, offer(s, term)); a.State != wire.ChunkDone {
		t.Errorf("the same again: %+v", a)
	}
	if a := late.inbox.Receive(sender.id, change(func(c *wire.Chunk) { c.Base.Index-- })); a.State != wire.ChunkDone {
		t.Errorf("an older one: %+v", a)
	}
	c.until("all nodes have applied the same", c.settled)
	c.check()
}

// A replica that its group removes while a snapshot is on its way to it is sent
// no more of it.
func TestRemovedWhileSending(t *testing.T) {
	c, late := downAndBehind(t, 2)
	late.start()
	var o *testSender
	var lead *testNode
	c.until("a snapshot is on its way", func() bool {
		for _, n := range c.nodes[:2] {
			for _, s := range n.senders {
				if s.stream.To == 3 && s.sender != nil && s.stream.Snapshot.Replica.Group == 1 {
					o, lead = s, n
				}
			}
		}
		return o != nil
	})
	if _, err := lead.host.Change(1, raft.Change{Remove: []raft.ReplicaID{3}}); err != nil {
		t.Fatal(err)
	}
	c.until("the stream ends", func() bool { return !slices.Contains(lead.senders, o) })
	c.write(1, 5)
	g := lead.host.groups[1]
	if len(g.snap.streams) > 0 {
		t.Errorf("%d streams are under way", len(g.snap.streams))
	}
}

// A disk without room for a snapshot costs nothing but the snapshot: the group
// goes on, and it is written later.
func TestSnapshotWithoutRoom(t *testing.T) {
	c := snapCluster(t, 3)
	c.until("all have the same", c.settled)
	full := true
	n := c.nodes[0]
	refused := 0
	n.disk.Fail(func(op string) error {
		if full && strings.Contains(op, "/snap/") && strings.HasPrefix(op, "write ") {
			refused++
			return fmt.Errorf("%s: %w", op, vfs.ErrFull)
		}
		return nil
	})
	c.write(1, 100)
	c.until("snapshots are refused", func() bool { return refused > 2 })
	if g := n.host.groups[1]; g.snap.base.Index != 0 || g.stopped != nil {
		t.Fatalf("the log begins after %s, stopped: %v", g.snap.base, g.stopped)
	}
	full = false
	c.until("one is written", func() bool { return n.host.groups[1].snap.base.Index > 0 })
	c.until("all nodes have applied the same", c.settled)
	c.check()
}

// longCopy is a state for which there is room only once it is trimmed.
type longCopy struct {
	StateCopy
	trimmed bool
}

func (c *longCopy) Trim() { c.trimmed = true }

func (c *longCopy) WriteTo(to io.Writer) (int64, error) {
	if !c.trimmed {
		return 0, fmt.Errorf("the long state: %w", logstore.ErrFull)
	}
	return c.StateCopy.WriteTo(to)
}

// longMachine copies its state as a longCopy.
type longMachine struct{ StateMachine }

func (m longMachine) Copy() StateCopy { return &longCopy{StateCopy: m.StateMachine.Copy()} }

// A snapshot for which there is no room is written at once without what the state can do
// without: it may be all that the log waits for.
func TestSnapshotIsTrimmedWithoutRoom(t *testing.T) {
	c := snapCluster(t, 5)
	c.until("all have the same", c.settled)
	n := c.nodes[0]
	g := n.host.groups[1]
	g.machine = longMachine{g.machine}
	c.write(1, 100)
	c.until("one is tried", func() bool { return g.snap.lacksRoom || g.snap.base.Index > 0 })
	from := n.host.ticks
	c.until("one is written", func() bool { return g.snap.base.Index > 0 })
	if waited := n.host.ticks - from; waited >= uint64(n.host.cfg.Snapshots.RetryTicks) {
		t.Errorf("after one that found no room the next came %d ticks later", waited)
	}
	c.until("all nodes have applied the same", c.settled)
	c.check()
}

// brokenCopy is a state that can't be told: what is in memory is not what was
// put there.
type brokenCopy struct{ registerCopy }

func (*brokenCopy) WriteTo(io.Writer) (int64, error) { return 0, errors.New("digest differs") }

// A state that can't be told stops its group, and no other: it is not what the
// entries made of it.
func TestSnapshotOfBrokenState(t *testing.T) {
	c := snapCluster(t, 4)
	c.until("all have the same", c.settled)
	n := c.nodes[0]
	c.write(1, 3)
	c.until("no work is under way", func() bool { n.doWork(); return !n.host.chores.working })
	g := n.host.groups[1]
	n.host.chores.working = true
	n.work = g.snap.begin()
	n.work.state = &brokenCopy{}
	n.doWork()
	if g.stopped == nil || !strings.Contains(g.stopped.Error(), "digest differs") {
		t.Fatalf("the group goes on: %v", g.stopped)
	}
	if n.host.groups[2].stopped != nil {
		t.Error("another group stopped, too")
	}
}

// A snapshot that rots while its replica runs is written again from memory,
// though nothing was applied since: a start would lack it, and so would followers.
func TestRottenSnapshotIsWrittenAgain(t *testing.T) {
	c := snapCluster(t, 8)
	c.write(1, 30)
	n := c.nodes[0]
	g := n.host.groups[1]
	c.until("all is in a snapshot", func() bool {
		return c.settled() && g.snap.base == g.applied && !n.host.chores.working && len(n.host.chores.litter) == 0 && n.batch == nil
	})
	s, ok := g.snap.newest()
	if !ok {
		t.Fatal("there is no snapshot")
	}
	n.disk.Corrupt(s.File, s.Size/2, 1)
	file, err := n.store.OpenSnapshot(s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, file); !errors.Is(err, logstore.ErrDamaged) {
		t.Fatalf("read it: %v", err)
	}
	file.Close()
	if len(n.store.Damaged()) != 1 {
		t.Fatalf("the store says %+v", n.store.Damaged())
	}
	n.host.DamageFound()
	n.turn()
	if n.work == nil || n.work.Base.ID != s.Base.ID {
		t.Fatalf("it is not written again at once: %+v", n.work)
	}
	c.until("it is there again", func() bool {
		again, ok := g.snap.newest()
		return ok && again.Base.ID.Index >= s.Base.ID.Index
	})
	c.until("nothing is damaged", func() bool { return len(n.store.Damaged()) == 0 && len(n.host.mending.list) == 0 })
	n.crash()
	n.start()
	c.until("all nodes have applied the same", c.settled)
	c.check()
}

// Who asks for a snapshot that covers an index is given one, made for it if need
// be; who asks for more than there is is not.
func TestSnapshotAskedFor(t *testing.T) {
	c := newCluster(t, 5, 3) // with the product's policy: none is due
	c.until("all have the same", c.settled)
	c.write(1, 20)
	n := c.nodes[0]
	c.until("it is applied", func() bool { return n.host.groups[1].applied.Index >= 20 })
	at := n.host.groups[1].applied.Index
	n.host.ReceiveSnapshotRequest(3, &wire.SnapshotRequest{Group: 1, Incarnation: 1, Replica: 3, Index: at + 1})
	n.turn()
	if n.work != nil {
		t.Fatal("a snapshot of what is not there yet is made")
	}
	n.host.ReceiveSnapshotRequest(3, &wire.SnapshotRequest{Group: 1, Incarnation: 1, Replica: 3, Index: at})
	n.turn()
	if n.work == nil || n.work.Base.ID.Index < at {
		t.Fatalf("no snapshot is made: %+v", n.work)
	}
	n.doWork()
	if len(n.senders) != 1 || n.senders[0].stream.Term != 0 || n.senders[0].to != 3 {
		t.Fatalf("it is not sent: %+v", n.senders)
	}
	n.host.ReceiveSnapshotRequest(3, &wire.SnapshotRequest{Group: 1, Incarnation: 1, Replica: 3, Index: at})
	if len(n.senders) != 1 {
		t.Error("it is sent twice")
	}
}

// Replicas restored beside each other are what they are one by one.
func TestRestoreBesides(t *testing.T) {
	c := snapCluster(t, 6)
	for g := range raft.GroupID(testGroups) {
		c.write(g, 30)
	}
	c.until("all nodes have applied the same", c.settled)
	n := c.nodes[0]
	want := map[raft.GroupID]raft.LogID{}
	for id, g := range n.host.groups {
		want[id] = g.applied
	}
	n.crash()
	store, err := logstore.Open(logstore.Options{FS: n.disk, Dir: "data", SegmentBytes: 64 << 10, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	beginLife(t, n.disk, store, n.id, 2)
	var order []int
	h, err := NewHost(HostConfig{
		Self: n.id, Store: store, Transport: nowhere{},
		Machine: func(r logstore.Replica) StateMachine {
			return &register{node: &testNode{c: c, history: map[raft.GroupID][]uint64{}}, group: r.Group}
		},
		ElectionTicks: raft.ElectionTicksDefault, HeartbeatTicks: raft.HeartbeatTicksDefault, Log: slog.New(slog.DiscardHandler),
		Each: func(n int, f func(int)) {
			for _, i := range rand.Perm(n) {
				order = append(order, i)
				f(i)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, at := range want {
		// The commit index on disk may be a little behind.
		if got := h.groups[id].core.Status().Last; got.Index < at.Index {
			t.Errorf("group %d ends at %s, was applied up to %s", id, got, at)
		}
	}
	if len(order) != testGroups {
		t.Errorf("restored %v, want %d", order, testGroups)
	}
}
