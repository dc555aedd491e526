package clienttest

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"muster/node"
	"muster/repl/client"
	"muster/repl/client/home"
	"muster/repl/wire"
)

// NodesMax bounds the nodes of a cluster: more than that take the processors from each other.
const NodesMax = 9

const (
	// readyMax is how long a cluster may take to become ready on a busy machine.
	readyMax = time.Minute
	// readyPause lies between two questions whether it is.
	readyPause = 5 * time.Millisecond
	// firstUser is as whom clients connect over TLS, and clusterName what the cluster is called.
	firstUser, clusterName = "tester", "test"
)

// Options say what is started. The zero value is one node without TLS.
type Options struct {
	// Nodes is how many nodes the cluster has, 1 to [NodesMax]. 0: 1.
	Nodes int
	// Groups is how many groups the keys are in, 1 to [node.GroupsMax]. 0: as many as muster serve
	// makes.
	Groups int
	// TLS has nodes and clients speak TLS, with certificates that the cluster makes. Clients are its
	// first administrator.
	TLS bool
	// Log gets what the nodes log. Nil: of [Start] and its like warnings go to the output of the test,
	// of [New] nothing is logged.
	Log *slog.Logger
}

// Cluster is a cluster that runs in this process. Any number of goroutines may call its methods, but
// Ready, StopNode, KillNode, StartNode and Close one at a time.
type Cluster struct {
	dir     string
	scratch bool // dir goes with the cluster
	log     *slog.Logger
	user    *kept // as whom clients connect; nil without TLS
	options client.Options
	client  *client.Client
	members []*member
}

// member is one node, in one life after the other.
type member struct {
	config node.Config
	stop   context.CancelCauseFunc
	ended  chan error // what this life ended with; nil while there is none
}

// Start starts a cluster of one node that ends with the test, and returns when it is ready. What goes
// wrong fails the test, also at its end.
func Start(t testing.TB) *Cluster {
	t.Helper()
	return StartWith(t, Options{})
}

// StartCluster is [Start] of several nodes, 1 to [NodesMax]. Three take less than a second.
func StartCluster(t testing.TB, nodes int) *Cluster {
	t.Helper()
	if nodes == 0 {
		t.Fatal("clienttest: 0 nodes; want 1 or more")
	}
	return StartWith(t, Options{Nodes: nodes})
}

// StartWith is [Start] with options.
func StartWith(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	c, err := start(o, t.TempDir())
	if err != nil {
		t.Fatal("clienttest: ", err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error("clienttest: ", err)
		}
	})
	return c
}

