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
//	 8  u32  format, 2
//	12  u32  CRC32C of all other bytes of the sector
//	16  u64  number
//	24  u64  size of the file, in bytes
//	32  u64  salt, see record.go
//	40       zero
//
// Without the salt nothing in the segment can be verified. So there are two:
// one that is damaged is written again from the other. Where both are, all of
// the segment is lost.
//
// A new file is filled with zeros and synced, in pieces, under the name
// "next.tmp", then gets its headers, is synced, renamed, and the directory
// synced, all before it is needed: a sync that has only bytes to write takes a
// fraction of the time of one that also has to make a file longer. A file that
// is used again goes the same way without the filling.
const (
	segmentMagic  = "\xedmustlog"
	segmentFormat = 2
	segmentHeader = sectorSize
	segmentSuffix = ".log"
	preparedName  = "next.tmp"
	// LogDir is the directory of the segments, in the data directory.
	LogDir         = "log"
	fillPieceBytes = 256 << 10
	// segmentSizeMax keeps a header that lies from deciding how much memory
	// is taken: one entry has a segment to measure of some 17 MiB.
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
	spoilt *Damage  // of the file as a whole, nil if it is well
	mend   int64    // where a header has to be written again; -1: nowhere

	end  int64 // owned by the goroutine of Append: the next batch goes here
	live int64 // owned by the goroutine of Append: bytes of records that are still needed
}

// limit is where the batches must end: before the copy of the header.
func (s *segment) limit() int64 { return s.size - segmentHeader }

// room is where they must end that are followed by another: the last sector
// before the limit is for the batch that closes the segment.
func (s *segment) room() int64 { return s.limit() - sectorSize }

// close makes sure that nothing more is written here.
func (s *segment) close() { s.end = s.limit() }

// closed says whether nothing more may be written here.
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
	binary.LittleEndian.PutUint32(b[8:], segmentFormat)
	binary.LittleEndian.PutUint64(b[16:], number)
	binary.LittleEndian.PutUint64(b[24:], uint64(size))
	binary.LittleEndian.PutUint64(b[32:], salt)
	binary.LittleEndian.PutUint32(b[12:], segmentHeaderSum(b))
	return b
}

func segmentHeaderSum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:12], castagnoli), castagnoli, b[16:segmentHeader])
}

// openSegment opens a file of the log. What is wrong with it as a whole is in
// its field spoilt, also that the disk refuses to open it, or both its headers;
// an error is another of the disk's, or that of another format.
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

// readHeaders takes what the segment says of itself from whichever of its
// headers is whole. One that the disk refuses while the other is there is no
// damage, and nothing is written over it.
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

// readHeader takes over what a header says. It says why it can't.
func (s *segment) readHeader(at int64) (string, error) {
	b := make([]byte, segmentHeader)
	if _, err := readAt(s.file, b, at); err != nil && err != io.EOF {
		return "", fmt.Errorf("read the header of %s at offset %d: %w", s.name, at, err)
	}
	number, format := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint32(b[8:])
	size := int64(binary.LittleEndian.Uint64(b[24:]))
	switch {
	case string(b[:8]) != segmentMagic:
		return "it is not a segment", nil
	case segmentHeaderSum(b) != binary.LittleEndian.Uint32(b[12:]) && !bug("segment header unchecked"):
		return "its checksum does not fit", nil
	case format > segmentFormat:
		return "", fmt.Errorf("read %s: %w: format %d, this one reads format %d: start the newer muster", s.name, ErrNewerFormat, format, segmentFormat)
	case format < segmentFormat:
		return "", fmt.Errorf("read %s: %w: format %d, this one reads format %d: "+
			"export the keys with the muster that wrote it, and import them into a new cluster", s.name, ErrOlderFormat, format, segmentFormat)
	case number != s.number:
		return fmt.Sprintf("it is that of segment %d", number), nil
	case size < 2*segmentHeader || size > segmentSizeMax:
		return fmt.Sprintf("it claims %d bytes", size), nil
	}
	s.size, s.salt = size, binary.LittleEndian.Uint64(b[32:])
	s.seed = segmentSeed(s.salt, number)
	return "", nil
}

// mendHeader writes the header again that was damaged.
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

// filling is a new file on its way to become a segment.
type filling struct {
	file vfs.File
	size int64
	done int64 // bytes that are written and synced
}

// prepare brings the next segment, if there is none, some bytes nearer to its
// use.
func (s *Store) prepare(bytes int64) error {
	if s.index.next() != nil {
		return nil
	}
	if s.filling == nil {
		if used, err := s.reuse(); used || err != nil {
			return s.lacking(err)
		}
		if s.lack {
			return nil
		}
		if err := s.startFilling(s.nextSize()); err != nil {
			return s.lacking(err)
		}
	}
	return s.lacking(s.fill(bytes))
}

