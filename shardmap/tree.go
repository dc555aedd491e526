package shardmap

import (
	"slices"

	"github.com/cespare/xxhash/v2"

	"muster/raft"
)

// store is one slot's records, for their one writer. Its owner locks.
//
// What was made before the newest copy that is still out, by epoch, is shared:
// it is replaced, never changed.
type store struct {
	view
	slab
	count int
	bytes int64  // in keys and values
	sum   uint64 // Invariant: the sum of the records' hashes

	epoch      uint64 // counts copies
	shared     uint64 // what is of an earlier epoch may be seen by a copy; 0: nothing is
	copies     int    // that are out
	topShared  bool   // leaves, ends, seps
	bufsShared bool
}

func newStore() store { return store{slab: slab{tail: -1}} }

func hashKey(key []byte) uint64 { return xxhash.Sum64(key) }

// copyView returns the records as they are now, in O(1).
func (s *store) copyView() view {
	s.epoch++
	s.shared = s.epoch
	s.copies++
	s.topShared, s.bufsShared = true, true
	return s.view
}

// releaseView takes note that the owner of a copy is done with it. A copy that
// is never released costs memory for what it holds, and its slot some copying.
func (s *store) releaseView() {
	if s.copies--; s.copies == 0 {
		s.shared, s.topShared, s.bufsShared = 0, false, false
	}
}

func (s *store) get(key []byte, hash uint64) record {
	leaf, pos, found := s.find(key, hash)
	if !found {
		return nil
	}
	return s.at(s.leaves[leaf].refs[pos])
}

// put sets key to value.
func (s *store) put(key, value []byte, hash, version uint64, expire raft.GroupTime) {
	size := recordSize(len(key), len(value))
	leaf, pos, found := s.find(key, hash)
	if !found {
		r := s.alloc(size)
		s.sum += s.at(r).write(key, value, version, expire)
		s.count++
		s.bytes += int64(len(key) + len(value))
		s.index(leaf, key, tagOf(hash), r)
		s.tidy()
		return
	}
	r := s.leaves[leaf].refs[pos]
	old := s.at(r)
	s.sum -= old.hash()
	s.bytes += int64(len(value) - old.valueLen())
	oldSize := old.size()
	if oldSize == size && s.chunks[r.chunk()].epoch >= s.shared {
		s.sum += old.write(key, value, version, expire)
		return
	}
	moved := s.alloc(size)
	s.sum += s.at(moved).write(key, value, version, expire)
	s.ownLeaf(leaf).refs[pos] = moved
	s.kill(r, oldSize)
	s.tidy()
}

// del removes key and says whether it was there.
func (s *store) del(key []byte, hash uint64) bool {
	leaf, pos, found := s.find(key, hash)
	if !found {
		return false
	}
	r := s.leaves[leaf].refs[pos]
	old := s.at(r)
	s.sum -= old.hash()
	s.count--
	s.bytes -= int64(old.keyLen() + old.valueLen())
	if s.count == 0 {
		s.clear()
		return true
	}
	size := old.size()
	s.unindex(leaf, pos)
	s.kill(r, size)
	s.tidy()
	return true
}

// clear forgets all chunks and leaves. What a copy sees stays with the copy.
func (s *store) clear() {
	s.view, s.slab = view{}, slab{tail: -1}
	s.topShared, s.bufsShared = false, false
}

// ownLeaf returns leaf i for writing.
func (s *store) ownLeaf(i int) *leaf {
	l := s.leaves[i]
	if l.epoch >= s.shared {
		return l
	}
	own := *l
	own.epoch = s.epoch
	s.ownTop()
	s.leaves[i] = &own
	return &own
}

// ownTop makes the list of leaves the writer's own: the first write after a
// copy pays some 20 bytes per leaf, 300 KB in a slot of a million keys.
func (s *store) ownTop() {
	if s.topShared {
		s.leaves, s.ends, s.seps = slices.Clone(s.leaves), slices.Clone(s.ends), slices.Clone(s.seps)
		s.topShared = false
	}
}

// index leads key to r; leaf is where it belongs.
func (s *store) index(leaf int, key []byte, tag uint8, r ref) {
	if len(s.leaves) == 0 {
		s.insertLeaf(0, nil)
	}
	l := s.ownLeaf(leaf)
	pos := s.lower(l, key)
	if l.n < leafMax {
		l.insert(pos, tag, r)
		return
	}
	if pos == leafMax && leaf == len(s.leaves)-1 {
		// Keys that come in order fill each leaf before the next.
		s.insertLeaf(leaf+1, separator(s.at(l.refs[leafMax-1]).key(), key)).insert(0, tag, r)
		return
	}
	const half = leafMax / 2
	right := s.insertLeaf(leaf+1, separator(s.at(l.refs[half-1]).key(), s.at(l.refs[half]).key()))
	right.takeFrom(l, half)
	// A key that goes exactly between the halves is on the side that the
	// separator says.
	if s.leafOf(key) == leaf {
		l.insert(pos, tag, r)
	} else {
		right.insert(pos-half, tag, r)
	}
}

// unindex removes the record at pos from its leaf. Leaves that are a quarter
// full are joined with a neighbour if both fit well into one.
func (s *store) unindex(leaf, pos int) {
	l := s.ownLeaf(leaf)
	l.remove(pos)
	if l.n > leafMax/4 || len(s.leaves) == 1 {
		return
	}
	const joinMax = leafMax * 3 / 4 // so that the next insert does not split again
	if leaf+1 < len(s.leaves) && l.n+s.leaves[leaf+1].n <= joinMax {
		s.join(leaf)
	} else if leaf > 0 && s.leaves[leaf-1].n+l.n <= joinMax {
		s.join(leaf - 1)
	}
}

// join moves the records of leaf i+1 to leaf i.
func (s *store) join(i int) {
	s.ownLeaf(i).takeFrom(s.ownLeaf(i+1), 0)
	s.ownTop()
	from, to := s.ends[i], s.ends[i+1]
	s.leaves = slices.Delete(s.leaves, i+1, i+2)
	s.ends = slices.Delete(s.ends, i+1, i+2)
	s.seps = slices.Delete(s.seps, int(from), int(to))
	for j := i + 1; j < len(s.ends); j++ {
		s.ends[j] -= to - from
	}
}

// insertLeaf adds an empty leaf as number i.
func (s *store) insertLeaf(i int, sep []byte) *leaf {
	s.ownTop()
	l := &leaf{epoch: s.epoch}
	from := uint32(0)
	if i > 0 {
		from = s.ends[i-1]
	}
	s.leaves = slices.Insert(s.leaves, i, l)
	s.ends = slices.Insert(s.ends, i, from)
	s.seps = slices.Insert(s.seps, int(from), sep...)
	for j := i; j < len(s.ends); j++ {
		s.ends[j] += uint32(len(sep))
	}
	return l
}
