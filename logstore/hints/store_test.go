package hints

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open opens a store with small files, so that a few hints fill several.
func open(disk vfs.FS) (*Store, error) {
	s, err := Open(Options{FS: disk, Dir: "d", Chance: 7})
	if err == nil {
		s.size = 4096
	}
	return s, err
}

// putOf is a hint whose bytes follow from its number.
func putOf(n uint64) Put {
	says := bytes.Repeat(fmt.Appendf(nil, "hint %d;", n), int(1+n*37%90))
	return Put{Hint{Number: n, Group: raft.GroupID(n % 3), Taken: int64(n) * 1000, Points: n * 2}, says}
}

// holds says what is wrong with what a store has of hints that it may have, and must have; "": nothing.
func holds(s *Store, must, may map[uint64]bool) string {
	have := map[uint64]bool{}
	for _, h := range s.All() {
		have[h.Number] = true
		want := putOf(h.Number)
		want.Size = Size(len(want.Says))
		if h != want.Hint {
			return fmt.Sprintf("hint %+v, want %+v", h, want.Hint)
		}
		if says, err := s.Read(h.Number); err != nil || !bytes.Equal(says, want.Says) {
			return fmt.Sprintf("hint %d says %q, %v", h.Number, says, err)
		}
		if !must[h.Number] && !may[h.Number] {
			return fmt.Sprintf("hint %d is there, and was forgotten", h.Number)
		}
	}
	for n := range must {
		if !have[n] {
			return fmt.Sprintf("hint %d is gone", n)
		}
	}
	return ""
}

// story is a use of a store, with what it was told: which hints are there, and which may be.
type story struct{ must, may map[uint64]bool }

func (st *story) tell(disk vfs.FS) error {
	st.must, st.may = map[uint64]bool{}, map[uint64]bool{}
	s, err := open(disk)
	if err != nil {
		return err
	}
	defer s.Close()
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := uint64(1); n < 70; {
		var puts []Put
		var done []uint64
		for range rnd.IntN(3) {
			puts = append(puts, putOf(n))
			n++
		}
		for _, h := range s.All() {
			// Hint 2 stays to the end: it is written anew again and again.
			if h.Number != 2 && rnd.IntN(4) == 0 {
				done = append(done, h.Number)
			}
		}
		for i := range puts {
			st.may[puts[i].Number] = true
		}
		for _, d := range done {
			delete(st.must, d)
			st.may[d] = true
		}
		if err := s.Append(puts, done); err != nil {
			return err
		}
		for i := range puts {
			st.must[puts[i].Number] = true
			delete(st.may, puts[i].Number)
		}
		for _, d := range done {
			delete(st.may, d)
		}
	}
	if files, needed := s.Used(); files > wasteTimes*needed+(slackFiles+2)*s.size {
		return fmt.Errorf("the files take %d bytes for %d", files, needed)
	}
	return nil
}

// survives says what is wrong with what a story has left on a disk, or "".
func (st *story) survives(disk vfs.FS) string {
	for range 2 { // a start leaves what the next one finds too
		s, err := open(disk)
		if err != nil {
			return err.Error()
		}
		wrong := holds(s, st.must, st.may)
		if wrong == "" && len(s.Damages()) > 0 {
			wrong = s.Damages()[0].String()
		}
		if wrong == "" && s.Last() > 0 {
			n := s.Last() + 1
			if err := s.Append([]Put{putOf(n)}, nil); err != nil {
				wrong = err.Error()
			}
			st.must[n] = true
		}
		if err := s.Close(); err != nil && wrong == "" {
			wrong = err.Error()
		}
		if wrong != "" {
			return wrong
		}
	}
	return ""
}

