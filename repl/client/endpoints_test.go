package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
)

// badEndpoints are the kinds of endpoints that are of no use. Each is made anew.
var badEndpoints = []struct {
	name string
	make func(t *testing.T) string
	code wire.Code // of the error if it is the only one; 0: there is none
}{
	{"refuses connections", func(t *testing.T) string {
		l := listen(t)
		l.Close()
		return l.Addr().String()
	}, 0},
	{"says nothing", func(t *testing.T) string { return listen(t).Addr().String() }, wire.CodeUnavailable},
	{"hangs up", func(t *testing.T) string {
		l := listen(t)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				conn.Close()
			}
		}()
		return l.Addr().String()
	}, wire.CodeUnavailable},
	{"speaks something else", func(t *testing.T) string {
		return answerer(t, func(conn net.Conn) { fmt.Fprint(conn, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	}, 0},
	{"is of another cluster by name", func(t *testing.T) string {
		return answerer(t, func(conn net.Conn) {
			_, _ = wire.ServerHello(conn, wire.AcceptConfig{Cluster: "other", ClusterID: 5, Node: 51, Level: 1})
		})
	}, wire.CodeWrongCluster},
	{"wants a secret", func(t *testing.T) string {
		return answerer(t, func(conn net.Conn) {
			_, _ = wire.ServerHello(conn, wire.AcceptConfig{Cluster: "fake", ClusterID: 99, Node: 52, Level: 1, Secret: []byte("some other secret")})
		})
	}, wire.CodeUnauthorized},
	{"is a standby", func(t *testing.T) string {
		return answerer(t, func(conn net.Conn) {
			refuseAll(conn, 0, wire.NotReady("node x", "a standby", "use the cluster's own", 0))
		})
	}, wire.CodeNotReady},
	{"is of a cluster that is not founded", func(t *testing.T) string {
		return answerer(t, func(conn net.Conn) { refuseAll(conn, 77, wire.NotReady("node x", "waits", "wait", time.Second)) })
	}, wire.CodeNotReady},
	{"is a member that can't answer", func(t *testing.T) string {
		return answerer(t, func(conn net.Conn) { refuseAll(conn, 99, wire.Damaged("group 0", "lost", "ask another node")) })
	}, wire.CodeDamaged},
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// answerer does f with each connection that it gets, then closes it.
func answerer(t *testing.T, f func(conn net.Conn)) string {
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				f(conn)
			}()
		}
	}()
	return l.Addr().String()
}

// refuseAll is a node that lets everybody in, and answers each request with e.
func refuseAll(conn net.Conn, cluster uint64, e *wire.Error) {
	g, err := wire.ServerHello(conn, wire.AcceptConfig{Cluster: "fake", ClusterID: cluster, Node: raft.NodeID(100 + cluster), Level: 1, ValueMax: 1 << 20})
	if err != nil {
		return
	}
	for {
		h, _, err := wire.ReadFrame(conn, g.Decoder)
		if err != nil {
			return
		}
		if err := wire.WriteFrame(conn, wire.TypeError, h.Request, e); err != nil {
			return
		}
	}
}

// asked are the ways to ask a cluster something without naming a node.
var asked = []struct {
	name string
	ask  func(ctx context.Context, c *Client) error
}{
	{"set", func(ctx context.Context, c *Client) error {
		_, err := c.Set(ctx, []byte("k"), []byte("v"), WriteOptions{})
		return err
	}},
	{"get", func(ctx context.Context, c *Client) error {
		_, _, err := c.Get(ctx, [][]byte{[]byte("k")}, ReadOptions{})
		return err
	}},
	{"list", func(ctx context.Context, c *Client) error {
		for _, err := range c.List(ctx, nil, ListOptions{}) {
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"status", func(ctx context.Context, c *Client) error { _, err := c.Status(ctx, ""); return err }},
	{"topology", func(ctx context.Context, c *Client) error { _, err := c.Topology(ctx); return err }},
}

// Endpoints are tried in their order, and the first of them may be of no use in
// many ways. One good one must do, wherever it stands, for each question, and
// long before the question's time is over.
func TestAnyGoodEndpointDoes(t *testing.T) {
	for _, bad := range badEndpoints {
		t.Run(bad.name, func(t *testing.T) {
			t.Parallel()
			for _, q := range asked {
				c := newFake(t, 1, 1)
				client, err := Open(Options{Insecure: true, Cluster: "fake", Endpoints: []string{bad.make(t), bad.make(t), c.nodes[0].addr, bad.make(t)}})
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
				defer cancel()
				began := time.Now()
				if err := q.ask(ctx, client); err != nil {
					t.Errorf("%s: %v", q.name, err)
				}
				// Two that say nothing are waited for DialStagger each.
				if took := time.Since(began); took > busyMax {
					t.Errorf("%s took %v", q.name, took)
				}
			}
		})
	}
}

// Where no endpoint is of use the error must tell of each what it is, and its
// code must be that of one of them, so that a command ends with its status.
func TestNoGoodEndpoint(t *testing.T) {
	var all []string
	for _, bad := range badEndpoints {
		all = append(all, bad.make(t))
	}
	for _, q := range asked {
		t.Run(q.name, func(t *testing.T) {
			t.Parallel()
			askBriefly(t, all, q.ask, func(err error) (wrong string) {
				if got := codeOf(err); got != wire.CodeWrongCluster {
					wrong = fmt.Sprintf("code %v; ", got)
				}
				for i, bad := range badEndpoints {
					at := strings.Index(err.Error(), all[i]+": ")
					if at < 0 {
						wrong += fmt.Sprintf("nothing of the one that %s; ", bad.name)
						continue
					}
					found, _, _ := strings.Cut(err.Error()[at+len(all[i])+2:], "; 127.")
					if bad.code != 0 && bad.code != wire.CodeUnavailable && !strings.Contains(found, bad.code.String()) || found == "" {
						wrong += fmt.Sprintf("of the one that %s: %q; ", bad.name, found)
					}
				}
				return wrong
			})
		})
	}
}

// askBriefly asks endpoints of which nothing good is to be had, and has the error
// judged. It asks for a second, and for longer where that was not enough: a busy
// machine may not have come to all of them.
func askBriefly(t *testing.T, endpoints []string, ask func(ctx context.Context, c *Client) error, judge func(err error) (wrong string)) {
	t.Helper()
	for d := time.Second; ; d *= 4 {
		client, err := Open(Options{Insecure: true, Cluster: "fake", Endpoints: endpoints, Patience: 3 * d / 10})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), d)
		err = ask(ctx, client)
		cancel()
		client.Close()
		if err == nil {
			t.Fatal("there was an answer")
		}
		wrong := judge(err)
		if wrong == "" {
			return
		}
		if d > busyMax {
			t.Fatalf("%s in\n%v", wrong, err)
		}
	}
}

