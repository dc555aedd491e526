package trust_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/trust"
)

// holder shows a certificate for n, and believes the world's root.
func (w *world) holder(n trust.Name) *trust.Holder {
	w.t.Helper()
	h := new(trust.Holder)
	h.Set(w.holding(n))
	return h
}

func (w *world) holding(n trust.Name) *trust.Holding {
	w.t.Helper()
	c, key := w.issue(n, trust.NodeLife)
	shown, err := trust.NewCertificate(key, c.Raw, w.root.Raw)
	w.must(err)
	return &trust.Holding{Certificate: shown, Trusted: w.trusted()}
}

// verifies is the check of a dialler that believes what h does.
func verifies(h *trust.Holder) func(tls.ConnectionState) error {
	return func(s tls.ConnectionState) error {
		_, err := h.Get().Trusted.Verify(s.PeerCertificates, noon)
		return err
	}
}

func anybody(tls.ConnectionState) error { return nil }

// side is one end of a connection after its handshake.
type side struct {
	conn  *tls.Conn
	state tls.ConnectionState
	err   error
}

// handshake runs both ends of a handshake over a loopback connection, and a byte
// from the server, with which what it sends behind the handshake would arrive too.
func handshake(t testing.TB, server, client *tls.Config) (s, c side) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialled, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = dialled.Close(), accepted.Close() })
	for _, conn := range []net.Conn{dialled, accepted} {
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan side)
	go func() {
		s := side{conn: tls.Server(accepted, server)}
		if s.err = s.conn.Handshake(); s.err == nil {
			_, s.err = s.conn.Write([]byte{1})
		}
		s.state = s.conn.ConnectionState()
		done <- s
	}()
	c.conn = tls.Client(dialled, client)
	if c.err = c.conn.Handshake(); c.err == nil {
		_, c.err = c.conn.Read(make([]byte, 1))
	}
	c.state = c.conn.ConnectionState()
	if c.err != nil {
		_ = dialled.Close() // the server may wait for more
	}
	return <-done, c
}

// Both sides learn whose certificate the other has, and have the same exporter,
// which no other connection has. A client may have no certificate.
func TestHandshake(t *testing.T) {
	w := newWorld(t, 1, cluster)
	server, client, guest := w.holder(node(1)), w.holder(user("alice")), new(trust.Holder)
	guest.Set(&trust.Holding{Trusted: w.trusted()})
	var exporters [][]byte
	for _, from := range []*trust.Holder{client, client, guest} {
		s, c := handshake(t, server.Server(), from.Client(verifies(from)))
		if s.err != nil || c.err != nil {
			t.Fatalf("server %v, client %v", s.err, c.err)
		}
		for _, state := range []tls.ConnectionState{s.state, c.state} {
			if state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != trust.ALPN || state.DidResume {
				t.Errorf("got %s, protocol %q, resumed %t", tls.VersionName(state.Version), state.NegotiatedProtocol, state.DidResume)
			}
			b, err := trust.Exporter(&state)
			if err != nil || len(b) != trust.ExporterSize {
				t.Fatalf("exporter %x, %v", b, err)
			}
			exporters = append(exporters, b)
		}
		p, err := w.trusted().Verify(s.state.PeerCertificates, noon)
		if from == guest {
			if !errors.Is(err, trust.ErrNone) {
				t.Errorf("a guest is %v, %v", p.Name, err)
			}
		} else if err != nil || p.Name != user("alice") {
			t.Errorf("the server sees %v, %v", p.Name, err)
		}
		if p, err := w.trusted().Node(c.state.PeerCertificates, noon); err != nil || p.Name != node(1) {
			t.Errorf("the client sees %v, %v", p.Name, err)
		}
		if root, err := trust.ShownRoot(c.state.PeerCertificates, w.issuer.Root()); err != nil || !root.Equal(w.root) {
			t.Errorf("the client is shown no root: %v", err)
		}
	}
	for i := range exporters {
		for j := range i {
			if same := bytes.Equal(exporters[i], exporters[j]); same != (i/2 == j/2) {
				t.Errorf("exporters %d and %d: equal %t", i, j, same)
			}
		}
	}
}

// A handshake of anything but this protocol in TLS 1.3 comes to nothing, whoever offers it.
func TestHandshakeRefused(t *testing.T) { handshakeRefused(t) }

