package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// pageBytes is the unit in which the system's memory holds a file.
const pageBytes = 4096

// OS is the real disk.
type OS struct{}

var _ FS = OS{}

// osFile is a file of the real disk. The errors of package os name the
// operation and the path already.
type osFile struct {
	*os.File
	direct // for WriteSync
}

var _ SyncWriter = (*osFile)(nil)

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, space(err)
}

func (f *osFile) Truncate(size int64) error { return space(f.File.Truncate(size)) }

// Sync may be the first to return ErrFull: some file systems look for space only then.
func (f *osFile) Sync() error {
	if err := syncData(f.File); err != nil {
		return fmt.Errorf("sync %s: %w", f.Name(), space(err))
	}
	return nil
}

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// WriteSync implements [SyncWriter].
func (f *osFile) WriteSync(p []byte, off int64) error {
	if done, err := f.direct.write(f.File, p, off); done {
		return space(err)
	}
	if _, err := f.WriteAt(p, off); err != nil {
		return err
	}
	return f.Sync()
}

// Unit implements [SyncWriter].
func (f *osFile) Unit() int64 { return f.direct.unit(f.File) }

// Close implements [File].
func (f *osFile) Close() error { return errors.Join(f.direct.close(), f.File.Close()) }

// Open implements [FS].
func (OS) Open(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

// OpenRead implements [FS].
func (OS) OpenRead(name string) (Reader, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &osFile{File: f}, nil
}

// Create implements [FS]. Only the owner may read the file: its content may be secret.
func (OS) Create(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, space(err)
	}
	return &osFile{File: f}, nil
}

// Rename implements [FS].
func (OS) Rename(from, to string) error { return space(os.Rename(from, to)) }

// Remove implements [FS].
func (OS) Remove(name string) error { return os.Remove(name) }

// List implements [FS].
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// MkdirAll implements [FS]. It goes up until it meets an existing directory, and syncs
// each directory that gets a new one.
func (o OS) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	switch info, err := os.Stat(dir); {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("make directory %s: a file has that name: %w", dir, syscall.ENOTDIR)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := o.MkdirAll(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return space(err)
	}
	return o.SyncDir(parent)
}

// SyncDir implements [FS].
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, space(err))
	}
	return nil
}

// Lock implements [FS] with a lock of the system, which it gives up when the
// process ends, however it ends.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, space(err)
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

// FileID implements [FS].
func (OS) FileID(name string) (FileID, error) { return fileID(name) }

// fileIDOfStat identifies a file by what every Unix says of it.
func fileIDOfStat(name string) (FileID, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return FileID{}, err
	}
	id := FileID{}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		id.Inode = s.Ino
	}
	return id, nil
}

// Free implements [FS].
func (OS) Free(dir string) (int64, error) {
	free, err := freeBytes(dir)
	if err != nil {
		return 0, fmt.Errorf("look for space in %s: %w", dir, err)
	}
	return free, nil
}

// space wraps an error about lack of space in ErrFull.
func space(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
