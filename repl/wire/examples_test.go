package wire_test

import (
	"encoding/binary"
	"hash/crc32"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/access"
	"muster/shardmap/pack"
	"muster/shardmap/plan"
	"muster/shardmap/points"
	"muster/shardmap/points/column"
	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
	"muster/shardmap/registry"
)

// body makes a frame's body where a type has no struct of its own, or several.
type body func(b []byte) []byte

func (f body) Append(b []byte) []byte { return f(b) }
func (f body) Read([]byte) error      { return nil }

const (
	n1 = raft.NodeID(0x1111111111111111)
	n2 = raft.NodeID(0x2222222222222222)
	n3 = raft.NodeID(0x3333333333333333)
)

func counting(from byte) (n wire.Nonce) {
	for i := range n {
		n[i] = from + byte(i)
	}
	return n
}

// entry makes what a leader makes of a payload, by the drawing in raft/entry.go.
func entry(g raft.GroupID, inc raft.Incarnation, id raft.LogID, payload []byte) raft.Entry {
	e := raft.NewEntry(raft.EntryNormal, payload)
	e.ID, e.Time = id, 1_000_000_000
	b := e.Raw
	binary.LittleEndian.PutUint32(b[4:], uint32(len(payload)))
	binary.LittleEndian.PutUint64(b[8:], id.Term)
	binary.LittleEndian.PutUint64(b[16:], id.Index)
	binary.LittleEndian.PutUint64(b[24:], uint64(e.Time))
	b[32] = byte(e.Kind)
	binary.LittleEndian.PutUint32(b, crc32.Update(uint32(raft.EntrySeed(g, inc)), crc32.MakeTable(crc32.Castagnoli), b[4:]))
	return e
}

var exampleCommand = shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer,
	Items: [][]byte{[]byte("greeting"), []byte("hello")}}

var exampleSeal = shardmap.StepCommand(shardmap.CommandSeal, []shardmap.Step{{Slot: 77, Number: 1812, Peer: 5}, {Slot: 78, Number: 1812, Peer: 5}})

func envelope(m raft.Message) body {
	return func(b []byte) []byte {
		return wire.AppendEnvelope(b, &wire.Envelope{Group: 3, Incarnation: 2, Mark: 0xa3ce929d0e0e4736, Batch: 4711, Message: m})
	}
}

var exampleBeat = wire.Beat{Mark: 0xa3ce929d0e0e4736, Batch: 4711, Sequence: 1077, Fullness: wire.FullNear, Messages: []wire.BeatMessage{
	{Group: 0, Incarnation: 1, From: 1, To: 2, Term: 7, Commit: 12, Round: 1077},
	{Group: 3, Incarnation: 2, From: 1, To: 2, Term: 9, Commit: 10432, Round: 1077, Time: 3_600_000_000_000},
}, Rests: []wire.Rest{{Group: 4, Incarnation: 2, Leader: 3, Term: 5, Time: 61_500_000_000}}}

// exampleBeatAnswer answers it; replica 1 of group 3 is fenced.
var exampleBeatAnswer = wire.Beat{Mark: 0xa3ce929d0e0e4736, Batch: 4711, Sequence: 1077, Fullness: wire.FullNear, Messages: []wire.BeatMessage{
	{Group: 0, Incarnation: 1, From: 1, To: 2, Term: 7, Round: 1077},
	{Group: 3, Incarnation: 2, From: 1, To: 2, Term: 9, Round: 1077, Reject: true},
}}

// helloExamples are apart, because the proofs are made over them.
func helloExamples() map[wire.Type]wire.Body {
	return map[wire.Type]wire.Body{
		wire.TypeHello: &wire.Hello{VersionMin: 3, VersionMax: 3, Cluster: "prod", Role: wire.RoleClient, Level: 1,
			Nonce: counting(0), Window: 1024},
		wire.TypeChallenge: &wire.Challenge{Version: 3, Cluster: "prod", ClusterID: 0xc1c2c3c4c5c6c7c8, Node: n1, Start: 4,
			Nonce: counting(0x80), Level: 1, NeedsProof: true, Advertise: "10.0.0.1:4166"},
	}
}

// exampleWelcome has a proof that covers the rest of it.
func exampleWelcome() *wire.Welcome {
	w := &wire.Welcome{Proof: make([]byte, wire.ProofSize), ValueMax: 1 << 20, FrameMax: wire.FrameMax, WindowMax: 65536, Level: 1}
	w.Proof = exampleProof(2, w.Append(nil))
	return w
}

// exampleService is a service as a node shows it.
func exampleService() []byte {
	s := registry.Service{Name: "queue", Type: registry.TypeTCP, Instances: []registry.Instance{{ID: "queue-1", Check: 10435, Status: registry.Up,
		Settings: []registry.Setting{{Key: "host", Value: "10.0.0.9"}, {Key: "port", Value: "4150"}}}}}
	value, err := registry.Public(s.Append(nil))
	if err != nil {
		panic(err)
	}
	return value
}

