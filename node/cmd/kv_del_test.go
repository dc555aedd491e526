package cmd

import (
	"net/http"
	"strings"
	"testing"
)

// An empty prefix was every key, and a script whose variable is not set gives one with --yes. All keys go only where that
// is said in a word of its own, and the plan says it too.
func TestAllKeysAreDeletedByTheirOwnOption(t *testing.T) {
	a := api(t)
	t.Setenv("MUSTER_INSECURE", "true")
	t.Setenv("MUSTER_ENDPOINTS", strings.TrimPrefix(a.url, "http://"))
	a.post(t, "kv/set", `{"items":[{"key":"a/1","value":"1"},{"key":"a/2","value":"2"},{"key":"b","value":"3"}]}`).is(t, http.StatusOK, nil)
	count := func(want string) {
		t.Helper()
		if got := muster(t, "kv", "list", "--count").done(t); got != want+"\n" {
			t.Fatalf("there are %s keys, want %s", got, want)
		}
	}

	muster(t, "kv", "del", "--prefix", "", "--yes").refused(t, exitUsage, "or --all to delete every key of the cluster")
	const plan = "plan to delete all keys of the cluster: 3 keys in "
	if r := muster(t, "kv", "del", "--all"); r.status != exitNotConfirmed || !strings.Contains(r.stderr, plan) {
		t.Errorf("without consent: status %d, %q", r.status, r.stderr)
	}
	p := a.plan(t, "kv/del", `{"all":true}`)
	if p.Token == "" || !strings.HasPrefix(p.Lines[0], plan) {
		t.Errorf("the plan over HTTP is %+v", p)
	}
	a.post(t, "kv/del", `{"all":true}`).refused(t, http.StatusPreconditionRequired, "not-confirmed")
	count("3")

	if r := muster(t, "kv", "del", "--prefix", "a/", "--yes"); r.status != exitDone || !strings.Contains(r.stderr, `plan to delete all keys that begin with "a/": 2 keys in `) {
		t.Errorf("a prefix: status %d, %q", r.status, r.stderr)
	}
	count("1")
	if r := muster(t, "kv", "del", "--all", "--yes"); r.status != exitDone || !strings.Contains(r.stderr, "plan to delete all keys of the cluster: 1 key in 1 slot of 1 group") {
		t.Errorf("all: status %d, %q", r.status, r.stderr)
	}
	count("0")
	if r := muster(t, "kv", "del", "--all"); r.status != exitDone || r.stderr != "nothing to delete: the cluster has no key\n" {
		t.Errorf("none: status %d, %q", r.status, r.stderr)
	}

	a.post(t, "kv/set", `{"key":"c","value":"4"}`).is(t, http.StatusOK, nil)
	p = a.plan(t, "kv/del", `{"all":true}`)
	a.post(t, "kv/del", `{"all":true,"wait":true,"plan_token":"`+p.Token+`"}`).is(t, http.StatusOK, nil)
	count("0")
}
