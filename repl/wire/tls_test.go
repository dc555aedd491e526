package wire_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/trust"
	"muster/repl/wire"
)

// authority makes certificates for tests.
type authority struct {
	t      *testing.T
	root   []byte
	issuer *trust.Issuer
	holder trust.Holder // of whoever trusts it and has no certificate
}

func newAuthority(t *testing.T, cluster uint64) *authority {
	t.Helper()
	root, key, err := trust.NewRoot(rand.Reader, cluster, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := trust.NewIssuer(root, key)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t: t, root: root, issuer: issuer}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// node returns what a node of the authority's cluster shows.
func (a *authority) node(n trust.Name) *trust.Holder {
	a.t.Helper()
	key := newKey(a.t)
	der, _, err := a.issuer.Issue(rand.Reader, n, &key.PublicKey, time.Now(), trust.NodeLife)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := trust.NewCertificate(key, der, a.root)
	if err != nil {
		a.t.Fatal(err)
	}
	root, err := trust.ReadRoot(a.root)
	if err != nil {
		a.t.Fatal(err)
	}
	h := new(trust.Holder)
	h.Set(&trust.Holding{Certificate: cert, Trusted: trust.Trusted{Roots: append(a.holder.Get().Trusted.Roots, root)}})
	return h
}

// selfSigned shows what a host has before it has a certificate.
func selfSigned(t *testing.T) *trust.Holder {
	t.Helper()
	cert, err := trust.SelfSigned(rand.Reader, newKey(t), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h := new(trust.Holder)
	h.Set(&trust.Holding{Certificate: cert})
	return h
}

// anyone checks nothing in the handshake.
func anyone(tls.ConnectionState) error { return nil }

// proven is whom a connection's other side has proven to be, as far as h believes it.
func proven(h *trust.Holder, c *wire.TLSConn) trust.Proven {
	p, err := h.Get().Trusted.Verify(c.ConnectionState().PeerCertificates, time.Now())
	if err != nil {
		return trust.Proven{}
	}
	return p
}

type tlsResult struct {
	conn  *wire.TLSConn
	inner *wire.Opening
	err   error
}

// serveTLS runs the acceptor's side of a handshake.
func serveTLS(conn net.Conn, h *trust.Holder, g *wire.Gate) (r tlsResult) {
	o, err := wire.ReadOpening(conn)
	if err != nil {
		return tlsResult{err: err}
	}
	if !o.TLS() || o.Ours() {
		return tlsResult{err: errors.New("it does not begin with TLS")}
	}
	r.conn, r.inner, r.err = o.TLSServer(conn, h.Server(), g)
	if r.err == nil {
		r.conn.Peer = proven(h, r.conn)
	}
	return r
}

// greetTLS is greet over TLS.
func greetTLS(t *testing.T, d wire.DialConfig, dh *trust.Holder, a wire.AcceptConfig, ah *trust.Holder) (dialler, acceptor helloResult) {
	t.Helper()
	dc, ac := pair(t)
	accepted := make(chan helloResult, 1)
	go func() {
		r := serveTLS(ac, ah, wire.NewGate(1))
		if r.err == nil {
			var g *wire.Greeting
			g, r.err = r.inner.ServerHello(r.conn, a)
			accepted <- helloResult{g, r.err}
		} else {
			accepted <- helloResult{nil, r.err}
		}
		if r.err != nil {
			ac.Close()
		}
	}()
	c, err := wire.TLSClient(dc, dh.Client(anyone))
	var g *wire.Greeting
	if err == nil {
		c.Peer = proven(dh, c)
		g, err = wire.ClientHello(c, d)
	}
	if err != nil {
		dc.Close()
	}
	return helloResult{g, err}, <-accepted
}

// A host that waits has nothing by which to prove who it is. A client, and a host that founds, hear all the
// same what it waits for, and tell it no proof of their secret; if it lets them in, they go.
func TestUnprovenIsHeard(t *testing.T) {
	secret := with(client(), func(c *wire.DialConfig) { c.Secret = []byte("0123456789abcdef") })
	for _, role := range []wire.Role{wire.RoleClient, wire.RoleFounding} {
		d := secret
		if role == wire.RoleFounding {
			d = with(peer(), func(c *wire.DialConfig) { c.Secret, c.Role = secret.Secret, role })
		}
		waits := with(acceptor(), func(c *wire.AcceptConfig) {
			c.Admit = func(g *wire.Greeting) error {
				if g.KnowsSecret {
					t.Error("it was told a proof")
				}
				return wire.NotReady("node n1", "founding; waits for n2", "start it", 0)
			}
		})
		r, _ := greetTLS(t, d, selfSigned(t), waits, selfSigned(t))
		checkRefusal(t, "by one that waits", r, wire.CodeNotReady, []string{"waits for n2"})
		r, _ = greetTLS(t, d, selfSigned(t), acceptor(), selfSigned(t))
		checkRefusal(t, "let in", r, wire.CodeUnauthorized, []string{"can't prove"})
	}
}

// Over TLS a certificate says who somebody is, or the secret does, or nothing: then the
// node decides what that is worth. What was proven must be what the greeting says, on both
// sides.
func TestHelloOverTLS(t *testing.T) {
	ca := newAuthority(t, 9)
	secret := []byte("0123456789abcdef")
	one := func() *trust.Holder {
		return ca.node(trust.Name{Cluster: 9, Kind: trust.KindNode, Node: n1})
	}
	two := func() *trust.Holder {
		return ca.node(trust.Name{Cluster: 9, Kind: trust.KindNode, Node: n2})
	}
	none := func() *trust.Holder { return selfSigned(t) }
	for _, c := range []struct {
		name     string
		d        wire.DialConfig
		dh       *trust.Holder
		a        wire.AcceptConfig
		ah       *trust.Holder
		code     wire.Code // 0: welcome
		want     []string
		knows    bool
		accepted raft.NodeID // whom the acceptor's greeting names
	}{
		{"nobody has anything", client(), none(), acceptor(), none(), 0, nil, false, 0},
		{"both have the secret", with(peer(), func(c *wire.DialConfig) { c.Secret = secret }), none(),
			with(acceptor(), func(c *wire.AcceptConfig) { c.Secret = secret }), none(), 0, nil, true, 0},
		{"both have a certificate", peer(), two(), acceptor(), one(), 0, nil, false, n2},
		{"both have both", with(peer(), func(c *wire.DialConfig) { c.Secret = secret }), two(),
			with(acceptor(), func(c *wire.AcceptConfig) { c.Secret = secret }), one(), 0, nil, true, n2},
		{"a secret is not asked for", with(peer(), func(c *wire.DialConfig) { c.Secret = secret }), two(), acceptor(), one(), 0, nil, false, n2},
		{"a guest", client(), none(), with(acceptor(), func(c *wire.AcceptConfig) { c.Secret = secret }), one(), 0, nil, false, 0},

		{"another secret", with(peer(), func(c *wire.DialConfig) { c.Secret = []byte("fedcba9876543210") }), two(),
			with(acceptor(), func(c *wire.AcceptConfig) { c.Secret = secret }), one(), wire.CodeUnauthorized, []string{"secret"}, false, 0},
		{"nobody proves anything to one with a secret", with(peer(), func(c *wire.DialConfig) { c.Secret = secret }), two(), acceptor(), none(),
			wire.CodeUnauthorized, []string{"can't prove"}, false, 0},
		{"the certificate of another node", peer(), two(), acceptor(), two(), wire.CodeUnauthorized, []string{n2.String(), n1.String()}, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, a := greetTLS(t, c.d, c.dh, c.a, c.ah)
			if c.code != 0 {
				checkRefusal(t, "dialler", d, c.code, c.want)
				if a.err == nil {
					t.Error("the acceptor has let it in")
				}
				return
			}
			if d.err != nil || a.err != nil {
				t.Fatalf("dialler: %v; acceptor: %v", d.err, a.err)
			}
			for who, g := range map[string]*wire.Greeting{"dialler": d.greeting, "acceptor": a.greeting} {
				checkGreeting(t, c.d, c.a, g)
				if g.KnowsSecret != c.knows || !g.TLS() || len(g.Exporter) != trust.ExporterSize {
					t.Errorf("%s: knows %t, exporter %x", who, g.KnowsSecret, g.Exporter)
				}
			}
			if !bytes.Equal(d.greeting.Exporter, a.greeting.Exporter) {
				t.Error("the two sides have different exporters")
			}
			if got := a.greeting.Peer.Name.Node; got != c.accepted {
				t.Errorf("the acceptor takes it for %s, want %s", got, c.accepted)
			}
			if (len(a.greeting.Welcome.Proof) > 0) != c.knows {
				t.Error("a proof went to one that has proven nothing")
			}
		})
	}
}

// relayedTLS has a member dial a go-between that ends its TLS, and passes the hello on
// over TLS of its own, word by word. It tells what the go-between gained.
func relayedTLS(t *testing.T) string {
	t.Helper()
	secret := []byte("0123456789abcdef")
	dc, ac := pair(t)
	between, far := pair(t)
	accepted := make(chan helloResult, 1)
	go func() {
		r := serveTLS(far, selfSigned(t), nil)
		if r.err != nil {
			far.Close()
			accepted <- helloResult{nil, r.err}
			return
		}
		g, err := r.inner.ServerHello(r.conn, with(acceptor(), func(c *wire.AcceptConfig) { c.Secret, c.Advertise = secret, liveAddr }))
		if err != nil {
			far.Close()
		}
		accepted <- helloResult{g, err}
	}()
	go func() {
		in, err := relayEnd(ac, selfSigned(t))
		if err != nil {
			ac.Close()
			return
		}
		out, err := wire.TLSClient(between, selfSigned(t).Client(anyone))
		if err != nil {
			between.Close()
			return
		}
		go func() { _, _ = io.Copy(out, in); _ = out.CloseWrite() }()
		_, _ = io.Copy(in, out)
		in.Close()
	}()
	c, err := wire.TLSClient(dc, selfSigned(t).Client(anyone))
	if err != nil {
		t.Fatal(err)
	}
	_, err = wire.ClientHello(c, with(peer(), func(c *wire.DialConfig) { c.Secret, c.To, c.ToAddr = secret, n1, liveAddr }))
	dc.Close()
	if got := <-accepted; got.err == nil {
		return fmt.Sprintf("the relay has a connection to node %s as node %s", got.greeting.Challenge.Node, got.greeting.Hello.Node)
	}
	if err == nil {
		return "the dialler takes the relay for the member"
	}
	if !badProof(err) {
		return fmt.Sprintf("the dialler says %v", err)
	}
	return ""
}

// relayEnd is the go-between's side towards the dialler: TLS as anybody can speak it.
func relayEnd(conn net.Conn, h *trust.Holder) (*tls.Conn, error) {
	c := tls.Server(conn, h.Server())
	return c, c.Handshake()
}

// Before there are certificates, only the secret tells two hosts from a go-between who
// stands between them. If the proofs did not say over which connection they are made, it
// could pass them on, and read and change all that follows.
func TestHelloOverTLSIsNotPassedOn(t *testing.T) {
	if gained := relayedTLS(t); gained != "" {
		t.Error(gained)
	}
}

// A dialler that begins with TLS may reach anything: a node that was told to do without,
// an older one, a mail server. It must be told which, within the time of a hello.
func TestTLSDialsSomethingElse(t *testing.T) {
	refusal := wire.Unauthorized("connection over TLS", "node n1 was started with --insecure", "give --insecure here")
	for _, c := range []struct {
		name  string
		speak string
		stay  bool
		want  []string
	}{
		{"a node without TLS", string(wire.AppendFrame(nil, wire.TypeError, 0, refusal)), true, []string{"unauthorized", "--insecure"}},
		{"a frame that is cut", string(wire.AppendFrame(nil, wire.TypeError, 0, refusal)[:40]), false, []string{"speaks something else"}},
		{"HTTP", "HTTP/1.1 400 Bad Request\r\n\r\n", true, []string{"speaks something else", "HTTP/1"}},
		{"nothing", "", true, []string{"no answer within 2s"}},
		{"and hangs up", "", false, []string{"hung up"}},
		{"an alert", "\x15\x03\x03\x00\x02\x02\x46", false, []string{"TLS", "protocol version"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dc, ac := pair(t)
			go func() {
				_, _ = io.CopyN(io.Discard, ac, 8)
				_, _ = ac.Write([]byte(c.speak))
				if !c.stay {
					_ = ac.(*net.TCPConn).CloseWrite()
				}
				_, _ = io.Copy(io.Discard, ac)
			}()
			began := time.Now()
			_, err := wire.TLSClient(dc, selfSigned(t).Client(anyone))
			dc.Close()
			if err == nil {
				t.Fatal("got no error")
			}
			for _, w := range append(c.want, dc.RemoteAddr().String()) {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
			if d := time.Since(began); d > wire.HelloTimeout+5*time.Second || len(err.Error()) > 600 {
				t.Errorf("took %s, for %d bytes: %q", d, len(err.Error()), err)
			}
		})
	}
}

// A stranger that begins with TLS may do it in any way. It must get no further than TLS 1.3
// and this protocol, cost no more than the bounds say, and hold nothing for longer than a
// hello may take.
func TestTLSStrangers(t *testing.T) {
	says := func(b string, stay bool) func(net.Conn) {
		return func(c net.Conn) {
			_, _ = c.Write([]byte(b))
			if !stay {
				_ = c.(*net.TCPConn).CloseWrite()
			}
			_, _ = io.Copy(io.Discard, c)
		}
	}
	over := func(change func(*tls.Config), inside string) func(net.Conn) {
		return func(c net.Conn) {
			config := selfSigned(t).Client(anyone)
			change(config)
			t := tls.Client(c, config)
			if t.Handshake() == nil {
				_, _ = t.Write([]byte(inside))
				_, _ = io.Copy(io.Discard, t)
			}
			c.Close()
		}
	}
	for _, c := range []struct {
		name string
		do   func(net.Conn)
		want []string
	}{
		{"a record that is none", says("\x16\x03\x01\x00\x05hello", true), []string{"TLS"}},
		{"the first byte, then nothing", says("\x16", true), []string{"timeout"}},
		{"and hangs up", says("\x16\x03\x01", false), []string{"EOF"}},
		{"a handshake without end", says("\x16\x03\x01\x40\x00\x01\x00\xff\xff"+strings.Repeat("\x00", 1<<20), true), []string{"16384 bytes of a handshake"}},
		{"TLS 1.2", over(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, ""), []string{"versions"}},
		{"another protocol by ALPN", over(func(c *tls.Config) { c.NextProtos = []string{"ftp"}; c.VerifyConnection = nil }, ""), []string{"ftp"}},
		{"no protocol by ALPN", over(func(c *tls.Config) { c.NextProtos, c.VerifyConnection = nil, nil }, "\xedmus\x03\x03\x01\x00"), []string{"ALPN"}},
		{"HTTP inside", over(func(*tls.Config) {}, "GET / HTTP/1.1\r\n\r\n"), []string{"speaks something else", "GET /"}},
		{"silence inside", over(func(*tls.Config) {}, ""), []string{"said nothing"}},
		{"TLS inside", over(func(*tls.Config) {}, "\x16\x03\x01\x00\x05hello"), []string{"speaks something else"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dc, ac := pair(t)
			done := make(chan struct{})
			go func() { c.do(dc); close(done) }()
			began := time.Now()
			r := serveTLS(ac, selfSigned(t), wire.NewGate(1))
			if r.err == nil && !r.inner.Ours() {
				r.err = r.inner.Foreign(ac.RemoteAddr())
			}
			ac.Close()
			if r.err == nil {
				t.Fatal("got no error")
			}
			for _, w := range append(c.want, ac.RemoteAddr().String()) {
				if !strings.Contains(r.err.Error(), w) {
					t.Errorf("%q does not say %q", r.err, w)
				}
			}
			if d := time.Since(began); d > wire.HelloTimeout+5*time.Second || len(r.err.Error()) > 600 || strings.ContainsAny(r.err.Error(), "\r\n") {
				t.Errorf("took %s: %q", d, r.err)
			}
			<-done
		})
	}
}

// What follows a handshake is what both sides have settled in it, or it is refused: else somebody could have a browser say
// to a node what the node takes for a member's words, or a member say what is taken for a browser's. HTTP alone need not
// be named, and may be told by its first bytes, as without TLS.
func TestALPNAgrees(t *testing.T) {
	if wrong := alpnDisagrees(t); wrong != "" {
		t.Error(wrong)
	}
}

// alpnDisagrees tells what is taken for something that the handshake has not settled.
func alpnDisagrees(t *testing.T) string {
	const ours, http, resp = "\xedmus\x03\x03\x01\x00", "GET / HTTP/1.1\r\n\r\n", "*1\r\n$4\r\nPING\r\n"
	for _, c := range []struct {
		named []string
		says  string
		want  string // "": it is refused
	}{
		{[]string{trust.ALPN}, ours, "ours"},
		{[]string{trust.ALPN}, http, ""},
		{[]string{trust.ALPN}, resp, ""},
		{[]string{trust.ALPN, "http/1.1"}, ours, "ours"},
		{[]string{"http/1.1"}, http, "HTTP"},
		{[]string{"http/1.1"}, ours, "HTTP"}, // which refuses it
		{[]string{"h2", "http/1.1"}, http, "HTTP"},
		{nil, http, "HTTP"},
		{nil, resp, "else"},
		{nil, ours, ""},
	} {
		dc, ac := pair(t)
		go func() {
			config := selfSigned(t).Client(nil)
			config.NextProtos, config.VerifyConnection = c.named, nil
			over := tls.Client(dc, config)
			_, _ = over.Write([]byte(c.says)) // what the other side makes of it is looked at
		}()
		r := serveTLS(ac, selfSigned(t), wire.NewGate(1))
		got := ""
		switch {
		case r.err != nil:
		case r.inner.Ours():
			got = "ours"
		case r.inner.HTTP():
			got = "HTTP"
		default:
			got = "else"
		}
		if got != c.want {
			return fmt.Sprintf("named %q, said %q: it is taken for %q (%v), want %q", c.named, c.says, got, r.err, c.want)
		}
	}
	return ""
}

// A handshake that waits for a silent stranger must not keep others from theirs, however
// few may be worked on at once.
func TestSilentHandshakesHoldUpNobody(t *testing.T) {
	gate := wire.NewGate(1)
	ah := selfSigned(t)
	for range 4 {
		dc, ac := pair(t)
		if _, err := dc.Write([]byte{0x16}); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { serveTLS(ac, ah, gate); close(ended) }()
		t.Cleanup(func() { dc.Close(); <-ended })
	}
	dc, ac := pair(t)
	accepted := make(chan tlsResult, 1)
	go func() { accepted <- serveTLS(ac, ah, gate) }()
	c, err := wire.TLSClient(dc, selfSigned(t).Client(anyone))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("\xedmus")); err != nil {
		t.Fatal(err)
	}
	if r := <-accepted; r.err != nil || !r.inner.Ours() {
		t.Errorf("got %v", r.err)
	}
}

// tlsPair is a connection over TLS, after the handshake.
func tlsPair(t *testing.T) (dialler, acceptor *wire.TLSConn) {
	t.Helper()
	dc, ac := pair(t)
	accepted := make(chan tlsResult, 1)
	go func() { accepted <- serveTLS(ac, selfSigned(t), nil) }()
	c, err := wire.TLSClient(dc, selfSigned(t).Client(anyone))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("\xedmus\x03\x03\x02\x00")); err != nil {
		t.Fatal(err)
	}
	r := <-accepted
	if r.err != nil {
		t.Fatal(r.err)
	}
	for _, c := range []net.Conn{c, r.conn} {
		if err := c.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	return c, r.conn
}

// Writes must come out whole and in order, whatever their size, although large ones are gathered on
// the way; the end of what one side sends must reach the other.
func TestTLSWrites(t *testing.T) {
	d, a := tlsPair(t)
	var sent []byte
	for i, size := range []int{1, 16383, 16384, 16385, 65536, 300_000, 3 << 20, 7} {
		b := bytes.Repeat([]byte{byte(i + 1)}, size)
		rand.Read(b[:min(len(b), 64)])
		sent = append(sent, b...)
	}
	failed := make(chan error, 1)
	go func() {
		rest := sent
		for i, size := range []int{1, 16383, 16384, 16385, 65536, 300_000, 3 << 20, 7} {
			var err error
			if i%2 == 0 {
				_, err = d.Write(rest[:size])
			} else {
				_, err = wire.WriteWithin(d, rest[:size], 10*time.Second)
			}
			if err != nil {
				failed <- err
				return
			}
			rest = rest[size:]
		}
		failed <- d.CloseWrite()
	}()
	got, err := io.ReadAll(a)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("got %d bytes, %v, want %d", len(got), err, len(sent))
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
	// The other half still works.
	go func() { _, _ = a.Write([]byte("answer")); a.Close() }()
	if got, err := io.ReadAll(d); err != nil || string(got) != "answer" {
		t.Errorf("got %q, %v", got, err)
	}
}

// A write to a side that reads nothing must end, and say why.
func TestTLSWriteWithin(t *testing.T) {
	d, _ := tlsPair(t)
	const within = 50 * time.Millisecond
	big := make([]byte, 1<<20)
	var err error
	for range 64 {
		if _, err = wire.WriteWithin(d, big, within); err != nil {
			break
		}
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want that the time is over", err)
	}
}
