package probe

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"muster/node/probe/probetest"
	"muster/shardmap/registry"
)

// install makes a server and starts it, or skips the test aloud where there is none.
func install(t *testing.T, kind probetest.Real) *probetest.Server {
	t.Helper()
	s, err := kind.New(t)
	if err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	s.Start()
	return s
}

// specAt is a check of a type at a server.
func specAt(t *testing.T, kind string, s *probetest.Server) *registry.Spec {
	t.Helper()
	spec := specFor(t, kind, s.Addr())
	spec.User, spec.Pass, spec.Database = s.User, s.Pass, s.Database
	return spec
}

// timeWaits counts the connections to an address that are over and hold their ports.
func timeWaits(t *testing.T, port uint16) (n int) {
	t.Helper()
	const timeWait = "06"
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Skipf("NOT TESTED: %v", err)
	}
	suffix := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 3 && f[3] == timeWait && (strings.HasSuffix(f[1], suffix) || strings.HasSuffix(f[2], suffix)) {
			n++
		}
	}
	return n
}

// realServer is checked while it is up, with what it should refuse, and once it is killed.
func realServer(t *testing.T, s *probetest.Server, spec *registry.Spec, up string, refused map[string]func(s *registry.Spec)) {
	t.Helper()
	p := prober(t, loopback)
	before, held := s.Said(), timeWaits(t, spec.Port)
	for range 50 {
		wantUp(t, p.Run(t.Context(), spec), up)
	}
	if n := timeWaits(t, spec.Port); n > held {
		t.Errorf("%d ports are held, %d were before", n, held)
	}
	if more := strings.ToLower(strings.TrimPrefix(s.Said(), before)); strings.Contains(more, "abort") || strings.Contains(more, "reset") {
		t.Errorf("the server complains of probes that succeed:\n%s", more)
	}
	for want, change := range refused {
		other := *spec
		change(&other)
		r := p.Run(t.Context(), &other)
		wantDown(t, r, want)
		if other.Pass != "" && strings.Contains(r.Reason, other.Pass) {
			t.Errorf("the reason has the password: %q", r.Reason)
		}
	}
	s.Kill()
	wantDown(t, p.Run(t.Context(), spec), "refused")
}

func TestRealRedis(t *testing.T) {
	s := install(t, probetest.Redis)
	realServer(t, s, specAt(t, registry.TypeRedis, s), "answers PING", map[string]func(*registry.Spec){
		"WRONGPASS": func(s *registry.Spec) { s.Pass = "other" },
		"NOAUTH":    func(s *registry.Spec) { s.Pass, s.Database = "", "" },
		"SELECT":    func(s *registry.Spec) { s.Database = "99" },
	})
}

func TestRealPostgreSQL(t *testing.T) {
	s := install(t, probetest.PostgreSQL)
	// What the driver would read of the environment of a node must not matter to a check.
	t.Setenv("PGSSLMODE", "require")
	t.Setenv("PGOPTIONS", "-c nonsense=1")
	realServer(t, s, specAt(t, registry.TypePostgres, s), "logged in", map[string]func(*registry.Spec){
		"password authentication failed": func(s *registry.Spec) { s.Pass = "other" },
		"does not exist":                 func(s *registry.Spec) { s.Database = "absent" },
		"TLS":                            func(s *registry.Spec) { s.TLS = true },
	})
}

func TestRealMariaDB(t *testing.T) {
	s := install(t, probetest.MariaDB)
	realServer(t, s, specAt(t, registry.TypeMySQL, s), "logged in", map[string]func(*registry.Spec){
		"Access denied for user":                               func(s *registry.Spec) { s.Pass = "other" },
		"Access denied for user 'who'@'127.0.0.1' to database": func(s *registry.Spec) { s.Database = "absent" },
		"TLS": func(s *registry.Spec) { s.TLS = true },
	})
}

func TestRealNginx(t *testing.T) {
	s := install(t, probetest.Nginx)
	spec := specAt(t, registry.TypeWeb, s)
	moved := *spec
	moved.URL += "moved"
	wantUp(t, prober(t, loopback).Run(t.Context(), &moved), "HTTP 200")
	realServer(t, s, spec, "HTTP 200", map[string]func(*registry.Spec){
		"HTTP 503 Service Unavailable": func(s *registry.Spec) { s.URL += "broken" },
		"HTTP 404":                     func(s *registry.Spec) { s.URL += "absent" },
		"HTTP 302 Found: a redirect to example.com, which is not followed": func(s *registry.Spec) { s.URL += "away" },
		"HTTP 302 Found": func(s *registry.Spec) { s.URL += "round" },
	})
}

// Where a real server is not installed, tests of other packages have a small one checked
// instead, so that must be taken for one.
func TestSmallServers(t *testing.T) {
	p := prober(t, loopback)
	for _, tt := range []struct {
		kind   string
		talk   func(net.Conn)
		reason string
	}{
		{registry.TypeRedis, probetest.SmallRedis, "answers PING"},
		{registry.TypePostgres, probetest.SmallPostgreSQL, "logged in"},
		{registry.TypeMySQL, probetest.SmallMySQL, "logged in"},
	} {
		t.Run(tt.kind, func(t *testing.T) {
			spec := specFor(t, tt.kind, listen(t, tt.talk))
			spec.Database = "1"
			wantUp(t, p.Run(t.Context(), spec), tt.reason)
		})
	}
}
