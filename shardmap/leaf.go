package shardmap

import "bytes"

// leafMax is the number of records that a leaf leads to: with it a leaf is 512
// bytes, which is a size that the allocator has.
const leafMax = 100

// leaf leads to neighbouring records, in key order. It has no pointers. A key
// is found by its tag, one byte of its hash, so that few records are touched
// that are not the one; where a new key goes is found by comparing records.
type leaf struct {
	epoch uint64 // of the store, when it was made; older than a copy: shared with it
	n     uint16
	tags  [leafMax]uint8
	refs  [leafMax]ref
}

// tagOf takes the tag from the end of the hash that the slot is not taken from.
func tagOf(hash uint64) uint8 { return uint8(hash >> 56) }

// insert puts a record at pos; the leaf is not full.
func (l *leaf) insert(pos int, tag uint8, r ref) {
	n := int(l.n)
	copy(l.tags[pos+1:n+1], l.tags[pos:n])
	copy(l.refs[pos+1:n+1], l.refs[pos:n])
	l.tags[pos], l.refs[pos] = tag, r
	l.n++
}

func (l *leaf) remove(pos int) {
	n := int(l.n)
	copy(l.tags[pos:n-1], l.tags[pos+1:n])
	copy(l.refs[pos:n-1], l.refs[pos+1:n])
	l.n--
}

// takeFrom moves the records of other from pos on to the end of l.
func (l *leaf) takeFrom(other *leaf, pos int) {
	k := copy(l.tags[l.n:], other.tags[pos:other.n])
	copy(l.refs[l.n:], other.refs[pos:other.n])
	l.n += uint16(k)
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

// view is all that it takes to read one slot's records. Copies are views; so
// is the writer's store.
//
//	separators   ""      "cart/3"      "user/12"          (above it, none)
//	leaves       [ … ]   [ … ]         [ … ]
//	records      in chunks, by ref
//
// A leaf holds the keys from its separator up to the next leaf's. Separators
// are as short as can be and lie one after another, so that the search for a
// leaf stays in a few cache lines whatever the keys look like.
type view struct {
	leaves []*leaf
	ends   []uint32 // where each leaf's separator ends in separators
	seps   []byte
	bufs   [][]byte
}

func (v *view) at(r ref) record { return record(v.bufs[r.chunk()][r.offset():]) }

// separator returns leaf i's; leaf 0's is empty.
func (v *view) separator(i int) []byte {
	if i == 0 {
		return nil
	}
	return v.seps[v.ends[i-1]:v.ends[i]]
}

// leafOf returns the leaf that key belongs to; there is one at least.
func (v *view) leafOf(key []byte) int {
	lo, hi := 0, len(v.leaves) // separator(lo) <= key < separator(hi)
	for hi-lo > 1 {
		mid := int(uint(lo+hi) / 2)
		if bytes.Compare(v.seps[v.ends[mid-1]:v.ends[mid]], key) <= 0 {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// find returns where key is; if it is not there, the leaf in which it would be.
func (v *view) find(key []byte, hash uint64) (leaf, pos int, found bool) {
	if len(v.leaves) == 0 {
		return 0, 0, false
	}
	leaf = v.leafOf(key)
	l := v.leaves[leaf]
	tag := tagOf(hash)
	for pos = 0; ; pos++ {
		i := bytes.IndexByte(l.tags[pos:l.n], tag)
		if i < 0 {
			return leaf, 0, false
		}
		pos += i
		if bytes.Equal(v.at(l.refs[pos]).key(), key) {
			return leaf, pos, true
		}
	}
}

// lower returns the first place in the leaf whose key is not below key.
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
		c.pos = v.lower(v.leaves[c.leaf], key)
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
