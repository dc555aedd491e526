package clustertest

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

// Cluster is some serve processes of the built binary, on free ports of this
// host with scratch data. When its test fails it prints what they logged.
type Cluster struct {
	T      testing.TB // that it belongs to; what goes wrong fails it
	Dir    string     // of this test alone, with the data and the logs of all nodes
	Secret string     // path of the secret file; empty: none
	CA     string     // path of the company's CA that clients believe; empty: none
	Extra  []string   // options of every node
	Env    []string   // variables of every node, beside those of this process
	Hosts  string     // a file in the place of /etc/hosts for nodes and commands; empty: the system's
	Clear  bool       // commands and clients speak without TLS
	Plain  bool       // a failed test has said it all in figures, and prints no logs
	Nodes  []*Process // in the order of their numbers: n1 is the first, number 0
}

// Process is one node, in one life after the other.
type Process struct {
	Addr, Data string        // where it listens, and its data directory
	Args       []string      // of the command line of its next life
	Binary     string        // that its next life runs
	Log        string        // path of what all its lives printed
	Cmd        *exec.Cmd     // this life; nil before the first
	Started    time.Time     // this life
	Exited     chan struct{} // of this life; closed when it has ended
}

// ReadyMax is how long a condition may take to come about: some elections on a
// machine that other tests keep busy.
const ReadyMax = 60 * time.Second

// BusyMax is what such a machine may add to the time that anything takes.
const BusyMax = 20 * time.Second

// New prepares n nodes with the options extra and starts none. They end with the test.
func New(t testing.TB, n int, extra ...string) *Cluster {
	t.Helper()
	c := &Cluster{T: t, Dir: t.TempDir(), Extra: extra, Clear: slices.Contains(extra, "--insecure")}
	addrs, err := node.FreeAddrs(n)
	if err != nil {
		t.Fatal(err)
	}
	for i, addr := range addrs {
		p := &Process{Binary: binary, Addr: addr, Data: filepath.Join(c.Dir, fmt.Sprintf("n%d", i+1)), Log: filepath.Join(c.Dir, fmt.Sprintf("n%d.log", i+1))}
		p.Args = []string{"serve", "--name", fmt.Sprintf("n%d", i+1), "--listen", addr, "--data", p.Data}
		if n > 1 {
			p.Args = append(p.Args, "--expect", fmt.Sprint(n), "--join", strings.Join(addrs, ","))
		}
		p.Args = append(p.Args, extra...)
		c.Nodes = append(c.Nodes, p)
	}
	t.Cleanup(func() {
		for _, p := range c.Nodes {
			p.Kill()
		}
		if t.Failed() && !c.Plain {
			c.printLogs()
		}
	})
	return c
}

// Start starts n nodes and returns when every one of them calls the
// cluster healthy.
func Start(t testing.TB, n int, extra ...string) *Cluster {
	t.Helper()
	c := New(t, n, extra...)
	for i := range c.Nodes {
		c.Start(i)
	}
	c.Healthy()
	return c
}

// Start starts the node with number i, and does not wait until it is ready.
func (c *Cluster) Start(i int) {
	c.T.Helper()
	p := c.Nodes[i]
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		c.T.Fatal(err)
	}
	defer log.Close()
	cmd := c.CommandOf(p.Binary, p.Args...)
	cmd.Env = append(cmd.Env, c.Env...)
	if slices.Contains(c.Extra, "--insecure") {
		cmd.Env = append(cmd.Env, "MUSTER_INSECURE=true") // those that a test adds too
	}
	cmd.Stdout, cmd.Stderr = log, log
	// A test that is killed takes its nodes along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.Started = time.Now()
	if err := cmd.Start(); err != nil {
		c.T.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { cmd.Wait(); close(exited) }()
	p.Cmd, p.Exited = cmd, exited
}

// Command makes a command that sees the cluster's names.
func (c *Cluster) Command(args ...string) *exec.Cmd { return c.CommandOf(binary, args...) }