// crashes tells the story once for each operation of the disk, at which the power goes, and says what is wrong after it, or "".
func crashes(t testing.TB) (wrong string, points int) {
	st := &story{}
	whole := vfs.NewMem()
	must(t, st.tell(whole))
	for n := 1; n <= whole.Ops(); n++ {
		mem := vfs.NewMem()
		mem.StopAt(n)
		if err := st.tell(mem); !errors.Is(err, vfs.ErrPower) && n < whole.Ops()-1 {
			return fmt.Sprintf("no power from operation %d on: %v", n, err), points
		}
		told := *st
		for _, mode := range vfs.CrashModes() {
			disk := mem.Copy()
			disk.Crash(mode, uint64(n))
			st.must, st.may = maps.Clone(told.must), maps.Clone(told.may)
			points++
			if wrong := st.survives(disk); wrong != "" {
				return fmt.Sprintf("power gone at operation %d, %s: %s", n, mode, wrong), points
			}
		}
	}
	return "", points
}

// The power goes at every operation of the disk. Hints that were kept are there, forgotten ones are not, and one under way is whole or
// not there; files that are needed no more go, though one hint stays all the time.
func TestCrashAtEveryOperation(t *testing.T) {
	wrong, points := crashes(t)
	if wrong != "" {
		t.Error(wrong)
	}
	if points < 300 {
		t.Errorf("%d points, want 300 at least", points)
	}
	t.Logf("%d crash points", points)
}

// A sync fails, the node is started anew on the disk as it reads, and then the power goes. Bytes from before the failed sync can be
// read until then: a start must not remove a file for the sake of hints that are in no other one on the disk itself.
func TestPowerGoesAfterFailedSync(t *testing.T) {
	for n := 1; ; n++ {
		mem, syncs := vfs.NewMem(), 0
		mem.Fail(func(op string) error {
			if strings.HasPrefix(op, "sync ") {
				if syncs++; syncs == n {
					return errors.New("broken")
				}
			}
			return nil
		})
		st := &story{}
		err := st.tell(mem)
		mem.Fail(nil)
		if syncs < n {
			must(t, err)
			if n < 50 {
				t.Errorf("%d syncs, want 50 at least", n)
			}
			return
		}
		s, err := open(mem)
		must(t, err)
		must(t, s.Close())
		for _, mode := range vfs.CrashModes() {
			disk := mem.Copy()
			disk.Crash(mode, uint64(n))
			then := story{maps.Clone(st.must), maps.Clone(st.may)}
			if wrong := then.survives(disk); wrong != "" {
				t.Fatalf("sync %d failed, power gone after the start, %s: %s", n, mode, wrong)
			}
		}
	}
}

// filled is a disk with the hints 1 to 9 in one file, of which 3 is forgotten, each in a write of its own.
func filled(t testing.TB) *vfs.Mem {
	t.Helper()
	disk := vfs.NewMem()
	s, err := Open(Options{FS: disk, Dir: "d", Chance: 7})
	must(t, err)
	for n := uint64(1); n < 10; n++ {
		must(t, s.Append([]Put{putOf(n)}, nil))
	}
	must(t, s.Append(nil, []uint64{3}))
	must(t, s.Append([]Put{putOf(10)}, nil))
	must(t, s.Close())
	return disk
}

const firstFile = "d/hints/0000000000000001.hints"

// flips flips a byte at some places of a file, one after another, and says what is wrong with what a start makes of it, or "".
func flips(t testing.TB) string {
	disk := filled(t)
	size := len(disk.Bytes(firstFile))
	all := map[uint64]bool{}
	for n := uint64(1); n <= 10; n++ {
		all[n] = true
	}
	for at := 0; at < size; at += 3 {
		rotten := disk.Copy()
		rotten.Corrupt(firstFile, int64(at), 0x41)
		s, err := open(rotten)
		if err != nil {
			if at >= 8 && at < 12 {
				continue // the format
			}
			return fmt.Sprintf("byte %d: %v", at, err)
		}
		n, damages := len(s.All()), len(s.Damages())
		if wrong := holds(s, nil, all); wrong != "" {
			return fmt.Sprintf("byte %d: %s", at, wrong)
		}
		// At most one hint is gone, and what is damaged is told, save at the end of all.
		last := int64(at) >= int64(size)-roundUp(Size(len(putOf(10).Says)), sector)
		switch {
		case at < headerSize:
			if damages == 0 {
				return fmt.Sprintf("byte %d: a header that is not, and no damage", at)
			}
		case n < 8 || n > 10 || n < 9 && damages == 0 && !last || damages > 1:
			return fmt.Sprintf("byte %d: %d hints, damages %v", at, n, s.Damages())
		}
		must(t, s.Append([]Put{putOf(11)}, nil))
		must(t, s.Close())
		if s, err = open(rotten); err != nil || !slices.ContainsFunc(s.All(), func(h Hint) bool { return h.Number == 11 }) {
			return fmt.Sprintf("byte %d: what came after it is gone: %v", at, err)
		}
		must(t, s.Close())
	}
	return ""
}

