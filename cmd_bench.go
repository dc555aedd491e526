package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/repl/client/bench"
	"muster/shardmap"
)

// benchConnectionsMax is what a client opens to one node at most.
const benchConnectionsMax = 64

func (t *tool) benchCommand() *cli.Command {
	return verb(cli.Command{
		Name: "bench", Usage: "measure a cluster",
		Description: `Sets and gets random ones of some keys under "bench/", which stay there, and
prints how many were done in a second, how long one took, and what each cost in
processor time, at the nodes together and at this client. Each caller waits for
its answer before it asks again. There is one run for each OP and each N.

The nodes of a demo share one process, whose time is then counted for each of
them. A run ends when the requests under way have ended, at the latest when
--timeout is over after it.

With -o json one object per line: {"op":…,"in_flight":…,"connections":…,"ops_per_s":…,
"p50_us":…,"p99_us":…,"p999_us":…,"server_cpu_us_per_op":…,"client_cpu_us_per_op":…,"errors":…}`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "op", Value: "set,get", Usage: "`OP,…` to run, one after the other: set, get"},
			&cli.StringFlag{Name: "in-flight", Value: "64", Usage: "`N,…` requests under way at a time"},
			&cli.IntFlag{Name: "connections", Value: 1, Usage: "`C` connections to each node"},
			&cli.IntFlag{Name: "keys", Value: 10000, Usage: "`N` different keys"},
			&cli.IntFlag{Name: "key-size", Value: 16, Usage: "`BYTES` of a key"},
			&cli.IntFlag{Name: "value-size", Value: 128, Usage: "`BYTES` of a value"},
			&cli.DurationFlag{Name: "duration", Value: 5 * time.Second, Usage: "how long `D` each run takes"},
			&cli.DurationFlag{Name: "warm-up", Value: time.Second, Usage: "how long `D` each run is under way before it is measured"},
		},
		Action: t.bench,
	})
}

// benchPlans are the runs that the options ask for, in order.
func benchPlans(c *cli.Context) (plans []bench.Plan, err error) {
	p := bench.Plan{
		Connections: c.Int("connections"), Keys: c.Int("keys"),
		KeyBytes: c.Int("key-size"), ValueBytes: c.Int("value-size"),
		Duration: c.Duration("duration"), Warmup: c.Duration("warm-up"), Seed: uint64(time.Now().UnixNano()),
	}
	if p.Grace, err = timeoutOf(c); err != nil {
		return nil, err
	}
	for _, b := range []struct {
		option         string
		n, least, most int
	}{
		{"connections", p.Connections, 1, benchConnectionsMax},
		{"keys", p.Keys, 1, bench.KeysMax},
		{"key-size", p.KeyBytes, bench.KeyBytesMin(p.Keys), shardmap.KeyMax},
		{"value-size", p.ValueBytes, 0, shardmap.ValueMaxLimit},
	} {
		if b.n < b.least || b.n > b.most {
			return nil, usagef("muster bench: --%s %d; want %d to %d", b.option, b.n, b.least, b.most)
		}
	}
	if p.Duration <= 0 || p.Duration > 24*time.Hour {
		return nil, usagef("muster bench: --duration %v; want more than 0 and at most 24h", p.Duration)
	}
	if p.Warmup < 0 || p.Warmup > 24*time.Hour {
		return nil, usagef("muster bench: --warm-up %v; want 0 to 24h", p.Warmup)
	}
	for op := range strings.SplitSeq(c.String("op"), ",") {
		p.Op = bench.Op(op)
		if p.Op != bench.OpSet && p.Op != bench.OpGet {
			return nil, usagef("muster bench: --op %q; want set, get or set,get", c.String("op"))
		}
		for n := range strings.SplitSeq(c.String("in-flight"), ",") {
			p.InFlight, err = strconv.Atoi(n)
			if err != nil || p.InFlight < 1 || p.InFlight > bench.InFlightMax {
				return nil, usagef("muster bench: --in-flight %s; want 1 to %d, or several such with commas between", n, bench.InFlightMax)
			}
			plans = append(plans, p)
		}
	}
	return plans, nil
}

func (t *tool) bench(c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	plans, err := benchPlans(c)
	if err != nil {
		return err
	}
	s, err := t.open(c, plans[0].Connections)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.benchFirst(c, plans[0]); err != nil {
		return err
	}
	if s.json {
		return s.benchRuns(c, plans, func(r bench.Result) error {
			if err := s.printJSON(r); err != nil {
				return err
			}
			return s.out.Flush()
		})
	}
	var rows *table
	err = s.benchRuns(c, plans, func(r bench.Result) error {
		if rows == nil {
			rows = new(newTable(s.out, "OP", "IN FLIGHT", "CONNECTIONS", "OPS/S", "P50 µs", "P99 µs", "P99.9 µs", "SERVER CPU µs/OP", "CLIENT CPU µs/OP", "ERRORS"))
		}
		rows.row(string(r.Op), number(r.InFlight), number(r.Connections), fmt.Sprintf("%.0f", r.OpsPerS),
			fmt.Sprint(r.P50), fmt.Sprint(r.P99), fmt.Sprint(r.P999), fmt.Sprint(r.ServerCPU), fmt.Sprint(r.ClientCPU), number(r.Errors))
		return nil
	})
	if rows == nil {
		return err
	}
	// Also if it was interrupted: what was measured is worth seeing.
	if ferr := rows.Flush(); err == nil {
		err = ferr
	}
	return err
}

// benchFirst sets one key as the runs will. That shows what every other write
// would meet, too: no majority, or a value over the limit; the runs would count
// errors for as long as they last.
func (s *session) benchFirst(c *cli.Context, p bench.Plan) error {
	key := fmt.Appendf(nil, "bench/%0*d", p.KeyBytes-len("bench/"), 0)
	return s.with(c.Context, func(ctx context.Context) error {
		_, err := s.client.Set(ctx, key, make([]byte, p.ValueBytes), client.WriteOptions{})
		return err
	})
}

// benchRuns hands each run's result to show. The keys are set before the first
// run that gets them.
func (s *session) benchRuns(c *cli.Context, plans []bench.Plan, show func(bench.Result) error) error {
	filled := false
	for _, p := range plans {
		if p.Op == bench.OpGet && !filled {
			if err := bench.Fill(c.Context, s.client, p); err != nil {
				return err
			}
			filled = true
		}
		r, err := bench.Run(c.Context, s.client, p)
		if err != nil {
			return err
		}
		if r.First != nil {
			s.warnf("%s: %d errors; one of them: %s", r.Op, r.Errors, oneLine(r.First))
		}
		if len(r.Unasked) > 0 {
			s.warnf("%s: the nodes at %s did not say what processor time they used; theirs is not counted", r.Op, strings.Join(r.Unasked, ", "))
		}
		if err := show(r); err != nil {
			return err
		}
	}
	return nil
}
