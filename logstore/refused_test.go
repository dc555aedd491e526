package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// questions are the operations that ask the disk something and change nothing.
var questions = []string{"open", "read", "size", "list", "stat"}

// The disk refuses every call of every story: once, which nobody notices, because it
// is asked again; or from then on for good, after which the story ends with an error
// or continues without. Either way nothing is lost: once the disk answers, all is
// there, and nothing was recorded as lost.
func TestRefusedAtEveryCall(t *testing.T) {
	enumerates(t)
	fired := map[string]int{}
	for i := range stories {
		s := &stories[i]
		if s.long {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			for _, op := range questions {
				for _, times := range []int{1, vfs.Always} {
					for n := 1; s.refused(t, vfs.Rule{Fault: vfs.Error, Op: op, At: n, Times: times}); n++ {
						fired[fmt.Sprint(op, " ", times)]++
					}
				}
			}
		})
	}
	t.Logf("refused: %v", fired)
	for _, op := range questions {
		for _, times := range []int{1, vfs.Always} {
			if fired[fmt.Sprint(op, " ", times)] == 0 {
				t.Errorf("%s was never refused %d times", op, times)
			}
		}
	}
}

// refused tells a story in which a question is refused. It says false if there
// was no such question.
func (s *story) refused(t testing.TB, rule vfs.Rule) bool {
	t.Helper()
	var disk *vfs.Faulty
	r := s.begin(t, 1, func(under vfs.FS) vfs.FS {
		disk = vfs.NewFaulty(under)
		return disk
	})
	armed := disk.Add(rule)
	err := s.act(r)
	if armed.Fired() == 0 {
		must(t, err)
		return false
	}
	where := fmt.Sprintf("%s %d refused, times %d", rule.Op, rule.At, rule.Times)
	switch {
	case rule.Times == 1 && err != nil:
		t.Errorf("%s: got %v", where, err)
	case err != nil && !errors.Is(err, vfs.ErrFault) && !errors.Is(err, ErrRefused):
		t.Errorf("%s: got %v, want what the disk said", where, err)
	}
	if r.store != nil {
		for _, d := range r.store.Damaged() {
			if !d.Where.Refused && (len(d.Lost) > 0 || d.Promises) {
				t.Errorf("%s: taken for loss: %v", where, d.Err())
			}
		}
	}
	disk.Clear()
	mode := []vfs.CrashMode{vfs.DropUnsynced, vfs.KeepUnsynced}[rule.At%2]
	r.mem.Crash(mode, 0)
	if err := r.fork(r.mem).survive(); err != nil {
		t.Errorf("%s, then %s: %v", where, mode, err)
	}
	return true
}

// refusable is a log of some segments with what makes one: entries of two
// replicas in turns, a snapshot, a removal. It is of a node that stopped cleanly,
// or was killed.
func refusable(t testing.TB, clean bool) *lifeRun {
	s := story{before: func(r *lifeRun) {
		begin(r)
		for range 12 {
			must(t, r.append(r.more(one, 1, 3000), r.more(two, 2, 500)))
		}
		must(t, r.snapshot(one, 2*blockBytes+1000))
		must(t, r.compact(one))
		must(t, r.append(founding(three), r.more(one, 1, 3000)))
		must(t, r.append(Write{Replica: three, Remove: true}))
		for range 14 {
			must(t, r.append(r.more(one, 2, 3000), r.more(two, 1, 500)))
		}
		must(t, r.idle())
		if clean {
			must(t, r.close())
		} else {
			r.kill()
		}
	}}
	return s.begin(t, 3, nil)
}

// sectorsInUse calls f with each sector of each file that is not zero, and those
// that follow one; of the blocks of a snapshot, with a sample of them.
func sectorsInUse(t testing.TB, disk *vfs.Mem, f func(name string, at int64)) {
	n := 0
	for _, dir := range []string{"d/log", "d/" + SnapshotDir} {
		names, err := disk.List(dir)
		must(t, err)
		for _, name := range names {
			b, zeros := disk.Bytes(dir+"/"+name), false
			for at := 0; at < len(b); at += vfs.SectorSize {
				end := min(at+vfs.SectorSize, len(b))
				before := zeros
				if zeros = bytes.Count(b[at:end], []byte{0}) == end-at; zeros && before {
					continue
				}
				if n++; strings.HasSuffix(dir, SnapshotDir) && n%16 != 0 && at > 0 && end < len(b) {
					continue // a block has 128 that are alike
				}
				f(dir+"/"+name, int64(at))
			}
		}
	}
	if n < 100 {
		t.Errorf("%d sectors: it shows nothing", n)
	}
}