// examples has one body for each type. docs/protocol.md shows their bytes, and
// the hostile tests begin with them.
var examples = map[wire.Type]wire.Body{
	wire.TypeHello:     helloExamples()[wire.TypeHello],
	wire.TypeChallenge: helloExamples()[wire.TypeChallenge],
	wire.TypeProof:     &wire.Proof{Proof: exampleProof(1, nil)},
	wire.TypeWelcome:   exampleWelcome(),
	wire.TypeError:     wire.NotLeader(3, n2, "10.0.0.2:4166"),
	wire.TypePing:      &wire.Empty{},
	wire.TypePong:      &wire.Empty{},

	wire.TypePreVote:       envelope(raft.Message{Type: raft.MsgPreVote, From: 2, To: 1, Term: 10, Log: raft.LogID{Term: 9, Index: 10432}}),
	wire.TypePreVoteAnswer: envelope(raft.Message{Type: raft.MsgPreVoteAnswer, From: 1, To: 2, Term: 10}),
	wire.TypeVote:          envelope(raft.Message{Type: raft.MsgVote, From: 2, To: 1, Term: 10, Log: raft.LogID{Term: 9, Index: 10432}}),
	wire.TypeVoteAnswer:    envelope(raft.Message{Type: raft.MsgVoteAnswer, From: 1, To: 2, Term: 10}),
	wire.TypeAppend: envelope(raft.Message{Type: raft.MsgAppend, From: 2, To: 1, Term: 10, Log: raft.LogID{Term: 9, Index: 10432}, Commit: 10432,
		Entries: []raft.Entry{entry(3, 2, raft.LogID{Term: 10, Index: 10433}, wire.AppendWrite((&wire.Origin{Time: 1_764_320_000_000}).Append(nil), &exampleCommand))}}),
	wire.TypeAppendAnswer: envelope(raft.Message{Type: raft.MsgAppendAnswer, From: 1, To: 2, Term: 10,
		Log: raft.LogID{Term: 9, Index: 10432}, Reject: true, Conflict: raft.LogID{Term: 8, Index: 10401}}),
	wire.TypeBeat:       body(func(b []byte) []byte { return wire.AppendBeat(b, &exampleBeat) }),
	wire.TypeBeatAnswer: body(func(b []byte) []byte { return wire.AppendBeatAnswer(b, &exampleBeatAnswer) }),

	wire.TypeReadIndex:       envelope(raft.Message{Type: raft.MsgReadIndex, From: 1, To: 2, Term: 10, Round: 77}),
	wire.TypeReadIndexAnswer: envelope(raft.Message{Type: raft.MsgReadIndexAnswer, From: 2, To: 1, Term: 10, Round: 77, Log: raft.LogID{Index: 10433}}),
	wire.TypeTimeoutNow:      envelope(raft.Message{Type: raft.MsgTimeoutNow, From: 2, To: 1, Term: 10}),
	wire.TypeTransferVote:    envelope(raft.Message{Type: raft.MsgTransferVote, From: 1, To: 3, Term: 11, Log: raft.LogID{Term: 10, Index: 10433}}),
	wire.TypeQuiet:           envelope(raft.Message{Type: raft.MsgQuiet, From: 2, To: 1, Term: 10, Log: raft.LogID{Term: 10, Index: 10433}}),

	wire.TypeChecks: &wire.Checks{Life: 0x4bf92f3577b34da6, Seen: 41, Groups: []wire.ChecksOf{{Group: 3, Incarnation: 2, Term: 7, Begin: 702, Since: 811, Until: 813,
		Rows: []wire.CheckRow{{Number: 813, Name: "db", Instance: "10.0.0.7:5432", Check: 10432, Spec: []byte{0x90}, Status: 1, Downs: 2}}, Gone: []uint64{790}}}},
	wire.TypeChecksAnswer: &wire.ChecksAnswer{Life: 0x4bf92f3577b34da6, Count: 42, Programs: []string{"replication-lag"},
		At:     []wire.ChecksAt{{Group: 3, Term: 7, At: 813}},
		States: []wire.CheckState{{Group: 3, Term: 7, Number: 805, Check: 10017, Finding: wire.FindingDown, Changes: 1, Reason: "connection refused"}}},

	wire.TypeFounding: &wire.Founding{Node: n1, Start: 1, Addr: "10.0.0.1:4166", Expect: 3,
		Seen: []wire.FoundingHost{{Addr: "10.0.0.1:4166", Node: n1}, {Addr: "10.0.0.2:4166", Node: n2}, {Addr: "10.0.0.3:4166"}}, Settings: wire.FoundingSettings{Groups: 8, ValueMax: 1 << 20},
		Cluster: "prod"},
	wire.TypeFoundingAnswer: &wire.FoundingAnswer{Stage: wire.StageMember, Node: n2, Cluster: "prod", ClusterID: 0xc1c2c3c4c5c6c7c8,
		Members: []wire.FoundingHost{{Addr: "10.0.0.1:4166", Node: n1}, {Addr: "10.0.0.2:4166", Node: n2}, {Addr: "10.0.0.3:4166", Node: n3}}, Settings: wire.FoundingSettings{Groups: 8, ValueMax: 1 << 20}},
	wire.TypeAnnounce: &wire.Announce{Node: n1, Start: 5, Addr: "10.0.0.9:4166", Version: "0.1.0", Name: "n1",
		Labels: []shardmap.Label{{Key: "dc", Value: "east"}}, Level: 2},
	wire.TypeAnnounceAnswer: &wire.AnnounceAnswer{Index: 18},

	wire.TypeRepair: &wire.Repair{Start: 5, Number: 12, Group: 3, Incarnation: 2, Wanted: []wire.RepairSpan{{First: 10433, Last: 10433}, {First: 10440, Last: 10447}}},
	wire.TypeRepairAnswer: &wire.RepairAnswer{Start: 5, Number: 12, Group: 3, Incarnation: 2, Base: raft.LogID{Term: 8, Index: 9000}, Last: raft.LogID{Term: 10, Index: 10434},
		Commit: 10433, Snapshot: 10433, Entries: []raft.Entry{entry(3, 2, raft.LogID{Term: 10, Index: 10433}, []byte("hello"))}},
	wire.TypeAuditReport: &wire.AuditReport{Group: 3, Incarnation: 2, From: 2, To: 1, At: raft.LogID{Term: 10, Index: 10447},
		Rows: []wire.AuditRow{{Part: 77, Digest: 0x1020304050607080}, {Part: 78, Digest: 0x1121314151617181}}},
	wire.TypeAuditVerdict: &wire.AuditVerdict{Group: 3, Incarnation: 2, From: 1, To: 2, Term: 10, At: raft.LogID{Term: 10, Index: 10447},
		Kind: wire.VerdictDiffers, Parts: []uint32{78}, Sources: []raft.NodeID{n1, n3}},
	wire.TypeAttest:          &wire.Attest{Nonce: counting(0x80)},
	wire.TypeAttestAnswer:    &wire.AttestAnswer{Nonce: counting(0x80), Addr: "10.0.0.1:4166"},
	wire.TypeAddresses:       &wire.Addresses{Nodes: []wire.NodeAddr{{Node: n1, Addr: "10.0.0.1:4166"}, {Node: n3, Addr: "db3.example:4166"}}},
	wire.TypeSnapshotRequest: &wire.SnapshotRequest{Start: 5, Number: 13, Group: 3, Incarnation: 2, Replica: 1, Index: 10447},

	wire.TypeLifeQuestion: &wire.LifeQuestion{Number: 1, Knows: 0x4bf92f3577b34da6, Batch: 4712,
		Lives: []wire.LifeLink{{Number: 6, Mark: 0x1020304050607080, Last: 3071}, {Number: 7, Mark: 0xa3ce929d0e0e4736, Last: 4711}}},
	wire.TypeLifeAnswer: &wire.LifeAnswer{Number: 1, About: 0xa3ce929d0e0e4736, Mark: 0x4bf92f3577b34da6, Noted: wire.LifeLink{Number: 6, Mark: 0x1020304050607080, Last: 4702},
		Logs:   []wire.LifeLog{{Group: 3, Incarnation: 2, Replica: 2, Term: 10, Last: raft.LogID{Term: 10, Index: 10433}, Judged: true, Next: 4, Replicas: []raft.ReplicaID{1, 2, 3}}},
		Buried: []wire.LifeGrave{{Group: 7, Incarnation: 812, Replica: 2}}},

	wire.TypeChunk: &wire.Chunk{Number: 3, Group: 3, Incarnation: 2, From: 2, To: 1, Term: 10, Base: raft.LogID{Term: 10, Index: 10447}, Size: 524288, Offset: 262144,
		Data: []byte("mustslot")},
	wire.TypeBlockRange: &wire.BlockRange{Group: 3, Incarnation: 2, Sum: wire.BlockSum(counting(0x10)), Offset: 262144, Most: wire.ChunkBytesMax},
	wire.TypeBlockRangeAnswer: &wire.BlockRangeAnswer{State: wire.BlockHere, Size: 262152, Offset: 262144,
		Data: []byte("mustpend")},
	wire.TypeChunkAnswer: &wire.ChunkAnswer{Number: 3, Offset: 262152, State: wire.ChunkTaken},

	wire.TypeForward: &wire.Forward{Type: wire.TypeWrite, Body: wire.AppendWrite(nil, &exampleCommand)},

	wire.TypeWrite:       body(func(b []byte) []byte { return wire.AppendWrite(b, &exampleCommand) }),
	wire.TypeWriteAnswer: &wire.WriteAnswer{Group: 3, ID: raft.LogID{Term: 7, Index: 10432}, Version: 10432},
	wire.TypeGet:         &wire.Get{Keys: [][]byte{[]byte("greeting"), []byte("{greeting}2")}},
	wire.TypeGetAnswer: body(func(b []byte) []byte {
		start := len(b)
		b = wire.AppendGetAnswer(b, 3, raft.LogID{Term: 7, Index: 10433}, 2)
		b = wire.AppendMissing(wire.AppendFound(b, 10432, []byte("hello")))
		return wire.AppendEnds(b, start, []wire.KeyEnd{{Ends: true, Remaining: 21500, Lease: shardmap.MakeLeaseID(1234, 17)}, {}})
	}),
	wire.TypeList: &wire.List{Group: 3, Epoch: 17, Prefix: []byte("cart/"), After: []byte("cart/17"), Limit: 100, MaxBytes: 65536},
	wire.TypeListAnswer: &wire.ListAnswer{Group: 3, At: raft.LogID{Term: 7, Index: 10433}, More: true, Count: 2,
		Rows: wire.AppendListRow(wire.AppendListRow(nil, []byte("cart/18"), 44, []byte("2 pears")), []byte("cart/2"), 60, []byte{})},
	wire.TypeTopology: &wire.Topology{},
	wire.TypeTopologyAnswer: &wire.TopologyAnswer{ClusterID: 0xc1c2c3c4c5c6c7c8, Epoch: 17, Index: 18,
		Nodes: []wire.TopologyNode{
			{ID: n1, Name: "n1", Addr: "10.0.0.1:4166", Role: shardmap.NodeServer, Status: wire.NodeAlive},
			{ID: n2, Name: "n2", Addr: "10.0.0.2:4166", Role: shardmap.NodeServer, Status: wire.NodeDead}},
		Groups:   []wire.TopologyGroup{{ID: 1, Leader: n1, Nodes: []raft.NodeID{n1, n2}}},
		Slots:    []shardmap.OwnedRange{{SlotRange: shardmap.SlotRange{From: 0, To: 4095}, Group: 1}},
		ValueMax: 1 << 20, Level: 4},

	wire.TypeScan: &wire.Scan{Group: 3, Prefix: []byte("cart/"), After: []byte("cart/17"), PieceBytes: 65536, Window: 262144,
		Slots: []shardmap.SlotRange{{From: 0, To: 1023}, {From: 2048, To: 2048}}},
	wire.TypeScanPiece: &wire.ListAnswer{Group: 3, At: raft.LogID{Term: 7, Index: 10433}, More: true, Count: 2,
		Rows: wire.AppendListRow(wire.AppendListRow(nil, []byte("cart/18"), 44, []byte("2 pears")), []byte("cart/2"), 60, []byte{})},
	wire.TypeStreamGrant:  &wire.StreamGrant{Limit: 327680},
	wire.TypeStreamCancel: &wire.Empty{},
	wire.TypeStreamEnd:    &wire.StreamEnd{Reason: wire.EndNotLeader, Resume: []byte("cart/2"), Why: *wire.NotLeader(3, n2, "10.0.0.2:4166")},

	wire.TypeStep: &wire.Step{Group: 3, Incarnation: 2, Command: wire.AppendWrite(nil, &exampleSeal)},
	wire.TypeStepAnswer: &wire.StepAnswer{Group: 5, ID: raft.LogID{Term: 4, Index: 812}, Results: []shardmap.StepResult{{Outcome: shardmap.StepDone, View: shardmap.SlotView{
		Slot: 77, Holding: 1, Mark: 1812, Decisions: []shardmap.Decision{{Number: 1812, Taken: true, Source: 3}}, Keys: 2, Bytes: 31, Last: 10437}}}},
	wire.TypeSlotView: &wire.SlotView{Group: 3, Slots: []shardmap.SlotRange{{From: 77, To: 77}, {From: 80, To: 81}}},
	wire.TypeSlotViewAnswer: &wire.SlotViewAnswer{Group: 3, At: raft.LogID{Term: 7, Index: 10440}, Time: 61_500_000_000, Rows: []shardmap.SlotView{
		{Slot: 77, Holding: 2, Number: 1812, Target: 5, Sealed: raft.LogID{Term: 7, Index: 10439}, SealTime: 61_400_000_000, Digest: 0x1020304050607080, Mark: 1812, Keys: 2, Bytes: 31, Last: 10437},
		{Slot: 80, Holding: 1, Mark: 9, Keys: 1, Bytes: 13, Last: 10402},
		{Slot: 81, Import: shardmap.ImportView{Number: 1815, Source: 5, Attempt: shardmap.Attempt{Term: 4, Number: 1}, Chunks: 2, At: raft.LogID{Term: 4, Index: 800}, Digest: 0x1121314151617181, Partial: true}}}},

	wire.TypeWatch: &wire.Watch{Window: 262144, PieceBytes: 65536, Group: 3, Slots: []shardmap.SlotRange{{From: 0, To: 1023}, {From: 2048, To: 2048}},
		From: []byte("cart/"), To: []byte("cart0"), Prev: true, Positions: []wire.GroupPosition{
			{Group: 3, Position: shardmap.Position{ID: raft.LogID{Term: 7, Index: 10433}, N: 2}}, {Group: 5, Position: shardmap.After(raft.LogID{Term: 4, Index: 812})}}},
	wire.TypeWatchPiece: exampleWatchPiece(),

	wire.TypeTableStream: &wire.TableStream{Window: 262144, PieceBytes: 65536, Index: 17},
	wire.TypeTablePiece: &wire.TopologyAnswer{ClusterID: 0xc1c2c3c4c5c6c7c8, Epoch: 17, Index: 18,
		Nodes:    []wire.TopologyNode{{ID: n1, Name: "n1", Addr: "10.0.0.1:4166", Role: shardmap.NodeServer, Status: wire.NodeAlive}},
		Groups:   []wire.TopologyGroup{{ID: 1, Leader: n1, Nodes: []raft.NodeID{n1}}},
		Slots:    []shardmap.OwnedRange{{SlotRange: shardmap.SlotRange{From: 0, To: 4095}, Group: 1}},
		ValueMax: 1 << 20, Level: 5},
	wire.TypeLeases: &wire.Leases{Group: 3, Slots: []shardmap.SlotRange{{From: 1024, To: 2047}}, After: shardmap.MakeLeaseID(1234, 16), Limit: 100},
	wire.TypeLeasesAnswer: &wire.LeasesAnswer{Group: 3, At: raft.LogID{Term: 7, Index: 10440},
		Rows: []wire.LeaseRow{{Lease: shardmap.MakeLeaseID(1234, 17), TTL: 30_000, Remaining: 21_500, Keys: 2}}},
	wire.TypeTxnAnswer:   exampleTxnAnswer(),
	wire.TypeLeaseAnswer: &wire.LeaseAnswer{Group: 3, ID: raft.LogID{Term: 7, Index: 10436}, Lease: shardmap.MakeLeaseID(1234, 17), TTL: 30_000},
	wire.TypeServices:    &wire.Services{Group: 3, Slots: []shardmap.SlotRange{{From: 1024, To: 2047}}, AfterSlot: 1234, After: []byte("db"), Limit: 65536},
	wire.TypeServicesAnswer: &wire.ServicesAnswer{Group: 3, At: raft.LogID{Term: 7, Index: 10441},
		Rows:     []wire.ServiceRow{{Name: []byte("queue"), Version: 10437, Value: exampleService()}},
		Checkers: []wire.ServiceChecker{{Instance: "queue-1", Check: 10435, Node: n2, Name: "n2"}}},
	wire.TypeHeartbeat:       &wire.Heartbeat{Group: 3, Name: "worker", Instance: "worker-1", Status: wire.HeartbeatUp, Note: "17 jobs done"},
	wire.TypeHeartbeatAnswer: &wire.Empty{},
	wire.TypeDelPrefixAnswer: &wire.DelPrefixAnswer{Group: 3, ID: raft.LogID{Term: 7, Index: 10442}, Version: 10442, Deleted: 1024, More: true, Next: []byte("cart/97")},

	wire.TypePointsAnswer: &wire.PointsAnswer{Group: 3, ID: raft.LogID{Term: 7, Index: 10444}, Outcome: shardmap.PointsOutcome{Stored: 9, Dropped: 3, OverValues: 2,
		Refused: []shardmap.PointsRefusal{{Reason: shardmap.RefusedKind, Measurement: "cpu", Field: "load", Kind: column.Integer, Has: column.Float},
			{Reason: shardmap.RefusedValues, Measurement: "cpu", Tag: "request", Count: 100_000, Limit: 100_000}}}},
	wire.TypePointsDeleteAnswer: &wire.PointsDeleteAnswer{Group: 3, ID: raft.LogID{Term: 7, Index: 10445}, Outcome: shardmap.PointsDeleteOutcome{Deleted: 5, Passed: 2, Dropped: 1}},
	wire.TypePointsQuery: &wire.PointsQuery{Group: 3, Database: "metrics", Window: 40, Shard: 1, Ask: wire.PointsOutline,
		Body: (&query.Sources{Names: []string{"cpu"}}).Append(nil), Memory: 64 << 20, Series: 100_000, Time: 60_000, Query: 4711},
	wire.TypePointsQueryAnswer: &wire.PointsQueryAnswer{Group: 3, At: raft.LogID{Term: 7, Index: 10444},
		Answer: (&query.Outline{Measurements: []query.MeasurementOutline{{Name: "cpu", Fields: []query.Field{{Name: "load", Kind: column.Float}}, Tags: []string{"host"}}}}).Append(nil)},

	wire.TypeHint:       &wire.Hint{Where: wire.HintAny, Group: 3, Points: examplePoints().Command().Items[0]},
	wire.TypeHintAnswer: &wire.HintAnswer{Node: n2},
	wire.TypeHints:      &wire.Hints{Act: wire.HintsRetry, Group: 3},
	wire.TypeHintsAnswer: &wire.HintsAnswer{Node: n2, Name: "n2", Queues: []wire.HintQueue{{Group: 3, Hints: 2, Bytes: 1120, Points: 18, Oldest: 1796040000, Fails: 4, Why: "group 3 has no leader"}},
		Hints: 2, Points: 18, Arrived: 7, Buried: 1, Dir: "/var/lib/muster/deadletters", Letters: 640},
	wire.TypeDurable:       &wire.Durable{Group: 3, Term: 7, Index: 10444, WaitMs: 2000},
	wire.TypeDurableAnswer: &wire.DurableAnswer{Stored: 2, Voters: 3},

	wire.TypeHistory: &wire.History{Group: 3, Key: []byte("conf/a"), Before: 10442, Limit: 20, MaxBytes: 65536},
	wire.TypeHistoryAnswer: &wire.HistoryAnswer{Group: 3, At: raft.LogID{Term: 7, Index: 10443}, Versions: 20, Age: 2_592_000, Rows: []wire.HistoryRow{
		{Version: 10441, How: shardmap.VersionDeleted, Group: 3, ID: raft.LogID{Term: 7, Index: 10441}, Principal: 41, User: "ann", AtMs: 1_764_419_400_000},
		{Version: 10440, How: shardmap.VersionSet, Group: 3, ID: raft.LogID{Term: 7, Index: 10440}, Principal: 37, AtMs: 1_764_419_300_000, Value: []byte("on")},
		{Version: 9120, How: shardmap.VersionSet, Value: []byte("off")}}},

	wire.TypeBackup: &wire.Backup{Group: 3, PieceBytes: 65536, Window: 262144},
	wire.TypeBackupPiece: &wire.BackupPiece{Group: 3, At: raft.LogID{Term: 7, Index: 10442}, Incarnation: 2, Slots: []shardmap.SlotRange{{From: 1024, To: 2047}},
		Last: true, Keys: 2, Rows: exampleBackupRows()},

	wire.TypeStatus: &wire.Empty{},
	wire.TypeStatusAnswer: &wire.StatusAnswer{Cluster: "prod", ClusterID: 0xc1c2c3c4c5c6c7c8, Self: n1, Epoch: 17,
		Problems: []wire.Problem{{What: "node n2 is dead", Remedy: "start it again"}},
		Nodes: []wire.StatusNode{{ID: n1, Name: "n1", Addr: "10.0.0.1:4166", Role: shardmap.NodeServer, Status: wire.NodeAlive,
			Version: "0.1.0", Labels: []shardmap.Label{{Key: "dc", Value: "east"}}, Start: 5, Level: 2, Weight: 100}},
		Groups: []wire.StatusGroup{{ID: 1, Incarnation: 2, Leader: n1, Term: 7, Commit: raft.LogID{Term: 7, Index: 10432},
			Applied: 10432, Slots: 4096, Replicas: []wire.StatusReplica{{ID: 1, Node: n1, Role: shardmap.ReplicaVoter, Match: 10432, State: wire.ReplicaLeads}}}},
		CPUMicros: 81_000, RSS: 31 << 20,
		Log: wire.LogStats{Bytes: 2 << 20, Batches: 900, Syncs: 900, Segments: 2, Recycled: 1,
			EntryBytes: 1 << 20, FilledBytes: 2 << 20, Snapshots: 3, SnapshotBytes: 1 << 19}, Level: 2,
		Notes: []wire.Problem{{What: "one more lost node stops group 1", Remedy: "add a node"}}},
	wire.TypeCounters:       &wire.Empty{},
	wire.TypeCountersAnswer: &wire.CountersAnswer{Rows: []wire.CounterRow{{Name: "Write", In: 900, BytesIn: 90_000}, {Name: "WriteAnswer", Out: 900, BytesOut: 31_000}}},

	wire.TypeTrail:       &wire.Trail{File: 1, Offset: 4096},
	wire.TypeTrailAnswer: &wire.TrailAnswer{Node: n1, Name: "n1", File: 1, Offset: 4096, NextFile: 1, NextOffset: 4102, Oldest: 1, Lines: []byte("{\"seq\""), Synced: 12},
	wire.TypeLogRange:    &wire.LogRange{Group: 3, From: 10431, To: 20000},
	wire.TypeLogRangeAnswer: &wire.LogRangeAnswer{Node: n1, Group: 3, Incarnation: 2, Replica: 1, Base: raft.LogID{Term: 5, Index: 9000},
		Last: raft.LogID{Term: 7, Index: 10435}, Commit: 10434, Applied: 10434,
		Entries: []wire.LogEntry{
			{Term: 6, Index: 10431, Checksum: 0x0a0b0c0d, Kind: raft.EntryNormal, Time: 1_000_000_000, Bytes: 44},
			{Term: 7, Index: 10435, Checksum: 0x01020304, Kind: raft.EntryNoOp, Time: 2_000_000_000}},
		Lost: []wire.LogSpan{{First: 10432, Last: 10434}}},
	wire.TypeDoctor: &wire.Empty{},
	wire.TypeDoctorAnswer: &wire.DoctorAnswer{Notes: []wire.Problem{{What: `nothing of service "db" is up (instances: 2, in maintenance: 0)`, Remedy: "see muster service get db"}}, WallMicros: 1_764_419_400_000_000,
		Stuck:    []wire.DoctorJob{{ID: 12, StoodMs: 601_000, Name: "job 12 (drain n3)", Why: "it has moved no replica, 1 of 3 are done; no server has room", Remedy: "see what it waits for, with muster job show 12"}},
		Findings: []wire.DoctorFinding{{What: "n1 has 8012 connections of clients, and refuses more than 10000", Remedy: "see with ss -tnp on that host which programs open so many"}}, Node: n1, Name: "n1", Addr: "10.0.0.1:4166", Version: "0.1.0", Start: 5, UptimeMs: 90_000,
		Links: []wire.DoctorLink{{To: n2, Connected: true, RTTMicros: 180, RTTAgeMs: 400, Heard: true, HeardMs: 60, Start: 3},
			{To: n3, PingMs: 0, Heard: true, HeardMs: 41_000, Start: 9, Why: "connection refused"}},
		Syncs: wire.DoctorSyncs{Count: 900, WindowMs: 45_000, P50: 420, P99: 1900, Max: 2104, MaxSinceStart: 8000, Total: 2000},
		Disk:  wire.DoctorDisk{Dir: "/var/lib/muster", Free: 10 << 30, Log: 48 << 20, Needed: 17 << 20, Segments: 3, Snapshots: 4 << 20, Prepared: 16 << 20, Reserve: 1 << 20},
		Groups: []wire.DoctorGroup{{ID: 3, Incarnation: 2, Replica: 1, Role: raft.RoleLeader, Leader: n1, Term: 7, Commit: 10434, Applied: 10434,
			Last: raft.LogID{Term: 7, Index: 10435}, Base: raft.LogID{Term: 5, Index: 9000}, Voters: []wire.DoctorVoter{{Replica: 1, Node: n1}, {Replica: 2, Node: n2}}}},
		Damaged: []wire.DoctorDamaged{{Group: 4, Incarnation: 2, Replica: 5, Lost: []wire.LogSpan{{First: 17, Last: 19}}, What: "lost entries 17 to 19",
			File: "log/0000000000000002.log", Offset: 8192, Record: "entries 17 to 19 of term 3", Reason: "its checksum does not fit", Remedy: "being mended from n2"}}},
	wire.TypeCheck: &wire.Check{Groups: []raft.GroupID{1, 3}},
	wire.TypeCheckAnswer: &wire.CheckAnswer{Groups: []wire.CheckedGroup{
		{Group: 1, Incarnation: 1, Term: 4, Why: "no majority answered"},
		{Group: 3, Incarnation: 2, Term: 10, At: raft.LogID{Term: 10, Index: 10447}, Replicas: []wire.CheckedReplica{
			{Replica: 1, Node: n1, State: wire.CheckedAgrees}, {Replica: 2, Node: n2, State: wire.CheckedDiffers, Parts: []uint32{78}, PartsMore: 2}}}}},

	wire.TypeInvite:       &wire.Invite{ClusterID: 0xc1c2c3c4c5c6c7c8, Members: exampleMembers},
	wire.TypeInviteAnswer: &wire.InviteAnswer{Node: n3, Name: "n3", State: wire.JoinBegins},
	wire.TypeJoin: &wire.Join{Node: n3, Name: "n3", Addr: "10.0.0.3:4166", Role: shardmap.NodeServer,
		Labels: []shardmap.Label{{Key: "zone", Value: "b"}}, Version: "0.1.0", Start: 1, Level: 3},
	wire.TypeJoinAnswer: &wire.JoinAnswer{ClusterID: 0xc1c2c3c4c5c6c7c8, Incarnation: 1, Replica: 4, Level: 3, Members: exampleMembers, Index: 18, Roots: [][]byte{[]byte("a root in DER")}},
	wire.TypeTable:      &wire.Empty{},
	// The head of a table; a whole one takes a page.
	wire.TypeTableAnswer: &wire.TableAnswer{Index: 18, Leader: n1, State: []byte("mustmeta\x04\x00\x00\x00")},
	wire.TypeReplicas:    &wire.Empty{},
	wire.TypeReplicasAnswer: &wire.ReplicasAnswer{
		Groups: []wire.ReportedGroup{{Group: 3, Incarnation: 2, Term: 7, At: raft.LogID{Term: 5, Index: 9001}, Settled: true, Bytes: 524288,
			Membership: raft.Membership{Voters: []raft.Member{{Replica: 1, Node: n1, Goal: raft.GoalVoter}}, Next: 3,
				Learners: []raft.Member{{Replica: 2, Node: n2, Goal: raft.GoalCopy}}}.Append(nil),
			Progress: []wire.ReportedReplica{{Replica: 2, CaughtUp: true, Active: true}}}},
		Bad: []wire.BadReplica{{Group: 4, Incarnation: 2, Replica: 5, State: plan.Lost}}},
	wire.TypeChange: &wire.Change{Group: 3, Incarnation: 2, After: 9001, Add: []wire.AddedReplica{{Node: n3, Goal: raft.GoalCopy}},
		Promote: []raft.ReplicaID{2}, Remove: []raft.ReplicaID{1}},
	wire.TypeChangeAnswer: &wire.ChangeAnswer{At: raft.LogID{Term: 7, Index: 10436}},
	wire.TypeOrder:        &wire.Order{Command: exampleOrder(), Plan: true},
	wire.TypeOrderAnswer: &wire.OrderAnswer{Index: 18, Steps: []wire.OrderStep{{Text: "group 3: add a learner on n3: n2 drains",
		Risk: "quorum 2 of 3 voters, 3 live; one more lost node stops nothing"}},
		Problems: []wire.Problem{{What: "group 4 has no leader", Remedy: "start n2 again"}}, Bytes: 524288},
	wire.TypeAddNodes: &wire.AddNodes{Hosts: []string{"10.0.0.3:4166", "10.0.0.4:4166"}},
	wire.TypeAddNodesAnswer: &wire.AddNodesAnswer{Rows: []wire.AddedNode{
		{Addr: "10.0.0.3:4166", Node: n3, Name: "n3", State: wire.JoinBegins},
		{Addr: "10.0.0.4:4166", Why: *wire.WrongCluster("node at 10.0.0.4:4166", `it is of "dev", this side of "prod"`, "check the address")}}},
	wire.TypeEnrol:        &wire.Enrol{Node: n3, Token: 21, Request: []byte("a request in DER"), Signature: make([]byte, wire.SignatureSize)},
	wire.TypeEnrolAnswer:  &wire.EnrolAnswer{Certificate: []byte("a certificate in DER"), Roots: [][]byte{[]byte("a root in DER")}},
	wire.TypeRenew:        &wire.Renew{User: "ann", Request: []byte("a request in DER")},
	wire.TypeRenewAnswer:  &wire.RenewAnswer{Certificate: []byte("a certificate in DER"), Roots: [][]byte{[]byte("a root in DER")}},
	wire.TypeKeep:         &wire.Keep{ID: wire.WrapKeyName{1, 2, 3}, Key: make([]byte, wire.WrapKeySize)},
	wire.TypeKeepAnswer:   &wire.KeepAnswer{Holds: true},
	wire.TypeLogin:        &wire.Login{Name: "ann", Password: []byte("correct horse"), Request: []byte("a request in DER")},
	wire.TypeLoginAnswer:  &wire.LoginAnswer{Certificate: []byte("a certificate in DER"), Roots: [][]byte{[]byte("a root in DER")}},
	wire.TypeWhoami:       new(wire.Empty),
	wire.TypeWhoamiAnswer: &wire.WhoamiAnswer{User: "ann", Principal: 41, Roles: []string{"readers", "writers"}},
	wire.TypeCanI:         &wire.CanI{User: "ann", Verbs: access.Read | access.List, Kind: access.Keys, Name: []byte("app/")},
	wire.TypeCanIAnswer:   &wire.CanIAnswer{Allowed: true, By: "role readers"},
	wire.TypeBackups:      &wire.Backups{Remove: []string{"muster-shop-20261129T120000Z-1210.backup"}, Only: []string{"muster-shop-20261130T120000Z-1334.backup"}},
	wire.TypeBackupsAnswer: &wire.BackupsAnswer{Node: 0x51, Name: "n1", Dir: "/mnt/backups", Files: []wire.BackupFile{
		{Name: "muster-shop-20261130T120000Z-1334.backup", State: wire.BackupWhole, Made: 1796040000, Bytes: 4096, Groups: 3, Keys: 40, Services: 2},
		{Name: "muster-shop-20261130T110000Z-1329.backup", State: wire.BackupDamaged, Made: 1796036400, Bytes: 4096, Wrong: "the backup is damaged at byte 77, in block 0, of group 1: its body is not what its checksum says"}}},
	wire.TypeUsage: &wire.Usage{Term: 4, Round: 31, Limits: []wire.UsageLimit{exampleLimit},
		Orders: []wire.UsageOrder{{Group: 1, Term: 7, Given: []wire.UsageAmount{{2500, 1<<64 - 4096, 12500}}}}},
	wire.TypeUsageAnswer: &wire.UsageAnswer{Term: 4, Round: 31, Reports: []wire.UsageReport{{Group: 1, Term: 7, Rows: []wire.UsageRow{{Counted: true,
		Used: wire.UsageAmount{900, 50000, 3000}, Bound: wire.UsageAmount{3400, 62000, 12500}, Ceiling: wire.UsageAmount{3400, 62000, 12500},
		Given: wire.UsageAmount{2500, 1<<64 - 4096, 12500}, Wanted: wire.UsageAmount{40, 1200, 40000}}}}}},
	wire.TypeWindow:          &wire.Window{Policy: 12, Time: 1796040000000000000, Database: "metrics"},
	wire.TypeWindowAnswer:    &wire.WindowAnswer{Index: 96, Window: 95, Start: 1795996800000000000, End: 1796083200000000000, Truncated: 1796083200000000000, Shards: []raft.GroupID{1, 3}},
	wire.TypeQueries:         &wire.Queries{Action: wire.QueriesRun, Query: 4711, Database: "metrics", Text: "SELECT mean(load) FROM cpu", Memory: 64 << 10},
	wire.TypeQueriesAnswer:   &wire.QueriesAnswer{Node: "n1", Rows: []wire.QueriesRow{{Query: 4711, User: "ann", Database: "metrics", Text: "SELECT mean(load) FROM cpu", AgeMs: 1200, Memory: 64 << 10}}},
	wire.TypeClock:           &wire.Empty{},
	wire.TypeClockAnswer:     &wire.ClockAnswer{Time: 1796040000},
	wire.TypeHolds:           &wire.Holds{Serial: wire.SerialNumber{4, 5, 6}, Index: 18},
	wire.TypeHoldsAnswer:     &wire.HoldsAnswer{Index: 19},
	wire.TypeAuthority:       &wire.Authority{Action: wire.AuthorityRotate},
	wire.TypeAuthorityAnswer: &wire.AuthorityAnswer{Root: wire.RootHash{7, 8, 9}},
	wire.TypeReset:           &wire.Reset{User: "ann", Request: []byte("a request in DER"), WrapKey: wire.WrapKeyName{1, 2, 3}, Proof: make([]byte, wire.ResetProofSize)},
	wire.TypeResetAnswer:     &wire.ResetAnswer{Role: "admin", Certificate: []byte("a certificate in DER"), Roots: [][]byte{[]byte("a root in DER")}},
}

