package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
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

// fakeRoot is a root that the fake cluster's certificates are under.
type fakeRoot struct {
	t      *testing.T
	der    []byte
	issuer *trust.Issuer
}

func newFakeRoot(t *testing.T) *fakeRoot {
	t.Helper()
	return fakeRootOf(t, time.Now().AddDate(0, -3, 0))
}

// fakeRootOf makes a root at a moment.
func fakeRootOf(t *testing.T, made time.Time) *fakeRoot {
	t.Helper()
	der, key, err := trust.NewRoot(rand.Reader, 99, made)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := trust.NewIssuer(der, key)
	if err != nil {
		t.Fatal(err)
	}
	return &fakeRoot{t, der, issuer}
}

// issue makes a key and a certificate for n, from a moment on.
func (r *fakeRoot) issue(n trust.Name, from time.Time) (*ecdsa.PrivateKey, []byte) {
	r.t.Helper()
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	der, _, err := r.issuer.Issue(rand.Reader, n, &key.PublicKey, from, trust.NodeLife)
	if err != nil {
		r.t.Fatal(err)
	}
	return key, der
}

// holding is what a host with the name shows.
func (r *fakeRoot) holding(n trust.Name, from time.Time) *trust.Holding {
	r.t.Helper()
	key, der := r.issue(n, from)
	c, err := trust.NewCertificate(key, der, r.der)
	if err != nil {
		r.t.Fatal(err)
	}
	root, err := trust.ReadRoot(r.der)
	if err != nil {
		r.t.Fatal(err)
	}
	return &trust.Holding{Certificate: c, Trusted: trust.Trusted{Roots: []*x509.Certificate{root}}}
}

