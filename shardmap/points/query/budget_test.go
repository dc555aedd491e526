package query_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
)

// A query that costs more than it was given is refused by the name of what it exceeds; a little more than it needs is
// enough.
func TestBudgets(t *testing.T) {
	var b strings.Builder
	for host := range 100 {
		for at := range 100 {
			fmt.Fprintf(&b, "cpu,host=h%02d v=%d,s=\"text %d\" %d\n", host, at, at%7, at)
		}
	}
	all := shards(t, b.String(), time.Hour, 2)
	stop := errors.New("query 7 was killed by ann")
	roomy := func(change func(*query.Budget)) *query.Budget {
		b := &query.Budget{Memory: 64 << 20, Series: 100, Rows: 20_000}
		change(b)
		return b
	}
	for _, c := range []struct {
		text   string
		what   string // the limit; "": the query is answered
		budget *query.Budget
	}{
		{"SELECT * FROM cpu", "", roomy(func(b *query.Budget) {})},
		{"SELECT * FROM cpu", "series", roomy(func(b *query.Budget) { b.Series = 20 })},
		{"SELECT v FROM cpu WHERE host = 'h01'", "series", roomy(func(b *query.Budget) { b.Series = 20 })},
		{"SELECT * FROM cpu", "bytes of memory", roomy(func(b *query.Budget) { b.Memory = 1 << 20 })},
		{"SELECT mean(v) FROM cpu WHERE time >= 0s AND time < 100s GROUP BY time(1s), host", "bytes of memory", roomy(func(b *query.Budget) { b.Memory = 512 << 10 })},
		{"SELECT median(v) FROM cpu", "bytes of memory", roomy(func(b *query.Budget) { b.Memory = 1 << 20 })},
		{"SELECT mean(v) FROM cpu", "", roomy(func(b *query.Budget) { b.Memory = 1 << 20 })},
		{"SELECT mean(v) FROM cpu GROUP BY host", "", roomy(func(b *query.Budget) { b.Memory = 1 << 20 })},
		{"SELECT * FROM cpu", "rows", roomy(func(b *query.Budget) { b.Rows = 9999 })},
		{"SELECT * FROM cpu LIMIT 9999", "", roomy(func(b *query.Budget) { b.Rows = 9999 })},
		// Filled windows are rows: a nanosecond's windows of an hour are refused, not made.
		{"SELECT mean(v) FROM cpu WHERE time >= 0s AND time < 1h GROUP BY time(1ns)", "rows", roomy(func(b *query.Budget) {})},
		{"SELECT mean(v) FROM cpu WHERE time < 1h GROUP BY time(1ns) ORDER BY time DESC", "rows", roomy(func(b *query.Budget) {})},
		{"SELECT mean(v) FROM cpu", "killed", roomy(func(b *query.Budget) { b.Over = func() error { return stop } })},
		{"SELECT * FROM cpu", "killed", roomy(func(b *query.Budget) { b.Over = func() error { return stop } })},
	} {
		// Many questions, so that a few thousand values are enough for one.
		_, err := querytest.RunIn(c.text, 30*second, repeated(all, c.what == "killed"), c.budget)
		var limit *query.LimitError
		switch {
		case c.what == "":
			if err != nil {
				t.Errorf("%s: %v", c.text, err)
			}
		case c.what == "killed":
			if !errors.Is(err, stop) {
				t.Errorf("%s: %v, want %v", c.text, err, stop)
			}
		case !errors.As(err, &limit) || !strings.HasPrefix(err.Error(), "the query needs more "+c.what+" than it was given; ") || limit.Remedy == "":
			t.Errorf("%s: %v, want a limit of %s", c.text, err, c.what)
		}
	}
}

// repeated returns shards, or one with so many points that a query is asked whether it should go on.
func repeated(all []query.Shard, many bool) []query.Shard {
	if !many {
		return all
	}
	s := querytest.New()
	for i := range int64(query.BudgetStep + 1) {
		s.Add("cpu,host=a", "v", i, floatValue(i))
	}
	return []query.Shard{s}
}

