package load

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

const (
	greedyConns = 50
	greedyTime  = 12 * time.Second
	greedyValue = 900 << 10
	// greedyTimes is by how much p99 of a good client may be over what it was:
	// all of them share the processors of one host.
	greedyTimes = 10
	// greedyMax is what p99 may be in any case: other processes on this host
	// may have begun meanwhile. It was seconds.
	greedyMax = 250 * time.Millisecond
	// greedyTries is how often it is tried where it goes wrong: what the machine
	// does in one try it does not do in all of them.
	greedyTries = 3
)

// greedy asks for a value over and over and reads nothing, over one connection
// after another, until ctx ends.
func greedy(ctx context.Context, c *clustertest.Cluster, addr string, key []byte) {
	ask := wire.Get{Mode: wire.ReadLinearizable, Keys: [][]byte{key}}
	var frames []byte
	for i := range uint64(64) {
		frames = wire.AppendFrame(frames, wire.TypeGet, i, &ask)
	}
	for ctx.Err() == nil {
		conn, err := clustertest.DialAsUser(ctx, c, addr)
		if err != nil {
			if ctx.Err() == nil {
				c.T.Errorf("a greedy client does not connect: %v", err)
			}
			return
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		if _, err := wire.ClientHello(conn, wire.DialConfig{Purpose: wire.PurposeClient, Role: wire.RoleClient, Level: shardmap.Level}); err == nil {
			for err == nil {
				_, err = conn.Write(frames)
			}
		}
		stop()
		conn.Close()
	}
}

// timesOf has a client set and get small values for some time, one after the
// other, and returns how long each took.
func timesOf(c *clustertest.Cluster, cl *client.Client, d time.Duration) []time.Duration {
	c.T.Helper()
	var all []time.Duration
	for began, i := time.Now(), 0; time.Since(began) < d; i++ {
		key := fmt.Appendf(nil, "good/%d", i%100)
		at := time.Now()
		if _, err := cl.Set(c.T.Context(), key, []byte("value"), client.WriteOptions{}); err != nil {
			c.T.Errorf("set: %v", err)
		}
		if _, _, err := cl.Get(c.T.Context(), [][]byte{key}, client.ReadOptions{}); err != nil {
			c.T.Errorf("get: %v", err)
		}
		all = append(all, time.Since(at))
	}
	slices.Sort(all)
	return all
}

// Clients that ask for large values and read none of them wait for nobody but
// themselves. One would doubt it: each answer is a copy, the one that makes it
// serves the others too, and what waits is memory. They once had a good client
// wait for seconds, and groups change their leaders.
func TestGreedyClients(t *testing.T) {
	c := clustertest.Start(t, 3)
	cl := c.Client()
	key := []byte("{large}")
	if _, err := cl.Set(t.Context(), key, bytes.Repeat([]byte("x"), greedyValue), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	timesOf(c, cl, time.Second)
	for try := 1; ; try++ {
		wrong := amongGreedy(c, cl, key)
		if wrong == "" {
			return
		}
		t.Logf("try %d: %s", try, wrong)
		if try == greedyTries {
			t.Fatal("a good client, or the groups, suffer from greedy ones each time")
		}
	}
}

// amongGreedy has a good client do what it does, alone and among greedy ones. It
// tells what they did to it and to the leaders of the groups.
func amongGreedy(c *clustertest.Cluster, cl *client.Client, key []byte) (wrong string) {
	before := timesOf(c, cl, 3*time.Second)
	leaders := leadershipOf(c)
	ctx, cancel := context.WithCancel(c.T.Context())
	var wg sync.WaitGroup
	for range greedyConns {
		for _, p := range c.Nodes { // those that do not lead refuse in a line
			wg.Go(func() { greedy(ctx, c, p.Addr, key) })
		}
	}
	during := timesOf(c, cl, greedyTime)
	memory := residentOf(c)
	cancel()
	wg.Wait()
	p99 := func(all []time.Duration) time.Duration { return all[len(all)*99/100] }
	c.T.Logf("p50 %v, p99 %v of %d rounds before; p50 %v, p99 %v, most %v of %d meanwhile; %.0f MB resident", before[len(before)/2], p99(before), len(before),
		during[len(during)/2], p99(during), during[len(during)-1], len(during), memory)
	if most := max(greedyTimes*p99(before), greedyMax); p99(during) > most {
		wrong = fmt.Sprintf("p99 was %v, and is %v; want %v at most", p99(before), p99(during), most)
	}
	if now := leadershipOf(c); now != leaders {
		wrong += fmt.Sprintf("\nleaders before: %s\nafter:          %s", leaders, now)
	}
	return wrong
}
