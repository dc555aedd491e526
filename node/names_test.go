package node

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/repl/trust"
	"muster/repl/wire"
)

// browses asks a node whether it is alive, at a host and the node's port, as a browser does that trusts the roots of the
// cluster and nothing else. It returns the certificate that was shown.
func browses(t *testing.T, r *runningNode, host string) (*x509.Certificate, error) {
	t.Helper()
	roots := x509.NewCertPool()
	for _, root := range r.node.guard.holder.Get().Trusted.Roots {
		roots.AddCert(root)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	_, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		t.Fatal(err)
	}
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+net.JoinHostPort(host, port)+"/livez", nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := transport.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, errors.New(a.Status)
	}
	return a.TLS.PeerCertificates[0], nil
}

// A browser that trusts the cluster's root must take the page from each node at the address that the members have for
// it, or the page could not go on through another node: after the founding, after a host has joined, after a node has
// moved, and after certificates were renewed.
func TestBrowsersKnowNodes(t *testing.T) {
	t.Parallel()
	nodes, users := secured(t, 3)
	token := makeToken(t, nodes, users[0], 1, time.Hour)
	c := testConfig(t)
	c.Join, c.Standby = []string{nodes[0].addr, nodes[1].addr}, true
	nodes = append(nodes, startWith(t, c, secureLimits(), func(n *Node) { n.guard.token = &token }))
	known := func(what, host string, numbers ...int) {
		t.Helper()
		until(t, what, func() error {
			for _, i := range numbers {
				if _, err := browses(t, nodes[i], host); err != nil {
					return fmt.Errorf("node %d: %w", i, err)
				}
			}
			return nil
		})
	}
	known("nodes are known at their addresses", "127.0.0.1", 0, 1, 2, 3)
	if _, err := browses(t, nodes[0], "127.0.0.2"); err == nil || !strings.Contains(err.Error(), "127.0.0.2") {
		t.Errorf("a node is taken for another host: %v", err)
	}

	moved := nodes[3]
	_, port, err := net.SplitHostPort(moved.addr)
	if err != nil {
		t.Fatal(err)
	}
	moved.stop()
	moved.node.cfg.Listen, moved.node.cfg.Advertise = moved.addr, "localhost:"+port
	nodes[3] = startWith(t, moved.node.cfg, secureLimits(), func(*Node) {})
	known("a node that has moved is known at its new address", "localhost", 3)
	if _, err := browses(t, nodes[3], "127.0.0.1"); err == nil {
		t.Error("the node is still known at its former address")
	}

	// A node that is renewed shows another certificate, which names the same host.
	before := make([]*x509.Certificate, len(nodes))
	hosts := []string{"127.0.0.1", "127.0.0.1", "127.0.0.1", "localhost"}
	for i, r := range nodes {
		if before[i], err = browses(t, r, hosts[i]); err != nil {
			t.Fatal(err)
		}
	}
	stopTogether(nodes)
	late := func() time.Time { return time.Now().Add(trust.NodeLife * 3 / 4) }
	for i, r := range nodes {
		nodes[i] = startWith(t, r.node.cfg, secureLimits(), func(n *Node) { n.guard.now = late })
	}
	for i, r := range nodes {
		until(t, "renewed certificates name the same hosts", func() error {
			c := r.node.guard.holder.Get().Certificate.Leaf
			if c.SerialNumber.Cmp(before[i].SerialNumber) == 0 {
				return fmt.Errorf("node %d has the same one still", i)
			}
			return nil
		})
	}
	for i := range nodes {
		c := nodes[i].node.guard.holder.Get().Certificate.Leaf
		if got := trust.HostIn(c); string(got) != hosts[i] {
			t.Errorf("node %d: its renewed certificate names %q, want %q", i, got, hosts[i])
		}
		if !slices.Equal(c.DNSNames, before[i].DNSNames) {
			t.Errorf("node %d: names %q, and %q before", i, c.DNSNames, before[i].DNSNames)
		}
	}
}

// A host that may have a certificate must not choose what browsers take it for. One would doubt it: it makes the request
// that is signed, and says in its hello where it is.
func TestNamesAreNotAskedFor(t *testing.T) {
	t.Parallel()
	if why := namesAsked(t); why != "" {
		t.Error(why)
	}
}

// namesAsked returns how a stranger gets a certificate that names a host of its choice; "" if it can't.
func namesAsked(t *testing.T) string {
	nodes, users := secured(t, 1)
	r := nodes[0]
	token := makeToken(t, nodes, users[0], 2, time.Hour)
	leaf, err := newStranger(t).enrol(r, token, nil) // its hello says where it is
	if err != nil {
		t.Fatal(err)
	}
	if host := trust.HostIn(leaf); host != "" {
		return fmt.Sprintf("a host that has not joined has a certificate that names %s", host)
	}
	const bank = "bank.example"
	s := newStranger(t)
	request, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{bank}}, s.key)
	if err != nil {
		t.Fatal(err)
	}
	conn, g, err := s.dial(r, wire.DialConfig{Role: wire.RoleJoining})
	if err != nil {
		t.Fatal(err)
	}
	q := wire.Enrol{Node: s.id, Token: token.ID, Request: request}
	if q.Signature, err = token.Sign(g.Exporter, request); err != nil {
		t.Fatal(err)
	}
	_, body, err := conn.ask(wire.TypeEnrol, 0, q.Append(nil))
	if err != nil {
		refused(t, "a request that names a host", err, wire.CodeBadRequest, "a key and nothing else")
		return ""
	}
	var a wire.EnrolAnswer
	if err := a.Read(body); err != nil {
		t.Fatal(err)
	}
	if leaf, err = trust.ReadCertificate(a.Certificate); err != nil {
		t.Fatal(err)
	}
	if err := leaf.VerifyHostname(bank); err != nil {
		return "it gets a certificate, which names " + string(trust.HostIn(leaf))
	}
	return "browsers take it for " + bank
}
