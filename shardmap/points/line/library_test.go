package line

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/influxdata/line-protocol/v2/lineprotocol"
	"pgregory.net/rapid"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// Clients write lines with InfluxData's library: what it writes must be read as what was meant. The text
// comes from other authors, so a mistake about escapes that reader and writer here share would show.
func TestLibraryWritesWeRead(t *testing.T) {
	p := NewParser()
	rapid.Check(t, func(t *rapid.T) {
		want := point().Draw(t, "point")
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
		want := point().Draw(t, "point")
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

// decode returns the good lines that the library finds in a text, and the error of the last bad one.
func decode(text []byte) (good []string, bad error) {
	d := lineprotocol.NewDecoderWithBytes(text)
	for {
		switch line, err := decoded(d); {
		case err == io.EOF:
			return good, bad
		case err != nil:
			bad = err
		default:
			good = append(good, line)
		}
	}
}

// decoded returns all of the next line of a decoder, or io.EOF if there is none.
func decoded(d *lineprotocol.Decoder) (string, error) {
	if !d.Next() {
		return "", io.EOF
	}
	measurement, err := d.Measurement()
	if err != nil {
		return "", err
	}
	line := fmt.Appendf(nil, "%q", measurement)
	for {
		name, value, err := d.NextTag()
		if err != nil {
			return "", err
		}
		if name == nil {
			break
		}
		line = fmt.Appendf(line, " %q:%q", name, value)
	}
	for {
		name, value, err := d.NextField()
		if err != nil {
			return "", err
		}
		if name == nil {
			break
		}
		line = fmt.Appendf(line, " %q=%v", name, value)
	}
	at, err := d.TimeBytes()
	return fmt.Sprintf("%s at %s", line, at), err
}

// Decision 45 rests on this: a decoder that is given a whole text takes a part of a refused line for another
// one. If a version of the library no longer does, each line need not have a decoder of its own.
func TestWhyNotTheLibrary(t *testing.T) {
	const text = "m v=x,s=\"\nforged v=1 1\n\"\n"
	good, bad := decode([]byte(text))
	if want := []string{`"forged" "v"=1 at 1`}; !slices.Equal(good, want) || bad == nil {
		t.Errorf("the library reads %q from a refused line's string, %v, want %q", good, bad, want)
	}
	if got, report := parse(t, text); len(got) > 0 || report.Refused != 1 {
		t.Errorf("got %q from it, %v", got, report)
	}
}
