//go:build !linux

package probe

// reap waits until the program has ended, and kills the rest of its group. Between the two the
// number of the group could become that of a stranger, if all numbers were used up meanwhile.
func (x *program) reap() {
	_ = x.command.Wait() // what it says is in ProcessState
	x.mu.Lock()
	defer x.mu.Unlock()
	x.killGroup()
	x.reaped = true
}
