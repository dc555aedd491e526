package shardmap

import (
	"bytes"
	"encoding/binary"
)

// leaf leads to neighbouring records, in key order. It lies in a chunk, as records do
// (slab.go), so that the garbage collector has no object of its own to mark for it. It is
// little-endian:
//
//	 0  u64  epoch of the store, when it was made; older than a copy: shared with it
//	 8  u64  how many records it leads to
//	16       6 bytes of any content
//	22  u8   kindLeaf, where a record has its kind
//	23  u8   of any content
//	24       leafMax times u32, of which as many are refs
type leaf []byte

const (
	leafSize = 512
	leafHead = 24
	refSize  = 4
	// leafMax is the number of records that a leaf leads to.
	leafMax = (leafSize - leafHead) / refSize

	// kindLeaf tells a leaf from the records of a chunk. There will never be so many kinds of these.
	kindLeaf RecordKind = 255
)

// make makes a leaf without records of bytes of any content.
func (l leaf) make(epoch uint64) {
	l.own(epoch)
	l.setLen(0)
	l[22] = byte(kindLeaf)
}

func (l leaf) epoch() uint64    { return binary.LittleEndian.Uint64(l) }
func (l leaf) own(epoch uint64) { binary.LittleEndian.PutUint64(l, epoch) }
func (l leaf) len() int         { return int(binary.LittleEndian.Uint64(l[8:])) }
func (l leaf) setLen(n int)     { binary.LittleEndian.PutUint64(l[8:], uint64(n)) }

func (l leaf) ref(pos int) ref {
	return ref(binary.LittleEndian.Uint32(l[leafHead+refSize*pos:]))
}

func (l leaf) set(pos int, r ref) {
	binary.LittleEndian.PutUint32(l[leafHead+refSize*pos:], uint32(r))
}

// refs returns the bytes of the refs from one position up to another.
func (l leaf) refs(from, to int) []byte { return l[leafHead+refSize*from : leafHead+refSize*to] }

// insert puts a record at pos; the leaf is not full.
func (l leaf) insert(pos int, r ref) {
	n := l.len()
	copy(l.refs(pos+1, n+1), l.refs(pos, n))
	l.set(pos, r)
	l.setLen(n + 1)
}

func (l leaf) remove(pos int) {
	n := l.len()
	copy(l.refs(pos, n-1), l.refs(pos+1, n))
	l.setLen(n - 1)
}

// position returns where in the leaf r is, which is there. It reads no record.
func (l leaf) position(r ref) int {
	refs := l.refs(0, l.len())
	for at := 0; ; at += refSize {
		if binary.LittleEndian.Uint32(refs[at:]) == uint32(r) {
			return at / refSize
		}
	}
}

// takeFrom moves the records of other from pos on to the end of l.
func (l leaf) takeFrom(other leaf, pos int) {
	n, left := l.len(), other.len()-pos
	copy(l.refs(n, n+left), other.refs(pos, pos+left))
	l.setLen(n + left)
	other.setLen(pos)
}

// separator returns the shortest key that is above low and not above high.
func separator(low, high []byte) []byte {
	n := 0
	for n < len(low) && n < len(high) && low[n] == high[n] {
		n++
	}
	return high[:n+1]
}

// view is what a walk through one slot's records needs. Copies are
// views; so is the writer's store, which has a [lookup] besides.
//
//	separators   ""      "cart/3"      "user/12"          (above it, none)
//	leaves       [ … ]   [ … ]         [ … ]          in chunks, by ref
//	records      in chunks, by ref
//
// A leaf holds the keys from its separator up to the next leaf's. Separators
// are as short as possible and lie one after another, so that the search for a
// leaf stays in a few cache lines whatever the keys look like.
type view struct {
	leaves []child
	seps   []byte
	bufs   [][]byte
}

// child is where a leaf lies and where its separator ends in seps, side by side: each
// cache line that a search touches costs as much as all its comparisons.
type child struct {
	ref ref
	end uint32
}

func (v *view) at(r ref) record { return record(v.bufs[r.chunk()][r.offset():]) }

// leaf returns leaf i.
func (v *view) leaf(i int) leaf { return v.leafAt(v.leaves[i].ref) }

func (v *view) leafAt(r ref) leaf {
	from := r.offset()
	return leaf(v.bufs[r.chunk()][from : from+leafSize : from+leafSize])
}

// separator returns leaf i's; leaf 0's is empty.
func (v *view) separator(i int) []byte {
	if i == 0 {
		return nil
	}
	return v.seps[v.leaves[i-1].end:v.leaves[i].end]
}

// leafOf returns the leaf that key belongs to. There must be at least one.
func (v *view) leafOf(key []byte) int {
	lo, hi := 0, len(v.leaves) // separator(lo) <= key < separator(hi)
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		if bytes.Compare(v.separator(mid), key) <= 0 {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// lower returns the first position in the leaf whose key is not below key.
func (v *view) lower(l leaf, key []byte) int {
	lo, hi := 0, l.len()
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if bytes.Compare(v.at(l.ref(mid)).key(), key) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// cursor walks a view in key order.
type cursor struct {
	v    *view
	leaf int
	pos  int
}

// seek returns a cursor on the first record whose key is not below key.
func (v *view) seek(key []byte) cursor {
	c := cursor{v: v}
	if len(v.leaves) > 0 {
		c.leaf = v.leafOf(key)
		c.pos = v.lower(v.leaf(c.leaf), key)
	}
	return c
}

// record returns the record under the cursor, or nil at the end.
func (c *cursor) record() record {
	for c.leaf < len(c.v.leaves) {
		if l := c.v.leaf(c.leaf); c.pos < l.len() {
			return c.v.at(l.ref(c.pos))
		}
		c.leaf, c.pos = c.leaf+1, 0
	}
	return nil
}

func (c *cursor) next() { c.pos++ }

// seekEnd returns a cursor behind the last record whose key is below key, or behind the last of all if
// key has no bytes: [cursor.previous] is due.
func (v *view) seekEnd(key []byte) cursor {
	if len(key) == 0 {
		return cursor{v: v, leaf: len(v.leaves)}
	}
	return v.seek(key)
}

// previous moves to the record before, and returns it; nil if there is none.
func (c *cursor) previous() record {
	for c.pos--; c.pos < 0; c.pos = c.v.leaf(c.leaf).len() - 1 {
		if c.leaf == 0 {
			return nil
		}
		c.leaf--
	}
	return c.v.at(c.v.leaf(c.leaf).ref(c.pos))
}
