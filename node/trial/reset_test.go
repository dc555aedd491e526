package trial

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
	"muster/repl/client/home"
)

// commandAs makes a command of the user who keeps credentials in a directory.
func commandAs(c *cluster, kept string, args ...string) *exec.Cmd {
	cmd := c.command(args...)
	cmd.Env = append(cmd.Env, "MUSTER_ENDPOINTS="+c.endpoints(), home.Variable+"="+kept)
	return cmd
}

// runAs runs the binary against the nodes of c as the user who keeps credentials in a directory.
func runAs(c *cluster, kept string, args ...string) result {
	c.t.Helper()
	return runCommand(c.t, commandAs(c, kept, args...), "")
}

// The credentials of all administrators are lost, and the password of none is known. Whoever owns the disk
// of a voter must get in again, and nobody else: a file that somebody else has put there, or could have written
// to, one that was forgotten there, and one on a host that holds no key must change nothing.
func TestLostAdministrator(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.goesByCertificates()
	// The test's own credentials go on to watch what comes of it. All resets begin with none.
	none := func(name string) string { return filepath.Join(c.dir, name) }
	runAs(c, none("lost"), "kv", "get", "k").refused(t, exitNotPermitted, "is not kept in")

	// By a host of the cluster that never had a key.
	token := filepath.Join(c.dir, "token")
	if err := os.WriteFile(token, []byte(c.run("token", "create", "--role", "client").done(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	addrs, err := node.FreeAddrs(1)
	if err != nil {
		t.Fatal(err)
	}
	n4 := &process{binary: binary, addr: addrs[0], data: none("n4"), log: none("n4.log")}
	n4.args = []string{"serve", "--name", "n4", "--listen", n4.addr, "--data", n4.data, "--join", c.endpoints(), "--token-file", token, "--role", "client"}
	c.nodes = append(c.nodes, n4)
	c.start(3)
	c.healthy(3)
	runAs(c, none("home4"), "auth", "reset", "--data", n4.data, "eve").refused(t, exitNotPermitted, "node n4: not permitted (it does not vote in group 0")
	if r := c.run("user", "list"); strings.Contains(r.stdout, "eve") {
		t.Errorf("a client's disk has made a user: %s", r.stdout)
	}

	// A follower and the leader of the meta group are among three.
	for i, p := range c.nodes[:3] {
		name, kept := fmt.Sprintf("ann%d", i), none(fmt.Sprintf("home%d", i))
		r := runAs(c, kept, "auth", "reset", "--data", p.data, name)
		if want := fmt.Sprintf("you are %s, with role admin, by the certificate in %s\n", name, kept); r.done(t) != want {
			t.Errorf("n%d: got %q, want %q", i+1, r.stdout, want)
		}
		mayWrite(c, kept)
		if out := runAs(c, kept, "auth", "whoami").done(t); out != name+", with roles admin\n" {
			t.Errorf("n%d: got %q", i+1, out)
		}
		if left, err := filepath.Glob(filepath.Join(p.data, "tls", "reset*")); err != nil || len(left) > 0 {
			t.Errorf("n%d: left are %v, %v", i+1, left, err)
		}
	}
	// It is told where people look: in the trail of the node, and of the one that has done it.
	for i := range 3 {
		c.until("it is in the trail", func(context.Context) error {
			out := c.run("audit", "tail", "--node", fmt.Sprintf("n%d", i+1)).stdout
			if !strings.Contains(out, fmt.Sprintf("user ann%d", i)) || !strings.Contains(out, "asked by the owner of this node's directory; role admin") {
				return fmt.Errorf("n%d: %s", i+1, out)
			}
			return nil
		})
		if log, err := os.ReadFile(c.nodes[i].log); err != nil || !strings.Contains(string(log), `msg="administrator made for the owner of this node's directory"`) {
			t.Errorf("the log of n%d does not tell: %v", i+1, err)
		}
	}

	// The role admin was narrowed by somebody who had a reason, and is left as it is.
	c.run("role", "revoke", "admin", "write", "key:").done(t)
	for i, name := range []string{"eve", "bob"} {
		kept := none(name)
		r := runAs(c, kept, "auth", "reset", "--data", c.nodes[i].data, name)
		if r.status != exitDone || !strings.Contains(r.stdout, "with role admin-reset") || !strings.Contains(r.stderr, "the role admin does not allow everything any more") {
			t.Errorf("%s: got %+v", name, r)
		}
		mayWrite(c, kept)
	}
	runAs(c, none("home0"), "kv", "set", "k", "x").refused(t, exitNotPermitted, "write")

	notTaken(c, c.nodes[1])
	oneAtATime(c, c.nodes[2])

	// Without a majority nobody is made anything, and the command says what it waits for.
	c.kill(1)
	c.kill(2)
	runAs(c, none("cut"), "auth", "reset", "--data", c.nodes[0].data, "cut").refused(t, exitNoResult, "start the other voters of group 0")
}

// mayWrite waits until all nodes have heard that a user may do everything.
func mayWrite(c *cluster, kept string) {
	c.t.Helper()
	c.until("the administrator writes", func(context.Context) error {
		if r := runAs(c, kept, "kv", "set", "k", "v"); r.status != exitDone {
			return errors.New(r.stderr)
		}
		return nil
	})
}

// notTaken puts files into a node's directory that it must refuse, and checks that each gets one line in its
// log and is gone then, and that nobody has become a user.
func notTaken(c *cluster, p *process) {
	t := c.t
	t.Helper()
	dir := filepath.Join(c.dir, "elsewhere")
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
	name := filepath.Join(p.data, "tls", "reset.request")
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
		c.until("it is refused", func(context.Context) error {
			if log, err = os.ReadFile(p.log); err == nil && strings.Count(string(log), want) == 0 {
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
	if out := c.run("user", "list").done(t); strings.Contains(out, "mallory") {
		t.Errorf("a file that does not count has made a user: %s", out)
	}
	os.Remove(filepath.Join(p.data, "tls", "reset.answer"))
}

// oneAtATime asks a node twice at once: the second is told so in one line, and the first is done.
func oneAtATime(c *cluster, p *process) {
	t := c.t
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil { // it must not answer between the two
		t.Fatal(err)
	}
	first := make(chan result, 1)
	go func() {
		out, err := commandAs(c, filepath.Join(c.dir, "first"), "auth", "reset", "--data", p.data, "first").CombinedOutput()
		status := exitDone
		if err != nil {
			status = exitRefused
		}
		first <- result{status: status, stdout: string(out)}
	}()
	c.until("the first has asked", func(context.Context) error {
		_, err := os.Lstat(filepath.Join(p.data, "tls", "reset.request"))
		return err
	})
	runAs(c, filepath.Join(c.dir, "second"), "auth", "reset", "--data", p.data, "second").refused(t, exitConflict, "another reset is under way")
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if r := <-first; r.status != exitDone || !strings.Contains(r.stdout, "you are first") {
		t.Errorf("the first: got %+v", r)
	}
	if out := c.run("user", "list").done(t); !strings.Contains(out, "first") || strings.Contains(out, "second") {
		t.Errorf("users are %s", out)
	}
}
