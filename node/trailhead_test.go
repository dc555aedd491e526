package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/node/trail"
	"muster/repl/wire"
	"muster/shardmap"
)

// headsSoon are limits by which the table hears of new lines at once.
func headsSoon() limits {
	l := defaultLimits()
	l.trailHeads = 50 * time.Millisecond
	return l
}

// known waits until the table knows the node's whole trail, and returns that.
func (r *runningNode) known() (h trail.Head) {
	r.t.Helper()
	until(r.t, "the table knows the trail", func() error {
		t := r.node.table.Load()
		if t == nil {
			return errors.New("no table")
		}
		known, ok := t.Security.Trail(r.node.self().Node)
		if synced := r.node.trail.synced.Load(); !ok || known.Lines != synced {
			return fmt.Errorf("it knows %d lines of %d", known.Lines, synced)
		}
		h = trail.Head{Lines: known.Lines, Hash: known.Hash}
		return nil
	})
	return h
}

// The table knows the trail of each node, whoever leads, and the chain passes through what it
// knows. A node without new lines has nothing to tell.
func TestTrailHeads(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 2, headsSoon())
	for _, r := range nodes {
		head := r.known()
		r.trailOf(head)
		if _, _, err := r.client().ask(wire.TypeReplicas, 0, new(wire.Empty).Append(nil)); err == nil {
			t.Fatal("it was not refused")
		}
		until(t, "the table knows the next line", func() error {
			if next := r.known(); next.Lines <= head.Lines {
				return fmt.Errorf("it knows %d lines", next.Lines)
			}
			return nil
		})
		r.trailOf(head, r.known())
	}
	until(t, "both have the same table", func() error {
		for _, r := range nodes {
			r.known()
		}
		if a, b := nodes[0].node.table.Load().Index, nodes[1].node.table.Load().Index; a != b {
			return fmt.Errorf("of index %d and %d", a, b)
		}
		return nil
	})
	index := nodes[0].node.table.Load().Index
	time.Sleep(10 * headsSoon().trailHeads) // nothing must happen meanwhile: there is no condition to wait for
	if now := nodes[0].node.table.Load().Index; now != index {
		t.Errorf("the table went from index %d to %d without a new line", index, now)
	}
}

// A member tells of its own trail alone: it could cover up another one's.
func TestTrailOfAnother(t *testing.T) {
	if wrong := trailOfAnother(t); wrong != "" {
		t.Error(wrong)
	}
}

// trailOfAnother has a member tell of another one's trail. It returns what went wrong, or "".
func trailOfAnother(t *testing.T) string {
	nodes := founders(t, 2, headsSoon())
	for _, r := range nodes {
		r.known()
	}
	leads, _ := led(t, nodes, 0)
	liar := another(nodes, leads)
	victim := leads.node.self().Node
	command, err := shardmap.AppendNoteTrail(nil, &shardmap.NoteTrail{Head: shardmap.TrailHead{Node: victim, Lines: 1 << 40, Hash: [32]byte{1}, At: 1}})
	if err != nil {
		t.Fatal(err)
	}
	err = liar.node.caller.call(t.Context(), victim, leads.addr, wire.RolePeer, wire.TypeStep, &wire.Step{Incarnation: leads.node.table.Load().Meta.Incarnation, Command: command}, new(wire.StepAnswer))
	if e := (*wire.Error)(nil); !errors.As(err, &e) || e.Code != wire.CodeUnauthorized {
		return fmt.Sprintf("%v, want that a node tells of its own trail", err)
	}
	if known, _ := leads.node.table.Load().Security.Trail(victim); known.Lines >= 1<<40 {
		return fmt.Sprintf("the table knows %d lines", known.Lines)
	}
	return ""
}

// A thief of a node's disk can write its trail anew, with hashes that fit. The node finds that at
// its next start, says so, and does not put it in the place of what the table knows. Without the
// files it goes on behind that, with a line that says what is missing.
func TestTrailMadeAnew(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	r := start(t, c, headsSoon())
	r.serves()
	head := r.known()
	r.stop()

	dir := filepath.Join(c.Data, trail.Dir)
	made := func() {
		t.Helper()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		b, err := trail.Open(vfs.OS{}, dir, r.node.name, trail.DefaultLimits(0))
		if err != nil {
			t.Fatal(err)
		}
		harmless := make([]trail.Event, head.Lines+5)
		for i := range harmless {
			harmless[i] = trail.Event{At: time.Now(), Type: "start", Verdict: trail.Noted}
		}
		if err := b.Append(time.Now(), harmless); err != nil {
			t.Fatal(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	made()
	r = start(t, c, headsSoon())
	r.serves()
	r.says("what was changed", func(l *trailLine) bool {
		return l.Type == "trail" && l.Why == fmt.Sprintf("line %d has another hash than the cluster knows: lines up to it were changed", head.Lines)
	})
	if finds := r.finds(); !slices.ContainsFunc(finds, func(f string) bool { return strings.Contains(f, "was changed on its disk") }) {
		t.Errorf("the doctor finds %v", finds)
	}
	if known, _ := r.node.table.Load().Security.Trail(r.node.self().Node); known.Lines != head.Lines || known.Hash != head.Hash {
		t.Errorf("the table knows %+v now, and knew %+v", known, head)
	}
	report, err := trail.Verify(vfs.OS{}, dir, []trail.Head{head})
	if err != nil || len(report.Problems) != 1 || report.Problems[0].Line != head.Lines {
		t.Errorf("verify: %+v, %v", report, err)
	}
	r.stop()

	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	r = start(t, c, headsSoon())
	r.serves()
	until(t, "the trail goes on behind what the table knows", func() error {
		if next := r.known(); next.Lines <= head.Lines {
			return fmt.Errorf("it has %d lines", next.Lines)
		}
		return nil
	})
	report, err = trail.Verify(vfs.OS{}, dir, []trail.Head{head, r.known()})
	if err != nil || !report.OK() || report.Passed != 2 || report.Lost != head.Lines {
		t.Errorf("verify: %+v, %v", report, err)
	}
}
