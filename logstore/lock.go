package logstore

import (
	"errors"
	"fmt"
	"io"
	"path"

	"muster/logstore/vfs"
)

const lockName = "lock"

// Lock takes the lock of a data directory, and makes the directory if it is missing.
// The lock ends with Close, or with the process.
func Lock(fs vfs.FS, dir string) (io.Closer, error) {
	if err := fs.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("make data directory %s: %w; name another directory with --data", dir, err)
	}
	lock, err := fs.Lock(path.Join(dir, lockName))
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return nil, fmt.Errorf("data directory %s: %w: stop the other muster, or name another directory with --data", dir, ErrInUse)
	case err != nil:
		return nil, fmt.Errorf("lock data directory %s: %w; let this user write there, or name another directory with --data", dir, err)
	}
	return lock, nil
}
