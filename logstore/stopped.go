package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"

	"muster/logstore/vfs"
)

// At a clean stop a node records in its identity how far the log had come, so that a
// start notices if the end is missing: zeros there look like the room after a batch that
// was never finished. It also writes a file that describes the whole log, like a
// directory that no batch follows. So it is known which entries are missing at the end,
// and they are mended like other damage. The file is believed as long as the identity
// says that the node has not started since.
//
// All numbers are little-endian:
//
//	 0  8 B  ed 'm' 'u' 's' 't' 's' 't' 'p'
//	 8  u32  format, 1
//	12  u32  CRC32C of all other bytes
//	16  u64  the last batch
//	24  u64  mark of the life that ended
//	32  u64  tail: the first segment that was needed
//	40  u64  number of rows
//	48       rows, as directory.go draws them
const (
	stoppedName     = "stopped"
	stoppedTemp     = "stopped.tmp"
	stoppedMagic    = "\xedmuststp"
	stoppedHeader   = 48
	stoppedBytesMax = 1 << 30
)

// stopped is what the file says.
type stopped struct {
	batch Batch
	mark  uint64
	tail  uint64
	count uint32
	rows  []byte // after a directory's header
}

// lastKnown is what the identity says about the end of the log, and the file that
// describes all of it, if there is one to believe.
type lastKnown struct {
	batch  Batch // the log was synced at least up to here; 0: nothing is known
	stop   *stopped
	reason string // how that is known
	// refused: the disk refuses the file. Without it, nothing that the file may
	// describe may be recorded as lost.
	refused error
}

// knownEnd reads how far the log had come. Nothing is known of a log without an
// identity; a damaged identity is reported to its owner elsewhere.
func knownEnd(disk vfs.FS, dir string) (lastKnown, error) {
	id, ok, err := ReadIdentity(disk, dir)
	switch {
	case errors.Is(err, ErrIdentity), errors.Is(err, ErrNewerFormat), errors.Is(err, ErrOlderFormat), err == nil && !ok:
		return lastKnown{}, nil
	case err != nil:
		return lastKnown{}, err
	}
	if id.Stopped == 0 {
		k := lastKnown{}
		if n := len(id.Chain); n > 0 {
			k.batch = id.Chain[n-1].Last
			k.reason = fmt.Sprintf("it was there when the node last started (%s)", path.Join(dir, identityName))
		}
		return k, nil
	}
	k := lastKnown{batch: id.Stopped, reason: fmt.Sprintf("the node stopped after batch %d (%s)", id.Stopped, path.Join(dir, identityName))}
	// A file of another stop, or of another life, describes another log.
	stop, err := readStopped(disk, dir)
	if err == nil && stop != nil && stop.batch == id.Stopped && stop.mark == id.Life().Mark {
		k.stop = stop
	}
	if errors.Is(err, ErrRefused) {
		k.refused, err = fmt.Errorf("read %s: %w", path.Join(dir, stoppedName), err), nil
	}
	return k, err
}

// knownEndIfRead is [knownEnd] for callers that only look: if the disk refuses the
// identity, they can still see the rest.
func knownEndIfRead(disk vfs.FS, dir string) (lastKnown, error) {
	k, err := knownEnd(disk, dir)
	if errors.Is(err, ErrRefused) {
		return lastKnown{}, nil
	}
	return k, err
}

// orNumbers returns numbers, those of the segments that exist. If there are none, and it
// is known what the log held, it returns that of the first segment that was needed.
func (k *lastKnown) orNumbers(numbers []uint64) []uint64 {
	if len(numbers) == 0 && k.stop != nil {
		return []uint64{k.stop.tail}
	}
	return numbers
}

// readStopped reads the file. It returns nil if there is none that is whole.
func readStopped(disk vfs.FS, dir string) (*stopped, error) {
	f, err := openFile(disk, path.Join(dir, stoppedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := sizeOf(f)
	if err != nil {
		return nil, err
	}
	if size < stoppedHeader || size > stoppedBytesMax {
		return nil, nil
	}
	b := make([]byte, size)
	if _, err := ReadAt(f, b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	if string(b[:8]) != stoppedMagic || stoppedFormats.check(binary.LittleEndian.Uint32(b[8:])) != nil || binary.LittleEndian.Uint32(b[12:]) != stoppedSum(b) {
		return nil, nil
	}
	return &stopped{
		batch: Batch(binary.LittleEndian.Uint64(b[16:])),
		mark:  binary.LittleEndian.Uint64(b[24:]),
		tail:  binary.LittleEndian.Uint64(b[32:]),
		count: uint32(binary.LittleEndian.Uint64(b[40:])),
		rows:  b[stoppedHeader:],
	}, nil
}

// Stop is what the file about the last clean stop says.
type Stop struct {
	Batch Batch  // the last
	Mark  uint64 // of the life that ended
	Tail  uint64 // the first segment that was needed
	Rows  int    // of replicas, removals and notes
	Bytes int64  // of the file
}

// StatStop returns what the file says, and false if there is no whole one. It changes
// nothing.
func StatStop(disk vfs.FS, dir string) (Stop, bool, error) {
	s, err := readStopped(disk, dir)
	if s == nil || err != nil {
		return Stop{}, false, err
	}
	return Stop{s.batch, s.mark, s.tail, int(s.count), int64(stoppedHeader + len(s.rows))}, true, nil
}

func stoppedSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:])
}

// directory returns the file's rows as the body of a directory that covers all of
// the log.
func (s *stopped) directory() ([]byte, uint32) {
	return append(make([]byte, directorySize, directorySize+len(s.rows)), s.rows...), s.count
}

// putStopped returns the bytes of the file for the log as it stands.
func (wr *writer) putStopped(mark uint64) []byte {
	b, rows := wr.index.putTold(make([]byte, stoppedHeader), stoppedBytesMax, func(p place) bool { return p.size > 0 })
	copy(b, stoppedMagic)
	binary.LittleEndian.PutUint32(b[8:], stoppedFormats.newest)
	binary.LittleEndian.PutUint64(b[16:], wr.batch)
	binary.LittleEndian.PutUint64(b[24:], mark)
	binary.LittleEndian.PutUint64(b[32:], wr.index.tail())
	binary.LittleEndian.PutUint64(b[40:], uint64(rows))
	binary.LittleEndian.PutUint32(b[12:], stoppedSum(b))
	return b
}

// stop records that the log ends here, if a life has begun. It belongs to Close.
func (h *home) stop() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.begun || h.writer.durable.Load() != h.writer.batch {
		return nil
	}
	if h.index.unknown.size == 0 {
		// If something unknown was lost before, nobody can describe the whole log.
		err := replaceFile(h.disk, h.dir, stoppedTemp, stoppedName, h.writer.putStopped(h.id.Life().Mark))
		if err != nil && !errors.Is(err, ErrFull) {
			return fmt.Errorf("note how the log stands: %w", err)
		}
	}
	// The identity comes after the file: it is what makes a start believe the file.
	next := h.id
	next.Stopped, next.Segments = Batch(h.writer.batch), nil
	if err := h.turn(next); err != nil && !errors.Is(err, ErrFull) {
		return err
	}
	return nil
}
