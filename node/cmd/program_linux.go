package cmd

import (
	"os"
	"syscall"
	"unsafe"
)

// endsWithThread has the kernel kill a program when the thread that starts it ends.
func endsWithThread(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }

// inForeground reports whether this process is in the foreground of a terminal, whatever its streams are.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false // it has none
	}
	defer tty.Close()
	var group int32
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, tty.Fd(), syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group)))
	return errno == 0 && int(group) == syscall.Getpgrp()
}
