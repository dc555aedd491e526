package security

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// hostileBodies is what a stranger sends as a body to make a node spend memory,
// stack or time: lengths that claim gigabytes, arrays in arrays, lists of what
// costs a byte to send and much to keep. None of them is a body of any frame.
func hostileBodies() map[string][]byte {
	repeat := func(s string, n int) []byte { return bytes.Repeat([]byte(s), n) }
	bodies := map[string][]byte{
		"nothing":                       {},
		"a bin of 4 GiB":                []byte("\xc6\xff\xff\xff\xff"),
		"a string of 4 GiB":             []byte("\xdb\xff\xff\xff\xff"),
		"an array of 4 G":               []byte("\xdd\xff\xff\xff\xff"),
		"a map of 4 G":                  []byte("\xdf\xff\xff\xff\xff"),
		"an ext of 4 GiB":               []byte("\xc9\xff\xff\xff\xff"),
		"an ext":                        []byte("\xd4\x01\x00"),
		"a bin one byte short":          append([]byte("\xc5\x01\x00"), make([]byte, 255)...),
		"an array one short":            []byte("\x92\x01"),
		"the byte that begins nothing":  {0xc1},
		"two values":                    {0xc0, 0xc0},
		"33 arrays in each other":       append(repeat("\x91", 33), 0xc0),
		"32 arrays in each other":       append(repeat("\x91", 32), 0xc0),
		"a number":                      {0x07},
		"a map":                         {0x81, 0x01, 0x02},
		"a million nils":                append([]byte("\xdd\x00\x0f\x42\x40"), repeat("\xc0", 1_000_000)...),
		"16 MB of arrays in each other": repeat("\x91", 16<<20),
		"20 MB of arrays in each other": repeat("\x91", 20<<20),
	}
	for n := 1; n < 15; n++ { // a record of n fields, each a list of nothings
		for _, filling := range []string{"\xc0", "\x90", "\x00", "\xa0"} {
			b := []byte{0x90 + byte(n)}
			for range n {
				b = append(append(b, 0xdd, 0, 0, 0x10, 0), repeat(filling, 0x1000)...)
			}
			bodies[fmt.Sprintf("%d lists of 4,096 %x", n, filling)] = b
		}
	}
	return bodies
}

// hostileFrame makes a frame around bytes that may be no body.
func hostileFrame(t wire.Type, body []byte) []byte {
	b, start := wire.BeginFrame(make([]byte, 0, wire.HeaderSize+len(body)), t, 0, 0, 1)
	return wire.EndFrame(append(b, body...), start)
}

// hostileMax is how long a node may take to refuse something.
const hostileMax = 10 * time.Second

// refusedOrClosed checks that a node refuses what it was sent: with a typed error
// or with the end of the connection. What it does after the error is left to it.
func refusedOrClosed(conn net.Conn, d *wire.Decoder) error {
	if err := conn.SetReadDeadline(time.Now().Add(hostileMax)); err != nil {
		return err
	}
	h, body, err := wire.ReadFrame(conn, d)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("neither refused nor closed within %s", hostileMax)
	}
	if err != nil {
		return nil // closed
	}
	e := new(wire.Error)
	if h.Type != wire.TypeError {
		return fmt.Errorf("answered by %s", h.Type)
	}
	if err := e.Read(body); err != nil {
		return fmt.Errorf("refused by what is no error: %w", err)
	}
	if !e.Code.Known() || e.Text == "" {
		return fmt.Errorf("refused by %v", e)
	}
	return nil
}

// hostileBound is how much a node may grow under all of [hostileBodies]. They
// come from hostileSenders at a time; the worst that each can have at once is a
// frame at the limit of 17 MiB in a buffer that doubled to 32, with the half
// that it outgrew beside it, and the collector lets as much garbage lie as is
// in use. What the bodies claim is gigabytes each.
const (
	hostileSenders = 2
	hostileBound   = hostileSenders * 2 * (32 + 16) << 20
)

// Whatever bytes arrive, before the hello, in its midst or after it, as any
// frame of a client or of a peer: a node refuses them, goes on, and spends no
// more than they are worth. One would doubt it: a length that is believed
// before it is checked, or a value that is walked by recursion, ends a process
// in a way that no handler can prevent.
func TestHostileInput(t *testing.T) {
	t.Parallel()
	hostile(t, 1, "--insecure")
}

// The same over TLS, where each connection costs its handshake: what differs from clear text is all
// before the first frame, so that of what comes after it each type has some of the bodies.
func TestHostileInputOverTLS(t *testing.T) {
	t.Parallel()
	hostile(t, 8)
}