// The only endpoint says by itself what is wrong, with its own code.
func TestOnlyEndpointIsBad(t *testing.T) {
	for _, bad := range badEndpoints {
		for _, q := range asked {
			t.Run(bad.name+"/"+q.name, func(t *testing.T) {
				t.Parallel()
				askBriefly(t, []string{bad.make(t)}, q.ask, func(err error) (wrong string) {
					got := codeOf(err)
					// A write or a read waits for a cluster to be founded, and then
					// says that there was no result in time.
					waits := bad.code != wire.CodeUnavailable && got == wire.CodeUnavailable && strings.Contains(err.Error(), bad.code.String())
					if got != bad.code && !waits {
						wrong = fmt.Sprintf("code %v, want %v; ", got, bad.code)
					}
					if none := (*ErrNoEndpoint)(nil); errors.As(err, &none) != (bad.name == "refuses connections") {
						wrong += "a connection was accepted, or none was"
					}
					return wrong
				})
			})
		}
	}
}

// A question to one node must not wait if the node's host says at once that nothing listens there. The client's patience
// and the time of the question are so long that neither ends it.
func TestNobodyListensIsToldAtOnce(t *testing.T) {
	c := newFake(t, 2, 1)
	client, err := Open(Options{Insecure: true, Cluster: "fake", Endpoints: []string{c.nodes[0].addr, c.nodes[1].addr}, Patience: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), busyMax)
	defer cancel()
	vacant := badEndpoints[0].make(t)
	if _, err := client.Status(ctx, c.nodes[0].addr); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the dial of the first is not that of the others
		_, err := client.Status(ctx, vacant)
		if none := (*ErrNoEndpoint)(nil); !errors.As(err, &none) || !strings.Contains(err.Error(), vacant) || ctx.Err() != nil {
			t.Fatalf("got %v, want that nothing listens at %s", err, vacant)
		}
	}
	if _, err := client.Status(ctx, c.nodes[1].addr); err != nil {
		t.Errorf("the other node: %v", err)
	}
}

// People leave the port out where it is the usual one, and write IPv6 addresses
// with and without brackets. What is no address must be refused with what is
// wanted, and not looked up as a host.
func TestEndpoint(t *testing.T) {
	for _, tt := range []struct{ given, want string }{
		{"10.0.0.1:4166", "10.0.0.1:4166"},
		{"10.0.0.1:7", "10.0.0.1:7"},
		{"10.0.0.1", "10.0.0.1:4166"},
		{"alpha", "alpha:4166"},
		{"alpha.example.org:80", "alpha.example.org:80"},
		{"::1", "[::1]:4166"},
		{"[::1]", "[::1]:4166"},
		{"[fe80::1%eth0]:4000", "[fe80::1%eth0]:4000"},
		{":4166", ":4166"},
		{"", ""}, {"4166", ""}, {"alpha:", ""}, {"alpha:x", ""}, {"alpha:0", ""}, {"alpha:65536", ""},
		{"http://alpha:4166", ""}, {"me@alpha:4166", ""}, {"a b", ""}, {"a:b:c", ""}, {"[::1", ""}, {"a,b", ""}, {"a\x1bb", ""}, {"a\u009bb:1", ""},
	} {
		got, err := Endpoint(tt.given)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q: got %q, %v, want %q", tt.given, got, err, tt.want)
		}
		if err != nil && !strings.Contains(err.Error(), "; want ") {
			t.Errorf("%q: %v", tt.given, err)
		}
	}
}
