package shardmap

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"muster/raft"
)

// differing returns the parts of which one list has another digest than the other, or none.
func differing(a, b []DigestRow) (parts []Part) {
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Part < b[0].Part:
			parts, a = append(parts, a[0].Part), a[1:]
		case len(a) == 0 || b[0].Part < a[0].Part:
			parts, b = append(parts, b[0].Part), b[1:]
		default:
			if a[0].Digest != b[0].Digest {
				parts = append(parts, a[0].Part)
			}
			a, b = a[1:], b[1:]
		}
	}
	return parts
}

// Each single change of what a group knows must change the digest of its part, and no other's. One
// would doubt it of what a slot's digest leaves out: how far its time is ahead, its seal, what an
// import knows of its move; and of what is no slot's.
func TestDigestsChangeWithEachPart(t *testing.T) {
	key := []byte("k")
	slot := SlotOf(key)
	p := Part(slot)
	n := uint64(1)
	do := func(m *Map, c Command) {
		t.Helper()
		n++
		apply(t, m, n, 0, &c)
	}
	m := NewMap(testGroup)
	do(m, OwnCommand(&Own{Number: 3, Slots: []SlotRange{{slot, slot}}}))
	do(m, RaiseCommand(Level))
	for i, c := range []struct {
		what   string
		change func()
		parts  []Part
	}{
		{"a record", func() { do(m, Command{Kind: CommandSet, Slot: slot, Items: items("k", "v")}) }, []Part{p, PartHistory}},
		{"its value", func() { do(m, Command{Kind: CommandSet, Slot: slot, Items: items("k", "w")}) }, []Part{p, PartHistory}},
		{"a session", func() {
			do(m, Command{Kind: CommandCheck, Slot: slot, Session: 7, Sequence: 1, Items: items("k")})
		}, []Part{p, PartSessions}},
		{"an outcome", func() {
			do(m, Command{Kind: CommandCheck, Slot: slot, Session: 7, Sequence: 2, Items: items("k")})
		}, []Part{p, PartSessions}},
		{"a lease", func() { do(m, LeaseCommand(slot, LeaseGrant, 0, 60_000)) }, []Part{p}},
		{"an end", func() {
			x := &Txn{Then: []Op{{Kind: OpSet, Key: key, Value: []byte("w"), TTL: 60_000}}}
			do(m, TxnCommand(slot, x))
		}, []Part{p, PartHistory}},
		{"how far the slot's time is ahead", func() { m.slot(slot).setAhead(5) }, []Part{p}},
		{"a former owner", func() {
			st := m.slot(slot)
			st.formers = st.formers.with(Former{2, raft.LogID{Term: 1, Index: 9}})
		}, []Part{p}},
		{"the last version", func() { m.slot(slot).setLast(m.slot(slot).last + 1) }, []Part{p}},
		{"the group time", func() {
			n++
			if err := m.Skip(raft.LogID{Term: 1, Index: n}, 1e9); err != nil {
				t.Fatal(err)
			}
		}, []Part{PartTime}},
		{"a mark", func() { do(m, StepCommand(CommandCancel, []Step{{Slot: slot, Number: 4}})) }, []Part{PartMarks}},
		{"a decision", func() { do(m, StepCommand(CommandRefuse, []Step{{Slot: slot + 1, Number: 4, Peer: 2}})) }, []Part{PartMarks, PartDecisions}},
		{"a seal", func() { do(m, StepCommand(CommandSeal, []Step{{Slot: slot, Number: 5, Peer: 2}})) }, []Part{p, PartMarks, PartSessions, PartHistory}},
		{"the number of a seal", func() { m.held(slot).seal.number++ }, []Part{p}},
		{"the target of a seal", func() { m.held(slot).seal.target++ }, []Part{p}},
		{"the entry of a seal", func() { m.held(slot).seal.at.Index++ }, []Part{p}},
		{"the time of a seal", func() { m.held(slot).seal.time++ }, []Part{p}},
		{"no seal any more", func() {
			m.held(slot).seal.number = 5
			do(m, StepCommand(CommandDrop, []Step{{Slot: slot, Number: 5}}))
		}, []Part{p}},
		{"an import", func() {
			m.imports.put(newSlotImport(importHead{slot: slot, number: 6, source: 2, attempt: Attempt{1, 1}, chunks: 1}, newSlotState()))
		}, []Part{p}},
		{"the number of an import", func() { m.imports[0].number++ }, []Part{p}},
		{"the source of an import", func() { m.imports[0].source++ }, []Part{p}},
		{"the attempt of an import", func() { m.imports[0].attempt.Number++ }, []Part{p}},
		{"pieces of an import", func() { m.imports[0].chunks++ }, []Part{p}},
		{"the pass of an import", func() { m.imports[0].at.Index++ }, []Part{p}},
		{"the pass under way of an import", func() { m.imports[0].to.Term++ }, []Part{p}},
		{"what an import has", func() { m.imports[0].state.setLast(9) }, []Part{p}},
		{"the founding", func() { m.founded++ }, []Part{PartFounding}},
		{"the level", func() { m.history.raised++ }, []Part{PartHistory}},
		{"a count of all sessions", func() { m.quota.outcomes++ }, []Part{PartSessions}},
	} {
		before := m.Digests(nil)
		c.change()
		after := m.Digests(nil)
		if got := differing(before, after); !slices.Equal(got, c.parts) {
			t.Errorf("change %d, %s: the digests differ of %v, want of %v", i, c.what, got, c.parts)
		}
	}
}

