package shard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"

	"github.com/cespare/xxhash/v2"

	"muster/shardmap/points"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
)

// loader reads a snapshot. Its first error stays.
type loader struct {
	r    io.Reader
	s    *Shard
	err  error
	n    int // frames that were read
	sum  uint64
	last byte // the kind of the frame before
	b    []byte
	body []byte // of the frame, what is left

	shares points.ShareReader
	heads  int
	before fieldName // the field before
	ended  bool
	fields map[uint32]bool // that the snapshot has

	roll    census
	counted lastCounted
}

// Load reads a snapshot of a shard. It holds it to its checksums, order and limits; memory is spent for the frame that is
// read, at most 8 MiB, and for the points that are there. Its error is a [DamageError], a [VersionError], or one of r.
func Load(r io.Reader) (*Shard, error) {
	l := &loader{r: r, s: &Shard{schema: newSchema(), head: newHead(1, maphash.MakeSeed())}, fields: map[uint32]bool{}}
	for !l.ended && l.err == nil {
		kind := l.frame()
		if l.err != nil {
			break
		}
		l.take(kind)
		if len(l.body) > 0 {
			l.fail("%d bytes stand behind what it has", len(l.body))
		}
		l.last = kind
	}
	if l.err != nil {
		return nil, l.err
	}
	return l.s, nil
}

func (l *loader) fail(format string, args ...any) {
	if l.err == nil {
		l.err, l.body = &DamageError{l.n, fmt.Sprintf(format, args...)}, nil
	}
}

// read fills b.
func (l *loader) read(b []byte) {
	if l.err != nil {
		return
	}
	_, err := io.ReadFull(l.r, b)
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		l.fail("it ends here: it was cut short")
	case err != nil:
		l.err = fmt.Errorf("read the snapshot of a shard: %w", err)
	}
}

// frame reads a frame and returns its kind.
func (l *loader) frame() byte {
	l.n++
	var head [8 + 5]byte
	binary.LittleEndian.PutUint64(head[:], l.sum)
	l.read(head[8:])
	n := binary.LittleEndian.Uint32(head[9:])
	if n > frameMax {
		l.fail("it has %d bytes, at most %d", n, frameMax)
	}
	if l.err != nil {
		return 0
	}
	l.b = append(l.b[:0], head[:]...)
	// In steps, so that a length that lies costs no more than what is there.
	for left := int(n) + 8; left > 0 && l.err == nil; {
		some := min(left, 64<<10)
		from := len(l.b)
		l.b = append(l.b, make([]byte, some)...)
		l.read(l.b[from:])
		left -= some
	}
	if l.err != nil {
		return 0
	}
	end := len(l.b) - 8
	if l.sum = xxhash.Sum64(l.b[:end]); l.sum != binary.LittleEndian.Uint64(l.b[end:]) {
		l.fail("its checksum is %016x, want %016x", binary.LittleEndian.Uint64(l.b[end:]), l.sum)
		return 0
	}
	l.body = l.b[13:end]
	return head[8]
}

// follows is which kinds of frames may stand behind which.
var follows = map[byte][]byte{
	0:              {frameBegin},
	frameBegin:     {frameFile, frameTombstone, frameHead},
	frameFile:      {frameFile, frameTombstone, frameHead},
	frameTombstone: {frameTombstone, frameHead},
	frameHead:      {frameHead, frameWrite, frameFill, frameField, frameCensus, frameEnd},
	frameWrite:     {frameHead, frameWrite, frameFill, frameField, frameCensus, frameEnd},
	frameFill:      {frameHead, frameWrite, frameFill, frameField, frameCensus, frameEnd},
	frameField:     {frameField, frameCensus, frameEnd},
	frameCensus:    {frameCensus, frameEnd},
}

func (l *loader) take(kind byte) {
	if bytes.IndexByte(follows[l.last], kind) < 0 {
		l.fail("a frame of kind %d stands behind one of kind %d", kind, l.last)
		return
	}
	switch kind {
	case frameBegin:
		l.begin()
	case frameFile:
		l.file()
	case frameTombstone:
		l.tombstone()
	case frameHead:
		l.head()
	case frameWrite:
		l.share(Write)
	case frameFill:
		l.share(Fill)
	case frameField:
		l.field()
	case frameCensus:
		l.census()
	case frameEnd:
		l.end()
	}
}

