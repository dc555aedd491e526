package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// CA is belief in a company's CA: that it knows which hosts are which. It does not
// change, and is safe for all goroutines.
type CA struct {
	roots *x509.CertPool
	all   []*x509.Certificate
	names []string // of the CA's certificates, for errors
}

// Own is a host's certificate of its company's CA, and belief in that CA. It does
// not change.
type Own struct {
	// Certificate is what the host shows: its own, and intermediate ones.
	Certificate *tls.Certificate
	*CA
	vouched *vouched
}

// vouched is by what a company's CA vouches for a certificate: each way from that up to
// a certificate of the CA, of which there are several where CAs sign each other.
type vouched struct{ chains [][]*x509.Certificate }

// The files of [LoadOwn], as errors name them: by the options that give them.
const (
	fileCert = "--tls-cert"
	fileKey  = "--tls-key"
	fileCA   = "--tls-ca"
)

// LoadOwn reads a host's own certificate with the intermediate ones behind it,
// its key, and the certificates of the CA, all as PEM. addr is the host's address
// as its peers dial it, with or without a port. The key may be of any kind that
// TLS 1.3 takes. Each mistake is one line that names the file.
func LoadOwn(certPEM, keyPEM, caPEM []byte, addr string, now time.Time) (*Own, error) {
	chain, err := ownCertificates(fileCert, certPEM)
	if err != nil {
		return nil, err
	}
	key, err := ownKey(keyPEM)
	if err != nil {
		return nil, err
	}
	if err := usable(key); err != nil {
		return nil, err
	}
	if err := fits(key, chain); err != nil {
		return nil, err
	}
	ca, err := LoadCA(caPEM)
	if err != nil {
		return nil, err
	}
	o := &Own{Certificate: &tls.Certificate{PrivateKey: key, Leaf: chain[0]}, CA: ca}
	for _, c := range chain {
		o.Certificate.Certificate = append(o.Certificate.Certificate, c.Raw)
	}
	if size := ownSize(chain); len(chain) > ChainMax || size > ShownMax {
		return nil, &Error{Field: fileCert, Found: fmt.Sprintf("%s with %s", plural(len(chain), "certificate"), plural(size, "byte")), Want: fmt.Sprintf("at most %d with %d bytes, which is what peers take", ChainMax, ShownMax)}
	}
	p, err := o.verify(fileCert, chain, addr, now)
	if err != nil {
		return nil, err
	}
	o.vouched = p.vouched
	return o, nil
}

// Ends returns until when others believe the host, as far as they have the same CA; since when what ends then is good;
// and whether that is the certificate of the CA.
func (o *Own) Ends() (since, ends time.Time, ca bool) {
	for _, chain := range o.vouched.chains {
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if first.NotAfter.After(ends) {
			since, ends, ca = first.NotBefore, first.NotAfter, first == chain[len(chain)-1]
		}
	}
	return since, ends, ca
}

// LoadCA reads the certificates of a company's CA, as PEM. Each mistake is one line
// that names the option that gives the file.
func LoadCA(caPEM []byte) (*CA, error) {
	all, err := ownCertificates(fileCA, caPEM)
	if err != nil {
		return nil, err
	}
	ca := &CA{roots: x509.NewCertPool()}
	for _, c := range all {
		if !c.IsCA {
			return nil, &Error{Field: fileCA, Found: shown(c.Subject.String()) + ", which is no CA", Want: "the certificates of the CA alone"}
		}
		ca.roots.AddCert(c)
		ca.all = append(ca.all, c)
		ca.names = append(ca.names, shown(c.Subject.String()))
	}
	return ca, nil
}

// Verify decides whether the certificate that a peer has shown, with what stands
// behind it, is good at now for the host of addr: to a node, the peer's address in
// the table; to a client, the one that it has dialled. The Proven has no name, no
// serial and no root: that the address is a certain node's is for the table to say.
// One that has expired is refused: no renewal is to be had here.
func (ca *CA) Verify(chain []*x509.Certificate, addr string, now time.Time) (Proven, error) {
	if len(chain) == 0 {
		return Proven{}, &Error{Field: "certificate", Found: "none", Want: "one of the company's CA", Reason: ErrNone}
	}
	return ca.verify("certificate", chain, addr, now)
}