// A byte that rots takes at most the hint that it is in. The others are there, the damage is told, and more is kept behind it.
func TestEachByteMayRot(t *testing.T) {
	if wrong := flips(t); wrong != "" {
		t.Error(wrong)
	}
}

// embedded says what is wrong with a hint whose bytes are those of a record for the place where they come to stand, while the record
// around it rots; "": nothing.
func embedded(t testing.TB) string {
	guess := &file{number: 1, salt: 0, end: sector + recordHeader}
	inner := guess.appendRecord(nil, kindDone, &Put{Hint: Hint{Number: 2}})
	disk := vfs.NewMem()
	s, err := Open(Options{FS: disk, Dir: "d", Chance: 7})
	must(t, err)
	must(t, s.Append([]Put{{Hint{Number: 1}, inner}}, nil))
	must(t, s.Append([]Put{putOf(2)}, nil))
	must(t, s.Close())
	disk.Corrupt(firstFile, sector+2, 1)
	s, err = open(disk)
	must(t, err)
	defer s.Close()
	if len(s.Damages()) != 1 || s.Damages()[0].To != sector*2 || len(s.All()) != 1 {
		return fmt.Sprintf("damages %v, hints %v", s.Damages(), s.All())
	}
	return ""
}

// Nobody who chooses what a hint says can have it taken for a record, though records are looked for anywhere behind damage.
func TestHintLikeARecord(t *testing.T) {
	if wrong := embedded(t); wrong != "" {
		t.Error(wrong)
	}
}

// A full disk refuses hints, forgets them where it can, and takes them again; a failed sync ends it for this process.
func TestFullAndFailedDisks(t *testing.T) {
	disk := vfs.NewMem()
	s, err := open(disk)
	must(t, err)
	must(t, s.Append([]Put{putOf(1), putOf(2)}, nil))
	disk.Limit(disk.Used())
	if err := s.Append([]Put{{Hint{Number: 3}, make([]byte, 20000)}}, nil); !errors.Is(err, vfs.ErrFull) {
		t.Errorf("on a full disk: %v", err)
	}
	disk.Limit(0)
	must(t, s.Append([]Put{putOf(4)}, []uint64{1}))
	s.leave = func() int64 { return 1 << 62 }
	if err := s.Append([]Put{putOf(5)}, nil); err != nil {
		t.Errorf("with more room than anybody leaves: %v", err)
	}
	disk.Limit(disk.Used() + 4096)
	if err := s.Append([]Put{putOf(6)}, nil); !errors.Is(err, vfs.ErrFull) || !strings.Contains(err.Error(), "of which the log gets the last") {
		t.Errorf("where the room is the log's: %v", err)
	}
	s.leave = nil
	disk.Limit(0)
	disk.Fail(func(op string) error {
		if strings.HasPrefix(op, "sync ") {
			return errors.New("broken")
		}
		return nil
	})
	if err := s.Append([]Put{putOf(7)}, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("after a failed sync: %v", err)
	}
	disk.Fail(nil)
	if err := s.Append([]Put{putOf(8)}, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("behind a failed sync: %v", err)
	}
	if wrong := holds(s, map[uint64]bool{2: true, 4: true, 5: true}, nil); wrong != "" {
		t.Error(wrong)
	}
	must(t, s.Close())
}

