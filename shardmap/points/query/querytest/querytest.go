// Package querytest holds points in memory for tests of queries.
//
// It keeps them as plainly as can be, and checks nothing: what heads and files do to points is not its subject. It runs
// a query as nodes do, through the bytes of all that goes from one to another.
//
// Start with [Run].
package querytest

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/influxdata/influxql"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
	"muster/shardmap/points/line"
	"muster/shardmap/points/query"
	"muster/shardmap/points/rows"
)

// Shard is the points of one shard of one window.
type Shard struct {
	// Piece is how many values a piece has; 0: all of them.
	Piece  int
	fields map[string]map[string]column.Kind
	series map[string]map[string]*query.Piece // by key, then by field
	keys   map[string][][]byte                // of each measurement, in order; nil: to be made again
}

// Parse returns the batch of a text of line protocol with times in nanoseconds.
func Parse(text string) (*points.Batch, error) {
	precision, err := line.ParsePrecision("ns")
	if err != nil {
		return nil, err
	}
	b, report, err := line.NewParser().Parse([]byte(text), precision, 0)
	if err == nil {
		err = report.Err()
	}
	return b, err
}

// Shards returns the shards that the points of a batch belong to, with windows that last d, of n shards each.
func Shards(b *points.Batch, d time.Duration, n uint32) []query.Shard {
	var all []query.Shard
	for _, share := range points.Split(b, points.Every(d, n)) {
		s := New()
		for of := range share.Batch.Series() {
			for c := range of.Columns() {
				for i, t := range c.Times {
					s.Add(string(of.Key()), points.ParseName(c.Name), t, c.Value(i))
				}
			}
		}
		all = append(all, s)
	}
	return all
}

// New returns a shard without points.
func New() *Shard {
	return &Shard{fields: map[string]map[string]column.Kind{}, series: map[string]map[string]*query.Piece{}}
}

// Add adds a value of a field; times of one field of a series must grow.
func (s *Shard) Add(key, field string, t int64, v points.Value) {
	of, err := points.ParseKey([]byte(key))
	if err != nil {
		panic(err)
	}
	fields := s.fields[of.Measurement]
	if fields == nil {
		fields = map[string]column.Kind{}
		s.fields[of.Measurement] = fields
	}
	fields[field] = v.Kind
	s.keys = nil
	if s.series[key] == nil {
		s.series[key] = map[string]*query.Piece{}
	}
	p := s.series[key][field]
	if p == nil {
		p = &query.Piece{Values: column.Values{Kind: v.Kind}}
		s.series[key][field] = p
	}
	p.Times = append(p.Times, t)
	switch w := &p.Values; v.Kind {
	case column.Float:
		w.Floats = append(w.Floats, v.Float())
	case column.Integer:
		w.Integers = append(w.Integers, v.Integer())
	case column.Unsigned:
		w.Unsigned = append(w.Unsigned, v.Unsigned())
	case column.Boolean:
		w.Booleans = append(w.Booleans, v.Boolean())
	case column.String:
		w.Strings = append(w.Strings, v.Text())
	}
}

// Measurements implements [query.Shard].
func (s *Shard) Measurements() ([]string, error) { return sorted(s.fields), nil }

// Fields implements [query.Shard].
func (s *Shard) Fields(measurement string) ([]query.Field, error) {
	var all []query.Field
	for _, name := range sorted(s.fields[measurement]) {
		all = append(all, query.Field{Name: name, Kind: s.fields[measurement][name]})
	}
	return all, nil
}

// KnownTags implements [query.Shard].
func (s *Shard) KnownTags(string) ([]string, int64, bool) { return nil, 0, false }

// KeepTags implements [query.Shard].
func (s *Shard) KeepTags(string, []string, int64) {}

// Series implements [query.Shard].
func (s *Shard) Series(measurement string, _ ...points.Tag) iter.Seq2[[]byte, error] {
	if s.keys == nil {
		s.keys = map[string][][]byte{}
		for _, key := range sorted(s.series) {
			of, err := points.ParseKey([]byte(key))
			if err != nil {
				panic(err)
			}
			s.keys[of.Measurement] = append(s.keys[of.Measurement], []byte(key))
		}
	}
	return func(yield func([]byte, error) bool) {
		for _, key := range s.keys[measurement] {
			if !yield(key, nil) {
				return
			}
		}
	}
}

// Columns implements [query.Shard].
func (s *Shard) Columns(key []byte, field string, from, to int64) iter.Seq2[query.Piece, error] {
	return func(yield func(query.Piece, error) bool) {
		p := s.series[string(key)][field]
		if p == nil {
			return
		}
		i, _ := slices.BinarySearch(p.Times, from)
		end, found := slices.BinarySearch(p.Times, to)
		if found {
			end++
		}
		for i < end {
			n := end - i
			if s.Piece > 0 {
				n = min(n, s.Piece)
			}
			if !yield(query.Piece{Times: p.Times[i : i+n], Values: part(&p.Values, i, i+n)}, nil) {
				return
			}
			i += n
		}
	}
}