func (l *loader) uvarint(what string, most uint64) uint64 {
	v, n := binary.Uvarint(l.body)
	switch {
	case l.err != nil:
		return 0
	case n <= 0 || n > 1 && l.body[n-1] == 0:
		l.fail("%s is no number, or has more bytes than it needs", what)
		return 0
	case v > most:
		l.fail("%s is %d, at most %d", what, v, most)
		return 0
	}
	l.body = l.body[n:]
	return v
}

func (l *loader) varint(what string) int64 {
	v := l.uvarint(what, math.MaxUint64)
	return int64(v>>1) ^ -int64(v&1)
}

func (l *loader) bytes(n int) []byte {
	if n > len(l.body) {
		l.fail("%d bytes are due, %d are left", n, len(l.body))
		return nil
	}
	b := l.body[:n:n]
	l.body = l.body[n:]
	return b
}

func (l *loader) text(what string, most int) []byte {
	return l.bytes(int(l.uvarint("the length of "+what, uint64(most))))
}

func (l *loader) begin() {
	if b := l.bytes(len(snapshotMagic)); string(b) != snapshotMagic {
		l.fail("it begins with %q, want %q: it is no snapshot of a shard", b, snapshotMagic)
	}
	if b := l.bytes(1); b != nil && b[0] != SnapshotVersion {
		l.err, l.body = &VersionError{b[0], SnapshotVersion}, nil
		return
	}
	l.s.window = points.Window{First: l.varint("the begin of the window"), Last: l.varint("the end of the window")}
	l.s.forgotten = l.uvarint("the last delete that is forgotten", math.MaxUint64)
	if l.s.window.First > l.s.window.Last {
		l.fail("the window is from %d to %d", l.s.window.First, l.s.window.Last)
	}
}

func (l *loader) file() {
	f := File{Generation: l.uvarint("the generation of a file", math.MaxUint64)}
	copy(f.Sum[:], l.bytes(len(block.Sum{})))
	f.Size = int64(l.uvarint("the size of a file", math.MaxInt64))
	f.Values = l.uvarint("the values of a file", math.MaxUint64)
	f.First, f.Last = l.varint("the first time of a file"), l.varint("the last time of a file")
	switch n := len(l.s.files); {
	case n == filesMax:
		l.fail("it has more than %d files", filesMax)
	case n > 0 && f.Generation <= l.s.files[n-1].Generation:
		l.fail("a file of generation %d follows one of %d", f.Generation, l.s.files[n-1].Generation)
	}
	l.s.files = append(l.s.files, f)
}

func (l *loader) tombstone() {
	t := buried{index: l.uvarint("the index of a tombstone", math.MaxUint64)}
	t.generation = l.uvarint("the generation of a tombstone", math.MaxUint64)
	t.Measurement = bytes.Clone(l.text("the measurement", points.KeyMax))
	t.First, t.Last = l.varint("the first time of a tombstone"), l.varint("the last time of a tombstone")
	var before []byte
	for n := l.uvarint("the number of series", TombstoneSeriesMax); n > 0 && l.err == nil; n-- {
		k := bytes.Clone(l.text("a series", points.KeyMax))
		if before != nil && bytes.Compare(before, k) >= 0 {
			l.fail("series of a tombstone are not in order")
		}
		t.Series, before = append(t.Series, k), k
	}
	n := len(l.s.tombstones)
	var err error
	switch t.size, err = l.s.check(&t.Tombstone); {
	case err != nil:
		l.fail("%v", err)
	case n > 0 && (t.generation < l.s.tombstones[n-1].generation || t.index <= l.s.tombstones[n-1].index):
		l.fail("a tombstone of entry %d and generation %d follows one of %d and %d", t.index, t.generation, l.s.tombstones[n-1].index, l.s.tombstones[n-1].generation)
	}
	l.s.tombstones = append(l.s.tombstones, t)
}