// spoilt has a write fail behind two records that it has written whole, the second of which begins where the next, shorter write ends;
// that one forgets the hint of the second record. It lets the power go at every operation from then on, and says what is wrong with
// what a start finds, or "".
func spoilt(t testing.TB) string {
	for n := 1; ; n++ {
		mem := vfs.NewMem()
		disk := vfs.NewFaulty(mem)
		s, err := Open(Options{FS: disk, Dir: "d", Chance: 7})
		must(t, err)
		must(t, s.Append([]Put{putOf(1)}, nil))
		disk.Add(vfs.Rule{Fault: vfs.ShortWrite, Op: "write"})
		filling := Put{Hint{Number: 3}, make([]byte, sector-recordHeader)}
		if err := s.Append([]Put{filling, putOf(4), {Hint{Number: 5}, make([]byte, 8*sector)}}, nil); !errors.Is(err, vfs.ErrFault) {
			t.Fatalf("a short write: %v", err)
		}
		disk.Add(vfs.Rule{Fault: vfs.Error, Op: "truncate"})
		mem.StopAt(mem.Ops() + n)
		told := story{map[uint64]bool{1: true}, map[uint64]bool{3: true, 4: true, 5: true}}
		tries := 0
		for err = vfs.ErrFault; errors.Is(err, vfs.ErrFault) && tries < 3; tries++ {
			err = s.Append(nil, []uint64{4})
		}
		if err == nil {
			told.may = nil
		}
		for _, mode := range vfs.CrashModes() {
			after := mem.Copy()
			after.Crash(mode, uint64(n))
			found, failed := open(after)
			must(t, failed)
			// What the story's hints say follows from their numbers; 3 and 5 are not of it.
			for _, h := range found.All() {
				if !told.must[h.Number] && !told.may[h.Number] {
					return fmt.Sprintf("power gone %d operations later, %s: hint %d is there, whose write has failed", n, mode, h.Number)
				}
			}
			if _, failed := found.Read(1); failed != nil || len(found.Damages()) > 0 {
				return fmt.Sprintf("power gone %d operations later, %s: %v, damages %v", n, mode, failed, found.Damages())
			}
			must(t, found.Close())
		}
		if err == nil && n > tries+3 {
			return ""
		}
	}
}

// A write that failed has left whole records on the disk. One would doubt that they stay behind the next write, and come back as hints
// that it has forgotten: given up by a person, or in the dead letters already.
func TestFailedWriteIsCutOff(t *testing.T) {
	if wrong := spoilt(t); wrong != "" {
		t.Error(wrong)
	}
}

// A wrong request is refused by name, and a file of a newer muster is left alone.
func TestRefused(t *testing.T) {
	disk := filled(t)
	s, err := open(disk)
	must(t, err)
	if _, err := s.Read(3); !errors.Is(err, ErrUnknown) {
		t.Errorf("a hint that was forgotten: %v", err)
	}
	if err := s.Append([]Put{{Says: []byte("x")}}, nil); err == nil || !strings.Contains(err.Error(), "a number above 0") {
		t.Errorf("without a number: %v", err)
	}
	if err := s.Append([]Put{{Hint{Number: 1}, make([]byte, SaysMax+1)}}, nil); err == nil {
		t.Error("a hint of more than SaysMax is kept")
	}
	must(t, s.Close())
	if err := s.Append(nil, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("after Close: %v", err)
	}
	f, err := disk.Open(firstFile)
	must(t, err)
	b := disk.Bytes(firstFile)[:sector]
	b[8] = 2
	sum := headerSum(b)
	_, err = f.WriteAt([]byte{2, 0, 0, 0, byte(sum), byte(sum >> 8), byte(sum >> 16), byte(sum >> 24)}, 8)
	must(t, err)
	if _, err := open(disk); err == nil || !strings.Contains(err.Error(), "start the newer muster") {
		t.Errorf("a newer format: %v", err)
	}
}
