package cmd

import (
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/shardmap"
)

// fenceIn notes in a directory that its replica has a wrong state, and keeps that aside.
func fenceIn(t *testing.T, dir string, rebuilt bool) (aside string) {
	t.Helper()
	s, err := logstore.Open(logstore.Options{FS: vfs.OS{}, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	f := logstore.Fence{Replica: s.Replicas()[0], At: raft.LogID{Term: 2, Index: 8}, Found: logstore.FenceByWalk, Parts: []uint32{12, uint32(shardmap.PartMarks)}, What: "a key of slot 12 is \x1b[31mnot what was put there", Rebuilt: rebuilt}
	if err := s.WriteFence(f); err != nil {
		t.Fatal(err)
	}
	if !rebuilt {
		if aside, err = s.KeepAside(f.Replica, f.At, func(w io.Writer) error {
			_, err := io.WriteString(w, "wrong")
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return aside
}

// A wrong state is reported of a directory whose node is down: nothing else that can be
// seen there shows it.
func TestLogShowsFences(t *testing.T) {
	dir := madeLog{entries: ids(1, 1, 8), commit: 8}.write(t)
	aside := fenceIn(t, dir, false)
	var row verifyRow
	out := muster(t, "log", "verify", dir, "-o", "json")
	if err := json.Unmarshal([]byte(out.stdout), &row); err != nil || out.status != exitRefused || row.OK || len(row.Damages) > 0 ||
		len(row.Fences) != 1 || row.Fences[0].At != "g1/2.8" || row.Fences[0].Found != "walk" || row.Fences[0].Rebuilt || len(row.Aside) != 1 || row.Aside[0] != aside {
		t.Errorf("%v, status %d, got %+v", err, out.status, row)
	}
	out = muster(t, "log", "verify", dir)
	for _, want := range []string{"fence: group 1 incarnation 1 replica 1: fenced in slot 12, marks, \"found by walk at g1/2.8: ", "remedy: start the node", "kept aside: " + aside, "FENCED"} {
		if !strings.Contains(out.stdout, want) || strings.Contains(out.stdout, "\x1b") {
			t.Errorf("verify does not say %q\n%q", want, out.stdout)
		}
	}
	shown := muster(t, "log", "show", dir).done(t)
	for _, want := range []string{"fence: group 1 incarnation 1 replica 1: fenced in slot 12, marks, ", "kept aside: a wrong state of group 1 incarnation 1 replica 1 at g1/2.8"} {
		if !strings.Contains(shown, want) {
			t.Errorf("show does not say %q\n%s", want, shown)
		}
	}
	for kind, want := range map[string]string{kindFence: `"parts":[12,4096]`, kindAside: `"base":"g1/2.8"`} {
		if got := muster(t, "log", "show", dir, "--kind", kind, "-o", "json").done(t); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) {
			t.Errorf("of kind %s: %s", kind, got)
		}
		if got := muster(t, "log", "show", dir, "--kind", kind, "--group", "2", "-o", "json").done(t); got != "" {
			t.Errorf("of kind %s, of another group: %s", kind, got)
		}
	}
	if got := (&fenceRow{Group: 3, Found: logstore.FenceUndecided.String()}).remedy(); !strings.Contains(got, "muster check --group 3 shows") || !strings.Contains(got, "--trust NODE decides") {
		t.Errorf("undecided: the remedy is %q", got)
	}
	file := place{file: aside, offset: 70}
	file.flip(t)
	if got := muster(t, "log", "show", dir, "--kind", kindAside, "-o", "json").done(t); !strings.Contains(got, `"kind":"damage"`) || !strings.Contains(got, filepath.Base(aside)) {
		t.Errorf("damaged: %s", got)
	}
	fenceIn(t, dir, true)
	if out := muster(t, "log", "verify", dir); out.status != exitDone || !strings.Contains(out.stdout, "replica 1: rebuilt in slot 12, marks, \"found by walk") || !strings.HasSuffix(out.stdout, "no damage\n") {
		t.Errorf("rebuilt: status %d\n%s", out.status, out.stdout)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	fenceIn(t, dir, false)
	if got := muster(t, "recover", "inspect", "--data", dir, "--out", report).done(t); !strings.Contains(got, "group 1 is fenced, its state is wrong: \"found by walk at g1/2.8") {
		t.Errorf("inspect says\n%s", got)
	}
}
