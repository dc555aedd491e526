package logstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"muster/logstore/vfs"
	"muster/raft"
)

// sameFences compares what a Store says with what is wanted.
func sameFences(t testing.TB, when string, s *Store, want ...Fence) {
	t.Helper()
	if got := s.Fences(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("%s: got %+v, want %+v", when, got, want)
	}
}

// A start finds a fence as it was last written, on both kinds of disk. Text and parts over the
// limits are cut: a fence that says too much must not be refused.
func TestFence(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS{}} {
		t.Run(name, func(t *testing.T) {
			o := Options{Dir: t.TempDir()}
			must(t, fs.MkdirAll(o.Dir))
			s := fillStore(t, mustOpen(t, fs, o), one, two)
			sameFences(t, "before the first", s)
			must(t, s.RemoveFence(one)) // there is none
			short := Fence{Replica: two, At: raft.LogID{Term: 7, Index: 10432}, Found: FenceUndecided, Rebuilt: true}
			must(t, s.WriteFence(short))
			must(t, s.WriteFence(fenced(one)))
			sameFences(t, "written", s, fenced(one), short)

			long := fenced(one)
			long.Found, long.Parts = FenceByWalk, make([]uint32, FencePartsMax+1)
			for i := range long.Parts {
				long.Parts[i] = ^uint32(i)
			}
			long.What = "x" + strings.Repeat("\xff\u2028\"", FenceWhatMax/5+1)
			must(t, s.WriteFence(long))
			cut := long
			cut.Parts, cut.What = long.Parts[:FencePartsMax], long.What[:FenceWhatMax]
			for !strings.HasSuffix(cut.What, "\"") && !strings.HasSuffix(cut.What, "\xff") && !strings.HasSuffix(cut.What, "\u2028") {
				cut.What = cut.What[:len(cut.What)-1]
			}
			sameFences(t, "cut", s, cut, short)
			must(t, s.Close())

			s = mustOpen(t, fs, o)
			sameFences(t, "opened", s, cut, short)
			again, err := OpenToRead(fs, o.Dir)
			must(t, err)
			sameFences(t, "opened to read", again, cut, short)
			if err := again.WriteFence(short); !errors.Is(err, ErrStopped) {
				t.Errorf("written, opened to read: got %v, want %v", err, ErrStopped)
			}
			must(t, again.Close())
			must(t, s.RemoveFence(one))
			sameFences(t, "removed", s, short)
			must(t, s.Close())
			s = mustOpen(t, fs, o)
			sameFences(t, "removed and opened", s, short)
			must(t, s.Close())
		})
	}
}

// A cut of what is said ends between two characters, or a person would see half of one.
func TestFenceIsCutBetweenCharacters(t *testing.T) {
	for size := 1; size <= utf8.UTFMax; size++ {
		letter := []string{"a", "é", "漢", "😀"}[size-1]
		for before := range utf8.UTFMax {
			f := Fence{What: strings.Repeat("a", before) + strings.Repeat(letter, FenceWhatMax)}.bounded()
			if n := len(f.What); n > FenceWhatMax || n <= FenceWhatMax-size || !utf8.ValidString(f.What) {
				t.Errorf("%d bytes before letters of %d: %d bytes, valid %t", before, size, n, utf8.ValidString(f.What))
			}
		}
	}
}

