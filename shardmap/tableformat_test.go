package shardmap

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"

	"muster/raft"
)

// While one member is of the build before level 3, it may be sent any snapshot of the
// table, and has to read it: it refuses a byte that it would not have written itself.
// The bytes here are those that it wrote. One would also doubt that a replica which
// begins with them stands where one stands that has applied the log, once the level has
// risen.
func TestTableOfOlderFormat(t *testing.T) {
	const older = tableJobsLevel - 1
	text, err := os.ReadFile("testdata/table_format_3.hex")
	if err != nil {
		t.Fatal(err)
	}
	written, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	m := NewTableMachine()
	f := testFound(4, 9)
	f.Level = older
	f.Nodes[0].Role, f.Nodes[0].Version = NodeClient, ""
	for i := range f.Nodes {
		f.Nodes[i].Level = older
	}
	found, err := AppendFound(nil, f)
	applyTable(t, m, 3, found, err)
	said, err := AppendAnnounce(nil, &Announce{Node: 99, Start: 7, Addr: "elsewhere:1", Version: "v2", Name: "n", Labels: []Label{{"b", ""}, {"a", "1"}}, Level: older})
	applyTable(t, m, 5, said, err)
	if got := tableBytes(t, m); !bytes.Equal(got, written) {
		t.Fatalf("got % x, the older build wrote % x", got, written)
	}
	began := NewTableMachine()
	if err := began.Load(bytes.NewReader(written), raft.LogID{Term: 1, Index: 5}); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(began.Table(), m.Table()) {
		t.Errorf("read, it is not the table of the log: %s", unlike(began.Table(), m.Table()))
	}
	for i, n := range m.Table().Nodes {
		for _, machine := range []*TableMachine{m, began} {
			if format := tableBytes(t, machine)[8]; format != tableFormatFirst {
				t.Fatalf("with %d newer members it is written in format %d", i, format)
			}
			said, err := AppendAnnounce(nil, &Announce{Node: n.ID, Start: n.Start + 1, Addr: n.Addr, Version: "v3", Name: n.Name, Labels: n.Labels, Level: Level})
			applyTable(t, machine, uint64(10+i), said, err)
		}
	}
	if a, b := tableBytes(t, m), tableBytes(t, began); !bytes.Equal(a, b) || a[8] != byte(tableFormats.newest) || m.Table().Level != Level {
		t.Errorf("at level %d one writes % x, the other % x", m.Table().Level, a, b)
	}
	if g := m.Table().Meta; g.Next != 5 || g.Seen != (raft.LogID{}) {
		t.Errorf("the meta group allots %d next, as of %s", g.Next, g.Seen)
	}
}
