// Package bench measures a cluster from a client's side.
//
// It does not judge, and it does not print: it returns figures. What it sets it
// leaves in the cluster, under "bench/".
//
// # Loops
//
// A closed loop starts an operation when one before it has ended. A cluster that
// stands still is so asked less, which makes the slowest answers look rarer than
// a user would find them. An open loop starts operations at a fixed rate,
// whatever became of those before, and counts each from when it was due: what a
// standstill delays is in the figures ("coordinated omission" is the name of
// leaving it out). What could not be started before the end is counted with the
// time that it had waited by then, which is the least that it would have taken.
//
// # Goroutines
//
//	caller   Plan.InFlight of them, or one where the plan is pipelined;
//	         started by Run and awaited by it
//	pacer    one for an open loop; started by loop and awaited by it
//
// # The ways through it
//
//	plan.go       what is run: limits, and when what is due
//	bench.go      one run, from warm-up to result
//	caller.go     who waits for each answer; pipelined.go who does not
//	schedule.go   the open loop; alarm_linux.go wakes it in time
//	keys.go       which key is next; zipf.go
//	histogram.go  slice.go result.go cpu.go    what is counted
//	compare.go    two sides, over rounds
package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"muster/repl/client"
)

// Run runs p with c. The keys that p reads are set before, by [Fill]; one that
// is not there is got too, but costs less.
func Run(ctx context.Context, c *client.Client, p Plan) (Result, error) {
	if err := p.Check(); err != nil {
		return Result{}, fmt.Errorf("bench: %w", err)
	}
	r := &run{client: c, plan: p}
	if p.Warmup > 0 {
		if _, err := r.loop(ctx, p.Warmup); err != nil {
			return Result{}, err
		}
	}
	server, err := serverCPU(ctx, c)
	if err != nil {
		return Result{}, fmt.Errorf("bench: processor time of the nodes: %w", err)
	}
	own := ownCPU()
	took, err := r.loop(ctx, p.Duration)
	if err != nil {
		return Result{}, err
	}
	own = ownCPU() - own
	after, err := serverCPU(ctx, c)
	if err != nil {
		return Result{}, fmt.Errorf("bench: processor time of the nodes: %w", err)
	}
	used, unasked := after.since(server)
	out := r.result(took, used, own)
	out.Unasked = unasked
	return out, nil
}

// run is one measurement.
type run struct {
	client   *client.Client
	plan     Plan
	over     atomic.Bool
	schedule *schedule // nil in a closed loop
	callers  []caller

	mu     sync.Mutex
	slices []slice // guarded by mu: those that some caller has left
}

// loop lets all callers ask for d and returns how long it took to the last
// answer.
func (r *run) loop(ctx context.Context, d time.Duration) (time.Duration, error) {
	callers := r.plan.InFlight
	if r.plan.Pipelined {
		callers = 1
	}
	r.callers = make([]caller, callers)
	r.slices = nil
	r.over.Store(false)
	whole, cancel := context.WithTimeout(ctx, d+r.plan.Grace)
	defer cancel()
	began := time.Now()
	if r.plan.Rate > 0 {
		s, err := newSchedule(&r.plan, began, d)
		if err != nil {
			return 0, fmt.Errorf("bench: clock of the open loop: %w", err)
		}
		r.schedule = s
	}
	over := func() {
		r.over.Store(true)
		if r.schedule != nil {
			r.schedule.stop()
		}
	}
	defer time.AfterFunc(d, over).Stop()
	defer context.AfterFunc(whole, over)()
	var wg sync.WaitGroup
	for i := range r.callers {
		if r.plan.Pipelined {
			wg.Go(func() { r.pipeline(whole, &r.callers[i], began) })
		} else {
			wg.Go(func() { r.call(whole, &r.callers[i], began, uint64(i)) })
		}
	}
	wg.Wait()
	took := time.Since(began)
	if r.schedule != nil {
		over()
		r.schedule.wait()
		if !r.plan.Pipelined {
			r.schedule.miss(&r.callers[0])
		}
	}
	for i := range r.callers {
		r.leave(&r.callers[i])
	}
	return took, ctx.Err()
}

// Fill sets every key of p once. It ends at the first that can't be set, and
// when none was for as long as p.Grace.
func Fill(ctx context.Context, c *client.Client, p Plan) error {
	if err := p.Check(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	stuck := time.AfterFunc(p.Grace, cancel)
	defer stuck.Stop()
	var failed error
	b := c.Bulk(within, 0, func(_ uint64, _ client.Written, err error) {
		if err == nil {
			stuck.Reset(p.Grace)
		} else if failed == nil {
			failed = err
			cancel()
		}
	})
	key, value := make([]byte, p.KeyBytes), make([]byte, p.ValueBytes)
	for n := 0; n < p.Keys && within.Err() == nil; n++ {
		writeKey(key, n)
		b.Set(key, value, uint64(n))
	}
	b.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("bench: set the keys to get: %w", failed)
	}
	return nil
}
