package points

import (
	"bytes"
	"hash/maphash"

	"muster/shardmap/points/column"
)

// dictionary numbers names from 0, in the order in which they were added. The names themselves are in
// a text that the owner keeps and hands in. It has no pointers, and costs a collector nothing.
//
// It places names by a seeded hash: with one that is known a writer could send names that all collide,
// and each would be compared with all before it. The seed decides no number.
type dictionary struct {
	seed  maphash.Seed
	names []entry
	slots []uint32 // numbers + 1, by hash and then in the next free one; 0 is free; a power of two of them
}

// entry is where a name stands in the text.
type entry struct {
	parent uint32 // what the name belongs to; equal names of two parents are two
	from   uint32
	length uint16      // KeyMax at most
	kind   column.Kind // of a field's values; 0 before the first, and for what is no field
}

func (e entry) in(text []byte) []byte { return text[e.from:][:e.length:e.length] }

// slotsMin is with how many slots a dictionary begins.
const slotsMin = 64

func (d *dictionary) hash(parent uint32, name []byte) uint32 {
	return uint32(maphash.Bytes(d.seed, name)>>16) ^ parent*0x9e3779b1 // an odd number near 2^32/phi: parents spread
}

// find returns the number of a name of a parent, and reports whether it is there.
func (d *dictionary) find(text []byte, hash, parent uint32, name []byte) (uint32, bool) {
	if len(d.slots) == 0 {
		return 0, false
	}
	for at := hash; ; at++ {
		number := d.slots[at&uint32(len(d.slots)-1)]
		if number == 0 {
			return 0, false
		}
		e := d.names[number-1]
		if e.parent == parent && bytes.Equal(e.in(text), name) {
			return number - 1, true
		}
	}
}

// add numbers a name that is not there, and stands in the text.
func (d *dictionary) add(text []byte, hash uint32, e entry) uint32 {
	if len(d.names) == cap(d.names) {
		d.room(text, max(8, 2*len(d.names)))
	}
	d.names = append(d.names, e)
	d.place(hash, uint32(len(d.names)-1))
	return uint32(len(d.names) - 1)
}

// room makes room for n names in all. At most seven of eight slots are taken.
func (d *dictionary) room(text []byte, n int) {
	d.names = reserve(d.names, n)
	slots := max(slotsMin, len(d.slots))
	for slots*7/8 < cap(d.names) {
		slots *= 2
	}
	if slots == len(d.slots) {
		return
	}
	d.slots = make([]uint32, slots)
	for i, e := range d.names {
		d.place(d.hash(e.parent, e.in(text)), uint32(i))
	}
}

func (d *dictionary) place(hash, number uint32) {
	at := hash
	for d.slots[at&uint32(len(d.slots)-1)] != 0 {
		at++
	}
	d.slots[at&uint32(len(d.slots)-1)] = number + 1
}

// truncate takes out all names from number n on, the newest first. Nothing was placed after the
// newest, even where all were placed anew, so none was pushed on by it and its slot can become free.
func (d *dictionary) truncate(text []byte, n int) {
	for len(d.names) > n {
		last := uint32(len(d.names))
		e := d.names[last-1]
		at := d.hash(e.parent, e.in(text))
		for d.slots[at&uint32(len(d.slots)-1)] != last {
			at++
		}
		d.slots[at&uint32(len(d.slots)-1)] = 0
		d.names = d.names[:last-1]
	}
}

// reset takes out all names, and keeps the memory. After a large batch there are many slots, and a small one
// does not pay for all of them.
func (d *dictionary) reset(text []byte) {
	if len(d.names) < len(d.slots)/16 {
		d.truncate(text, 0)
		return
	}
	d.names = d.names[:0]
	clear(d.slots)
}

// push appends to a list that doubles when it is full: append's quarter would allocate five times what
// is there in the end, in place of twice.
func push[T any](list []T, v T) []T {
	if len(list) == cap(list) {
		list = reserve(list, max(8, 2*cap(list)))
	}
	return append(list, v)
}

// reserve returns the list with room for n in all, exactly if it must be made anew.
func reserve[T any](list []T, n int) []T {
	if n <= cap(list) {
		return list
	}
	return append(make([]T, 0, n), list...)
}

// sized returns the list with n elements, of which nothing is known.
func sized[T any](list []T, n int) []T { return reserve(list[:0], n)[:n] }
