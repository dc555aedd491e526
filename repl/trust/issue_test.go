package trust_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"muster/raft"
	"muster/repl/trust"
)

// The same chance makes the same bytes, or a simulated cluster could not be
// repeated from its seed.
func TestSameChanceSameBytes(t *testing.T) {
	make := func(seed byte) []byte {
		w := newWorld(t, seed, cluster)
		c, key := w.issue(node(2), trust.NodeLife)
		request, err := trust.NewRequest(key)
		w.must(err)
		self, err := trust.SelfSigned(w.chance, key, noon)
		w.must(err)
		wrap, err := trust.NewWrapKey(w.chance)
		w.must(err)
		wrapped, err := trust.Wrap(w.chance, wrap, w.key, w.issuer.Root())
		w.must(err)
		token, err := trust.NewToken(w.chance)
		w.must(err)
		return bytes.Join([][]byte{w.root.Raw, c.Raw, request, self.Certificate[0], wrapped, []byte(token.String())}, nil)
	}
	if !bytes.Equal(make(1), make(1)) {
		t.Error("the same chance makes other bytes")
	}
	if bytes.Equal(make(1), make(2)) {
		t.Error("the chance does not matter")
	}
}

// An issuer signs nothing that nobody would take, and nothing for another
// cluster.
func TestIssueRefused(t *testing.T) {
	w := newWorld(t, 1, cluster)
	key := w.newKey()
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	w.must(err)
	nobody := trust.Name{Cluster: cluster}
	both := node(2)
	both.User = "alice"
	bothUser := user("alice")
	bothUser.Node = 2
	for _, row := range []struct {
		what string
		name trust.Name
		pub  *ecdsa.PublicKey
		now  time.Time
		life time.Duration
		want string // in the error; "": none
	}{
		{"a node", node(2), &key.PublicKey, noon, time.Hour, ""},
		{"no name", trust.Name{}, &key.PublicKey, noon, time.Hour, "cluster of a name"},
		{"no kind", nobody, &key.PublicKey, noon, time.Hour, "kind of a name: found kind 0"},
		{"node 0", node(0), &key.PublicKey, noon, time.Hour, "node of a name"},
		{"a node that is a user", both, &key.PublicKey, noon, time.Hour, "name of a node"},
		{"a user that is a node", bothUser, &key.PublicKey, noon, time.Hour, "name of a user"},
		{"an empty user", user(""), &key.PublicKey, noon, time.Hour, "name of a user: empty"},
		{"a way up", user("../node"), &key.PublicKey, noon, time.Hour, "name of a user"},
		{"a control character", user("a\nb"), &key.PublicKey, noon, time.Hour, `name of a user: "a\nb"`},
		{"a long user", user(strings.Repeat("a", 65)), &key.PublicKey, noon, time.Hour, "name of a user"},
		{"another cluster", trust.Name{Cluster: 7, Kind: trust.KindNode, Node: 1}, &key.PublicKey, noon, time.Hour, "cluster of a name to sign"},
		{"P-384", node(2), &p384.PublicKey, noon, time.Hour, "found an ECDSA key on P-384"},
		{"no key", node(2), nil, noon, time.Hour, "key to sign: found none"},
		{"an empty key", node(2), &ecdsa.PublicKey{}, noon, time.Hour, "key to sign: found none"},
		{"the root's key", node(2), &w.key.PublicKey, noon, time.Hour, "that of the root"},
		{"no time", node(2), &key.PublicKey, noon, 0, "time to sign for"},
		{"after the root", node(2), &key.PublicKey, noon.Add(trust.RootLife), time.Hour, "time to sign for"},
	} {
		der, _, err := w.issuer.Issue(w.chance, row.name, row.pub, row.now, row.life)
		if (err == nil) != (row.want == "") || err != nil && (!strings.Contains(err.Error(), row.want) || der != nil) {
			t.Errorf("%s: got %v, want %q", row.what, err, row.want)
		}
	}
	// A certificate ends no later than the root, or it would outlive what it is worth.
	late := noon.Add(trust.RootLife - time.Hour)
	der, _, err := w.issuer.Issue(w.chance, node(2), &key.PublicKey, late, trust.NodeLife)
	w.must(err)
	c, err := trust.ReadCertificate(der)
	w.must(err)
	if !c.NotAfter.Equal(w.root.NotAfter) {
		t.Errorf("it ends at %s, the root at %s", c.NotAfter, w.root.NotAfter)
	}
	if _, _, err := w.issuer.Issue(iotest.ErrReader(errors.New("dry")), node(2), &key.PublicKey, noon, time.Hour); err == nil || !strings.Contains(err.Error(), "dry") {
		t.Errorf("without chance: %v", err)
	}
	if _, err := trust.NewKey(bytes.NewReader(make([]byte, 1024))); err == nil {
		t.Error("a source that gives zeros makes a key")
	}
}