func fakeSelfSigned(t *testing.T) *trust.Holding {
	t.Helper()
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c, err := trust.SelfSigned(rand.Reader, key, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &trust.Holding{Certificate: c}
}

// A client must say nothing to a node that it has no reason to believe, show what its user has to
// those of the right cluster and to no others, and tell in one line what is wrong and what to do. It
// must wait for a node that has no certificate yet.
func TestProtection(t *testing.T) {
	node := trust.Name{Cluster: 99, Kind: trust.KindNode, Node: 1}
	user := trust.Name{Cluster: 99, Kind: trust.KindUser, User: "ann"}
	secret := []byte("0123456789abcdef")
	month := 40 * 24 * time.Hour
	keepAnn := func(h home.Home, r *fakeRoot) {
		key, der := r.issue(user, time.Now())
		must(t, h.Put(r.der, "fake", der, key))
	}
	for _, c := range []struct {
		name string
		// shows is what the node shows; kept puts into the home what the user has.
		shows func(r *fakeRoot) *trust.Holding
		kept  func(h home.Home, r *fakeRoot)
		o     Options
		node  []byte // secret of the node
		later bool   // the node gets its certificate later
		waits bool   // the node founds, and tells everybody for what it waits
		want  []string
		user  string // whom the node has met
	}{
		{name: "a user's certificate", user: "ann"},
		{name: "that one is not asked for", o: Options{Guest: true}},
		{name: "a root alone", kept: func(h home.Home, r *fakeRoot) { must(t, h.Put(r.der, "fake", nil, nil)) }},
		{name: "the secret in the place of certificates", shows: func(*fakeRoot) *trust.Holding { return fakeSelfSigned(t) }, kept: nothing, o: Options{Secret: secret}, node: secret},
		{name: "the secret, and a root that is not kept", kept: nothing, o: Options{Secret: secret}, node: secret},
		{name: "the secret and a certificate, where none counts but that", o: Options{Secret: secret}, user: "ann"},
		{name: "a root that somebody believes", kept: nothing, o: Options{Meet: func(*x509.Certificate) error { return nil }}},
		{name: "a node that gets its certificate in a moment", shows: func(*fakeRoot) *trust.Holding { return fakeSelfSigned(t) }, later: true, user: "ann"},

		{name: "nothing is kept", kept: nothing, want: []string{"unauthorized", "under root ", "is not kept in", "MUSTER_HOME", "muster user cert NAME", "muster auth login"}},
		{name: "nothing is kept, of a cluster that was founded a moment ago", kept: nothing, want: []string{"unauthorized", "is not kept in"},
			shows: func(*fakeRoot) *trust.Holding { return fakeRootOf(t, time.Now()).holding(node, time.Now()) }},
		{name: "another root is kept", kept: func(h home.Home, _ *fakeRoot) {
			other := newFakeRoot(t)
			key, der := other.issue(user, time.Now())
			must(t, h.Put(other.der, "fake", der, key))
		}, want: []string{"unauthorized", "kept are "}},
		{name: "the root of another cluster can't be read", kept: func(h home.Home, r *fakeRoot) { keepAnn(h, r); keepBroken(h, newFakeRoot(t)) }, user: "ann"},
		{name: "nothing is kept but a root of another cluster that can't be read", kept: func(h home.Home, _ *fakeRoot) { keepBroken(h, newFakeRoot(t)) },
			want: []string{"unauthorized", "is not kept in"}},
		{name: "the root of the cluster can't be read", kept: func(h home.Home, r *fakeRoot) { keepAnn(h, r); keepBroken(h, r) },
			want: []string{"unauthorized", "credentials", "root.pem", "remove the folder ", "muster auth login"}},
		{name: "the secret, and the root of another cluster can't be read", kept: func(h home.Home, _ *fakeRoot) { keepBroken(h, newFakeRoot(t)) }, o: Options{Secret: secret}, node: secret},
		{name: "a root that somebody does not believe", kept: nothing, o: Options{Meet: func(*x509.Certificate) error { return wire.Unauthorized("root", "not that one", "ask") }},
			want: []string{"unauthorized", "not that one"}},
		{name: "a root that is kept, and not the one that somebody names", o: Options{Guest: true, Meet: func(*x509.Certificate) error { return wire.Unauthorized("root", "not that one", "ask") }},
			want: []string{"unauthorized", "not that one"}},
		{name: "a key that others can read", kept: func(h home.Home, r *fakeRoot) {
			key, der := r.issue(user, time.Now())
			must(t, h.Put(r.der, "fake", der, key))
			must(t, os.Chmod(filepath.Join(h.Dir(), trust.RootIDOf(r.der).String()[:32], "user.key"), 0o644))
		}, want: []string{"unauthorized", "chmod 600"}},
		{name: "a user's certificate that has expired", kept: func(h home.Home, r *fakeRoot) {
			key, der := r.issue(user, time.Now().Add(-month))
			must(t, h.Put(r.der, "fake", der, key))
		}, want: []string{"unauthorized", "certificate of ann", "expired", "auth login"}},
		{name: "a node that shows a user's certificate", shows: func(r *fakeRoot) *trust.Holding { return r.holding(user, time.Now()) },
			want: []string{"unauthorized", "user/ann"}},
		{name: "a node that shows another node's certificate", shows: func(r *fakeRoot) *trust.Holding {
			return r.holding(trust.Name{Cluster: 99, Kind: trust.KindNode, Node: 2}, time.Now())
		}, want: []string{"unauthorized", "0000000000000002"}},
		{name: "the secret, of which the node knows nothing", shows: func(*fakeRoot) *trust.Holding { return fakeSelfSigned(t) }, kept: nothing, o: Options{Secret: secret},
			want: []string{"unauthorized", "can't prove"}},
		{name: "a node whose certificate has expired", shows: func(r *fakeRoot) *trust.Holding { return r.holding(node, time.Now().Add(-month)) },
			want: []string{"expired", "clocks"}},
		{name: "a node without a certificate", shows: func(*fakeRoot) *trust.Holding { return fakeSelfSigned(t) }, want: []string{"no certificate"}},
		{name: "a node that waits", shows: func(*fakeRoot) *trust.Holding { return fakeSelfSigned(t) }, waits: true,
			want: []string{"node n1, which has not proven who it is: not ready (founding; waits for n2); start n2"}},
		{name: "a node that waits, and a secret of which it knows nothing", shows: func(*fakeRoot) *trust.Holding { return fakeSelfSigned(t) }, waits: true, kept: nothing,
			o: Options{Secret: secret}, want: []string{"node n1, which has not proven who it is", "waits for n2"}},
		{name: "no TLS at the other end", shows: func(*fakeRoot) *trust.Holding { return nil }, want: []string{"unauthorized", "--insecure"}},
		{name: "no TLS at this end", o: Options{Insecure: true}, want: []string{"unauthorized", "leave out --insecure"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, root := newFake(t, 1, 1), newFakeRoot(t)
			h, err := home.In(filepath.Join(t.TempDir(), "muster"))
			must(t, err)
			if c.kept == nil {
				c.kept = keepAnn
			}
			c.kept(h, root)
			var user atomic.Pointer[string]
			f.mu.Lock()
			f.secret = c.node
			f.met = func(g *wire.Greeting) error {
				user.Store(&g.Peer.Name.User)
				if c.waits {
					return wire.NotReady("node n1", "founding; waits for n2", "start n2", 0)
				}
				return nil
			}
			shown := root.holding(node, time.Now())
			if c.shows != nil {
				shown = c.shows(root)
			}
			if shown != nil {
				f.shows = new(trust.Holder)
				f.shows.Set(shown)
			}
			f.mu.Unlock()
			c.o.Home = h.Dir()
			cl := f.open(c.o)
			if c.later {
				time.AfterFunc(100*time.Millisecond, func() { f.shows.Set(root.holding(node, time.Now())) })
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if len(c.want) > 0 {
				ctx, cancel = context.WithTimeout(t.Context(), 2*time.Second)
			}
			defer cancel()
			_, err = cl.Set(ctx, []byte("k"), []byte("v"), WriteOptions{})
			if len(c.want) == 0 {
				if err != nil {
					t.Fatal(err)
				}
				if got := *user.Load(); got != c.user {
					t.Errorf("the node has met %q, want %q", got, c.user)
				}
				return
			}
			if err == nil {
				t.Fatal("got no error")
			}
			saysAll(t, err, c.want)
		})
	}
}

// What is the same at all endpoints, and what to do about it, is said once: a person with three endpoints must
// not have to find the remedy in three long sentences. All the endpoints are named.
func TestSameRefusalIsSaidOnce(t *testing.T) {
	t.Parallel()
	f, root := newFake(t, 3, 1), newFakeRoot(t)
	f.mu.Lock()
	f.shows = new(trust.Holder)
	f.shows.Set(root.holding(trust.Name{Cluster: 99, Kind: trust.KindNode, Node: 1}, time.Now()))
	f.mu.Unlock()
	h, err := home.In(filepath.Join(t.TempDir(), "muster"))
	must(t, err)
	cl := f.open(Options{Home: h.Dir()})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	_, err = cl.Set(ctx, []byte("k"), []byte("v"), WriteOptions{})
	if err == nil {
		t.Fatal("got no error")
	}
	first := f.nodes[0].addr
	saysAll(t, err, []string{"unauthorized", first + ": unauthorized: node at " + first, f.nodes[1].addr + ": as " + first, f.nodes[2].addr + ": as " + first})
	if n := strings.Count(err.Error(), "muster auth login"); n != 1 {
		t.Errorf("the remedy is told %d times, want once: %v", n, err)
	}
}

func nothing(home.Home, *fakeRoot) {}

// keepBroken keeps a root in a file that can't be read any more.
func keepBroken(h home.Home, r *fakeRoot) {
	must(r.t, h.Put(r.der, "fake", nil, nil))
	must(r.t, os.WriteFile(filepath.Join(h.Dir(), trust.RootIDOf(r.der).String()[:32], "root.pem"), []byte("junk"), 0o600))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// saysAll checks that an error says all of want, of which "unauthorized" is its code.
func saysAll(t *testing.T, err error, want []string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(err.Error(), w) && !(w == "unauthorized" && errors.Is(err, &wire.Error{Code: wire.CodeUnauthorized})) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}
