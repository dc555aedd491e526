package points

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Share is what a write brings for one shard of one window.
type Share struct {
	Window Window
	Shard  Shard
	// Batch has the series of the shard, in the order of the whole batch, and of their columns what is
	// in the window. It shares the memory of the whole.
	Batch Batch
}

// stretch is as much of a column as lies in one window.
type stretch struct {
	window Window
	shard  Shard
	key    uint32
	extent extent
}

// order is that of shares.
func (p stretch) order(q stretch) int {
	return cmp.Or(cmp.Compare(p.window.First, q.window.First), cmp.Compare(p.shard, q.shard))
}

// Split takes a batch that a [Builder] made apart by window and shard, with windows that last d, of shards
// shards each. Each value and each point is in exactly one share. The shares stand in the order of their
// windows, and those of one window in that of their shards. No shards, or a d that is not positive, are
// mistakes of the caller, and panic.
func Split(b *Batch, d time.Duration, shards uint32) []Share {
	if shards == 0 {
		panic(fmt.Sprintf("points: windows of %s in no shards", d))
	}
	stretches := b.stretches(d, shards)
	// Stable: within a share series and columns stay as they are in the whole.
	slices.SortStableFunc(stretches, stretch.order)
	var shares []Share
	for len(stretches) > 0 {
		n := 1
		for n < len(stretches) && stretches[n].order(stretches[0]) == 0 {
			n++
		}
		shares = append(shares, b.share(stretches[:n]))
		stretches = stretches[n:]
	}
	b.count(shares, d, shards)
	return shares
}

// stretches cuts all columns at the ends of windows.
func (b *Batch) stretches(d time.Duration, shards uint32) []stretch {
	stretches := make([]stretch, 0, len(b.extents))
	for s := range b.Series() {
		shard := HashOf(s.Key()).Shard(shards)
		for _, x := range s.extents {
			for x.from < x.to {
				times := b.timesOf(x)
				w := WindowOf(times[0], d)
				cut := x
				if times[len(times)-1] > w.Last {
					n, found := slices.BinarySearch(times, w.Last)
					if cut.to = x.from + uint32(n); found {
						cut.to++
					}
				}
				stretches = append(stretches, stretch{w, shard, s.key, cut})
				x.from, x.times = cut.to, x.times+cut.to-cut.from
			}
		}
	}
	return stretches
}

// share returns the share that some stretches make up.
func (b *Batch) share(stretches []stretch) Share {
	s := Share{Window: stretches[0].window, Shard: stretches[0].shard, Batch: *b}
	s.Batch.written, s.Batch.points = nil, 0
	s.Batch.extents, s.Batch.rows = make([]extent, len(stretches)), nil
	for i, x := range stretches {
		s.Batch.extents[i] = x.extent
		if i == 0 || x.key != stretches[i-1].key {
			s.Batch.rows = append(s.Batch.rows, row{key: x.key})
		}
		s.Batch.rows[len(s.Batch.rows)-1].end = uint32(i + 1)
	}
	return s
}

// count tells each share how many of the points as they were written are in it. Neighbours are often in
// one share, so the last one is tried before the others are searched.
func (b *Batch) count(shares []Share, d time.Duration, shards uint32) {
	of := make([]Shard, len(b.keys)) // the shard of each series
	for i, key := range b.keys {
		of[i] = HashOf(key.in(b.text)).Shard(shards)
	}
	at := 0
	for _, x := range b.written {
		shard := of[x.series]
		if p := &shares[at]; p.Shard != shard || !p.Window.Contains(x.time) {
			want := Share{Window: WindowOf(x.time, d), Shard: shard}
			at, _ = slices.BinarySearchFunc(shares, want, func(p, q Share) int {
				return cmp.Or(cmp.Compare(p.Window.First, q.Window.First), cmp.Compare(p.Shard, q.Shard))
			})
		}
		shares[at].Batch.points++
	}
}
