package trust

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// RootLife is how long a root is good for.
const RootLife = 10 * 365 * 24 * time.Hour

// RootID names a root: the SHA-256 of its DER.
type RootID [sha256.Size]byte

func (r RootID) String() string { return hex.EncodeToString(r[:]) }

// ParseRootID reads what [RootID.String] wrote.
func ParseRootID(text string) (r RootID, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(r) || hex.EncodeToString(b) != text {
		return r, &Error{Field: "root id", Found: shown(text), Want: "64 hexadecimal digits, lower case"}
	}
	return RootID(b), nil
}

// RootIDOf names the root that has this DER.
func RootIDOf(der []byte) RootID { return sha256.Sum256(der) }

// NewRoot makes a root for the cluster, with its key. It is good for [RootLife]
// after now.
func NewRoot(rand io.Reader, cluster uint64, now time.Time) (der []byte, key *ecdsa.PrivateKey, err error) {
	if cluster == 0 {
		return nil, nil, &Error{Field: "cluster of a root", Found: "0", Want: "the id of a cluster"}
	}
	key, err = NewKey(rand)
	if err != nil {
		return nil, nil, fmt.Errorf("make a root: %w", err)
	}
	serial, err := newSerial(rand)
	if err != nil {
		return nil, nil, fmt.Errorf("make a root: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial.number(),
		Subject:               pkix.Name{Organization: []string{organization}, CommonName: "root of " + hexText(cluster)},
		NotBefore:             now.Add(-Backdate),
		NotAfter:              now.Add(RootLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true, // signs directly
		KeyUsage:              x509.KeyUsageCertSign,
		URIs:                  []*url.URL{rootURI(cluster)},
	}
	der, err = x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a root: %w", err)
	}
	return der, key, nil
}

// ReadRoot reads a root of a cluster: a bounded certificate on P-256 that signed
// itself, for nothing but to sign. That it is the right one is for its
// [RootID] to say.
func ReadRoot(der []byte) (*x509.Certificate, error) {
	c, err := readBounded("root", der)
	if err != nil {
		return nil, err
	}
	if _, err := onP256("root's key", c.PublicKey); err != nil {
		return nil, err
	}
	if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage != x509.KeyUsageCertSign {
		return nil, &Error{Field: "root's usage", Found: fmt.Sprintf("CA %t, key usage %#x", c.IsCA, int(c.KeyUsage)), Want: "a CA that signs certificates and nothing else"}
	}
	if _, err := RootCluster(c); err != nil {
		return nil, err
	}
	if err := c.CheckSignatureFrom(c); err != nil {
		return nil, &Error{Field: "root's signature", Found: "one that is not its own", Want: "a root that signed itself"}
	}
	return c, nil
}

// RootCluster is the cluster that root signs for.
func RootCluster(root *x509.Certificate) (uint64, error) {
	u, err := oneURI(root)
	if err != nil {
		return 0, err
	}
	text, ok := strings.CutPrefix(strings.TrimSuffix(u, rootPath), scheme+"://")
	cluster, parsed := strconv.ParseUint(text, 16, 64)
	if !ok || parsed != nil || cluster == 0 || rootURI(cluster).String() != u {
		return 0, &Error{Field: "root's name", Found: shown(u), Want: "muster://CLUSTER/root with 16 hexadecimal digits"}
	}
	return cluster, nil
}

// ShownRoot finds the root of that id in what a peer has shown behind its own
// certificate. A host that has nothing but the id, say from a token, begins with
// it: that its hash is the wanted one makes it the right one, whoever shows it.
func ShownRoot(chain []*x509.Certificate, id RootID) (*x509.Certificate, error) {
	found := "no root"
	for _, c := range chain[min(1, len(chain)):] {
		if RootIDOf(c.Raw) == id {
			return ReadRoot(c.Raw)
		}
		found = "root " + RootIDOf(c.Raw).String()
	}
	return nil, &Error{Field: "root shown", Found: found, Want: "root " + id.String(), Reason: ErrForeign}
}
