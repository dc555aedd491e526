package node

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// TestMain has testsAtOnce of the tests that say they may run at once, or as many as there are processors, if those
// are more. The flag -parallel overrides it.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", strconv.Itoa(max(testsAtOnce, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// readyMax is how long a condition may take to come about on a busy machine.
const readyMax = 20 * time.Second

// runningNode is a node that runs in this process.
type runningNode struct {
	t      testing.TB
	node   *Node
	addr   string
	cancel context.CancelFunc
	kill   func()     // ends it as a process that is killed
	ended  chan error // what Run returned
}

// testConfig is a node that founds a cluster alone, on a free port.
func testConfig(t testing.TB) Config {
	c := Default()
	c.Listen, c.Data, c.Groups = "127.0.0.1:0", t.TempDir(), 4
	return c
}

// start runs a node until the test has ended; it need not serve yet.
func start(t testing.TB, c Config, l limits) *runningNode {
	t.Helper()
	return startWith(t, c, l, func(*Node) {})
}

// startWith is start, and has a look at the node before it runs.
func startWith(t testing.TB, c Config, l limits, look func(*Node)) *runningNode {
	t.Helper()
	return startLogging(t, c, l, slog.DiscardHandler, look)
}

// startLogging is startWith, and hands its log to a handler.
func startLogging(t testing.TB, c Config, l limits, log slog.Handler, look func(*Node)) *runningNode {
	t.Helper()
	// It ends with the test, and so all nodes of one begin to stop before the first of them is waited for.
	ctx, cancel := context.WithCancelCause(t.Context())
	r := &runningNode{t: t, cancel: func() { cancel(nil) }, kill: func() { cancel(ErrKilled) }, ended: make(chan error, 1)}
	ready := make(chan struct{})
	go func() {
		r.ended <- run(ctx, c, slog.New(log), l, func(n *Node, addr string) {
			look(n)
			r.node, r.addr = n, addr
			close(ready)
		})
	}()
	t.Cleanup(r.stop)
	select {
	case <-ready:
	case err := <-r.ended:
		r.ended <- err
		t.Fatalf("the node does not start: %v", err)
	}
	return r
}

// stopTogether has nodes begin to stop before the first of them is waited for: each would hand over what it leads
// to one that is about to stop too, and wait for that.
func stopTogether(nodes []*runningNode) {
	for _, r := range nodes {
		r.cancel()
	}
	for _, r := range nodes {
		r.stop()
	}
}

// serving runs a node alone and returns when it takes writes.
func serving(t testing.TB, l limits) *runningNode {
	t.Helper()
	r := start(t, testConfig(t), l)
	r.serves()
	return r
}

// serves waits until each group of the node's own table takes a write, and the
// table has the node as it is, so that it no longer changes.
func (r *runningNode) serves() {
	r.t.Helper()
	c := r.client()
	defer c.Close()
	for i := range 16 {
		until(r.t, "a write is taken", func() error {
			_, err := c.set(fmt.Sprintf("warm-%d", i), "x")
			return err
		})
	}
	until(r.t, "the node is announced", func() error {
		if !r.node.announcer.announced() {
			return errors.New("not yet")
		}
		return nil
	})
}

// stop ends the node and checks that it ends well.
func (r *runningNode) stop() {
	r.cancel()
	select {
	case err := <-r.ended:
		r.ended <- err
		if err != nil {
			r.t.Errorf("Run returned %v", err)
		}
	case <-time.After(readyMax):
		r.t.Errorf("Run has not returned after %s", readyMax)
	}
}

// end waits for the node to end by itself, and returns what it ends with.
func (r *runningNode) end() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- nil // for stop
		return err
	case <-time.After(readyMax):
		r.t.Fatalf("Run has not returned after %s", readyMax)
		return nil
	}
}

func until(t testing.TB, what string, ok func() error) {
	t.Helper()
	advancing(t, what, func() (int, error) { return 0, ok() })
}

