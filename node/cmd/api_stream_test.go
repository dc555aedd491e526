package cmd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"muster/repl/client"
)

// eventStream is a stream that a test reads.
type eventStream struct {
	t    *testing.T
	r    *bufio.Reader
	end  func()
	resp *http.Response
}

// stream opens a stream of a route.
func (a *apiCluster) stream(t *testing.T, accept, last, route string, fields ...string) *eventStream {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url+apiRoot+route+query(fields...), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	if last != "" {
		r.Header.Set(headerLastEvent, last)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	s := &eventStream{t: t, r: bufio.NewReader(resp.Body), resp: resp, end: func() { cancel(); resp.Body.Close() }}
	t.Cleanup(s.end)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != accept {
		t.Fatalf("%s: %d %s", route, resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	return s
}

// event is an event of a stream.
type event struct{ id, name, data string }

// next returns the next event that is no comment.
func (s *eventStream) next() (e event) {
	s.t.Helper()
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			s.t.Fatalf("the stream has ended: %v", err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.data != "" {
				return e
			}
		}
	}
}

// row returns the next row of a watch that tells of a key.
func (s *eventStream) row() (row watchRow, id string) {
	s.t.Helper()
	for {
		e := s.next()
		if err := json.Unmarshal([]byte(e.data), &row); err != nil {
			s.t.Fatalf("%v: %s", err, e.data)
		}
		if row.Type != "progress" {
			return row, e.id
		}
	}
}

// A page's stream breaks with its node, or its host sleeps. It goes on behind the last event that it has seen: each
// event comes once, of all groups. Every event has an id that is good for it.
func TestWatchResumesFromEachEvent(t *testing.T) {
	a := api(t)
	const keys = 12
	key := func(i int) string { return fmt.Sprintf("w/%02d", i) }
	s := a.stream(t, typeEvents, "", "kv/watch", "prefix", "w/")
	if e := s.next(); e.id == "" || !strings.Contains(e.data, `"progress"`) {
		t.Fatalf("it begins with %+v", e)
	}
	for i := range keys {
		a.post(t, "kv/set", fmt.Sprintf(`{"key":%q,"value":"v"}`, key(i))).is(t, http.StatusOK, nil)
	}
	seen := map[string]int{}
	id := ""
	for range keys {
		var row watchRow
		row, id = s.row()
		seen[*row.Key]++
		s.end()
		// The query says where the first stream began, as that of a browser that asks again. The header counts.
		s = a.stream(t, typeEvents, id, "kv/watch", "prefix", "w/")
	}
	for i := range keys {
		if seen[key(i)] != 1 {
			t.Errorf("%s came %d times", key(i), seen[key(i)])
		}
	}
	a.post(t, "kv/del", `{"key":"w/00"}`).is(t, http.StatusOK, nil)
	if row, _ := s.row(); row.Type != "del" || *row.Key != "w/00" {
		t.Errorf("after that: %+v", row)
	}
	lines := a.stream(t, typeLines, "", "kv/watch", "prefix", "w/", "from", id)
	for {
		line, err := lines.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, `"del"`) {
			break
		}
	}
	a.get(t, "kv/watch", "from", "17").refused(t, http.StatusBadRequest, "bad-request")
}

// A list whose reader goes away is given up, and continues behind the last key that the reader has seen.
func TestListContinues(t *testing.T) {
	a := api(t)
	var items []string
	const keys = 500
	for i := range keys {
		items = append(items, fmt.Sprintf(`{"key":"l/%04d","value":"v"}`, i))
	}
	a.post(t, "kv/import", `{"items":[`+strings.Join(items, ",")+`]}`).is(t, http.StatusOK, nil)
	n, last := 0, ""
	for n < keys {
		s := a.stream(t, typeEvents, last, "kv/list", "prefix", "l/", "keys", "1")
		for range 100 {
			e := s.next()
			if want := fmt.Sprintf(`"l/%04d"`, n); !strings.Contains(e.data, want) || e.id == "" {
				t.Fatalf("event %d is %+v", n, e)
			}
			n, last = n+1, e.id
		}
		s.end()
	}
}

// A stream ends when its reader goes away: the watch on the nodes, its goroutines, and its place. One would doubt that
// of a stream on which nothing happens.
func TestStreamsEndWithTheirReader(t *testing.T) {
	a := api(t)
	for _, form := range []string{typeEvents, typeLines} {
		var all []*eventStream
		for _, x := range [][]string{{"kv/watch", "prefix", "a"}, {"service/watch", "name", "db"}, {"audit/tail", "follow", "1"}} {
			s := a.stream(t, form, "", x[0], x[1:]...)
			if _, err := s.r.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			all = append(all, s)
		}
		if n := a.streams.Taken(); n != len(all) {
			t.Errorf("%d streams have a place, want %d", n, len(all))
		}
		for _, s := range all {
			s.end()
		}
		for until := time.Now().Add(10 * time.Second); a.streams.Taken() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(until) {
				t.Fatalf("%d streams go on without a reader", a.streams.Taken())
			}
		}
	}
}

