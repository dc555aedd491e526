package trust_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
	"unicode"

	"muster/repl/trust"
)

// company is a CA such as a company has: with a CA between, and hosts.
type company struct {
	t               testing.TB
	root, between   *x509.Certificate
	rootKey, midKey crypto.Signer
}

func newCompany(t testing.TB, name string) *company {
	t.Helper()
	c := &company{t: t}
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(9, 0, 0)}
	c.root, c.rootKey = c.sign(ca, nil, nil, nil)
	mid := &x509.Certificate{Subject: pkix.Name{CommonName: name + " hosts"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		NotBefore: noon.AddDate(-1, 0, 0), NotAfter: noon.AddDate(9, 0, 0)}
	c.between, c.midKey = c.sign(mid, nil, c.root, c.rootKey)
	return c
}

// sign signs what the template says; with key, or a new one; by itself without a
// parent.
func (c *company) sign(template *x509.Certificate, key crypto.Signer, parent *x509.Certificate, parentKey crypto.Signer) (*x509.Certificate, crypto.Signer) {
	c.t.Helper()
	if key == nil {
		made, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
		if err != nil {
			c.t.Fatal(err)
		}
		key = made
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	template.SerialNumber = big.NewInt(1 + noon.Unix())
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		c.t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	return made, key
}

// host is a certificate for 10.0.0.7 and n1.example, but for what change does to
// it, as files: with the CA between behind it.
func (c *company) host(key crypto.Signer, change func(h *x509.Certificate)) (cert, keyPEM []byte, made *x509.Certificate) {
	h := &x509.Certificate{Subject: pkix.Name{CommonName: "n1.example"}, NotBefore: noon.AddDate(0, 0, -1), NotAfter: noon.AddDate(0, 3, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, DNSNames: []string{"n1.example"}, IPAddresses: []net.IP{net.IPv4(10, 0, 0, 7)}}
	change(h)
	made, key = c.sign(h, key, c.between, c.midKey)
	cert = append(block("CERTIFICATE", made.Raw), block("CERTIFICATE", c.between.Raw)...)
	return cert, block("PRIVATE KEY", pkcs8(c.t, key)), made
}

func asIs(*x509.Certificate) {}

// A mistake in the files of a company's certificate is met by each who sets a
// cluster up so. Each is one line that begins with the option, and says what to
// change.
func TestLoadOwn(t *testing.T) {
	c, other := newCompany(t, "Shop CA"), newCompany(t, "Other CA")
	good, key, leaf := c.host(nil, asIs)
	ca := block("CERTIFICATE", c.root.Raw)
	large, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	ed, err := edKey()
	if err != nil {
		t.Fatal(err)
	}
	made := func(key crypto.Signer, err error) crypto.Signer {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	p521 := made(ecdsa.GenerateKey(elliptic.P521(), rand.Reader))
	p224 := made(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	small := made(rsa.GenerateKey(rand.Reader, 1024))
	_, strange, _ := c.host(nil, asIs)
	type files struct{ cert, key, ca []byte }
	with := func(signer crypto.Signer, change func(h *x509.Certificate)) files {
		cert, key, _ := c.host(signer, change)
		return files{cert, key, ca}
	}
	p384 := func() crypto.Signer {
		block, _ := pem.Decode(key)
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return parsed.(crypto.Signer)
	}()
	sec1, err := x509.MarshalECPrivateKey(p384.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	alone := block("CERTIFICATE", leaf.Raw)
	between := block("CERTIFICATE", c.between.Raw)
	junk := []byte("secretsecretsecret")
	for _, row := range []struct {
		what string
		files
		addr string
		want string // "": it is taken
	}{
		{"by IP address", files{good, key, ca}, "10.0.0.7:4166", ""},
		{"by DNS name", files{good, key, ca}, "n1.example:4166", ""},
		{"by DNS name in upper case", files{good, key, ca}, "N1.Example", ""},
		{"by an address without a port", files{good, key, ca}, "10.0.0.7", ""},
		{"by IPv6", with(nil, func(h *x509.Certificate) { h.IPAddresses = []net.IP{net.ParseIP("fd00::7")} }), "[fd00::7]:4166", ""},
		{"by IPv6 without a port", with(nil, func(h *x509.Certificate) { h.IPAddresses = []net.IP{net.ParseIP("fd00::7")} }), "[fd00::7]", ""},
		{"by a wildcard", with(nil, func(h *x509.Certificate) { h.DNSNames = []string{"*.example"} }), "n9.example:1", ""},
		{"for servers only", with(nil, func(h *x509.Certificate) { h.ExtKeyUsage = h.ExtKeyUsage[:1] }), "10.0.0.7:1", ""},
		{"without bounds on its usage", with(nil, func(h *x509.Certificate) { h.ExtKeyUsage = nil }), "10.0.0.7:1", ""},
		{"RSA", with(large, asIs), "10.0.0.7:1", ""},
		{"P-521", with(p521, asIs), "10.0.0.7:1", ""},
		{"Ed25519", with(ed, asIs), "10.0.0.7:1", ""},
		{"a key in SEC 1", files{good, block("EC PRIVATE KEY", sec1), ca}, "10.0.0.7:1", ""},
		{"both in one file", files{append(bytes.Clone(key), good...), append(bytes.Clone(good), key...), ca}, "10.0.0.7:1", ""},
		{"the CA between is trusted", files{alone, key, between}, "10.0.0.7:1", ""},
		{"two CAs", files{good, key, append(block("CERTIFICATE", other.root.Raw), ca...)}, "10.0.0.7:1", ""},

		{"P-224", with(p224, asIs), "10.0.0.7:1", "--tls-key: found an ECDSA key on P-224"},
		{"a small RSA key", with(small, asIs), "10.0.0.7:1", "--tls-key: found an RSA key of 1024 bits"},
		{"another key", files{good, strange, ca}, "10.0.0.7:1", "--tls-key: found a key that does not fit the certificate in --tls-cert"},
		{"the order turned round", files{append(bytes.Clone(between), alone...), key, ca}, "10.0.0.7:1", "--tls-cert: found the host's certificate in place 2"},
		{"expired", with(nil, func(h *x509.Certificate) { h.NotAfter = noon.Add(-time.Hour) }), "10.0.0.7:1", "--tls-cert: found a certificate that expired at 2026-03-01T11:00:00Z"},
		{"not begun", with(nil, func(h *x509.Certificate) { h.NotBefore = noon.Add(time.Hour) }), "10.0.0.7:1", "--tls-cert: found a certificate that begins at 2026-03-01T13:00:00Z"},
		{"another CA", files{good, key, block("CERTIFICATE", other.root.Raw)}, "10.0.0.7:1", `--tls-cert: found a certificate signed by "CN=Shop CA hosts" (`},
		{"the CA between left out", files{alone, key, ca}, "10.0.0.7:1", `--tls-cert: found a certificate signed by "CN=Shop CA hosts"`},
		{"for clients only", with(nil, func(h *x509.Certificate) { h.ExtKeyUsage = h.ExtKeyUsage[1:] }), "10.0.0.7:1", `--tls-cert: found a certificate with the usage "[client authentication]"`},
		{"for code", with(nil, func(h *x509.Certificate) { h.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning} }), "10.0.0.7:1", "server authentication among them"},
		{"another address", files{good, key, ca}, "10.0.0.8:1", `--tls-cert: found a certificate for "n1.example, 10.0.0.7", want one for "10.0.0.8"`},
		{"another name", files{good, key, ca}, "n2.example:1", `want one for "n2.example"`},
		{"a name below", files{good, key, ca}, "a.n1.example:1", `want one for "a.n1.example"`},
		{"a subject alone", with(nil, func(h *x509.Certificate) { h.DNSNames, h.IPAddresses = nil, nil }), "n1.example:1", "its subject does not count"},
		{"no address", files{good, key, ca}, "", `want one for ""`},
		{"a CA", with(nil, func(h *x509.Certificate) {
			h.IsCA, h.BasicConstraintsValid, h.KeyUsage = true, true, x509.KeyUsageCertSign
		}), "10.0.0.7:1", "--tls-cert: found the certificate of a CA"},
		{"a host as a CA", files{good, key, alone}, "10.0.0.7:1", `--tls-ca: found "CN=n1.example", which is no CA`},
		{"no certificate", files{nil, key, ca}, "10.0.0.7:1", "--tls-cert: found no PEM block"},
		{"no key", files{good, nil, ca}, "10.0.0.7:1", "--tls-key: found no PEM block"},
		{"no CA", files{good, key, nil}, "10.0.0.7:1", "--tls-ca: found no PEM block"},
		{"the key in place of the certificate", files{key, key, ca}, "10.0.0.7:1", `--tls-cert: found "blocks PRIVATE KEY"`},
		{"the certificate in place of the key", files{good, good, ca}, "10.0.0.7:1", "--tls-key: found 0 private keys"},
		{"the key in place of the CA", files{good, key, key}, "10.0.0.7:1", `--tls-ca: found a block "PRIVATE KEY"`},
		{"two keys", files{good, append(bytes.Clone(key), strange...), ca}, "10.0.0.7:1", "--tls-key: found 2 private keys"},
		{"a key under a passphrase", files{good, block("ENCRYPTED PRIVATE KEY", junk), ca}, "10.0.0.7:1", "--tls-key: found a key under a passphrase"},
		{"an old key under a passphrase", files{good, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES"}, Bytes: junk}), ca}, "10.0.0.7:1", "--tls-key: found a key under a passphrase"},
		{"a block that is no key", files{good, block("PRIVATE KEY", junk), ca}, "10.0.0.7:1", `--tls-key: found a block "PRIVATE KEY" that is no key`},
		{"a block that is no certificate", files{block("CERTIFICATE", junk), key, ca}, "10.0.0.7:1", "--tls-cert: found a block that is no certificate"},
		{"too many certificates", files{append(bytes.Clone(good), bytes.Repeat(between, 6)...), key, ca}, "10.0.0.7:1", "--tls-cert: found 8 certificates"},
		{"too large", files{make([]byte, trust.FileMax+1), key, ca}, "10.0.0.7:1", "--tls-cert: found 262145 bytes"},
	} {
		o, err := trust.LoadOwn(row.cert, row.key, row.ca, row.addr, noon)
		if row.want == "" {
			if err != nil || o.Certificate.Leaf == nil {
				t.Errorf("%s: %v", row.what, err)
			}
			continue
		}
		if o != nil || err == nil || !strings.Contains(err.Error(), row.want) {
			t.Errorf("%s: got %v, want %q", row.what, err, row.want)
			continue
		}
		if strings.Contains(err.Error(), string(junk)) || strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%s: %q", row.what, err)
		}
	}
}

// A node with a company's certificate is known by the address that the table has
// for it, from either side of a connection.
func TestOwnVerify(t *testing.T) { ownVerified(t) }

func ownVerified(t testing.TB) {
	c, other := newCompany(t, "Shop CA"), newCompany(t, "Other CA")
	load := func(of *company) *trust.Own {
		cert, key, _ := of.host(nil, asIs)
		o, err := trust.LoadOwn(cert, key, block("CERTIFICATE", of.root.Raw), "10.0.0.7:4166", noon)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	mine, theirs := load(c), load(other)
	holder := func(o *trust.Own) *trust.Holder {
		h := new(trust.Holder)
		h.Set(&trust.Holding{Certificate: o.Certificate, Own: o})
		return h
	}
	check := func(s tls.ConnectionState) error {
		_, err := mine.Verify(s.PeerCertificates, "10.0.0.7:4166", noon)
		return err
	}
	server, client := handshake(t, holder(mine).Server(), holder(mine).Client(check))
	if server.err != nil || client.err != nil {
		t.Fatalf("server %v, client %v", server.err, client.err)
	}
	chain := server.state.PeerCertificates
	p, err := mine.Verify(chain, "n1.example:4166", noon)
	if err != nil || p.Key != trust.KeyIDOf(chain[0]) || p.Name != (trust.Name{}) || !p.NotAfter.Equal(chain[0].NotAfter) {
		t.Errorf("got %+v, %v", p, err)
	}
	if _, client := handshake(t, holder(theirs).Server(), holder(mine).Client(check)); !errors.Is(client.err, trust.ErrForeign) {
		t.Errorf("another company's server: %v", client.err)
	}
	w := newWorld(t, 1, cluster)
	ofCluster, _ := w.issue(node(2), trust.NodeLife)
	for _, row := range []struct {
		what  string
		chain []*x509.Certificate
		addr  string
		at    time.Time
		want  error
	}{
		{"none", nil, "10.0.0.7:1", noon, trust.ErrNone},
		{"the node at another address", chain, "10.0.0.8:1", noon, nil},
		{"expired", chain, "10.0.0.7:1", noon.AddDate(0, 4, 0), nil},
		{"too early", chain, "10.0.0.7:1", noon.AddDate(0, -1, 0), trust.ErrEarly},
		{"one of the cluster's root", []*x509.Certificate{ofCluster, w.root}, "10.0.0.7:1", noon, trust.ErrForeign},
		{"the CA between", []*x509.Certificate{c.between}, "10.0.0.7:1", noon, nil},
	} {
		if p, err := mine.Verify(row.chain, row.addr, row.at); err == nil || row.want != nil && !errors.Is(err, row.want) || p != (trust.Proven{}) {
			t.Errorf("%s: got %+v, %v", row.what, p, err)
		}
	}
	// And a company's certificate is nobody in a cluster with roots.
	if p, err := w.trusted().Verify(chain, noon); err == nil {
		t.Errorf("it is %v by the cluster's root", p.Name)
	}
}
