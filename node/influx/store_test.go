package influx

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/repl/client/pointwriter"
	"muster/shardmap/points"
	"muster/shardmap/points/column"
	"muster/shardmap/points/line"
	"muster/shardmap/points/rows"
)

// memory is a store of a test. It knows which kinds fields have, and the answers to the queries that it expects.
type memory struct {
	mu        sync.Mutex
	databases map[string]map[string]column.Kind // kinds of fields, by measurement and field
	writes    []WriteRequest                    // that it was handed
	queries   []QueryRequest
	err       error    // of each request, if there is one
	written   *Written // of each write, if there is one
	results   map[string][]rows.Result
}

func newMemory() *memory {
	m := &memory{databases: map[string]map[string]column.Kind{}, results: map[string][]rows.Result{}}
	m.create("weather")
	m.create("telegraf")
	return m
}

func (m *memory) create(name string) { m.databases[name] = map[string]column.Kind{} }

// handed returns how many requests the store was handed.
func (m *memory) handed() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.writes) + len(m.queries)
}

// Write implements [Store].
func (m *memory) Write(_ context.Context, q *WriteRequest) (Written, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := *q
	kept.Text = append([]byte(nil), q.Text...)
	m.writes = append(m.writes, kept)
	kinds, ok := m.databases[q.Database]
	switch {
	case m.err != nil:
		return Written{}, m.err
	case !ok:
		return Written{}, DatabaseNotFound(q.Database)
	case q.Policy != "" && q.Policy != "autogen":
		return Written{}, PolicyNotFound(q.Policy)
	}
	batch, report, err := line.NewParser().Parse(q.Text, q.Precision, q.Now)
	if err != nil {
		return Written{}, &Error{Reason: OverLimit, Text: err.Error()}
	}
	if m.written != nil {
		got := *m.written
		got.Lines = report
		return got, nil
	}
	got := Written{Lines: report}
	conflicts := 0
	for s := range batch.Series() {
		measurement, _, _ := strings.Cut(string(s.Key()), ",")
		for c := range s.Columns() {
			name := measurement + " " + string(c.Name)
			had, known := kinds[name]
			if known && had != c.Kind {
				conflicts++
				got.Dropped = []Dropped{{Reason: pointwriter.FieldConflict, Points: conflicts, Example: fmt.Sprintf("input field %q on measurement %q is type %s, already exists as type %s", c.Name, measurement, c.Kind, had)}}
				continue
			}
			kinds[name] = c.Kind
		}
	}
	got.Stored = report.Points - conflicts
	return got, nil
}

// Query implements [Store].
func (m *memory) Query(ctx context.Context, q *QueryRequest, yield func(rows.Result) bool) error {
	m.mu.Lock()
	m.queries = append(m.queries, *q)
	results, known := m.results[q.Text]
	err := m.err
	if name, ok := strings.CutPrefix(q.Text, "CREATE DATABASE "); ok {
		m.create(strings.Trim(name, `"`))
		results, known = []rows.Result{{}}, true
	}
	_, there := m.databases[q.Database]
	m.mu.Unlock()
	switch {
	case err != nil:
		return err
	case !known:
		return badRequest("error parsing query: found EOF, expected identifier at line 1, char %d", len(q.Text)+2)
	case q.Database != "" && !there:
		results = []rows.Result{{Err: fmt.Errorf("database not found: %s", q.Database)}}
	}
	for _, r := range results {
		if !yield(r) {
			return ctx.Err()
		}
	}
	return nil
}

// The values of answers.
var (
	number = points.FloatValue
	whole  = points.IntegerValue
	text   = points.StringValue
	null   = points.Value{}
)

// second is a time of the rows of tests: seconds behind the 13th of September 2020.
func second(s int64) points.Value { return whole((1600000000 + s) * int64(time.Second)) }

// oneSeries is the result of a statement with one series.
func oneSeries(name string, columns string, values ...points.Value) rows.Result {
	return rows.Result{Series: []rows.Series{{Name: name, Columns: strings.Fields(columns), Values: values, Timed: strings.HasPrefix(columns, "time")}}}
}

// expecting is a memory that knows the queries of the recorded clients.
func expecting() *memory {
	m := newMemory()
	keys := oneSeries("cpu", "tagKey", text("host"))
	tags := keys
	tags.Statement = 1
	m.results = map[string][]rows.Result{
		"SELECT * FROM cpu; SHOW TAG KEYS": {
			oneSeries("cpu", "time host n usage", second(0), text("a"), whole(3), number(1.5), second(1), text("b"), null, number(2.5)), tags,
		},
		"SELECT * FROM cpu":                            {{}},
		"SHOW measurements":                            {oneSeries("measurements", "name", text("cpu"))},
		"SHOW MEASUREMENTS LIMIT 100":                  {oneSeries("measurements", "name", text("cpu"))},
		`SHOW TAG KEYS FROM "cpu"`:                     {keys},
		`SHOW FIELD KEYS FROM "cpu"`:                   {oneSeries("cpu", "fieldKey fieldType", text("n"), text("integer"), text("usage"), text("float"))},
		`SHOW TAG VALUES FROM "cpu" WITH KEY = "host"`: {oneSeries("cpu", "key value", text("host"), text("a"), text("host"), text("b"))},
		`SHOW RETENTION POLICIES on "weather"`:         {oneSeries("", "name duration shardGroupDuration replicaN default", text("autogen"), text("0s"), text("168h0m0s"), whole(1), points.BooleanValue(true))},
		`SELECT mean("nosuch") FROM "cpu"`:             {{}},
		`SELECT mean("usage") FROM "cpu" WHERE time >= 1600000000000ms and time <= 1600000003000ms GROUP BY time(1s), "host" fill(null)`: {{Series: []rows.Series{
			{Name: "cpu", Tags: []points.Tag{{Name: "host", Value: "a"}}, Columns: []string{"time", "mean"}, Timed: true,
				Values: []points.Value{second(0), number(1.5), second(1), null, second(2), null, second(3), null}},
			{Name: "cpu", Tags: []points.Tag{{Name: "host", Value: "b"}}, Columns: []string{"time", "mean"}, Timed: true,
				Values: []points.Value{second(0), null, second(1), number(2.5), second(2), number(3.5), second(3), null}},
		}}},
	}
	return m
}

// handler is a handler of a store, at a time that stands still.
func handler(_ testing.TB, s Store) *Handler {
	return New(Config{Open: func(*http.Request) (Store, error) { return s, nil }, Now: func() time.Time { return time.Unix(1700000000, 7) }})
}
