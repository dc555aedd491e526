// Package bench measures a cluster from a client's side.
//
// It does not judge, and it does not print: it returns figures. What it sets it
// leaves in the cluster, under "bench/".
//
// The loop is closed: each caller waits for its answer before it asks again. A
// cluster that stands still is so asked less, which makes the slowest answers
// look rarer than a user would find them; the errors and the throughput show it.
//
// # Goroutines
//
//	caller   Plan.InFlight of them, started by Run and awaited by it
package bench

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"muster/repl/client"
	"muster/shardmap"
)

// Op is what a run does all the time.
type Op string

const (
	OpSet Op = "set"
	OpGet Op = "get" // linearizable; of keys that are set before
)

// Limits of a plan; beyond them the client measures itself.
const (
	InFlightMax = 65536
	KeysMax     = 100_000_000
)

// prefix begins every key.
const prefix = "bench/"

// Plan says what is run.
type Plan struct {
	Op          Op
	InFlight    int // callers
	Connections int // to each node; as the client was opened with
	KeyBytes    int // with the prefix and the number
	ValueBytes  int
	Keys        int           // different ones, taken at random
	Warmup      time.Duration // run before, not counted
	Duration    time.Duration
	Grace       time.Duration // how long the last answers may take after it
	Seed        uint64        // of the choice of keys
}

// Result is one run. Times are in microseconds.
type Result struct {
	Op          Op      `json:"op"`
	InFlight    int     `json:"in_flight"`
	Connections int     `json:"connections"`
	OpsPerS     float64 `json:"ops_per_s"`
	P50         float64 `json:"p50_us"`
	P99         float64 `json:"p99_us"`
	P999        float64 `json:"p999_us"`
	// ServerCPU is of all nodes together, ClientCPU of this process.
	ServerCPU float64 `json:"server_cpu_us_per_op"`
	ClientCPU float64 `json:"client_cpu_us_per_op"`
	Errors    uint64  `json:"errors"`
	// First is one of the errors, if there were any.
	First error `json:"-"`
	// Unasked are the addresses of nodes whose time is not in ServerCPU: they
	// did not answer before or after the run, or were started again in it.
	Unasked []string `json:"-"`
}

// Check says what of p can't be run.
func (p *Plan) Check() error {
	if p.Op != OpSet && p.Op != OpGet {
		return fmt.Errorf("op %q; want set or get", p.Op)
	}
	for _, b := range []struct {
		what           string
		n, least, most int
	}{
		{"in flight", p.InFlight, 1, InFlightMax},
		{"keys", p.Keys, 1, KeysMax},
		{"key size", p.KeyBytes, KeyBytesMin(p.Keys), shardmap.KeyMax},
		{"value size", p.ValueBytes, 0, shardmap.ValueMaxLimit},
	} {
		if b.n < b.least || b.n > b.most {
			return fmt.Errorf("%s %d; want %d to %d", b.what, b.n, b.least, b.most)
		}
	}
	if p.Duration <= 0 || p.Warmup < 0 || p.Grace <= 0 {
		return fmt.Errorf("duration %s after a warm-up of %s, and a grace of %s; want more than 0", p.Duration, p.Warmup, p.Grace)
	}
	return nil
}

// KeyBytesMin is the shortest size that can tell so many keys apart.
func KeyBytesMin(keys int) int { return len(prefix) + len(fmt.Sprint(max(keys-1, 0))) }

