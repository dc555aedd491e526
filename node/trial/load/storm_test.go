package load

import (
	"context"
	"flag"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

var stormClients = flag.Int("storm", 0, "how many `CLIENTS` TestHandshakeStorm has connect at once; the figures of docs/security.md are of 1000")

// stormMax is how long it may take until all clients are served: ten times what their handshakes
// take of two processors.
const stormMax = 20 * time.Second

// When a node is started again all its clients come back at once, and each handshake costs both sides.
// One would doubt that it ends: dials time out, and what was paid for them is lost, so that as many come again.
func TestHandshakeStorm(t *testing.T) {
	clustertest.OnDemand(t, *stormClients > 0, "./node/trial/load -run TestHandshakeStorm -storm 1000 -timeout 10m")
	c := clustertest.Start(t, 3)
	c.Plain = true
	c.GoesByCertificates()
	cl := c.Client()
	key := []byte("storm")
	if _, err := cl.Set(t.Context(), key, []byte("v"), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	var dials, failed atomic.Int64
	ctx, cancel := context.WithTimeout(t.Context(), 6*stormMax)
	defer cancel()
	var all []*client.Client
	for range *stormClients {
		one := c.ClientWith(client.Options{Endpoints: strings.Split(c.Endpoints(), ","), Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}})
		all = append(all, one)
	}
	leaders := leadershipOf(c)
	storm := func(what string) {
		dials.Store(0)
		failed.Store(0)
		cpu := clustertest.ProcessorTime(c)
		times := make([]time.Duration, len(all))
		var wg sync.WaitGroup
		began := time.Now()
		for i, one := range all {
			wg.Go(func() {
				for ctx.Err() == nil {
					if _, _, err := one.Get(ctx, [][]byte{key}, client.ReadOptions{}); err == nil {
						break
					}
					failed.Add(1) // none of the endpoints had time for it; whoever uses it asks again
				}
				times[i] = time.Since(began)
			})
		}
		wg.Wait()
		took := time.Since(began)
		if ctx.Err() != nil {
			t.Fatalf("%s: not all clients are served after %v", what, took)
		}
		n := dials.Load()
		t.Logf("%s: %d clients are served after %v (half of them after %v), %d gets that failed, and %d dials, %.2f for each; %.2f ms of the nodes' time for a dial",
			what, len(all), took.Round(time.Millisecond), quantileOf(0.5, times).Round(time.Millisecond), failed.Load(), n, float64(n)/float64(len(all)), (clustertest.ProcessorTime(c)-cpu).Seconds()*1000/float64(max(n, 1)))
		if took > stormMax {
			t.Errorf("%s: it took %v until all clients were served, want %v at most", what, took, stormMax)
		}
	}
	storm("all come at once")
	sameLeaders(c, leaders)
	// The node that leads the key's group goes, and all of them with their requests elsewhere and back.
	at, err := cl.Locate(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	for i := range c.Nodes {
		if at.Name == fmt.Sprintf("n%d", i+1) {
			c.Kill(i)
			c.Start(i)
		}
	}
	storm("their node was killed")
}