func (ca *CA) verify(what string, chain []*x509.Certificate, addr string, now time.Time) (Proven, error) {
	c := chain[0]
	if now.After(c.NotAfter) {
		return Proven{}, &Error{Field: what, Found: "a certificate that expired at " + timeText(c.NotAfter), Want: "one that is good at " + timeText(now)}
	}
	if now.Before(c.NotBefore) {
		return Proven{}, &Error{Field: what, Found: "a certificate that begins at " + timeText(c.NotBefore), Want: "one that is good at " + timeText(now), Reason: ErrEarly}
	}
	if c.IsCA {
		return Proven{}, &Error{Field: what, Found: "the certificate of a CA", Want: "that of a host"}
	}
	if !serves(c) {
		return Proven{}, &Error{Field: what, Found: "a certificate with the usage " + usages(c), Want: "server authentication among them"}
	}
	between := x509.NewCertPool()
	for _, i := range chain[1:] {
		between.AddCert(i)
	}
	chains, err := c.Verify(x509.VerifyOptions{Roots: ca.roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	if err != nil && !bug("another company's CA accepted") {
		return Proven{}, &Error{Field: what, Found: fmt.Sprintf("a certificate signed by %s (%s)", shown(c.Issuer.String()), shown(err.Error())), Want: "one by the CA of " + fileCA + ": " + strings.Join(ca.names, " or "), Reason: ErrForeign}
	}
	host := hostOf(addr)
	if err := c.VerifyHostname(host); err != nil && !bug("company's certificate taken for any host") {
		return Proven{}, &Error{Field: what, Found: "a certificate for " + hosts(c), Want: "one for " + shown(host) + ", the host of the node's address, among its alternative names"}
	}
	return Proven{Key: KeyIDOf(c), Issued: c.NotBefore, NotAfter: c.NotAfter, vouched: &vouched{chains}}, nil
}

// Vouches reports whether a CA's certificate by which p was proven is one of these, so that
// the proof would still be taken. It is about one that [CA.Verify] of this CA, or of the one
// that a host had before, has returned.
func (ca *CA) Vouches(p *Proven) bool {
	return p.vouched != nil && slices.ContainsFunc(p.vouched.chains, func(chain []*x509.Certificate) bool {
		return slices.ContainsFunc(ca.all, chain[len(chain)-1].Equal)
	})
}

// serves reports whether c may be a server's. That one must say so makes sure that
// its CA has looked at the names of hosts in it.
func serves(c *x509.Certificate) bool {
	none := len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 // no bounds: any
	return none || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

// hostOf is addr without its port.
func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return strings.Trim(addr, "[]")
}

// hosts is what c is for, as an error shows it.
func hosts(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no host: it has neither DNS names nor IP addresses, and its subject does not count"
	}
	return shown(strings.Join(names, ", "))
}

func ownSize(chain []*x509.Certificate) (size int) {
	for _, c := range chain {
		size += len(c.Raw)
	}
	return size
}

// ownCertificates parses the certificates of a file. A key may stand beside them,
// as some keep both in one file; what else there is, is refused.
func ownCertificates(what string, file []byte) (all []*x509.Certificate, err error) {
	blocks, err := decode(what, file)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if isKey(b) && what == fileCert {
			continue
		}
		if b.Type != blockCertificate {
			return nil, &Error{Field: what, Found: "a block " + shown(b.Type), Want: "blocks CERTIFICATE"}
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, &Error{Field: what, Found: "a block that is no certificate (" + shown(err.Error()) + ")", Want: "X.509"}
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return nil, &Error{Field: what, Found: blockTypes(blocks), Want: "a block CERTIFICATE"}
	}
	return all, nil
}

func isKey(b *pem.Block) bool { return strings.HasSuffix(b.Type, blockKey) }

// ownKey parses the one private key of a file. No error shows any of it.
func ownKey(file []byte) (crypto.Signer, error) {
	blocks, err := decode(fileKey, file)
	if err != nil {
		return nil, err
	}
	blocks = slices.DeleteFunc(blocks, func(b *pem.Block) bool { return !isKey(b) })
	if len(blocks) != 1 {
		return nil, &Error{Field: fileKey, Found: plural(len(blocks), "private key"), Want: "one"}
	}
	if b := blocks[0]; strings.Contains(b.Type, "ENCRYPTED") || b.Headers["DEK-Info"] != "" {
		return nil, &Error{Field: fileKey, Found: "a key under a passphrase", Want: "one without, in a file that only the node's user can read"}
	}
	if key, err := x509.ParsePKCS8PrivateKey(blocks[0].Bytes); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	if key, err := x509.ParseECPrivateKey(blocks[0].Bytes); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS1PrivateKey(blocks[0].Bytes); err == nil {
		return key, nil
	}
	return nil, &Error{Field: fileKey, Found: "a block " + shown(blocks[0].Type) + " that is no key", Want: "an ECDSA, RSA or Ed25519 key in PKCS #8, SEC 1 or PKCS #1"}
}

// Sizes of RSA keys: smaller ones are broken, and the library of a peer refuses larger ones.
const (
	rsaMin = 2048
	rsaMax = 8192
)

// usable refuses a key with which no handshake would succeed: it would show only
// once peers dial.
func usable(key crypto.Signer) error {
	const want = "ECDSA on P-256, P-384 or P-521, RSA of 2048 to 8192 bits, or Ed25519"
	found := ""
	switch public := key.Public().(type) {
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256(), elliptic.P384(), elliptic.P521():
		default:
			found = "an ECDSA key on " + public.Curve.Params().Name
		}
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); bits < rsaMin || bits > rsaMax {
			found = fmt.Sprintf("an RSA key of %d bits", bits)
		}
	case ed25519.PublicKey:
	default:
		found = fmt.Sprintf("a %T", public)
	}
	if found != "" {
		return &Error{Field: fileKey, Found: found, Want: want}
	}
	return nil
}

// fits checks that the first certificate is that of the key.
func fits(key crypto.Signer, chain []*x509.Certificate) error {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	for i, c := range chain {
		if !ok || !public.Equal(c.PublicKey) {
			continue
		}
		if i > 0 {
			return &Error{Field: fileCert, Found: fmt.Sprintf("the host's certificate in place %d", i+1), Want: "it first, and those of intermediate CAs behind it"}
		}
		return nil
	}
	return &Error{Field: fileKey, Found: "a key that does not fit the certificate in " + fileCert, Want: "the one that it was made for"}
}
