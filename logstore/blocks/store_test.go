package blocks

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/repl/puretest"
	"muster/shardmap/points/block"
)

// The files that are committed are there, on both disks, and after another start; what was never finished is gone. A
// file that is removed can be read to its end by those that have it open, and a group leaves nothing behind.
func TestFilesComeBack(t *testing.T) {
	for name, disk := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS{}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, disk.MkdirAll(dir))
			begin := func() *Store {
				s, err := Open(Options{FS: disk, Dir: dir})
				must(t, err)
				return s
			}
			s := begin()
			if s.Groups() != nil || s.List(g3) != nil {
				t.Error("something is there before the first file")
			}
			files := map[block.Sum][]byte{}
			for i, points := range []int{0, 1, 5000, 400_000} { // the last one has some pieces
				b, sum := made(t, i, points)
				f, err := put(s, g3, b, sum)
				must(t, err)
				if f != (File{g3, sum, int64(len(b))}) {
					t.Errorf("committed as %+v", f)
				}
				files[sum] = b
			}
			other, otherSum := made(t, 9, 10)
			_, err := put(s, g4, other, otherSum)
			must(t, err)
			half, err := s.Create(g3)
			must(t, err)
			_, err = half.Write(other)
			must(t, err)
			if n := s.Stats(); n.Files != 5 || n.Unfinished != 1 || n.Bytes < 2<<20 {
				t.Errorf("figures %+v", n)
			}
			must(t, s.Close())
			if _, err := half.Commit(otherSum); !errors.Is(err, ErrStopped) {
				t.Errorf("commit after the end: %v", err)
			}

			s = begin()
			defer s.Close()
			if got := s.Groups(); !slices.Equal(got, []Group{g3, g4}) {
				t.Errorf("groups %v", got)
			}
			if got := s.List(g3); len(got) != len(files) || !slices.IsSortedFunc(got, compareFiles) {
				t.Errorf("list %v", got)
			}
			for sum, b := range files {
				if wrong := holds(s, g3, sum, b); wrong != "" {
					t.Errorf("%s: %s", sum, wrong)
				}
				if _, err := s.Open(g4, sum); !errors.Is(err, ErrUnknown) {
					t.Errorf("of another group: %v", err)
				}
			}
			sums := []block.Sum{otherSum}
			for sum := range files {
				sums = append(sums, sum)
			}
			if got := s.Missing(g3, sums); !slices.Equal(got, []block.Sum{otherSum}) {
				t.Errorf("missing are %v, want %v", got, otherSum)
			}

			r, err := s.Open(g3, sums[1])
			must(t, err)
			must(t, s.Remove(g3, sums[1], otherSum))
			if got := s.Missing(g3, sums); len(got) != 2 {
				t.Errorf("after one was removed, missing are %v", got)
			}
			if _, err := s.Open(g3, sums[1]); !errors.Is(err, ErrUnknown) {
				t.Errorf("a removed file is opened: %v", err)
			}
			must(t, r.Reader.Verify())
			must(t, r.Close())
			if err := r.Close(); err == nil {
				t.Error("closed twice")
			}
			must(t, s.RemoveGroup(g3))
			must(t, s.RemoveGroup(g3))
			if names, err := disk.List(path.Join(dir, Dir)); err != nil || !slices.Equal(names, []string{"g4-i1"}) {
				t.Errorf("left are %v, %v", names, err)
			}
			if wrong := holds(s, g4, otherSum, other); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// A file that is made twice is there once, as two replicas of one node's past may make it. One that is not what its
