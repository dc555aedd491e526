package logstore

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path"
	"slices"

	"muster/logstore/vfs"
	"muster/raft"
)

// firstSegmentBytes keeps a fresh node's start short and a small node's disk
// use low: each new segment is twice the last, up to the standard size.
const firstSegmentBytes = 1 << 20

// segmentsMax bounds the log, to 16 TiB: a stray file name must not decide how many
// segments count as missing.
const segmentsMax = 1 << 20

// Open opens the log in a data directory, or makes one, and reads all of it.
// It returns [ErrInUse], [ErrNewerFormat], [ErrOlderFormat], or the disk's
// error. An unfinished last batch is dropped: nobody was told that it is kept.
// Damage is no error: [Store.Damaged] lists what it hit.
func Open(o Options) (*Store, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = SegmentBytesDefault
	}
	if o.SegmentBytes < SegmentBytesMin || o.SegmentBytes > SegmentBytesMax {
		return nil, fmt.Errorf("open the log: segments of %d bytes, want %d to %d", o.SegmentBytes, SegmentBytesMin, SegmentBytesMax)
	}
	s := newStore(o)
	if o.Lock == nil {
		lock, err := Lock(o.FS, o.Dir)
		if err != nil {
			return nil, err
		}
		s.lock = lock
	}
	if err := (&recovery{s: s}).open(); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("open the log in %s: %w", s.dir, err)
	}
	if err := s.snapshots.open(); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("open the snapshots in %s: %w", s.snapshots.dir, err)
	}
	if err := s.fences.open(); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("open the fences in %s: %w", s.fences.dir, err)
	}
	if err := s.aside.open(); err != nil {
		s.closeFiles()
		return nil, fmt.Errorf("open the states kept aside in %s: %w", s.aside.dir, err)
	}
	return s, nil
}

func newStore(o Options) *Store {
	s := &Store{
		fs:   o.FS,
		dir:  path.Join(o.Dir, LogDir),
		size: roundUp(o.SegmentBytes, pageSize),
		log:  o.Log,
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.index = index{
		dir: s.dir, dropped: func(id Replica) {
			s.snapshots.forget(id)
			s.fences.forget(id)
		},
		replicas: map[Replica]*replica{}, graves: map[raft.GroupID]grave{},
	}
	s.faults = faults{disk: s.fs, dir: s.dir, log: s.log, index: &s.index}
	s.gauge = gauge{disk: s.fs, dir: s.dir}
	s.headroom = headroom{disk: s.fs, dir: path.Dir(s.dir), log: s.log, gauge: &s.gauge}
	s.snapshots = snapshots{
		disk: s.fs, dir: path.Join(o.Dir, SnapshotDir), log: s.log,
		index: &s.index, faults: &s.faults, headroom: &s.headroom, halt: &s.halt, figures: &s.figures,
		of: map[Replica][]kept{},
	}
	s.fences = fences{
		disk: s.fs, dir: path.Join(o.Dir, FenceDir), log: s.log,
		index: &s.index, headroom: &s.headroom, halt: &s.halt, of: map[Replica]Fence{},
	}
	s.aside = aside{
		disk: s.fs, dir: path.Join(o.Dir, AsideDir), leave: asideLeaves * s.size, log: s.log,
		index: &s.index, gauge: &s.gauge, halt: &s.halt,
	}
	s.reader = reader{index: &s.index, faults: &s.faults}
	s.walk = logScrub{index: &s.index, faults: &s.faults}
	s.room = room{
		disk: s.fs, dir: s.dir, size: s.size, freeMin: cmp.Or(o.FreeSegments, FreeSegmentsDefault), chance: o.Chance, log: s.log,
		index: &s.index, gauge: &s.gauge, figures: &s.figures, home: &s.home,
	}
	s.writer = writer{size: s.size, log: s.log, index: &s.index, faults: &s.faults, room: &s.room, figures: &s.figures, home: &s.home}
	s.reclaimer = reclaimer{log: s.log, index: &s.index, faults: &s.faults, room: &s.room, writer: &s.writer, figures: &s.figures}
	s.home = home{
		disk: s.fs, dir: path.Dir(s.dir), log: s.log, halt: &s.halt, index: &s.index,
		gauge: &s.gauge, headroom: &s.headroom, room: &s.room, writer: &s.writer,
	}
	return s
}

// open does what [Open] says, except for the snapshots.
func (r *recovery) open() (err error) {
	s := r.s
	if r.known, err = knownEnd(s.fs, s.home.dir); err != nil {
		return err
	}
	numbers, err := r.list()
	if err != nil {
		return err
	}
	numbers = r.known.orNumbers(numbers)
	if len(numbers) == 0 && r.known.refused != nil {
		return r.known.refused // the file may tell what is missing
	}
	if len(numbers) == 0 {
		if err := s.room.startFilling(min(firstSegmentBytes, s.size)); err != nil {
			return err
		}
		if err := s.room.fill(s.size); err != nil {
			return err
		}
		s.index.goTo(s.index.segments[0])
		s.writer.synced = position{s.index.active.number, s.index.active.end}
		s.writer.directory.since, s.writer.directory.sinceAt = s.index.active.number, s.writer.synced
		return s.beginSpace()
	}
	if err := r.recover(numbers); err != nil {
		return err
	}
	// A killed process may have renamed files without syncing the directory.
	if err := s.fs.SyncDir(s.dir); err != nil {
		return err
	}
	return s.beginSpace()
}

// list makes the directory if it is missing, removes a segment whose preparation was
// cut short, and returns the numbers of the segments, sorted.
func (r *recovery) list() ([]uint64, error) {
	s := r.s
	if err := s.fs.MkdirAll(s.dir); err != nil {
		return nil, err
	}
	if err := s.fs.Remove(path.Join(s.dir, preparedName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return segmentNumbers(s.fs, s.dir, s.log)
}

// segmentNumbers returns the numbers of the segments in a directory, sorted.
func segmentNumbers(disk vfs.FS, dir string, log *slog.Logger) ([]uint64, error) {
	names, err := listNames(disk, dir)
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, name := range names {
		if n, ok := parseSegmentName(name); ok {
			numbers = append(numbers, n)
		} else if name != reserveName {
			log.Warn("unknown file in the log", "file", path.Join(dir, name))
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}
