package client

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/repl/wire"
)

// A client that lives on has its user's next certificate in good time, and hears of another root with it. It must not
// ask all the time, nor for what is not renewed, nor keep what was made for somebody else.
func TestCertificateIsRenewed(t *testing.T) {
	const cluster = 99
	ann := trust.Name{Cluster: cluster, Kind: trust.KindUser, User: "ann"}
	began := time.Now()
	for _, c := range []struct {
		name  string
		life  time.Duration // of the certificate that is there, which is issued at the beginning
		after time.Duration // that it is looked at
		bob   bool          // somebody else's certificate comes
		root  bool          // under another root
		other bool          // another process has renewed it an hour ago
		fails bool
		asks  int
		kept  bool // the next one is there
	}{
		{name: "young", life: trust.UserLife, after: 23 * time.Hour},
		{name: "a day old", life: trust.UserLife, after: 25 * time.Hour, asks: 1, kept: true},
		{name: "short-lived, before two thirds", life: 6 * time.Hour, after: 4*time.Hour - time.Minute},
		{name: "short-lived, after two thirds", life: 6 * time.Hour, after: 4*time.Hour + time.Minute, asks: 1, kept: true},
		{name: "of a password", life: trust.LoginLife, after: 59 * time.Minute},
		{name: "another root", life: trust.UserLife, after: 25 * time.Hour, root: true, asks: 1, kept: true},
		{name: "renewed by another process", life: trust.UserLife, after: 25 * time.Hour, other: true},
		{name: "not answered", life: trust.UserLife, after: 25 * time.Hour, fails: true, asks: 1},
		{name: "somebody else's", life: trust.UserLife, after: 25 * time.Hour, bob: true, asks: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, err := home.In(t.TempDir())
			must(t, err)
			root := newFakeRoot(t)
			put := func(issued time.Time, life time.Duration) {
				key, err := trust.NewKey(rand.Reader)
				must(t, err)
				leaf, _, err := root.issuer.Issue(rand.Reader, ann, &key.PublicKey, issued, life)
				must(t, err)
				must(t, h.Put(root.der, "c", leaf, key))
			}
			put(began, c.life)
			now := began.Add(c.after)
			if c.other {
				put(now.Add(-time.Hour), trust.UserLife)
			}
			issuing := root
			if c.root {
				issuing = newFakeRoot(t)
			}
			asks := 0
			r := &renewal{home: h, now: func() time.Time { return now }, called: func(context.Context) (string, error) { return "c", nil }}
			r.ask = func(_ context.Context, request []byte) (*wire.RenewAnswer, error) {
				if asks++; c.fails {
					return nil, errors.New("nobody answers")
				}
				public, err := trust.ReadRequest(request)
				must(t, err)
				name := ann
				if c.bob {
					name.User = "bob"
				}
				leaf, _, err := issuing.issuer.Issue(rand.Reader, name, public, now, trust.UserLife)
				must(t, err)
				return &wire.RenewAnswer{Certificate: leaf, Roots: [][]byte{root.der, issuing.der}}, nil
			}
			renewed, err := r.turn(t.Context(), cluster, "ann")
			if asks != c.asks || renewed != c.kept || (err != nil) != (c.fails || c.bob) {
				t.Errorf("it has asked %d times, want %d; renewed: %t, %v, want %t", asks, c.asks, renewed, err, c.kept)
			}
			kept, err := h.Credential(trust.RootIDOf(issuing.der))
			if c.kept && (err != nil || !trust.Issued(kept.Certificate.Leaf).Equal(now.Truncate(time.Second))) {
				t.Errorf("what is kept: %v", err)
			}
			if _, err := h.Credential(trust.RootIDOf(root.der)); err != nil {
				t.Errorf("what is kept under the former root: %v", err)
			}
			// Then it is as it should be, and nothing is asked; as somebody else, never.
			before := asks
			if again, err := r.turn(t.Context(), cluster, "carol"); again || err != nil || asks != before {
				t.Errorf("as somebody else: renewed %t, %v", again, err)
			}
			if again, err := r.turn(t.Context(), cluster, "ann"); c.kept && (again || err != nil || asks != before) {
				t.Errorf("at once again: renewed %t, %v", again, err)
			}
		})
	}
}