// A third of its life is left to a certificate when its holder asks for the next.
// The days before its issue, which are for clocks, are not of its life.
func TestRenewAt(t *testing.T) {
	w := newWorld(t, 1, cluster)
	for life, want := range map[time.Duration]time.Duration{trust.NodeLife: 20 * 24 * time.Hour, trust.LoginLife: 40 * time.Minute} {
		c, _ := w.issue(node(2), life)
		if got := trust.RenewAt(c).Sub(noon); got != want {
			t.Errorf("of %s: renewed after %s, want %s", life, got, want)
		}
	}
}

// rootWith is a root but for what change does to it.
func rootWith(t testing.TB, key crypto.Signer, change func(c *x509.Certificate)) []byte {
	t.Helper()
	u, err := url.Parse("muster://00000000000000c1/root")
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: noon, NotAfter: noon.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, URIs: []*url.URL{u}}
	change(c)
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// A root that is not such as NewRoot makes is refused before anybody trusts it.
func TestRootRefused(t *testing.T) {
	w := newWorld(t, 1, cluster)
	key := w.newKey()
	big, err := rsaKey()
	w.must(err)
	wide, err := p384Key()
	w.must(err)
	byOther, err := x509.CreateCertificate(rand.Reader, w.root, w.root, &key.PublicKey, w.key)
	w.must(err)
	for _, row := range []struct {
		what  string
		der   []byte
		field string
	}{
		{"as it must be", rootWith(t, key, func(*x509.Certificate) {}), ""},
		{"RSA", rootWith(t, big, func(*x509.Certificate) {}), "root's key"},
		{"P-384", rootWith(t, wide, func(*x509.Certificate) {}), "root's key"},
		{"no CA", rootWith(t, key, func(c *x509.Certificate) { c.IsCA = false }), "root's usage"},
		{"signs more", rootWith(t, key, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDigitalSignature }), "root's usage"},
		{"no name", rootWith(t, key, func(c *x509.Certificate) { c.URIs = nil }), "certificate's names"},
		{"a node's name", rootWith(t, key, uri(node(2).String())), "root's name"},
		{"cluster 0", rootWith(t, key, uri("muster://0000000000000000/root")), "root's name"},
		{"upper case", rootWith(t, key, uri("muster://00000000000000C1/root")), "root's name"},
		{"no slash", rootWith(t, key, uri("muster://00000000000000c1")), "root's name"},
		{"of another's signature", byOther, "root's signature"},
		{"nothing", nil, "root"},
		{"too large", make([]byte, trust.CertificateMax+1), "root"},
		{"cut", w.root.Raw[:100], "root"},
	} {
		_, err := trust.ReadRoot(row.der)
		checkField(t, row.what, err, row.field)
	}
	if _, _, err := trust.NewRoot(w.chance, 0, noon); err == nil {
		t.Error("a root for no cluster is made")
	}
	if _, err := trust.NewIssuer(w.root.Raw, key); err == nil {
		t.Error("an issuer takes another's key")
	}
	if _, err := trust.NewIssuer(w.root.Raw, nil); err == nil {
		t.Error("an issuer takes no key")
	}
}

