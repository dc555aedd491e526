package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// ErrPower is wrapped by every error of a [Mem] that has lost power.
var ErrPower = errors.New("no power")

// Mem is a disk in memory. It knows what is durable and can lose the rest:
// [Mem.StopAt] takes the power away at an operation,
// [Mem.Crash] gives it back and decides what is left of the rest. The same
// calls give the same disk.
//
// Directories are durable from the start: no test of a user is about making them.
type Mem struct {
	mu    sync.Mutex
	dirs  map[string]bool
	names map[string]*memData // as the processes see them
	kept  map[string]*memData // as a power loss would leave them
	// pending holds the changes of names since the last SyncDir of their
	// directory, in order.
	pending []nameChange
	locks   map[string]bool
	life    int   // counts the crashes; a file or lock of an earlier life is dead
	born    int64 // files that were made, by which they are told apart
	ops     int   // changing operations, including failed ones
	stopAt  int
	off     bool
	limit   int64 // of all files together, in bytes; 0: none
	trace   func(string)
	fail    func(op string) error
}

// nameChange is one change of one directory. A rename within a directory is
// one change.
type nameChange struct {
	dir      string
	from, to string // from "" for a new file, to "" for a removed one
	data     *memData
}

// memInodes is how many files are made before an inode is reused.
const memInodes = 64

// NewMem returns an empty disk.
func NewMem() *Mem {
	return &Mem{
		dirs:  map[string]bool{".": true, "/": true},
		names: map[string]*memData{},
		kept:  map[string]*memData{},
		locks: map[string]bool{},
	}
}

// Trace calls f with one line for each operation that changes something,
// before it is done.
func (m *Mem) Trace(f func(string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trace = f
}

// Fail calls f before each operation that changes something, with the line that Trace
// would get. If f returns an error, the operation is not done and returns it. f does not
// hear of operations that only read.
func (m *Mem) Fail(f func(op string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

// Ops returns the number of operations so far that change something.
func (m *Mem) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// StopAt takes the power away at the n-th changing operation from now, the
// first being 1: it is not done, and it and all later ones return [ErrPower].
// Zero never does.
func (m *Mem) StopAt(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopAt = 0
	if n > 0 {
		m.stopAt = m.ops + n
	}
}

// step is called with mu held before each changing operation.
func (m *Mem) step(format string, args ...any) error {
	m.ops++
	if m.trace == nil && m.fail == nil && m.stopAt == 0 && !m.off {
		return nil
	}
	op := fmt.Sprintf(format, args...)
	if m.stopAt > 0 && m.ops >= m.stopAt {
		m.off = true
	}
	if m.off {
		return fmt.Errorf("%s: %w", op, ErrPower)
	}
	if m.trace != nil {
		m.trace(op)
	}
	if m.fail != nil {
		if err := m.fail(op); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
	return nil
}

func notExist(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// Open implements [FS].
func (m *Mem) Open(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return nil, fmt.Errorf("open %s: %w", name, ErrPower)
	}
	name = path.Clean(name)
	d := m.names[name]
	if d == nil {
		return nil, notExist("open", name)
	}
	return &memFile{m: m, d: d, name: name, life: m.life}, nil
}

// OpenRead implements [FS].
func (m *Mem) OpenRead(name string) (Reader, error) { return m.Open(name) }

// Create implements [FS].
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if !m.dirs[path.Dir(name)] {
		return nil, notExist("create", name)
	}
	if err := m.step("create %s", name); err != nil {
		return nil, err
	}
	if m.names[name] == nil && m.free() == 0 {
		return nil, fmt.Errorf("create %s: %w", name, ErrFull)
	}
	m.born++
	d := &memData{id: FileID{Inode: uint64(m.born%memInodes + 1), Birth: m.born}}
	m.change(nameChange{dir: path.Dir(name), to: name, data: d})
	return &memFile{m: m, d: d, name: name, life: m.life}, nil
}

// Rename implements [FS]. Both names must be in one directory: no user needs more.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, to = path.Clean(from), path.Clean(to)
	d := m.names[from]
	if d == nil {
		return notExist("rename", from)
	}
	if path.Dir(from) != path.Dir(to) {
		return fmt.Errorf("rename %s to %s: not in one directory", from, to)
	}
	if err := m.step("rename %s to %s", from, to); err != nil {
		return err
	}
	m.change(nameChange{dir: path.Dir(to), from: from, to: to, data: d})
	return nil
}

// Remove implements [FS].
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	name = path.Clean(name)
	if m.dirs[name] {
		return m.removeDir(name)
	}
	if m.names[name] == nil {
		return notExist("remove", name)
	}
	if err := m.step("remove %s", name); err != nil {
		return err
	}
	m.change(nameChange{dir: path.Dir(name), from: name})
	return nil
}

// removeDir is called with mu held. No file system keeps a name in a directory that is
// gone, so with the directory all that was removed from it is gone for good.
func (m *Mem) removeDir(dir string) error {
	within := func(name string) bool { return strings.HasPrefix(name, dir+"/") }
	for name := range m.names {
		if within(name) {
			return &fs.PathError{Op: "remove", Path: dir, Err: syscall.ENOTEMPTY}
		}
	}
	for name := range m.dirs {
		if within(name) {
			return &fs.PathError{Op: "remove", Path: dir, Err: syscall.ENOTEMPTY}
		}
	}
	if err := m.step("remove %s", dir); err != nil {
		return err
	}
	maps.DeleteFunc(m.kept, func(name string, _ *memData) bool { return within(name) })
	m.pending = slices.DeleteFunc(m.pending, func(c nameChange) bool { return c.dir == dir })
	delete(m.dirs, dir)
	return nil
}

func (m *Mem) change(c nameChange) {
	c.apply(m.names)
	m.pending = append(m.pending, c)
}

func (c nameChange) apply(names map[string]*memData) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.to != "" {
		names[c.to] = c.data
	}
}

