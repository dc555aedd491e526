package repl

import (
	"testing"

	"muster/raft"
)

// settling is a machine whose state names files that may be missing.
type settling struct {
	StateMachine
	why   string
	asked []raft.LogID
}

func (m *settling) Settle(at raft.LogID) string {
	m.asked = append(m.asked, at)
	return m.why
}

// A snapshot that names files which are not here would be of no use to anybody, and the log before it would be gone. So it waits until
// they are here, and then it is written, though nothing new was applied.
func TestSnapshotWaitsForFiles(t *testing.T) {
	if wrong := snapshotNamesFiles(t); wrong != "" {
		t.Error(wrong)
	}
}

// snapshotNamesFiles says what is wrong with snapshots that wait; "": nothing.
func snapshotNamesFiles(t *testing.T) string {
	c := written(t, 23, 5)
	n := c.nodes[0]
	g := n.replica()
	m := &settling{StateMachine: g.machine, why: "a file is not here"}
	g.machine = m
	applied := g.applied
	n.host.AskSnapshot(1)
	written := func() bool { return len(n.store.Snapshots(g.replica)) > 0 }
	c.until("the machine is asked three times, or a snapshot is written", func() bool { return len(m.asked) >= 3 || written() })
	if written() {
		return "a snapshot is written though a file that it names is not here"
	}
	m.why = ""
	c.until("the snapshot is written", written)
	if at := n.store.Snapshots(g.replica)[0].Base.ID; at != applied || m.asked[len(m.asked)-1] != at {
		return "the snapshot stands at " + at.String() + ", and not where the machine was asked"
	}
	return ""
}
