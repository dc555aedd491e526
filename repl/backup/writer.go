package backup

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"muster/raft"
	"muster/shardmap"
)

const (
	fileMagic    = "mustback"
	blockMagic   = "blck"
	trailerMagic = "mustend."

	headerSize  = 32
	blockHead   = 40
	trailerSize = 32

	// BlockMax bounds the body of a block, unpacked: the largest row and its head.
	BlockMax = shardmap.ValueMaxLimit + shardmap.KeyMax + 64<<10
)

// Kinds of blocks, and how bodies are packed.
const (
	kindRows     = 1
	kindManifest = 2

	packedNot  = 0
	packedZstd = 1
)

// Writer writes a backup. One goroutine at a time may use it. After an error there is no backup.
type Writer struct {
	w      io.Writer
	sum    hash.Hash // of what was written
	size   int64
	number uint32 // of the next block
	packer *zstd.Encoder
	packed []byte // scratch
}

// NewWriter writes the header of a backup.
func NewWriter(w io.Writer) (*Writer, error) {
	x := &Writer{w: w, sum: sha256.New()}
	var err error
	// The quickest level, and one goroutine: no block is waited for. Blocks have a checksum of their own.
	if x.packer, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false)); err != nil {
		return nil, err
	}
	var b [headerSize]byte
	copy(b[:], fileMagic)
	binary.LittleEndian.PutUint16(b[8:], Format)
	binary.LittleEndian.PutUint64(b[24:], xxhash.Sum64(b[:24]))
	return x, x.write(b[:])
}

// Rows writes a block with an array of rows, as [shardmap.ReadBackupRows] takes it, which belongs to an
// attempt at a group.
func (x *Writer) Rows(g raft.GroupID, attempt uint32, rows []byte) error {
	return x.block(kindRows, g, attempt, rows)
}

// Finish writes the manifest, whose SHA256 it sets, and the end of the file.
func (x *Writer) Finish(m *Manifest) error {
	m.SHA256 = hex.EncodeToString(x.sum.Sum(nil))
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	at := x.size
	if err := x.block(kindManifest, 0, 0, body); err != nil {
		return err
	}
	var b [trailerSize]byte
	copy(b[:], trailerMagic)
	binary.LittleEndian.PutUint64(b[8:], uint64(at))
	binary.LittleEndian.PutUint64(b[16:], uint64(x.size)+trailerSize)
	binary.LittleEndian.PutUint64(b[24:], xxhash.Sum64(b[:24]))
	return x.write(b[:])
}

func (x *Writer) block(kind byte, g raft.GroupID, attempt uint32, body []byte) error {
	if len(body) > BlockMax {
		return fmt.Errorf("a block of %d bytes; the limit is %d", len(body), BlockMax)
	}
	x.packed = x.packer.EncodeAll(body, x.packed[:0])
	stands, how := x.packed, byte(packedZstd)
	if len(stands) >= len(body) {
		stands, how = body, packedNot
	}
	var b [blockHead]byte
	copy(b[:], blockMagic)
	b[4], b[5] = kind, how
	binary.LittleEndian.PutUint16(b[6:], uint16(g))
	binary.LittleEndian.PutUint32(b[8:], attempt)
	binary.LittleEndian.PutUint32(b[12:], x.number)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(stands)))
	binary.LittleEndian.PutUint32(b[20:], uint32(len(body)))
	binary.LittleEndian.PutUint64(b[24:], xxhash.Sum64(b[:24]))
	binary.LittleEndian.PutUint64(b[32:], xxhash.Sum64(stands))
	x.number++
	if err := x.write(b[:]); err != nil {
		return err
	}
	return x.write(stands)
}

func (x *Writer) write(b []byte) error {
	n, err := x.w.Write(b)
	x.sum.Write(b[:n])
	x.size += int64(n)
	return err
}
