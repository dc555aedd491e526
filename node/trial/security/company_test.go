package security

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"muster/node"
	"muster/node/trial/clustertest"
	"muster/repl/client/home"
)

// company is a CA such as a company has, which knows nothing of muster. Its files are in dir.
type company struct {
	t    testing.TB
	dir  string
	name string
	root *x509.Certificate
	key  *ecdsa.PrivateKey
	made int64 // serial of the last certificate
}

func newCompany(t testing.TB, dir, name string) *company {
	t.Helper()
	c := &company{t: t, dir: filepath.Join(dir, name), name: name}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var der []byte
	der, c.key = c.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	var err error
	if c.root, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	c.write("ca.pem", "CERTIFICATE", der)
	return c
}

// sign signs what is in template, good for a day unless that says otherwise, for a new key.
func (c *company) sign(template *x509.Certificate) (der []byte, key *ecdsa.PrivateKey) {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	c.made++
	template.SerialNumber = big.NewInt(c.made)
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(24 * time.Hour)
	}
	template.NotBefore = template.NotAfter.Add(-48 * time.Hour)
	parent, by := c.root, c.key
	if parent == nil {
		parent, by = template, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by); err != nil {
		c.t.Fatal(err)
	}
	return der, key
}

// host makes a certificate for a host on this machine, but for what change does to it, and returns the options of
// serve that give it.
func (c *company) host(name string, change func(*x509.Certificate)) []string {
	c.t.Helper()
	h := &x509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	change(h)
	der, key := c.sign(h)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(name+".pem", "CERTIFICATE", der)
	c.write(name+".key", "PRIVATE KEY", private)
	return []string{"--tls-cert", filepath.Join(c.dir, name+".pem"), "--tls-key", filepath.Join(c.dir, name+".key"), "--tls-ca", c.ca()}
}

func (c *company) ca() string { return filepath.Join(c.dir, "ca.pem") }

func (c *company) write(name, kind string, der []byte) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func asIs(*x509.Certificate) {}

