package vfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
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
	fd      uintptr // file's
	refused bool    // there is no such way to this file
	async   bool    // the system may carry a write out while no thread waits
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
		if err == nil {
			d.fd, d.async = file.Fd(), aioSound(file)
		}
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
	n, err := d.writeAside(p, off)
	if err == nil && n < len(p) {
		var more int
		more, err = d.file.WriteAt(p[n:], off+int64(n))
		n += more
	}
	if n == 0 && errors.Is(err, syscall.EINVAL) {
		d.refuse()
		return false, nil
	}
	return true, err
}

// writeAside has the system write p while the goroutine waits for it and no
// thread does. It returns how much was written, which is nothing where the
// system does not do that: the rest is for a call that waits.
func (d *direct) writeAside(p []byte, off int64) (int, error) {
	if !d.async {
		return 0, nil
	}
	a := aios.take()
	if a == nil {
		return 0, nil
	}
	n, begun, err := a.write(d.fd, p, off)
	runtime.KeepAlive(d.file) // whose end would close fd
	aios.put(a)
	if err == nil {
		return n, nil
	}
	if again, never := notOfDisk(err, begun); again || never {
		d.async = !never
		return 0, nil
	}
	return 0, &os.PathError{Op: "write", Path: d.file.Name(), Err: err}
}

// notOfDisk tells an asynchronous write's error that says nothing of the disk,
// so that the same write by a call is no second try after a failure: the
// system had no room for it or was interrupted, which passes, or does not do it
// at all. What it does not know is the disk's, and final.
func notOfDisk(err error, begun bool) (again, never bool) {
	switch err {
	case syscall.EAGAIN, syscall.EINTR:
		return true, false
	case syscall.EINVAL, syscall.ENOSYS, syscall.EPERM, syscall.EACCES, syscall.ENOMEM, syscall.EOPNOTSUPP:
		return false, !begun
	}
	return false, false
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