// So must each field of the table. It is found by reflection, so that one which is added later is
// covered too.
func TestDigestsChangeWithEachFieldOfTheTable(t *testing.T) {
	m := movingMachine(t)
	table := *m.Table()
	table.Removed, table.RemovedGroups = []raft.NodeID{77}, []raft.GroupID{66}
	table.Settings = []Setting{{settingReplicas, "5"}}
	for i := range table.Nodes {
		table.Nodes[i].Given = []Label{{"zone", "x"}}
		table.Nodes[i].mergeLabels()
	}
	table.Jobs = []Job{{ID: 1, Kind: JobBalance, State: JobRunning, Name: "n", Why: "w", Targets: []SlotTarget{{SlotRange{1, 2}, 1, 2}}, Kept: []SlotRange{{3, 4}}}}
	m.table.Store(&table)
	before := m.Digests(nil)
	changed := 0
	eachLeaf(reflect.ValueOf(&table).Elem(), "table", func(name string, change, back func()) {
		change()
		if got := differing(before, m.Digests(nil)); len(got) != 1 {
			t.Errorf("%s: the digests differ of %v, want of one part", name, got)
		}
		w := NewTableWalk(m)
		back()
		changed++
		w.End()
	})
	if !slices.Equal(m.Digests(nil), before) || changed < 100 {
		t.Errorf("%d fields were changed; or not all are as they were", changed)
	}
}

// eachLeaf calls f for each field of x that has no parts.
func eachLeaf(x reflect.Value, name string, f func(name string, change, back func())) {
	switch x.Kind() {
	case reflect.Struct:
		for i := range x.NumField() {
			eachLeaf(x.Field(i), name+"."+x.Type().Field(i).Name, f)
		}
	case reflect.Slice, reflect.Array:
		for i := range x.Len() {
			if i < 3 || i == x.Len()-1 {
				eachLeaf(x.Index(i), fmt.Sprintf("%s[%d]", name, i), f)
			}
		}
	case reflect.Bool:
		f(name, func() { x.SetBool(!x.Bool()) }, func() { x.SetBool(!x.Bool()) })
	case reflect.String:
		was := x.String()
		f(name, func() { x.SetString(was + "x") }, func() { x.SetString(was) })
	case reflect.Int, reflect.Int64:
		f(name, func() { x.SetInt(x.Int() + 1) }, func() { x.SetInt(x.Int() - 1) })
	default:
		f(name, func() { x.SetUint(x.Uint() ^ 1) }, func() { x.SetUint(x.Uint() ^ 1) })
	}
}

