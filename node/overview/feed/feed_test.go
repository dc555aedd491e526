package feed

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/node/overview"
	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// town is a cluster of nodes that say what they are told to, in memory. Real ones are in
// node/trial/web.
type town struct {
	mu      sync.Mutex
	dead    map[string]bool  // they answer nothing, until the context ends
	denied  error            // what a user is told that may not look into the cluster
	strange map[string]error // what one is told at a node that does not know who it is
	asked   int              // questions of status
	groups  int
}

func newTown() *town { return &town{dead: map[string]bool{}, groups: 1} }

const townNodes = 3

func addr(id raft.NodeID) string { return fmt.Sprintf("10.0.0.%d:4166", id) }

func (w *town) with(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// ask returns who answers.
func (w *town) ask(ctx context.Context, endpoint string) (raft.NodeID, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := raft.NodeID(1); id <= townNodes; id++ {
		if a := addr(id); !w.dead[a] && (endpoint == "" || endpoint == a) {
			if why := w.strange[a]; why != nil {
				return 0, why
			}
			return id, ctx.Err()
		}
	}
	w.mu.Unlock()
	<-ctx.Done()
	w.mu.Lock()
	return 0, ctx.Err()
}

func (w *town) Status(ctx context.Context, endpoint string) (*wire.StatusAnswer, error) {
	id, err := w.ask(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	a := &wire.StatusAnswer{Cluster: "town", Self: id, Healthy: true}
	for n := raft.NodeID(1); n <= townNodes; n++ {
		a.Nodes = append(a.Nodes, wire.StatusNode{ID: n, Name: fmt.Sprintf("n%d", n), Addr: addr(n), Status: wire.NodeAlive})
	}
	for g := range raft.GroupID(w.groups) {
		a.Groups = append(a.Groups, wire.StatusGroup{ID: g, Leader: 1, Term: 3, Replicas: []wire.StatusReplica{{ID: 1, Node: 1, Role: shardmap.ReplicaVoter}}})
	}
	return a, nil
}

func (w *town) Doctor(ctx context.Context, endpoint string) (*wire.DoctorAnswer, error) {
	id, err := w.ask(ctx, endpoint)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.denied != nil {
		return nil, w.denied
	}
	a := &wire.DoctorAnswer{Node: id, Version: "1", UptimeMs: 60_000}
	for g := range raft.GroupID(w.groups) {
		if id == 1 {
			a.Groups = append(a.Groups, wire.DoctorGroup{ID: g, Role: raft.RoleLeader, Term: 3, Voters: []wire.DoctorVoter{{Replica: 1, Node: 1}}})
		}
	}
	for n := raft.NodeID(1); n <= townNodes; n++ {
		if n != id {
			l := wire.DoctorLink{To: n, Connected: true, Heard: true}
			if w.dead[addr(n)] {
				l = wire.DoctorLink{To: n, Why: "no answer"}
			}
			a.Links = append(a.Links, l)
		}
	}
	return a, nil
}

func (w *town) Counters(ctx context.Context, endpoint string) (*wire.CountersAnswer, error) {
	if _, err := w.ask(ctx, endpoint); err != nil {
		return nil, err
	}
	return &wire.CountersAnswer{}, nil
}

func (w *town) Table(ctx context.Context, endpoint string) (*shardmap.Table, raft.NodeID, error) {
	if _, err := w.ask(ctx, endpoint); err != nil {
		return nil, 0, err
	}
	return &shardmap.Table{Cluster: "town"}, 1, nil
}

// namedWithin is how soon a node that does not answer has to be named.
const namedWithin = 3 * time.Second

// A node that hangs must neither hold up an overview nor go unnamed: it is part of what is shown.
func TestHungNodeIsNamed(t *testing.T) {
	t.Parallel()
	if wrong := hungNode(t); wrong != "" {
		t.Error(wrong)
	}
}

func hungNode(t *testing.T) string {
	w := newTown()
	c := NewCollector(w)
	defer c.Close()
	m, err := c.Next(t.Context(), 0)
	if err != nil || m.Overview.Verdict != overview.VerdictOK {
		return fmt.Sprintf("at first: %v, %+v", err, m)
	}
	w.with(func() { w.dead[addr(2)] = true })
	hung := time.Now()
	for m.Overview.Verdict != overview.VerdictError {
		if time.Since(hung) > namedWithin {
			return "it is not named: " + m.Overview.Reason
		}
		if m, err = c.Next(t.Context(), m.Number); err != nil {
			return err.Error()
		}
	}
	if !strings.HasPrefix(m.Overview.Reason, "node n2 (10.0.0.2:4166) can't be asked") || m.Overview.Nodes[1].Answered {
		return fmt.Sprintf("got %q, node %+v", m.Overview.Reason, m.Overview.Nodes[1])
	}
	return ""
}

// An overview is of now: a collector at which nobody has looked for a while must not hand out what
// it last saw, for the cluster may have fallen over since.
func TestOldOverviewIsNotShown(t *testing.T) {
	t.Parallel()
	if wrong := oldOverview(t); wrong != "" {
		t.Error(wrong)
	}
}

func oldOverview(t *testing.T) string {
	w := newTown()
	c := NewCollector(w)
	defer c.Close()
	m, err := c.Next(t.Context(), 0)
	if err != nil {
		return err.Error()
	}
	// As after a while in which nobody looked, and the collector has stopped.
	c.mu.Lock()
	c.looked = time.Now().Add(-linger)
	stopped := c.ended
	c.mu.Unlock()
	<-stopped
	w.with(func() { w.dead[addr(2)] = true })
	c.mu.Lock()
	c.newest.Overview.At = time.Now().Add(-2 * pace)
	c.mu.Unlock()
	again, err := c.Next(t.Context(), 0)
	if err != nil {
		return err.Error()
	}
	if again.Number <= m.Number || again.Overview.Verdict != overview.VerdictError {
		return fmt.Sprintf("moment %d again, or one that says %s: %s", again.Number, again.Overview.Verdict, again.Overview.Reason)
	}
	if !slices.ContainsFunc(again.Changes, func(e overview.Event) bool { return e.Kind == overview.EventVerdict }) {
		return fmt.Sprintf("what has changed while nobody looked is not told: %+v", again.Changes)
	}
	return ""
}

// A hundred who look cost the nodes what one does.
func TestOneCollectionForAll(t *testing.T) {
	t.Parallel()
	w := newTown()
	c := NewCollector(w)
	defer c.Close()
	var looking sync.WaitGroup
	moments := make([]*Moment, 100)
	for i := range moments {
		looking.Go(func() { moments[i], _ = c.Next(t.Context(), 0) })
	}
	looking.Wait()
	if n := len(slices.Compact(slices.Clone(moments))); n != 1 || moments[0] == nil {
		t.Errorf("they saw %d moments", n)
	}
	w.with(func() {
		if w.asked > 1+townNodes {
			t.Errorf("the nodes were asked %d times, want %d: one to find them, then each", w.asked, 1+townNodes)
		}
	})
}

// untilMax bounds how long [until] waits.
const untilMax = 20 * time.Second

// until waits until something that goes on beside the test is so.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(untilMax); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so within %s: %s", untilMax, what)
		}
	}
}

