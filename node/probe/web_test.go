package probe

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"muster/node/probe/probetest"
	"muster/shardmap/registry"
)

// specOf is a check of a type at a server of net/http's tests.
func specOf(t *testing.T, kind string, s *httptest.Server) *registry.Spec {
	t.Helper()
	spec := specFor(t, kind, s.Listener.Addr().String())
	spec.URL = s.URL + "/"
	return spec
}

// A redirect must lead a node nowhere but to the server that was to be checked: a definition
// could otherwise have it ask what only the node can reach.
func TestWebStaysWithTheServer(t *testing.T) {
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer other.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL, http.StatusFound)
		case "/by-name":
			http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1), http.StatusFound)
		case "/scheme":
			http.Redirect(w, r, "https://"+r.Host+"/", http.StatusFound)
		case "/near":
			http.Redirect(w, r, "/", http.StatusFound)
		}
	}))
	defer server.Close()
	p := prober(t, loopback)
	for _, tt := range []struct {
		path, want string
		up         bool
	}{{"", "HTTP 200", true}, {"near", "HTTP 200", true}, {"away", "not followed", false}, {"by-name", "not followed", false}, {"scheme", "not followed", false}} {
		spec := specOf(t, registry.TypeWeb, server)
		spec.URL += tt.path
		if r := p.Run(t.Context(), spec); r.Up != tt.up || !strings.Contains(r.Reason, tt.want) {
			t.Errorf("%q: got %+v", tt.path, r)
		}
		// A redirect that is expected is an answer, and not followed at all.
		spec.Expect = append(spec.Expect, registry.StatusRange{From: 300, To: 399})
		if r := p.Run(t.Context(), spec); !r.Up {
			t.Errorf("%q with redirects expected: got %+v", tt.path, r)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the other server was asked %d times", n)
	}
}

// A certificate counts, unless the definition says that it does not; a server that dies
// within a page is not up.
func TestWebFaults(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := r.BasicAuth(); user != "who" || pass != "pa55word" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		if r.URL.Path == "/torn" {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "torn")
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	p := prober(t, loopback)
	spec := specOf(t, registry.TypeWeb, server)
	wantDown(t, p.Run(t.Context(), spec), "certificate")
	spec.SkipVerify = true
	wantUp(t, p.Run(t.Context(), spec), "HTTP 200")
	spec.URL += "torn"
	wantDown(t, p.Run(t.Context(), spec), "HTTP 200, and then")
	spec.Pass = ""
	wantDown(t, p.Run(t.Context(), spec), "HTTP 401")
}

// A server may say the same to everybody, before it is asked. That is an answer, each time, and over TLS too, and the
// log of the process has nothing of it: whoever names a target could fill it.
func TestWebAnswersBeforeItIsAsked(t *testing.T) {
	var logged strings.Builder
	log.SetOutput(&logged)
	defer log.SetOutput(os.Stderr)
	page := func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, _ = c.Read(make([]byte, 4096)) // the request, which does not matter
		c.Close()
	}
	secure := httptest.NewUnstartedServer(nil)
	secure.StartTLS() // for its certificate
	defer secure.Close()
	p := prober(t, loopback)
	for scheme, serve := range map[string]func(net.Conn){
		"http":  page,
		"https": func(c net.Conn) { page(tls.Server(c, secure.TLS)) },
	} {
		spec := specFor(t, registry.TypeWeb, listen(t, serve))
		spec.URL, spec.SkipVerify = strings.Replace(spec.URL, "http", scheme, 1), true
		for range 200 {
			wantUp(t, p.Run(t.Context(), spec), "HTTP 200")
		}
	}
	if logged.Len() > 0 {
		t.Errorf("logged: %.300s", logged.String())
	}
}

// What a server that speaks something else is told of says so, without what this side calls it.
func TestOtherProtocols(t *testing.T) {
	p := prober(t, loopback)
	for _, tt := range []struct{ kind, says, want string }{
		{registry.TypeWeb, "SSH-2.0-x\r\n", `malformed HTTP response "SSH-2.0-x"`},
		{registry.TypeWeb, "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", webHeadMax) + "\r\n\r\n", "server response headers exceeded 65536 bytes; aborted"},
		{registry.TypeGRPC, "HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat(" ", 1<<12), "not gRPC: http2: "},
		{registry.TypePostgres, "HTTP/1.1 400 Bad Request\r\n\r\n" + strings.Repeat(" ", pgsqlMessageMax), "failed to receive message: "},
		// A driver that has had enough waits for the server's end, which does not come: that is no part of the probe.
		{registry.TypePostgres, "HTTP/1.1 400 Bad Request\r\n\r\n", "failed to receive message: "},
	} {
		addr := listen(t, func(c net.Conn) {
			_, _ = io.WriteString(c, tt.says)
			_, _ = io.Copy(io.Discard, c)
		})
		r := p.Run(t.Context(), specFor(t, tt.kind, addr))
		if r.Up || !strings.HasPrefix(r.Reason, tt.want) {
			t.Errorf("%s: got %+v, want %q", tt.kind, r, tt.want)
		}
	}
}

func TestGRPC(t *testing.T) {
	plain := httptest.NewUnstartedServer(new(probetest.Health))
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Start()
	defer plain.Close()
	secure := httptest.NewUnstartedServer(new(probetest.Health))
	secure.EnableHTTP2 = true
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	p := prober(t, loopback)
	for _, server := range []*httptest.Server{plain, secure} {
		for service, want := range map[string]string{"": "SERVING", "shop": "SERVING", "sick": "NOT_SERVING", "absent": "gRPC status 5: unknown service", "odd": "not a HealthCheckResponse"} {
			spec := specOf(t, registry.TypeGRPC, server)
			spec.Health, spec.TLS, spec.SkipVerify = service, server == secure, true
			if r := p.Run(t.Context(), spec); r.Up != (want == "SERVING") || r.Reason != want {
				t.Errorf("%q: got %+v, want %q", service, r, want)
			}
		}
	}
	spec := specOf(t, registry.TypeGRPC, secure)
	spec.TLS = true
	wantDown(t, p.Run(t.Context(), spec), "certificate")
	if r := p.Run(t.Context(), specOf(t, registry.TypeGRPC, web)); r.Up {
		t.Errorf("a server of HTTP/1: got %+v", r)
	}
}

// Thousands of checks must not use up the ports of a host: whoever closes a connection first
// holds its port for a minute.
func TestPortsAreNotHeld(t *testing.T) {
	const checks = 5000
	p := prober(t, loopback)
	addr := listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) })
	spec := specFor(t, registry.TypeTCP, addr)
	for range checks {
		if r := p.Run(t.Context(), spec); !r.Up {
			t.Fatalf("got %+v", r)
		}
	}
	if n := timeWaits(t, spec.Port); n > 0 {
		t.Errorf("%d checks hold %d ports", checks, n)
	}
}

// What a tcp check costs the node.
func BenchmarkTCP(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	p, err := New(loopback)
	if err != nil {
		b.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	spec := &registry.Spec{Type: registry.TypeTCP, Host: "127.0.0.1", Port: uint16(port), Timeout: 1 << 30}
	for b.Loop() {
		if r := p.Run(b.Context(), spec); !r.Up {
			b.Fatalf("got %+v", r)
		}
	}
}
