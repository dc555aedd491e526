package wire_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"muster/repl/wire"
)

// dialled returns what the dialler sends before anybody answers.
func dialled(t *testing.T, c wire.DialConfig) []byte {
	t.Helper()
	a, b := pair(t)
	done := make(chan error, 1)
	go func() {
		_, err := wire.ClientHello(a, c)
		done <- err
	}()
	got := make([]byte, wire.PreambleSize+wire.HeaderSize)
	if _, err := io.ReadFull(b, got); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := <-done; err == nil {
		t.Error("a hello that nobody answered went well")
	}
	return got
}

// pair returns both ends of a connection over loopback: what a refused side
// still gets to read depends on how TCP ends.
func pair(t *testing.T) (dialler, acceptor net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialler, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	acceptor, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialler.Close(); acceptor.Close() })
	return dialler, acceptor
}

type helloResult struct {
	greeting *wire.Greeting
	err      error
}

// greet runs both sides; each hangs up when it has its result, as callers do.
func greet(t *testing.T, d wire.DialConfig, a wire.AcceptConfig) (dialler, acceptor helloResult) {
	t.Helper()
	dc, ac := pair(t)
	accepted := make(chan helloResult, 1)
	go func() {
		g, err := wire.ServerHello(ac, a)
		if err != nil {
			ac.Close()
		}
		accepted <- helloResult{g, err}
	}()
	g, err := wire.ClientHello(dc, d)
	if err != nil {
		dc.Close()
	}
	return helloResult{g, err}, <-accepted
}

func client() wire.DialConfig {
	return wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: 1, Window: 16}
}

func peer() wire.DialConfig {
	return wire.DialConfig{Purpose: wire.PurposePeer, Role: wire.RolePeer, Cluster: "prod", ClusterID: 9, Node: n2, Start: 3,
		Advertise: "10.0.0.2:4166", Level: 1}
}

func acceptor() wire.AcceptConfig {
	return wire.AcceptConfig{Cluster: "prod", ClusterID: 9, Node: n1, Start: 4, Level: 1, ValueMax: 1 << 20, WindowMax: 64}
}

func with[T any](v T, change func(*T)) T { change(&v); return v }

