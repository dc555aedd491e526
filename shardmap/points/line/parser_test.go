package line

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

const now = 1_700_000_000_123_456_789 // of points without a time

// shown returns what is in a batch, as "key field kind=value@time" in the order of the batch.
func shown(b *points.Batch) (all []string) {
	for s := range b.Series() {
		for c := range s.Columns() {
			for i, at := range c.Times {
				all = append(all, fmt.Sprintf("%s %s %s=%s@%d", s.Key(), c.Name, c.Kind, textOf(c.Value(i)), at))
			}
		}
	}
	return all
}

func textOf(v points.Value) string {
	switch v.Kind {
	case column.Float:
		return fmt.Sprint(v.Float())
	case column.Integer:
		return fmt.Sprint(v.Integer())
	case column.Unsigned:
		return fmt.Sprint(v.Unsigned())
	case column.String:
		return fmt.Sprintf("%q", v.Text())
	}
	return fmt.Sprint(v.Boolean())
}

func parse(t *testing.T, text string) ([]string, Report) {
	t.Helper()
	batch, report, err := NewParser().Parse([]byte(text), Nanosecond, now)
	if err != nil {
		t.Fatalf("%.80q: %v", text, err)
	}
	if batch.Points() != report.Points {
		t.Fatalf("%.80q: %d points, %d reported", text, batch.Points(), report.Points)
	}
	return shown(batch), report
}

// Each form of a line that is taken, and what it says.
func TestLinesTaken(t *testing.T) {
	for _, c := range []struct {
		text string
		want []string
	}{
		{"m v=1 5", []string{"m v float=1@5"}},
		{"m v=1 5\n", []string{"m v float=1@5"}},
		{"m v=1", []string{"m v float=1@1700000000123456789"}},
		{"m v=1 ", []string{"m v float=1@1700000000123456789"}},
		{"m v=1 -5", []string{"m v float=1@-5"}},
		{"m v=1   5  ", []string{"m v float=1@5"}},
		{" \tm   v=1 5", []string{"m v float=1@5"}},
		{"m,b=2,a=1 v=1 5", []string{"m,a=1,b=2 v float=1@5"}},
		{"m,b=2,a=1 v=1 5\nm,a=1,b=2 v=2 6", []string{"m,a=1,b=2 v float=1@5", "m,a=1,b=2 v float=2@6"}},
		{`m\ x\,y,a\ b=c\=d v\,w=1 5`, []string{`m\ x\,y,a\ b=c\=d v\,w float=1@5`}},
		{`m\x,a=b\c v=1 5`, []string{`m\x,a=b\c v float=1@5`}},
		{"m\"x,a=\"b v\"w=1 5", []string{"m\"x,a=\"b v\"w float=1@5"}},
		{"größe,ort=Köln höhe=1 5", []string{"größe,ort=Köln höhe float=1@5"}},
		// Values.
		{"m a=1,b=1i,c=1u,d=t,e=\"s\" 5", []string{"m a float=1@5", "m b integer=1@5", "m c unsigned=1@5", "m d boolean=true@5", `m e string="s"@5`}},
		{"m a=t,b=T,c=true,d=True,e=TRUE 5", []string{"m a boolean=true@5", "m b boolean=true@5", "m c boolean=true@5", "m d boolean=true@5", "m e boolean=true@5"}},
		{"m a=f,b=F,c=false,d=False,e=FALSE 5", []string{"m a boolean=false@5", "m b boolean=false@5", "m c boolean=false@5", "m d boolean=false@5", "m e boolean=false@5"}},
		{`m s="a b,c=d" 5`, []string{`m s string="a b,c=d"@5`}},
		{`m s="",u="\"\\\n" 5`, []string{`m s string=""@5`, `m u string="\"\\\n"@5`}}, // \n is a newline, for the library
		{`m s="\r\t\x\\n" 5`, []string{`m s string="\r\t\\x\\n"@5`}},
		{"m s=\"one\ntwo\r\nthree\",v=1 5\nm v=2 6", []string{`m s string="one\ntwo\r\nthree"@5`, "m v float=1@5", "m v float=2@6"}},
		{"m s=\"\tø\" 5", []string{`m s string="\tø"@5`}},
		// Lines that are none.
		{"", nil}, {"\n\n", nil}, {"  \n\t\n", nil}, {"# m v=1\n", nil}, {"  #\tm v=1", nil}, {"\r\n \r\n", []string(nil)},
		{"# a comment\n\nm v=1 5\n# m v=\"2\nm v=3 6\n", []string{"m v float=1@5", "m v float=3@6"}},
		// Line ends.
		{"m v=1 5\r\nm v=2 6\r\n", []string{"m v float=1@5", "m v float=2@6"}},
		{"m v=1i\r\nm s=\"x\"\r\nm b=t\r", []string{"m v integer=1@1700000000123456789", `m s string="x"@1700000000123456789`, "m b boolean=true@1700000000123456789"}},
		// The last write of a point wins, field by field.
		{"m v=1,w=1 5\nm v=2 5\nm v=3,v=4 6", []string{"m v float=2@5", "m v float=4@6", "m w float=1@5"}},
		{"m v=1 7\nm v=2 5\nm v=3 6\nm v=4 5", []string{"m v float=4@5", "m v float=3@6", "m v float=1@7"}},
	} {
		got, report := parse(t, c.text)
		if !slices.Equal(got, c.want) || report.Refused > 0 {
			t.Errorf("%q: got %q, %v, want %q", c.text, got, report.Err(), c.want)
		}
	}
}

