package shard

import (
	"bytes"
	"hash/maphash"
	"math"
)

// head is the points of a shard that are in no file. It only grows: a late value, one that replaces another, and one
// that is deleted stand in it until it is sealed, and a reader finds out what became of them.
//
//	series    a record for each, found by its key; those of a measurement are a chain
//	band      rows of one series that have the same fields: a layout. The bands of a series are a chain
//	chunk     some rows of a band, column by column, in a list of words:
//	              prev<<32 | rows that it has room for
//	              a time for each row
//	              a mark for each row: the number of its entry<<1, and 1 if it is a fill
//	              for each field of the layout, a value for each row, as points.Column has them; of a string
//	              address<<32 | length
//
// Most writes bring all fields of a series with one time. So a row has its time once, and appending it to ten fields is
// finding one band.
//
// Rows, chunks but for their free rows, layouts, keys and strings never change. The records of series
// and bands, the tables and the chains do, and the lock of the shard guards those.
type head struct {
	generation uint64
	frozenAt   uint64 // the last entry in it; forever while it takes more
	seed       maphash.Seed

	words    arena[uint64]
	text     arena[byte] // keys and strings
	series   arena[series]
	bands    arena[band]
	layouts  arena[uint32] // number of fields, and the numbers of the fields
	byKey    table         // of series
	byFields table         // of layouts
	byLayout table         // of bands in the second chain of their series, by series and layout
	chains   []uint32      // the last series of each measurement
	order    *order
	values   int64
	hasFills bool // of points that yield to older ones
}

type series struct {
	key         uint32
	length      uint16
	many        uint8 // how many bands are in the first chain
	measurement uint32
	first       uint32 // the last band of the first chain
	more        uint32 // the last one of the second chain
	next        uint32 // the series of the measurement that came before it
	born        uint64 // the entry that brought it
}

// band has flags of its rows: whether their times ascend, and whether there are fills.
type band struct {
	layout   uint32
	next     uint32 // the band of its chain that came before it
	last     uint32 // its last chunk; Invariant: all chunks before it are full
	rows     uint32
	lastTime int64
	used     uint16 // rows in the last chunk
	flags    uint8
	series   uint32 // of a band in a second chain
}

const (
	disorder = 1 << iota // a row is not later than the one before it
	fills
)

const (
	// bandFields is the most fields of a layout: a row must fit into a chunk.
	bandFields = 256
	// chunkWords is the most words of a chunk.
	chunkWords = 1 << 12
	// bandsChained is how many bands the first chain of a series has. Were there no limit, a client that writes each
	// point with other fields would make a chain as long as its points. All that comes later is in bands of one field,
	// which a table finds.
	bandsChained = 8
)

func newHead(generation uint64, seed maphash.Seed) *head {
	return &head{
		generation: generation, frozenAt: forever, seed: seed, order: &order{},
		words: arena[uint64]{shift: 16}, text: arena[byte]{shift: 20}, series: arena[series]{shift: 16}, bands: arena[band]{shift: 16}, layouts: arena[uint32]{shift: 16},
	}
}

// bytes returns how much memory it takes.
func (h *head) bytes() int64 {
	return h.words.size + h.text.size + h.series.size + h.bands.size + h.layouts.size + h.byKey.bytes() + h.byFields.bytes() + h.byLayout.bytes() + int64(4*cap(h.chains)) + h.order.bytes.Load()
}

func (h *head) hash(b []byte) uint32 { return uint32(maphash.Bytes(h.seed, b) >> 16) }

func (h *head) key(s *series) []byte { return h.text.from(s.key, int(s.length)) }

// find returns the series of a key; 0: there is none.
func (h *head) find(hash uint32, key []byte) uint32 {
	return h.byKey.find(hash, func(n uint32) bool { return bytes.Equal(h.key(h.series.at(n)), key) })
}

// addSeries adds the series of a key that is not there.
func (h *head) addSeries(hash uint32, key []byte, measurement uint32, entry uint64) uint32 {
	n, room := h.series.add(1)
	s := &room[0]
	at, text := h.text.add(len(key))
	copy(text, key)
	*s = series{key: at, length: uint16(len(key)), measurement: measurement, born: entry}
	for len(h.chains) <= int(measurement) {
		h.chains = append(h.chains, 0)
	}
	s.next = h.chains[measurement]
	h.chains[measurement] = n
	h.byKey.add(hash, n)
	return n
}

// fieldsOf returns the fields of a layout.
func (h *head) fieldsOf(layout uint32) []uint32 {
	return h.layouts.from(layout+1, int(*h.layouts.at(layout)))
}

func hashFields(fields []uint32) (hash uint32) {
	for _, f := range fields {
		hash = (hash ^ f) * 0x9e3779b1
		hash ^= hash >> 15
	}
	return hash
}

