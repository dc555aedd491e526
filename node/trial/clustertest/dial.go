package clustertest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"testing"
	"time"

	"muster/repl/client/home"
	"muster/repl/trust"
	"muster/repl/wire"
)

// DialAsUser connects to a node of c, for what speaks the protocol itself: with TLS and by the
// certificate that this user has for the node's cluster, or in clear where the cluster is.
func DialAsUser(ctx context.Context, c *Cluster, addr string) (net.Conn, error) {
	if c.Clear {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	return DialSecured(ctx, addr, credential)
}

// DialAsNode connects to a node of c by the certificate of node i, which is read where that keeps
// it: as somebody who has stolen its disk would.
func DialAsNode(ctx context.Context, c *Cluster, addr string, i int) (net.Conn, error) {
	if c.Clear {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
	shown, err := c.Nodes[i].certificate()
	if err != nil {
		return nil, err
	}
	return DialSecured(ctx, addr, func(trust.RootID) (*tls.Certificate, error) { return shown, nil })
}

// DialMax is how long a node may take to accept a connection.
const DialMax = time.Second

// DialSecured connects to a node under a root that this user keeps, by the certificate that
// show has for that root.
func DialSecured(ctx context.Context, addr string, show func(trust.RootID) (*tls.Certificate, error)) (net.Conn, error) {
	kept, err := home.Default()
	if err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: DialMax}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	var holder trust.Holder
	var node trust.Proven
	t, err := wire.TLSClient(conn, holder.Client(func(s tls.ConnectionState) (err error) {
		// Only the root that is shown is looked up: there is one for each cluster that a test has made.
		chain := s.PeerCertificates
		c, err := kept.Credential(trust.RootIDOf(chain[len(chain)-1].Raw))
		if err != nil {
			return err
		}
		if node, err = (trust.Trusted{Roots: []*x509.Certificate{c.Root}}).Node(chain, time.Now()); err != nil {
			return err
		}
		shown, err := show(node.Root)
		holder.Set(&trust.Holding{Certificate: shown})
		return err
	}))
	if err != nil {
		conn.Close()
		return nil, err
	}
	t.Peer = node
	return t, nil
}

// credential is what this user shows to nodes of the cluster with a root.
func credential(root trust.RootID) (*tls.Certificate, error) {
	kept, err := home.Default()
	if err != nil {
		return nil, err
	}
	c, err := kept.Credential(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("root %s is not kept in %s", root, kept.Dir())
	}
	if err != nil {
		return nil, err
	}
	return c.Certificate, nil
}

// certificate is what a node shows, out of its directory.
func (p *Process) certificate() (*tls.Certificate, error) {
	dir := filepath.Join(p.Data, "tls")
	shown, err := tls.LoadX509KeyPair(filepath.Join(dir, "node.pem"), filepath.Join(dir, "node.key"))
	return &shown, err
}

// Listen serves each connection with f and then keeps it open until the test
// has ended. It returns the address, a free port of this host.
func Listen(t testing.TB, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			go f(conn)
		}
	}()
	return l.Addr().String()
}