func part(v *column.Values, from, to int) column.Values {
	c := column.Values{Kind: v.Kind}
	switch v.Kind {
	case column.Float:
		c.Floats = v.Floats[from:to]
	case column.Integer:
		c.Integers = v.Integers[from:to]
	case column.Unsigned:
		c.Unsigned = v.Unsigned[from:to]
	case column.Boolean:
		c.Booleans = v.Booleans[from:to]
	case column.String:
		c.Strings = v.Strings[from:to]
	}
	return c
}

func sorted[T any](m map[string]T) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Budget returns a budget that no test exhausts by accident.
func Budget() *query.Budget {
	return &query.Budget{Memory: 4 << 30, Series: 1 << 30, Rows: 1 << 30}
}

// Run answers a SELECT from shards as nodes do.
func Run(text string, now int64, shards []query.Shard) ([]rows.Series, error) {
	return RunIn(text, now, shards, Budget())
}

// RunIn is [Run] within a budget, that each shard gets anew.
func RunIn(text string, now int64, shards []query.Shard, b *query.Budget) ([]rows.Series, error) {
	plan, err := Plan(text, now, shards, b)
	if err != nil {
		return nil, err
	}
	request, err := query.ReadRequest(plan.Request.Append(nil))
	if err != nil {
		return nil, err
	}
	var answers []*query.Answer
	for _, s := range shards {
		mine := *b
		a, err := query.Scan(s, request, &mine)
		if err != nil {
			return nil, err
		}
		if a, err = query.ReadAnswer(a.Append(nil, request), &plan.Request, math.MaxInt64/2); err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	mine := *b
	return plan.Rows(answers, &mine)
}

// Plan plans a SELECT for shards.
func Plan(text string, now int64, shards []query.Shard, b *query.Budget) (*query.Plan, error) {
	statements, err := query.Parse(text, nil)
	if err != nil {
		return nil, err
	}
	if len(statements) != 1 {
		return nil, fmt.Errorf("%d statements, want one", len(statements))
	}
	s, ok := statements[0].(*influxql.SelectStatement)
	if !ok {
		return nil, fmt.Errorf("%s is no SELECT", statements[0])
	}
	q, err := query.Compile(s, now)
	if err != nil {
		return nil, err
	}
	var outlines []query.Outline
	for _, s := range shards {
		mine := *b
		o, err := query.Describe(s, q.Sources(), &mine)
		if err != nil {
			return nil, err
		}
		if o, err = query.ReadOutline(o.Append(nil), 1<<30); err != nil {
			return nil, err
		}
		outlines = append(outlines, o)
	}
	return q.Plan(query.Merge(outlines))
}

// Text writes series as a test compares them: a line for the head of each, and one for each row.
func Text(all []rows.Series) string {
	var b strings.Builder
	for _, s := range all {
		b.WriteString(s.Name)
		for _, t := range s.Tags {
			fmt.Fprintf(&b, ",%s=%s", t.Name, t.Value)
		}
		fmt.Fprintf(&b, ": %s\n", strings.Join(s.Columns, " "))
		for i := range s.Len() {
			for k, v := range s.Row(i) {
				if k > 0 {
					b.WriteByte(' ')
				}
				b.WriteString(Value(v))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Value writes a value: a float always with a point or an exponent, an unsigned with a u, a string in quotes.
func Value(v points.Value) string {
	switch v.Kind {
	case column.Float:
		s := fmt.Sprint(v.Float())
		if !strings.ContainsAny(s, ".eNI") {
			s += ".0"
		}
		return s
	case column.Integer:
		return fmt.Sprint(v.Integer())
	case column.Unsigned:
		return fmt.Sprintf("%du", v.Unsigned())
	case column.Boolean:
		return fmt.Sprint(v.Boolean())
	case column.String:
		return fmt.Sprintf("%q", v.Text())
	}
	return "null"
}

// CountRequest is what a query asks shards that counts the values of a field of floats, over all series of a measurement.
func CountRequest(measurement, field string) *query.Request {
	return &query.Request{Measurements: []string{measurement}, Items: []query.Item{{Func: query.Count, Field: query.Ref{Name: field, Kind: column.Float}, From: points.TimeMin, To: points.TimeMax}}}
}

// Counted returns the sum of what a shard answers to a [CountRequest].
func Counted(answer []byte, r *query.Request) (n int64, err error) {
	a, err := query.ReadAnswer(answer, r, 1<<20)
	if err != nil {
		return 0, err
	}
	for _, g := range a.Groups {
		for _, p := range g.Parts {
			for _, c := range p.Counts {
				n += c
			}
		}
	}
	return n, nil
}
