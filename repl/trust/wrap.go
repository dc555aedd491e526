package trust

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
)

// WrapKey is the key under which the key of a root is kept in the table. It is
// in a file on the nodes that may lead the table's group, and nowhere else.
type WrapKey [32]byte

// WrapKeyID names a [WrapKey]. It follows from the key and does not reveal it,
// so a file that does not have the key it is named for is found out.
type WrapKeyID [16]byte

func (w WrapKeyID) String() string { return hex.EncodeToString(w[:]) }

// NewWrapKey draws a key.
func NewWrapKey(rand io.Reader) (w WrapKey, err error) {
	if _, err := io.ReadFull(rand, w[:]); err != nil {
		return w, fmt.Errorf("draw a wrapping key: %w", err)
	}
	return w, nil
}

const (
	wrapIDLabel = "muster wrapping key id\x00"
	wrapLabel   = "muster key of root\x00"
)

// ID names the key.
func (w WrapKey) ID() WrapKeyID {
	sum := sha256.Sum256(append([]byte(wrapIDLabel), w[:]...))
	return WrapKeyID(sum[:16])
}

// Format shows the name of the key instead of the key, whatever the verb.
func (w WrapKey) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "wrapping key "+w.ID().String())
}

// A wrapped key is:
//
//	version 1 (1 byte) | nonce (12) | AES-256-GCM of the private scalar (32) with its tag (16)
//
// wrapLabel and the id of the root are the associated data: a wrapped key that is
// put beside another root does not open.
const (
	wrapVersion = 1
	wrapNonce   = 12
	wrapTag     = 16
	// WrappedSize is the number of bytes of a wrapped key.
	WrappedSize = 1 + wrapNonce + scalarBytes + wrapTag
)

// Wrap encrypts the key of a root under w.
func Wrap(rand io.Reader, w WrapKey, key *ecdsa.PrivateKey, root RootID) ([]byte, error) {
	if _, err := onP256("key of root", &key.PublicKey); err != nil {
		return nil, err
	}
	scalar, err := key.Bytes()
	if err != nil {
		return nil, fmt.Errorf("wrap the key of root %s: %w", root, err)
	}
	aead, err := w.aead()
	if err != nil {
		return nil, fmt.Errorf("wrap the key of root %s: %w", root, err)
	}
	b := make([]byte, 1+wrapNonce, WrappedSize)
	b[0] = wrapVersion
	if _, err := io.ReadFull(rand, b[1:]); err != nil {
		return nil, fmt.Errorf("wrap the key of root %s: draw a nonce: %w", root, err)
	}
	return aead.Seal(b, b[1:], scalar, wrapData(root)), nil
}

// Unwrap decrypts what [Wrap] made. That the key is the root's is for [NewIssuer]
// to check.
func Unwrap(w WrapKey, wrapped []byte, root RootID) (*ecdsa.PrivateKey, error) {
	field := "wrapped key of root " + root.String()
	if len(wrapped) != WrappedSize {
		return nil, &Error{Field: field, Found: plural(len(wrapped), "byte"), Want: fmt.Sprintf("%d", WrappedSize)}
	}
	if wrapped[0] != wrapVersion {
		return nil, &Error{Field: field, Found: fmt.Sprintf("version %d", wrapped[0]), Want: fmt.Sprintf("version %d", wrapVersion)}
	}
	aead, err := w.aead()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	scalar, err := aead.Open(nil, wrapped[1:1+wrapNonce], wrapped[1+wrapNonce:], wrapData(root))
	if err != nil {
		return nil, &Error{Field: field, Found: "bytes that wrapping key " + w.ID().String() + " does not open", Want: "those that it sealed for this root, unchanged"}
	}
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), scalar)
	if err != nil {
		return nil, &Error{Field: field, Found: "no key on P-256 in it", Want: "one"}
	}
	return key, nil
}

func (w WrapKey) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(w[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func wrapData(root RootID) []byte { return append([]byte(wrapLabel), root[:]...) }

const proofLabel = "muster reset\x00"

// Prove returns a proof that whoever asks has w. It covers what is asked over a connection, and the TLS
// exporter of that, so it is good there alone.
func (w WrapKey) Prove(exporter []byte, user string, request []byte) []byte {
	m := hmac.New(sha256.New, w[:])
	m.Write([]byte(proofLabel)) // a hash takes all that it is given
	var size [4]byte
	for _, part := range [...][]byte{exporter, []byte(user), request} {
		// With its length: no two askings have the same bytes.
		binary.LittleEndian.PutUint32(size[:], uint32(len(part)))
		m.Write(size[:])
		m.Write(part)
	}
	return m.Sum(nil)
}

// Proves reports whether a proof is that of [WrapKey.Prove].
func (w WrapKey) Proves(proof, exporter []byte, user string, request []byte) bool {
	return len(exporter) > 0 && hmac.Equal(proof, w.Prove(exporter, user, request))
}