// hostile sends hostile input to a node of a cluster in all ways. What comes after a hello has one
// of so many bodies.
func hostile(t *testing.T, oneOf int, extra ...string) {
	t.Helper()
	c := clustertest.Start(t, 2, extra...)
	c.Run("kv", "set", "before", "kept").Done(t)
	cl := c.Client()
	status, err := cl.Status(context.Background(), c.Nodes[0].Addr)
	if err != nil {
		t.Fatal(err)
	}
	target := c.Nodes[0]
	hello := wire.DialConfig{Purpose: wire.PurposePeer, Role: wire.RolePeer, Cluster: status.Cluster, ClusterID: status.ClusterID, Level: shardmap.Level}
	if !c.Clear {
		c.GoesByCertificates()
	}
	for _, n := range status.Nodes {
		if n.ID != status.Self {
			hello.Node, hello.Start = n.ID, n.Start
		}
	}
	asClient := wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: shardmap.Level}
	ctx := t.Context()
	dialClear := func() (net.Conn, error) { return net.Dial("tcp", target.Addr) }
	dialGuest := func() (net.Conn, error) { return clustertest.DialSecured(ctx, target.Addr, nothing) }
	dialUser := func() (net.Conn, error) { return clustertest.DialAsUser(ctx, c, target.Addr) }
	dialPeer := func() (net.Conn, error) { return clustertest.DialAsNode(ctx, c, target.Addr, 1) }

	// Each way of sending a body opens a connection and writes what is hostile.
	type way struct {
		name  string
		send  func(body []byte) (net.Conn, *wire.Decoder, error)
		oneOf int // of so many bodies
	}
	type dialling func() (net.Conn, error)
	raw := func(dial dialling, make func(body []byte) []byte) func([]byte) (net.Conn, *wire.Decoder, error) {
		return func(body []byte) (net.Conn, *wire.Decoder, error) {
			conn, err := dial()
			if err == nil {
				go conn.Write(append(make(body), padding...)) // ends with the connection
			}
			return conn, wire.NewDecoder(wire.HelloBytesMax), err
		}
	}
	preamble := []byte("\xedmus\x03\x03\x02\x00")
	goodHello := wire.AppendFrame(nil, wire.TypeHello, 0, &wire.Hello{VersionMin: wire.VersionMin, VersionMax: wire.VersionMax, Role: wire.RoleClient, Level: shardmap.Level})
	var ways []way
	for _, as := range []struct {
		name string
		dial dialling
	}{{"in clear", dialClear}, {"in TLS", dialGuest}} {
		if c.Clear && as.name == "in TLS" {
			continue
		}
		ways = append(ways,
			way{"first bytes " + as.name, raw(as.dial, func(b []byte) []byte { return bytes.Clone(b) }), 1},
			way{"first frame " + as.name, raw(as.dial, func(b []byte) []byte { return hostileFrame(wire.TypeHello, b) }), 1},
			way{"hello " + as.name, raw(as.dial, func(b []byte) []byte {
				return append(bytes.Clone(preamble), hostileFrame(wire.TypeHello, b)...)
			}), 1},
			way{"no hello " + as.name, raw(as.dial, func(b []byte) []byte {
				return append(bytes.Clone(preamble), hostileFrame(wire.TypeWrite, b)...)
			}), 1})
	}
	for _, typ := range []wire.Type{wire.TypeProof, wire.TypeHello, wire.TypeWrite} {
		ways = append(ways, way{typ.String() + " instead of a proof", func(body []byte) (net.Conn, *wire.Decoder, error) {
			conn, err := dialUser()
			if err != nil {
				return nil, nil, err
			}
			d := wire.NewDecoder(wire.HelloBytesMax)
			if _, err := conn.Write(append(bytes.Clone(preamble), goodHello...)); err != nil {
				return conn, d, err
			}
			if h, _, err := wire.ReadFrame(conn, d); err != nil || h.Type != wire.TypeChallenge {
				return conn, d, fmt.Errorf("a hello is answered by %s (%v)", h.Type, err)
			}
			go conn.Write(hostileFrame(typ, body)) // ends with the connection
			return conn, d, nil
		}, oneOf})
	}
	for _, as := range []struct {
		name  string
		dial  dialling
		hello wire.DialConfig
	}{{"guest", dialGuest, asClient}, {"client", dialUser, asClient}, {"peer", dialPeer, hello}} {
		for typ := wire.Type(0); typ < 0xa0; typ++ {
			if !typ.Known() && typ%16 != 15 {
				continue
			}
			if as.name == "guest" && (c.Clear || typ != wire.TypePing && typ != wire.TypeWrite && typ < wire.TypeEnrol) {
				continue // refused like a Write; in clear text there are no guests
			}
			ways = append(ways, way{fmt.Sprintf("%s of a %s", typ, as.name), func(body []byte) (net.Conn, *wire.Decoder, error) {
				conn, g, err := greet(as.dial, as.hello)
				if err != nil {
					return nil, nil, err
				}
				go conn.Write(hostileFrame(typ, body)) // ends with the connection
				return conn, g.Decoder, nil
			}, oneOf})
		}
	}

	bodies := hostileBodies()
	before, _ := target.Memory(t)
	var senders sync.WaitGroup
	sent := 0
	jobs := make(chan func())
	for range hostileSenders {
		senders.Go(func() {
			for job := range jobs {
				job()
			}
		})
	}
	for i, w := range ways {
		for j, name := range slices.Sorted(maps.Keys(bodies)) {
			body := bodies[name]
			if (i+j)%w.oneOf != 0 || strings.Contains(name, " lists of ") && (i+j)%4 != 0 { // of four fillings each type has one
				continue
			}
			if len(body) > 1<<20 && i%8 != 0 { // what is large is refused before its type is looked at
				continue
			}
			sent++
			jobs <- func() {
				conn, d, err := w.send(body)
				if conn != nil {
					defer conn.Close()
				}
				if err == nil {
					err = refusedOrClosed(conn, d)
				}
				if err != nil {
					t.Errorf("%s as %s: %v", name, w.name, err)
				}
			}
		}
	}
	close(jobs)
	senders.Wait()
	after, most := target.Memory(t)
	t.Logf("%d bodies sent, of %d in %d ways: %d MiB before, %d after, %d at most", sent, len(bodies)*len(ways), len(ways), before>>20, after>>20, most>>20)
	if most > before+hostileBound {
		t.Errorf("the node grew from %d MiB to %d, the bound is %d more", before>>20, most>>20, hostileBound>>20)
	}
	stalled(t, c, asClient)

	select {
	case <-target.Exited:
		t.Fatal("the node has ended")
	default:
	}
	c.Healthy()
	c.Run("kv", "set", "after", "taken").Done(t)
	if got := c.Run("kv", "get", "before").Done(t); got != "kept\n" {
		t.Errorf("the key from before is %q", got)
	}
	again, err := cl.Status(context.Background(), target.Addr)
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range again.Groups { // a hostile vote or append would show here
		if g.Term > status.Groups[i].Term+10 {
			t.Errorf("group %d went from term %d to %d", g.ID, status.Groups[i].Term, g.Term)
		}
	}
	text, err := os.ReadFile(target.Log)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"panic", "fatal error", "goroutine "} {
		if strings.Contains(string(text), word) {
			t.Errorf("the node's log says %q", word)
		}
	}
	if lines := strings.Count(string(text), "\n"); lines > 500 {
		t.Errorf("the node's log has %d lines: a stranger can fill the disk", lines)
	}
}

