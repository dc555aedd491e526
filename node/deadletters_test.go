package node

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/logstore/hints"
	"muster/logstore/vfs"
	"muster/raft"
	"muster/repl/hinting"
	"muster/shardmap"
	"muster/shardmap/points"
	"muster/shardmap/points/query/querytest"
)

// letterOf is a letter with the points of a text, which are all in one shard.
func letterOf(t *testing.T, number uint64, text string) *letter {
	t.Helper()
	b, err := querytest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	span := points.Window{First: 0, Last: 1e12}
	shares := points.Split(b, func(int64) (points.Window, uint32) { return span, 1 })
	return &letter{number: number, group: "group 3", taken: time.Unix(1.8e9, 0), why: "its window\nwas dropped", points: &shardmap.PointsBody{Name: "metrics", Mode: shardmap.PointsFill, Share: shares[0].Append(nil),
		Shard: shardmap.ShardRef{ShardID: shardmap.ShardID{Window: 40}, Shards: 1, Database: 38, Policy: 39, Span: span}}}
}

// A dead letter is line protocol: to write it again brings the same points, whatever is in their names and strings. The comment before it
// stays one line.
func TestDeadLetterIsLineProtocol(t *testing.T) {
	text := "cpu,host=a\\ b,x=\\=\\, a\\ b=1i,s=\"a \\\"q\\\" \\\\ # z\nnext\",u=7u 1000\n" +
		"cpu,host=a\\ b,x=\\=\\, a\\ b=2i,t=true 2000\n" +
		"cpu,host=a\\ b,x=\\=\\, f=0.1,s=\"\" 2500\n" +
		"m\\,m v=-1.5e+300 3000\n"
	l := letterOf(t, 7, text)
	b, err := l.append(nil)
	if err != nil {
		t.Fatal(err)
	}
	head, lines, _ := strings.Cut(string(b), "\n")
	if want := "# hint 7, for group 3, taken 2027-01-15T08:00:00Z, database metrics, shard 0 of window 40, 8 values: its window was dropped"; head != want {
		t.Errorf("the letter begins with %q, want %q", head, want)
	}
	again := letterOf(t, 7, string(b))
	if !bytes.Equal(again.points.Share, l.points.Share) {
		t.Errorf("written again it is %d bytes that differ:\n%s", len(again.points.Share), lines)
	}
}

