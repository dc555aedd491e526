package web

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/repl/client"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap/access"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long something may take on a busy machine.
const patience = 20 * time.Second

// rig is a door on a port of its own, with an API that counts.
type rig struct {
	t    testing.TB
	addr string
	tls  bool
	door *Door

	sets           atomic.Int64  // bodies that the API has read to their ends
	under, most    atomic.Int64  // requests under way, and how many at once at most
	ended          chan struct{} // one for each big answer whose handler has returned
	hold           chan struct{} // closed when requests that wait may end
	arrived, known atomic.Int64  // connections
}

// smallLimits are such that a test reaches them soon.
func smallLimits() Limits {
	l := DefaultLimits()
	l.HeaderTime, l.BodyTime, l.WriteTime = 300*time.Millisecond, 300*time.Millisecond, 300*time.Millisecond
	l.BodyBytes, l.Streams = 64<<10, 8
	return l
}

func newRig(t testing.TB, l Limits, overTLS bool) *rig {
	t.Helper()
	r := &rig{t: t, tls: overTLS, ended: make(chan struct{}, 16), hold: make(chan struct{})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = listener.Addr().String()
	places := NewPlaces([]string{r.addr, "10.0.0.7:4166", "n8.example:443"}, []string{"cluster.example"})
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>page</title>")
	})
	d := New(Config{
		Limits: l, Addr: listener.Addr(), Log: slog.New(slog.DiscardHandler),
		Mounts: Mounts{API: r.api, More: []Mount{{Path: "/ui/", Kind: Page, Handler: page}, {Path: "/metrics", Kind: Figures, Handler: page}, {Path: "/livez", Kind: Health, Handler: page}, r.influx()}},
		Places: func() *Places { return places }, Open: func() bool { return !overTLS },
		Identify: func(req *http.Request, _ *Visitor, basic bool) (*Caller, *wire.Error) {
			name, password, _ := req.BasicAuth()
			if overTLS && Bearer(req) != "good" && !(basic && name == "rob" && password == "right") {
				return nil, Unidentified()
			}
			return &Caller{
				User: "rob", Client: func() (*client.Client, error) { return nil, errors.New("there is none") }, Release: func() {},
				May: func(access.Verbs) *wire.Error { return nil },
			}, nil
		},
		Login: func(_ context.Context, _ *Visitor, user string, password []byte) (*Badge, *wire.Error) {
			if string(password) != "right" {
				return nil, wire.Unauthorized("login", "wrong name or password", "")
			}
			return &Badge{Token: "good", User: user, Ends: "later"}, nil
		},
	})
	r.door = d
	var config *tls.Config
	if overTLS {
		key, err := trust.NewKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		shown, err := trust.SelfSigned(rand.Reader, key, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		config = &tls.Config{Certificates: []tls.Certificate{*shown}, NextProtos: []string{"h2", "http/1.1"}}
	}
	ran := make(chan struct{})
	go func() { d.Run(); close(ran) }()
	accepts := make(chan struct{})
	go func() {
		defer close(accepts)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.serve(d, conn, config, l)
		}
	}()
	t.Cleanup(func() {
		close(r.hold)
		listener.Close()
		d.Close()
		<-ran
		<-accepts
	})
	return r
}

// serve is what a node does with a connection that begins with HTTP.
func (r *rig) serve(d *Door, conn net.Conn, config *tls.Config, l Limits) {
	v := &Visitor{
		From: conn.RemoteAddr(), Near: true, Conn: Bound(conn, conn, l.WriteTime),
		Arrive: func() *wire.Error { r.arrived.Add(1); return nil },
		Prove:  func(string) *wire.Error { r.known.Add(1); return nil },
	}
	if config != nil {
		over := tls.Server(conn, config)
		if err := over.Handshake(); err != nil {
			conn.Close()
			return
		}
		v.Conn, v.TLS, v.Near = over, true, false
	}
	d.Serve(v)
}