// Run runs p with c. The keys of an [OpGet] are set before, by [Fill]; one that
// is not there is got too, but costs less.
func Run(ctx context.Context, c *client.Client, p Plan) (Result, error) {
	if err := p.Check(); err != nil {
		return Result{}, fmt.Errorf("bench: %w", err)
	}
	r := &run{client: c, plan: p, callers: make([]caller, p.InFlight)}
	if p.Warmup > 0 {
		if _, err := r.loop(ctx, p.Warmup); err != nil {
			return Result{}, err
		}
		clear(r.callers)
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
	client  *client.Client
	plan    Plan
	over    atomic.Bool
	callers []caller
}

// caller is one of those who ask. The padding keeps two of them off one cache
// line.
type caller struct {
	took   histogram
	errors uint64
	first  error
	_      [64]byte
}

// loop lets all callers ask for d and returns how long it took to the last
// answer.
func (r *run) loop(ctx context.Context, d time.Duration) (time.Duration, error) {
	r.over.Store(false)
	whole, cancel := context.WithTimeout(ctx, d+r.plan.Grace)
	defer cancel()
	began := time.Now()
	defer time.AfterFunc(d, func() { r.over.Store(true) }).Stop()
	var wg sync.WaitGroup
	for i := range r.callers {
		wg.Go(func() { r.call(whole, &r.callers[i], uint64(i)) })
	}
	wg.Wait()
	return time.Since(began), ctx.Err()
}

func (r *run) call(ctx context.Context, x *caller, number uint64) {
	// A context of its own, as requests of different users have: all would
	// otherwise meet at the lock of one channel.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	random := rand.New(rand.NewPCG(r.plan.Seed, number))
	key := make([]byte, r.plan.KeyBytes)
	value := make([]byte, r.plan.ValueBytes)
	for i := range value {
		value[i] = byte('a' + random.IntN(26))
	}
	var got []byte
	for !r.over.Load() && ctx.Err() == nil {
		writeKey(key, random.IntN(r.plan.Keys))
		began := time.Now()
		var err error
		if r.plan.Op == OpSet {
			_, err = r.client.Set(ctx, key, value, client.WriteOptions{})
		} else {
			got, _, _, err = r.client.GetOne(ctx, key, got[:0], client.ReadOptions{})
		}
		if err == nil {
			x.took.record(time.Since(began))
			continue
		}
		if x.errors++; x.first == nil {
			x.first = err
		}
	}
}

// writeKey makes the key with number n: the prefix, zeros, n.
func writeKey(key []byte, n int) {
	copy(key, prefix)
	for i := len(key) - 1; i >= len(prefix); i-- {
		key[i] = byte('0' + n%10)
		n /= 10
	}
}

func (r *run) result(took, server, own time.Duration) Result {
	var all histogram
	out := Result{Op: r.plan.Op, InFlight: r.plan.InFlight, Connections: r.plan.Connections}
	for i := range r.callers {
		x := &r.callers[i]
		all.add(&x.took)
		out.Errors += x.errors
		if out.First == nil {
			out.First = x.first
		}
	}
	ops := max(float64(all.total), 1)
	out.OpsPerS = tenths(float64(all.total) / took.Seconds())
	out.P50, out.P99, out.P999 = micros(all.quantile(0.5)), micros(all.quantile(0.99)), micros(all.quantile(0.999))
	out.ServerCPU, out.ClientCPU = tenths(micros(server)/ops), tenths(micros(own)/ops)
	return out
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

// cpuTimes is the processor time of each node, by its address; less than 0
// where it did not say.
type cpuTimes map[string]time.Duration

// since sums up what was used since before, and names the nodes for which that
// is not known.
func (c cpuTimes) since(before cpuTimes) (sum time.Duration, unasked []string) {
	for addr, now := range c {
		if then, ok := before[addr]; ok && then >= 0 && now >= then {
			sum += now - then
		} else {
			unasked = append(unasked, addr)
		}
	}
	slices.Sort(unasked)
	return sum, unasked
}

// statusTimeout bounds the question to one node: a dead one is left out.
const statusTimeout = 2 * time.Second

func serverCPU(ctx context.Context, c *client.Client) (cpuTimes, error) {
	t, err := c.Topology(ctx)
	if err != nil {
		return nil, err
	}
	times := cpuTimes{}
	for _, n := range t.Nodes {
		one, cancel := context.WithTimeout(ctx, statusTimeout)
		s, err := c.Status(one, n.Addr)
		cancel()
		times[n.Addr] = -1
		if err == nil {
			times[n.Addr] = time.Duration(s.CPUMicros) * time.Microsecond
		}
	}
	return times, ctx.Err()
}

// ownCPU is the processor time of this process, user and system; 0 where the
// system does not tell.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func micros(d time.Duration) float64 { return tenths(float64(d) / 1000) }

func tenths(f float64) float64 { return math.Round(f*10) / 10 }
