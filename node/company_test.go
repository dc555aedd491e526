package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/repl/trust"
	"muster/repl/wire"
	"muster/shardmap"
)

// shop is a company's CA, which knows nothing of muster.
type shop struct {
	t    testing.TB
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newShop(t testing.TB, name string, ends time.Time) *shop {
	t.Helper()
	s := &shop{t: t}
	s.root, s.key = s.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: ends.AddDate(-9, 0, 0), NotAfter: ends})
	return s
}

// sign signs a certificate for a new key; the CA's own where there is none yet.
func (s *shop) sign(made *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	made.SerialNumber = big.NewInt(1)
	by, byKey := s.root, s.key
	if by == nil {
		by, byKey = made, key
	}
	der, err := x509.CreateCertificate(rand.Reader, made, by, key.Public(), byKey)
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	return c, key
}

// host makes a certificate and its key, as PEM, for a host at 127.0.0.1 that has had it for a day of its days.
func (s *shop) host(days int, change func(h *x509.Certificate)) (cert, key []byte) {
	s.t.Helper()
	h := &x509.Certificate{NotBefore: time.Now().AddDate(0, 0, -1), NotAfter: time.Now().AddDate(0, 0, days-1), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	change(h)
	c, private := s.sign(h)
	b, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		s.t.Fatal(err)
	}
	return pemOf("CERTIFICATE", c.Raw), pemOf("PRIVATE KEY", b)
}

// pem is the CA's certificate.
func (s *shop) pem() []byte { return pemOf("CERTIFICATE", s.root.Raw) }

func pemOf(kind string, b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}

func asMade(*x509.Certificate) {}

// shopFiles are the files that one node has of its company's CA.
type shopFiles struct {
	t             testing.TB
	cert, key, ca string
}

func newShopFiles(t testing.TB, s *shop) *shopFiles {
	t.Helper()
	dir := t.TempDir()
	f := &shopFiles{t, filepath.Join(dir, "n.pem"), filepath.Join(dir, "n.key"), filepath.Join(dir, "ca.pem")}
	f.certify(s.host(90, asMade))
	f.write(f.ca, s.pem())
	return f
}

func (f *shopFiles) give(c *Config) { c.TLSCert, c.TLSKey, c.TLSCA = f.cert, f.key, f.ca }

// certify replaces the certificate and its key, one after the other, as a tool does.
func (f *shopFiles) certify(cert, key []byte) {
	f.write(f.cert, cert)
	f.write(f.key, key)
}

func (f *shopFiles) write(path string, b []byte) {
	f.t.Helper()
	temp := path + ".next"
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		f.t.Fatal(err)
	}
}

// holds waits until a node shows what is in its files, and believes by it.
func (f *shopFiles) holds(r *runningNode) {
	f.t.Helper()
	until(f.t, "a node takes its files", func() error {
		files, err := r.node.cfg.ownFiles()
		if err != nil {
			return err
		}
		want, err := files.load(r.addr, time.Now())
		if err != nil {
			return err
		}
		h := r.node.guard.holder.Get()
		if !h.Certificate.Leaf.Equal(want.Certificate.Leaf) || h.Own.Certificate != h.Certificate {
			return errors.New("it shows another certificate")
		}
		_, err = h.Own.Verify([]*x509.Certificate{want.Certificate.Leaf}, r.addr, time.Now())
		return err
	})
}

// companyCluster is three nodes with certificates of a company's CA, that look at their files all the time.
type companyCluster struct {
	nodes []*runningNode
	users []*keptUser
	files []*shopFiles
}

func newCompanyCluster(t *testing.T, s *shop, log slog.Handler) *companyCluster {
	t.Helper()
	c := new(companyCluster)
	l := secureLimits()
	l.companyLook, l.companyGrace = 10*time.Millisecond, time.Second
	c.nodes, c.users = securedWith(t, 3, l, log, func(_ int, config *Config) {
		f := newShopFiles(t, s)
		f.give(config)
		c.files = append(c.files, f)
	})
	return c
}