// List implements [FS].
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return nil, fmt.Errorf("list %s: %w", dir, ErrPower)
	}
	dir = path.Clean(dir)
	if !m.dirs[dir] {
		return nil, notExist("list", dir)
	}
	var names []string
	for name := range m.names {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	for name := range m.dirs {
		if name != dir && path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	slices.Sort(names)
	return names, nil
}

// MkdirAll implements [FS].
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	if m.dirs[dir] {
		return nil
	}
	if err := m.step("mkdir %s", dir); err != nil {
		return err
	}
	for !m.dirs[dir] {
		m.dirs[dir] = true
		dir = path.Dir(dir)
	}
	return nil
}

// SyncDir implements [FS].
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir = path.Clean(dir)
	if !m.dirs[dir] {
		return notExist("sync directory", dir)
	}
	if err := m.step("syncdir %s", dir); err != nil {
		return err
	}
	rest := m.pending[:0]
	for _, c := range m.pending {
		if c.dir == dir {
			c.apply(m.kept)
		} else {
			rest = append(rest, c)
		}
	}
	m.pending = rest
	return nil
}

// FileID implements [FS]. Inodes are reused, as on a real disk.
func (m *Mem) FileID(name string) (FileID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return FileID{}, fmt.Errorf("stat %s: %w", name, ErrPower)
	}
	d := m.names[path.Clean(name)]
	if d == nil {
		return FileID{}, notExist("stat", name)
	}
	return d.id, nil
}

// Lock implements [FS].
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.off {
		return nil, fmt.Errorf("lock %s: %w", name, ErrPower)
	}
	name = path.Clean(name)
	if m.locks[name] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	m.locks[name] = true
	return &memLock{m: m, name: name, life: m.life}, nil
}

type memLock struct {
	m    *Mem
	name string
	life int
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.life == l.m.life {
		delete(l.m.locks, l.name)
	}
	l.life = -1
	return nil
}

// String lists the disk's files with their sizes, for a test that failed.
func (m *Mem) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name, d := range m.names {
		names = append(names, fmt.Sprintf("%s %d", name, len(d.now)))
	}
	slices.Sort(names)
	return strings.Join(names, "\n")
}
