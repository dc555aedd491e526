//go:build unix

package vfs

import (
	"os"
	"syscall"
)

// lockFile takes a lock on an open file, or returns ErrLocked if another holder has it.
// Two files that one process has opened exclude each other too.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		return ErrLocked
	}
	return err
}
