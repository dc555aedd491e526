package shard

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
)

// SnapshotVersion is that of the bytes which [View.WriteTo] writes; another [points.ShareVersion] needs another one here.
const SnapshotVersion = 1

// The bytes of a snapshot are frames:
//
//	u8   kind
//	u32  length of the body
//	     body
//	u64  xxhash64 of the checksum of the frame before (u64; 0 before the first), the kind, the length and the body
//
// Numbers are little-endian; in a body there are uvarints, and varints for times; a text is a uvarint, its length, and
// its bytes. The frames, in this order:
//
//	1 begin      "mustshrd", u8 SnapshotVersion, first and last time of the window, the largest index of a delete that is
//	             forgotten
//	2 file       of each file, the oldest first: generation, 32 bytes sum, size, values, first and last time
//	3 tombstone  of each: index of its entry, generation, measurement, first and last time, number of series, each a text
//	4 head       of each head, the oldest first, of which the last one takes points: its generation. Behind it stand
//	5 write        shares of what it has, without what was replaced or deleted
//	6 fill         shares of fills
//	7 field      of each field, by measurement and name: measurement, name, u8 kind
//	9 census     what is counted of a measurement, in one frame or, with more than 2^19 of one kind, in several: measurement,
//	             u8 kind, number, and of each in order: u32 hash, how often. Kinds: 1 series, 2 values of tags, and in how
//	             many of the series; 3 tags, and how many values they have
//	8 end        number of frames before it
//
// Frames of 5 and 6 stand as they become full, between them and within them by series, field and time. So equal shards
// have equal bytes, whatever shares their points came with, and whether they began with a snapshot or not.
const (
	frameBegin     = 1
	frameFile      = 2
	frameTombstone = 3
	frameHead      = 4
	frameWrite     = 5
	frameFill      = 6
	frameField     = 7
	frameEnd       = 8
	frameCensus    = 9
)

const (
	snapshotMagic = "mustshrd"
	// frameMax bounds the body of a frame: that of a share of shareValues values and shareText bytes, and a tombstone.
	frameMax = 8 << 20
	// A share of a snapshot ends when it has that many values, or that many bytes of keys, names and strings.
	shareValues = 1 << 16
	shareText   = 1 << 20
	// censusFrame is how many hashes are in a frame of a census.
	censusFrame = 1 << 19
	// filesMax and headsMax bound what is kept of a snapshot before its points.
	filesMax = 1 << 16
	headsMax = 1 << 10
)

// bugDeleteSnapshot is planted to show that its test finds it: what a delete hides of files and of fills is there again
// after a snapshot.
const bugDeleteSnapshot = "delete lost in a snapshot"

// bugCensusSnapshot is planted to show that its test finds it: a replica that began with a snapshot counts series anew.
const bugCensusSnapshot = "census lost in a snapshot"

// frames writes frames.
type frames struct {
	w       io.Writer
	written int64
	n       uint64
	sum     uint64
	b       []byte
	err     error
}

func (f *frames) write(kind byte, body []byte) {
	if f.err != nil {
		return
	}
	if len(body) > frameMax {
		f.err = fmt.Errorf("a frame of kind %d of a shard's snapshot has %d bytes, at most %d", kind, len(body), frameMax)
		return
	}
	f.b = binary.LittleEndian.AppendUint64(f.b[:0], f.sum)
	f.b = binary.LittleEndian.AppendUint32(append(f.b, kind), uint32(len(body)))
	f.b = append(f.b, body...)
	f.sum = xxhash.Sum64(f.b)
	f.b = binary.LittleEndian.AppendUint64(f.b, f.sum)
	n, err := f.w.Write(f.b[8:])
	f.written, f.err = f.written+int64(n), err
	f.n++
}

// WriteTo writes the snapshot of the view, which must be one of [Shard.Copy]: heads with their points, and the names of files. It
// may run on any goroutine.
func (v *View) WriteTo(w io.Writer) (int64, error) {
	f := &frames{w: w}
	b := append([]byte(snapshotMagic), SnapshotVersion)
	b = binary.AppendVarint(binary.AppendVarint(b, v.shard.window.First), v.shard.window.Last)
	f.write(frameBegin, binary.AppendUvarint(b, v.forgotten))
	for _, x := range v.files {
		f.write(frameFile, x.append(b[:0]))
	}
	for i := range v.tombstones {
		if !bug(bugDeleteSnapshot) {
			f.write(frameTombstone, v.tombstones[i].append(nil))
		}
	}
	for _, h := range v.heads {
		f.write(frameHead, binary.AppendUvarint(b[:0], h.generation))
		v.writeHead(f, h)
	}
	v.writeFields(f)
	if !bug(bugCensusSnapshot) {
		v.writeCensus(f)
	}
	f.write(frameEnd, binary.AppendUvarint(b[:0], f.n))
	return f.written, f.err
}

func (x *File) append(dst []byte) []byte {
	dst = append(binary.AppendUvarint(dst, x.Generation), x.Sum[:]...)
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(x.Size)), x.Values)
	return binary.AppendVarint(binary.AppendVarint(dst, x.First), x.Last)
}

func (t *buried) append(dst []byte) []byte {
	dst = binary.AppendUvarint(binary.AppendUvarint(dst, t.index), t.generation)
	dst = appendText(dst, t.Measurement)
	dst = binary.AppendVarint(binary.AppendVarint(dst, t.First), t.Last)
	dst = binary.AppendUvarint(dst, uint64(len(t.Series)))
	for _, k := range t.Series {
		dst = appendText(dst, k)
	}
	return dst
}

func appendText(dst, text []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(text))), text...)
}

// until returns up to which entry the points of a head are in the view.
func (v *View) until(h *head) uint64 {
	v.shard.mu.RLock()
	defer v.shard.mu.RUnlock()
	return min(v.entry, h.frozenAt)
}

