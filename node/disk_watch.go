package node

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"muster/logstore/vfs"
)

// stallAfter is how long a disk may take for one operation before it counts as stalled:
// an election timeout. By then the leaders on it are about to be replaced.
const stallAfter = electionTicks * tick

// diskWatch sits in front of the disk of a node, and knows at any time what the node
// waits for there: in any goroutine and any operation, even at a start. A disk that
// hangs returns no error, so without it a node whose every write hangs would have
// nothing to say.
//
// It logs one line when the disk stalls, and one when it is back. For that it has a
// timer that runs only while an operation is under way, so it does not wake a node at
// rest.
type diskWatch struct {
	vfs.FS // for methods that are not watched, because they do not use the disk

	// Set once.
	log   *slog.Logger
	after time.Duration

	hangs atomic.Bool // stall is set
	dead  atomic.Bool // the node was killed: nothing changes on the disk any more

	mu    sync.Mutex // guards all below; held over no operation and no line of the log, which may go to the same disk
	ops   []diskOp   // those without a time are free
	timer *time.Timer
	armed bool
	stall diskOp // the one that was logged; without a time: none
	ended bool
}

// diskOp is an operation that is under way.
type diskOp struct {
	what, name string
	since      time.Time
}

// diskStall is an operation that has waited for too long.
type diskStall struct {
	what, name string
	waited     time.Duration
}

func (s diskStall) String() string {
	return fmt.Sprintf("%s of %s has waited for %s", s.what, s.name, s.waited.Round(100*time.Millisecond))
}

var _ vfs.FS = (*diskWatch)(nil)

func newDiskWatch(disk vfs.FS, log *slog.Logger, after time.Duration) *diskWatch {
	w := &diskWatch{FS: disk, log: log, after: after}
	w.timer = time.AfterFunc(after, w.look)
	w.armed = true
	return w
}

// stop ends the timer. Operations that are under way are no longer watched.
func (w *diskWatch) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.timer.Stop()
}

// begin records that an operation is under way, and returns its place.
func (w *diskWatch) begin(what, name string) int {
	op := diskOp{what, name, time.Now()}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.armed && !w.ended {
		w.armed = true
		w.timer.Reset(w.after)
	}
	for i := range w.ops {
		if w.ops[i].since.IsZero() {
			w.ops[i] = op
			return i
		}
	}
	w.ops = append(w.ops, op)
	return len(w.ops) - 1
}

// end records that it is over. If it was the last of those that hung, the disk is back.
func (w *diskWatch) end(place int) {
	w.mu.Lock()
	w.ops[place] = diskOp{}
	now := time.Now()
	was, back := w.recovered(now)
	w.mu.Unlock()
	if back {
		w.log.Info("disk is back", "operation", was.what, "file", was.name, "waited", now.Sub(was.since).Round(time.Millisecond))
	}
}

// recovered reports whether the disk was stalled until now, and returns the operation
// that was logged. It is called with mu held.
func (w *diskWatch) recovered(now time.Time) (was diskOp, back bool) {
	if w.stall.since.IsZero() {
		return diskOp{}, false
	}
	if oldest := w.oldest(); !oldest.since.IsZero() && now.Sub(oldest.since) >= w.after {
		return diskOp{}, false
	}
	was, w.stall = w.stall, diskOp{}
	w.hangs.Store(false)
	return was, true
}

// oldest returns the operation that has waited longest. It is called with mu
// held.
func (w *diskWatch) oldest() (oldest diskOp) {
	for _, op := range w.ops {
		if !op.since.IsZero() && (oldest.since.IsZero() || op.since.Before(oldest.since)) {
			oldest = op
		}
	}
	return oldest
}

// look is what the timer does.
func (w *diskWatch) look() {
	if oldest, waited, stalls := w.noteStall(); stalls {
		w.log.Warn("disk stalls", "operation", oldest.what, "file", oldest.name, "waited", waited.Round(time.Millisecond))
	}
}

// noteStall reports whether the disk has begun to stall, and in which operation. It sets
// the timer again if something is under way.
func (w *diskWatch) noteStall() (oldest diskOp, waited time.Duration, stalls bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	oldest = w.oldest()
	if w.ended || oldest.since.IsZero() {
		w.armed = false
		return oldest, 0, false
	}
	waited = time.Since(oldest.since)
	if stalls = waited >= w.after && w.stall.since.IsZero(); stalls {
		w.stall = oldest
		w.hangs.Store(true)
	}
	w.timer.Reset(max(w.after-waited, w.after/2))
	return oldest, waited, stalls
}

// stalled returns the operation that has waited longest, and whether that is too long.
// Any goroutine may ask.
func (w *diskWatch) stalled() (diskStall, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	oldest := w.oldest()
	if oldest.since.IsZero() {
		return diskStall{}, false
	}
	s := diskStall{oldest.what, oldest.name, time.Since(oldest.since)}
	return s, s.waited >= w.after
}

// Open implements [vfs.FS].
func (w *diskWatch) Open(name string) (vfs.File, error) {
	defer w.end(w.begin("open", name))
	return w.file(name)(w.FS.Open(name))
}

