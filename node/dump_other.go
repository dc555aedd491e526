//go:build !linux

package node

import "syscall"

// SetDumps says whether the kernel may write the memory of this process to a file when it
// crashes.
func SetDumps(allowed bool) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_CORE, &limit); err != nil {
		return err
	}
	limit.Cur = 0
	if allowed {
		limit.Cur = limit.Max
	}
	return syscall.Setrlimit(syscall.RLIMIT_CORE, &limit)
}