// Each form that is refused, with its reason and what it is about. Good lines stand before and after
// the bad one: both must be kept, and nothing else.
func TestLinesRefused(t *testing.T) {
	e := func(r points.Reason, name string) points.Error { return points.Error{Reason: r, Name: name} }
	long := strings.Repeat("x", points.StringMax+1)
	for _, c := range []struct {
		line string
		want points.Error
	}{
		{",a=1 v=1", e(points.MissingMeasurement, "")},
		{"m", e(points.MissingFields, "")},
		{"m ", e(points.MissingFields, "")},
		{"m,a=1", e(points.MissingFields, "")},
		{"m,a=1 ", e(points.MissingFields, "")},
		{"m\r", e(points.MissingFields, "")},
		{`m\ v=1`, e(points.MissingFields, "")},
		{"m, v=1", e(points.MissingTagKey, "m")},
		{"m,=1 v=1", e(points.MissingTagKey, "m")},
		{"m,a=1, v=1", e(points.MissingTagKey, "a")},
		{"m,a v=1", e(points.MissingTagValue, "a")},
		{"m,a= v=1", e(points.MissingTagValue, "a")},
		{"m,a=,b=1 v=1", e(points.MissingTagValue, "a")},
		{"m,a=1=2 v=1", e(points.InvalidTag, "a")},
		{"m,a==2 v=1", e(points.InvalidTag, "a")},
		{"m,b=1,a=\\,=2 v=1", e(points.InvalidTag, "a")},
		{"m=n,=2 v=1", e(points.MissingTagKey, "m=n")},
		{"m,a=1,,b=1 v=1", e(points.MissingTagKey, "a")},
		{"m,a=1,b", e(points.MissingTagValue, "b")},
		{"m,a=1,a=2 v=1", e(points.DuplicateTag, "a")},
		{"m,time=1 v=1", e(points.InvalidTagKey, "time")},
		{"m,a=1,time=1,z=1 v=1", e(points.InvalidTagKey, "time")},
		{"m time=1", e(points.InvalidFieldName, "time")},
		{"m v=1,time=1i,w=1", e(points.InvalidFieldName, "time")},
		{"m,a=1,b=1,a=1 v=1", e(points.DuplicateTag, "a")},
		{"m,a=\xff v=1", e(points.InvalidName, "\xff")},
		{"m,a=\t v=1", e(points.InvalidName, "\t")},
		{"m\x00 v=1", e(points.InvalidName, "\x00")},
		{"m \xff=1", e(points.InvalidName, "\xff")},
		{"\rm v=1", e(points.InvalidName, "\r")},
		{"m,a=1\r v=1", e(points.InvalidName, "\r")},
		{"m v\x7f=1", e(points.InvalidName, "v\x7f")},
		{"m \tv=1", e(points.InvalidName, "\t")},
		{"m v=1,\x00w=1", e(points.InvalidName, "\x00")},
		{"m\xff v=1", e(points.InvalidName, "m\xff")},
		{"m,\xff=1 v=1", e(points.InvalidName, "\xff")},
		{"m,a\x00=1 v=1", e(points.InvalidName, "a\x00")},
		{"m,a=" + strings.Repeat("k", points.KeyMax) + " v=1", e(points.KeyTooLong, "")},
		{"m =1", e(points.MissingFieldKey, "")},
		{"m v=1,", e(points.MissingFieldKey, "v")},
		{"m v=1,\r", e(points.MissingFieldKey, "v")},
		{"m ,v=1", e(points.MissingFieldKey, "")},
		{"m v=1, 5", e(points.MissingFieldKey, "v")},
		{"m v=1,=2", e(points.MissingFieldKey, "v")},
		{"m v=1,,w=2", e(points.MissingFieldKey, "v")},
		{"m v", e(points.MissingFieldValue, "v")},
		{"m v 5", e(points.MissingFieldValue, "v")},
		{"m v=", e(points.MissingFieldValue, "v")},
		{"m v= 5", e(points.MissingFieldValue, "v")},
		{"m v=,w=1", e(points.MissingFieldValue, "v")},
		{"m v=1,w", e(points.MissingFieldValue, "w")},
		{"m " + strings.Repeat("n", points.NameMax+1) + "=1", e(points.FieldNameTooLong, strings.Repeat("n", 64))},
		{"m v=NaN", e(points.InvalidNumber, "v")},
		{"m v=nan", e(points.InvalidNumber, "v")},
		{"m v=-NaN", e(points.InvalidNumber, "v")},
		{"m v=-Inf", e(points.InvalidNumber, "v")},
		{"m v=Inf", e(points.InvalidValue, "v")},
		{"m v=+1", e(points.InvalidValue, "v")},
		{"m v=yes", e(points.InvalidValue, "v")},
		{"m v='s'", e(points.InvalidValue, "v")},
		{"m v=tr", e(points.InvalidBoolean, "v")},
		{"m v=trUe", e(points.InvalidBoolean, "v")},
		{"m v=t1", e(points.InvalidBoolean, "v")},
		{"m v=9223372036854775808i", e(points.NumberOutOfRange, "v")},
		{`m s="`, e(points.UnbalancedQuotes, "s")},
		{`m s="a"b`, e(points.UnbalancedQuotes, "s")},
		{`m v=1,s="="b`, e(points.UnbalancedQuotes, "s")},
		{`m v=1,a"`, e(points.MissingFieldValue, `a"`)},
		{`m  v=1,w"  5`, e(points.MissingFieldValue, `w"`)},
		{`m s="a"b" 5`, e(points.UnbalancedQuotes, "s")},
		{"m s=\"\xff\"", e(points.InvalidString, "s")},
		{"m s=\"\na=\n\xff\",v=1", e(points.InvalidString, "s")},
		{"m s=\"" + long + "\"", e(points.StringTooLong, "s")},
		{"m v=1 x", e(points.InvalidTime, "")},
		{"m v=1 -", e(points.InvalidTime, "")},
		{"m v=1 +5", e(points.InvalidTime, "")},
		{"m v=1 5.0", e(points.InvalidTime, "")},
		{"m v=1 5,w=2", e(points.InvalidTime, "")},
		{"m v=1 5 6", e(points.TextAfterTime, "")},
		{"m v=1 5 x=1", e(points.TextAfterTime, "")},
		{"m v=1\rm v=2", e(points.TextAfterTime, "")},
		{"m v=1 9223372036854775807", e(points.TimeOutOfRange, "")},
		{"m v=1 -9223372036854775807", e(points.TimeOutOfRange, "")},
		{"m v=1 -9223372036854775808", e(points.TimeOutOfRange, "")},
		{"m v=1 9223372036854775808", e(points.TimeOutOfRange, "")},
		{"m v=1 99999999999999999999999", e(points.TimeOutOfRange, "")},
		{"m w=1", points.Error{Reason: points.FieldTypeConflict, Name: "w", Kind: column.Float, Had: column.Integer}},
		{"m new=1,w=t 5", points.Error{Reason: points.FieldTypeConflict, Name: "w", Kind: column.Boolean, Had: column.Integer}},
		{`m,a=1 new=1,new="s" 5`, points.Error{Reason: points.FieldTypeConflict, Name: "new", Kind: column.String, Had: column.Float}},
		{"m " + strings.Repeat("v=1,", LineMax/4) + "v=1", e(points.LineTooLong, "")},
		{"m s=\"" + strings.Repeat("\n", 10) + "\"," + strings.Repeat("v=1,", LineMax/4) + "v=1", e(points.LineTooLong, "")},
	} {
		before := []string{"m w integer=1@1"}
		if got, report := parse(t, "m w=1i 1\n"+c.line); !slices.Equal(got, before) || report.Refused != 1 {
			t.Errorf("%.80q at the end of a text: got %q, %v", c.line, got, report)
		}
		got, report := parse(t, "m w=1i 1\n"+c.line+"\n\nm x=1u 1\n")
		want := append(before, "m x unsigned=1@1")
		if c.line == `m s="` || c.line == `m s="a"b" 5` {
			want = before // the string that is never ended has the rest
		}
		if !slices.Equal(got, want) || report.Points != len(want) || report.Refused != 1 || !slices.Equal(report.Listed, []RefusedLine{{2, c.want}}) {
			t.Errorf("%.80q: got %.200q, %.200v, want %v", c.line, got, report, c.want)
		}
	}
}

