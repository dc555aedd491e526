package blocks

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/shardmap/points/block"
)

// rots damages a file in one way, and says what is wrong with what the scrub makes of it, or "".
func rots(t testing.TB, good *vfs.Mem, file []byte, sum block.Sum, rot func(disk *vfs.Mem, name string)) string {
	disk := good.Copy()
	s := mustOpen(t, disk)
	defer s.Close()
	name := s.tree.file(&File{Group: g3, Sum: sum})
	rot(disk, name)
	scrubbed(t, s)
	found := s.Damaged()
	switch {
	case len(found) != 1 || found[0].File.Sum != sum || found[0].Where.File != name:
		return fmt.Sprintf("found are %+v", found)
	case disk.Bytes(name) != nil || disk.Bytes(found[0].Aside) == nil:
		return fmt.Sprintf("it is not put aside, at %q", found[0].Aside)
	case len(s.Missing(g3, []block.Sum{sum})) != 1 || len(s.List(g3)) != 1:
		return "it counts as here"
	}
	if again := mustOpen(t, disk); len(again.Missing(g3, []block.Sum{sum})) != 1 {
		return "it counts as here after the next start"
	}
	if _, err := s.Open(g3, sum); !errors.Is(err, logstore.ErrDamaged) {
		return fmt.Sprintf("it is opened: %v", err)
	}
	if _, err := fetch(s, g3, file, sum); err != nil {
		return fmt.Sprintf("it can't be fetched: %v", err)
	}
	if len(s.Damaged()) != 0 || len(s.Missing(g3, []block.Sum{sum})) != 0 {
		return "it counts as damaged, though it was fetched"
	}
	return holds(s, g3, sum, file)
}

// twoFiles is a disk with a small file and another one, which nothing happens to.
func twoFiles(t testing.TB) (disk *vfs.Mem, file []byte, sum block.Sum) {
	disk = vfs.NewMem()
	s := mustOpen(t, disk)
	file, sum = made(t, 1, 3)
	_, err := put(s, g3, file, sum)
	must(t, err)
	b, other := made(t, 2, 3)
	_, err = put(s, g3, b, other)
	must(t, errors.Join(err, s.Close()))
	return disk, file, sum
}

// Whichever byte of a file is changed and wherever it is cut off, the scrub finds it and puts the file aside, and the
// file of another replica takes its place. The other file is left alone.
func TestEveryByteAndEveryCut(t *testing.T) {
	disk, file, sum := twoFiles(t)
	for i := range file {
		if wrong := rots(t, disk, file, sum, func(disk *vfs.Mem, name string) { disk.Corrupt(name, int64(i), 1<<(i%8)) }); wrong != "" {
			t.Errorf("byte %d changed: %s", i, wrong)
		}
		cut := func(disk *vfs.Mem, name string) {
			if _, err := disk.Damage(name, int64(i), vfs.Truncated); err != nil {
				t.Fatal(err)
			}
		}
		if wrong := rots(t, disk, file, sum, cut); wrong != "" {
			t.Errorf("cut at byte %d: %s", i, wrong)
		}
	}
}

// A file that is gone is damage too, which nothing can be put aside of.
func TestMissingFileIsDamage(t *testing.T) {
	disk, file, sum := twoFiles(t)
	s := mustOpen(t, disk)
	must(t, disk.Remove(s.tree.file(&File{Group: g3, Sum: sum})))
	for range 2 {
		scrubbed(t, s)
		if _, err := s.Open(g3, sum); !errors.Is(err, logstore.ErrDamaged) {
			t.Errorf("opened: %v", err)
		}
	}
	if d := s.Damaged(); len(d) != 1 || d[0].Aside != "" || !strings.Contains(d[0].Error(), "the file is missing") {
		t.Errorf("found are %v", d)
	}
	if _, err := fetch(s, g3, file, sum); err != nil {
		t.Error(err)
	}
	if wrong := holds(s, g3, sum, file); wrong != "" || len(s.Damaged()) > 0 {
		t.Errorf("%s, %v", wrong, s.Damaged())
	}
}