// OpenRead implements [vfs.FS].
func (w *diskWatch) OpenRead(name string) (vfs.Reader, error) {
	defer w.end(w.begin("open", name))
	f, err := w.FS.OpenRead(name)
	if err != nil {
		return nil, err
	}
	return watchedReader{f, w, name}, nil
}

// Create implements [vfs.FS].
func (w *diskWatch) Create(name string) (vfs.File, error) {
	if w.dead.Load() {
		return nil, errDead
	}
	defer w.end(w.begin("create", name))
	return w.file(name)(w.FS.Create(name))
}

// Rename implements [vfs.FS].
func (w *diskWatch) Rename(from, to string) error {
	if w.dead.Load() {
		return errDead
	}
	defer w.end(w.begin("rename", to))
	return w.FS.Rename(from, to)
}

// Remove implements [vfs.FS].
func (w *diskWatch) Remove(name string) error {
	if w.dead.Load() {
		return errDead
	}
	defer w.end(w.begin("remove", name))
	return w.FS.Remove(name)
}

// List implements [vfs.FS].
func (w *diskWatch) List(dir string) ([]string, error) {
	defer w.end(w.begin("listing", dir))
	return w.FS.List(dir)
}

// MkdirAll implements [vfs.FS].
func (w *diskWatch) MkdirAll(dir string) error {
	if w.dead.Load() {
		return errDead
	}
	defer w.end(w.begin("making", dir))
	return w.FS.MkdirAll(dir)
}

// SyncDir implements [vfs.FS].
func (w *diskWatch) SyncDir(dir string) error {
	if w.dead.Load() {
		return errDead
	}
	defer w.end(w.begin("sync", dir))
	return w.FS.SyncDir(dir)
}

// Lock implements [vfs.FS].
func (w *diskWatch) Lock(name string) (io.Closer, error) {
	defer w.end(w.begin("lock", name))
	return w.FS.Lock(name)
}

// FileID implements [vfs.FS].
func (w *diskWatch) FileID(name string) (vfs.FileID, error) {
	defer w.end(w.begin("stat", name))
	return w.FS.FileID(name)
}

// Fit implements [vfs.Fitter], if the disk does.
func (w *diskWatch) Fit(name string, want fs.FileMode, s vfs.Secrecy) error {
	f, ok := w.FS.(vfs.Fitter)
	if !ok {
		return errors.ErrUnsupported
	}
	defer w.end(w.begin("stat", name))
	return f.Fit(name, want, s)
}

// Free implements [vfs.FS].
func (w *diskWatch) Free(dir string) (int64, error) {
	defer w.end(w.begin("check of the room left", dir))
	return w.FS.Free(dir)
}

// file wraps a file so that its operations are watched too.
func (w *diskWatch) file(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		watched := &watchedFile{watchedReader{f, w, name}, f}
		if s, ok := f.(vfs.SyncWriter); ok {
			return &watchedSyncFile{watched, s}, nil
		}
		return watched, nil
	}
}

// watchedReader is a file behind a [diskWatch] that is read.
type watchedReader struct {
	reads vfs.Reader
	w     *diskWatch
	name  string
}

func (f watchedReader) ReadAt(p []byte, off int64) (int, error) {
	defer f.w.end(f.w.begin("read", f.name))
	return f.reads.ReadAt(p, off)
}

func (f watchedReader) Size() (int64, error) {
	defer f.w.end(f.w.begin("size", f.name))
	return f.reads.Size()
}

func (f watchedReader) Close() error {
	defer f.w.end(f.w.begin("close", f.name))
	return f.reads.Close()
}

// watchedFile is one that is read and written.
type watchedFile struct {
	watchedReader
	writes vfs.File // the same
}

func (f *watchedFile) WriteAt(p []byte, off int64) (int, error) {
	if f.w.dead.Load() {
		return 0, errDead
	}
	defer f.w.end(f.w.begin("write", f.name))
	return f.writes.WriteAt(p, off)
}

func (f *watchedFile) Sync() error {
	if f.w.dead.Load() {
		return errDead
	}
	defer f.w.end(f.w.begin("sync", f.name))
	return f.writes.Sync()
}

func (f *watchedFile) Truncate(size int64) error {
	if f.w.dead.Load() {
		return errDead
	}
	defer f.w.end(f.w.begin("truncate", f.name))
	return f.writes.Truncate(size)
}

// watchedSyncFile is a watchedFile that writes and syncs in one step.
type watchedSyncFile struct {
	*watchedFile
	direct vfs.SyncWriter
}

// WriteSync implements [vfs.SyncWriter].
func (f *watchedSyncFile) WriteSync(p []byte, off int64) error {
	if f.w.dead.Load() {
		return errDead
	}
	defer f.w.end(f.w.begin("write and sync", f.name))
	return f.direct.WriteSync(p, off)
}

// Unit implements [vfs.SyncWriter].
func (f *watchedSyncFile) Unit() int64 { return f.direct.Unit() }
