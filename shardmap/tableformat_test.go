package shardmap

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"muster/raft"
)

// While one member is of an older build, it may be sent any snapshot of the table, and has
// to read it: it refuses a byte that it would not have written itself. The bytes here are
// those that builds of the older levels wrote. One would also doubt that a replica which
// begins with them stands where one stands that has applied the log, once the level has
// risen.
func TestTableOfOlderFormat(t *testing.T) {
	// What a cluster of level 3 has that one before it has not.
	jobs := [][]byte{
		first(AppendMembers(nil, &Members{Group: 1, Incarnation: 3, Seen: raft.LogID{Term: 2, Index: 9}, Next: 5, Replicas: []TableReplica{{1, 97, ReplicaVoter}, {4, 98, ReplicaLearner}}})),
		first(AppendSetLabels(nil, &SetLabels{97, []Label{{"zone", "b"}}})),
		first(AppendSetting(nil, &Setting{"replicas", "5"})),
		first(AppendNewJob(nil, &NewJob{Kind: JobRemove, Node: 97})),
		first(AppendNewJob(nil, &NewJob{Kind: JobBalance})),
		first(AppendJobProgress(nil, &JobProgress{9, 2, 3, "g4 gets a replica on n7"})),
		first(AppendJobState(nil, &SetJobState{10, JobDone, "even"})),
	}
	// And what one of level 4 has besides.
	moves := append(slices.Clone(jobs),
		first(AppendWeight(nil, &SetWeight{98, 250})),
		first(AppendGroupCreate(nil, &GroupCreate{Group: 40})),
		first(AppendGroupCreate(nil, &GroupCreate{})),
		first(AppendGroupRemove(nil, &GroupRemove{40})),
		first(AppendNewJob(nil, &NewJob{Kind: JobMove, Targets: []SlotTarget{{SlotRange{0, 9}, 0, 10}}})),
		first(AppendMoveBegin(nil, &MoveBegin{Job: 17, Slots: []SlotRange{{0, 4}}, To: 10})),
		first(AppendMoveBegin(nil, &MoveBegin{Job: 17, Slots: []SlotRange{{5, 6}}, To: 10})),
		first(AppendMoveRecord(nil, &MoveRecord{[]NumberedRange{{SlotRange{0, 2}, 18}}})),
		first(AppendJobBytes(nil, &JobBytes{ID: 17, Done: 3, Total: 10, Bytes: 300, BytesTotal: 4000, Why: "slots 0-2 are there"})),
	)
	// And what one of level 7.
	incidents := append(slices.Clone(moves),
		first(AppendNoteIncident(nil, &NoteIncident{exampleIncident(IncidentFenced)})),
		first(AppendNoteIncident(nil, &NoteIncident{Incident{IncidentKey: IncidentKey{Group: 2, Incarnation: 3, Replica: 2, At: raft.LogID{Term: 2, Index: 11}},
			Node: 98, Found: FoundByWalk, State: IncidentRebuilt, What: "one part differs"}})),
		first(AppendAcknowledge(nil, &Acknowledge{22})),
	)
	// And what one of level 9.
	security := append(append(slices.Clone(incidents), secure()...), first(AppendNewJob(nil, &NewJob{Kind: JobDelete, Asks: ErrandAsks{Prefix: "cart/", Keys: 1_000_000}})))
	for _, c := range []struct {
		level    uint32
		format   byte
		file     string
		commands [][]byte
	}{
		{tableJobsLevel - 1, tableFormatFirst, "testdata/table_format_3.hex", nil},
		{MovesLevel - 1, tableFormatJobs, "testdata/table_format_4.hex", jobs},
		{LeasesLevel - 1, tableFormatMoves, "testdata/table_format_5.hex", moves},
		{AuditLevel - 1, tableFormatGone, "testdata/table_format_6.hex", moves},
		{SecurityLevel - 1, tableFormatIncidents, "testdata/table_format_7.hex", incidents},
		{PointsLevel - 1, tableFormatSecurity, "testdata/table_format_8.hex", security},
	} {
		text, err := os.ReadFile(c.file)
		if err != nil {
			t.Fatal(err)
		}
		written, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
		if err != nil {
			t.Fatal(err)
		}
		m := NewTableMachine()
		f := testFound(4, 9)
		f.Level = c.level
		f.Nodes[0].Role, f.Nodes[0].Version = NodeClient, ""
		for i := range f.Nodes {
			f.Nodes[i].Level = c.level
		}
		found, err := AppendFound(nil, f)
		applyTable(t, m, 3, found, err)
		said, err := AppendAnnounce(nil, &Announce{Node: 99, Start: 7, Addr: "elsewhere:1", Version: "v2", Name: "n", Labels: []Label{{"b", ""}, {"a", "1"}}, Level: c.level})
		applyTable(t, m, 5, said, err)
		at := uint64(5)
		for _, b := range c.commands {
			at++
			applyTable(t, m, at, b, nil)
		}
		if got := tableBytes(t, m); !bytes.Equal(got, written) {
			t.Fatalf("level %d: got % x, the older build wrote % x", c.level, got, written)
		}
		began := NewTableMachine()
		if err := began.Load(bytes.NewReader(written), raft.LogID{Term: 1, Index: at}); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(began.Table(), m.Table()) {
			t.Errorf("level %d: read, it is not the table of the log: %s", c.level, unlike(began.Table(), m.Table()))
		}
		for i, n := range m.Table().Nodes {
			for _, machine := range []*TableMachine{m, began} {
				if format := tableBytes(t, machine)[8]; format != c.format {
					t.Fatalf("level %d: with %d newer members it is written in format %d", c.level, i, format)
				}
				said, err := AppendAnnounce(nil, &Announce{Node: n.ID, Start: n.Start + 1, Addr: n.Addr, Version: "v3", Name: n.Name, Labels: n.Announced, Level: Level})
				applyTable(t, machine, at+1+uint64(i), said, err)
			}
		}
		if a, b := tableBytes(t, m), tableBytes(t, began); !bytes.Equal(a, b) || a[8] != byte(tableFormats.newest) || m.Table().Level != Level {
			t.Errorf("at level %d one writes % x, the other % x", m.Table().Level, a, b)
		}
		if g := m.Table().Meta; g.Next != 5 || g.Seen != (raft.LogID{}) {
			t.Errorf("level %d: the meta group allots %d next, as of %s", c.level, g.Next, g.Seen)
		}
		for _, n := range m.Table().Nodes {
			if c.level < MovesLevel && n.Weight != WeightDefault {
				t.Errorf("level %d: node %s weighs %d", c.level, n.ID, n.Weight)
			}
		}
	}
}