// What can't be a fence, or is of no replica here, is refused, and harms nothing.
func TestRefusedFences(t *testing.T) {
	s := snapshotStore(t, vfs.NewMem(), one)
	for _, c := range []struct {
		name  string
		fence Fence
		want  error
		names string
	}{
		{"no replica", Fence{Found: FenceByWalk}, ErrFence, "replica"},
		{"not how it was found", Fence{Replica: one}, ErrFence, "found"},
		{"found in a way that is not known", Fence{Replica: one, Found: FenceUndecided + 1}, ErrFence, "found"},
		{"a replica that the log does not hold", fenced(two), ErrUnknown, "replica 12"},
	} {
		if err := s.WriteFence(c.fence); !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	sameFences(t, "after all", s)
	must(t, s.WriteFence(fenced(one)))
	must(t, s.Close())
}

// A fence that rotted is still one: its name tells of which replica it is. One would
// doubt it, for each bit and each missing end of it, because the checksum only says that
// something is wrong.
func TestFenceDamage(t *testing.T) {
	disk := vfs.NewMem()
	s := snapshotStore(t, disk, one, two)
	must(t, s.WriteFence(fenced(one)))
	must(t, s.WriteFence(fenced(two)))
	must(t, s.Close())
	name := "d/fences/" + fenceName(one)
	good := raw(t, disk, name)
	check := func(b []byte, what string) {
		t.Helper()
		put(t, disk, name, b)
		s, err := OpenToRead(disk, "d")
		must(t, err)
		defer s.Close()
		got := s.Fences()
		if len(got) != 2 || got[1].Replica != two || got[1].At != fenced(two).At {
			t.Fatalf("%s: got %+v, want two fences", what, got)
		}
		f := got[0]
		if f.Replica != one || f.Found != FenceByComparison || f.At != (raft.LogID{}) || f.Rebuilt || !strings.Contains(f.What, name) {
			t.Errorf("%s: got %+v", what, f)
		}
	}
	for i := range good {
		for bit := range 8 {
			b := slices.Clone(good)
			b[i] ^= 1 << bit
			check(b, fmt.Sprintf("bit %d of byte %d", bit, i))
		}
		check(good[:i], fmt.Sprintf("first %d bytes", i))
	}
	of := func(f Fence) []byte { return f.append(nil) }
	other, unknown := fenced(two), fenced(one)
	unknown.Found = 9
	long := fenced(one)
	long.What = strings.Repeat("x", FenceWhatMax+1)
	many := fenced(one)
	many.Parts = make([]uint32, FencePartsMax+1)
	check(append(slices.Clone(good), '\n'), "a line more")
	check(of(other), "that of another replica")
	check(of(unknown), "found in a way that is not known")
	check(of(long), "too much said")
	check(of(many), "too many parts")
	check(make([]byte, 1<<20), "zeros")
	text := string(good[:strings.LastIndex(string(good), "checksum ")])
	for _, c := range [][2]string{
		{"fence 1", "fence 2"}, {"at 1 3", "at 01 3"}, {"at 1 3", "at 1 3 4"}, {"part 12", "part 99999999999"},
		{"part 12", "volume 12"}, {"part 12\n", "part 12\nat 1 3\n"}, {"state fenced", "state perhaps"},
	} {
		if !strings.Contains(text, c[0]) {
			t.Fatalf("it has no %q", c[0])
		}
		check(sealText([]byte(strings.Replace(text, c[0], c[1], 1))), c[1])
	}

	s = mustOpen(t, disk, Options{})
	must(t, s.WriteFence(fenced(one)))
	must(t, s.Close())
	s = mustOpen(t, disk, Options{})
	sameFences(t, "written anew", s, fenced(one), fenced(two))
	must(t, s.Close())
}

// A disk that refuses to return a fence does not make a replica serve either.
func TestRefusedFenceIsAFence(t *testing.T) {
	mem := vfs.NewMem()
	s := snapshotStore(t, mem, one)
	must(t, s.WriteFence(fenced(one)))
	must(t, s.Close())
	for _, op := range []string{"open", "size", "read"} {
		disk := vfs.NewFaulty(mem)
		refused := disk.Add(vfs.Rule{Fault: vfs.Error, Op: op, Name: fenceName(one), Times: vfs.Always})
		s := mustOpen(t, disk, Options{})
		if got := s.Fences(); refused.Fired() == 0 || len(got) != 1 || got[0].Replica != one || got[0].Rebuilt {
			t.Errorf("%s refused %d times: got %+v", op, refused.Fired(), got)
		}
		must(t, s.Close())
	}
}

// The fence of a replica goes with it, at once in memory, and from the disk at the latest
// when the log is opened again: its name must not be taken for one of the next replica.
func TestFenceGoesWithItsReplica(t *testing.T) {
	disk := vfs.NewMem()
	s := snapshotStore(t, disk, one, two)
	must(t, s.WriteFence(fenced(one)))
	must(t, s.WriteFence(fenced(two)))
	must(t, s.Append([]Write{{Replica: one, Remove: true}}))
	sameFences(t, "removed", s, fenced(two))
	if err := s.WriteFence(fenced(one)); !errors.Is(err, ErrUnknown) {
		t.Errorf("a fence of one that was removed: got %v, want %v", err, ErrUnknown)
	}
	disk.Crash(vfs.DropUnsynced, 0)
	raw(t, disk, "d/fences/"+fenceName(one)) // a crash before it was swept
	again, err := OpenToRead(disk, "d")
	must(t, err)
	sameFences(t, "opened to read", again, fenced(two))
	must(t, again.Close())
	s = mustOpen(t, disk, Options{})
	sameFences(t, "opened", s, fenced(two))
	names, err := disk.List("d/fences")
	must(t, err)
	if want := []string{fenceName(two)}; !slices.Equal(names, want) {
		t.Errorf("files %v, want %v", names, want)
	}
	must(t, s.Append([]Write{{Replica: two, Remove: true}}))
	must(t, s.Idle())
	if names, err = disk.List("d/fences"); err != nil || len(names) > 0 {
		t.Errorf("swept: files %v, %v", names, err)
	}
	must(t, s.Close())
}

// A replica that is removed while its fence is being written leaves none behind.
func TestFenceOfReplicaRemovedMeanwhile(t *testing.T) {
	disk := vfs.NewMem()
	s := snapshotStore(t, disk, one, two)
	disk.Trace(func(op string) {
		if strings.HasPrefix(op, "rename d/fences/") {
			s.index.mu.Lock()
			s.index.drop(s.index.replicas[one])
			s.index.mu.Unlock()
		}
	})
	if err := s.WriteFence(fenced(one)); !errors.Is(err, ErrUnknown) {
		t.Errorf("got %v, want %v", err, ErrUnknown)
	}
	disk.Trace(nil)
	sameFences(t, "removed", s)
	must(t, s.fences.sweep())
	if names, err := disk.List("d/fences"); err != nil || len(names) > 0 {
		t.Errorf("files %v, %v", names, err)
	}
}

// On a full disk a fence takes of the headroom, until half of the identity's part is left:
// however many groups are fenced, the node can start. Then it is refused, and may be
// asked again.
func TestFencesOnFullDisk(t *testing.T) {
	disk := vfs.NewMem()
	var all []Replica
	for n := range 40 {
		all = append(all, testReplica(n+1))
	}
	must(t, disk.MkdirAll("d"))
	must(t, WriteIdentity(disk, "d", freshIdentity()))
	s := snapshotStore(t, disk, all...)
	must(t, s.Idle())
	disk.Limit(disk.Used())
	written, refused := []Fence(nil), 0
	s.headroom.size = headroomMin // what else it has goes to a snapshot
	must(t, cutHeadroom(disk, "d", leftBySnapshot))
	disk.Limit(disk.Used())
	for _, r := range all {
		switch err := s.WriteFence(fenced(r)); {
		case err == nil:
			written = append(written, fenced(r))
		case errors.Is(err, ErrFull):
			refused++
		default:
			t.Fatal(err)
		}
	}
	if len(written) < headroomMin/2/identityRoom || refused == 0 {
		t.Errorf("%d fences were written and %d refused", len(written), refused)
	}
	if left := s.headroom.size; left < headroomMin/2 || int64(len(raw(t, disk, s.headroom.file()))) != left {
		t.Errorf("the headroom has %d bytes, want at least %d", left, headroomMin/2)
	}
	must(t, s.Append([]Write{{Replica: one, Commit: 10, Entries: span(one, 1, 11, 11, 20)}}))
	sameFences(t, "refused", s, written...)
	must(t, s.Close())
	must(t, WriteIdentity(disk, "d", freshIdentity()))
	s = mustOpen(t, disk, Options{})
	sameFences(t, "opened", s, written...)
	disk.Limit(0)
	last := fenced(all[len(all)-1])
	must(t, s.WriteFence(last))
	sameFences(t, "with room", s, append(written, last)...)
	must(t, s.Close())
}

// A file of another name is nobody's fence, and is left alone.
func TestUnknownFilesAmongFences(t *testing.T) {
	disk := vfs.NewMem()
	s := snapshotStore(t, disk, one)
	must(t, s.WriteFence(fenced(one)))
	must(t, s.Close())
	names := []string{"g1-i1-r011.fence", "g1-i1-r0.fence", "g1-i1.fence", "g1-i1-r11.fence~", "notes"}
	for _, name := range names {
		put(t, disk, "d/fences/"+name, []byte("x"))
	}
	s = mustOpen(t, disk, Options{})
	sameFences(t, "opened", s, fenced(one))
	must(t, s.Close())
	for _, name := range names {
		raw(t, disk, "d/fences/"+name)
	}
}
