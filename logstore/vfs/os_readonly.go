package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
)

// OSReadOnly is the real disk for callers that only look: it opens files for reading,
// even those that may not be written, and refuses every change.
type OSReadOnly struct{ disk OS }

var _ FS = OSReadOnly{}

func readOnly(op, name string) error {
	return fmt.Errorf("%s %s: opened to read only: %w", op, name, fs.ErrPermission)
}

// Open implements [FS].
func (OSReadOnly) Open(name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil // the system refuses to write to it
}

// OpenRead implements [FS].
func (d OSReadOnly) OpenRead(name string) (Reader, error) { return d.disk.OpenRead(name) }

// Create implements [FS].
func (OSReadOnly) Create(name string) (File, error) { return nil, readOnly("create", name) }

// Rename implements [FS].
func (OSReadOnly) Rename(from, _ string) error { return readOnly("rename", from) }

// Remove implements [FS].
func (OSReadOnly) Remove(name string) error { return readOnly("remove", name) }

// List implements [FS].
func (d OSReadOnly) List(dir string) ([]string, error) { return d.disk.List(dir) }

// MkdirAll implements [FS].
func (OSReadOnly) MkdirAll(dir string) error { return readOnly("make", dir) }

// SyncDir implements [FS].
func (OSReadOnly) SyncDir(dir string) error { return readOnly("sync", dir) }

// Lock implements [FS].
func (OSReadOnly) Lock(name string) (io.Closer, error) { return nil, readOnly("lock", name) }

// FileID implements [FS].
func (d OSReadOnly) FileID(name string) (FileID, error) { return d.disk.FileID(name) }

// Free implements [FS].
func (d OSReadOnly) Free(dir string) (int64, error) { return d.disk.Free(dir) }
