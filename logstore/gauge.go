package logstore

import (
	"fmt"
	"math"

	"muster/logstore/vfs"
)

// gauge tells how much room the file system has. It is owned by the goroutine of
// Append.
type gauge struct {
	disk vfs.FS
	dir  string // of the segments
	free int64  // bytes that there were when it was last asked
}

// ask asks the file system for its room, and whether it is enough.
func (g *gauge) ask(bytes int64) error {
	free, err := g.disk.Free(g.dir)
	if err != nil {
		g.free = math.MaxInt64
		return nil // to try will tell
	}
	g.free = free
	if free < bytes {
		return fmt.Errorf("%d bytes are free, %d are wanted: %w", free, bytes, ErrFull)
	}
	return nil
}
