package main

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"

	"muster/docs/compare/load"
)

// table is one flat hash table over records of one size, without pointers, so
// the collector has nothing to look at. It does not grow.
//
// A slot holds the upper half of a key's hash and the number of its record, from
// 1; 0 is a free slot. A record is index (8), key, value.
type table struct {
	slots   []uint64 // a power of two
	records []byte
	used    uint64
	most    uint64
	touched byte // what touch reads ends here, so that it is not left out
}

const (
	// valueBytes is the only length of a value that the table has room for.
	valueBytes  = 128
	recordHead  = 8
	recordBytes = recordHead + load.KeyBytes + valueBytes
	numberMask  = 1<<32 - 1
)

// newTable returns a table for at most so many keys. A quarter to a half of the
// slots is used then.
func newTable(keys int) *table {
	slots := 64
	for slots < 2*keys {
		slots *= 2
	}
	return &table{slots: make([]uint64, slots), records: make([]byte, (keys+1)*recordBytes), most: uint64(keys)}
}

func (t *table) record(number uint64) []byte {
	return t.records[number*recordBytes : (number+1)*recordBytes]
}

// find returns the slot where the key is or would be, and its record, or nil.
func (t *table) find(hash uint64, key []byte) (slot uint64, record []byte) {
	mask := uint64(len(t.slots) - 1)
	for slot = hash & mask; ; slot = (slot + 1) & mask {
		s := t.slots[slot]
		if s == 0 {
			return slot, nil
		}
		if s>>32 == hash>>32 {
			r := t.record(s & numberMask)
			if string(r[recordHead:recordHead+load.KeyBytes]) == string(key) {
				return slot, r
			}
		}
	}
}

func (t *table) put(index uint64, key, value []byte) error {
	if len(value) != valueBytes {
		return fmt.Errorf("a value of %d bytes; there is room for %d", len(value), valueBytes)
	}
	hash := xxhash.Sum64(key)
	slot, r := t.find(hash, key)
	if r == nil {
		if t.used == t.most {
			return fmt.Errorf("more than %d keys", t.most)
		}
		t.used++
		t.slots[slot] = hash&^numberMask | t.used
		r = t.record(t.used)
		copy(r[recordHead:], key)
	}
	binary.LittleEndian.PutUint64(r, index)
	copy(r[recordHead+load.KeyBytes:], value)
	return nil
}

// get returns the value of a key, valid until the next put, or nil.
func (t *table) get(key []byte) []byte {
	_, r := t.find(xxhash.Sum64(key), key)
	if r == nil {
		return nil
	}
	return r[recordHead+load.KeyBytes:]
}

// touchAhead is how many keys are touched at a time: enough for their waits for
// memory to overlap, few enough for what they load to stay in the cache.
const touchAhead = 64

// touch loads what the keys will need, step by step for all of them, so that
// their waits for memory overlap. There are at most touchAhead.
func (t *table) touch(keys [][]byte) {
	var slots [touchAhead]uint64
	mask := uint64(len(t.slots) - 1)
	for i, k := range keys {
		slots[i] = t.slots[xxhash.Sum64(k)&mask]
	}
	for _, s := range slots[:len(keys)] {
		r := t.record(s & numberMask) // of a free slot: record 0, which nobody has
		t.touched += r[0] + r[64] + r[128]
	}
}
