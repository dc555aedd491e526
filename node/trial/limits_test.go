package trial

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
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
	c := clustertest.Start(t, 1, "--groups", "3")
	c.Run("kv", "set", "app/1", "one", "app/2", "two", "other", "v").Done(t)
	var row namespaceRow
	c.JSON(&row, "namespace", "limit", "app/", "--keys", "4", "--bytes", "1000")
	if row != (namespaceRow{Prefix: "app/", Keys: 2, KeysLimit: 4, Bytes: 16, BytesLimit: 1000, Known: true}) {
		t.Errorf("got %+v", row)
	}
	c.Run("kv", "set", "app/3", "three", "app/4", "four").Done(t)
	r := c.Run("kv", "set", "app/5", "five")
	if want := `over-limit: prefix "app/": over its limit, nothing was applied (the limit is 4 keys, it has 4, 0 are left); delete keys of that prefix, or have its limit raised with muster namespace limit app/ --keys N`; r.Status != clustertest.ExitRefused || !strings.Contains(r.Stderr, want) {
		t.Errorf("a key too many: status %d, %s", r.Status, r.Stderr)
	}
	c.Run("kv", "set", "app/1", "uno").Done(t)
	c.Run("kv", "del", "app/2").Done(t)
	c.Run("kv", "set", "app/5", "five").Done(t)

	// Existing keys stay, and the command says so.
	r = c.Run("namespace", "limit", "app/", "--keys", "2", "-o", "json")
	if r.Status != clustertest.ExitDone || !strings.Contains(r.Stderr, `prefix "app/" has 4 keys, more than the limit of 2: what is there stays, and nothing can be added before enough is deleted`) {
		t.Errorf("less than there is: status %d, %s", r.Status, r.Stderr)
	}
	var status struct {
		Namespaces []namespaceRow `json:"namespaces"`
	}
	c.JSON(&status, "status")
	if len(status.Namespaces) != 1 || status.Namespaces[0].KeysLimit != 2 || status.Namespaces[0].BytesLimit != 1000 {
		t.Errorf("status shows %+v", status.Namespaces)
	}
	for _, tt := range []struct {
		line   string
		status int
		want   string
	}{
		{"namespace limit app/ --keys 0 --bytes 0", clustertest.ExitUsage, "no limit would be left; take the limits away with muster namespace del"},
		{"namespace limit new/ --keys 0", clustertest.ExitUsage, "no limit would be left; give a limit above 0"},
		{"namespace del new/", clustertest.ExitNotFound, "see muster namespace list"},
	} {
		if r := c.Run(strings.Fields(tt.line)...); r.Status != tt.status || !strings.Contains(lastLine(r), tt.want) {
			t.Errorf("%s: status %d, want %d; %q, want %q", tt.line, r.Status, tt.status, lastLine(r), tt.want)
		}
	}
	for _, prefix := range []string{"", strings.Repeat("x", 4097)} {
		if r := c.Run("namespace", "limit", prefix, "--keys", "1"); r.Status != clustertest.ExitUsage || !strings.Contains(lastLine(r), "want 1 to 4096, that keys begin with") {
			t.Errorf("a prefix of %d bytes: status %d, %q", len(prefix), r.Status, lastLine(r))
		}
	}
	c.Run("namespace", "del", "app/").Done(t)
	c.Until("there are no limits", func(context.Context) error {
		if r := c.Run("namespace", "list", "-o", "json"); r.Stdout != "[]\n" {
			return fmt.Errorf("%s%s", r.Stdout, r.Stderr)
		}
		return nil
	})
	c.Run("kv", "set", "app/6", "six", "app/7", "seven").Done(t)
}
