package cmd

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/repl/client/bench"
	"muster/shardmap"
)

const (
	// benchConnectionsMax is what a client opens to one node at most.
	benchConnectionsMax = 64
	// benchRunMax bounds one run, and the warm-up before it.
	benchRunMax = 24 * time.Hour
	// zipfUsual is the exponent where none is given.
	zipfUsual = 0.99
)

func benchCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "bench", Usage: "measure a cluster",
		Description: `Sets, gets or lists random keys under "bench/", which stay there, and prints how
many operations were done in a second, how long one took, and what each cost in
processor time, at the nodes together and at this client. There is one run for
each OP, C and N.

Each of the N callers waits for its answer before it asks again; with --pipelined
one caller has N requests under way and waits for none. With --rate the clock starts
the next request, not an answer, and each is timed from when it was due. LATE
counts requests that started over a millisecond late, MISSED those that had not
started at the end; the time of each of these is as long as it had waited.

With --versus the runs are repeated with OPTIONS, alternating with the others, and
compared: --versus '--endpoints H:P' compares another cluster with this one,
--versus '--connections 16' one setting with another.

The nodes of a demo share one process, whose time is then counted for each of
them. A run ends when the requests under way have ended, at the latest when
--timeout is over after it.

With -o json one object per line: {"op":…,"in_flight":…,"connections":…,"ops_per_s":…,
"p50_us":…,"p99_us":…,"p999_us":…,"server_cpu_us_per_op":…,"client_cpu_us_per_op":…,"errors":…,…},
and one {"compared":"b/a",…} for each comparison.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "op", Value: "set,get", Usage: "`OP,…` to run, one after the other: set, get, mixed, list"},
			&cli.IntFlag{Name: "reads", Value: 50, Usage: "`PERCENT` of mixed that are gets"},
			readFlag(),
			&cli.IntFlag{Name: "rows", Value: 100, Usage: "`N` keys and values of one list, at most"},
			&cli.StringFlag{Name: "in-flight", Value: "64", Usage: "`N,…` requests under way at a time"},
			&cli.BoolFlag{Name: "pipelined", Usage: "keep them under way without waiting for each"},
			&cli.Float64Flag{Name: "rate", Usage: "start `N` requests a second, whatever became of earlier ones; 0: when an answer arrives"},
			&cli.StringFlag{Name: "connections", Value: "1", Usage: "`C,…` connections to each node"},
			&cli.IntFlag{Name: "keys", Value: 10000, Usage: "`N` different keys"},
			&cli.IntFlag{Name: "key-size", Value: 16, Usage: "`BYTES` of a key"},
			&cli.IntFlag{Name: "value-size", Value: 128, Usage: "`BYTES` of a value"},
			&cli.StringFlag{Name: "distribution", Value: "uniform", Usage: "`HOW` keys are chosen: uniform, zipf or zipf:EXPONENT"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`SEED` of the choice of keys, and of the interval of a comparison"},
			&cli.DurationFlag{Name: "duration", Value: 5 * time.Second, Usage: "how long `D` each run takes"},
			&cli.DurationFlag{Name: "warm-up", Value: time.Second, Usage: "how long `D` each run goes unmeasured first"},
			&cli.DurationFlag{Name: "every", Usage: "with -o json, also count what was done in each `D` of a run; 0: don't"},
			&cli.StringFlag{Name: "versus", Usage: "compare with the same under these `OPTIONS`"},
			&cli.IntFlag{Name: "rounds", Value: 1, Usage: "make all runs `N` times; a comparison makes at least 5 rounds, which is its default"},
		},
		Action: con.action(runBench),
	})
}

// benchPlans are the runs that the options ask for, in order.
func benchPlans(c *cli.Context) (plans []bench.Plan, err error) {
	p := bench.Plan{
		ReadPercent: c.Int("reads"), Rows: c.Int("rows"), Pipelined: c.Bool("pipelined"), Rate: c.Float64("rate"),
		Keys:     c.Int("keys"),
		KeyBytes: c.Int("key-size"), ValueBytes: c.Int("value-size"),
		Duration: c.Duration("duration"), Warmup: c.Duration("warm-up"), Every: c.Duration("every"), Seed: c.Uint64("seed"),
	}
	if p.Grace, err = timeoutOf(c); err != nil {
		return nil, err
	}
	if p.Local, err = readsLocal(c); err != nil {
		return nil, err
	}
	for _, b := range []struct {
		option         string
		n, least, most int
	}{
		{"reads", p.ReadPercent, 0, 100},
		{"rows", p.Rows, 1, bench.RowsMax},
		{"keys", p.Keys, 1, bench.KeysMax},
		{"key-size", p.KeyBytes, bench.KeyBytesMin(p.Keys), shardmap.KeyMax},
		{"value-size", p.ValueBytes, 0, shardmap.ValueMaxLimit},
	} {
		if b.n < b.least || b.n > b.most {
			return nil, usagef("muster bench: --%s %d; want %d to %d", b.option, b.n, b.least, b.most)
		}
	}
	if p.Rate != 0 && !(p.Rate >= bench.RateMin && p.Rate <= bench.RateMax) {
		return nil, usagef("muster bench: --rate %v; want %v to %d a second, or 0", p.Rate, bench.RateMin, bench.RateMax)
	}
	if p.Exponent, err = exponentOf(c.String("distribution")); err != nil {
		return nil, err
	}
	if p.Duration <= 0 || p.Duration > benchRunMax {
		return nil, usagef("muster bench: --duration %v; want more than 0 and at most 24h", p.Duration)
	}
	if p.Every < 0 || p.Every > 0 && p.Duration/p.Every >= bench.SlicesMax {
		return nil, usagef("muster bench: --every %v; want more than a %dth of --duration, or 0", p.Every, bench.SlicesMax)
	}
	if p.Warmup < 0 || p.Warmup > benchRunMax {
		return nil, usagef("muster bench: --warm-up %v; want 0 to 24h", p.Warmup)
	}
	connections, err := benchNumbers(c, "connections", benchConnectionsMax)
	if err != nil {
		return nil, err
	}
	inFlight, err := benchNumbers(c, "in-flight", bench.InFlightMax)
	if err != nil {
		return nil, err
	}
	for op := range strings.SplitSeq(c.String("op"), ",") {
		p.Op = bench.Op(op)
		if !slices.Contains(bench.Ops, p.Op) {
			return nil, usagef("muster bench: --op %q; want set, get, mixed or list, or several such with commas between", c.String("op"))
		}
		if p.Op == bench.OpList && p.Pipelined {
			return nil, usagef("muster bench: --op list with --pipelined; want one of them, for a list is several requests")
		}
		for _, p.Connections = range connections {
			for _, p.InFlight = range inFlight {
				plans = append(plans, p)
			}
		}
	}
	return plans, nil
}

// benchNumbers reads an option that takes several numbers.
func benchNumbers(c *cli.Context, option string, most int) (all []int, err error) {
	for text := range strings.SplitSeq(c.String(option), ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return nil, usagef("muster bench: --%s %s; want 1 to %d, or several such with commas between", option, text, most)
		}
		all = append(all, n)
	}
	return all, nil
}

// exponentOf reads a distribution; 0 is uniform.
func exponentOf(s string) (float64, error) {
	name, exponent, given := strings.Cut(s, ":")
	e, err := zipfUsual, error(nil)
	if given {
		e, err = strconv.ParseFloat(exponent, 64)
	}
	switch {
	case s == "uniform":
		return 0, nil
	case name != "zipf" || err != nil || math.IsNaN(e) || e <= 0 || e > bench.ExponentMax:
		return 0, usagef("muster bench: --distribution %q; want uniform, zipf or zipf:EXPONENT with more than 0 and at most %d", s, bench.ExponentMax)
	}
	return e, nil
}

func runBench(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	m, err := newMatch(con, c)
	if err != nil {
		return err
	}
	defer m.close()
	for _, s := range m.sides {
		if err := s.first(c.Context); err != nil {
			return err
		}
	}
	p := benchPrinter{errand: m.sides[0].errand, match: m}
	err = m.run(c.Context, p.run)
	if err == nil {
		err = p.compare()
	}
	// Also if it was interrupted: what was measured is worth seeing.
	if ferr := p.flush(); err == nil {
		err = ferr
	}
	return err
}

// benchSide is what runs with one set of options.
type benchSide struct {
	*errand // the first run's
	options *cli.Context
	errands map[int]*errand // all of them, by the connections that they have to each node

	name    string // a or b; empty if there is one side
	plans   []bench.Plan
	filled  bool // Invariant: the keys of all plans are the same
	results [][]bench.Result
}

func newBenchSide(con *console, c *cli.Context) (*benchSide, error) {
	plans, err := benchPlans(c)
	if err != nil {
		return nil, err
	}
	s := &benchSide{options: c, errands: map[int]*errand{}, plans: plans, results: make([][]bench.Result, len(plans))}
	if s.errand, err = s.connected(con, plans[0].Connections); err != nil {
		return nil, err
	}
	return s, nil
}

// connected returns the errand with so many connections to each node.
func (s *benchSide) connected(con *console, connections int) (*errand, error) {
	if s.errands[connections] == nil {
		one, err := con.open(s.options, connections)
		if err != nil {
			return nil, err
		}
		s.errands[connections] = one
	}
	return s.errands[connections], nil
}

func (s *benchSide) close() {
	for _, one := range s.errands {
		one.close()
	}
}

// first sets one key as the runs will. That shows what every other write would
// meet, too: no majority, or a value over the limit; the runs would count errors
// for as long as they last.
func (s *benchSide) first(ctx context.Context) error {
	p := s.plans[0]
	key := fmt.Appendf(nil, "bench/%0*d", p.KeyBytes-len("bench/"), 0)
	return s.with(ctx, func(ctx context.Context) error {
		_, err := s.client.Set(ctx, key, make([]byte, p.ValueBytes), client.WriteOptions{})
		return err
	})
}

// run makes run i once. The keys are set before the first run that reads them.
func (s *benchSide) run(ctx context.Context, i, round int) (bench.Result, error) {
	p := s.plans[i]
	one, err := s.connected(s.console, p.Connections)
	if err != nil {
		return bench.Result{}, err
	}
	if p.Op.Reads() && !s.filled {
		if err := bench.Fill(ctx, one.client, p); err != nil {
			return bench.Result{}, err
		}
		s.filled = true
	}
	r, err := bench.Run(ctx, one.client, p)
	if err != nil {
		return bench.Result{}, err
	}
	if r.First != nil {
		s.warnf("%s: %d errors; one of them: %s", r.Op, r.Errors, oneLine(r.First))
	}
	if len(r.Unasked) > 0 {
		s.warnf("%s: the nodes at %s did not say what processor time they used; theirs is not counted", r.Op, strings.Join(r.Unasked, ", "))
	}
	r.Side, r.Round = s.name, round
	s.results[i] = append(s.results[i], r)
	return r, nil
}
