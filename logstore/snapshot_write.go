package logstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"muster/logstore/vfs"
)

// snapshotPieceBytes is how much of a snapshot is written and synced at once. The
// log's own syncs wait for what the disk got before them: a snapshot synced as a whole
// makes one of them wait for all of it (docs/decisions/0007-snapshots.md has the
// figures).
const snapshotPieceBytes = 1 << 20

// snapshotFile is the file of a snapshot in progress: under a temporary name, written
// from front to back and synced piece by piece.
type snapshotFile struct {
	s    *snapshots
	id   Replica
	name string // the temporary one
	file vfs.File
	buf  []byte // to be written at at
	at   int64  // a multiple of a page
	over bool   // after Commit or Abort
	lent bool   // the headroom, see headroom.lend
}

// begin makes the file.
func (s *snapshots) begin(id Replica) (*snapshotFile, error) {
	s.sweep() // first, for its room; what it can't remove is only in the way
	err := s.halt.err()
	s.mu.Lock()
	s.temp++
	n := s.temp
	s.mu.Unlock()
	if err == nil && !s.index.has(id) {
		err = ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	f := &snapshotFile{s: s, id: id, buf: s.pieces.take(), name: path.Join(s.dir, fmt.Sprintf("%d%s", n, snapshotTempSuffix))}
	err = s.headroom.lend(&f.lent, func() (err error) {
		f.file, err = s.disk.Create(f.name)
		return err
	})
	if err != nil {
		s.headroom.giveBack(&f.lent)
		return nil, s.failed(err)
	}
	return f, nil
}

// add takes the next bytes of the file. Bytes that do not fill a page wait, so that no
// page is written twice.
func (f *snapshotFile) add(b []byte) error {
	f.buf = append(f.buf, b...)
	if len(f.buf) < snapshotPieceBytes {
		return nil
	}
	return f.flush(len(f.buf) &^ (pageSize - 1))
}

func (f *snapshotFile) flush(n int) error {
	for from := 0; from < n; from += snapshotPieceBytes {
		piece := f.buf[from:min(n, from+snapshotPieceBytes)]
		err := f.s.headroom.lend(&f.lent, func() error {
			_, err := f.file.WriteAt(piece, f.at)
			return err
		})
		if err != nil {
			return f.s.failed(err)
		}
		if err := f.file.Sync(); err != nil {
			return f.s.failed(err)
		}
		f.at += int64(len(piece))
		f.s.figures.count(func(c *Stats) { c.SnapshotBytes += uint64(len(piece)) })
	}
	f.buf = f.buf[:copy(f.buf, f.buf[n:])]
	return nil
}

// commit writes the rest, and gives the file its name.
func (f *snapshotFile) commit(base Base) (Snapshot, error) {
	sn := Snapshot{Replica: f.id, Base: base, Size: f.at + int64(len(f.buf)), File: path.Join(f.s.dir, snapshotName(f.id, base.ID))}
	if err := f.flush(len(f.buf)); err != nil {
		return Snapshot{}, err
	}
	// All of it is synced, so a crash from here on leaves the whole file, under its
	// temporary name or the new one.
	err := f.file.Close()
	f.file = nil
	if err == nil {
		err = f.s.disk.Rename(f.name, sn.File)
	}
	if err != nil {
		return Snapshot{}, f.s.failed(err)
	}
	f.giveUp()
	f.s.headroom.giveBack(&f.lent)
	if !bug("no directory sync") {
		if err := f.s.disk.SyncDir(f.s.dir); err != nil {
			return Snapshot{}, f.s.failed(err)
		}
	}
	return sn, f.s.show(sn)
}

func (f *snapshotFile) abort() error {
	if f.over {
		return nil
	}
	f.giveUp()
	f.s.headroom.giveBack(&f.lent)
	if f.file != nil {
		f.file.Close() // nothing in it is wanted
	}
	if err := f.s.disk.Remove(f.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("give up a snapshot of %s: %w", f.id, err)
	}
	return nil
}

// giveUp ends the writing, and gives the buffer back.
func (f *snapshotFile) giveUp() {
	f.s.pieces.put(f.buf)
	f.over, f.buf = true, nil
}

// failed handles an error of the disk. If it lacks room, the caller gives the file up
// and nothing else is lost. Any other error is final: a disk that can't write a snapshot
// can't be trusted with the log.
func (s *snapshots) failed(err error) error {
	if errors.Is(err, vfs.ErrFull) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	s.halt.because(err)
	return err
}

// show makes a durable snapshot visible. If its replica was removed meanwhile, the file
// is doomed too.
func (s *snapshots) show(sn Snapshot) error {
	// Under the index's lock, so that the replica can't be removed in between.
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.index.replicas[sn.Replica]; p == nil || p.base == nil {
		s.doomed = append(s.doomed, sn.File)
		return ErrUnknown
	}
	s.add(kept{Snapshot: sn})
	s.figures.count(func(n *Stats) { n.Snapshots++ })
	return nil
}

// SnapshotWriter takes the stream of a state. One goroutine uses it, and ends
// it with Commit or Abort.
//
// An error of the disk is final for the Store, like one of Append, unless it wraps
// [ErrFull]: then there is no room, and the caller gives up what was written with
// Abort.
type SnapshotWriter struct {
	file    *snapshotFile
	header  snapshotHeader
	seed    uint32
	block   []byte // its header and what it has of data
	trailer snapshotTrailer
	err     error
}

// Write takes the next bytes of the state. It waits for the disk after each 1 MiB.
func (w *SnapshotWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) && w.err == nil {
		if len(w.block) == 0 {
			w.block = append(w.block, make([]byte, blockHeaderSize)...)
		}
		more := min(len(p)-n, blockHeaderSize+blockBytes-len(w.block))
		w.block = append(w.block, p[n:n+more]...)
		n += more
		if len(w.block) == blockHeaderSize+blockBytes {
			w.endBlock()
		}
	}
	if w.err != nil {
		return n, w.fail(w.err)
	}
	return n, nil
}

