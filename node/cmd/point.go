package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"muster/repl/client/pointwriter"
	"muster/shardmap/points"
	"muster/shardmap/points/line"
)

const (
	// pointBytes is how much of the input is written at once: whole lines of about so many bytes. None is longer: what is more
	// than [line.LineMax] is refused.
	pointBytes = 4 << 20
	// pointTimeoutDefault lets one such part outlive the loss of a leader.
	pointTimeoutDefault = time.Minute
	// pointErrorsMax bounds the refused lines that are told one by one. A sender of the wrong format is told enough by these.
	pointErrorsMax = 100
)

func pointCommand(con *console) *cli.Command {
	return noun(cli.Command{Name: "point", Usage: "write points of time series"},
		verb(cli.Command{
			Name: "write", Usage: "write lines of line protocol to a database",
			Description: `FILE has one point per line, as InfluxDB's clients write them; "-" is standard input:

    cpu,host=a,region=eu usage=1.5,idle=92i 1700000000

The file may have any size: it is never held in memory as a whole. Points without
a time get that at which they are written. A line that is no point is named on
standard error with its number and the reason, the first 100 of them, and the
others are written. Parts of the file are written one after the other, so of
points of one series and time the last one counts. A group that can't be reached
is tried again within the time of --timeout; then the command ends with status 8
and names the line at which the part began. Writing the same file again does no harm.

Status 8 also says that points were dropped: too old for the policy, or with a
field that has values of another kind. Over HTTP: POST /write.

Prints: {"stored":N,"hinted":N,"dropped":N,"failed":N,"refused":N,
"errors":[{"line":N,"why":…}]}; nothing if the first part could not be written at
all. Needs a cluster of level 10.`,
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "file", Aliases: []string{"f"}, Value: fromInput, DefaultText: "standard input", Usage: "`FILE` with the lines"},
				&cli.StringFlag{Name: "db", DefaultText: "none", Usage: "`NAME` of the database"},
				&cli.StringFlag{Name: "policy", DefaultText: "the database's default", Usage: "`NAME` of the policy"},
				&cli.StringFlag{Name: "precision", Value: "ns", Usage: "`UNIT` of the times in the lines: ns, us, ms or s"},
				&cli.StringFlag{Name: "level", Value: "quorum", Usage: "`LEVEL` at which a point counts as stored: quorum, all, one or any"},
				&cli.DurationFlag{Name: "timeout", Value: pointTimeoutDefault, Usage: "how long `D` each part of the lines may take, retries included, up to 5m [$MUSTER_TIMEOUT]"},
			},
			Action: con.action(pointWrite),
		}))
}

// pointPrecisions are the units that a command line may name.
var pointPrecisions = []string{"ns", "us", "ms", "s"}

// pointRequest returns what the options of a write say.
func pointRequest(c *cli.Context) (q pointwriter.Request, err error) {
	const name = "muster point write"
	if q.Database, q.Policy = c.String("db"), c.String("policy"); q.Database == "" {
		return q, usagef("%s: --db NAME is missing; see muster db list", name)
	}
	if q.Level, err = pointwriter.ParseLevel(c.String("level")); err != nil {
		return q, usagef("%s: --level: %v", name, err)
	}
	if err := q.Level.Takes(); err != nil {
		return q, usagef("%s: --level: %v", name, err)
	}
	if !slices.Contains(pointPrecisions, c.String("precision")) {
		return q, usagef("%s: --precision %q; want %s", name, c.String("precision"), strings.Join(pointPrecisions, ", "))
	}
	q.Precision, err = line.ParsePrecision(c.String("precision"))
	return q, err
}

func pointWrite(con *console, c *cli.Context) error {
	if err := wantArgs(c, 0, 0); err != nil {
		return err
	}
	q, err := pointRequest(c)
	if err != nil {
		return err
	}
	in, name, err := con.input(c.String("file"))
	if err != nil {
		return err
	}
	defer in.Close()
	if err := noDirectory(in, name, "a file with lines of line protocol"); err != nil {
		return err
	}
	s, err := con.open(c, 1)
	if err != nil {
		return err
	}
	defer s.close()
	w := &linesWriter{errand: s, name: name, total: sizeOf(in), request: q, gateway: pointwriter.NewGateway(0), cluster: pointwriter.Of(s.client), progress: meter{console: con}}
	err = w.run(c.Context, in)
	w.progress.clear()
	if err != nil && !w.begun {
		return err
	}
	if perr := w.print(); perr != nil && err == nil {
		return perr
	}
	if err == nil && !w.counts.whole() {
		return errQuiet(exitPartly)
	}
	return err
}

// pointCounts is what a write prints.
type pointCounts struct {
	Stored  int         `json:"stored"`
	Hinted  int         `json:"hinted"`
	Dropped int         `json:"dropped"`
	Failed  int         `json:"failed"`
	Refused int         `json:"refused"`
	Errors  []lineError `json:"errors"`
}

// lineError is a line that is no point.
type lineError struct {
	Line int    `json:"line"`
	Why  string `json:"why"`
}

func (c *pointCounts) whole() bool { return c.Dropped == 0 && c.Failed == 0 && c.Refused == 0 }