// maker says gets no name.
func TestCommitOfEqualAndOfOther(t *testing.T) {
	disk := vfs.NewMem()
	s := mustOpen(t, disk)
	b, sum := made(t, 1, 10)
	for range 2 {
		_, err := put(s, g3, b, sum)
		must(t, err)
	}
	_, other := made(t, 2, 10)
	for what, file := range map[string][]byte{"of another name": b, "cut off": b[:len(b)-1], "empty": nil, "no block file": []byte("text")} {
		if _, err := put(s, g3, file, other); !errors.Is(err, ErrContent) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if names, err := disk.List("d/points/g3-i2"); err != nil || !slices.Equal(names, []string{sum.Name()}) {
		t.Errorf("there are %v, %v", names, err)
	}
	if n := s.Stats(); n.Unfinished != 0 || n.Files != 1 {
		t.Errorf("figures %+v", n)
	}
}

// Files that are not of this package stay where they are.
func TestUnknownFilesStay(t *testing.T) {
	disk := vfs.NewMem()
	s := mustOpen(t, disk)
	b, sum := made(t, 1, 10)
	_, err := put(s, g3, b, sum)
	must(t, err)
	must(t, s.Close())
	strange := []string{"d/points/g3-i2/notes.txt", "d/points/g3-i2/" + strings.ToUpper(sum.String()) + ".points", "d/points/g3-i2/7-" + sum.String() + ".damaged", "d/points/README"}
	must(t, disk.MkdirAll("d/points/g03-i2"))
	must(t, disk.MkdirAll("d/points/g10000-i1"))
	for _, name := range strange {
		f, err := disk.Create(name)
		must(t, err)
		_, err = f.WriteAt([]byte("x"), 0)
		must(t, errors.Join(err, f.Close()))
	}
	s = mustOpen(t, disk)
	if got := s.List(g3); len(got) != 1 {
		t.Errorf("there are %v", got)
	}
	if err := s.RemoveGroup(g3); err == nil || !strings.Contains(err.Error(), "notes.txt is not of this kind") {
		t.Errorf("the group is removed: %v", err)
	}
	for _, name := range strange {
		if disk.Bytes(name) == nil {
			t.Errorf("%s is gone", name)
		}
	}
	if disk.Bytes("d/points/g3-i2/"+sum.Name()) != nil {
		t.Error("the block file stayed")
	}
}

// Limits are reached and refused by name, and being below them again is enough.
func TestLimits(t *testing.T) {
	s := mustOpen(t, vfs.NewMem())
	b, sum := made(t, 1, 10)
	var unfinished []*Writer
	for range UnfinishedMax {
		w, err := s.Create(g3)
		must(t, err)
		unfinished = append(unfinished, w)
	}
	if _, err := s.Create(g4); !errors.Is(err, ErrBusy) {
		t.Errorf("one unfinished file more: %v", err)
	}
	if _, err := s.Receive(g4, sum, 100); !errors.Is(err, ErrBusy) {
		t.Errorf("one received file more: %v", err)
	}
	unfinished[3].Abort()
	unfinished[3].Abort()
	_, err := put(s, g4, b, sum)
	must(t, err)
	for _, w := range unfinished {
		w.Abort()
	}
	if n := s.Stats(); n.Unfinished != 0 {
		t.Errorf("figures %+v", n)
	}
	for _, size := range []int64{-1, 0, FileMax + 1} {
		if _, err := s.Receive(g4, sum, size); err == nil || !strings.Contains(err.Error(), "want 1 to") {
			t.Errorf("a file of %d bytes: %v", size, err)
		}
	}
	w, err := s.Create(g4)
	must(t, err)
	w.file.at = FileMax - 5
	if _, err := w.Write(make([]byte, 6)); err == nil || !strings.Contains(err.Error(), "seal fewer points") {
		t.Errorf("a file beyond the limit: %v", err)
	}
	w.Abort()
	if _, err := w.Write(b); !errors.Is(err, errOver) {
		t.Errorf("a write after the end: %v", err)
	}
}

// However many files are read, a bounded number is open. Those that nobody reads make way for others.
func TestOpenFilesAreBounded(t *testing.T) {
	s := mustOpen(t, vfs.NewMem())
	var sums []block.Sum
	for i := range OpenMax + 1 {
		b, sum := made(t, i, 1)
		_, err := put(s, g3, b, sum)
		must(t, err)
		sums = append(sums, sum)
	}
	for _, sum := range sums {
		must(t, s.Verify(g3, sum))
		if n := s.Stats().Open; n > IdleMax {
			t.Fatalf("%d are open, and nobody reads", n)
		}
	}
	if n := s.Stats().Open; n != IdleMax {
		t.Errorf("%d are open, want %d", n, IdleMax)
	}
	var readers []*Reader
	for _, sum := range sums[:OpenMax] {
		for range 2 {
			r, err := s.Open(g3, sum)
			must(t, err)
			readers = append(readers, r)
		}
	}
	if n := s.Stats().Open; n != OpenMax {
		t.Errorf("%d are open, want %d", n, OpenMax)
	}
	if _, err := s.Open(g3, sums[OpenMax]); !errors.Is(err, ErrBusy) {
		t.Errorf("one more: %v", err)
	}
	must(t, readers[0].Close())
	if _, err := s.Open(g3, sums[OpenMax]); !errors.Is(err, ErrBusy) {
		t.Errorf("one more, while another still reads the first: %v", err)
	}
	must(t, readers[1].Close())
	r, err := s.Open(g3, sums[OpenMax])
	must(t, err)
	must(t, errors.Join(r.Close(), s.Close()))
	for _, r := range readers[2:] {
		must(t, r.Close())
	}
	if n := s.Stats().Open; n != 0 {
		t.Errorf("%d are open after the end", n)
	}
}

// Keys of series that are kept go with their file, be it removed or put aside, and not when it is only closed.
func TestKeysGoWithTheirFile(t *testing.T) {
	s := mustOpen(t, vfs.NewMem())
	file, sum := made(t, 1, 100)
	_, err := put(s, g3, file, sum)
	must(t, err)
	r, err := s.Open(g3, sum)
	must(t, err)
	if l, err := r.Keys([]byte("nothing")); err != nil || l == nil {
		t.Fatalf("keys: %v, %v", l, err)
	}
	must(t, r.Close())
	if s.keys.Bytes() == 0 {
		t.Error("nothing is kept of a file that was closed")
	}
	must(t, s.Remove(g3, sum))
	if n := s.keys.Bytes(); n != 0 {
		t.Errorf("%d bytes are kept of a file that was removed", n)
	}
	f, err := put(s, g3, file, sum)
	must(t, err)
	r, err = s.Open(g3, sum)
	must(t, err)
	if l, err := r.Keys([]byte("nothing")); err != nil || l == nil {
		t.Fatalf("keys: %v, %v", l, err)
	}
	must(t, r.Close())
	s.putAside(s.files[g3][sum], damageOf(f, s.tree.file(&f), &block.DamageError{What: "bad"}))
	if n := s.keys.Bytes(); n != 0 {
		t.Errorf("%d bytes are kept of a file that was put aside", n)
	}
	must(t, s.Close())
}

// Commands look at files without a Store, and change nothing.
func TestFilesAreVerifiedAlone(t *testing.T) {
	disk := vfs.NewMem()
	if files, err := Files(disk, "d"); err != nil || files != nil {
		t.Errorf("without a directory: %v, %v", files, err)
	}
	s := mustOpen(t, disk)
	b, sum := made(t, 1, 10)
	c, other := made(t, 2, 10)
	for g, file := range map[Group]block.Sum{g3: sum, g4: other} {
		_, err := put(s, g, map[block.Sum][]byte{sum: b, other: c}[file], file)
		must(t, err)
	}
	files, err := Files(disk, "d")
	must(t, err)
	if want := []string{"d/points/g3-i2/" + sum.Name(), "d/points/g4-i1/" + other.Name()}; !slices.Equal(files, want) {
		t.Fatalf("files are %v, want %v", files, want)
	}
	if f, ok := Named(files[0]); !ok || f.Group != g3 || f.Sum != sum {
		t.Errorf("named %+v, %t", f, ok)
	}
	if _, ok := Named("d/points/" + sum.Name()); ok {
		t.Error("a file of no group has a name")
	}
	for i, file := range files {
		info, err := VerifyFile(disk, file)
		if err != nil || info.Sum != []block.Sum{sum, other}[i] || info.Values != 10 {
			t.Errorf("%s: %+v, %v", file, info, err)
		}
	}
	must(t, disk.Rename(files[0], "d/points/g3-i2/"+other.Name()))
	var d *Damaged
	if _, err := VerifyFile(disk, "d/points/g3-i2/"+other.Name()); !errors.As(err, &d) || !strings.Contains(err.Error(), "it is the file") {
		t.Errorf("under another's name: %v", err)
	}
	if err := s.Verify(g3, other); !errors.Is(err, ErrUnknown) {
		t.Errorf("renamed behind its back: %v", err)
	}
	s = mustOpen(t, disk)
	if err := s.Verify(g3, other); !errors.As(err, &d) || d.Aside == "" {
		t.Errorf("under another's name: %v", err)
	}
	disk.Corrupt(files[1], 50, 1)
	if _, err := VerifyFile(disk, files[1]); !errors.As(err, &d) || d.Where.File != files[1] || d.Field != "busy" || !errors.Is(err, logstore.ErrDamaged) {
		t.Errorf("damaged: %v", err)
	}
	if _, err := VerifyFile(disk, "d/none"); !isAbsent(err) {
		t.Errorf("absent: %v", err)
	}
	aside, err := AsideFiles(disk, "d")
	if err != nil || len(aside) != 1 || path.Ext(aside[0]) != asideSuffix {
		t.Errorf("put aside are %v, %v", aside, err)
	}
}

// The package starts no goroutine and knows no clock; its tests may.
func TestImports(t *testing.T) {
	puretest.Check(t, []string{"bytes", "cmp", "errors", "fmt", "io", "io/fs", "log/slog", "path", "slices", "strconv", "strings", "sync", "sync/atomic",
		"muster/logstore", "muster/logstore/vfs", "muster/raft", "muster/shardmap/points/block"}, nil)
}

// docs/storage.md names the files as they are called.
func TestStorageDocument(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "storage.md"))
	must(t, err)
	var sum block.Sum
	for i := range sum {
		sum[i] = 0x11 * byte(i%16)
	}
	s := Store{}
	for _, name := range []string{s.tree.file(&File{Group: g3, Sum: sum}), s.tree.aside(putAside{number: 1, group: g3, sum: sum})} {
		if short := strings.ReplaceAll(name, sum.String(), sum.String()[:8]+"…"); !bytes.Contains(page, []byte("`"+short+"`")) {
			t.Errorf("docs/storage.md does not name a file %s", short)
		}
	}
	if !bytes.Contains(page, fmt.Appendf(nil, "at most %d", AsideMax)) {
		t.Errorf("docs/storage.md does not say that at most %d damaged files stay", AsideMax)
	}
}
