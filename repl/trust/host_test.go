package trust_test

import (
	"crypto/rand"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"muster/repl/trust"
)

// A certificate names the host of an address, as a browser compares it, or none. An address at which nobody can be found
// must not keep a node from its certificate, and no certificate names more than one host.
func TestHostOf(t *testing.T) {
	label := strings.Repeat("a", 63)
	long := strings.Repeat(label+".", 3)
	for _, c := range []struct {
		addr string
		want trust.Host
	}{
		{"10.0.0.1:4166", "10.0.0.1"},
		{"127.0.0.1:1", "127.0.0.1"},
		{"[2001:DB8::0:1]:4166", "2001:db8::1"},
		{"[::1]:4166", "::1"},
		{"[::ffff:10.0.0.1]:4166", "10.0.0.1"},
		{"n1:4166", "n1"},
		{"localhost:4166", "localhost"},
		{"DB-1.Example.com:4166", "db-1.example.com"},
		{"1a.example:1", "1a.example"},
		{"xn--bcher-kva.example:1", "xn--bcher-kva.example"},
		{long + strings.Repeat("a", 61) + ":1", trust.Host(long + strings.Repeat("a", 61))},
		{long + strings.Repeat("a", 62) + ":1", ""},
		{label + "a.example:1", ""},
		{"", ""},
		{"n1", ""},
		{":4166", ""},
		{"0.0.0.0:4166", ""},
		{"[::]:4166", ""},
		{"224.0.0.1:4166", ""},
		{"[ff02::1]:4166", ""},
		{"255.255.255.255:4166", ""},
		{"[::ffff:255.255.255.255]:4166", ""},
		{"[fe80::1%eth0]:4166", ""},
		{"[::ffff:10.0.0.1%eth0]:4166", ""},
		{"10.0.0.256:1", ""},
		{"2130706433:1", ""},
		{"0x7f000001:1", ""},
		{"n1.0x7f:1", ""},
		{"*.example.com:1", ""},
		{"a..b:1", ""},
		{".example:1", ""},
		{"example.:1", ""},
		{"-a.example:1", ""},
		{"a-.example:1", ""},
		{"a_b.example:1", ""},
		{"a b:1", ""},
		{"bücher.example:1", ""},
		{"n1\x00.example:1", ""},
	} {
		got := trust.HostOf(c.addr)
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.addr, got, c.want)
		}
		if got != "" && trust.HostOf(string(got)+":1") != got && trust.HostOf("["+string(got)+"]:1") != got {
			t.Errorf("%q: the host %q is none of its own address", c.addr, got)
		}
	}
}

// A browser that trusts the root alone must take a node's certificate for its host, and for no other. Members must go by
// the node's name all the same; and the longest host must fit.
func TestHostInCertificate(t *testing.T) {
	w := newWorld(t, 1, cluster)
	key, err := trust.NewKey(w.chance)
	w.must(err)
	roots := x509.NewCertPool()
	roots.AddCert(w.root)
	longest := strings.Repeat(strings.Repeat("a", 62)+".", 4)[:251]
	for _, host := range []trust.Host{"", "10.0.0.1", "2001:db8::1", "127.0.0.1", "db-1.example.com", trust.Host(longest)} {
		der, _, err := w.issuer.IssueWith(rand.Reader, node(2), &key.PublicKey, noon, trust.Terms{Life: trust.NodeLife, Host: host})
		if err != nil {
			t.Fatalf("%q: %v", host, err)
		}
		c, err := trust.ReadCertificate(der)
		if err != nil {
			t.Fatalf("%q: %v", host, err)
		}
		if got := trust.HostIn(c); got != host {
			t.Errorf("got %q, want %q", got, host)
		}
		p, err := trust.Trusted{Roots: []*x509.Certificate{w.root}}.Node([]*x509.Certificate{c}, noon)
		if err != nil || p.Name != node(2) {
			t.Errorf("%q: it proves %s, %v", host, p.Name, err)
		}
		for _, asked := range []string{string(host), "10.0.0.2", "example.com", "2001:db8::2", "localhost"} {
			if strings.Contains(asked, ":") {
				asked = "[" + asked + "]"
			}
			_, err := c.Verify(x509.VerifyOptions{Roots: roots, DNSName: asked, CurrentTime: noon.Add(time.Minute)})
			want := host != "" && strings.Trim(asked, "[]") == string(host)
			if asked != "" && (err == nil) != want {
				t.Errorf("%q asked for as %q: %v", host, asked, err)
			}
		}
	}
	user := trust.Name{Cluster: cluster, Kind: trust.KindUser, User: "ann"}
	if _, _, err := w.issuer.IssueWith(rand.Reader, user, &key.PublicKey, noon, trust.Terms{Life: trust.UserLife, Host: "10.0.0.1"}); err == nil || !strings.Contains(err.Error(), "host") {
		t.Errorf("a user with a host: %v", err)
	}
}
