package machine

import (
	"bytes"
	"slices"

	"muster/shardmap/points/block"
)

// BlockFiles returns the block files that the state names, sorted, none twice: those that the group has confirmed and that no
// later seal has replaced. A snapshot of the state lists the same ones. The goroutine that applies calls it.
func (m *Map) BlockFiles() []block.Sum {
	var sums []block.Sum
	for _, s := range m.State.Shards() {
		for _, f := range s.Points.Files() {
			sums = append(sums, f.Sum)
		}
	}
	slices.SortFunc(sums, func(a, b block.Sum) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(sums) // equal points make equal files, in two shards too
}
