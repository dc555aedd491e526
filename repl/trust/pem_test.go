package trust_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"muster/repl/trust"
)

func block(kind string, b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}

func pkcs8(t testing.TB, key any) []byte {
	t.Helper()
	b, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Keys and certificates come back as they were written, and anything else in a file is refused by
// name, without a byte of a key.
func TestFiles(t *testing.T) {
	w := newWorld(t, 1, cluster)
	key := w.newKey()
	file, err := trust.EncodeKey(key)
	w.must(err)
	if got, err := trust.DecodeKey(file); err != nil || !got.Equal(key) {
		t.Errorf("got another key, %v", err)
	}
	certificates := trust.EncodeCertificates(w.root.Raw, []byte("two"))
	if got, err := trust.DecodeCertificates(certificates); err != nil || len(got) != 2 || !bytes.Equal(got[0], w.root.Raw) || string(got[1]) != "two" {
		t.Errorf("got %d certificates, %v", len(got), err)
	}
	rsa, err := rsaKey()
	w.must(err)
	p384, err := p384Key()
	w.must(err)
	ed, err := edKey()
	w.must(err)
	for _, row := range []struct {
		what string
		file []byte
	}{
		{"nothing", nil},
		{"text", []byte("hello")},
		{"cut", file[:len(file)-10]},
		{"two keys", append(bytes.Clone(file), file...)},
		{"a certificate", certificates},
		{"a block that is no key", block("PRIVATE KEY", []byte("secretsecret"))},
		{"an RSA key", block("PRIVATE KEY", pkcs8(t, rsa))},
		{"a key on P-384", block("PRIVATE KEY", pkcs8(t, p384))},
		{"an Ed25519 key", block("PRIVATE KEY", pkcs8(t, ed))},
		{"too large", make([]byte, trust.FileMax+1)},
	} {
		got, err := trust.DecodeKey(row.file)
		checkField(t, row.what, err, "file of a key")
		if got != nil || err != nil && strings.Contains(err.Error(), "secretsecret") {
			t.Errorf("%s: got a key, or %v", row.what, err)
		}
	}
	for _, row := range []struct {
		what string
		file []byte
	}{
		{"nothing", nil},
		{"text", []byte("hello")},
		{"a key", file},
		{"a key behind certificates", append(bytes.Clone(certificates), file...)},
		{"too large", make([]byte, trust.FileMax+1)},
	} {
		_, err := trust.DecodeCertificates(row.file)
		checkField(t, row.what, err, "file of certificates")
	}
}
