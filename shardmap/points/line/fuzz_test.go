package line

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"muster/repl/memtest"
	"muster/shardmap/points"
)

// hostile are texts that would cost much if anything grew by what they claim, or were
// looked at again and again: many short lines, names, series, errors, and what never ends.
func hostile() map[string][]byte {
	each := func(n int, format string) (text []byte) {
		for i := range n {
			text = fmt.Appendf(text, format, i)
		}
		return text
	}
	repeat := func(s string, n int) []byte { return bytes.Repeat([]byte(s), n) }
	reversed := each(0, "")
	for i := range 20_000 {
		reversed = fmt.Appendf(reversed, "m v=1 %d\n", 20_000-i)
	}
	return map[string][]byte{
		"empty":            nil,
		"bad lines":        repeat("a\n", 50_000),
		"one bad line":     []byte("a"),
		"few bad lines":    repeat("a b\n", 40),
		"long bad names":   repeat("a,"+strings.Repeat("é", 200)+" v=1\n", 50),
		"bad values":       repeat("a b=1e999\n", 20_000),
		"good lines":       repeat("a b=1\n", 50_000),
		"one good line":    []byte("a b=1"),
		"equals signs":     repeat("=", 200_000),
		"assignments":      append([]byte("m "), repeat("a=1,", 50_000)...),
		"same field":       append(append([]byte("m "), repeat("a=1,", 50_000)...), "a=1"...),
		"many fields":      append(append([]byte("m "), each(30_000, "%x=1,")...), "z=1"...),
		"short fields":     append(append([]byte("m "), each(4_000, "%x=1,")...), "z=1"...),
		"many series":      each(50_000, "%x b=1\n"),
		"short series":     each(4_000, "%x b=1\n"),
		"many tags":        each(50_000, "m,a=%x b=1\n"),
		"new fields":       each(30_000, "m %x=1\n"),
		"new series":       each(30_000, "m%[1]x %[1]x=1\n"),
		"backwards":        reversed,
		"unsorted tags":    repeat("m,"+strings.TrimSuffix(string(each(200, "z%d=1,")), ",")+",a=1 v=1\n", 20),
		"strings":          repeat("m s=\"\"\n", 30_000),
		"escaped strings":  append(append([]byte(`m s="`), repeat(`\\`, points.StringMax)...), '"'),
		"many escapes":     repeat(`m s="\"\"\"\"\"\""`+"\n", 10_000),
		"open string":      append([]byte(`m s="`), repeat("\nx v=1", 50_000)...),
		"open strings":     repeat("m s=\"\n", 50_000),
		"backslashes":      repeat(`\`, 200_000),
		"escaped spaces":   repeat(`\ `, 100_000),
		"no space":         repeat("m,a=1\n", 50_000),
		"comments":         repeat("#\n", 100_000),
		"newlines":         repeat("\n", 200_000),
		"spaces":           repeat(" ", 200_000),
		"tags without end": append([]byte("m"), repeat(",a=1", 50_000)...),
		"digits":           append([]byte("m v="), repeat("9", 200_000)...),
		"conflicts":        append([]byte("m v=1i\n"), repeat("m v=1\n", 30_000)...),
		"nul":              repeat("\x00", 1000),
		"one long string":  append(append([]byte(`m s="`), repeat("x", points.StringMax)...), '"'),
		"bad long tag":     append([]byte(`m,a=\,`), append(repeat("\xff", LineMax-20), " v=1"...)...),
		"bad long string":  append([]byte(`m s="\"`), append(repeat("\xff", LineMax-20), '"')...),
		"bad long name":    append([]byte(`m a\,`), append(repeat("\x80", LineMax-20), "=1"...)...),
		"bad escapes":      append([]byte(`m,a=`), append(repeat("\\,\xff\xff\xff\xff", LineMax/6-5), " v=1"...)...),
		"escaped tag":      append([]byte(`m,a=`), append(repeat(`\,`, LineMax/2-5), " v=1"...)...),
		"long name":        append([]byte(`m a\,`), append(repeat("x", LineMax-20), "=1"...)...),
		"long tag":         append([]byte(`m,\,=`), append(repeat("x", LineMax-20), " v=1"...)...),
		"long time":        append([]byte(`m v=1 `), append(repeat("1", LineMax-20), "x"...)...),
		"long other time":  append([]byte(`m v=1 1 `), repeat("\xff", LineMax-20)...),
		"long number":      append([]byte(`m v=`), append(repeat("1", LineMax-20), "x"...)...),
		"long boolean":     append([]byte(`m v=t`), repeat("\xff", LineMax-20)...),
		"long line":        append(append([]byte("m "), repeat("a=1,", LineMax/4)...), "a=1\nm v=1"...),
	}
}

// The memory that a text may cost, in bytes.
const (
	// heldPerByte is for what is made of a byte, and stays in use. Other readers of muster have 16. Here seven bytes,
	// "ab c=1" and a newline, can bring five things that columns need apart: a series, a measurement, a field, a
	// point and a value. Texts of nothing else cost 23 per byte; all other texts above stay below 16.
	heldPerByte = 24
	// allocatedPerByte and allocatedPerLine are for all that is allocated on the way. The library has 512 bytes for the
	// escapes of each decoder, and puts into the words of an error the rest of the line, as Go would quote it.
	allocatedPerByte = 36
	allocatedPerLine = 768
)

// checkParse reads a text as a stranger may send it, and holds the parser to what it promises of any: bounded
// memory, typed errors, batches in order, and that a second reading makes the same.
func checkParse(t *testing.T, text []byte) {
	p := NewParser()
	idle := inUse()
	batch, report, err := p.Parse(text, Nanosecond, now)
	if held, limit := inUse()-idle, heldPerByte*len(text)+64<<10; held > limit {
		t.Errorf("%d bytes of memory are in use for %d, the limit is %d", held, len(text), limit)
	}
	used := memtest.Allocated(func() { NewParser().Parse(text, Nanosecond, now) })
	if limit := allocatedPerByte*len(text) + allocatedPerLine*linesOf(text) + 4<<10; used > limit {
		t.Errorf("%d bytes of memory are allocated for %d, the limit is %d", used, len(text), limit)
	}
	var typed points.Error
	if err != nil && !errors.As(err, &typed) {
		t.Errorf("untyped error %v", err)
	}
	if len(report.Listed) > ListedMax || report.Refused < len(report.Listed) || report.Points != batch.Points() {
		t.Errorf("%d points of %d, %d of %d refused are listed", batch.Points(), report.Points, len(report.Listed), report.Refused)
	}
	line := 0
	for _, r := range report.Listed {
		if r.Line <= line || r.Line > bytes.Count(text, []byte{'\n'})+1 || r.Why.None() {
			t.Errorf("refused is line %d, after %d: %v", r.Line, line, r.Why)
		}
		line = r.Line
	}
	before := shown(batch)
	checkLineEnds(t, text)
	checkRuns(t, text)
	for s := range batch.Series() {
		if back, err := points.ParseKey(s.Key()); err != nil {
			t.Errorf("key %q: %v", s.Key(), err)
		} else if again, err := back.AppendKey(nil); err != nil || !bytes.Equal(again, s.Key()) {
			t.Errorf("key %q reads as %q, %v", s.Key(), again, err)
		}
		for c := range s.Columns() {
			for i, at := range c.Times {
				if at < points.TimeMin || at > points.TimeMax || i > 0 && at <= c.Times[i-1] {
					t.Errorf("%s %s: time %d", s.Key(), c.Name, at)
				}
			}
			if !utf8.Valid(c.Name) || !c.Kind.Valid() {
				t.Errorf("field %q of kind %d", c.Name, c.Kind)
			}
		}
	}
	if t.Failed() {
		return
	}
	p.Parse([]byte("m,a=1 b=1i,v=t,s=\"x\" 5\nbad\n"), Second, 7) // what was before is forgotten
	if batch, _, _ := p.Parse(text, Nanosecond, now); strings.Join(shown(batch), "\n") != strings.Join(before, "\n") {
		t.Errorf("read again it makes\n%q\nand before\n%q", shown(batch), before)
	}
}

// linesOf returns how many lines of a text are neither blank nor comments.
func linesOf(text []byte) (n int) {
	for at := 0; at < len(text); {
		begin, end := cut(text[at:])
		if at += end + 1; begin < end {
			n++
		}
	}
	return n
}

// checkLineEnds reads each line that is taken with the library once more, with all of the text behind it: it must be
// the same point. So a line is cut off where the library would have found its end.
func checkLineEnds(t *testing.T, text []byte) {
	p := NewParser()
	for at := 0; at < len(text); {
		begin, end := cut(text[at:])
		line, rest := text[at+begin:at+end:at+end], text[at+begin:]
		at += end + 1
		p.b.Reset()
		if p.precision = Nanosecond; begin == end || len(line) > LineMax || !p.point(line, now).None() {
			continue
		}
		want, err := decoded(lineprotocol.NewDecoderWithBytes(line))
		if err != nil {
			t.Fatalf("%.80q is taken, and the library refuses it: %v", line, err)
		}
		// More of the text than this the library would read again for each of its lines.
		const behind = 100
		got, err := decoded(lineprotocol.NewDecoderWithBytes(rest[:min(len(rest), len(line)+behind)]))
		if got != want || err != nil {
			t.Fatalf("%.80q reads as %.80q, and as %.80q, %v, before the rest of the text", line, want, got, err)
		}
	}
}

// checkRuns holds what becomes of a text behind good lines, where lines share a decoder, to what becomes of its lines if each has
// one of its own.
func checkRuns(t *testing.T, text []byte) {
	const most = 4096 // bytes: a long text shows no more
	text = append(bytes.Repeat([]byte("m v=1\n"), runAfter), text[:min(len(text), most)]...)
	p, alone := NewParser(), NewParser()
	batch, report, err := p.Parse(text, Nanosecond, now)
	if err != nil {
		t.Fatal(err)
	}
	alone.text, alone.precision, alone.numbered.line = text, Nanosecond, 1
	for at := 0; at < len(text); {
		begin, end := cut(text[at:])
		if begin < end {
			if why := alone.point(text[at+begin:at+end:at+end], now); !why.None() {
				alone.b.Rollback()
				alone.refuse(at, why)
			}
		}
		at += end + 1
	}
	want := alone.b.Batch()
	if got, want := strings.Join(shown(batch), "\n"), strings.Join(shown(want), "\n"); got != want || fmt.Sprint(report.Listed) != fmt.Sprint(alone.report.Listed) {
		t.Fatalf("%.80q reads as\n%.200s\n%v, and line by line as\n%.200s\n%v", text, got, report.Listed, want, alone.report.Listed)
	}
}

// A stranger's text must cost memory in proportion to its length, whatever it claims.
func TestHostileTexts(t *testing.T) {
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) { checkParse(t, text) })
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range hostile() {
		f.Add(text[:min(len(text), 4096)])
	}
	for _, seed := range []string{
		"m,b=2,a=1 v=1,w=2i,x=3u,y=t,z=\"a\\\"b\nc\" 5\nbad\nm v=1\r\n# x\n", `m\ x\,y,a\ b=c\=d v\,w=1 -5`, "m v=1,v=2i\nm v=1,,s=\"\nn v=1\n\"",
		"m v=x,s=\"\nforged v=1 1\n\"\nm v=2 2\n", " m v=1\n\t \n#\rm v=2 \r\nm v=3 3 \r\nm v=4\r4\n\r\nm\\\nv=5 5\nm v=6", "m,a=\\\n v=1\nm v=1, \nm v=2\n#m v=3\nm v=\n v=4 4\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(checkParse)
}