// Damage names the block that it is in, whoever meets it: the scrub, or a query that has the file open. Those that have
// it open go on; a block that is whole is read.
func TestDamageNamesItsBlock(t *testing.T) {
	disk := vfs.NewMem()
	s := mustOpen(t, disk)
	b, sum := made(t, 1, 5000) // two blocks
	_, err := put(s, g3, b, sum)
	must(t, err)
	r, err := s.Open(g3, sum)
	must(t, err)
	disk.Corrupt(s.tree.file(&r.of.entry.File), 40, 1)
	c := r.All()
	var into block.Block
	read := 0
	for c.Next() {
		if err := c.Read(&into); err != nil {
			r.Found(err)
			r.Found(err) // by two queries
			continue
		}
		read++
	}
	must(t, c.Err())
	if read != 1 {
		t.Errorf("%d blocks were read, want 1", read)
	}
	d := s.Damaged()
	if len(d) != 1 || d[0].Series != "cpu,host=1,part=000000000" || d[0].Field != "busy" || d[0].Where.Offset != 32 || d[0].Aside == "" || d[0].Where.Refused {
		t.Fatalf("found are %+v", d)
	}
	for _, want := range []string{"g3-i2/" + sum.Name() + " is damaged at offset 32", `block of field "busy" of series "cpu,host=1,part=000000000"`, "checksum"} {
		if !strings.Contains(d[0].Error(), want) {
			t.Errorf("it does not say %q: %v", want, &d[0])
		}
	}
	if n := s.Stats(); n.Open != 1 || n.Damaged != 1 || n.Files != 0 {
		t.Errorf("figures %+v", n)
	}
	_, err = fetch(s, g3, b, sum)
	must(t, err)
	r.Found(&block.DamageError{What: "met in the old one, and told late"})
	if len(s.Damaged()) != 0 {
		t.Error("damage of the old file counts for the new one")
	}
	if wrong := holds(s, g3, sum, b); wrong != "" {
		t.Error(wrong)
	}
	must(t, r.Close())
	if n := s.Stats(); n.Open != 1 || n.Damaged != 0 || n.Files != 1 || n.Aside != 1 {
		t.Errorf("figures %+v", n)
	}
}

// asideStays has more files rot than stay for a person, replaces none of them, and then all, and says what is wrong, or "".
func asideStays(t testing.TB) string {
	disk := vfs.NewMem()
	s := mustOpen(t, disk)
	const files = AsideMax + 3
	of := func(i int) Group { return []Group{g3, g4}[i%2] }
	var all [files][]byte
	var sums [files]block.Sum
	for i := range files {
		all[i], sums[i] = made(t, i, 5000) // two blocks
		_, err := put(s, of(i), all[i], sums[i])
		must(t, err)
		disk.Corrupt(s.tree.file(&File{Group: of(i), Sum: sums[i]}), 40, 1)
		if err := s.Verify(of(i), sums[i]); !errors.Is(err, logstore.ErrDamaged) {
			t.Fatal(err)
		}
		if i == 4 {
			s = mustOpen(t, disk)
		}
	}
	if got := len(s.PutAside(g3)) + len(s.PutAside(g4)); got != files {
		return fmt.Sprintf("%d are put aside, want %d: each may be the last", got, files)
	}
	for i := range files {
		r, err := s.OpenAside(of(i), sums[i])
		if err != nil {
			return err.Error()
		}
		whole := 0
		var b block.Block
		for c := r.All(); c.Next(); {
			if err := c.Read(&b); err == nil {
				whole++
			} else {
				r.Found(err) // is known
			}
		}
		must(t, r.Close())
		if whole != 1 {
			return fmt.Sprintf("%d blocks of a damaged file can be read, want 1", whole)
		}
	}
	if _, err := s.OpenAside(g3, sums[1]); !errors.Is(err, ErrUnknown) {
		return fmt.Sprintf("of another group: %v", err)
	}
	must(t, s.Remove(of(0), sums[0])) // nobody needs it
	for i := 1; i < files; i++ {
		_, err := fetch(s, of(i), all[i], sums[i])
		must(t, err)
		if _, err := s.OpenAside(of(i), sums[i]); !errors.Is(err, ErrUnknown) {
			return fmt.Sprintf("the damaged file is opened though a whole one is here: %v", err)
		}
	}
	if n := s.Stats(); n.Open > files || n.Aside != AsideMax || n.Files != files-1 {
		return fmt.Sprintf("figures %+v", n)
	}
	names, err := AsideFiles(disk, "d")
	must(t, err)
	last := fmt.Sprintf("%016d-%s%s", files, sums[files-1], asideSuffix)
	if len(names) != AsideMax || !slices.ContainsFunc(names, func(name string) bool { return path.Base(name) == last }) {
		return fmt.Sprintf("left are %v", names)
	}
	if s = mustOpen(t, disk); s.Stats().Aside != AsideMax || len(s.PutAside(g3))+len(s.PutAside(g4)) > 0 {
		return fmt.Sprintf("after a start, put aside are %+v", s.Stats())
	}
	must(t, s.RemoveGroup(g3))
	must(t, s.RemoveGroup(g4))
	if names, err := AsideFiles(disk, "d"); err != nil || len(names) != 0 || s.Stats().Aside != 0 {
		return fmt.Sprintf("left are %v, %v", names, err)
	}
	return ""
}

// A damaged file stays, and its whole blocks can be read, until a whole one takes its place: it may be the last copy.
// After that the newest few stay for a person, of all groups together.
func TestDamagedFilesStay(t *testing.T) {
	if wrong := asideStays(t); wrong != "" {
		t.Error(wrong)
	}
}

