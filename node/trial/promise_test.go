package trial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/node/trial/clustertest"
)

// losePromises zeroes the middle of the log of a node that is down, from the
// batch that says that group 0 is there up to the last one, so that what its
// replicas promised is lost. It returns the file and what it held.
func losePromises(t *testing.T, data string) (file string, held []byte) {
	t.Helper()
	var begins []int64 // of batches
	first := 0
	err := logstore.Walk(vfs.OSReadOnly{}, data, func(w *logstore.Walked) error {
		if w.Begin > 0 && (len(begins) == 0 || begins[len(begins)-1] != w.Begin) {
			file, begins = w.File, append(begins, w.Begin)
		}
		if first == 0 && w.Replica.ID != 0 && w.Replica.Group == 0 {
			first = len(begins)
		}
		return nil
	})
	last := len(begins) - 1
	if err != nil || first == 0 || last < first+3 {
		t.Fatalf("%v: %d batches, group 0 is in that at %d", err, len(begins), first)
	}
	if held, err = os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, begins[last]-begins[first]), begins[first]); err != nil {
		t.Fatal(err)
	}
	return file, held
}

// goesOn is what nobody may say where it is not so.
func goesOn(text string) bool {
	return strings.Contains(text, "continues without") || strings.Contains(text, "continue without") || strings.Contains(text, "continues with the others")
}

// Two of three nodes have lost what they promised: no group goes on, and no node
// may say that it does. Whoever asks must learn it: from status that the replica
// is out, and from doctor that the groups can't go on.
func TestPromisesLostOnMajority(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "2")
	for i := range 20 {
		setOne(c, fmt.Sprintf("some%d", i), "v")
	}
	for i := range c.Nodes {
		c.Kill(i) // a clean stop would keep what was promised in a second place
	}
	for i := range 2 {
		losePromises(t, c.Nodes[i].Data)
	}
	for i := range c.Nodes {
		c.Start(i)
	}
	for i := range 2 {
		c.Until("status says what is lost", func(context.Context) error {
			row, r := statusOf(c, i)
			for _, p := range row.Problems {
				if goesOn(p.Remedy) {
					t.Fatalf("n%d: %v", i+1, p)
				}
				if strings.Contains(p.What, "it lost what it promised") && strings.Contains(p.Remedy, "only while a majority of its voters is whole without it") {
					return nil
				}
			}
			return fmt.Errorf("status says %+v, %s", row.Problems, r.Stderr)
		})
	}
	c.Until("the third one names the command that tells more, and that does", func(context.Context) error {
		row, r := statusOf(c, 2)
		if !slices.ContainsFunc(row.Problems, func(p problemRow) bool {
			return strings.Contains(p.What, "groups 0, 1, 2 have no leader") && strings.Contains(p.Remedy, "muster doctor")
		}) {
			return fmt.Errorf("status says %+v, %s", row.Problems, r.Stderr)
		}
		d, dr := examine(c)
		if !d.says(severityError, "a majority of voters has lost what it promised in groups 0, 1, 2, which can't continue") {
			return errors.New(dr.Stdout)
		}
		for _, f := range d.Findings {
			if goesOn(f.Remedy) || strings.Contains(f.Remedy, "continues by itself") {
				t.Fatal(f)
			}
		}
		return nil
	})
}

// A file of the log has rotted in a node that is down, and there is a copy. The
// command that finds it must say that putting the copy back before the node is
// started helps; and it must.
func TestPutBackBeforeTheStart(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "2")
	for i := range 20 {
		setOne(c, fmt.Sprintf("some%d", i), "v")
	}
	for i := range c.Nodes {
		c.Kill(i)
	}
	for i := range 2 {
		data := c.Nodes[i].Data
		file, held := losePromises(t, data)
		r := clustertest.Run(t, "log", "verify", data)
		if r.Status != clustertest.ExitRefused || !strings.Contains(r.Stdout, "remedy: before the node is started, put the file back from a copy made since it last stopped") || goesOn(r.Stdout) {
			t.Errorf("log verify: status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
		if err := os.WriteFile(file, held, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := clustertest.Run(t, "log", "verify", data); r.Status != clustertest.ExitDone {
			t.Errorf("put back: status %d, %s%s", r.Status, r.Stdout, r.Stderr)
		}
	}
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	if got := c.Run("kv", "get", "some7").Done(t); strings.TrimSpace(got) != "v" {
		t.Errorf("got %q", got)
	}
}
