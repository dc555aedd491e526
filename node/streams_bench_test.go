package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/repl/client"
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
	cl, err := client.Open(client.Options{Endpoints: []string{r.addr}})
	if err != nil {
		b.Fatal(err)
	}
	defer cl.Close()
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