// A refusal of the disk is no damage, and no file is put aside for it. After some looks the file counts as damaged, and
// another replica's may take its place; if the disk returns the bytes, that is over.
func TestRefusedReads(t *testing.T) {
	for _, end := range []string{"the disk returns it", "it is fetched"} {
		mem, file, sum := twoFiles(t)
		disk := vfs.NewFaulty(mem)
		s := mustOpen(t, disk)
		if s.LookAgain() {
			t.Error("there is something to look for")
		}
		disk.Add(vfs.Rule{Fault: vfs.Unreadable, Name: sum.Name(), Offset: 0, Times: vfs.Always})
		scrubbed(t, s)
		if err := s.Verify(g3, sum); !errors.Is(err, logstore.ErrRefused) || errors.Is(err, logstore.ErrDamaged) {
			t.Errorf("verified: %v", err)
		}
		if n := s.Stats(); n.Refused != 1 || n.Damaged != 0 || len(s.Missing(g3, []block.Sum{sum})) != 0 {
			t.Errorf("figures %+v", n)
		}
		for range refusedLooks {
			if !s.LookAgain() {
				t.Error("there is nothing to look for")
			}
		}
		d := s.Damaged()
		if len(d) != 1 || !d[0].Where.Refused || d[0].Aside != "" || !errors.Is(&d[0], logstore.ErrRefused) || len(s.Missing(g3, []block.Sum{sum})) != 1 {
			t.Errorf("found are %+v", d)
		}
		if end == "it is fetched" {
			disk.Clear()
			if _, err := fetch(s, g3, file, sum); err != nil {
				t.Error(err)
			}
		} else {
			disk.Clear()
			s.LookAgain()
		}
		if n := s.Stats(); n.Refused != 0 || n.Damaged != 0 || n.Files != 2 || s.LookAgain() {
			t.Errorf("%s: figures %+v", end, n)
		}
		if wrong := holds(s, g3, sum, file); wrong != "" {
			t.Errorf("%s: %s", end, wrong)
		}
	}
}

// A start goes on without a file that the disk refuses, and not without the names in a directory.
func TestRefusedAtStart(t *testing.T) {
	mem, file, sum := twoFiles(t)
	disk := vfs.NewFaulty(mem)
	disk.Add(vfs.Rule{Fault: vfs.Error, Op: "open", Name: sum.Name(), Times: vfs.Always})
	s := mustOpen(t, disk)
	if d := s.Damaged(); len(d) != 1 || d[0].File.Sum != sum || !d[0].Where.Refused {
		t.Errorf("found are %+v", d)
	}
	disk.Clear()
	if s.LookAgain(); len(s.Damaged()) != 0 || len(s.Missing(g3, []block.Sum{sum})) != 0 {
		t.Errorf("found are %+v", s.Damaged())
	}
	for _, f := range s.List(g3) {
		if f.Sum == sum && f.Size != int64(len(file)) {
			t.Errorf("it has %d bytes, want %d", f.Size, len(file))
		}
	}
	disk.Add(vfs.Rule{Fault: vfs.Error, Op: "list", Name: "g3-i2", Times: vfs.Always})
	if _, err := Open(Options{FS: disk, Dir: "d"}); !errors.Is(err, logstore.ErrRefused) {
		t.Errorf("it starts without knowing the names: %v", err)
	}
}

// Damage shows though the file can't be renamed; it counts as missing all the same.
func TestDamageThatCantBePutAside(t *testing.T) {
	mem, file, sum := twoFiles(t)
	disk := vfs.NewFaulty(mem)
	s := mustOpen(t, disk)
	name := s.tree.file(&File{Group: g3, Sum: sum})
	mem.Corrupt(name, 40, 1)
	disk.Add(vfs.Rule{Fault: vfs.Error, Op: "rename", Times: vfs.Always})
	scrubbed(t, s)
	if d := s.Damaged(); len(d) != 1 || d[0].Aside != "" || len(s.Missing(g3, []block.Sum{sum})) != 1 {
		t.Errorf("found are %+v", d)
	}
	disk.Clear()
	_, err := fetch(s, g3, file, sum)
	must(t, err)
	if wrong := holds(s, g3, sum, file); wrong != "" || !bytes.Equal(mem.Bytes(name), file) {
		t.Error(wrong)
	}
}

// The scrub goes in steps as small as its owner wants, reads every byte, and comes to its end though files go and come
// under it; then it begins anew.
func TestScrubSteps(t *testing.T) {
	disk := vfs.NewMem()
	s := mustOpen(t, disk)
	if !s.Scrub(1000) {
		t.Error("of nothing there is an end")
	}
	var sums []block.Sum
	for i, points := range []int{9000, 10, 0} {
		b, sum := made(t, i, points)
		_, err := put(s, []Group{g3, g4, g4}[i], b, sum)
		must(t, err)
		sums = append(sums, sum)
	}
	for range 2 {
		if steps := scrubbed(t, s); steps < 5 {
			t.Errorf("%d steps of one byte for 5 blocks and more", steps)
		}
	}
	if !s.Scrub(1 << 30) {
		t.Error("one large step does not reach the end")
	}
	s.Scrub(1)
	must(t, s.RemoveGroup(g3))
	scrubbed(t, s)
	s.Scrub(1)
	must(t, s.Remove(g4, sums[1:]...))
	scrubbed(t, s)
	if n := s.Stats(); n.Files != 0 || n.Open != 0 || len(s.Damaged()) != 0 {
		t.Errorf("figures %+v, %v", n, s.Damaged())
	}
	must(t, s.Close())
}
