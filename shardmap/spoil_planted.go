//go:build plantedbugs

package shardmap

// Spoil makes a fault of memory in one of the map's slots: it flips a bit of a record, a lookup, a
// session, an outcome, the last version or a kept sum, or swaps two keys in their order. draw
// returns a number below n. It returns the part that is wrong from then on, and what of it; ok is
// false if the map has no slot. A [Walk] finds it, or the digests of other replicas show it, unless
// what was spoiled is overwritten before.
//
// The map may give wrong answers, as a real one would, and panic where its indexes lead nowhere.
// Digests, walks and copies never do. The goroutine that applies calls Spoil. It exists only under
// the build tag plantedbugs.
func (m *Map) Spoil(draw func(n int) int) (part Part, what string, ok bool) {
	f := newFlipper(draw, m).spoil()
	if f == nil {
		return 0, "", false
	}
	return f.part, f.what, true
}

// Spoil publishes a table in which one thing is wrong, as [Map.Spoil] does to a map. Readers of the
// earlier table are not affected.
func (m *TableMachine) Spoil(draw func(n int) int) (part Part, what string, ok bool) {
	f := m.spoil(draw)
	if f == nil {
		return 0, "", false
	}
	return f.part, f.what, true
}
