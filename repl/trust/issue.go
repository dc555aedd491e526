package trust

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"net/url"
	"time"
)

// Lifetimes of certificates, from when they are issued.
const (
	NodeLife  = 30 * 24 * time.Hour
	UserLife  = 30 * 24 * time.Hour
	LoginLife = time.Hour // of what a password gets
)

// Backdate is how long before its issue a certificate's time begins, since
// clocks differ: a host whose clock is behind by less must not refuse what
// another has just signed.
const Backdate = 72 * time.Hour

// organization stands in the subject of each certificate, for those who look at
// it with other tools.
const organization = "muster"

// Issued is when c was issued, by the clock of its issuer.
func Issued(c *x509.Certificate) time.Time { return c.NotBefore.Add(Backdate) }

// RenewAt is when the holder of c asks for another: after two thirds of its
// life, so that a third is left to try again in.
func RenewAt(c *x509.Certificate) time.Time {
	issued := Issued(c)
	return issued.Add(c.NotAfter.Sub(issued) / 3 * 2)
}

// Issuer signs certificates with the key of one root.
type Issuer struct {
	root    *x509.Certificate
	cluster uint64
	key     *ecdsa.PrivateKey
}

// NewIssuer takes a root and its key, and refuses a key that is another's.
func NewIssuer(rootDER []byte, key *ecdsa.PrivateKey) (*Issuer, error) {
	root, err := ReadRoot(rootDER)
	if err != nil {
		return nil, err
	}
	cluster, err := RootCluster(root)
	if err != nil {
		return nil, err
	}
	if key == nil || !key.PublicKey.Equal(root.PublicKey) {
		return nil, &Error{Field: "key of root " + RootIDOf(rootDER).String(), Found: "one that does not fit", Want: "that with which the root was made"}
	}
	return &Issuer{root: root, cluster: cluster, key: key}, nil
}

// Root is the id of the root that signs.
func (i *Issuer) Root() RootID { return RootIDOf(i.root.Raw) }

// bugNoBackdate is planted to show that its test finds it: hosts whose clocks are behind take nobody's new
// certificate.
const bugNoBackdate = "certificate good from its issue on"

// Issue signs that pub is the key of n, from [Backdate] before now until life
// after it, but no longer than the root is good for.
func (i *Issuer) Issue(rand io.Reader, n Name, pub *ecdsa.PublicKey, now time.Time, life time.Duration) (der []byte, serial Serial, err error) {
	return i.IssueWith(rand, n, pub, now, Terms{Life: life})
}

// Terms are what a certificate says beside its name and key.
type Terms struct {
	Life time.Duration // from now on
	// After is the earliest time at which the certificate may count as issued ([Issued]), whatever this host's clock shows.
	// It must be less than Backdate ahead, or the certificate is not good yet.
	After time.Time
	Host  Host // for browsers; of a node alone
}

// IssueWith is [Issuer.Issue] on other terms.
func (i *Issuer) IssueWith(rand io.Reader, n Name, pub *ecdsa.PublicKey, now time.Time, terms Terms) (der []byte, serial Serial, err error) {
	if err := n.Check(); err != nil {
		return nil, serial, fmt.Errorf("issue a certificate: %w", err)
	}
	if n.Cluster != i.cluster {
		return nil, serial, &Error{Field: "cluster of a name to sign", Found: hexText(n.Cluster), Want: hexText(i.cluster), Reason: ErrCluster}
	}
	if terms.Host != "" && n.Kind != KindNode {
		return nil, serial, &Error{Field: "host to sign for " + n.String(), Found: shown(string(terms.Host)), Want: "none: only nodes have one"}
	}
	if _, err := onP256("key to sign", pub); err != nil {
		return nil, serial, err
	}
	// The root's key in a certificate of its own would make the root somebody.
	if pub.Equal(&i.key.PublicKey) {
		return nil, serial, &Error{Field: "key to sign", Found: "that of the root", Want: "another"}
	}
	until := now.Add(terms.Life)
	if until.After(i.root.NotAfter) {
		until = i.root.NotAfter
	}
	if terms.Life <= 0 || !until.After(now) {
		return nil, serial, &Error{Field: "time to sign for", Found: fmt.Sprintf("%s to %s", timeText(now), timeText(until)), Want: "some time, before the root expires at " + timeText(i.root.NotAfter)}
	}
	if serial, err = newSerial(rand); err != nil {
		return nil, serial, fmt.Errorf("issue a certificate for %s: %w", n, err)
	}
	issued := now
	if terms.After.After(now) {
		issued = terms.After
	}
	from := issued.Add(-Backdate)
	if bug(bugNoBackdate) {
		from = now
	}
	common := n.User
	if n.Kind == KindNode {
		common = fmt.Sprintf("node %d", n.Node)
	}
	template := &x509.Certificate{
		SerialNumber:          serial.number(),
		Subject:               pkix.Name{Organization: []string{organization}, CommonName: common},
		NotBefore:             from,
		NotAfter:              until,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		// Each node both dials and accepts. Users have both too, so that one rule
		// is enough to verify.
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:        []*url.URL{n.URI()},
	}
	terms.Host.put(template)
	// Without chance the signature follows from the key and what is signed (RFC 6979),
	// and the serial makes that differ each time.
	der, err = x509.CreateCertificate(nil, template, i.root, pub, i.key)
	if err != nil {
		return nil, Serial{}, fmt.Errorf("issue a certificate for %s: %w", n, err)
	}
	return der, serial, nil
}

// NewCertificate joins what a host shows: its certificate, the root behind it,
// so that a peer that knows only the root's id can verify it, and the key. It
// refuses a key that does not fit.
func NewCertificate(key *ecdsa.PrivateKey, leafDER, rootDER []byte) (*tls.Certificate, error) {
	leaf, err := ReadCertificate(leafDER)
	if err != nil {
		return nil, err
	}
	if key == nil || !key.PublicKey.Equal(leaf.PublicKey) {
		return nil, &Error{Field: "key of a certificate", Found: "one that does not fit", Want: "that with which the certificate was asked for"}
	}
	return &tls.Certificate{Certificate: [][]byte{leafDER, rootDER}, PrivateKey: key, Leaf: leaf}, nil
}

// SelfSigned makes what a host shows until its cluster gives it a certificate.
// Anybody can make one: it proves nothing, and hides what is said.
func SelfSigned(rand io.Reader, key *ecdsa.PrivateKey, now time.Time) (*tls.Certificate, error) {
	serial, err := newSerial(rand)
	if err != nil {
		return nil, fmt.Errorf("make a certificate to found with: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial.number(),
		Subject:               pkix.Name{Organization: []string{organization}, CommonName: foundingHost},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(RootLife), // nobody looks; a standby may wait for years
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		URIs:                  []*url.URL{foundingURI()},
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate to found with: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a certificate to found with: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }
