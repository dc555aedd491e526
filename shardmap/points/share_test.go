package points

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"

	"muster/repl/memtest"
	"muster/shardmap/points/column"
)

// always is a window that has all times.
var always = WindowOf(0, math.MaxInt64)

// shareOf returns the one share of some lines: key, time, fields.
func shareOf(t testing.TB, write func(b *Builder)) Share {
	t.Helper()
	b := NewBuilder()
	write(b)
	shares := Split(b.Batch(), Every(math.MaxInt64, 1))
	if len(shares) == 0 {
		t.Fatal("no points")
	}
	return shares[len(shares)-1]
}

// sampleShare has all kinds, shared times and others, and two measurements of which one begins like the other.
func sampleShare(t testing.TB) Share {
	return shareOf(t, func(b *Builder) {
		for i := range int64(3) {
			write(b, "cpu,host=b", 10*i, f("busy", FloatValue(0.5*float64(i))), f("count", IntegerValue(-7*i)))
			write(b, "cpu,host=a", 10*i, f("busy", FloatValue(1.25)), f("on", BooleanValue(i == 1)))
			write(b, "cpu", 7*i, f("text", StringValue(fmt.Sprint("x", i%2))))
		}
		write(b, "cpu,host=b", 31, f("count", IntegerValue(math.MinInt64)))
		write(b, "cpu+,host=b", 31, f("count", UnsignedValue(math.MaxUint64)))
	})
}

// A batch comes back whole from the bytes of its shares: each value, and the points as they were written. The order of
// series and fields leaves no trace in the bytes, and what was read makes the same bytes again. The reader is used again
// and again, as a node does, and after refusals.
func TestShareComesBack(t *testing.T) {
	var r ShareReader
	rapid.Check(t, func(t *rapid.T) {
		type line struct {
			key    string
			at     int64
			fields []Field
		}
		var lines []line
		b := NewBuilder()
		for range rapid.IntRange(1, 40).Draw(t, "points") {
			key, at, fields := modelPoint(t)
			if bad := write(b, key, at, fields...); bad.None() {
				lines = append(lines, line{key, at, fields})
			}
		}
		d := time.Duration(rapid.SampledFrom([]int64{1, 3, math.MaxInt64}).Draw(t, "d"))
		shares := Split(b.Batch(), Every(d, 2))
		for i := range shares {
			s := &shares[i]
			written := s.Append([]byte("before"))[len("before"):]
			if n := ShareValues(written); n != s.Batch.Values() {
				t.Fatalf("its bytes tell of %d values, it has %d", n, s.Batch.Values())
			}
			got, err := r.Read(written, s.Window)
			if err != nil {
				t.Fatal(err)
			}
			if all, want := cells(t, got), cells(t, &s.Batch); !maps.Equal(all, want) || got.Points() != s.Batch.Points() || got.SeriesLen() != s.Batch.SeriesLen() {
				t.Fatalf("got %v of %d points\nwant %v of %d", all, got.Points(), want, s.Batch.Points())
			}
			if again := (&Share{Batch: *got}).Append(nil); !bytes.Equal(again, written) {
				t.Fatalf("what was read makes other bytes:\n% x\n% x", again, written)
			}
		}
		// Points of other series and times may come in any order: here, the series backwards.
		slices.SortStableFunc(lines, func(a, b line) int { return -strings.Compare(a.key, b.key) })
		turned := NewBuilder()
		for _, l := range lines {
			slices.Reverse(l.fields)
			seen := map[string]bool{}
			l.fields = slices.DeleteFunc(l.fields, func(f Field) bool {
				defer func() { seen[f.Name] = true }()
				return seen[f.Name]
			})
			if bad := write(turned, l.key, l.at, l.fields...); !bad.None() {
				return // a conflict of kinds, which the order decides
			}
		}
		for i, s := range Split(turned.Batch(), Every(d, 2)) {
			if want := cells(t, &shares[i].Batch); maps.Equal(cells(t, &s.Batch), want) && !bytes.Equal(s.Append(nil), shares[i].Append(nil)) {
				t.Fatalf("another order of the series makes other bytes of %v", want)
			}
		}
	})
}

