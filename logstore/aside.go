package logstore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"

	"muster/logstore/vfs"
	"muster/raft"
)

// A wrong state is kept aside before it is rebuilt, because it shows a person what went
// wrong. Nothing else depends on it, so it takes only room that nobody else wants: the
// newest few files stay, and none is written where the disk is nearly full.
//
// A file in the directory aside has the form of a snapshot, whose blocks have checksums,
// with a membership without members and group time 0. Its name is that of a snapshot
// behind a number, by which the oldest is known:
// 0000000000000002-g3-i2-r5-7.10432.state. The other ending keeps it from being taken for
// a snapshot.
const (
	// AsideDir is the directory of the states that were kept aside, in the data
	// directory.
	AsideDir = "aside"
	// AsideMax is how many of them stay.
	AsideMax = 4

	asideSuffix = ".state"
	asideTemp   = "state.tmp"
	// asideLeaves is how many segments of the log the disk must have room for besides a
	// state that is kept aside, and besides what the headroom is owed: one that the log
	// wants next, and one for the reserve and whatever else is under way.
	asideLeaves = 2
)

// Aside is a file with a state that was kept aside.
type Aside struct {
	Replica Replica
	At      raft.LogID // the last entry that was applied to the state
	Size    int64      // of the file, in bytes
	File    string     // with its directory
}

// LeaveFree returns how many bytes of the disk belong to the log of s and its headroom,
// beyond what they have: files that can wait, as those of points, leave so much free. Any
// goroutine may ask; it asks no disk.
func LeaveFree(s *Store) int64 { return s.gauge.owed.Load() + s.aside.leave }

// aside keeps wrong states. Its calls wait for each other: nobody is in a hurry.
type aside struct {
	disk  vfs.FS
	dir   string
	leave int64 // bytes that it leaves free
	log   *slog.Logger
	index *index
	gauge *gauge
	halt  *halt

	mu sync.Mutex // held over operations on the files; index.mu is taken under it
}

// KeepAside writes the state of a replica, as of the entry at, to a file that stays for a
// person, and returns its name once it is durable. write writes the stream of the state,
// as to a [SnapshotWriter]; its error ends the file. If there are more than [AsideMax],
// the oldest goes. Where the disk has no room but what the log and its headroom want, the
// error wraps [ErrFull], and nothing is kept. Any other error of the disk is final for
// the Store. Any goroutine may call it; calls wait for each other.
func (s *Store) KeepAside(r Replica, at raft.LogID, write func(io.Writer) error) (file string, err error) {
	if file, err = s.aside.keep(r, at, write); err != nil {
		return "", fmt.Errorf("keep the state of %s at %s aside: %w", r, at, err)
	}
	return file, nil
}

func (a *aside) keep(r Replica, at raft.LogID, write func(io.Writer) error) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.halt.err(); err != nil {
		return "", err
	}
	if !a.index.has(r) {
		return "", ErrUnknown
	}
	file, err := a.make(r, at, write)
	if err == nil {
		if err := a.trim(); err != nil { // the next call tries again, and so does Open
			a.log.Warn("state kept aside is not removed", "err", err)
		}
		return file, nil
	}
	if a.halt.err() == nil {
		// It only takes up room, and the next Open removes it.
		_ = a.disk.Remove(path.Join(a.dir, asideTemp))
	}
	return "", err
}

// make makes the file. Errors of the disk stop the Store, except for want of room.
func (a *aside) make(r Replica, at raft.LogID, write func(io.Writer) error) (string, error) {
	if err := a.disk.MkdirAll(a.dir); err != nil {
		return "", a.failed(err)
	}
	all, err := a.list()
	if err != nil {
		return "", a.failed(err)
	}
	number := uint64(1)
	if n := len(all); n > 0 {
		number = all[n-1].number + 1
	}
	temp, name := path.Join(a.dir, asideTemp), path.Join(a.dir, asideName(number, r, at))
	w := asideWriter{aside: a}
	if w.file, err = a.disk.Create(temp); err != nil {
		return "", a.failed(err)
	}
	err = w.whole(r, at, write)
	if closeErr := w.file.Close(); err == nil && closeErr != nil {
		err = a.failed(closeErr)
	}
	if err != nil {
		return "", err
	}
	// All of it is synced: a crash from here on leaves the whole file, under one of the
	// two names.
	if err = a.disk.Rename(temp, name); err == nil {
		err = a.disk.SyncDir(a.dir)
	}
	if err != nil {
		return "", a.failed(err)
	}
	return name, nil
}

// failed handles an error of the disk, as for a snapshot: if it lacks room, the file is
// given up, and any other error is final.
func (a *aside) failed(err error) error {
	if !errors.Is(err, ErrFull) {
		a.halt.because(err)
	}
	return err
}

// asideWriter makes the stream of a state a file.
type asideWriter struct {
	aside   *aside
	file    vfs.File
	seed    uint32
	block   []byte // its header and what it has of data
	trailer snapshotTrailer
	piece   []byte // to be written at at
	at      int64
	err     error // the first of Write, in case its caller passes over it
}

// whole writes all of the file, and syncs it.
func (w *asideWriter) whole(r Replica, at raft.LogID, write func(io.Writer) error) error {
	h := snapshotHeader{group: r.Group, incarnation: r.Incarnation, base: Base{ID: at}}
	w.piece, w.seed = h.append(nil), h.seed()
	if err := cmp.Or(write(w), w.err, w.endBlock()); err != nil {
		return err
	}
	w.piece = w.trailer.append(w.piece, w.seed)
	return w.flush()
}

