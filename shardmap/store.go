package shardmap

import (
	"bytes"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// store is one slot's records of one kind, for their one writer. The caller locks.
//
// Whatever is older than the newest unreleased copy, by epoch, is shared: the
// writer replaces it and never changes it.
type store struct {
	view
	slab
	lookup lookup
	count  int
	bytes  int64  // in keys and values
	sum    uint64 // Invariant: the sum of the records' hashes

	epoch      uint64 // counts copies
	shared     uint64 // a copy may see what is of an earlier epoch; 0: no copy sees anything
	copies     int    // not released yet
	topShared  bool   // leaves, seps
	bufsShared bool

	kind RecordKind // of all records; set once

	opened bool   // a tail, since merge looked
	hand   uint32 // the chunk that merge looked at last
}

func newStore(k RecordKind) store { return store{kind: k, slab: slab{tail: -1}} }

func hashKey(key []byte) uint64 { return xxhash.Sum64(key) }

// copyView returns the records as they are now, in O(1).
func (s *store) copyView() view {
	s.epoch++
	s.shared = s.epoch
	s.copies++
	s.topShared, s.bufsShared = true, true
	return s.view
}

// releaseView records that the owner of a copy is done with it. A copy that
// is never released costs the memory that it holds, and its slot some copying.
func (s *store) releaseView() {
	// Only the last release ends the sharing: epochs say how old a copy may
	// be, not which copies are left.
	if s.copies--; s.copies == 0 {
		s.shared, s.topShared, s.bufsShared = 0, false, false
	}
}

// find returns the position of key's entry in the lookup.
func (s *store) find(key []byte, hash uint64) (int, bool) {
	if s.lookup.count == 0 {
		return 0, false
	}
	tag := tagOf(hash)
	for i := s.lookup.home(tag); ; i = s.lookup.after(i) {
		e := s.lookup.entries[i]
		if e == 0 {
			return 0, false
		}
		if uint32(e>>32) == tag && bytes.Equal(s.at(refOf(e)).key(), key) {
			return i, true
		}
	}
}

func (s *store) get(key []byte, hash uint64) record {
	i, found := s.find(key, hash)
	if !found {
		return nil
	}
	return s.at(refOf(s.lookup.entries[i]))
}

// put sets key to value; the key never ends.
func (s *store) put(key, value []byte, hash, version uint64) {
	i, found := s.find(key, hash)
	s.place(i, found, &newRecord{key: key, value: value, hash: hash, version: version})
}

// place writes a record, where find has found the entry i of its key, or none.
func (s *store) place(i int, found bool, n *newRecord) {
	size := recordSize(len(n.key), len(n.value)+n.ending.by.size())
	if !found {
		s.compareCounts()
		r := s.alloc(size)
		s.sum += s.at(r).write(s.kind, n)
		s.count++
		s.bytes += int64(len(n.key) + len(n.value))
		s.lookup.add(tagOf(n.hash), r)
		s.index(n.key, r)
		s.tidy()
		return
	}
	r := refOf(s.lookup.entries[i])
	old := s.at(r)
	s.sum -= old.hash()
	s.bytes += int64(len(n.value) - old.valueLen())
	// Writing in place is safe only where no copy sees the bytes: in a chunk
	// that was opened after the newest copy.
	oldSize := old.size()
	if oldSize == size && (s.shared == 0 || s.chunks[r.chunk()].epoch >= s.shared) {
		s.sum += old.write(s.kind, n)
		return
	}
	moved := s.alloc(size)
	s.sum += s.at(moved).write(s.kind, n)
	s.move(i, n.key, moved)
	s.kill(r, oldSize)
	s.tidy()
}

// move leads key, whose entry is at position i of the lookup, to another record.
func (s *store) move(i int, key []byte, to ref) {
	entry := s.lookup.entries[i]
	s.lookup.entries[i] = entryOf(uint32(entry>>32), to)
	l := s.ownLeaf(s.leafOf(key))
	l.set(l.position(refOf(entry)), to)
}

// del removes key and reports whether it was there.
func (s *store) del(key []byte, hash uint64) bool {
	i, found := s.find(key, hash)
	if found {
		s.take(i, key)
	}
	return found
}

// take removes key, whose entry in the lookup is i.
func (s *store) take(i int, key []byte) {
	s.compareCounts()
	r := refOf(s.lookup.entries[i])
	old := s.at(r)
	s.sum -= old.hash()
	s.count--
	s.bytes -= int64(old.keyLen() + old.valueLen())
	if s.count == 0 {
		s.clear()
		return
	}
	size := old.size()
	s.lookup.remove(i)
	s.unindex(key, r)
	s.kill(r, size)
	s.tidy()
}

// compareCounts counts the records anew if the two counts of them differ. By one that memory has
// changed the lookup would take all memory, or become full and be searched for ever, or all records
// would be forgotten.
func (s *store) compareCounts() {
	if s.count != s.lookup.count {
		s.count = 0
		for _, e := range s.lookup.entries {
			if e != 0 {
				s.count++
			}
		}
		s.lookup.count = s.count
	}
}

// clear forgets all chunks and leaves. Copies keep what they see.
func (s *store) clear() {
	s.view, s.slab, s.lookup = view{}, slab{tail: -1}, lookup{}
	s.topShared, s.bufsShared = false, false
}

// ownLeaf returns leaf i for writing.
func (s *store) ownLeaf(i int) leaf {
	if l := s.leaf(i); l.epoch() >= s.shared {
		return l
	}
	return s.moveLeaf(i)
}

// moveLeaf copies leaf i to the end of the slab, where no copy of the slot sees it.
func (s *store) moveLeaf(i int) leaf {
	from := s.leaves[i].ref
	to := s.alloc(leafSize)
	l := s.leafAt(to)
	copy(l, s.leafAt(from))
	l.own(s.epoch)
	s.ownTop()
	s.leaves[i].ref = to
	s.kill(from, leafSize)
	return l
}

// ownTop makes the list of leaves the writer's own: the first write after a
// copy pays some 12 bytes per leaf, 150 KB in a slot of a million keys.
func (s *store) ownTop() {
	if s.topShared {
		s.leaves, s.seps = slices.Clone(s.leaves), slices.Clone(s.seps)
		s.topShared = false
	}
}

// index puts the new key in order.
func (s *store) index(key []byte, r ref) {
	if len(s.leaves) == 0 {
		s.insertLeaf(0, nil)
	}
	leaf := s.leafOf(key)
	l := s.ownLeaf(leaf)
	pos := s.lower(l, key)
	if l.len() < leafMax {
		l.insert(pos, r)
		return
	}
	if pos == leafMax && leaf == len(s.leaves)-1 {
		// Keys that come in order fill each leaf before the next.
		s.insertLeaf(leaf+1, separator(s.at(l.ref(leafMax-1)).key(), key)).insert(0, r)
		return
	}
	const half = leafMax / 2
	right := s.insertLeaf(leaf+1, separator(s.at(l.ref(half-1)).key(), s.at(l.ref(half)).key()))
	right.takeFrom(l, half)
	// A key that belongs exactly between the halves goes to the side that the
	// separator says.
	if s.leafOf(key) == leaf {
		l.insert(pos, r)
	} else {
		right.insert(pos-half, r)
	}
}

// unindex removes the key, whose record is r, from the order. It joins a leaf
// that is a quarter full with a neighbour if both fit well into one.
func (s *store) unindex(key []byte, r ref) {
	leaf := s.leafOf(key)
	l := s.ownLeaf(leaf)
	l.remove(l.position(r))
	n := l.len()
	if n > leafMax/4 || len(s.leaves) == 1 {
		return
	}
	const joinMax = leafMax * 3 / 4 // so that the next insert does not split again
	// An empty leaf is joined with any neighbour: a search must not end in one.
	if leaf+1 < len(s.leaves) && (n == 0 || n+s.leaf(leaf+1).len() <= joinMax) {
		s.join(leaf)
	} else if leaf > 0 && (n == 0 || s.leaf(leaf-1).len()+n <= joinMax) {
		s.join(leaf - 1)
	}
}

// listRoomMax is how many times as long as it need be the memory of the list of leaves is.
const listRoomMax = 4

// join moves the records of leaf i+1 to leaf i.
func (s *store) join(i int) {
	l, other, gone := s.ownLeaf(i), s.leaf(i+1), s.leaves[i+1].ref
	n := l.len()
	copy(l.refs(n, n+other.len()), other.refs(0, other.len()))
	l.setLen(n + other.len())
	s.kill(gone, leafSize)
	s.ownTop()
	from, to := s.leaves[i].end, s.leaves[i+1].end
	s.leaves = slices.Delete(s.leaves, i+1, i+2)
	s.seps = slices.Delete(s.seps, int(from), int(to))
	for j := i + 1; j < len(s.leaves); j++ {
		s.leaves[j].end -= to - from
	}
	if cap(s.leaves) > listRoomMax*len(s.leaves) {
		s.leaves, s.seps = slices.Clone(s.leaves), slices.Clone(s.seps)
	}
}

// insertLeaf adds an empty leaf as number i.
func (s *store) insertLeaf(i int, sep []byte) leaf {
	s.ownTop()
	r := s.alloc(leafSize)
	l := s.leafAt(r)
	l.make(s.epoch)
	from := uint32(0)
	if i > 0 {
		from = s.leaves[i-1].end
	}
	s.leaves = slices.Insert(s.leaves, i, child{r, from})
	s.seps = slices.Insert(s.seps, int(from), sep...)
	for j := i; j < len(s.leaves); j++ {
		s.leaves[j].end += uint32(len(sep))
	}
	return l
}
