package shard

import (
	"fmt"
	"unsafe"
)

// arena is a list in pieces, none of which moves when it grows: a reader that copied the arena finds all that was there
// then, while one goroutine goes on adding. What it gives out stays until all of it goes.
//
// An address is the number of a piece and a place in it. 0 is no address.
type arena[T any] struct {
	pieces [][]T // each with its whole length
	used   int   // of the last piece
	shift  uint  // the bits of a place: a piece has at most 1<<shift elements
	size   int64 // of all pieces, in bytes
}

// firstPiece is how many elements the first piece has: most heads stay small. Each piece is twice as long as the one
// before, up to 1<<shift.
const firstPiece = 1 << 8

// add makes room for n elements, which are zero, and at most 1<<shift.
func (a *arena[T]) add(n int) (at uint32, room []T) {
	last := len(a.pieces) - 1
	if last < 0 || a.used+n > len(a.pieces[last]) {
		if last++; uint64(last)>>(32-a.shift) != 0 || n > 1<<a.shift {
			panic(fmt.Sprintf("shard: a head of %d pieces takes %d more elements; the owner freezes it before it has HeadMax bytes", last, n))
		}
		a.pieces = append(a.pieces, make([]T, min(max(firstPiece<<min(last, 32), n), 1<<a.shift)))
		a.used = 0
		if last == 0 {
			a.used = min(1, len(a.pieces[0])-n) // so that no address is 0
		}
		var element T
		a.size += int64(len(a.pieces[last])) * int64(unsafe.Sizeof(element))
	}
	from := a.used
	a.used += n
	return uint32(last)<<a.shift | uint32(from), a.pieces[last][from:a.used:a.used]
}

// at returns the element of an address.
func (a *arena[T]) at(at uint32) *T { return &a.pieces[at>>a.shift][at&(1<<a.shift-1)] }

// from returns n elements from an address on, which were added together.
func (a *arena[T]) from(at uint32, n int) []T {
	from := int(at & (1<<a.shift - 1))
	return a.pieces[at>>a.shift][from : from+n : from+n]
}

// table finds numbers by their hash. A number is not 0, and what it stands for is elsewhere.
type table struct {
	slots []uint32 // by hash, and then in the next free one; 0 is free; a power of two of them
	n     int
}

// find returns the number with a hash that is the wanted one; 0: there is none.
func (t *table) find(hash uint32, wanted func(uint32) bool) uint32 {
	if len(t.slots) == 0 {
		return 0
	}
	for at := hash; ; at++ {
		n := t.slots[at&uint32(len(t.slots)-1)]
		if n == 0 || wanted(n) {
			return n
		}
	}
}

// add adds a number. At most seven of eight slots are taken; where there are more, all are placed anew, which for a
// million takes some 0.1 s.
func (t *table) add(hash, n uint32, hashOf func(uint32) uint32) {
	if (t.n+1)*8 > len(t.slots)*7 {
		before := t.slots
		t.slots = make([]uint32, max(16, 2*len(before)))
		for _, n := range before {
			if n != 0 {
				t.place(hashOf(n), n)
			}
		}
	}
	t.n++
	t.place(hash, n)
}

func (t *table) place(hash, n uint32) {
	for t.slots[hash&uint32(len(t.slots)-1)] != 0 {
		hash++
	}
	t.slots[hash&uint32(len(t.slots)-1)] = n
}

// replace puts a number in the place of another one with its hash.
func (t *table) replace(hash, before, n uint32) {
	for t.slots[hash&uint32(len(t.slots)-1)] != before {
		hash++
	}
	t.slots[hash&uint32(len(t.slots)-1)] = n
}

func (t *table) bytes() int64 { return int64(4 * len(t.slots)) }