// linesWriter writes the lines of one input, in parts, one after the other.
type linesWriter struct {
	*errand
	name     string // of the input
	total    uint64 // its bytes; 0: nobody knows
	request  pointwriter.Request
	gateway  *pointwriter.Gateway
	cluster  pointwriter.Cluster
	progress meter

	read    uint64 // bytes
	line    int    // how many lines lie behind
	passing bool   // the rest of a line is passed over
	begun   bool   // a part was written
	counts  pointCounts
}

// run writes all lines until one part can't be written.
func (w *linesWriter) run(ctx context.Context, in io.Reader) error {
	w.counts.Errors = []lineError{}
	text := make([]byte, 0, pointBytes)
	for end := false; !end || len(text) > 0; { // an end may come with bytes, of which a long line takes a part alone
		if !end {
			n, err := in.Read(text[len(text):cap(text)]) // once: lines of a pipe don't wait for those behind them
			text, end = text[:len(text)+n], errors.Is(err, io.EOF)
			w.read += uint64(n)
			if err != nil && !end {
				if where := (*fs.PathError)(nil); errors.As(err, &where) {
					err = where.Err // the name stands before it
				}
				return fmt.Errorf("%s: line %d: %w", w.name, w.line+1, err)
			}
		}
		part := len(text)
		if !end {
			part = line.Whole(text)
		}
		switch {
		case w.passing:
			part = w.pass(text)
		case part == 0 && len(text) == cap(text):
			w.refused(w.line+1, points.Refuse(points.LineTooLong, nil).Error())
			w.counts.Refused++
			part = w.pass(text)
		default:
			if err := w.part(ctx, text[:part]); err != nil {
				return err
			}
		}
		w.line += bytes.Count(text[:part], []byte{'\n'})
		text = text[:copy(text, text[part:])]
	}
	return nil
}

// pass passes over a line that is longer than any may be, up to its first newline: it may be a quote too many that has made it
// long.
func (w *linesWriter) pass(text []byte) (n int) {
	n = bytes.IndexByte(text, '\n') + 1
	if w.passing = n == 0; w.passing {
		n = len(text)
	}
	return n
}

// part writes some whole lines.
func (w *linesWriter) part(ctx context.Context, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	q := w.request
	q.Text, q.Now = text, time.Now().UnixNano()
	r, err := w.gateway.WriteAgain(ctx, w.cluster, &q)
	var database *pointwriter.UnknownDatabaseError
	var policy *pointwriter.UnknownPolicyError
	switch {
	case errors.As(err, &database), errors.As(err, &policy):
		return withStatus(exitNotFound, "%w", err)
	case err != nil:
		return fmt.Errorf("%s: lines from %d on: %w", w.name, w.line+1, err)
	}
	w.begun = true
	w.answered.Store(true)
	c := &w.counts
	c.Stored, c.Hinted, c.Dropped, c.Failed, c.Refused = c.Stored+r.Stored, c.Hinted+r.Hinted, c.Dropped+r.DroppedPoints(), c.Failed+r.Failed, c.Refused+r.Lines.Refused
	for _, x := range r.Lines.Listed {
		w.refused(w.line+x.Line, x.Why.Error())
	}
	if more := r.Lines.Refused - len(r.Lines.Listed); more > 0 {
		w.warn(fmt.Sprintf("%s: %d more of the lines from %d on are no points", w.name, more, w.line+1))
	}
	for _, d := range r.Dropped {
		w.warn(fmt.Sprintf("%s: lines from %d on: %s dropped: %s: %s", w.name, w.line+1, counted(d.Points, "point"), d.Reason, d.Example))
	}
	if r.Failed > 0 {
		return withStatus(exitPartly, "%s: lines from %d on: %s not known to be stored: %s; the lines behind them were not tried", w.name, w.line+1, counted(r.Failed, "point"), r.Why)
	}
	if w.progress.due() {
		w.progress.draw(pointProgress(w.read, w.total, c.Stored))
	}
	return nil
}

// refused tells of a line that is no point.
func (w *linesWriter) refused(number int, why string) {
	c := &w.counts
	if len(c.Errors) == pointErrorsMax {
		return
	}
	c.Errors = append(c.Errors, lineError{number, why})
	w.warn(fmt.Sprintf("%s: line %d: %s", w.name, number, why))
	if len(c.Errors) == pointErrorsMax {
		w.warn(fmt.Sprintf("%s: no more lines are named", w.name))
	}
}

func (w *linesWriter) warn(text string) {
	w.progress.clear()
	w.warnf("%s", text)
}

// pointProgress is how far a write is, for a person.
func pointProgress(read, total uint64, stored int) string {
	if total == 0 {
		return fmt.Sprintf("point write: %s stored, %s read", counted(stored, "point"), showBytes(read))
	}
	return fmt.Sprintf("point write %s %s stored, %s of %s read", bar(read, total), counted(stored, "point"), showBytes(read), showBytes(total))
}

func (w *linesWriter) print() error {
	if w.json {
		return w.printJSON(w.counts)
	}
	c := &w.counts
	t := newTable(w.out, "STORED", "HINTED", "DROPPED", "FAILED", "REFUSED")
	t.row(number(c.Stored), number(c.Hinted), number(c.Dropped), number(c.Failed), number(c.Refused))
	return t.Flush()
}
