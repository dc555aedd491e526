package block

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/klauspost/compress/zstd"

	"muster/shardmap/points/column"
)

// Format is that of the files which this package writes, and the newest that it reads.
const Format = 1

const (
	fileMagic   = "mustpnts"
	footerMagic = "mustpend"

	headerSize = 32
	footerSize = 120
)

// Limits, which a writer keeps and a reader holds files to before it spends memory.
const (
	// PointsMax bounds the points of a block.
	PointsMax = 1 << 16
	// ColumnMax bounds a column in bytes, before zstd. Blocks of long strings need fewer points.
	ColumnMax = 16 << 20
	// KeyMax bounds a series and its field together, in bytes.
	KeyMax = 1<<16 - 1
	// DirectoryMax bounds the directory in bytes, before zstd: some 100 million blocks with keys of 60 bytes.
	DirectoryMax = 64 << 20

	// pageSize is how long a page gets before it ends: some 100 rows. A lookup unpacks one page, and with 32 KiB it took
	// 67 µs of processor time, not 25. The directory, which is in memory while a file is open, has a line for each page, half
	// a byte or so for each block.
	pageSize = 8 << 10
	// pageMax is the length that a page can have: a row more.
	pageMax = pageSize + KeyMax + 128
)

// suffix is how the name of a block file ends.
const suffix = ".points"

// Sum is what a block file is named by: equal columns have equal sums.
type Sum [32]byte

// Name is the name of the file.
func (s Sum) Name() string { return s.String() + suffix }

// ParseName reads what [Sum.Name] returns. It reports whether name is that of a block file.
func ParseName(name string) (Sum, bool) {
	text, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return Sum{}, false
	}
	return ParseSum(text)
}

// ParseSum reads what [Sum.String] returns, and nothing else.
func ParseSum(text string) (s Sum, ok bool) {
	if len(text) != 2*len(s) {
		return Sum{}, false
	}
	if _, err := hex.Decode(s[:], []byte(text)); err != nil || s.String() != text {
		return Sum{}, false
	}
	return s, true
}

func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// Block is some points of one field of one series.
type Block struct {
	Series, Field []byte
	Times         []int64 // in nanoseconds since 1970, ascending strictly
	Values        column.Values
}

// Info is what a file says of itself.
type Info struct {
	Version     uint16 // of the columns
	Blocks      uint64
	Series      uint64
	Values      uint64
	First, Last int64 // times of the first and the last point
	Size        int64 // of the file
	Sum         Sum
}

// FormatError refuses a file of a format, or with columns of a version, that this build does not know.
type FormatError struct {
	What         string // "format" or "columns of version"
	Found, Known uint16
}

func (e *FormatError) Error() string {
	return fmt.Sprintf("the block file has %s %d, this build knows %s %d: use a newer build", e.What, e.Found, e.What, e.Known)
}

// DamageError says where a block file is not what was written.
type DamageError struct {
	Offset int64 // of the first byte of what is wrong
	// Series and Field are of the block to which that belongs; empty: of no single one.
	Series, Field string
	What          string
}

func (e *DamageError) Error() string {
	place := ""
	if e.Series != "" || e.Field != "" {
		place = fmt.Sprintf(", in the block of field %q of series %q", shown(e.Field), shown(e.Series))
	}
	return fmt.Sprintf("the block file is damaged at byte %d%s: %s", e.Offset, place, e.What)
}

// shown is a part of a key that fits into a line.
func shown(key string) string {
	const most = 200
	if len(key) > most {
		return key[:most] + "…"
	}
	return key
}

// part describes bytes elsewhere in the file.
type part struct {
	offset      int64
	stands, raw int // lengths: as it stands there, and unpacked
	sum         uint64
}

// newPacker and newUnpacker make the two sides of zstd. Its own checksums are left out. Neither starts a goroutine.
func newPacker() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
}

func newUnpacker() (*zstd.Decoder, error) {
	return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(DirectoryMax), zstd.WithDecodeAllCapLimit(true), zstd.IgnoreChecksum(true))
}

// pays is how much shorter zstd must make a part, in parts of its length, to be worth the time that unpacking takes.
// Packed bits are noise to it; it pays for pages, strings, and repetition that columns do not see.
const pays = 16

// room returns b with length n. It allocates no more than n bytes.
func room(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
