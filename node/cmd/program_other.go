//go:build !linux

package cmd

import (
	"os"
	"syscall"
)

// endsWithThread would have a program end with the thread that starts it. This system can't: after a SIGKILL of
// this process the program runs on.
func endsWithThread(*syscall.SysProcAttr) {}

// inForeground reports whether this process has a terminal. That it is in the foreground can't be told here.
func inForeground() bool {
	tty, err := os.Open("/dev/tty")
	if err != nil {
		return false
	}
	tty.Close()
	return true
}
