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
// as much of a muster as the example in Python needs to set and get; its watches want real nodes
// (node/trial).
type smallServer struct {
	t        *testing.T
	listener net.Listener
	secret   []byte
	leader   string        // address to name instead of answering
	shows    *trust.Holder // its certificate; nil: it speaks plain text

	mu       sync.Mutex
	values   map[string]string
	outcomes map[[2]uint64]string // bodies of writes that were applied, by session and sequence
	trouble  []trouble            // that the next requests meet, one each
	served   sync.WaitGroup
}

// trouble is what a request may meet.
type trouble int

const (
	refusedBusy  trouble = iota + 1 // it is not carried out
	hungUp                          // it is carried out, and not answered
	maybeApplied                    // it is carried out, and the answer says that nobody knows
)

func serve(t *testing.T, leader string, secret string, shows *trust.Holder) *smallServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &smallServer{t: t, listener: l, secret: []byte(secret), leader: leader, shows: shows, values: map[string]string{}, outcomes: map[[2]uint64]string{}}
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

// plague has what comes next meet trouble.
func (s *smallServer) plague(all []trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = all
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
		t, b := s.meets(h.Type, body)
		if b == nil {
			return
		}
		if err := wire.WriteFrame(conn, t, h.Request, b); err != nil {
			return
		}
	}
}

// meets answers a request, or does to it what is next in trouble; nil: it hangs up.
func (s *smallServer) meets(t wire.Type, request []byte) (wire.Type, wire.Body) {
	s.mu.Lock()
	defer s.mu.Unlock()
	met := trouble(0)
	if len(s.trouble) > 0 && t != wire.TypeTopology {
		met, s.trouble = s.trouble[0], s.trouble[1:]
	}
	if met == refusedBusy {
		return wire.TypeError, wire.Busy("node", "it is", time.Millisecond)
	}
	kind, b := s.reply(t, request)
	switch met {
	case hungUp:
		return 0, nil
	case maybeApplied:
		return wire.TypeError, wire.MaybeApplied("write", "its answer is lost")
	}
	return kind, b
}

func (s *smallServer) reply(t wire.Type, request []byte) (wire.Type, wire.Body) {
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
		if err == nil && (c.Session == 0 || c.Sequence == 0 || c.Floor != c.Sequence || c.Slot != shardmap.SlotOf(c.Items[0])) {
			err = errors.New("want a session, a sequence that is the floor, and the slot of the key")
		}
		if err != nil {
			return wire.TypeError, wire.BadBody(t, err)
		}
		id := [2]uint64{c.Session, c.Sequence}
		if was, sent := s.outcomes[id]; sent && was != string(request) {
			s.t.Errorf("sequence %d came with other bytes", c.Sequence)
		}
		s.outcomes[id] = string(request)
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
	troubled := serve(t, "", "", node(ours, 1))
	troubled.plague([]trouble{refusedBusy, hungUp, maybeApplied, refusedBusy, hungUp, 0, hungUp, refusedBusy})
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
		{troubled.addr() + " set greeting hello", "version 10432", true},
		{troubled.addr() + " get greeting", "hello", true},
		{leader.addr() + " incr greeting 0", "0 times, to nothing", true},
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
	if n := len(troubled.outcomes); n != 1 || len(troubled.trouble) > 0 {
		t.Errorf("a write that meets trouble was sent as %d writes, and %d troubles were left", n, len(troubled.trouble))
	}
}

// A write whose time is over may have been carried out if any attempt may have arrived. Its user must be told so, and
// must not be told so if none has.
func TestPythonClientInDoubt(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("Python is not installed")
	}
	const quick = "import sys; sys.path.insert(0, '../../docs/examples'); sys.dont_write_bytecode = True\n" +
		"import client; client.GIVE_UP = 0.3\n" +
		"try: client.main(sys.argv[1:])\n" +
		"except (client.Refused, OSError) as e: sys.exit(str(e))"
	ever := func(x trouble) (all []trouble) {
		for range 1000 {
			all = append(all, x)
		}
		return all
	}
	for _, c := range []struct {
		what    string
		trouble []trouble
		doubt   bool
	}{
		{"hangs up", ever(hungUp), true},
		{"hangs up, then is busy", append([]trouble{hungUp}, ever(refusedBusy)...), true},
		{"does not know", ever(maybeApplied), true},
		{"is busy", ever(refusedBusy), false},
		{"does not listen", nil, false},
	} {
		s := serve(t, "", "", nil)
		s.plague(c.trouble)
		if c.trouble == nil {
			s.listener.Close()
		}
		run := exec.Command(python, "-W", "error", "-c", quick, s.addr(), "set", "greeting", "hello")
		run.Env = append(os.Environ(), "MUSTER_INSECURE=1")
		out, err := run.CombinedOutput()
		if err == nil || strings.Contains(string(out), "maybe-applied") != c.doubt || strings.Contains(string(out), "Traceback") {
			t.Errorf("a node that %s: %v, %s; in doubt: want %t", c.what, err, out, c.doubt)
		}
	}
}

// The example keeps all vectors. It must find each kind of vector that is wrong, or that shows nothing.
func TestPythonVectors(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("Python is not installed")
	}
	file, err := os.ReadFile(vectorsFile)
	if err != nil {
		t.Fatal(err)
	}
	const example = "../../docs/examples/client.py"
	if out, err := exec.Command(python, "-W", "error", example, "vectors", vectorsFile).CombinedOutput(); err != nil || !strings.HasSuffix(string(out), " vectors hold\n") {
		t.Errorf("the vectors as they are: %v, %s", err, out)
	}
	for name, change := range map[string][2]string{
		"checksums":     {`"crc32c":3808858755`, `"crc32c":3808858756`},
		"slots":         {`"slot":3455`, `"slot":3456`},
		"values":        {`{"bytes":"7f","value":{"int":"127"}}`, `{"bytes":"cc7f","value":{"int":"127"}}`},
		"longer_values": {`{"bytes":"cc07","value":{"int":"7"}}`, `{"bytes":"cc07","value":{"int":"8"}}`},
		"no_values":     {`{"bytes":"c1",`, `{"bytes":"c0",`},
		"frames":        {`"name":"Ping","flags":0,"deadline_ms":0,"request":7`, `"name":"Ping","flags":0,"deadline_ms":0,"request":8`},
		"no_frames":     {`"no_frames": [`, `"no_frames": [{"bytes":"` + hexOf(exampleFrame(wire.TypePing)) + `","why":"nothing"},`},
		"writes":        {`"about":"del","bytes":"92ce`, `"about":"del","bytes":"93ce`},
		"codes":         {`"name":"busy","retry":"same node, later"`, `"name":"busy","retry":"never"`},
		"proofs":        {`"secret":"a secret","side":1`, `"secret":"a secret","side":2`},
	} {
		if strings.Count(string(file), change[0]) != 1 {
			t.Errorf("%s: the file does not have %s once", name, change[0])
			continue
		}
		wrong := filepath.Join(t.TempDir(), "vectors.json")
		if err := os.WriteFile(wrong, []byte(strings.Replace(string(file), change[0], change[1], 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(python, "-W", "error", example, "vectors", wrong).CombinedOutput()
		if err == nil || !strings.HasPrefix(string(out), name+": ") {
			t.Errorf("a wrong vector of %s: %v, %.200s", name, err, out)
		}
	}
}
