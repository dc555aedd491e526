package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// Bounds of a run; beyond them the client measures itself.
const (
	inFlightMax  = 65536
	benchKeysMax = 100_000_000
	benchPrefix  = "bench/"
)

func (t *tool) benchCommand() *cli.Command {
	return verb(cli.Command{
		Name: "bench", Usage: "measure a cluster",
		Description: `Sets and gets random ones of some keys under "bench/", which stay there, and
prints how many were done in a second, how long one took, and what each cost in
processor time, at the nodes together and at this client. (The nodes of a demo
share one process, whose time is then counted for each of them.)

With -o json one object per line: {"op":…,"in_flight":…,"connections":…,"ops_per_s":…,
"p50_us":…,"p99_us":…,"p999_us":…,"server_cpu_us_per_op":…,"client_cpu_us_per_op":…,"errors":…}`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "op", Value: "set,get", Usage: "`WHAT` to run, one after the other: set, get"},
			&cli.IntFlag{Name: "in-flight", Value: 64, Usage: "`N` requests under way at a time"},
			&cli.IntFlag{Name: "connections", Value: 1, Usage: "`C` connections to each node"},
			&cli.IntFlag{Name: "keys", Value: 10000, Usage: "`N` different keys"},
			&cli.IntFlag{Name: "key-size", Value: 16, Usage: "`BYTES` of a key"},
			&cli.IntFlag{Name: "value-size", Value: 128, Usage: "`BYTES` of a value"},
			&cli.DurationFlag{Name: "duration", Value: 5 * time.Second, Usage: "how long `D` each run takes"},
		},
		Action: t.bench,
	})
}

// benchPlan is what the options ask for.
type benchPlan struct {
	ops                  []string
	inFlight, connect    int
	keys                 int
	keyBytes, valueBytes int
	duration             time.Duration
}

func benchPlanOf(c *cli.Context) (p benchPlan, err error) {
	p = benchPlan{strings.Split(c.String("op"), ","), c.Int("in-flight"), c.Int("connections"), c.Int("keys"),
		c.Int("key-size"), c.Int("value-size"), c.Duration("duration")}
	for _, op := range p.ops {
		if op != "set" && op != "get" {
			return p, usagef("muster bench: --op %q; want set, get or set,get", c.String("op"))
		}
	}
	keyLeast := len(benchPrefix) + len(strconv.Itoa(max(p.keys-1, 0)))
	for _, b := range []struct {
		option         string
		n, least, most int
	}{
		{"in-flight", p.inFlight, 1, inFlightMax},
		{"connections", p.connect, 1, 64},
		{"keys", p.keys, 1, benchKeysMax},
		{"key-size", p.keyBytes, keyLeast, shardmap.KeyMax},
		{"value-size", p.valueBytes, 0, shardmap.ValueMaxLimit},
	} {
		if b.n < b.least || b.n > b.most {
			return p, usagef("muster bench: --%s %d; want %d to %d", b.option, b.n, b.least, b.most)
		}
	}
	if p.duration <= 0 || p.duration > 24*time.Hour {
		return p, usagef("muster bench: --duration %v; want more than 0 and at most 24h", p.duration)
	}
	return p, nil
}

type benchRow struct {
	Op          string  `json:"op"`
	InFlight    int     `json:"in_flight"`
	Connections int     `json:"connections"`
	OpsPerS     float64 `json:"ops_per_s"`
	P50         float64 `json:"p50_us"`
	P99         float64 `json:"p99_us"`
	P999        float64 `json:"p999_us"`
	ServerCPU   float64 `json:"server_cpu_us_per_op"`
	ClientCPU   float64 `json:"client_cpu_us_per_op"`
	Errors      uint64  `json:"errors"`
}

