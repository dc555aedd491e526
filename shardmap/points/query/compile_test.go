package query_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/influxdata/influxql"

	"muster/shardmap/points/query"
)

// compiled returns a SELECT, checked.
func compiled(t testing.TB, text string) *query.Query {
	t.Helper()
	statements, err := query.Parse(text, nil)
	if err != nil {
		t.Fatal(err)
	}
	q, err := query.Compile(statements[0].(*influxql.SelectStatement), 1000*second)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return q
}

// The gateway asks the shards of the span alone: one that is too short loses points, and one without need asks them all.
func TestSpan(t *testing.T) {
	const day = 86400 * second
	for _, c := range []struct {
		text     string
		from, to int64
	}{
		{"SELECT v FROM cpu", influxql.MinTime, influxql.MaxTime},
		{"SELECT v FROM cpu WHERE time >= 10s AND time < 20s", 10 * second, 20*second - 1},
		{"SELECT v FROM cpu WHERE time > now() - 10s", 990*second + 1, influxql.MaxTime},
		{"SELECT mean(v) FROM cpu WHERE time >= 10s GROUP BY time(5s)", 10 * second, 1000 * second},
		{"SELECT mean(v) FROM cpu WHERE time = 10s", 10 * second, 10 * second},
		{"SELECT difference(mean(v)) FROM cpu WHERE time >= 10s AND time <= 20s GROUP BY time(5s)", 5 * second, 20 * second},
		{"SELECT difference(mean(v)) FROM cpu WHERE time >= 10s AND time <= 20s GROUP BY time(5s) ORDER BY time DESC", 10 * second, 25 * second},
		{"SELECT difference(mean(v)) FROM cpu WHERE time >= 10s AND time <= 20s GROUP BY time(1mo)", -31 * day, 20 * second},
		{"SELECT difference(v) FROM cpu WHERE time >= 10s AND time <= 20s", 10 * second, 20 * second},
		{"SELECT difference(mean(v)) FROM cpu WHERE time <= 20s GROUP BY time(5s)", influxql.MinTime, 20 * second},
	} {
		if from, to := compiled(t, c.text).Span(); from != c.from || to != c.to {
			t.Errorf("%s: got %d to %d, want %d to %d", c.text, from, to, c.from, c.to)
		}
	}
}

// A query names what it is about; the session names the rest.
func TestSources(t *testing.T) {
	q := compiled(t, `SELECT v FROM "a b", cpu, /m.*/`)
	got := q.Sources()
	if !slices.Equal(got.Names, []string{"a b", "cpu"}) || !slices.Equal(got.Expressions, []string{"m.*"}) {
		t.Errorf("got %+v", got)
	}
	s, err := query.Parse(`SELECT v FROM other.week.cpu`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if db, rp := query.Target(s[0].(*influxql.SelectStatement).Sources[0]); db != "other" || rp != "week" {
		t.Errorf("got %s, %s", db, rp)
	}
}

// A statement that is not supported is refused by an error of its own, which names the reason.
func TestUnsupported(t *testing.T) {
	for text, want := range map[string]string{
		"SELECT v INTO x FROM cpu":                                   "INTO",
		"SELECT mean(v) FROM (SELECT v FROM cpu)":                    "sub-query",
		"SELECT v FROM a.week.cpu, b.week.cpu":                       "more than one database",
		"SELECT v FROM cpu, a.week.cpu":                              "more than one database",
		"SELECT integral(v) FROM cpu":                                "integral()",
		"SELECT holt_winters(mean(v), 1, 2) FROM cpu":                "holt_winters()",
		"SELECT sqrt(v) FROM cpu":                                    "sqrt()",
		"SELECT v FROM cpu WHERE abs(v) > 1":                         "abs()",
		"SELECT exponential_moving_average(v, 2) FROM cpu":           "exponential_moving_average()",
		"SELECT difference(bottom(v, 2)) FROM cpu GROUP BY time(1s)": "bottom() in another function",
	} {
		statements, err := query.Parse(text, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = query.Compile(statements[0].(*influxql.SelectStatement), 0)
		var unsupported *query.UnsupportedError
		if !errors.As(err, &unsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}
