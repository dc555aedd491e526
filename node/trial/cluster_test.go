package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"muster/node"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// cluster is some serve processes of the built binary, on free ports of this
// host with scratch data. When its test fails it prints what they logged.
type cluster struct {
	t      testing.TB
	dir    string
	secret string   // path of the secret file; empty: none
	ca     string   // path of the company's CA that clients believe; empty: none
	extra  []string // options of every node
	env    []string // variables of every node, beside those of this process
	hosts  string   // a file in the place of /etc/hosts for nodes and commands; empty: the system's
	clear  bool     // commands and clients speak without TLS
	plain  bool     // a failed test has said it all in figures, and prints no logs
	nodes  []*process
}

// process is one node, in one life after the other.
type process struct {
	addr, data string
	args       []string
	binary     string // that its next life runs
	log        string // path of what all its lives printed
	cmd        *exec.Cmd
	started    time.Time     // this life
	exited     chan struct{} // of this life; closed when it has ended
}

// readyMax is how long a condition may take to come about: some elections on a
// machine that other tests keep busy.
const readyMax = 60 * time.Second

// busyMax is what such a machine may add to the time that anything takes.
const busyMax = 20 * time.Second

// newCluster prepares n nodes and starts none.
func newCluster(t testing.TB, n int, extra ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), extra: extra, clear: slices.Contains(extra, "--insecure")}
	addrs, err := node.FreeAddrs(n)
	if err != nil {
		t.Fatal(err)
	}
	for i, addr := range addrs {
		p := &process{binary: binary, addr: addr, data: filepath.Join(c.dir, fmt.Sprintf("n%d", i+1)), log: filepath.Join(c.dir, fmt.Sprintf("n%d.log", i+1))}
		p.args = []string{"serve", "--name", fmt.Sprintf("n%d", i+1), "--listen", addr, "--data", p.data}
		if n > 1 {
			p.args = append(p.args, "--expect", fmt.Sprint(n), "--join", strings.Join(addrs, ","))
		}
		p.args = append(p.args, extra...)
		c.nodes = append(c.nodes, p)
	}
	t.Cleanup(func() {
		for _, p := range c.nodes {
			p.kill()
		}
		if t.Failed() && !c.plain {
			c.printLogs()
		}
	})
	return c
}

// startCluster starts n nodes and returns when every one of them calls the
// cluster healthy.
func startCluster(t testing.TB, n int, extra ...string) *cluster {
	t.Helper()
	c := newCluster(t, n, extra...)
	for i := range c.nodes {
		c.start(i)
	}
	c.healthy()
	return c
}

func (c *cluster) start(i int) {
	c.t.Helper()
	p := c.nodes[i]
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd := c.commandOf(p.binary, p.args...)
	cmd.Env = append(cmd.Env, c.env...)
	if slices.Contains(c.extra, "--insecure") {
		cmd.Env = append(cmd.Env, "MUSTER_INSECURE=true") // those that a test adds too
	}
	cmd.Stdout, cmd.Stderr = log, log
	// A test that is killed takes its nodes along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.started = time.Now()
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	p.cmd, p.exited = cmd, exited
}

// command makes a command that sees the cluster's names.
func (c *cluster) command(args ...string) *exec.Cmd { return c.commandOf(binary, args...) }

// commandOf is command of another binary.
func (c *cluster) commandOf(binary string, args ...string) *exec.Cmd {
	cmd := commandOf(binary, args...)
	if c.hosts == "" {
		return cmd
	}
	inside := exec.Command("unshare", append([]string{"-m", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, c.hosts, cmd.Path}, args...)...)
	inside.Env = cmd.Env
	return inside
}

// kill ends a node with SIGKILL, as a loss of power of its host would.
func (p *process) kill() {
	if p.cmd != nil {
		p.cmd.Process.Kill()
		<-p.exited
	}
}

func (c *cluster) kill(i int) { c.nodes[i].kill() }

// stop ends a node with SIGTERM, and checks that it ends well.
func (c *cluster) stop(i int) {
	c.t.Helper()
	p := c.nodes[i]
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(readyMax):
		c.t.Fatalf("n%d has not stopped %v after SIGTERM", i+1, readyMax)
	}
	if status := p.cmd.ProcessState.ExitCode(); status != 0 {
		c.t.Errorf("n%d ended with status %d after SIGTERM", i+1, status)
	}
}

func (c *cluster) endpoints() string {
	var all []string
	for _, p := range c.nodes {
		all = append(all, p.addr)
	}
	return strings.Join(all, ",")
}

// run runs the binary against the nodes of c.
func (c *cluster) run(args ...string) result {
	c.t.Helper()
	return c.runIn("", args...)
}

func (c *cluster) runIn(in string, args ...string) result {
	c.t.Helper()
	cmd := c.command(args...)
	cmd.Env = append(cmd.Env, "MUSTER_ENDPOINTS="+c.endpoints())
	if c.secret != "" {
		cmd.Env = append(cmd.Env, "MUSTER_SECRET_FILE="+c.secret)
	}
	if c.ca != "" {
		cmd.Env = append(cmd.Env, "MUSTER_TLS_CA="+c.ca)
	}
	if c.clear {
		cmd.Env = append(cmd.Env, "MUSTER_INSECURE=true")
	}
	return runCommand(c.t, cmd, in)
}

