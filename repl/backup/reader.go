package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/klauspost/compress/zstd"

	"muster/raft"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// FormatError refuses a backup of a format that this build does not know.
type FormatError struct{ Format uint16 }

func (e *FormatError) Error() string {
	return fmt.Sprintf("the backup has format %d, this build knows format %d: use a newer build", e.Format, Format)
}

// DamageError says where a backup is not what was written.
type DamageError struct {
	Offset int64 // of the first byte that is wrong, or of what it belongs to
	// Block is the number of the block in which that is; -1: in the header, or behind all blocks.
	Block int64
	// Group is whose block it is; 0: of none, or its head is damaged, so that nobody knows.
	Group raft.GroupID
	// Behind is the group of the block before, where Group is 0; 0: there is none before.
	Behind raft.GroupID
	What   string
}

func (e *DamageError) Error() string {
	place := ""
	switch {
	case e.Group != 0:
		place = fmt.Sprintf(", in block %d, of group %d", e.Block, e.Group)
	case e.Block >= 0 && e.Behind != 0:
		place = fmt.Sprintf(", in block %d, behind one of group %d", e.Block, e.Behind)
	case e.Block >= 0:
		place = fmt.Sprintf(", in block %d", e.Block)
	}
	return fmt.Sprintf("the backup is damaged at byte %d%s: %s", e.Offset, place, e.What)
}

// Verify reads a whole backup and checks all that is in it. Its error is a [FormatError], a [DamageError],
// or one of r.
func Verify(r io.Reader) (*Manifest, error) {
	x, err := newReader(r)
	if err != nil {
		return nil, err
	}
	defer x.unpack.Close()
	return x.read(func(raft.GroupID, uint32, []byte) error { return nil })
}

// Read verifies a backup as [Verify] does, and calls f for each block of rows that counts, with an array of rows
// as [shardmap.ReadBackupRows] takes it, good until f returns. m is what Verify returned for the same file. An
// error of f ends it. When f is called, nothing is known yet of what follows.
func Read(r io.Reader, m *Manifest, f func(g *Group, rows []byte) error) error {
	groups := make(map[raft.GroupID]*Group, len(m.Groups))
	for i := range m.Groups {
		groups[m.Groups[i].ID] = &m.Groups[i]
	}
	x, err := newReader(r)
	if err != nil {
		return err
	}
	defer x.unpack.Close()
	again, err := x.read(func(id raft.GroupID, attempt uint32, rows []byte) error {
		if g := groups[id]; g != nil && g.Attempt == attempt {
			return f(g, rows)
		}
		return nil
	})
	if err == nil && again.SHA256 != m.SHA256 {
		err = errors.New("the backup has changed since it was verified; begin again with a file to which nothing writes")
	}
	return err
}

// reader reads a backup from its beginning to its end.
type reader struct {
	r      io.Reader
	sum    hash.Hash // of what was read
	offset int64
	buf    []byte // of a body as it stands
	body   []byte // unpacked
	unpack *zstd.Decoder

	block  int64 // that is read; -1: none
	group  raft.GroupID
	behind raft.GroupID
	parts  map[part]*tally
}

// part is an attempt at a group.
type part struct {
	group   raft.GroupID
	attempt uint32
}

// tally is what was found of a part.
type tally struct {
	found Group // what is counted of it

	slots [shardmap.Slots / 64]uint64 // a bit for each that has a row
	slot  shardmap.Slot               // of the last row, with its kind and name
	kind  shardmap.RecordKind
	name  []byte
}

func newReader(r io.Reader) (*reader, error) {
	unpack, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(BlockMax), zstd.IgnoreChecksum(true))
	return &reader{r: r, sum: sha256.New(), block: -1, unpack: unpack, parts: map[part]*tally{}}, err
}

// damaged makes the error of what is wrong at a place.
func (x *reader) damaged(offset int64, format string, args ...any) error {
	e := &DamageError{Offset: offset, Block: x.block, Group: x.group, What: fmt.Sprintf(format, args...)}
	if e.Group == 0 {
		e.Behind = x.behind
	}
	return e
}

// take reads n bytes into b, whose room it uses. what says what they are.
func (x *reader) take(b []byte, n int, what string) ([]byte, error) {
	b = slices.Grow(b[:0], n)[:n]
	got, err := io.ReadFull(x.r, b)
	x.offset += int64(got)
	x.sum.Write(b[:got])
	switch {
	case err == io.EOF || err == io.ErrUnexpectedEOF:
		return nil, x.damaged(x.offset, "the file ends here, after %d of the %d bytes of %s: it was cut short, or its backup never ended", got, n, what)
	case err != nil:
		return nil, fmt.Errorf("read %s at byte %d: %w", what, x.offset, err)
	}
	return b, nil
}

