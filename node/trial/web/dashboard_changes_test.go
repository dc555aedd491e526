package web

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/chromedp/kb"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

// Changes that people make with the page.

// A value is written over the version that was seen, and over no other one.
func pageKeys(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/keys?prefix=mine/")
	b.click("watch")
	b.sees("watch-state", "watching")
	b.click("key-new")
	b.fill("field-key", "mine/a/one")
	b.fill("field-value", "first")
	b.click("dialog-go")
	b.sees("value", "first")
	b.sees("watch-panel", "mine/a/one")
	b.sees("keys", "a/")
	get := func() (value string, version uint64) {
		var got struct {
			Items []struct {
				Value   string
				Version uint64
			}
		}
		p.api(t, 1, "GET", "kv/get?key=mine/a/one", "", &got)
		return got.Items[0].Value, got.Items[0].Version
	}
	if value, version := get(); value != "first" || b.text("key-version") != fmt.Sprint(version) {
		t.Errorf("the API has %q at version %d, the page says %s", value, version, b.text("key-version"))
	}
	b.click("edit")
	b.fill("edit-text", "second")
	// Somebody else is faster.
	p.api(t, 1, "POST", "kv/set", `{"key":"mine/a/one","value":"theirs"}`, nil)
	b.mayRefuse("/api/v1/kv/")
	b.click("edit-save")
	b.until("it is told", of("edit-error"))
	if value, _ := get(); value != "theirs" {
		t.Errorf("the other's value was lost: %q", value)
	}
	b.click("edit-reload")
	b.sees("value", "theirs")
	b.click("edit")
	b.fill("edit-text", "second")
	b.click("edit-save")
	b.sees("value", "second")
	if value, _ := get(); value != "second" {
		t.Errorf("the API has %q, the page wrote second", value)
	}
	b.click("edit")
	b.fill("edit-ttl", "1h")
	b.click("edit-save")
	b.sees("key-left", "59 min")
	b.click("delete")
	b.sees("dialog-command", "muster kv del mine/a/one")
	b.click("dialog-go")
	b.until("it is gone", of("key-gone"))
	b.sees("watch-panel", "del")
	// A key may end while somebody looks at it, and nobody presses anything.
	var lease struct{ ID string }
	p.api(t, 1, "POST", "lease/grant", `{"ttl":"2h","for":"mine/b"}`, &lease)
	p.api(t, 1, "POST", "kv/set", `{"key":"mine/b","value":"leased","lease":"`+lease.ID+`"}`, nil)
	b.goTo("/ui/keys?prefix=mine/&key=t.mine/b")
	b.sees("key-left", "1 h 59 min")
	b.sees("key-lease", lease.ID)
	p.api(t, 1, "POST", "lease/revoke", `{"id":"`+lease.ID+`"}`, nil)
	b.until("it is gone", of("key-gone"))
	b.goTo("/ui/keys?key=t.odd/msgpack")
	b.sees("value", `"b": [`)
	b.click("as-hex")
	b.sees("value", "82 a1 61 01")
	b.goTo("/ui/keys?key=t.odd/json")
	b.sees("value", `"n": 12345678901234567890`)
	b.clean()
}

// The page asks for the first 10,000 keys. Those behind them are one key press away, each once.
func pageBeyond(t *testing.T, p *dashboard) {
	const far = "odd/json" // behind those of many/
	b := p.login(t, 0, "/ui/keys?flat=1&q="+url.QueryEscape(far))
	b.sees("keys-shown", "the first 10,000 keys")
	if shown := b.text("keys-count"); shown != "0 of 10,000" {
		t.Errorf("the page shows %s keys, and is to show none that is so far behind", shown)
	}
	eval[bool](b, of("keys-more")+".focus() === undefined")
	b.key(kb.Enter)
	b.until("it has come", of("keys-count")+"?.textContent.startsWith('1 of 1')")
	b.fill("keys-filter", "many/")
	b.until("each is there once", of("keys-count")+"?.textContent.startsWith('10,000 of 1')")
	b.fill("keys-filter", far)
	eval[bool](b, of("keys")+".querySelector('.scroll').focus() === undefined")
	b.key(kb.Home + kb.Enter)
	b.sees("value", `"n": 12345678901234567890`)
	b.clean()
}

// agree carries out the plan that a dialog shows, by press, and the new one where it has become
// another: another tab may change the cluster in between.
func (b *tab) agree(press func()) {
	b.t.Helper()
	for eval[bool](b, "Boolean("+of("dialog")+")") {
		b.sees("plan", "quorum")
		b.until("nothing is under way", of("dialog-go")+`?.getAttribute("aria-disabled") !== "true"`)
		b.mayRefuse("/api/v1/slot/move") // a plan that has become another one
		press()
		b.until("it is done, or is another plan", "!"+of("dialog")+" || "+of("stale"))
	}
}

// A plan that is refused says what is in the way, and nobody can agree to it. With as many nodes as a
// group wants replicas, none can be drained.
func pageRefused(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/nodes?node=n3")
	b.mayRefuse("/api/v1/node/drain")
	b.click("drain")
	b.sees("plan", "problem: group 1 has 2 of 3 replicas that may stay")
	b.sees("dialog-error", "add a node")
	if eval[bool](b, "Boolean("+of("dialog-go")+")") {
		t.Error("the page offers to carry out a plan that was refused")
	}
	b.click("dialog-close")
	b.clean()
}

