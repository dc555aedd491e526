package trail

import (
	"fmt"
	"testing"
	"time"

	"muster/logstore/vfs"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// small are limits of which a test reaches all.
var small = Limits{File: 4 << 10, Budget: 16 << 10}

func order(i int) Event {
	return Event{At: noon.Add(time.Duration(i) * time.Second), Who: "ann", User: 7, From: "10.0.0.1:50000", Door: "client", Type: "Order", Object: fmt.Sprintf("setting %d", i), Verdict: Allowed, Index: uint64(i)}
}

// filled returns a disk with a trail of n lines in the directory trail, a batch for every
// two.
func filled(t testing.TB, n int, limits Limits) *vfs.Mem {
	t.Helper()
	disk := vfs.NewMem()
	b, err := Open(disk, Dir, "n1", limits)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= n; i += 2 {
		events := []Event{order(i), order(i + 1)}[:min(2, n-i+1)]
		if err := b.Append(noon, events); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return disk
}

func verify(t testing.TB, disk vfs.FS, heads ...Head) Report {
	t.Helper()
	r, err := Verify(disk, Dir, heads)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tamperings are ways to change a trail of 30 lines that was verified up to its line 30, each
// with what names it.
func tamperings() map[string]func(lines [][]byte) (changed [][]byte, at uint64) {
	type lines = [][]byte
	return map[string]func(lines) (lines, uint64){
		"a byte changed": func(l lines) (lines, uint64) {
			l[11][40] ^= 1
			return l, 12
		},
		"a line changed, with its hash": func(l lines) (lines, uint64) {
			old, _ := ReadLine(l[11])
			e := order(99)
			l[11], _ = appendLine(nil, Head{11, old.Prev}, 0, "n1", &e)
			return l, 13
		},
		"a line removed": func(l lines) (lines, uint64) {
			return append(l[:11:11], l[12:]...), 12
		},
		"a line removed, and those behind it numbered anew": func(l lines) (lines, uint64) {
			made := append(lines{}, l[:11]...)
			for i := 12; i < len(l); i++ {
				old, _ := ReadLine(l[i])
				e := order(i + 1)
				line, _ := appendLine(nil, Head{uint64(i - 1), old.Prev}, 0, "n1", &e)
				made = append(made, line)
			}
			return made, 12
		},
		"two lines swapped": func(l lines) (lines, uint64) {
			l[11], l[12] = l[12], l[11]
			return l, 12
		},
		"a line put in": func(l lines) (lines, uint64) {
			old, _ := ReadLine(l[11])
			e := order(99)
			line, _ := appendLine(nil, Head{11, old.Prev}, 0, "n1", &e)
			return append(l[:11:11], append(lines{line}, l[11:]...)...), 13
		},
		"the end cut off behind a head": func(l lines) (lines, uint64) { return l[:20], 21 },
		"all lines made anew": func(l lines) (lines, uint64) {
			var made lines
			head := Head{}
			for i := range l {
				e := order(1000 + i)
				var line []byte
				line, head = appendLine(nil, head, 0, "n1", &e)
				made = append(made, line)
			}
			return made, 30
		},
	}
}

// tamper returns why a way of tampering is not found, or "".
func tamper(t testing.TB, change func([][]byte) ([][]byte, uint64)) string {
	disk := filled(t, 30, DefaultLimits(BudgetMin))
	whole := disk.Bytes(Dir + "/" + fileName(1))
	var lines [][]byte
	for len(whole) > 0 {
		raw := cutLine(whole)
		lines = append(lines, append([]byte(nil), raw...))
		whole = whole[len(raw):]
	}
	last, err := ReadLine(lines[29])
	if err != nil {
		t.Fatal(err)
	}
	head := Head{30, last.Hash}
	if r := verify(t, disk, head); !r.OK() || r.Passed != 1 || r.Lines != 30 {
		return fmt.Sprintf("what nobody touched: %+v", r)
	}
	changed, at := change(lines)
	f, err := disk.Create(Dir + "/" + fileName(1))
	if err != nil {
		t.Fatal(err)
	}
	off := int64(0)
	for _, l := range changed {
		if _, err := f.WriteAt(l, off); err != nil {
			t.Fatal(err)
		}
		off += int64(len(l))
	}
	r := verify(t, disk, head)
	if r.OK() {
		return "it is not found"
	}
	if got := r.Problems[0]; got.Line != at {
		return fmt.Sprintf("it is found at line %d, want %d: %+v", got.Line, at, r.Problems)
	}
	return ""
}

// floodRun has a million refusals of many kinds in ten minutes, and returns what is wrong
// with what becomes of them, or "".
func floodRun() string {
	const refusals, minutes = 1_000_000, 10
	var f Floods
	lines, told := 0, uint64(0)
	for i := range refusals {
		now := noon.Add(time.Duration(i) * minutes * time.Minute / refusals)
		f.Record(Event{At: now, From: fmt.Sprintf("10.0.%d.%d:%d", i%7, i%250, i%60000), Door: "client", Type: []string{"Write", "Get", "Hello"}[i%3], Verdict: Refused, Why: "no"})
		for _, e := range f.Take() {
			lines++
			told += max(1, e.Count)
		}
		if n := len(f.buckets); n > bucketsMax {
			return fmt.Sprintf("%d buckets, at most %d are kept", n, bucketsMax)
		}
	}
	f.End(noon.Add(minutes * time.Minute))
	for _, e := range f.Take() {
		lines++
		told += max(1, e.Count)
	}
	if most := (minutes + 1) * (listedMax + bucketsMax); lines > most {
		return fmt.Sprintf("%d lines, want at most %d", lines, most)
	}
	if told != refusals {
		return fmt.Sprintf("the lines tell of %d refusals, there were %d", told, refusals)
	}
	return ""
}
