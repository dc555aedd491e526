package figures

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// The figures of a loop's row.
func opsPerS(r Row) float64   { return r.OpsPerS }
func nodeCPU(r Row) float64   { return r.NodeCPU }
func clientCPU(r Row) float64 { return r.ClientCPU }
func p50(r Row) float64       { return r.P50 }
func p99(r Row) float64       { return r.P99 }
func others(r Row) float64    { return r.Others }
func seconds(r Row) float64   { return r.Seconds }

// PrintRatios writes what a run comes to as markdown: ratios, and each outage and
// restart. Cases and systems stand in the order of the rows.
func PrintRatios(to io.Writer, rows []Row) error {
	t := tables{to: to, rows: rows}
	t.loopRatios(t.pairs(ofLoop))
	t.timeRatios(t.pairs(timed))
	t.times(t.pairs(timed))
	return t.err
}

// PrintMedians writes the medians of the loops, in which the machine counts too.
func PrintMedians(to io.Writer, rows []Row) error {
	t := tables{to: to, rows: rows}
	t.loopMedians(t.pairs(ofLoop))
	return t.err
}

func ofLoop(r Row) bool { return r.Seconds == 0 }
func timed(r Row) bool  { return r.Seconds > 0 }

// pair is a system in a case.
type pair struct{ of, system string }

type tables struct {
	to   io.Writer
	rows []Row
	err  error // the first
}

func (t *tables) line(cells ...string) {
	if t.err == nil {
		_, t.err = fmt.Fprintf(t.to, "| %s |\n", strings.Join(cells, " | "))
	}
}

// head writes the first two lines of a table.
func (t *tables) head(cells ...string) {
	t.line(cells...)
	t.line(slices.Repeat([]string{"---"}, len(cells))...)
}

// gap ends a table.
func (t *tables) gap() {
	if t.err == nil {
		_, t.err = fmt.Fprintln(t.to)
	}
}

// pairs returns those that have rows which f takes, in order of the cases, and
// within a case of the systems, as they came first.
func (t *tables) pairs(f func(Row) bool) (all []pair) {
	var cases []string
	systems := map[string][]string{}
	for _, r := range t.rows {
		if !f(r) {
			continue
		}
		if !slices.Contains(cases, r.Case) {
			cases = append(cases, r.Case)
		}
		if !slices.Contains(systems[r.Case], r.System) {
			systems[r.Case] = append(systems[r.Case], r.System)
		}
	}
	for _, c := range cases {
		for _, s := range systems[c] {
			all = append(all, pair{c, s})
		}
	}
	return all
}

func (t *tables) loopRatios(pairs []pair) {
	if len(pairs) == 0 {
		return
	}
	t.head("case", Subject+" to", "ops/s", "nodes' CPU per op")
	for _, p := range pairs {
		if p.system == Subject {
			continue
		}
		ops, ok := Against(t.rows, p.of, p.system, opsPerS)
		cpu, okCPU := Against(t.rows, p.of, p.system, nodeCPU)
		if ok && okCPU {
			t.line(p.of, p.system, ops.times(), cpu.times())
		}
	}
	t.gap()
}

func (t *tables) timeRatios(pairs []pair) {
	if len(pairs) == 0 {
		return
	}
	t.head("case", Subject+" to", "time")
	for _, p := range pairs {
		if r, ok := Against(t.rows, p.of, p.system, seconds); ok && p.system != Subject {
			t.line(p.of, p.system, r.times())
		}
	}
	t.gap()
}

func (t *tables) loopMedians(pairs []pair) {
	if len(pairs) == 0 {
		return
	}
	t.head("case", "system", "ops/s", "p50", "p99", "nodes' CPU per op", "client's CPU per op", "others", "errors")
	for _, p := range pairs {
		m := func(f func(Row) float64) float64 { return Median(t.values(p, f)) }
		t.line(p.of, p.system, fmt.Sprintf("%.0f", m(opsPerS)), millis(m(p50)), millis(m(p99)),
			micros(m(nodeCPU)), micros(m(clientCPU)), fmt.Sprintf("%.0f %%", 100*m(others)), fmt.Sprint(t.errors(p)))
	}
	t.gap()
}

func (t *tables) times(pairs []pair) {
	if len(pairs) == 0 {
		return
	}
	t.head("case", "system", "median", "all, in order, s", "failed tries")
	for _, p := range pairs {
		sorted := slices.Sorted(slices.Values(t.values(p, seconds)))
		each := make([]string, len(sorted))
		for i, s := range sorted {
			each[i] = fmt.Sprintf("%.3f", s)
		}
		t.line(p.of, p.system, fmt.Sprintf("%.3f s", Median(sorted)), strings.Join(each, ", "), fmt.Sprint(t.errors(p)))
	}
	t.gap()
}

func (t *tables) values(p pair, figure func(Row) float64) (all []float64) {
	for _, r := range t.rows {
		if r.Case == p.of && r.System == p.system {
			all = append(all, figure(r))
		}
	}
	return all
}

func (t *tables) errors(p pair) (n uint64) {
	for _, r := range t.rows {
		if r.Case == p.of && r.System == p.system {
			n += r.Errors
		}
	}
	return n
}

// times writes a ratio, and its interval where there is more than one round.
func (r Ratio) times() string {
	if r.Rounds < 2 {
		return digits(r.Median)
	}
	return fmt.Sprintf("%s (%s to %s)", digits(r.Median), digits(r.Low), digits(r.High))
}

// digits writes a ratio with two digits at least, and three mostly.
func digits(x float64) string {
	switch {
	case x < 0.1:
		return fmt.Sprintf("%.3f", x)
	case x < 10:
		return fmt.Sprintf("%.2f", x)
	}
	return fmt.Sprintf("%.1f", x)
}

func millis(us float64) string { return fmt.Sprintf("%.2f ms", us/1000) }

func micros(us float64) string { return fmt.Sprintf("%.1f µs", us) }
