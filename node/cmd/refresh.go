package cmd

import (
	"context"
	"crypto/rand"
	"slices"
	"time"

	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/trust"
)

const (
	// refreshAfter is how old a user's certificate is when a command gets the next one: who uses the
	// cluster now and then never finds it ended, and hears of a new root in time.
	refreshAfter = 24 * time.Hour
	// refreshMax is how long a command may take longer for it.
	refreshMax = 2 * time.Second
)

// refresh gets the user of a command another certificate, where the one that it has is getting old. What
// goes wrong with that is for another command to try again.
func (s *errand) refresh(now time.Time) {
	if !s.answered.Load() {
		return
	}
	h, err := home.Default()
	if err != nil {
		return
	}
	old := oldCredentials(h, now)
	if len(old) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), refreshMax)
	defer cancel()
	key, request, err := trust.NewKeyAndRequest(rand.Reader)
	if err != nil {
		return
	}
	a, err := s.client.Certificate(ctx, "", request)
	if err != nil {
		return // it was let in by another one, or by the secret
	}
	for _, c := range old {
		of := slices.ContainsFunc(a.Roots, func(der []byte) bool { return trust.RootIDOf(der) == c.ID() })
		root, err := client.CheckCertificate(a, c.User, key, now)
		if !of || err != nil {
			continue // that of another cluster
		}
		if t, _, err := s.client.Table(ctx, ""); err == nil {
			_ = h.Put(root, t.Cluster, a.Certificate, key)
		}
	}
}

// oldCredentials are those in a home for which it is time to get others. Of a cluster that has had several
// roots the newest credential counts.
func oldCredentials(h home.Home, now time.Time) (old []*home.Credential) {
	kept, err := h.Roots()
	if err != nil {
		return nil
	}
	newest := make(map[uint64]*home.Credential)
	for _, r := range kept.Roots {
		c, err := h.Credential(trust.RootIDOf(r.Raw))
		if err != nil || c.Certificate == nil {
			continue
		}
		cluster, err := trust.RootCluster(r)
		if err != nil {
			continue
		}
		if n := newest[cluster]; n == nil || trust.Issued(n.Certificate.Leaf).Before(trust.Issued(c.Certificate.Leaf)) {
			newest[cluster] = c
		}
	}
	for _, c := range newest {
		leaf := c.Certificate.Leaf
		// One of an hour is that of a password: who has it shows that again.
		lasting := leaf.NotAfter.Sub(trust.Issued(leaf)) > refreshAfter
		if lasting && now.Sub(trust.Issued(leaf)) >= refreshAfter && now.Before(leaf.NotAfter) {
			old = append(old, c)
		}
	}
	return old
}
