package wire_test

import (
	"errors"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// smallServer answers Write and Get out of a map, or names the leader. It is
// as much of a muster as the example in Python needs.
type smallServer struct {
	t        *testing.T
	listener net.Listener
	secret   []byte
	leader   string // address to name instead of answering

	mu     sync.Mutex
	values map[string]string
	served sync.WaitGroup
}

func serve(t *testing.T, leader string, secret string) *smallServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &smallServer{t: t, listener: l, secret: []byte(secret), leader: leader, values: map[string]string{}}
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
	g, err := wire.ServerHello(conn, with(acceptor(), func(c *wire.AcceptConfig) { c.Secret = s.secret }))
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
			b = wire.AppendGetAnswer(b, 3, raft.LogID{Term: 7, Index: 10433}, 1)
			if !ok {
				return wire.AppendMissing(b)
			}
			return wire.AppendFound(b, 10432, []byte(value))
		})
	}
	return wire.TypeError, wire.BadRequest("type "+t.String(), "not served here", "send Write or Get")
}

// The example is the proof that docs/protocol.md suffices; an example that no
// longer works would be worse than none.
func TestPythonClient(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("Python is not installed")
	}
	leader := serve(t, "", "")
	follower := serve(t, leader.addr(), "")
	lost := serve(t, follower.addr(), "") // its hint is old, and must be followed further
	guarded := serve(t, "", "abc")
	for _, c := range []struct {
		args string
		want string
		ok   bool
	}{
		{leader.addr() + " get greeting", "not found", false},
		{leader.addr() + " set greeting hello", "version 10432", true},
		{leader.addr() + " get greeting", "hello", true},
		{follower.addr() + " get greeting", "hello", true},
		{lost.addr() + " set grüße " + strings.Repeat("x", 70000), "version 10432", true},
		{follower.addr() + " get grüße", strings.Repeat("x", 70000), true},
		{guarded.addr() + " get greeting", "secret", false},
		{leader.addr() + " get " + strings.Repeat("k", 4097), "4097 bytes", false},
	} {
		out, err := exec.Command(python, append([]string{"-W", "error", "../../docs/examples/client.py"}, strings.Fields(c.args)...)...).CombinedOutput()
		got := strings.TrimSpace(string(out))
		if (err == nil) != c.ok || c.ok && got != c.want || !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%.60s: got %.300q, %v, want %.60q", c.args, got, err, c.want)
		}
	}
}
