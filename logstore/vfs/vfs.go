// Package vfs is the disk as logstore sees it.
//
// It does not know what a file holds, it does not retry, and it starts no
// goroutine. Two disks implement it: [OS], the real one, and [Mem], which
// lives in memory, counts its operations, can be full, can rot, and can lose
// power at any of them. [Faulty] wraps either and does to its calls
// what bad disks do.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// ErrLocked is wrapped by the error of [FS.Lock] for a lock that another
// holder has, in this process or in another.
var ErrLocked = errors.New("locked by another process")

// ErrFull is wrapped by the error of an operation for which there was no
// space, or that exceeded the user's quota. Nothing else has changed,
// except in the range of a write.
var ErrFull = errors.New("no space on the disk")

// FS is a tree of directories and files. Names are paths with slashes. Every
// error says what was being done to which name. The error about an absent file wraps
// [io/fs.ErrNotExist], one about lack of space wraps [ErrFull].
type FS interface {
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading only. It works on a read-only disk.
	OpenRead(name string) (Reader, error)
	// Create makes an empty file, replacing one of that name. The
	// file's name is durable only after SyncDir of its directory, its bytes
	// only after its Sync.
	Create(name string) (File, error)
	// Rename gives a file another name in one step, replacing a file of
	// that name. Which of the two names a crash leaves is not promised
	// before SyncDir.
	Rename(from, to string) error
	// Remove removes a file, or a directory without anything in it; one with something
	// is an error. Until SyncDir of the directory that it was in, a crash may bring it back.
	Remove(name string) error
	// List returns the names in a directory, without the directory's own, in
	// order. An absent directory is an error.
	List(dir string) ([]string, error)
	// MkdirAll makes a directory and its parents, where they are missing,
	// durably.
	MkdirAll(dir string) error
	// SyncDir makes the names in a directory durable as they are now.
	SyncDir(dir string) error
	// Lock takes a lock that ends with the process or with Close, and creates
	// its file. It does not wait.
	Lock(name string) (io.Closer, error)
	// FileID returns which file has a name.
	FileID(name string) (FileID, error)
	// Free returns how many bytes can still be written on the disk that holds
	// a directory, by this user. Others may take them at any time.
	Free(dir string) (int64, error)
}

// Fitter is an [FS] that knows who may read and change a file or a directory. Fit returns why this process may
// not go by one, as [Unfit] does; the error wraps [errors.ErrUnsupported] where that can't be known.
type Fitter interface {
	Fit(name string, want fs.FileMode, s Secrecy) error
}

// FileID tells a file from every copy of it, and from an earlier file of the same name:
// two files that exist at the same time differ in their inodes, others in their birth
// times. It stays the same when the file is renamed or written to, and when its
// directory is moved within the file system.
type FileID struct {
	Inode uint64
	Birth int64 // when it was made, ns since 1970; 0 if the system does not say, and then a later file may have the same inode
}

// Reader is one open file that is read. ReadAt may run concurrently with every other call; the
// others are for one goroutine at a time.
type Reader interface {
	io.ReaderAt
	Size() (int64, error)
	Close() error
}

// File is one open file that is read and written, under the same rules.
type File interface {
	Reader
	// WriteAt writes all of p or returns an error, after which nothing is
	// promised about the bytes in its range.
	io.WriterAt
	// Sync makes the bytes and the size durable. After an error nothing is
	// promised, not even by a later Sync that succeeds: the system may have
	// dropped what it could not write.
	Sync() error
	Truncate(size int64) error
}

// SyncWriter is a [File] that writes and syncs in one step. It is for overwriting
// bytes that are durable, like those of a prepared segment.
type SyncWriter interface {
	// WriteSync is WriteAt, and Sync of what that wrote. If the system allows
	// it, exactly the bytes of p go to the disk past the system's memory;
	// otherwise it is the two calls, one after the other.
	WriteSync(p []byte, off int64) error
	// Unit is a number of bytes: offset and length of a WriteSync, and the address of
	// p, should be multiples of it. It is a sector if the bytes go straight to the
	// disk, and a page otherwise.
	Unit() int64
}
