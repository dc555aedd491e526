package cmd

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"muster/repl/client/bench"
)

// What bench does with --versus: two sides in turns.

// benchMatch is one side, or two that are compared.
type benchMatch struct {
	sides  []*benchSide
	rounds int
	seed   uint64
}

// newMatch reads all options before it opens anything.
func newMatch(con *console, c *cli.Context) (*benchMatch, error) {
	m := &benchMatch{rounds: c.Int("rounds"), seed: c.Uint64("seed")}
	both := []*cli.Context{c}
	least := 1
	if c.IsSet("versus") {
		b, err := versus(c)
		if err != nil {
			return nil, err
		}
		both = append(both, b)
		least = bench.RoundsMin
		if !c.IsSet("rounds") {
			m.rounds = least
		}
	}
	if m.rounds < least || m.rounds > bench.RoundsMax {
		return nil, usagef("muster bench: --rounds %d; want %d to %d", m.rounds, least, bench.RoundsMax)
	}
	for i, c := range both {
		s, err := newBenchSide(con, c)
		if err != nil {
			m.close()
			return nil, err
		}
		m.sides = append(m.sides, s)
		if len(both) == 2 {
			s.name = string("ab"[i])
		}
	}
	if n := len(m.sides[0].plans); len(m.sides) == 2 && len(m.sides[1].plans) != n {
		defer m.close()
		return nil, usagef("muster bench: --versus: %d runs against %d; want as many, of --op, --connections and --in-flight", len(m.sides[1].plans), n)
	}
	return m, nil
}

func (m *benchMatch) close() {
	for _, s := range m.sides {
		s.close()
	}
}

// versusNot are options that both sides share.
var versusNot = []string{"versus", "rounds", "output", "seed"}

// versus returns the options of the other side: those of this one, but for what
// --versus says.
func versus(c *cli.Context) (*cli.Context, error) {
	a := arranger{path: []string{"bench"}, leaf: c.Command}
	if err := a.sort(strings.Fields(c.String("versus"))); err != nil {
		return nil, err
	}
	if len(a.args) > 0 {
		return nil, usagef("muster bench: --versus: argument %s is no option; want OPTIONS of this command", shown([]byte(a.args[0])))
	}
	if len(a.options) == 0 {
		return nil, usagef("muster bench: --versus: empty; want OPTIONS of this command, as in --versus '--connections 16'")
	}
	for _, o := range a.options {
		name, _, _ := strings.Cut(strings.TrimPrefix(o, "--"), "=")
		if slices.Contains(versusNot, name) || name == "help" {
			return nil, usagef("muster bench: --versus: option --%s is not for one side; want it outside", name)
		}
	}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for _, f := range c.Command.Flags {
		if err := f.Apply(set); err != nil {
			return nil, fmt.Errorf("option --%s: %w", f.Names()[0], err)
		}
	}
	for _, f := range c.Command.Flags {
		if name := f.Names()[0]; c.IsSet(name) {
			if err := set.Set(name, fmt.Sprint(c.Value(name))); err != nil {
				return nil, fmt.Errorf("option --%s: %w", name, err)
			}
		}
	}
	other := cli.NewContext(c.App, set, nil)
	other.Command, other.Context = c.Command, c.Context
	if err := set.Parse(a.options); err != nil {
		return nil, optionError(c, err)
	}
	return other, nil
}

// run makes all runs, round by round, and hands each result to show. Of two
// sides the one that began a round comes second in the next: whoever comes
// second meets what the first has left behind.
func (m *benchMatch) run(ctx context.Context, show func(bench.Result) error) error {
	for round := 1; round <= m.rounds; round++ {
		for i := range m.sides[0].plans {
			for k := range m.sides {
				s := m.sides[(k+round+1)%len(m.sides)]
				shown := 0
				if m.rounds > 1 {
					shown = round
				}
				r, err := s.run(ctx, i, shown)
				if err == nil {
					err = show(r)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// benchPrinter prints results as they come.
type benchPrinter struct {
	*errand
	match *benchMatch
	rows  *table
}

func (p *benchPrinter) line(v any) error {
	if err := p.printJSON(v); err != nil {
		return err
	}
	return p.out.Flush()
}

func (p *benchPrinter) run(r bench.Result) error {
	if p.json {
		return p.line(r)
	}
	sides, open := len(p.match.sides) == 2, p.match.open()
	if p.rows == nil {
		head := []string{"OP", "IN FLIGHT", "CONNECTIONS", "OPS/S", "P50 µs", "P99 µs", "P99.9 µs", "SERVER CPU µs/OP", "CLIENT CPU µs/OP", "ERRORS"}
		if open {
			head = append(head, "LATE", "MISSED")
		}
		if sides {
			head = append([]string{"SIDE"}, head...)
		}
		p.rows = newTable(p.out, head...)
	}
	row := []string{
		string(r.Op), number(r.InFlight), number(r.Connections), fmt.Sprintf("%.0f", r.OpsPerS),
		decimal(r.P50), decimal(r.P99), decimal(r.P999), decimal(r.ServerCPU), decimal(r.ClientCPU), number(r.Errors),
	}
	if open && r.Open != nil {
		row = append(row, number(r.Open.Late), number(r.Open.Missed))
	}
	if sides {
		row = append([]string{r.Side}, row...)
	}
	p.rows.row(row...)
	return nil
}

// open reports whether some run is an open loop.
func (m *benchMatch) open() bool {
	return slices.ContainsFunc(m.sides, func(s *benchSide) bool { return s.plans[0].Rate > 0 })
}

// compare prints the comparison of each pair of runs.
func (p *benchPrinter) compare() error {
	m := p.match
	if len(m.sides) < 2 {
		return nil
	}
	a, b := m.sides[0], m.sides[1]
	if !p.json {
		if err := p.flush(); err != nil {
			return err
		}
		p.console.line("")
		p.console.line("b to a, medians of %d rounds, with an interval of 95 %%:", m.rounds)
		p.rows = newTable(p.out, "RUN", "FIGURE", "A", "B", "RATIO", "FROM", "TO")
	}
	for i := range a.plans {
		x, err := bench.Compare(a.results[i], b.results[i], i+1, m.seed)
		if err != nil {
			return err
		}
		if p.json {
			if err := p.line(x); err != nil {
				return err
			}
			continue
		}
		for _, f := range x.Figures {
			p.rows.row(number(x.Run), f.Name, decimal(f.A), decimal(f.B), fmt.Sprintf("%.3f", f.Ratio), fmt.Sprintf("%.3f", f.Low), fmt.Sprintf("%.3f", f.High))
		}
	}
	return nil
}

func (p *benchPrinter) flush() error {
	if p.rows == nil {
		return nil
	}
	err := p.rows.Flush()
	p.rows = nil
	return err
}

// decimal is a figure as people read it: without an exponent.
func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
