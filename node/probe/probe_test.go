package probe

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/repl/health"
	"muster/shardmap/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// loopback allows what the servers of these tests listen on.
var loopback = Config{Ranges: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}

func prober(t *testing.T, c Config) *Prober {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// specFor is a check of a type at an address.
func specFor(t *testing.T, kind, addr string) *registry.Spec {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return &registry.Spec{Type: kind, Host: host, Port: uint16(n), URL: "http://" + addr + "/", Timeout: 10 * time.Second,
		Expect: []registry.StatusRange{{From: 200, To: 299}}, User: "who", Pass: "pa55word", Database: map[string]string{registry.TypeRedis: ""}[kind]}
}

// listen serves each connection with f, which need not close it, until the test ends.
func listen(t *testing.T, f func(c net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				f(c)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// closedPort is an address at which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func wantUp(t *testing.T, r health.Result, reason string) {
	t.Helper()
	if !r.Up || r.NotAllowed || r.Reason != reason {
		t.Errorf("got %+v, want up with %q", r, reason)
	}
}

// wantDown wants a result of an instance that is down, with a reason that holds a text.
func wantDown(t *testing.T, r health.Result, reason string) {
	t.Helper()
	if r.Up || r.NotAllowed || !strings.Contains(r.Reason, reason) {
		t.Errorf("got %+v, want down with %q", r, reason)
	}
}

// networkTypes are the types that connect to a target.
var networkTypes = []string{registry.TypeTCP, registry.TypeWeb, registry.TypeMySQL, registry.TypePostgres, registry.TypeRedis, registry.TypeGRPC}

func TestTCP(t *testing.T) {
	p := prober(t, loopback)
	addr := listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) })
	wantUp(t, p.Run(t.Context(), specFor(t, registry.TypeTCP, addr)), "takes connections")
}

// Where nothing listens, each type says so.
func TestNothingListens(t *testing.T) {
	p := prober(t, loopback)
	for _, kind := range networkTypes {
		t.Run(kind, func(t *testing.T) {
			r := p.Run(t.Context(), specFor(t, kind, closedPort(t)))
			if wantDown(t, r, "connection refused"); r.Reason != "connection refused" {
				t.Errorf("got %q", r.Reason)
			}
		})
	}
}

// A target that takes the connection and says nothing holds a probe until its time-out, and no
// longer: one would doubt it because each driver looks at its context in its own way.
func TestSilentTarget(t *testing.T) {
	const timeout = 300 * time.Millisecond
	p := prober(t, loopback)
	var gone atomic.Int64
	addr := listen(t, func(c net.Conn) {
		for b := make([]byte, 1024); ; {
			if _, err := c.Read(b); err != nil {
				gone.Add(1)
				return
			}
		}
	})
	for _, kind := range networkTypes[1:] {
		t.Run(kind, func(t *testing.T) {
			spec := specFor(t, kind, addr)
			spec.Timeout = timeout
			before, began := gone.Load(), time.Now()
			r := p.Run(t.Context(), spec)
			if took := time.Since(began); took < timeout || took > timeout+2*time.Second {
				t.Errorf("took %v", took)
			}
			wantDown(t, r, "no answer within 300ms")
			for end := time.Now().Add(5 * time.Second); gone.Load() == before; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the connection is open")
				}
			}
		})
	}
}

// A target that sends without end costs bounded bytes, whatever it sends.
func TestFloodingTarget(t *testing.T) {
	p := prober(t, loopback)
	for name, first := range map[string]string{
		"zeros":                           "\x00",
		"text":                            "x",
		"a page":                          "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
		"headers":                         "HTTP/1.1 200 OK\r\nX: ",
		"a greeting of MySQL":             "\xff\xff\xff\x00\x0a",
		"an authentication of PostgreSQL": "R\x7f\xff\xff\xff",
		"notices of PostgreSQL":           strings.Repeat("N\x00\x00\x00\x05\x00", 1000),
		"redirects":                       "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 1000000000\r\n\r\n",
		"settings of HTTP/2":              strings.Repeat("\x00\x00\x00\x04\x00\x00\x00\x00\x00", 1000),
	} {
		for _, kind := range networkTypes {
			t.Run(name+"/"+kind, func(t *testing.T) {
				var sent atomic.Int64
				addr := listen(t, func(c net.Conn) {
					_ = c.(*net.TCPConn).SetWriteBuffer(1 << 16)
					if pages(kind, name) {
						// What comes before the request is no answer to it.
						_, _ = c.Read(make([]byte, 1))
					}
					for block := []byte(strings.Repeat(first, 1+(1<<16)/len(first))); ; {
						n, err := c.Write(block)
						sent.Add(int64(n))
						if err != nil {
							return
						}
					}
				})
				r := p.Run(t.Context(), specFor(t, kind, addr))
				// TCP takes any amount of talk for an answer, and a page that is too long is a page.
				if up := kind == registry.TypeTCP || pages(kind, name); r.Up != up || r.NotAllowed {
					t.Errorf("got %+v, want up %v", r, up)
				}
				if claims := name == "a greeting of MySQL" && kind == registry.TypeMySQL; claims && r.Reason != "not MySQL: a packet of 16777215 bytes" {
					t.Errorf("the driver reserved what the packet claims: %+v", r)
				}
				// What the kernel has taken on both sides comes on top of what was read, for as many
				// connections as redirects are followed.
				if max := int64(1+redirectsMax) * (ReadMax + 8<<20); sent.Load() > max {
					t.Errorf("the target could send %d bytes", sent.Load())
				}
			})
		}
	}
}

