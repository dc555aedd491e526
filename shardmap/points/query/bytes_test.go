package query_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"muster/repl/memtest"
	"muster/shardmap/points/column"
	"muster/shardmap/points/query"
	"muster/shardmap/points/query/querytest"
)

// travelling is a query that asks for every kind of item, with its answer from one shard.
func travelling(t testing.TB) (*query.Request, *query.Answer, query.Outline) {
	t.Helper()
	s := shards(t, data, 1e18, 1)[0]
	var request query.Request
	for _, text := range []string{
		`SELECT max(v), s, host, u FROM cpu WHERE "on" != false OR host = 'b' GROUP BY time(10s), region tz('Europe/Berlin')`,
		`SELECT count(v), mean(n), spread(u), first(s), last("on"), sum(v), min(v), median(v) FROM cpu, mem GROUP BY host`,
		`SELECT * FROM cpu, mem ORDER BY time DESC LIMIT 4`,
	} {
		plan, err := querytest.Plan(text, 30*second, []query.Shard{s}, querytest.Budget())
		if err != nil {
			t.Fatal(err)
		}
		request.Measurements = plan.Request.Measurements
		request.Items = append(request.Items, plan.Request.Items...)
		if plan.Request.Windows.Every > 0 {
			request.Windows, request.Condition = plan.Request.Windows, plan.Request.Condition
		}
	}
	request.Dimensions = []string{"host", "region"}
	answer, err := query.Scan(s, &request, querytest.Budget())
	if err != nil {
		t.Fatal(err)
	}
	outline, err := query.Describe(s, query.Sources{Expressions: []string{"."}}, querytest.Budget())
	if err != nil {
		t.Fatal(err)
	}
	return &request, answer, outline
}

// Bytes that one node writes must read on another as they were.
func TestBytesComeBack(t *testing.T) {
	request, answer, outline := travelling(t)
	gotRequest, err := query.ReadRequest(request.Append(nil))
	if err != nil || !reflect.DeepEqual(gotRequest, request) {
		t.Errorf("request: %v, got\n%+v, want\n%+v", err, gotRequest, request)
	}
	b := answer.Append(nil, request)
	gotAnswer, err := query.ReadAnswer(b, request, 1<<20)
	if err != nil || !bytes.Equal(gotAnswer.Append(nil, request), b) {
		t.Errorf("answer: %v, got\n%+v, want\n%+v", err, gotAnswer, answer)
	}
	gotOutline, err := query.ReadOutline(outline.Append(nil), 1<<20)
	if err != nil || !reflect.DeepEqual(gotOutline, outline) {
		t.Errorf("outline: %v, got\n%+v, want\n%+v", err, gotOutline, outline)
	}
}

// A cut or a change of a byte is refused, or reads as something else that is whole; nothing may panic or stay unread.
func TestDamagedBytes(t *testing.T) {
	request, answer, outline := travelling(t)
	for what, b := range map[string][]byte{"request": request.Append(nil), "answer": answer.Append(nil, request), "outline": outline.Append(nil)} {
		read := func(b []byte) error {
			switch what {
			case "request":
				_, err := query.ReadRequest(b)
				return err
			case "answer":
				_, err := query.ReadAnswer(b, request, 1<<20)
				return err
			}
			_, err := query.ReadOutline(b, 1<<20)
			return err
		}
		for i := range b {
			if read(b[:i]) == nil {
				t.Errorf("%s: cut after byte %d: read", what, i)
			}
			for _, bit := range []byte{1, 0x10, 0x80} {
				c := bytes.Clone(b)
				c[i] ^= bit
				var damage *query.DamageError
				var limit *query.LimitError // a count can be so large by its change that nothing is read of it
				if err := read(c); err != nil && !errors.As(err, &damage) && !errors.As(err, &limit) {
					t.Errorf("%s: byte %d changed: %v", what, i, err)
				}
			}
		}
		if read(append(bytes.Clone(b), 0)) == nil {
			t.Errorf("%s: a byte behind it: read", what)
		}
	}
	var limit *query.LimitError
	if _, err := query.ReadRequest(make([]byte, query.RequestMax+1)); !errors.As(err, &limit) {
		t.Errorf("a long request: %v", err)
	}
	// An answer that needs more memory than it may take is refused before it has it.
	// The fault is the query's, and not the bytes'.
	for what, read := range map[string]func() error{
		"answer": func() error { _, err := query.ReadAnswer(answer.Append(nil, request), request, 4096); return err },
		"answer, of a budget": func() error {
			_, err := (&query.Budget{Memory: 4096}).ReadAnswer(answer.Append(nil, request), request)
			return err
		},
		"outline": func() error { _, err := query.ReadOutline(outline.Append(nil), 64); return err },
		"outline, of a budget": func() error {
			return (&query.Budget{Memory: 64}).AddOutline(new(query.Outline), outline.Append(nil))
		},
	} {
		if err := read(); !errors.As(err, &limit) || limit.Remedy == "" {
			t.Errorf("an %s that needs more memory than there is: %v, want a limit with a remedy", what, err)
		}
	}
}

