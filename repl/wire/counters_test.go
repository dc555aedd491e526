package wire

import (
	"slices"
	"testing"
	"time"
)

// The code of a refusal is found in its bytes without reading the rest: a flood of refusals must not cost more for being counted.
func TestCodeOfRefusal(t *testing.T) {
	for code := Code(1); code < codeEnd; code++ {
		for _, e := range []*Error{{Code: code}, {Code: code, Text: "no", Next: "ask another", Group: 7, Number: 9}} {
			if got := CodeIn(e.Append(nil)); got != code {
				t.Errorf("in %+v: %s", e, got)
			}
		}
	}
	for _, body := range [][]byte{nil, {}, {0x99}, {0x99, 0xcd, 1, 2}, {0xc0, 1}, []byte("no error at all")} {
		if got := CodeIn(body); got != 0 {
			t.Errorf("in % x: %s, want 0", body, got)
		}
	}
}

func TestCountersOfRefusals(t *testing.T) {
	var c Counters
	c.Refused(TypeWrite, CodeBusy, 3)
	c.Refused(TypeWrite, CodeBusy, 1)
	c.Refused(TypeGet, codeEnd+5, 1)
	c.Refused(typeEnd+5, CodeBadRequest, 1)
	type row struct {
		t    Type
		code Code
		n    uint64
	}
	var got []row
	c.EachRefused(func(t Type, code Code, n uint64) { got = append(got, row{t, code, n}) })
	if want := []row{{0, CodeBadRequest, 1}, {TypeWrite, CodeBusy, 4}, {TypeGet, 0, 1}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Latencies that are written into rows are found there again, whatever stands beside them.
func TestLatencyRows(t *testing.T) {
	var rows []CounterRow
	want := map[string]Latency{
		LatencyWrites: {Count: 7, P50: 3 * time.Millisecond, P99: 70 * time.Millisecond}, LatencyReads: {}, LatencySyncs: {Count: 1, P50: 46 * time.Microsecond, P99: 46 * time.Microsecond},
	}
	for name, l := range want {
		rows = append(append(rows, CounterRow{Name: "Write", In: 5, Out: 6}), l.Rows(name)...)
	}
	for name, l := range want {
		if got := LatencyIn(rows, name); got != l {
			t.Errorf("%s: got %+v, want %+v", name, got, l)
		}
	}
}