// Everything after the hello trusts what it says: who the other is, which
// cluster, that it has the secret. Whoever does not fit must be told so, in
// one line that an operator can act on, and the other side must know too.
func TestHello(t *testing.T) {
	secret := func(s string) func(*wire.DialConfig) { return func(c *wire.DialConfig) { c.Secret = []byte(s) } }
	guarded := with(acceptor(), func(c *wire.AcceptConfig) { c.Secret = []byte("abc") })
	for _, c := range []struct {
		name string
		d    wire.DialConfig
		a    wire.AcceptConfig
		code wire.Code // 0: welcome
		want []string  // in what the dialler is told
	}{
		{"client that takes any", client(), acceptor(), 0, nil},
		{"client that names the cluster", with(client(), func(c *wire.DialConfig) { c.Cluster, c.ClusterID = "prod", 9 }), acceptor(), 0, nil},
		{"peer", peer(), acceptor(), 0, nil},
		{"peer with the secret", with(peer(), secret("abc")), guarded, 0, nil},
		{"client with the secret", with(client(), secret("abc")), guarded, 0, nil},
		{"founding, no id yet", with(peer(), func(c *wire.DialConfig) { c.Role, c.ClusterID = wire.RoleFounding, 0 }), acceptor(), 0, nil},
		{"founding, acceptor has no id yet", peer(), with(acceptor(), func(c *wire.AcceptConfig) { c.ClusterID = 0 }), 0, nil},
		{"inviting", with(peer(), func(c *wire.DialConfig) { c.Role = wire.RoleInviting }), with(acceptor(), func(c *wire.AcceptConfig) { c.ClusterID = 0 }), 0, nil},
		{"inviting a host that was told no name", with(peer(), func(c *wire.DialConfig) { c.Role = wire.RoleInviting }),
			with(acceptor(), func(c *wire.AcceptConfig) { c.Cluster, c.ClusterID = "", 0 }), 0, nil},
		{"joining", with(peer(), func(c *wire.DialConfig) { c.Role, c.ClusterID = wire.RoleJoining, 0 }), acceptor(), 0, nil},
		{"joining without a name", with(peer(), func(c *wire.DialConfig) { c.Role, c.Cluster, c.ClusterID = wire.RoleJoining, "", 0 }), acceptor(), 0, nil},

		{"inviting a host of another cluster", with(peer(), func(c *wire.DialConfig) { c.Role = wire.RoleInviting }),
			with(acceptor(), func(c *wire.AcceptConfig) { c.Cluster = "test" }), wire.CodeWrongCluster, []string{`"test"`, `"prod"`}},
		{"inviting a host of another cluster of the name", with(peer(), func(c *wire.DialConfig) { c.Role = wire.RoleInviting }),
			with(acceptor(), func(c *wire.AcceptConfig) { c.ClusterID = 8 }), wire.CodeWrongCluster, []string{"0000000000000008"}},
		{"joining another cluster", with(peer(), func(c *wire.DialConfig) { c.Role, c.Cluster, c.ClusterID = wire.RoleJoining, "test", 0 }), acceptor(),
			wire.CodeWrongCluster, []string{`"test"`, `"prod"`}},
		{"inviting without an id", with(peer(), func(c *wire.DialConfig) { c.Role, c.Node = wire.RoleInviting, 0 }), acceptor(),
			wire.CodeBadRequest, []string{"field node"}},
		{"a role of a newer version", with(peer(), func(c *wire.DialConfig) { c.Role = wire.RoleJoining + 1 }), acceptor(),
			wire.CodeBadRequest, []string{"field role"}},
		{"wrong cluster name", with(client(), func(c *wire.DialConfig) { c.Cluster = "test" }), acceptor(),
			wire.CodeWrongCluster, []string{`"test"`, `"prod"`, "--cluster"}},
		{"wrong cluster name of a peer", with(peer(), func(c *wire.DialConfig) { c.Cluster = "test" }), acceptor(),
			wire.CodeWrongCluster, []string{`"test"`, `"prod"`, n2.String(), "--cluster"}},
		{"peer without a cluster name", with(peer(), func(c *wire.DialConfig) { c.Cluster = "" }), acceptor(),
			wire.CodeWrongCluster, []string{`""`, `"prod"`}},
		{"wrong cluster id", with(peer(), func(c *wire.DialConfig) { c.ClusterID = 8 }), acceptor(),
			wire.CodeWrongCluster, []string{"0000000000000008", "0000000000000009", "data directory"}},
		{"wrong cluster id of a client", with(client(), func(c *wire.DialConfig) { c.ClusterID = 8 }), acceptor(),
			wire.CodeWrongCluster, []string{"0000000000000008", "0000000000000009"}},
		{"wrong secret", with(peer(), secret("abd")), guarded,
			wire.CodeUnauthorized, []string{n2.String(), "--secret-file"}},
		{"secret with the dialler only", with(client(), secret("abc")), acceptor(),
			wire.CodeUnauthorized, []string{"it has no secret", "--secret-file"}},
		{"secret with the acceptor only", client(), guarded,
			wire.CodeUnauthorized, []string{"it asks for a proof", "--secret-file"}},
		{"peer without an id", with(peer(), func(c *wire.DialConfig) { c.Node = 0 }), acceptor(),
			wire.CodeBadRequest, []string{"field node"}},
		{"bulk without an id", with(peer(), func(c *wire.DialConfig) { c.Purpose, c.Node = wire.PurposeBulk, 0 }), acceptor(),
			wire.CodeBadRequest, []string{"field node"}},
		{"role and purpose apart", with(client(), func(c *wire.DialConfig) { c.Purpose = wire.PurposePeer }), acceptor(),
			wire.CodeBadRequest, []string{"field role", "purpose 1"}},
		{"bulk for a client", with(client(), func(c *wire.DialConfig) { c.Purpose = wire.PurposeBulk }), acceptor(),
			wire.CodeBadRequest, []string{"purpose 3"}},
		{"not admitted", peer(), with(acceptor(), func(c *wire.AcceptConfig) {
			c.Admit = func(g *wire.Greeting) error {
				return wire.UnknownNode(g.Hello.Node, "it starts with 3, 5 was seen", "do not start a copy of an old disk")
			}
		}), wire.CodeUnknownNode, []string{"5 was seen", "copy of an old disk"}},
		{"admission fails", peer(), with(acceptor(), func(c *wire.AcceptConfig) {
			c.Admit = func(*wire.Greeting) error { return errors.New("the table is not there") }
		}), wire.CodeUnavailable, []string{"the table is not there"}},
		{"oversize hello", with(client(), func(c *wire.DialConfig) { c.Cluster = strings.Repeat("x", wire.HelloBytesMax) }), acceptor(),
			wire.CodeTooLarge, []string{"4096", "shorter"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, a := greet(t, c.d, c.a)
			if c.code == 0 {
				if d.err != nil || a.err != nil {
					t.Fatalf("dialler: %v; acceptor: %v", d.err, a.err)
				}
				checkGreeting(t, c.d, c.a, d.greeting)
				checkGreeting(t, c.d, c.a, a.greeting)
				return
			}
			checkRefusal(t, "dialler", d, c.code, c.want)
			if a.err == nil || a.greeting != nil {
				t.Errorf("acceptor: got %v, want an error", a.greeting)
			}
			if a.err != nil && strings.Contains(a.err.Error(), "\n") {
				t.Errorf("acceptor: %q has several lines", a.err)
			}
		})
	}
}