// A collector stops when nobody looks any more, and tells those who wait when it is closed.
func TestCollectorEnds(t *testing.T) {
	w := newTown()
	c := NewCollector(w)
	if _, err := c.Next(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.Next(ctx, 1<<40); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one who has waited too long got %v", err)
	}
	waits := make(chan error)
	go func() {
		_, err := c.Next(context.Background(), 1<<40)
		waits <- err
	}()
	until(t, "somebody waits", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.looking > 0
	})
	c.Close()
	if err := <-waits; !errors.Is(err, ErrClosed) {
		t.Errorf("one who waits got %v, want %v", err, ErrClosed)
	}
	if _, err := c.Next(t.Context(), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("after that: %v, want %v", err, ErrClosed)
	}
}

// A collector may be closed while a round of it is made into an overview. That overview is nobody's.
func TestClosedWhileItMakesAnOverview(t *testing.T) {
	c := NewCollector(newTown())
	s := c.round(t.Context())
	c.Close()
	if c.publish(s) {
		t.Error("it goes on")
	}
	if _, err := c.Next(t.Context(), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want %v", err, ErrClosed)
	}
}

// Two users share nothing: what one may see must not reach the other through the collector.
func TestUsersShareNothing(t *testing.T) {
	t.Parallel()
	if wrong := usersApart(t); wrong != "" {
		t.Error(wrong)
	}
}

func usersApart(t *testing.T) string {
	f := New()
	defer f.Close()
	boss, guest := newTown(), newTown()
	guest.denied = wire.Unauthorized("the cluster", "user guest has no role", "ask an administrator")
	for _, user := range []struct {
		in      *town
		limited bool
	}{{boss, false}, {guest, true}} {
		c, err := f.Of(user.in)
		if err != nil {
			return err.Error()
		}
		m, err := c.Next(t.Context(), 0)
		if err != nil {
			return err.Error()
		}
		if o := m.Overview; (o.Limited != "") != user.limited || (len(o.Links) == 0) != user.limited {
			return fmt.Sprintf("limited %q, %d links, for a user that may look into the cluster: %t", o.Limited, len(o.Links), !user.limited)
		}
		if again, _ := f.Of(user.in); again != c {
			return "a user has two collectors"
		}
	}
	return ""
}

