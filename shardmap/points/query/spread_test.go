package query_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
)

// parts are of what queries of the property below are put together.
var parts = struct{ fields, wheres, groups, tails []string }{
	fields: []string{
		"v", "v, n, host", "*", "n + v, s", "count(v)", "mean(v)", "sum(n), count(s)", "min(v)", "max(n), v", "first(v), s", "last(n)", "spread(v), mean(n)",
		"percentile(v, 60), host", "median(v)", "mode(n)", "stddev(v)", "distinct(n)", "top(v, 3)", "bottom(n, host, 2), s", "count(distinct(v))", "max(v) - min(v)", `first("on"), min("on"), max("on")`,
	},
	wheres: []string{"", "host = 'a'", "host != 'a' AND v > 3", "n < 5 OR host = 'b'", "s = 'x'", "host =~ /a|c/", `"on" = true`, "region = ''"},
	groups: []string{"", "host", "*", "time(7s)", "time(10s), host", "time(1m), region", "time(1mo)", "time(20s, 3s), host"},
	tails:  []string{"", "ORDER BY time DESC", "LIMIT 3", "LIMIT 2 OFFSET 1", "SLIMIT 1 SOFFSET 1", "ORDER BY time DESC LIMIT 2"},
}

// transforms are put around aggregates by time, and around fields without them.
var transforms = []string{"derivative(%s, 1s)", "non_negative_derivative(%s)", "difference(%s)", "non_negative_difference(%s)", "moving_average(%s, 2)", "cumulative_sum(%s)", "elapsed(%s, 1s)"}

// drawn is a query, and points for it.
func drawn(t *rapid.T) (text, lines string) {
	var b strings.Builder
	for range rapid.IntRange(1, 40).Draw(t, "points") {
		tags := rapid.SampledFrom([]string{"host=a,region=eu", "host=b,region=eu", "host=c", "host=a", "region=us"}).Draw(t, "tags")
		var fields []string
		for _, f := range []string{"v=%d", "n=%di", `s="x%d"`} {
			if rapid.Bool().Draw(t, "field") {
				// Sums of such floats are exact, whatever their order.
				fields = append(fields, fmt.Sprintf(f, rapid.IntRange(-4, 9).Draw(t, "value")))
			}
		}
		if len(fields) == 0 || rapid.Bool().Draw(t, "on") {
			fields = append(fields, fmt.Sprintf("on=%t", rapid.Bool().Draw(t, "value")))
		}
		fmt.Fprintf(&b, "cpu,%s %s %d000000000\n", tags, strings.Join(fields, ","), rapid.IntRange(0, 60).Draw(t, "time"))
	}
	group := rapid.SampledFrom(parts.groups).Draw(t, "group")
	field := rapid.SampledFrom(parts.fields).Draw(t, "fields")
	if rapid.IntRange(0, 3).Draw(t, "stage") == 0 {
		inner := "v"
		if strings.Contains(group, "time") {
			inner = rapid.SampledFrom([]string{"mean(v)", "max(n)", "count(v)", "median(v)", "last(v)"}).Draw(t, "inner")
		}
		field = fmt.Sprintf(rapid.SampledFrom(transforms).Draw(t, "transform"), inner)
	}
	text = "SELECT " + field + " FROM cpu WHERE time >= 0s AND time <= 60s"
	if w := rapid.SampledFrom(parts.wheres).Draw(t, "where"); w != "" {
		text += " AND (" + w + ")"
	}
	if group != "" {
		text += " GROUP BY " + group
	}
	if strings.Contains(group, "time") && strings.Contains(field, "(") {
		text += " fill(" + rapid.SampledFrom([]string{"null", "none", "previous", "linear", "5"}).Draw(t, "fill") + ")"
	}
	return text + " " + rapid.SampledFrom(parts.tails).Draw(t, "tail"), b.String()
}

// The answer to a query must be the same wherever its points are: that of one shard, which merges nothing, and that of
// many. A query that is refused must be refused for the same reason.
func TestSpreadChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, lines := drawn(t)
		if wrong := spreadWrong(text, lines); wrong != "" {
			t.Error(wrong)
		}
	})
}

// spreadWrong returns what differs between one shard and several; "" if nothing does.
func spreadWrong(text, lines string) string {
	batch, err := querytest.Parse(lines)
	if err != nil {
		return err.Error()
	}
	run := func(all []query.Shard) string {
		got, err := querytest.Run(text, 60*second, all)
		if err != nil {
			return err.Error()
		}
		return querytest.Text(got)
	}
	want := run(querytest.Shards(batch, 1000*time.Hour, 1))
	for _, window := range []time.Duration{time.Minute, 10 * time.Second, 3 * time.Second} {
		for _, n := range []uint32{1, 3} {
			if got := run(querytest.Shards(batch, window, n)); got != want {
				return fmt.Sprintf("%s\nof\n%swindows of %s, %d shards: got\n%swant\n%s", text, lines, window, n, got, want)
			}
		}
	}
	return ""
}
