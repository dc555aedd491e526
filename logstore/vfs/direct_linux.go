package vfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// direct is a second descriptor of a file: a write through it goes straight to the
// disk, and returns when it is durable (O_DIRECT and O_DSYNC, open(2)).
//
// The system's memory holds whole pages. Written through it, a batch of a few
// hundred bytes costs the disk the one or two pages that it touches, ten times its
// size, and two calls instead of one. Both descriptors may be used: the system drops
// from its memory what is written past it.
type direct struct {
	file    *os.File
	fd      uintptr // file's
	refused bool    // the system does not allow direct writes to the file
	async   bool    // the system may carry a write out while no thread waits
}

// directSector is the least that most disks write past the system's memory. One with
// larger sectors refuses, and then nothing was written.
const directSector = SectorSize

// open opens the descriptor at its first use. It finds the file by the other
// descriptor, because its name may have changed.
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

// write writes p past the system's memory. If that is impossible, it writes nothing and
// reports false.
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
	// The system refuses the alignment or the flags before it writes anything, so a
	// write through its memory is no second try after a failure.
	if n == 0 && errors.Is(err, syscall.EINVAL) {
		d.refuse()
		return false, nil
	}
	return true, err
}

// writeAside lets the system write p while the goroutine waits for it and no thread
// does. It returns how much was written, which is nothing if the system can't do that:
// a call that waits writes the rest.
func (d *direct) writeAside(p []byte, off int64) (int, error) {
	if !d.async {
		return 0, nil
	}
	a := aios.take()
	if a == nil {
		return 0, nil
	}
	n, begun, err := a.write(d.fd, p, off)
	runtime.KeepAlive(d.file) // its finalizer would close fd
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

// notOfDisk reports whether the error of an asynchronous write says nothing about the
// disk, so that the same write by a call is no second try after a failure: the system
// had no room for it or was interrupted, which may pass (again), or does not support it
// at all (never). Any other error is the disk's, and final.
func notOfDisk(err error, begun bool) (again, never bool) {
	switch err {
	case syscall.EAGAIN, syscall.EINTR:
		return true, false
	case syscall.EINVAL, syscall.ENOSYS, syscall.EPERM, syscall.EACCES, syscall.ENOMEM, syscall.EOPNOTSUPP:
		return false, !begun
	}
	return false, false
}

// refuse gives the descriptor up for good.
func (d *direct) refuse() {
	d.refused = true
	d.close() // nothing was written, so a close can't fail to write anything
}

func (d *direct) close() error {
	if d.file == nil {
		return nil
	}
	err := d.file.Close()
	d.file = nil
	return err
}