// The first rows of many series must cost what rows cost, and not what the points cost; and must be those of all.
func TestFirstRows(t *testing.T) {
	var b strings.Builder
	for host := range 300 {
		for at := range 100 {
			fmt.Fprintf(&b, "cpu,host=h%03d v=%d", host, host)
			if (host+at)%3 > 0 {
				fmt.Fprintf(&b, ",s=\"%d\"", at)
			}
			fmt.Fprintf(&b, " %d\n", (at*7+host*13)%500)
		}
	}
	all := shards(t, b.String(), time.Hour, 2)
	for _, c := range []struct{ text, limit string }{
		{"SELECT * FROM cpu", " LIMIT 50 OFFSET 7"},
		{"SELECT s, host FROM cpu WHERE v > 100", " LIMIT 20"},
		{"SELECT v FROM cpu ORDER BY time DESC", " LIMIT 50 OFFSET 7"},
		{"SELECT s, host, v FROM cpu WHERE s != '3' ORDER BY time DESC", " LIMIT 30"},
	} {
		want, err := querytest.Run(c.text, 30*second, all)
		if err != nil {
			t.Fatal(err)
		}
		budget := &query.Budget{Memory: 4 << 20, Series: 300, Rows: 100}
		got, err := querytest.RunIn(c.text+c.limit, 30*second, all, budget)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		var n, skip int
		fmt.Sscanf(c.limit, " LIMIT %d OFFSET %d", &n, &skip)
		w := want[0].Values[skip*len(want[0].Columns) : (skip+n)*len(want[0].Columns)]
		if !slices.Equal(got[0].Values, w) {
			t.Errorf("%s%s: got\n%swant the first of\n%.2000s", c.text, c.limit, querytest.Text(got), querytest.Text(want))
		}
	}
}

// Clients that want all name the largest number as a limit: sums with it must not turn into what is below 0.
func TestLargestLimits(t *testing.T) {
	s := querytest.New()
	for i := range int64(5000) {
		s.Add("cpu,host=a", "v", i, floatValue(i))
		s.Add("cpu,host=b", "v", i, floatValue(i))
	}
	for tail, want := range map[string][]int{
		"LIMIT 9223372036854775807":                          {10_000},
		"LIMIT 9223372036854775807 OFFSET 9000":              {1000},
		"ORDER BY time DESC LIMIT 9223372036854775807":       {10_000},
		"LIMIT 4611686018427387904":                          {10_000},
		"GROUP BY host SLIMIT 9223372036854775807 SOFFSET 1": {5000},
	} {
		got, err := querytest.Run("SELECT v FROM cpu "+tail, 30*second, []query.Shard{s})
		if err != nil {
			t.Errorf("%s: %v", tail, err)
			continue
		}
		var rows []int
		for i := range got {
			rows = append(rows, got[i].Len())
		}
		if !slices.Equal(rows, want) {
			t.Errorf("%s: rows %v, want %v", tail, rows, want)
		}
	}
}

// A condition or an expression that no plan makes is the asker's fault, and not the shard's; and expressions are bounded
// together, since each of them is compiled.
func TestRequestsThatNobodyPlans(t *testing.T) {
	var wrong *query.RequestError
	if _, err := query.Scan(failing{}, &query.Request{Condition: "v >"}, querytest.Budget()); !errors.As(err, &wrong) || wrong.Field != "condition" {
		t.Errorf("a condition that ends early: %v", err)
	}
	if _, err := query.Describe(failing{}, query.Sources{Expressions: []string{"("}}, querytest.Budget()); !errors.As(err, &wrong) || wrong.Field != "regular expressions" {
		t.Errorf("an expression that ends early: %v", err)
	}
	for _, c := range []struct {
		expressions []string
		refused     bool
	}{
		{[]string{strings.Repeat("a", query.RegexMax)}, false},
		{[]string{strings.Repeat("a", query.RegexMax), "a"}, true},
		{[]string{strings.Repeat("a", query.RepeatRegexMax-4) + "{99}"}, false},
		{[]string{strings.Repeat("a", query.RepeatRegexMax-4) + "{99}", "a{1}"}, true},
	} {
		src := query.Sources{Expressions: c.expressions}
		var limit *query.LimitError
		if _, err := query.ReadSources(src.Append(nil)); errors.As(err, &limit) != c.refused || !c.refused && err != nil {
			t.Errorf("%d expressions, the first of %d bytes: %v; want them refused: %t", len(c.expressions), len(c.expressions[0]), err, c.refused)
		}
	}
}

// A shard that fails, or that gives values of another kind than it says, must end the query with its error.
func TestShardsThatFail(t *testing.T) {
	broken := errors.New("a block is damaged")
	for _, c := range []struct {
		shard failing
		want  string
	}{
		{failing{err: broken}, "a block is damaged"},
		{failing{}, "another kind"},
	} {
		_, err := query.Scan(c.shard, &query.Request{Measurements: []string{"cpu"}, Items: []query.Item{{Func: query.Sum, Field: query.Ref{Name: "v", Kind: 1}, To: 9}}}, querytest.Budget())
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
