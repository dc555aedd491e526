//go:build linux || darwin || freebsd || dragonfly

package vfs

import "syscall"

// freeBytes asks the file system how much is left for users other than root: a node
// can't count on what is reserved for root.
func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	for {
		if err := syscall.Statfs(dir, &st); err == nil {
			break
		} else if err != syscall.EINTR {
			return 0, err
		}
	}
	// Some systems count into debt.
	return max(0, int64(st.Bavail)*int64(st.Bsize)), nil
}