// read reads all of it, and calls f for each block of rows.
func (x *reader) read(f func(g raft.GroupID, attempt uint32, rows []byte) error) (*Manifest, error) {
	if err := x.header(); err != nil {
		return nil, err
	}
	for x.block = 0; ; x.block++ {
		at, before := x.offset, x.sum.Sum(nil)
		head, err := x.head()
		if err != nil {
			return nil, err
		}
		x.group = head.group
		rows, err := x.unpacked(&head)
		if err != nil {
			return nil, err
		}
		if head.kind == kindManifest {
			return x.end(at, before, rows)
		}
		if err := x.rows(&head, at, rows); err != nil {
			return nil, err
		}
		if err := f(head.group, head.attempt, rows); err != nil {
			return nil, err
		}
		x.group, x.behind = 0, head.group
	}
}

func (x *reader) header() error {
	b := make([]byte, headerSize)
	_, err := x.take(b, headerSize, "the header")
	// A file that is no backup is told apart from one that was cut short, even if it is shorter than a header.
	if begin := b[:min(x.offset, int64(len(fileMagic)))]; string(begin) != fileMagic[:len(begin)] {
		return x.damaged(0, "it begins with %q, want %q: it is no backup, or its header is damaged", begin, fileMagic)
	}
	if err != nil {
		return err
	}
	if got, want := xxhash.Sum64(b[:24]), binary.LittleEndian.Uint64(b[24:]); got != want {
		return x.damaged(0, "the header has checksum %016x, and says %016x", got, want)
	}
	if format := binary.LittleEndian.Uint16(b[8:]); format != Format {
		return &FormatError{format}
	}
	return nil
}

// head is the head of a block.
type head struct {
	kind, packed   byte
	group          raft.GroupID
	attempt        uint32
	number         uint32
	stands, length uint32
	sum            uint64 // of the body
}

func (x *reader) head() (h head, err error) {
	at := x.offset
	b, err := x.take(x.buf, blockHead, "the head of a block")
	if err != nil {
		return h, err
	}
	x.buf = b
	if got, want := xxhash.Sum64(b[:24]), binary.LittleEndian.Uint64(b[24:]); string(b[:4]) != blockMagic || got != want {
		return h, x.damaged(at, "the head of the block begins with %q, want %q, and has checksum %016x, it says %016x", b[:4], blockMagic, got, want)
	}
	h = head{
		kind: b[4], packed: b[5], group: raft.GroupID(binary.LittleEndian.Uint16(b[6:])),
		attempt: binary.LittleEndian.Uint32(b[8:]), number: binary.LittleEndian.Uint32(b[12:]),
		stands: binary.LittleEndian.Uint32(b[16:]), length: binary.LittleEndian.Uint32(b[20:]),
		sum: binary.LittleEndian.Uint64(b[32:]),
	}
	switch {
	case int64(h.number) != x.block:
		return h, x.damaged(at, "the block has number %d, due is %d", h.number, x.block)
	case h.kind != kindRows && h.kind != kindManifest || h.packed > packedZstd:
		return h, x.damaged(at, "the block is of kind %d, packed in way %d; known are kinds 1 and 2, ways 0 and 1", h.kind, h.packed)
	case h.kind == kindRows && (h.group == 0 || h.group > raft.GroupMax) || h.kind == kindManifest && h.group != 0:
		return h, x.damaged(at, "the block is of kind %d and of group %d; want rows of groups 1 to %d, and a manifest of group 0", h.kind, h.group, raft.GroupMax)
	case h.length > BlockMax || h.stands > h.length || h.packed == packedNot && h.stands != h.length:
		return h, x.damaged(at, "the body has %d bytes, and %d unpacked; the limit is %d", h.stands, h.length, BlockMax)
	}
	return h, nil
}

// bugBodyUnchecked is planted to show that its test finds it: a changed body is found by the manifest at last, and
// nobody is told where.
const bugBodyUnchecked = "body of a backup's block not checked"

// unpacked reads the body of a block.
func (x *reader) unpacked(h *head) ([]byte, error) {
	at := x.offset - blockHead // the checksum stands in the head, and may be what is wrong
	b, err := x.take(x.buf, int(h.stands), "the body of a block")
	if err != nil {
		return nil, err
	}
	x.buf = b
	if got := xxhash.Sum64(b); got != h.sum && !bug(bugBodyUnchecked) {
		return nil, x.damaged(at, "the body of %d bytes has checksum %016x, its head says %016x", h.stands, got, h.sum)
	}
	if h.packed == packedNot {
		return b, nil
	}
	if x.body, err = x.unpack.DecodeAll(b, x.body[:0]); err == nil && len(x.body) != int(h.length) {
		err = errors.New("its length is another one")
	}
	if err != nil {
		return nil, x.damaged(at, "the body of %d bytes does not unpack to %d: after %d, %v", h.stands, h.length, len(x.body), err)
	}
	return x.body, nil
}

