package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path"
	"slices"

	"muster/logstore/vfs"
)

// The log may be from an earlier moment than the identity and the witness beside
// it: its directory, or a segment, was put back from a copy. Everything in it
// verifies, and its end looks like that of a log that was never written further. After
// a clean stop, the identity says how far the log had come (stopped.go). After a kill,
// two things show it:
//
//   - The identity records with each witness which files the log is written to: the
//     active segment and the one that is prepared after it. A copy is another
//     file. Segments before these need no record: the log says where they end.
//   - The witness ends with a line that says how far the log was. It is written in
//     place, without a sync, whenever the log rests and with some batches in
//     between. The system's memory outlives the process, so the line also tells of
//     bytes that were written over the same file. After a power cut it may be an
//     earlier one. It never says more than what was synced, and it does not count a
//     batch that only says where the one before it ends: its loss would lose nothing.
//
// Two kinds of copies go unnoticed: one that is written over the files when fewer than
// reachedEvery batches have followed since the log last rested, and one that brings its
// own identity and witness of the same life with it.
const (
	// reachedEvery is after how many batches without a rest the witness says how far
	// the log is. It costs a write of a line to the system's memory.
	reachedEvery = 32
	// notedSegmentsMax: the active segment and the next.
	notedSegmentsMax = 2
)

// SegmentFile is which file a segment was when it was noted.
type SegmentFile struct {
	Number uint64
	Inode  uint64
	Birth  int64 // ns since 1970; 0 where the system does not say
}

func (f SegmentFile) String() string { return fmt.Sprintf("%d %d %d", f.Number, f.Inode, f.Birth) }

func parseSegmentFile(value string) (f SegmentFile, err error) {
	_, err = fmt.Sscanf(value, "%d %d %d", &f.Number, &f.Inode, &f.Birth)
	return f, err
}

// Reached is how far a log was at some moment of a life.
type Reached struct {
	Batch Batch  // it was synced up to here at least; 0: nothing is known
	Mark  uint64 // of the life
}

// append adds the line of r. All lines have the same length.
func (r Reached) append(b []byte) []byte {
	at := len(b)
	b = fmt.Appendf(b, "reached %020d %016x ", uint64(r.Batch), r.Mark)
	return fmt.Appendf(b, "%08x\n", crc32.Checksum(b[at:], castagnoli))
}

// parseReached reads the line. One that is torn or rotten counts as none.
func parseReached(b []byte) (r Reached) {
	fmt.Sscanf(string(b), "reached %d %x", &r.Batch, &r.Mark) // compared below, whatever it read
	if !bytes.Equal(b, r.append(nil)) {
		return Reached{}
	}
	return r
}

// noteFiles records in an identity which files the log is written to. It belongs to
// the goroutine of Append. It leaves out a file that the disk refuses to identify.
func (h *home) noteFiles(next *Identity) error {
	var files []SegmentFile
	for _, seg := range h.index.segments {
		if seg.number < h.index.active.number || seg.file == nil || len(files) == notedSegmentsMax {
			continue
		}
		id, err := Insist(func() (vfs.FileID, error) { return h.disk.FileID(seg.name) })
		if errors.Is(err, ErrRefused) {
			continue
		}
		if err != nil {
			return fmt.Errorf("note which file segment %d is: %w", seg.number, err)
		}
		files = append(files, SegmentFile{seg.number, id.Inode, id.Birth})
	}
	next.Segments = files
	return nil
}

// promise is told of a batch that is durable, and now and then records in the witness
// how far the log has come. It belongs to the goroutine of Append.
func (h *home) promise(batch Batch) error {
	h.promised = batch
	if batch < h.due {
		return nil
	}
	h.due = batch + reachedEvery
	return h.reach(batch)
}

// reach records in the witness that the log was synced up to a batch, if it does not
// say so yet. While another goroutine changes the identity it does nothing: the next
// call makes up for that.
func (h *home) reach(batch Batch) error {
	if !h.live.Load() || !h.mu.TryLock() {
		return nil
	}
	defer h.mu.Unlock()
	now := Reached{batch, h.id.Life().Mark}
	if h.file == nil || h.reached == now || batch == 0 {
		return nil
	}
	h.line = now.append(h.line[:0])
	_, err := h.file.WriteAt(h.line, h.lineAt)
	if err != nil && !errors.Is(err, ErrFull) { // some file systems need room even to overwrite
		return fmt.Errorf("note in the witness how far the log is: %w", err)
	}
	h.reached = now
	return nil
}

// closeWitness ends the use of the witness.
func (h *home) closeWitness() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.file == nil {
		return nil
	}
	err := h.file.Close()
	h.file = nil
	return err
}

// olderLog returns the doubt about a log that ends with batch end, beside an identity
// and the witness that it knows. Its errors are the disk's.
func olderLog(disk vfs.FS, dir string, id *Identity, w *seen, end Batch) (Doubt, error) {
	if id.Stopped > 0 || bug("older log accepted") || bug("older life accepted") {
		return Doubt{}, nil // the clean stop says exactly where the log ended
	}
	// A line of another life says nothing about the log of this one.
	if r := w.reached; r.Mark == id.Life().Mark && r.Batch > end {
		return Doubt{Proven: true, Why: fmt.Sprintf("the log in %s ends with batch %d, and batch %d was there (%s): the log is from an earlier moment",
			path.Join(dir, LogDir), end, r.Batch, path.Join(dir, witnessName))}, nil
	}
	for i, f := range id.Segments {
		name := path.Join(dir, LogDir, segmentName(f.Number))
		found, err := Insist(func() (vfs.FileID, error) { return disk.FileID(name) })
		switch {
		case errors.Is(err, ErrRefused):
		case errors.Is(err, fs.ErrNotExist):
			// The first was in use. If it is gone and no later one is here, those that
			// are here are older than it. Otherwise it was freed since, or the log
			// itself knows that it is missing, as it does for the second.
			numbers, err := segmentNumbers(disk, path.Join(dir, LogDir), slog.New(slog.DiscardHandler))
			if err != nil {
				return Doubt{}, err
			}
			if i == 0 && (len(numbers) == 0 || slices.Max(numbers) < f.Number) {
				return Doubt{Why: fmt.Sprintf("%s is missing, to which the log was written: the log may be from an earlier moment", name)}, nil
			}
		case err != nil:
			return Doubt{}, fmt.Errorf("look which file segment %d is: %w", f.Number, err)
		case found != vfs.FileID{Inode: f.Inode, Birth: f.Birth}:
			return Doubt{Why: fmt.Sprintf("%s is another file than the one that the log was written to: it was put back, and may be from an earlier moment", name)}, nil
		}
	}
	return Doubt{}, nil
}