// The ends of the numbers of each kind, in each way to write them.
func TestNumbers(t *testing.T) {
	for _, c := range []struct {
		text string
		want points.Value
	}{
		{"0", points.FloatValue(0)}, {"-0", points.FloatValue(math.Copysign(0, -1))}, {"1.", points.FloatValue(1)}, {".5", points.FloatValue(.5)},
		{"-.5", points.FloatValue(-.5)}, {"007", points.FloatValue(7)}, {"1e3", points.FloatValue(1000)}, {"1E+3", points.FloatValue(1000)}, {"1.5e-3", points.FloatValue(.0015)},
		{"999999999999999", points.FloatValue(999999999999999)}, {"0.123456789012345", points.FloatValue(0.123456789012345)},
		{"9007199254740993", points.FloatValue(9007199254740992)}, {"0.1234567890123456789", points.FloatValue(0.1234567890123456789)},
		{"1.7976931348623157e308", points.FloatValue(math.MaxFloat64)}, {"5e-324", points.FloatValue(math.SmallestNonzeroFloat64)}, {"1e-400", points.FloatValue(0)},
		{"123456789012345678901234567890", points.FloatValue(123456789012345678901234567890)},
		{"0i", points.IntegerValue(0)}, {"-0i", points.IntegerValue(0)}, {"9223372036854775807i", points.IntegerValue(math.MaxInt64)},
		{"-9223372036854775808i", points.IntegerValue(math.MinInt64)}, {"0000000000000000000000000001i", points.IntegerValue(1)},
		{"0u", points.UnsignedValue(0)}, {"18446744073709551615u", points.UnsignedValue(math.MaxUint64)}, {"9999999999999999999u", points.UnsignedValue(9999999999999999999)},
	} {
		got, report := parse(t, "m v="+c.text+" 1")
		if want := []string{"m v " + c.want.Kind.String() + "=" + textOf(c.want) + "@1"}; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, %v, want %q", c.text, got, report.Err(), want)
		}
	}
	for text, want := range map[string]points.Reason{
		"-": points.InvalidNumber, ".": points.InvalidNumber, "-.": points.InvalidNumber, "1.1.1": points.InvalidNumber, "1e": points.InvalidNumber, "1ee3": points.InvalidNumber,
		"e3": points.InvalidValue, "1x": points.InvalidNumber, "0x10": points.InvalidNumber, "1_000": points.InvalidNumber, "--1": points.InvalidNumber, "1-1": points.InvalidNumber,
		"1.0i": points.InvalidNumber, "1e3i": points.InvalidNumber, "1ii": points.InvalidNumber, "1iu": points.InvalidNumber, "i": points.InvalidValue, "-i": points.InvalidNumber,
		"-1u": points.InvalidNumber, "-0u": points.InvalidNumber, "1.5u": points.InvalidNumber, "0x1p4": points.InvalidNumber, "1e5x": points.InvalidNumber,
		"1e309": points.NumberOutOfRange, "-1e309": points.NumberOutOfRange, strings.Repeat("9", 400): points.NumberOutOfRange,
		"9223372036854775808i": points.NumberOutOfRange, "-9223372036854775809i": points.NumberOutOfRange, "18446744073709551616u": points.NumberOutOfRange,
		"99999999999999999999u": points.NumberOutOfRange, "184467440737095516150u": points.NumberOutOfRange,
	} {
		got, report := parse(t, "m v="+text+" 1")
		if len(got) > 0 || len(report.Listed) != 1 || report.Listed[0].Why.Reason != want {
			t.Errorf("%s: got %q, %v, want %v", text, got, report.Err(), want)
		}
	}
}

