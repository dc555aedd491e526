// Package machine reads what Linux counts.
//
// That is processor time, of processes and of the whole machine; besides, it tells
// a disk from memory. It changes nothing.
package machine

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tick is the unit of processor time in /proc, on every architecture that Go
// runs on.
const tick = 10 * time.Millisecond

// ProcessTime is the processor time of a process so far, user and system, in
// steps of 10 ms.
func ProcessTime(pid int) (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return processTime(string(b))
}

// Places in /proc/PID/stat, counted from the field behind the name, which is in
// brackets and may hold anything.
const (
	utimeField = 11
	stimeField = 12
)

func processTime(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) <= stimeField {
		return 0, fmt.Errorf("stat of a process has %d fields", len(fields))
	}
	var ticks time.Duration
	for _, i := range []int{utimeField, stimeField} {
		n, err := strconv.ParseUint(fields[i], 10, 63)
		if err != nil {
			return 0, fmt.Errorf("stat of a process: %w", err)
		}
		ticks += time.Duration(n)
	}
	return ticks * tick, nil
}

// ProcessTimes is the sum over several processes.
func ProcessTimes(pids []int) (sum time.Duration, err error) {
	for _, pid := range pids {
		d, err := ProcessTime(pid)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// Use is the time of all processors so far.
type Use struct{ Busy, Total time.Duration }

// Now returns the use of the machine up to now.
func Now() (Use, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return Use{}, err
	}
	return use(string(b))
}

// Columns of the first line of /proc/stat that are not time at work. What the
// host took away (steal, column 7) is: it is lost to everybody alike. Guests
// (columns 8 and up) are within the user's time already.
const (
	idleColumn   = 3
	iowaitColumn = 4
	guestColumn  = 8
)

func use(stat string) (u Use, err error) {
	first, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(first)
	if len(fields) < 1+guestColumn || fields[0] != "cpu" {
		return Use{}, fmt.Errorf("/proc/stat begins with %q", first)
	}
	for i, f := range fields[1 : 1+guestColumn] {
		n, err := strconv.ParseUint(f, 10, 63)
		if err != nil {
			return Use{}, fmt.Errorf("/proc/stat: %w", err)
		}
		d := time.Duration(n) * tick
		u.Total += d
		if i != idleColumn && i != iowaitColumn {
			u.Busy += d
		}
	}
	return u, nil
}

// Others is the share of the machine, 0 to 1, that processes other than ours used
// between two looks; ours is the processor time of ours meanwhile.
func Others(before, after Use, ours time.Duration) float64 {
	total := after.Total - before.Total
	if total <= 0 {
		return 0
	}
	return max(0, float64(after.Busy-before.Busy-ours)/float64(total))
}

// What AwaitQuiet calls quiet.
const (
	quietShare = 0.12
	quietLook  = 300 * time.Millisecond
)

// AwaitQuiet waits until the processors have little to do, at most as long as
// limit.
func AwaitQuiet(limit time.Duration) error {
	for until := time.Now().Add(limit); time.Now().Before(until); {
		before, err := Now()
		if err != nil {
			return err
		}
		time.Sleep(quietLook)
		after, err := Now()
		if err != nil {
			return err
		}
		if Others(before, after, 0) < quietShare {
			return nil
		}
	}
	return nil
}

// Kinds of file system that are held in memory, where a sync costs nothing.
const (
	tmpfs = 0x01021994
	ramfs = 0x858458f6
)

// OnDisk returns an error for a folder that is held in memory.
func OnDisk(dir string) error {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if s.Type == tmpfs || s.Type == ramfs {
		return fmt.Errorf("%s is held in memory, where a sync costs nothing; name a folder on a disk", dir)
	}
	return nil
}

// Describe names the machine in a line: processor, cores, memory, kernel and Go.
func Describe() string {
	processor := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				processor = strings.TrimSpace(value)
				break
			}
		}
	}
	var info syscall.Sysinfo_t
	gigabytes := 0.0
	if err := syscall.Sysinfo(&info); err == nil {
		gigabytes = float64(info.Totalram) * float64(info.Unit) / 1e9
	}
	kernel := "unknown kernel"
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		kernel = "Linux " + strings.TrimSpace(string(b))
	}
	return fmt.Sprintf("%s, %d cores, %.0f GB, %s, %s", processor, runtime.NumCPU(), gigabytes, kernel, runtime.Version())
}
