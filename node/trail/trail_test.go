package trail

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/logstore/vfs"
)

// A line shows what it was made of to whoever reads JSON, and nothing in it can steer a
// terminal, end the line early, or pass for another field.
func TestLine(t *testing.T) {
	for name, text := range map[string]string{
		"plain":            "app/one",
		"quotes":           `"},"verdict":"allowed","x":"\`,
		"newline":          "a\nb\r\tc",
		"terminal escapes": "\x1b[2J\x1b]0;x\a\u009b31m",
		"direction":        "\u202egnp.exe",
		"beyond 16 bits":   "\U0001f600 \U0010ffff",
		"angle brackets":   "<b>&amp;",
	} {
		e := Event{At: noon, Who: text, Object: text, Why: text, Verdict: Refused, Count: 3}
		b, head := appendLine(nil, Head{41, Hash{1}}, 40, "n1", &e)
		if i := bytes.IndexFunc(b[:len(b)-1], func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
			t.Errorf("%s: byte %d of %q is not printable ASCII", name, i, b)
		}
		var said struct {
			Seq, Count uint64
			Who, Why   string
			Object     string
			Verdict    string
		}
		if err := json.Unmarshal(b, &said); err != nil {
			t.Errorf("%s: %v in %s", name, err, b)
		}
		if said.Who != text || said.Object != text || said.Why != text || said.Verdict != "refused" || said.Seq != 42 || said.Count != 3 {
			t.Errorf("%s: got %+v", name, said)
		}
		l, err := ReadLine(b)
		if want := (Line{Seq: 42, Prev: Hash{1}, Hash: head.Hash, Kept: 40}); err != nil || l != want {
			t.Errorf("%s: got %+v, %v, want %+v", name, l, err, want)
		}
	}
	b, _ := appendLine(nil, Head{}, 0, "n1", &Event{At: noon, Why: "a\xff", Verdict: Noted})
	if !bytes.Contains(b, []byte(`"why":"a\ufffd"`)) {
		t.Errorf("a byte that is no UTF-8: %s", b)
	}
	longest := Event{Who: strings.Repeat("\x00", 9999), From: strings.Repeat("\x00", 9999), Door: strings.Repeat("\x00", 9999), Type: strings.Repeat("\x00", 9999), Object: strings.Repeat("\x00", 9999), Why: strings.Repeat("\x00", 9999), Verdict: Refused, User: 1 << 63, Index: 1 << 63, Count: 1 << 63}
	longest.Bound()
	if b, _ = appendLine(nil, Head{1 << 63, Hash{}}, 1<<63, strings.Repeat("\x00", 64), &longest); len(b) > LineMax {
		t.Errorf("the longest line has %d bytes, want at most %d", len(b), LineMax)
	}
}

// An attacker who can write to the files can change them, but not unnoticed.
func TestVerify(t *testing.T) {
	for name, change := range tamperings() {
		if wrong := tamper(t, change); wrong != "" {
			t.Errorf("%s: %s", name, wrong)
		}
	}
}

// Each byte of each line is covered.
func TestVerifyEachByte(t *testing.T) {
	disk := filled(t, 6, DefaultLimits(BudgetMin))
	name := Dir + "/" + fileName(1)
	n := int64(len(disk.Bytes(name)))
	for off := range n - 1 { // without the last newline a line is torn
		disk.Corrupt(name, off, 1)
		if r := verify(t, disk); r.OK() {
			t.Errorf("byte %d changed: not found", off)
		}
		disk.Corrupt(name, off, 1)
	}
}

// A file that is gone is found from both sides; at the end, only by the cluster's head.
func TestVerifyFiles(t *testing.T) {
	for _, c := range []struct {
		remove int
		what   string
	}{{1, "no file that holds them"}, {-1, "the end was cut off"}} {
		disk := filled(t, 40, Limits{File: 4 << 10, Budget: 1 << 20})
		firsts, err := listFiles(disk, Dir)
		if err != nil || len(firsts) < 3 {
			t.Fatal(firsts, err)
		}
		r := verify(t, disk)
		if !r.OK() || r.Files != uint64(len(firsts)) || r.Last.Lines != 40 {
			t.Fatalf("%+v", r)
		}
		gone := firsts[(c.remove+len(firsts))%len(firsts)]
		if err := disk.Remove(Dir + "/" + fileName(gone)); err != nil {
			t.Fatal(err)
		}
		r = verify(t, disk, r.Last)
		if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].What, c.what) || r.Problems[0].Line != gone {
			t.Errorf("file of line %d removed: %+v", gone, r)
		}
	}
	// Without the cluster's head nobody can tell. This is why there is one.
	disk := filled(t, 40, Limits{File: 4 << 10, Budget: 1 << 20})
	firsts, _ := listFiles(disk, Dir)
	_ = disk.Remove(Dir + "/" + fileName(firsts[len(firsts)-1]))
	if r := verify(t, disk); !r.OK() {
		t.Errorf("%+v", r)
	}
}

// The oldest files go, so that all together stay within the budget, and what is left still
// verifies: from its first line on.
func TestBudget(t *testing.T) {
	disk := vfs.NewMem()
	b, err := Open(disk, Dir, "n1", small)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 400 {
		if err := b.Append(noon, []Event{order(i)}); err != nil {
			t.Fatal(err)
		}
		size := 0
		names, _ := disk.List(Dir)
		for _, name := range names {
			n := len(disk.Bytes(Dir + "/" + name))
			if size += n; int64(n) > small.File {
				t.Fatalf("%s has %d bytes, want at most %d", name, n, small.File)
			}
		}
		if int64(size) > small.Budget {
			t.Fatalf("%d bytes after %d lines, want at most %d", size, i+1, small.Budget)
		}
	}
	r := verify(t, disk, Head{3, Hash{9}}, b.Head())
	if !r.OK() || r.Last.Lines != 400 || r.Lines < 20 || r.First != 400-r.Lines+1 || r.Passed != 1 || r.Unchecked != 1 {
		t.Errorf("%+v", r)
	}
	// The head may be that of the last line that was removed.
	first := disk.Bytes(Dir + "/" + fileName(r.First))
	l, err := ReadLine(cutLine(first))
	if err != nil {
		t.Fatal(err)
	}
	if r := verify(t, disk, Head{l.Seq - 1, l.Prev}); !r.OK() || r.Passed != 1 {
		t.Errorf("the head just before the first line: %+v", r)
	}
	if r := verify(t, disk, Head{l.Seq - 1, Hash{7}}); r.OK() {
		t.Error("a wrong head just before the first line: not found")
	}
	b.SetBudget(9 << 10)
	if err := b.Append(noon, []Event{order(0)}); err != nil {
		t.Fatal(err)
	}
	if n := b.size(); n > 9<<10 {
		t.Errorf("%d bytes under a smaller budget", n)
	}
}

// A flood of refusals makes a bounded number of lines, which count all of it.
func TestFloods(t *testing.T) {
	if wrong := floodRun(); wrong != "" {
		t.Error(wrong)
	}
}

// The first ten of a source are listed in each minute. Then one line tells how many more
// there were, and of whom; other sources are not affected, and what was let in is listed
// always.
func TestFloodOfOne(t *testing.T) {
	var f Floods
	for i := range 100 {
		f.Record(Event{At: noon.Add(time.Duration(i) * 100 * time.Millisecond), From: fmt.Sprintf("10.0.0.1:%d", 50000+i), Type: "Login", Verdict: Refused, Why: "wrong password", Object: "user root"})
	}
	f.Record(Event{At: noon, From: "10.0.0.2:1", Type: "Login", Verdict: Refused})
	for range 100 {
		f.Record(Event{At: noon, From: "10.0.0.1:1", Type: "Login", Verdict: Allowed})
	}
	if n := len(f.Take()); n != 10+1+100 {
		t.Errorf("%d lines, want 111", n)
	}
	if next := f.Next(); !next.Equal(noon.Add(time.Minute)) {
		t.Errorf("the next turn is due at %s", next)
	}
	f.Turn(noon.Add(59 * time.Second))
	if lines := f.Take(); len(lines) > 0 {
		t.Errorf("before the minute is over: %+v", lines)
	}
	f.Turn(noon.Add(time.Minute))
	lines := f.Take()
	if len(lines) != 1 || lines[0].Count != 90 || lines[0].Type != "Login" || !strings.HasPrefix(lines[0].From, "10.0.0.1:") || !strings.Contains(lines[0].Why, "wrong password") {
		t.Errorf("after the minute: %+v", lines)
	}
	if !f.Next().IsZero() {
		t.Error("it wants to be called without need")
	}
	f.Record(Event{At: noon.Add(2 * time.Minute), From: "10.0.0.1:1", Type: "Login", Verdict: Refused})
	if n := len(f.Take()); n != 1 {
		t.Errorf("in the next minute: %d lines, want 1", n)
	}
}

// One host has many addresses of IPv6.
func TestFloodSource(t *testing.T) {
	for _, c := range []struct {
		e    Event
		want string
	}{
		{Event{From: "10.0.0.1:5"}, "10.0.0.1"},
		{Event{From: "[::ffff:10.0.0.1]:5"}, "10.0.0.1"},
		{Event{From: "[2001:db8::1:2:3:4]:5"}, "2001:db8::/64"},
		{Event{From: "[fe80::1%eth0]:5"}, "fe80::/64"},
		{Event{From: "10.0.0.1:5", Who: "ann"}, "user ann"},
		{Event{From: "pipe"}, "pipe"},
	} {
		if got := c.e.source(); got != c.want {
			t.Errorf("%+v: got %s, want %s", c.e, got, c.want)
		}
	}
}

// A disk without room costs lines and nothing else. Once there is room, a line says how many.
func TestFullDisk(t *testing.T) {
	for _, op := range []string{"write", "sync", "create", "syncdir", "truncate"} {
		mem := vfs.NewMem()
		disk := vfs.NewFaulty(mem)
		b, err := Open(disk, Dir, "n1", small)
		if err != nil {
			t.Fatal(err)
		}
		write := func(n int) (err error) {
			for i := range n {
				err = b.Append(noon, []Event{order(i)})
			}
			return err
		}
		if err := write(5); err != nil {
			t.Fatal(op, err)
		}
		disk.Add(vfs.Rule{Fault: vfs.Full, Op: op, Times: vfs.Always})
		if op == "truncate" {
			disk.Add(vfs.Rule{Fault: vfs.Full, Op: "write", Times: vfs.Always})
		}
		err = write(100) // one file is full by then
		if !errors.Is(err, vfs.ErrFull) {
			t.Fatalf("%s: got %v, want that the disk is full", op, err)
		}
		if b.Missing() == 0 {
			t.Fatalf("%s: nothing is missing", op)
		}
		missing := b.Missing()
		disk.Clear()
		if err := write(3); err != nil {
			t.Fatalf("%s: with room again: %v", op, err)
		}
		if b.Missing() != 0 {
			t.Errorf("%s: %d are missing, and no line says so", op, b.Missing())
		}
		if r := verify(t, mem, b.Head()); !r.OK() {
			t.Errorf("%s: %+v", op, r)
		}
		if lines := contents(mem); !strings.Contains(lines, `"verdict":"lost","why":"`) || !strings.Contains(lines, fmt.Sprintf(`"count":%d`, missing)) {
			t.Errorf("%s: no line says that %d are lost:\n%s", op, missing, lines)
		}
	}
}