// bigAnswer is more than any buffer between a handler and a reader that does not read.
const bigAnswer = 64 << 20

func (r *rig) api(Opener) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/set", func(w http.ResponseWriter, req *http.Request) {
		n, err := io.Copy(io.Discard, req.Body)
		if large := (*http.MaxBytesError)(nil); errors.As(err, &large) {
			WriteError(w, wire.TooLarge("body", err.Error(), "send less"))
			return
		}
		if err != nil {
			WriteError(w, wire.BadRequest("body", err.Error(), "send all of it"))
			return
		}
		r.sets.Add(1)
		fmt.Fprint(w, n)
	})
	mux.HandleFunc("GET /api/v1/get", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "value") })
	mux.HandleFunc("GET /api/v1/big", func(w http.ResponseWriter, _ *http.Request) {
		defer func() { r.ended <- struct{}{} }()
		piece := make([]byte, 64<<10)
		for sent := 0; sent < bigAnswer; sent += len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("GET /api/v1/wait", func(http.ResponseWriter, *http.Request) {
		now := r.under.Add(1)
		defer r.under.Add(-1)
		for most := r.most.Load(); now > most && !r.most.CompareAndSwap(most, now); most = r.most.Load() {
		}
		<-r.hold // whether anybody waits for it or not, as what is bound to a disk does
	})
	mux.HandleFunc("GET /api/v1/named", func(w http.ResponseWriter, req *http.Request) {
		Route(w, "/api/v1/named")
		if req.URL.Query().Has("goes-on") {
			GoesOn(w)
		}
		http.NewResponseController(w).Flush()
	})
	mux.HandleFunc("GET /api/v1/broken", func(http.ResponseWriter, *http.Request) { panic("broken") })
	return mux
}

// url is the address of a path.
func (r *rig) url(path string) string {
	if r.tls {
		return "https://" + r.addr + path
	}
	return "http://" + r.addr + path
}

// ask sends a request; fields are name and value in turn.
func (r *rig) ask(method, path, body string, fields ...string) (status int, text string, h http.Header) {
	r.t.Helper()
	q, err := http.NewRequestWithContext(r.t.Context(), method, r.url(path), strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		if fields[i] == "Host" {
			q.Host = fields[i+1]
		}
		q.Header.Set(fields[i], fields[i+1])
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	c := http.Client{Transport: transport, Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	a, err := c.Do(q)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer a.Body.Close()
	got, err := io.ReadAll(a.Body)
	if err != nil {
		return 0, err.Error(), nil
	}
	return a.StatusCode, string(got), a.Header
}

// dial connects without a client of HTTP.
func (r *rig) dial(protocols ...string) net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.addr)
	if err == nil {
		err = conn.SetDeadline(time.Now().Add(patience))
	}
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	if !r.tls {
		return conn
	}
	over := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: protocols})
	if err := over.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	return over
}

