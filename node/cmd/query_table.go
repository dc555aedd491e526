package cmd

import (
	"math"
	"strconv"
	"strings"
	"time"

	"muster/repl/queries"
	"muster/shardmap/points"
	"muster/shardmap/points/column"
	"muster/shardmap/points/rows"
)

// queryTables prints each series as a table below its name and tags, and below windows of time a line for each
// numeric column. It keeps the rows of one result.
type queryTables struct {
	out        *output
	epoch      rows.Epoch
	statements []queries.Statement

	begun bool // a block was printed
	// Of the block that goes on; table is nil if none does.
	table   *table
	columns []string
	trends  []trend // by column; none if the statement has no windows of time
}

// Write implements queryWriter.
func (q *queryTables) Write(r rows.Result) error {
	for i := range r.Series {
		s := &r.Series[i]
		if err := q.series(s, q.statements[r.Statement].ByTime && s.Timed); err != nil {
			return err
		}
	}
	return nil
}

// Close implements queryWriter: it ends a block that was to go on when its statement failed.
func (q *queryTables) Close() error { return q.endBlock() }

func (q *queryTables) series(s *rows.Series, byTime bool) error {
	if q.table == nil {
		if err := q.beginBlock(s, byTime); err != nil {
			return err
		}
	}
	cells := make([]string, len(s.Columns))
	for i := range s.Len() {
		for at, v := range s.Row(i) {
			cells[at] = queryCell(v, at == 0 && s.Timed, q.epoch, s.Location)
			if q.trends != nil && at > 0 {
				q.trends[at].add(v)
			}
		}
		q.table.row(cells...)
	}
	if err := q.table.Flush(); err != nil || s.Partial {
		return err
	}
	return q.endBlock()
}

// beginBlock prints the name and the tags of a series, and begins its table.
func (q *queryTables) beginBlock(s *rows.Series, byTime bool) error {
	if q.begun {
		if err := q.out.line(""); err != nil {
			return err
		}
	}
	var heading []string
	if s.Name != "" {
		heading = append(heading, cell([]byte(s.Name)))
	}
	for _, t := range s.Tags {
		heading = append(heading, cell([]byte(t.Name))+"="+cell([]byte(t.Value)))
	}
	if len(heading) > 0 {
		if err := q.out.line("%s", strings.Join(heading, "  ")); err != nil {
			return err
		}
	}
	q.begun, q.columns, q.trends = true, nil, nil
	for _, c := range s.Columns {
		q.columns = append(q.columns, cell([]byte(c)))
	}
	if byTime {
		q.trends = make([]trend, len(s.Columns))
	}
	q.table = newTable(q.out, q.columns...)
	return nil
}

// endBlock prints the lines of its columns, if it has any.
func (q *queryTables) endBlock() error {
	if q.table == nil {
		return nil
	}
	t := q.table
	q.table = nil
	for at := range q.trends {
		if d := &q.trends[at]; d.count > 1 {
			t.row(q.columns[at], d.draw(), queryNumber(d.least)+" to "+queryNumber(d.most))
		}
	}
	return t.Flush()
}

// queryCell is a value as a cell of a table: nothing for null, which an empty text is not.
func queryCell(v points.Value, timed bool, epoch rows.Epoch, zone *time.Location) string {
	switch v.Kind {
	case column.Float:
		return queryNumber(v.Float())
	case column.Integer:
		switch {
		case !timed:
			return number(v.Integer())
		case epoch != rows.RFC3339:
			return number(v.Integer() / int64(epoch))
		case zone == nil:
			zone = time.UTC
		}
		return time.Unix(0, v.Integer()).In(zone).Format(time.RFC3339Nano)
	case column.Unsigned:
		return number(v.Unsigned())
	case column.Boolean:
		return strconv.FormatBool(v.Boolean())
	case column.String:
		return cell([]byte(v.Text()))
	}
	return ""
}

func queryNumber(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// trendCells bounds the cells of a line: with a name and its two bounds it fits a terminal of a hundred columns. It is even.
const trendCells = 60

// trendSteps are the cells of a line, from its least value to its most.
const trendSteps = "▁▂▃▄▅▆▇█"

// trend gathers one column as a line of bounded width: once all its cells are full, pairs of them become one.
type trend struct {
	cells       []trendCell // at most trendCells, the last one not full
	rows        int         // that a full cell stands for; 0 is 1
	count       int         // of numbers
	least, most float64     // of them, if there are any
}

// trendCell stands for some rows: its value is the mean of those that are numbers. It never has their sum, which may be more
// than a float holds.
type trendCell struct {
	rows, numbers int
	mean          float64
}

// with returns the cell that stands for the rows of both.
func (c trendCell) with(o trendCell) trendCell {
	both := trendCell{rows: c.rows + o.rows, numbers: c.numbers + o.numbers}
	if n := float64(both.numbers); n > 0 {
		both.mean = c.mean*(float64(c.numbers)/n) + o.mean*(float64(o.numbers)/n)
	}
	return both
}

// add takes the value of the next row. A value that is no finite number leaves a gap.
func (d *trend) add(v points.Value) {
	d.rows = max(d.rows, 1)
	if n := len(d.cells); n == 0 || d.cells[n-1].rows == d.rows {
		if n == trendCells {
			for i := range n / 2 {
				d.cells[i] = d.cells[2*i].with(d.cells[2*i+1])
			}
			d.cells, d.rows = d.cells[:n/2], 2*d.rows
		}
		d.cells = append(d.cells, trendCell{})
	}
	c := &d.cells[len(d.cells)-1]
	f, ok := numberOf(v)
	if !ok {
		c.rows++
		return
	}
	*c = c.with(trendCell{1, 1, f})
	if d.count == 0 {
		d.least, d.most = f, f
	}
	d.count++
	d.least, d.most = min(d.least, f), max(d.most, f)
}

// draw returns the line.
func (d *trend) draw() string {
	steps := []rune(trendSteps)
	var b strings.Builder
	for _, c := range d.cells {
		if c.numbers == 0 {
			b.WriteByte(' ')
			continue
		}
		// Halves, for the span of two floats may be more than a float holds.
		at, span := 0.0, d.most/2-d.least/2
		if span > 0 {
			at = min(max((c.mean/2-d.least/2)/span, 0), 1) // a mean is rounded
		}
		b.WriteRune(steps[int(at*float64(len(steps)-1)+0.5)])
	}
	return b.String()
}

// numberOf returns a value as a number; false of null, of what is none, and of what has no place on a line.
func numberOf(v points.Value) (f float64, ok bool) {
	switch v.Kind {
	case column.Float:
		f = v.Float()
	case column.Integer:
		f = float64(v.Integer())
	case column.Unsigned:
		f = float64(v.Unsigned())
	default:
		return 0, false
	}
	return f, !math.IsInf(f, 0) && !math.IsNaN(f)
}
