package security

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"muster/node/trial/clustertest"
	"muster/repl/client/home"
	"muster/shardmap"
)

// private writes a file that nobody else can read.
func private(t testing.TB, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// chmodOf finds the command that an error tells to run.
var chmodOf = regexp.MustCompile(`chmod ([0-7]{3}) ([^ ;)\n]+)`)

// followChmod does what the error of r tells to do about a mode.
func followChmod(t testing.TB, r clustertest.Result) {
	t.Helper()
	m := chmodOf.FindStringSubmatch(r.Stderr)
	if m == nil {
		t.Fatalf("%q tells of no chmod", r.Stderr)
	}
	mode := os.FileMode(0)
	if _, err := fmt.Sscanf(m[1], "%o", &mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(m[2], mode); err != nil {
		t.Fatal(err)
	}
}

// Each wrong name, role, verb, object, password, token and root must be answered by one line that says what
// was found and what would be right, and change nothing. One would doubt it of what looks right to a program:
// a mistaken kind that is a prefix too, a password for another cluster.
func TestWrongAccess(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1, "--groups", "1")
	dir := t.TempDir()
	password, short, wrong := private(t, dir, "password", "a-good-password-of-ann\n"), private(t, dir, "short", "abc\n"), private(t, dir, "wrong", "not-the-password\n")
	c.Run("role", "create", "app").Done(t)
	c.Run("role", "grant", "app", "read,list", "app/").Done(t)
	c.Run("user", "create", "ann", "--password-file", password).Done(t)
	c.Run("user", "grant", "ann", "app").Done(t)
	before := c.Run("role", "list").Done(t) + c.Run("user", "list").Done(t) + c.Run("token", "list").Stdout + c.Run("ca", "show").Done(t) + c.Run("namespace", "list").Stdout
	zeros := strings.Repeat("0", 64)
	for _, tt := range []struct {
		line   string
		status int
		wants  []string
	}{
		{"role create app", clustertest.ExitConflict, []string{"there is one of that name", "muster role list"}},
		{"role create a/b", clustertest.ExitUsage, []string{`"a/b": has '/'`, "want 1 to 64 letters"}},
		{"role create " + strings.Repeat("r", 65), clustertest.ExitUsage, []string{"want 1 to 64 letters"}},
		{"role grant nope read app/", clustertest.ExitNotFound, []string{`role "nope"`, "muster role list"}},
		{"role del nope", clustertest.ExitNotFound, []string{`role "nope"`, "muster role list"}},
		{"role revoke app write other/", clustertest.ExitNotFound, []string{`no grant on "key:other/"`, "muster role list"}},
		{"role grant app reed app/", clustertest.ExitUsage, []string{`verb "reed"`, "want read, write, list, watch, admin"}},
		{"role grant app read,read app/", clustertest.ExitUsage, []string{"twice", "want each once"}},
		{"role grant app list cluster", clustertest.ExitUsage, []string{"list means nothing there", "want read,admin"}},
		{"role grant app admin app/", clustertest.ExitUsage, []string{"admin means nothing there", "want read,write,list,watch"}},
		{"role grant app read keys:app/", clustertest.ExitUsage, []string{"keys: is no kind", `want "key:app/"`}},
		{"role grant app read app/*", clustertest.ExitUsage, []string{"no star", `want "key:app/"`}},
		{"role grant app read " + strings.Repeat("k", 257), clustertest.ExitUsage, []string{"257 bytes", "want 256 at most"}},
		{"role grant app read a\x01b", clustertest.ExitUsage, []string{`"key:a\x01b"`, "want UTF-8 without control characters"}},
		{"user create ann", clustertest.ExitConflict, []string{"there is one of that name", "muster user list"}},
		{"user create a/b", clustertest.ExitUsage, []string{`"a/b": has '/'`, "want 1 to 64 letters"}},
		{"user create bob --password-file " + short, clustertest.ExitRefused, []string{"has 3 bytes", "want 8 to 1024"}},
		{"user create bob --password-file " + dir + "/none", clustertest.ExitRefused, []string{"no such file", "put the password into"}},
		{"user grant ann nope", clustertest.ExitNotFound, []string{`role "nope"`, "muster role list"}},
		{"user grant nope app", clustertest.ExitNotFound, []string{`user "nope"`, "muster user list"}},
		{"user del nope", clustertest.ExitNotFound, []string{`user "nope"`, "muster user list"}},
		{"user cert nope --out " + dir + "/cert", clustertest.ExitNotFound, []string{"user nope: no such user", "muster user create nope"}},
		{"auth can-i reed app/", clustertest.ExitUsage, []string{`verb "reed"`, "want read, write"}},
		{"auth can-i read keys:app/", clustertest.ExitUsage, []string{"keys: is no kind", `want "key:app/"`}},
		{"auth can-i admin app/", clustertest.ExitUsage, []string{`admin means nothing for "key:app/"`, "want read,write,list,watch"}},
		{"auth can-i read app/ --as nope", clustertest.ExitNotFound, []string{"nope", "muster user list"}},
		{"auth login ann", clustertest.ExitUsage, []string{"--password-file is missing", "want a FILE"}},
		{"auth login ann --password-file " + wrong, clustertest.ExitNotPermitted, []string{"wrong name or password", "ask an administrator"}},
		{"auth login ann --root 12 --password-file " + password, clustertest.ExitUsage, []string{`found "12"`, "want 64 hexadecimal digits"}},
		{"auth login ann --root " + zeros + " --password-file " + password, clustertest.ExitNotPermitted, []string{"the cluster has root ", "check the address, and --root"}},
		{"ca retire " + zeros, clustertest.ExitNotFound, []string{"none of that id", "muster ca show"}},
		{"ca retire x", clustertest.ExitNotFound, []string{"none of that id", "muster ca show"}},
		{"token create --role boss", clustertest.ExitUsage, []string{`--role "boss"`, "want server or client"}},
		{"token create --uses 0", clustertest.ExitUsage, []string{"--uses 0", "want 1 to 1000"}},
		{"token create --ttl 9999h", clustertest.ExitUsage, []string{"--ttl 9999h", "want 1s to 720h"}},
		{"token revoke x", clustertest.ExitUsage, []string{`id "x"`, "muster token list"}},
		{"token revoke 99", clustertest.ExitNotFound, []string{"token", "muster token list"}},
		{"namespace limit app/", clustertest.ExitUsage, []string{"a limit is missing", "want --keys, --bytes or --rate"}},
		{"namespace limit app/ --keys x", clustertest.ExitUsage, []string{`"x"`, "want a whole number"}},
		{"namespace limit " + strings.Repeat("k", shardmap.KeyMax+1) + " --keys 1", clustertest.ExitUsage, []string{fmt.Sprintf("PREFIX has %d bytes; want 1 to %d", shardmap.KeyMax+1, shardmap.KeyMax)}},
	} {
		r := c.Run(strings.Split(tt.line, " ")...)
		t.Run(fmt.Sprintf("%.60q", tt.line), func(t *testing.T) {
			for _, want := range tt.wants {
				r.Refused(t, tt.status, want)
			}
		})
	}
	if after := c.Run("role", "list").Done(t) + c.Run("user", "list").Done(t) + c.Run("token", "list").Stdout + c.Run("ca", "show").Done(t) + c.Run("namespace", "list").Stdout; after != before {
		t.Errorf("something has changed:\n%s\nwas\n%s", after, before)
	}
}

// A user who does not look after the cluster is not told how much is in slots, and zeros would read as if they were empty:
// a list has none, and a plan that would go by them is refused.
func TestSlotSizesAreNotMadeUp(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1, "--groups", "2")
	c.GoesByCertificates()
	c.Run("kv", "set", "k", "v").Done(t)
	c.Run("user", "create", "ann", "--no-password").Done(t)
	ann := filepath.Join(c.Dir, "ann")
	c.Run("user", "cert", "ann", "--out", ann).Done(t)
	as := func(args ...string) clustertest.Result {
		cmd := c.Command(args...)
		cmd.Env = append(cmd.Env, home.Variable+"="+ann, "MUSTER_ENDPOINTS="+c.Endpoints())
		return clustertest.RunCommand(t, cmd, "")
	}
	type row struct{ Keys, Bytes *uint64 }
	var told, untold []row
	c.JSON(&told, "slot", "list")
	r := as("slot", "list", "-o", "json")
	if r.Status != clustertest.ExitDone || !strings.Contains(r.Stderr, "their sizes are told to those who may read the cluster") {
		t.Errorf("status %d, %s", r.Status, r.Stderr)
	}
	if err := json.Unmarshal([]byte(r.Stdout), &untold); err != nil || len(untold) != len(told) {
		t.Fatalf("%v: %s", err, r.Stdout)
	}
	var keys uint64
	for i := range told {
		keys += *told[i].Keys
		if untold[i].Keys != nil || untold[i].Bytes != nil {
			t.Errorf("ann is told of %d keys", *untold[i].Keys)
		}
	}
	if keys != 1 {
		t.Errorf("the administrator is told of %d keys, want 1", keys)
	}
	as("slot", "rebalance", "--yes").Refused(t, clustertest.ExitNotPermitted, "nothing was changed")
}

