package shard

// FrozenHead is a head that is frozen and in no file yet.
type FrozenHead struct {
	Generation uint64
	Bytes      int64 // of memory
	// Fills reports whether points in it yield to older ones: then [View.Seal] opens all files of the shard, and else
	// those alone that it merges.
	Fills bool
}

// FrozenHeads returns the heads that are frozen, the oldest first.
func (s *Shard) FrozenHeads() []FrozenHead {
	list := make([]FrozenHead, len(s.frozen))
	for i, h := range s.frozen {
		list[i] = FrozenHead{h.generation, h.bytes(), h.hasFills}
	}
	return list
}

// HeadBytes returns how much memory the head takes that a freeze would end.
func (s *Shard) HeadBytes() int64 { return s.head.bytes() }

// Tombstones returns how many deletes are kept because of older points.
func (s *Shard) Tombstones() int { return len(s.tombstones) }