// CommandOf is [Cluster.Command] of another binary.
func (c *Cluster) CommandOf(binary string, args ...string) *exec.Cmd {
	cmd := CommandOf(binary, args...)
	if c.Hosts == "" {
		return cmd
	}
	inside := exec.Command("unshare", append([]string{"-m", "sh", "-c", `mount --bind "$0" /etc/hosts && exec "$@"`, c.Hosts, cmd.Path}, args...)...)
	inside.Env = cmd.Env
	return inside
}

// Kill ends a node with SIGKILL, as a loss of power of its host would.
func (p *Process) Kill() {
	if p.Cmd != nil {
		p.Cmd.Process.Kill()
		<-p.Exited
	}
}

// Kill kills the node with number i.
func (c *Cluster) Kill(i int) { c.Nodes[i].Kill() }

// Stop ends a node with SIGTERM, and checks that it ends well.
func (c *Cluster) Stop(i int) {
	c.T.Helper()
	p := c.Nodes[i]
	p.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.Exited:
	case <-time.After(ReadyMax):
		c.T.Fatalf("n%d has not stopped %v after SIGTERM", i+1, ReadyMax)
	}
	if status := p.Cmd.ProcessState.ExitCode(); status != 0 {
		c.T.Errorf("n%d ended with status %d after SIGTERM", i+1, status)
	}
}

// Endpoints returns the addresses of all nodes, as --endpoints takes them.
func (c *Cluster) Endpoints() string {
	var all []string
	for _, p := range c.Nodes {
		all = append(all, p.Addr)
	}
	return strings.Join(all, ",")
}

// Run runs the binary against the nodes of c.
func (c *Cluster) Run(args ...string) Result {
	c.T.Helper()
	return c.RunIn("", args...)
}

// RunIn is [Cluster.Run] with a standard input.
func (c *Cluster) RunIn(in string, args ...string) Result {
	c.T.Helper()
	cmd := c.Command(args...)
	cmd.Env = append(cmd.Env, "MUSTER_ENDPOINTS="+c.Endpoints())
	if c.Secret != "" {
		cmd.Env = append(cmd.Env, "MUSTER_SECRET_FILE="+c.Secret)
	}
	if c.CA != "" {
		cmd.Env = append(cmd.Env, "MUSTER_TLS_CA="+c.CA)
	}
	if c.Clear {
		cmd.Env = append(cmd.Env, "MUSTER_INSECURE=true")
	}
	return RunCommand(c.T, cmd, in)
}

// JSON runs a command with -o json and reads what it prints.
func (c *Cluster) JSON(into any, args ...string) {
	c.T.Helper()
	out := c.Run(append(args, "-o", "json")...).Done(c.T)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		c.T.Fatalf("%v printed %q: %v", args, out, err)
	}
}

// Client returns a client of the library, for what would be slow by processes.
func (c *Cluster) Client() *client.Client {
	c.T.Helper()
	return c.ClientWith(client.Options{Endpoints: strings.Split(c.Endpoints(), ",")})
}

// ClientWith returns a client with options, and with the cluster's secret and CA.
func (c *Cluster) ClientWith(o client.Options) *client.Client {
	c.T.Helper()
	if c.Secret != "" {
		secret, err := os.ReadFile(c.Secret)
		if err != nil {
			c.T.Fatal(err)
		}
		o.Secret = []byte(strings.TrimSpace(string(secret)))
	}
	if c.CA != "" {
		ca, err := os.ReadFile(c.CA)
		if err != nil {
			c.T.Fatal(err)
		}
		o.CA = ca
	}
	o.Insecure = o.Insecure || c.Clear
	cl, err := client.Open(o)
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(func() { cl.Close() })
	return cl
}

// Until waits for a condition, for at most [ReadyMax]; what says what it is, and check why it
// is not.
func (c *Cluster) Until(what string, check func(ctx context.Context) error) {
	c.T.Helper()
	Await(c.T, what, ReadyMax, check)
}

