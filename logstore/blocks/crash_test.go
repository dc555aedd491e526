package blocks

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"muster/logstore"
	"muster/logstore/vfs"
	"muster/shardmap/points/block"
)

// story is a use of a Store, with what it was told meanwhile. Each step is done once; it ends with the first error.
type story struct {
	t     testing.TB
	files [][]byte
	sums  []block.Sum
	// done has the files whose Commit returned, and which nothing has removed; gone those that something may have.
	done map[block.Sum]Group
}

// newStory makes the files of a story: the first one has some pieces of storyPiece bytes.
func newStory(t testing.TB) *story {
	st := &story{t: t, done: map[block.Sum]Group{}}
	for i, points := range []int{600, 100, 100, 100} {
		b, sum := made(t, i, points)
		st.files, st.sums = append(st.files, b), append(st.sums, sum)
	}
	return st
}

const storyPiece = 2048

// tell writes two files, receives a third, has one of them rot and found, fetches that anew, removes another, writes one
// for a second group, and removes that group.
func (st *story) tell(disk vfs.FS, mem *vfs.Mem) error {
	clear(st.done)
	s, err := Open(Options{FS: disk, Dir: "d"})
	if err != nil {
		return err
	}
	defer s.Close()
	s.piece = storyPiece
	for i, make := range []func(*Store, Group, []byte, block.Sum) (File, error){put, put, fetch} {
		if _, err := make(s, g3, st.files[i], st.sums[i]); err != nil {
			return err
		}
		st.done[st.sums[i]] = g3
	}
	mem.Corrupt(s.tree.file(&File{Group: g3, Sum: st.sums[1]}), 40, 4)
	delete(st.done, st.sums[1])
	if err := s.Verify(g3, st.sums[1]); !errors.Is(err, logstore.ErrDamaged) {
		return err
	}
	if _, err := fetch(s, g3, st.files[1], st.sums[1]); err != nil {
		return err
	}
	st.done[st.sums[1]] = g3
	delete(st.done, st.sums[2])
	if err := s.Remove(g3, st.sums[2]); err != nil {
		return err
	}
	if _, err := put(s, g4, st.files[3], st.sums[3]); err != nil {
		return err
	}
	return s.RemoveGroup(g4)
}

// survives says what is wrong with what a story has left on a disk, or "". A damaged file is the one that rotted.
func (st *story) survives(disk vfs.FS) string {
	s, err := Open(Options{FS: disk, Dir: "d"})
	if err != nil {
		return err.Error()
	}
	defer s.Close()
	for sum, g := range st.done {
		if len(s.Missing(g, []block.Sum{sum})) > 0 {
			return fmt.Sprintf("%s was committed, and is gone", sum)
		}
	}
	for _, g := range s.Groups() {
		for _, f := range s.List(g) {
			err := s.Verify(g, f.Sum)
			if rotten := f.Sum == st.sums[1] && st.done[f.Sum] == (Group{}); err != nil && !rotten {
				return fmt.Sprintf("%s has a name and not its content: %v", f, err)
			}
		}
		names, err := disk.List(s.tree.folder(g))
		if err != nil {
			return err.Error()
		}
		for _, name := range names {
			if strings.HasSuffix(name, tempSuffix) {
				return name + " is left"
			}
		}
	}
	// A file that was under way can be made again.
	for i, sum := range st.sums {
		if _, err := put(s, g3, st.files[i], sum); err != nil {
			return err.Error()
		}
		if wrong := holds(s, g3, sum, st.files[i]); wrong != "" {
			return wrong
		}
	}
	return ""
}

// crashes tells the story once for each operation of the disk, at which the power goes, and says what is wrong after it,
// or "". Unsynced bytes and names are dropped, kept, sampled and torn; and the power goes again at one operation of the
// start that follows, another one each time.
func (st *story) crashes() (wrong string, points int) {
	whole := vfs.NewMem()
	must(st.t, st.tell(whole, whole))
	for n := 1; n <= whole.Ops(); n++ {
		mem := vfs.NewMem()
		mem.StopAt(n)
		if err := st.tell(mem, mem); !errors.Is(err, vfs.ErrPower) && n < whole.Ops()-1 {
			return fmt.Sprintf("no power from operation %d on: %v", n, err), points
		}
		for i, mode := range vfs.CrashModes() {
			disk := mem.Copy()
			disk.Crash(mode, uint64(n))
			again := disk.Copy()
			again.StopAt(1 + (n+i)%4)
			if s, err := Open(Options{FS: again, Dir: "d"}); err == nil {
				s.Close()
			}
			again.Crash(vfs.CrashModes()[(n+i)%len(vfs.CrashModes())], uint64(n+i))
			for what, disk := range map[string]*vfs.Mem{"": disk, ", and again at the start": again} {
				points++
				if wrong := st.survives(disk); wrong != "" {
					return fmt.Sprintf("power gone at operation %d, %s%s: %s", n, mode, what, wrong), points
				}
			}
		}
	}
	return "", points
}