// A user without rights must not read that nodes do nothing: the page shows no 0 for rates that the user may
// not see, but says that it leaves them out, and which right shows them.
func pageLimited(t *testing.T, p *dashboard) {
	const user = "reader"
	p.Run("user", "create", user, "--password-file", filepath.Join(p.Dir, "password")).Done(t)
	b := p.browser.open(t, p.Cluster, 0)
	b.mayRefuse("/api/v1/events") // before the login
	b.goTo("/ui/")
	b.enter(user, pagePassword)
	b.sees("limited", "muster role grant ROLE read cluster")
	b.click("nav-nodes")
	b.sees("nodes", "n3")
	if shown := b.text("nodes"); strings.Contains(shown, "%") || !strings.Contains(shown, "–") {
		t.Errorf("the table tells rates that %s may not see: %s", user, shown)
	}
	// Nor is a list that was refused an empty one.
	b.mayRefuse("/api/v1/")
	for _, screen := range []string{"keys", "services", "users"} {
		b.click("nav-" + screen)
		b.sees("screen-"+screen, "unauthorized")
		b.sees(screen, "not known")
	}
	// Of databases the list is not refused, but lacks those of others.
	b.click("nav-points")
	b.sees("points-limited", "left out")
	b.sees("axis", "there is no database")
	b.clean()
}

// A hundred slots with data move from the page while clients write to them. The plan comes first,
// and the move is watched, paused, cancelled, and made again.
func pageMove(t *testing.T, p *dashboard) {
	b := p.login(t, 0, "/ui/settings")
	rate := func(value string) {
		b.click("nav-settings")
		b.click("set-slot-rate")
		b.fill("field-value", value)
		b.click("dialog-go")
		b.sees("setting-slot-rate", value)
	}
	rate(pageSlowRate)

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	written := make(chan map[string]string, 1)
	cl := p.Client()
	go func() {
		last := map[string]string{}
		for i := 0; ctx.Err() == nil; i++ {
			key := p.found[i%pageSlots][0]
			value := strconv.Itoa(i)
			if _, err := cl.Set(context.Background(), []byte(key), []byte(value), client.WriteOptions{}); err != nil {
				t.Errorf("write while slots move: %v", err)
				break
			}
			last[key] = value
		}
		written <- last
	}()

	target := func() string {
		var runs []struct{ From, To, Group int }
		p.api(t, 1, "GET", "slot/list", "", &runs)
		if runs[0].Group == 1 {
			return "2"
		}
		return "1"
	}()
	begin := func() (job clustertest.JobRow) {
		b.click("nav-slots")
		b.fill("from", "0")
		b.fill("to", strconv.Itoa(pageSlots-1))
		b.sees("selected", fmt.Sprintf("%d slots", pageSlots))
		b.click("move")
		b.fill("field-group", target)
		b.sees("dialog-command", fmt.Sprintf("muster slot move 0-%d %s", pageSlots-1, target))
		b.click("dialog-go")
		before := p.jobs(t)
		b.agree(func() { b.click("dialog-go") })
		// Another tab moves slots too, fewer than are left of these after a cancelled move.
		for _, j := range p.jobs(t) {
			if j.Kind == "move" && j.Total > keyedSlots && !slices.ContainsFunc(before, func(o clustertest.JobRow) bool { return o.ID == j.ID }) {
				return j
			}
		}
		t.Fatalf("the API had %v, and has %v", before, p.jobs(t))
		return job
	}
	order := func(id, verb, state string) {
		b.click("job-" + verb)
		b.sees("dialog-command", "muster job "+verb+" "+id)
		b.click("dialog-go")
		b.sees("job-state", state)
		if got := p.job(t, id).State; got != state {
			t.Errorf("after %s the page says %s, the API %s", verb, state, got)
		}
	}
	j := begin()
	b.goTo("/ui/jobs?job=" + j.ID)
	b.sees("job-state", "running")
	b.until("bytes go over", `/[1-9]\S* ([KM]i)?B\/s/.test(`+of("job-one")+"?.textContent)")
	order(j.ID, "pause", "paused")
	order(j.ID, "resume", "running")
	order(j.ID, "cancel", "cancelled")
	rate(unlimitedRate)
	j = begin()
	b.goTo("/ui/jobs?job=" + j.ID)
	b.sees("job-state", "done")
	stop()
	last := <-written
	var runs []struct{ From, To, Group int }
	p.api(t, 2, "GET", "slot/list", "", &runs)
	for _, r := range runs {
		if r.From < pageSlots && strconv.Itoa(r.Group) != target {
			t.Errorf("the page says done, and slots %d to %d are in group %d, want %s", r.From, r.To, r.Group, target)
		}
	}
	for key, want := range last {
		items, _, err := cl.Get(context.Background(), [][]byte{[]byte(key)}, client.ReadOptions{})
		if err != nil || len(items) != 1 || string(items[0].Value) != want {
			t.Errorf("%s: got %v, %v, want %s", key, items, err, want)
		}
	}
	b.clean()
}

func (p *dashboard) jobs(t testing.TB) (all []clustertest.JobRow) {
	t.Helper()
	p.api(t, 1, "GET", "job/list", "", &all)
	return all
}

func (p *dashboard) job(t testing.TB, id string) (j clustertest.JobRow) {
	t.Helper()
	p.api(t, 1, "GET", "job/show?id="+id, "", &j)
	return j
}