// A sector that is refused again and again at a start. If it holds what tells
// where the log ends, and the node did not stop cleanly, the log is not opened,
// and the error names file and place. Else it is, and what can't be read is damage of its replica alone, told as
// refused. Nothing is written down as lost: with a disk that returns the sector
// the damage is over, in the process that runs as in the next one.
func TestRefusedAtStart(t *testing.T) {
	t.Run("after a clean stop", func(t *testing.T) { refusedAtStart(t, true) })
	t.Run("after a kill", func(t *testing.T) { refusedAtStart(t, false) })
}

func refusedAtStart(t *testing.T, clean bool) {
	left := refusable(t, clean)
	opened, refused, hurt, back, snapshots := 0, 0, 0, 0, 0
	sectorsInUse(t, left.mem, func(name string, at int64) {
		r := left.fork(left.mem.Copy())
		disk := vfs.NewFaulty(r.mem)
		r.fs = disk
		disk.Add(vfs.Rule{Fault: vfs.Unreadable, Name: name, Offset: at, Times: vfs.Always})
		where := fmt.Sprintf("%s at %d", name, at)
		if err := r.open(); err != nil {
			refused++
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), name) {
				t.Errorf("%s is refused: got %v", where, err)
			}
		} else {
			opened++
			for _, d := range r.store.Damaged() {
				if d.State && d.Where.Refused {
					snapshots++
				}
				if d.Replica == two && strings.Contains(name, SnapshotDir) {
					t.Errorf("%s is refused: %v", where, d.Err())
				}
				if len(d.Lost)+b2i(d.Promises) == 0 {
					continue
				}
				hurt++
				if d.Promises || !d.Where.Refused || d.Where.File != name {
					t.Errorf("%s is refused: got %v", where, d.Err())
				}
			}
			must(t, r.append(Write{Replica: two, Commit: r.done[two].last().Index, Entries: r.more(two, 3, 3000).Entries}))
			disk.Clear()
			for range 4 {
				r.store.LookAgain()
			}
			for id := range r.done {
				for es := r.store.Returned(id); len(es) > 0; es = r.store.Returned(id) {
					back++
					must(t, r.store.Append([]Write{{Replica: id, Mended: es}}))
				}
			}
			if err := r.check(); err != nil {
				t.Errorf("%s was refused, and is returned: %v", where, err)
			}
			must(t, r.close())
		}
		r = r.fork(r.mem)
		must(t, r.open())
		if err := r.check(); err != nil {
			t.Errorf("%s was refused at the start before: %v", where, err)
		}
		must(t, r.store.Close())
	})
	t.Logf("%d starts, %d refused; %d replicas hurt, %d given back, %d without a snapshot", opened, refused, hurt, back, snapshots)
	if opened == 0 || (refused == 0) != clean || hurt == 0 || back == 0 || snapshots == 0 {
		t.Error("one of them never came: it shows nothing")
	}
	if refused > opened/16 {
		t.Errorf("%d starts of %d were refused", refused, opened+refused)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// readAll reads as followers, the scrub, and the writer of a snapshot do.
func (r *lifeRun) readAll() {
	for done := false; !done; {
		done, _ = r.store.Scrub(1 << 20)
	}
	for id, l := range r.done {
		for _, e := range l.entries {
			_, _ = r.store.Read(id, e.ID.Index, e.ID.Index, math.MaxInt)
		}
		for _, sn := range r.store.Snapshots(id) {
			_, _ = readState(r.store, sn)
		}
	}
}

// A sector that is refused while the log is in use: once more than is tried at
// once, it is not damage yet; again and again, it is damage of its replica, told
// with file and offset, and of no other. Scrub continues to its end, Append
// continues, and nothing is recorded: another process that reads the disk finds all
// of it. When the sector is returned, the damage is over.
func TestRefusedInUse(t *testing.T) {
	left := refusable(t, true)
	hurt := 0
	sectorsInUse(t, left.mem, func(name string, at int64) {
		r := left.fork(left.mem.Copy())
		disk := vfs.NewFaulty(r.mem)
		r.fs = disk
		must(t, r.open())
		where := fmt.Sprintf("%s at %d", name, at)

		once := disk.Add(vfs.Rule{Fault: vfs.Unreadable, Name: name, Offset: at, Times: readTries})
		r.readAll()
		if err := r.checkDamage(); err != nil {
			t.Errorf("%s was refused %d times: %v", where, once.Fired(), err)
		}
		disk.Clear()
		for r.store.LookAgain() {
		}

		disk.Add(vfs.Rule{Fault: vfs.Unreadable, Name: name, Offset: at, Times: vfs.Always})
		for range refusedLooks {
			r.readAll()
			r.store.LookAgain()
		}
		all := r.store.Damaged()
		for _, d := range all {
			if d.State || len(d.Lost) > 0 {
				hurt++
			}
			if (d.State && len(r.states) > 0 && d.Replica == one || len(d.Lost) > 0) && (!d.Where.Refused || d.Where.File != name) || d.Promises {
				t.Errorf("%s is refused: got %v", where, d.Err())
			}
		}
		must(t, r.append(r.more(two, 1, 500), Write{Replica: one, Commit: r.done[one].state.Commit, Entries: r.more(one, 1, 500).Entries}))
		must(t, r.idle())
		other := r.fork(r.mem.Copy())
		must(t, other.open())
		if err := other.check(); err != nil {
			t.Errorf("%s is refused, and what is written of it: %v", where, err)
		}
		must(t, other.store.Close())

		disk.Clear()
		for n := 0; r.store.LookAgain(); n++ {
			if n > 100 {
				t.Fatalf("%s is returned, and still looked for", where)
			}
		}
		if err := r.check(); err != nil {
			t.Errorf("%s was refused: %v", where, err)
		}
		must(t, r.store.Close())
	})
	if hurt == 0 {
		t.Error("nothing was ever hurt: it shows nothing")
	}
}

// Entries that the disk refuses are given back by another replica: they are
// written anew, and nobody needs their old place any more.
func TestRefusedIsMended(t *testing.T) {
	for _, start := range []bool{false, true} {
		disk := vfs.NewFaulty(vfs.NewMem())
		s := mustOpen(t, disk, Options{})
		want := span(one, 1, 1, 9, 2500)
		must(t, s.Append([]Write{founding(one), {Replica: one, Entries: want[:3]}}))
		must(t, s.Append([]Write{{Replica: one, Entries: want[3:6]}}))
		at := s.index.replicas[one].runs[1].at
		must(t, s.Append([]Write{{Replica: one, Entries: want[6:]}}))
		must(t, s.Append([]Write{{Replica: one, Commit: 9}, founding(two)}))
		disk.Add(vfs.Rule{Fault: vfs.Unreadable, Name: "*.log", Offset: int64(at.offset) + 5000, Times: vfs.Always})
		if start {
			must(t, s.Close())
			s = mustOpen(t, disk, Options{})
		} else {
			for range refusedLooks {
				if _, err := s.Read(one, 4, 4, math.MaxInt); err == nil {
					t.Fatal("what is refused was read")
				}
			}
		}
		d, ok := s.DamageOf(one)
		if !ok || len(d.Lost) != 1 || !d.Where.Refused {
			t.Fatalf("start %v: got %+v", start, d)
		}
		if d.Lost[0].Last > 6 || d.Lost[0].First < 4 {
			t.Errorf("start %v: lost %v", start, d.Lost)
		}
		must(t, s.Append([]Write{{Replica: one, Mended: want[d.Lost[0].First-1 : d.Lost[0].Last]}}))
		if d, hurt := s.DamageOf(one); hurt {
			t.Errorf("start %v: mended, and still %v", start, d.Err())
		}
		got, err := s.Read(one, 1, 9, math.MaxInt)
		must(t, err)
		sameEntries(t, got, want)
		must(t, s.Close())
	}
}

// What is needed in the segment at the tail is refused when it is to be moved.
// Append continues and does not ask again each time; the segment stays, because it may
// have the only copy. When the disk returns it, it is moved, and the segment is
// freed.
func TestRefusedIsNotFreed(t *testing.T) {
	mem := vfs.NewMem()
	disk := vfs.NewFaulty(mem)
	s := mustOpen(t, disk, Options{})
	kept := span(two, 1, 1, 3, 500)
	must(t, s.Append([]Write{founding(one), founding(two), {Replica: two, Commit: 3, Entries: kept}}))
	index := uint64(0)
	grow := func() {
		must(t, s.Append([]Write{{Replica: one, Commit: index + 1, Entries: span(one, 1, index+1, index+1, 3000)}}))
		index++
	}
	for s.index.active.number < 4 {
		grow()
	}
	armed := disk.Add(vfs.Rule{Fault: vfs.Error, Op: "read", Name: "*0001.log", Times: vfs.Always})
	must(t, s.Compact(one, Base{ID: raft.LogID{Term: 1, Index: index}, Membership: voters(one.ID)}))
	for s.index.active.number < 9 {
		grow()
	}
	if n := armed.Fired(); n == 0 || n > 2*readTries {
		t.Errorf("the disk was asked %d times while the log was written to", n)
	}
	if s.index.segments[0].number != 1 {
		t.Fatalf("the log begins at segment %d: what was refused is gone", s.index.segments[0].number)
	}
	disk.Clear()
	for s.LookAgain() {
	}
	for s.index.active.number < 12 {
		grow()
		must(t, s.Compact(one, Base{ID: raft.LogID{Term: 1, Index: index}, Membership: voters(one.ID)}))
	}
	if s.index.segments[0].number == 1 {
		t.Error("it was returned, and its segment is not freed")
	}
	got, err := s.Read(two, 1, 3, math.MaxInt)
	must(t, err)
	sameEntries(t, got, kept)
	must(t, s.Close())
}

// refusing is a file of which some parts are refused. It counts the reads.
type refusing struct {
	vfs.File
	parts []stretch
	reads int
}

// ReadAt implements [vfs.File].
func (f *refusing) ReadAt(p []byte, at int64) (int, error) {
	f.reads++
	for _, part := range f.parts {
		if at < part.to && part.from < at+int64(len(p)) {
			return 0, vfs.ErrFault
		}
	}
	return f.File.ReadAt(p, at)
}

// A disk takes seconds for each read that it refuses. A start must not ask it for
// each chunk of a segment that is refused from end to end; nor may it give up what
// lies behind a place where much is refused.
func TestReadsOfARefusedSegmentAreBounded(t *testing.T) {
	const size, mib = SegmentBytesDefault, 1 << 20
	disk := vfs.NewMem()
	file, err := disk.Create("f")
	must(t, err)
	want := stream(size)
	_, err = file.WriteAt(want, 0)
	must(t, err)
	const asked = 1 + refusedRowMax*(1+refusedChunk/pageSize) // all at once, then by chunks and pages
	for _, test := range []struct {
		name   string
		parts  []stretch
		reads  int   // at most
		passed int64 // bytes that are not refused, and passed over, at most
	}{
		{"all", []stretch{{1, 0, size}}, readTries * (asked + 12), 0},
		{"all but the end", []stretch{{1, 0, size - pageSize}}, readTries * (asked + 12), pageSize},
		{"a page", []stretch{{1, 5 * mib, 5*mib + 1}}, size/refusedChunk + readTries*(2+refusedChunk/pageSize), pageSize},
		{"a track", []stretch{{1, 3 * mib, 4 * mib}}, size/refusedChunk + readTries*(asked+6), mib},
		{"two tracks", []stretch{{1, 3 * mib, 4 * mib}, {1, 9*mib + 10, 10*mib + 10}}, size/refusedChunk + 2*readTries*(asked+6), 2 * mib},
		{"the second half", []stretch{{1, size / 2, size}}, size/refusedChunk + readTries*(asked+12), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := &refusing{File: file, parts: test.parts}
			seg := &segment{number: 1, name: "f", file: f, size: size}
			got, refused, err := seg.read(nil)
			must(t, err)
			if f.reads > test.reads {
				t.Errorf("%d reads, want %d at most", f.reads, test.reads)
			}
			bad, passed, at := int64(0), int64(0), int64(0)
			for _, part := range test.parts {
				bad += part.to - part.from
			}
			for _, r := range append(refused, stretch{1, size, size}) {
				if !bytes.Equal(got[at:r.from], want[at:r.from]) {
					t.Fatalf("from %d to %d it is not what was written", at, r.from)
				}
				passed += r.to - r.from
				at = r.to
			}
			if passed -= bad; passed < 0 || passed > test.passed {
				t.Errorf("%d bytes are passed over, want %d at most: %v", passed, test.passed, refused)
			}
		})
	}
	must(t, file.Close())
}

