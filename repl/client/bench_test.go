package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The client's share of a write must be small beside the server's: a few
// microseconds of CPU. The fake answers without looking, in this process, so
// its reading and writing of the socket is in the figure too.
func BenchmarkSet(b *testing.B) {
	for _, x := range []struct{ callers, connections int }{{1, 1}, {64, 1}, {1024, 1}, {1024, 16}} {
		b.Run(fmt.Sprintf("callers=%d/connections=%d", x.callers, x.connections), func(b *testing.B) {
			f := newFake(b, 1, 8)
			f.nodes[0].quick = true
			c := f.open(Options{ConnectionsPerNode: x.connections})
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			keys := make([][]byte, 4096)
			for i := range keys {
				keys[i] = fmt.Appendf(nil, "%016d", i)
			}
			value := make([]byte, 128)
			if _, err := c.Set(ctx, keys[0], value, WriteOptions{}); err != nil {
				b.Fatal(err)
			}
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			for range x.callers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for {
						i := next.Add(1)
						if i > int64(b.N) {
							return
						}
						if _, err := c.Set(ctx, keys[i%4096], value, WriteOptions{}); err != nil {
							b.Error(err)
							return
						}
					}
				}()
			}
			wg.Wait()
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

// A read costs about what a write does.
func BenchmarkGet(b *testing.B) {
	f := newFake(b, 1, 8)
	c := f.open(Options{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	key := []byte("key")
	if _, err := c.Set(ctx, key, make([]byte, 128), WriteOptions{}); err != nil {
		b.Fatal(err)
	}
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			for range callers {
				wg.Go(func() {
					var value []byte
					for next.Add(1) <= int64(b.N) {
						var err error
						if value, _, _, err = c.GetOne(ctx, key, value[:0], ReadOptions{}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A call must not allocate: at a hundred thousand in a second the collector
// would cost more than the call.
func TestSetAllocatesNothing(t *testing.T) {
	if raceOn {
		t.Skip("the race detector allocates")
	}
	f := newFake(t, 1, 1)
	f.nodes[0].quick = true
	c := f.open(Options{})
	ctx := context.Background()
	key, value := []byte("key"), make([]byte, 128)
	set := func() {
		if _, err := c.Set(ctx, key, value, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		set()
	}
	// The fake is in this process and has nothing to allocate per write
	// either. A half allows for what the runtime does now and then.
	if n := testing.AllocsPerRun(2000, set); n > 0.5 {
		t.Errorf("got %v allocations per write, want none", n)
	}
}

// The asynchronous call must cost less than the blocking one: no goroutine
// sleeps and wakes for a request.
func BenchmarkPipe(b *testing.B) {
	for _, inFlight := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("in_flight=%d", inFlight), func(b *testing.B) {
			f := newFake(b, 1, 8)
			f.nodes[0].quick = true
			c := f.open(Options{})
			keys := make([][]byte, 4096)
			for i := range keys {
				keys[i] = fmt.Appendf(nil, "%016d", i)
			}
			value := make([]byte, 128)
			p := c.Pipe(context.Background(), inFlight, func(o *Outcome) {
				if o.Err != nil {
					b.Error(o.Err)
				}
			})
			p.Set(keys[0], value, 0)
			p.Wait()
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			for i := range b.N {
				p.Set(keys[i%len(keys)], value, 0)
			}
			p.Wait()
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}
