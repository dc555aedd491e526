//go:build amd64 || arm64

package vfs

import (
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// statxResult is the system's struct statx (linux/stat.h) of a little-endian
// system of 64 bits, as far as it is of use.
type statxResult struct {
	mask      uint32
	blockSize uint32
	_         uint64
	_         [4]uint32 // links, user, group, mode
	inode     uint64
	_         [3]uint64
	accessed  statxTime
	born      statxTime
	_         [256 - 96]byte // the system has room here for what comes later
}

type statxTime struct {
	seconds     int64
	nanoseconds uint32
	_           int32
}

const (
	statxInode = 0x100 // STATX_INO
	statxBorn  = 0x800 // STATX_BTIME
)

// fileID asks by statx(2), which Linux has since 4.11.
func fileID(name string) (FileID, error) {
	number := uintptr(332)
	if runtime.GOARCH == "arm64" {
		number = 291
	}
	path, err := syscall.BytePtrFromString(name)
	if err != nil {
		return FileID{}, &os.PathError{Op: "statx", Path: name, Err: err}
	}
	here := -100 // AT_FDCWD: a relative name is looked up from the working directory
	var r statxResult
	_, _, errno := syscall.Syscall6(number, uintptr(here), uintptr(unsafe.Pointer(path)), 0, statxInode|statxBorn, uintptr(unsafe.Pointer(&r)), 0)
	switch {
	case errno == syscall.ENOSYS, errno == syscall.EPERM: // an older system, or a sandbox that does not know the call
		return fileIDOfStat(name)
	case errno != 0:
		return FileID{}, &os.PathError{Op: "statx", Path: name, Err: errno}
	}
	id := FileID{Inode: r.inode}
	if r.mask&statxBorn != 0 {
		id.Birth = r.born.seconds*1e9 + int64(r.born.nanoseconds)
	}
	return id, nil
}
