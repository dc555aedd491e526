package shardmap

import (
	"bytes"
	"testing"

	"muster/raft"
)

// What the survivors begin with is a table that every node takes: without the lost nodes,
// without a job that waits for one of them, and with the table of before as it was.
func TestTableWithoutLost(t *testing.T) {
	m := testTable(t)
	before := m.Table()
	index := before.Index
	order := func(b []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		index++
		if r, err := m.Apply(raft.LogID{Term: 9, Index: index}, b); err != nil || r.Refused != nil {
			t.Fatalf("%+v, %v", r, err)
		}
	}
	lost, stays := before.Nodes[0].ID, before.Nodes[len(before.Nodes)-1].ID
	order(AppendNewJob(nil, &NewJob{Kind: JobDrain, Node: lost}))
	order(AppendNewJob(nil, &NewJob{Kind: JobDrain, Node: stays}))
	full := m.Table()
	asItWas := full.AppendTo(nil)

	at := raft.LogID{Term: 12, Index: 1 << 41}
	after := full.WithoutLost(77, at, []raft.NodeID{lost})
	if !bytes.Equal(full.AppendTo(nil), asItWas) {
		t.Error("the table of before has changed")
	}
	if _, err := ReadTable(after.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	if _, there := after.Node(lost); there || !after.WasRemoved(lost) || len(after.Nodes) != len(full.Nodes)-1 {
		t.Errorf("nodes %v, removed %v", after.Nodes, after.Removed)
	}
	if after.ClusterID != 77 || after.Index != at.Index || after.Epoch != at.Index {
		t.Errorf("cluster %d, index %d, epoch %d", after.ClusterID, after.Index, after.Epoch)
	}
	for _, j := range after.Jobs {
		if ended := j.State == JobCancelled; ended != (j.Node == lost) {
			t.Errorf("job %+v", j)
		}
	}

	older := *before
	older.Level, older.Nodes = tableJobsLevel-1, append([]TableNode(nil), before.Nodes...)
	for i := range older.Nodes {
		older.Nodes[i].Level = tableJobsLevel - 1
	}
	// Below the level nothing of it is written, so nothing of it may be there.
	after = older.WithoutLost(77, at, []raft.NodeID{lost})
	if read, err := ReadTable(after.AppendTo(nil)); err != nil || len(after.Removed) > 0 || len(read.Nodes) != len(before.Nodes)-1 {
		t.Errorf("of level %d: %v, removed %v", after.Level, err, after.Removed)
	}
}
