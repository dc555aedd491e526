package client

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/repl/wire"
)

// protection is how a client protects its connections: with TLS, by what the user has for the cluster
// that answers. It finds out which one that is by the certificate that it is shown.
type protection struct {
	// Set once.
	on     bool
	home   home.Home
	lost   error // why there is no home
	secret bool  // there is a secret, by which a node can prove that it is of the cluster
	guest  bool  // show no certificate
	meet   func(root *x509.Certificate) error
	ca     *trust.CA // by which nodes are believed, in place of roots; nil: none
	told   *toldRoots
}

// toldRoots are the roots that nodes are told of, as they were read last. A client that dials a
// thousand times after a failure would spend most of it on reading them.
type toldRoots struct {
	mu    sync.Mutex
	roots []*x509.Certificate // guarded by mu
	read  time.Time           // guarded by mu
}

// toldMax is for how long nodes are told of the same roots: with an older list a node may choose
// a chain that this client cannot check, and the next dial after that time succeeds.
const toldMax = time.Second

func protectionOf(o *Options) (p protection) {
	p.on, p.ca = !o.Insecure, o.ca
	p.secret, p.guest, p.meet, p.told = len(o.Secret) > 0, o.Guest, o.Meet, new(toldRoots)
	if p.on {
		p.home, p.lost = home.In(o.Home)
	}
	return p
}

// rootsNamed bounds the roots that a client names to a node.
const rootsNamed = 16

// notReadyRetry is after how long a node that has no certificate yet is asked again.
const notReadyRetry = 200 * time.Millisecond

// over runs the handshake with the node at addr, and returns the user as which it was done; empty: as
// nobody. It fails before anything is said to one that this client has no reason to believe.
func (p *protection) over(conn net.Conn, addr string) (t *wire.TLSConn, user string, err error) {
	if p.ca != nil {
		return p.overCompany(conn, addr)
	}
	var shows trust.Holder
	var proven trust.Proven
	config := shows.Client(func(s tls.ConnectionState) (err error) {
		proven, user, err = p.check(&shows, s.PeerCertificates, addr)
		return err
	})
	// A node shows a certificate under one of these, if it has one: the cluster may have another root
	// by now, of which this client has not heard.
	for _, r := range p.named() {
		config.NextProtos = append(config.NextProtos, trust.RootProtocol(trust.RootIDOf(r.Raw)))
	}
	t, err = wire.TLSClient(conn, config)
	if err != nil {
		return nil, "", err
	}
	t.Peer = proven
	return t, user, nil
}

// bugCompanyBelieved is planted to show that its test finds it: a client that was given a company's CA talks to
// whoever answers.
const bugCompanyBelieved = "company's certificate not checked"

// overCompany is over where a company's CA says which host is which. Its certificates name no root, so the
// node names those under which it takes users' as it asks for one.
func (p *protection) overCompany(conn net.Conn, addr string) (t *wire.TLSConn, user string, err error) {
	var proven trust.Proven
	config := new(trust.Holder).Client(func(s tls.ConnectionState) (err error) {
		proven, err = p.ca.Verify(s.PeerCertificates, addr, time.Now())
		if bug(bugCompanyBelieved) {
			err = nil
		}
		if err != nil {
			return wire.Unauthorized("node at "+addr, err.Error(), "check the address, --tls-ca, and the clock of this host")
		}
		return nil
	})
	var c *home.Credential
	// It is asked after that check: a node that is not believed learns nothing of the user.
	config.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (shown *tls.Certificate, err error) {
		if c, err = p.credentialUnder(asked.AcceptableCAs); err != nil || c == nil {
			return new(tls.Certificate), err
		}
		return c.Certificate, nil
	}
	if t, err = wire.TLSClient(conn, config); err != nil {
		return nil, "", err
	}
	if c != nil {
		user = c.User
		if proven.Name.Cluster, err = trust.RootCluster(c.Root); err != nil {
			conn.Close()
			return nil, "", p.broken(err)
		}
	}
	t.Peer = proven
	return t, user, nil
}

