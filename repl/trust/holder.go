package trust

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// ALPN is the protocol that both sides name in the handshake. A listener that
// speaks others too tells them apart by it, and no peer's words can be taken for
// those of another protocol.
const ALPN = "muster"

// What HTTP names by ALPN, in its versions 2 and 1.1. A listener takes them beside [ALPN].
const (
	ALPNHTTP2 = "h2"
	ALPNHTTP1 = "http/1.1"
)

// HTTP reports whether a handshake has settled that HTTP follows.
func HTTP(negotiated string) bool { return negotiated == ALPNHTTP2 || negotiated == ALPNHTTP1 }

// Limits of what a peer shows. Whoever runs a handshake must bound what it reads by
// itself, as the hello does: the library reads up to 256 KiB of certificates, and
// makes up to 80 bytes of each byte of those that consist of empty names, before
// it asks anybody here.
const (
	// ChainMax bounds the number of certificates: that of a company's CA may
	// have intermediate ones behind it.
	ChainMax = 6
	// ShownMax bounds their bytes: six by RSA keys of 4,096 bits have as many.
	ShownMax = 12 << 10
)

// Holding is what a host shows in handshakes, and whom it believes. It does not
// change once it is set.
type Holding struct {
	// Certificate is what is shown: one of the cluster, a [SelfSigned] one until
	// there is that, or nil for a client that has none.
	Certificate *tls.Certificate
	// Former are those that the host had under roots which issued before. One is shown to a client that
	// names its root ([RootProtocol]) and not that of Certificate: it has not heard of the root that
	// issues now.
	Former  []*tls.Certificate
	Trusted Trusted
	// Own is the certificate of a company's CA, and belief in that CA; nil:
	// none. Certificate is then the same one.
	Own *Own
	// Issued is the host's certificate of the cluster, which it has, and shows to nobody, where there
	// is Own, too; nil: it has none yet.
	Issued *tls.Certificate
}

// Holder has a host's [Holding], and gives it to each handshake as it begins. It
// is safe for all goroutines; the zero Holder holds nothing.
type Holder struct{ now atomic.Pointer[Holding] }

// Set replaces the holding, whole. Handshakes that have begun go on with what
// was there before.
func (h *Holder) Set(holding *Holding) { h.now.Store(holding) }

// Get is the holding of now, never nil.
func (h *Holder) Get() *Holding {
	if holding := h.now.Load(); holding != nil {
		return holding
	}
	return &Holding{}
}

// Root names the root that the certificate to show is under; zero: there is none, or it is one that
// proves nothing, or that of a company's CA.
func (h *Holding) Root() RootID {
	if h.Own != nil || h.Certificate == nil || len(h.Certificate.Certificate) < 2 {
		return RootID{}
	}
	return RootIDOf(h.Certificate.Certificate[1])
}

// Server is the setting of a listener. A handshake succeeds with whatever
// certificate the client shows, or none: who it is, is for the caller to
// ask ([Trusted.Verify] about the state's PeerCertificates) once it is over. So is whether what follows agrees with
// the protocol that was named, if any: a client of HTTP need not name one.
func (h *Holder) Server() *tls.Config {
	c := common()
	c.NextProtos = append(c.NextProtos, ALPNHTTP2, ALPNHTTP1)
	c.ClientAuth = tls.RequestClientCert
	c.VerifyConnection = checkShown
	c.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if shown := h.Get().shownTo(hello.SupportedProtos); shown != nil {
			return shown, nil
		}
		return nil, errors.New("this host has no certificate to show yet")
	}
	return c
}

// Naming returns server as the next connection is to use it: if this host shows the
// certificate of a company's CA, its request for the client's names the roots that
// are trusted here (RFC 8446, section 4.2.4), once users can have any. Nothing else tells a client for which
// cluster it is asked, and so which of its user's certificates to show.
func (h *Holder) Naming(server *tls.Config) *tls.Config {
	holding := h.Get()
	if holding.Own == nil || holding.Issued == nil {
		return server
	}
	c := server.Clone()
	c.ClientCAs = x509.NewCertPool()
	for _, r := range holding.Trusted.Roots {
		c.ClientCAs.AddCert(r)
	}
	return c
}

