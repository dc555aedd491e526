package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"muster/logstore/vfs"
)

// A segment is a file of fixed size in the directory log. Its name is its
// number in 16 decimal digits and ".log". A file changes its number when it is
// used again; a number belongs to one life of one file, for ever. The first
// sector is the header, little-endian, and the last sector is a copy of it:
//
//	 0  8 B  ed 'm' 'u' 's' 't' 'l' 'o' 'g'
//	 8  u32  format, 3
//	12  u32  CRC32C of all other bytes of the sector
//	16  u64  number
//	24  u64  size of the file, in bytes
//	32  u64  salt, see record.go
//	40       zero
//
// Without the salt nothing in the segment can be verified. So there are two headers:
// a damaged one is written again from the other. If both are damaged, all of the
// segment is lost.
//
// A new file is filled with zeros and synced, in pieces, under the name
// "next.tmp", then gets its headers, is synced, renamed, and the directory
// synced, all before it is needed: a sync that has only bytes to write takes a
// fraction of the time of one that also has to make a file longer. A file that
// is used again goes the same way without the filling.
const (
	segmentMagic  = "\xedmustlog"
	segmentHeader = sectorSize
	segmentSuffix = ".log"
	preparedName  = "next.tmp"
	// LogDir is the directory of the segments, in the data directory.
	LogDir         = "log"
	fillPieceBytes = 256 << 10
	// segmentSizeMax keeps a wrong header from deciding how much memory is
	// taken. The largest entry gets a segment of its own, of some 17 MiB.
	segmentSizeMax = SegmentBytesMax + 64<<20
)

// segment is one file of the log.
type segment struct {
	number uint64
	name   string // with its directory
	size   int64
	salt   uint64
	seed   uint32   // of what is in it; see at
	file   vfs.File // nil: all of it is lost
	spoilt *Damage  // of the file as a whole, nil if there is none
	mend   int64    // where a header has to be written again; -1: nowhere

	end  int64 // owned by the goroutine of Append: the next batch goes here
	live int64 // owned by the goroutine of Append: bytes of records that are still needed
}

// limit is where the batches must end: before the copy of the header.
func (s *segment) limit() int64 { return s.size - segmentHeader }

// room is where all but the last batch must end: the last sector before the limit is
// for the batch that closes the segment.
func (s *segment) room() int64 { return s.limit() - sectorSize }

// close makes sure that nothing more is written here.
func (s *segment) close() { s.end = s.limit() }

// closed reports whether nothing more may be written here.
func (s *segment) closed() bool { return s.file == nil || s.end >= s.limit() }

// at is the seed of a checksum at an offset.
func (s *segment) at(offset int64) uint32 { return seedOver(s.seed, uint64(offset)) }

func segmentSeed(salt, number uint64) uint32 {
	if bug("earlier life taken for live") {
		return 0
	}
	return seedOver(seedOver(0, salt), number)
}

func segmentName(number uint64) string { return fmt.Sprintf("%016d%s", number, segmentSuffix) }

// parseSegmentName returns the number in a segment's name.
func parseSegmentName(name string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(digits) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil && n > 0
}

func segmentHeaderBytes(number uint64, size int64, salt uint64) []byte {
	b := make([]byte, segmentHeader)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], segmentFormats.newest)
	binary.LittleEndian.PutUint64(b[16:], number)
	binary.LittleEndian.PutUint64(b[24:], uint64(size))
	binary.LittleEndian.PutUint64(b[32:], salt)
	binary.LittleEndian.PutUint32(b[12:], segmentHeaderSum(b))
	return b
}

func segmentHeaderSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:segmentHeader])
}