// credentialUnder returns the newest certificate that the user has under a root whose name is among subjects, as
// DER; nil if there is none and the hello says what that is worth. The former root of a cluster and the one that issues have the same name.
func (p *protection) credentialUnder(subjects [][]byte) (newest *home.Credential, err error) {
	if p.guest {
		return nil, nil
	}
	if p.lost != nil {
		return nil, p.broken(p.lost)
	}
	kept, err := p.home.Roots()
	if err != nil {
		return nil, p.broken(err)
	}
	var unread error // of one that may be the newest
	for _, root := range kept.Roots {
		if !slices.ContainsFunc(subjects, func(s []byte) bool { return bytes.Equal(s, root.RawSubject) }) {
			continue
		}
		c, err := p.home.Credential(trust.RootIDOf(root.Raw))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // it was removed meanwhile
		case err != nil:
			unread = err // that under another root of the cluster may do
		case c.Certificate == nil: // only the root is known
		case newest == nil || trust.Issued(newest.Certificate.Leaf).Before(trust.Issued(c.Certificate.Leaf)):
			newest = c
		}
	}
	switch {
	case newest != nil:
		return newest, p.expired(newest)
	case unread != nil:
		return nil, p.broken(unread)
	case len(subjects) > 0 && !p.secret && len(kept.Unread) > 0:
		return nil, p.broken(kept.Missing())
	case len(subjects) > 0 && !p.secret:
		return nil, wire.Unauthorized("credentials", "there is no certificate for this cluster in "+p.home.Dir(),
			"get one: muster auth login, or muster user cert NAME on a host that has one; or name another directory with "+home.Variable)
	}
	return nil, nil // it has no root yet, or goes by the secret, and says so
}

// expired refuses a certificate of the user that is good no longer, unless the secret lets the user in.
func (p *protection) expired(c *home.Credential) error {
	if end := c.Certificate.Leaf.NotAfter; time.Now().After(end) && !p.secret {
		return wire.Unauthorized("certificate of "+c.User, "it has expired at "+end.UTC().Format(time.RFC3339), "get another one: muster auth login")
	}
	return nil
}

// named are the roots that a node is told of. What is wrong with those that are kept, check says. There are
// none where somebody decides by the root: it would be one of these, and not the one that issues now.
func (p *protection) named() []*x509.Certificate {
	if p.lost != nil || p.meet != nil {
		return nil
	}
	p.told.mu.Lock()
	defer p.told.mu.Unlock()
	if time.Since(p.told.read) < toldMax {
		return p.told.roots
	}
	kept, err := p.home.Roots()
	if err != nil {
		return nil
	}
	p.told.roots, p.told.read = kept.Roots[:min(len(kept.Roots), rootsNamed)], time.Now()
	return p.told.roots
}

// check says which node has shown a chain, and has shows show what the user has for its cluster. It is
// nobody, if the secret is to say it. user is the one in what is shown.
func (p *protection) check(shows *trust.Holder, chain []*x509.Certificate, addr string) (proven trust.Proven, user string, err error) {
	object, nobody := "node at "+addr, trust.Proven{}
	if p.lost != nil {
		return nobody, "", p.broken(p.lost)
	}
	kept, err := p.roots(chain)
	if err != nil {
		return nobody, "", p.broken(err)
	}
	proven, err = trust.Trusted{Roots: kept.Roots}.Node(chain, time.Now())
	// A kept root is no answer to somebody who names one: that user, or the password that is to be shown,
	// belongs to another cluster.
	if p.meet != nil && (errors.Is(err, trust.ErrForeign) || err == nil && !bug(bugKeptBelieved)) {
		proven, err = p.met(chain)
	}
	var unread error
	if errors.Is(err, trust.ErrForeign) && p.meet == nil {
		unread = p.unread(chain, &kept)
	}
	switch {
	case err != nil && !errors.Is(err, trust.ErrFounding) && !namesSomebody(chain):
		return nobody, "", wire.Unauthorized(object, "its certificate is none of those that clusters make ("+err.Error()+")", "check the address; if the certificate is of a company's CA, name that with --tls-ca FILE")
	case unread != nil:
		return nobody, "", p.broken(unread)
	case errors.Is(err, trust.ErrFounding), errors.Is(err, trust.ErrForeign) && p.secret:
		return nobody, "", nil // the hello says who it is, or that there is nobody yet
	case errors.Is(err, trust.ErrForeign):
		return nobody, "", p.foreign(object, chain, kept.Roots)
	case err != nil:
		return nobody, "", wire.Unauthorized(object, err.Error(), "check the address, and the clock of this host")
	case proven.Expired:
		return nobody, "", wire.NotReady(object, "its certificate has expired at "+proven.NotAfter.UTC().Format(time.RFC3339),
			"compare the clocks; a node renews its certificate by itself once it reaches the others", notReadyRetry)
	}
	if p.guest {
		return proven, "", nil
	}
	c, err := p.home.Credential(proven.Root)
	switch {
	case errors.Is(err, fs.ErrNotExist): // only the root is known, or not even that is kept
		return proven, "", nil
	case err != nil:
		return nobody, "", p.broken(err)
	case c.Certificate != nil:
		if err := p.expired(c); err != nil {
			return nobody, "", err
		}
	}
	shows.Set(&trust.Holding{Certificate: c.Certificate})
	return proven, c.User, nil
}

// roots are those by which the chain may be good: the one that it says, if that is kept, or all.
func (p *protection) roots(chain []*x509.Certificate) (home.Kept, error) {
	if shown := shownRoot(chain); shown != nil {
		if c, err := p.home.Credential(trust.RootIDOf(shown.Raw)); err == nil {
			return home.Kept{Roots: []*x509.Certificate{c.Root}}, nil
		}
	}
	return p.home.Roots()
}

