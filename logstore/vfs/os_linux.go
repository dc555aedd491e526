package vfs

import (
	"os"
	"runtime"
	"syscall"
)

// syncData syncs a file's bytes and what is needed to read them, not its
// times: on a preallocated file that spares the file system's journal.
func syncData(f *os.File) error {
	err := syscall.Fdatasync(int(f.Fd()))
	runtime.KeepAlive(f)
	return err
}
