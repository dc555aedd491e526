package figures

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 9, 2}, 3},
	} {
		if got := Median(c.values); got != c.want {
			t.Errorf("of %v: got %v, want %v", c.values, got, c.want)
		}
	}
	if got := Median(nil); !math.IsNaN(got) {
		t.Errorf("of nothing: got %v, want NaN", got)
	}
	values := []float64{3, 1, 2}
	if Median(values); values[0] != 3 {
		t.Error("the values were put into order")
	}
}

func loopRow(round int, system string, ops, cpu float64) Row {
	return Row{Round: round, Case: "put/64", System: system, OpsPerS: ops, P50: 1000, P99: 2500, NodeCPU: cpu, ClientCPU: 4, Others: 0.02}
}

// A ratio is of one round, and what counts is the middle one of those; the ratio
// of the medians would be 4 here.
func TestRatiosAreOfOneRound(t *testing.T) {
	rows := []Row{
		loopRow(1, "muster", 400, 10), loopRow(1, "etcd", 200, 50),
		loopRow(2, "muster", 300, 20), loopRow(2, "etcd", 100, 100),
		loopRow(3, "muster", 500, 10), loopRow(3, "etcd", 50, 40),
		loopRow(4, "muster", 1, 1), // etcd failed here
		loopRow(5, "etcd", 1, 1),   // and muster here
		{Round: 1, Case: "get/64", System: "muster", OpsPerS: 7}, {Round: 1, Case: "get/64", System: "etcd", OpsPerS: 7},
	}
	got, ok := Against(rows, "put/64", "etcd", opsPerS)
	want := Ratio{Median: 3, Low: 2, High: 10, Rounds: 3}
	if !ok || got != want {
		t.Errorf("operations: got %+v, %v, want %+v", got, ok, want)
	}
	got, ok = Against(rows, "put/64", "etcd", nodeCPU)
	want = Ratio{Median: 0.2, Low: 0.2, High: 0.25, Rounds: 3}
	if !ok || got != want {
		t.Errorf("processor time: got %+v, %v, want %+v", got, ok, want)
	}
	for _, c := range []struct{ of, system string }{{"put/64", "redis"}, {"put/1", "etcd"}} {
		if got, ok := Against(rows, c.of, c.system, opsPerS); ok {
			t.Errorf("%s to %s: got %+v, want none", c.of, c.system, got)
		}
	}
	if got, ok := Against([]Row{loopRow(1, "muster", 1, 1), loopRow(1, "etcd", 0, 0)}, "put/64", "etcd", opsPerS); ok {
		t.Errorf("against nothing: got %+v, want none", got)
	}
}

// Several kills in one round are one figure of that round: their median.
func TestRoundsWithSeveralRows(t *testing.T) {
	var rows []Row
	for _, s := range []float64{0.9, 0.1, 0.2} {
		rows = append(rows, Row{Round: 1, Case: "failover/64", System: "muster", Seconds: s})
	}
	for _, s := range []float64{1.5, 2, 1} {
		rows = append(rows, Row{Round: 1, Case: "failover/64", System: "etcd", Seconds: s})
	}
	got, ok := Against(rows, "failover/64", "etcd", seconds)
	if want := 0.2 / 1.5; !ok || got.Median != want || got.Low != want || got.High != want || got.Rounds != 1 {
		t.Errorf("got %+v, %v, want %v of one round", got, ok, want)
	}
}

// Rows come back from the lines that they were written as.
func TestRowsComeBack(t *testing.T) {
	rows := []Row{
		loopRow(1, "muster", 123.5, 7.25),
		{Round: 2, Case: "restart", System: "redis", Seconds: 0.5},
		{Round: 2, Case: "put/1", System: "etcd", Errors: 3, LastError: "a line\nand another"},
	}
	var b bytes.Buffer
	for _, r := range rows {
		if err := Write(&b, r); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(b.String(), "\n"); n != len(rows) {
		t.Errorf("%d rows are %d lines", len(rows), n)
	}
	got, err := Read(&b)
	if err != nil || !reflect.DeepEqual(got, rows) {
		t.Errorf("got %+v (%v), want %+v", got, err, rows)
	}
	if _, err := Read(strings.NewReader("{}\nno row\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v, want the line that is no row", err)
	}
}

func TestDigits(t *testing.T) {
	for x, want := range map[float64]string{0.0523: "0.052", 0.1234: "0.12", 1: "1.00", 9.876: "9.88", 12.34: "12.3"} {
		if got := digits(x); got != want {
			t.Errorf("%v: got %s, want %s", x, got, want)
		}
	}
}

// The tables of a run: ratios with their intervals first, each system once in a
// case, in the order of the plan.
func TestPrint(t *testing.T) {
	rows := []Row{
		loopRow(1, "muster", 40000, 35), loopRow(1, "etcd", 10000, 140), loopRow(1, "redis", 80000, 10),
		{Round: 1, Case: "failover/64", System: "muster", Seconds: 0.06}, {Round: 1, Case: "failover/64", System: "muster", Seconds: 0.08, Errors: 1},
		{Round: 1, Case: "failover/64", System: "etcd", Seconds: 1.4},
		loopRow(2, "redis", 80000, 10), loopRow(2, "etcd", 8000, 150), loopRow(2, "muster", 36000, 36),
	}
	const want = `| case | muster to | ops/s | nodes' CPU per op |
| --- | --- | --- | --- |
| put/64 | etcd | 4.25 (4.00 to 4.50) | 0.24 (0.24 to 0.25) |
| put/64 | redis | 0.47 (0.45 to 0.50) | 3.55 (3.50 to 3.60) |

| case | muster to | time |
| --- | --- | --- |
| failover/64 | etcd | 0.050 |

| case | system | median | all, in order, s | failed tries |
| --- | --- | --- | --- | --- |
| failover/64 | muster | 0.070 s | 0.060, 0.080 | 1 |
| failover/64 | etcd | 1.400 s | 1.400 | 0 |

| case | system | ops/s | p50 | p99 | nodes' CPU per op | client's CPU per op | others | errors |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| put/64 | muster | 38000 | 1.00 ms | 2.50 ms | 35.5 µs | 4.0 µs | 2 % | 0 |
| put/64 | etcd | 9000 | 1.00 ms | 2.50 ms | 145.0 µs | 4.0 µs | 2 % | 0 |
| put/64 | redis | 80000 | 1.00 ms | 2.50 ms | 10.0 µs | 4.0 µs | 2 % | 0 |

`
	var b strings.Builder
	if err := errors.Join(PrintRatios(&b, rows), PrintMedians(&b, rows)); err != nil || b.String() != want {
		t.Errorf("got (%v)\n%s\nwant\n%s", err, b.String(), want)
	}
}
