package node

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"muster/node/metrics"
	"muster/node/metrics/promtool"
	"muster/repl"
	"muster/repl/client"
	"muster/repl/wire"
)

// scraped asks a node for its figures, as Prometheus does.
func scraped(t testing.TB, n *Node) string {
	t.Helper()
	w := httptest.NewRecorder()
	metrics.Scrapes(observed{n}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("/metrics: %d %s", w.Code, w.Body)
	}
	return w.Body.String()
}

// sample finds the value of a sample on a page, by all that stands in front of it.
func sample(page, name string) (value string, ok bool) {
	for line := range strings.Lines(page) {
		if rest, is := strings.CutPrefix(line, name+" "); is {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// A node that does all that it can is scraped: each metric of the table is there unless it may be
// missing, what was counted is right, and Prometheus' own tool finds nothing.
func TestFigures(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	r := nodes[0]
	cl := r.client()
	defer cl.Close()
	const writes = 40
	lib := r.library()
	defer lib.Close()
	for i := range writes {
		if _, err := lib.Set(t.Context(), fmt.Appendf(nil, "k%d", i), []byte("v"), client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := lib.Get(t.Context(), [][]byte{fmt.Appendf(nil, "k%d", i)}, client.ReadOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := cl.ask(wire.TypeList, 0, new(wire.List).Append(nil)); err == nil {
		t.Fatal("the meta group lists its keys")
	}
	pages := make([]string, len(nodes))
	answered, read, synced, led := 0, 0, 0, 0
	for i, o := range nodes {
		pages[i] = scraped(t, o.node)
		for name, to := range map[string]*int{
			`muster_request_duration_seconds_count{kind="write"}`: &answered, `muster_request_duration_seconds_count{kind="read"}`: &read,
			`muster_request_stage_duration_seconds_count{kind="write",stage="log"}`: &synced,
		} {
			n := 0
			if value, ok := sample(pages[i], name); ok {
				if _, err := fmt.Sscan(value, &n); err != nil {
					t.Errorf("%s is %q", name, value)
				}
			}
			*to += n
		}
		led += strings.Count(pages[i], `,role="leader"} 1`)
	}
	if answered < writes || read < writes || synced != answered {
		t.Errorf("%d writes and %d reads were answered, and the disks of leaders had %d writes; want %d of each or more, and as many on disks as were answered", answered, read, synced, writes)
	}
	if groups := len(r.node.table.Load().Groups) + 1; led != groups {
		t.Errorf("%d groups are led, want %d", led, groups)
	}
	page := pages[0]
	for name, want := range map[string]string{
		`muster_requests_refused_total{type="List",code="bad-request"}`: "1", `muster_cluster_nodes{status="alive"}`: "3",
		`muster_node_member`: "1", `muster_node_loop_answers`: "1", `muster_connections{kind="client"}`: "2", `muster_disk_stalled_seconds`: "0",
		fmt.Sprintf(`muster_peer_heard_seconds{node="%s"}`, r.node.self().Node): "",
	} {
		if got, _ := sample(page, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for _, m := range metrics.Table() {
		if !m.Seldom && !strings.Contains(page, "\n# TYPE "+m.Name+" "+string(m.Kind)+"\n") {
			t.Errorf("%s is missing", m.Name)
		}
	}
	promtool.Metrics(t, page)
}

// A node that has not been founded, and one whose loop stands still, are scraped all the same,
// and say so: an operator looks at them just then.
func TestFiguresWithoutLoop(t *testing.T) {
	t.Parallel()
	c := testConfig(t)
	addrs := freeAddrs(t, 2)
	c.Listen, c.Join, c.Expect = addrs[0], addrs, 2
	alone := start(t, c, defaultLimits())
	page := scraped(t, alone.node)
	for name, want := range map[string]string{`muster_node_member`: "0", `muster_node_loop_answers`: "0"} {
		if got, _ := sample(page, name); got != want {
			t.Errorf("before the founding, %s is %q, want %q", name, got, want)
		}
	}
	if code, body := shown(metrics.Live(observed{alone.node}), ""); code != http.StatusOK {
		t.Errorf("before the founding, /livez: %d %s", code, body)
	}
	if code, body := shown(metrics.Ready(observed{alone.node}), ""); code != http.StatusServiceUnavailable || !strings.HasPrefix(body, "[-] member: ") || !strings.Contains(body, addrs[1]) || !strings.Contains(body, "next: ") {
		t.Errorf("before the founding, /readyz: %d %s; want what it waits for", code, body)
	}
	promtool.Metrics(t, page)
}

// shown asks a handler about a node.
func shown(h http.Handler, query string) (code int, body string) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/"+query, nil))
	return w.Code, w.Body.String()
}

// A loop that stands still is what a restart may mend: then a node is not alive, says what
// hangs, and is alive again once it turns.
func TestAliveAndReady(t *testing.T) {
	t.Parallel()
	r := serving(t, defaultLimits())
	live, ready := metrics.Live(observed{r.node}), metrics.Ready(observed{r.node})
	if code, body := shown(live, ""); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/livez: %d %s", code, body)
	}
	if code, body := shown(ready, "?verbose"); code != http.StatusOK || !regexp.MustCompile(`(?s)\[\+\] member: .*\[\+\] loop: .*\[\+\] disk\n.*\[\+\] certificate: .*\[\+\] meta-group: .*\[\+\] groups: all \d+ have a leader\nok\n$`).MatchString(body) {
		t.Errorf("/readyz?verbose: %d %s", code, body)
	}
	standing, goOn := make(chan struct{}), make(chan struct{})
	r.node.running().Post(func(*repl.Host) { close(standing); <-goOn })
	<-standing
	code, body := shown(live, "")
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "[-] loop: the loop that owns all replicas has taken no turn for ") || !strings.Contains(body, "next: ") {
		t.Errorf("/livez of a node whose loop stands still: %d %s", code, body)
	}
	if page := scraped(t, r.node); !strings.Contains(page, "\nmuster_node_loop_answers 0\n") || !strings.Contains(page, "\nmuster_log_batches_total ") {
		t.Errorf("the figures of a node whose loop stands still lack what needs no loop, or say that it turns")
	}
	close(goOn)
	until(t, "it is ready again", func() error {
		if code, body := shown(ready, ""); code != http.StatusOK {
			return errors.New(body)
		}
		return nil
	})
}

// A node without a majority is alive, and not ready: whoever restarts it for that makes it worse.
func TestReadyAsksMajority(t *testing.T) {
	t.Parallel()
	nodes := founders(t, 3, defaultLimits())
	nodes[1].stop()
	nodes[2].stop()
	o := observed{nodes[0].node}
	until(t, "it is not ready, and says why", func() error {
		if code, body := shown(metrics.Ready(o), ""); code != http.StatusServiceUnavailable || !strings.Contains(body, "[-] meta-group: ") || !strings.Contains(body, "next: muster status") {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	if code, body := shown(metrics.Live(o), ""); code != http.StatusOK {
		t.Errorf("/livez of a node without a majority: %d %s", code, body)
	}
}

// withGroups runs a node alone with so many groups, each of which takes writes.
func withGroups(t testing.TB, groups int) *runningNode {
	t.Helper()
	c := testConfig(t)
	c.Groups = groups
	r := start(t, c, defaultLimits())
	r.serves()
	until(t, "all groups are led", func() error {
		if n := strings.Count(scraped(t, r.node), `,role="leader"} 1`); n != groups+1 {
			return fmt.Errorf("%d of %d", n, groups+1)
		}
		return nil
	})
	return r
}

// scrapeEvery is how often Prometheus asks, as most have set it.
const scrapeEvery = 15 * time.Second

// A node is asked all its life, so what an answer costs must stay below a hundredth of a core, with
// many groups too. What else the process does meanwhile is counted in.
func TestScrapeCost(t *testing.T) {
	r := withGroups(t, 100)
	const scrapes = 20
	before := cpuMicros()
	for range scrapes {
		scraped(t, r.node)
	}
	each := time.Duration(cpuMicros()-before) * time.Microsecond / scrapes
	t.Logf("%s of processor time for a scrape of %d bytes", each, len(scraped(t, r.node)))
	if each > scrapeEvery/100 {
		t.Errorf("a scrape takes %s, want at most 1 %% of a core with one each %s", each, scrapeEvery)
	}
}

func BenchmarkScrape(b *testing.B) {
	for _, groups := range []int{8, 100, 1000} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			r := withGroups(b, groups)
			size, before := 0, cpuMicros()
			for b.Loop() {
				size = len(scraped(b, r.node))
			}
			b.ReportMetric(float64(cpuMicros()-before)/float64(b.N), "cpu-µs/scrape")
			b.ReportMetric(float64(size), "bytes/scrape")
		})
	}
}
