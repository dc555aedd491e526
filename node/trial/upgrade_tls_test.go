package trial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"muster/node"
	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/wire"
	"muster/shardmap"
)

// refusedWithoutCertificate reports whether an error is one that docs/operating.md announces to clients that go by
// the secret, once certificates alone count: a refusal, or, of a write under way, that its outcome is not known.
func refusedWithoutCertificate(err error) bool {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Code == wire.CodeUnauthorized || e.Code == wire.CodeMaybeApplied
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	text := err.Error()
	return exit.ExitCode() == clustertest.ExitNotPermitted || exit.ExitCode() == clustertest.ExitNoResult && (strings.Contains(text, "maybe-applied") || strings.Contains(text, "unauthorized"))
}

// oldWatch is a watch by the older build's command line, which stays open as long as the cluster takes it.
type oldWatch struct {
	cmd    *exec.Cmd
	out    string // path of what it prints
	stderr bytes.Buffer
	ended  chan struct{} // closed when it has ended
}

// A cluster of the build before TLS, whose members share a secret, goes over to TLS as docs/operating.md tells
// it: its nodes are replaced one after the other, then clients get certificates, then the secret ends. All of it
// happens under load. Clients that have certificates by then are told no error at any step, those that have
// none are refused from the last on, as the page says, and nothing that was acknowledged is lost or was
// read wrong. One would doubt it: at the same moment the mode changes on three nodes that hear of it one
// after the other, with connections of four kinds open.
func TestUpgradeToTLS(t *testing.T) {
	t.Parallel()
	older := clustertest.OlderBinary(t, clearFrom)
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	clustertest.Run(t, "secret", "--file", secret).Done(t)
	c := clustertest.New(t, 3, "--secret-file", secret)
	c.Secret, c.Clear = secret, true
	for i, p := range c.Nodes {
		p.Binary = older
		c.Start(i)
	}
	c.Healthy()
	var over bool // the secret is about to end; guarded by l.mu
	l := newUpgradeLoad(c)
	l.pause = 2 * time.Millisecond
	bySecret := map[string]bool{"older": true, "in clear": true, "by secret": true}
	l.ends = func(kind string, err error) bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return over && bySecret[kind] && refusedWithoutCertificate(err)
	}
	defer l.wg.Wait()
	defer l.stop()

	// Until all nodes run this build, commands of it want --insecure beside the secret.
	l.run("older", 0, commandLine{older, c.Endpoints(), []string{"MUSTER_SECRET_FILE=" + secret}, 10 * time.Second})
	l.run("in clear", 0, commandLine{clustertest.Binary(), c.Endpoints(), []string{"MUSTER_SECRET_FILE=" + secret, "MUSTER_INSECURE=1"}, 0})
	for i := range 2 {
		l.run("in clear", 1+i, library{c.Client()})
	}
	w := watchOlder(c, older)
	more := map[string]int{"older": 5, "in clear": 100}
	l.advances("clients work before the upgrade", more)
	c.Until("the watch is open", func(context.Context) error {
		if info, err := os.Stat(w.out); err != nil || info.Size() == 0 {
			return fmt.Errorf("it has told nothing (%v)", err)
		}
		return nil
	})
	l.mu.Lock()
	early := maps.Clone(l.owned)
	l.mu.Unlock()
	clustertest.Run(t, "kv", "get", "upgrade/0", "--secret-file", secret, "--endpoints", c.Endpoints()).Refused(t, clustertest.ExitNoResult, "such a one wants --insecure")
	for i, p := range c.Nodes {
		c.Stop(i)
		p.Binary = clustertest.Binary()
		c.Start(i)
		c.Healthy()
		l.advances(fmt.Sprintf("clients work with %d nodes replaced", i+1), more)
	}

	// From now on TLS is spoken with those who want it, by the secret.
	c.Clear = false
	bySecretAlone := c.ClientWith(client.Options{Endpoints: strings.Split(c.Endpoints(), ","), Home: filepath.Join(dir, "nothing")})
	l.run("by secret", 0, library{bySecretAlone})
	more["by secret"] = 50
	l.advances("clients work over TLS by the secret", more)
	l.mu.Lock()
	told := maps.Clone(l.owned) // long before anybody is refused
	l.mu.Unlock()
	maps.DeleteFunc(told, func(key, _ string) bool { _, ok := early[key]; return ok })

	// The root, and certificates for clients; the secret goes on.
	admin := filepath.Join(dir, "admin")
	asAdmin := func(args ...string) string {
		t.Helper()
		cmd := c.Command(append(args, "--endpoints", c.Endpoints())...)
		cmd.Env = append(cmd.Env, home.Variable+"="+admin, "MUSTER_SECRET_FILE="+secret)
		said := clustertest.RunCommand(t, cmd, "")
		if said.Status != clustertest.ExitDone {
			t.Fatalf("%v: status %d, %s", args, said.Status, said.Stderr)
		}
		return said.Stdout
	}
	asAdmin("ca", "create", "--keep-secret")
	asAdmin("role", "create", "app")
	asAdmin("role", "grant", "app", "read,write,list,watch", "upgrade/")
	asAdmin("user", "create", "app", "--no-password")
	asAdmin("user", "grant", "app", "app")
	app := filepath.Join(dir, "app")
	asAdmin("user", "cert", "app", "--out", app)
	for i := range 2 {
		cl, err := client.Open(client.Options{Endpoints: strings.Split(c.Endpoints(), ","), Home: app})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cl.Close() })
		l.run("by certificate", i, library{cl})
	}
	l.run("by certificate", 2, commandLine{clustertest.Binary(), c.Endpoints(), []string{home.Variable + "=" + app}, 0})
	more["by certificate"] = 50
	l.advances("clients work by certificates beside those by the secret", more)

	// The secret ends.
	l.mu.Lock()
	over = true
	l.mu.Unlock()
	asAdmin("ca", "create", "--user", "ann")
	l.advances("clients go on by certificates", map[string]int{"by certificate": 200})
	c.Until("those by the secret have been refused", func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.ended["older"]) < 1 || len(l.ended["in clear"]) < 3 || len(l.ended["by secret"]) < 1 {
			return fmt.Errorf("so far %v", l.ended)
		}
		return nil
	})
	// A watch of the older build goes on trying, and is told nothing any more.
	w.cmd.Process.Kill()
	<-w.ended
	events, err := os.ReadFile(w.out)
	if err != nil {
		t.Fatal(err)
	}
	for key := range told {
		if n := strings.Count(string(events), `"`+key+`"`); n != 1 {
			t.Errorf("the older build's watch was told of %s %d times; it says %q", key, n, &w.stderr)
		}
	}
	refusal := clustertest.RunCommand(t, clustertest.CommandOf(older, "kv", "get", "upgrade/0", "--secret-file", secret, "--endpoints", c.Endpoints()), "")
	refusal.Refused(t, clustertest.ExitNotPermitted, "speaks nothing but TLS 1.3")

	// A host joins by a token, and one that stops comes back from its disk, without the secret.
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte(asAdmin("token", "create")), 0o600); err != nil {
		t.Fatal(err)
	}
	addrs, err := node.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	p := &clustertest.Process{Binary: clustertest.Binary(), Addr: addrs[0], Data: filepath.Join(c.Dir, "n4"), Log: filepath.Join(c.Dir, "n4.log")}
	p.Args = []string{"serve", "--name", "n4", "--listen", p.Addr, "--data", p.Data, "--token-file", token, "--join", c.Endpoints()}
	c.Nodes = append(c.Nodes, p)
	c.Start(3)
	c.Stop(0)
	c.Nodes[0].Args = []string{"serve", "--name", "n1", "--listen", c.Nodes[0].Addr, "--data", c.Nodes[0].Data}
	c.Start(0)
	l.advances("clients go on with a node that has joined", map[string]int{"by certificate": 100})
	c.Until("all four are members", func(context.Context) error {
		if out := asAdmin("node", "list"); strings.Count(out, "alive") != 4 {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	l.stop()
	l.wg.Wait()
	if result, _ := porcupine.CheckOperationsVerbose(registerModel, l.history, time.Minute); result != porcupine.Ok {
		t.Errorf("history of %d operations: %s", len(l.history), result)
	}
	asApp, err := client.Open(client.Options{Endpoints: strings.Split(c.Endpoints(), ","), Home: app})
	if err != nil {
		t.Fatal(err)
	}
	defer asApp.Close()
	l.check(library{asApp})
	for kind, all := range l.ended {
		for _, err := range all {
			t.Logf("a client %s ended with: %v", kind, err)
		}
	}
	t.Logf("level %d; operations: %v", shardmap.Level, l.ops)
}

// watchOlder watches the keys of one writer each, by an older command line and the secret.
func watchOlder(c *clustertest.Cluster, binary string) *oldWatch {
	c.T.Helper()
	w := &oldWatch{ended: make(chan struct{}), out: filepath.Join(c.Dir, "watch")}
	w.cmd = clustertest.CommandOf(binary, "kv", "watch", "upgrade/own/", "-o", "json", "--endpoints", c.Endpoints(), "--secret-file", c.Secret)
	out, err := os.Create(w.out)
	if err != nil {
		c.T.Fatal(err)
	}
	defer out.Close()
	w.cmd.Stdout, w.cmd.Stderr = out, &w.stderr
	if err := w.cmd.Start(); err != nil {
		c.T.Fatal(err)
	}
	go func() { w.cmd.Wait(); close(w.ended) }()
	c.T.Cleanup(func() { w.cmd.Process.Kill(); <-w.ended })
	return w
}
