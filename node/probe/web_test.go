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

// What a server that speaks something else is told of says what is wrong with it in plain words, and
// not in those of the libraries on this side.
func TestOtherProtocols(t *testing.T) {
	const (
		bad      = "HTTP/1.1 400 Bad Request\r\n\r\n"
		closes   = "the server closes the connection"
		no2      = "no answer in HTTP/2: the server speaks something else, or ends the connection"
		noMySQL  = "not MySQL: an answer that can't be read"
		noPgSQL  = "not PostgreSQL: an answer that can't be read"
		settings = "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	)
	p := prober(t, loopback)
	for _, tt := range []struct{ kind, says, want string }{
		{registry.TypeWeb, "", closes},
		{registry.TypeWeb, "SSH-2.0-x\r\n", `not HTTP: the answer begins with "SSH-2.0-x"`},
		{registry.TypeWeb, "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", webHeadMax) + "\r\n\r\n", "headers of more than 64 KiB"},
		{registry.TypeWeb, "HTTP/1.1 200 OK\r\nfoo\r\n\r\n", "not HTTP: an answer that can't be read"},
		{registry.TypeWeb, "HTTP/1.1 abc\r\n\r\n", "not HTTP: an answer that can't be read"},
		{registry.TypeWeb, "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "not HTTP: an answer that can't be read"},
		{registry.TypeWeb, "HTTP/1.1 302 Found\r\nLocation: http://a b/%zz\r\n\r\n", "a redirect that can't be read"},
		{registry.TypeWeb, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "HTTP 200, and then: " + closes},
		{registry.TypeWeb, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP 200, and then: a page that can't be read"},
		{registry.TypeGRPC, "", no2},
		{registry.TypeGRPC, bad + strings.Repeat(" ", 1<<12), no2},
		{registry.TypeGRPC, "SSH-2.0-x\r\n", no2},
		{registry.TypeGRPC, settings + "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x0b", "the server ends the call, with the code ENHANCE_YOUR_CALM of HTTP/2"},
		{registry.TypeGRPC, settings + "\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88" + "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x02", "the server ends the call, with the code INTERNAL_ERROR of HTTP/2"},
		{registry.TypeGRPC, settings + "\x00\x00\x06\x01\x04\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff", no2},
		{registry.TypePostgres, "", closes},
		{registry.TypePostgres, bad + strings.Repeat(" ", pgsqlMessageMax), noPgSQL},
		// A driver that has had enough waits for the server's end, which does not come: that is no part of the probe.
		{registry.TypePostgres, bad, noPgSQL},
		{registry.TypePostgres, "R\x00\x00\x00\x08\x00\x00\x00\x63", noPgSQL},
		{registry.TypeMySQL, "", closes},
		{registry.TypeMySQL, "SSH-2.0-x\r\n", "not MySQL: a packet of 4739923 bytes"},
		{registry.TypeMySQL, "\x06\x00\x00\x00\x09abcd\x00", "not MySQL: a packet that can't be read"},
		{registry.TypeMySQL, "\x17\x00\x00\x00\xff\x10\x04Too many connections", "Error 1040: Too many connections"},
		{registry.TypeMySQL, "\x40\x00\x00\x00\x098.0\x00" + strings.Repeat("\x00", 59), noMySQL},
		{registry.TypeRedis, "", "PING: " + closes},
		{registry.TypeRedis, "SSH-2.0-x\r\n", "PING: SSH-2.0-x"},
	} {
		addr := listen(t, func(c net.Conn) {
			if tt.says == "" || strings.HasPrefix(tt.says, "HTTP") && tt.kind == registry.TypeWeb {
				_, _ = c.Read(make([]byte, 4096)) // else the rest of it would be a reset
				_, _ = io.WriteString(c, tt.says)
				return
			}
			if strings.HasPrefix(tt.says, settings) {
				awaitCall(c)
			}
			_, _ = io.WriteString(c, tt.says)
			_, _ = io.Copy(io.Discard, c)
		})
		spec := specFor(t, tt.kind, addr)
		if spec.Pass = ""; tt.kind == registry.TypeMySQL && tt.says == "" {
			addr := listen(t, func(c net.Conn) {}) // MySQL speaks first
			spec = specFor(t, tt.kind, addr)
		}
		if r := p.Run(t.Context(), spec); r.Up || r.Reason != tt.want {
			t.Errorf("%s of %.40q: got %+v, want %q", tt.kind, tt.says, r, tt.want)
		}
	}
	// And where TLS was to be spoken.
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	for _, kind := range []string{registry.TypeWeb, registry.TypeGRPC, registry.TypeRedis} {
		spec := specOf(t, kind, plain)
		spec.TLS, spec.URL = true, strings.Replace(spec.URL, "http:", "https:", 1)
		if r := p.Run(t.Context(), spec); r.Up || r.Reason != noTLS {
			t.Errorf("%s: got %+v, want %q", kind, r, noTLS)
		}
	}
	for kind, talk := range map[string]func(net.Conn){
		registry.TypeMySQL: probetest.SmallMySQL,
		registry.TypePostgres: func(c net.Conn) {
			_, _ = c.Read(make([]byte, 64))
			_, _ = io.WriteString(c, "N") // no TLS
			_, _ = c.Read(make([]byte, 1))
		},
	} {
		spec := specFor(t, kind, listen(t, talk))
		spec.TLS = true
		if r := p.Run(t.Context(), spec); r.Up || r.Reason != noTLS {
			t.Errorf("%s: got %+v, want %q", kind, r, noTLS)
		}
	}
}

// awaitCall reads what a client of HTTP/2 says until it makes a call: what is said of one before is of none.
func awaitCall(c net.Conn) {
	const preface, head, headers = 24, 9, 1
	_, _ = io.CopyN(io.Discard, c, preface)
	for {
		frame := make([]byte, head)
		if _, err := io.ReadFull(c, frame); err != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, c, int64(frame[0])<<16|int64(frame[1])<<8|int64(frame[2]))
		if frame[3] == headers {
			return
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
	before := timeWaits(t, spec.Port)
	for range checks {
		if r := p.Run(t.Context(), spec); !r.Up {
			t.Fatalf("got %+v", r)
		}
	}
	if n := timeWaits(t, spec.Port); n > before {
		t.Errorf("%d checks hold %d ports, %d were held before", checks, n, before)
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
