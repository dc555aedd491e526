package trial

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/node"
	"muster/repl/client/home"
)

// badEndpoint is an endpoint of no use, and what is said of it.
type badEndpoint struct {
	name, addr string
	status     int
	says       string
}

// badEndpoints starts one of each kind, for a cluster called prod with a secret.
func badEndpoints(t *testing.T, secret string) []badEndpoint {
	t.Helper()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the system accepts, and nobody speaks
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	closed, err := node.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(other, []byte("incorrect horse battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(n int, options ...string) string {
		c := newCluster(t, n, options...)
		c.plain = true
		if slices.Contains(options, other) { // somebody else's: nothing of it is kept for this user
			c.env = append(c.env, home.Variable+"="+t.TempDir())
		}
		c.start(0)
		return c.nodes[0].addr
	}
	waiting := start(2, "--secret-file", secret, "--cluster", "prod")
	foreign := start(1, "--secret-file", secret, "--cluster", "test")
	strange := start(1, "--secret-file", other, "--cluster", "prod")
	for _, addr := range []string{waiting, foreign, strange} {
		awaitListener(t, addr)
	}
	return []badEndpoint{
		{"waits for its founding", waiting, exitNoResult, "not-ready"},
		{"is of another cluster", foreign, exitRefused, "wrong-cluster"},
		{"has another secret", strange, exitNotPermitted, "unauthorized"},
		{"says nothing", silent.Addr().String(), exitNoResult, "gave no answer"},
		{"refuses connections", closed[0], exitNoEndpoint, "connection refused"},
	}
}

func awaitListener(t *testing.T, addr string) {
	t.Helper()
	for end := time.Now().Add(readyMax); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A user names several endpoints so that a command works whichever of them can
// be used. What is wrong with the first ones must not matter, to any command;
// and where none can be used, each must be told of.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	c := secretCluster(t)
	c.run("kv", "set", "k", "v").done(t)
	bad := badEndpoints(t, c.secret)
	common := func(endpoints, timeout string) []string {
		return []string{"--endpoints", endpoints, "--secret-file", c.secret, "--cluster", "prod", "--timeout", timeout}
	}
	commands := []string{
		"kv set k v", "kv get k", "kv del x", "kv list", "kv export", "kv locate k", "kv import -",
		"status", "node list", "group list", "slot list", "doctor", "check", "check --acknowledge", "log diff n1 n1",
		"bench --op set --duration 10ms --warm-up 0s --in-flight 1 --keys 1",
	}
	for _, b := range bad {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			for _, line := range commands {
				began := time.Now()
				r := musterIn(t, `{"key":"i","value":"v"}`, append(strings.Fields(line), common(b.addr+","+c.nodes[0].addr, "4m")...)...)
				if r.status != exitDone {
					t.Errorf("%s: status %d: %s", line, r.status, r.stderr)
				}
				if took := time.Since(began); took > readyMax {
					t.Errorf("%s took %v", line, took)
				}
			}
		})
		t.Run("only one that "+b.name, func(t *testing.T) {
			r := muster(t, append([]string{"status"}, common(b.addr, "1s")...)...)
			r.refused(t, b.status, b.says)
		})
	}
	var all []string
	for _, b := range bad {
		all = append(all, b.addr)
	}
	for _, line := range commands {
		r := musterIn(t, `{"key":"i","value":"v"}`, append(strings.Fields(line), common(strings.Join(all, ","), "1s")...)...)
		if r.status != exitRefused && line != "kv import -" || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("%s: status %d: %s", line, r.status, r.stderr)
		}
		for _, b := range bad {
			if !strings.Contains(r.stderr, b.addr) || !strings.Contains(r.stderr, b.says) {
				t.Errorf("%s says nothing of the endpoint that %s: %s", line, b.name, r.stderr)
			}
		}
	}
}

// The port may be left out where it is the usual one.
func TestEndpointWithoutPort(t *testing.T) {
	t.Parallel()
	muster(t, "status", "--endpoints", "127.0.0.199", "--timeout", "100ms").refused(t, exitNoEndpoint, "127.0.0.199:4166 (connection refused)")
	for _, tt := range []struct{ given, want string }{
		{"4166", `--endpoints: "4166" has no host; want HOST:PORT, or HOST where the port is 4166`},
		{"http://a:4166", `--endpoints: "http://a:4166" is not an address; want HOST:PORT`},
		{"a:0", `--endpoints: "a:0" has port "0"; want a number, 1 to 65535`},
	} {
		muster(t, "status", "--endpoints", tt.given).refused(t, exitUsage, tt.want)
	}
}
