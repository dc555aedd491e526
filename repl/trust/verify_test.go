package trust_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"muster/repl/trust"
)

// keys of the kinds that no cluster has; they take long to make.
var (
	rsaKey  = sync.OnceValues(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	p384Key = sync.OnceValues(func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) })
	edKey   = sync.OnceValues(func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	})
)

// forged is a certificate that the issuer would not make: that of node 2, but for
// what change does to it.
type forged struct {
	change func(c *x509.Certificate)
	key    func() (crypto.Signer, error)             // nil: one on P-256
	parent func() (*x509.Certificate, crypto.Signer) // nil: the world's root
	raw    string                                    // the URI, where a URL can't have it
}

func (w *world) forge(f forged) *x509.Certificate {
	w.t.Helper()
	c := &x509.Certificate{
		SerialNumber: new(big.Int).Lsh(big.NewInt(0x4123), 112),
		Subject:      pkix.Name{CommonName: "node 2"},
		NotBefore:    noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour),
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{node(2).URI()},
	}
	if f.raw != "" {
		c.URIs = nil
		c.ExtraExtensions = []pkix.Extension{names(w.t, f.raw)}
	}
	if f.change != nil {
		f.change(c)
	}
	var key crypto.Signer = w.newKey()
	if f.key != nil {
		var err error
		key, err = f.key()
		w.must(err)
	}
	var parent, signer = w.root, crypto.Signer(w.key)
	if f.parent != nil {
		parent, signer = f.parent()
	}
	if parent == nil { // signs itself
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	w.must(err)
	made, err := x509.ParseCertificate(der)
	w.must(err)
	return made
}

// names is the extension that has one URI, whatever it is.
func names(t testing.TB, uri string) pkix.Extension {
	t.Helper()
	value, err := asn1.Marshal([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)}})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}
}

func uri(text string) func(c *x509.Certificate) {
	return func(c *x509.Certificate) {
		u, err := url.Parse(text)
		if err != nil {
			panic(err)
		}
		c.URIs = []*url.URL{u}
	}
}