// The log keeps shares, and another build reads them: these bytes change with the version alone.
func TestShareOfVersion1(t *testing.T) {
	s := sampleShare(t)
	written := s.Append(nil)
	if got, want := fmt.Sprintf("%d %d %016x", ShareVersion, len(written), xxhash.Sum64(written)), "1 175 0f1107024dd5c52d"; got != want {
		t.Errorf("version, length and hash are %s, want %s: another version is due", got, want)
	}
}

// Times stand in the bytes once for all fields that have them, and in memory too.
func TestFieldsShareTimes(t *testing.T) {
	s := shareOf(t, func(b *Builder) {
		for i := range int64(100) {
			var fields []Field
			for n := range 12 {
				fields = append(fields, f(fmt.Sprint("f", n), IntegerValue(i)))
			}
			write(b, "m", i*i*i, fields...)
		}
		write(b, "m", 2, f("f3", IntegerValue(1)), f("f4", IntegerValue(1)))
	})
	got, err := new(ShareReader).Read(s.Append(nil), always)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.times) != 100+101 || got.Values() != 1202 {
		t.Errorf("%d times of %d values; want 201 of 1202", len(got.times), got.Values())
	}
}

// sealed gives bytes that may have been changed the checksum that is theirs.
func sealed(written []byte) []byte {
	end := len(written) - 8
	return binary.LittleEndian.AppendUint64(slices.Clone(written[:end]), xxhash.Sum64(written[:end]))
}