// A time means what the request says; one that does not fit then is refused, and a point without one gets
// the time of the request at its precision.
func TestPrecisions(t *testing.T) {
	for _, c := range []struct {
		names string
		time  string
		want  int64
		now   int64
		most  string // the last time that fits
		over  string
	}{
		{",n,ns", "5", 5, now, "9223372036854775806", "9223372036854775807"},
		{"u,us,µ", "5", 5e3, 1_700_000_000_123_456_000, "9223372036854775", "9223372036854776"},
		{"ms", "-5", -5e6, 1_700_000_000_123_000_000, "9223372036854", "9223372036855"},
		{"s", "5", 5e9, 1_700_000_000_000_000_000, "9223372036", "9223372037"},
		{"m", "5", 300e9, 1_699_999_980_000_000_000, "153722867", "153722868"},
		{"h", "-5", -18000e9, 1_699_999_200_000_000_000, "2562047", "2562048"},
	} {
		for name := range strings.SplitSeq(c.names, ",") {
			p, err := ParsePrecision(name)
			if err != nil {
				t.Errorf("precision %q: %v", name, err)
				continue
			}
			text := fmt.Sprintf("m a=1 %s\nm b=1\nm c=1 %s\nm d=1 %s\nm e=1 -%s\n", c.time, c.most, c.over, c.over)
			batch, report, err := NewParser().Parse([]byte(text), p, now)
			got := map[string]int64{}
			for s := range batch.Series() {
				for x := range s.Columns() {
					got[string(x.Name)] = x.Times[0]
				}
			}
			most := got["c"]
			delete(got, "c")
			if want := map[string]int64{"a": c.want, "b": c.now}; err != nil || !maps.Equal(got, want) || most/int64(p) != points.TimeMax/int64(p) {
				t.Errorf("precision %q: got %v and %d, %v, want %v", name, got, most, err, want)
			}
			if len(report.Listed) != 2 || report.Listed[0].Why.Reason != points.TimeOutOfRange || report.Listed[1].Why.Reason != points.TimeOutOfRange {
				t.Errorf("precision %q: refused are %v", name, report.Listed)
			}
		}
	}
	for _, name := range []string{"x", "NS", "d", "1s", "seconds"} {
		if p, err := ParsePrecision(name); err != points.Refuse(points.UnknownPrecision, []byte(name)) {
			t.Errorf("precision %q: got %v, %v", name, p, err)
		}
	}
	// Before 1970 the precision rounds down, too.
	if batch, _, err := NewParser().Parse([]byte("m v=1"), Second, -1); err != nil || !slices.Equal(shown(batch), []string{"m v float=1@-1000000000"}) {
		t.Errorf("got %v, %v", shown(batch), err)
	}
	if batch, _, err := NewParser().Parse([]byte("m v=1"), Hour, points.TimeMin); err != nil || !slices.Equal(shown(batch), []string{"m v float=1@-9223372036854775806"}) {
		t.Errorf("got %v, %v", shown(batch), err)
	}
}

