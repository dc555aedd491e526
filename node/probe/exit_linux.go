package probe

import "syscall"

// ofProcess makes waitid(2) wait for one process.
const ofProcess = 1

// reap waits until the program has ended, and kills the rest of its group while the number of
// its leader is still taken: afterwards it could be that of a stranger.
func (x *program) reap() {
	for {
		_, _, err := syscall.Syscall6(syscall.SYS_WAITID, ofProcess, uintptr(x.command.Process.Pid), 0, syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if err != syscall.EINTR {
			break
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.killGroup()
	_ = x.command.Wait() // what it says is in ProcessState
	x.reaped = true
}
