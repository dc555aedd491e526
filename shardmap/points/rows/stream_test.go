package rows

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"muster/repl/memtest"
	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// An answer of a million rows passes through; what a writer holds is bounded by the chunk, however long the answer.
func TestLongAnswersPassThrough(t *testing.T) {
	const rowsMax = 1_000_000
	values := make([]points.Value, 0, 2*ChunkRows)
	for n := range int64(ChunkRows) {
		values = append(values, i(n*1e9), f(float64(n)/7))
	}
	part := cpu(values...)
	part.Partial = true
	for name, make := range map[string]func(io.Writer) writer{"json": compact(RFC3339), "chunked": chunked, "csv": commas(RFC3339)} {
		w := make(io.Discard)
		write := func() {
			if err := w.Write(Result{Series: []Series{part}, Partial: true}); err != nil {
				t.Fatal(err)
			}
		}
		for range rowsMax / ChunkRows {
			write()
		}
		if n := cap(gathered(w).buf); n > 4*flushAt {
			t.Errorf("%s: %d bytes of text are held after %d rows, want at most %d", name, n, rowsMax, 4*flushAt)
		}
		if name == "csv" {
			continue // encoding/csv takes strings
		}
		if n := memtest.Allocated(write); n > 256<<10 {
			t.Errorf("%s: %d bytes are allocated for %d rows, want none that grow with them", name, n, ChunkRows)
		}
	}
}

// gathered returns the text that a writer holds.
func gathered(w writer) *text {
	switch w := w.(type) {
	case *JSON:
		return &w.text
	case *ChunkedJSON:
		return &w.text
	}
	return &w.(*CSV).text
}

// full takes so many bytes and then no more.
type full struct{ room int }

var errFull = errors.New("connection reset")

func (w *full) Write(b []byte) (int, error) {
	if w.room -= len(b); w.room < 0 {
		return 0, errFull
	}
	return len(b), nil
}

// A client that has gone must end the query: the error has to come up while rows are still being made, and stay.
func TestWriterFails(t *testing.T) {
	part := cpu(i(1), str(strings.Repeat("x", 1000)))
	part.Partial = true
	for name, make := range map[string]func(io.Writer) writer{"json": compact(RFC3339), "chunked": chunked, "csv": commas(RFC3339)} {
		w := make(&full{room: 100_000})
		var err error
		n := 0
		for ; err == nil && n < 1000; n++ {
			err = w.Write(Result{Series: []Series{part}, Partial: true})
		}
		if !errors.Is(err, errFull) || n > 200 {
			t.Errorf("%s: %v after %d rows", name, err, n)
		}
		if err := w.Close(); !errors.Is(err, errFull) {
			t.Errorf("%s: close: %v", name, err)
		}
	}
}

