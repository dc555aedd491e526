package shardmap

import (
	"fmt"
	"slices"
)

// Records lie in chunks: byte slices without pointers, so the garbage collector
// has nothing to scan. A ref leads to a record: the chunk's number and the
// offset in it. New records go to the end of one chunk, the tail; the first that
// does not fit closes it. A record of more than an eighth of a new
// chunk gets a chunk of its own size.
//
// # The most that is wasted
//
// A closed chunk has dead bytes: records that were overwritten or deleted, and
// the end that the next record did not fit in. When these are more than a
// quarter of all closed chunks, the chunk with the largest dead part is
// emptied: its live records move to the tail. A tail is a sixteenth of its
// slot when it is opened. Once it is more than a quarter, because the
// slot has shrunk, it is closed. So the chunks of a slot are at most 16/9 of its
// live records, and commonly 1.1 of them, or [chunkMin] more. Emptying always
// gains: the moved part is below 3/4 of the chunk, and fills new chunks to 7/8.
//
// # Copies
//
// A copy sees the chunks as they were. The writer never changes bytes of a chunk
// that was opened before the copy, while the copy may be read. Appending to the
// tail is harmless, because no ref of the copy leads there.
const (
	chunkMin = 2 << 10  // the first chunk of a slot; 4096 of them are 8 MiB
	chunkMax = 64 << 10 // what a ref's offset can address, and the most that one emptying moves

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
	used  uint32 // bytes from the start that hold records; in a closed chunk the rest is dead
	dead  uint32 // bytes that no record in the index uses
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
	next := int(min(max(s.size/16, chunkMin), chunkMax))
	if size > next/8 {
		return makeRef(s.openChunk(size, size), 0)
	}
	s.closeTail()
	s.tail = s.openChunk(next, size)
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

// tidy keeps the bound on dead bytes; each change calls it. Chunks
// that it fills are at most an eighth dead and need no second visit, so there are
// no more visits than chunks.
func (s *store) tidy() {
	for range len(s.chunks) + 2 {
		// Emptying makes the slot smaller, and the tail a larger part of it.
		if s.tail >= 0 {
			if n := int64(len(s.bufs[s.tail])); n > chunkMin && n > s.size/4 {
				s.closeTail()
			}
		}
		if s.dead <= s.closed()/4 {
			return
		}
		s.emptyWorst()
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
	if worst < 0 {
		return
	}
	// The chunk is walked from its start, and not by the index, so that all of
	// it is visited. A record lives if the lookup leads to this very ref: an
	// overwritten one has the same key, but another ref.
	buf, used := s.bufs[worst], int(s.chunks[worst].used)
	for at := 0; at < used; {
		rec, r := record(buf[at:]), makeRef(worst, at)
		size := rec.size()
		at += size
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
