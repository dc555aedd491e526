package logstore

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"muster/logstore/vfs"
	"muster/raft"
)

// filler appends entries to one replica's log and remembers what was kept.
type filler struct {
	t    testing.TB
	s    *Store
	id   Replica
	base uint64 // compacted up to there
	last uint64
	kept []raft.Entry // all from 1 on
}

func newFiller(t testing.TB, s *Store) *filler {
	f := &filler{t: t, s: s, id: testReplica(1)}
	must(t, s.Append([]Write{founding(f.id)}))
	return f
}

// add appends one entry. It is not kept if that failed.
func (f *filler) add(size int) error {
	entries := span(f.id, 1, f.last+1, f.last+1, size)
	err := f.s.Append([]Write{{Replica: f.id, Entries: entries, Commit: f.last}})
	if err == nil {
		f.last++
		f.kept = append(f.kept, entries...)
	}
	return err
}

// until adds entries until ok.
func (f *filler) until(size int, what string, ok func(Space) bool) {
	f.t.Helper()
	for range 10_000 {
		if ok(f.s.Space()) {
			return
		}
		if err := f.add(size); err != nil {
			f.t.Fatalf("until %s: %v", what, err)
		}
	}
	f.t.Fatalf("never: %s: %+v", what, f.s.Space())
}

// check finds all that was kept, and nothing else.
func (f *filler) check() {
	f.t.Helper()
	var got []raft.Entry
	for next := f.base + 1; next <= f.last; {
		entries, err := f.s.Read(f.id, next, f.last, 1<<20)
		must(f.t, err)
		got = append(got, entries...)
		next += uint64(len(entries))
	}
	sameEntries(f.t, got, f.kept[f.base:])
}

func (f *filler) reopen(disk *vfs.Mem) {
	f.t.Helper()
	must(f.t, f.s.Close())
	f.s = mustOpen(f.t, disk, Options{})
}

// A young log takes more in one write than its next segment holds, and prepares
// no more for it than it needs. One would doubt it: its segments are smaller than
// the largest batch, and what is left of each is not counted.
func TestMuchIntoYoungLog(t *testing.T) {
	for _, bytes := range []int{2 << 20, 3 << 20, 20 << 20} {
		disk := vfs.NewMem()
		disk.Limit(64<<20 + int64(bytes))
		f := newFiller(t, mustOpen(t, disk, Options{SegmentBytes: SegmentBytesDefault}))
		entries := span(f.id, 1, 1, uint64(bytes>>12), 4096)
		if err := f.s.Append([]Write{{Replica: f.id, Entries: entries}}); err != nil {
			t.Errorf("%d bytes: %v", bytes, err)
			continue
		}
		f.last, f.kept = uint64(len(entries)), entries
		f.check()
	}
}

// A log on a full disk says so while it still has a reserve, uses that up to
// the last page, refuses what does not fit before it has changed anything, and
// continues when there is room, all without losing an entry or the Store. One
// would doubt it: without room most programs end in the middle of a write.
func TestFullDisk(t *testing.T) {
	const limit = 8 * SegmentBytesMin
	disk := vfs.NewMem()
	disk.Limit(limit)
	f := newFiller(t, mustOpen(t, disk, Options{}))
	f.until(3000, "it is full", func(n Space) bool { return n.Full })
	n := f.s.Space()
	if n.Reserve != n.Kept || n.Kept != SegmentBytesMin {
		t.Errorf("full with %d bytes in reserve, want %d: %+v", n.Reserve, SegmentBytesMin, n)
	}
	for before := n; ; {
		err := f.add(3000)
		if errors.Is(err, ErrFull) {
			break
		}
		must(t, err)
		now := f.s.Space()
		if !now.Full || now.Reserve+now.Prepared >= before.Reserve+before.Prepared {
			t.Fatalf("after an entry: %+v, before it: %+v", now, before)
		}
		before = now
	}
	if left := f.s.Space(); left.Reserve > 16<<10 {
		t.Errorf("an entry of 3000 bytes is refused with room for more: %+v", left)
	}
	if err := f.add(3000); !errors.Is(err, ErrFull) {
		t.Errorf("the same again: got %v", err)
	}
	must(t, f.s.Idle())
	must(t, f.s.MakeRoom())
	if !f.s.Space().Full {
		t.Error("it has room, of which nobody made any")
	}
	f.check()
	f.reopen(disk)
	if !f.s.Space().Full {
		t.Errorf("after a start it is not full any more: %+v", f.s.Space())
	}
	f.check()

	disk.Limit(2 * limit)
	must(t, f.s.MakeRoom())
	if n := f.s.Space(); n.Full || n.Reserve != n.Kept {
		t.Errorf("with room again: %+v", n)
	}
	must(t, f.add(3000))
	f.check()
	f.reopen(disk)
	f.check()
}

