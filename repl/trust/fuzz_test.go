package trust_test

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"muster/repl/memtest"
	"muster/repl/trust"
)

// Bounds of what a stranger's bytes may cost. The house's bound, 16 × input + 4 KiB, holds for what
// this package reads by itself. The library's parser of certificates and requests makes a structure
// of 120 bytes for each name, and an empty one takes two of input; so these have a bound of their
// own. The limits on their size keep a certificate below 400 KiB by it, and a request below 100.
const (
	ownFactor, ownFixed         = 16, 4 << 10
	libraryFactor, libraryFixed = 96, 4 << 10
)

func checkBound(t testing.TB, what string, input, factor, fixed int, f func()) {
	t.Helper()
	if got, bound := memtest.Allocated(f), factor*input+fixed; got > bound {
		t.Errorf("%s: %d bytes of input cost %d bytes, the bound is %d", what, input, got, bound)
	}
}

func checkOneLine(t testing.TB, err error) {
	t.Helper()
	if err != nil && (strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) || len(err.Error()) > 1000) {
		t.Errorf("%q is not one bounded line", err)
	}
}

// hostileCertificates cost as much as certificates can.
func (w *world) hostileCertificates() (all [][]byte) {
	full := func(grow func(c *x509.Certificate)) []byte {
		c := w.forge(forged{change: func(c *x509.Certificate) {
			c.URIs = c.URIs[:0]
			grow(c)
		}})
		return c.Raw
	}
	return [][]byte{
		full(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{many(w.t, 6, 1750)} }),
		full(func(c *x509.Certificate) { c.ExtraExtensions = []pkix.Extension{many(w.t, 2, 1750)} }),
		full(func(c *x509.Certificate) {
			for i := range 300 {
				c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, i}})
			}
		}),
		full(func(c *x509.Certificate) {
			for range 1200 {
				c.DNSNames = append(c.DNSNames, "a")
			}
		}),
		full(func(c *x509.Certificate) { c.Subject.Organization = strings.Split(strings.Repeat("x ", 300), " ") }),
	}
}

// many is the extension that has n names of a kind, all empty.
func many(t testing.TB, tag, n int) pkix.Extension {
	t.Helper()
	value, err := asn1.Marshal(slices.Repeat([]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: tag}}, n))
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}
}

// FuzzCertificate reads anything as the certificate of a node and as a root, and
// verifies it: nobody is proven to be anybody by what no root has signed.
func FuzzCertificate(f *testing.F) {
	w := newWorld(f, 1, cluster)
	leaf, _ := w.issue(node(2), trust.NodeLife)
	person, _ := w.issue(user("alice"), trust.UserLife)
	self, err := trust.SelfSigned(w.chance, w.newKey(), noon)
	w.must(err)
	signed := map[string]bool{string(leaf.Raw): true, string(person.Raw): true}
	for _, b := range append(w.hostileCertificates(), leaf.Raw, person.Raw, self.Certificate[0], w.root.Raw, leaf.Raw[:len(leaf.Raw)-1], nil) {
		f.Add(b)
	}
	trusted := w.trusted()
	f.Fuzz(func(t *testing.T, der []byte) {
		checkBound(t, "certificate", len(der), libraryFactor, libraryFixed, func() {
			_, err := trust.ReadCertificate(der)
			checkOneLine(t, err)
		})
		checkBound(t, "root", len(der), libraryFactor, libraryFixed, func() {
			_, err := trust.ReadRoot(der)
			checkOneLine(t, err)
		})
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		checkBound(t, "verification", len(der), libraryFactor, libraryFixed, func() {
			p, err := trusted.Verify([]*x509.Certificate{c}, noon.Add(time.Hour))
			checkOneLine(t, err)
			if (err == nil) != signed[string(der)] {
				t.Errorf("got %v, %v", p, err)
			}
		})
	})
}

// FuzzRequest reads anything as a request: what is taken is for a key that its
// asker has, which nobody finds by trying.
func FuzzRequest(f *testing.F) {
	w := newWorld(f, 1, cluster)
	good, err := trust.NewRequest(w.newKey())
	w.must(err)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(requestWith(f, w.newKey(), x509.CertificateRequest{DNSNames: strings.Split(strings.Repeat("a ", 300), " ")}))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, der []byte) {
		checkBound(t, "request", len(der), libraryFactor, libraryFixed, func() {
			pub, err := trust.ReadRequest(der)
			checkOneLine(t, err)
			if (err == nil) != (pub != nil) {
				t.Errorf("got %v, %v", pub, err)
			}
		})
	})
}

// FuzzToken reads anything as a token: what is taken is written as it was.
func FuzzToken(f *testing.F) {
	w := newWorld(f, 1, cluster)
	text := w.token().String()
	f.Add(text)
	f.Add(text[:len(text)-1])
	f.Add("mst1...")
	f.Add(strings.Repeat(".", 5000))
	f.Add("mst1." + strings.Repeat("0", 5000))
	f.Fuzz(func(t *testing.T, text string) {
		checkBound(t, "token", len(text), ownFactor, ownFixed, func() {
			token, err := trust.ParseToken(text)
			checkOneLine(t, err)
			if err == nil && token.String() != text {
				t.Errorf("%q is read as %q", text, token.String())
			}
		})
	})
}

// FuzzWrapped opens anything as a wrapped key: only what was wrapped opens.
func FuzzWrapped(f *testing.F) {
	w := newWorld(f, 1, cluster)
	key, err := trust.NewWrapKey(w.chance)
	w.must(err)
	root := w.issuer.Root()
	wrapped, err := trust.Wrap(w.chance, key, w.key, root)
	w.must(err)
	f.Add(wrapped)
	f.Add(wrapped[:len(wrapped)-1])
	f.Add(make([]byte, trust.WrappedSize))
	f.Add(append([]byte{1}, make([]byte, trust.WrappedSize-1)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		checkBound(t, "wrapped key", len(b), ownFactor, ownFixed, func() {
			got, err := trust.Unwrap(key, b, root)
			checkOneLine(t, err)
			if (err == nil) != bytes.Equal(b, wrapped) || err == nil && !got.Equal(w.key) {
				t.Errorf("got a key or %v", err)
			}
		})
	})
}

// FuzzFile reads anything as a file of certificates, of a key, and of a company.
func FuzzFile(f *testing.F) {
	w := newWorld(f, 1, cluster)
	key := w.newKey()
	file, err := trust.EncodeKey(key)
	w.must(err)
	f.Add(trust.EncodeCertificates(w.root.Raw))
	f.Add(file)
	f.Add(bytes.Repeat([]byte("-----BEGIN A-----\n-----END A-----\n"), 200))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		checkBound(t, "file", len(b), ownFactor, ownFixed, func() {
			_, err := trust.DecodeCertificates(b)
			checkOneLine(t, err)
		})
		_, err := trust.DecodeKey(b)
		checkOneLine(t, err)
		_, err = trust.LoadOwn(b, b, b, "n1:1", noon)
		checkOneLine(t, err)
	})
}