// The silence of nodes where a user can't be spoken for says nothing: the verdict is that of the node
// that answers, and none is called dead.
func TestNodesThatCantBeAsked(t *testing.T) {
	w := newTown()
	why := wire.Unauthorized("node", "n1 can't speak there for user ann", "log in and send the token")
	w.strange = map[string]error{addr(2): why, addr(3): why}
	c := NewCollector(w)
	defer c.Close()
	m, err := c.Next(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	o := m.Overview
	if o.Verdict != overview.VerdictOK || o.Limited != "" || !o.Nodes[0].Answered || o.Nodes[1].Answered || !strings.Contains(o.Nodes[1].Why, "log in") {
		t.Errorf("got %s: %s, limited %q, nodes %+v", o.Verdict, o.Reason, o.Limited, o.Nodes[:2])
	}
}

// So many users at a time, and no more: then a user is told to come again.
func TestCollectorsAreBounded(t *testing.T) {
	f := New()
	defer f.Close()
	for range collectorsMax {
		c, err := f.Of(newTown())
		if err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		c.looking++ // somebody looks
		c.mu.Unlock()
	}
	if _, err := f.Of(newTown()); !errors.Is(err, &wire.Error{Code: wire.CodeBusy}) {
		t.Errorf("one more: %v, want busy", err)
	}
	for _, c := range f.of {
		c.mu.Lock()
		c.looking--
		c.looked = time.Time{} // and has gone long ago
		c.mu.Unlock()
	}
	if _, err := f.Of(newTown()); err != nil || len(f.of) != 1 {
		t.Errorf("after they have gone: %v, %d collectors", err, len(f.of))
	}
}

// served is a server that counts the requests that it has under way.
type served struct {
	*httptest.Server
	under atomic.Int32
}

// desk serves a town.
func desk(t *testing.T, f *Feed, w *town) *served {
	mux := http.NewServeMux()
	f.mount(mux, func(*http.Request) (Asker, error) { return w, nil }, func(w http.ResponseWriter, err error) {
		status := http.StatusServiceUnavailable
		if errors.Is(err, &wire.Error{Code: wire.CodeBadRequest}) {
			status = http.StatusBadRequest
		}
		http.Error(w, err.Error(), status)
	})
	s := new(served)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.under.Add(1)
		defer s.under.Add(-1)
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	t.Cleanup(f.Close) // first: it ends the streams
	return s
}

// sse is an event of a stream.
type sse struct{ kind, id, data string }

// reader reads a stream of events.
type reader struct {
	lines *bufio.Scanner
	close func() error
}

func read(t *testing.T, url, after string) *reader {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", url+PathEvents, nil)
	if err != nil {
		t.Fatal(err)
	}
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Body.Close(); http.DefaultClient.CloseIdleConnections() })
	if got := a.Header.Get("Content-Type"); a.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("status %s, %s", a.Status, got)
	}
	lines := bufio.NewScanner(a.Body)
	lines.Buffer(nil, 64<<20)
	return &reader{lines, a.Body.Close}
}

// next returns the next event; false at the end.
func (r *reader) next() (e sse, ok bool) {
	for r.lines.Scan() {
		field, value, _ := strings.Cut(r.lines.Text(), ": ")
		switch field {
		case "event":
			e.kind = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			if e.kind != "" {
				return e, true
			}
		}
	}
	return e, false
}

// A reader that comes to another node with the id of its last event is told what has changed since,
// though that node has never seen it.
func TestStreamGoesOnAtAnotherNode(t *testing.T) {
	t.Parallel()
	w := newTown()
	first := read(t, desk(t, New(), w).URL, "")
	e, ok := first.next()
	if !ok || e.kind != "overview" || e.id == "" {
		t.Fatalf("at first: %+v", e)
	}
	first.close()
	w.with(func() { w.dead[addr(3)] = true })
	second := read(t, desk(t, New(), w).URL, e.id)
	change, _ := second.next()
	var event overview.Event
	if err := json.Unmarshal([]byte(change.data), &event); err != nil || change.kind != "change" || event.Kind != overview.EventVerdict {
		t.Errorf("then: %+v, %v", change, err)
	}
	if change.id != e.id {
		t.Error("a change that may be followed by others moves the reader on")
	}
	e, _ = second.next()
	var o overview.Overview
	if err := json.Unmarshal([]byte(e.data), &o); err != nil || e.kind != "overview" || o.Verdict != overview.VerdictError || e.id == change.id {
		t.Errorf("then: %.200s, %v", e.data, err)
	}
}

