package shard

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
)

// order has the series of a head by their keys, of the measurements of which somebody asked. It is kept because sorting the
// series of a query each time takes about a second for a million; those that have come since are sorted by themselves.
type order struct {
	bytes atomic.Int64 // that its lists take

	mu sync.Mutex // guards all below; no other lock is taken under it
	of map[uint32]sortedSeries
}

// sortedSeries is the series of a measurement by key, up to the one that came last. A list never changes: a longer one
// takes its place.
type sortedSeries struct {
	last    uint32 // Invariant: no number in the list is larger
	numbers []uint32
}

// headKeys is the keys of a measurement in a head, as of an entry.
type headKeys struct {
	h       head // as it was, though it may grow
	last    uint32
	entry   uint64
	numbers []uint32 // some may be later than last, or than the entry
	with    [][]byte // that each key must have
}

// sortedKeys returns the keys of a measurement in a head.
func (h *head) sortedKeys(s *Shard, measurement uint32, entry uint64, with [][]byte) *headKeys {
	s.mu.RLock()
	k := &headKeys{h: *h, entry: entry, with: with}
	if int(measurement) < len(h.chains) {
		k.last = h.chains[measurement]
	}
	s.mu.RUnlock()
	k.numbers = h.order.upTo(&k.h, measurement, k.last)
	return k
}

// upTo returns the series of a measurement by key, up to one of them at least. h is as it was when that was the last.
func (o *order) upTo(h *head, measurement, last uint32) []uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	had := o.of[measurement]
	if had.last >= last { // numbers grow
		return had.numbers
	}
	compare := func(a, b uint32) int { return bytes.Compare(h.key(h.series.at(a)), h.key(h.series.at(b))) }
	var more []uint32
	for n := last; n > had.last; n = h.series.at(n).next {
		more = append(more, n)
	}
	slices.SortFunc(more, compare)
	all := make([]uint32, 0, len(had.numbers)+len(more))
	for _, n := range more {
		at, _ := slices.BinarySearchFunc(had.numbers, n, compare)
		all = append(append(all, had.numbers[:at]...), n)
		had.numbers = had.numbers[at:]
	}
	all = append(all, had.numbers...)
	if o.of == nil {
		o.of = map[uint32]sortedSeries{}
	}
	o.bytes.Add(int64(4 * (len(all) - len(o.of[measurement].numbers))))
	o.of[measurement] = sortedSeries{last, all}
	return all
}

func (k *headKeys) key() []byte {
	for ; len(k.numbers) > 0; k.numbers = k.numbers[1:] {
		if n := k.numbers[0]; n <= k.last {
			if x := k.h.series.at(n); x.born <= k.entry {
				if key := k.h.key(x); hasAll(key, k.with) {
					return key
				}
			}
		}
	}
	return nil
}

func (k *headKeys) next() error {
	k.numbers = k.numbers[1:]
	return nil
}
