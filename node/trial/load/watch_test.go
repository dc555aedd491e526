package load

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"muster/node/trial/clustertest"
	"muster/repl/client"
)

var watchers = flag.Bool("watchers", false, "measure how soon ten thousand watchers of a key hear of a write, and what it costs")

const (
	// watchClients have one connection each, and watchEach watches of one key on it.
	watchClients = 100
	watchEach    = 100
	// watchWrites are written one after the other, each when all watchers have the one before.
	watchWrites = 50
)

// One write is told to ten thousand watchers on a hundred connections. The watchers share
// this machine with the nodes.
func TestWatchFanOut(t *testing.T) {
	clustertest.OnDemand(t, *watchers, "./node/trial/load -run TestWatchFanOut -watchers")
	c := clustertest.Start(t, 3)
	key := []byte("watched")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	type heard struct {
		write int
		at    time.Time
	}
	open := make(chan struct{}, watchClients*watchEach)
	got := make(chan heard, watchClients*watchEach)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	for range watchClients {
		cl := c.Client()
		for range watchEach {
			wg.Go(func() {
				w := cl.Watch(ctx, client.WatchQuery{Key: key})
				defer w.Close()
				for next := 0; ; {
					e, err := w.Next()
					switch {
					case ctx.Err() != nil:
						return
					case err != nil:
						t.Error(err)
						return
					case e.Kind == client.WatchOpened:
						open <- struct{}{}
					case e.Kind == client.WatchSet:
						n, err := strconv.Atoi(string(e.Value))
						if err != nil || n != next {
							t.Errorf("a watcher hears of write %s, and is due to hear of %d", e.Value, next)
						}
						next++
						got <- heard{n, time.Now()}
					}
				}
			})
		}
	}
	for range watchClients * watchEach {
		select {
		case <-open:
		case <-time.After(clustertest.ReadyMax):
			t.Fatal("not all watches are open")
		}
	}
	before := clustertest.ProcessorTime(c)
	writer := c.Client()
	var took []time.Duration
	for n := range watchWrites {
		began := time.Now()
		if _, err := writer.Set(ctx, key, []byte(fmt.Sprint(n)), client.WriteOptions{}); err != nil {
			t.Fatal(err)
		}
		for range watchClients * watchEach {
			select {
			case h := <-got:
				took = append(took, h.at.Sub(began))
			case <-time.After(clustertest.ReadyMax):
				t.Fatalf("not all watchers heard of write %d", n)
			}
		}
	}
	spent := clustertest.ProcessorTime(c) - before
	t.Logf("%d writes to %d watchers on %d connections, from the write to the watcher: %s", watchWrites, watchClients*watchEach, watchClients, tail(took))
	t.Logf("processor time of the three nodes: %.1f ms for a write, %.2f µs for each watcher", spent.Seconds()*1e3/watchWrites, spent.Seconds()*1e6/watchWrites/watchClients/watchEach)
}
