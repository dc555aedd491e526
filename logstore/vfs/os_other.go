//go:build !linux

package vfs

import "os"

// direct is nothing here: what is written goes through the system's memory.
type direct struct{}

func (*direct) unit(*os.File) int64                         { return pageBytes }
func (*direct) write(*os.File, []byte, int64) (bool, error) { return false, nil }
func (*direct) refuse()                                     {}
func (*direct) close() error                                { return nil }

// syncData syncs a file. Systems other than Linux have no call in common for the bytes
// alone.
func syncData(f *os.File) error { return f.Sync() }