// layout returns the layout of some fields.
func (h *head) layout(fields []uint32) uint32 {
	hash := hashFields(fields)
	if n := h.byFields.find(hash, func(n uint32) bool { return equal(h.fieldsOf(n), fields) }); n != 0 {
		return n
	}
	n, room := h.layouts.add(1 + len(fields))
	room[0] = uint32(len(fields))
	copy(room[1:], fields)
	h.byFields.add(hash, n)
	return n
}

func equal(a, b []uint32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// chained returns the band of the first chain of a series that has a layout; 0: none has, and full is set if no other
// one may be added.
func (h *head) chained(s *series, layout uint32) (n uint32, full bool) {
	for n = s.first; n != 0; n = h.bands.at(n).next {
		if h.bands.at(n).layout == layout {
			return n, false
		}
	}
	return 0, s.many == bandsChained
}

func (h *head) addBand(s *series, layout uint32) uint32 {
	n, room := h.bands.add(1)
	room[0] = band{layout: layout, next: s.first, lastTime: math.MinInt64}
	s.first = n
	s.many++
	return n
}

// single returns the band of one field in the second chain of a series; 0: there is none.
func (h *head) single(series, layout uint32) uint32 {
	return h.byLayout.find(hashSingle(series, layout), func(n uint32) bool {
		b := h.bands.at(n)
		return b.series == series && b.layout == layout
	})
}

func (h *head) addSingle(series, layout uint32) uint32 {
	s := h.series.at(series)
	n, room := h.bands.add(1)
	room[0] = band{series: series, layout: layout, next: s.more, lastTime: math.MinInt64}
	s.more = n
	h.byLayout.add(hashSingle(series, layout), n)
	return n
}

func hashSingle(series, layout uint32) uint32 { return hashFields([]uint32{series, layout}) }

// bugLateLost is planted to show that its test finds it: readers take rows for being in order that are not.
const bugLateLost = "late point lost"

// append appends rows to a band: a time for each, and for each field a list of values.
func (h *head) append(n uint32, times []int64, values [][]uint64, mark uint64) {
	b := h.bands.at(n)
	before := b.lastTime
	for _, t := range times {
		if t <= before {
			if !bug(bugLateLost) {
				b.flags |= disorder
			}
			break
		}
		before = t
	}
	if mark&1 != 0 {
		b.flags |= fills
		h.hasFills = true
	}
	b.lastTime = max(b.lastTime, times[len(times)-1])
	width := 2 + len(values)
	for done := 0; done < len(times); {
		c := h.chunk(b.last)
		if b.last == 0 || int(b.used) == c.rows {
			// As many rows as are there already: chunks grow with their band, and one that is written once has no free row.
			rows := min(max(len(times)-done, int(b.rows)), max(1, (chunkWords-1)/width))
			at, words := h.words.add(1 + width*rows)
			words[0] = uint64(b.last)<<32 | uint64(rows)
			b.last, b.used = at, 0
			c = h.chunk(at)
		}
		from := int(b.used)
		some := min(len(times)-done, c.rows-from)
		for i := range some {
			c.words[from+i] = uint64(times[done+i])
			c.words[c.rows+from+i] = mark
		}
		for f, list := range values {
			copy(c.words[(2+f)*c.rows+from:], list[done:done+some])
		}
		b.used += uint16(some)
		b.rows += uint32(some)
		done += some
	}
	h.values += int64(len(times) * len(values))
}

// chunk is a chunk as it is read: how many rows it has room for, and the words behind the first one.
type chunk struct {
	before uint32
	rows   int
	words  []uint64
}

// chunk reads the chunk of an address. Its words go on to the end of the piece.
func (h *head) chunk(at uint32) chunk {
	if at == 0 {
		return chunk{}
	}
	piece := h.words.pieces[at>>h.words.shift][at&(1<<h.words.shift-1):]
	return chunk{before: uint32(piece[0] >> 32), rows: int(piece[0] & math.MaxUint32), words: piece[1:]}
}

// string returns the string that is in a column.
func (h *head) string(bits uint64) []byte {
	if bits&math.MaxUint32 == 0 {
		return nil
	}
	return h.text.from(uint32(bits>>32), int(bits&math.MaxUint32))
}

// keepString copies a string; most are equal to the one before.
func (h *head) keepString(v []byte, before uint64) uint64 {
	switch {
	case len(v) == 0:
		return 0
	case bytes.Equal(h.string(before), v):
		return before
	}
	at, room := h.text.add(len(v))
	copy(room, v)
	return uint64(at)<<32 | uint64(len(v))
}

// lastValue returns the last value of a field of a band; 0: there is none.
func (h *head) lastValue(n uint32, field int) uint64 {
	b := h.bands.at(n)
	if b.last == 0 {
		return 0
	}
	c := h.chunk(b.last)
	return c.words[(2+field)*c.rows+int(b.used)-1]
}