// TestWay has ordinary requests go their way, over each version of HTTP.
func TestWay(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		r := newRig(t, smallLimits(), overTLS)
		for _, c := range []struct {
			method, path, body string
			fields             []string
			status             int
			has                string
		}{
			{"GET", "/api/v1/get", "", []string{"Authorization", "Bearer good"}, 200, "value"},
			{"POST", "/api/v1/set", "abc", []string{"Authorization", "bearer good"}, 200, "3"},
			{"GET", "/", "", nil, 302, ""},
			{"HEAD", "/", "", nil, 302, ""},
			{"GET", "/ui", "", nil, 302, ""},
			{"POST", "/", "", nil, 405, "GET /ui/"},
			// Somebody has written the address of a node into a page of his own.
			{"GET", "/", "", []string{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, 302, ""},
			{"GET", "/ui/", "", nil, 200, "<title>page"},
			{"GET", "/ui/keys", "", nil, 200, "<title>page"},
			{"GET", "/livez", "", []string{"Host", "anything.example"}, 200, "page"},
			{"GET", "/nowhere", "", nil, 404, `"code":"not-found"`},
			{"POST", "/api/v1/auth/login", `{"user":"rob","password":"right"}`, nil, 200, `"token":"good","user":"rob"`},
			{"POST", "/api/v1/auth/login", `{"user":"rob","password":"wrong"}`, nil, 401, `"code":"unauthorized"`},
			{"GET", "/api/v1/auth/login", "", nil, 405, "POST"},
			{"POST", "/api/v1/auth/login", `{"user":"rob"}`, nil, 400, "field password"},
			{"POST", "/api/v1/auth/login", `{"user":"","password":"right"}`, nil, 400, "field user"},
			{"POST", "/api/v1/auth/login", `{"user":"rob","password":"right","more":1}`, nil, 400, "body"},
			{"POST", "/api/v1/auth/login", `{"user":"rob","password":"right"} and more`, nil, 400, "body"},
			{"POST", "/api/v1/auth/login", `right`, nil, 400, "body"},
			{"POST", "/api/v1/auth/login", `{"user":"rob","password":"` + strings.Repeat("x", wire.PasswordMax+1) + `"}`, nil, 400, "field password"},
			{"POST", "/api/v1/auth/login", `{"user":"rob","password":"` + strings.Repeat("x", 1<<16) + `"}`, nil, 413, "body"},
			{"GET", "/api/v1/auth/whoami", "", []string{"Authorization", "Bearer good"}, 200, `"user":"rob"`},
			{"POST", "/api/v1/auth/whoami", "", []string{"Authorization", "Bearer good"}, 405, "GET"},
		} {
			status, text, _ := r.ask(c.method, c.path, c.body, c.fields...)
			if status != c.status || !strings.Contains(text, c.has) {
				t.Errorf("TLS %t: %s %s %.60s: got %d %s; want %d with %q", overTLS, c.method, c.path, c.body, status, text, c.status, c.has)
			}
		}
		if status, text, h := r.ask("GET", "/api/v1/get", ""); overTLS && (status != 401 || h.Get("WWW-Authenticate") != "Bearer") {
			t.Errorf("without a token: got %d %s, %v", status, text, h)
		}
		if status, text, _ := r.ask("GET", "/api/v1/broken", "", "Authorization", "Bearer good"); status != 0 {
			t.Errorf("a handler that panics answers %d %s", status, text)
		}
	}
}

// A page under a name that somebody has pointed at this host must get nothing, though the browser that shows it takes
// this host for its own.
func TestRebinding(t *testing.T) {
	if wrong := rebinding(t); wrong != "" {
		t.Error(wrong)
	}
}

func rebinding(t *testing.T) string {
	for _, overTLS := range []bool{false, true} {
		r := newRig(t, smallLimits(), overTLS)
		for host, want := range map[string]int{
			"evil.example": 403, "evil.example:4166": 403, "127.0.0.1.evil.example": 403, "10.0.0.8:4166": 403, "n8.example.evil": 403, "": 200, // the client says the address
			"cluster.example": 200, "CLUSTER.example:9": 200, "10.0.0.7": 200, "n8.example": 200, "localhost:1": 200, "127.0.0.9": 200, "[::1]:4166": 200,
		} {
			for _, path := range []string{"/api/v1/get", "/ui/", "/metrics", "/write"} {
				if got, text, _ := r.ask("GET", path, "", "Host", host, "Authorization", "Bearer good"); got != want {
					return fmt.Sprintf("TLS %t, host %q: %s is answered with %d %s, want %d", overTLS, host, path, got, text, want)
				}
			}
		}
	}
	return ""
}

// A page from elsewhere must neither change anything nor read it, whatever it has a browser send. One of another member
// may, and is told so.
func TestCrossOrigin(t *testing.T) {
	if wrong := crossOrigin(t); wrong != "" {
		t.Error(wrong)
	}
}

