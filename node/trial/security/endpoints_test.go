package security

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/node"
	"muster/node/trial/clustertest"
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
		c := clustertest.New(t, n, options...)
		c.Plain = true
		if slices.Contains(options, other) { // somebody else's: nothing of it is kept for this user
			c.Env = append(c.Env, home.Variable+"="+t.TempDir())
		}
		c.Start(0)
		return c.Nodes[0].Addr
	}
	waiting := start(2, "--secret-file", secret, "--cluster", "prod")
	foreign := start(1, "--secret-file", secret, "--cluster", "test")
	strange := start(1, "--secret-file", other, "--cluster", "prod")
	for _, addr := range []string{waiting, foreign, strange} {
		awaitListener(t, addr)
	}
	return []badEndpoint{
		{"waits for its founding", waiting, clustertest.ExitNoResult, "not-ready"},
		{"is of another cluster", foreign, clustertest.ExitRefused, "wrong-cluster"},
		{"has another secret", strange, clustertest.ExitNotPermitted, "unauthorized"},
		{"says nothing", silent.Addr().String(), clustertest.ExitNoResult, "gave no answer"},
		{"refuses connections", closed[0], clustertest.ExitNoEndpoint, "connection refused"},
	}
}

func awaitListener(t *testing.T, addr string) {
	t.Helper()
	for end := time.Now().Add(clustertest.ReadyMax); ; {
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
	c.Run("kv", "set", "k", "v").Done(t)
	bad := badEndpoints(t, c.Secret)
	common := func(endpoints, timeout string) []string {
		return []string{"--endpoints", endpoints, "--secret-file", c.Secret, "--cluster", "prod", "--timeout", timeout}
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
				r := clustertest.RunIn(t, `{"key":"i","value":"v"}`, append(strings.Fields(line), common(b.addr+","+c.Nodes[0].Addr, "4m")...)...)
				if r.Status != clustertest.ExitDone {
					t.Errorf("%s: status %d: %s", line, r.Status, r.Stderr)
				}
				if took := time.Since(began); took > clustertest.ReadyMax {
					t.Errorf("%s took %v", line, took)
				}
			}
		})
		t.Run("only one that "+b.name, func(t *testing.T) {
			r := clustertest.Run(t, append([]string{"status"}, common(b.addr, "1s")...)...)
			r.Refused(t, b.status, b.says)
		})
	}
	var all []string
	for _, b := range bad {
		all = append(all, b.addr)
	}
	for _, line := range commands {
		r := clustertest.RunIn(t, `{"key":"i","value":"v"}`, append(strings.Fields(line), common(strings.Join(all, ","), "1s")...)...)
		if r.Status != clustertest.ExitRefused && line != "kv import -" || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%s: status %d: %s", line, r.Status, r.Stderr)
		}
		for _, b := range bad {
			if !strings.Contains(r.Stderr, b.addr) || !strings.Contains(r.Stderr, b.says) {
				t.Errorf("%s says nothing of the endpoint that %s: %s", line, b.name, r.Stderr)
			}
		}
	}
}

// The port may be left out where it is the usual one.
func TestEndpointWithoutPort(t *testing.T) {
	t.Parallel()
	clustertest.Run(t, "status", "--endpoints", "127.0.0.199", "--timeout", "100ms").Refused(t, clustertest.ExitNoEndpoint, "127.0.0.199:4166 (connection refused)")
	for _, tt := range []struct{ given, want string }{
		{"4166", `--endpoints: "4166" has no host; want HOST:PORT, or HOST where the port is 4166`},
		{"http://a:4166", `--endpoints: "http://a:4166" is not an address; want HOST:PORT`},
		{"a:0", `--endpoints: "a:0" has port "0"; want a number, 1 to 65535`},
	} {
		clustertest.Run(t, "status", "--endpoints", tt.given).Refused(t, clustertest.ExitUsage, tt.want)
	}
}