// RootProtocol is what a client names beside [ALPN] for each root that it believes in. No server speaks
// it; it tells which certificate to show.
func RootProtocol(id RootID) string { return ALPN + "/" + id.String()[:rootProtocolDigits] }

// rootProtocolDigits is how much of a root's id a client names: as much as its folder has.
const rootProtocolDigits = 32

// shownTo is the certificate to show to a client that names those protocols.
func (h *Holding) shownTo(protocols []string) *tls.Certificate {
	names := func(c *tls.Certificate) bool {
		return len(c.Certificate) > 1 && slices.Contains(protocols, RootProtocol(RootIDOf(c.Certificate[1])))
	}
	if h.Certificate == nil || len(h.Former) == 0 || names(h.Certificate) {
		return h.Certificate
	}
	if i := slices.IndexFunc(h.Former, names); i >= 0 && !bug("former certificate not shown") {
		return h.Former[i]
	}
	return h.Certificate
}

// Client is the setting of a dialler. The handshake fails if check does, which
// is called once the other side has shown its certificate, and before it has
// shown that it has the key: what check learns counts once the handshake has
// succeeded.
func (h *Holder) Client(check func(tls.ConnectionState) error) *tls.Config {
	c := common()
	// The library would look for the name of a host. Names of the cluster are not
	// such, so check verifies instead.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if err := checkState(s); err != nil {
			return err
		}
		return check(s)
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if shown := h.Get().Certificate; shown != nil {
			return shown, nil
		}
		return &tls.Certificate{}, nil
	}
	return c
}

// common is what both sides have. Without tickets each connection proves anew
// who it is, by the certificate of now: one that was resumed would have what an
// earlier one had proven. Records have their full size from the start: connections
// here are few and long, and each is filled soon.
func common() *tls.Config {
	c := &tls.Config{
		MinVersion:                  tls.VersionTLS13,
		NextProtos:                  []string{ALPN},
		SessionTicketsDisabled:      true,
		DynamicRecordSizingDisabled: true,
	}
	if bug("TLS 1.2 accepted") {
		c.MinVersion = tls.VersionTLS12
	}
	return c
}

// checkState checks what holds for each node that is dialled, whoever it is.
func checkState(s tls.ConnectionState) error {
	if s.NegotiatedProtocol != ALPN {
		return &Error{Field: "protocol", Found: shown(s.NegotiatedProtocol), Want: ALPN + "; check the address and port"}
	}
	return checkShown(s)
}

// checkShown bounds what a peer shows, whoever it is.
func checkShown(s tls.ConnectionState) error {
	size := 0
	for _, c := range s.PeerCertificates {
		size += len(c.Raw)
	}
	if n := len(s.PeerCertificates); n > ChainMax || size > ShownMax {
		return &Error{Field: "certificates shown", Found: fmt.Sprintf("%d with %d bytes", n, size), Want: fmt.Sprintf("at most %d with %d bytes", ChainMax, ShownMax)}
	}
	return nil
}

const (
	exporterLabel = "EXPORTER-muster-hello"
	// ExporterSize is the number of bytes that [Exporter] returns.
	ExporterSize = 32
)

// Exporter returns bytes that both sides of a connection have, and no other
// connection (RFC 8446, section 7.5). What is signed with them can't be passed
// on over another.
func Exporter(s *tls.ConnectionState) ([]byte, error) {
	if s.Version < tls.VersionTLS13 || !s.HandshakeComplete {
		return nil, &Error{Field: "connection", Found: tls.VersionName(s.Version) + ", or a handshake that is not over", Want: "TLS 1.3, after the handshake"}
	}
	b, err := s.ExportKeyingMaterial(exporterLabel, nil, ExporterSize)
	if err != nil {
		return nil, fmt.Errorf("derive the exporter of a connection: %w", err)
	}
	return b, nil
}