// Whichever byte is changed, and wherever the bytes are cut, they are refused, with an error of the right type. The
// checksum finds that; somebody who makes a right one must not get what a writer does not make either: then the bytes
// are refused or are another share.
func TestEveryByteOfAShare(t *testing.T) {
	s := sampleShare(t)
	written := s.Append(nil)
	var r ShareReader
	refused := func(b []byte, what string) {
		_, err := r.Read(b, s.Window)
		var damage *DamageError
		var version *VersionError
		if !errors.As(err, &damage) && !errors.As(err, &version) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	want := cells(t, &s.Batch)
	others := 0
	for i := range written {
		refused(written[:i], fmt.Sprintf("cut at %d", i))
		for change := 1; change < 256; change++ {
			changed := slices.Clone(written)
			changed[i] ^= byte(change)
			refused(changed, fmt.Sprintf("byte %d changed", i))
			if i >= len(written)-8 {
				continue
			}
			got, err := r.Read(sealed(changed), s.Window)
			if err != nil {
				continue
			}
			others++
			if got.Points() == s.Batch.Points() && maps.Equal(cells(t, got), want) {
				t.Errorf("byte %d changed by %#x is the same share", i, change)
			}
		}
		if i < len(written)-8 {
			if got, err := r.Read(sealed(slices.Delete(slices.Clone(written), i, i+1)), s.Window); err == nil && maps.Equal(cells(t, got), want) {
				t.Errorf("with byte %d left out it is the same share", i)
			}
		}
	}
	if others == 0 {
		t.Error("each change is refused even with a right checksum: then nothing shows that values are read")
	}
	refused(append(slices.Clone(written), 0), "a byte more")
}

// A share made with a right checksum, but not by Append, is refused with the reason.
func TestSharesThatNobodyWrites(t *testing.T) {
	name := func(s string) []byte { return appendName(nil, []byte(s)) }
	u := func(n ...uint64) (b []byte) {
		for _, n := range n {
			b = binary.AppendUvarint(b, n)
		}
		return b
	}
	whole := func(parts ...[]byte) []byte { return sealed(append(bytes.Join(parts, nil), make([]byte, 8)...)) }
	head := func(points, values, measurements uint64) []byte {
		return append([]byte{ShareVersion}, u(points, values, measurements)...)
	}
	fields := func(names ...string) (b []byte) {
		b = u(uint64(len(names)))
		for _, n := range names {
			b = append(append(append(b, 0), name(n)...), byte(column.Integer))
		}
		return b
	}
	one := bytes.Join([][]byte{u(1), u(1, 0)}, nil) // one shape of one column
	series := func(tags ...string) (b []byte) {
		b = u(uint64(len(tags)))
		for _, s := range tags {
			b = append(append(b, 0), name(s)...)
		}
		return b
	}
	unsigned := func(v ...uint64) []byte { return column.AppendUnsigned(nil, v) }
	times := func(v ...int64) []byte { return column.AppendIntegers(nil, v) }
	rest := bytes.Join([][]byte{unsigned(0), unsigned(1), times(5), times(7)}, nil)
	good := whole(head(1, 1, 1), name("m"), fields("v"), one, series(""), rest)
	var r ShareReader
	if _, err := r.Read(good, always); err != nil {
		t.Fatalf("the share from which the others are made: %v", err)
	}
	two := bytes.Join([][]byte{unsigned(0, 0), unsigned(1, 1), times(5, 5), times(7, 7)}, nil)
	for what, c := range map[string]struct {
		b    []byte
		want string
	}{
		"no points":           {whole(head(0, 1, 1), name("m"), fields("v"), one, series(""), rest), "number of points is 0"},
		"too many values":     {whole(head(1, ValuesMax+1, 1), name("m"), fields("v"), one, series(""), rest), "number of values is"},
		"a value more":        {whole(head(1, 2, 1), name("m"), fields("v"), one, series(""), rest), "1 values of which it tells are missing"},
		"no measurement":      {whole(head(1, 1, 0)), "number of measurements is 0"},
		"measurement twice":   {whole(head(2, 2, 2), name("m"), fields("v"), one, series(""), rest, name("m"), fields("v"), one, series(""), rest), `measurement "m" follows "m"`},
		"no field":            {whole(head(1, 1, 1), name("m"), fields(), one, series(""), rest), "number of fields is 0"},
		"field twice":         {whole(head(1, 1, 1), name("m"), fields("v", "v"), one, series(""), rest), "does not follow"},
		"field of no name":    {whole(head(1, 1, 1), name("m"), fields(""), one, series(""), rest), "missing field key"},
		"field of bad name":   {whole(head(1, 1, 1), name("m"), fields(`v\`), one, series(""), rest), "backslash"},
		"field of no kind":    {whole(head(1, 1, 1), name("m"), u(1, 0), name("v"), []byte{6}, one, series(""), rest), "kind 6"},
		"field of no series":  {whole(head(1, 1, 1), name("m"), fields("v", "w"), one, series(""), rest), "a field is in no shape"},
		"shape of no series":  {whole(head(1, 1, 1), name("m"), fields("v", "w"), u(2), u(1, 0), u(1, 9), series(""), rest), "a shape is that of no series"},
		"shapes in disorder":  {whole(head(1, 1, 1), name("m"), fields("v", "w"), u(2), u(1, 9), u(1, 0), series(""), rest), "shapes are not in order"},
		"list out of turn":    {whole(head(1, 1, 1), name("m"), fields("v"), u(1), u(1, 1), series(""), rest), "1 lists back of 0"},
		"list twice":          {whole(head(1, 2, 1), name("m"), fields("v", "w"), u(1), u(2, 0, 0), series(""), unsigned(0), unsigned(1, 1), times(5, 5), times(7), times(8)), "twice"},
		"series twice":        {whole(head(2, 2, 1), name("m"), fields("v"), one, series(",a=1", ",a=1"), two), "does not follow"},
		"series in disorder":  {whole(head(2, 2, 1), name("m"), fields("v"), one, series(",b=1", ",a=1"), two), "does not follow"},
		"sharing less":        {whole(head(2, 2, 1), name("m"), fields("v"), one, series(",a=1", ",a=2"), two), "does not follow"},
		"more series":         {whole(head(1, 2, 1), name("m"), fields("v"), one, series("", ",a=1"), two), "it tells of 1 points, and has 2 series"},
		"key of no tag":       {whole(head(1, 1, 1), name("m"), fields("v"), one, series(",a"), rest), "missing tag value"},
		"tags in disorder":    {whole(head(1, 1, 1), name("m"), fields("v"), one, series(",b=1,a=1"), rest), "none as it is written"},
		"other measurement":   {whole(head(1, 1, 1), name("m"), fields("v"), one, series("m"), rest), "none as it is written"},
		"comma in its name":   {whole(head(1, 1, 1), name("m,a=1"), fields("v"), one, series(""), rest), "none as it is written"},
		"no times":            {whole(head(1, 1, 1), name("m"), fields("v"), one, series(""), unsigned(0), unsigned(0), times(), times(7)), "list has 0 times"},
		"time twice":          {whole(head(2, 2, 1), name("m"), fields("v"), one, series(""), unsigned(0), unsigned(2), times(5, 5), times(7, 7)), "time 5 follows 5"},
		"time too early":      {whole(head(1, 1, 1), name("m"), fields("v"), one, series(""), unsigned(0), unsigned(1), times(TimeMin-1), times(7)), "not all in the window"},
		"other window":        {whole(head(1, 1, 1), name("m"), fields("v"), one, series(""), unsigned(0), unsigned(1), times(1000), times(7)), "not all in the window"},
		"values missing":      {whole(head(2, 2, 1), name("m"), fields("v"), one, series(""), unsigned(0), unsigned(2), times(5, 6), times(7)), "has 1, want 2"},
		"NaN":                 {whole(head(1, 1, 1), name("m"), u(1, 0), name("v"), []byte{byte(column.Float)}, one, series(""), unsigned(0), unsigned(1), times(5), column.AppendFloats(nil, []float64{math.NaN()})), "can't be stored"},
		"string of bad UTF-8": {whole(head(1, 1, 1), name("m"), u(1, 0), name("v"), []byte{byte(column.String)}, one, series(""), unsigned(0), unsigned(1), times(5), column.AppendStrings(nil, []string{"\xff"})), "no UTF-8"},
		"long string":         {whole(head(1, 1, 1), name("m"), u(1, 0), name("v"), []byte{byte(column.String)}, one, series(""), unsigned(0), unsigned(1), times(5), column.AppendStrings(nil, []string{strings.Repeat("x", StringMax+1)})), "longer than"},
		"a byte behind it":    {whole(head(1, 1, 1), name("m"), fields("v"), one, series(""), rest, u(0)), "1 bytes stand behind"},
		"another version":     {whole([]byte{ShareVersion + 1}, u(1, 1, 1)), "use a newer build"},
		"a long number":       {whole([]byte{ShareVersion, 0x81, 0}, u(1, 1), name("m"), fields("v"), one, series(""), rest), "more bytes than it needs"},
	} {
		w := Window{-10, 100}
		if what == "time too early" {
			w = always
		}
		if _, err := r.Read(c.b, w); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", what, err, c.want)
		}
	}
}

// readBound is how much memory reading some bytes may take, of which so many of text.
func readBound(b []byte, text int) int { return 256*ShareValues(b) + 64*len(b) + 4*text + 1<<16 }

// A share of few bytes can tell of many values and of long keys. Reading it takes no more memory than it told.
func TestMemoryOfASmallShare(t *testing.T) {
	for what, s := range map[string]Share{
		"constants": shareOf(t, func(b *Builder) {
			for i := range int64(50_000) {
				write(b, "m", i, f("v", IntegerValue(1)), f("w", FloatValue(1)), f("x", BooleanValue(true)))
			}
		}),
		"long keys": shareOf(t, func(b *Builder) {
			for i := range 200 {
				write(b, fmt.Sprintf("m,a=%s%03d", strings.Repeat("x", 60_000), i), 1, f("v", IntegerValue(1)))
			}
		}),
		"equal strings": shareOf(t, func(b *Builder) {
			for i := range int64(200) {
				write(b, "m", i, f("v", StringValue(strings.Repeat("x", 60_000))))
			}
		}),
	} {
		written := s.Append(nil)
		text := 0
		spent := memtest.Allocated(func() {
			var r ShareReader
			if _, err := r.Read(written, always); err != nil {
				t.Fatal(err)
			}
			text = len(r.batch.text)
		})
		t.Logf("%s: %d bytes, %d values, %d bytes of text: %d allocated", what, len(written), ShareValues(written), text, spent)
		if most := readBound(written, text); spent > most {
			t.Errorf("%s: %d bytes are allocated for %d, want at most %d", what, spent, len(written), most)
		}
	}
}

// No bytes make the reader panic, or allocate more than they told; what it takes makes the same columns again.
func FuzzShare(f *testing.F) {
	s := sampleShare(f)
	f.Add(s.Append(nil))
	for _, n := range []int{1, 20, 60} {
		f.Add(s.Append(nil)[:n])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 8 {
			b = sealed(b)
		}
		if ShareValues(b) > 1<<16 {
			return // what it tells of is spent; TestMemoryOfASmallShare is of that
		}
		text := 0
		var got *Batch
		spent := memtest.Allocated(func() {
			var r ShareReader
			got, _ = r.Read(b, always)
			text = len(r.batch.text)
		})
		if most := readBound(b, text); spent > most {
			t.Errorf("%d bytes are allocated for %d, want at most %d", spent, len(b), most)
		}
		if got == nil {
			return
		}
		again, err := new(ShareReader).Read((&Share{Batch: *got}).Append(nil), always)
		if err != nil || !maps.Equal(cells(t, again), cells(t, got)) || again.Points() != got.Points() {
			t.Errorf("what was read comes back as something else: %v", err)
		}
	})
}

// A share that is too large for one entry is taken apart: by series, by times, and by fields. Nothing is lost or
// doubled, and each point counts once.
func TestPiecesAreTheShare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBuilder()
		for range rapid.IntRange(1, 60).Draw(t, "points") {
			key, at, fields := modelPoint(t)
			write(b, key, at, fields...)
		}
		if b.Len() == 0 {
			return
		}
		most := rapid.SampledFrom([]int{1, 60, 90, 200, 1 << 20}).Draw(t, "most")
		few := rapid.SampledFrom([]int{1, 5, 1 << 20}).Draw(t, "few")
		for _, s := range Split(b.Batch(), Every(3, 2)) {
			var r ShareReader
			all, total, values := map[cell]Value{}, 0, 0
			for p := range s.Pieces(most, few) {
				got, err := r.Read(p.Bytes, s.Window)
				if err != nil {
					t.Fatal(err)
				}
				if len(p.Bytes) > most && got.Values() > 1 || p.Values != got.Values() || p.Values > few || p.Points < 0 {
					t.Fatalf("a piece of %d bytes with %d values, it tells of %d and of %d points; want at most %d bytes", len(p.Bytes), got.Values(), p.Values, p.Points, most)
				}
				maps.Copy(all, cells(t, got))
				total, values = total+p.Points, values+p.Values
			}
			if want := cells(t, &s.Batch); !maps.Equal(all, want) || total != s.Batch.Points() || values != s.Batch.Values() {
				t.Fatalf("the pieces have %v of %d points, %d values\nwant %v of %d, %d", all, total, values, want, s.Batch.Points(), s.Batch.Values())
			}
		}
	})
}

// A caller that wants no more pieces gets none.
func TestPiecesStop(t *testing.T) {
	s := shareOf(t, func(b *Builder) {
		for i := range int64(100) {
			write(b, fmt.Sprint("m", i), i, f("v", IntegerValue(i)))
		}
	})
	n := 0
	for range s.Pieces(100, 100) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d pieces, want 3", n)
	}
}
