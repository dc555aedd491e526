package trust

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
)

// scalarBytes is the size of a private key on P-256.
const scalarBytes = 32

// NewKey makes a key on P-256 out of what rand gives. The library's own way
// takes no chance from its caller, so a simulator could not repeat it.
func NewKey(rand io.Reader) (*ecdsa.PrivateKey, error) {
	var scalar [scalarBytes]byte
	// One scalar in 2^32 is not below the order of the curve. A source that gives
	// one again and again is broken.
	for range 4 {
		if _, err := io.ReadFull(rand, scalar[:]); err != nil {
			return nil, fmt.Errorf("draw a key: %w", err)
		}
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar[:]); err == nil {
			return key, nil
		}
	}
	return nil, fmt.Errorf("draw a key: the source of chance gives nothing that could be one")
}

// KeyID names a public key: the SHA-256 of it as certificates have it
// (SubjectPublicKeyInfo).
type KeyID [sha256.Size]byte

func (k KeyID) String() string { return hex.EncodeToString(k[:]) }

// KeyIDOf names the key of c.
func KeyIDOf(c *x509.Certificate) KeyID { return sha256.Sum256(c.RawSubjectPublicKeyInfo) }

// PublicKeyID names a key that is in no certificate yet.
func PublicKeyID(pub *ecdsa.PublicKey) (KeyID, error) {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return KeyID{}, fmt.Errorf("encode a public key: %w", err)
	}
	return sha256.Sum256(der), nil
}

// onP256 returns pub as a key on P-256, and refuses another.
func onP256(what string, pub any) (*ecdsa.PublicKey, error) {
	key, ok := pub.(*ecdsa.PublicKey)
	switch {
	case !ok:
		return nil, &Error{Field: what, Found: fmt.Sprintf("a %T", pub), Want: "an ECDSA key on P-256"}
	case key == nil || key.Curve == nil:
		return nil, &Error{Field: what, Found: "none", Want: "an ECDSA key on P-256"}
	case key.Curve != elliptic.P256():
		return nil, &Error{Field: what, Found: "an ECDSA key on " + key.Curve.Params().Name, Want: "an ECDSA key on P-256"}
	}
	return key, nil
}
