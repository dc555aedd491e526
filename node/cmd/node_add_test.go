package cmd

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"muster/repl/wire"
	"muster/shardmap"
)

// blocked is a reader from which nothing comes until it is closed.
func blocked() (io.Reader, func() error) {
	r, w := io.Pipe()
	return r, w.Close
}

// Each host of a node add has a result of its own; what the command ends with follows from
// all of them.
func TestNodeAddOutcome(t *testing.T) {
	joins := wire.AddedNode{Addr: "10.0.0.1:4166", Node: 1, Name: "n1", State: wire.JoinBegins}
	taken := wire.AddedNode{Addr: "10.0.0.2:4166", Why: wire.Error{Code: wire.CodeConflict, Object: "node n2", Text: "refused", State: "its name is taken", Next: "start it with another --name"}}
	away := wire.AddedNode{Addr: "10.0.0.3:4166", Why: wire.Error{Code: wire.CodeUnavailable, Object: "host 10.0.0.3:4166", Text: "not invited", State: "connection refused", Next: "start it"}}
	for _, tt := range []struct {
		name   string
		rows   []wire.AddedNode
		status exitStatus
		last   string // of the error
		lines  int    // on standard error, besides
	}{
		{"one joins", []wire.AddedNode{joins}, exitDone, "", 0},
		{"one is refused", []wire.AddedNode{taken}, exitConflict, "10.0.0.2:4166 does not join: conflict: node n2: refused (its name is taken); start it with another --name", 0},
		{"one of two", []wire.AddedNode{joins, away}, exitPartly, "1 of 2 hosts have joined; mend the others and give the command again", 1},
		{"none of two", []wire.AddedNode{away, taken}, exitNoResult, "none of 2 hosts has joined", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			j := newJoining(tt.rows)
			err := j.outcome(&errand{console: &console{err: &stderr}})
			if statusOf(err) != tt.status || err != nil && err.Error() != tt.last {
				t.Errorf("got %v of status %d, want %q of status %d", err, statusOf(err), tt.last, tt.status)
			}
			if n := strings.Count(stderr.String(), "\n"); n != tt.lines {
				t.Errorf("standard error has %d lines, want %d: %q", n, tt.lines, &stderr)
			}
		})
	}
}

// A host is a member once the table has it with a copy of itself, and no sooner: then it
// knows what it is to hold, and outlives the members that invited it.
func TestNodeAddWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listed, copied := tableOf(6, "n1", "n2"), tableOf(7, "n1", "n2")
		listed.Meta.Replicas = []shardmap.TableReplica{{Replica: 1, Node: 1}}
		copied.Meta.Replicas = append(listed.Meta.Replicas, shardmap.TableReplica{Replica: 2, Node: 2})
		a := &asker{answers: []answerOf{{table: tableOf(5, "n1"), leader: 1}, {err: errGone}, {table: listed, leader: 1}, {table: copied, leader: 1}}}
		j := newJoining([]wire.AddedNode{{Addr: "10.0.0.2:4166", Node: 2, Name: "n2", State: wire.JoinBegins}})
		if row := j.rows(); len(row) != 1 || row[0].Status != "joining" {
			t.Errorf("before: %+v", row)
		}
		err := waitUntil(t.Context(), &tables{ask: a.ask}, joinPatience, func(t *shardmap.Table) glance { return glance{over: len(j.look(t)) == 0} }, waitAsLongAsACall)
		if err != nil || len(a.asked) != len(a.answers) {
			t.Errorf("%v after %d answers, want %d", err, len(a.asked), len(a.answers))
		}
		if row := j.rows(); len(row) != 1 || row[0].Status != "alive" || row[0].Addr != "10.0.0.2:4166" {
			t.Errorf("after: %+v", row)
		}
	})
}
