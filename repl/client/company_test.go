package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/repl/wire"
)

// fakeCompany is a company's CA.
type fakeCompany struct {
	t    *testing.T
	root *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newFakeCompany(t *testing.T, name string) *fakeCompany {
	t.Helper()
	c := &fakeCompany{t: t}
	now := time.Now()
	shown := c.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0)})
	c.root, c.key = shown.Leaf, shown.PrivateKey.(*ecdsa.PrivateKey)
	c.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.root.Raw})
	return c
}

// sign signs what is in template, by itself where there is no CA yet.
func (c *fakeCompany) sign(template *x509.Certificate) *tls.Certificate {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(c.t, err)
	template.SerialNumber = big.NewInt(7)
	parent, by := c.root, c.key
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	must(c.t, err)
	leaf, err := x509.ParseCertificate(der)
	must(c.t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// holding is what a node on this machine shows, but for what change does to its certificate, that takes users'
// certificates under a root.
func (c *fakeCompany) holding(root *fakeRoot, change func(*x509.Certificate)) *trust.Holding {
	c.t.Helper()
	host := func(change func(*x509.Certificate)) *tls.Certificate {
		h := &x509.Certificate{NotBefore: time.Now().AddDate(0, -1, 0), NotAfter: time.Now().AddDate(0, 1, 0), KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
		change(h)
		return c.sign(h)
	}
	good := host(func(*x509.Certificate) {})
	key, err := x509.MarshalPKCS8PrivateKey(good.PrivateKey)
	must(c.t, err)
	own, err := trust.LoadOwn(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: good.Leaf.Raw}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), c.pem, "127.0.0.1", time.Now())
	must(c.t, err)
	h := root.holding(trust.Name{Cluster: 99, Kind: trust.KindNode, Node: 1}, time.Now())
	h.Issued = h.Certificate
	h.Certificate, h.Own = host(change), own
	return h
}

// A client that is given a company's CA must believe a node by that and by the address that it has dialled, and by
// nothing else; say nothing to another one; and show, of all that its user has, the newest certificate for the
// node's cluster, which the node's certificate does not name.
func TestCompanyCA(t *testing.T) {
	user := trust.Name{Cluster: 99, Kind: trust.KindUser, User: "ann"}
	shop, other := newFakeCompany(t, "Shop CA"), newFakeCompany(t, "Other CA")
	secret := []byte("0123456789abcdef")
	asIs := func(*x509.Certificate) {}
	ann := func(h home.Home, r *fakeRoot) {
		key, der := r.issue(user, time.Now())
		must(t, h.Put(r.der, "fake", der, key))
	}
	for _, c := range []struct {
		name   string
		change func(*x509.Certificate)
		shows  func(r *fakeRoot) *trust.Holding // if not the company's certificate
		kept   func(h home.Home, r *fakeRoot)
		o      Options
		node   []byte // secret of the node
		want   []string
		user   string // whom the node has met
	}{
		{name: "a user's certificate", kept: ann, user: "ann"},
		{name: "that one is not asked for", kept: ann, o: Options{Guest: true}},
		{name: "of two clusters", kept: func(h home.Home, r *fakeRoot) {
			ann(h, r)
			der, key, err := trust.NewRoot(rand.Reader, 98, time.Now())
			must(t, err)
			issuer, err := trust.NewIssuer(der, key)
			must(t, err)
			other := &fakeRoot{t, der, issuer}
			bobKey, bob := other.issue(trust.Name{Cluster: 98, Kind: trust.KindUser, User: "bob"}, time.Now())
			must(t, h.Put(der, "other", bob, bobKey))
		}, user: "ann"},
		{name: "under two roots of the cluster", kept: func(h home.Home, r *fakeRoot) {
			ann(h, r)
			former := newFakeRoot(t)
			key, der := former.issue(trust.Name{Cluster: 99, Kind: trust.KindUser, User: "former"}, time.Now().Add(-time.Hour))
			must(t, h.Put(former.der, "fake", der, key))
		}, user: "ann"},
		{name: "the secret, and no certificate", kept: nothing, o: Options{Secret: secret}, node: secret},
		{name: "the secret, where none counts", kept: ann, o: Options{Secret: secret}, user: "ann"},

		{name: "the root of another cluster can't be read", kept: func(h home.Home, r *fakeRoot) { ann(h, r); keepBroken(h, newFakeRoot(t)) }, user: "ann"},
		{name: "the root of the cluster can't be read", kept: func(h home.Home, r *fakeRoot) { ann(h, r); keepBroken(h, r) },
			want: []string{"unauthorized", "root.pem", "remove the folder "}},
		{name: "the key under a former root can't be read", kept: func(h home.Home, r *fakeRoot) {
			ann(h, r)
			former := newFakeRoot(t)
			ann(h, former)
			must(t, os.WriteFile(filepath.Join(h.Dir(), trust.RootIDOf(former.der).String()[:32], "user.key"), []byte("junk"), 0o600))
		}, user: "ann"},

		{name: "no certificate of the user", kept: nothing, want: []string{"unauthorized", "there is no certificate for this cluster in", "muster auth login"}},
		{name: "a user's certificate that has expired", kept: func(h home.Home, r *fakeRoot) {
			key, der := r.issue(user, time.Now().AddDate(0, -2, 0))
			must(t, h.Put(r.der, "fake", der, key))
		}, want: []string{"unauthorized", "certificate of ann", "expired", "auth login"}},
		{name: "another CA", kept: ann, o: Options{CA: other.pem, Secret: secret}, node: secret,
			want: []string{"unauthorized", `found a certificate signed by "CN=Shop CA"`, `want one by the CA of --tls-ca: "CN=Other CA"`}},
		{name: "another host", kept: ann, change: func(h *x509.Certificate) { h.IPAddresses, h.DNSNames = nil, []string{"n1.example"} },
			want: []string{"unauthorized", `found a certificate for "n1.example", want one for "127.0.0.1"`}},
		{name: "expired", kept: ann, change: func(h *x509.Certificate) { h.NotAfter = time.Now().Add(-time.Hour) },
			want: []string{"unauthorized", "found a certificate that expired at ", "want one that is good at "}},
		{name: "not begun", kept: ann, change: func(h *x509.Certificate) { h.NotBefore = time.Now().Add(time.Hour) },
			want: []string{"unauthorized", "found a certificate that begins at "}},
		{name: "of a client", kept: ann, change: func(h *x509.Certificate) { h.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} },
			want: []string{"unauthorized", `with the usage "[client authentication]"`}},
		{name: "a certificate under a root that is kept", kept: ann, shows: func(r *fakeRoot) *trust.Holding {
			return r.holding(trust.Name{Cluster: 99, Kind: trust.KindNode, Node: 1}, time.Now())
		}, want: []string{"unauthorized", `want one by the CA of --tls-ca: "CN=Shop CA"`}},
		{name: "a host that founds, and knows the secret", kept: ann, shows: func(*fakeRoot) *trust.Holding { return fakeSelfSigned(t) }, o: Options{Secret: secret}, node: secret,
			want: []string{"unauthorized", "--tls-ca"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, root := newFake(t, 1, 1), newFakeRoot(t)
			h, err := home.In(filepath.Join(t.TempDir(), "muster"))
			must(t, err)
			c.kept(h, root)
			var met atomic.Pointer[string]
			if c.change == nil {
				c.change = asIs
			}
			shown := shop.holding(root, c.change)
			if c.shows != nil {
				shown = c.shows(root)
			}
			f.mu.Lock()
			f.secret, f.shows = c.node, new(trust.Holder)
			f.met = func(g *wire.Greeting) error {
				met.Store(&g.Peer.Name.User)
				return nil
			}
			f.shows.Set(shown)
			f.mu.Unlock()
			if c.o.Home = h.Dir(); c.o.CA == nil {
				c.o.CA = shop.pem
			}
			cl := f.open(c.o)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err = cl.Set(ctx, []byte("k"), []byte("v"), WriteOptions{})
			if len(c.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if got := *met.Load(); got != c.user {
					t.Errorf("the node has met %q, want %q", got, c.user)
				}
				return
			}
			if err == nil {
				t.Fatal("got no error")
			}
			if met.Load() != nil {
				t.Error("it has said its hello")
			}
			saysAll(t, err, c.want)
		})
	}
}

// A file that is no CA, or an option that contradicts one, is refused before anything is dialled.
func TestCompanyCARefused(t *testing.T) {
	shop := newFakeCompany(t, "Shop CA")
	leaf := shop.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "n1.example"}, NotAfter: time.Now().Add(time.Hour)})
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{CA: []byte("/etc/ssl/company.pem")}, "--tls-ca: found no PEM block"},
		{Options{CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Leaf.Raw})}, `--tls-ca: found "CN=n1.example", which is no CA`},
		{Options{CA: shop.pem, Insecure: true}, "leave one of them out"},
		{Options{CA: shop.pem, Meet: func(*x509.Certificate) error { return nil }}, "leave one of them out"},
	} {
		c.o.Endpoints = []string{"127.0.0.1:1"}
		if cl, err := Open(c.o); cl != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, %v; want %q", cl, err, c.want)
		}
	}
}