// addAll appends entries in one batch. None is kept if that failed.
func (f *filler) addAll(n uint64, size int) error {
	entries := span(f.id, 1, f.last+1, f.last+n, size)
	err := f.s.Append([]Write{{Replica: f.id, Entries: entries, Commit: f.last}})
	if err == nil {
		f.last += n
		f.kept = append(f.kept, entries...)
	}
	return err
}

// waits checks that a batch that was refused is one that may be asked again.
func (f *filler) waits(err error) {
	f.t.Helper()
	if !errors.Is(err, ErrFull) || errors.Is(err, ErrStopped) || f.s.halt.err() != nil {
		f.t.Fatalf("the log does not wait for room: got %v, stopped by %v: %+v", err, f.s.halt.err(), f.s.Space())
	}
}

// A batch whose largest entry nearly fills a segment has room made for it once. One would
// doubt it: in the worst case hardly anything of each segment counts.
func TestFewSegmentsForLargeEntries(t *testing.T) {
	f := newFiller(t, mustOpen(t, vfs.NewMem(), Options{}))
	f.until(3000, "its segments are not small any more", func(Space) bool { return f.last > 4*SegmentBytesMin/3000 })
	for left := 1024; left < SegmentBytesMin/2; left += 128 {
		before := f.s.Stats().Filled
		must(t, f.addAll(3, SegmentBytesMin-left))
		if n := f.s.Stats().Filled - before; n > 8 {
			t.Errorf("three entries of %d bytes: %d segments are made", SegmentBytesMin-left, n)
		}
	}
	f.check()
}

// A full disk refuses an entry that is larger than the segments that are free. One would
// doubt it: they are room, and are of no use to it.
func TestFreeSegmentsTooSmallOnFullDisk(t *testing.T) {
	disk := vfs.NewMem()
	f := newFiller(t, mustOpen(t, disk, Options{}))
	f.until(3000, "it has written several segments", func(Space) bool { return f.last > 10*SegmentBytesMin/3000 })
	f.base = f.last - 1 // which is committed
	must(t, f.s.Compact(f.id, Base{ID: raft.LogID{Term: 1, Index: f.base}, Membership: voters(f.id.ID)}))
	for range 100 {
		must(t, f.s.Idle())
	}
	disk.Limit(disk.Used())
	f.s.room.lack = true // as a look for room found
	if len(f.s.room.free) == 0 {
		t.Fatal("no segment is free")
	}
	f.waits(f.add(2 * SegmentBytesMin))
	must(t, f.add(3000))
	f.check()
}

// A batch for which a full disk has no place is refused whole, and has one when
// there is room, however it is cut into entries. One would doubt it: room is looked
// for by the usual size of a batch, and a record of many small entries has to
// stand in one piece.
func TestManySmallEntriesOnFullDisk(t *testing.T) {
	const size, step = 100, 40
	written, refused := 0, 0
	for segments := range int64(8) {
		for n := uint64(step); n <= 40*step; n += step { // 5 to 220 KB
			disk := vfs.NewMem()
			f := newFiller(t, mustOpen(t, disk, Options{}))
			must(t, f.s.Idle())
			disk.Limit(disk.Used() + segments*SegmentBytesMin)
			if err := f.addAll(n, size); err == nil {
				written++
			} else {
				f.waits(err)
				refused++
				disk.Limit(0)
				must(t, f.s.MakeRoom())
				must(t, f.addAll(n, size))
			}
			f.check()
			must(t, f.s.Close())
		}
	}
	t.Logf("%d batches were written on a disk with little room, %d waited for more", written, refused)
	if written < 20 || refused < 20 {
		t.Error("the test shows too little")
	}
}

