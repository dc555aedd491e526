package security

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/node"
	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/client/home"
)

// planted is what a test gives to a cluster and looks for afterwards, by what it is.
type planted map[string][]byte

// formsOf lists how something may stand among other bytes: as it is, and as text.
func formsOf(b []byte) [][]byte {
	forms := [][]byte{b, []byte(hex.EncodeToString(b)), []byte(strings.ToUpper(hex.EncodeToString(b)))}
	// Four letters stand for three bytes, so there are three texts of it, by where it stands among
	// others. The first and the last letter may be of what is beside it, too.
	for shift := range 3 {
		text := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), b...))
		text = text[(shift*8+5)/6 : (shift+len(b))*8/6]
		forms = append(forms, []byte(text), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(text)))
	}
	return forms
}

// plantText plants a text, and the bytes that it stands for.
func (p planted) plantText(what, text string) {
	p[what] = []byte(text)
	for form, decode := range map[string]func(string) ([]byte, error){"hexadecimal": hex.DecodeString, "base64": base64.RawURLEncoding.DecodeString} {
		if b, err := decode(text); err == nil {
			p[what+", of which that is the "+form] = b
		}
	}
}

// plantKeys plants what the files of keys in some directories have.
func (p planted) plantKeys(t testing.TB, dirs ...string) (files int) {
	t.Helper()
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(dir, "*.key"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files++
			block, _ := pem.Decode(text)
			if block == nil {
				p.plantText(name, strings.TrimSpace(string(text)))
				continue
			}
			d, err := privateNumber(block.Bytes)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			p[name], p[name+", its number"] = block.Bytes, d
		}
	}
	return files
}

// in returns what of p some bytes have.
func (p planted) in(b []byte) (found []string) {
	for what, secret := range p {
		if slices.ContainsFunc(formsOf(secret), func(form []byte) bool { return bytes.Contains(b, form) }) {
			found = append(found, what)
		}
	}
	slices.Sort(found)
	return found
}

// userDir is where this user keeps the key for the cluster with a root.
func userDir(t testing.TB, root string) string {
	t.Helper()
	kept, err := home.Default()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(kept.Dir(), root[:32])
}

// Names and values that nothing else has, and whose beginnings are told apart from random bytes.
const (
	plantedCluster  = "planted-cluster"
	plantedNode     = "planted-node"
	plantedKey      = "planted-prefix/key-of-a-person"
	plantedValue    = "planted value of a key"
	plantedUser     = "planted-user"
	plantedRole     = "planted-role"
	plantedService  = "planted-service"
	plantedPass     = "planted-pass-of-a-check"
	plantedPassword = "planted-password-of-a-user"
	plantedUnused   = "planted-password-that-nobody-shows"
)