var exampleLimit = wire.UsageLimit{Prefix: "app/", Most: wire.UsageAmount{20000, 1 << 20, 100}, Used: wire.UsageAmount{7200, 400000, 24}, Known: true}

var exampleMembers = []wire.NodeAddr{{Node: n1, Addr: "10.0.0.1:4166"}, {Node: n2, Addr: "10.0.0.2:4166"}}

// exampleOrder is the command that drains a node.
func exampleOrder() []byte {
	b, err := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobDrain, Node: n2})
	if err != nil {
		panic(err)
	}
	return b
}

// exampleTxnAnswer answers a set, a del, a get and an incr.
func exampleTxnAnswer() *wire.TxnAnswer {
	a := &wire.TxnAnswer{Group: 3, ID: raft.LogID{Term: 7, Index: 10435}, Version: 10435, Succeeded: true}
	for _, r := range []wire.TxnResult{{}, {Kind: wire.ResultDeleted, Deleted: true}, {Kind: wire.ResultValue, Version: 10432, Value: []byte("hello")}, {Kind: wire.ResultNumber, Number: -7}} {
		a.Results = wire.AppendTxnResult(a.Results, &r)
		a.Count++
	}
	return a
}

// exampleWatchPiece has a row of each kind.
func exampleWatchPiece() *wire.WatchPiece {
	p := &wire.WatchPiece{Group: 3, At: shardmap.After(raft.LogID{Term: 7, Index: 10440})}
	at := func(index uint64) raft.LogID { return raft.LogID{Term: 7, Index: index} }
	for _, r := range []wire.WatchRow{
		{Kind: wire.WatchElsewhere, Slot: 80, Group: 5, Sealed: raft.LogID{Term: 4, Index: 815}},
		{Kind: wire.WatchSet, Slot: 77, ID: at(10434), N: 1, Key: []byte("cart/18"), Value: []byte("2 pears"), Version: 10434, WithPrev: true, Prev: []byte("1 pear"), PrevVersion: 44},
		{Kind: wire.WatchDel, Slot: 77, ID: at(10434), N: 2, Key: []byte("cart/19"), Version: 10434, WithPrev: true, PrevVersion: 45, Prev: []byte{}},
		{Kind: wire.WatchExpired, Slot: 78, ID: at(10436), N: 1, Key: []byte("cart/2"), Version: 10436},
		{Kind: wire.WatchLeft, Slot: 77, ID: at(10438), N: 1, Group: 5, Number: 1812},
		{Kind: wire.WatchCame, Slot: 81, ID: at(10439), N: 1, Group: 5, Number: 1815, Sealed: raft.LogID{Term: 4, Index: 820}},
		{Kind: wire.WatchBack, Slot: 77, ID: at(10440), N: 1, Group: 5, Number: 1812},
	} {
		p.Rows = wire.AppendWatchRow(p.Rows, &r)
		p.Count++
	}
	return p
}

func exampleBackupRows() []byte {
	b := pack.AppendArray(nil, 2)
	b = (&shardmap.BackupRow{Kind: shardmap.KindKey, Name: []byte("cart/17"), Value: []byte("pear"), Version: 10436}).Append(b)
	return (&shardmap.BackupRow{Kind: shardmap.KindKey, Name: []byte("seen/17"), Value: []byte("1"), Version: 10440, Ends: true, Remaining: 21_500}).Append(b)
}

// examplePoints are two points of one series for a shard.
func examplePoints() *shardmap.PointsBody {
	b, err := querytest.Parse("cpu,host=a load=0.5 1000\ncpu,host=a load=0.75 2000")
	if err != nil {
		panic(err)
	}
	span := points.Window{First: 0, Last: 3_599_999_999_999}
	shares := points.Split(b, func(int64) (points.Window, uint32) { return span, 1 })
	return &shardmap.PointsBody{Name: "metrics", Mode: shardmap.PointsWrite, Share: shares[0].Append(nil),
		Shard: shardmap.ShardRef{ShardID: shardmap.ShardID{Window: 40}, Shards: 1, Database: 38, Policy: 39, Span: span}}
}
