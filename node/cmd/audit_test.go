package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/logstore/vfs"
	"muster/node/trail"
)

// A directory's trail is looked at without its node. What is wrong with it is named, with its
// place, and makes the status of the command.
func TestAuditVerifyDir(t *testing.T) {
	dir := t.TempDir()
	muster(t, "audit", "verify", dir).refused(t, exitNotFound, "there is no trail in it")
	muster(t, "audit", "verify", filepath.Join(dir, "no")).refused(t, exitNotFound, "there is no such directory")
	b, err := trail.Open(vfs.OS{}, filepath.Join(dir, trail.Dir), "n1", trail.DefaultLimits(0))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := b.Append(time.Now(), []trail.Event{{At: time.Now(), Type: "Order", Verdict: trail.Allowed, Object: `setting "replicas" "5"`}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := muster(t, "audit", "verify", dir).done(t), dir+": whole: lines 1 to 3, files: 1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var row verdictRow
	if err := json.Unmarshal([]byte(muster(t, "audit", "verify", dir, "-o", "json").done(t)), &row); err != nil || !row.OK || row.Last != 3 || row.Hash != b.Head().Hash.String() {
		t.Errorf("%v, %+v", err, row)
	}
	file := filepath.Join(dir, trail.Dir, "0000000000000001.jsonl")
	lines, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(lines), "replicas", "replicaz", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := muster(t, "audit", "verify", dir)
	if want := dir + ": 1 wrong: lines 1 to 3, files: 1\n  0000000000000001.jsonl, offset 0: line 1 was changed: its bytes do not have the hash that it says\n"; r.status != exitRefused || r.stdout != want {
		t.Errorf("got %d, %q, want %q", r.status, r.stdout, want)
	}
	r = muster(t, "audit", "verify", dir, "-o", "json")
	if err := json.Unmarshal([]byte(r.stdout), &row); err != nil || r.status != exitRefused || row.OK || len(row.Problems) != 1 || row.Problems[0].Line != 1 {
		t.Errorf("%v, %+v", err, row)
	}
}
