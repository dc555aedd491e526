package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

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
func followChmod(t testing.TB, r result) {
	t.Helper()
	m := chmodOf.FindStringSubmatch(r.stderr)
	if m == nil {
		t.Fatalf("%q tells of no chmod", r.stderr)
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
	c := startCluster(t, 1, "--groups", "1")
	dir := t.TempDir()
	password, short, wrong := private(t, dir, "password", "a-good-password-of-ann\n"), private(t, dir, "short", "abc\n"), private(t, dir, "wrong", "not-the-password\n")
	c.run("role", "create", "app").done(t)
	c.run("role", "grant", "app", "read,list", "app/").done(t)
	c.run("user", "create", "ann", "--password-file", password).done(t)
	c.run("user", "grant", "ann", "app").done(t)
	before := c.run("role", "list").done(t) + c.run("user", "list").done(t) + c.run("token", "list").stdout + c.run("ca", "show").done(t) + c.run("namespace", "list").stdout
	zeros := strings.Repeat("0", 64)
	for _, tt := range []struct {
		line   string
		status int
		wants  []string
	}{
		{"role create app", exitConflict, []string{"there is one of that name", "muster role list"}},
		{"role create a/b", exitUsage, []string{`"a/b": has '/'`, "want 1 to 64 letters"}},
		{"role create " + strings.Repeat("r", 65), exitUsage, []string{"want 1 to 64 letters"}},
		{"role grant nope read app/", exitNotFound, []string{`role "nope"`, "muster role list"}},
		{"role del nope", exitNotFound, []string{`role "nope"`, "muster role list"}},
		{"role revoke app write other/", exitNotFound, []string{`no grant on "key:other/"`, "muster role list"}},
		{"role grant app reed app/", exitUsage, []string{`verb "reed"`, "want read, write, list, watch, admin"}},
		{"role grant app read,read app/", exitUsage, []string{"twice", "want each once"}},
		{"role grant app list cluster", exitUsage, []string{"list means nothing there", "want read,admin"}},
		{"role grant app admin app/", exitUsage, []string{"admin means nothing there", "want read,write,list,watch"}},
		{"role grant app read keys:app/", exitUsage, []string{"keys: is no kind", `want "key:app/"`}},
		{"role grant app read app/*", exitUsage, []string{"no star", `want "key:app/"`}},
		{"role grant app read " + strings.Repeat("k", 257), exitUsage, []string{"257 bytes", "want 256 at most"}},
		{"role grant app read a\x01b", exitUsage, []string{`"key:a\x01b"`, "want UTF-8 without control characters"}},
		{"user create ann", exitConflict, []string{"there is one of that name", "muster user list"}},
		{"user create a/b", exitUsage, []string{`"a/b": has '/'`, "want 1 to 64 letters"}},
		{"user create bob --password-file " + short, exitRefused, []string{"has 3 bytes", "want 8 to 1024"}},
		{"user create bob --password-file " + dir + "/none", exitRefused, []string{"no such file", "put the password into"}},
		{"user grant ann nope", exitNotFound, []string{`role "nope"`, "muster role list"}},
		{"user grant nope app", exitNotFound, []string{`user "nope"`, "muster user list"}},
		{"user del nope", exitNotFound, []string{`user "nope"`, "muster user list"}},
		{"user cert nope --out " + dir + "/cert", exitNotFound, []string{"user nope: no such user", "muster user create nope"}},
		{"auth can-i reed app/", exitUsage, []string{`verb "reed"`, "want read, write"}},
		{"auth can-i read keys:app/", exitUsage, []string{"keys: is no kind", `want "key:app/"`}},
		{"auth can-i admin app/", exitUsage, []string{`admin means nothing for "key:app/"`, "want read,write,list,watch"}},
		{"auth can-i read app/ --as nope", exitNotFound, []string{"nope", "muster user list"}},
		{"auth login ann", exitUsage, []string{"--password-file is missing", "want a FILE"}},
		{"auth login ann --password-file " + wrong, exitNotPermitted, []string{"wrong name or password", "ask an administrator"}},
		{"auth login ann --root 12 --password-file " + password, exitUsage, []string{`found "12"`, "want 64 hexadecimal digits"}},
		{"auth login ann --root " + zeros + " --password-file " + password, exitNotPermitted, []string{"the cluster has root ", "check the address, and --root"}},
		{"ca retire " + zeros, exitNotFound, []string{"none of that id", "muster ca show"}},
		{"ca retire x", exitNotFound, []string{"none of that id", "muster ca show"}},
		{"token create --role boss", exitUsage, []string{`--role "boss"`, "want server or client"}},
		{"token create --uses 0", exitUsage, []string{"--uses 0", "want 1 to 1000"}},
		{"token create --ttl 9999h", exitUsage, []string{"--ttl 9999h", "want 1s to 720h"}},
		{"token revoke x", exitUsage, []string{`id "x"`, "muster token list"}},
		{"token revoke 99", exitNotFound, []string{"token", "muster token list"}},
		{"namespace limit app/", exitUsage, []string{"a limit is missing", "want --keys, --bytes or --rate"}},
		{"namespace limit app/ --keys x", exitUsage, []string{`"x"`, "want a whole number"}},
		{"namespace limit " + strings.Repeat("k", shardmap.KeyMax+1) + " --keys 1", exitUsage, []string{fmt.Sprintf("PREFIX has %d bytes; want 1 to %d", shardmap.KeyMax+1, shardmap.KeyMax)}},
	} {
		r := c.run(strings.Split(tt.line, " ")...)
		t.Run(fmt.Sprintf("%.60q", tt.line), func(t *testing.T) {
			for _, want := range tt.wants {
				r.refused(t, tt.status, want)
			}
		})
	}
	if after := c.run("role", "list").done(t) + c.run("user", "list").done(t) + c.run("token", "list").stdout + c.run("ca", "show").done(t) + c.run("namespace", "list").stdout; after != before {
		t.Errorf("something has changed:\n%s\nwas\n%s", after, before)
	}
}

// A user who does not look after the cluster is not told how much is in slots, and zeros would read as if they were empty:
// a list has none, and a plan that would go by them is refused.
func TestSlotSizesAreNotMadeUp(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, "--groups", "2")
	c.goesByCertificates()
	c.run("kv", "set", "k", "v").done(t)
	c.run("user", "create", "ann", "--no-password").done(t)
	ann := filepath.Join(c.dir, "ann")
	c.run("user", "cert", "ann", "--out", ann).done(t)
	as := func(args ...string) result {
		cmd := c.command(args...)
		cmd.Env = append(cmd.Env, home.Variable+"="+ann, "MUSTER_ENDPOINTS="+c.endpoints())
		return runCommand(t, cmd, "")
	}
	type row struct{ Keys, Bytes *uint64 }
	var told, untold []row
	c.json(&told, "slot", "list")
	r := as("slot", "list", "-o", "json")
	if r.status != exitDone || !strings.Contains(r.stderr, "their sizes are told to those who may read the cluster") {
		t.Errorf("status %d, %s", r.status, r.stderr)
	}
	if err := json.Unmarshal([]byte(r.stdout), &untold); err != nil || len(untold) != len(told) {
		t.Fatalf("%v: %s", err, r.stdout)
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
	as("slot", "rebalance", "--yes").refused(t, exitNotPermitted, "nothing was changed")
}

// A private file that others can read, or that is not what it should be, must be refused by whatever wants it,
// in one line; and following that line must help. The same host is used all the time, so what is left of one
// mistake would show at the next.
func TestWrongFilesOfKeys(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 1, "--groups", "1")
	c.goesByCertificates()
	var roots []struct{ Root string }
	c.json(&roots, "ca", "show")
	own, data := userDir(t, roots[0].Root), c.nodes[0].data
	password := private(t, t.TempDir(), "password", "a-good-password-of-ann\n")
	c.run("user", "create", "ann", "--password-file", password).done(t)
	c.run("user", "cert", "ann", "--out", filepath.Join(c.dir, "cert")).done(t)
	ann := filepath.Join(c.dir, "home")
	as := func(args ...string) result {
		cmd := c.command(args...)
		cmd.Env = append(cmd.Env, home.Variable+"="+ann, "MUSTER_ENDPOINTS="+c.endpoints())
		return runCommand(t, cmd, "")
	}
	logsIn := []string{"auth", "login", "ann", "--password-file", password, "--root", roots[0].Root}
	as(logsIn...).done(t)
	ofAnn := filepath.Join(ann, filepath.Base(own))

	// A user's files.
	if err := os.Chmod(filepath.Join(ofAnn, "user.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := as("auth", "whoami")
	r.refused(t, exitNotPermitted, "(mode 0644); run: chmod 600 ")
	followChmod(t, r)
	as("auth", "whoami").done(t)
	for _, name := range []string{"user.key", "user.pem", "root.pem"} {
		private(t, ofAnn, name, "no key and no certificate\n")
		r := as("auth", "whoami")
		r.refused(t, exitNotPermitted, "muster auth login")
		r.refused(t, exitNotPermitted, name)
		if strings.Contains(r.stderr, "remove the folder "+ofAnn+",") {
			if err := os.RemoveAll(ofAnn); err != nil {
				t.Fatal(err)
			}
		}
		as(logsIn...).done(t)
		as("auth", "whoami").done(t)
	}
	if err := os.Chmod(password, 0o640); err != nil {
		t.Fatal(err)
	}
	r = as(logsIn...)
	r.refused(t, exitRefused, "(mode 0640); run: chmod 600 ")
	followChmod(t, r)
	as(logsIn...).done(t)
	cut := strings.Replace(roots[0].Root, roots[0].Root[:1], "z", 1)
	as("auth", "login", "ann", "--password-file", password, "--root", cut).refused(t, exitUsage, "want 64 hexadecimal digits")

	// A token's file.
	token := c.token(1)
	text, err := os.ReadFile(token)
	if err != nil {
		t.Fatal(err)
	}
	joins := func(file string) result {
		return muster(t, "serve", "--data", filepath.Join(c.dir, "joins"), "--listen", "127.0.0.1:0", "--join", c.endpoints(), "--token-file", file)
	}
	if err := os.Chmod(token, 0o604); err != nil {
		t.Fatal(err)
	}
	joins(token).refused(t, exitRefused, "(mode 0604); run: chmod 600 "+token)
	for name, tt := range map[string]struct{ text, want string }{
		"cut":      {strings.TrimSpace(string(text))[:100], "token's secret: found "},
		"of roots": {"mst1.1234567890.3.44444", "token's root: found "},
		"no":       {"no token at all, and no secret", "token's beginning: found something else, want mst1."},
		"empty":    {"", "it is empty; want 16 to 4096; muster token create"},
	} {
		joins(private(t, c.dir, "token "+name, tt.text)).refused(t, exitRefused, tt.want)
	}
	joins(filepath.Join(c.dir, "none")).refused(t, exitRefused, "put into "+filepath.Join(c.dir, "none")+" what muster token create")

	// A company's certificate.
	company := func(key string) result {
		return muster(t, "serve", "--data", filepath.Join(c.dir, "company"), "--listen", "127.0.0.1:0", "--tls-cert", filepath.Join(data, "tls", "node.pem"), "--tls-key", key, "--tls-ca", filepath.Join(ofAnn, "root.pem"))
	}
	other := private(t, c.dir, "other.key", "no key\n")
	company(other).refused(t, exitRefused, "--tls-key: found no PEM block")
	if err := os.Chmod(other, 0o644); err != nil {
		t.Fatal(err)
	}
	r = company(other)
	r.refused(t, exitRefused, "chmod 600 "+other)
	company(filepath.Join(ofAnn, "user.key")).refused(t, exitRefused, "--tls-key: found ")

	// A node's files.
	c.stop(0)
	again := func() result { return muster(t, c.nodes[0].args...) }
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
		r.refused(t, exitRefused, path+": others than its owner can use it (mode 0")
		followChmod(t, r)
	}
	for _, path := range files {
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", "no key\n", string(was[:len(was)/2])} {
			private(t, filepath.Dir(path), filepath.Base(path), text)
			again().refused(t, exitRefused, "put it back as it was")
		}
		private(t, filepath.Dir(path), filepath.Base(path), string(was))
	}
	c.start(0)
	c.until("it serves", func(context.Context) error {
		if r := c.run("kv", "set", "k", "v"); r.status != exitDone {
			return errors.New(r.stderr)
		}
		return nil
	})
}