func handshakeRefused(t testing.TB) {
	w := newWorld(t, 1, cluster)
	other := newWorld(t, 2, cluster)
	server, foreign := w.holder(node(1)), other.holder(node(1))
	lax := func(change func(c *tls.Config)) *tls.Config {
		c := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{trust.ALPN}, Certificates: []tls.Certificate{*server.Get().Certificate}}
		change(c)
		return c
	}
	huge := w.forge(forged{change: func(c *x509.Certificate) {
		for range 1000 {
			c.DNSNames = append(c.DNSNames, "a.host.with.quite.a.long.name.example")
		}
	}})
	for _, row := range []struct {
		what           string
		server, client *tls.Config
		want           string // in the error of either
	}{
		{"a client of TLS 1.2", server.Server(), lax(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), "version"},
		{"a server of TLS 1.2", lax(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }), server.Client(anybody), "version"},
		{"a client of something else", server.Server(), lax(func(c *tls.Config) { c.NextProtos = []string{"ftp"} }), "application protocol"},
		{"a server of HTTP", lax(func(c *tls.Config) { c.NextProtos = []string{"h2"} }), server.Client(anybody), "application protocol"},
		{"a server without a protocol", lax(func(c *tls.Config) { c.NextProtos = nil }), server.Client(anybody), "protocol: found"},
		{"a server with a foreign root", foreign.Server(), server.Client(verifies(server)), "certificate's root"},
		{"a server that founds", founding(w).Server(), server.Client(verifies(server)), "no certificate of a cluster"},
		{"a server with nothing to show", new(trust.Holder).Server(), server.Client(anybody), "no certificate to show"},
		{"a client that shows too many", server.Server(), lax(func(c *tls.Config) {
			shown := &c.Certificates[0]
			for len(shown.Certificate) <= trust.ChainMax {
				shown.Certificate = append(shown.Certificate, w.root.Raw)
			}
		}), "certificates shown: found 7"},
		{"a client that shows too much", server.Server(), lax(func(c *tls.Config) {
			c.Certificates[0].Certificate = append(c.Certificates[0].Certificate, huge.Raw)
		}), "certificates shown: found 3"},
	} {
		s, c := handshake(t, row.server, row.client)
		if s.err == nil && c.err == nil {
			t.Errorf("%s: it goes through", row.what)
			continue
		}
		said := ""
		for _, err := range []error{s.err, c.err} {
			if err != nil {
				said += err.Error() + "; "
			}
			if errors.Is(err, trust.ErrFounding) {
				said += trust.ErrFounding.Error()
			}
		}
		if !strings.Contains(said, row.want) {
			t.Errorf("%s: got %s; want %q in it", row.what, said, row.want)
		}
	}
}

// founding is a host that has no certificate of a cluster yet.
func founding(w *world) *trust.Holder {
	w.t.Helper()
	self, err := trust.SelfSigned(w.chance, w.newKey(), noon)
	w.must(err)
	h := new(trust.Holder)
	h.Set(&trust.Holding{Certificate: self})
	return h
}

// Hosts that found a cluster hide what they say, and prove nothing by it; the
// exporter binds what else they prove to the connection.
func TestFoundingHandshake(t *testing.T) {
	w := newWorld(t, 1, cluster)
	s, c := handshake(t, founding(w).Server(), founding(w).Client(func(s tls.ConnectionState) error {
		if !trust.Founding(s.PeerCertificates[0]) {
			return errors.New("not that of a founding host")
		}
		return nil
	}))
	if s.err != nil || c.err != nil {
		t.Fatalf("server %v, client %v", s.err, c.err)
	}
	if !trust.Founding(s.state.PeerCertificates[0]) {
		t.Error("the server is shown another certificate")
	}
	a, errA := trust.Exporter(&s.state)
	b, errB := trust.Exporter(&c.state)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("exporters %x, %v and %x, %v", a, errA, b, errB)
	}
}

// A new certificate is shown from the next handshake on, by the same settings,
// on either side: nothing restarts for it. A root that is trusted no longer counts
// from then on.
func TestHotReload(t *testing.T) {
	w, other := newWorld(t, 1, cluster), newWorld(t, 2, cluster)
	server, client := w.holder(node(1)), w.holder(node(2))
	serverTLS, clientTLS := server.Server(), client.Client(verifies(client))
	for _, id := range []byte{1, 2} {
		server.Set(w.holding(node(1)))
		client.Set(w.holding(user(string('a' + id))))
		s, c := handshake(t, serverTLS, clientTLS)
		if s.err != nil || c.err != nil {
			t.Fatalf("server %v, client %v", s.err, c.err)
		}
		if got, want := c.state.PeerCertificates[0], server.Get().Certificate.Leaf; !got.Equal(want) {
			t.Errorf("the client sees serial %x, want %x", got.SerialNumber, want.SerialNumber)
		}
		if got, want := s.state.PeerCertificates[0], client.Get().Certificate.Leaf; !got.Equal(want) {
			t.Errorf("the server sees serial %x, want %x", got.SerialNumber, want.SerialNumber)
		}
	}
	server.Set(other.holding(node(1)))
	if _, c := handshake(t, serverTLS, clientTLS); !errors.Is(c.err, trust.ErrForeign) {
		t.Errorf("the client takes a new root: %v", c.err)
	}
	believes := w.trusted()
	believes.Roots = append(believes.Roots, other.root)
	client.Set(&trust.Holding{Certificate: client.Get().Certificate, Trusted: believes})
	if _, c := handshake(t, serverTLS, clientTLS); c.err != nil {
		t.Errorf("the client was told of the root: %v", c.err)
	}
}