// pages reports whether a target that floods with something answers a check of a kind.
func pages(kind, flood string) bool { return kind == registry.TypeWeb && flood == "a page" }

// The address that is dialled is what counts, not what the definition says. A name that
// stands for another address, and a mapped form, are the ways around a check of text.
func TestRanges(t *testing.T) {
	addr := listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) })
	_, port, _ := net.SplitHostPort(addr)
	ten := Config{Ranges: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for _, tt := range []struct {
		name string
		conf Config
		host string
		want bool
	}{
		{"in no range", ten, "127.0.0.1", false},
		{"a name", ten, "localhost", false},
		{"mapped", ten, "::ffff:127.0.0.1", false},
		{"in a range", loopback, "127.0.0.1", true},
		{"a name in a range", loopback, "localhost", true},
		{"mapped, in a range", loopback, "::ffff:127.0.0.1", true},
		{"no ranges", Config{}, "127.0.0.1", true},
		{"no ranges, link-local", Config{}, "169.254.169.254", false},
		{"no ranges, link-local mapped", Config{}, "::ffff:169.254.169.254", false},
		{"no ranges, link-local of IPv6", Config{}, "fe80::1%lo", false},
		{"no ranges, unspecified", Config{}, "0.0.0.0", false},
		{"no ranges, unspecified of IPv6", Config{}, "::", false},
	} {
		for _, kind := range networkTypes {
			if kind != registry.TypeTCP && tt.want {
				continue
			}
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				spec := specFor(t, kind, net.JoinHostPort("127.0.0.1", port))
				spec.Host, spec.URL = tt.host, "http://"+net.JoinHostPort(strings.ReplaceAll(tt.host, "%", "%25"), port)+"/"
				r := prober(t, tt.conf).Run(t.Context(), spec)
				if r.Up != tt.want || r.NotAllowed == tt.want {
					t.Errorf("got %+v", r)
				}
			})
		}
	}
}

// What a target, or a program, says reaches people as one short line without the password.
func TestClean(t *testing.T) {
	spec := &registry.Spec{Pass: "hunter2", Settings: []registry.Setting{{Key: "api_token", Value: "t0k"}, {Key: "host", Value: "db"}}}
	for _, tt := range []struct{ said, want string }{
		{"denied for hunter2 at db", "denied for " + registry.Mask + " at db"},
		{"t0k is wrong", registry.Mask + " is wrong"},
		{"two\nlines\x1b[31m red", "two lines [31m red"},
		{"bad \xff\xfe bytes", "bad bytes"},
		{strings.Repeat("é", 200), strings.Repeat("é", 128)},
		{"a" + strings.Repeat("é", 200), "a" + strings.Repeat("é", 127)},
	} {
		if got := clean(tt.said, spec); got != tt.want || len(got) > registry.ReasonMax {
			t.Errorf("%q: got %q, want %q", tt.said, got, tt.want)
		}
	}
}

// A probe whose owner ends returns at once.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	addr := listen(t, func(c net.Conn) { cancel(); _, _ = c.Read(make([]byte, 1024)); _, _ = c.Read(make([]byte, 1)) })
	spec := specFor(t, registry.TypeRedis, addr)
	spec.Timeout = time.Minute
	began := time.Now()
	if r := prober(t, loopback).Run(ctx, spec); r.Up || time.Since(began) > 10*time.Second {
		t.Errorf("got %+v after %v", r, time.Since(began))
	}
}
