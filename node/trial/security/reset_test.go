package security

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node"
	"muster/node/reset"
	"muster/node/trial/clustertest"
	"muster/repl/client/home"
)

// commandAs makes a command of the user who keeps credentials in a directory.
func commandAs(c *clustertest.Cluster, kept string, args ...string) *exec.Cmd {
	cmd := c.Command(args...)
	cmd.Env = append(cmd.Env, "MUSTER_ENDPOINTS="+c.Endpoints(), home.Variable+"="+kept)
	return cmd
}

// runAs runs the binary against the nodes of c as the user who keeps credentials in a directory.
func runAs(c *clustertest.Cluster, kept string, args ...string) clustertest.Result {
	c.T.Helper()
	return clustertest.RunCommand(c.T, commandAs(c, kept, args...), "")
}

// The credentials of all administrators are lost, and the password of none is known. Whoever owns the disk
// of a voter must get in again, and nobody else: a file that somebody else has put there, or could have written
// to, one that was forgotten there, and one on a host that holds no key must change nothing.
func TestLostAdministrator(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3)
	c.GoesByCertificates()
	// The test's own credentials go on to watch what comes of it. All resets begin with none.
	none := func(name string) string { return filepath.Join(c.Dir, name) }
	runAs(c, none("lost"), "kv", "get", "k").Refused(t, clustertest.ExitNotPermitted, "is not kept in")

	// By a host of the cluster that never had a key.
	token := filepath.Join(c.Dir, "token")
	if err := os.WriteFile(token, []byte(c.Run("token", "create", "--role", "client").Done(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	addrs, err := node.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	n4 := &clustertest.Process{Binary: clustertest.Binary(), Addr: addrs[0], Data: none("n4"), Log: none("n4.log")}
	n4.Args = []string{"serve", "--name", "n4", "--listen", n4.Addr, "--data", n4.Data, "--join", c.Endpoints(), "--token-file", token, "--role", "client"}
	c.Nodes = append(c.Nodes, n4)
	c.Start(3)
	c.Healthy(3)
	runAs(c, none("home4"), "auth", "reset", "--data", n4.Data, "eve").Refused(t, clustertest.ExitNotPermitted, "node n4: not permitted (it does not vote in group 0")
	if r := c.Run("user", "list"); strings.Contains(r.Stdout, "eve") {
		t.Errorf("a client's disk has made a user: %s", r.Stdout)
	}

	// A follower and the leader of the meta group are among three.
	for i, p := range c.Nodes[:3] {
		name, kept := fmt.Sprintf("ann%d", i), none(fmt.Sprintf("home%d", i))
		r := runAs(c, kept, "auth", "reset", "--data", p.Data, name)
		if want := fmt.Sprintf("you are %s, with role admin, by the certificate in %s\n", name, kept); r.Done(t) != want {
			t.Errorf("n%d: got %q, want %q", i+1, r.Stdout, want)
		}
		mayWrite(c, kept)
		if out := runAs(c, kept, "auth", "whoami").Done(t); out != name+", with roles admin\n" {
			t.Errorf("n%d: got %q", i+1, out)
		}
		if left, err := filepath.Glob(filepath.Join(p.Data, "tls", "reset*")); err != nil || len(left) > 0 {
			t.Errorf("n%d: left are %v, %v", i+1, left, err)
		}
	}
	// It is told where people look: in the trail of the node, and of the one that has done it.
	for i := range 3 {
		c.Until("it is in the trail", func(context.Context) error {
			out := c.Run("audit", "tail", "--node", fmt.Sprintf("n%d", i+1)).Stdout
			if !strings.Contains(out, fmt.Sprintf("user ann%d", i)) || !strings.Contains(out, "asked by the owner of this node's directory; role admin") {
				return fmt.Errorf("n%d: %s", i+1, out)
			}
			return nil
		})
		if log, err := os.ReadFile(c.Nodes[i].Log); err != nil || !strings.Contains(string(log), `msg="administrator made for the owner of this node's directory"`) {
			t.Errorf("the log of n%d does not tell: %v", i+1, err)
		}
	}

	// The role admin was narrowed by somebody who had a reason, and is left as it is.
	c.Run("role", "revoke", "admin", "write", "key:").Done(t)
	for i, name := range []string{"eve", "bob"} {
		kept := none(name)
		r := runAs(c, kept, "auth", "reset", "--data", c.Nodes[i].Data, name)
		if r.Status != clustertest.ExitDone || !strings.Contains(r.Stdout, "with role admin-reset") || !strings.Contains(r.Stderr, "the role admin does not allow everything any more") {
			t.Errorf("%s: got %+v", name, r)
		}
		mayWrite(c, kept)
	}
	runAs(c, none("home0"), "kv", "set", "k", "x").Refused(t, clustertest.ExitNotPermitted, "write")

	notTaken(c, c.Nodes[1])
	oneAtATime(c, c.Nodes[2])

	// Without a majority nobody is made anything, and the command says what it waits for.
	c.Kill(1)
	c.Kill(2)
	runAs(c, none("cut"), "auth", "reset", "--data", c.Nodes[0].Data, "cut").Refused(t, clustertest.ExitNoResult, "start the other voters of group 0")
}

// mayWrite waits until all nodes have heard that a user may do everything.
func mayWrite(c *clustertest.Cluster, kept string) {
	c.T.Helper()
	c.Until("the administrator writes", func(context.Context) error {
		if r := runAs(c, kept, "kv", "set", "k", "v"); r.Status != clustertest.ExitDone {
			return errors.New(r.Stderr)
		}
		return nil
	})
}

// notTaken puts files into a node's directory that it must refuse, and checks that each gets one line in its
// log and is gone then, and that nobody has become a user.
func notTaken(c *clustertest.Cluster, p *clustertest.Process) {
	t := c.T
	t.Helper()
	dir := filepath.Join(c.Dir, "elsewhere")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := reset.In(dir, time.Now).Ask("mallory", []byte("request")); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "reset.request")
	body, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(p.Data, "tls", "reset.request")
	// Beside its place and renamed, as whoever means it would: the node may look at any moment.
	write := func(b []byte, then func(string) error) error {
		temp := name + ".test"
		return errors.Join(os.WriteFile(temp, b, 0o600), then(temp), os.Rename(temp, name))
	}
	put := map[string]func() error{
		"has mode 0640; want 0600": func() error { return write(body, func(f string) error { return os.Chmod(f, 0o640) }) },
		"is a symbolic link":       func() error { return os.Symlink(good, name) },
		"old; want 10m0s at most": func() error {
			return write(body, func(f string) error { return os.Chtimes(f, time.Time{}, time.Now().Add(-time.Hour)) })
		},
		"is not what muster auth reset writes": func() error { return write([]byte("mallory"), func(string) error { return nil }) },
		// Its content is wrong, which is found out only where certificates are made.
		"certificate request: ": func() error { return write(body, func(string) error { return nil }) },
	}
	if os.Geteuid() == 0 { // only root can give a file away
		const nobody = 65534
		put["belongs to another user"] = func() error { return write(body, func(f string) error { return os.Chown(f, nobody, -1) }) }
	}
	for want, put := range put {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		var log []byte
		c.Until("it is refused", func(context.Context) error {
			if log, err = os.ReadFile(p.Log); err == nil && strings.Count(string(log), want) == 0 {
				err = fmt.Errorf("no line says %q", want)
			}
			return err
		})
		if n := strings.Count(string(log), want); n != 1 {
			t.Errorf("%q: %d lines say it, want one", want, n)
		}
		if _, err := os.Lstat(name); !os.IsNotExist(err) {
			t.Errorf("%q: the file is still there: %v", want, err)
		}
	}
	if out := c.Run("user", "list").Done(t); strings.Contains(out, "mallory") {
		t.Errorf("a file that does not count has made a user: %s", out)
	}
	os.Remove(filepath.Join(p.Data, "tls", "reset.answer"))
}

// oneAtATime asks a node twice at once: the second is told so in one line, and the first is done.
func oneAtATime(c *clustertest.Cluster, p *clustertest.Process) {
	t := c.T
	t.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGSTOP); err != nil { // it must not answer between the two
		t.Fatal(err)
	}
	first := make(chan clustertest.Result, 1)
	go func() {
		out, err := commandAs(c, filepath.Join(c.Dir, "first"), "auth", "reset", "--data", p.Data, "first").CombinedOutput()
		status := clustertest.ExitDone
		if err != nil {
			status = clustertest.ExitRefused
		}
		first <- clustertest.Result{Status: status, Stdout: string(out)}
	}()
	c.Until("the first has asked", func(context.Context) error {
		_, err := os.Lstat(filepath.Join(p.Data, "tls", "reset.request"))
		return err
	})
	runAs(c, filepath.Join(c.Dir, "second"), "auth", "reset", "--data", p.Data, "second").Refused(t, clustertest.ExitConflict, "another reset is under way")
	if err := p.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if r := <-first; r.Status != clustertest.ExitDone || !strings.Contains(r.Stdout, "you are first") {
		t.Errorf("the first: got %+v", r)
	}
	if out := c.Run("user", "list").Done(t); !strings.Contains(out, "first") || strings.Contains(out, "second") {
		t.Errorf("users are %s", out)
	}
}