func checkGreeting(t *testing.T, d wire.DialConfig, a wire.AcceptConfig, g *wire.Greeting) {
	t.Helper()
	if g.Version != wire.VersionMax || g.Purpose != d.Purpose || g.Hello.Node != d.Node || g.Hello.Window != d.Window || g.Hello.Role != d.Role ||
		g.Hello.Start != d.Start || g.Hello.Advertise != d.Advertise ||
		g.Challenge.Node != a.Node || g.Challenge.ClusterID != a.ClusterID || g.Challenge.Start != a.Start ||
		g.Welcome.ValueMax != a.ValueMax || g.Welcome.WindowMax != a.WindowMax || g.Welcome.FrameMax != wire.FrameMax {
		t.Errorf("got %+v", g)
	}
}

func checkRefusal(t *testing.T, who string, r helloResult, code wire.Code, want []string) {
	t.Helper()
	if r.err == nil {
		t.Fatalf("%s: welcome, want %s", who, code)
	}
	text := r.err.Error()
	if !errors.Is(r.err, &wire.Error{Code: code}) {
		t.Errorf("%s: got %q, want %s", who, text, code)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("%s: %q does not say %q", who, text, w)
		}
	}
	if strings.Contains(text, "\n") {
		t.Errorf("%s: %q has several lines", who, text)
	}
}

// Two releases that have no version in common must find that out, not guess:
// the frames of the hello stay readable for ever for that.
func TestHelloVersions(t *testing.T) {
	for _, c := range []struct{ low, high byte }{{4, 9}, {0, 1}, {2, 2}, {9, 4}, {4, 3}} {
		dc, ac := pair(t)
		go func() {
			_, _ = dc.Write([]byte{0xed, 'm', 'u', 's', c.low, c.high, 2, 0})
			_, _ = dc.Write(exampleFrame(wire.TypeHello))
		}()
		refused := make(chan error, 1)
		go func() {
			_, err := wire.ServerHello(ac, acceptor())
			refused <- err
		}()
		h, body, err := wire.ReadFrame(dc, wire.NewDecoder(wire.HelloBytesMax))
		if err != nil || h.Type != wire.TypeError {
			t.Fatalf("%d to %d: got %s, %v, want an error frame", c.low, c.high, h.Type, err)
		}
		var e wire.Error
		if err := e.Read(body); err != nil || e.Code != wire.CodeWrongVersion || !strings.Contains(e.Error(), "3 to 3") || e.Next == "" {
			t.Errorf("%d to %d: got %v, %v", c.low, c.high, &e, err)
		}
		dc.Close()
		if err := <-refused; !errors.Is(err, &wire.Error{Code: wire.CodeWrongVersion}) {
			t.Errorf("%d to %d: acceptor says %v", c.low, c.high, err)
		}
	}
	// The other way round: an acceptor that chose a version that was not offered.
	dc, ac := pair(t)
	go func() {
		_, _ = ac.Write(wire.AppendFrame(nil, wire.TypeChallenge, 0, &wire.Challenge{Version: 7, Cluster: "prod", Node: n1}))
		_, _ = io.Copy(io.Discard, ac)
	}()
	if _, err := wire.ClientHello(dc, client()); !errors.Is(err, &wire.Error{Code: wire.CodeWrongVersion}) {
		t.Errorf("version 7: got %v", err)
	}
}

