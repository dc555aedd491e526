package wire_test

import (
	"crypto/rand"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// smallServer answers Write and Get out of a map, or names the leader. It is
// as much of a muster as the example in Python needs.
type smallServer struct {
	t        *testing.T
	listener net.Listener
	secret   []byte
	leader   string        // address to name instead of answering
	shows    *trust.Holder // its certificate; nil: it speaks plain text

	mu     sync.Mutex
	values map[string]string
	served sync.WaitGroup
}

func serve(t *testing.T, leader string, secret string, shows *trust.Holder) *smallServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &smallServer{t: t, listener: l, secret: []byte(secret), leader: leader, shows: shows, values: map[string]string{}}
	s.served.Add(1)
	go func() {
		defer s.served.Done()
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.served.Add(1)
			go func() {
				defer s.served.Done()
				defer conn.Close()
				s.answer(conn)
			}()
		}
	}()
	t.Cleanup(func() { l.Close(); s.served.Wait() })
	return s
}

func (s *smallServer) addr() string { return s.listener.Addr().String() }

func (s *smallServer) answer(conn net.Conn) {
	o, err := wire.ReadOpening(conn)
	if err != nil {
		return
	}
	if s.shows != nil {
		if conn, o, err = o.TLSServer(conn, s.shows.Server(), wire.NewGate(1)); err != nil {
			return
		}
	}
	g, err := o.ServerHello(conn, with(acceptor(), func(c *wire.AcceptConfig) { c.Secret = s.secret }))
	if err != nil {
		return
	}
	for {
		h, body, err := wire.ReadFrame(conn, g.Decoder)
		if err != nil {
			return
		}
		t, b := s.reply(h.Type, body)
		if err := wire.WriteFrame(conn, t, h.Request, b); err != nil {
			return
		}
	}
}

func (s *smallServer) reply(t wire.Type, request []byte) (wire.Type, wire.Body) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leader != "" {
		return wire.TypeError, wire.NotLeader(3, n2, s.leader)
	}
	switch t {
	case wire.TypeWrite:
		command, err := wire.CheckWrite(request)
		var c shardmap.Command
		if err == nil {
			err = shardmap.ReadCommand(command, &c)
		}
		if err == nil && (c.Session != 0 || c.Slot != shardmap.SlotByServer) {
			err = errors.New("want session 0 and slot 65535")
		}
		if err != nil {
			return wire.TypeError, wire.BadBody(t, err)
		}
		s.values[string(c.Items[0])] = string(c.Items[1])
		return wire.TypeWriteAnswer, &wire.WriteAnswer{Group: 3, ID: raft.LogID{Term: 7, Index: 10432}, Version: 10432}
	case wire.TypeGet:
		var g wire.Get
		if err := g.Read(request); err != nil {
			return wire.TypeError, wire.BadBody(t, err)
		}
		value, ok := s.values[string(g.Keys[0])]
		return wire.TypeGetAnswer, body(func(b []byte) []byte {
			start := len(b)
			b = wire.AppendGetAnswer(b, 3, raft.LogID{Term: 7, Index: 10433}, 1)
			if !ok {
				return wire.AppendMissing(b)
			}
			// A client that does not ask when keys end passes over it.
			return wire.AppendEnds(wire.AppendFound(b, 10432, []byte(value)), start, []wire.KeyEnd{{Ends: true, Remaining: 21500}})
		})
	}
	return wire.TypeError, wire.BadRequest("type "+t.String(), "not served here", "send Write or Get")
}

// home returns a MUSTER_HOME with what a user of the authority's cluster has.
func (a *authority) home(user string) string {
	a.t.Helper()
	key := newKey(a.t)
	leaf, _, err := a.issuer.Issue(rand.Reader, trust.Name{Cluster: 1, Kind: trust.KindUser, User: user}, &key.PublicKey, time.Now(), trust.UserLife)
	if err != nil {
		a.t.Fatal(err)
	}
	keyPEM, err := trust.EncodeKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	dir := a.t.TempDir()
	folder := filepath.Join(dir, "root")
	if err := os.Mkdir(folder, 0o700); err != nil {
		a.t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"root.pem": trust.EncodeCertificates(a.root), "user.pem": trust.EncodeCertificates(leaf), "user.key": keyPEM,
	} {
		if err := os.WriteFile(filepath.Join(folder, name), b, 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return dir
}

// The example is the proof that docs/protocol.md suffices; an example that no
// longer works would be worse than none.
func TestPythonClient(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("Python is not installed")
	}
	ours, other := newAuthority(t, 1), newAuthority(t, 2)
	node := func(a *authority, cluster uint64) *trust.Holder {
		return a.node(trust.Name{Cluster: cluster, Kind: trust.KindNode, Node: n2})
	}
	leader := serve(t, "", "", node(ours, 1))
	follower := serve(t, leader.addr(), "", node(ours, 1))
	lost := serve(t, follower.addr(), "", node(ours, 1)) // its hint is old, and must be followed further
	foreign := serve(t, "", "", node(other, 2))
	user := serve(t, "", "", ours.node(trust.Name{Cluster: 1, Kind: trust.KindUser, User: "eve"}))
	plain, guarded := serve(t, "", "", nil), serve(t, "", "abc", nil)
	home := ours.home("ann")
	for _, c := range []struct {
		args string
		want string
		ok   bool
	}{
		{foreign.addr() + " get greeting", "no certificate", false},
		{user.addr() + " get greeting", "no certificate", false},
		{"MUSTER_INSECURE " + plain.addr() + " set greeting hello", "version 10432", true},
		{leader.addr() + " get greeting", "not found", false},
		{leader.addr() + " set greeting hello", "version 10432", true},
		{leader.addr() + " get greeting", "hello", true},
		{follower.addr() + " get greeting", "hello", true},
		{lost.addr() + " set grüße " + strings.Repeat("x", 70000), "version 10432", true},
		{follower.addr() + " get grüße", strings.Repeat("x", 70000), true},
		{"MUSTER_INSECURE " + guarded.addr() + " get greeting", "secret", false},
		{leader.addr() + " get " + strings.Repeat("k", 4097), "4097 bytes", false},
	} {
		args, insecure := strings.CutPrefix(c.args, "MUSTER_INSECURE ")
		run := exec.Command(python, append([]string{"-W", "error", "../../docs/examples/client.py"}, strings.Fields(args)...)...)
		run.Env = append(os.Environ(), "MUSTER_HOME="+home, "MUSTER_INSECURE=")
		if insecure {
			run.Env = append(run.Env, "MUSTER_INSECURE=1")
		}
		out, err := run.CombinedOutput()
		got := strings.TrimSpace(string(out))
		if (err == nil) != c.ok || c.ok && got != c.want || !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%.60s: got %.300q, %v, want %.60q", c.args, got, err, c.want)
		}
	}
}
