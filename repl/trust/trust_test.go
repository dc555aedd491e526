package trust_test

import (
	"crypto/ecdsa"
	"crypto/x509"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/trust"
)

const cluster = 0xc1

// noon is the time of these tests.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// chance gives the same bytes for the same seed.
func chance(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// world is a cluster's root with its key.
type world struct {
	t      testing.TB
	chance io.Reader
	root   *x509.Certificate
	key    *ecdsa.PrivateKey
	issuer *trust.Issuer
}

func newWorld(t testing.TB, seed byte, cluster uint64) *world {
	t.Helper()
	w := &world{t: t, chance: chance(seed)}
	der, key, err := trust.NewRoot(w.chance, cluster, noon)
	w.must(err)
	w.key = key
	w.root, err = trust.ReadRoot(der)
	w.must(err)
	w.issuer, err = trust.NewIssuer(der, key)
	w.must(err)
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) newKey() *ecdsa.PrivateKey {
	w.t.Helper()
	key, err := trust.NewKey(w.chance)
	w.must(err)
	return key
}

func (w *world) trusted() trust.Trusted { return trust.Trusted{Roots: []*x509.Certificate{w.root}} }

func (w *world) issue(n trust.Name, life time.Duration) (*x509.Certificate, *ecdsa.PrivateKey) {
	w.t.Helper()
	key := w.newKey()
	der, _, err := w.issuer.Issue(w.chance, n, &key.PublicKey, noon, life)
	w.must(err)
	c, err := trust.ReadCertificate(der)
	w.must(err)
	return c, key
}

func node(id raft.NodeID) trust.Name {
	return trust.Name{Cluster: cluster, Kind: trust.KindNode, Node: id}
}

func user(name string) trust.Name {
	return trust.Name{Cluster: cluster, Kind: trust.KindUser, User: name}
}

// A certificate that a root signed says whose it is, until when, and by which root.
func TestIssuedIsVerified(t *testing.T) {
	w := newWorld(t, 1, cluster)
	for _, n := range []trust.Name{node(2), node(1<<64 - 1), user("alice"), user("_apt.x-1")} {
		c, key := w.issue(n, trust.NodeLife)
		got, err := w.trusted().Verify([]*x509.Certificate{c}, noon)
		if err != nil {
			t.Errorf("%s: %v", n, err)
			continue
		}
		keyID, err := trust.PublicKeyID(&key.PublicKey)
		w.must(err)
		serial, err := trust.SerialOf(c)
		w.must(err)
		want := trust.Proven{Name: n, Serial: serial, Key: keyID, Root: w.issuer.Root(), Issued: noon, NotAfter: noon.Add(trust.NodeLife)}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}
