package logstore

import (
	"errors"
	"log/slog"
	"testing"

	"muster/logstore/vfs"
)

// The headroom follows what it is for, in steps, never takes the disk's last bytes,
// and leaves the identity its part when it is lent. One would doubt it: it is made
// when there is room and used when there is none.
func TestHeadroomAlone(t *testing.T) {
	disk := vfs.NewMem()
	must(t, disk.MkdirAll("d"))
	h := headroom{disk: disk, dir: "d", log: slog.New(slog.DiscardHandler), gauge: &gauge{disk: disk, dir: "d"}}
	size := func() int64 {
		t.Helper()
		file, err := disk.Open(h.file())
		must(t, err)
		n, err := file.Size()
		must(t, err)
		must(t, file.Close())
		if n != h.size {
			t.Errorf("the file has %d bytes, it is said to have %d", n, h.size)
		}
		return n
	}
	for _, step := range []struct{ want, got int64 }{
		{1 << 20, 1 << 20},
		{3 << 20, 3 << 20},
		{2 << 20, 3 << 20},         // a little more is not worth the work
		{headroomMin, headroomMin}, // much more is
		{3 << 20, 3 << 20},
	} {
		must(t, h.keep(step.want, 0))
		if got := size(); got != step.got {
			t.Errorf("%d bytes are wanted: got %d, want %d", step.want, got, step.got)
		}
	}
	again := headroom{disk: disk, dir: "d"}
	must(t, again.find())
	if again.size != h.size {
		t.Errorf("the next start finds %d bytes, want %d", again.size, h.size)
	}
	disk.Limit(disk.Used())
	must(t, h.keep(9<<20, 0))
	if got := size(); got != 3<<20 {
		t.Errorf("without room it has %d bytes, had %d", got, 3<<20)
	}
	lent, tries := false, 0
	full := func() error { tries++; return ErrFull }
	if err := h.lend(&lent, full); !errors.Is(err, ErrFull) || tries != 2 || !lent {
		t.Errorf("lent to one that needs more than there is: %v, after %d tries", err, tries)
	}
	if err := h.lend(&lent, full); !errors.Is(err, ErrFull) || tries != 3 {
		t.Errorf("lent once more: %v, after %d tries", err, tries)
	}
	if got := size(); got != headroomMin {
		t.Errorf("while it is lent it has %d bytes, want %d", got, headroomMin)
	}
	disk.Limit(1 << 30)
	must(t, h.keep(1<<20, 0))
	if got := size(); got != headroomMin {
		t.Errorf("it is made again while it is lent: %d bytes", got)
	}
	h.giveBack(&lent)
	h.giveBack(&lent) // does nothing
	must(t, h.keep(1<<20, 0))
	if got := size(); got != 1<<20 {
		t.Errorf("after it was given back it has %d bytes, want %d", got, 1<<20)
	}
}

// What a snapshot took of the headroom comes back before the log takes the room, piece by
// piece as there is room. Else the log would take the last of it, and no snapshot could give
// it any more.
func TestHeadroomComesBeforeTheLog(t *testing.T) {
	disk := vfs.NewMem()
	must(t, disk.MkdirAll("d"))
	g := &gauge{disk: disk, dir: "d"}
	h := headroom{disk: disk, dir: "d", log: slog.New(slog.DiscardHandler), gauge: g}
	const want = headroomMin + 8*headroomStep
	check := func(what string, size, owed int64) {
		t.Helper()
		if h.size != size || g.owed.Load() != owed {
			t.Errorf("%s: it has %d bytes, and is owed %d; want %d and %d", what, h.size, g.owed.Load(), size, owed)
		}
	}
	must(t, h.keep(want, 0))
	disk.Limit(disk.Used())
	lent := false
	must(t, h.lend(&lent, func() error {
		if h.size > headroomMin {
			return ErrFull
		}
		return nil
	}))
	check("given up", headroomMin, want-headroomMin)
	disk.Limit(disk.Used() + 3*headroomStep)
	h.giveBack(&lent)
	must(t, h.keep(want, 0))
	check("with some room", headroomMin+3*headroomStep, 5*headroomStep)
	disk.Limit(disk.Used() + 5*headroomStep)
	if err := g.askForLog(1); !errors.Is(err, ErrFull) {
		t.Errorf("the log asks for what the headroom is owed: got %v", err)
	}
	must(t, h.keep(want, 0))
	check("with all of it", want, 0)
	disk.Limit(disk.Used() + 1)
	must(t, g.askForLog(1))

	must(t, h.keepDue(headroomMin, 0)) // nothing is due
	check("less is due", want, 0)
	must(t, h.keep(2*want, 0)) // more than it ever had is not owed
	check("more is wanted", want, 0)
	must(t, h.keep(3*want, want+headroomStep)) // but for what the next snapshot needs
	check("a snapshot needs more", want, headroomStep)
}