// Await is [Cluster.Until] for a condition that may take longer, or that is about no cluster. It
// gives up at once if the test has failed meanwhile. One check may take [CheckMax].
func Await(t testing.TB, what string, limit time.Duration, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		one, stop := context.WithTimeout(ctx, CheckMax)
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

// CheckMax is how long one look at a condition may take, until [Await] looks again.
const CheckMax = 2 * time.Second

// Healthy waits until all nodes, or those of some numbers, say that all is well.
func (c *Cluster) Healthy(numbers ...int) {
	c.T.Helper()
	cl := c.Client()
	for i := range c.Nodes {
		if len(numbers) > 0 && !slices.Contains(numbers, i) {
			continue
		}
		c.Until(fmt.Sprintf("healthy, says n%d", i+1), func(ctx context.Context) error {
			select {
			case <-c.Nodes[i].Exited:
				c.T.Fatalf("n%d has ended", i+1)
			default:
			}
			a, err := cl.Status(ctx, c.Nodes[i].Addr)
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

// GoesByCertificates waits until all nodes know that certificates alone say who somebody is.
func (c *Cluster) GoesByCertificates() {
	c.T.Helper()
	cl := c.Client()
	for i, p := range c.Nodes {
		c.Until(fmt.Sprintf("certificates alone count, says n%d", i+1), func(ctx context.Context) error {
			t, _, err := cl.Table(ctx, p.Addr)
			if err == nil && t.Security.Mode != shardmap.SecurityOnly {
				err = fmt.Errorf("its mode is %s", t.Security.Mode)
			}
			return err
		})
	}
}

// Leads returns the number of the node that leads most data groups, as the node
// with number of says.
func (c *Cluster) Leads(of int) int {
	c.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ReadyMax)
	defer cancel()
	a, err := c.Client().Status(ctx, c.Nodes[of].Addr)
	if err != nil {
		c.T.Fatal(err)
	}
	count := make([]int, len(c.Nodes))
	best := 0
	for _, g := range a.Groups {
		i := c.NumberOf(a, g)
		if i < 0 || g.ID == 0 {
			continue
		}
		if count[i]++; count[i] > count[best] {
			best = i
		}
	}
	return best
}

// NumberOf returns the number of the node that leads g; -1: none is known.
func (c *Cluster) NumberOf(a *wire.StatusAnswer, g wire.StatusGroup) int {
	for _, n := range a.Nodes {
		for i, p := range c.Nodes {
			if n.ID == g.Leader && n.Addr == p.Addr {
				return i
			}
		}
	}
	return -1
}

// logLinesMax is how much of each node's log a failed test prints.
const logLinesMax = 100

func (c *Cluster) printLogs() {
	for i, p := range c.Nodes {
		text, err := os.ReadFile(p.Log)
		if err != nil {
			c.T.Logf("n%d: %v", i+1, err)
			continue
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		lines = lines[max(0, len(lines)-logLinesMax):]
		c.T.Logf("n%d, at %s, logged\n%s", i+1, p.Addr, strings.Join(lines, "\n"))
	}
}

// LogOf returns what the node with number i has logged up to now.
func (c *Cluster) LogOf(i int) string {
	c.T.Helper()
	text, err := os.ReadFile(c.Nodes[i].Log)
	if err != nil {
		c.T.Fatal(err)
	}
	return string(text)
}

// ClientOf returns a client that knows of the node with number i alone: what it reads locally is
// that node's.
func ClientOf(c *Cluster, i int) *client.Client {
	c.T.Helper()
	cl, err := client.Open(client.Options{Insecure: c.Clear, Endpoints: []string{c.Nodes[i].Addr}})
	if err != nil {
		c.T.Fatal(err)
	}
	c.T.Cleanup(func() { cl.Close() })
	return cl
}