// lifeIn does with a cluster what its users do, and returns the text of a token, and where a user who
// logged in keeps the key; "" where there are none. The nodes run, but for the last one, which comes by
// that token.
func lifeIn(t *testing.T, c *clustertest.Cluster) (token, loggedIn string) {
	t.Helper()
	c.Until("its cluster takes writes", func(context.Context) error {
		if r := c.Run("kv", "set", plantedKey, plantedValue); r.Status != clustertest.ExitDone {
			return errors.New(r.Stderr)
		}
		return nil
	})
	passwordFile, unused := filepath.Join(c.Dir, "password"), filepath.Join(c.Dir, "unused")
	if err := errors.Join(os.WriteFile(passwordFile, []byte(plantedPassword+"\n"), 0o600), os.WriteFile(unused, []byte(plantedUnused+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	service, err := json.Marshal([]map[string]any{{"name": plantedService, "type": "mysql", "node": []map[string]string{
		{"host": "127.0.0.1", "port": "1", "user": plantedUser, "pass": plantedPass},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	c.RunIn(string(service), "service", "set", "-f", "-").Done(t)
	for _, args := range [][]string{
		{"kv", "get", plantedKey}, {"kv", "list", plantedKey}, {"kv", "set", plantedKey, plantedValue + "!"},
		{"role", "create", plantedRole}, {"role", "grant", plantedRole, "all", "cluster"}, {"role", "grant", plantedRole, "read", plantedKey},
		{"user", "create", plantedUser, "--password-file", passwordFile}, {"user", "create", plantedUser + "-2", "--password-file", unused}, {"user", "grant", plantedUser, plantedRole},
		{"setting", "set", "trail-policy", "request"}, {"kv", "get", plantedKey}, {"service", "get", plantedService},
		{"slot", "move", "0-4095", "1"}, {"user", "list"}, {"role", "list"}, {"node", "list"}, {"status"}, {"audit", "tail"},
	} {
		if r := c.Run(args...); r.Status != clustertest.ExitDone && args[0] != "status" {
			t.Fatalf("%v: status %d: %s", args, r.Status, r.Stderr)
		}
	}
	watched(t, c)
	if c.Clear {
		return "", ""
	}
	loggedIn = login(t, c, plantedUser, passwordFile)
	last := len(c.Nodes) - 1
	file := clustertest.TokenFor(c, 1)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	c.Nodes[last].Args = append(c.Nodes[last].Args, "--token-file", file)
	c.Start(last)
	c.Healthy()
	return strings.TrimSpace(string(text)), loggedIn
}

// watched has a client watch the planted key until it is told of a write.
func watched(t *testing.T, c *clustertest.Cluster) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := c.Client().Watch(ctx, client.WatchQuery{Key: []byte(plantedKey)})
	defer w.Close()
	told := make(chan error, 1)
	go func() { _, err := w.Next(); told <- err }()
	c.Until("a watch is told of a write", func(context.Context) error {
		c.Run("kv", "set", plantedKey, plantedValue).Done(t)
		select {
		case err := <-told:
			if err != nil {
				t.Fatalf("the watch ended: %v", err)
			}
			return nil
		default:
			return errors.New("not told yet")
		}
	})
}

// login gets a certificate by a password, as on a host that does not know the cluster.
func login(t *testing.T, c *clustertest.Cluster, name, passwordFile string) (dir string) {
	t.Helper()
	var roots []struct{ Root string }
	c.JSON(&roots, "ca", "show")
	dir = t.TempDir()
	cmd := c.Command("auth", "login", name, "--password-file", passwordFile, "--root", roots[0].Root)
	cmd.Env = append(cmd.Env, home.Variable+"="+dir, "MUSTER_ENDPOINTS="+c.Endpoints())
	clustertest.RunCommand(t, cmd, "").Done(t)
	return dir
}

// privateNumber returns the number of a private key, which is all that is secret of it.
func privateNumber(pkcs8 []byte) ([]byte, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("it is a %T", parsed)
	}
	return key.Bytes()
}

// newPlanted prepares n nodes with planted names, and one more that is to join them.
func newPlanted(t *testing.T, n int, extra ...string) *clustertest.Cluster {
	t.Helper()
	c := clustertest.New(t, n, append(extra, "--cluster", plantedCluster)...)
	for i, p := range c.Nodes {
		p.Args[slices.Index(p.Args, "--name")+1] = fmt.Sprintf("%s-%d", plantedNode, i+1)
	}
	if c.Clear {
		return c
	}
	addrs, err := node.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	last := &clustertest.Process{Binary: clustertest.Binary(), Addr: addrs[0], Data: filepath.Join(c.Dir, "late"), Log: filepath.Join(c.Dir, "late.log")}
	last.Args = []string{"serve", "--name", plantedNode + "-late", "--listen", last.Addr, "--data", last.Data, "--join", c.Endpoints(), "--cluster", plantedCluster}
	c.Nodes = append(c.Nodes, last)
	return c
}

// A host that others use too shows what passes over its loopback to whoever may listen there, and a
// network does to whoever is on the way. Of a cluster that was started without a thought of it, that must
// tell no key, value, name, password or secret. One would doubt it of the first words of a connection, which
// TLS leaves in clear, of founders, who have no certificates yet, and of a host that joins.
func TestCaptureOfLoopback(t *testing.T) {
	t.Parallel()
	names := planted{}
	for what, text := range map[string]string{
		"name of the cluster": plantedCluster, "name of a node": plantedNode, "key": plantedKey, "value": plantedValue, "name of a user": plantedUser,
		"name of a role": plantedRole, "name of a service": plantedService, "password of a check": plantedPass,
	} {
		names[what] = []byte(text)
	}

	// The control: without TLS each of them is there, so the search finds what there is.
	open := newPlanted(t, 1, "--insecure")
	heard := newCapture(t, open.Nodes[0].Addr)
	open.Start(0)
	lifeIn(t, open)
	open.Stop(0)
	var all []byte
	for _, s := range heard.end() {
		all = append(all, s.bytes...)
	}
	if found := names.in(all); len(found) != len(names) {
		t.Fatalf("the capture of a cluster without TLS has %q alone, of %d bytes", found, len(all))
	}

	c := newPlanted(t, 3)
	heard = newCapture(t, strings.Split(c.Endpoints(), ",")...)
	for i := range 3 {
		c.Start(i)
	}
	secrets := planted{"password": []byte(plantedPassword)}
	token, _ := lifeIn(t, c)
	parts := strings.Split(token, ".")
	secrets.plantText("token's secret", parts[len(parts)-1])
	for i := range c.Nodes {
		c.Stop(i)
	}
	dirs := []string{userDir(t, parts[1])}
	founding, err := os.ReadFile(filepath.Join(filepath.Dir(dirs[0]), "founding.secret"))
	if err != nil {
		t.Fatal(err)
	}
	secrets.plantText("founding secret", strings.TrimSpace(string(founding)))
	for _, p := range c.Nodes {
		dirs = append(dirs, filepath.Join(p.Data, "tls"))
	}
	if files := secrets.plantKeys(t, dirs...); files < len(c.Nodes)+2 {
		t.Errorf("%d files of keys", files)
	}
	maps.Copy(secrets, names)
	streams, passed := heard.end(), 0
	for _, s := range streams {
		passed += len(s.bytes)
		if err := notTLS(s); err != nil {
			t.Errorf("from port %d to %d: %v", s.from, s.to, err)
		}
		for _, what := range secrets.in(s.bytes) {
			t.Errorf("from port %d to %d the %s passed in clear", s.from, s.to, what)
		}
	}
	const passedMin = 200 << 10 // by far
	if len(streams) < 50 || passed < passedMin {
		t.Errorf("%d bytes in %d streams passed", passed, len(streams))
	}
	t.Logf("%d bytes in %d streams, %d secrets", passed, len(streams), len(secrets))
}