// A tool that reads a log or a snapshot offline sees refused parts as refused, and
// sees the rest.
func TestRefusedOffline(t *testing.T) {
	r := refusable(t, true)
	disk := vfs.NewFaulty(r.mem)
	disk.Add(vfs.Rule{Fault: vfs.Unreadable, Name: "*0001.log", Offset: 6000, Times: vfs.Always})
	report, err := Verify(disk, "d")
	must(t, err)
	told := false
	for _, d := range report.Damages {
		told = told || d.Refused
	}
	if !told {
		t.Errorf("verify says nothing of it: %+v", report.Damages)
	}
	entries, told := 0, false
	must(t, Walk(disk, "d", func(w *Walked) error {
		entries += len(w.Entries)
		told = told || w.Damage != nil && w.Damage.Refused && w.Damage.Offset <= 6000
		return nil
	}))
	if !told || entries == 0 {
		t.Errorf("walk: %d entries, told of it: %v", entries, told)
	}
	s, err := OpenToRead(disk, "d")
	must(t, err)
	s.closeFiles()
}

// All reads go through the few functions that ask again. One that does not would
// be a place where one refusal is the end.
func TestReadsAskAgain(t *testing.T) {
	files, err := filepath.Glob("*.go")
	must(t, err)
	reads := regexp.MustCompile(`\b(file|f|disk|fs)\.(ReadAt|Size|List|Open)\b`)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "refused.go" {
			continue
		}
		b, err := os.ReadFile(name)
		must(t, err)
		for n, line := range strings.Split(string(b), "\n") {
			if reads.MatchString(line) {
				t.Errorf("%s:%d reads past refused.go: %s", name, n+1, strings.TrimSpace(line))
			}
		}
	}
}