// json runs a command with -o json and reads what it prints.
func (c *cluster) json(into any, args ...string) {
	c.t.Helper()
	out := c.run(append(args, "-o", "json")...).done(c.t)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		c.t.Fatalf("%v printed %q: %v", args, out, err)
	}
}

// client returns a client of the library, for what would be slow by processes.
func (c *cluster) client() *client.Client {
	c.t.Helper()
	return c.clientWith(client.Options{Endpoints: strings.Split(c.endpoints(), ",")})
}

// clientWith returns a client with options, and with the cluster's secret and CA.
func (c *cluster) clientWith(o client.Options) *client.Client {
	c.t.Helper()
	if c.secret != "" {
		secret, err := os.ReadFile(c.secret)
		if err != nil {
			c.t.Fatal(err)
		}
		o.Secret = []byte(strings.TrimSpace(string(secret)))
	}
	if c.ca != "" {
		ca, err := os.ReadFile(c.ca)
		if err != nil {
			c.t.Fatal(err)
		}
		o.CA = ca
	}
	o.Insecure = o.Insecure || c.clear
	cl, err := client.Open(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { cl.Close() })
	return cl
}

// until waits for a condition; what says what it is, and check why it is not.
func (c *cluster) until(what string, check func(ctx context.Context) error) {
	c.t.Helper()
	await(c.t, what, readyMax, check)
}

// await is until for a condition that may take longer, or that is about no cluster. It
// gives up at once if the test has failed meanwhile. One check may take checkMax.
func await(t testing.TB, what string, limit time.Duration, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		one, stop := context.WithTimeout(ctx, checkMax)
		err := check(one)
		stop()
		if err == nil {
			return
		}
		if t.Failed() {
			t.Fatalf("the test has failed while it waits until it is %s", what)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not %s after %v: %v", what, limit, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

const checkMax = 2 * time.Second

// healthy waits until all nodes, or those of some numbers, say that all is well.
func (c *cluster) healthy(numbers ...int) {
	c.t.Helper()
	cl := c.client()
	for i := range c.nodes {
		if len(numbers) > 0 && !slices.Contains(numbers, i) {
			continue
		}
		c.until(fmt.Sprintf("healthy, says n%d", i+1), func(ctx context.Context) error {
			select {
			case <-c.nodes[i].exited:
				c.t.Fatalf("n%d has ended", i+1)
			default:
			}
			a, err := cl.Status(ctx, c.nodes[i].addr)
			if err == nil && !a.Healthy {
				err = fmt.Errorf("problems: %v", a.Problems)
			}
			// A node tells what it is called once there is a table to put it in.
			if err == nil && slices.ContainsFunc(a.Nodes, func(n wire.StatusNode) bool { return n.Version == "" }) {
				err = errors.New("not all nodes are announced")
			}
			return err
		})
	}
}

// goesByCertificates waits until all nodes know that certificates alone say who somebody is.
func (c *cluster) goesByCertificates() {
	c.t.Helper()
	cl := c.client()
	for i, p := range c.nodes {
		c.until(fmt.Sprintf("certificates alone count, says n%d", i+1), func(ctx context.Context) error {
			t, _, err := cl.Table(ctx, p.addr)
			if err == nil && t.Security.Mode != shardmap.SecurityOnly {
				err = fmt.Errorf("its mode is %s", t.Security.Mode)
			}
			return err
		})
	}
}

// leads returns the number of the node that leads most data groups, says the
// node with number of.
func (c *cluster) leads(of int) int {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	a, err := c.client().Status(ctx, c.nodes[of].addr)
	if err != nil {
		c.t.Fatal(err)
	}
	count := make([]int, len(c.nodes))
	best := 0
	for _, g := range a.Groups {
		i := c.number(a, g)
		if i < 0 || g.ID == 0 {
			continue
		}
		if count[i]++; count[i] > count[best] {
			best = i
		}
	}
	return best
}

// number returns the number of the node that leads g; -1: none is known.
func (c *cluster) number(a *wire.StatusAnswer, g wire.StatusGroup) int {
	for _, n := range a.Nodes {
		for i, p := range c.nodes {
			if n.ID == g.Leader && n.Addr == p.addr {
				return i
			}
		}
	}
	return -1
}

// logLinesMax is how much of each node's log a failed test prints.
const logLinesMax = 100

func (c *cluster) printLogs() {
	for i, p := range c.nodes {
		text, err := os.ReadFile(p.log)
		if err != nil {
			c.t.Logf("n%d: %v", i+1, err)
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		lines = lines[max(0, len(lines)-logLinesMax):]
		c.t.Logf("n%d, at %s, logged\n%s", i+1, p.addr, strings.Join(lines, "\n"))
	}
}