// Whatever a log is given while its disk fills up and empties, and whatever it has
// to move meanwhile, it never stops for lack of room. One would doubt it: the log
// checks for room before a batch, and moves records before the batch.
func TestRoomIsNotLost(t *testing.T) {
	refused, full := 0, 0
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		disk := vfs.NewMem()
		s := mustOpen(t, disk, Options{})
		var fillers []*filler
		for i := range 3 {
			f := &filler{t: t, s: s, id: testReplica(1 + i)}
			must(t, s.Append([]Write{founding(f.id)}))
			fillers = append(fillers, f)
		}
		for range 200 {
			f := fillers[rnd.IntN(len(fillers))]
			var err error
			switch rnd.IntN(8) {
			case 0, 1:
				err = f.addAll(1+rnd.Uint64N(4), rnd.IntN(20<<10))
			case 2, 3:
				err = f.addAll(1+rnd.Uint64N(600), rnd.IntN(200))
			case 4:
				if rnd.IntN(3) > 0 && f.last > f.base+1 { // one of them hardly ever: what it needs is moved
					f.base += 1 + rnd.Uint64N(f.last-f.base-1)
					err = s.Append([]Write{{Replica: f.id, Commit: f.last - 1}, {Replica: f.id, Base: &Base{ID: raft.LogID{Term: 1, Index: f.base}, Membership: voters(f.id.ID)}}})
				}
			case 5:
				must(t, s.Idle())
			case 6:
				must(t, s.MakeRoom())
			case 7:
				disk.Limit(0)
				if rnd.IntN(3) > 0 {
					disk.Limit(disk.Used() + rnd.Int64N([...]int64{1, 4 << 10, SegmentBytesMin, 4 * SegmentBytesMin}[rnd.IntN(4)]))
					full++
				}
			}
			if err != nil {
				f.waits(err)
				refused++
			}
		}
		disk.Limit(0)
		must(t, s.MakeRoom())
		for _, f := range fillers {
			must(t, f.addAll(100, 100))
			f.check()
		}
		must(t, s.Close())
	}
	t.Logf("the disk was full %d times, %d batches waited for room", full, refused)
	if full < 100 || refused < 100 {
		t.Error("the test shows too little")
	}
}

// An entry that is larger than a segment and has to be moved gets one segment made
// for it. One would doubt it: what is looked for room for is more than the entry,
// and a segment in which there is none would be made anew with each batch.
func TestLargeEntryIsMoved(t *testing.T) {
	const large, most = 100_000, 12 * SegmentBytesMin
	disk := vfs.NewMem()
	f := newFiller(t, mustOpen(t, disk, Options{}))
	must(t, f.add(large))
	other := &filler{t: t, s: f.s, id: testReplica(2)}
	must(t, f.s.Append([]Write{founding(other.id)}))
	for range 40 {
		for range 10 {
			must(t, other.add(3000))
		}
		other.base = other.last - 1
		must(t, f.s.Compact(other.id, Base{ID: raft.LogID{Term: 1, Index: other.base}, Membership: voters(other.id.ID)}))
		must(t, f.s.Idle())
		if used := disk.Used() - f.s.headroom.size; used > most {
			t.Fatalf("the log takes %d bytes, want at most %d, of which %d are needed:\n%s", used, most, f.s.Stats().NeededBytes, disk)
		}
	}
	if moved := f.s.Stats().Moved; moved < large {
		t.Errorf("%d bytes were moved, the entry has %d", moved, large)
	}
	f.check()
	other.check()
}

// A full log that is compacted continues in its own segments: the disk need not have
// any room.
func TestFullDiskCompacted(t *testing.T) {
	disk := vfs.NewMem()
	disk.Limit(10 * SegmentBytesMin)
	f := newFiller(t, mustOpen(t, disk, Options{}))
	f.until(3000, "it is full", func(n Space) bool { return n.Full })
	for range 20 {
		must(t, f.s.Compact(f.id, Base{ID: raft.LogID{Term: 1, Index: f.last - 1}, Membership: voters(f.id.ID)}))
		for range 5 {
			must(t, f.add(100))
			must(t, f.s.Idle())
		}
		must(t, f.s.MakeRoom())
		if n := f.s.Space(); n.Full {
			t.Fatalf("still full after a compaction: %+v\n%s", n, disk)
		}
		f.until(3000, "it is full again", func(n Space) bool { return n.Full })
	}
}

// Whichever operation first meets the full disk: nothing that was kept is lost,
// the log opens again, and the Store stops only where a name or a batch would
// be in doubt. One would doubt it: some of these operations come once a day.
func TestEveryOperationMeetsFullDisk(t *testing.T) {
	stopped, went := 0, 0
	for n := 1; ; n++ {
		disk := vfs.NewMem()
		count, hit := 0, ""
		disk.Fail(func(op string) error {
			if count++; count != n {
				return nil
			}
			hit = op
			return ErrFull
		})
		s, err := Open(Options{FS: disk, Dir: "d", SegmentBytes: SegmentBytesMin})
		if err != nil {
			if !errors.Is(err, ErrFull) && !strings.HasPrefix(hit, "syncdir") {
				t.Fatalf("%d %s: %v", n, hit, err)
			}
			continue // a first start; nothing was there to lose
		}
		f := &filler{t: t, s: s, id: testReplica(1)}
		err = f.script()
		f.check()
		if err != nil {
			stopped++
			segment := strings.Contains(hit, "d/log/0")
			if f.s.halt.err() == nil || !(segment && (strings.HasPrefix(hit, "write") || strings.HasPrefix(hit, "sync ")) || strings.HasPrefix(hit, "syncdir") || strings.HasPrefix(hit, "remove")) {
				t.Fatalf("%d %s: the log does not go on: %v", n, hit, err)
			}
		} else {
			went++
		}
		disk.Fail(nil)
		f.s.Close()
		f.s, err = Open(Options{FS: disk, Dir: "d", SegmentBytes: SegmentBytesMin})
		if err != nil {
			t.Fatalf("%d %s: it does not open again: %v", n, hit, err)
		}
		if f.last > 0 {
			f.check()
		}
		must(t, f.s.Close())
		if hit == "" {
			t.Logf("%d operations met a full disk: after %d of them the log went on, after %d it stopped", n-1, went, stopped)
			if went < 40 || stopped == 0 {
				t.Error("the test shows too little")
			}
			return
		}
	}
}