func (t *tool) bench(c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	p, err := benchPlanOf(c)
	if err != nil {
		return err
	}
	s, err := t.open(c, p.connect)
	if err != nil {
		return err
	}
	defer s.close()
	var rows table
	if !s.json {
		rows = newTable(s.out, "OP", "IN FLIGHT", "CONNECTIONS", "OPS/S", "P50 µs", "P99 µs", "P99.9 µs", "SERVER CPU µs/OP", "CLIENT CPU µs/OP", "ERRORS")
	}
	for _, op := range p.ops {
		row, err := s.benchRun(c.Context, p, op)
		if err != nil {
			return err
		}
		if s.json {
			if err := s.printJSON(row); err != nil {
				return err
			}
			s.out.Flush()
			continue
		}
		rows.row(row.Op, number(row.InFlight), number(row.Connections), fmt.Sprintf("%.0f", row.OpsPerS),
			fmt.Sprint(row.P50), fmt.Sprint(row.P99), fmt.Sprint(row.P999), fmt.Sprint(row.ServerCPU), fmt.Sprint(row.ClientCPU), number(row.Errors))
	}
	if !s.json {
		return rows.Flush()
	}
	return nil
}

// benchRun runs one op. Its workers, one goroutine for each request under way,
// are started and awaited here.
func (s *session) benchRun(ctx context.Context, p benchPlan, op string) (benchRow, error) {
	status, err := s.status(ctx)
	if err != nil {
		return benchRow{}, err
	}
	serverBefore := cpuOf(s.statusOfAll(ctx, status))
	clientBefore := cpuOfThis()
	began := time.Now()
	workers := make([]benchWorker, p.inFlight)
	var over atomic.Bool
	defer time.AfterFunc(p.duration, func() { over.Store(true) }).Stop()
	defer context.AfterFunc(ctx, func() { over.Store(true) })()
	var done sync.WaitGroup
	for i := range workers {
		w := &workers[i]
		done.Go(func() { w.run(ctx, s, p, op, &over) })
	}
	done.Wait()
	took := time.Since(began)
	own := cpuOfThis() - clientBefore
	if err := ctx.Err(); err != nil {
		return benchRow{}, err
	}
	server := cpuOf(s.statusOfAll(ctx, status)) - serverBefore

	var all histogram
	row := benchRow{Op: op, InFlight: p.inFlight, Connections: p.connect}
	var first error
	for i := range workers {
		all.add(&workers[i].took)
		row.Errors += workers[i].errors
		if first == nil {
			first = workers[i].first
		}
	}
	if first != nil {
		s.warnf("%s: %d errors; one of them: %s", op, row.Errors, oneLine(first))
	}
	ops := max(float64(all.total), 1)
	row.OpsPerS = tenths(float64(all.total) / took.Seconds())
	row.P50, row.P99, row.P999 = micros(all.quantile(0.5)), micros(all.quantile(0.99)), micros(all.quantile(0.999))
	row.ServerCPU, row.ClientCPU = tenths(micros(server)/ops), tenths(micros(own)/ops)
	return row, nil
}

type benchWorker struct {
	took   histogram
	errors uint64
	first  error
}

func (w *benchWorker) run(ctx context.Context, s *session, p benchPlan, op string, over *atomic.Bool) {
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	key := make([]byte, p.keyBytes)
	var got []byte
	value := make([]byte, p.valueBytes)
	for i := range value {
		value[i] = byte('a' + random.IntN(26))
	}
	for !over.Load() {
		benchKey(key, random.IntN(p.keys))
		one, cancel := context.WithTimeout(ctx, s.timeout)
		began := time.Now()
		var err error
		if op == "set" {
			_, err = s.client.Set(one, key, value, client.WriteOptions{})
		} else {
			got, _, _, err = s.client.GetOne(one, key, got[:0], client.ReadOptions{})
		}
		took := time.Since(began)
		cancel()
		if err == nil {
			w.took.record(took)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		if w.errors++; w.first == nil {
			w.first = err
		}
	}
}

// benchKey writes the key with number n over key: the prefix, and n with zeros
// before it.
func benchKey(key []byte, n int) {
	copy(key, benchPrefix)
	for i := len(key) - 1; i >= len(benchPrefix); i-- {
		key[i] = byte('0' + n%10)
		n /= 10
	}
}

func cpuOf(answers []*wire.StatusAnswer) (sum time.Duration) {
	for _, a := range answers {
		sum += time.Duration(a.CPUMicros) * time.Microsecond
	}
	return sum
}

// cpuOfThis is the processor time of this process, user and system.
func cpuOfThis() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func micros(d time.Duration) float64 { return tenths(float64(d) / 1000) }

func tenths(f float64) float64 { return math.Round(f*10) / 10 }