// A certificate that no issuer would sign is refused though the root's key signed it: that key was
// in other hands then, or a bug in an issuer is not one of everybody. Each refusal names its field.
func TestShapeRefused(t *testing.T) {
	w := newWorld(t, 1, cluster)
	const prefix = "muster://00000000000000c1"
	for _, row := range []struct {
		what  string
		of    forged
		field string
	}{
		{"as it must be", forged{}, ""},
		{"names for browsers too", forged{change: func(c *x509.Certificate) { c.DNSNames = []string{"host.example"} }}, ""},
		{"two URIs", forged{change: func(c *x509.Certificate) { c.URIs = append(c.URIs, node(3).URI()) }}, "certificate's names"},
		{"the same URI twice", forged{change: func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }}, "certificate's names"},
		{"no URI", forged{change: func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"n2"} }}, "certificate's names"},
		{"a subject alone", forged{change: func(c *x509.Certificate) { c.URIs, c.Subject.CommonName = nil, node(2).URI().String() }}, "certificate's names"},
		{"no node", forged{change: uri(prefix + "/node/0000000000000000")}, "certificate's name"},
		{"no cluster", forged{change: uri("muster://0000000000000000/node/0000000000000002")}, "certificate's name"},
		{"a root", forged{change: uri(prefix + "/root")}, "certificate's name"},
		{"another scheme", forged{change: uri("https://00000000000000c1/node/0000000000000002")}, "certificate's name"},
		{"another kind", forged{change: uri(prefix + "/group/0000000000000002")}, "certificate's name"},
		{"upper case in a number", forged{change: uri("muster://00000000000000C1/node/0000000000000002")}, "certificate's name"},
		{"a short number", forged{change: uri(prefix + "/node/2")}, "certificate's name"},
		{"a long number", forged{change: uri(prefix + "/node/00000000000000002")}, "certificate's name"},
		{"a query", forged{change: uri(prefix + "/node/0000000000000002?x=1")}, "certificate's name"},
		{"a fragment", forged{change: uri(prefix + "/node/0000000000000002#x")}, "certificate's name"},
		{"a port", forged{change: uri("muster://00000000000000c1:1/node/0000000000000002")}, "certificate's name"},
		{"a user of the URI", forged{change: uri("muster://a@00000000000000c1/node/0000000000000002")}, "certificate's name"},
		{"a slash behind", forged{change: uri(prefix + "/node/0000000000000002/")}, "certificate's name"},
		{"a way up", forged{change: uri(prefix + "/user/../node/0000000000000002")}, "certificate's name"},
		{"a user who is a way up", forged{change: uri(prefix + "/user/..")}, "certificate's name"},
		{"a user who is a path", forged{change: uri(prefix + "/user/a/b")}, "certificate's name"},
		{"a user without a name", forged{change: uri(prefix + "/user/")}, "certificate's name"},
		{"a user like an option", forged{change: uri(prefix + "/user/-rf")}, "certificate's name"},
		{"a user with a line's end", forged{change: uri(prefix + "/user/a%0ab")}, "certificate's name"},
		{"an escaped user", forged{change: uri(prefix + "/user/%61lice")}, "certificate's name"},
		{"a long user", forged{change: uri(prefix + "/user/" + strings.Repeat("a", 65))}, "certificate's name"},
		{"a host that founds", forged{change: uri("muster://founding")}, "certificate's name"},
		{"RSA", forged{key: rsaKey}, "certificate's key"},
		{"P-384", forged{key: p384Key}, "certificate's key"},
		{"Ed25519", forged{key: edKey}, "certificate's key"},
		{"a CA", forged{change: func(c *x509.Certificate) { c.IsCA = true }}, "certificate's constraints"},
		{"signs certificates", forged{change: func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }}, "certificate's key usage"},
		{"no key usage", forged{change: func(c *x509.Certificate) { c.KeyUsage = 0 }}, "certificate's key usage"},
		{"servers only", forged{change: func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }}, "certificate's extended key usage"},
		{"clients only", forged{change: func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }}, "certificate's extended key usage"},
		{"any usage", forged{change: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }}, "certificate's extended key usage"},
		{"signs code too", forged{change: func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageCodeSigning) }}, "certificate's extended key usage"},
		{"an unknown usage too", forged{change: func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 2, 3}} }}, "certificate's extended key usage"},
		{"a short serial", forged{change: func(c *x509.Certificate) { c.SerialNumber = big.NewInt(7) }}, "certificate's serial"},
		{"a long serial", forged{change: func(c *x509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 127) }}, "certificate's serial"},
		{"too large", forged{change: func(c *x509.Certificate) {
			for i := range 300 {
				c.DNSNames = append(c.DNSNames, fmt.Sprintf("host%d.example", i))
			}
		}}, "certificate"},
	} {
		c := w.forge(row.of)
		_, read := trust.ReadCertificate(c.Raw)
		_, verified := w.trusted().Verify([]*x509.Certificate{c}, noon)
		for _, err := range []error{read, verified} {
			checkField(t, row.what, err, row.field)
		}
	}
}

// checkField checks that err is about that field ("": none), on one line that is
// printed as it is.
func checkField(t testing.TB, what string, err error, field string) {
	t.Helper()
	var e *trust.Error
	switch {
	case err == nil && field == "":
	case !errors.As(err, &e):
		t.Errorf("%s: got %v, want an error about %q", what, err, field)
	case e.Field != field:
		t.Errorf("%s: got %v, want it to be about %q", what, err, field)
	case e.Found == "" || e.Want == "" || len(err.Error()) > 1000 || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }):
		t.Errorf("%s: %q is not one bounded line that says what was found and wanted", what, err)
	}
}

