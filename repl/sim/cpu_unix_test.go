//go:build unix

package sim

import (
	"syscall"
	"time"
)

// cpuTime is the processor time that this process took: what a figure per
// processor is about, whatever else the machine does.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