// Once it has read a text like it, a parser needs no memory for another but that of some decoders of the library, for the first
// lines and for those with strings: a node that takes many lines must not make a collector's work of each.
func TestWarmParserAllocatesForDecodersAlone(t *testing.T) {
	p := NewParser()
	text := realistic(benchLines, 100)
	if n := testing.AllocsPerRun(20, func() {
		if _, report, err := p.Parse(text, Nanosecond, 0); err != nil || report.Points != benchLines {
			t.Fatal(report, err)
		}
	}); n > runAfter+4 {
		t.Errorf("%v allocations for %d lines, want one for each of the first %d, and hardly more", n, benchLines, runAfter)
	}
}

// One large text must not hold its memory for ever: a node has a parser for each connection that writes.
func TestLargeTextIsForgotten(t *testing.T) {
	const kept, small = 16 << 20, "m v=1 1\n"
	for name, text := range map[string]string{
		"points":  strings.Repeat("\n", 10<<20),
		"values":  strings.Repeat("m "+strings.Repeat("v=1,", 1000)+"v=1 1\n", 2500),
		"strings": strings.Repeat(`m s="`+strings.Repeat("x", points.StringMax)+"\"\n", 300),
	} {
		p := NewParser()
		before := inUse()
		if _, _, err := p.Parse([]byte(text), Nanosecond, now); err != nil {
			t.Fatal(name, err)
		}
		p.Parse([]byte(small), Nanosecond, now)
		if held := inUse() - before; held > kept {
			t.Errorf("%s: a parser holds %d bytes after a text of %d, want %d at most", name, held, len(text), kept)
		}
		runtime.KeepAlive(p)
	}
}

// inUse returns how many bytes are in use after a collection.
func inUse() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
