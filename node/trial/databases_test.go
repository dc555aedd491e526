package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
)

type (
	databaseRow struct {
		Name     string `json:"name"`
		ID       uint64 `json:"id"`
		Default  string `json:"default"`
		Policies int    `json:"policies"`
		Windows  int    `json:"windows"`
	}
	policyRow struct {
		Database string `json:"database"`
		Name     string `json:"name"`
		ID       uint64 `json:"id"`
		Duration string `json:"duration"`
		Window   string `json:"window"`
		Shards   int    `json:"shards"`
		Default  bool   `json:"default"`
		Windows  int    `json:"windows"`
	}
	windowRow struct {
		ID        uint64 `json:"id"`
		Database  string `json:"database"`
		Policy    string `json:"policy"`
		Truncated string `json:"truncated"`
		Groups    []int  `json:"groups"`
	}
	shardRow struct {
		Window uint64 `json:"window"`
		Shard  int    `json:"shard"`
		Group  int    `json:"group"`
	}
)

// printed returns the rows that a command prints, whatever plan it shows before.
func printed[E any](c *clustertest.Cluster, args ...string) (rows []E) {
	c.T.Helper()
	r := c.Run(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(r.Stdout), &rows); err != nil || r.Status != clustertest.ExitDone {
		c.T.Fatalf("%v: status %d, printed %q, %q: %v", args, r.Status, r.Stdout, r.Stderr, err)
	}
	return rows
}

// A person creates databases and policies, changes and drops them, and finds the windows that the cluster makes by
// itself. Commands that hurt show their plan first, and do nothing without --yes.
func TestDatabases(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1, "--groups", "3")
	dbs := printed[databaseRow](c, "db", "create", "metrics", "--duration", "30d")
	if len(dbs) != 1 || dbs[0].Name != "metrics" || dbs[0].Default != "autogen" || dbs[0].Policies != 1 {
		t.Fatalf("created: %+v", dbs)
	}
	was := dbs[0].ID
	dbs = printed[databaseRow](c, "db", "create", "metrics")
	if len(dbs) != 1 || dbs[0].ID != was {
		t.Errorf("created again it is %+v", dbs)
	}
	var windows []windowRow
	c.Until("the window of now is made ahead", func(context.Context) error {
		windows = printed[windowRow](c, "window", "list", "metrics")
		if len(windows) == 0 || windows[0].Policy != "autogen" || len(windows[0].Groups) != 3 {
			return fmt.Errorf("there are %+v", windows)
		}
		return nil
	})
	shards := printed[shardRow](c, "shard", "list")
	if len(shards) < 3 || shards[2].Shard != 2 || shards[0].Group == shards[1].Group {
		t.Errorf("shards %+v", shards)
	}
	first := windows[0].ID
	windows = printed[windowRow](c, "window", "truncate", "metrics", "--yes")
	if !slices.ContainsFunc(windows, func(w windowRow) bool { return w.ID == first && w.Truncated != "" }) {
		t.Errorf("truncated: %+v", windows)
	}
	c.Until("another window is made in its place", func(context.Context) error {
		windows = printed[windowRow](c, "window", "list")
		if !slices.ContainsFunc(windows, func(w windowRow) bool { return w.ID > first && w.Truncated == "" }) {
			return fmt.Errorf("there are %+v", windows)
		}
		return nil
	})

	policies := printed[policyRow](c, "policy", "create", "metrics", "long", "--window", "7d", "--shards", "2", "--default")
	if len(policies) != 1 || policies[0].Duration != "inf" || policies[0].Window != "1w" || policies[0].Shards != 2 || !policies[0].Default {
		t.Errorf("created: %+v", policies)
	}
	policies = printed[policyRow](c, "policy", "default", "metrics", "autogen")
	if len(policies) != 1 || !policies[0].Default {
		t.Errorf("the default: %+v", policies)
	}
	policies = printed[policyRow](c, "policy", "alter", "metrics", "long", "--duration", "2w", "--yes")
	if len(policies) != 1 || policies[0].Duration != "2w" || policies[0].Window != "1w" || policies[0].Shards != 2 {
		t.Errorf("altered: %+v", policies)
	}
	policies = printed[policyRow](c, "policy", "list", "metrics")
	if len(policies) != 2 {
		t.Errorf("listed: %+v", policies)
	}
	for _, tt := range []struct {
		line   string
		status int
		want   string
	}{
		{"db create metrics --duration 1d", clustertest.ExitConflict, "its default policy is not the one that the order names"},
		{"db create bad/name", clustertest.ExitRefused, `it has a / or a \`},
		{"db create short --duration 1m", clustertest.ExitRefused, "duration 1m0s; want 1h0m0s at least"},
		{"db drop none --yes", clustertest.ExitNotFound, "there is none of that name; muster db list"},
		{"db drop metrics", clustertest.ExitNotConfirmed, "goes, with 2 policies"},
		{"policy create none p", clustertest.ExitNotFound, "there is none of that name"},
		{"policy create metrics long", clustertest.ExitConflict, "it is there: duration 336h0m0s"},
		{"policy alter metrics long --duration 1h --yes", clustertest.ExitRefused, "want windows that are no longer"},
		{"policy alter metrics autogen --duration 7d", clustertest.ExitNotConfirmed, "points are kept for 1w instead of 30d: windows that ended before that go"},
		{"policy drop metrics autogen", clustertest.ExitNotConfirmed, "it is the default"},
		{"policy default metrics none", clustertest.ExitNotFound, "there is none of that name"},
		{"window truncate none --yes", clustertest.ExitNotFound, "there is none of that name"},
		{"window truncate", clustertest.ExitNotConfirmed, "no new points from now on"},
		{"group remove 3 --yes", clustertest.ExitConflict, "it owns"},
	} {
		r := c.Run(strings.Fields(tt.line)...)
		if r.Status != tt.status || !strings.Contains(r.Stderr, tt.want) {
			t.Errorf("%s: status %d, %s; want %d, %q", tt.line, r.Status, r.Stderr, tt.status, tt.want)
		}
	}
	if policies = printed[policyRow](c, "policy", "drop", "metrics", "long", "--yes"); len(policies) != 1 || policies[0].Name != "long" {
		t.Errorf("dropped: %+v", policies)
	}
	dbs = printed[databaseRow](c, "db", "drop", "metrics", "--yes")
	if len(dbs) != 1 || dbs[0].Policies != 1 {
		t.Errorf("dropped: %+v", dbs)
	}
	dbs = printed[databaseRow](c, "db", "list")
	windows = printed[windowRow](c, "window", "list")
	if len(dbs) != 0 || len(windows) != 0 {
		t.Errorf("left: %+v, %+v", dbs, windows)
	}
}