func (s *Store) startFilling(size int64) error {
	if err := s.gauge.ask(size); err != nil {
		return fmt.Errorf("prepare a segment: %w", err)
	}
	file, err := s.fs.Create(path.Join(s.dir, preparedName))
	if err != nil {
		return fmt.Errorf("prepare a segment: %w", err)
	}
	s.filling = &filling{file: file, size: size}
	return nil
}

// fill writes zeros, in pieces of which each is synced, and makes a segment of
// the file once it is full.
func (s *Store) fill(bytes int64) error {
	f := s.filling
	if err := s.fillFile(f, bytes); err != nil {
		return fmt.Errorf("prepare a segment: %w", err)
	}
	if f.done < f.size {
		return nil
	}
	s.filling = nil
	s.figures.count(func(n *Stats) { n.Filled++ })
	return s.christen(f.file, f.size)
}

// fillFile writes some bytes of zeros and syncs them, in pieces.
func (s *Store) fillFile(f *filling, bytes int64) error {
	for ; bytes > 0 && f.done < f.size; bytes -= fillPieceBytes {
		if s.zeros == nil {
			s.zeros = make([]byte, fillPieceBytes)
		}
		n := min(int64(len(s.zeros)), f.size-f.done)
		if _, err := f.file.WriteAt(s.zeros[:n], f.done); err != nil {
			return err
		}
		if err := f.file.Sync(); err != nil {
			return err
		}
		f.done += n
		s.figures.count(func(c *Stats) { c.FilledBytes += uint64(n) })
	}
	if f.done >= f.size {
		s.zeros = nil
	}
	return nil
}

// reuse takes a reclaimed file for the next segment. Its old name has to be
// gone for good before its header changes: else a crash could leave a file
// whose name and header disagree. It is opened anew, so that a Read that still
// has it finds it closed.
func (s *Store) reuse() (bool, error) {
	if len(s.free) == 0 {
		return false, nil
	}
	old := s.free[0]
	s.free = s.free[1:]
	file, err := s.rename(old)
	if err != nil {
		return false, fmt.Errorf("recycle segment %d: %w", old.number, err)
	}
	if err := s.christen(file, old.size); err != nil {
		return false, err
	}
	s.figures.count(func(n *Stats) { n.Recycled++ })
	return true, nil
}

func (s *Store) rename(old *segment) (vfs.File, error) {
	prepared := path.Join(s.dir, preparedName)
	if err := old.file.Close(); err != nil {
		return nil, err
	}
	if err := s.fs.Rename(old.name, prepared); err != nil {
		return nil, err
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return nil, err
	}
	return openFile(s.fs, prepared)
}

// christen makes the prepared file a segment: header, sync, name, sync of the
// directory. The file is opened again under its name, so that errors name it
// rightly.
func (s *Store) christen(file vfs.File, size int64) error {
	number := uint64(1)
	if n := len(s.index.segments); n > 0 {
		number = s.index.segments[n-1].number + 1
	}
	seg, err := christen(s.fs, s.dir, file, size, number, s.salt(number))
	if err != nil {
		return fmt.Errorf("prepare segment %d: %w", number, err)
	}
	s.index.mu.Lock()
	s.index.segments = append(s.index.segments, seg)
	s.index.mu.Unlock()
	return s.home.renew()
}

func christen(disk vfs.FS, dir string, file vfs.File, size int64, number, salt uint64) (*segment, error) {
	header := segmentHeaderBytes(number, size, salt)
	for _, at := range [...]int64{0, size - segmentHeader} {
		if _, err := file.WriteAt(header, at); err != nil {
			return nil, err
		}
	}
	if !bug("rename before sync") {
		if err := file.Sync(); err != nil {
			return nil, err
		}
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	if err := disk.Rename(path.Join(dir, preparedName), path.Join(dir, segmentName(number))); err != nil {
		return nil, err
	}
	if bug("no directory sync") {
		return reopenSegment(disk, dir, number)
	}
	if err := disk.SyncDir(dir); err != nil {
		if errors.Is(err, ErrFull) {
			err = errors.New(err.Error()) // the file has its name: this is final
		}
		return nil, err
	}
	return reopenSegment(disk, dir, number)
}

// reopenSegment opens a segment that was just made. A disk that does not return
// what it was given a moment ago is not relied on for more.
func reopenSegment(disk vfs.FS, dir string, number uint64) (*segment, error) {
	seg, err := openSegment(disk, dir, number)
	if err == nil && seg.refused() {
		return nil, fmt.Errorf("read it again: %w", seg.spoilt)
	}
	return seg, err
}

// salt draws the salt of a segment from the seed that the owner gave (Steele,
// Lea, Flood: Fast splittable pseudorandom number generators, 2014).
func (s *Store) salt(number uint64) uint64 {
	return mixed(s.chance + number*0x9e3779b97f4a7c15)
}

// mixed returns a number that looks like chance.
func mixed(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