// unread returns why a root can't be read by which a chain may be good that no other root is good for; nil: there is
// none. A chain mostly shows its root, which is kept in a place of its own; what is wrong with others is nobody's
// business then.
func (p *protection) unread(chain []*x509.Certificate, kept *home.Kept) error {
	shown := shownRoot(chain)
	switch {
	case shown == nil && p.secret:
		return nil // the secret tells who it is
	case shown == nil:
		return kept.Missing()
	}
	_, err := p.home.Credential(trust.RootIDOf(shown.Raw))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// bugKeptBelieved is planted to show that its test finds it.
const bugKeptBelieved = "kept root in place of the one that was named"

// met asks whoever uses this client about the root of a cluster.
func (p *protection) met(chain []*x509.Certificate) (trust.Proven, error) {
	root := shownRoot(chain)
	if root == nil {
		return trust.Proven{}, trust.ErrForeign
	}
	if err := p.meet(root); err != nil {
		return trust.Proven{}, err
	}
	return trust.Trusted{Roots: []*x509.Certificate{root}}.Node(chain, time.Now())
}

// namesSomebody reports whether a chain begins with a certificate such as clusters make: one by a company's CA
// differs from these in more than its root.
func namesSomebody(chain []*x509.Certificate) bool {
	if len(chain) == 0 {
		return false
	}
	_, err := trust.ParseName(chain[0])
	return err == nil
}

// shownRoot is the root that a chain ends in, as it says; nil if it shows none.
func shownRoot(chain []*x509.Certificate) *x509.Certificate {
	if len(chain) < 2 {
		return nil
	}
	root, err := trust.ReadRoot(chain[len(chain)-1].Raw)
	if err != nil {
		return nil
	}
	return root
}

// foreign is the refusal of a node of a cluster for which nothing is kept.
func (p *protection) foreign(object string, chain, kept []*x509.Certificate) error {
	found := "its certificate is not signed by a root that is kept in " + p.home.Dir()
	if root := shownRoot(chain); root != nil {
		found = fmt.Sprintf("its certificate is under root %s, which is not kept in %s", shortID(root), p.home.Dir())
	}
	var ids []string
	for _, r := range kept[:min(len(kept), 4)] {
		ids = append(ids, shortID(r))
	}
	if len(ids) > 0 {
		found += "; kept are " + strings.Join(ids, ", ")
	}
	next := "check the address;"
	if p.secret {
		next = "leave --secret-file out, which that node has no use for; " + next
	}
	// A node shows a certificate only after the user that runs it has one, so waiting is of no use.
	return wire.Unauthorized(object, found, next+" on the node's host run it as the user that runs the node, or name that user's directory with "+home.Variable+"; elsewhere get a certificate: muster user cert NAME on a host that has one, or muster auth login NAME --root ROOT, which muster ca show prints there")
}

// shortID is the beginning of a root's id, as the folder of its credential is called.
func shortID(root *x509.Certificate) string { return trust.RootIDOf(root.Raw).String()[:32] }

// broken is an error about what is kept on this host.
func (p *protection) broken(err error) error {
	return wire.Unauthorized("credentials", err.Error(), "mend that, or name another directory with "+home.Variable)
}

// stranger says of a refusal that nothing proves who has made it: a host that waits for a cluster
// says why, without a certificate.
func stranger(over net.Conn, err error) error {
	t, ok := over.(*wire.TLSConn)
	var e *wire.Error
	if !ok || t.Peer != (trust.Proven{}) || !errors.As(err, &e) {
		return err
	}
	told := *e
	told.Object += ", which has not proven who it is"
	return fmt.Errorf("hello with %s: %w", over.RemoteAddr(), &told)
}

// unsaid says of a refusal, where the secret was to say who a node is, what else would have: it shows a certificate
// of a cluster, which may want no secret any more.
func (p *protection) unsaid(over net.Conn, addr string, err error) error {
	t, ok := over.(*wire.TLSConn)
	if !ok || !p.secret || t.Peer != (trust.Proven{}) || !isCode(err, wire.CodeUnauthorized) {
		return stranger(over, err)
	}
	chain := t.ConnectionState().PeerCertificates
	kept, broken := p.home.Roots()
	if shownRoot(chain) == nil || broken != nil {
		return stranger(over, err)
	}
	return p.foreign("node at "+addr, chain, kept.Roots)
}

// unproven refuses a node that has proven to be nobody, although it has let this client in.
func unproven(addr string, g *wire.Greeting) error {
	if !g.TLS() || g.Peer != (trust.Proven{}) || g.KnowsSecret {
		return nil
	}
	return wire.NotReady("node at "+addr, "it has no certificate of a cluster yet", "try again", notReadyRetry)
}