func (l *loader) head() {
	g := l.uvarint("the generation of a head", math.MaxUint64-1)
	switch {
	case l.heads == headsMax:
		l.fail("it has more than %d heads", headsMax)
	case l.heads == 0:
		l.s.head.generation = g
	case g != l.s.head.generation+1:
		l.fail("a head of generation %d follows one of %d", g, l.s.head.generation)
	default:
		l.s.Freeze()
	}
	if n := len(l.s.files); n > 0 && l.s.files[n-1].Generation >= g || g == 0 {
		l.fail("a head has generation %d, and a file, or nothing, the same or a later one", g)
	}
	l.heads++
}

// share applies a share of a snapshot. A field that has another kind here than in an older head was dropped between.
func (l *loader) share(mode Mode) {
	body := l.bytes(len(l.body))
	if n := points.ShareValues(body); n > shareValues {
		l.fail("a share has %d values, at most %d", n, shareValues)
		return
	}
	b, err := l.shares.Read(body, l.s.window)
	if err != nil {
		l.fail("%v", err)
		return
	}
	s := l.s
	for x := range b.Series() {
		m := s.schema.measurement(points.MeasurementOf(x.Key()))
		if m == 0 {
			continue
		}
		for c := range x.Columns() {
			if f := s.schema.aliveField(m, c.Name, s.entry); f != 0 && s.schema.fields[f].kind != c.Kind {
				if s.schema.fields[f].born > s.frozenAt() {
					l.fail("field %q of a head has two kinds", c.Name)
					return
				}
				s.schema.fields[f].dead = s.entry + 1
			}
		}
	}
	if r := s.Apply(b, mode); r.Dropped > 0 {
		l.fail("%d of its points are of another kind, or have a key that is too long", r.Dropped)
	}
}

// frozenAt returns the last entry of the newest frozen head.
func (s *Shard) frozenAt() uint64 {
	if n := len(s.frozen); n > 0 {
		return s.frozen[n-1].frozenAt
	}
	return 0
}

func (l *loader) field() {
	x := fieldName{measurement: bytes.Clone(l.text("a measurement", points.KeyMax)), name: bytes.Clone(l.text("a field", points.NameMax))}
	if b := l.bytes(1); b != nil {
		x.kind = column.Kind(b[0])
	}
	switch {
	case l.err != nil:
		return
	case !x.kind.Valid() || len(x.measurement) == 0 || len(x.name) == 0:
		l.fail("field %q of measurement %q is of %v", x.name, x.measurement, x.kind)
		return
	case l.before.name != nil && compareKeys(l.before.measurement, l.before.name, x.measurement, x.name) >= 0:
		l.fail("fields are not in order")
		return
	}
	l.before = x
	s := l.s.schema
	m := s.measurement(x.measurement)
	if m == 0 {
		m = s.addMeasurement(x.measurement)
	}
	f := s.aliveField(m, x.name, l.s.entry)
	if f != 0 && s.fields[f].kind != x.kind {
		s.fields[f].dead = l.s.entry + 1
		f = 0
	}
	if f == 0 {
		f = s.addField(m, x.name, x.kind, l.s.entry+1)
	}
	l.fields[f] = true
}

func (l *loader) end() {
	if n := l.uvarint("the number of frames", math.MaxUint64); n != uint64(l.n-1) {
		l.fail("it tells of %d frames before it, there are %d", n, l.n-1)
	}
	// A frozen head keeps the values of a field that was dropped since, for its file.
	l.s.entry++
	for f := range l.s.schema.fields {
		if x := &l.s.schema.fields[f]; f > 0 && !l.fields[uint32(f)] {
			x.dead = min(x.dead, l.s.entry)
		}
	}
	l.s.schema.recount()
	if what := l.roll.fault(); what != "" {
		l.fail("its census is of %s", what)
	}
	l.s.census = l.roll
	l.s.census.cut = l.s.entry // nothing tells which series of the head are counted
	l.ended = true
}
