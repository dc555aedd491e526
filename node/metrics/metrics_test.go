package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"runtime/trace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/repl/client"
	"muster/shardmap/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a source whose answers a test decides.
type world struct {
	collect func(p *Page)
	ready   func(ctx context.Context) []Condition
}

func (s *world) Collect(_ context.Context, p *Page) { s.collect(p) }

func (s *world) Alive(context.Context) []Condition {
	return []Condition{{Name: "loop", Reason: "it stands still", Next: "restart it"}}
}

func (s *world) Ready(ctx context.Context) []Condition { return s.ready(ctx) }

func ask(h http.Handler, method, url string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, url, nil))
	return w
}

// The names keep to Prometheus' conventions. promtool says the same of a page of a real node, but
// only of metrics that the page has a sample of.
func TestTable(t *testing.T) {
	name := regexp.MustCompile(`^(muster|go|process)_[a-z0-9_]+[a-z0-9]$`)
	seen := map[string]bool{}
	for _, m := range Table() {
		counter := m.Kind == Counter
		switch {
		case !name.MatchString(m.Name):
			t.Errorf("%q: want a name of small letters that says whose it is", m.Name)
		case seen[m.Name]:
			t.Errorf("%s: twice", m.Name)
		case strings.HasSuffix(m.Name, "_total") != counter:
			t.Errorf("%s: a counter, and nothing else, ends with _total", m.Name)
		case m.Unit != "" && !strings.HasSuffix(strings.TrimSuffix(m.Name, "_total"), "_"+m.Unit) && !strings.HasSuffix(m.Name, "_"+m.Unit+"_max") && !strings.Contains(m.Name, "_"+m.Unit+"_"):
			t.Errorf("%s: its unit %s is not in its name", m.Name, m.Unit)
		case m.Help == "" || !strings.HasSuffix(m.Help, "."):
			t.Errorf("%s: want a sentence of help", m.Name)
		case slices.Contains(m.Labels, "le") || slices.Contains(m.Labels, "instance") || slices.Contains(m.Labels, "job"):
			t.Errorf("%s: labels %v, of which Prometheus makes one itself", m.Name, m.Labels)
		}
		seen[m.Name] = true
	}
}