// The acceptor's own proof is worth something only if it can be neither made
// without the secret nor copied from the dialler's, and if what it covers can't
// be exchanged on the way.
func TestHelloImpostors(t *testing.T) {
	secret := with(peer(), func(c *wire.DialConfig) { c.Secret = []byte("abc") })
	challenge := wire.Challenge{Version: wire.VersionMax, Cluster: "prod", ClusterID: 9, Node: n1, NeedsProof: true}
	for _, c := range []struct {
		name  string
		proof func(dialler []byte) []byte
	}{
		{"none", func([]byte) []byte { return nil }},
		{"invented", func([]byte) []byte { return make([]byte, wire.ProofSize) }},
		{"the dialler's own", func(p []byte) []byte { return p }},
	} {
		dc, ac := pair(t)
		go func() {
			defer ac.Close()
			d := wire.NewDecoder(wire.HelloBytesMax)
			_, _ = io.CopyN(io.Discard, ac, wire.PreambleSize)
			_, _, _ = wire.ReadFrame(ac, d)
			_ = wire.WriteFrame(ac, wire.TypeChallenge, 0, &challenge)
			var p wire.Proof
			if _, body, err := wire.ReadFrame(ac, d); err == nil {
				_ = p.Read(body)
			}
			_ = wire.WriteFrame(ac, wire.TypeWelcome, 0, &wire.Welcome{Proof: c.proof(p.Proof)})
		}()
		_, err := wire.ClientHello(dc, secret)
		if !errors.Is(err, &wire.Error{Code: wire.CodeUnauthorized}) {
			t.Errorf("%s: got %v, want unauthorized", c.name, err)
		}
	}

	// Someone between the two who changes one field of the hello.
	dc, ac := pair(t)
	between, far := pair(t)
	accepted := make(chan error, 1)
	go func() {
		_, err := wire.ServerHello(far, with(acceptor(), func(c *wire.AcceptConfig) { c.Secret = []byte("abc") }))
		far.Close()
		accepted <- err
	}()
	go func() {
		var preamble [wire.PreambleSize]byte
		_, _ = io.ReadFull(ac, preamble[:])
		_, _ = between.Write(preamble[:])
		var h wire.Hello
		d := wire.NewDecoder(wire.HelloBytesMax)
		if _, body, err := wire.ReadFrame(ac, d); err == nil && h.Read(body) == nil {
			h.Start++
			_ = wire.WriteFrame(between, wire.TypeHello, 0, &h)
		}
		go func() { _, _ = io.Copy(ac, between) }()
		_, _ = io.Copy(between, ac)
	}()
	_, err := wire.ClientHello(dc, secret)
	dc.Close()
	if !errors.Is(err, &wire.Error{Code: wire.CodeUnauthorized}) {
		t.Errorf("changed on the way: dialler got %v", err)
	}
	if err := <-accepted; !errors.Is(err, &wire.Error{Code: wire.CodeUnauthorized}) {
		t.Errorf("changed on the way: acceptor got %v", err)
	}
}

// A client that sends its first request right behind its proof must find it
// answered: what arrived early stays in the decoder.
func TestNothingIsLostBehindTheHello(t *testing.T) {
	dc, ac := pair(t)
	go func() {
		d := wire.NewDecoder(wire.HelloBytesMax)
		h := wire.Hello{VersionMin: wire.VersionMin, VersionMax: wire.VersionMax, Role: wire.RoleClient}
		_, _ = dc.Write(append([]byte("\xedmus\x03\x03\x02\x00"), wire.AppendFrame(nil, wire.TypeHello, 0, &h)...))
		_, _, _ = wire.ReadFrame(dc, d)
		big := body(func(b []byte) []byte { return append(append(b, 0xc5, 0x40, 0), make([]byte, 0x4000)...) })
		out := wire.AppendFrame(nil, wire.TypeProof, 0, &wire.Proof{})
		out = wire.AppendFrame(out, wire.TypePing, 77, &wire.Empty{})
		_, _ = dc.Write(wire.AppendFrame(out, wire.TypeWrite, 78, big))
	}()
	g, err := wire.ServerHello(ac, acceptor())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []wire.Header{{Type: wire.TypePing, Request: 77, Length: 1}, {Type: wire.TypeWrite, Request: 78, Length: 0x4003}} {
		h, _, err := wire.ReadFrame(ac, g.Decoder)
		if err != nil || h != want {
			t.Errorf("got %+v, %v, want %+v", h, err, want)
		}
	}
}
