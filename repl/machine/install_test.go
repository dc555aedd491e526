package machine_test

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points/block"
)

// follower is a host with one replica that follows, whose leader is the test.
type follower struct {
	t     *testing.T
	disk  *vfs.Mem
	store *logstore.Store
	host  *repl.Host
	inbox *repl.Inbox
	group raft.GroupID
	make  func() repl.StateMachine
	now   time.Duration
	mark  uint64 // of the present life

	arrives repl.SnapshotFiles                      // nil: snapshots list no block files
	lacks   func(logstore.Replica, []block.Sum) int // the same
}

func newFollower(t *testing.T, g raft.GroupID, machine func() repl.StateMachine) *follower {
	f := &follower{t: t, disk: vfs.NewMem(), group: g, make: machine}
	f.begin()
	return f
}

// begin starts it on an empty disk, and has its replica made.
func (f *follower) begin() {
	f.t.Helper()
	f.start()
	f.host.Place([]repl.Placement{{Replica: f.replica(), Founders: members}})
	f.turn()
}

var members = raft.Membership{Next: 4, Voters: []raft.Member{
	{Replica: 1, Node: 1, Goal: raft.GoalVoter}, {Replica: 2, Node: 2, Goal: raft.GoalVoter}, {Replica: 3, Node: 3, Goal: raft.GoalVoter},
}}

func (f *follower) replica() logstore.Replica {
	return logstore.Replica{Group: f.group, Incarnation: 1, ID: 1}
}

