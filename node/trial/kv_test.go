package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/node/trial/clustertest"
)

// Values come from files and from standard input, byte for byte, and go out so.
func TestValuesAsTheyAre(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1)
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
		if r := c.RunIn(tt.in, tt.args...); r.Status != clustertest.ExitDone {
			t.Fatalf("%s: status %d: %s", tt.args, r.Status, r.Stderr)
		}
		if r := c.Run("kv", "get", "k", "--raw"); r.Status != clustertest.ExitDone || r.Stdout != value {
			t.Errorf("%s: read back as %q, status %d: %s", tt.args, r.Stdout, r.Status, r.Stderr)
		}
		if r := c.Run("kv", "del", "k"); r.Status != clustertest.ExitDone {
			t.Fatal(r.Stderr)
		}
	}
}

// A prefix is deleted after its plan was agreed to, and nothing beside it.
func TestDeletePrefix(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1, "--groups", "3")
	const keys = 2500 // more than are listed to find their slots
	var set []string
	for i := range keys {
		set = append(set, fmt.Sprintf("a/%d", i), "x")
	}
	if r := c.Run(append([]string{"kv", "set", "b", "1", "a", "2"}, set...)...); r.Status != clustertest.ExitDone {
		t.Fatal(r.Stderr)
	}
	plan := fmt.Sprintf(`plan to delete all keys that begin with "a/": %d keys in `, keys)
	r := c.Run("kv", "del", "--prefix", "a/", "-o", "json")
	if r.Status != exitNotConfirmed || r.Stdout != "" || !strings.Contains(r.Stderr, plan) {
		t.Errorf("the plan: status %d, %q, %q", r.Status, r.Stdout, r.Stderr)
	}
	var row struct {
		LogIDs      []string `json:"log_ids"`
		Deleted     int      `json:"deleted"`
		Kind, State string
		Done, Total int
		Unit        string
	}
	// deletes has the keys deleted. What a person is told goes to standard error, and does not
	// mix with the JSON.
	deletes := func(told string, lines int, args ...string) {
		t.Helper()
		r := c.Run(append([]string{"kv", "del", "--prefix", "a/", "-o", "json"}, args...)...)
		if r.Status != clustertest.ExitDone || !strings.HasPrefix(r.Stderr, told) || strings.Count(r.Stderr, "\n") < lines {
			t.Fatalf("status %d, standard error %q; want %d lines or more that begin with %q", r.Status, r.Stderr, lines, told)
		}
		if err := json.Unmarshal([]byte(r.Stdout), &row); err != nil {
			t.Fatalf("printed %q: %v", r.Stdout, err)
		}
	}
	deletes(plan, 3, "--yes") // two of the plan, and how far the job is
	if row.Deleted != keys || row.Kind != "delete" || row.State != "done" || row.Done != keys || row.Total != keys || row.Unit != "keys" {
		t.Errorf("printed %+v, want a job that has deleted %d keys", row, keys)
	}
	if r := c.Run("kv", "list", "--keys", "-o", "json"); strings.Count(r.Stdout, "\n") != 2 {
		t.Errorf("what is left: %s", r.Stdout)
	}
	deletes(`nothing to delete: no key begins with "a/"`, 1) // there is nothing that a plan could hurt
	if row.Deleted != 0 {
		t.Errorf("deleted %d keys of none", row.Deleted)
	}
}

// Nodes that don't know the delete of a prefix yet have the keys listed, and deleted by name.
func TestDeletePrefixOfOlderNodes(t *testing.T) {
	t.Parallel()
	c := clustertest.New(t, 1, "--groups", "3")
	c.Clear = true // the older build knows no TLS
	c.Nodes[0].Binary = clustertest.OlderBinary(t, upgradeFrom)
	c.Start(0)
	c.Healthy()
	const keys = 1500 // more than a batch
	set := []string{"kv", "set", "b", "1"}
	for i := range keys {
		set = append(set, fmt.Sprintf("a/%d", i), "x")
	}
	c.Run(set...).Done(t)
	r := c.Run("kv", "del", "--prefix", "a/", "--yes", "-o", "json")
	if want := fmt.Sprintf(`"deleted":%d}`, keys); r.Status != clustertest.ExitDone || !strings.Contains(r.Stdout, want) {
		t.Errorf("status %d, %s%s; want %s", r.Status, r.Stdout, r.Stderr, want)
	}
	if r := c.Run("kv", "list", "--keys", "-o", "json"); strings.Count(r.Stdout, "\n") != 1 {
		t.Errorf("what is left: %s", r.Stdout)
	}
}

