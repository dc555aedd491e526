package shardmap

import (
	"bytes"
	"encoding/binary"
	"math"
)

// Limits of one page of a listing.
const (
	// ListMax bounds the keys of a page.
	ListMax = 10000
	// ListBytesMax bounds the bytes of keys and values of a page; one key is
	// always in it, whatever its size.
	ListBytesMax = 4 << 20
)

// ListLimits bound one page of a listing.
type ListLimits struct {
	Rows     int // 0, or more than [ListMax], means that
	Bytes    int // of keys and values; 0, or more than [ListBytesMax], means that
	RowHead  int // bytes that each row counts beside its key and value
	KeysOnly bool
	// From is the least key that may be listed, To the least above it that may not; without
	// bytes: none.
	From, To []byte
	// Descending lists the greatest key first.
	Descending bool
}

// List calls f for the keys with prefix that come after a key (empty: for all), in order over
// all slots, until it has passed on as many as l says, and reports whether there are
// more. A key comes after another one if it is above it; in a descending listing, if it is below it. f must
// keep nothing that it is given. With l.KeysOnly, value is nil and its
// bytes do not count. The prefix is the one for which the moment was taken, or a
// longer one.
//
// The page shows all slots as they were at the moment, and no write waits. It
// costs one search in each of the map's slots, about half a microsecond; fine
// at 4096. A prefix with a whole {tag} searches one.
func (t *Moment) List(prefix, after []byte, l ListLimits, f func(key []byte, version uint64, value []byte)) (more bool) {
	if l.Rows <= 0 || l.Rows > ListMax {
		l.Rows = ListMax
	}
	if l.Bytes <= 0 || l.Bytes > ListBytesMax {
		l.Bytes = ListBytesMax
	}
	h := newLister(prefix, after, &l)
	defer h.release()
	if t.one != nil {
		if c, rec := h.first(&t.one.view); rec != nil {
			h.listed = append(h.listed, listed{record: rec, cursor: c})
		}
	} else if t.number != 0 {
		h.visit(t)
	}
	h.begin()
	for used := 0; len(h.heap) > 0; l.Rows-- {
		rec := h.listed[h.heap[0].listed].record
		key, value := rec.key(), rec.value()
		if l.KeysOnly {
			value = nil
		}
		size := l.RowHead + len(key) + len(value)
		if l.Rows == 0 || used > 0 && used+size > l.Bytes {
			return true
		}
		used += size
		f(key, rec.version(), value)
		h.next()
	}
	return false
}

// lister merges slots by key: a heap with an entry for each slot that has something left.
type lister struct {
	low, high  []byte // keys from low on are listed, below high; without bytes, high is no bound
	descending bool

	listed []listed
	heap   []heapEntry
	// common is the number of bytes that all keys under cursors had in common at their beginning when
	// order ran last. base begins with those bytes.
	common int
	base   []byte
}

// listed is what is left of a slot.
type listed struct {
	record record // under the cursor, never nil while the slot has an entry
	cursor cursor
	own    *keptSlot // taken by this lister; nil where the moment has one
}

// heapEntry stands for a slot. Nearly all comparisons read heads alone: the heap stays in the processor's
// cache, while the records of thousands of slots do not.
type heapEntry struct {
	head   uint64 // of the key under the cursor, as [lister.head] has it
	listed uint32
}

// headBeyond is the head of a key without the common bytes. The keys of a slot go in one direction, so
// such a key comes after all that have them.
const headBeyond = math.MaxUint64

// head returns the eight bytes of a key behind the common ones, with zeros for those that it lacks; in a
// descending listing their complement, so that the least head comes first there, too. Keys of equal heads
// are compared as a whole.
func (h *lister) head(key []byte) uint64 {
	if len(key) < h.common || !bytes.Equal(key[:h.common], h.base[:h.common]) {
		return headBeyond
	}
	rest, head := key[h.common:], uint64(0)
	if len(rest) >= 8 {
		head = binary.BigEndian.Uint64(rest)
	} else {
		var b [8]byte
		copy(b[:], rest)
		head = binary.BigEndian.Uint64(b[:])
	}
	if h.descending {
		return ^head
	}
	return head
}

// newLister returns a lister of the keys that begin with prefix, come after a key (empty: all), and lie within
// the bounds of l, in its order. after must stay as it is until the first keys are found.
func newLister(prefix, after []byte, l *ListLimits) lister {
	h := lister{low: prefix, high: EndOfPrefix(prefix), descending: l.Descending}
	if bytes.Compare(l.From, h.low) > 0 {
		h.low = l.From
	}
	h.endAt(l.To)
	switch {
	case len(after) == 0:
	case l.Descending:
		h.endAt(after)
	case bytes.Compare(after, h.low) >= 0:
		h.low = KeyAfter(after)
	}
	return h
}