func crossOrigin(t *testing.T) string {
	for _, overTLS := range []bool{false, true} {
		r := newRig(t, smallLimits(), overTLS)
		scheme := "http://"
		if overTLS {
			scheme = "https://"
		}
		for _, c := range []struct {
			origin, site string
			more         []string
			may          bool
			told         bool // that the page may read it
		}{
			{"", "", nil, true, false}, // no browser
			{"", "none", nil, true, false},
			{"", "same-origin", nil, true, false},
			{scheme + r.addr, "same-origin", nil, true, false},
			{scheme + "10.0.0.7:4166", "cross-site", nil, true, true},
			{"https://n8.example", "cross-site", nil, overTLS, overTLS}, // without its port, as browsers write it
			{"http://n8.example:443", "cross-site", nil, !overTLS, !overTLS},
			{scheme + "evil.example", "cross-site", nil, false, false},
			{scheme + "evil.example", "", nil, false, false},
			{scheme + r.addr + ".evil.example", "cross-site", nil, false, false},
			{scheme + "127.0.0.1:1", "same-site", nil, false, false}, // another program of this host
			{"null", "cross-site", nil, false, false},
			{"", "cross-site", nil, false, false},
			{"", "same-site", nil, false, false},
			{"", "cross-site", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"}, false, false},
			{"", "cross-site", []string{"Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"}, false, false},
		} {
			fields := append([]string{"Authorization", "Bearer good"}, c.more...)
			if c.origin != "" {
				fields = append(fields, "Origin", c.origin)
			}
			if c.site != "" {
				fields = append(fields, "Sec-Fetch-Site", c.site)
			}
			for _, q := range [][2]string{{"POST", "/api/v1/set"}, {"GET", "/api/v1/get"}, {"POST", "/api/v1/auth/login"}, {"POST", "/write"}, {"GET", "/write"}} {
				before := r.sets.Load()
				status, text, h := r.ask(q[0], q[1], `{"user":"rob","password":"right"}`, fields...)
				if (status == 200) != c.may || !c.may && (status != 403 || r.sets.Load() != before) {
					return fmt.Sprintf("TLS %t: %s %s by origin %q, site %q %v: got %d %s, want it done: %t", overTLS, q[0], q[1], c.origin, c.site, c.more, status, text, c.may)
				}
				if told := h.Get("Access-Control-Allow-Origin"); (told == c.origin && told != "") != c.told || h.Get("Access-Control-Allow-Credentials") != "" {
					return fmt.Sprintf("TLS %t: origin %q: it is told %v", overTLS, c.origin, h)
				}
			}
			status, _, h := r.ask("OPTIONS", "/api/v1/set", "", "Origin", c.origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization")
			if got := status == 204 && strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization"); got != c.told {
				return fmt.Sprintf("TLS %t: origin %q asks whether it may: got %d %v", overTLS, c.origin, status, h)
			}
		}
		// A link from elsewhere leads to the page.
		if status, text, _ := r.ask("GET", "/ui/", "", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"); status != 200 {
			return fmt.Sprintf("a link to the page: got %d %s", status, text)
		}
	}
	return ""
}

// No page may show this one in a frame and have somebody click on it, nor take an answer for something else than it is.
func TestFrames(t *testing.T) {
	if wrong := framed(t); wrong != "" {
		t.Error(wrong)
	}
}

func framed(t *testing.T) string {
	r := newRig(t, smallLimits(), false)
	for path, want := range map[string][]string{
		"/ui/":        {"default-src 'none'", "script-src 'self'", "connect-src 'self' ", "http://10.0.0.7:4166", "https://n8.example", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"},
		"/api/v1/get": {"default-src 'none'", "frame-ancestors 'none'"},
		"/nowhere":    {"default-src 'none'", "frame-ancestors 'none'"},
	} {
		_, _, h := r.ask("GET", path, "")
		for _, w := range want {
			if !strings.Contains(h.Get("Content-Security-Policy"), w) {
				return fmt.Sprintf("the policy of %s has no %q: %q", path, w, h.Get("Content-Security-Policy"))
			}
		}
		for name, w := range map[string]string{
			"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin", "Cross-Origin-Opener-Policy": "same-origin", "Vary": "Origin",
		} {
			if h.Get(name) != w {
				return fmt.Sprintf("%s of %s is %q, want %q", name, path, h.Get(name), w)
			}
		}
		if strings.Contains(h.Get("Content-Security-Policy"), "unsafe") {
			return "the policy of " + path + " has something unsafe: " + h.Get("Content-Security-Policy")
		}
		if stored := h.Get("Cache-Control"); path != "/ui/" && stored != "no-store" {
			return fmt.Sprintf("%s may be kept: %q", path, stored)
		}
	}
	return ""
}

// Others on the network get neither page nor API where there is no TLS, or nobody is asked who he is.
func TestFarPage(t *testing.T) {
	if wrong := farPage(); wrong != "" {
		t.Error(wrong)
	}
}

func farPage() string {
	for _, c := range []struct{ tls, near, open, api, figures bool }{
		{false, true, true, true, true}, {false, false, true, false, true}, {false, true, false, true, true},
		{false, false, false, false, true}, {true, false, false, true, true}, {true, false, true, false, true}, {true, true, true, true, true},
	} {
		d := &Door{config: Config{Places: func() *Places { return NewPlaces([]string{"h:1"}, nil) }, Open: func() bool { return c.open }}}
		for kind, want := range map[Kind]bool{API: c.api, Page: c.api, Profile: c.api, Influx: c.api, Figures: c.figures} {
			if e := d.checkPlace(&Visitor{TLS: c.tls, Near: c.near}, &http.Request{Host: "h"}, kind, d.config.Places()); (e == nil) != want {
				return fmt.Sprintf("TLS %t, from this host %t, nobody asked %t: kind %d: got %v, want it served: %t", c.tls, c.near, c.open, kind, e, want)
			}
		}
	}
	return ""
}

// hungUp waits until the other side has closed a connection, and returns what it has said before.
func hungUp(conn net.Conn, within time.Duration) (said string, err error) {
	if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return "", err
	}
	got, err := io.ReadAll(conn)
	if timeout := (net.Error)(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return string(got), errors.New("it is not closed")
	}
	return string(got), nil // a reset is as good as an end
}

// tries is how long an attack is given to last, where it must not: many times the limits of a rig.
const tries = 3 * time.Second

// Heads and bodies that don't end, in size or in time, must be cut off, whether the request is one that is let in or not.
func TestEndlessRequests(t *testing.T) {
	if wrong := silentVisitors(t) + slowHeads(t) + endlessBodies(t); wrong != "" {
		t.Error(wrong)
	}
	r := newRig(t, smallLimits(), false)
	conn := r.dial()
	go func() {
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n")
		for range 1 << 10 {
			if _, err := io.WriteString(conn, "X: "+strings.Repeat("x", 4<<10)+"\r\n"); err != nil {
				return
			}
		}
	}()
	if said, err := hungUp(conn, patience); err != nil || !strings.Contains(said, " 431 ") && said != "" {
		t.Errorf("a head of 4 MiB: %q, %v", said, err)
	}
}

// silentVisitors tells of a connection that says nothing and stays.
func silentVisitors(t *testing.T) string {
	for _, c := range []struct {
		tls       bool
		protocols []string
		says      string
	}{
		{false, nil, ""}, {false, nil, "GET / HT"}, {true, []string{"h2"}, ""},
		{true, []string{"h2"}, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"}, {true, []string{"http/1.1"}, "G"},
	} {
		r := newRig(t, smallLimits(), c.tls)
		conn := r.dial(c.protocols...)
		if _, err := io.WriteString(conn, c.says); err != nil {
			return err.Error()
		}
		if _, err := hungUp(conn, tries); err != nil {
			return fmt.Sprintf("TLS %t, %v, said %q: %v", c.tls, c.protocols, c.says, err)
		}
	}
	return ""
}

// drip writes a byte after the other, until that fails.
func drip(conn net.Conn, b string) {
	for i := range len(b) {
		if _, err := io.WriteString(conn, b[i:i+1]); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond) // the pace is what is tested
	}
}

// slowHeads tells of a head that drips in, and is waited for.
func slowHeads(t *testing.T) string {
	r := newRig(t, smallLimits(), false)
	for _, before := range []string{"", "GET /ui/ HTTP/1.1\r\nHost: localhost\r\n\r\n"} { // a first request, and a later one
		conn := r.dial()
		if _, err := io.WriteString(conn, before); err != nil {
			return err.Error()
		}
		go drip(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n"+strings.Repeat("X: x\r\n", 1000))
		if said, err := hungUp(conn, tries); err != nil {
			return fmt.Sprintf("a head that drips, behind %q: %v, after %q", before, err, said)
		}
	}
	return ""
}

// endlessBodies tells of a body without end, and is waited for.
func endlessBodies(t *testing.T) string {
	r := newRig(t, smallLimits(), false)
	head := "POST %s HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, c := range []struct{ path, host string }{{"/api/v1/set", "localhost"}, {"/api/v1/auth/login", "localhost"}, {"/ui/", "localhost"}, {"/api/v1/set", "evil.example"}} {
		conn := r.dial()
		if _, err := fmt.Fprintf(conn, head, c.path, c.host); err != nil {
			return err.Error()
		}
		go drip(conn, strings.Repeat("1\r\nx\r\n", 1000))
		if said, err := hungUp(conn, tries); err != nil {
			return fmt.Sprintf("a body for %s of %s that drips: %v, after %q", c.path, c.host, err, said)
		}
	}
	conn := r.dial()
	if _, err := fmt.Fprintf(conn, head, "/api/v1/set", "localhost"); err != nil {
		return err.Error()
	}
	sent := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(conn, io.LimitReader(chunks{}, 64<<20)) // it fails, or must not get so far
		sent <- n
	}()
	said, err := hungUp(conn, tries)
	conn.Close()
	if n := <-sent; err != nil || !strings.Contains(said, " 413 ") && said != "" || n > 32<<20 {
		return fmt.Sprintf("a body of 64 MiB, where %d bytes are the limit: %d were taken, it was answered with %q, %v", smallLimits().BodyBytes, n, said, err)
	}
	if status, text, _ := r.ask("POST", "/api/v1/set", strings.Repeat("x", 128<<10)); status != 413 && status != 0 {
		return fmt.Sprintf("a body that says that it is too large: got %d %s", status, text)
	}
	if n := r.sets.Load(); n != 0 {
		return fmt.Sprintf("%d of them were taken for whole", n)
	}
	return ""
}