// slowWriter is a writer that notes until when it may take, and takes nothing after that.
type slowWriter struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
	full      bool
}

func (w *slowWriter) SetWriteDeadline(at time.Time) error {
	w.deadlines = append(w.deadlines, at)
	return nil
}

func (w *slowWriter) Write(b []byte) (int, error) {
	if w.full {
		return 0, context.DeadlineExceeded
	}
	return w.ResponseRecorder.Write(b)
}

// A reader that takes nothing must not keep a stream for ever: each write has an end, and the first that fails is the
// stream's last.
func TestSlowReadersAreGivenUp(t *testing.T) {
	w := &slowWriter{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest(http.MethodGet, apiRoot+"kv/watch", nil)
	r.Header.Set("Accept", typeEvents)
	q := &apiRequest{route: &apiRoute{apiRow: apiRow{lines: true}}, w: w, r: r}
	a := newAnswer(q)
	defer a.stop()
	fmt.Fprint(a, "{}\n")
	if err := a.push(); err != nil || len(w.deadlines) != 1 || time.Until(w.deadlines[0]) > streamWriteMax {
		t.Fatalf("%v, deadlines %v", err, w.deadlines)
	}
	w.full = true
	fmt.Fprint(a, "{}\n")
	if err := a.push(); err == nil {
		t.Error("a write that was not taken is no error")
	}
	if _, err := fmt.Fprint(a, "{}\n"); err == nil {
		t.Error("the command can print after that")
	}
}

// A silent stream of events shows that it lives, between events and never within one.
func TestSilentStreamsHaveComments(t *testing.T) {
	a := api(t)
	s := a.stream(t, typeEvents, "", "audit/tail", "follow", "1", "limit", "1")
	s.next()
	began := time.Now()
	for {
		line, err := s.r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if line == ":\n" {
			break
		}
		if time.Since(began) > 2*commentEvery {
			t.Fatalf("no comment within %v, but %q", 2*commentEvery, line)
		}
	}
}

// A stream that fails after it has begun can't change its status: its last line, or event, has the error. One value of
// which a part was sent ends with the connection instead, so that nobody takes it for the whole.
func TestErrorsAfterTheBeginning(t *testing.T) {
	for _, tt := range []struct{ accept, want string }{
		{typeLines, "{\"key\":1}\n{\"error\":{\"code\":\"refused\","}, {typeEvents, "data: {\"key\":1}\n\nevent: error\ndata: {\"error\":{\"code\":\"refused\","},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Accept", tt.accept)
		call := (&apiRequest{route: &apiRoute{apiRow: apiRow{command: "kv list", lines: true}}, w: w, r: r}).newCall(nil)
		fmt.Fprint(call.answer, "{\"key\":1}\n")
		if err := call.answer.push(); err != nil {
			t.Fatal(err)
		}
		if err := call.finish(withStatus(exitRefused, "no more")); err != nil || !strings.HasPrefix(w.Body.String(), tt.want) || !strings.HasSuffix(w.Body.String(), "\n") {
			t.Errorf("%v: %q", err, w.Body)
		}
	}
	defer func() {
		if got := recover(); got != http.ErrAbortHandler {
			t.Errorf("the connection stays: %v", got)
		}
	}()
	w := httptest.NewRecorder()
	call := (&apiRequest{route: &apiRoute{apiRow: apiRow{command: "service list"}}, w: w, r: httptest.NewRequest(http.MethodGet, "/", nil)}).newCall(new(client.Client))
	call.answer.Write(make([]byte, answerHeldMax))
	_ = call.finish(withStatus(exitRefused, "no more"))
	t.Error("it ends as if it were whole")
}
