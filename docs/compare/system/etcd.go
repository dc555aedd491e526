package system

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Etcd is a cluster of three etcd nodes.
type Etcd struct {
	Program string
	group
	clients, peers []string // addresses, by node
}

const (
	// quotaBytes is how large etcd's store may grow: its default of 2 GB is
	// too little for a minute of large values, each version of which it keeps.
	quotaBytes = 8 << 30
	// tryMax is how long one try may take while nodes die. The next try asks
	// another node.
	tryMax = 200 * time.Millisecond
)

// Name is "etcd".
func (e *Etcd) Name() string { return "etcd" }

// Start founds a cluster.
func (e *Etcd) Start(dir string) error {
	e.restart(dir)
	addrs, err := freeAddresses(2 * nodes)
	if err != nil {
		return err
	}
	e.clients, e.peers = addrs[:nodes], addrs[nodes:]
	for node := range nodes {
		if err := e.serve(node, "new"); err != nil {
			return err
		}
	}
	return e.ready()
}

func (e *Etcd) serve(node int, state string) error {
	var cluster []string
	for i, p := range e.peers {
		cluster = append(cluster, fmt.Sprintf("n%d=http://%s", i, p))
	}
	client, peer := "http://"+e.clients[node], "http://"+e.peers[node]
	return e.begin(node, e.Program,
		"--name", fmt.Sprintf("n%d", node), "--data-dir", e.data(node),
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--initial-cluster", strings.Join(cluster, ","), "--initial-cluster-state", state,
		"--quota-backend-bytes", fmt.Sprint(quotaBytes), "--log-level", "error")
}

// ready waits until all nodes call themselves healthy, for which each makes a
// linearizable read.
func (e *Etcd) ready() error {
	for node := range nodes {
		if err := e.readyNode(node); err != nil {
			return err
		}
	}
	return nil
}

func (e *Etcd) readyNode(node int) error {
	h := &http.Client{Timeout: lookupMax}
	return await(fmt.Sprintf("etcd's node %d is not ready", node), func() error {
		r, err := h.Get("http://" + e.clients[node] + "/health")
		if err != nil {
			return err
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err == nil && (r.StatusCode != http.StatusOK || !strings.Contains(string(b), `"health":"true"`)) {
			err = fmt.Errorf("%s: %s", r.Status, b)
		}
		return err
	})
}

// RestartAll starts all three nodes.
func (e *Etcd) RestartAll() (time.Duration, error) {
	began := time.Now()
	for node := range nodes {
		if err := e.serve(node, "existing"); err != nil {
			return 0, err
		}
	}
	err := e.ready()
	return time.Since(began), err
}

// Restart starts one node.
func (e *Etcd) Restart(node int) error {
	if err := e.serve(node, "existing"); err != nil {
		return err
	}
	return e.readyNode(node)
}

// Leader asks each node whether it leads.
func (e *Etcd) Leader() (int, error) {
	leader := 0
	err := await("etcd has no leader", func() error {
		for node := range nodes {
			leads, err := e.leads(node)
			if err == nil && leads {
				leader = node
				return nil
			}
		}
		return errNotYet
	})
	return leader, err
}

func (e *Etcd) leads(node int) (bool, error) {
	c, err := e.dial(e.clients[node : node+1])
	if err != nil {
		return false, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), lookupMax)
	defer cancel()
	s, err := c.Status(ctx, e.clients[node])
	return err == nil && s.Header.MemberId == s.Leader, err
}

func (e *Etcd) dial(endpoints []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: lookupMax, Logger: zap.NewNop()})
}

// Open opens connections to the leader alone: through another node each request
// would go one way more.
func (e *Etcd) Open(callers int) (Client, error) {
	leader, err := e.Leader()
	if err != nil {
		return nil, err
	}
	c := &etcdClient{}
	for range connections(callers) {
		one, err := e.dial(e.clients[leader : leader+1])
		if err != nil {
			c.Close()
			return nil, err
		}
		c.conns = append(c.conns, one)
	}
	return c, nil
}

// OpenForFailover opens one client that knows all nodes.
func (e *Etcd) OpenForFailover(int) (Client, error) {
	one, err := e.dial(e.clients)
	if err != nil {
		return nil, err
	}
	return &etcdClient{conns: []*clientv3.Client{one}, try: tryMax}, nil
}

type etcdClient struct {
	conns []*clientv3.Client
	try   time.Duration // for one put; 0 for no limit
}

// Put sets a key.
func (e *etcdClient) Put(caller int, key, value []byte) error {
	ctx, cancel := limited(e.try)
	defer cancel()
	_, err := e.conns[caller%len(e.conns)].Put(ctx, string(key), string(value))
	return err
}

// Get reads a key, linearizably, which is etcd's default.
func (e *etcdClient) Get(caller int, key []byte) error {
	a, err := e.conns[caller%len(e.conns)].Get(context.Background(), string(key))
	if err == nil && len(a.Kvs) != 1 {
		return missing(key)
	}
	return err
}

func (e *etcdClient) Close() {
	for _, c := range e.conns {
		c.Close()
	}
}
