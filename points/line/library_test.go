package line

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"pgregory.net/rapid"

	"muster/points"
	"muster/points/column"
)

// The two differ in what a backslash before n, r or t in a string means: for the library, as for
// InfluxDB 2, the character that Go means by it; for InfluxDB 1.8 and here a backslash and a letter. So these
// tests have no such strings.
func sameInBoth(p points.Point) bool {
	for _, f := range p.Fields {
		if text := f.Value.Text(); strings.ContainsAny(text, "\\\n\r\t") {
			return false
		}
	}
	return true
}

// Clients write lines with InfluxData's library: what it writes must be read as what was meant. The text
// comes from other authors, so a mistake about escapes that reader and writer here share would show.
func TestLibraryWritesWeRead(t *testing.T) {
	p := NewParser()
	rapid.Check(t, func(t *rapid.T) {
		want := point().Filter(sameInBoth).Draw(t, "point")
		var e lineprotocol.Encoder
		e.StartLine(want.Series.Measurement)
		tags, err := want.Series.AppendKey(nil) // sorts them, as the encoder wants
		if err != nil {
			t.Fatal(err)
		}
		sorted, err := points.ParseKey(tags)
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range sorted.Tags {
			e.AddTag(tag.Name, tag.Value)
		}
		for _, f := range want.Fields {
			var v any
			switch f.Value.Kind {
			case column.Float:
				v = f.Value.Float()
			case column.Integer:
				v = f.Value.Integer()
			case column.Unsigned:
				v = f.Value.Unsigned()
			case column.String:
				v = f.Value.Text()
			case column.Boolean:
				v = f.Value.Boolean()
			}
			made, ok := lineprotocol.NewValue(v)
			if !ok {
				return // the library takes no control characters in strings
			}
			e.AddField(f.Name, made)
		}
		e.EndLine(time.Unix(0, want.Time))
		if e.Err() != nil {
			return // it refuses names that we can write
		}
		batch, report, err := p.Parse(e.Bytes(), Nanosecond, 0)
		if err != nil || report.Refused > 0 {
			t.Fatalf("%q: %v, %v", e.Bytes(), report.Err(), err)
		}
		held(t, batch, want)
	})
}

// And what is written here must be read by it: subscribers and scripts have it.
func TestLibraryReadsWhatWeWrite(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := point().Filter(sameInBoth).Draw(t, "point")
		text, err := Append(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		d := lineprotocol.NewDecoderWithBytes(bytes.Clone(text))
		if !d.Next() {
			t.Fatalf("%q: the library finds no line", text)
		}
		measurement, err := d.Measurement()
		if err != nil || string(measurement) != want.Series.Measurement {
			t.Fatalf("%q: measurement %q, %v", text, measurement, err)
		}
		tags := map[string]string{}
		for {
			name, value, err := d.NextTag()
			if err != nil {
				t.Fatalf("%q: %v", text, err)
			}
			if name == nil {
				break
			}
			tags[string(name)] = string(value)
		}
		for _, tag := range want.Series.Tags {
			if tags[tag.Name] != tag.Value || len(tags) != len(want.Series.Tags) {
				t.Fatalf("%q: tags %q, want %q", text, tags, want.Series.Tags)
			}
		}
		for _, f := range want.Fields {
			name, v, err := d.NextField()
			if err != nil || string(name) != f.Name {
				t.Fatalf("%q: field %q, %v, want %q", text, name, err, f.Name)
			}
			ok := false
			switch f.Value.Kind {
			case column.Float:
				ok = v.Kind() == lineprotocol.Float && v.FloatV() == f.Value.Float()
			case column.Integer:
				ok = v.Kind() == lineprotocol.Int && v.IntV() == f.Value.Integer()
			case column.Unsigned:
				ok = v.Kind() == lineprotocol.Uint && v.UintV() == f.Value.Unsigned()
			case column.String:
				ok = v.Kind() == lineprotocol.String && v.StringV() == f.Value.Text()
			case column.Boolean:
				ok = v.Kind() == lineprotocol.Bool && v.BoolV() == f.Value.Boolean()
			}
			if !ok {
				t.Fatalf("%q: field %q is %v, want %v", text, name, v, f.Value)
			}
		}
		at, err := d.Time(lineprotocol.Nanosecond, time.Time{})
		if err != nil || at.UnixNano() != want.Time {
			t.Fatalf("%q: time %v, %v", text, at, err)
		}
	})
}

// BenchmarkLibrary reads the text of BenchmarkParse with the library's decoder, and makes nothing of it.
func BenchmarkLibrary(b *testing.B) {
	text := realistic(benchLines, 100)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := decode(text); n != benchLines || err != nil {
			b.Fatal(n, err)
		}
	}
	b.ReportMetric(float64(b.N)*benchLines/b.Elapsed().Seconds(), "lines/s")
}

// decode returns how many good lines the library finds in a text, and the error of the last bad one.
func decode(text []byte) (good int, bad error) {
	d := lineprotocol.NewDecoderWithBytes(text)
	for d.Next() {
		err := decodeLine(d)
		if err == nil {
			good++
		} else {
			bad = err
		}
	}
	return good, bad
}

func decodeLine(d *lineprotocol.Decoder) error {
	if _, err := d.Measurement(); err != nil {
		return err
	}
	for {
		if name, _, err := d.NextTag(); err != nil {
			return err
		} else if name == nil {
			break
		}
	}
	for {
		if name, _, err := d.NextField(); err != nil {
			return err
		} else if name == nil {
			break
		}
	}
	_, err := d.Time(lineprotocol.Nanosecond, time.Time{})
	return err
}

// Decision 45 rests on these; a version of the library for which one of them no longer holds would be worth
// another look.
func TestWhyNotTheLibrary(t *testing.T) {
	// A line that is refused before its string begins leaves what stands in the string.
	if n, err := decode([]byte("m v=x,s=\"\nforged v=1 1\n\"\n")); n != 1 || err == nil {
		t.Errorf("of a refused line's string it reads %d points, %v", n, err)
	}
	// Each bad line costs memory, however many were bad before.
	text := bytes.Repeat([]byte("a\n"), 10_000)
	if used := allocated(func() { decode(text) }); used < perByte*len(text) {
		t.Errorf("bad lines cost %d bytes of memory for %d", used, len(text))
	}
	// What InfluxDB 1.8 takes for a backslash and an n is a newline.
	d := lineprotocol.NewDecoderWithBytes([]byte(`m s="a\nb"`))
	d.Next()
	if _, v, err := d.NextField(); err != nil || v.StringV() != "a\nb" {
		t.Errorf("a string with a backslash and an n is %q, %v", v.StringV(), err)
	}
	// A comment with a tab is an error.
	if n, err := decode([]byte("# a\tb\nm v=1\n")); n != 1 || err == nil {
		t.Errorf("beside a comment with a tab it reads %d lines, %v", n, err)
	}
}
