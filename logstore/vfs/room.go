package vfs

import "fmt"

// Room returns an error that wraps [ErrFull] unless the disk of a directory has so many bytes besides those that others are left;
// what names the bytes in it, as in "hints". It keeps no room: what others write meanwhile is missing then. A disk that can't tell how much
// is free has room: the attempt shows whether that is so.
func Room(disk FS, dir, what string, bytes, leave int64) error {
	free, err := disk.Free(dir)
	if err != nil || free-leave >= bytes {
		return nil
	}
	return fmt.Errorf("%d bytes for %s: %d are free, of which the log gets the last %d: %w", bytes, what, free, leave, ErrFull)
}