func openStore(t *testing.T, disk vfs.FS) *logstore.Store {
	s, err := logstore.Open(logstore.Options{FS: disk, Dir: "data", SegmentBytes: 64 << 10, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// beginLife begins another life of the directory "data", as a node does, and returns
// its mark.
func beginLife(t testing.TB, disk vfs.FS, store *logstore.Store, id raft.NodeID) uint64 {
	t.Helper()
	was, found, err := logstore.ReadIdentity(disk, "data")
	if err == nil && !found {
		was = logstore.Identity{Stage: logstore.StageMember, Cluster: "test", ClusterID: 1, Node: id}
	}
	mark := was.Life().Mark + uint64(id)
	if err == nil {
		_, err = logstore.BeginLife(store, was, 0, mark)
	}
	if err != nil {
		t.Fatalf("begin a life: %v", err)
	}
	return mark
}

// start opens what is on the disk.
func (f *follower) start() {
	f.t.Helper()
	f.store = openStore(f.t, f.disk)
	quiet := slog.New(slog.DiscardHandler)
	makes := func(logstore.Replica) repl.StateMachine { return f.make() }
	f.mark = beginLife(f.t, f.disk, f.store, 1)
	var err error
	f.host, err = repl.NewHost(repl.HostConfig{
		Self: 1, Store: f.store, Transport: nowhere{}, Machine: makes, Addr: func(raft.NodeID) string { return "" },
		ElectionTicks: raft.ElectionTicksDefault, HeartbeatTicks: raft.HeartbeatTicksDefault, MissingFiles: f.lacks, Log: quiet,
	})
	if err != nil {
		f.t.Fatal(err)
	}
	f.inbox = repl.NewInbox(repl.InboxConfig{Store: f.store, Machine: makes, Files: f.arrives, Log: quiet, Host: func(do func(*repl.Host)) bool {
		do(f.host)
		f.turn()
		return true
	}})
	// The other two introduce themselves, and know of nothing that this one forgot.
	f.turn()
	for _, id := range [...]raft.NodeID{2, 3} {
		f.host.ReceiveLifeQuestion(id, &wire.LifeQuestion{Number: 1, Lives: []wire.LifeLink{{Number: 1, Mark: uint64(id)}}})
		f.turn()
		f.host.ReceiveLifeAnswer(id, &wire.LifeAnswer{Number: 1, About: f.mark, Mark: uint64(id)})
	}
	f.turn()
}

// again loses the power and starts.
func (f *follower) again() {
	f.disk.Crash(vfs.DropUnsynced, 0)
	f.start()
}

// turn does all that there is to do.
func (f *follower) turn() {
	f.t.Helper()
	for {
		f.now += time.Millisecond
		b, w := f.host.Turn(f.now), f.host.Work()
		if b != nil {
			if err := f.store.Append(b.Writes); err != nil {
				f.t.Fatal(err)
			}
			f.host.Synced(b)
		}
		if w != nil {
			w.Run(f.store, nil)
			f.host.Worked(w)
		}
		if b == nil && w == nil {
			return
		}
	}
}

// append sends entries as the leader does, all committed.
func (f *follower) append(entries ...raft.Entry) {
	f.t.Helper()
	first, last := entries[0].ID, entries[len(entries)-1].ID
	prev := raft.LogID{Index: first.Index - 1}
	if prev.Index > 0 {
		prev.Term = 1
	}
	f.host.Receive(2, &wire.Envelope{Group: f.group, Incarnation: 1, Mark: 2, Message: raft.Message{
		Type: raft.MsgAppend, From: 2, To: 1, Term: 1, Log: prev, Commit: last.Index, Entries: entries,
	}})
	f.turn()
	if at := f.applied(); at != last {
		f.t.Fatalf("applied %s, want %s", at, last)
	}
}

func (f *follower) applied() raft.LogID { return f.host.View()[0].Applied }

// install has a snapshot arrive that another replica made of a state.
func (f *follower) install(state repl.StateMachine, at raft.LogID) {
	f.t.Helper()
	if a := f.arrive(state, at); a.State == wire.ChunkRefused {
		f.t.Fatal(a.Why)
	}
	if got := f.applied(); got != at {
		f.t.Fatalf("applied %s, want %s, which came with a snapshot", got, at)
	}
}

// arrive has one arrive, and returns what its sender is told last.
func (f *follower) arrive(state repl.StateMachine, at raft.LogID) (a wire.ChunkAnswer) {
	f.t.Helper()
	disk := vfs.NewMem()
	other := openStore(f.t, disk)
	id := logstore.Replica{Group: f.group, Incarnation: 1, ID: 2}
	base := logstore.Base{ID: at, Time: raft.GroupTime(at.Index), Membership: members}
	if err := other.Append([]logstore.Write{{Replica: id, Base: &base, State: raft.HardState{Term: 1}, HasState: true}}); err != nil {
		f.t.Fatal(err)
	}
	w, err := other.CreateSnapshot(id, base)
	if err != nil {
		f.t.Fatal(err)
	}
	copied := state.Copy()
	defer copied.Release()
	if _, err := copied.WriteTo(w); err != nil {
		f.t.Fatal(err)
	}
	sn, err := w.Commit()
	if err != nil {
		f.t.Fatal(err)
	}
	file := disk.Bytes(sn.File)
	for _, data := range [][]byte{nil, file} { // first it is asked whether it is of use
		c := &wire.Chunk{Number: 1, Group: f.group, Incarnation: 1, From: 2, To: 1, Term: 1, Base: at, Size: uint64(len(file)), Data: data}
		if a = f.inbox.Receive(2, c); a.State != wire.ChunkTaken || a.Offset == c.Size {
			break
		}
	}
	return a
}

func (f *follower) entry(index uint64, kind raft.EntryKind, payload []byte) raft.Entry {
	return raft.SealedEntry(raft.EntrySeed(f.group, 1), raft.LogID{Term: 1, Index: index}, raft.GroupTime(index), kind, payload)
}

// set is a write of the command line's kind, in a session.
func set(session, sequence uint64, key, value string) []byte {
	return wire.AppendWrite(new(wire.Origin).Append(nil), &shardmap.Command{
		Kind: shardmap.CommandSet, Session: session, Sequence: sequence, Floor: 1,
		Slot: shardmap.SlotOf([]byte(key)), Items: [][]byte{[]byte(key), []byte(value)},
	})
}

// taken is a query that keeps the machine, as who lists does.
type taken struct{ m *machine.Map }

func (q *taken) Run(m repl.StateMachine, _ raft.LogID, _ repl.Reply) bool {
	q.m = m.(*machine.Map)
	return false
}

func (f *follower) take() *machine.Map {
	f.t.Helper()
	q := &taken{}
	f.host.Read(repl.Read{Group: f.group, Local: true, Query: q})
	f.turn()
	if q.m == nil {
		f.t.Fatal("the read has no answer")
	}
	return q.m
}

func listed(m *machine.Map) string {
	var all []string
	moment, _ := m.State.Moment(nil, nil)
	defer moment.End()
	moment.List(nil, nil, shardmap.ListLimits{Rows: 100, Bytes: 1 << 20}, func(key []byte, version uint64, value []byte) {
		all = append(all, fmt.Sprintf("%s=%s@%d", key, value, version))
	})
	return strings.Join(all, " ")
}

// A state that arrives takes the place of the old one under a lister that has
// begun, and brings along which writes were done: what is sent once more is not
// done once more. One would doubt it: the lister's copies are of slots that are
// gone, and the retry was answered by another replica, in entries that this one
// never saw.
func TestInstallUnderAListerAndRetries(t *testing.T) {
	var slots []shardmap.Slot
	for s := range shardmap.Slot(shardmap.Slots) {
		slots = append(slots, s)
	}
	f := newFollower(t, 1, func() repl.StateMachine { return machine.NewMap(logstore.Replica{Group: 1}, noTable) })
	entries := []raft.Entry{
		f.entry(1, raft.EntryNormal, ownPayload(7, slots)),
		f.entry(2, raft.EntryNormal, set(9, 1, "a", "old")),
		f.entry(3, raft.EntryNormal, set(9, 2, "b", "old")),
		f.entry(4, raft.EntryNormal, set(8, 1, "a", "new")), // not here
		f.entry(5, raft.EntryNormal, set(9, 3, "c", "first")),
		f.entry(6, raft.EntryNormal, set(8, 2, "c", "second")),
	}
	f.append(entries[:3]...)
	old := f.take()
	held, _ := old.State.Copy(shardmap.SlotOf([]byte("a")))

	source := machine.NewMap(logstore.Replica{Group: 1}, noTable)
	for _, e := range entries {
		if _, _, err := apply(source, e); err != nil {
			t.Fatal(err)
		}
	}
	f.install(source, entries[5].ID)

	if v, _, _, is := held.Find([]byte("a")); is != shardmap.Present || string(v) != "old" {
		t.Errorf("the copy of before says %q", v)
	}
	if err := held.Check(); err != nil {
		t.Errorf("the copy of before: %v", err)
	}
	if got, want := listed(old), "a=old@2 b=old@3"; got != want {
		t.Errorf("who lists goes on in %q, want %q", got, want)
	}
	held.Release()
	const want = "a=new@4 b=old@3 c=second@6"
	if got := f.take(); got == old || listed(got) != want {
		t.Errorf("who reads now has %q, want %q", listed(got), want)
	}

	// Retries: of a write that came here as an entry, and of one that did not.
	f.append(f.entry(7, raft.EntryNormal, set(9, 1, "a", "old")), f.entry(8, raft.EntryNormal, set(9, 3, "c", "first")))
	if got := listed(f.take()); got != want {
		t.Errorf("after retries: %q, want %q", got, want)
	}
	f.append(f.entry(9, raft.EntryNormal, set(9, 4, "d", "x")))
	if got := listed(f.take()); got != want+" d=x@9" {
		t.Errorf("after a write of the same session: %q, want %q", got, want+" d=x@9")
	}
	f.again()
	f.append(f.entry(10, raft.EntryNormal, set(9, 3, "c", "first")), f.entry(11, raft.EntryNormal, set(9, 4, "d", "y")))
	if got := listed(f.take()); got != want+" d=x@9" {
		t.Errorf("after a restart and retries: %q, want %q", got, want+" d=x@9")
	}
}

// Group 0's state is the table, and a node lives by what it is told of it: each
// new one once, even if it comes with a snapshot, from another node or from
// its own disk.
func TestTableInSnapshot(t *testing.T) {
	var told []*shardmap.Table
	f := newFollower(t, 0, func() repl.StateMachine {
		return machine.NewMeta(func(t *shardmap.Table) { told = append(told, t) })
	})
	found := &shardmap.Found{Level: 1, Cluster: "shop", ClusterID: 77, Groups: 4, ValueMax: 1 << 20}
	for i := range 3 {
		found.Nodes = append(found.Nodes, shardmap.TableNode{ID: raft.NodeID(i + 1), Name: fmt.Sprintf("n%d", i+1), Addr: fmt.Sprintf("127.0.0.1:%d", 7001+i), Role: shardmap.NodeServer, Level: 1})
	}
	founding, err := shardmap.AppendFound(new(wire.Origin).Append(nil), found)
	if err != nil {
		t.Fatal(err)
	}
	announce := func(start uint64) []byte {
		b, err := shardmap.AppendAnnounce(new(wire.Origin).Append(nil), &shardmap.Announce{Node: 2, Start: start, Addr: fmt.Sprintf("127.0.0.1:%d", 8000+start), Version: "v", Name: "n2", Level: 1})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	once := func(what string, want *shardmap.Table) {
		t.Helper()
		if len(told) != 1 || want != nil && !reflect.DeepEqual(told[0], want) {
			t.Errorf("%s: told %d tables, want one; %+v", what, len(told), told)
		}
		told = nil
	}
	entries := []raft.Entry{f.entry(1, raft.EntryNoOp, nil), f.entry(2, raft.EntryNormal, founding), f.entry(3, raft.EntryNormal, announce(5)), f.entry(4, raft.EntryNormal, announce(6))}
	f.append(entries[:2]...)
	once("the founding", nil)

	source := machine.NewMeta(func(*shardmap.Table) {})
	for _, e := range entries[1:] {
		if _, _, err := source.Apply(e, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	want := source.Table.Table()
	f.install(source, entries[3].ID)
	once("a snapshot from another node", want)
	f.again()
	once("a snapshot on disk, at the start", want)
	f.append(f.entry(5, raft.EntryNormal, announce(7)))
	once("the next entry", nil)

	// One of its own: to write it tells nobody anything, to start from it does.
	now := f.host.Machine(0).(*machine.Meta).Table.Table()
	f.host.AskSnapshot(0)
	f.turn()
	if all := f.store.Snapshots(f.replica()); len(all) != 1 || all[0].Base.ID.Index != 5 || len(told) > 0 {
		t.Fatalf("snapshots %+v, told %d tables", all, len(told))
	}
	f.again()
	once("a start from its own", now)
	if node, ok := f.host.Machine(0).(*machine.Meta).Table.Table().Node(2); !ok || node.Addr != "127.0.0.1:8007" {
		t.Errorf("node 2 is at %q", node.Addr)
	}
}

// nowhere is a transport that loses everything.
type nowhere struct{}

func (nowhere) Send(raft.NodeID, *wire.Envelope)                                   {}
func (nowhere) Fetch(raft.NodeID, *wire.Envelope, func() bool)                     {}
func (nowhere) SendBeat(raft.NodeID, *wire.Beat, bool)                             {}
func (nowhere) SendRepair(raft.NodeID, *wire.Repair)                               {}
func (nowhere) SendForward(raft.NodeID, uint64, time.Duration, *wire.Forward) bool { return false }
func (nowhere) AnswerRepair(raft.NodeID, *wire.RepairAnswer, logstore.Replica, []wire.RepairSpan) {
}
func (nowhere) SendLife(raft.NodeID, wire.Type, wire.Body)             {}
func (nowhere) SendAudit(raft.NodeID, wire.Type, wire.Body)            {}
func (nowhere) SendSnapshotRequest(raft.NodeID, *wire.SnapshotRequest) {}
func (nowhere) SendSnapshot(raft.NodeID, *repl.SnapshotStream)         {}
func (nowhere) Flush()                                                 {}
