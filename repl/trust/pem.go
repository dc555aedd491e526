package trust

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
)

// FileMax bounds a file with certificates or a key, in bytes.
const FileMax = 256 << 10

const (
	blockCertificate = "CERTIFICATE"
	blockKey         = "PRIVATE KEY"
)

// EncodeCertificates is a file with certificates, in that order.
func EncodeCertificates(ders ...[]byte) (b []byte) {
	for _, der := range ders {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: der})...)
	}
	return b
}

// DecodeCertificates reads a file with certificates: at least one, and nothing
// else but text between them. It does not parse them.
func DecodeCertificates(file []byte) (ders [][]byte, err error) {
	blocks, err := decode("file of certificates", file)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if b.Type != blockCertificate {
			return nil, &Error{Field: "file of certificates", Found: "a block " + shown(b.Type), Want: "blocks CERTIFICATE alone"}
		}
		ders = append(ders, b.Bytes)
	}
	return ders, nil
}

// EncodeKey is a file with a private key (PKCS #8).
func EncodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode a private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}), nil
}

// DecodeKey reads what [EncodeKey] wrote.
func DecodeKey(file []byte) (*ecdsa.PrivateKey, error) {
	blocks, err := decode("file of a key", file)
	if err != nil {
		return nil, err
	}
	if len(blocks) != 1 || blocks[0].Type != blockKey {
		return nil, &Error{Field: "file of a key", Found: blockTypes(blocks), Want: "one block PRIVATE KEY"}
	}
	parsed, err := x509.ParsePKCS8PrivateKey(blocks[0].Bytes)
	if err != nil { // its text may have parts of the key in it
		return nil, &Error{Field: "file of a key", Found: "a block that is no private key", Want: "PKCS #8"}
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, &Error{Field: "file of a key", Found: fmt.Sprintf("a %T", parsed), Want: "an ECDSA key on P-256"}
	}
	if _, err := onP256("file of a key", &key.PublicKey); err != nil {
		return nil, err
	}
	return key, nil
}

// decode finds the blocks of a file: at least one.
func decode(what string, file []byte) (blocks []*pem.Block, err error) {
	if len(file) > FileMax {
		return nil, &Error{Field: what, Found: plural(len(file), "byte"), Want: fmt.Sprintf("at most %d", FileMax)}
	}
	for rest := file; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		blocks = append(blocks, b)
	}
	if len(blocks) == 0 {
		return nil, &Error{Field: what, Found: "no PEM block", Want: "text that begins with -----BEGIN"}
	}
	return blocks, nil
}

func blockTypes(blocks []*pem.Block) string {
	types := make([]string, len(blocks))
	for i, b := range blocks {
		types[i] = b.Type
	}
	return shown("blocks " + strings.Join(types, ", "))
}