// New starts a cluster that lasts until [Cluster.Close], with its data in a directory of its own, and
// returns when it is ready.
func New(o Options) (*Cluster, error) {
	dir, err := os.MkdirTemp("", "muster-clienttest-")
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c, err := start(o, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	c.scratch = true
	return c, nil
}

func start(o Options, dir string) (*Cluster, error) {
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.Nodes < 0 || o.Nodes > NodesMax {
		return nil, fmt.Errorf("%d nodes; want 1 to %d", o.Nodes, NodesMax)
	}
	addrs, err := node.FreeAddrs(o.Nodes)
	if err != nil {
		return nil, err
	}
	c := &Cluster{dir: dir, log: o.Log, options: client.Options{Endpoints: addrs, Insecure: !o.TLS}}
	if o.TLS {
		c.options.Home = filepath.Join(dir, "home")
		c.user = &kept{in: c.options.Home, has: make(chan struct{})}
	}
	if c.client, err = client.Open(c.options); err != nil {
		return nil, err
	}
	for i, addr := range addrs {
		m, err := c.member(&o, i, addr)
		if err == nil {
			c.members = append(c.members, m)
			err = c.StartNode(i)
		}
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyMax)
	defer cancel()
	if err := c.Ready(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// member returns the node with number i, which has not started.
func (c *Cluster) member(o *Options, i int, addr string) (*member, error) {
	m := &member{config: node.Default()}
	m.config.Name, m.config.Listen, m.config.Cluster = fmt.Sprintf("n%d", i+1), addr, clusterName
	m.config.Data = filepath.Join(c.dir, m.config.Name)
	if o.Nodes > 1 {
		m.config.Join, m.config.Expect = c.options.Endpoints, o.Nodes
	}
	if o.Groups != 0 {
		m.config.Groups = o.Groups
	}
	if m.config.Insecure = !o.TLS; !o.TLS {
		return m, nil
	}
	m.config.FirstUser = &node.FirstUser{Name: firstUser, Keep: c.user.keep}
	if o.Nodes > 1 { // or else they would share one with all nodes that the user of this process runs
		m.config.SecretFile = filepath.Join(c.dir, "secret")
		if i == 0 {
			return m, node.WriteNewSecret(m.config.SecretFile)
		}
	}
	return m, nil
}

// kept has the certificate of the first user.
type kept struct {
	in   string // the directory that it is put into
	once sync.Once
	has  chan struct{} // closed once it is there
}

func (k *kept) keep(root, leaf []byte, key *ecdsa.PrivateKey) error {
	h, err := home.In(k.in)
	if err == nil {
		err = h.Put(root, clusterName, leaf, key)
	}
	if err == nil {
		k.once.Do(func() { close(k.has) })
	}
	return err
}

// Endpoints returns the addresses of the nodes, n1's first. They stay the same for all lives of a node.
func (c *Cluster) Endpoints() []string { return slices.Clone(c.options.Endpoints) }

// Options returns what a client needs to connect, for [client.Open].
func (c *Cluster) Options() client.Options {
	o := c.options
	o.Endpoints = c.Endpoints()
	return o
}

// Client returns a client of the cluster, the same for all calls. It is closed with the cluster.
func (c *Cluster) Client() *client.Client { return c.client }

// Ready waits until each node that was not stopped says that all is well. No node says so while another one is away,
// but it takes a node a second or two to notice that. The error names what is not well.
func (c *Cluster) Ready(ctx context.Context) error {
	if c.user != nil { // the client would remember for a second that there is nothing to show
		select {
		case <-c.user.has:
		case <-ctx.Done():
			return fmt.Errorf("%s has no certificate yet: %w", firstUser, context.Cause(ctx))
		}
	}
	for _, m := range c.members {
		for m.stop != nil {
			err := c.healthy(ctx, m)
			if err == nil {
				break
			}
			select {
			case over := <-m.ended:
				m.ended <- over
				return fmt.Errorf("node %s has ended: %w", m.config.Name, over)
			case <-ctx.Done():
				return fmt.Errorf("node %s is not ready: %w: %w", m.config.Name, context.Cause(ctx), err)
			case <-time.After(readyPause):
			}
		}
	}
	return nil
}

// healthy returns nil if a node says that all is well.
func (c *Cluster) healthy(ctx context.Context, m *member) error {
	a, err := c.client.Status(ctx, m.config.Listen)
	switch {
	case err != nil:
		return err
	case !a.Healthy:
		return fmt.Errorf("problems: %v", a.Problems)
	// A node tells what it is called once there is a table to put it in, which changes then.
	case slices.ContainsFunc(a.Nodes, func(n wire.StatusNode) bool { return n.Version == "" }):
		return errors.New("not all nodes are announced")
	}
	return nil
}

// StopNode stops the node with number i, 0 for the first, as SIGTERM stops muster serve: it hands over
// what it leads, and closes its connections. The error says what was wrong with its end.
func (c *Cluster) StopNode(i int) error { return c.end(i, nil) }

// KillNode ends the node with number i, 0 for the first, as SIGKILL ends muster serve: it hands nothing over, calls that it
// has not answered end without an answer, and its data is left as it is. Others lead in its place within seconds.
// [Cluster.StartNode] starts it again, as after a crash. As with SIGKILL, and other than with a power cut, what it has
// written is there, synced or not. It returns when the node is gone.
func (c *Cluster) KillNode(i int) error { return c.end(i, node.ErrKilled) }

// end ends a node, for a reason that [node.Run] understands.
func (c *Cluster) end(i int, why error) error {
	m := c.members[i]
	if m.stop == nil {
		return fmt.Errorf("node %s is stopped already", m.config.Name)
	}
	m.stop(why)
	m.stop = nil
	if err := <-m.ended; err != nil {
		return fmt.Errorf("node %s: %w", m.config.Name, err)
	}
	return nil
}

// StartNode starts the node with number i again, and returns when it listens: calls wait by themselves
// until it serves, and [Cluster.Ready] until it has caught up.
func (c *Cluster) StartNode(i int) error {
	m := c.members[i]
	if m.stop != nil {
		return fmt.Errorf("node %s runs already", m.config.Name)
	}
	var ctx context.Context
	ctx, m.stop = context.WithCancelCause(context.Background())
	m.ended = make(chan error, 1)
	listens := make(chan struct{})
	go func() { m.ended <- node.Run(ctx, m.config, c.log, func(string) { close(listens) }) }()
	select {
	case <-listens:
		return nil
	case err := <-m.ended:
		m.stop(nil)
		m.stop = nil
		return fmt.Errorf("node %s: %w", m.config.Name, err)
	}
}

// Close closes the client, stops all nodes and, of a cluster of [New], removes its data. The error says
// what was wrong with their end. A second call does nothing.
func (c *Cluster) Close() error {
	wrong := c.client.Close()
	// All begin to stop before the first is waited for: each would hand over what it leads to one that
	// is about to stop too.
	for _, m := range c.members {
		if m.stop != nil {
			m.stop(nil)
		}
	}
	for i, m := range c.members {
		if m.stop != nil {
			wrong = errors.Join(wrong, c.StopNode(i))
		}
	}
	if c.scratch {
		wrong = errors.Join(wrong, os.RemoveAll(c.dir))
	}
	return wrong
}