// script does a little of all that a log does.
func (f *filler) script() error {
	if err := f.s.Append([]Write{founding(f.id)}); err != nil {
		return err
	}
	for i := range 90 {
		size := 3000
		if i == 60 {
			size = 100_000 // a segment to measure
		}
		if err := f.add(size); errors.Is(err, ErrFull) && f.s.halt.err() == nil {
			if err := f.s.MakeRoom(); err != nil {
				return err
			}
			if err := f.add(size); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
		if i%7 == 3 {
			if err := f.s.Idle(); err != nil {
				return err
			}
			if err := f.s.MakeRoom(); err != nil {
				return err
			}
		}
		if i%30 == 29 {
			f.base = f.last - 3
			if err := f.s.Compact(f.id, Base{ID: raft.LogID{Term: 1, Index: f.base}, Membership: voters(f.id.ID)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// A node starts on a full disk: the identity, whose start counter is written
// anew, has room that was kept back; and what makes no difference to others is
// kept back again.
func TestStartOnFullDisk(t *testing.T) {
	disk := vfs.NewMem()
	must(t, disk.MkdirAll("d"))
	id := freshIdentity()
	must(t, WriteIdentity(disk, "d", id))
	f := newFiller(t, mustOpen(t, disk, Options{}))
	must(t, f.s.Close())
	disk.Limit(disk.Used()) // not a byte more
	for start := range uint64(5) {
		f.s = mustOpen(t, disk, Options{})
		number := 100 + start
		_, err := BeginLife(f.s, id, number, number)
		must(t, err)
		if id, _, err = ReadIdentity(disk, "d"); err != nil || id.Life().Number != number {
			t.Fatalf("start %d: got %s, %v", number, id.Life(), err)
		}
		must(t, f.add(10))
		f.check()
		must(t, f.s.Close())
	}
	must(t, disk.Remove("d/"+headroomName))
	disk.Limit(disk.Used())
	was := id.Life()
	id, err := id.Begin(0, 1, 0)
	must(t, err)
	err = WriteIdentity(disk, "d", id)
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "make room") || strings.Contains(err.Error(), "\n") {
		t.Errorf("without room: got %v", err)
	}
	if got, _, err := ReadIdentity(disk, "d"); err != nil || got.Life() != was {
		t.Errorf("without room: the identity is that of life %s, %v", got.Life(), err)
	}
}

// What writes beside the log on a full disk gets the headroom, once, and the
// headroom comes again when there is room.
func TestHeadroomIsLent(t *testing.T) {
	disk := vfs.NewMem()
	f := newFiller(t, mustOpen(t, disk, Options{}))
	s := f.s
	must(t, s.Idle())
	file, err := disk.Create("d/beside")
	must(t, err)
	disk.Limit(disk.Used())
	lent, at, had := false, int64(0), s.headroom.size
	if had < headroomMin+headroomStep {
		t.Fatalf("headroom of %d bytes", had)
	}
	write := func() error {
		err := s.headroom.lend(&lent, func() error { _, err := file.WriteAt(make([]byte, 4096), at); return err })
		at += 4096
		return err
	}
	for at < had-headroomMin {
		must(t, write())
	}
	if err := write(); !errors.Is(err, ErrFull) {
		t.Errorf("more than the headroom: got %v", err)
	}
	disk.Limit(2 * disk.Used())
	must(t, s.MakeRoom())
	if s.headroom.size != headroomMin {
		t.Errorf("while it is lent the headroom is of %d bytes, want what is the identity's, %d", s.headroom.size, headroomMin)
	}
	s.headroom.giveBack(&lent)
	must(t, s.MakeRoom())
	if s.headroom.size < had {
		t.Errorf("the headroom is not made again: %s", fmt.Sprint(disk))
	}
}