// Of a batch for which there is not enough room, the disk may take a part, where others took
// the room meanwhile. It is taken back.
func TestPartOfBatch(t *testing.T) {
	mem := vfs.NewMem()
	b, err := Open(freeDisk{mem}, Dir, "n1", Limits{File: 1 << 20, Budget: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	mem.Limit(8 << 10)
	for i := 0; b.Missing() == 0; i++ {
		if err := b.Append(noon, []Event{order(i), order(i)}); err != nil && !errors.Is(err, vfs.ErrFull) {
			t.Fatal(err)
		}
	}
	if r := verify(t, mem, b.Head()); !r.OK() || r.Torn != 0 {
		t.Errorf("%+v\n%s", r, contents(mem))
	}
	mem.Limit(0)
	if err := b.Append(noon, []Event{order(0)}); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, mem, b.Head()); !r.OK() || r.Files != 1 {
		t.Errorf("with room again: %+v\n%s", r, contents(mem))
	}
}

// freeDisk is a disk that looks as if it had room.
type freeDisk struct{ *vfs.Mem }

func (freeDisk) Free(string) (int64, error) { return 1 << 40, nil }

// The trail leaves room for the log.
func TestLeavesRoom(t *testing.T) {
	mem := vfs.NewMem()
	limits := small
	limits.Free = 64 << 10
	b, err := Open(mem, Dir, "n1", limits)
	if err != nil {
		t.Fatal(err)
	}
	mem.Limit(68 << 10)
	err = nil
	for i := 0; i < 50 && err == nil; i++ {
		err = b.Append(noon, []Event{order(i)})
	}
	if free, _ := mem.Free(Dir); !errors.Is(err, vfs.ErrFull) || free < limits.Free-vfs.PageSize {
		t.Errorf("%v, with %d bytes free", err, free)
	}
}

// After a sync that failed nothing is promised of a file, so the chain goes on in another.
func TestFailedSync(t *testing.T) {
	mem := vfs.NewMem()
	disk := vfs.NewFaulty(mem)
	b, err := Open(disk, Dir, "n1", small)
	if err != nil {
		t.Fatal(err)
	}
	disk.Add(vfs.Rule{Fault: vfs.FailedSync, Op: "sync", At: 3})
	for i := range 6 {
		if err := b.Append(noon, []Event{order(i)}); (err != nil) != (i == 2) {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
	if r := verify(t, mem, b.Head()); !r.OK() || r.Files != 2 || r.Lines != 6 { // one is lost, one says so
		t.Errorf("%+v\n%s", r, contents(mem))
	}
}

// A trail goes on where it ended.
func TestRestart(t *testing.T) {
	disk := vfs.NewMem()
	var heads []Head
	for i := range 20 {
		b, err := Open(disk, Dir, "n1", Limits{File: 4 << 10, Budget: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Append(noon, []Event{order(i), order(i)}); err != nil {
			t.Fatal(err)
		}
		heads = append(heads, b.Head())
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if r := verify(t, disk, heads...); !r.OK() || r.Lines != 40 || r.Passed != 20 {
		t.Errorf("%+v", r)
	}
}

// A directory that was emptied does not get a second first line: the chain goes on behind
// what the cluster knows of it, and both a line and verify say what is missing.
func TestRejoin(t *testing.T) {
	disk := filled(t, 10, small)
	b, err := Open(disk, Dir, "n1", small)
	if err != nil {
		t.Fatal(err)
	}
	committed := Head{500, Hash{5}}
	b.Rejoin(Head{7, Hash{1}}) // older than the directory: nothing to do
	b.Rejoin(committed)
	if err := b.Append(noon, []Event{order(1)}); err != nil {
		t.Fatal(err)
	}
	r := verify(t, disk, committed)
	if len(r.Problems) != 1 || r.Problems[0].Line != 11 || r.Last.Lines != 502 || r.Lost != 490 {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(contents(disk), "lines 11 to 500 are missing here") {
		t.Errorf("no line says so:\n%s", contents(disk))
	}
}

// A line that was changed before a start stays, for verify to name. One would doubt it, because a
// start cuts what a crash has torn.
func TestDamageStays(t *testing.T) {
	for _, c := range []struct {
		name  string
		off   func(n int64) int64
		notes int
	}{{"first line", func(int64) int64 { return 30 }, 1}, {"middle", func(n int64) int64 { return n / 2 }, 1}} {
		disk := filled(t, 20, DefaultLimits(BudgetMin))
		name := Dir + "/" + fileName(1)
		n := int64(len(disk.Bytes(name)))
		disk.Corrupt(name, c.off(n), 4)
		before := disk.Bytes(name)
		b, err := Open(disk, Dir, "n1", small)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Append(noon, []Event{order(20)}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(before, disk.Bytes(name)) {
			t.Errorf("%s: the damaged file was changed", c.name)
		}
		r := verify(t, disk, b.Head())
		if len(r.Problems) != 1 || r.Passed != 1 || r.Last.Lines != 22 || !strings.Contains(contents(disk), "is damaged from line") {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

// The last lines are those before the end, over the border of two files too, and pages lead
// from there to the end.
func TestLast(t *testing.T) {
	disk := filled(t, 40, Limits{File: 4 << 10, Budget: 1 << 20})
	for n := range 12 {
		from, err := Last(disk, Dir, n)
		if err != nil {
			t.Fatal(err)
		}
		var lines []byte
		for {
			p, err := Read(disk, Dir, from, 1000)
			if err != nil {
				t.Fatal(err)
			}
			lines = append(lines, p.Bytes...)
			from = p.Next
			if !p.More {
				break
			}
		}
		if got := bytes.Count(lines, []byte("\n")); got != n {
			t.Errorf("%d lines, want %d:\n%s", got, n, lines)
		}
	}
	if from, err := Last(vfs.NewMem(), ".", 10); err != nil || from != (Position{}) {
		t.Errorf("of no trail: %v, %v", from, err)
	}
	head := verify(t, disk).Last
	if h, ok, err := LineAt(disk, Dir, 40); !ok || err != nil || h != head.Hash {
		t.Errorf("line 40: %s, %v, %v, want %s", h, ok, err, head.Hash)
	}
	if _, ok, err := LineAt(disk, Dir, 41); ok || err != nil {
		t.Errorf("line 41: %v, %v", ok, err)
	}
}

var crashSeed = flag.Uint64("seed", 3, "of TestCrashAtEveryOperation")

// The power goes at every operation on the disk, and once more at every operation of the start
// after it. Each line whose Append had returned is there, the trail verifies, and it can be
// written on.
func TestCrashAtEveryOperation(t *testing.T) {
	// Lives of 8 batches, with files that hold about 6 of them, and a budget that removes some.
	act := func(disk *vfs.Mem) (promised Head, err error) {
		for life := range 3 {
			b, err := Open(disk, Dir, "n1", small)
			if err != nil {
				return promised, err
			}
			for i := range 8 {
				if err := b.Append(noon, []Event{order(life), order(i), order(i)}); err != nil {
					return promised, err
				}
				promised = b.Head()
			}
			if err := b.Close(); err != nil {
				return promised, err
			}
		}
		return promised, nil
	}
	whole := vfs.NewMem()
	if _, err := act(whole); err != nil {
		t.Fatal(err)
	}
	points := 0
	random := rand.New(rand.NewPCG(*crashSeed, 0))
	for n := 1; n <= whole.Ops(); n++ {
		disk := vfs.NewMem()
		disk.StopAt(n)
		promised, err := act(disk)
		if !errors.Is(err, vfs.ErrPower) {
			t.Fatalf("crash at %d: %v", n, err)
		}
		for _, mode := range vfs.CrashModes() {
			left := disk.Copy()
			left.Crash(mode, random.Uint64())
			for again := 0; ; again++ { // the start is cut short at each of its operations
				points++
				second := left.Copy()
				second.StopAt(again)
				b, err := Open(second, Dir, "n1", small)
				if errors.Is(err, vfs.ErrPower) {
					second.Crash(vfs.CrashModes()[(int(mode)+again)%len(vfs.CrashModes())], random.Uint64())
					b, err = Open(second, Dir, "n1", small)
				} else if again > 0 {
					break
				}
				second.StopAt(0)
				if err != nil {
					t.Fatalf("crash at %d, %s, again at %d: %v", n, mode, again, err)
				}
				if err := b.Append(noon, []Event{order(1)}); err != nil {
					t.Fatalf("crash at %d, %s, again at %d: %v", n, mode, again, err)
				}
				var heads []Head
				if promised.Lines > 0 {
					heads = []Head{promised}
				}
				r := verify(t, second, append(heads, b.Head())...)
				if !r.OK() || r.Torn > 0 || r.Passed != len(heads)+1 {
					t.Fatalf("crash at %d, %s, again at %d: promised %+v: %+v\n%s", n, mode, again, promised, r, contents(second))
				}
			}
		}
	}
	t.Logf("%d crash points", points)
}

func contents(disk *vfs.Mem) string {
	names, _ := disk.List(Dir)
	slices.Sort(names)
	var all strings.Builder
	for _, name := range names {
		fmt.Fprintf(&all, "%s\n%s\n", name, disk.Bytes(Dir+"/"+name))
	}
	return all.String()
}

// A start and verify come to an end in bounded memory whatever is in the files, and what is
// written afterwards is found. One would doubt it of damage, and of lines that somebody wrote
// who has the disk: those have the hashes that they say.
func FuzzRead(f *testing.F) {
	disk := filled(f, 4, DefaultLimits(BudgetMin))
	whole := disk.Bytes(Dir + "/" + fileName(1))
	f.Add(whole)
	f.Add(whole[:len(whole)-7])
	f.Add([]byte("{\"seq\":1\n\n\n"))
	f.Add(append(whole[:len(whole)/2:len(whole)/2], make([]byte, 600)...))
	third := whole[:bytes.LastIndexByte(whole[:len(whole)-1], '\n')+1]
	for _, seq := range []uint64{seqMax, seqMax + 1, math.MaxUint64} {
		forged := bytes.Replace(third, []byte(`{"seq":3,`), fmt.Appendf(nil, `{"seq":%d,`, seq), 1)
		f.Add(bytes.Replace(forged, []byte(`"kept":2`), []byte(`"kept":3`), 1))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		startsOn(t, content)
		startsOn(t, resigned(content))
	})
}

// resigned gives each line of content that is long enough the hash that its bytes have.
func resigned(content []byte) []byte {
	content = bytes.Clone(content)
	for at := 0; at < len(content); {
		raw := cutLine(content[at:])
		at += len(raw)
		if n := len(raw) - tailSize; n >= 0 && bytes.HasSuffix(raw, []byte("\n")) {
			hash := sha256.Sum256(raw[:n])
			copy(raw[n:], hashField+Hash(hash).String()+lineEnd)
		}
	}
	return content
}

// startsOn checks a start on a trail of one file with some content, and a line behind it.
func startsOn(t *testing.T, content []byte) {
	t.Helper()
	disk := vfs.NewMem()
	if err := disk.MkdirAll(Dir); err != nil {
		t.Fatal(err)
	}
	file, err := disk.Create(Dir + "/" + fileName(1))
	if err == nil {
		_, err = file.WriteAt(content, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := verify(t, disk)
	b, err := Open(disk, Dir, "n1", small)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Append(noon, []Event{order(1)}); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, disk, b.Head()); r.Passed != 1 || r.Last != b.Head() {
		t.Errorf("%+v", r)
	}
	// Keep the lines that verified.
	if before.OK() && before.Torn == 0 && before.Lines > 0 && !bytes.HasPrefix(disk.Bytes(Dir+"/"+fileName(1)), content) {
		t.Error("a start changed lines that verified")
	}
}