// A name that no library would parse is refused as that, too.
func TestUnreadableNames(t *testing.T) {
	w := newWorld(t, 1, cluster)
	// These can't be forged as parsed certificates, so bytes are changed behind the
	// signature, which nobody checks before the names.
	for _, name := range []string{"muster://00000000000000c1/user/a\nb", "muster://00000000000000c1/user/\x1b[2J", "muster://%zz/", "\x00"} {
		plain := strings.Repeat("x", len(name))
		c := w.forge(forged{raw: plain})
		der := bytes.Replace(c.Raw, []byte(plain), []byte(name), 1)
		_, err := trust.ReadCertificate(der)
		if err == nil || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// A certificate by another root is another's word, whatever it says.
func TestForeignRefused(t *testing.T) { foreignRefused(t) }

func foreignRefused(t testing.TB) {
	w := newWorld(t, 1, cluster)
	same := newWorld(t, 2, cluster) // claims to be the same cluster
	other := newWorld(t, 3, cluster+1)
	theirs, _ := same.issue(node(2), trust.NodeLife)
	others, _ := other.issue(trust.Name{Cluster: cluster + 1, Kind: trust.KindNode, Node: 2}, trust.NodeLife)
	leaf, leafKey := w.issue(node(2), trust.NodeLife)
	byItself := w.forge(forged{parent: func() (*x509.Certificate, crypto.Signer) { return nil, nil }})
	between := w.forge(forged{change: func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }, key: func() (crypto.Signer, error) { return leafKey, nil }})
	mine := w.trusted()
	for _, row := range []struct {
		what  string
		t     trust.Trusted
		chain []*x509.Certificate
		want  error
	}{
		{"the cluster's own", mine, []*x509.Certificate{leaf}, nil},
		{"with its root behind it", mine, []*x509.Certificate{leaf, w.root}, nil},
		{"with a foreign root behind it", mine, []*x509.Certificate{leaf, same.root}, nil},
		{"either root is trusted", trust.Trusted{Roots: []*x509.Certificate{same.root, w.root}}, []*x509.Certificate{leaf}, nil},
		{"none shown", mine, nil, trust.ErrNone},
		{"no root trusted", trust.Trusted{}, []*x509.Certificate{leaf}, trust.ErrForeign},
		{"a root with the same name", mine, []*x509.Certificate{theirs, same.root}, trust.ErrForeign},
		{"another cluster", mine, []*x509.Certificate{others, other.root}, trust.ErrForeign},
		{"a foreign one before ours", mine, []*x509.Certificate{theirs, leaf, w.root}, trust.ErrForeign},
		{"it signed itself", mine, []*x509.Certificate{byItself}, trust.ErrForeign},
		{"signed by a node", mine, []*x509.Certificate{w.forge(forged{parent: func() (*x509.Certificate, crypto.Signer) { return leaf, leafKey }}), leaf, w.root}, trust.ErrForeign},
		{"signed by a CA between", mine, []*x509.Certificate{w.forge(forged{parent: func() (*x509.Certificate, crypto.Signer) { return between, leafKey }}), between, w.root}, trust.ErrForeign},
	} {
		_, err := row.t.Verify(row.chain, noon)
		if !errors.Is(err, row.want) || err != nil && row.want == nil {
			t.Errorf("%s: got %v, want %v", row.what, err, row.want)
		}
	}
	changed := bytes.Clone(leaf.Raw)
	changed[bytes.Index(changed, []byte("/node/"))+len("/node/0000000000000002")-1]++
	c, err := x509.ParseCertificate(changed)
	w.must(err)
	if p, err := mine.Verify([]*x509.Certificate{c}, noon); !errors.Is(err, trust.ErrForeign) {
		t.Errorf("a changed name: got %v, %v", p.Name, err)
	}
	if p, err := mine.Verify([]*x509.Certificate{w.root}, noon); err == nil {
		t.Errorf("the root is taken for %v", p.Name)
	}
}

// A root's signature under a name of another cluster must come from a key that two
// clusters have, as after one was restored beside the other: it is good in neither.
func TestOtherClusterRefused(t *testing.T) { otherClusterRefused(t) }

func otherClusterRefused(t testing.TB) {
	w := newWorld(t, 1, cluster)
	c := w.forge(forged{change: uri(trust.Name{Cluster: cluster + 1, Kind: trust.KindNode, Node: 2}.String())})
	if p, err := w.trusted().Verify([]*x509.Certificate{c}, noon); !errors.Is(err, trust.ErrCluster) {
		t.Errorf("got %v, %v", p.Name, err)
	}
	key := w.newKey()
	if _, _, err := w.issuer.Issue(w.chance, trust.Name{Cluster: cluster + 1, Kind: trust.KindNode, Node: 2}, &key.PublicKey, noon, time.Hour); !errors.Is(err, trust.ErrCluster) {
		t.Errorf("the issuer: got %v", err)
	}
}

// A user may be called like a node, and still is none.
func TestUserIsNoNode(t *testing.T) { userIsNoNode(t) }

func userIsNoNode(t testing.TB) {
	w := newWorld(t, 1, cluster)
	u, _ := w.issue(user("0000000000000002"), trust.UserLife)
	if p, err := w.trusted().Node([]*x509.Certificate{u}, noon); err == nil {
		t.Errorf("%v is taken for a node", p.Name)
	}
	n, _ := w.issue(node(2), trust.NodeLife)
	if p, err := w.trusted().Node([]*x509.Certificate{n}, noon); err != nil || p.Name != node(2) {
		t.Errorf("got %v, %v", p.Name, err)
	}
}

// Time that is over is a field, so that a member can still ask for more; time
// that has not begun is an error. The clocks of two hosts differ by up to
// Backdate.
func TestTimeOfCertificates(t *testing.T) { timeOfCertificates(t) }

func timeOfCertificates(t testing.TB) {
	w := newWorld(t, 1, cluster)
	c, _ := w.issue(node(2), time.Hour)
	for _, row := range []struct {
		at      time.Duration // after its issue
		expired bool
		err     error
	}{
		{-trust.Backdate - time.Second, false, trust.ErrEarly},
		{-trust.Backdate, false, nil},
		{0, false, nil},
		{time.Hour, false, nil},
		{time.Hour + time.Second, true, nil},
		{trust.RootLife - time.Hour, true, nil},
		{2 * trust.RootLife, true, nil}, // the root's time is over as well
	} {
		p, err := w.trusted().Verify([]*x509.Certificate{c}, noon.Add(row.at))
		if p.Expired != row.expired || !errors.Is(err, row.err) || err != nil && row.err == nil {
			t.Errorf("%s after its issue: got expired %t, %v, want %t, %v", row.at, p.Expired, err, row.expired, row.err)
		}
		if err == nil && (!p.Issued.Equal(noon) || !p.NotAfter.Equal(noon.Add(time.Hour))) {
			t.Errorf("got %s to %s", p.Issued, p.NotAfter)
		}
	}
}

// A denied certificate is good for nothing, in time or not, and its neighbours
// stay good.
func TestDenied(t *testing.T) { deniedRefused(t) }

func deniedRefused(t testing.TB) {
	w := newWorld(t, 1, cluster)
	a, _ := w.issue(node(2), time.Hour)
	b, _ := w.issue(node(2), time.Hour)
	serial, err := trust.SerialOf(a)
	w.must(err)
	trusted := w.trusted()
	trusted.Denied = func(s trust.Serial) bool { return s == serial }
	for _, at := range []time.Time{noon, noon.Add(2 * time.Hour)} {
		if _, err := trusted.Verify([]*x509.Certificate{a}, at); !errors.Is(err, trust.ErrDenied) {
			t.Errorf("at %s: got %v", at, err)
		}
		if _, err := trusted.Verify([]*x509.Certificate{b}, at); err != nil {
			t.Errorf("another's at %s: %v", at, err)
		}
	}
}
