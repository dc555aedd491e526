package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
)

// BenchmarkGetBesideAList is a get of a client that lists all keys meanwhile, over the
// same connection. It reports how long the slowest hundredth took at least, and how
// many keys the list had a second.
func BenchmarkGetBesideAList(b *testing.B) {
	const keys = 200_000
	c := testConfig(b)
	c.Groups = 8
	r := start(b, c, defaultLimits())
	r.serves()
	cl := r.library()
	value := []byte(strings.Repeat("v", 128))
	const many = 1000
	for i := 0; i < keys; i += many {
		var pairs []client.Pair
		for j := range many {
			pairs = append(pairs, client.Pair{Key: fmt.Appendf(nil, "k/%08d", i+j), Value: value})
		}
		if _, err := cl.SetMany(b.Context(), pairs); err != nil {
			b.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(b.Context())
	listed, ended := 0, make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			for _, err := range cl.List(ctx, nil, client.ListOptions{}) {
				if err != nil {
					return
				}
				listed++
			}
		}
	}()
	began, took := time.Now(), make([]time.Duration, 0, 1<<20)
	for b.Loop() {
		t := time.Now()
		if _, _, _, err := cl.GetOne(ctx, []byte("k/00000017"), nil, client.ReadOptions{}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(t))
	}
	past := time.Since(began)
	cancel()
	<-ended
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(listed)/past.Seconds(), "keys/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkWatchFanOut is a set of a key that ten thousand watch, over a hundred connections.
// It reports after how long half of them, and all but a hundredth, have it, and the processor
// time for one of them, that of the clients and of the write included.
func BenchmarkWatchFanOut(b *testing.B) {
	const connections, each = 100, 100
	c := testConfig(b)
	c.Groups = 1
	r := levelled(b, c)
	watchers := make([]*watcher, connections)
	for i := range watchers {
		watchers[i] = r.watcher(b)
		for n := range uint64(each) {
			watchers[i].opened(1+n, "k", wire.Watch{Window: wire.StreamWindowMax})
		}
	}
	writes := r.client()
	took := make([][]time.Duration, connections)
	used := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before, events := used(), 0
	for b.Loop() {
		began := time.Now()
		if _, err := writes.set("k", "v"); err != nil {
			b.Fatal(err)
		}
		events++
		var heard sync.WaitGroup
		for i, w := range watchers {
			heard.Add(1)
			go func() {
				defer heard.Done()
				for pieces := 0; pieces < each; pieces++ {
					n := w.hear()
					if len(w.events[n]) == 0 {
						pieces-- // it says how far it is
						continue
					}
					w.events[n] = w.events[n][:0]
					took[i] = append(took[i], time.Since(began))
				}
			}()
		}
		heard.Wait()
	}
	cpu := used() - before
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Microseconds()), "p99-µs")
	b.ReportMetric(float64(cpu.Nanoseconds())/float64(events*connections*each), "cpu-ns/watch")
	b.ReportMetric(0, "ns/op")
}