// A part of the table that memory loses is found by the next walk, also if it is the first, or the
// table is another by then; a table that entries have changed is not.
func TestTableWalkFindsEachField(t *testing.T) {
	m := movingMachine(t)
	walk := func() []PartFault {
		w := NewTableWalk(m)
		defer w.End()
		for !w.Step(1) {
		}
		return w.Faults()
	}
	last := raft.LogID{Term: 1, Index: m.Table().Index}
	next := func(payload []byte) {
		t.Helper()
		last.Index++
		if r, err := m.Apply(last, payload); err != nil || !r.Changed {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	eachLeaf(reflect.ValueOf(m.Table()).Elem(), "table", func(name string, change, back func()) {
		change()
		faults := walk()
		back()
		if len(faults) != 1 {
			t.Errorf("%s: found %v", name, faults)
		}
	})
	next(first(AppendSetting(nil, &Setting{settingReplicas, "5"})))
	m.Table().Nodes[0].Start ^= 4
	if faults := walk(); len(faults) != 1 || faults[0].Part != PartNodes {
		t.Errorf("of a node, behind a change of settings: found %v", faults)
	}
	m.Table().Nodes[0].Start ^= 4
	next(first(AppendSetting(nil, &Setting{settingReplicas, "3"})))
	if faults := walk(); len(faults) > 0 {
		t.Errorf("with all as it was, found %v", faults)
	}
	// An entry notices the wrong slot that it would carry on.
	m.Table().Slots[7] ^= 1
	next(first(AppendSetting(nil, &Setting{settingReplicas, "5"})))
	if faults := m.Faults(); len(faults) != 1 || faults[0].Part != PartSlots {
		t.Errorf("of a slot, before a change of settings: noticed %v", faults)
	}
	if faults := walk(); len(faults) != 1 || faults[0].Part != PartSlots {
		t.Errorf("of a slot, before a change of settings: found %v", faults)
	}
	var b bytes.Buffer
	if _, err := m.Copy().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if err := m.Load(&b, last); err != nil {
		t.Fatal(err)
	}
	if faults := walk(); len(faults) > 0 {
		t.Errorf("of what was loaded, found %v", faults)
	}
}

// A part's name is what people are told.
func TestPartNames(t *testing.T) {
	for p, want := range map[Part]string{0: "slot 0", 4095: "slot 4095", PartMarks: "marks", PartHistory: "history", PartShards: "shards", 4103: "part 4103", PartNodes: "nodes", PartCluster: "cluster", PartIncidents: "incidents", PartTrust: "trust", PartTrails: "trails", PartWindows: "windows", 8206: "part 8206"} {
		if p.String() != want {
			t.Errorf("part %d is called %q, want %q", uint32(p), p, want)
		}
	}
}

// Digests are asked for between two entries, while clients wait: they must cost no memory, and
// little time.
func TestDigestsAllocateNothing(t *testing.T) {
	m := owning(allSlots())
	for i := range uint64(100) {
		apply(t, m, i+1, 0, &Command{Kind: CommandSet, Slot: SlotByServer, Items: items(fmt.Sprint("key", i), "v")})
	}
	st := m.slot(SlotOf([]byte("key1")))
	st.formers = st.formers.with(Former{2, raft.LogID{Term: 1, Index: 9}})
	out := m.Digests(nil)
	if n := testing.AllocsPerRun(5, func() { out = m.Digests(out[:0]) }); n > 0 {
		t.Errorf("digests of a map allocate %v times", n)
	}
	table := securedMachine(t)
	out = table.Digests(out[:0])
	if n := testing.AllocsPerRun(5, func() { out = table.Digests(out[:0]) }); n > 0 {
		t.Errorf("digests of a table allocate %v times", n)
	}
}

func BenchmarkDigests(b *testing.B) {
	m := owning(allSlots())
	for i := range uint64(*benchKeys) {
		apply(b, m, i+1, 0, &Command{Kind: CommandSet, Slot: SlotByServer, Session: 1 + i%100, Sequence: i + 1, Items: items(fmt.Sprintf("user/%d/cart", i), "v")})
	}
	out := m.Digests(nil)
	b.ReportAllocs()
	for b.Loop() {
		out = m.Digests(out[:0])
	}
}

func BenchmarkTableDigests(b *testing.B) {
	t := Table{Cluster: "c", ClusterID: 1, Level: Level, ValueMax: 1 << 20}
	for i := range 50 {
		t.Nodes = append(t.Nodes, TableNode{ID: raft.NodeID(i + 1), Name: fmt.Sprint("n", i), Addr: "10.0.0.1:4166", Role: NodeServer, Level: Level, Version: "0.1.0"})
	}
	for i := range 1000 {
		var replicas []TableReplica
		for k := range 3 {
			replicas = append(replicas, TableReplica{raft.ReplicaID(k + 1), raft.NodeID((i+k)%50 + 1), ReplicaVoter})
		}
		t.Groups = append(t.Groups, TableGroup{ID: raft.GroupID(i + 1), Incarnation: 5, Founders: replicas, Replicas: replicas, Next: 4, Preferred: replicas[0].Node})
	}
	for s := range t.Slots {
		t.Slots[s] = raft.GroupID(s%1000 + 1)
	}
	m := NewTableMachine()
	m.table.Store(&t)
	out := m.Digests(nil)
	b.ReportAllocs()
	for b.Loop() {
		out = m.Digests(out[:0])
	}
}
