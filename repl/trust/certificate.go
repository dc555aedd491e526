package trust

import (
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"math/big"
	"slices"
)

// CertificateMax bounds a certificate of a cluster, in bytes of DER. One with
// the longest name has some 700; the rest is for names that browsers want.
const CertificateMax = 4096

// Serial names a certificate within its cluster.
type Serial [16]byte

func (s Serial) String() string { return hex.EncodeToString(s[:]) }

// serialBits is the length of each serial as a number: its highest bits are 01,
// so that it is positive, and takes exactly sixteen bytes.
const serialBits = 127

func newSerial(rand io.Reader) (s Serial, err error) {
	if _, err := io.ReadFull(rand, s[:]); err != nil {
		return s, fmt.Errorf("draw a serial: %w", err)
	}
	s[0] = s[0]&0x3f | 0x40
	return s, nil
}

func (s Serial) number() *big.Int { return new(big.Int).SetBytes(s[:]) }

// SerialOf is the serial of a certificate of a cluster.
func SerialOf(c *x509.Certificate) (s Serial, err error) {
	if c.SerialNumber == nil || c.SerialNumber.Sign() < 0 || c.SerialNumber.BitLen() != serialBits {
		return s, &Error{Field: "certificate's serial", Found: shown(serialText(c.SerialNumber)), Want: "a positive number of 127 bits"}
	}
	c.SerialNumber.FillBytes(s[:])
	return s, nil
}

func serialText(n *big.Int) string {
	if n == nil {
		return "none"
	}
	return n.Text(16)
}

// ReadCertificate reads a certificate such as the roots of a cluster sign, and
// refuses any other by its field. It does not look at who signed it:
// [Trusted.Verify] does.
func ReadCertificate(der []byte) (*x509.Certificate, error) {
	c, err := readBounded("certificate", der)
	if err != nil {
		return nil, err
	}
	return c, checkShape(c)
}

// readBounded parses one certificate; what names it.
func readBounded(what string, der []byte) (*x509.Certificate, error) {
	if err := checkSize(what, len(der)); err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, &Error{Field: what, Found: shown(err.Error()), Want: "an X.509 certificate in DER"}
	}
	return c, nil
}

func checkSize(what string, size int) error {
	if size > CertificateMax {
		return &Error{Field: what, Found: plural(size, "byte"), Want: fmt.Sprintf("at most %d", CertificateMax)}
	}
	return nil
}

// checkShape checks all that a certificate says by itself.
func checkShape(c *x509.Certificate) error {
	if err := checkSize("certificate", len(c.Raw)); err != nil {
		return err
	}
	if _, err := onP256("certificate's key", c.PublicKey); err != nil {
		return err
	}
	if c.IsCA {
		return &Error{Field: "certificate's constraints", Found: "a CA", Want: "the certificate of a node or a user"}
	}
	if c.KeyUsage != x509.KeyUsageDigitalSignature {
		return &Error{Field: "certificate's key usage", Found: fmt.Sprintf("%#x", int(c.KeyUsage)), Want: "digital signatures alone"}
	}
	both := slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	if !both || len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) != 2 {
		return &Error{Field: "certificate's extended key usage", Found: usages(c), Want: "server and client authentication"}
	}
	if _, err := SerialOf(c); err != nil {
		return err
	}
	_, err := ParseName(c)
	return err
}

func usages(c *x509.Certificate) string {
	if len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 {
		return "none"
	}
	names := make([]string, 0, 2)
	for _, u := range c.ExtKeyUsage {
		switch u {
		case x509.ExtKeyUsageServerAuth:
			names = append(names, "server authentication")
		case x509.ExtKeyUsageClientAuth:
			names = append(names, "client authentication")
		default:
			names = append(names, fmt.Sprintf("usage %d", int(u)))
		}
	}
	if n := len(c.UnknownExtKeyUsage); n > 0 {
		names = append(names, plural(n, "unknown usage"))
	}
	return shown(fmt.Sprint(names))
}
