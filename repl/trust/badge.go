package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// BadgePrefix is what each badge begins with: whoever finds one in a file can tell what it is, and a later
// kind has another.
const BadgePrefix = "msb1"

// BadgeMax bounds a badge, in characters: a certificate of a user has some 500 bytes.
const BadgeMax = 4096

// Badge is what a user who has shown a password carries from request to request, where there is no connection of its
// own to prove who that is: a certificate that ends soon, with its key.
//
//	msb1.<certificate, DER in base64url>.<key, base64url>
//
// So it proves what any certificate does, at each node, and ends when that does. Anybody who reads it is that user until then.
type Badge struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewBadge puts a user's certificate, as DER, and its key together. The key must be that of the certificate.
func NewBadge(der []byte, key *ecdsa.PrivateKey) (*Badge, error) {
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, &Error{Field: "token's certificate", Found: shown(err.Error()), Want: "a certificate in DER"}
	}
	pub, err := onP256("token's key", c.PublicKey)
	if err != nil {
		return nil, err
	}
	if !pub.Equal(&key.PublicKey) && !bug("badge's key not compared") {
		return nil, &Error{Field: "token's key", Found: "that of another certificate", Want: "the one of the certificate in it"}
	}
	return &Badge{Certificate: c, key: key}, nil
}

// TLS is what a host shows that speaks for the user.
func (s *Badge) TLS() *tls.Certificate {
	return &tls.Certificate{Certificate: [][]byte{s.Certificate.Raw}, PrivateKey: s.key, Leaf: s.Certificate}
}

// String is the badge as the user carries it, with its key. Package fmt, and so any log, shows it without.
func (s *Badge) String() string {
	scalar, err := s.key.Bytes()
	if err != nil {
		panic(fmt.Sprintf("trust: a key on P-256 that has no bytes: %v", err))
	}
	return s.public() + base64.RawURLEncoding.EncodeToString(scalar)
}

// public is the badge without its key, up to the last dot.
func (s *Badge) public() string {
	return BadgePrefix + "." + base64.RawURLEncoding.EncodeToString(s.Certificate.Raw) + "."
}

// Format shows the badge without its key, whatever the verb.
func (s *Badge) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.public()+"…") }

// BadgeID names a badge without telling it: the SHA-256 of its text.
func BadgeID(text string) [sha256.Size]byte { return sha256.Sum256([]byte(text)) }

// ParseBadge reads what [Badge.String] wrote, and names the part that is wrong, without showing a secret. That the
// certificate is good is for the caller to ask ([Trusted.Verify]).
func ParseBadge(text string) (*Badge, error) {
	const form = BadgePrefix + ".<certificate>.<key>, as the login has answered it"
	parts := strings.Split(text, ".")
	switch {
	case text == "":
		return nil, &Error{Field: "token", Found: "nothing", Want: form}
	case len(text) > BadgeMax:
		return nil, &Error{Field: "token", Found: plural(len(text), "character"), Want: fmt.Sprintf("at most %d", BadgeMax)}
	case parts[0] != BadgePrefix: // what stands there may be a secret of another kind
		return nil, &Error{Field: "token's beginning", Found: "something else", Want: form}
	case len(parts) != 3:
		return nil, &Error{Field: "token", Found: plural(len(parts), "part"), Want: "3: " + form}
	}
	der, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	if err != nil {
		return nil, &Error{Field: "token's certificate", Found: plural(len(parts[1]), "character"), Want: "base64url"}
	}
	scalar, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil || len(scalar) != scalarBytes {
		return nil, &Error{Field: "token's key", Found: plural(len(parts[2]), "character"), Want: fmt.Sprintf("%d bytes of base64url", scalarBytes)}
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return nil, &Error{Field: "token's key", Found: "none", Want: "a key on P-256"}
	}
	return NewBadge(der, key)
}