// openSegment opens a file of the log. Its field spoilt says what is wrong with the
// file as a whole, including that the disk refuses to open it, or both its headers.
// Its errors are the disk's others, and those about another format.
func openSegment(disk vfs.FS, dir string, number uint64) (*segment, error) {
	s := &segment{number: number, name: path.Join(dir, segmentName(number)), end: segmentHeader, mend: -1}
	file, err := openFile(disk, s.name)
	if errors.Is(err, fs.ErrNotExist) {
		s.spoil("segment", "the file is missing")
		return s, nil
	}
	if err == nil {
		s.file = file
		err = s.readHeaders()
		if err != nil {
			file.Close()
		}
	}
	if errors.Is(err, ErrRefused) {
		s.file = nil
		s.spoil("segment", "%v", err)
		s.spoilt.Refused = true
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// refused reports whether the disk refuses all of the segment.
func (s *segment) refused() bool { return s.file == nil && s.spoilt != nil && s.spoilt.Refused }

func (s *segment) spoil(record, format string, args ...any) {
	s.spoilt = &Damage{File: s.name, Record: record, Reason: fmt.Sprintf(format, args...)}
}

// readHeaders takes over the header, from whichever copy is whole. If the disk refuses
// one while the other is there, that is no damage, and nothing is written over it.
func (s *segment) readHeaders() error {
	size, err := sizeOf(s.file)
	if err != nil {
		return err
	}
	why, refused := s.readHeader(0)
	if refused != nil && !errors.Is(refused, ErrRefused) {
		return refused
	}
	if why == "" && refused == nil {
		switch other, err := s.readHeader(s.limit()); {
		case errors.Is(err, ErrRefused):
			if size < s.size {
				return err
			}
		case err != nil:
			return err
		case size < s.size:
			s.spoil("segment", "the file has %d bytes of %d", size, s.size)
		case other != "":
			s.spoil("copy of the header", "%s", other)
			s.spoilt.Offset, s.mend = s.limit(), s.limit()
		}
		return nil
	}
	s.size = size
	if size >= 2*segmentHeader {
		other, err := s.readHeader(s.limit())
		if err != nil {
			return err
		}
		if other == "" && s.size == size && refused != nil {
			return nil
		}
		if other == "" && s.size == size {
			s.spoil("header", "%s", why)
			s.mend = 0
			return nil
		}
	}
	if refused != nil {
		return refused
	}
	s.size = size
	s.spoil("header", "%s", why)
	err = s.file.Close()
	s.file = nil
	return err
}

// readHeader takes over what a header says, or returns why it can't.
func (s *segment) readHeader(at int64) (string, error) {
	b := make([]byte, segmentHeader)
	if _, err := ReadAt(s.file, b, at); err != nil && err != io.EOF {
		return "", fmt.Errorf("read the header of %s at offset %d: %w", s.name, at, err)
	}
	number, format := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint32(b[8:])
	size := int64(binary.LittleEndian.Uint64(b[24:]))
	switch {
	case string(b[:8]) != segmentMagic:
		return "it is not a segment", nil
	case segmentHeaderSum(b) != binary.LittleEndian.Uint32(b[12:]) && !bug("segment header unchecked"):
		return "its checksum does not fit", nil
	case segmentFormats.check(format) != nil:
		return "", fmt.Errorf("read %s: %w", s.name, segmentFormats.check(format))
	case number != s.number:
		return fmt.Sprintf("it is that of segment %d", number), nil
	case size < 2*segmentHeader || size > segmentSizeMax:
		return fmt.Sprintf("it claims %d bytes", size), nil
	}
	s.size, s.salt = size, binary.LittleEndian.Uint64(b[32:])
	s.seed = segmentSeed(s.salt, number)
	return "", nil
}

// mendHeader writes the damaged header again.
func (s *segment) mendHeader() error {
	if s.mend < 0 {
		return nil
	}
	if _, err := s.file.WriteAt(segmentHeaderBytes(s.number, s.size, s.salt), s.mend); err != nil {
		return fmt.Errorf("write the header of %s again: %w", s.name, err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("write the header of %s again: %w", s.name, err)
	}
	s.mend = -1
	return nil
}