// What a key lasts by ends: its time, its lease's time, a lease that is revoked.
func TestKeysEnd(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1)
	must := func(args ...string) {
		t.Helper()
		if r := c.Run(args...); r.Status != clustertest.ExitDone {
			t.Fatalf("%s: status %d: %s", args, r.Status, r.Stderr)
		}
	}
	gone := func(key string) {
		t.Helper()
		c.Until(key+" is gone", func(context.Context) error {
			if r := c.Run("kv", "get", key); r.Status != clustertest.ExitNotFound {
				return fmt.Errorf("status %d: %s%s", r.Status, r.Stdout, r.Stderr)
			}
			return nil
		})
	}
	grant := func(ttl string) (id string) {
		t.Helper()
		var row struct{ ID string }
		c.JSON(&row, "lease", "grant", ttl, "--for", "{s}")
		return row.ID
	}
	must("kv", "set", "{s}stays", "1", "--ttl", "1s")
	must("kv", "set", "{s}stays", "2") // for ever, from now on
	must("kv", "set", "{s}ttl", "1", "--ttl", "1s")
	short, long := grant("1s"), grant("1h")
	must("kv", "set", "{s}short", "1", "{s}short2", "1", "--lease", short)
	must("kv", "set", "{s}long", "1", "--lease", long)
	must("lease", "keepalive", long)
	type row struct {
		Remaining *int64 `json:"remaining_ms"`
		Lease     string
	}
	get := func(key string) row {
		t.Helper()
		var got struct{ Items []row }
		c.JSON(&got, "kv", "get", key)
		return got.Items[0]
	}
	first := get("{s}long")
	if hour := time.Hour.Milliseconds(); first.Lease != long || first.Remaining == nil || *first.Remaining > hour || *first.Remaining < hour/2 {
		t.Errorf("a key of a lease of an hour is shown with lease %q, %v left", first.Lease, first.Remaining)
	}
	if stays := get("{s}stays"); stays.Lease != "" || stays.Remaining != nil {
		t.Errorf("a key that stays is shown with %v left, lease %q", *stays.Remaining, stays.Lease)
	}
	for _, key := range []string{"{s}ttl", "{s}short", "{s}short2"} {
		gone(key)
	}
	// They lasted for a second. Nobody writes, and still time goes by.
	if now := get("{s}long"); *now.Remaining > *first.Remaining-500 {
		t.Errorf("a key with %d ms left has %d ms after a second", *first.Remaining, *now.Remaining)
	}
	for _, tt := range []struct {
		line   string
		status int
		want   string
	}{
		{"lease keepalive " + short, clustertest.ExitNotFound, "lease " + short},
		{"lease revoke " + short, clustertest.ExitNotFound, "lease " + short},
		{"kv set {s}x 1 --lease " + short, clustertest.ExitNotFound, "lease " + short},
		{"kv set other 1 --lease " + long, clustertest.ExitUsage, "--lease " + long + " is of slot "},
		{"kv set {s}long 2 --if-value 2", clustertest.ExitConflict, "value"},
		{"kv set {s}long 2 --if-value 2 --ttl 5s", clustertest.ExitConflict, "value"},
		{"kv incr {s}word", clustertest.ExitConflict, "number"},
	} {
		if strings.Contains(tt.line, "word") {
			must("kv", "set", "{s}word", "one")
		}
		r := c.Run(strings.Split(tt.line, " ")...)
		if r.Status != tt.status || r.Stdout != "" || strings.Count(r.Stderr, "\n") != 1 || !strings.Contains(r.Stderr, tt.want) {
			t.Errorf("%s: status %d, %q, %q; want status %d and one line with %q", tt.line, r.Status, r.Stdout, r.Stderr, tt.status, tt.want)
		}
	}
	must("lease", "revoke", long)
	if r := c.Run("kv", "get", "{s}long"); r.Status != clustertest.ExitNotFound {
		t.Errorf("a key outlives its lease: status %d", r.Status)
	}
	if r := c.Run("kv", "get", "{s}stays"); r.Stdout != "2\n" {
		t.Errorf("a key that was set anew without a ttl: %q, status %d: %s", r.Stdout, r.Status, r.Stderr)
	}
	var leases []struct{ ID string }
	c.JSON(&leases, "lease", "list")
	if len(leases) != 0 {
		t.Errorf("leases are left: %v", leases)
	}
}