// A scraper refuses a whole page for one wrong line.
func TestPage(t *testing.T) {
	var p Page
	p.Add(TableIndex, 1<<40)
	p.Seconds(PeersRTT, 250*time.Microsecond, "2")
	p.Yes(RaftServes, true, "7")
	p.Yes(RaftServes, false, "9")
	p.Add(NodeInfo, 1, "shop \"a\"\\\n\xff", "1", "n1", "server")
	const want = `# HELP muster_node_info The cluster and the node of the process; always 1.
# TYPE muster_node_info gauge
muster_node_info{cluster="shop \"a\"\\\n�",node="1",name="n1",role="server"} 1
# HELP muster_table_index The index of the entry of the meta group that this node's table is of; nodes that differ for long are cut off.
# TYPE muster_table_index gauge
muster_table_index 1099511627776
# HELP muster_raft_serves Whether this node's replica of a group takes part in it: it is not damaged, fenced, held or stopped.
# TYPE muster_raft_serves gauge
muster_raft_serves{group="7"} 1
muster_raft_serves{group="9"} 0
# HELP muster_peer_round_trip_seconds The last round trip to another node; missing while there is no connection to it.
# TYPE muster_peer_round_trip_seconds gauge
muster_peer_round_trip_seconds{node="2"} 0.00025
`
	if got := string(p.Append(nil)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if p.Reset(); len(p.Append(nil)) != 0 {
		t.Error("a page that was emptied has samples")
	}
}

// One scrape at a time is collected, and one that nobody reads holds up no other.
func TestOneScrapeAtATime(t *testing.T) {
	if wrong := scrapesBeside(); wrong != "" {
		t.Error(wrong)
	}
	if w := ask(Scrapes(new(world)), http.MethodPost, "/metrics"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

// scrapesBeside scrapes while a scrape is collected, and again while it waits for its scraper. It
// says what is wrong.
func scrapesBeside() string {
	collecting, goOn := make(chan struct{}), make(chan struct{})
	s := &world{collect: func(p *Page) {
		p.Yes(NodeMember, true)
		collecting <- struct{}{}
		<-goOn
	}}
	h := Scrapes(s)
	slow := &stuck{header: http.Header{}, writing: make(chan struct{}), read: make(chan struct{})}
	var ended sync.WaitGroup
	defer ended.Wait()
	ended.Go(func() { h.ServeHTTP(slow, httptest.NewRequest(http.MethodGet, "/metrics", nil)) })
	defer close(slow.read)
	<-collecting
	done := make(chan *httptest.ResponseRecorder, 1)
	second := func() { done <- ask(h, http.MethodGet, "/metrics") }
	ended.Go(second)
	select {
	case w := <-done:
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			return fmt.Sprintf("a second scrape meanwhile: %d, want 503 with when to come back", w.Code)
		}
	case <-collecting:
		goOn <- struct{}{}
		goOn <- struct{}{}
		return "two scrapes are collected at once"
	}
	goOn <- struct{}{}
	<-slow.writing // it is collected, and its scraper reads nothing
	ended.Go(second)
	<-collecting
	goOn <- struct{}{}
	if w := <-done; w.Code != http.StatusOK || strings.Count(w.Body.String(), "\nmuster_node_member 1\n") != 1 {
		return fmt.Sprintf("a scrape beside one that nobody reads: %d %s", w.Code, w.Body)
	}
	return ""
}

// stuck is a scraper that does not read.
type stuck struct {
	header        http.Header
	writing, read chan struct{}
}

func (s *stuck) Header() http.Header { return s.header }
func (s *stuck) WriteHeader(int)     {}
func (s *stuck) Write(b []byte) (int, error) {
	close(s.writing)
	<-s.read
	return len(b), errors.New("it hung up")
}

// The page of a node's health says what is wrong, and lists all conditions when asked to.
func TestHealthPage(t *testing.T) {
	s := &world{ready: func(ctx context.Context) []Condition {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the question has no end")
		}
		return []Condition{{Name: "member", OK: true}, {Name: "groups", Reason: "group 3 has no leader", Next: "muster status"}}
	}}
	for _, tt := range []struct {
		h         http.Handler
		url, want string
	}{
		{Ready(s), "/readyz", "[-] groups: group 3 has no leader\n    next: muster status\n"},
		{Ready(s), "/readyz?verbose", "[+] member\n[-] groups: group 3 has no leader\n    next: muster status\n"},
		{Live(s), "/livez", "[-] loop: it stands still\n    next: restart it\n"},
	} {
		if w := ask(tt.h, http.MethodGet, tt.url); w.Code != http.StatusServiceUnavailable || w.Body.String() != tt.want {
			t.Errorf("%s: %d %q, want %q", tt.url, w.Code, w.Body, tt.want)
		}
	}
	s.ready = func(context.Context) []Condition { return []Condition{{Name: "member", OK: true, Reason: "node 3"}} }
	if w := ask(Ready(s), http.MethodGet, "/readyz?verbose"); w.Code != http.StatusOK || w.Body.String() != "[+] member: node 3\nok\n" {
		t.Errorf("of one that is ready: %d %q", w.Code, w.Body)
	}
}

// Anybody may ask whether a node is ready, and each answer costs a majority: many who ask at
// once must not become as many questions.
func TestReadyIsAskedOnce(t *testing.T) {
	if wrong := manyAskReady(); wrong != "" {
		t.Error(wrong)
	}
}

// manyAskReady asks many times while the first question is not answered. It says what is wrong.
func manyAskReady() string {
	const many = 50
	asked, goOn := make(chan struct{}, many), make(chan struct{})
	h := Ready(&world{ready: func(context.Context) []Condition {
		asked <- struct{}{}
		<-goOn
		return []Condition{{Name: "member", OK: true}}
	}})
	began, answered := make(chan struct{}), make(chan int, many)
	for range many {
		go func() {
			began <- struct{}{}
			answered <- ask(h, http.MethodGet, "/readyz").Code
		}()
	}
	for range many {
		<-began
	}
	<-asked
	close(goOn)
	for range many {
		if code := <-answered; code != http.StatusOK {
			return fmt.Sprintf("one was answered %d", code)
		}
	}
	// On a slow machine some may have come when the answer had become too old.
	if n := len(asked) + 1; n > many/2 {
		return fmt.Sprintf("%d who asked at once became %d questions", many, n)
	}
	return ""
}

// One profile at a time, of bounded length, and none that does not exist.
func TestProfiles(t *testing.T) {
	h := Profiles()
	for _, tt := range []struct {
		path string
		code int
		want string
	}{
		{"", http.StatusOK, "goroutine"},
		{"goroutine?debug=2", http.StatusOK, "TestProfiles"},
		{"heap", http.StatusOK, "\x1f\x8b"},
		{"goroutine?debug=3", http.StatusBadRequest, "want 0, 1 or 2"},
		{"nothing", http.StatusNotFound, "no profile \"nothing\""},
		{"profile?seconds=0", http.StatusBadRequest, "1 to 60"},
		{"profile?seconds=61", http.StatusBadRequest, "1 to 60"},
		{"trace?seconds=x", http.StatusBadRequest, "1 to 60"},
	} {
		if w := ask(h, http.MethodGet, ProfilesPath+tt.path); w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%q: %d %.200s, want %d with %q", tt.path, w.Code, w.Body, tt.code, tt.want)
		}
	}
	if wrong := profilesBeside(); wrong != "" {
		t.Error(wrong)
	}
	if wrong := longProfile(); wrong != "" {
		t.Error(wrong)
	}
}

