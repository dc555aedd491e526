//go:build !linux

package cmd

import (
	"os"
	"syscall"
)

// endsWithThread would have a program end with the thread that starts it. This system can't: after a SIGKILL of
// this process the program runs on.
func endsWithThread(*syscall.SysProcAttr) {}

// inForeground reports whether this process has a terminal. It can't tell here whether it is in the foreground.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	tty.Close()
	return true
}
