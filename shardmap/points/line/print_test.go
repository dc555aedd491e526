package line

import (
	"bytes"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"muster/shardmap/points"
)

func TestAppend(t *testing.T) {
	series := points.Series{Measurement: "m", Tags: []points.Tag{{Name: "b", Value: "x y"}, {Name: "a", Value: "1"}}}
	got, err := Append([]byte("# "), points.Point{Series: series, Time: -5, Fields: []points.Field{
		{Name: "f", Value: points.FloatValue(1.5)}, {Name: "big", Value: points.FloatValue(1e100)}, {Name: "i", Value: points.IntegerValue(math.MinInt64)},
		{Name: "u", Value: points.UnsignedValue(math.MaxUint64)}, {Name: "s s", Value: points.StringValue("a\"b\\c\nd")}, {Name: "t", Value: points.BooleanValue(true)},
	}})
	const want = `# m,a=1,b=x\ y f=1.5,big=1e+100,i=-9223372036854775808i,u=18446744073709551615u,s\ s="a\"b\\c` + "\n" + `d",t=true -5`
	if string(got) != want || err != nil {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	one := []points.Field{{Name: "v", Value: points.IntegerValue(1)}}
	field := func(name string, v points.Value) []points.Field { return []points.Field{{Name: name, Value: v}} }
	for _, c := range []struct {
		point points.Point
		want  points.Reason
	}{
		{points.Point{Fields: one}, points.MissingMeasurement},
		{points.Point{Series: series}, points.MissingFields},
		{points.Point{Series: series, Fields: field("", points.IntegerValue(1))}, points.MissingFieldKey},
		{points.Point{Series: series, Fields: field(`v\`, points.IntegerValue(1))}, points.TrailingBackslash},
		{points.Point{Series: series, Fields: field("v", points.FloatValue(math.NaN()))}, points.InvalidNumber},
		{points.Point{Series: series, Fields: field("v", points.FloatValue(math.Inf(1)))}, points.InvalidNumber},
		{points.Point{Series: series, Fields: field("v", points.Value{})}, points.InvalidValue},
		{points.Point{Series: series, Fields: field("v", points.StringValue("\xff"))}, points.InvalidString},
		{points.Point{Series: series, Fields: field("v", points.StringValue(strings.Repeat("x", points.StringMax+1)))}, points.StringTooLong},
		{points.Point{Series: series, Fields: one, Time: math.MaxInt64}, points.TimeOutOfRange},
		{points.Point{Series: series, Fields: one, Time: math.MinInt64}, points.TimeOutOfRange},
		{points.Point{Series: series, Fields: slices.Repeat(field("v", points.StringValue(strings.Repeat("x", points.StringMax))), 17)}, points.LineTooLong},
	} {
		got, err := Append([]byte("x"), c.point)
		if !errors.Is(err, points.Error{Reason: c.want}) && !named(err, c.want) || string(got) != "x" {
			t.Errorf("got %.80q, %v, want %v", got, err, c.want)
		}
	}
}

// named reports whether an error has a reason, with whatever name.
func named(err error, want points.Reason) bool {
	var e points.Error
	return errors.As(err, &e) && e.Reason == want
}

// texts draws what names and strings are made of, so that what must be escaped meets.
func texts(least int, letters string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return string(rapid.SliceOfN(rapid.SampledFrom([]rune(letters)), least, 6).Draw(t, "text"))
	}).Filter(func(s string) bool { return least == 0 || !strings.HasSuffix(s, `\`) })
}

func value() *rapid.Generator[points.Value] {
	return rapid.OneOf(
		rapid.Map(rapid.Float64(), func(v float64) points.Value {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				v = 0
			}
			return points.FloatValue(v)
		}),
		rapid.Map(rapid.IntRange(-1e6, 1e6), func(v int) points.Value { return points.FloatValue(float64(v) / 1000) }),
		rapid.Map(rapid.Int64(), points.IntegerValue),
		rapid.Map(rapid.Uint64(), points.UnsignedValue),
		rapid.Map(texts(0, "a\"\\n, =\n\r\té\x00"), points.StringValue),
		rapid.Map(rapid.Bool(), points.BooleanValue),
	)
}

// point draws a point whose fields have different names.
func point() *rapid.Generator[points.Point] {
	const letters = `ab,= \"é#`
	return rapid.Custom(func(t *rapid.T) points.Point {
		p := points.Point{Time: rapid.Int64Range(points.TimeMin, points.TimeMax).Draw(t, "time")}
		p.Series.Measurement = texts(1, letters).Filter(func(s string) bool { return s[0] != '#' }).Draw(t, "measurement")
		for _, name := range rapid.SliceOfNDistinct(texts(1, letters), 0, 4, rapid.ID[string]).Draw(t, "tags") {
			p.Series.Tags = append(p.Series.Tags, points.Tag{Name: name, Value: texts(1, letters).Draw(t, "value of "+name)})
		}
		for _, name := range rapid.SliceOfNDistinct(texts(1, letters), 1, 5, rapid.ID[string]).Draw(t, "fields") {
			p.Fields = append(p.Fields, points.Field{Name: name, Value: value().Draw(t, "value of "+name)})
		}
		return p
	})
}

// held checks that a batch has exactly one point.
func held(t *rapid.T, batch *points.Batch, want points.Point) {
	key, err := want.Series.AppendKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	got, fields := map[string]points.Value{}, map[string]points.Value{}
	for s := range batch.Series() {
		if !bytes.Equal(s.Key(), key) {
			t.Fatalf("the series is %s, want %s", s.Key(), key)
		}
		for c := range s.Columns() {
			if !slices.Equal(c.Times, []int64{want.Time}) {
				t.Fatalf("times of %s: %v, want %d", c.Name, c.Times, want.Time)
			}
			got[points.ParseName(c.Name)] = c.Value(0)
		}
	}
	for _, f := range want.Fields {
		fields[f.Name] = f.Value
	}
	if batch.Points() != 1 || !maps.Equal(got, fields) {
		t.Fatalf("%d points with fields %v, want %v", batch.Points(), got, fields)
	}
}

// Whatever a point is, its line reads as it; on either side of another line, and with either line end.
func TestLineRoundTrip(t *testing.T) {
	p := NewParser()
	rapid.Check(t, func(t *rapid.T) {
		want := point().Draw(t, "point")
		text, err := Append(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, rapid.SampledFrom([]string{"", "\n", "\r\n", "\nbad\n", " \n#"}).Draw(t, "end")...)
		text = append([]byte(rapid.SampledFrom([]string{"", "\n", "bad\n", "# x\n", "bad s=\"\n\" x\n"}).Draw(t, "begin")), text...)
		batch, _, err := p.Parse(text, Nanosecond, 0)
		if err != nil {
			t.Fatal(err)
		}
		held(t, batch, want)
	})
}

// Each line that is written is cut off where it ends, whatever stands behind it.
func TestLinesAreCutWhereTheyEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, err := Append(nil, point().Draw(t, "point"))
		if err != nil {
			t.Fatal(err)
		}
		for _, behind := range []string{"", "\nm s=\"", "\n\"", "\n"} {
			if begin, end := cut(append(text[:len(text):len(text)], behind...)); begin > 0 || end != len(text) {
				t.Fatalf("%q is cut from %d to %d before %q, want all of its %d bytes", text, begin, end, behind, len(text))
			}
		}
	})
}

// A number must be what strconv makes of it, to the last bit.
func TestFloatsAsStrconv(t *testing.T) {
	p := NewParser()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`-?[0-9]{1,9}(\.[0-9]{0,9})?|-?\.[0-9]{1,17}|-?[0-9]{15,22}|-?[0-9]{1,3}(\.[0-9]{1,3})?[eE][+-]?[0-9]{1,2}`).Draw(t, "number")
		batch, report, err := p.Parse([]byte("m v="+text+" 1"), Nanosecond, 0)
		if err != nil || report.Points != 1 {
			t.Fatal(text, report.Err(), err)
		}
		held(t, batch, points.Point{Series: points.Series{Measurement: "m"}, Time: 1, Fields: []points.Field{{Name: "v", Value: points.FloatValue(exactly(t, text))}}})
	})
}

func exactly(t *rapid.T, text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The text of a write is somebody else's buffer: the batch must not change with it.
func TestBatchKeepsNothingOfTheText(t *testing.T) {
	text := []byte(`m,b=2,a=1 v=1,s="x\"y",u="plain" 5`)
	batch, _, err := NewParser().Parse(text, Nanosecond, 0)
	if err != nil {
		t.Fatal(err)
	}
	before := shown(batch)
	for i := range text {
		text[i] = 'Z'
	}
	if got := shown(batch); !slices.Equal(got, before) || !utf8.ValidString(strings.Join(got, "")) || len(got) != 3 {
		t.Errorf("got %q, and before %q", got, before)
	}
}
