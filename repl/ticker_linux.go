package repl

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// kernelTicker is a timer of the system, for which the runtime's poller waits as it
// does for connections.
//
// A timer of the runtime's makes an idle process wake several times. Its poller waits
// in whole milliseconds, so it is too early, and waits once more. Its watcher, a thread
// that looks whether timers are late, waits for the same time and takes a nap behind
// it. And a timer that is moved before it fires wakes both of them at the time before
// as well.
type kernelTicker struct {
	file  *os.File
	fd    uintptr // of file, which is open until stop
	c     chan time.Time
	ended chan struct{} // closed by ring
}

// clockMonotonic is CLOCK_MONOTONIC.
const clockMonotonic = 1

// newTicker returns the system's ticker, or the runtime's where the system has none to
// give.
func newTicker(interval time.Duration) ticker {
	fd, _, errno := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return plainTicker{time.NewTicker(interval)}
	}
	t := &kernelTicker{file: os.NewFile(fd, "ticker"), fd: fd, c: make(chan time.Time, 1), ended: make(chan struct{})}
	raw, err := t.file.SyscallConn()
	if err != nil || !t.set(interval) {
		t.file.Close()
		return plainTicker{time.NewTicker(interval)}
	}
	go t.ring(raw)
	return t
}

// ring sends the times until the file is closed.
func (t *kernelTicker) ring(raw syscall.RawConn) {
	defer close(t.ended)
	var rings [8]byte // how many there were since the last read
	// It does not block, so the scheduler need not hear of it, and wake the watcher.
	read := func(fd uintptr) bool {
		_, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&rings)), unsafe.Sizeof(rings))
		return errno == 0
	}
	for raw.Read(read) == nil {
		select {
		case t.c <- time.Now():
		default:
		}
	}
}

func (t *kernelTicker) channel() <-chan time.Time { return t.c }

func (t *kernelTicker) reset(interval time.Duration) { t.set(interval) }

// set reports false if the system refuses, which it may only do at the first time.
func (t *kernelTicker) set(interval time.Duration) bool {
	every := syscall.NsecToTimespec(int64(interval))
	spec := [2]syscall.Timespec{every, every} // the interval, and the first time
	_, _, errno := syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, t.fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	return errno == 0
}

func (t *kernelTicker) stop() {
	t.file.Close()
	<-t.ended
}
