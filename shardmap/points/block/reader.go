package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"muster/shardmap/points/column"
)

// Reader reads a block file. Any number of goroutines may use it, each with cursors of its own. It has the
// directory in memory.
type Reader struct {
	r         io.ReaderAt
	info      Info
	directory int64 // where it begins
	sections  []section
	unpack    *zstd.Decoder
	keys      *Keys // nil: keys of series are not kept
}

// Open reads header, footer and directory of a file of so many bytes. Its error is a [FormatError], a [DamageError], or
// one of r. r is read until the last cursor is done, and must not change.
func Open(r io.ReaderAt, size int64) (*Reader, error) {
	x := &Reader{r: r}
	var err error
	if x.unpack, err = newUnpacker(); err != nil {
		return nil, err
	}
	if err := x.header(size); err != nil {
		return nil, err
	}
	directory, err := x.footer(size)
	if err != nil {
		return nil, err
	}
	b, _, err := x.part(&directory, nil, nil, "the directory")
	if err != nil {
		return nil, err
	}
	x.directory = directory.offset
	var what string
	if x.sections, what = readDirectory(b, x.directory); what != "" {
		return nil, &DamageError{Offset: x.directory, What: what}
	}
	if (len(x.sections) == 0) != (x.info.Blocks == 0) {
		return nil, &DamageError{Offset: x.directory, What: fmt.Sprintf("the directory has %d sections, and the footer tells of %d blocks", len(x.sections), x.info.Blocks)}
	}
	return x, nil
}

// Info is what the footer says.
func (x *Reader) Info() Info { return x.info }

// read fills b with what stands at an offset. what says what it is.
func (x *Reader) read(b []byte, offset int64, what string) error {
	n, err := x.r.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if errors.Is(err, io.EOF) {
		return &DamageError{Offset: offset + int64(n), What: fmt.Sprintf("the file ends here, after %d of the %d bytes of %s: it was cut short", n, len(b), what)}
	}
	return fmt.Errorf("read %s at byte %d of a block file: %w", what, offset, err)
}

func (x *Reader) header(size int64) error {
	b := make([]byte, min(headerSize, size))
	if err := x.read(b, 0, "the header"); err != nil {
		return err
	}
	// A file of another kind is told apart from a block file that was cut short, even if it is shorter than a header.
	switch begin := b[:min(len(b), len(fileMagic))]; {
	case string(begin) != fileMagic[:len(begin)]:
		return &DamageError{What: fmt.Sprintf("it begins with %q, want %q: it is no block file, or its header is damaged", begin, fileMagic)}
	case len(b) < headerSize:
		return &DamageError{Offset: size, What: fmt.Sprintf("the file ends here, after %d of the %d bytes of the header: it was cut short", size, headerSize)}
	}
	if got, want := xxhash.Sum64(b[:24]), binary.LittleEndian.Uint64(b[24:]); got != want {
		return &DamageError{What: fmt.Sprintf("the header has checksum %016x, and says %016x", got, want)}
	}
	if format := binary.LittleEndian.Uint16(b[8:]); format != Format {
		return &FormatError{"format", format, Format}
	}
	if x.info.Version = binary.LittleEndian.Uint16(b[10:]); x.info.Version != column.Version {
		return &FormatError{"columns of version", x.info.Version, column.Version}
	}
	if rest := b[12:24]; !bytes.Equal(rest, make([]byte, len(rest))) {
		return &DamageError{Offset: 12, What: fmt.Sprintf("the header has % x where zeros are due", rest)}
	}
	return nil
}