func (w *SnapshotWriter) fail(err error) error {
	return fmt.Errorf("write a snapshot of %s at %s: %w", w.file.id, w.header.base.ID, err)
}

func (w *SnapshotWriter) endBlock() {
	if w.trailer.length+int64(len(w.block)) > SnapshotBytesMax {
		w.err = fmt.Errorf("%w: it has more than %d bytes", ErrWrite, int64(SnapshotBytesMax))
		return
	}
	w.trailer.sums = sumOver(w.trailer.sums, sealBlock(w.seed, w.trailer.blocks, w.block))
	w.trailer.blocks++
	w.trailer.length += int64(len(w.block) - blockHeaderSize)
	w.err = w.file.add(w.block)
	w.block = w.block[:0]
}

// Commit makes the snapshot durable, and only then visible. It replaces a snapshot of
// the same base.
func (w *SnapshotWriter) Commit() (Snapshot, error) {
	if w.file.over {
		return Snapshot{}, w.fail(errOver)
	}
	if w.err == nil && len(w.block) > 0 {
		w.endBlock()
	}
	if w.err != nil {
		return Snapshot{}, w.fail(w.err)
	}
	w.file.buf = w.trailer.append(w.file.buf, w.seed)
	sn, err := w.file.commit(w.header.base)
	if err != nil {
		w.err = err
		return Snapshot{}, w.fail(err)
	}
	w.endBuffer()
	return sn, nil
}

var errOver = errors.New("it was committed or given up before")

// Abort removes what was written. After Commit it does nothing.
func (w *SnapshotWriter) Abort() error {
	w.endBuffer()
	return w.file.abort()
}

func (w *SnapshotWriter) endBuffer() {
	w.file.s.blocks.put(w.block)
	w.block = nil
}

// create does what [Store.CreateSnapshot] says.
func (s *snapshots) create(id Replica, b Base) (*SnapshotWriter, error) {
	return s.createThat(s.index.fitsLog(id, b.ID), id, b)
}

// createBase does what [Store.CreateBase] says.
func (s *snapshots) createBase(id Replica, b Base) (*SnapshotWriter, error) {
	return s.createThat(s.index.fitsBase(id, b), id, b)
}

// createThat begins a snapshot, unless err says why the replica can't have one there.
func (s *snapshots) createThat(err error, id Replica, b Base) (*SnapshotWriter, error) {
	w := &SnapshotWriter{header: snapshotHeader{group: id.Group, incarnation: id.Incarnation, base: b}}
	if err == nil && b.Membership.Blank() {
		err = fmt.Errorf("%w: it has no membership", ErrWrite)
	}
	if err == nil {
		err = b.Membership.Check()
	}
	if err == nil {
		w.file, err = s.begin(id)
	}
	if err != nil {
		return nil, fmt.Errorf("make a snapshot of %s at %s: %w", id, b.ID, err)
	}
	w.seed = w.header.seed()
	w.file.buf = w.header.append(w.file.buf)
	w.block = s.blocks.take()
	return w, nil
}
