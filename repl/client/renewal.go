package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/repl/wire"
)

// A client that lives on gets its user's next certificate by itself, over its connections, and keeps it where
// the first one was. What is connected stays so; the next connection shows the new one. It asks once a day, so it
// hears of another root long before the former is retired; a third of the certificate's life before its end at
// the latest. Processes of one user share what is kept: whichever asks first asks for all.

const (
	// renewAfter is how old a certificate is when the next one is asked for, if two thirds of its life are not less.
	renewAfter = 24 * time.Hour
	// renewLook lies between two looks, the first of which is that long after [Open]: commands end before it.
	renewLook = time.Minute
	// renewMax bounds one attempt.
	renewMax = 10 * time.Second
)

// renewal gets the next certificate of the user whose is shown.
type renewal struct {
	home home.Home
	now  func() time.Time
	// ask asks the cluster for a certificate, for the key of request; called asks what it is called.
	ask    func(ctx context.Context, request []byte) (*wire.RenewAnswer, error)
	called func(ctx context.Context) (string, error)
}

// due reports whether it is time to ask for the next certificate. One of an hour, which a password has brought, is
// not renewed: whoever knows the password shows it again.
func (r *renewal) due(leaf *x509.Certificate) bool {
	issued := trust.Issued(leaf)
	if leaf.NotAfter.Sub(issued) <= trust.LoginLife {
		return false
	}
	at := trust.RenewAt(leaf)
	if day := issued.Add(renewAfter); day.Before(at) {
		at = day
	}
	return !r.now().Before(at)
}

// newest is what is kept for a cluster under whichever of its roots came last; nil if that is nothing.
func (r *renewal) newest(cluster uint64) (newest *home.Credential) {
	kept, err := r.home.Roots()
	if err != nil {
		return nil
	}
	for _, root := range kept.Roots {
		if id, err := trust.RootCluster(root); err != nil || id != cluster {
			continue
		}
		c, err := r.home.Credential(trust.RootIDOf(root.Raw))
		if err != nil || c.Certificate == nil {
			continue
		}
		if newest == nil || trust.Issued(newest.Certificate.Leaf).Before(trust.Issued(c.Certificate.Leaf)) {
			newest = c
		}
	}
	return newest
}

// turn gets the next certificate for a cluster, if it is time for that, as the user that the client is there.
func (r *renewal) turn(ctx context.Context, cluster uint64, user string) (renewed bool, err error) {
	c := r.newest(cluster)
	if c == nil || c.User != user || !r.due(c.Certificate.Leaf) {
		return false, nil
	}
	key, request, err := trust.NewKeyAndRequest(rand.Reader)
	if err != nil {
		return false, err
	}
	a, err := r.ask(ctx, request)
	if err != nil {
		return false, err
	}
	root, err := CheckCertificate(a, user, key, r.now())
	if err != nil {
		return false, err
	}
	called, err := r.called(ctx)
	if err != nil {
		return false, err
	}
	return true, r.home.Put(root, called, a.Certificate, key)
}

// CheckCertificate returns the root under which a certificate was made that [Client.Certificate] has brought, which
// must be what was asked for: user's, for key, and good now.
func CheckCertificate(a *wire.RenewAnswer, user string, key *ecdsa.PrivateKey, now time.Time) (root []byte, err error) {
	c, err := trust.ReadCertificate(a.Certificate)
	if err != nil {
		return nil, err
	}
	var roots trust.Trusted
	for _, der := range a.Roots {
		r, err := trust.ReadRoot(der)
		if err != nil {
			return nil, err
		}
		roots.Roots = append(roots.Roots, r)
	}
	p, err := roots.Verify([]*x509.Certificate{c}, now)
	switch {
	case err != nil:
		return nil, err
	case p.Name.Kind != trust.KindUser || p.Name.User != user:
		return nil, fmt.Errorf("the certificate is that of %s; want user %s", p.Name, user)
	case !key.PublicKey.Equal(c.PublicKey):
		return nil, errors.New("the certificate is for another key")
	}
	i := slices.IndexFunc(roots.Roots, func(r *x509.Certificate) bool { return trust.RootIDOf(r.Raw) == p.Root })
	return roots.Roots[i].Raw, nil
}

// RenewCertificate gets the next certificate of the user as whom this client is connected, if it is time for that, and
// keeps it in the place of the former. A client that lives on does so by itself; a program that is about to
// rest for weeks may want it before.
func (c certifier) RenewCertificate(ctx context.Context) (renewed bool, err error) {
	cluster, user := c.courier.shownTo()
	if user == "" || c.renewal == nil {
		return false, nil
	}
	return c.renewal.turn(ctx, cluster, user)
}

// renews looks again and again whether it is time for another certificate, until the client is closed.
func (c *Client) renews() {
	defer c.running.Done()
	look := time.NewTicker(renewLook)
	defer look.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-look.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), renewMax) // close ends what is asked, too
		renewed, err := c.RenewCertificate(ctx)
		cancel()
		switch {
		case err != nil:
			c.options.Log.Info("certificate not renewed", "err", err)
		case renewed:
			c.options.Log.Info("certificate renewed")
		}
	}
}

// shownTo returns as which user this client is connected now, by a certificate, and to which cluster.
func (c *courier) shownTo() (cluster uint64, user string) {
	for _, b := range *c.bonds.Load() {
		if b != nil && b.links[0].as != "" {
			return b.links[0].cluster, b.links[0].as
		}
	}
	return 0, ""
}
