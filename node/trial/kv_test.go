package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Values come from files and from standard input, byte for byte, and go out so.
func TestValuesAsTheyAre(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	value := "line\n\x00\xff\n"
	file := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(file, []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		in   string
		args []string
	}{
		{value, []string{"kv", "set", "k", "-"}},
		{"", []string{"kv", "set", "k", "--file", file}},
		{value, []string{"kv", "set", "--file", "-", "k"}},
	} {
		if r := c.runIn(tt.in, tt.args...); r.status != exitDone {
			t.Fatalf("%s: status %d: %s", tt.args, r.status, r.stderr)
		}
		if r := c.run("kv", "get", "k", "--raw"); r.status != exitDone || r.stdout != value {
			t.Errorf("%s: read back as %q, status %d: %s", tt.args, r.stdout, r.status, r.stderr)
		}
		if r := c.run("kv", "del", "k"); r.status != exitDone {
			t.Fatal(r.stderr)
		}
	}
}

// A prefix is deleted after its plan was agreed to, and nothing beside it.
func TestDeletePrefix(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, "--groups", "3")
	const keys = 2500 // more than two batches
	var set []string
	for i := range keys {
		set = append(set, fmt.Sprintf("a/%d", i), "x")
	}
	if r := c.run(append([]string{"kv", "set", "b", "1", "a", "2"}, set...)...); r.status != exitDone {
		t.Fatal(r.stderr)
	}
	plan := fmt.Sprintf(`plan to delete all keys that begin with "a/": %d keys in `, keys)
	r := c.run("kv", "del", "--prefix", "a/", "-o", "json")
	if r.status != exitNotConfirmed || r.stdout != "" || !strings.Contains(r.stderr, plan) {
		t.Errorf("the plan: status %d, %q, %q", r.status, r.stdout, r.stderr)
	}
	var row struct {
		LogIDs  []string `json:"log_ids"`
		Deleted int      `json:"deleted"`
	}
	// deletes has the keys deleted. What a person is told goes to standard error, and does not
	// mix with the JSON.
	deletes := func(told string, lines int, args ...string) {
		t.Helper()
		r := c.run(append([]string{"kv", "del", "--prefix", "a/", "-o", "json"}, args...)...)
		if r.status != exitDone || !strings.HasPrefix(r.stderr, told) || strings.Count(r.stderr, "\n") != lines {
			t.Fatalf("status %d, standard error %q; want %d lines that begin with %q", r.status, r.stderr, lines, told)
		}
		if err := json.Unmarshal([]byte(r.stdout), &row); err != nil {
			t.Fatalf("printed %q: %v", r.stdout, err)
		}
	}
	deletes(plan, 2, "--yes")
	if row.Deleted != keys || len(row.LogIDs) != 3 {
		t.Errorf("deleted %d keys, log ids %v; want %d, and one of each of three groups", row.Deleted, row.LogIDs, keys)
	}
	if r := c.run("kv", "list", "--keys", "-o", "json"); strings.Count(r.stdout, "\n") != 2 {
		t.Errorf("what is left: %s", r.stdout)
	}
	deletes(`nothing to delete: no key begins with "a/"`, 1) // there is nothing that a plan could hurt
	if row.Deleted != 0 {
		t.Errorf("deleted %d keys of none", row.Deleted)
	}
}

// What a key lasts by ends: its time, its lease's time, a lease that is revoked.
func TestKeysEnd(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1)
	must := func(args ...string) {
		t.Helper()
		if r := c.run(args...); r.status != exitDone {
			t.Fatalf("%s: status %d: %s", args, r.status, r.stderr)
		}
	}
	gone := func(key string) {
		t.Helper()
		c.until(key+" is gone", func(context.Context) error {
			if r := c.run("kv", "get", key); r.status != exitNotFound {
				return fmt.Errorf("status %d: %s%s", r.status, r.stdout, r.stderr)
			}
			return nil
		})
	}
	grant := func(ttl string) (id string) {
		t.Helper()
		var row struct{ ID string }
		c.json(&row, "lease", "grant", ttl, "--for", "{s}")
		return row.ID
	}
	must("kv", "set", "{s}stays", "1", "--ttl", "1s")
	must("kv", "set", "{s}stays", "2") // for ever, from now on
	must("kv", "set", "{s}ttl", "1", "--ttl", "1s")
	short, long := grant("1s"), grant("1h")
	must("kv", "set", "{s}short", "1", "{s}short2", "1", "--lease", short)
	must("kv", "set", "{s}long", "1", "--lease", long)
	must("lease", "keepalive", long)
	for _, key := range []string{"{s}ttl", "{s}short", "{s}short2"} {
		gone(key)
	}
	for _, tt := range []struct {
		line   string
		status int
		want   string
	}{
		{"lease keepalive " + short, exitNotFound, "lease " + short},
		{"lease revoke " + short, exitNotFound, "lease " + short},
		{"kv set {s}x 1 --lease " + short, exitNotFound, "lease " + short},
		{"kv set other 1 --lease " + long, exitUsage, "--lease " + long + " is of slot "},
		{"kv set {s}long 2 --if-value 2", exitConflict, "value"},
		{"kv set {s}long 2 --if-value 2 --ttl 5s", exitConflict, "value"},
		{"kv incr {s}word", exitConflict, "number"},
	} {
		if strings.Contains(tt.line, "word") {
			must("kv", "set", "{s}word", "one")
		}
		r := c.run(strings.Split(tt.line, " ")...)
		if r.status != tt.status || r.stdout != "" || strings.Count(r.stderr, "\n") != 1 || !strings.Contains(r.stderr, tt.want) {
			t.Errorf("%s: status %d, %q, %q; want status %d and one line with %q", tt.line, r.status, r.stdout, r.stderr, tt.status, tt.want)
		}
	}
	must("lease", "revoke", long)
	if r := c.run("kv", "get", "{s}long"); r.status != exitNotFound {
		t.Errorf("a key outlives its lease: status %d", r.status)
	}
	if r := c.run("kv", "get", "{s}stays"); r.stdout != "2\n" {
		t.Errorf("a key that was set anew without a ttl: %q, status %d: %s", r.stdout, r.status, r.stderr)
	}
	var leases []struct{ ID string }
	c.json(&leases, "lease", "list")
	if len(leases) != 0 {
		t.Errorf("leases are left: %v", leases)
	}
}
