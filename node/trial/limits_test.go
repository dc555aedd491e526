package trial

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

type namespaceRow struct {
	Prefix     string `json:"prefix"`
	Keys       uint64 `json:"keys"`
	KeysLimit  uint64 `json:"keys_limit"`
	Bytes      uint64 `json:"bytes"`
	BytesLimit uint64 `json:"bytes_limit"`
	RateLimit  uint64 `json:"rate_limit"`
	Known      bool   `json:"known"`
}

// A person limits a prefix, sees what there is of it, is refused with what is left and what to do, and
// takes the limits away.
func TestNamespaces(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, "--groups", "3")
	c.run("kv", "set", "app/1", "one", "app/2", "two", "other", "v").done(t)
	var row namespaceRow
	c.json(&row, "namespace", "limit", "app/", "--keys", "4", "--bytes", "1000")
	if row != (namespaceRow{Prefix: "app/", Keys: 2, KeysLimit: 4, Bytes: 16, BytesLimit: 1000, Known: true}) {
		t.Errorf("got %+v", row)
	}
	c.run("kv", "set", "app/3", "three", "app/4", "four").done(t)
	r := c.run("kv", "set", "app/5", "five")
	if want := `over-limit: prefix "app/": over its limit, nothing was applied (the limit is 4 keys, it has 4, 0 are left); delete keys of that prefix, or have its limit raised with muster namespace limit app/ --keys N`; r.status != exitRefused || !strings.Contains(r.stderr, want) {
		t.Errorf("a key too many: status %d, %s", r.status, r.stderr)
	}
	c.run("kv", "set", "app/1", "uno").done(t)
	c.run("kv", "del", "app/2").done(t)
	c.run("kv", "set", "app/5", "five").done(t)

	// Existing keys stay, and the command says so.
	r = c.run("namespace", "limit", "app/", "--keys", "2", "-o", "json")
	if r.status != exitDone || !strings.Contains(r.stderr, `prefix "app/" has 4 keys, more than the limit of 2: what is there stays, and nothing can be added before enough is deleted`) {
		t.Errorf("less than there is: status %d, %s", r.status, r.stderr)
	}
	var status struct {
		Namespaces []namespaceRow `json:"namespaces"`
	}
	c.json(&status, "status")
	if len(status.Namespaces) != 1 || status.Namespaces[0].KeysLimit != 2 || status.Namespaces[0].BytesLimit != 1000 {
		t.Errorf("status shows %+v", status.Namespaces)
	}
	for _, tt := range []struct {
		line   string
		status int
		want   string
	}{
		{"namespace limit app/ --keys 0 --bytes 0", exitUsage, "no limit would be left; take the limits away with muster namespace del"},
		{"namespace limit new/ --keys 0", exitUsage, "no limit would be left; give a limit above 0"},
		{"namespace del new/", exitNotFound, "see muster namespace list"},
	} {
		if r := c.run(strings.Fields(tt.line)...); r.status != tt.status || !strings.Contains(r.lastLine(), tt.want) {
			t.Errorf("%s: status %d, want %d; %q, want %q", tt.line, r.status, tt.status, r.lastLine(), tt.want)
		}
	}
	for _, prefix := range []string{"", strings.Repeat("x", 4097)} {
		if r := c.run("namespace", "limit", prefix, "--keys", "1"); r.status != exitUsage || !strings.Contains(r.lastLine(), "want 1 to 4096, that keys begin with") {
			t.Errorf("a prefix of %d bytes: status %d, %q", len(prefix), r.status, r.lastLine())
		}
	}
	c.run("namespace", "del", "app/").done(t)
	c.until("there are no limits", func(context.Context) error {
		if r := c.run("namespace", "list", "-o", "json"); r.stdout != "[]\n" {
			return fmt.Errorf("%s%s", r.stdout, r.stderr)
		}
		return nil
	})
	c.run("kv", "set", "app/6", "six", "app/7", "seven").done(t)
}
