package influx

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/node/web"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap/access"
	"muster/shardmap/points/line"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// doorOf has a node's door serve a handler to this host, without TLS, and returns its address. users reports whether
// somebody is asked who he is.
func doorOf(t *testing.T, h *Handler, users bool) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	places := web.NewPlaces([]string{addr}, nil)
	d := web.New(web.Config{
		Limits: web.DefaultLimits(), Addr: listener.Addr(), Log: slog.New(slog.DiscardHandler),
		Mounts: web.Mounts{More: h.Mounts()},
		Places: func() *web.Places { return places }, Open: func() bool { return !users },
		Identify: func(r *http.Request, _ *web.Visitor, basic bool) (*web.Caller, *wire.Error) {
			name, password, _ := r.BasicAuth()
			if users && (!basic || name != "rob" || password != "right") {
				return nil, wire.Unauthorized("login", "wrong name or password", "")
			}
			return &web.Caller{User: name, May: func(access.Verbs) *wire.Error { return nil }, Client: func() (*client.Client, error) { return nil, nil }, Release: func() {}}, nil
		},
	})
	ran, accepts := make(chan struct{}), make(chan struct{})
	go func() { d.Run(); close(ran) }()
	go func() {
		var visitors sync.WaitGroup
		defer close(accepts)
		defer visitors.Wait() // net/http takes half a second to end a connection whose body it has not read
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			visitors.Go(func() {
				d.Serve(&web.Visitor{
					Conn: conn, From: conn.RemoteAddr(), Near: true,
					Arrive: func() *wire.Error { return nil }, Prove: func(string) *wire.Error { return nil }, Failed: func() bool { return true },
				})
			})
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		d.Close()
		<-ran
		<-accepts
	})
	return addr
}

// A client must be served behind the door of a node as by the handler alone, and what the door refuses must have the
// form that clients read: else they tell people of JSON that they don't understand, and not of a wrong password.
func TestBehindTheDoor(t *testing.T) {
	large := strings.Repeat("\n", line.TextMax+1)
	for _, c := range []struct {
		users   bool
		request string
		fields  string
		body    io.Reader
		status  int
		begins  string // how the answer begins
		handed  int
	}{
		{false, "POST /write?db=weather", "", strings.NewReader("cpu v=1"), 204, "", 1},
		{false, "POST /write?db=weather&u=nobody&p=any", "", strings.NewReader("cpu v=1"), 204, "", 1},
		{false, "POST /api/v2/write?bucket=weather", "Authorization: Token any", strings.NewReader("cpu v=1"), 204, "", 1},
		{false, "GET /query?q=SHOW+measurements", "", nil, 200, `{"results":`, 1},
		{false, "GET /ping", "", nil, 204, "", 0},
		{false, "POST /write?db=weather", "", strings.NewReader(large[1:]), 204, "", 1},
		{false, "POST /write?db=weather", "Expect: 100-continue", strings.NewReader(large), 413, `{"error":"Request Entity Too Large`, 0},
		{false, "POST /write?db=weather", "", struct{ io.Reader }{strings.NewReader(large)}, 413, `{"error":"Request Entity Too Large`, 0},
		{false, "POST /write?db=weather", "Origin: http://evil.example", strings.NewReader("cpu v=1"), 403, `{"error":"unauthorized: origin of the request`, 0},
		{false, "GET /query?q=SHOW+measurements", "Sec-Fetch-Site: cross-site", nil, 403, `{"error":"unauthorized: origin`, 0},
		{false, "POST /write?db=weather", "Host: evil.example", strings.NewReader("cpu v=1"), 403, `{"error":"unauthorized: host of the request`, 0},
		{true, "GET /ping", "", nil, 204, "", 0},
		{true, "POST /write?db=weather&u=rob&p=right", "", strings.NewReader("cpu v=1"), 204, "", 1},
		{true, "POST /write?db=weather", "Authorization: Token rob:right", strings.NewReader("cpu v=1"), 204, "", 1},
		{true, "POST /write?db=weather&u=rob&p=wrong", "", strings.NewReader("cpu v=1"), 401, `{"error":"authorization failed: wrong name or password"}`, 0},
		{true, "POST /write?db=weather", "Authorization: Token rob:wrong", strings.NewReader("cpu v=1"), 401, `{"error":"authorization failed`, 0},
		{true, "GET /query?q=SHOW+measurements", "", nil, 401, `{"error":"unable to parse authentication credentials: send a name`, 0},
		{true, "GET /health", "", nil, 200, `{"checks"`, 0},
	} {
		m := expecting()
		addr := doorOf(t, handler(t, m), c.users)
		status, text, _ := askDoor(t, addr, c.request, c.fields, c.body)
		if status != c.status || !strings.HasPrefix(text, c.begins) || m.handed() != c.handed {
			t.Errorf("users %t, %s, %s: got %d %.200s, %d handed to the store; want %d %s, %d", c.users, c.request, c.fields, status, text, m.handed(), c.status, c.begins, c.handed)
		}
	}
}

// askDoor sends a request over a connection of its own.
func askDoor(t *testing.T, addr, request, fields string, body io.Reader) (status int, text string, h http.Header) {
	t.Helper()
	method, target, _ := strings.Cut(request, " ")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, "http://"+addr+target, body)
	if err != nil {
		t.Fatal(err)
	}
	for f := range strings.SplitSeq(fields, "|") {
		name, value, _ := strings.Cut(f, ": ")
		switch {
		case name == "Host":
			q.Host = value
		case name != "":
			q.Header.Set(name, value)
		}
	}
	// A client that sends Expect waits for the answer before it sends the body. Else the connection may be reset before the answer to a body
	// that is not read has been seen.
	transport := &http.Transport{ExpectContinueTimeout: 20 * time.Second}
	defer transport.CloseIdleConnections()
	a, err := transport.RoundTrip(q)
	if err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatalf("%s: %v", request, err)
	}
	return a.StatusCode, string(b), a.Header
}

// The answers to a user that is not known are InfluxDB's; the door asks for a name and a password, as it does.
func TestUsersOfTheDoor(t *testing.T) {
	r, err := http.NewRequest(http.MethodPost, "/write?db=weather", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ authorization, want string }{
		{"", `{"error":"unable to parse authentication credentials: send a name and a password: Authorization: Basic, Authorization: Token NAME:PASSWORD, or the parameters u and p"}`},
		{"Basic cm9iOndyb25n", `{"error":"authorization failed: wrong name or password"}`},
	} {
		if r.Header.Set("Authorization", c.authorization); c.authorization == "" {
			r.Header.Del("Authorization")
		}
		w := httptest.NewRecorder()
		Refuse(w, r, http.StatusUnauthorized, wire.Unauthorized("login", "wrong name or password", ""))
		if got := strings.TrimSpace(w.Body.String()); w.Code != 401 || got != c.want || w.Header().Get("WWW-Authenticate") != `Basic realm="InfluxDB"` || w.Header().Get("X-Influxdb-Error") != "" {
			t.Errorf("%s: got %d %s, %v", c.authorization, w.Code, got, w.Header())
		}
	}
	w := httptest.NewRecorder()
	Refuse(w, r, http.StatusServiceUnavailable, wire.Busy("node n1", "too many connections", time.Second))
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || w.Header().Get("X-Influxdb-Version") != Version {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
}
