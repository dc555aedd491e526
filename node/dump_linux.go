package node

import "syscall"

// SetDumps says whether the kernel may write the memory of this process to a file when it
// crashes, and whether other processes of the same user may look into it. A process that may
// not be dumped belongs to root where /proc shows it.
func SetDumps(allowed bool) error {
	to := uintptr(0)
	if allowed {
		to = 1
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, to, 0); errno != 0 {
		return errno
	}
	return nil
}