// profilesBeside asks for a profile while a trace is made, until whoever asked for the trace hangs
// up. It says what is wrong.
func profilesBeside() string {
	h := Profiles()
	hangUp, traced := tracing(h, "60")
	for !trace.IsEnabled() {
		runtime.Gosched()
	}
	beside := ask(h, http.MethodGet, ProfilesPath+"heap").Code
	hangUp()
	if code := <-traced; code != http.StatusOK {
		return fmt.Sprintf("the trace: %d", code)
	}
	if beside != http.StatusConflict {
		return fmt.Sprintf("a profile while a trace is made: %d, want 409", beside)
	}
	if w := ask(h, http.MethodGet, ProfilesPath+"heap"); w.Code != http.StatusOK {
		return fmt.Sprintf("after the trace: %d", w.Code)
	}
	return ""
}

// longProfile asks for more seconds than there may be. It says what is wrong.
func longProfile() string {
	hangUp, traced := tracing(Profiles(), "61")
	defer hangUp()
	for {
		select {
		case code := <-traced:
			if code != http.StatusBadRequest {
				return fmt.Sprintf("61 seconds: %d, want 400", code)
			}
			return ""
		default:
		}
		if trace.IsEnabled() {
			hangUp()
			<-traced
			return "a trace of 61 seconds has begun"
		}
		runtime.Gosched()
	}
}

// tracing asks for a trace, until it is there or the one who asks hangs up. traced gets the status.
func tracing(h http.Handler, seconds string) (hangUp func(), traced <-chan int) {
	ctx, hangUp := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, ProfilesPath+"trace?seconds="+seconds, nil).WithContext(ctx))
		done <- w.Code
	}()
	return hangUp, done
}

// Prometheus is told where an instance is, and how it stands.
func TestInstances(t *testing.T) {
	s := &registry.Service{Name: "db", Type: "mysql", Instances: []registry.Instance{
		{ID: "a", Status: registry.Up, Settings: []registry.Setting{{Key: "host", Value: "10.0.0.1"}, {Key: "port", Value: "3306"}, {Key: "tags", Value: "eu, ssd"}}},
		{ID: "b", Status: registry.Down, Settings: []registry.Setting{{Key: "host", Value: "::1"}, {Key: "port", Value: "3307"}}},
		{ID: "c", Settings: []registry.Setting{{Key: "command", Value: "true"}}},
	}}
	got, err := json.Marshal(instances(s))
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"targets":["10.0.0.1:3306"],"labels":{"__meta_muster_instance":"a","__meta_muster_service":"db","__meta_muster_service_type":"mysql","__meta_muster_status":"up","__meta_muster_tags":",eu,ssd,"}},` +
		`{"targets":["[::1]:3307"],"labels":{"__meta_muster_instance":"b","__meta_muster_service":"db","__meta_muster_service_type":"mysql","__meta_muster_status":"down","__meta_muster_tags":",,"}}]`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

var update = flag.Bool("update", false, "write the table of docs/metrics.md anew")

// documented is the page that lists all metrics, made from the table.
func documented() string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, m := range Table() {
		labels := strings.Join(m.Labels, ", ")
		if labels != "" {
			labels = "`" + strings.ReplaceAll(labels, ", ", "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, labels, m.Help)
	}
	return b.String()
}

// The page of metrics is the table, and nothing else.
func TestDocumented(t *testing.T) {
	const path, heading = "../../docs/metrics.md", "\n## The table\n\n"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, table, ok := strings.Cut(string(page), heading)
	if *update && ok {
		if err := os.WriteFile(path, []byte(before+heading+documented()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if table != documented() {
		t.Errorf("%s has another table; go test ./node/metrics -run TestDocumented -update writes it", path)
	}
}

// Whoever asks what there is to scrape is answered in time, also while the cluster is not.
func TestDiscoveryIsBounded(t *testing.T) {
	c, err := client.Open(client.Options{
		Endpoints: []string{"127.0.0.1:1"}, Insecure: true,
		Dial: func(ctx context.Context, _ string) (net.Conn, error) { <-ctx.Done(); return nil, ctx.Err() },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	h := discovery(func(*http.Request) (*client.Client, error) { return c, nil }, func() bool { return false }, 50*time.Millisecond)
	for _, query := range []string{"role=nodes", "role=services", "service=web&service=db"} {
		began := time.Now()
		w := ask(h, http.MethodGet, "/sd/prometheus?"+query)
		if took := time.Since(began); w.Code != http.StatusServiceUnavailable || took > time.Second {
			t.Errorf("%s: %d after %v, want 503 at once: %s", query, w.Code, took, w.Body)
		}
	}
}