// replaced waits until no connection between nodes stands by what there was in files before.
func (c *companyCluster) replaced(t *testing.T) {
	t.Helper()
	until(t, "connections are replaced", func() error {
		for i, r := range c.nodes {
			if n := r.node.transport.Outdated(); n > 0 {
				return fmt.Errorf("%d of node %d are not", n, i)
			}
			for _, other := range c.nodes {
				if other != r && !r.node.transport.Connected(other.node.self().Node) {
					return fmt.Errorf("node %d has none to %s", i, other.node.name)
				}
			}
		}
		return nil
	})
}

// recheck has all nodes look at their connections, once those have no more time by former files.
func (c *companyCluster) recheck(t *testing.T) {
	t.Helper()
	until(t, "the time of former files is over", func() error {
		for i, r := range c.nodes {
			if end := r.node.guard.former.Load(); end != nil && time.Now().Before(*end) {
				return fmt.Errorf("node %d waits until %s", i, end)
			}
		}
		return nil
	})
	for _, r := range c.nodes {
		r.node.door.recheck()
	}
}

// A company's CA gives certificates for some weeks, and one day another CA comes. Nodes must take what replaces their
// files while they run, and no client and no group may notice, neither when a certificate is replaced nor when the CA
// is: one would doubt it, because what connections were made by counts no longer afterwards.
func TestCompanyCAIsExchanged(t *testing.T) {
	if wrong := companyExchanged(t); wrong != "" {
		t.Error(wrong)
	}
}

// companyExchanged exchanges a company's CA under load, and says what that has cut.
func companyExchanged(t *testing.T) string {
	far := time.Now().AddDate(5, 0, 0)
	former, next := newShop(t, "Former CA", far), newShop(t, "Next CA", far)
	log := new(leadLog)
	c := newCompanyCluster(t, former, log)
	until(t, "the first user has a certificate", func() error {
		if !c.users[0].has() {
			return errors.New("not yet")
		}
		return nil
	})
	p := &people{t: t, nodes: c.nodes}
	library, err := client.Open(client.Options{Endpoints: []string{c.nodes[0].addr}, CA: append(former.pem(), next.pem()...), Home: p.home(c.users[0].root, c.users[0].leaf.Raw, c.users[0].key)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { library.Close() })
	until(t, "all groups serve", func() error { return setOne(t, library, "began") })
	c.replaced(t)

	log.begin()
	user := &rotationUser{name: "ann", c: library}
	ctx, stop := context.WithCancel(t.Context())
	var working sync.WaitGroup
	working.Go(func() { user.works(ctx) })
	working.Go(func() { user.watches(ctx) })
	advance := func() {
		user.mu.Lock()
		from := user.count
		user.mu.Unlock()
		until(t, "the client goes on", func() error {
			user.mu.Lock()
			defer user.mu.Unlock()
			if user.err == nil && user.count < from+10 {
				return fmt.Errorf("at %d, from %d", user.count, from)
			}
			return nil
		})
	}
	for _, step := range []func(f *shopFiles){
		func(f *shopFiles) { f.certify(former.host(90, asMade)) },
		func(f *shopFiles) { f.write(f.ca, append(former.pem(), next.pem()...)) },
		func(f *shopFiles) { f.certify(next.host(90, asMade)) },
		func(f *shopFiles) { f.write(f.ca, next.pem()) },
	} {
		for i, f := range c.files {
			step(f)
			f.holds(c.nodes[i])
			c.replaced(t)
			advance()
		}
	}
	c.recheck(t)
	c.replaced(t)
	advance()
	stop()
	working.Wait()
	if user.err != nil {
		return user.err.Error()
	}
	return log.wrong()
}

// A CA that was taken out of the files, because its key may have been seen, vouches for nobody: not even for those
// that are connected already.
func TestFormerCACutsConnections(t *testing.T) {
	if wrong := formerCACuts(t); wrong != "" {
		t.Error(wrong)
	}
}

// formerCACuts takes the CA of one node's certificate out of the files of the others, and says how that node
// is still connected to them.
func formerCACuts(t *testing.T) string {
	far := time.Now().AddDate(5, 0, 0)
	former, next := newShop(t, "Former CA", far), newShop(t, "Next CA", far)
	c := newCompanyCluster(t, former, slog.DiscardHandler)
	for i, f := range c.files {
		f.write(f.ca, append(former.pem(), next.pem()...))
		f.holds(c.nodes[i])
	}
	for i, f := range c.files[:2] {
		f.certify(next.host(90, asMade))
		f.holds(c.nodes[i])
	}
	c.replaced(t)
	for i, f := range c.files[:2] {
		f.write(f.ca, next.pem())
		f.holds(c.nodes[i])
	}
	c.recheck(t)
	late := c.nodes[2].node.self().Node
	return missing(2*recheckPause, func() error {
		for i, r := range c.nodes[:2] {
			if r.node.transport.Connected(late) || r.hears(late) {
				return fmt.Errorf("node %d is connected with node 2: dialled by it %t", i, r.hears(late))
			}
		}
		return nil
	})
}

// hears reports whether a member is connected to this node by its certificate.
func (r *runningNode) hears(member raft.NodeID) bool {
	d := r.node.door
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.creds {
		if c.proven.Name.Node == member {
			return true
		}
	}
	return false
}

// refusedLines counts the lines of a log that are about files which a node does not take.
type refusedLines struct {
	leadLog
	n int // guarded by mu
}

func (l *refusedLines) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *refusedLines) WithGroup(string) slog.Handler      { return l }

