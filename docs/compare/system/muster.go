package system

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"muster/repl/client"

	"muster/docs/compare/load"
)

// nodes is how many each cluster has.
const nodes = 3

// Muster is a cluster of the checkout's build.
type Muster struct {
	Program string
	Label   string   // its name in rows
	Flags   []string // of serve, behind those that found the cluster
	group
	addrs []string
}

// Name is the label.
func (m *Muster) Name() string { return m.Label }

// Start founds a cluster.
func (m *Muster) Start(dir string) (err error) {
	m.restart(dir)
	if m.addrs, err = freeAddresses(nodes); err != nil {
		return err
	}
	_, err = m.RestartAll()
	return err
}

func (m *Muster) serve(node int) error {
	args := []string{
		"serve", "--name", fmt.Sprintf("n%d", node), "--listen", m.addrs[node], "--data", m.data(node),
		"--expect", strconv.Itoa(nodes), "--join", strings.Join(m.addrs, ","),
	}
	return m.begin(node, m.Program, append(args, m.Flags...)...)
}

// RestartAll starts all three nodes.
func (m *Muster) RestartAll() (time.Duration, error) {
	began := time.Now()
	for node := range nodes {
		if err := m.serve(node); err != nil {
			return 0, err
		}
	}
	if err := m.ready(m.addrs, client.ReadOptions{}); err != nil {
		return 0, err
	}
	for node := range nodes {
		if err := m.ready(m.addrs[node:node+1], client.ReadOptions{Local: true}); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}

// samples is how many keys are read to see that every group serves.
const samples = 64

// ready waits until the first keys can be read, all at the same time. Whether
// they are there does not matter.
func (m *Muster) ready(endpoints []string, o client.ReadOptions) error {
	c, err := client.Open(client.Options{Endpoints: endpoints, Patience: startMax})
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startMax)
	defer cancel()
	errs := make([]error, samples)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			key := make([]byte, load.KeyBytes)
			load.WriteKey(key, i)
			for {
				_, _, _, errs[i] = c.GetOne(ctx, key, nil, o)
				if errs[i] == nil || ctx.Err() != nil {
					return
				}
				time.Sleep(askEach)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("%s is not ready: %w", m.Label, err)
		}
	}
	return nil
}

// Restart starts one node, and waits until it reads from its own copies.
func (m *Muster) Restart(node int) error {
	if err := m.serve(node); err != nil {
		return err
	}
	return m.ready(m.addrs[node:node+1], client.ReadOptions{Local: true})
}

// Leader is who leads the group of key 0; each node leads some groups.
func (m *Muster) Leader() (int, error) {
	c, err := client.Open(client.Options{Endpoints: m.addrs})
	if err != nil {
		return 0, err
	}
	defer c.Close()
	key := make([]byte, load.KeyBytes)
	load.WriteKey(key, 0)
	leader := 0
	err = await("no leader is known", func() error {
		ctx, cancel := context.WithTimeout(context.Background(), lookupMax)
		defer cancel()
		l, err := c.Locate(ctx, key)
		if err != nil {
			return err
		}
		if l.Leader == 0 {
			return errNotYet
		}
		leader, err = strconv.Atoi(strings.TrimPrefix(l.Name, "n"))
		return err
	})
	return leader, err
}

// Open opens one client, which all callers share.
func (m *Muster) Open(callers int) (Client, error) { return m.open(callers, 0) }

// musterTryMax is how long a put may take while nodes die. Until then the client
// itself tries again.
const musterTryMax = 5 * time.Second

// OpenForFailover opens the same, with a limit for each put: the client finds
// leaders itself.
func (m *Muster) OpenForFailover(callers int) (Client, error) { return m.open(callers, musterTryMax) }

func (m *Muster) open(callers int, try time.Duration) (Client, error) {
	c, err := client.Open(client.Options{Endpoints: m.addrs, ConnectionsPerNode: connections(callers)})
	if err != nil {
		return nil, err
	}
	return &musterClient{c: c, values: make([][]byte, callers), try: try}, nil
}

type musterClient struct {
	c      *client.Client
	values [][]byte      // by caller: of its last get, whose memory is used again
	try    time.Duration // for one put; 0 for no limit
}

// Put sets a key.
func (m *musterClient) Put(_ int, key, value []byte) error {
	ctx, cancel := limited(m.try)
	defer cancel()
	_, err := m.c.Set(ctx, key, value, client.WriteOptions{})
	return err
}

// Get reads a key from the leader of its group.
func (m *musterClient) Get(caller int, key []byte) error {
	value, _, found, err := m.c.GetOne(context.Background(), key, m.values[caller][:0], client.ReadOptions{})
	m.values[caller] = value
	if err == nil && !found {
		return missing(key)
	}
	return err
}

func (m *musterClient) Close() { m.c.Close() }

func missing(key []byte) error { return fmt.Errorf("%s is missing", key) }
