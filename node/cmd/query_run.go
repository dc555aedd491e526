package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client"
	"muster/repl/queries"
	"muster/shardmap/points"
	"muster/shardmap/points/column"
	"muster/shardmap/points/rows"
)

const (
	// queryTimeoutDefault is that of queries over HTTP.
	queryTimeoutDefault = queries.TimeDefault
	// queryTableRows is how many rows of a table are aligned, and kept, at once.
	queryTableRows = 1000
	// queryEndPatience is how long nodes may take to hear that a query was stopped. They end it by its own time if they don't.
	queryEndPatience = 4 * time.Second
)

func queryRunCommand(con *console) *cli.Command {
	return verb(cli.Command{
		Name: "run", Usage: "carry out statements of InfluxQL; \"muster query 'SELECT …'\" for short", ArgsUsage: "TEXT|-",
		Description: `TEXT is one argument, in quotes, with statements between which ";" stands; "-" is standard
input:

    muster query 'SELECT mean(usage) FROM cpu WHERE time > now() - 1h GROUP BY time(1m), host' --db metrics

Each series is a table below its name and tags. Rows are printed as they come: the first 1000
are aligned, and so is each 1000 behind them. Below windows of time, each numeric column is
drawn as a line. A statement that changes something shows a plan with the others of the text,
and wants --yes. "muster query list" shows the query while it runs; Ctrl-C ends it, at the shards too.

A text that is no InfluxQL ends with status 2, and the error names the line and the character;
a database or a policy that is not there ends with 4, and a query over its time with 6. Statements behind
one that has failed are not carried out. Over HTTP: GET /query and POST /query.

With -o json one object per line, as /query?chunked=true answers:
{"results":[{"statement_id":N,"series":[{"name":…,"tags":{…},"columns":[…],"values":[[…]]}]}]}.
With --csv, control characters in texts are written as \x1b is. Needs a cluster of level 10.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "db", DefaultText: "that of FROM or ON", Usage: "`NAME` of the database where a statement names none"},
			&cli.StringFlag{Name: "policy", DefaultText: "the database's default", Usage: "`NAME` of the policy where a statement names none"},
			&cli.StringFlag{Name: "epoch", DefaultText: "RFC 3339, with --csv ns", Usage: "times as whole numbers of a `UNIT` since 1970: ns, us, ms, s, m or h"},
			&cli.BoolFlag{Name: "csv", Usage: "print comma-separated values"},
			&cli.Uint64Flag{Name: "memory", DefaultText: "128 MiB", Usage: "at most `BYTES` of memory, here and at each shard, up to 268435456"},
			&cli.BoolFlag{Name: "any-replica", Usage: "read from whichever replica is near; the answer is no older"},
			yesFlag(),
			&cli.DurationFlag{Name: "timeout", Value: queryTimeoutDefault, Usage: "how long `D` all statements may take, up to 5m [$MUSTER_TIMEOUT]"},
		},
		Action: con.action(queryRun),
	})
}

// queryEpochs are the units that a command line may name.
var queryEpochs = []struct {
	word  string
	epoch rows.Epoch
}{
	{"ns", rows.Nanoseconds}, {"us", rows.Microseconds}, {"ms", rows.Milliseconds}, {"s", rows.Seconds}, {"m", rows.Minutes}, {"h", rows.Hours},
}

// queryEpoch returns the unit of that name; "" is RFC 3339.
func queryEpoch(word string) (rows.Epoch, error) {
	var words []string
	for _, e := range queryEpochs {
		if e.word == word {
			return e.epoch, nil
		}
		words = append(words, e.word)
	}
	if word == "" {
		return rows.RFC3339, nil
	}
	return 0, usagef("muster query run: --epoch %q; want %s", word, strings.Join(words, ", "))
}

// queryOrder is what the options and the text of a query say.
type queryOrder struct {
	request    queries.Request
	statements []queries.Statement
	epoch      rows.Epoch
	csv        bool
}

// queryOrderOf reads them. It tells all that is wrong with the text before a node is asked.
func queryOrderOf(con *console, c *cli.Context) (*queryOrder, error) {
	o := &queryOrder{csv: c.Bool("csv"), request: queries.Request{Database: c.String("db"), Policy: c.String("policy"), Text: c.Args().First()}}
	var err error
	if o.epoch, err = queryEpoch(c.String("epoch")); err != nil {
		return nil, err
	}
	if json, err := wantsJSON(c); err != nil {
		return nil, err
	} else if json && o.csv {
		return nil, usagef("muster query run: --csv and -o json; want one of them")
	}
	if memory := c.Uint64("memory"); c.IsSet("memory") && (memory == 0 || memory > queries.MemoryMax) {
		return nil, usagef("muster query run: --memory %d; want 1 to %d bytes", memory, queries.MemoryMax)
	}
	o.request.Limits.Memory = int64(c.Uint64("memory"))
	if c.Bool("any-replica") {
		o.request.Replicas = queries.AnyReplica
	}
	where := "TEXT"
	if o.request.Text == fromInput {
		b, shown, err := con.contents(fromInput, queries.TextMax, "the limit of a query's text")
		if err != nil {
			return nil, err
		}
		o.request.Text, where = string(b), shown
	}
	// The parser's errors repeat what they have found.
	if hushed(o.request.Text) != o.request.Text {
		return nil, usagef("muster query run: %s has a token or a private key in it; want statements, as 'SHOW DATABASES'", where)
	}
	if o.statements, err = queries.Parse(o.request.Text); err != nil {
		return nil, usagef("muster query run: %s: %w", where, err)
	}
	if len(o.statements) == 0 {
		return nil, usagef("muster query run: %s has no statement; want one, as 'SHOW DATABASES'", where)
	}
	return o, nil
}

func queryRun(con *console, c *cli.Context) error {
	if err := wantArgs(c, 1, 1); err != nil {
		return err
	}
	o, err := queryOrderOf(con, c)
	if err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	if consentOf(c) != consentGiven && !o.agreed(c.Context, s) {
		return notConfirmed()
	}
	stopped, unhook := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer unhook()
	err = o.run(stopped, s)
	if err != nil && stopped.Err() != nil {
		return withStatus(exitNoResult, "muster query run: stopped; the query was ended")
	}
	return queryError(err)
}

// agreed reports whether the statements change nothing, or somebody agrees to it.
func (o *queryOrder) agreed(ctx context.Context, s *errand) bool {
	p := proposal{lines: []string{"plan to carry out statements that change something:"}}
	for _, x := range o.statements {
		if x.Changes {
			p.lines = append(p.lines, "  "+x.Text)
			p.binds = append(p.binds, []byte(x.Text))
		}
	}
	if len(p.binds) == 0 {
		return true
	}
	s.propose(&p)
	return s.agrees(ctx)
}

// run carries out the text, with nodes knowing of it, and prints its results as they come.
func (o *queryOrder) run(ctx context.Context, s *errand) error {
	// One limit of time for all that is asked: the runner's own begins a moment later.
	ctx, cancel := context.WithTimeoutCause(ctx, s.timeout, &queries.TimeError{Max: s.timeout})
	defer cancel()
	o.request.Limits.Time = s.timeout
	running, known, err := queries.Announce(ctx, s.client, &o.request)
	if err != nil {
		return err
	}
	defer known.Done()
	out := o.output(s)
	x := &queries.Runner{Client: s.client, Activity: queries.Cluster{Client: s.client}, ID: known.ID, Memory: &known.Memory}
	gone := false
	err = x.Run(running, &o.request, func(r rows.Result) bool {
		whole := out.take(&r)
		gone = whole && r.Partial && running.Err() != nil
		return whole && !gone
	})
	if err == nil && gone {
		err = context.Cause(running)
	}
	if ctx.Err() != nil {
		endQuery(ctx, s.client, known.ID)
	}
	if failed := out.end(); failed != nil {
		return failed
	}
	if err == nil {
		s.answered.Store(true)
		err = out.failed
	}
	return err
}

// endQuery tells all nodes that a query has ended whose answers nobody waits for: a shard would work on.
func endQuery(ctx context.Context, c *client.Client, id uint64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryEndPatience)
	defer cancel()
	// No node that answers may have parts of it by now, and one that can't be had ends them by the query's time.
	_ = queries.Cluster{Client: c}.Kill(ctx, id, "")
}

// queryError gives an error of a query its status.
func queryError(err error) error {
	var none *queries.NotFoundError
	var late *queries.TimeError
	var text *queries.TextError
	switch {
	case errors.As(err, &none):
		return withStatus(exitNotFound, "%w; see muster db list and muster policy list", err)
	case errors.As(err, &late):
		return withStatus(exitNoResult, "%w", err)
	case errors.As(err, &text):
		return usagef("muster query run: TEXT: %w", err)
	}
	return err
}

// queryOutput prints the results of a query in one of its forms.
type queryOutput struct {
	*errand
	to     queryWriter
	many   bool  // statements
	failed error // of the first statement that has failed
	broken error // of standard output
}

// queryWriter writes results in the order of package rows: [rows.CSV], [queryLines] and [queryTables].
type queryWriter interface {
	Write(rows.Result) error
	Close() error
}

// output returns what prints in the form that is asked for, and has results cut as that form wants them.
func (o *queryOrder) output(s *errand) *queryOutput {
	out := &queryOutput{errand: s, many: len(o.statements) > 1}
	switch {
	case o.csv:
		out.to = &plainCSV{rows.NewCSV(s.out, o.epoch)}
	case s.json:
		out.to = newQueryLines(s.out, o.epoch)
	default:
		o.request.ChunkRows = queryTableRows
		out.to = &queryTables{out: s.out, epoch: o.epoch, statements: o.statements}
	}
	return out
}

// take prints one result, and reports whether more is wanted.
func (o *queryOutput) take(r *rows.Result) bool {
	for _, m := range r.Messages {
		o.warnf("%s", oneLine(errors.New(m.Text)))
	}
	if r.Err != nil && o.failed == nil {
		if o.failed = r.Err; o.many {
			o.failed = fmt.Errorf("statement %d: %w", r.Statement+1, r.Err)
		}
	}
	if o.broken = o.to.Write(*r); o.broken == nil {
		o.broken = o.flush()
	}
	return o.broken == nil
}

// end prints the rest. The error is one of standard output.
func (o *queryOutput) end() error {
	if o.broken != nil {
		return o.broken
	}
	return o.to.Close()
}

// queryLines writes each result as one line of JSON, without what a terminal may act on.
type queryLines struct {
	to    io.Writer
	text  bytes.Buffer
	lines *rows.ChunkedJSON
}

func newQueryLines(to io.Writer, epoch rows.Epoch) *queryLines {
	l := &queryLines{to: to}
	l.lines = rows.NewChunkedJSON(&l.text, rows.Compact, epoch)
	return l
}

// Write implements queryWriter.
func (l *queryLines) Write(r rows.Result) error {
	l.text.Reset()
	if err := l.lines.Write(r); err != nil {
		return err
	}
	_, err := l.to.Write(plainJSON(l.text.Bytes()))
	return err
}

// Close implements queryWriter.
func (l *queryLines) Close() error { return l.lines.Close() }

// plainCSV writes CSV in which all text is [plain].
type plainCSV struct{ *rows.CSV }

// Write implements queryWriter.
func (p *plainCSV) Write(r rows.Result) error {
	all := make([]rows.Series, len(r.Series))
	for i := range r.Series {
		all[i] = plainSeries(&r.Series[i])
	}
	if r.Series = all; r.Err != nil {
		r.Err = errors.New(plain(r.Err.Error()))
	}
	return p.CSV.Write(r)
}

// plainSeries returns s with all text in it [plain]. It is a copy: s is the query's own.
func plainSeries(s *rows.Series) rows.Series {
	p := *s
	p.Name, p.Tags, p.Columns, p.Values = plain(s.Name), nil, nil, append([]points.Value(nil), s.Values...)
	for _, t := range s.Tags {
		p.Tags = append(p.Tags, points.Tag{Name: plain(t.Name), Value: plain(t.Value)})
	}
	for _, c := range s.Columns {
		p.Columns = append(p.Columns, plain(c))
	}
	for i, v := range p.Values {
		if v.Kind == column.String {
			p.Values[i] = points.StringValue(plain(v.Text()))
		}
	}
	return p
}
