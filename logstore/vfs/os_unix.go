//go:build unix

package vfs

import (
	"os"
	"syscall"
)

// lockFile takes a lock on an open file, or says that another has it. Two
// files opened by one process exclude each other as well.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == syscall.EWOULDBLOCK {
		return ErrLocked
	}
	return err
}
