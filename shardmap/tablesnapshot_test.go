package shardmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/memtest"
	"muster/shardmap/pack"
)

func tableBytes(t testing.TB, m *TableMachine) []byte {
	t.Helper()
	c := m.Copy()
	defer c.Release()
	var b bytes.Buffer
	if n, err := c.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("write: %d of %d bytes, %v", n, b.Len(), err)
	}
	return b.Bytes()
}

func testTable(t testing.TB) *TableMachine {
	m := NewTableMachine()
	f := testFound(4, 9)
	f.Nodes[0].Role, f.Nodes[0].Version = NodeClient, ""
	found, err := AppendFound(nil, f)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := m.Apply(raft.LogID{Term: 1, Index: 3}, found); err != nil || !r.Changed {
		t.Fatal(r, err)
	}
	said, err := AppendAnnounce(nil, &Announce{Node: 99, Start: 7, Addr: "elsewhere:1", Version: "v2", Name: "n", Labels: []Label{{"b", ""}, {"a", "1"}}, Level: Level})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := m.Apply(raft.LogID{Term: 1, Index: 5}, said); err != nil || !r.Changed {
		t.Fatal(r, err)
	}
	return m
}

// A table that went through its bytes is the same in every field, and goes on
// from the entry where it stood: a field that the codec forgets would be lost
// with the first snapshot, on some nodes only.
func TestTableThroughSnapshot(t *testing.T) {
	for name, m := range map[string]*TableMachine{"empty": NewTableMachine(), "founded": testTable(t)} {
		b := tableBytes(t, m)
		back := NewTableMachine()
		if err := back.Load(bytes.NewReader(b), raft.LogID{Term: 1, Index: 5}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(back.Table(), m.Table()) {
			t.Errorf("%s: got %+v, want %+v", name, back.Table(), m.Table())
		}
		if !bytes.Equal(tableBytes(t, back), b) {
			t.Errorf("%s: other bytes the second time", name)
		}
		said, _ := AppendAnnounce(nil, &Announce{Node: 98, Start: 9, Addr: "h:1", Name: "n", Level: Level})
		if _, err := back.Apply(raft.LogID{Term: 1, Index: 5}, said); !errors.Is(err, ErrInvariant) {
			t.Errorf("%s: the entry at which it stands is applied again: %v", name, err)
		}
		if r, err := back.Apply(raft.LogID{Term: 1, Index: 6}, said); err != nil || r.Changed != m.Table().Founded() {
			t.Errorf("%s: the next entry: %+v, %v", name, r, err)
		}
	}
}

// Every field of the table must be in the bytes. This fails when a field is added
// and the codec is not told.
func TestTableSnapshotKnowsAllFields(t *testing.T) {
	for typ, want := range map[reflect.Type]int{
		reflect.TypeFor[Table](): tableFields.of(tableFormats.newest), reflect.TypeFor[TableNode](): nodeFieldsKept.of(tableFormats.newest) + 1, // the labels that count follow
		reflect.TypeFor[Label](): 2, reflect.TypeFor[TableGroup](): groupFields.of(tableFormats.newest), reflect.TypeFor[TableReplica](): 3,
		reflect.TypeFor[Setting](): 2, reflect.TypeFor[Job](): JobBackup.keptFields(tableFormats.newest, Errand{}), reflect.TypeFor[Errand](): errandFields,
		reflect.TypeFor[Move](): moveFields - 1, reflect.TypeFor[SlotTarget](): 3, reflect.TypeFor[SlotRange](): 2, // a run of slots within counts as one
		reflect.TypeFor[Incident](): incidentFields - 3, reflect.TypeFor[IncidentKey](): 4, // the key within counts as one
	} {
		if got := typ.NumField(); got != want {
			t.Errorf("%s has %d fields, its bytes hold %d: draw them in tablesnapshot.go under a new format", typ, got, want)
		}
	}
	if got := reflect.TypeFor[TableMachine]().NumField(); got != 5 { // the level is the build's, and two are about no state
		t.Errorf("a TableMachine has %d fields: is what was added lost with a snapshot?", got)
	}
}

// Bytes that are not those of a table are refused, and nothing is changed. There
// is no checksum here, what holds the bytes has one; so not every flip can be
// found, but none may make a table that could not be.
func TestTableLoadRefuses(t *testing.T) {
	m := movingMachine(t)
	good := tableBytes(t, m)
	for i := range good {
		for bit := range 8 {
			bad := bytes.Clone(good)
			bad[i] ^= 1 << bit
			back := NewTableMachine()
			err := back.Load(bytes.NewReader(bad), raft.LogID{Term: 1, Index: 5})
			switch {
			case err != nil && (!errors.Is(err, ErrSnapshot) && !errors.Is(err, ErrLevel) && !errors.Is(err, ErrOlder) || back.Table().Founded()):
				t.Fatalf("bit %d of byte %d of %d flipped: %v", bit, i, len(good), err)
			case err == nil && !bytes.Equal(tableBytes(t, back), bad):
				t.Fatalf("bit %d of byte %d of %d flipped: taken for what it does not say", bit, i, len(good))
			}
		}
	}
	for i := range good {
		if err := m.Load(bytes.NewReader(good[:i]), raft.LogID{}); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: %v", i, len(good), err)
		}
	}
	change := func(f func(*Table)) []byte {
		table := *m.Table()
		table.Nodes, table.Groups, table.Jobs, table.Moves = clone(table.Nodes), clone(table.Groups), clone(table.Jobs), clone(table.Moves)
		one, other := exampleIncident(IncidentFenced), exampleIncident(IncidentRebuilt)
		one.ID, other.ID, other.Replica = 3, 4, 3
		table.Incidents, table.IncidentCount = []Incident{one, other}, 2
		f(&table)
		return table.appendSnapshot(nil)
	}
	for _, c := range []struct {
		what string
		b    []byte
		want error
	}{
		{"more at the end", append(bytes.Clone(good), 0), ErrSnapshot},
		{"a newer format", func() []byte { b := bytes.Clone(good); b[8]++; return b }(), ErrLevel},
		{"a newer level", change(func(t *Table) {
			t.Level = Level + 1
			for i := range t.Nodes {
				t.Nodes[i].Level = t.Level
			}
		}), ErrLevel},
		{"a node below the level", change(func(t *Table) { t.Nodes[0].Level = t.Level - 1 }), ErrSnapshot},
		{"an epoch beyond the index", change(func(t *Table) { t.Epoch = t.Index + 1 }), ErrSnapshot},
		{"an older format", func() []byte { b := bytes.Clone(good); b[8] = byte(tableFormats.oldest - 1); return b }(), ErrOlder},
		{"the older format at the newer level", func() []byte { b := bytes.Clone(good); b[8] = tableFormatFirst; return b }(), ErrLevel},
		{"a slot with which two groups are founded", change(func(t *Table) { t.Groups[1].FirstSlots = []SlotRange{{0, 5}} }), ErrSnapshot},
		{"first slots out of order", change(func(t *Table) { t.Groups[0].FirstSlots = []SlotRange{{3, 3}, {1, 1}} }), ErrSnapshot},
		{"first slots that are one run", change(func(t *Table) { t.Groups[0].FirstSlots = []SlotRange{{0, 3}, {4, 5}} }), ErrSnapshot},
		{"a meta group with slots", change(func(t *Table) { t.Meta.FirstSlots = []SlotRange{{0, 0}} }), ErrSnapshot},
		{"a node twice", change(func(t *Table) { t.Nodes[1] = t.Nodes[0] }), ErrSnapshot},
		{"a node without id", change(func(t *Table) { t.Nodes[0].ID = 0 }), ErrSnapshot},
		{"a group twice", change(func(t *Table) { t.Groups[1] = t.Groups[0] }), ErrSnapshot},
		{"a slot of no group", change(func(t *Table) { t.Slots[5] = 4000 }), ErrSnapshot},
		{"a meta group of another number", change(func(t *Table) { t.Meta.ID = 1 }), ErrSnapshot},
		{"a role that is not known", change(func(t *Table) { t.Groups[0].Replicas = []TableReplica{{1, 1, 9}} }), ErrLevel},
		{"replicas out of order", change(func(t *Table) { t.Groups[0].Replicas = []TableReplica{{2, 1, 1}, {1, 2, 1}} }), ErrSnapshot},
		{"a weight above the limit", change(func(t *Table) { t.Nodes[0].Weight = WeightMax + 1 }), ErrSnapshot},
		{"a move of a group that is none", change(func(t *Table) { t.Moves[0].To = 77 }), ErrSnapshot},
		{"a move of the meta group's", change(func(t *Table) { t.Moves[0].To = 0 }), ErrSnapshot},
		{"a move to where it begins", change(func(t *Table) { t.Moves[0].To = t.Moves[0].From }), ErrSnapshot},
		{"a move from a group that has not got the slot", change(func(t *Table) { t.Moves[0].From = 2 }), ErrSnapshot},
		{"a move begun later", change(func(t *Table) { t.Moves[0].Number = t.Index + 1 }), ErrSnapshot},
		{"a move without a number", change(func(t *Table) { t.Moves[0].Number = 0 }), ErrSnapshot},
		{"a move in a state that is not known", change(func(t *Table) { t.Moves[0].State = 3 }), ErrLevel},
		{"a move of no job", change(func(t *Table) { t.Moves[0].Job = 6 }), ErrSnapshot},
		{"a move of a job that has ended", change(func(t *Table) { t.Jobs[0].State, t.Jobs[0].Targets = JobDone, nil }), ErrSnapshot},
		{"a slot in two open moves", change(func(t *Table) {
			m := t.Moves[0]
			m.SlotRange, m.Number = SlotRange{3, 3}, 7
			t.Moves = append(t.Moves, m)
		}), ErrSnapshot},
		{"moves in two runs that are one", change(func(t *Table) {
			m := t.Moves[0]
			m.SlotRange, t.Moves[0].SlotRange = SlotRange{3, 4}, SlotRange{0, 2}
			t.Moves = append(t.Moves, m)
		}), ErrSnapshot},
		{"moves out of order", change(func(t *Table) {
			m := t.Moves[0]
			m.SlotRange, t.Moves[0].SlotRange = SlotRange{0, 1}, SlotRange{3, 4}
			t.Moves = append(t.Moves, m)
		}), ErrSnapshot},
		{"a slot that two jobs move", change(func(t *Table) {
			j := t.Jobs[0]
			j.ID++
			t.Jobs = append(t.Jobs, j)
		}), ErrSnapshot},
		{"targets out of order", change(func(t *Table) { t.Jobs[0].Targets = []SlotTarget{{SlotRange{5, 9}, 1, 10}, {SlotRange{0, 4}, 1, 10}} }), ErrSnapshot},
		{"targets of a job that is about a node", change(func(t *Table) {
			t.Moves = nil
			t.Jobs[0].Kind, t.Jobs[0].Node = JobDrain, 97
		}), ErrSnapshot},
		{"a target that is no group", change(func(t *Table) { t.Jobs[0].Targets = []SlotTarget{{SlotRange{0, 9}, 1, 77}} }), ErrSnapshot},
		{"slots kept out of order", change(func(t *Table) { t.Jobs[0].Kept = []SlotRange{{3, 3}, {1, 1}} }), ErrSnapshot},
		{"a group that is there and removed", change(func(t *Table) { t.RemovedGroups = []raft.GroupID{3} }), ErrSnapshot},
		{"removed groups out of order", change(func(t *Table) { t.RemovedGroups = []raft.GroupID{40, 30} }), ErrSnapshot},
		{"a removed group twice", change(func(t *Table) { t.RemovedGroups = []raft.GroupID{30, 30} }), ErrSnapshot},
		{"a removed group above all", change(func(t *Table) { t.RemovedGroups = []raft.GroupID{raft.GroupMax + 1} }), ErrSnapshot},
		{"the meta group removed", change(func(t *Table) { t.RemovedGroups = []raft.GroupID{0} }), ErrSnapshot},
		{"incidents out of order", change(func(t *Table) { t.Incidents[0].ID = 5 }), ErrSnapshot},
		{"an incident of later", change(func(t *Table) { t.Incidents[1].ID = t.Index + 1 }), ErrSnapshot},
		{"an incident twice", change(func(t *Table) { t.Incidents[1].Replica = t.Incidents[0].Replica }), ErrSnapshot},
		{"an incident of no replica", change(func(t *Table) { t.Incidents[0].Replica = 0 }), ErrSnapshot},
		{"an incident on no node", change(func(t *Table) { t.Incidents[0].Node = 0 }), ErrSnapshot},
		{"an incident of no group that can be", change(func(t *Table) { t.Incidents[0].Group = raft.GroupMax + 1 }), ErrSnapshot},
		{"an incident in a state that is not known", change(func(t *Table) { t.Incidents[0].State = 3 }), ErrLevel},
		{"an incident found by what is not known", change(func(t *Table) { t.Incidents[0].Found = 4 }), ErrLevel},
		{"an incident with too many parts", change(func(t *Table) { t.Incidents[0].Parts = make([]Part, IncidentPartsMax+1) }), ErrSnapshot},
		{"an incident with a part twice", change(func(t *Table) { t.Incidents[0].Parts = []Part{7, 7} }), ErrSnapshot},
		{"an incident that counts fewer parts than it names", change(func(t *Table) { t.Incidents[0].PartsCount = 1 }), ErrSnapshot},
		{"an incident with a long text", change(func(t *Table) { t.Incidents[0].What = strings.Repeat("x", TableTextMax+1) }), ErrSnapshot},
		{"more incidents than there ever were", change(func(t *Table) { t.IncidentCount = 1 }), ErrSnapshot},
		{"too many incidents", change(func(t *Table) {
			t.Incidents, t.Index = nil, 100
			for i := range IncidentsMax + 1 {
				one := exampleIncident(IncidentFenced)
				one.ID, one.At.Index = uint64(i)+1, uint64(i)+1
				t.Incidents = append(t.Incidents, one)
			}
			t.IncidentCount = 100
		}), ErrSnapshot},
		{"a field more", func() []byte {
			more := tableFields.of(tableFormats.newest) + 1
			body := pack.AppendArray(nil, more)
			for range more {
				body = pack.AppendUint(body, 0)
			}
			b := binary.LittleEndian.AppendUint32(bytes.Clone(good[:12]), uint32(len(body)))
			return append(b, body...)
		}(), ErrLevel},
		{"gigabytes", append(bytes.Clone(good[:12]), 0xff, 0xff, 0xff, 0x03, 0xdd, 0xff, 0xff, 0xff, 0xff), io.ErrUnexpectedEOF},
	} {
		if err := NewTableMachine().Load(bytes.NewReader(c.b), raft.LogID{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

// clone copies a list, so that a change of it is no change of the table's.
func clone[E any](list []E) []E { return append([]E(nil), list...) }

// Whatever the bytes claim, loading costs no more memory than they justify, save
// the table itself and its bytes, which are made again.
func FuzzLoadTable(f *testing.F) {
	f.Add(tableBytes(f, NewTableMachine()))
	good := tableBytes(f, testTable(f))
	f.Add(good)
	f.Add(good[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		used := memtest.Allocated(func() {
			m := NewTableMachine()
			if err := m.Load(bytes.NewReader(b), raft.LogID{Term: 1, Index: 1}); err == nil && !bytes.Equal(tableBytes(t, m), b) {
				t.Fatal("taken for what it does not say")
			}
		})
		if limit := 16*len(b) + 64<<10; used > limit {
			t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
		}
	})
}