// endAt leaves out the keys from one on; one without bytes leaves out none.
func (h *lister) endAt(key []byte) {
	if len(key) > 0 && (len(h.high) == 0 || bytes.Compare(key, h.high) < 0) {
		h.high = key
	}
}

// KeyAfter returns the least key above a key.
func KeyAfter(key []byte) []byte { return append(append(make([]byte, 0, len(key)+1), key...), 0) }

// EndOfPrefix returns the least key above all that begin with a prefix, or nil if there is none: if
// nothing but bytes of 255 is in it.
func EndOfPrefix(prefix []byte) []byte {
	for n := len(prefix); n > 0; n-- {
		if prefix[n-1] < 0xff {
			end := append([]byte(nil), prefix[:n]...)
			end[n-1]++
			return end
		}
	}
	return nil
}

// first returns a cursor on the first record to list.
func (h *lister) first(v *view) (cursor, record) {
	if h.descending {
		c := v.seekEnd(h.high)
		rec := c.previous()
		return c, h.wanted(rec)
	}
	c := v.seek(h.low)
	rec := c.record()
	return c, h.wanted(rec)
}

// wanted returns a record that a cursor has come to, or nil if it is beyond those that are listed.
func (h *lister) wanted(rec record) record {
	switch {
	case rec == nil:
		return nil
	case h.descending:
		if bytes.Compare(rec.key(), h.low) < 0 {
			return nil
		}
	case len(h.high) > 0 && bytes.Compare(rec.key(), h.high) >= 0:
		return nil
	}
	return rec
}

// visit adds each slot in which there is something to list.
func (h *lister) visit(t *Moment) {
	first := h.first
	for s := range eachOf(t.shown()) {
		if l := t.slot(s, first); l.record != nil {
			h.listed = append(h.listed, l)
		}
	}
}

// begin makes the heap.
func (h *lister) begin() {
	h.heap = make([]heapEntry, len(h.listed))
	for i := range h.heap {
		h.heap[i].listed = uint32(i)
	}
	h.order()
}

// order orders the heap anew, by what the keys under all cursors have in common.
func (h *lister) order() {
	if len(h.heap) == 0 {
		return
	}
	h.base = h.key(0)
	h.common = len(h.base)
	for i := range h.heap {
		h.common = commonPrefix(h.base[:h.common], h.key(i))
	}
	for i := range h.heap {
		h.heap[i].head = h.head(h.key(i))
	}
	for i := len(h.heap)/2 - 1; i >= 0; i-- {
		h.sink(i)
	}
}

// commonPrefix returns with how many bytes both begin.
func commonPrefix(a, b []byte) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// key returns the key under the cursor of an entry.
func (h *lister) key(entry int) []byte { return h.listed[h.heap[entry].listed].record.key() }

// next moves on from the key that comes first.
func (h *lister) next() {
	top := &h.listed[h.heap[0].listed]
	if h.descending {
		top.record = top.cursor.previous()
	} else {
		top.cursor.next()
		top.record = top.cursor.record()
	}
	if top.record = h.wanted(top.record); top.record == nil {
		last := len(h.heap) - 1
		h.heap[0] = h.heap[last]
		h.heap = h.heap[:last]
	} else {
		h.heap[0].head = h.head(top.record.key())
	}
	h.sink(0)
	if len(h.heap) > 0 && h.heap[0].head == headBeyond && !bytes.HasPrefix(h.key(0), h.base[:h.common]) {
		h.order()
	}
}

func (h *lister) sink(i int) {
	for {
		least := 2*i + 1
		if least >= len(h.heap) {
			return
		}
		if least+1 < len(h.heap) && h.less(least+1, least) {
			least++
		}
		if !h.less(least, i) {
			return
		}
		h.heap[i], h.heap[least] = h.heap[least], h.heap[i]
		i = least
	}
}

func (h *lister) less(i, j int) bool {
	if a, b := h.heap[i].head, h.heap[j].head; a != b {
		return a < b
	}
	d := bytes.Compare(h.key(i), h.key(j))
	return d != 0 && d < 0 != h.descending
}

func (h *lister) release() {
	for i := range h.listed {
		h.listed[i].release()
	}
}

func (l *listed) release() {
	if l.own != nil {
		l.own.release()
	}
}
