package shardmap

import (
	"muster/raft"
)

// Map is one replica's copy of the slots that one group owns.
type Map struct {
}

// NewMap returns a Map that owns slots, all empty.
func NewMap(slots []Slot) *Map { return nil }

// Apply carries out the command of the entry id.
func (m *Map) Apply(id raft.LogID, t raft.GroupTime, c *Command) (Result, error) {
	return Result{}, nil
}

// Skip takes note of an entry without a command.
func (m *Map) Skip(id raft.LogID, t raft.GroupTime) error { return nil }

// Applied returns the id of the last entry applied or skipped.
func (m *Map) Applied() raft.LogID { return raft.LogID{} }

// Get appends key's value to dst.
func (m *Map) Get(key, dst []byte) (value []byte, version uint64, ok bool) { return dst, 0, false }

// List calls f for keys with prefix beyond after, in order.
func (m *Map) List(prefix, after []byte, limit, maxBytes int, keysOnly bool, f func(key []byte, version uint64, value []byte)) (more bool) {
	return false
}

// Owns says whether the slot is this group's.
func (m *Map) Owns(s Slot) bool { return false }

// Len returns the number of keys.
func (m *Map) Len() int { return 0 }

// Bytes returns the number of bytes in keys and values.
func (m *Map) Bytes() int64 { return 0 }

// Digest returns the digest of a slot.
func (m *Map) Digest(s Slot) uint64 { return 0 }