// chunks is a body in chunks that never ends.
type chunks struct{}

func (chunks) Read(p []byte) (n int, err error) {
	const chunk = "400\r\n"
	one := chunk + strings.Repeat("x", 0x400) + "\r\n"
	for n+len(one) <= len(p) {
		n += copy(p[n:], one)
	}
	return n, nil
}

// A client that asks for much and reads nothing must not hold a request of this node for ever, over either version.
func TestSlowReaders(t *testing.T) {
	if wrong := slowReaders(t); wrong != "" {
		t.Error(wrong)
	}
}

func slowReaders(t *testing.T) string {
	for _, overTLS := range []bool{false, true} {
		r := newRig(t, smallLimits(), overTLS)
		q, err := http.NewRequestWithContext(t.Context(), "GET", r.url("/api/v1/big"), nil)
		if err != nil {
			return err.Error()
		}
		q.Header.Set("Authorization", "Bearer good")
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
		defer transport.CloseIdleConnections()
		a, err := transport.RoundTrip(q)
		if err != nil {
			return err.Error()
		}
		if want := map[bool]int{false: 1, true: 2}[overTLS]; a.ProtoMajor != want {
			return fmt.Sprintf("it is HTTP/%d", a.ProtoMajor)
		}
		select {
		case <-r.ended:
		case <-time.After(tries):
			a.Body.Close()
			return fmt.Sprintf("HTTP/%d: its handler waits for a reader that does not read", a.ProtoMajor)
		}
		a.Body.Close()
	}
	return ""
}

