package cmd

import (
	"crypto/rand"
	"testing"
	"time"

	"muster/repl/client/home"
	"muster/repl/trust"
)

// A certificate must be replaced long before it ends, but not with each command, and one that has ended or
// was given for a password not at all.
func TestOldCredentials(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		name string
		age  time.Duration
		life time.Duration
		old  bool
	}{
		{"made just now", time.Minute, trust.UserLife, false},
		{"a day old", refreshAfter + time.Minute, trust.UserLife, true},
		{"about to end", trust.UserLife - time.Minute, trust.UserLife, true},
		{"ended", trust.UserLife + time.Minute, trust.UserLife, false},
		{"for a password", 30 * time.Minute, trust.LoginLife, false},
	} {
		h, err := home.In(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		keepCertificate(t, h, now.Add(-c.age), c.life)
		if got := len(oldCredentials(h, now)) == 1; got != c.old {
			t.Errorf("%s: got %t, want %t", c.name, got, c.old)
		}
		// The same cluster has another root by now, and there is a new certificate under it.
		keepCertificate(t, h, now, trust.UserLife)
		if old := oldCredentials(h, now); len(old) > 0 {
			t.Errorf("%s, beside a newer one: %d are to be replaced", c.name, len(old))
		}
	}
}

// keepCertificate makes a root of cluster 7, and a certificate under it, and keeps both.
func keepCertificate(t *testing.T, h home.Home, made time.Time, life time.Duration) {
	t.Helper()
	der, rootKey, err := trust.NewRoot(rand.Reader, 7, made)
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := trust.NewIssuer(der, rootKey)
	if err != nil {
		t.Fatal(err)
	}
	key, err := trust.NewKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _, err := issuer.Issue(rand.Reader, trust.Name{Cluster: 7, Kind: trust.KindUser, User: "ann"}, &key.PublicKey, made, life)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Put(der, "prod", leaf, key); err != nil {
		t.Fatal(err)
	}
}