// A client that has heard of a former root alone is shown what the host had under it; all others are
// shown what it has now.
func TestFormerCertificate(t *testing.T) { formerShown(t) }

func formerShown(t testing.TB) {
	was, is, never := newWorld(t, 1, cluster), newWorld(t, 2, cluster), newWorld(t, 3, cluster)
	var server trust.Holder
	now := is.holding(node(1))
	now.Former = []*tls.Certificate{was.holding(node(1)).Certificate}
	server.Set(now)
	proto := func(w *world) string { return trust.RootProtocol(trust.RootIDOf(w.root.Raw)) }
	for _, c := range []struct {
		names []string
		want  *tls.Certificate
	}{
		{nil, now.Certificate},
		{[]string{proto(is)}, now.Certificate},
		{[]string{proto(was)}, now.Former[0]},
		{[]string{proto(was), proto(is)}, now.Certificate},
		{[]string{proto(never)}, now.Certificate},
	} {
		config := new(trust.Holder).Client(anybody)
		config.NextProtos = append(config.NextProtos, c.names...)
		_, got := handshake(t, server.Server(), config)
		switch {
		case got.err != nil:
			t.Errorf("named %q: %v", c.names, got.err)
		case !got.state.PeerCertificates[0].Equal(c.want.Leaf):
			t.Errorf("named %q: it is shown serial %x, want %x", c.names, got.state.PeerCertificates[0].SerialNumber, c.want.Leaf.SerialNumber)
		case got.state.NegotiatedProtocol != trust.ALPN:
			t.Errorf("named %q: the protocol is %q", c.names, got.state.NegotiatedProtocol)
		}
	}
}

// counted is a cache of tickets that counts.
type counted struct {
	tls.ClientSessionCache
	kept atomic.Int32
}

func (c *counted) Put(key string, s *tls.ClientSessionState) {
	c.kept.Add(1)
	c.ClientSessionCache.Put(key, s)
}

// No connection begins with what an earlier one had proven, even if the client
// would like to: a denied certificate would live on in its tickets.
func TestNoResumption(t *testing.T) {
	w := newWorld(t, 1, cluster)
	server, client := w.holder(node(1)), w.holder(node(2))
	cache := &counted{ClientSessionCache: tls.NewLRUClientSessionCache(8)}
	config := client.Client(verifies(client))
	config.ClientSessionCache, config.ServerName = cache, "n1"
	settings := server.Server()
	for range 2 {
		s, c := handshake(t, settings, config)
		if s.err != nil || c.err != nil {
			t.Fatalf("server %v, client %v", s.err, c.err)
		}
		if s.state.DidResume || c.state.DidResume || len(s.state.PeerCertificates) == 0 {
			t.Error("an earlier connection was resumed")
		}
	}
	if n := cache.kept.Load(); n != 0 {
		t.Errorf("the server gave out %d tickets", n)
	}
	if own := client.Client(anybody); own.ClientSessionCache != nil {
		t.Error("clients keep tickets")
	}
}

// Before the handshake is over, and below TLS 1.3, what both sides would derive may
// be another's too.
func TestExporterRefused(t *testing.T) {
	for _, s := range []tls.ConnectionState{{}, {Version: tls.VersionTLS12, HandshakeComplete: true}, {Version: tls.VersionTLS13}} {
		if b, err := trust.Exporter(&s); err == nil {
			t.Errorf("got %x", b)
		}
	}
}

// The zero Holder holds nothing, and shows nothing.
func TestEmptyHolder(t *testing.T) {
	h := new(trust.Holder)
	if h.Get() == nil || h.Get().Certificate != nil {
		t.Error("it holds something")
	}
	w := newWorld(t, 1, cluster)
	s, c := handshake(t, w.holder(node(1)).Server(), h.Client(anybody))
	if s.err != nil || c.err != nil || len(s.state.PeerCertificates) != 0 {
		t.Errorf("server %v, client %v, %d certificates", s.err, c.err, len(s.state.PeerCertificates))
	}
}
