package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
)

// historyRow is what kv history prints of a version.
type historyRow struct {
	Version uint64
	LogID   string `json:"log_id"`
	Value   *string
	Deleted bool
	By, At  string
}

// historyRows is the history of a key.
func historyRows(c *clustertest.Cluster, key string, options ...string) (rows []historyRow, text string, err error) {
	r := c.Run(append([]string{"kv", "history", key, "-o", "json"}, options...)...)
	for line := range strings.Lines(r.Stdout) {
		var row historyRow
		if err := json.Unmarshal([]byte(line), &row); err != nil {
			return nil, "", err
		}
		rows = append(rows, row)
	}
	if r.Status != clustertest.ExitDone {
		err = fmt.Errorf("status %d: %s", r.Status, r.Stderr)
	}
	return rows, r.Stdout, err
}

// A person sees what a key had, compares it and goes back, and scripts read the same as objects. The history
// must be there, to the byte, on each node, after its slot has moved to another group, and after all nodes
// were killed.
func TestHistoryOfAKey(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3, "--groups", "2")
	run := func(status int, args ...string) clustertest.Result {
		t.Helper()
		r := c.Run(args...)
		if r.Status != status {
			t.Fatalf("%s: status %d, want %d: %s", args, r.Status, status, r.Stderr)
		}
		return r
	}
	const key = "conf/{t}db"
	run(clustertest.ExitDone, "kv", "set", key, "one\ntwo\n")
	run(clustertest.ExitDone, "setting", "set", "history", "conf/=20/1h")
	c.Until("the rule is in the group", func(context.Context) error {
		run(clustertest.ExitDone, "kv", "set", key, "one\n2\n")
		rows, _, err := historyRows(c, key)
		if err == nil && rows[0].LogID == "" {
			err = fmt.Errorf("the newest version is %+v", rows[0])
		}
		return err
	})
	run(clustertest.ExitDone, "kv", "set", key, "one\n2\nthree")
	run(clustertest.ExitDone, "kv", "set", key, "\xff\xfe")
	run(clustertest.ExitDone, "kv", "del", key)
	rows, before, err := historyRows(c, key)
	if err != nil || len(rows) < 5 || !rows[0].Deleted || rows[0].Value != nil || !rows[1].Deleted && rows[1].Value != nil {
		t.Fatalf("%+v, %v", rows, err)
	}
	form := regexp.MustCompile(`^\{"version":\d+,"log_id":"g\d+/\d+\.\d+","deleted":true,"by":"[^"]*","at":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"\}
\{"version":\d+,"log_id":"g\d+/\d+\.\d+","value_base64":"//4=","by":"[^"]*","at":"[^"]+"\}
\{"version":\d+,"log_id":"g\d+/\d+\.\d+","value":"one\\n2\\nthree","by":"[^"]*","at":"[^"]+"\}
`)
	if !form.MatchString(before) {
		t.Errorf("printed are\n%s", before)
	}
	version := func(i int) string { return fmt.Sprint(rows[i].Version) }
	r := run(clustertest.ExitDone, "kv", "history", key, "--limit", "2")
	if !strings.HasPrefix(r.Stdout, "VERSION  AT  ") || !strings.Contains(r.Stdout, "(deleted)\n") || strings.Count(r.Stdout, "\n") != 3 {
		t.Errorf("a table of two:\n%s", r.Stdout)
	}
	// In the order of a person who looks, compares and goes back.
	r = run(clustertest.ExitDone, "kv", "diff", key, version(3), version(2))
	if !strings.HasSuffix(r.Stdout, "@@ -1,2 +1,3 @@\n one\n 2\n+three\n\\ No newline at end of file\n") || !strings.HasPrefix(r.Stdout, "--- ") {
		t.Errorf("diff prints\n%s", r.Stdout)
	}
	r = run(clustertest.ExitDone, "kv", "diff", key, version(2), version(1))
	if want := fmt.Sprintf("values that are not text differ from byte 0 on: version %s has 11 bytes, version %s has 2\n", version(2), version(1)); r.Stdout != want {
		t.Errorf("diff of what is no text prints %q, want %q", r.Stdout, want)
	}
	r = run(clustertest.ExitDone, "kv", "diff", key, version(2), version(2), "-o", "json")
	if want := fmt.Sprintf(`{"key":%q,"from":%s,"to":%s,"equal":true,"diff":""}`+"\n", key, version(2), version(2)); r.Stdout != want {
		t.Errorf("diff of a version with itself prints %s, want %s", r.Stdout, want)
	}
	r = run(clustertest.ExitRefused, "kv", "rollback", key, version(0))
	if !strings.Contains(r.Stderr, "is a delete and has no value; muster kv del") {
		t.Errorf("a rollback to a delete says %s", r.Stderr)
	}
	r = run(4, "kv", "rollback", key, "999999999")
	if !strings.Contains(r.Stderr, "there is no version 999999999; want one of "+version(0)+", "+version(1)) {
		t.Errorf("a rollback to no version says %s", r.Stderr)
	}
	run(clustertest.ExitDone, "kv", "rollback", key, version(2))
	if r := run(clustertest.ExitDone, "kv", "get", key, "--raw"); r.Stdout != "one\n2\nthree" {
		t.Errorf("after a rollback the key has %q", r.Stdout)
	}
	_, before, err = historyRows(c, key)
	if err != nil || strings.Count(before, "\n") != len(rows)+1 {
		t.Fatalf("after a rollback: %v\n%s", err, before)
	}
	run(4, "kv", "history", "conf/none")
	if r := run(clustertest.ExitDone, "kv", "set", "plain", "v"); r.Stderr != "" {
		t.Error(r.Stderr)
	}
	if r := run(clustertest.ExitDone, "kv", "history", "plain"); !strings.Contains(r.Stderr, "no rule of the setting history fits it") {
		t.Errorf("of a key without a rule it says %q", r.Stderr)
	}

	var at struct{ Slot, Group int }
	c.JSON(&at, "kv", "locate", key)
	run(clustertest.ExitDone, "slot", "move", fmt.Sprint(at.Slot), fmt.Sprint(3-at.Group))
	if _, after, err := historyRows(c, key); err != nil || after != before {
		t.Errorf("after its slot has moved: %v\n%s\nwant\n%s", err, after, before)
	}
	for i := range 3 {
		c.Kill(i)
	}
	for i := range 3 {
		c.Start(i)
	}
	c.Healthy(0, 1, 2)
	for _, how := range []string{"linearizable", "follower"} {
		if _, after, err := historyRows(c, key, "--read", how); err != nil || after != before {
			t.Errorf("after all nodes were killed, read %s: %v\n%s\nwant\n%s", how, err, after, before)
		}
	}
}
