package trust

import (
	"crypto/ecdsa"
	"crypto/x509"
	"fmt"
	"io"
)

// RequestMax bounds a request for a certificate, in bytes of DER. One that
// [NewRequest] makes has some 200.
const RequestMax = 1024

// NewRequest asks for a certificate for key. It has the key in it, and the proof
// that whoever asks has it; the name is for the one who signs to say.
func NewRequest(key *ecdsa.PrivateKey) (csrDER []byte, err error) {
	csrDER, err = x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make a request for a certificate: %w", err)
	}
	return csrDER, nil
}

// NewKeyAndRequest makes a key, and a request for a certificate for it.
func NewKeyAndRequest(random io.Reader) (key *ecdsa.PrivateKey, request []byte, err error) {
	if key, err = NewKey(random); err != nil {
		return nil, nil, err
	}
	request, err = NewRequest(key)
	return key, request, err
}

// ReadRequest returns the key that a request is for. It refuses one whose
// asker has not shown to have the key, and one that asks for more than a
// signature of its key: what it would have wished for is not what it would get.
func ReadRequest(der []byte) (*ecdsa.PublicKey, error) {
	if len(der) > RequestMax {
		return nil, &Error{Field: "request", Found: plural(len(der), "byte"), Want: fmt.Sprintf("at most %d", RequestMax)}
	}
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, &Error{Field: "request", Found: shown(err.Error()), Want: "a certificate request in DER"}
	}
	pub, err := onP256("request's key", r.PublicKey)
	if err != nil {
		return nil, err
	}
	if len(r.Extensions) > 0 || len(r.Subject.Names) > 0 {
		return nil, &Error{Field: "request", Found: fmt.Sprintf("%s and %s in it", plural(len(r.Subject.Names), "name"), plural(len(r.Extensions), "extension")), Want: "a key and nothing else"}
	}
	if err := r.CheckSignature(); err != nil {
		return nil, &Error{Field: "request's signature", Found: "one that does not fit", Want: "one by the request's key"}
	}
	return pub, nil
}