// A connection that sends requests without waiting for answers has them answered one after the other, and what is no
// request ends it.
func TestPipelinedGarbage(t *testing.T) {
	r := newRig(t, smallLimits(), false)
	const good = "GET /api/v1/get HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for _, garbage := range []string{"\x00\x01\x02\x03", "NONSENSE\r\n\r\n", "GET /api/v1/get HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET /api/v1/get HTTP/9.9\r\n\r\n", "*1\r\n$4\r\nPING\r\n", "\xedmus\x03\x03\x01\x00", "\x16\x03\x01\x00\x05hello",
		"POST /api/v1/set HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + "GET /api/v1/smuggled HTTP/1.1\r\n"} {
		conn := r.dial()
		if _, err := io.WriteString(conn, strings.Repeat(good, 20)+garbage+"\r\n\r\n"+strings.Repeat(good, 20)); err != nil {
			t.Fatal(err)
		}
		said, err := hungUp(conn, patience)
		if n := strings.Count(said, "value"); err != nil || n > 20 || strings.Count(said, " 200 OK") > 21 {
			t.Errorf("%q: %d of 20 are answered, %v; %q", garbage, n, err, said[max(0, len(said)-200):])
		}
	}
}

// frame is a frame of HTTP/2.
func frame(kind, flags byte, stream uint32, body ...byte) []byte {
	b := []byte{byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body)), kind, flags}
	return append(binary.BigEndian.AppendUint32(b, stream), body...)
}

