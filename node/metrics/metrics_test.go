package metrics

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/shardmap/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a source whose answers a test decides.
type world struct {
	collect func(p *Page)
	ready   func(ctx context.Context) []Condition
	asked   int // for whether it is ready; the handler asks once at a time
}

func (s *world) Collect(_ context.Context, p *Page) { s.collect(p) }

func (s *world) Alive(context.Context) []Condition {
	return []Condition{{Name: "loop", Reason: "it stands still", Next: "restart it"}}
}

func (s *world) Ready(ctx context.Context) []Condition {
	s.asked++
	return s.ready(ctx)
}

func ask(h http.Handler, method, url string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, url, nil))
	return w
}

// What Prometheus' conventions ask of names: promtool says the same of a page of a real node, but
// only of what that has a sample of.
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
	const want = `# HELP muster_node_info Which node of which cluster this is; always 1.
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
	collecting, goOn := make(chan struct{}), make(chan struct{})
	s := &world{collect: func(p *Page) {
		p.Yes(NodeMember, true)
		collecting <- struct{}{}
		<-goOn
	}}
	h := Scrapes(s)
	slow := &stuck{header: http.Header{}, writing: make(chan struct{}), read: make(chan struct{})}
	var ended sync.WaitGroup
	ended.Go(func() { h.ServeHTTP(slow, httptest.NewRequest(http.MethodGet, "/metrics", nil)) })
	<-collecting
	if w := ask(h, http.MethodGet, "/metrics"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("a second scrape meanwhile: %d, want 503 with when to come back", w.Code)
	}
	goOn <- struct{}{}
	<-slow.writing // it is collected, and its scraper reads nothing
	done := make(chan *httptest.ResponseRecorder)
	go func() { done <- ask(h, http.MethodGet, "/metrics") }()
	<-collecting
	goOn <- struct{}{}
	if w := <-done; w.Code != http.StatusOK || strings.Count(w.Body.String(), "\nmuster_node_member 1\n") != 1 {
		t.Errorf("a scrape beside one that nobody reads: %d %s", w.Code, w.Body)
	}
	close(slow.read)
	ended.Wait()
	if w := ask(h, http.MethodPost, "/metrics"); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
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

// Anybody may ask whether a node is ready, and each answer costs a majority: many who ask at
// once, or one after the other, must not become as many questions.
func TestReadyIsAskedOnce(t *testing.T) {
	const many = 50
	asking, goOn := make(chan struct{}, many), make(chan struct{})
	s := &world{ready: func(ctx context.Context) []Condition {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the question has no end")
		}
		asking <- struct{}{}
		<-goOn
		return []Condition{{Name: "member", OK: true}, {Name: "groups", Reason: "group 3 has no leader", Next: "muster status"}}
	}}
	h := Ready(s)
	answers := make(chan *httptest.ResponseRecorder, many)
	for range many {
		go func() { answers <- ask(h, http.MethodGet, "/readyz") }()
	}
	<-asking
	close(goOn)
	for range many {
		if w := <-answers; w.Code != http.StatusServiceUnavailable || w.Body.String() != "[-] groups: group 3 has no leader\n    next: muster status\n" {
			t.Fatalf("%d %q", w.Code, w.Body)
		}
	}
	if w := ask(h, http.MethodGet, "/readyz?verbose"); w.Body.String() != "[+] member\n[-] groups: group 3 has no leader\n    next: muster status\n" {
		t.Errorf("verbose: %q", w.Body)
	}
	// On a slow machine some may have come after the answer had become too old.
	if s.asked > many/2 {
		t.Errorf("%d who asked at once became %d questions", many, s.asked)
	}
	if w := ask(Live(s), http.MethodGet, "/livez"); w.Code != http.StatusServiceUnavailable || w.Body.String() != "[-] loop: it stands still\n    next: restart it\n" {
		t.Errorf("/livez: %d %q", w.Code, w.Body)
	}
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
	// The one who asks hangs up after a while: then it ends too, and the next one is made.
	ctx, hangUp := context.WithCancel(t.Context())
	long := make(chan int)
	go func() {
		code := http.StatusConflict // with those that look whether it has begun
		for code == http.StatusConflict && ctx.Err() == nil {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, ProfilesPath+"trace?seconds=60", nil).WithContext(ctx))
			code = w.Code
		}
		long <- code
	}()
	for end := time.Now().Add(20 * time.Second); ask(h, http.MethodGet, ProfilesPath+"heap").Code != http.StatusConflict; {
		if time.Now().After(end) {
			t.Fatal("two profiles are made at a time")
		}
	}
	hangUp()
	if code := <-long; code != http.StatusOK {
		t.Errorf("the long one: %d", code)
	}
	if w := ask(h, http.MethodGet, ProfilesPath+"heap"); w.Code != http.StatusOK {
		t.Errorf("after it: %d", w.Code)
	}
}

// What Prometheus is told of an instance: where it is, and how it stands.
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