// Write takes the next bytes of the state.
func (w *asideWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(w.block) == 0 {
			w.block = append(w.block, make([]byte, blockHeaderSize)...)
		}
		more := min(len(p)-n, blockHeaderSize+blockBytes-len(w.block))
		w.block = append(w.block, p[n:n+more]...)
		n += more
		if len(w.block) < blockHeaderSize+blockBytes {
			continue
		}
		if w.err = cmp.Or(w.err, w.endBlock()); w.err != nil {
			return n, w.err
		}
	}
	return n, nil
}

func (w *asideWriter) endBlock() error {
	if len(w.block) == 0 {
		return nil
	}
	w.trailer.sums = sumOver(w.trailer.sums, sealBlock(w.seed, w.trailer.blocks, w.block))
	w.trailer.blocks++
	w.trailer.length += int64(len(w.block) - blockHeaderSize)
	w.piece, w.block = append(w.piece, w.block...), w.block[:0]
	if len(w.piece) < snapshotPieceBytes {
		return nil
	}
	return w.flush()
}

// flush writes a piece and syncs it, for the reason of snapshotPieceBytes.
func (w *asideWriter) flush() error {
	a := w.aside
	// An error of the question means nothing: the attempt shows whether there is room.
	if free, err := a.disk.Free(a.dir); err == nil && free-a.gauge.owed.Load()-a.leave < int64(len(w.piece)) {
		return fmt.Errorf("%d bytes are free, of which the log gets the last %d: %w", free, a.gauge.owed.Load()+a.leave, ErrFull)
	}
	_, err := w.file.WriteAt(w.piece, w.at)
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		return a.failed(err)
	}
	w.at += int64(len(w.piece))
	w.piece = w.piece[:0]
	return nil
}

// asideEntry is a name in the directory.
type asideEntry struct {
	number  uint64
	replica Replica
	at      raft.LogID
	file    string
}

func asideName(number uint64, r Replica, at raft.LogID) string {
	return fmt.Sprintf("%016d-%s%s", number, strings.TrimSuffix(snapshotName(r, at), snapshotSuffix), asideSuffix)
}

// parseAsideName reads what asideName wrote.
func parseAsideName(name string) (e asideEntry, ok bool) {
	number, rest, _ := strings.Cut(strings.TrimSuffix(name, asideSuffix), "-")
	if _, err := fmt.Sscanf(number, "%d", &e.number); err != nil {
		return e, false
	}
	if e.replica, e.at, ok = parseSnapshotName(rest + snapshotSuffix); !ok {
		return e, false
	}
	return e, asideName(e.number, e.replica, e.at) == name
}

// list returns the files by their numbers; none if there is no directory yet.
func (a *aside) list() ([]asideEntry, error) {
	names, err := listNames(a.disk, a.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var all []asideEntry
	for _, name := range names {
		if e, ok := parseAsideName(name); ok {
			e.file = path.Join(a.dir, name)
			all = append(all, e)
		} else if name != asideTemp {
			a.log.Warn("unknown file among the states kept aside", "file", path.Join(a.dir, name))
		}
	}
	slices.SortFunc(all, func(a, b asideEntry) int { return cmp.Compare(a.number, b.number) })
	return all, err
}

// trim removes the oldest files beyond AsideMax.
func (a *aside) trim() error {
	all, err := a.list()
	for n := 0; err == nil && n < len(all)-AsideMax; n++ {
		err = a.disk.Remove(all[n].file)
	}
	return err
}

// open removes a file that was never finished, and files beyond AsideMax.
func (a *aside) open() error {
	names, err := listNames(a.disk, a.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && slices.Contains(names, asideTemp) {
		err = a.disk.Remove(path.Join(a.dir, asideTemp))
	}
	if err == nil && len(names) > 0 {
		// A killed process may have renamed the newest without syncing the directory, and
		// an older one may go for it.
		err = a.disk.SyncDir(a.dir)
	}
	if err == nil {
		err = a.trim()
	}
	return err
}

// AsideFiles returns the names of the states that were kept aside in a data directory,
// with their directories, oldest first.
func AsideFiles(disk vfs.FS, dir string) ([]string, error) {
	a := aside{disk: disk, dir: path.Join(dir, AsideDir), log: slog.New(slog.DiscardHandler)}
	all, err := a.list()
	var files []string
	for i := range all {
		files = append(files, all[i].file)
	}
	return files, err
}

// AsideNamed returns what the name of a file says that [AsideFiles] lists: all but its size.
func AsideNamed(file string) (Aside, bool) {
	e, ok := parseAsideName(path.Base(file))
	return Aside{Replica: e.replica, At: e.at, File: file}, ok
}

// OpenAside opens a state that was kept aside, whose name gives its replica and where it
// stood. It checks the ends of the file; its blocks are checked as they are read. Its
// errors are those of [StatSnapshot].
func OpenAside(disk vfs.FS, file string) (Aside, *SnapshotReader, error) {
	e, ok := parseAsideName(path.Base(file))
	if !ok {
		return Aside{}, nil, fmt.Errorf("%s: it does not have the name of a state that was kept aside", file)
	}
	r, err := openSnapshot(disk, file, e.replica, func(*Damage) {})
	if err != nil {
		return Aside{}, nil, err
	}
	if r.header.base.ID != e.at {
		return Aside{}, nil, errors.Join(r.damage(0, "header", fmt.Errorf("it is at %s", r.header.base.ID)), r.Close())
	}
	return Aside{Replica: e.replica, At: e.at, Size: r.size, File: file}, r, nil
}