// The power goes at every operation of the disk. No name is left without its whole content, what was committed is there
// if nothing removed it, and nothing unfinished stays.
func TestCrashAtEveryOperation(t *testing.T) {
	wrong, points := newStory(t).crashes()
	if wrong != "" {
		t.Error(wrong)
	}
	if points < 300 {
		t.Errorf("%d points, want 300 at least", points)
	}
	t.Logf("%d crash points", points)
}

// faults tells the story with a fault at each call of the disk, and says what is wrong, or "". The power goes afterwards.
func (st *story) faults(fault vfs.Fault) (wrong string, fired int) {
	for n := 1; ; n++ {
		mem := vfs.NewMem()
		disk := vfs.NewFaulty(mem)
		armed := disk.Add(vfs.Rule{Fault: fault, At: n})
		hit := ""
		disk.Trace(func(op, name string) {
			if armed.Fired() > 0 && hit == "" {
				hit = op + " " + name
			}
		})
		err := st.tell(disk, mem)
		if armed.Fired() == 0 {
			must(st.t, err)
			return "", fired
		}
		fired++
		where := fmt.Sprintf("%s at call %d, %s", fault, n, hit)
		op, name, _ := strings.Cut(hit, " ")
		harmless := false // for what follows
		switch op {
		case "list", "open", "read", "size", "free":
			harmless = true // it is asked again, or the attempt shows it
		case "close":
			harmless = !strings.HasSuffix(name, tempSuffix) // it was read
		case "remove":
			harmless = strings.HasSuffix(name, tempSuffix)
		case "rename":
			harmless = strings.HasSuffix(name, ".points") // putting aside: the damage is known, and found again
		}
		switch {
		case harmless && err != nil:
			return fmt.Sprintf("%s: got %v", where, err), fired
		case !harmless && fault == vfs.Full && !errors.Is(err, logstore.ErrFull),
			!harmless && fault != vfs.Full && !errors.Is(err, vfs.ErrFault):
			return fmt.Sprintf("%s: got %v", where, err), fired
		case op == "syncdir" && !errors.Is(err, ErrStopped):
			return fmt.Sprintf("%s: got %v, want that it has stopped", where, err), fired
		}
		mem.Crash(vfs.DropUnsynced, 0)
		if wrong := st.survives(mem); wrong != "" {
			return fmt.Sprintf("%s: %s", where, wrong), fired
		}
	}
}

// Every call of the disk fails once, in each way in which it can. The error comes out, unless it is a question that is
// asked again, and what was committed is there after the power went. A file whose write or sync failed never gets its
// name: the system may have dropped what it could not write, and would report success when asked again.
func TestFaultAtEveryCall(t *testing.T) {
	st := newStory(t)
	for _, fault := range []vfs.Fault{vfs.Error, vfs.ShortWrite, vfs.FailedSync, vfs.Full} {
		wrong, fired := st.faults(fault)
		if wrong != "" {
			t.Error(wrong)
		}
		if fired < 5 {
			t.Errorf("%s fired %d times: it shows nothing", fault, fired)
		}
		t.Logf("%s: %d calls", fault, fired)
	}
}

// After a directory could not be synced, nobody knows which names are durable: nothing more is written, and what is here
// can be read.
func TestFailedDirectorySyncStops(t *testing.T) {
	disk := vfs.NewFaulty(vfs.NewMem())
	s := mustOpen(t, disk)
	b, sum := made(t, 1, 10)
	_, err := put(s, g3, b, sum)
	must(t, err)
	disk.Add(vfs.Rule{Fault: vfs.Error, Op: "syncdir"})
	c, other := made(t, 2, 10)
	if _, err := put(s, g3, c, other); !errors.Is(err, ErrStopped) || !errors.Is(err, vfs.ErrFault) {
		t.Errorf("got %v", err)
	}
	if got := s.Missing(g3, []block.Sum{sum, other}); len(got) != 1 || got[0] != other {
		t.Errorf("missing are %v: its name may be lost", got)
	}
	if _, err := s.Create(g3); !errors.Is(err, ErrStopped) {
		t.Errorf("another file is begun: %v", err)
	}
	if wrong := holds(s, g3, sum, b); wrong != "" {
		t.Error(wrong)
	}
}

