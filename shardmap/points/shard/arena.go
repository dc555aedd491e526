package shard

import (
	"fmt"
	"unsafe"
)

// arena is a list in pieces, none of which moves when it grows: a reader that copied the arena finds all that was there
// then, while one goroutine goes on adding. Its elements stay until all of it goes.
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
const firstPiece = 1 << 5

// add makes room for n elements, which are zero, and fewer than 1<<shift.
func (a *arena[T]) add(n int) (at uint32, room []T) {
	last := len(a.pieces) - 1
	if last < 0 || a.used+n > len(a.pieces[last]) {
		if last++; uint64(last)>>(32-a.shift) != 0 || n >= 1<<a.shift {
			panic(fmt.Sprintf("shard: a head of %d pieces takes %d more elements; the owner freezes it before it has a GiB", last, n))
		}
		a.used = 0
		if last == 0 {
			a.used = 1 // so that no address is 0
		}
		a.pieces = append(a.pieces, make([]T, min(max(firstPiece<<min(last, 32), a.used+n), 1<<a.shift)))
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
	// slots have hash<<32 | number, by hash and then in the next free one; 0 is free; a power of two of them. With the
	// hash most others are told apart without a look at what they stand for, and all can be placed anew.
	slots []uint64
	n     int
}

// find returns the number with a hash that is the wanted one; 0: there is none.
func (t *table) find(hash uint32, wanted func(uint32) bool) uint32 {
	if len(t.slots) == 0 {
		return 0
	}
	for at := hash; ; at++ {
		slot := t.slots[at&uint32(len(t.slots)-1)]
		if slot == 0 || uint32(slot>>32) == hash && wanted(uint32(slot)) {
			return uint32(slot)
		}
	}
}

// add adds a number. At most seven of eight slots are taken; where there are more, all are placed anew.
func (t *table) add(hash, n uint32) {
	if (t.n+1)*8 > len(t.slots)*7 {
		before := t.slots
		t.slots = make([]uint64, max(16, 2*len(before)))
		for _, slot := range before {
			if slot != 0 {
				t.place(slot)
			}
		}
	}
	t.n++
	t.place(uint64(hash)<<32 | uint64(n))
}

func (t *table) place(slot uint64) {
	at := uint32(slot >> 32)
	for t.slots[at&uint32(len(t.slots)-1)] != 0 {
		at++
	}
	t.slots[at&uint32(len(t.slots)-1)] = slot
}

// replace puts a number in the place of another one with its hash.
func (t *table) replace(hash, before, n uint32) {
	at := hash
	for t.slots[at&uint32(len(t.slots)-1)] != uint64(hash)<<32|uint64(before) {
		at++
	}
	t.slots[at&uint32(len(t.slots)-1)] = uint64(hash)<<32 | uint64(n)
}

func (t *table) bytes() int64 { return int64(8 * len(t.slots)) }