// A stream without an id begins with the overview as it is, and then tells each change once.
func TestStreamTellsChanges(t *testing.T) {
	t.Parallel()
	w := newTown()
	s := read(t, desk(t, New(), w).URL, "")
	if e, _ := s.next(); e.kind != "overview" {
		t.Fatalf("at first: %+v", e)
	}
	w.with(func() { w.groups = 2 })
	var got []string
	for len(got) < 2 {
		e, ok := s.next()
		if !ok {
			t.Fatal("the stream has ended")
		}
		if got = append(got, e.kind); e.kind == "overview" {
			got = got[:0] // as it was
		} else if !strings.Contains(e.data, `"group 1 is there"`) {
			t.Errorf("got %+v", e)
		}
		if len(got) == 1 {
			e, _ := s.next()
			got = append(got, e.kind)
		}
	}
	if want := []string{"change", "overview"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Bad input is refused by its field, before anything is sent.
func TestEventsRefused(t *testing.T) {
	s := desk(t, New(), newTown())
	for _, tt := range []struct{ query, header, want string }{
		{"?after=nonsense", "", "after"},
		{"", "nonsense", "Last-Event-ID"},
		{"", strings.Repeat("A", overview.MarkMax+1), "at most 16384"},
	} {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", s.URL+PathEvents+tt.query, nil)
		if tt.header != "" {
			r.Header.Set("Last-Event-ID", tt.header)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text := new(strings.Builder)
		fmt.Fprint(text, bodyOf(a))
		if a.StatusCode != http.StatusBadRequest || !strings.Contains(text.String(), tt.want) {
			t.Errorf("%q, %.20q: %s, %s; want it to name %s", tt.query, tt.header, a.Status, text, tt.want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func bodyOf(a *http.Response) string {
	defer a.Body.Close()
	var b strings.Builder
	for lines := bufio.NewScanner(a.Body); lines.Scan(); {
		b.WriteString(lines.Text())
	}
	return b.String()
}

// told is a reader in memory. It has no deadline, so a busy machine does not make it a slow one.
type told struct {
	*httptest.ResponseRecorder
	overview chan struct{} // closed with the first one
	once     sync.Once
}

// WriteString implements [io.StringWriter].
func (r *told) WriteString(text string) (int, error) {
	if strings.HasPrefix(text, "event: overview\n") {
		r.once.Do(func() { close(r.overview) })
	}
	return len(text), nil
}

// A reader that does not read is cut off, and holds up nobody: neither the collector nor others.
func TestSlowReaderIsCut(t *testing.T) {
	t.Parallel()
	w := newTown()
	w.groups = 9999 // so that an overview is larger than what a connection buffers
	f := New()
	f.writeMax = 200 * time.Millisecond
	s := desk(t, f, w)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", PathEvents)
	until(t, "the stream begins", func() bool { return s.under.Load() > 0 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	other := &told{ResponseRecorder: httptest.NewRecorder(), overview: make(chan struct{})}
	var reads sync.WaitGroup
	reads.Go(func() {
		r := httptest.NewRequest("GET", PathEvents, nil).WithContext(ctx)
		if err := f.serveEvents(other, r, func(*http.Request) (Asker, error) { return w, nil }); err != nil {
			t.Errorf("another reader is refused: %v", err)
		}
	})
	select {
	case <-other.overview:
	case <-time.After(untilMax):
		t.Error("another reader waits for the slow one")
	}
	cancel()
	reads.Wait()
	until(t, "the slow reader is cut off", func() bool { return s.under.Load() == 0 })
}

// A client that was closed, as when its user's login has ended, ends the streams in its name; the
// next request comes with another client.
func TestClosedClientEndsStreams(t *testing.T) {
	cl, err := client.Open(client.Options{Endpoints: []string{"127.0.0.1:1"}, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	cl.Close()
	f := New()
	defer f.Close()
	c, err := f.Of(cl)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Next(t.Context(), 0); !errors.Is(err, client.ErrClosed) {
		t.Errorf("got %v, want %v", err, client.ErrClosed)
	}
	if again, err := f.Of(cl); err != nil || again == c {
		t.Errorf("a collector that has ended is handed out again: %v", err)
	}
}

// A reader that goes away takes the collector of the others along as little as their rounds.
func TestReaderGoesAlone(t *testing.T) {
	w := newTown()
	f := New()
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequest("GET", PathOverview, nil).WithContext(ctx)
	before, err := f.Of(w)
	if err != nil {
		t.Fatal(err)
	}
	gone := httptest.NewRecorder()
	if err := f.serveOverview(gone, r, func(*http.Request) (Asker, error) { return w, nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("one who has gone got %v", err)
	}
	if after, _ := f.Of(w); after != before {
		t.Error("the others have another collector")
	}
}
