package logstore

import (
	"errors"
	"flag"
	"fmt"
	"testing"

	"muster/logstore/vfs"
)

var (
	crashSeed = flag.Uint64("seed", 3, "of the random part of TestCrashAtEveryOperation")
	every     = flag.Bool("every", false, "have TestCrashAtEveryOperation take all points, with several choices of what is left at each; have TestSnapshotDamage hit many more bytes")
)

// The power goes at every operation of every story, then once more at every
// operation of the recovery, and the disk keeps all, none, or some of what was
// not synced. What was acknowledged is there; of what was under way any
// beginning is, and nothing else; what was promised does not go back; nothing
// is taken for damage; what was found stays, and the log can be written on.
//
// A usual run takes each operation of each story in each mode, and after it one
// place of a recovery in one of the modes, another each time; of the long story
// a part. All of them are taken with -every.
func TestCrashAtEveryOperation(t *testing.T) {
	enumerates(t)
	table := crashTable{}
	for i := range stories {
		s := &stories[i]
		t.Run(s.name, func(t *testing.T) { s.crash(t, table) })
	}
	t.Log(table)
	if points := table.sum(); points < 500 {
		t.Errorf("%d points, want at least 500", points)
	}
}

func (s *story) crash(t testing.TB, table crashTable) {
	r := s.begin(t, *crashSeed, nil)
	before := r.mem.Ops()
	must(t, s.act(r))
	ops := r.mem.Ops() - before
	if ops == 0 {
		t.Fatal("it does nothing to the disk")
	}
	step := 1
	if s.long && !*every {
		step = ops/25 + 1
	}
	for n := 1; n <= ops; n += step {
		r := s.begin(t, *crashSeed, nil)
		r.mem.StopAt(n)
		if err := s.act(r); !errors.Is(err, vfs.ErrPower) {
			t.Fatalf("crash at %d: %v", n, err)
		}
		for _, mode := range vfs.CrashModes() {
			choices := 1
			if *every && mode != vfs.DropUnsynced && mode != vfs.KeepUnsynced {
				choices = 4
			}
			for c := range choices {
				chance := uint64(n*100 + c)
				disk := r.mem.Copy()
				disk.Crash(mode, chance)
				if err := crashAgain(r, disk, mode, chance, table.of(s.name)); err != nil {
					t.Fatalf("crash at %d, %s, chance %d: %v", n, mode, chance, err)
				}
			}
		}
	}
}

// crashAgain looks at what a crash has left, in a recovery that is left alone
// and in those that are cut short themselves.
func crashAgain(r *lifeRun, disk *vfs.Mem, mode vfs.CrashMode, chance uint64, count *[5]crashCount) error {
	count[mode].first++
	whole := r.fork(disk.Copy())
	if err := whole.survive(); err != nil {
		return err
	}
	ops := whole.opening
	from, to := 1, ops
	if !*every {
		point := int(chance / 100)
		if vfs.CrashMode(point%len(count)) != mode || ops == 0 {
			return nil
		}
		from = 1 + point%ops
		to = from
	}
	for n := from; n <= to; n++ {
		count[mode].second++
		again := r.fork(disk.Copy())
		again.mem.StopAt(n)
		if err := again.open(); !errors.Is(err, vfs.ErrPower) {
			return fmt.Errorf("recovery without power from %d on: %v", n, err)
		}
		// A process that is killed and then the power that goes, and so on.
		next := vfs.CrashModes()[(int(mode)+n)%len(count)]
		again.mem.Crash(next, chance+uint64(n))
		if err := again.survive(); err != nil {
			return fmt.Errorf("recovery cut short at %d, %s: %w", n, next, err)
		}
	}
	return nil
}

// crashTable counts points by story and mode.
type crashTable map[string]*[5]crashCount

// crashCount counts crashes in the story, and in the recoveries after them.
type crashCount struct{ first, second int }

func (c crashTable) of(story string) *[5]crashCount {
	if c[story] == nil {
		c[story] = new([5]crashCount)
	}
	return c[story]
}

func (c crashTable) sum() int {
	n := 0
	for _, modes := range c {
		for _, count := range modes {
			n += count.first + count.second
		}
	}
	return n
}

func (c crashTable) String() string {
	s := fmt.Sprintf("%d crash points; in the operation + in the recovery\n%-28s", c.sum(), "")
	for _, mode := range vfs.CrashModes() {
		s += fmt.Sprintf("%12s", mode)
	}
	for i := range stories {
		name := stories[i].name
		s += fmt.Sprintf("\n%-28s", name)
		for _, count := range c.of(name) {
			s += fmt.Sprintf("%12s", fmt.Sprintf("%d+%d", count.first, count.second))
		}
	}
	return s
}