func (l *refusedLines) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "company's certificate not taken") {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.n++
	}
	return nil
}

func (l *refusedLines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// A person may replace one of the files only, or by the wrong one. A node must go on with what it has, say
// once in its log what it has found, and in doctor for as long as that is so, and take the files once they fit.
func TestCompanyFilesThatDoNotFit(t *testing.T) {
	s, other := newShop(t, "Shop CA", time.Now().AddDate(5, 0, 0)), newShop(t, "Other CA", time.Now().AddDate(5, 0, 0))
	f, log, l := newShopFiles(t, s), new(refusedLines), secureLimits()
	l.companyLook = time.Hour // the test looks
	nodes, _ := securedWith(t, 1, l, log, func(_ int, c *Config) { f.give(c) })
	n := nodes[0].node
	for _, c := range []struct {
		what string
		do   func()
		want string
	}{
		{"the certificate alone is replaced", func() { cert, _ := s.host(90, asMade); f.write(f.cert, cert) }, "--tls-key: found a key that does not fit the certificate in --tls-cert"},
		{"a certificate of another CA", func() { f.certify(other.host(90, asMade)) }, `found a certificate signed by "CN=Other CA"`},
		{"one for another host", func() {
			f.certify(s.host(90, func(h *x509.Certificate) { h.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 7)} }))
		}, `found a certificate for "10.0.0.7", want one for "127.0.0.1"`},
		{"one that has ended", func() { f.certify(s.host(1, asMade)) }, "--tls-cert: found a certificate that expired at "},
		{"a key that others can read", func() {
			f.certify(s.host(90, asMade))
			if err := os.Chmod(f.key, 0o644); err != nil {
				t.Fatal(err)
			}
		}, "chmod 600 "},
		{"no key", func() {
			if err := os.Remove(f.key); err != nil {
				t.Fatal(err)
			}
		}, "--tls-key: "},
		{"another CA alone", func() { f.write(f.ca, other.pem()) }, `found a certificate signed by "CN=Shop CA"`},
	} {
		before, lines := n.guard.holder.Get(), log.count()
		c.do()
		for range 3 {
			n.company.look()
		}
		if now := n.guard.holder.Get(); now.Own != before.Own || now.Certificate != before.Certificate {
			t.Errorf("%s: it is taken", c.what)
		}
		notes := n.notary.notes()
		if len(notes) != 1 || !strings.Contains(notes[0].What, c.want) || strings.Contains(notes[0].What, "\n") || notes[0].Remedy == "" {
			t.Errorf("%s: doctor says %v, want %q", c.what, notes, c.want)
		}
		if got := log.count() - lines; got != 1 {
			t.Errorf("%s: %d lines in the log, want 1", c.what, got)
		}
		f.certify(s.host(90, asMade))
		f.write(f.ca, s.pem())
		n.company.look()
		if now := n.guard.holder.Get(); now.Own == before.Own || len(n.notary.notes()) > 0 {
			t.Errorf("%s: what fits is not taken after it; doctor says %v", c.what, n.notary.notes())
		}
	}
}

