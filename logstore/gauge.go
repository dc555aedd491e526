package logstore

import (
	"fmt"
	"math"
	"sync/atomic"

	"muster/logstore/vfs"
)

// gauge knows how much room the file system has. It is owned by the goroutine of
// Append.
type gauge struct {
	disk vfs.FS
	dir  string       // of the segments
	free int64        // bytes that were free when it last asked
	owed atomic.Int64 // bytes that the headroom gave up and has not back: set by whom it is lent to as well
}

// ask asks the file system how much room it has, and returns an error that wraps
// ErrFull if that is less than some bytes.
func (g *gauge) ask(bytes int64) error {
	free, err := g.disk.Free(g.dir)
	if err != nil {
		g.free = math.MaxInt64
		return nil // the attempt will show it
	}
	g.free = free
	if free < bytes {
		return fmt.Errorf("%d bytes are free, %d are wanted: %w", free, bytes, ErrFull)
	}
	return nil
}

// askForLog asks for room for a segment. What the headroom has given up comes first:
// without a snapshot the log gets no room either.
func (g *gauge) askForLog(bytes int64) error { return g.ask(bytes + g.owed.Load()) }
