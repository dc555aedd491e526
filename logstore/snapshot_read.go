package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"muster/logstore/vfs"
)

// SnapshotReader reads a snapshot. One goroutine uses it. It verifies each block
// before it hands out the first byte; a block that does not fit is a [Damage], and the
// snapshot is no longer among [Store.Snapshots].
type SnapshotReader struct {
	found func(*Damage) // is told of damage, and of what the disk refuses
	name  string
	file  vfs.File
	size  int64

	header  *snapshotHeader
	seed    uint32
	trailer snapshotTrailer
	ends    []byte // header and trailer, as they stand in the file

	block  []byte // number, with its header; empty: none is held
	number int64
	sum    uint32 // its checksum

	next int64  // block that Read takes next
	rest []byte // of block, for Read
	sums uint32 // over those that Read has taken
}

// openSnapshot opens a file and checks its header and its trailer.
func openSnapshot(disk vfs.FS, name string, of Replica, found func(*Damage)) (*SnapshotReader, error) {
	r := &SnapshotReader{found: found, name: name, number: -1}
	file, err := openFile(disk, name)
	if errors.Is(err, fs.ErrNotExist) {
		// The caller believes that it is there.
		d := &Damage{File: name, Record: "snapshot", Reason: "the file is missing"}
		found(d)
		return nil, d
	}
	if err != nil {
		return nil, r.refuse(0, "snapshot", err)
	}
	r.file = file
	if err := r.readEnds(of); err != nil {
		file.Close()
		return nil, err
	}
	return r, nil
}

func (r *SnapshotReader) readEnds(of Replica) (err error) {
	if r.size, err = sizeOf(r.file); err != nil {
		return r.refuse(0, "snapshot", err)
	}
	if r.size < snapshotHeaderSize+snapshotTrailerSize {
		return r.damage(0, "snapshot", fmt.Errorf("the file has %d bytes", r.size))
	}
	begin := make([]byte, headerBegin)
	if err := r.readFull(begin, 0, "header"); err != nil {
		return err
	}
	n, err := snapshotHeaderLength(begin)
	if err == nil && int64(n) > r.size-snapshotTrailerSize {
		err = fmt.Errorf("its header of %d bytes can't be in %d", n, r.size)
	}
	if err != nil {
		return r.damage(0, "header", err)
	}
	r.ends = make([]byte, n+snapshotTrailerSize)
	if err := r.readFull(r.ends[:n], 0, "header"); err != nil {
		return err
	}
	if r.header, err = readSnapshotHeader(r.ends[:n]); err == nil {
		err = r.header.of(of)
	}
	if err != nil {
		return r.damage(0, "header", err)
	}
	r.seed = r.header.seed()
	at := r.size - snapshotTrailerSize
	if err := r.readFull(r.ends[n:], at, "end"); err != nil {
		return err
	}
	if r.trailer, err = readSnapshotTrailer(r.ends[n:], r.seed); err == nil {
		if want := r.header.fileSize(r.trailer); want != r.size {
			err = fmt.Errorf("the file has %d bytes of %d", r.size, want)
		}
	}
	if err != nil {
		return r.damage(at, "end", err)
	}
	return nil
}

// damage makes an error of what is wrong at an offset, and reports it to found.
func (r *SnapshotReader) damage(offset int64, record string, err error) error {
	err = asDamage(r.name, &Damage{Offset: offset, Record: record}, err)
	if d, ok := err.(*Damage); ok {
		r.found(d)
	}
	return err
}

func (r *SnapshotReader) readFull(b []byte, at int64, record string) error {
	n, err := ReadAt(r.file, b, at)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		return r.damage(at, record, fmt.Errorf("the file ends at %d", at+int64(n)))
	}
	return r.refuse(at, record, fmt.Errorf("read %s at offset %d: %w", r.name, at, err))
}

