package shardmap

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// Slots is the number of slots of a cluster. It never changes: each key's slot
// follows from it, and a slot is what moves between groups.
const Slots = 4096

// Slot is one of the [Slots] parts of the key space.
type Slot uint16

// SlotByServer stands in a request for a slot that the client
// cannot compute; the node that accepts the request computes it with [SlotOf].
const SlotByServer Slot = 65535

// SlotOf returns the slot of a key: xxhash64 of the key's tag, modulo [Slots].
// The tag is what stands between the first { and the next } if that is not
// empty, else the whole key; keys with one tag can change together.
func SlotOf(key []byte) Slot { return Slot(xxhash.Sum64(tag(key)) % Slots) }

// tag returns the part of key that decides its slot.
func tag(key []byte) []byte {
	open := bytes.IndexByte(key, '{')
	if open < 0 {
		return key
	}
	if n := bytes.IndexByte(key[open+1:], '}'); n > 0 {
		return key[open+1 : open+1+n]
	}
	return key
}

// locate returns key's slot and its hash; most keys have no tag, and then one
// pass over the key gives both.
func locate(key []byte) (Slot, uint64) {
	h := xxhash.Sum64(key)
	if t := tag(key); len(t) < len(key) {
		return Slot(xxhash.Sum64(t) % Slots), h
	}
	return Slot(h % Slots), h
}

// SlotOfPrefix returns the one slot that all keys with this prefix are in, if
// the prefix holds a whole tag.
func SlotOfPrefix(prefix []byte) (Slot, bool) {
	if t := tag(prefix); len(t) < len(prefix) {
		return SlotOf(prefix), true
	}
	return 0, false
}
