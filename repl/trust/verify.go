package trust

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"
)

// Trusted is whom a host believes.
type Trusted struct {
	// Roots are what certificates may be signed by, as [ReadRoot] took them.
	Roots []*x509.Certificate
	// Denied reports whether the certificate of that serial is good no longer;
	// nil: none is denied. It is called by any goroutine.
	Denied func(Serial) bool
}

// Proven is what a certificate proves of the one who has its key.
type Proven struct {
	Name     Name
	Serial   Serial
	Key      KeyID
	Root     RootID
	Issued   time.Time // by the clock of the issuer
	NotAfter time.Time
	// Expired reports that NotAfter is over. Whoever asks decides what that
	// means: nobody but a member that wants a new certificate gets anything
	// by an expired one.
	Expired bool
	vouched *vouched // of a company's CA: by what; nil: the cluster's root says it
}

// Verify decides what the first certificate of chain, as a peer has shown it,
// proves at now; the package comment lists how. What stands behind the first is
// not looked at.
func (t Trusted) Verify(chain []*x509.Certificate, now time.Time) (Proven, error) {
	if len(chain) == 0 {
		return Proven{}, &Error{Field: "certificate", Found: "none", Want: "one of the cluster", Reason: ErrNone}
	}
	c := chain[0]
	if err := checkShape(c); err != nil {
		return Proven{}, err
	}
	// A certificate that no root signed is a stranger's word, so this comes before anything else about
	// it.
	root, err := t.signer(c, now)
	if err != nil {
		return Proven{}, err
	}
	p := Proven{Key: KeyIDOf(c), Root: RootIDOf(root.Raw), Issued: Issued(c), NotAfter: c.NotAfter, Expired: now.After(c.NotAfter)}
	if bug("expired certificate accepted") {
		p.Expired = false
	}
	if p.Name, err = ParseName(c); err != nil {
		return Proven{}, err
	}
	cluster, err := RootCluster(root)
	if err != nil {
		return Proven{}, err
	}
	if p.Name.Cluster != cluster && !bug("certificate of another cluster accepted") {
		return Proven{}, &Error{Field: "certificate's cluster", Found: hexText(p.Name.Cluster), Want: hexText(cluster), Reason: ErrCluster}
	}
	if p.Serial, err = SerialOf(c); err != nil {
		return Proven{}, err
	}
	if t.Denied != nil && t.Denied(p.Serial) && !bug("denied serial accepted") {
		return Proven{}, &Error{Field: "certificate's serial", Found: p.Serial.String() + ", which was denied", Want: "a certificate that is still good", Reason: ErrDenied}
	}
	return p, nil
}

// Node is [Trusted.Verify] for a peer that says it is a node.
func (t Trusted) Node(chain []*x509.Certificate, now time.Time) (Proven, error) {
	p, err := t.Verify(chain, now)
	if err == nil && p.Name.Kind != KindNode && !bug("user certificate taken for a node") {
		return Proven{}, &Error{Field: "certificate's name", Found: p.Name.String(), Want: "that of a node"}
	}
	return p, err
}

// signer is the root that signed c.
func (t Trusted) signer(c *x509.Certificate, now time.Time) (*x509.Certificate, error) {
	if now.Before(c.NotBefore) {
		return nil, &Error{Field: "certificate's time", Found: "one that begins at " + timeText(c.NotBefore), Want: "one that has begun by " + timeText(now) + ", the time here; compare the clocks", Reason: ErrEarly}
	}
	roots := x509.NewCertPool()
	for _, r := range t.Roots {
		roots.AddCert(r)
	}
	// The library refuses what has expired. So it is asked about the last
	// moment at which the certificate was good.
	at := now
	if at.After(c.NotAfter) {
		at = c.NotAfter
	}
	chains, err := c.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err == nil {
		return chains[0][len(chains[0])-1], nil
	}
	if bug("wrong CA accepted") && len(t.Roots) > 0 {
		return t.Roots[0], nil
	}
	return nil, &Error{Field: "certificate's root", Found: fmt.Sprintf("a signature by %s (%s)", shown(c.Issuer.String()), shown(err.Error())), Want: t.wantRoots(), Reason: ErrForeign}
}

func (t Trusted) wantRoots() string {
	if len(t.Roots) == 0 {
		return "nothing: no root is trusted here yet"
	}
	ids := make([]string, len(t.Roots))
	for i, r := range t.Roots {
		ids[i] = RootIDOf(r.Raw).String()[:16]
	}
	return "one by root " + strings.Join(ids, " or ")
}