// A file whose sync failed is over, and another one with the same content is written anew and synced on its own.
func TestFailedSyncIsFinalForTheFile(t *testing.T) {
	mem := vfs.NewMem()
	disk := vfs.NewFaulty(mem)
	s := mustOpen(t, disk)
	b, sum := made(t, 1, 10)
	disk.Add(vfs.Rule{Fault: vfs.FailedSync})
	w, err := s.Create(g3)
	must(t, err)
	_, err = w.Write(b)
	must(t, err)
	for range 2 {
		if _, err := w.Commit(sum); !errors.Is(err, vfs.ErrFault) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := w.Write(b); !errors.Is(err, vfs.ErrFault) {
		t.Errorf("got %v", err)
	}
	w.Abort()
	_, err = put(s, g3, b, sum)
	must(t, err)
	mem.Crash(vfs.DropUnsynced, 0)
	if wrong := holds(mustOpen(t, mem), g3, sum, b); wrong != "" {
		t.Error(wrong)
	}
}

// A disk without room for another page refuses a file at each of its pages, with an error of its own, and has the
// same room as before. It leaves what the log is to have, and damaged files that were put aside go first.
func TestFullDisk(t *testing.T) {
	b, sum := made(t, 1, 170_000) // two pieces
	c, other := made(t, 2, 100)
	for free := int64(0); free <= int64(len(b))+8192; free += 64 << 10 {
		for what, write := range map[string]func(*Store, Group, []byte, block.Sum) (File, error){"written": put, "received": fetch} {
			disk := vfs.NewMem()
			s := mustOpen(t, disk)
			_, err := put(s, g3, c, other)
			must(t, err)
			before := disk.Used()
			disk.Limit(before + free)
			_, err = write(s, g3, b, sum)
			if enough := free >= int64(len(b)); enough != (err == nil) || err != nil && !errors.Is(err, logstore.ErrFull) {
				t.Fatalf("%s with %d bytes free: %v", what, free, err)
			}
			if err == nil {
				continue
			}
			if got := disk.Used(); got != before {
				t.Errorf("%s with %d bytes free: %d bytes are used, before %d", what, free, got, before)
			}
			disk.Limit(0)
			if _, err := write(s, g3, b, sum); err != nil {
				t.Errorf("%s with room again: %v", what, err)
			}
		}
	}

	disk := vfs.NewMem()
	leave := int64(1 << 20)
	s, err := Open(Options{FS: disk, Dir: "d", Leave: func() int64 { return leave }})
	must(t, err)
	_, err = put(s, g3, c, other)
	must(t, err)
	disk.Limit(disk.Used() + 1<<20 + 100)
	d, third := made(t, 3, 100)
	if _, err := put(s, g3, d, third); !errors.Is(err, logstore.ErrFull) || !strings.Contains(err.Error(), "the log gets the last 1048576") {
		t.Errorf("into the room of the log: %v", err)
	}
	disk.Corrupt(s.tree.file(&File{Group: g3, Sum: other}), 40, 1)
	if err := s.Verify(g3, other); !errors.Is(err, logstore.ErrDamaged) {
		t.Fatal(err)
	}
	if n := s.Stats(); n.Aside != 1 || n.Damaged != 1 {
		t.Errorf("figures %+v", n)
	}
	if _, err := fetch(s, g3, c, other); !errors.Is(err, logstore.ErrFull) {
		t.Errorf("with the room of a damaged file that nothing has replaced: %v", err)
	}
	leave = 0
	if _, err := fetch(s, g3, c, other); err != nil {
		t.Fatal(err)
	}
	leave = 1 << 20
	disk.Limit(disk.Used() + 1<<20 + 100)
	if _, err := put(s, g3, d, third); err != nil {
		t.Errorf("with the room of a damaged file that was replaced: %v", err)
	}
	if n := s.Stats(); n.Aside != 0 || n.Damaged != 0 || n.Files != 2 {
		t.Errorf("figures %+v", n)
	}
}
