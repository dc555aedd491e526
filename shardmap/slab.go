package shardmap

import (
	"fmt"
	"slices"
)

// Records lie in chunks, and leaves among them: byte slices without pointers, so the
// garbage collector has nothing to scan, and little to mark. A ref leads to a record or
// leaf: the chunk's number and the offset in it. New ones go to the end of one chunk, the
// tail; the first that does not fit closes it. One of more than an eighth of a new
// chunk gets a chunk of its own size. What follows counts leaves as records.
//
// # The most that is wasted
//
// A closed chunk has dead bytes: records that were overwritten or deleted, and
// the end that the next record did not fit in. When these are more than a
// quarter of all closed chunks, the chunk with the largest dead part is
// emptied: its live records move to the tail. A tail is a sixteenth of its
// slot when it is opened, or up to an eighth of a large one. Once it is more than a quarter, because the
// slot has shrunk, it is closed. So the chunks of a slot are at most 16/9 of its
// live records, and commonly 1.1 of them, or [chunkMin] more. Emptying always
// gains: the moved part is below 3/4 of the chunk, and fills new chunks to 7/8.
//
// # The most that is marked
//
// The collector visits each chunk, and waits for memory at most of them: 2,500 keys lay in
// 57 chunks and 30 leaves, each an object, and ten million keys took it 100 ms of processor
// time. The first chunks of a slot are small for what it becomes. So when a tail is opened,
// some of those that are less than half as large are emptied into it. A slot then has some
// 20 chunks, and less than twice as many, until they are of [chunkMax].
//
// # Copies
//
// A copy sees the chunks as they were. The writer never changes bytes of a chunk
// that was opened before the copy, while the copy may be read. Appending to the
// tail is harmless, because no ref of the copy leads there.
const (
	chunkMin = 2 << 10  // the first chunk of a slot; 4096 of them are 8 MiB
	chunkMax = 64 << 10 // what a ref's offset can address, and the most that one emptying moves

	// chunkBend is where a tail becomes more than a sixteenth of its slot, in bytes: on its way
	// to an eighth. The collector marks chunks one by one, and it is large slots that make up
	// large nodes.
	chunkBend = 8 << 10

	// freeSlack is how many numbers without a chunk there may be, beside as many as with one.
	freeSlack = 2

	// chunksRoomMax is how many times as long as they need be the memory of the lists of chunks is:
	// 44 bytes for each, and 4,096 slots have a few.
	chunksRoomMax = 2

	mergeLook = 16 // chunks that are looked at when a tail was opened; sixteen tails fill a slot

	refOffsetBits = 13                        // offsets are multiples of 8 bytes, below chunkMax
	chunksMax     = 1<<(32-refOffsetBits) - 1 // so that the last ref is free, see lookup
)

// ref is where a record lies: chunk number << 13 | offset / 8.
type ref uint32

func (r ref) chunk() int  { return int(r >> refOffsetBits) }
func (r ref) offset() int { return int(r&(1<<refOffsetBits-1)) * 8 }

func makeRef(chunk, offset int) ref { return ref(chunk<<refOffsetBits | offset/8) }

// chunk is what only the writer knows of a chunk.
type chunk struct {
	used  uint32 // bytes from the start that hold records and leaves; in a closed chunk the rest is dead
	dead  uint32 // bytes that no record in the index uses, and no leaf
	epoch uint64 // of the store, when it was opened
}

// slab is the records of one slot as their writer sees them; the bytes
// themselves are in the store's view.
type slab struct {
	chunks []chunk  // same numbers as view.bufs
	free   []uint32 // numbers without a chunk
	tail   int      // number of the chunk that is not closed; -1: none
	size   int64    // bytes of all chunks
	dead   int64    // bytes that are dead in closed chunks
}

// alloc makes room for a record of size bytes, a multiple of 8.
func (s *store) alloc(size int) ref {
	if s.tail >= 0 {
		if at := int(s.chunks[s.tail].used); at+size <= len(s.bufs[s.tail]) {
			s.chunks[s.tail].used += uint32(size)
			return makeRef(s.tail, at)
		}
	}
	next := int(min(max(s.size/16, s.size/8-chunkBend, chunkMin), chunkMax))
	if size > next/8 {
		return makeRef(s.openChunk(size, size), 0)
	}
	s.closeTail()
	s.tail, s.opened = s.openChunk(next, size), true
	return makeRef(s.tail, 0)
}