// A client that asks over HTTP/2 and takes it back at once must not have more handlers under way than a connection may: each
// reset frees a stream, and what was begun for it runs on.
func TestRapidReset(t *testing.T) {
	if wrong := rapidReset(t); wrong != "" {
		t.Error(wrong)
	}
}

func rapidReset(t *testing.T) string {
	r := newRig(t, smallLimits(), true)
	conn := r.dial("h2")
	const headers, reset, settings, goAway = 1, 3, 4, 7
	const path, token = "/api/v1/wait", "Bearer good"
	// HPACK: what of it is in the static table, and literals.
	head := []byte{0x82, 0x87, 0x44, byte(len(path))}
	head = append(head, path...)
	head = append(append(head, 0x41, byte(len(r.addr))), r.addr...)
	head = append(append(head, 0x0f, 0x08, byte(len(token))), token...) // authorization, never indexed
	if _, err := conn.Write(append([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), frame(settings, 0, 0)...)); err != nil {
		return err.Error()
	}
	ended := make(chan string, 1)
	go func() {
		said, _ := hungUp(conn, tries)
		ended <- said
	}()
	sent := 0
	for stream := uint32(1); stream < 20_000; stream += 2 {
		b := frame(headers, 0x5, stream, head...)
		b = append(b, frame(reset, 0, stream, 0, 0, 0, 8)...)
		if _, err := conn.Write(b); err != nil {
			break
		}
		sent++
	}
	said := <-ended
	if most, limit := r.most.Load(), int64(smallLimits().Streams); most > limit || most == 0 {
		return fmt.Sprintf("%d requests are under way at once of one connection, the limit is %d", most, limit)
	}
	if !bytes.Contains([]byte(said), []byte{goAway}) || sent == 10_000 && said == "" {
		return fmt.Sprintf("it may go on: %d were sent", sent)
	}
	return ""
}