// A company that has a CA gives each host a certificate of that, and clients the CA. Three hosts found a cluster
// so, go by certificates alone, are used by commands and by the library, take renewed certificates at a start, and let
// in a fourth host that has a token, and none that has not. Neither a host by another CA gets in, nor does a client believe a node that its
// CA does not vouch for. One would doubt all of it: the cluster pins the key of a certificate that it has made for
// each member, and what these members show is another one.
func TestCompanyCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	shop, other := newCompany(t, dir, "Shop CA"), newCompany(t, dir, "Other CA")
	secret := filepath.Join(dir, "secret")
	clustertest.Run(t, "secret", "--file", secret).Done(t)
	c := clustertest.New(t, 3, "--secret-file", secret)
	c.CA = shop.ca()
	name := func(i int) string { return fmt.Sprintf("n%d", i+1) }
	for i, p := range c.Nodes {
		p.Args = append(p.Args, shop.host(name(i), asIs)...)
		c.Start(i)
	}
	c.Healthy()
	c.GoesByCertificates()
	c.Run("kv", "set", "k", "v").Done(t)

	// Each starts with a certificate for a new key, which is read at the start.
	for i := range c.Nodes {
		c.Stop(i)
		shop.host(name(i), asIs)
		c.Start(i)
		c.Healthy()
	}
	has := func(want string) {
		t.Helper()
		if got := c.Run("kv", "get", "k").Done(t); got != want+"\n" {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	has("v")

	// A member that has a certificate of another CA, and believes in that, is turned away by both others.
	p := c.Nodes[2]
	args := p.Args
	c.Stop(2)
	p.Args = append(args[:len(args):len(args)], other.host(name(2), asIs)...)
	c.Start(2)
	for i := range 2 {
		c.Until(name(i)+" turns it away", func(context.Context) error {
			log, err := os.ReadFile(c.Nodes[i].Log)
			if err == nil && !strings.Contains(string(log), `a certificate signed by \"CN=Other CA\"`) {
				err = errors.New("its log says nothing of the other CA")
			}
			return err
		})
	}
	cl := c.Client()
	c.Until("n3 missed", func(ctx context.Context) error {
		a, err := cl.Status(ctx, c.Nodes[0].Addr)
		if err == nil && a.Healthy {
			err = errors.New("all is well")
		}
		return err
	})
	c.Run("kv", "set", "k", "w").Done(t)
	c.Kill(2)
	p.Args = args
	c.Start(2)
	c.Healthy()

	// A host that was given the one with the other's certificate does not even start.
	mixed := other.host("mixed", asIs)
	mixed[5] = shop.ca()
	clustertest.Run(t, append([]string{"serve", "--data", filepath.Join(dir, "mixed"), "--listen", "127.0.0.1:0"}, mixed...)...).
		Refused(t, clustertest.ExitRefused, `--tls-cert: found a certificate signed by "CN=Other CA"`)

	// None of these nodes may be believed.
	ask := func(endpoint string, more ...string) clustertest.Result {
		return clustertest.Run(t, append([]string{"kv", "get", "k", "--endpoints", endpoint}, more...)...)
	}
	addr := c.Nodes[0].Addr
	_, port, _ := net.SplitHostPort(addr)
	ask(addr, "--tls-ca", other.ca()).Refused(t, clustertest.ExitNotPermitted, `a certificate signed by "CN=Shop CA"`)
	ask("localhost:"+port, "--tls-ca", shop.ca()).Refused(t, clustertest.ExitNotPermitted, `found a certificate for "127.0.0.1", want one for "localhost"`)
	ask(addr).Refused(t, clustertest.ExitNotPermitted, "name that with --tls-ca FILE")
	ask(addr, "--tls-ca", shop.ca(), "--insecure").Refused(t, clustertest.ExitUsage, "leave one of them out")
	ask(addr, "--tls-ca", secret).Refused(t, clustertest.ExitRefused, "--tls-ca: found no PEM block")

	// Another user of another host has the CA alone, and a password.
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.Run("user", "create", "ann", "--password-file", password).Done(t)
	asAnn := func(args ...string) clustertest.Result {
		cmd := c.Command(append(args, "--endpoints", c.Endpoints(), "--tls-ca", shop.ca())...)
		cmd.Env = append(cmd.Env, home.Variable+"="+filepath.Join(dir, "ann"))
		return clustertest.RunCommand(t, cmd, "")
	}
	asAnn("kv", "get", "k").Refused(t, clustertest.ExitNotPermitted, "muster auth login")
	asAnn("auth", "login", "ann", "--password-file", password, "--root", strings.Repeat("0", 64)).Refused(t, clustertest.ExitUsage, "leave one of them out")
	asAnn("auth", "login", "ann", "--password-file", password).Done(t)
	if got := asAnn("auth", "whoami").Done(t); !strings.Contains(got, "ann") {
		t.Errorf("she is %q", got)
	}

	// Another host of the company, which has a certificate but no token, asks to be let in, and stays outside.
	addrs, err := node.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	web := &clustertest.Process{Binary: clustertest.Binary(), Addr: addrs[0], Data: filepath.Join(c.Dir, "web"), Log: filepath.Join(c.Dir, "web.log")}
	web.Args = append([]string{"serve", "--name", "web", "--listen", web.Addr, "--data", web.Data, "--join", c.Endpoints()}, shop.host("web", asIs)...)
	c.Nodes = append(c.Nodes, web)
	c.Start(3)
	c.Until("web is told why", func(context.Context) error {
		log, err := os.ReadFile(web.Log)
		if err == nil && !strings.Contains(string(log), "it has no certificate of the cluster); start it with a token") {
			err = errors.New("its log says nothing of a token")
		}
		return err
	})
	c.Kill(3)
	c.Nodes = c.Nodes[:3]
	if got := c.Run("node", "list").Done(t); strings.Contains(got, "web") {
		t.Errorf("a host without a token is a member:\n%s", got)
	}

	// One that has a token.
	c.Extra = append(c.Extra, shop.host("n4", asIs)...)
	clustertest.AddAll(c, clustertest.AddStandby(c, 1))
	has("w")
}
