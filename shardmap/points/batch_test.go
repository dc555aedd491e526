package points

import (
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"muster/shardmap/points/column"
)

// write hands a point to a builder as a caller does, and takes it back if it is refused.
func write(b *Builder, key string, at int64, fields ...Field) Error {
	bad := func() Error {
		if bad := b.Begin([]byte(key)); !bad.None() {
			return bad
		}
		for _, f := range fields {
			n, name := b.Expected()
			if name == nil || string(name) != f.Name {
				var bad Error
				if n, bad = b.Field([]byte(f.Name)); !bad.None() {
					return bad
				}
			}
			if bad := put(b, n, f.Value); !bad.None() {
				return bad
			}
		}
		return b.Commit(at)
	}()
	if !bad.None() {
		b.Rollback()
	}
	return bad
}

func put(b *Builder, n uint32, v Value) Error {
	switch v.Kind {
	case column.Float:
		return b.Float(n, v.Float())
	case column.Integer:
		return b.Integer(n, v.Integer())
	case column.Unsigned:
		return b.Unsigned(n, v.Unsigned())
	case column.String:
		return b.String(n, []byte(v.Text()))
	}
	return b.Boolean(n, v.Boolean())
}

// cell is one value of a batch, by all that it is found by.
type cell struct {
	key, field string
	time       int64
}

// cells returns what is in a batch, and checks what each batch promises.
func cells(t interface{ Fatalf(string, ...any) }, b *Batch) map[cell]Value {
	all := map[cell]Value{}
	for s := range b.Series() {
		for c := range s.Columns() {
			for i, at := range c.Times {
				if i > 0 && at <= c.Times[i-1] {
					t.Fatalf("times of %s %s: %d after %d", s.Key(), c.Name, at, c.Times[i-1])
				}
				k := cell{string(s.Key()), string(c.Name), at}
				if _, ok := all[k]; ok {
					t.Fatalf("%v comes twice", k)
				}
				all[k] = c.Value(i)
			}
		}
	}
	if b.Values() != len(all) {
		t.Fatalf("a batch has %d values, and says %d", len(all), b.Values())
	}
	return all
}

func f(name string, v Value) Field { return Field{name, v} }

// The columns as they are read, of each kind: what one write brings, told by one example.
func TestBatchColumns(t *testing.T) {
	b := NewBuilder()
	for _, p := range []struct {
		key    string
		at     int64
		fields []Field
	}{
		{"cpu,host=a", 20, []Field{f("v", FloatValue(1.5)), f("n", IntegerValue(-1)), f("s", StringValue("x\ny"))}},
		{"cpu,region=eu,host=b", 20, []Field{f("u", UnsignedValue(math.MaxUint64)), f("ok", BooleanValue(true))}},
		{"cpu,host=a", 10, []Field{f("v", FloatValue(math.Copysign(0, -1))), f("s", StringValue(""))}},
		{"cpu,host=a", 20, []Field{f("n", IntegerValue(7))}}, // wins, and leaves the others
		{"cpu,host=b,region=eu", 30, []Field{f("ok", BooleanValue(false))}},
	} {
		if bad := write(b, p.key, p.at, p.fields...); !bad.None() {
			t.Fatal(bad)
		}
	}
	batch := b.Batch()
	var got []string
	for s := range batch.Series() {
		for c := range s.Columns() {
			var values any
			switch c.Kind {
			case column.Float:
				values = c.AppendFloats(nil)
			case column.Integer:
				values = c.AppendIntegers(nil)
			case column.Unsigned:
				values = c.AppendUnsigned(nil)
			case column.String:
				values = c.AppendStrings(nil)
			case column.Boolean:
				values = c.AppendBooleans(nil)
			}
			got = append(got, fmt.Sprintf("%s %s %s %v %v", s.Key(), c.Name, c.Kind, c.Times, values))
		}
	}
	want := []string{
		"cpu,host=a v float [10 20] [-0 1.5]",
		"cpu,host=a n integer [20] [7]",
		"cpu,host=a s string [10 20] [ x\ny]",
		"cpu,host=b,region=eu u unsigned [20] [18446744073709551615]",
		"cpu,host=b,region=eu ok boolean [20 30] [true false]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if batch.Points() != 5 || batch.SeriesLen() != 2 {
		t.Errorf("%d points of %d series", batch.Points(), batch.SeriesLen())
	}
}