// A company's certificate ends without a word, and the node is a stranger to all others then. The doctor must say it
// in time, with the file to replace; but not of one that is as short as the company makes them, and has just begun.
func TestCompanyCertificateNearItsEndIsTold(t *testing.T) {
	far := time.Now().AddDate(5, 0, 0)
	s, ending := newShop(t, "Shop CA", far), newShop(t, "Old CA", time.Now().AddDate(0, 0, 10))
	for _, c := range []struct {
		what  string
		by    *shop
		days  int // of the certificate
		later int // days from now
		want  []string
	}{
		{"90 days, new", s, 90, 0, nil},
		{"90 days, 15 left", s, 90, 74, nil},
		{"90 days, 13 left", s, 90, 76, []string{"the certificate of its company's CA that n1 shows ends at ", "n.pem", "n.key"}},
		{"6 days, new", s, 6, 0, nil},
		{"6 days, 1 left", s, 6, 4, []string{"that n1 shows ends at "}},
		{"the CA ends first", ending, 90, 0, []string{"the company's CA by which n1 is believed ends at ", "ca.pem"}},
	} {
		f := newShopFiles(t, c.by)
		f.certify(c.by.host(c.days, asMade))
		n := &Node{name: "n1", addr: "127.0.0.1:1"}
		f.give(&n.cfg)
		n.guard.now = time.Now
		own, err := n.company.begin(n)
		if err != nil {
			t.Fatal(err)
		}
		n.guard.holder = new(trust.Holder)
		n.guard.holder.Set(&trust.Holding{Certificate: own.Certificate, Own: own})
		n.guard.now = func() time.Time { return time.Now().AddDate(0, 0, c.later) }
		notes := n.company.notes()
		if len(notes) != min(len(c.want), 1) {
			t.Errorf("%s: got %v", c.what, notes)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(notes[0].What+notes[0].Remedy, want) {
				t.Errorf("%s: %v does not say %q", c.what, notes, want)
			}
		}
	}
}

// A client begins its handshake while hosts with a company's certificates found a cluster, and says hello once that has
// certificates of its own. It was asked for none under the cluster's root, so it must come again: as a guest it
// may do nothing, and a library would keep the connection.
func TestClientAskedTooEarly(t *testing.T) {
	if wrong := askedTooEarly(t); wrong != "" {
		t.Error(wrong)
	}
}

// askedTooEarly says what becomes of such a client; "" if it is told to come again.
func askedTooEarly(t *testing.T) (wrong string) {
	s := newShop(t, "Shop CA", time.Now().AddDate(5, 0, 0))
	said := make(chan error, 1)
	securedWith(t, 2, secureLimits(), slog.DiscardHandler, func(i int, c *Config) {
		newShopFiles(t, s).give(c)
		if i == 1 { // the other one waits for it
			go func() { said <- helloAcrossFounding(c.Join[0]) }()
		}
	})
	err := <-said
	if e := (*wire.Error)(nil); !errors.As(err, &e) || e.Code != wire.CodeNotReady {
		return fmt.Sprintf("the hello ends with %v, want not-ready", err)
	}
	return ""
}

// helloAcrossFounding shakes hands with a node again and again until it names roots of its cluster, and then says hello
// over the connection before.
func helloAcrossFounding(addr string) error {
	var before *wire.TLSConn
	for {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		named := false
		config := new(trust.Holder).Client(anybody)
		config.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			named = len(asked.AcceptableCAs) > 0
			return new(tls.Certificate), nil
		}
		over, err := wire.TLSClient(conn, config)
		switch {
		case err != nil:
			return err
		case named && before == nil:
			return errors.New("it has certificates at once")
		case named:
			_, err := wire.ClientHello(before, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Cluster: "muster", Level: shardmap.Level, Window: shardmap.SessionWindowMax})
			return err
		}
		before = over
	}
}
