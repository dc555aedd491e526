package load

import (
	"flag"
	"strings"
	"testing"
	"time"

	"muster/node/trial/clustertest"
)

var longKeys = flag.Int("listmemory", 0, "with how many `KEYS` TestListMemory lists; the figures of docs/performance.md are of 10000000")

// listNodeMemory is what a listing of any length may take of the memory of each node, in bytes: its streams have windows.
const listNodeMemory = 64 << 20

// A listing of ten million keys must take no more memory than one of a million, at either end. One would doubt it: each node
// reads a slot of each of its groups at a time, for a command that reads as fast as it can, or hardly at all.
func TestListMemory(t *testing.T) {
	clustertest.OnDemand(t, *longKeys > 0, "./node/trial/load -run TestListMemory -listmemory 10000000 -timeout 30m")
	c := clustertest.Start(t, 3)
	began := time.Now()
	runBench(c, "--op get --keys %d --value-size 8 --in-flight 4096 --duration 1s --timeout 5m", *longKeys) // sets all of them first
	t.Logf("%d keys after %s", *longKeys, time.Since(began).Round(time.Second))
	side := &listSide{what: "this build", binary: clustertest.Binary(), cluster: c}
	for _, options := range [][]string{{"-o", "json"}, {"--keys"}, {"-o", "json", "--desc"}} {
		before := memories(t, c)
		most, stop := peaks(t, c)
		began := time.Now()
		keys, memory := side.command(t, options...)
		took := time.Since(began)
		stop()
		if keys != *longKeys {
			t.Fatalf("kv list %v has %d keys, want %d", options, keys, *longKeys)
		}
		t.Logf("kv list %-16s %.1f s, %.0f keys/s; memory of the command at most %d MiB, of the nodes %v MiB before and %v at most",
			strings.Join(options, " "), took.Seconds(), float64(keys)/took.Seconds(), memory>>20, before, most)
		if memory > listMemory {
			t.Errorf("the command took %d bytes, want %d at most", memory, listMemory)
		}
		for i := range most {
			if grown := (most[i] - before[i]) << 20; grown > listNodeMemory {
				t.Errorf("node %d took %d bytes more, want %d at most", i+1, grown, listNodeMemory)
			}
		}
	}
	began = time.Now()
	out := c.Run("kv", "list", listPrefix, "--count").Done(t)
	t.Logf("kv list --count      %.2f s: %s", time.Since(began).Seconds(), strings.TrimSpace(out))
}

// peaks looks again and again what the nodes have resident, in MiB, until stop is called: then most has the most of each.
func peaks(t *testing.T, c *clustertest.Cluster) (most []int, stop func()) {
	most = memories(t, c)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-done:
				return
			}
			for i, now := range memories(t, c) {
				most[i] = max(most[i], now)
			}
		}
	}()
	return most, func() {
		close(done)
		<-ended
	}
}