// A chunk of a client's own size can't take the memory of the node.
func TestChunksAreBounded(t *testing.T) {
	wide := Series{Name: "m", Values: make([]points.Value, 1000*1000)}
	for n := range 1000 {
		wide.Columns = append(wide.Columns, fmt.Sprint("c", n))
	}
	rows := 0
	c := NewChunks(0, math.MaxInt, func(r Result) error {
		for _, s := range r.Series {
			if len(s.Values) > ChunkValuesMax {
				t.Errorf("a chunk of %d values", len(s.Values))
			}
			rows += s.Len()
		}
		return nil
	})
	for range 3 {
		if err := c.Add(wide); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.End(nil, nil); err != nil || rows != 3000 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

// However an executor cuts its series, and whatever the size of the chunks, a client that puts the parts together has
// the same answer. It is that of encoding/json, which InfluxDB uses.
func TestCutsChangeNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := rapid.SliceOfN(rapid.Custom(drawSeries), 0, 4).Draw(t, "series")
		for n := range whole {
			whole[n].Name = fmt.Sprint(n, whole[n].Name)
		}
		var results []Result
		c := NewChunks(3, rapid.IntRange(1, 7).Draw(t, "rows"), func(r Result) error { results = append(results, r); return nil })
		for _, s := range whole {
			from := 0
			for from < s.Len() {
				to := rapid.IntRange(from+1, s.Len()).Draw(t, "to")
				part := s
				part.Values = s.Values[from*len(s.Columns) : to*len(s.Columns)]
				part.Partial = true
				if err := c.Add(part); err != nil {
					t.Fatal(err)
				}
				from = to
			}
			s.Values = nil
			if err := c.Add(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.End(nil, nil); err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(map[string]any{"results": []any{plain(Result{Statement: 3, Series: whole})}})
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		j := NewJSON(&got, Compact, Nanoseconds)
		for _, r := range results {
			if err := j.Write(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Close(); err != nil || got.String() != string(want)+"\n" {
			t.Fatalf("%v\ngot  %swant %s", err, &got, want)
		}
	})
}

func drawSeries(t *rapid.T) Series {
	s := Series{Name: rapid.StringN(0, 5, -1).Draw(t, "name"), Columns: []string{"time"}, Timed: true}
	for n := range rapid.IntRange(0, 2).Draw(t, "tags") {
		s.Tags = append(s.Tags, points.Tag{Name: fmt.Sprint("t", n), Value: rapid.String().Draw(t, "tag")})
	}
	for n := range rapid.IntRange(0, 3).Draw(t, "fields") {
		s.Columns = append(s.Columns, fmt.Sprint("f", n))
	}
	for range rapid.IntRange(0, 20).Draw(t, "rows") {
		s.Values = append(s.Values, i(rapid.Int64().Draw(t, "time")))
		for range s.Columns[1:] {
			s.Values = append(s.Values, rapid.OneOf(
				rapid.Just(null),
				rapid.Map(rapid.Float64(), f),
				rapid.Map(rapid.Int64(), i),
				rapid.Map(rapid.Uint64(), points.UnsignedValue),
				rapid.Map(rapid.Bool(), points.BooleanValue),
				rapid.Map(rapid.String(), str),
			).Draw(t, "value"))
		}
	}
	return s
}

// plain is a result as InfluxDB gives it to encoding/json.
func plain(r Result) any {
	type series struct {
		Name    string            `json:"name,omitempty"`
		Tags    map[string]string `json:"tags,omitempty"`
		Columns []string          `json:"columns,omitempty"`
		Values  [][]any           `json:"values,omitempty"`
		Partial bool              `json:"partial,omitempty"`
	}
	x := struct {
		Statement int      `json:"statement_id"`
		Series    []series `json:"series,omitempty"`
	}{Statement: r.Statement}
	for _, s := range r.Series {
		y := series{Name: s.Name, Columns: s.Columns, Tags: map[string]string{}, Partial: s.Partial}
		for _, tag := range s.Tags {
			y.Tags[tag.Name] = tag.Value
		}
		for n := range s.Len() {
			var row []any
			for _, v := range s.Row(n) {
				row = append(row, plainValue(v))
			}
			y.Values = append(y.Values, row)
		}
		x.Series = append(x.Series, y)
	}
	return x
}

func plainValue(v points.Value) any {
	switch v.Kind {
	case column.Float:
		return v.Float()
	case column.Integer:
		return v.Integer()
	case column.Unsigned:
		return v.Unsigned()
	case column.Boolean:
		return v.Boolean()
	case column.String:
		return v.Text()
	}
	return nil
}

func BenchmarkJSON(b *testing.B) {
	values := slices.Repeat([]points.Value{i(at), f(12.34)}, ChunkRows)
	part := cpu(values...)
	part.Partial = true
	j := NewJSON(io.Discard, Compact, RFC3339)
	for b.Loop() {
		j.Write(Result{Series: []Series{part}, Partial: true})
	}
	b.ReportMetric(float64(b.N)*ChunkRows/b.Elapsed().Seconds(), "rows/s")
}