// openChunk adds a chunk of at least size bytes of which used are taken.
func (s *store) openChunk(size, used int) int {
	buf := slices.Grow([]byte(nil), size) // rounds up to the allocator's size
	if size <= chunkMax {
		buf = buf[:min(cap(buf)&^7, chunkMax)]
	} else {
		buf = buf[:size]
	}
	if used == size {
		buf = buf[:size:size]
	}
	c := chunk{used: uint32(used), epoch: s.epoch}
	s.size += int64(len(buf))
	if n := len(s.free); n > 0 {
		i := int(s.free[n-1])
		s.free = s.free[:n-1]
		s.ownBufs()
		s.bufs[i], s.chunks[i] = buf, c
		return i
	}
	if len(s.chunks) == chunksMax {
		panic(fmt.Sprintf("shardmap: a slot has %d chunks, which hold 4 GiB at least; no more can be addressed", chunksMax))
	}
	s.bufs = append(s.bufs, buf) // beyond the end of what any copy sees
	s.chunks = append(s.chunks, c)
	return len(s.chunks) - 1
}

func (s *store) closeTail() {
	if s.tail < 0 {
		return
	}
	c := &s.chunks[s.tail]
	c.dead += uint32(len(s.bufs[s.tail])) - c.used
	s.dead += int64(c.dead)
	i := s.tail
	s.tail = -1
	if c.dead == uint32(len(s.bufs[i])) {
		s.dropChunk(i)
	}
}

// dropChunk forgets a closed chunk without living records.
func (s *store) dropChunk(i int) {
	s.size -= int64(len(s.bufs[i]))
	s.dead -= int64(s.chunks[i].dead)
	s.ownBufs()
	s.bufs[i], s.chunks[i] = nil, chunk{}
	s.free = append(s.free, uint32(i))
}

// ownBufs makes the list of chunks the writer's own. A copy costs its first
// writer 24 bytes per chunk here, 64 KiB or a sixteenth of the slot each.
func (s *store) ownBufs() {
	if s.bufsShared {
		s.bufs = slices.Clone(s.bufs)
		s.bufsShared = false
	}
}

// tidy keeps the bounds; each change calls it. Chunks
// that it fills are at most an eighth dead and need no second visit, so there are
// no more visits than chunks.
func (s *store) tidy() {
	if s.opened {
		s.merge()
	}
	for range len(s.chunks) + 2 {
		// Emptying makes the slot smaller, and the tail a larger part of it.
		if s.tail >= 0 {
			if n := int64(len(s.bufs[s.tail])); n > chunkMin && n > s.size/4 {
				s.closeTail()
			}
		}
		if s.dead <= s.closed()/4 {
			break
		}
		s.emptyWorst()
	}
	for len(s.free) > len(s.chunks)/2+freeSlack {
		s.renumberLast() // which makes both less by one at least
	}
}

// kill counts the record at r as dead; the index no longer leads to it.
func (s *store) kill(r ref, size int) {
	i := r.chunk()
	s.chunks[i].dead += uint32(size)
	if i == s.tail {
		return
	}
	s.dead += int64(size)
	if int(s.chunks[i].dead) == len(s.bufs[i]) {
		s.dropChunk(i)
	}
}

func (s *store) closed() int64 {
	if s.tail < 0 {
		return s.size
	}
	return s.size - int64(len(s.bufs[s.tail]))
}

// emptyWorst moves the live records of the chunk with the largest dead part to the
// tail. It looks at every chunk of the slot, once for each quarter of a chunk that
// has died: some 20 in a small slot, 16,000 in one of 1 GiB.
func (s *store) emptyWorst() {
	worst, part := -1, 0.0
	for i := range s.chunks {
		if i == s.tail || s.bufs[i] == nil {
			continue
		}
		if p := float64(s.chunks[i].dead) / float64(len(s.bufs[i])); p > part {
			worst, part = i, p
		}
	}
	if worst >= 0 {
		s.empty(worst)
	}
}