// A stranger's bytes must not cost more than their length, or the memory that was given, and what is read must be written
// again as it was, so that it has one form.
func FuzzReadRequest(f *testing.F) {
	request, _, _ := travelling(f)
	f.Add(request.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r *query.Request
		var err error
		if n := memtest.Allocated(func() { r, err = query.ReadRequest(b) }); n > 1<<20+256*len(b) {
			t.Errorf("%d bytes were allocated for %d", n, len(b))
		}
		if err == nil && !bytes.Equal(r.Append(nil), b) {
			t.Errorf("%x was read, and written as %x", b, r.Append(nil))
		}
		if err == nil {
			// A shard must end any request within its budget.
			s := shards(t, data, 1e18, 1)[0]
			_, _ = query.Scan(s, r, &query.Budget{Memory: 1 << 20, Series: 100, Rows: 100})
		}
	})
}

func FuzzReadAnswer(f *testing.F) {
	request, answer, _ := travelling(f)
	f.Add(answer.Append(nil, request))
	f.Fuzz(func(t *testing.T, b []byte) {
		var err error
		if n := memtest.Allocated(func() { _, err = query.ReadAnswer(b, request, 1<<20) }); n > 8<<20+256*len(b) {
			t.Errorf("%d bytes were allocated for %d (%v)", n, len(b), err)
		}
	})
}

func FuzzReadOutline(f *testing.F) {
	_, _, outline := travelling(f)
	f.Add(outline.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		var o query.Outline
		var err error
		if n := memtest.Allocated(func() { o, err = query.ReadOutline(b, math.MaxInt64/2) }); n > 1<<20+256*len(b) {
			t.Errorf("%d bytes were allocated for %d", n, len(b))
		}
		if err == nil && !bytes.Equal(o.Append(nil), b) {
			t.Errorf("%x was read, and written as %x", b, o.Append(nil))
		}
	})
}

// Outlines of many shards are merged within one budget: what they have in common is spent once, what is more ends the query by name.
func TestOutlinesWithinBudget(t *testing.T) {
	outline := func(i int) []byte {
		o := query.Outline{Measurements: []query.MeasurementOutline{{Name: "m", Fields: []query.Field{{Name: "v", Kind: column.Float}}, Tags: []string{fmt.Sprintf("tag%04d", i)}}}}
		return o.Append(nil)
	}
	b := &query.Budget{Memory: 1000}
	var all query.Outline
	for range 100 {
		if err := b.AddOutline(&all, outline(0)); err != nil {
			t.Fatal(err)
		}
	}
	if want := int64(1000 - 65 - 33 - 23); b.Memory != want {
		t.Errorf("the same outline a hundred times leaves %d bytes, want %d", b.Memory, want)
	}
	var err error
	n := 1
	for ; err == nil && n < 1000; n++ {
		err = b.AddOutline(&all, outline(n))
	}
	var limit *query.LimitError
	if !errors.As(err, &limit) || !strings.Contains(err.Error(), "more bytes of memory") || len(all.Measurements[0].Tags) > 1000/23 {
		t.Errorf("after %d outlines with a tag of their own: %v, %d tags", n, err, len(all.Measurements[0].Tags))
	}
	var damaged *query.DamageError
	if err := (&query.Budget{Memory: 1000}).AddOutline(&all, outline(0)[:5]); !errors.As(err, &damaged) {
		t.Errorf("an outline that is cut off: %v", err)
	}
}