// refuse reports to found what the disk refuses, which is no damage yet, and returns
// the error.
func (r *SnapshotReader) refuse(at int64, record string, err error) error {
	if errors.Is(err, ErrRefused) {
		r.found(&Damage{File: r.name, Offset: at, Record: record, Reason: err.Error(), Refused: true})
	}
	return err
}

// blockAt is where a block begins.
func (r *SnapshotReader) blockAt(number int64) int64 {
	return int64(r.header.size) + number*(blockHeaderSize+blockBytes)
}

// load reads the block of that number into r.block, and verifies it.
func (r *SnapshotReader) load(number int64) error {
	if number == r.number {
		return nil
	}
	at := r.blockAt(number)
	n := min(r.size-snapshotTrailerSize-at, blockHeaderSize+blockBytes)
	if int64(cap(r.block)) < n {
		r.block = make([]byte, n)
	}
	r.number, r.block = -1, r.block[:n]
	if err := r.readFull(r.block, at, blockRecord(number)); err != nil {
		return err
	}
	r.sum = blockSum(r.seed, number, r.block)
	if r.sum != binary.LittleEndian.Uint32(r.block) {
		return r.damage(at, blockRecord(number), errChecksum)
	}
	if got := binary.LittleEndian.Uint32(r.block[4:]); int64(got) != n-blockHeaderSize {
		return r.damage(at, blockRecord(number), fmt.Errorf("it says that it has %d bytes", got))
	}
	r.number = number
	return nil
}

// Read reads the stream of the state. It returns io.EOF only once it has found all of
// the file whole.
func (r *SnapshotReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		if r.next == r.trailer.blocks {
			if r.sums != r.trailer.sums {
				return 0, r.damage(r.size-snapshotTrailerSize, "end", errors.New("its blocks are not those that were written with it"))
			}
			return 0, io.EOF
		}
		if err := r.load(r.next); err != nil {
			return 0, err
		}
		r.next++
		r.sums = sumOver(r.sums, r.sum)
		r.rest = r.block[blockHeaderSize:]
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// RawAt reads the file's own bytes from an offset on, to be sent. It returns fewer
// than p has room for only at the end of the file, with io.EOF. It verifies them too, so
// that no damage is sent to others. After it, Read begins at the next block: use a
// reader for one or for the other.
func (r *SnapshotReader) RawAt(p []byte, off int64) (int, error) {
	r.rest = nil
	if off < 0 {
		return 0, fmt.Errorf("read %s at offset %d: there is none", r.name, off)
	}
	n := 0
	head, tail := int64(r.header.size), r.size-snapshotTrailerSize
	for n < len(p) && off < r.size {
		var more int
		switch {
		case off < head:
			more = copy(p[n:], r.ends[off:head])
		case off < tail:
			number := (off - head) / (blockHeaderSize + blockBytes)
			if err := r.load(number); err != nil {
				return n, err
			}
			more = copy(p[n:], r.block[off-r.blockAt(number):])
		default:
			more = copy(p[n:], r.ends[head+off-tail:])
		}
		n += more
		off += int64(more)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Base returns what the file says of its base.
func (r *SnapshotReader) Base() Base { return r.header.base }

// Size returns the size of the file, in bytes.
func (r *SnapshotReader) Size() int64 { return r.size }

// Close closes the file.
func (r *SnapshotReader) Close() error { return r.file.Close() }

// read does what [Store.OpenSnapshot] says.
func (s *snapshots) read(sn Snapshot) (*SnapshotReader, error) {
	r, err := openSnapshot(s.disk, sn.File, sn.Replica, func(d *Damage) { s.damaged(sn, d) })
	if err == nil && r.header.base.ID != sn.Base.ID {
		r.Close()
		err = r.damage(0, "header", fmt.Errorf("it is at %s", r.header.base.ID))
	}
	if err != nil {
		return nil, fmt.Errorf("open the snapshot of %s at %s: %w", sn.Replica, sn.Base.ID, err)
	}
	return r, nil
}
