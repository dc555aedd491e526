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
	Shards uint32 // that the window has; 0: nobody takes its points, and Shard is 0
	// Batch has the series of the shard, in the order of the whole batch, and of their columns what is
	// in the window. It shares the memory of the whole.
	Batch Batch
}

// stretch is as much of a column as lies in one window.
type stretch struct {
	window Window
	shard  Shard
	shards uint32
	key    uint32
	extent extent
}

// order is that of shares.
func (p stretch) order(q stretch) int {
	return cmp.Or(cmp.Compare(p.window.First, q.window.First), cmp.Compare(p.shard, q.shard))
}

// Placing says which window takes the points of a time, and how many shards it has. The window has that time in
// it, and is the same for each time in it. No shards: nobody takes its points.
type Placing func(t int64) (w Window, shards uint32)

// Every is the placing of windows that last d, of shards shards each. A d that is not positive is a mistake of
// the caller, and panics.
func Every(d time.Duration, shards uint32) Placing {
	return func(t int64) (Window, uint32) { return WindowOf(t, d), shards }
}

// Split takes a batch that a [Builder] made apart by window and shard. Each value and each point is in exactly one
// share. The shares stand in the order of their windows, and those of one window in that of their shards. A
// placing that gives a time a window without it is a mistake of the caller, and panics.
func Split(b *Batch, at Placing) []Share {
	places := places{at: at}
	stretches := b.stretches(&places)
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
	b.count(shares, &places)
	return shares
}

// places asks a placing, and remembers what it said last: neighbours are mostly in one window.
type places struct {
	at     Placing
	window Window
	shards uint32
	known  bool
}

func (p *places) of(t int64) (Window, uint32) {
	if !p.known || !p.window.Contains(t) {
		if p.window, p.shards = p.at(t); !p.window.Contains(t) {
			panic(fmt.Sprintf("points: time %d is placed in the window from %d to %d", t, p.window.First, p.window.Last))
		}
		p.known = true
	}
	return p.window, p.shards
}

// shard returns which of some shards has a series; 0 if there is none.
func (h SeriesHash) shard(shards uint32) Shard {
	if shards == 0 {
		return 0
	}
	return h.Shard(shards)
}

// stretches cuts all columns at the ends of windows.
func (b *Batch) stretches(places *places) []stretch {
	stretches := make([]stretch, 0, len(b.extents))
	for s := range b.Series() {
		hash := HashOf(s.Key())
		for _, x := range s.extents {
			for x.from < x.to {
				times := b.timesOf(x)
				w, shards := places.of(times[0])
				cut := x
				if times[len(times)-1] > w.Last {
					n, found := slices.BinarySearch(times, w.Last)
					if cut.to = x.from + uint32(n); found {
						cut.to++
					}
				}
				stretches = append(stretches, stretch{w, hash.shard(shards), shards, s.key, cut})
				x.from, x.times = cut.to, x.times+cut.to-cut.from
			}
		}
	}
	return stretches
}

// share returns the share that some stretches make up.
func (b *Batch) share(stretches []stretch) Share {
	s := Share{Window: stretches[0].window, Shard: stretches[0].shard, Shards: stretches[0].shards, Batch: *b}
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

// count tells each share which of the points as they were written are in it. Neighbours are often in one share, so
// the last one is tried before the others are searched.
func (b *Batch) count(shares []Share, places *places) {
	hashes := make([]SeriesHash, len(b.keys))
	for i, key := range b.keys {
		hashes[i] = HashOf(key.in(b.text))
	}
	of := make([]uint32, len(b.written)) // the share of each point
	at := 0
	for i, x := range b.written {
		w, shards := places.of(x.time)
		shard := hashes[x.series].shard(shards)
		if p := &shares[at]; p.Shard != shard || p.Window != w {
			want := Share{Window: w, Shard: shard}
			at, _ = slices.BinarySearchFunc(shares, want, func(p, q Share) int {
				return cmp.Or(cmp.Compare(p.Window.First, q.Window.First), cmp.Compare(p.Shard, q.Shard))
			})
		}
		shares[at].Batch.points++
		of[i] = uint32(at)
	}
	written := make([]point, len(b.written))
	for i := range shares {
		n := shares[i].Batch.points
		shares[i].Batch.written, written = written[:0:n], written[n:]
	}
	for i, x := range b.written {
		p := &shares[of[i]].Batch
		p.written = append(p.written, x)
	}
}