// A host that knows a root by its id alone finds it in what a peer shows, and
// takes no other.
func TestShownRoot(t *testing.T) {
	w, other := newWorld(t, 1, cluster), newWorld(t, 2, cluster)
	leaf, key := w.issue(node(2), trust.NodeLife)
	shown, err := trust.NewCertificate(key, leaf.Raw, w.root.Raw)
	w.must(err)
	if len(shown.Certificate) != 2 || shown.Leaf == nil {
		t.Fatalf("shown are %d certificates", len(shown.Certificate))
	}
	id := w.issuer.Root()
	for _, row := range []struct {
		what  string
		chain []*x509.Certificate
		ok    bool
	}{
		{"behind the certificate", []*x509.Certificate{leaf, w.root}, true},
		{"behind another", []*x509.Certificate{leaf, other.root, w.root}, true},
		{"not there", []*x509.Certificate{leaf}, false},
		{"another", []*x509.Certificate{leaf, other.root}, false},
		{"in the first place", []*x509.Certificate{w.root}, false},
		{"nothing", nil, false},
	} {
		root, err := trust.ShownRoot(row.chain, id)
		if (err == nil) != row.ok || row.ok && !root.Equal(w.root) || !row.ok && !errors.Is(err, trust.ErrForeign) {
			t.Errorf("%s: got %v", row.what, err)
		}
	}
	// The hash of what is no root is an id as well; nobody trusts it.
	if _, err := trust.ShownRoot([]*x509.Certificate{leaf, leaf}, trust.RootIDOf(leaf.Raw)); err == nil {
		t.Error("a node's certificate is taken for a root")
	}
	if _, err := trust.NewCertificate(w.key, leaf.Raw, w.root.Raw); err == nil {
		t.Error("a certificate is shown with another's key")
	}
}

func TestParseRootID(t *testing.T) {
	w := newWorld(t, 1, cluster)
	id := w.issuer.Root()
	if got, err := trust.ParseRootID(id.String()); err != nil || got != id {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "ab", strings.ToUpper(id.String()), id.String() + "00", strings.Repeat("g", 64)} {
		if _, err := trust.ParseRootID(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// requestWith is a request with what the template asks for.
func requestWith(t testing.TB, key crypto.Signer, r x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &r, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// A request is for a key that its asker has, and for nothing else.
func TestRequestRefused(t *testing.T) {
	w := newWorld(t, 1, cluster)
	key := w.newKey()
	good, err := trust.NewRequest(key)
	w.must(err)
	if pub, err := trust.ReadRequest(good); err != nil || !pub.Equal(&key.PublicKey) {
		t.Errorf("got %v, %v", pub, err)
	}
	big, err := rsaKey()
	w.must(err)
	wide, err := p384Key()
	w.must(err)
	ed, err := edKey()
	w.must(err)
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	mine, err := key.PublicKey.Bytes()
	w.must(err)
	others, err := w.key.PublicKey.Bytes()
	w.must(err)
	replaced := bytes.Replace(good, mine, others, 1)
	for _, row := range []struct {
		what  string
		der   []byte
		field string
	}{
		{"RSA", requestWith(t, big, x509.CertificateRequest{}), "request's key"},
		{"P-384", requestWith(t, wide, x509.CertificateRequest{}), "request's key"},
		{"Ed25519", requestWith(t, ed, x509.CertificateRequest{}), "request's key"},
		{"a name wished for", requestWith(t, key, x509.CertificateRequest{URIs: []*url.URL{node(2).URI()}}), "request"},
		{"a subject wished for", requestWith(t, key, x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin"}}), "request"},
		{"a flipped bit of the signature", flipped, "request's signature"},
		{"somebody else's key", replaced, "request's signature"},
		{"cut", good[:len(good)-1], "request"},
		{"more behind it", append(bytes.Clone(good), 0), "request"},
		{"nothing", nil, "request"},
		{"too large", make([]byte, trust.RequestMax+1), "request"},
	} {
		pub, err := trust.ReadRequest(row.der)
		checkField(t, row.what, err, row.field)
		if pub != nil {
			t.Errorf("%s: a key is returned", row.what)
		}
	}
}

// A name has one text, which no other name has.
func TestNames(t *testing.T) {
	for n, want := range map[trust.Name]string{
		node(2):                       "muster://00000000000000c1/node/0000000000000002",
		node(raft.NodeID(^uint64(0))): "muster://00000000000000c1/node/ffffffffffffffff",
		user("Alice.b-c_d"):           "muster://00000000000000c1/user/Alice.b-c_d",
		{}:                            "nobody",
	} {
		if got := n.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	w := newWorld(t, 1, cluster)
	self, err := trust.SelfSigned(w.chance, w.newKey(), noon)
	w.must(err)
	if _, err := trust.ParseName(self.Leaf); !errors.Is(err, trust.ErrFounding) || !trust.Founding(self.Leaf) || trust.Founding(w.root) {
		t.Errorf("of a host that founds: %v", err)
	}
	if _, err := w.trusted().Verify([]*x509.Certificate{self.Leaf}, noon); !errors.Is(err, trust.ErrFounding) {
		t.Errorf("of a host that founds: %v", err)
	}
}