// A column of one kind read as another would give numbers that nobody wrote.
func TestColumnOfAnotherKind(t *testing.T) {
	b := NewBuilder()
	write(b, "m", 1, f("v", FloatValue(1)))
	for s := range b.Batch().Series() {
		for c := range s.Columns() {
			for name, read := range map[string]func(){
				"integer": func() { c.AppendIntegers(nil) }, "unsigned": func() { c.AppendUnsigned(nil) },
				"string": func() { c.AppendStrings(nil) }, "boolean": func() { c.AppendBooleans(nil) },
			} {
				func() {
					defer func() {
						if recover() == nil {
							t.Errorf("a float is read as %s", name)
						}
					}()
					read()
				}()
			}
		}
	}
}

// The error of a refused point names the field, and nothing of the point stays: neither its values, nor its series, nor
// the kind of a field that it was the first to have.
func TestRefusedPointsLeaveNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		key    string
		at     int64
		fields []Field
		want   Error
	}{
		{"conflict", "m,new=1", 1, []Field{f("x", IntegerValue(1)), f("v", IntegerValue(1))}, Error{FieldTypeConflict, "v", column.Integer, column.Float}},
		{"conflict in itself", "m", 1, []Field{f("x", IntegerValue(1)), f("x", StringValue("1"))}, Error{FieldTypeConflict, "x", column.String, column.Integer}},
		{"no fields", "other", 1, nil, Error{Reason: MissingFields}},
		{"too early", "m,new=1", TimeMin - 1, []Field{f("x", IntegerValue(1))}, Error{Reason: TimeOutOfRange}},
		{"too late", "m,new=1", TimeMax + 1, []Field{f("x", IntegerValue(1))}, Error{Reason: TimeOutOfRange}},
		{"NaN", "m", 1, []Field{f("x", IntegerValue(1)), f("y", FloatValue(math.NaN()))}, Error{Reason: InvalidNumber, Name: "y"}},
		{"Inf", "m", 1, []Field{f("y", FloatValue(math.Inf(-1)))}, Error{Reason: InvalidNumber, Name: "y"}},
		{"key", "m,a=1,a=2", 1, []Field{f("x", IntegerValue(1))}, Error{Reason: DuplicateTag, Name: "a"}},
		{"no name", "m", 1, []Field{f("x", IntegerValue(1)), f("", IntegerValue(1))}, Error{Reason: MissingFieldKey}},
		{"long name", "m", 1, []Field{f(strings.Repeat("n", NameMax+1), IntegerValue(1))}, Error{Reason: FieldNameTooLong, Name: strings.Repeat("n", nameShown)}},
		{"bad name", "m", 1, []Field{f("\x01", IntegerValue(1))}, Error{Reason: InvalidName, Name: "\x01"}},
		{"backslash", "m", 1, []Field{f(`n\`, IntegerValue(1))}, Error{Reason: TrailingBackslash, Name: `n\`}},
	} {
		b := NewBuilder()
		write(b, "m", 5, f("v", FloatValue(1)))
		if got := write(b, c.key, c.at, c.fields...); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		// x was to be an integer, and now is a string, in the series that was refused.
		if bad := write(b, "m,new=1", 6, f("x", StringValue("s"))); !bad.None() {
			t.Errorf("%s: then %v", c.name, bad)
		}
		want := map[cell]Value{{"m", "v", 5}: FloatValue(1), {"m,new=1", "x", 6}: StringValue("s")}
		if got := cells(t, b.Batch()); !maps.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", c.name, got, want)
		}
	}
}

// At its limits a builder refuses, and keeps what it has.
func TestBuilderFull(t *testing.T) {
	b := NewBuilder()
	for i := range int64(PointsMax) {
		if bad := write(b, "m", i, f("v", FloatValue(1))); !bad.None() {
			t.Fatal(i, bad)
		}
	}
	if bad := write(b, "m", -1, f("v", FloatValue(1))); bad.Reason != BatchFull {
		t.Errorf("point %d: got %v, want %v", PointsMax+1, bad, BatchFull)
	}
	if got := b.Batch().Values(); got != PointsMax {
		t.Errorf("%d values, want %d", got, PointsMax)
	}
	b.Reset()
	long := strings.Repeat("s", StringMax)
	for i := range int64(TextMax/StringMax - 1) {
		if bad := write(b, "m", i, f("v", StringValue(long))); !bad.None() {
			t.Fatal(i, bad)
		}
	}
	if bad := write(b, "m", -1, f("v", StringValue(long))); bad.Reason != BatchFull {
		t.Errorf("texts of %d bytes: got %v, want %v", TextMax, bad, BatchFull)
	}
}

// modelPoint draws points that meet: few series, fields and times.
func modelPoint(t *rapid.T) (key string, at int64, fields []Field) {
	key = rapid.SampledFrom([]string{"m", "m,a=1", "m,a=1,b=2", "m,b=2,a=1", "n,a=1", `n\,a=1`}).Draw(t, "key")
	at = rapid.OneOf(rapid.Int64Range(-3, 3), rapid.Int64Range(TimeMin, TimeMax), rapid.SampledFrom([]int64{TimeMin, TimeMax, TimeMax + 1})).Draw(t, "at")
	for range rapid.IntRange(0, 4).Draw(t, "fields") {
		name := rapid.SampledFrom([]string{"u", "v", "w", `x\ y`, ""}).Draw(t, "field")
		n := rapid.IntRange(0, 9).Draw(t, "value")
		v := FloatValue(float64(n))
		switch rapid.IntRange(0, 15).Draw(t, "kind") {
		case 0:
			v = IntegerValue(int64(n))
		case 1:
			v = StringValue(strings.Repeat("s", n))
		case 2:
			v = BooleanValue(n > 4)
		case 3:
			v = UnsignedValue(uint64(n))
		}
		fields = append(fields, f(name, v))
	}
	return key, at, fields
}

// model is what points come to, kept the slow and obvious way.
type model struct {
	kinds map[string]column.Kind // by measurement and field
	cells map[cell]Value
	lines []cell // series and time of each point that was kept
}

// write reports whether the point is kept.
func (m *model) write(t *rapid.T, key string, at int64, fields []Field) bool {
	s, err := ParseKey([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	written, err := s.AppendKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	kinds := maps.Clone(m.kinds)
	for _, x := range fields {
		of := s.Measurement + " " + x.Name
		if kinds[of] != 0 && kinds[of] != x.Value.Kind || x.Name == "" {
			return false
		}
		kinds[of] = x.Value.Kind
	}
	if len(fields) == 0 || at < TimeMin || at > TimeMax {
		return false
	}
	m.kinds = kinds
	for _, x := range fields {
		m.cells[cell{string(written), x.Name, at}] = x.Value
	}
	m.lines = append(m.lines, cell{key: string(written), time: at})
	return true
}

// A builder packs points, counts instead of comparing, and takes back what is refused; a split cuts columns by
// searching. Held against a map: each value is there once, the last write of a point wins, each share has
// what belongs there, and the counts add up. The builder is used again, as a node does.
func TestBatchAndSplitAgainstMap(t *testing.T) {
	b := NewBuilder()
	rapid.Check(t, func(t *rapid.T) {
		b.Reset()
		m := model{kinds: map[string]column.Kind{}, cells: map[cell]Value{}}
		for range rapid.IntRange(0, 30).Draw(t, "points") {
			key, at, fields := modelPoint(t)
			want := m.write(t, key, at, fields)
			if bad := write(b, key, at, fields...); bad.None() != want {
				t.Fatalf("%s %v %d: got %v, want it kept: %t", key, fields, at, bad, want)
			}
		}
		batch := b.Batch()
		if got := cells(t, batch); !maps.Equal(got, m.cells) {
			t.Fatalf("got %v\nwant %v", got, m.cells)
		}
		if batch.Points() != len(m.lines) {
			t.Fatalf("%d points, want %d", batch.Points(), len(m.lines))
		}
		d := time.Duration(rapid.OneOf(rapid.Int64Range(1, 4), rapid.Just(int64(time.Hour)), rapid.Just(int64(math.MaxInt64))).Draw(t, "d"))
		shards := rapid.Uint32Range(1, 5).Draw(t, "shards")
		checkShares(t, Split(batch, Every(d, shards)), m, Every(d, shards))
		placed := uneven(t, d)
		checkShares(t, Split(batch, placed), m, placed)
	})
}

// uneven draws windows of a policy whose windows were once shorter, of which one was cut off, and which has none
// for some times: those in which nobody takes points.
func uneven(t *rapid.T, d time.Duration) Placing {
	from := rapid.Int64Range(-5, 5).Draw(t, "from when on windows are longer")
	old, long := rapid.Uint32Range(0, 3).Draw(t, "shards of short windows"), rapid.Uint32Range(0, 3).Draw(t, "shards of long windows")
	return func(at int64) (Window, uint32) {
		if at < from {
			w := WindowOf(at, 2)
			w.Last = min(w.Last, from-1)
			return w, old
		}
		w := WindowOf(at, d)
		w.First = max(w.First, from)
		return w, long
	}
}

// checkShares holds shares against what was written.
func checkShares(t *rapid.T, shares []Share, m model, at Placing) {
	type place struct {
		w Window
		s Shard
	}
	placeOf := func(c cell) (place, uint32) {
		w, shards := at(c.time)
		if shards == 0 {
			return place{w, 0}, 0
		}
		return place{w, HashOf([]byte(c.key)).Shard(shards)}, shards
	}
	lines := map[place]int{}
	for _, l := range m.lines {
		p, _ := placeOf(l)
		lines[p]++
	}
	all := map[cell]Value{}
	for i, p := range shares {
		if i > 0 {
			before := shares[i-1]
			if p.Window.First < before.Window.First || p.Window == before.Window && p.Shard <= before.Shard {
				t.Fatalf("share %d, %v of shard %d, comes after %v of shard %d", i, p.Window, p.Shard, before.Window, before.Shard)
			}
		}
		for c, v := range cells(t, &p.Batch) {
			if want, shards := placeOf(c); !p.Window.Contains(c.time) || want != (place{p.Window, p.Shard}) || p.Shards != shards {
				t.Fatalf("%v is in %v of shard %d", c, p.Window, p.Shard)
			}
			if _, ok := all[c]; ok {
				t.Fatalf("%v is in two shares", c)
			}
			all[c] = v
		}
		if want := lines[place{p.Window, p.Shard}]; p.Batch.Points() != want || want == 0 {
			t.Fatalf("%v of shard %d has %d points, want %d", p.Window, p.Shard, p.Batch.Points(), want)
		}
		delete(lines, place{p.Window, p.Shard})
	}
	if len(lines) > 0 {
		t.Fatalf("no share has %v", lines)
	}
	if !maps.Equal(all, m.cells) {
		t.Fatalf("the shares have %v\nwant %v", all, m.cells)
	}
}

// A batch and its shares depend on the points and their order alone, and not on the seed of a table or on
// what a builder had before.
func TestBatchIsDeterministic(t *testing.T) {
	build := func(b *Builder) []string {
		for i := range int64(200) {
			write(b, fmt.Sprintf("m,host=%d", i%17), i*i%31, f(fmt.Sprint("v", i%5), FloatValue(float64(i))), f("w", IntegerValue(i)))
		}
		var shown []string
		for _, p := range Split(b.Batch(), Every(10, 3)) {
			for s := range p.Batch.Series() {
				for c := range s.Columns() {
					shown = append(shown, fmt.Sprint(p.Window, p.Shard, string(s.Key()), string(c.Name), c.Kind, c.Times, c.bits))
				}
			}
		}
		return shown
	}
	used := NewBuilder()
	for i := range 300 {
		write(used, fmt.Sprint("other", i), 1, f("w", StringValue("x")))
	}
	used.Reset()
	if a, b := build(NewBuilder()), build(used); !reflect.DeepEqual(a, b) || len(a) == 0 {
		t.Errorf("got\n%v\nand then\n%v", a, b)
	}
}

// Series stand in a share as they do in the whole, however many there are: sorting by shard must not mix them.
func TestSharesKeepTheOrder(t *testing.T) {
	b := NewBuilder()
	for i := range int64(500) {
		write(b, fmt.Sprint("m", i*7919%500), i%3, f("w", IntegerValue(i)), f("v", IntegerValue(i)))
	}
	batch := b.Batch()
	var want []string
	for s := range batch.Series() {
		want = append(want, string(s.Key()))
	}
	const shards = 3
	for _, p := range Split(batch, Every(10, shards)) {
		var got, here []string
		for s := range p.Batch.Series() {
			got = append(got, string(s.Key()))
			var names []string
			for c := range s.Columns() {
				names = append(names, string(c.Name))
			}
			if !slices.Equal(names, []string{"w", "v"}) {
				t.Errorf("fields of %s: %v", s.Key(), names)
			}
		}
		for _, key := range want {
			if HashOf([]byte(key)).Shard(shards) == p.Shard {
				here = append(here, key)
			}
		}
		if !slices.Equal(got, here) || len(got) < 100 {
			t.Errorf("shard %d has %v\nwant %v", p.Shard, got, here)
		}
	}
}

// Many points in the wrong order are sorted, not put in place one by one: a history that is written
// backwards must not take the square of its length.
func TestBackwards(t *testing.T) {
	const points = 200_000
	b := NewBuilder()
	for i := range int64(points) {
		write(b, "m", points-i, f("v", IntegerValue(i)))
	}
	for s := range b.Batch().Series() {
		for c := range s.Columns() {
			if c.Len() != points || c.Times[0] != 1 || c.Value(0).Integer() != points-1 {
				t.Errorf("%d values, the first %d at %d", c.Len(), c.Value(0).Integer(), c.Times[0])
			}
		}
	}
}
