package machine_test

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// whole is three hosts, their logs and what is between them, all in memory and in
// one goroutine.
type whole struct {
	t     testing.TB
	now   time.Duration
	nodes []*wholeNode
	w     *writes
	table *shardmap.Table
	// leads are the nodes that lead each group.
	leads    [stageGroups + 1]*wholeNode
	answered int
	log      time.Duration // the processor time spent in appends
}

// wholeNode is one node, and what asks it for sets. It implements [repl.Transport]
// and, as far as sets need it, [machine.Asker].
type wholeNode struct {
	machine.Asker
	whole *whole
	id    raft.NodeID
	store *logstore.Store
	host  *repl.Host
	batch *repl.Batch

	requests machine.Requests
	to       [4][]byte // frames on their way, by who gets them
	answers  []byte    // frames for the client
	decoder  *wire.Decoder
	incoming []byte
}

func newWhole(t testing.TB) *whole {
	x := &whole{t: t, w: newWrites(), table: &shardmap.Table{Level: shardmap.Level, ValueMax: shardmap.ValueMaxDefault}}
	for s := range shardmap.Slot(shardmap.Slots) {
		x.table.Slots[s] = groupOf(s)
	}
	for g := raft.GroupID(1); g <= stageGroups; g++ {
		x.table.Groups = append(x.table.Groups, shardmap.TableGroup{ID: g, Incarnation: 1, FirstSlots: shardmap.SlotRanges(slotsOf(g))})
	}
	quiet := slog.New(slog.DiscardHandler)
	for i := range 3 {
		n := &wholeNode{whole: x, id: raft.NodeID(i + 1), decoder: wire.NewDecoder(wire.FrameMax)}
		n.requests.Init(n, machine.RequestLimits{Wait: time.Second, Inline: machine.InlineMax})
		var err error
		disk := vfs.NewMem()
		// Segments that a benchmark fills and uses again.
		n.store, err = logstore.Open(logstore.Options{FS: disk, Dir: "data", SegmentBytes: 4 << 20, Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		beginLife(t, disk, n.store, n.id)
		n.host, err = repl.NewHost(repl.HostConfig{
			Self: n.id, Store: n.store, Transport: n,
			Machine: func(r logstore.Replica) repl.StateMachine {
				return machine.NewMap(r, func() *shardmap.Table { return x.table })
			},
			Addr: func(raft.NodeID) string { return "" }, Chance: uint64(i),
			ElectionTicks: raft.ElectionTicksDefault, HeartbeatTicks: raft.HeartbeatTicksDefault,
			Log: quiet,
		})
		if err != nil {
			t.Fatal(err)
		}
		x.nodes = append(x.nodes, n)
	}
	ms := raft.Membership{Next: 4}
	for i := range 3 {
		ms.Voters = append(ms.Voters, raft.Member{Replica: raft.ReplicaID(i + 1), Node: raft.NodeID(i + 1), Goal: raft.GoalVoter})
	}
	for _, n := range x.nodes {
		var others []raft.NodeID
		for _, o := range x.nodes {
			if o != n {
				others = append(others, o.id)
			}
		}
		n.host.SetNodes(others)
		for g := raft.GroupID(1); g <= stageGroups; g++ {
			n.host.Place([]repl.Placement{{
				Replica: logstore.Replica{Group: g, Incarnation: 1, ID: raft.ReplicaID(n.id)}, Founders: ms, Preferred: raft.ReplicaID(g%3) + 1,
			}})
		}
	}
	for ticks := 0; !x.led(); ticks++ {
		if ticks == 1000 {
			t.Fatal("some group has no leader")
		}
		x.tick()
	}
	return x
}

// led notes who leads, and reports whether every group has a leader.
func (x *whole) led() bool {
	clear(x.leads[:])
	for _, n := range x.nodes {
		for _, v := range n.host.View() {
			if v.Status.Role == raft.RoleLeader && v.Status.Commit > 0 {
				x.leads[v.Replica.Group] = n
			}
		}
	}
	for _, n := range x.leads[1:] {
		if n == nil {
			return false
		}
	}
	return true
}

func (x *whole) tick() {
	x.now += 50 * time.Millisecond
	for _, n := range x.nodes {
		n.host.Tick()
	}
	x.run()
}

// run goes on until nothing happens any more.
func (x *whole) run() {
	for busy := true; busy; {
		busy = false
		for _, n := range x.nodes {
			busy = n.turn() || busy
		}
		for _, n := range x.nodes {
			for _, to := range x.nodes {
				busy = to.receive(n) || busy
			}
		}
	}
}

// turn lets the host do what follows, and its log write what it wants.
func (n *wholeNode) turn() (busy bool) {
	if b := n.host.Turn(n.whole.now); b != nil {
		n.batch = b
	}
	if w := n.host.Work(); w != nil {
		w.Run(n.store, nil)
		n.host.Worked(w)
		busy = true
	}
	if b := n.batch; b != nil {
		n.batch, busy = nil, true
		began := processorTime()
		if err := n.store.Append(b.Writes); err != nil {
			n.whole.t.Fatal(err)
		}
		n.whole.log += processorTime() - began
		n.host.Synced(b)
	}
	return busy
}

// receive reads what from has sent.
func (n *wholeNode) receive(from *wholeNode) bool {
	n.incoming, from.to[n.id] = from.to[n.id], n.incoming[:0]
	if len(n.incoming) == 0 {
		return false
	}
	n.frames(n.incoming, func(h wire.Header, body []byte) {
		var b wire.Beat
		var err error
		switch h.Type {
		case wire.TypeBeat:
			if err = wire.ReadBeat(body, &b); err == nil {
				n.host.ReceiveBeat(from.id, &b, false)
			}
		case wire.TypeBeatAnswer:
			if err = wire.ReadBeatAnswer(body, &b); err == nil {
				n.host.ReceiveBeat(from.id, &b, true)
			}
		case wire.TypeLifeQuestion:
			q := new(wire.LifeQuestion)
			if err = q.Read(body); err == nil {
				n.host.ReceiveLifeQuestion(from.id, q)
			}
		case wire.TypeLifeAnswer:
			a := new(wire.LifeAnswer)
			if err = a.Read(body); err == nil {
				n.host.ReceiveLifeAnswer(from.id, a)
			}
		case wire.TypeAuditReport:
			m := new(wire.AuditReport)
			if err = m.Read(body); err == nil {
				n.host.Audits.ReceiveReport(from.id, m)
			}
		case wire.TypeAuditVerdict:
			m := new(wire.AuditVerdict)
			if err = m.Read(body); err == nil {
				n.host.Audits.ReceiveVerdict(from.id, m)
			}
		default:
			if h.Type == wire.TypeAppend {
				body = append([]byte(nil), body...) // its entries go into the log as they are
			}
			var e wire.Envelope
			if e, err = wire.ReadEnvelope(h.Type, body, entrySeed); err == nil {
				n.host.Receive(from.id, &e)
			}
		}
		if err != nil {
			n.whole.t.Fatalf("%s: %v", h.Type, err)
		}
	})
	return true
}

func entrySeed(g raft.GroupID, i raft.Incarnation) (raft.Seed, bool) {
	return raft.EntrySeed(g, i), true
}

// frames calls f for each frame of b.
func (n *wholeNode) frames(b []byte, f func(h wire.Header, body []byte)) {
	r := &reader{b}
	for {
		h, body, ok, err := n.decoder.Next()
		if err != nil {
			n.whole.t.Fatal(err)
		}
		if ok {
			f(h, body)
			continue
		}
		if err := n.decoder.Fill(r); err != nil {
			return // all was read
		}
	}
}

// reader is bytes that arrived.
type reader struct{ left []byte }

func (r *reader) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// write lets sets pass: from the frames that a client sends to those that it
// gets.
func (x *whole) write(sets int) {
	frames := [4][]byte{}
	for i := range sets {
		slot, body := x.w.next(nil)
		lead := x.leads[groupOf(slot)]
		var start int
		frames[lead.id], start = wire.BeginFrame(frames[lead.id], wire.TypeWrite, 0, 1000, uint64(i+1))
		frames[lead.id] = wire.EndFrame(append(frames[lead.id], body...), start)
	}
	for _, n := range x.nodes {
		n.frames(frames[n.id], func(h wire.Header, body []byte) {
			n.requests.Take(h, body, repl.Reply{To: n, Request: h.Request}, x.table, machine.Now{Host: x.now})
		})
		for _, p := range n.requests.Proposals() {
			n.host.Propose(p)
		}
		n.requests.Clear()
	}
	x.run()
	before := x.answered
	for _, n := range x.nodes {
		n.frames(n.answers, func(h wire.Header, body []byte) {
			if h.Type != wire.TypeWriteAnswer {
				e := new(wire.Error)
				x.t.Fatalf("a set was answered with %s: %v, %v", h.Type, e.Read(body), e)
			}
			x.answered++
		})
		n.answers = n.answers[:0]
	}
	if x.answered-before != sets {
		x.t.Fatalf("%d of %d sets were answered", x.answered-before, sets)
	}
}

func groupOf(s shardmap.Slot) raft.GroupID {
	return raft.GroupID(int(s)*stageGroups/shardmap.Slots + 1)
}

func (n *wholeNode) queue(to raft.NodeID, t wire.Type, body func(b []byte) []byte) {
	b, start := wire.BeginFrame(n.to[to], t, 0, 0, 0)
	n.to[to] = wire.EndFrame(body(b), start)
}

func (n *wholeNode) Send(to raft.NodeID, e *wire.Envelope) {
	n.queue(to, wire.TypeOf(e.Message.Type), func(b []byte) []byte { return wire.AppendEnvelope(b, e) })
}

func (n *wholeNode) Fetch(to raft.NodeID, e *wire.Envelope, current func() bool) {
	m := e.Message
	entries, err := n.store.Read(logstore.Replica{Group: e.Group, Incarnation: e.Incarnation, ID: m.From}, m.Log.Index+1, m.Fetch, 1<<20)
	if err != nil {
		n.whole.t.Fatal(err)
	}
	if m.Entries, m.Fetch = entries, 0; current() {
		n.Send(to, &wire.Envelope{Group: e.Group, Incarnation: e.Incarnation, Mark: e.Mark, Batch: e.Batch, Message: m})
	}
}

func (n *wholeNode) SendBeat(to raft.NodeID, b *wire.Beat, answer bool) {
	if answer {
		n.queue(to, wire.TypeBeatAnswer, func(out []byte) []byte { return wire.AppendBeatAnswer(out, b) })
	} else {
		n.queue(to, wire.TypeBeat, func(out []byte) []byte { return wire.AppendBeat(out, b) })
	}
}

func (n *wholeNode) SendLife(to raft.NodeID, t wire.Type, b wire.Body) { n.queue(to, t, b.Append) }

func (n *wholeNode) SendAudit(to raft.NodeID, t wire.Type, b wire.Body) { n.queue(to, t, b.Append) }

// Nothing is damaged here, and nobody is so far behind.
func (n *wholeNode) SendRepair(raft.NodeID, *wire.Repair)                               { n.whole.t.Error("a repair") }
func (n *wholeNode) SendForward(raft.NodeID, uint64, time.Duration, *wire.Forward) bool { return false }
func (n *wholeNode) AnswerRepair(raft.NodeID, *wire.RepairAnswer, logstore.Replica, []wire.RepairSpan) {
	n.whole.t.Error("a repair's answer")
}
func (n *wholeNode) SendSnapshotRequest(raft.NodeID, *wire.SnapshotRequest) {
	n.whole.t.Error("a request for a snapshot")
}
func (n *wholeNode) SendSnapshot(raft.NodeID, *repl.SnapshotStream) { n.whole.t.Error("a snapshot") }

// Answer implements [repl.Replier].
func (n *wholeNode) Answer(r repl.Reply, t wire.Type, body []byte) bool {
	b, start := wire.BeginFrame(n.answers, t, 0, 0, r.Request)
	n.answers = wire.EndFrame(append(b, body...), start)
	return false
}

// Flush implements [repl.Replier] and [repl.Transport]: nothing is sent before
// the turn is over.
func (n *wholeNode) Flush() {}

// BenchmarkStageWhole is all stages one after the other, and what is between
// them: the bytes of sets in, at three nodes, the bytes of answers out. Its
// figure is the processor time of all three and of the little that a client does
// here. The logs' is apart: most of it is the file in memory, which keeps what a
// crash would leave, and copies each segment as it is prepared. By the clock it
// would be the other processes' as well, and the collector, which runs beside,
// would not be in it.
func BenchmarkStageWhole(b *testing.B) {
	for _, each := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("in_flight=%d", each), func(b *testing.B) {
			x := newWhole(b)
			for range stageKeys * 4 / each {
				x.write(each) // most keys are there, and nothing is made for the first time
			}
			x.log = 0
			began, sets := processorTime(), 0.0
			for b.Loop() {
				x.write(each)
				sets += float64(each)
			}
			b.ReportMetric(float64((processorTime()-began-x.log).Nanoseconds())/sets, "ns/set")
			b.ReportMetric(float64(x.log.Nanoseconds())/sets, "log-ns/set")
			b.ReportMetric(0, "ns/op") // by the clock, of a batch
		})
	}
}

// The benchmark must do what it says: all three nodes have what was set.
func TestStageWhole(t *testing.T) {
	x := newWhole(t)
	for range 20 {
		x.write(256)
	}
	for range 2 * raft.HeartbeatTicksDefault {
		x.tick() // the followers learn what is committed
	}
	for g := raft.GroupID(1); g <= stageGroups; g++ {
		first := x.nodes[0].host.Machine(g).(*machine.Map)
		if first.State.Len() == 0 {
			t.Errorf("group %s is empty", g)
		}
		for _, n := range x.nodes[1:] {
			other := n.host.Machine(g).(*machine.Map)
			for _, s := range slotsOf(g) {
				a, _ := first.State.Digest(s)
				if b, _ := other.State.Digest(s); a != b {
					t.Fatalf("slot %d: digests %016x at n1, %016x at %s", s, a, b, n.id)
				}
			}
		}
	}
	if x.answered != 20*256 {
		t.Errorf("%d answers, want %d", x.answered, 20*256)
	}
}
