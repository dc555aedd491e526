package cmd

import (
	"bytes"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
)

// How far a replica is only its leader knows. Another node must not say 0.
func TestUnknownReplica(t *testing.T) {
	g := wire.StatusGroup{ID: 1, Replicas: []wire.StatusReplica{
		{ID: 1, Node: 7, Match: 0, State: wire.ReplicaUnknown},
		{ID: 2, Node: 8, Match: 0, State: wire.ReplicaProbed},
	}}
	var b bytes.Buffer
	s := &errand{console: &console{out: newOutput(&b)}}
	if err := groupTable(s, groupRows([]wire.StatusGroup{g}, func(raft.NodeID) string { return "n" })); err != nil {
		t.Fatal(err)
	}
	s.out.Flush()
	rows := strings.Split(b.String(), "\n")
	for i, want := range []string{"- -", "0 probe"} {
		cells := strings.Fields(rows[i+1])
		if got := strings.Join(cells[len(cells)-2:], " "); got != want {
			t.Errorf("row %d ends with %q, want %q", i+1, got, want)
		}
	}
}
