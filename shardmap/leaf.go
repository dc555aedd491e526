package shardmap

import (
	"bytes"
	"slices"
)

// leafMax is the number of records that a leaf leads to. It makes a leaf 512
// bytes, which is one of the allocator's sizes.
const leafMax = 125

// leaf leads to neighbouring records, in key order. It has no pointers.
type leaf struct {
	epoch uint64 // of the store, when it was made; older than a copy: shared with it
	n     uint16
	refs  [leafMax]ref
}

// insert puts a record at pos; the leaf is not full.
func (l *leaf) insert(pos int, r ref) {
	copy(l.refs[pos+1:l.n+1], l.refs[pos:l.n])
	l.refs[pos] = r
	l.n++
}

func (l *leaf) remove(pos int) {
	copy(l.refs[pos:l.n-1], l.refs[pos+1:l.n])
	l.n--
}

// position returns where in the leaf r is. It reads no record.
func (l *leaf) position(r ref) int { return slices.Index(l.refs[:l.n], r) }

// takeFrom moves the records of other from pos on to the end of l.
func (l *leaf) takeFrom(other *leaf, pos int) {
	l.n += uint16(copy(l.refs[l.n:], other.refs[pos:other.n]))
	other.n = uint16(pos)
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
//	leaves       [ … ]   [ … ]         [ … ]
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

// child is a leaf and where its separator ends in seps, side by side: each
// cache line that a search touches costs as much as all its comparisons.
type child struct {
	*leaf
	end uint32
}

func (v *view) at(r ref) record { return record(v.bufs[r.chunk()][r.offset():]) }

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
func (v *view) lower(l *leaf, key []byte) int {
	lo, hi := 0, int(l.n)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if bytes.Compare(v.at(l.refs[mid]).key(), key) < 0 {
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
		c.pos = v.lower(v.leaves[c.leaf].leaf, key)
	}
	return c
}

// record returns the record under the cursor, or nil at the end.
func (c *cursor) record() record {
	for c.leaf < len(c.v.leaves) {
		if l := c.v.leaves[c.leaf]; c.pos < int(l.n) {
			return c.v.at(l.refs[c.pos])
		}
		c.leaf, c.pos = c.leaf+1, 0
	}
	return nil
}

func (c *cursor) next() { c.pos++ }