// footer reads the footer, and returns where the directory is.
func (x *Reader) footer(size int64) (directory part, err error) {
	at := size - footerSize
	if at < headerSize {
		return part{}, &DamageError{Offset: size, What: fmt.Sprintf("the file ends here, and %d bytes have no room for header and footer: it was cut short", size)}
	}
	b := make([]byte, footerSize)
	if err := x.read(b, at, "the footer"); err != nil {
		return part{}, err
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	if got, want := xxhash.Sum64(b[:112]), u64(112); string(b[:8]) != footerMagic || got != want {
		return part{}, &DamageError{Offset: at, What: fmt.Sprintf("the footer begins with %q, want %q, and has checksum %016x, it says %016x: it is damaged, or the file was cut short", b[:8], footerMagic, got, want)}
	}
	x.info.Blocks, x.info.Series, x.info.Values = u64(32), u64(40), u64(48)
	x.info.First, x.info.Last = int64(u64(56)), int64(u64(64))
	x.info.Size = size
	copy(x.info.Sum[:], b[80:])
	directory = part{offset: int64(u64(8)), stands: int(binary.LittleEndian.Uint32(b[16:])), raw: int(binary.LittleEndian.Uint32(b[20:])), sum: u64(24)}
	switch {
	case u64(72) != uint64(size):
		return part{}, &DamageError{Offset: at, What: fmt.Sprintf("the footer tells of a file of %d bytes, this one has %d", u64(72), size)}
	case directory.offset < headerSize || directory.offset > at || at-directory.offset != int64(directory.stands):
		return part{}, &DamageError{Offset: at, What: fmt.Sprintf("the footer tells of a directory of %d bytes at byte %d, which does not end at byte %d", directory.stands, directory.offset, at)}
	case directory.stands == 0 || directory.stands > directory.raw || directory.raw > DirectoryMax:
		return part{}, &DamageError{Offset: at, What: fmt.Sprintf("the directory has %d bytes, and %d unpacked; the limit is %d", directory.stands, directory.raw, DirectoryMax)}
	}
	return directory, nil
}

// bugPartUnchecked is planted to show that its test finds it: most changes of packed bits are other values.
const bugPartUnchecked = "part of a block file not checked"

// part reads a part, as it is before zstd. stands and raw are scratch, which it returns in order: the part, and
// the scratch for what stands in the file, which may be the same.
func (x *Reader) part(p *part, stands, raw []byte, what string) (b, scratch []byte, err error) {
	stands = room(stands, p.stands)
	if err := x.read(stands, p.offset, what); err != nil {
		return nil, stands, err
	}
	if got := xxhash.Sum64(stands); got != p.sum && !bug(bugPartUnchecked) {
		return nil, stands, &DamageError{Offset: p.offset, What: fmt.Sprintf("%s of %d bytes has checksum %016x, want %016x", what, p.stands, got, p.sum)}
	}
	if p.stands == p.raw {
		return stands, stands, nil
	}
	raw = room(raw, p.raw)
	b, err = x.unpack.DecodeAll(stands, raw[:0:p.raw])
	if err == nil && len(b) != p.raw {
		err = errors.New("its length is another one")
	}
	if err != nil {
		return nil, stands, &DamageError{Offset: p.offset, What: fmt.Sprintf("%s of %d bytes does not unpack to %d: %v", what, p.stands, p.raw, err)}
	}
	return b, stands, nil
}

// All is a cursor over all blocks.
func (x *Reader) All() *Cursor { return x.cursor(nil, nil, func(*Row) bool { return false }) }

// Range is a cursor over the blocks of the series from one on, up to another one, which is left out; nil: up to the
// last one.
func (x *Reader) Range(from, to []byte) *Cursor {
	return x.cursor(from, nil, func(r *Row) bool { return to != nil && bytes.Compare(r.Series, to) >= 0 })
}

// Prefix is a cursor over the blocks of the series that begin with a prefix.
func (x *Reader) Prefix(prefix []byte) *Cursor {
	return x.cursor(prefix, nil, func(r *Row) bool { return !bytes.HasPrefix(r.Series, prefix) })
}

// Field is a cursor over the blocks of one field of one series.
func (x *Reader) Field(series, field []byte) *Cursor {
	return x.cursor(series, field, func(r *Row) bool { return compare(r.Series, r.Field, series, field) != 0 })
}

// cursor makes a cursor from a place on, up to the first row that is behind its end.
func (x *Reader) cursor(series, field []byte, behind func(*Row) bool) *Cursor {
	// The first row in question may be in the page before the first one that begins there.
	i := sort.Search(len(x.sections), func(i int) bool {
		return compare(x.sections[i].series, x.sections[i].field, series, field) >= 0
	})
	return &Cursor{x: x, section: max(i-1, 0), series: series, field: field, behind: behind}
}