// A line that is refused before its string ends could hide lines in it: they were written as a
// value, and must not be read as points, whatever is wrong before or after.
func TestNothingIsReadFromRefusedStrings(t *testing.T) {
	for _, line := range []string{
		"m v=x,s=\"\nforged v=1 1\n\"",
		"m s=\"\nforged v=1 1\n\",v=x",
		"m s=\"\nforged v=1 1\n\" x",
		"m s=\"\nforged v=1 1\n\" 5 6",
		"m,a=1,a=2 s=\"\nforged v=1 1\n\"",
		"m, s=\"\nforged v=1 1\n\"",
		"m v=1,,s=\"\nforged v=1 1\n\"",
		"m s= \"\nforged v=1 1\n\"",
		"m s=u\"\nforged v=1 1\n\"",
		"m v=1,s=\"\\\"\nforged v=1 1\n\",w=t1",
		"m v=1,s=\"a\\\\\",u=\"\nforged v=1 1\n\",w=t1",
		`m,a=x\ y v\=1=t1,s="` + "\nforged v=1 1\n\"",
		"m ok=1i,s=\"\nforged v=1 1\n\"", // of another kind than before
	} {
		got, report := parse(t, "m ok=1 1\n"+line+"\nm ok=2 2\n")
		if want := []string{"m ok float=1@1", "m ok float=2@2"}; !slices.Equal(got, want) || report.Refused != 1 || report.Listed[0].Line != 2 {
			t.Errorf("%q: got %q, %v", line, got, report.Err())
		}
	}
}