// Dead letters are durable when they are written, continue in the file that is there, and stop at their limit without a loss; when a person has
// removed files they go on.
func TestDeadLettersAreBounded(t *testing.T) {
	disk := vfs.NewMem()
	d := &deadLetters{disk: disk, dir: "d/deadletters"}
	first, second := letterOf(t, 1, "m v=1 1"), letterOf(t, 2, "m v=2 2")
	for _, l := range []*letter{first, second} {
		if err := d.bury(l); err != nil {
			t.Fatal(err)
		}
		disk.Crash(vfs.DropUnsynced, 0)
	}
	const name = "d/deadletters/0000000000000001.lp"
	if text := string(disk.Bytes(name)); strings.Count(text, "# hint") != 2 || !strings.Contains(text, "m v=1 1\n# hint 2") {
		t.Errorf("the file has %q", text)
	}
	unread := *first
	unread.points, unread.number = nil, 3
	if err := d.bury(&unread); err != nil || !strings.HasSuffix(string(disk.Bytes(name)), "# hint 3, for group 3, taken 2027-01-15T08:00:00Z: its window was dropped\n") {
		t.Errorf("one that can't be read: %v, %q", err, disk.Bytes(name))
	}
	for i := 2; i <= lettersMax/letterFileBytes+1; i++ { // full files, as if they had been written
		f, err := disk.Create(fmt.Sprintf("d/deadletters/%016d.lp", i))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(letterFileBytes); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.bury(second); err == nil || !strings.Contains(err.Error(), "look at them, and remove files") {
		t.Errorf("at the limit: %v", err)
	}
	if err := disk.Remove("d/deadletters/0000000000000002.lp"); err != nil {
		t.Fatal(err)
	}
	if err := d.bury(second); err != nil {
		t.Errorf("after a file was removed: %v", err)
	}
	last := fmt.Sprintf("d/deadletters/%016d.lp", lettersMax/letterFileBytes+2)
	if text := string(disk.Bytes(last)); !strings.HasPrefix(text, "# hint 2") {
		t.Errorf("the next file has %q", text)
	}
}

// A full disk refuses a letter before it takes what the log needs to go on, and so leaves the hint where it is. A write that failed, in this
// process or in the one before, leaves nothing that the next letter is read together with.
func TestDeadLettersOnBadDisks(t *testing.T) {
	mem := vfs.NewMem()
	disk := vfs.NewFaulty(mem)
	leave := int64(1 << 62)
	d := &deadLetters{disk: disk, dir: "d/deadletters", leave: func() int64 { return leave }}
	bury := func(number uint64) error { return d.bury(letterOf(t, number, "m s=\"one\ntwo\" 1000")) }
	if err := bury(1); err != nil {
		t.Fatalf("with more room than anybody leaves: %v", err)
	}
	mem.Limit(mem.Used() + 1<<20)
	leave = 1 << 20
	if err := bury(2); !errors.Is(err, vfs.ErrFull) || !strings.Contains(err.Error(), "of which the log gets the last 1048576") {
		t.Errorf("where the room is the log's: %v", err)
	}
	leave = 1<<20 - 4096
	text := func(n uint64) string { return string(mem.Bytes("d/deadletters/" + letterName(n))) }
	before := text(1)
	for _, fault := range []vfs.Fault{vfs.ShortWrite, vfs.FailedSync} {
		disk.Add(vfs.Rule{Fault: fault})
		if err := bury(3); !errors.Is(err, vfs.ErrFault) {
			t.Errorf("%s: %v", fault, err)
		}
		disk.Clear()
		if text(1) != before {
			t.Errorf("%s: there is %q", fault, text(1))
		}
	}
	disk.Add(vfs.Rule{Fault: vfs.ShortWrite})
	disk.Add(vfs.Rule{Fault: vfs.Error, Op: "truncate"})
	if err := bury(4); !errors.Is(err, vfs.ErrFault) || text(1) == before {
		t.Errorf("a part that stays: %v, %q", err, text(1))
	}
	disk.Clear()
	torn := text(1)
	if err := bury(4); err != nil || text(1) != torn || !strings.HasPrefix(text(2), "# hint 4") {
		t.Errorf("behind a part that stays: %v, %q, %q", err, text(1), text(2))
	}
	d = &deadLetters{disk: disk, dir: "d/deadletters"}
	if err := bury(5); err != nil || !strings.HasPrefix(text(3), "# hint 5") {
		t.Errorf("after a start: %v, %q", err, text(3))
	}
	if err := bury(6); err != nil || !strings.Contains(text(3), "\n# hint 6") {
		t.Errorf("after a start, once more: %v, %q", err, text(3))
	}
}

// A letter that failed may have made the file that the next one goes into. Its name must be durable too when that one is.
func TestDeadLettersInFilesThatFailed(t *testing.T) {
	for _, fault := range []vfs.Rule{{Fault: vfs.ShortWrite}, {Fault: vfs.FailedSync}, {Fault: vfs.Error, Op: "syncdir"}} {
		mem := vfs.NewMem()
		disk := vfs.NewFaulty(mem)
		d := &deadLetters{disk: disk, dir: "d/deadletters"}
		disk.Add(fault)
		if err := d.bury(letterOf(t, 1, "m v=1 1")); !errors.Is(err, vfs.ErrFault) {
			t.Errorf("%+v: %v", fault, err)
		}
		disk.Clear()
		err := d.bury(letterOf(t, 2, "m v=2 2"))
		mem.Crash(vfs.DropUnsynced, 0)
		if text := string(mem.Bytes("d/deadletters/" + letterName(1))); err != nil || !strings.Contains(text, "m v=2 2\n") {
			t.Errorf("%+v: %v, and after a crash %q", fault, err, text)
		}
	}
}

// A file that a person has renamed in the directory keeps what it has: no letter goes into it, and the next file does not take the
// place of another one.
func TestDeadLettersKeepRenamedFiles(t *testing.T) {
	const dir = "d/deadletters/"
	for _, renamed := range []string{"seen.lp", "1.lp", "99999999999999999999.lp", "0000000000000000.lp"} {
		disk := vfs.NewMem()
		d := &deadLetters{disk: disk, dir: "d/deadletters"}
		if err := d.bury(letterOf(t, 1, "m v=1 1")); err != nil {
			t.Fatal(err)
		}
		f, err := disk.Create(dir + renamed)
		if err == nil {
			err = f.Truncate(letterFileBytes)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := d.bury(letterOf(t, 2, "m v=2 2")); err != nil {
			t.Fatal(err)
		}
		if text := string(disk.Bytes(dir + letterName(1))); !strings.Contains(text, "m v=1 1\n# hint 2") {
			t.Errorf("beside %s the first file has %q", renamed, text)
		}
		if n := len(disk.Bytes(dir + renamed)); n != letterFileBytes {
			t.Errorf("%s has %d bytes, want %d", renamed, n, letterFileBytes)
		}
	}
}

// sickDisk is a disk from which nothing of the files that it makes can be read for a while.
type sickDisk struct {
	vfs.FS
	broken error
}

func (u *sickDisk) Create(name string) (vfs.File, error) {
	f, err := u.FS.Create(name)
	return sickFile{f, u}, err
}

type sickFile struct {
	vfs.File
	of *sickDisk
}

func (f sickFile) ReadAt(b []byte, at int64) (int, error) {
	if f.of.broken != nil {
		return 0, f.of.broken
	}
	return f.File.ReadAt(b, at)
}

// A disk that can't be read for a while costs no hint: neither is it refused for good, nor does a letter without its points take its
// place. Nor is it brought before there is a table.
func TestHintsWaitForTheirDisk(t *testing.T) {
	mem := vfs.NewMem()
	disk := &sickDisk{FS: mem}
	store, err := hints.Open(hints.Options{FS: disk, Dir: "d"})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	l := letterOf(t, 1, "m v=1 1")
	command := l.points.Command()
	says := command.Items[0]
	if err := store.Append([]hints.Put{{Hint: hints.Hint{Number: 1, Group: 3, Points: 1}, Says: says}}, nil); err != nil {
		t.Fatal(err)
	}
	k := &hintKeeper{node: &Node{}, store: store, letters: deadLetters{disk: mem, dir: "d/deadletters"}}
	h := hinting.Hint{Number: 1, Group: raft.GroupID(3), Points: 1}
	if o := k.fill(t.Context(), nil, h); o.Kind != hinting.Later || !strings.Contains(o.Why, "no table") {
		t.Errorf("without a table: %+v", o)
	}
	disk.broken = errors.New("input/output error")
	if o := k.fill(t.Context(), nil, h); o.Kind != hinting.Later || !strings.Contains(o.Why, "input/output error") {
		t.Errorf("while the disk can't be read: %+v", o)
	}
	if err := k.bury(h, "too old"); !errors.Is(err, disk.broken) {
		t.Errorf("a letter while the disk can't be read: %v", err)
	}
	if names, err := mem.List("d/deadletters"); err == nil && len(names) > 0 {
		t.Errorf("there are letters: %q", names)
	}
	disk.broken = nil
	if err := k.bury(h, "too old"); err != nil || !strings.Contains(string(mem.Bytes("d/deadletters/"+letterName(1))), "m v=1 1\n") {
		t.Errorf("when it can be read: %v, %q", err, mem.Bytes("d/deadletters/"+letterName(1)))
	}
	// Lost for good it is refused, and the letter says so.
	mem.Corrupt("d/hints/0000000000000001.hints", 600, 1)
	if o := k.fill(t.Context(), nil, h); o.Kind != hinting.Refused {
		t.Errorf("a damaged hint: %+v", o)
	}
	if err := k.bury(h, "too old"); err != nil || !strings.Contains(string(mem.Bytes("d/deadletters/"+letterName(1))), "can't be read any more") {
		t.Errorf("a letter of a damaged hint: %v", err)
	}
}