// nothing is what a stranger shows of itself.
func nothing(trust.RootID) (*tls.Certificate, error) { return nil, nil }

// padding fills up what is shorter than a preamble, so that the node need not wait for more.
var padding = make([]byte, wire.PreambleSize)

// stalled opens many connections, each with a frame that claims the most there
// may be and then stalls. They cost what they sent.
func stalled(t *testing.T, c *clustertest.Cluster, hello wire.DialConfig) {
	t.Helper()
	const connections, sent = 400, 2000
	target := c.Nodes[0]
	before, _ := target.Memory(t)
	frame := hostileFrame(wire.TypeWrite, append([]byte("\xc6\x01\x00\x00\x00"), make([]byte, 16<<20)...))[:sent]
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for range connections {
		conn, _, err := greet(func() (net.Conn, error) { return clustertest.DialAsUser(t.Context(), c, target.Addr) }, hello)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if _, err := conn.Write(frame); err != nil {
			t.Fatal(err)
		}
	}
	c.Run("kv", "set", "meanwhile", "taken").Done(t)
	// 16 bytes for each that came and 4 KiB, as for any input; 32 KiB for two
	// goroutines and the connection; and twice that for the collector.
	bound := connections * 2 * (16*sent + 4<<10 + 32<<10)
	if now, _ := target.Memory(t); now > before+bound {
		t.Errorf("%d stalled frames cost %d MiB, the bound is %d", connections, (now-before)>>20, bound>>20)
	}
	// They are still there: none was cut off for want of room.
	one := make([]byte, 1)
	if err := conns[0].SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conns[0].Read(one); err == io.EOF {
		t.Error("a frame that has stalled for a moment ended its connection")
	}
}

// greet says hello. On a machine that is busy with other tests a hello may take
// longer than the two seconds that a node gives a stranger; then it is said
// again.
func greet(dial func() (net.Conn, error), as wire.DialConfig) (net.Conn, *wire.Greeting, error) {
	var last error
	for end := time.Now().Add(clustertest.ReadyMax); time.Now().Before(end); {
		conn, err := dial()
		if err != nil {
			return nil, nil, err
		}
		g, err := wire.ClientHello(conn, as)
		if err == nil {
			return conn, g, nil
		}
		conn.Close()
		var refused *wire.Error
		if last = err; errors.As(err, &refused) {
			break
		}
	}
	return nil, nil, last
}