// within returns what tombstones hide of a series of a head that came while it took points. Later ones take
// nothing out of a head: the file that is made of it has those points on all replicas.
func (v *View) within(h *head, series []byte) (spans []span) {
	for i := range v.tombstones {
		if t := &v.tombstones[i]; t.generation == h.generation && t.of(series) {
			spans = append(spans, span{t.First, t.Last, t.entry})
		}
	}
	return spans
}

// sharesOf collects shares of a head.
type sharesOf struct {
	f    *frames
	kind byte
	c    points.Collector
	b    []byte
}

// add adds values, and writes shares as they become full.
func (s *sharesOf) add(h *head, c *headColumn, times []int64, bits []uint64) {
	for from := 0; from < len(times); {
		room := shareValues - s.c.Values()
		to, text := from, s.c.Text()
		for ; to < len(times) && to-from < room && text < shareText; to++ {
			if c.kind == column.String {
				text += len(h.string(bits[to]))
			}
		}
		s.c.Add(c.series, c.field, c.kind, times[from:to], bits[from:to], h.string)
		if from = to; s.c.Values() >= shareValues || s.c.Text() >= shareText {
			s.flush()
		}
	}
}

func (s *sharesOf) flush() {
	if s.c.Values() > 0 {
		x := s.c.Share()
		s.b = x.Append(s.b[:0])
		s.f.write(s.kind, s.b)
	}
	s.c.Reset()
}

func (v *View) writeHead(f *frames, h *head) {
	writes, fills := sharesOf{f: f, kind: frameWrite}, sharesOf{f: f, kind: frameFill}
	writes.c.Reset()
	fills.c.Reset()
	var found, some cells
	entry := v.until(h)
	all := h.columns(v.shard, entry)
	for c := all.next(); c != nil && f.err == nil; c = all.next() {
		found.reset()
		all.h.resolve(&found, c.refs, selection{entry, math.MinInt64, math.MaxInt64, v.within(h, c.series)})
		if found.fill == nil {
			writes.add(all.h, c, found.times, found.bits)
		} else {
			for _, to := range [...]*sharesOf{&writes, &fills} {
				some.reset()
				for i, t := range found.times {
					if found.fill[i] == (to == &fills) {
						some.times, some.bits = append(some.times, t), append(some.bits, found.bits[i])
					}
				}
				to.add(all.h, c, some.times, some.bits)
			}
		}
		all.pass()
	}
	writes.flush()
	fills.flush()
}

// fieldName is a field that the snapshot has.
type fieldName struct {
	measurement, name []byte
	kind              column.Kind
}

func (v *View) fields() (all []fieldName) {
	s := v.shard
	s.mu.RLock()
	for f := 1; f < len(s.schema.fields); f++ {
		if x := &s.schema.fields[f]; x.alive(v.entry) {
			all = append(all, fieldName{s.schema.measurementName(x.measurement), s.schema.fieldName(uint32(f)), x.kind})
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(all, func(a, b fieldName) int { return compareKeys(a.measurement, a.name, b.measurement, b.name) })
	return all
}

func (v *View) writeFields(f *frames) {
	var b []byte
	for _, x := range v.fields() {
		b = append(appendText(appendText(b[:0], x.measurement), x.name), byte(x.kind))
		f.write(frameField, b)
	}
}

// Digest returns a number that is that of every shard with the same points in the same heads, the same files, deletes,
// fields and census, whatever shares the points came with. It goes through the heads: some 10 ns for each value in them. It is no
// proof against people.
func (v *View) Digest() uint64 {
	d := xxhash.New()
	var found cells
	b := binary.AppendUvarint(nil, v.forgotten)
	d.Write(b)
	for _, h := range v.heads {
		sum := uint64(0) // of all columns, which come in any order
		entry := v.until(h)
		all := h.unordered(v.shard, entry)
		for c := all.next(); c != nil; c = all.next() {
			found.reset()
			all.h.resolve(&found, c.refs, selection{entry, math.MinInt64, math.MaxInt64, v.within(h, c.series)})
			if len(found.times) > 0 {
				b = appendText(appendText(b[:0], c.series), c.field)
				b = append(b, byte(c.kind))
				for i, t := range found.times {
					b = binary.LittleEndian.AppendUint64(b, uint64(t))
					if c.kind == column.String {
						b = appendText(b, all.h.string(found.bits[i]))
					} else {
						b = binary.LittleEndian.AppendUint64(b, found.bits[i])
					}
					if found.fill != nil && found.fill[i] {
						b = append(b, 1)
					}
				}
				sum += xxhash.Sum64(b)
			}
			all.pass()
		}
		d.Write(binary.LittleEndian.AppendUint64(binary.AppendUvarint(b[:0], h.generation), sum))
	}
	for i := range v.files {
		d.Write(v.files[i].append(b[:0]))
	}
	for i := range v.tombstones {
		d.Write(v.tombstones[i].append(b[:0]))
	}
	for _, x := range v.fields() {
		d.Write(append(appendText(appendText(b[:0], x.measurement), x.name), byte(x.kind)))
	}
	v.census.digest(d)
	return d.Sum64()
}

// DamageError refuses bytes of a snapshot that [View.WriteTo] does not write.
type DamageError struct {
	Frame int // the number of the frame
	What  string
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("the snapshot of the shard is damaged in its frame %d: %s", e.Frame, e.What)
}

// VersionError refuses a snapshot whose version this build does not know.
type VersionError struct{ Found, Known byte }

func (e *VersionError) Error() string {
	return fmt.Sprintf("the snapshot of the shard has version %d, this build knows version %d: use a newer build", e.Found, e.Known)
}
