package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"muster/node/clienttest"
	"muster/repl/queries"
	"muster/shardmap/points"
	"muster/shardmap/points/rows"
)

// A query prints what was written in each form, and ends with the status of what has come in its way. One that is stopped
// while it prints is listed until then, and not behind it: one would doubt that nodes hear of its end.
func TestQueryRun(t *testing.T) {
	t.Parallel()
	c := clienttest.Start(t)
	to := []string{"--insecure", "--endpoints", c.Endpoints()[0]}
	run := func(in string, line ...string) result { return musterIn(t, in, append(line, to...)...) }
	for { // until the cluster has the level of points
		if r := run("", "db", "create", "metrics"); r.status == exitDone || !strings.Contains(r.stderr, "level") || t.Context().Err() != nil {
			r.done(t)
			break
		}
	}
	const count = 2*queryTableRows + 500
	var text strings.Builder
	for i := range count {
		fmt.Fprintf(&text, "wide v=%d %d\n", i, 1_700_000_000+i)
	}
	text.WriteString("cpu,host=a v=1,note=\"x\\ty\" 1700000000\ncpu,host=a v=5 1700000120\ncpu,host=b v=2i 1700000000\n")
	text.WriteString("cpu,host=b v=2 1700000000\n")
	run(text.String(), "point", "write", "--db", "metrics", "--precision", "s")

	const window = "SELECT mean(v) FROM cpu WHERE time >= 1700000000s AND time < 1700000160s GROUP BY time(1m), host"
	for _, tt := range []struct {
		in   string
		line []string
		want string
	}{
		{"", []string{"query", window, "--db", "metrics"}, `cpu  host=a
time                  mean
2023-11-14T22:13:00Z  1
2023-11-14T22:14:00Z
2023-11-14T22:15:00Z  5
mean  ▁ █  1 to 5

cpu  host=b
time                  mean
2023-11-14T22:13:00Z  2
2023-11-14T22:14:00Z
2023-11-14T22:15:00Z
`},
		{"SELECT v, note FROM metrics..cpu WHERE host = 'a'", []string{"query", "-", "--epoch", "s", "--any-replica"}, "cpu\ntime        v  note\n1700000000  1  \"x\\ty\"\n1700000120  5\n"},
		{"", []string{"query", "SELECT v, note FROM cpu WHERE host = 'a'", "--db", "metrics", "--csv", "--memory", "1000000"}, "name,tags,time,v,note\ncpu,,1700000000000000000,1,x\\ty\ncpu,,1700000120000000000,5,\n"},
		{"", []string{"query", "SELECT v FROM cpu WHERE host = 'b'", "--db", "metrics", "--policy", "autogen", "-o", "json", "--epoch", "ms"}, `{"results":[{"statement_id":0,"series":[{"name":"cpu","columns":["time","v"],"values":[[1700000000000,2]]}]}]}` + "\n"},
		{"", []string{"query", "SELECT v FROM none", "--db", "metrics"}, ""},
		{"", []string{"query", "SHOW DATABASES; SHOW MEASUREMENTS", "--db", "metrics"}, "databases\nname\nmetrics\n\nmeasurements\nname\ncpu\nwide\n"},
	} {
		if got := run(tt.in, tt.line...).done(t); got != tt.want {
			t.Errorf("%q: got\n%s\nwant\n%s", tt.line, got, tt.want)
		}
	}
	out := run("", "query", "SELECT v FROM wide", "--db", "metrics").done(t)
	if lines := strings.Count(out, "\n"); lines != count+2 || strings.Count(out, "time") != 1 {
		t.Errorf("got %d lines, want a name, a head and %d rows:\n%.300s", lines, count, out)
	}

	run("", "query", "SELECT v FROM cpu", "--db", "gone").refused(t, exitNotFound, "database not found: gone; see muster db list")
	run("", "query", "SELECT v FROM cpu").refused(t, exitRefused, "database name required")
	if r := run("", "query", "SHOW DATABASES; SELECT v FROM gone..cpu; SHOW DATABASES"); r.status != exitNotFound || !strings.Contains(r.stderr, "statement 2: database not found: gone") || strings.Count(r.stdout, "metrics") != 1 {
		t.Errorf("a statement that fails behind another: %+v", r)
	}
	if r := run("", "query", "CREATE DATABASE more"); r.status != exitNotConfirmed || !strings.Contains(r.stderr, "plan to carry out statements that change something:") || !strings.Contains(r.stderr, "CREATE DATABASE more") {
		t.Errorf("a change without --yes: %+v", r)
	}
	run("", "query", "CREATE DATABASE more", "--yes").done(t)
	if out := run("", "query", "SHOW DATABASES").done(t); !strings.Contains(out, "more") {
		t.Errorf("the database is not there: %q", out)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	listed := func() (all []queries.Running) {
		all, _, err := queries.Cluster{Client: c.Client()}.Queries(t.Context())
		if err != nil {
			t.Error(err)
		}
		return all
	}
	var stderr bytes.Buffer
	first := writerFunc(func(b []byte) (int, error) {
		if all := listed(); ctx.Err() == nil && (len(all) != 1 || all[0].Text != "SELECT v FROM wide") {
			t.Errorf("while it runs these are listed: %+v", all)
		}
		stop()
		return len(b), nil
	})
	status := Main(ctx, append([]string{"query", "SELECT v FROM wide", "--db", "metrics"}, to...), strings.NewReader(""), first, &stderr)
	if exitStatus(status) != exitNoResult || !strings.Contains(stderr.String(), "muster query run: stopped; the query was ended") {
		t.Errorf("stopped: status %d, %q", status, stderr.String())
	}
	if all := listed(); len(all) != 0 {
		t.Errorf("behind its end these are listed: %+v", all)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// Names, tags, columns and texts come from whoever may write points: in no form may one of them steer the terminal of who reads
// them, or make a line of its own.
func TestQueryForeignText(t *testing.T) {
	series := rows.Series{Name: evil, Tags: []points.Tag{{Name: evil, Value: evil}}, Columns: []string{evil, "b"},
		Values: []points.Value{points.StringValue(evil), points.StringValue("\n" + evil)}}
	for name, of := range map[string]func(*output) queryWriter{
		"table": func(o *output) queryWriter { return &queryTables{out: o, statements: []queries.Statement{{}}} },
		"csv":   func(o *output) queryWriter { return &plainCSV{rows.NewCSV(o, rows.RFC3339)} },
		"json":  func(o *output) queryWriter { return newQueryLines(o, rows.RFC3339) },
	} {
		var b bytes.Buffer
		o := newOutput(&b)
		w := of(o)
		if err := errors.Join(w.Write(rows.Result{Series: []rows.Series{series}, Err: errors.New(evil)}), w.Close(), o.Flush()); err != nil {
			t.Fatal(err)
		}
		if bad := steers(b.String()); bad != "" {
			t.Errorf("%s has %s: %q", name, bad, b.String())
		}
		if most := map[string]int{"table": 3, "csv": 5, "json": 1}[name]; strings.Count(b.String(), "\n") != most {
			t.Errorf("%s has another number of lines than %d: %q", name, most, b.String())
		}
		if name == "json" && !json.Valid(b.Bytes()) {
			t.Errorf("not JSON: %q", b.String())
		}
	}
}

// The line of a column is of bounded width however many rows there are, and shows each of them; gaps are gaps, and the ends of
// what a float holds do no harm.
func TestTrend(t *testing.T) {
	of := func(values ...points.Value) (d trend) {
		for _, v := range values {
			d.add(v)
		}
		return d
	}
	f := points.FloatValue
	for _, tt := range []struct {
		d    trend
		want string
	}{
		{of(), ""},
		{of(f(1), f(1)), "▁▁"},
		{of(f(0), points.IntegerValue(7), points.UnsignedValue(14)), "▁▅█"},
		{of(f(0), points.Value{}, points.StringValue("9"), points.BooleanValue(true), f(math.NaN()), f(math.Inf(1)), f(1)), "▁     █"},
		{of(f(-math.MaxFloat64), f(math.MaxFloat64), f(0)), "▁█▅"},
	} {
		if got := tt.d.draw(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
	for _, n := range []int{trendCells, trendCells + 1, 1000, 100_000} {
		var d trend
		for i := range n {
			d.add(f(float64(i) - float64(n)/2))
		}
		got := d.draw()
		if w := utf8.RuneCountInString(got); w > trendCells || w <= trendCells/2 || !strings.HasPrefix(got, "▁") || !strings.HasSuffix(got, "█") || d.count != n {
			t.Errorf("%d rows: %d cells %q", n, w, got)
		}
	}
	var d trend
	for i := range 10 * trendCells {
		d.add(f(math.MaxFloat64 * float64(1-2*(i%2))))
	}
	if got := d.draw(); utf8.RuneCountInString(got) > trendCells {
		t.Errorf("the ends of what a float holds: %q", got)
	}
}