// merge empties chunks that have become small for their slot, into a tail that was opened:
// half a tail of them at most, so that a slot pays for its growth by moving each record
// once while it doubles. It looks at a few chunks each time.
func (s *store) merge() {
	s.opened = false
	if s.tail < 0 {
		return
	}
	tail := len(s.bufs[s.tail])
	left := tail / 2
	for range min(mergeLook, len(s.chunks)) {
		if s.hand++; int(s.hand) >= len(s.chunks) {
			s.hand = 0
		}
		i := int(s.hand)
		n := len(s.bufs[i])
		if n == 0 || n > left || i == s.tail || n > tail/8 && itemSize(s.bufs[i]) == n {
			continue // what has a chunk of its own for its size would get another one
		}
		left -= n
		s.empty(i)
	}
}

// renumberLast gives the chunk with the highest number the lowest one that is free, and makes
// the lists of chunks as short as they can be. In a slot that once had many chunks the lists
// would else take more than the records. It copies no record, and changes what leads to those of
// one chunk.
func (s *store) renumberLast() {
	s.ownBufs() // first: what is cut off a list that a copy sees would be written over
	s.truncate()
	if len(s.free) == 0 {
		return
	}
	from, at := len(s.chunks)-1, 0
	for i, n := range s.free {
		if n < s.free[at] {
			at = i
		}
	}
	to := int(s.free[at])
	s.free[at] = s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	buf := s.bufs[from]
	s.bufs[to], s.chunks[to] = buf, s.chunks[from]
	if s.tail == from {
		s.tail = to
	}
	for i := range s.leaves {
		if r := s.leaves[i].ref; r.chunk() == from {
			s.ownTop()
			s.leaves[i].ref = makeRef(to, r.offset())
		}
	}
	// The buffer has both numbers meanwhile: a leaf that is changed here leads to records by
	// either.
	for at, used := 0, int(s.chunks[to].used); at < used; {
		rec, r := record(buf[at:]), makeRef(from, at)
		at += itemSize(rec)
		if rec.kind() == kindLeaf {
			continue
		}
		if i, lives := s.lookup.position(tagOf(hashKey(rec.key())), r); lives {
			s.move(i, rec.key(), makeRef(to, r.offset()))
		}
	}
	s.bufs[from], s.chunks[from] = nil, chunk{}
	s.free = append(s.free, uint32(from))
	s.truncate()
}

// truncate cuts numbers without a chunk off the end of the lists of chunks, which are the
// writer's own.
func (s *store) truncate() {
	n := len(s.chunks)
	for n > 0 && s.bufs[n-1] == nil {
		n--
	}
	if n == len(s.chunks) {
		return
	}
	s.bufs, s.chunks = s.bufs[:n], s.chunks[:n]
	s.free = slices.DeleteFunc(s.free, func(f uint32) bool { return int(f) >= n })
	if cap(s.bufs) > chunksRoomMax*n {
		s.bufs, s.chunks, s.free = slices.Clone(s.bufs), slices.Clone(s.chunks), slices.Clone(s.free)
	}
}

// itemSize returns the bytes that the first record or leaf of a chunk takes.
func itemSize(buf []byte) int {
	if rec := record(buf); rec.kind() != kindLeaf {
		return rec.size()
	}
	return leafSize
}

// empty moves what lives in a closed chunk to the tail, [chunkMax] bytes at most.
func (s *store) empty(number int) {
	buf, used := s.bufs[number], int(s.chunks[number].used)
	for i := range s.leaves {
		if s.leaves[i].ref.chunk() == number {
			s.moveLeaf(i)
		}
	}
	// The chunk is walked from its start, and not by the index, so that all of
	// it is visited. A record lives if the lookup leads to this very ref: an
	// overwritten one has the same key, but another ref.
	for at := 0; at < used; {
		rec, r := record(buf[at:]), makeRef(number, at)
		size := itemSize(rec)
		if at += size; rec.kind() == kindLeaf {
			continue
		}
		i, lives := s.lookup.position(tagOf(hashKey(rec.key())), r)
		if !lives {
			continue
		}
		moved := s.alloc(size)
		copy(s.at(moved)[:size], rec[:size])
		s.move(i, rec.key(), moved)
		s.kill(r, size)
	}
}
