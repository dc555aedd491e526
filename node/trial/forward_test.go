package trial

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

// confined returns a client that reaches one node alone, and knows it or finds out. Any
// other dial takes a while and fails, as behind a firewall.
func confined(c *clustertest.Cluster, i int, forward client.Forwarding) *client.Client {
	c.T.Helper()
	only := c.Nodes[i].Addr
	endpoints := []string{only}
	if forward != client.ForwardAlways {
		endpoints = append(endpoints, strings.Split(c.Endpoints(), ",")...)
	}
	return c.ClientWith(client.Options{
		Endpoints: endpoints, Forward: forward, DialTimeout: 300 * time.Millisecond,
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			if addr != only {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
	})
}

// Clients that reach one node each, and others that reach all, see one history, while
// leaders are killed: what is passed on is applied once, and a read through a node that
// does not lead sees all that was acknowledged before. One would doubt it: the node that
// passes on may ask one that leads no longer, and is killed itself.
func TestForwardedHistoryIsLinearizable(t *testing.T) {
	t.Parallel()
	c := clustertest.Start(t, 3)
	linearizable(c, func(i int) *client.Client {
		switch i % 4 {
		case 0:
			return c.Client()
		case 1:
			return confined(c, i/2%3, client.ForwardAlways)
		}
		return confined(c, i%3, client.ForwardWhenCut)
	})
}

// A client whose only node leads nothing that it asks for works at a good rate: its
// requests travel together, as those of a client that goes to the leaders do.
func TestForwardedRate(t *testing.T) {
	const callers, within = 64, time.Second
	c := clustertest.Start(t, 3)
	rate := func(cl *client.Client, what string) float64 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		// A client finds out by a time-out that it is cut off from a node. That is no part of
		// the rate.
		for i := range callers {
			if _, err := cl.Set(ctx, fmt.Appendf(nil, "%s/%d", what, i), []byte("v"), client.WriteOptions{}); err != nil {
				t.Fatalf("%s: set: %v", what, err)
			}
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		done := 0
		began := time.Now()
		for i := range callers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				n := 0
				for ; time.Since(began) < within; n++ {
					key := []byte(fmt.Sprintf("%s/%d/%d", what, i, n%100))
					if _, err := cl.Set(ctx, key, []byte("v"), client.WriteOptions{}); err != nil {
						t.Errorf("%s: set: %v", what, err)
						return
					}
					items, _, err := cl.Get(ctx, [][]byte{key}, client.ReadOptions{})
					if err != nil || len(items) != 1 || string(items[0].Value) != "v" {
						t.Errorf("%s: get %s: %v, %v", what, key, items, err)
						return
					}
				}
				mu.Lock()
				done += 2 * n
				mu.Unlock()
			}()
		}
		wg.Wait()
		return float64(done) / time.Since(began).Seconds()
	}
	leaders := c.Client()
	before := rate(leaders, "direct")
	for i := range c.Nodes {
		for forward, what := range map[client.Forwarding]string{client.ForwardAlways: "always", client.ForwardWhenCut: "cut"} {
			passed, after := rate(confined(c, i, forward), what), rate(leaders, "direct")
			direct := min(before, after) // what else the machine does comes and goes
			before = after
			t.Logf("through node %d alone (%s): %.0f requests a second; to the leaders: %.0f", i+1, what, passed, direct)
			if passed < direct/5 {
				t.Errorf("through node %d alone (%s): %.0f requests a second, want a fifth of %.0f at least", i+1, what, passed, direct)
			}
		}
	}
}

// A client that reaches one node alone gets, sets and lists all keys, those too of which
// that node has no replica, and while a node that has one is down. One would doubt it: a
// node without a replica does not hear who leads, and a stream is no request that could
// be passed on.
func TestForwardedPastAGroupsNodes(t *testing.T) {
	t.Parallel()
	const keys = 200
	c := clustertest.Start(t, 4)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	want := make(map[string]bool)
	cl := c.Client()
	for i := range keys {
		key := fmt.Sprintf("k/%d", i)
		want[key] = true
		if _, err := cl.Set(ctx, []byte(key), []byte("v"), client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(i int, forward client.Forwarding) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		cl := confined(c, i, forward)
		listed := 0
		for item, err := range cl.List(ctx, []byte("k/"), client.ListOptions{}) {
			if err != nil {
				t.Errorf("through node %d alone (%d), after %d keys: %v", i+1, forward, listed, err)
				break
			}
			if listed++; !want[string(item.Key)] {
				t.Errorf("through node %d alone (%d): key %q was not set", i+1, forward, item.Key)
			}
		}
		if listed != keys {
			t.Errorf("through node %d alone (%d): %d keys are listed of %d", i+1, forward, listed, keys)
		}
		// All at once: one by one they would wait for disks most of the time.
		var wg sync.WaitGroup
		for key := range want {
			wg.Go(func() {
				if _, err := cl.Set(ctx, []byte(key), []byte("w"), client.WriteOptions{}); err != nil {
					t.Errorf("through node %d alone (%d): set %s: %v", i+1, forward, key, err)
				}
				if items, _, err := cl.Get(ctx, [][]byte{[]byte(key)}, client.ReadOptions{}); err != nil || len(items) != 1 || string(items[0].Value) != "w" {
					t.Errorf("through node %d alone (%d): get %s: %v, %v", i+1, forward, key, items, err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	for i := range c.Nodes {
		ask(i, client.ForwardAlways)
	}
	c.Kill(0)
	for i := range c.Nodes[1:] {
		ask(i+1, client.ForwardAlways)
		ask(i+1, client.ForwardWhenCut)
	}
}
