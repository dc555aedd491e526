package vfs

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// direct is a second way to a file: what is written through it goes to the disk
// at once, and returns when it is durable (O_DIRECT and O_DSYNC, open(2)).
//
// The system's memory holds whole pages. Written through it, a batch of a few
// hundred bytes costs the disk the one or two pages that it touches, ten bytes
// for one; and two calls, where one is enough. The ways may be mixed: the system
// drops from its memory what is written past it.
type direct struct {
	file    *os.File
	refused bool // there is no such way to this file
}

// directSector is the least that can be written past the system's memory: on
// most disks. One with larger sectors refuses, and then nothing was written.
const directSector = SectorSize

// open opens the way at its first use. The file is found by its descriptor, for
// its name may have changed.
func (d *direct) open(f *os.File) bool {
	if d.file == nil && !d.refused {
		file, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR|syscall.O_DIRECT|syscall.O_DSYNC, 0)
		d.file, d.refused = file, err != nil
	}
	return !d.refused
}

func (d *direct) unit(f *os.File) int64 {
	if d.open(f) {
		return directSector
	}
	return pageBytes
}

// write writes p past the system's memory, if that can be done; else it did
// nothing and says so.
func (d *direct) write(f *os.File, p []byte, off int64) (done bool, err error) {
	if len(p) == 0 || (int64(len(p))|off|int64(uintptr(unsafe.Pointer(&p[0]))))%directSector != 0 || !d.open(f) {
		return false, nil
	}
	n, err := d.file.WriteAt(p, off)
	if n == 0 && errors.Is(err, syscall.EINVAL) {
		d.refuse()
		return false, nil
	}
	return true, err
}

// refuse gives the way up for good.
func (d *direct) refuse() {
	d.refused = true
	d.close() // nothing was written that a close could fail to write
}

func (d *direct) close() error {
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file = nil
	return err
}