// rowElementsMax bounds the msgpack elements of a block: four times those of the 20,000 rows that a node sends at
// once, so that later builds may send more, or longer ones.
const rowElementsMax = 1 << 19

// rows looks at the rows of a block that begins at a place.
func (x *reader) rows(h *head, at int64, b []byte) error {
	if err := pack.Check(b, rowElementsMax); err != nil {
		return x.damaged(at, "its rows can't be read: %v", err)
	}
	id := part{h.group, h.attempt}
	t := x.parts[id]
	if t == nil {
		t = new(tally)
		x.parts[id] = t
	}
	t.found.Blocks++
	rows, row := shardmap.ReadBackupRows(b), shardmap.BackupRow{}
	name := t.name
	for rows.Next(&row) {
		slot := row.Slot()
		if name != nil && !after(t.slot, t.kind, name, slot, row.Kind, row.Name) {
			return x.damaged(at, "the row of %s, of slot %d, is out of order", shardmap.ShowKey(row.Name), slot)
		}
		t.slot, t.kind, name = slot, row.Kind, row.Name
		t.slots[slot/64] |= 1 << (slot % 64)
		t.found.Add(&row)
	}
	if err := rows.Err(); err != nil {
		return x.damaged(at, "its rows can't be read: %v", err)
	}
	t.name = append(t.name[:0], name...)
	return nil
}

// after reports whether a row stands behind another.
func after(slot shardmap.Slot, kind shardmap.RecordKind, name []byte, s shardmap.Slot, k shardmap.RecordKind, n []byte) bool {
	if s != slot {
		return s > slot
	}
	if k != kind {
		return k > kind
	}
	return bytes.Compare(n, name) > 0
}

// end reads what stands behind the manifest, which is in a block at a place, and holds the manifest
// to what was read. before is the SHA-256 of all before that block.
func (x *reader) end(at int64, before, b []byte) (*Manifest, error) {
	m, err := readManifest(b)
	if err != nil {
		return nil, x.damaged(at, "%v", err)
	}
	if got := hex.EncodeToString(before); got != m.SHA256 {
		return nil, x.damaged(at, "what stands before the manifest has SHA-256 %s, the manifest says %s", got, m.SHA256)
	}
	for i := range m.Groups {
		if err := x.holds(&m.Groups[i], at); err != nil {
			return nil, err
		}
	}
	x.block, x.behind = -1, 0
	from := x.offset
	t, err := x.take(nil, trailerSize, "the trailer")
	if err != nil {
		return nil, err
	}
	got, want := xxhash.Sum64(t[:24]), binary.LittleEndian.Uint64(t[24:])
	switch {
	case string(t[:8]) != trailerMagic || got != want:
		return nil, x.damaged(from, "the trailer begins with %q, want %q, and has checksum %016x, it says %016x", t[:8], trailerMagic, got, want)
	case binary.LittleEndian.Uint64(t[8:]) != uint64(at) || binary.LittleEndian.Uint64(t[16:]) != uint64(x.offset):
		return nil, x.damaged(from, "the trailer says that the manifest is at byte %d of %d, it is at byte %d of %d", binary.LittleEndian.Uint64(t[8:]), binary.LittleEndian.Uint64(t[16:]), at, x.offset)
	}
	switch n, err := io.ReadFull(x.r, t[:1]); {
	case n > 0:
		return nil, x.damaged(x.offset, "more follows behind the end of the backup")
	case err != io.EOF:
		return nil, fmt.Errorf("read behind byte %d: %w", x.offset, err)
	}
	return m, nil
}

// holds compares what the manifest says of a group with what was read of it.
func (x *reader) holds(g *Group, at int64) error {
	t := x.parts[part{g.ID, g.Attempt}]
	if t == nil {
		t = new(tally)
	}
	f := &t.found
	if f.Blocks != g.Blocks || f.Keys != g.Keys || f.Services != g.Services || f.Bytes != g.Bytes || f.Longest != g.Longest {
		return x.damaged(at, "group %d has %d blocks with %d keys, %d services and %d bytes, the longest value of %d, the manifest says %d, %d, %d, %d and %d",
			g.ID, f.Blocks, f.Keys, f.Services, f.Bytes, f.Longest, g.Blocks, g.Keys, g.Services, g.Bytes, g.Longest)
	}
	for _, r := range g.Runs() {
		for s := r.From; s <= r.To; s++ {
			t.slots[s/64] &^= 1 << (s % 64)
		}
	}
	for i, left := range t.slots {
		if left != 0 {
			return x.damaged(at, "group %d has rows of slots that the manifest does not give it, some of %d to %d", g.ID, 64*i, 64*i+63)
		}
	}
	return nil
}