// Lines are numbered as an editor does, even behind strings with newlines; only the first are
// listed, the others are counted.
func TestReport(t *testing.T) {
	_, report := parse(t, "m v=1\n\n# comment\nm s=\"a\nb\nc\"\nm v=x\r\n\r\nm\nm v=1\n")
	if want := []RefusedLine{{7, points.Error{Reason: points.InvalidValue, Name: "v"}}, {9, points.Error{Reason: points.MissingFields}}}; !slices.Equal(report.Listed, want) || report.Points != 3 || report.Refused != 2 {
		t.Errorf("got %v, want %v", report, want)
	}
	const text = `partial write: 3 points kept, 2 lines refused: line 7: field "v": invalid boolean; want a number, 1i, 1u, t, f or "text"; line 9: missing fields; want a space and FIELD=VALUE after measurement and tags`
	err := report.Err()
	if err == nil || err.Error() != text {
		t.Errorf("got %v, want %s", err, text)
	}
	if !errors.Is(err, points.Error{Reason: points.InvalidValue}) || !errors.Is(err, points.Error{Reason: points.MissingFields}) || errors.Is(err, points.Error{Reason: points.InvalidTag}) {
		t.Errorf("errors.Is does not find the reasons of %v", err)
	}
	_, report = parse(t, "m v=1\nm v=2\n")
	if err := report.Err(); err != nil || report.Points != 2 {
		t.Errorf("of two good lines: %v, %v", report, err)
	}
	_, report = parse(t, strings.Repeat("m\n", 1000))
	if report.Refused != 1000 || len(report.Listed) != ListedMax || report.Listed[ListedMax-1].Line != ListedMax {
		t.Errorf("of 1000 bad lines %d are refused, %d listed", report.Refused, len(report.Listed))
	}
	if got := report.Err().Error(); !strings.HasPrefix(got, "unable to parse points: line 1: missing fields;") || !strings.HasSuffix(got, "; and 968 more") {
		t.Errorf("got %s", got)
	}
}

// Over the limits of a text all of it is refused, with what would be right, and nothing is in the batch. The
// parser is as good as new for the next one.
func TestTextsRefused(t *testing.T) {
	p := NewParser()
	for _, c := range []struct {
		text string
		want points.Reason
	}{
		{strings.Repeat(" ", TextMax+1), points.BatchTooLong},
		{strings.Repeat("m v=1\n", points.PointsMax+1), points.BatchFull},
	} {
		batch, report, err := p.Parse([]byte(c.text), Nanosecond, now)
		if !errors.Is(err, points.Error{Reason: c.want}) || batch.Points() != 0 || batch.Values() != 0 || report.Points != 0 || report.Refused != 0 {
			t.Errorf("%d bytes: got %d points, %v, %v, want %v", len(c.text), batch.Points(), report, err, c.want)
		}
		batch, _, err = p.Parse([]byte("m v=1i 1"), Nanosecond, now)
		if got := shown(batch); err != nil || !slices.Equal(got, []string{"m v integer=1@1"}) {
			t.Errorf("then: got %q, %v", got, err)
		}
	}
	batch, _, err := p.Parse([]byte(strings.Repeat(" ", TextMax)), Nanosecond, now)
	if err != nil || batch.Points() != 0 {
		t.Errorf("%d spaces: %v", TextMax, err)
	}
}

// A text of the longest lines and strings that are allowed is taken.
func TestLongestLines(t *testing.T) {
	line := `m s="` + strings.Repeat("x", points.StringMax) + `"`
	for i := 0; len(line)+points.StringMax+20 < LineMax; i++ {
		line += fmt.Sprintf(`,s%d="`, i) + strings.Repeat("y", points.StringMax) + `"`
	}
	line += ",v=" + strings.Repeat("0", LineMax-len(line)-len(",v="))
	if _, report := parse(t, line+"\n"); report.Points != 1 {
		t.Errorf("a line of %d bytes: %.100v", len(line), report.Err())
	}
	if _, report := parse(t, line+"0\n"); report.Refused != 1 || report.Listed[0].Why.Reason != points.LineTooLong {
		t.Errorf("a line of %d bytes: %.100v", len(line)+1, report)
	}
}