// advancing is until for what takes as long as the machine is busy: it fails once how far
// that has come has not changed for readyMax.
func advancing(t testing.TB, what string, ok func() (far int, err error)) {
	t.Helper()
	last, deadline := 0, time.Now().Add(readyMax)
	for {
		far, err := ok()
		if err == nil {
			return
		}
		if far != last {
			last, deadline = far, time.Now().Add(readyMax)
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// idle waits until nothing is in flight any more: every request was answered,
// and every answer was read or dropped with its connection.
func (r *runningNode) idle() {
	r.t.Helper()
	until(r.t, "nothing is in flight", func() error {
		if held := r.node.held.Load(); held != 0 {
			return fmt.Errorf("%d bytes are", held)
		}
		if waiting := r.node.door.shedding.waiting.Load(); waiting != 0 {
			return fmt.Errorf("%d bytes of requests are said to wait", waiting)
		}
		return nil
	})
}

// speaker is the test's end of a connection: it says what it is told to.
type speaker struct {
	net.Conn
	t       testing.TB
	decoder *wire.Decoder
	request uint64
	level   uint32 // of the cluster, as the node said
}

// dial says hello to a node as c says.
func dial(t testing.TB, addr string, c wire.DialConfig) (*speaker, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	g, err := wire.ClientHello(conn, c)
	if err != nil {
		conn.Close()
		return nil, err
	}
	t.Cleanup(func() { conn.Close() })
	return &speaker{Conn: conn, t: t, decoder: g.Decoder, level: g.Welcome.Level}, nil
}

func (r *runningNode) client() *speaker {
	r.t.Helper()
	s, err := dial(r.t, r.addr, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: shardmap.Level})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// library returns a client of the library, for as long as the test runs.
func (r *runningNode) library() *client.Client {
	r.t.Helper()
	cl, err := client.Open(client.Options{Insecure: true, Endpoints: []string{r.addr}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { cl.Close() })
	return cl
}

// peerHello is the hello of a node of this node's cluster.
func (r *runningNode) peerHello(id raft.NodeID, start uint64) wire.DialConfig {
	self := r.node.self()
	return wire.DialConfig{Purpose: wire.PurposePeer, Role: wire.RolePeer, Cluster: self.Cluster, ClusterID: self.ClusterID, Node: id, Start: start, Level: shardmap.Level}
}

// dialAs says hello to r as c says, out of the node member, which attests it.
func dialAs(member, r *runningNode, c wire.DialConfig) (*speaker, error) {
	c.To, c.ToAddr = r.node.self().Node, r.addr
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		return nil, err
	}
	conn = member.node.attesting.dialling(conn, &c)
	g, err := wire.ClientHello(conn, c)
	if err != nil {
		conn.Close()
		return nil, err
	}
	r.t.Cleanup(func() { conn.Close() })
	return &speaker{Conn: conn, t: r.t, decoder: g.Decoder}, nil
}

// frame makes a frame with any bytes as its body.
func frame(t wire.Type, flags uint16, request uint64, body []byte) []byte {
	b, start := wire.BeginFrame(nil, t, flags, 0, request)
	return wire.EndFrame(append(b, body...), start)
}

// read reads one frame.
func (s *speaker) read() (wire.Header, []byte, error) {
	if err := s.SetReadDeadline(time.Now().Add(readyMax)); err != nil {
		return wire.Header{}, nil, err
	}
	return wire.ReadFrame(s, s.decoder)
}

// ask sends one frame and reads its answer. A typed refusal is the error.
func (s *speaker) ask(t wire.Type, flags uint16, body []byte) (wire.Header, []byte, error) {
	s.request++
	if err := s.SetWriteDeadline(time.Now().Add(readyMax)); err != nil {
		return wire.Header{}, nil, err
	}
	if _, err := s.Write(frame(t, flags, s.request, body)); err != nil {
		return wire.Header{}, nil, err
	}
	h, got, err := s.read()
	if err != nil {
		return h, nil, err
	}
	if h.Request != s.request {
		return h, nil, fmt.Errorf("request %d is answered as %d", s.request, h.Request)
	}
	if h.Type == wire.TypeError {
		e := new(wire.Error)
		if err := e.Read(got); err != nil {
			return h, nil, err
		}
		return h, nil, e
	}
	return h, got, nil
}

// write makes the body of a write; the server computes the slot.
func write(c shardmap.Command) []byte { return wire.AppendWrite(nil, &c) }

func setCommand(key, value string) shardmap.Command {
	return shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{[]byte(key), []byte(value)}}
}

func (s *speaker) set(key, value string) (wire.WriteAnswer, error) {
	var a wire.WriteAnswer
	h, body, err := s.ask(wire.TypeWrite, 0, write(setCommand(key, value)))
	if err == nil && h.Type != wire.TypeWriteAnswer {
		err = fmt.Errorf("a write is answered by %s", h.Type)
	}
	if err == nil {
		err = a.Read(body)
	}
	return a, err
}

func getBody(mode wire.ReadMode, keys ...string) []byte {
	g := wire.Get{Mode: mode}
	for _, k := range keys {
		g.Keys = append(g.Keys, []byte(k))
	}
	return g.Append(nil)
}

// get returns the values of keys; those that are missing are "".
func (s *speaker) get(keys ...string) ([]string, error) {
	h, body, err := s.ask(wire.TypeGet, 0, getBody(wire.ReadLinearizable, keys...))
	if err != nil {
		return nil, err
	}
	var a wire.GetAnswer
	if h.Type != wire.TypeGetAnswer {
		return nil, fmt.Errorf("a get is answered by %s", h.Type)
	}
	if err := a.Read(body); err != nil {
		return nil, err
	}
	var values []string
	for {
		_, value, _, ok := a.Next()
		if !ok {
			return values, nil
		}
		values = append(values, string(value))
	}
}

// works reports whether the node serves this connection: a write, then a read of it.
func (s *speaker) works() error {
	value := fmt.Sprint(s.request)
	key := "works-" + s.LocalAddr().String()
	if _, err := s.set(key, value); err != nil {
		return err
	}
	got, err := s.get(key)
	if err == nil && (len(got) != 1 || got[0] != value) {
		err = fmt.Errorf("wrote %q, read %q", value, got)
	}
	return err
}

// refused checks that err is a typed error with code, that says want.
func refused(t testing.TB, what string, err error, code wire.Code, want ...string) {
	t.Helper()
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
		return
	}
	for _, w := range want {
		if !strings.Contains(e.Error(), w) {
			t.Errorf("%s: %q does not say %q", what, e, w)
		}
	}
	if e.Object == "" || e.State == "" || e.Next == "" {
		t.Errorf("%s: %q leaves out the object, the state or what to do", what, e)
	}
}

// lastWords reads until the node hangs up, and returns the error frame that it
// ends with.
func (s *speaker) lastWords() error {
	var last error = errors.New("no error frame")
	for {
		h, body, err := s.read()
		if errors.Is(err, io.EOF) {
			return last
		}
		if err != nil {
			return fmt.Errorf("%v, then: %v, want the end", last, err) // some systems throw away what came before a reset
		}
		if h.Type == wire.TypeError {
			e := new(wire.Error)
			if err := e.Read(body); err != nil {
				return err
			}
			last = e
		}
	}
}