// A private file that others can read, or that is not what it should be, must be refused by whatever wants it,
// in one line; and following that line must help. The same host is used all the time, so what is left of one
// mistake would show at the next.
func TestWrongFilesOfKeys(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 1, "--groups", "1")
	c.GoesByCertificates()
	var roots []struct{ Root string }
	c.JSON(&roots, "ca", "show")
	own, data := userDir(t, roots[0].Root), c.Nodes[0].Data
	password := private(t, t.TempDir(), "password", "a-good-password-of-ann\n")
	c.Run("user", "create", "ann", "--password-file", password).Done(t)
	c.Run("user", "cert", "ann", "--out", filepath.Join(c.Dir, "cert")).Done(t)
	ann := filepath.Join(c.Dir, "home")
	as := func(args ...string) clustertest.Result {
		cmd := c.Command(args...)
		cmd.Env = append(cmd.Env, home.Variable+"="+ann, "MUSTER_ENDPOINTS="+c.Endpoints())
		return clustertest.RunCommand(t, cmd, "")
	}
	// A host that does not know the cluster is told how to log in, and the root that ca show prints does for it.
	as("auth", "login", "ann", "--password-file", password).Refused(t, clustertest.ExitNotPermitted, "auth login NAME --root ROOT, which muster ca show prints there")
	shown := strings.Fields(c.Run("ca", "show").Done(t))
	logsIn := []string{"auth", "login", "ann", "--password-file", password, "--root", shown[slices.Index(shown, "issuing")-1]}
	as(logsIn...).Done(t)
	ofAnn := filepath.Join(ann, filepath.Base(own))

	// A user's files.
	if err := os.Chmod(filepath.Join(ofAnn, "user.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := as("auth", "whoami")
	r.Refused(t, clustertest.ExitNotPermitted, "(mode 0644); run: chmod 600 ")
	followChmod(t, r)
	as("auth", "whoami").Done(t)
	for _, name := range []string{"user.key", "user.pem", "root.pem"} {
		private(t, ofAnn, name, "no key and no certificate\n")
		r := as("auth", "whoami")
		r.Refused(t, clustertest.ExitNotPermitted, "muster auth login")
		r.Refused(t, clustertest.ExitNotPermitted, name)
		if strings.Contains(r.Stderr, "remove the folder "+ofAnn+",") {
			if err := os.RemoveAll(ofAnn); err != nil {
				t.Fatal(err)
			}
		}
		as(logsIn...).Done(t)
		as("auth", "whoami").Done(t)
	}
	if err := os.Chmod(password, 0o640); err != nil {
		t.Fatal(err)
	}
	r = as(logsIn...)
	r.Refused(t, clustertest.ExitRefused, "(mode 0640); run: chmod 600 ")
	followChmod(t, r)
	as(logsIn...).Done(t)
	cut := strings.Replace(roots[0].Root, roots[0].Root[:1], "z", 1)
	as("auth", "login", "ann", "--password-file", password, "--root", cut).Refused(t, clustertest.ExitUsage, "want 64 hexadecimal digits")

	// A token's file.
	token := clustertest.TokenFor(c, 1)
	text, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	joins := func(file string) clustertest.Result {
		return clustertest.Run(t, "serve", "--data", filepath.Join(c.Dir, "joins"), "--listen", "127.0.0.1:0", "--join", c.Endpoints(), "--token-file", file)
	}
	if err := os.Chmod(token, 0o604); err != nil {
		t.Fatal(err)
	}
	joins(token).Refused(t, clustertest.ExitRefused, "(mode 0604); run: chmod 600 "+token)
	for name, tt := range map[string]struct{ text, want string }{
		"cut":      {strings.TrimSpace(string(text))[:100], "token's secret: found "},
		"of roots": {"mst1.1234567890.3.44444", "token's root: found "},
		"no":       {"no token at all, and no secret", "token's beginning: found something else, want mst1."},
		"empty":    {"", "it is empty; want 16 to 4096; muster token create"},
	} {
		joins(private(t, c.Dir, "token "+name, tt.text)).Refused(t, clustertest.ExitRefused, tt.want)
	}
	joins(filepath.Join(c.Dir, "none")).Refused(t, clustertest.ExitRefused, "put into "+filepath.Join(c.Dir, "none")+" what muster token create")

	// A company's certificate.
	company := func(key string) clustertest.Result {
		return clustertest.Run(t, "serve", "--data", filepath.Join(c.Dir, "company"), "--listen", "127.0.0.1:0", "--tls-cert", filepath.Join(data, "tls", "node.pem"), "--tls-key", key, "--tls-ca", filepath.Join(ofAnn, "root.pem"))
	}
	other := private(t, c.Dir, "other.key", "no key\n")
	company(other).Refused(t, clustertest.ExitRefused, "--tls-key: found no PEM block")
	if err := os.Chmod(other, 0o644); err != nil {
		t.Fatal(err)
	}
	r = company(other)
	r.Refused(t, clustertest.ExitRefused, "chmod 600 "+other)
	company(filepath.Join(ofAnn, "user.key")).Refused(t, clustertest.ExitRefused, "--tls-key: found ")

	// A node's files.
	c.Stop(0)
	again := func() clustertest.Result { return clustertest.Run(t, c.Nodes[0].Args...) }
	files, err := filepath.Glob(filepath.Join(data, "tls", "*.key"))
	if err != nil || len(files) != 2 {
		t.Fatalf("keys of the node: %q, %v", files, err)
	}
	for _, path := range append(files, filepath.Join(data, "tls")) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, info.Mode().Perm()|0o044); err != nil {
			t.Fatal(err)
		}
		r := again()
		r.Refused(t, clustertest.ExitRefused, path+": others than its owner can use it (mode 0")
		followChmod(t, r)
	}
	for _, path := range files {
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", "no key\n", string(was[:len(was)/2])} {
			private(t, filepath.Dir(path), filepath.Base(path), text)
			again().Refused(t, clustertest.ExitRefused, "put it back as it was")
		}
		private(t, filepath.Dir(path), filepath.Base(path), string(was))
	}
	c.Start(0)
	c.Until("it serves", func(context.Context) error {
		if r := c.Run("kv", "set", "k", "v"); r.Status != clustertest.ExitDone {
			return errors.New(r.Stderr)
		}
		return nil
	})
}
