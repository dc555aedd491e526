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
	share  uint32
	key    uint32
	extent extent
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
	s := splitter{b: b, at: at, numbers: map[shareID]uint32{}, last: make([]lastShare, len(b.keys))}
	stretches := s.stretches()
	s.order()
	s.fill(stretches)
	s.count()
	return s.shares
}

// splitter takes a batch apart. It numbers shares as it meets them, so that nothing needs to be sorted but the shares.
type splitter struct {
	b       *Batch
	at      Placing
	shares  []Share
	numbers map[shareID]uint32
	last    []lastShare // by series
	place   []uint32    // by number: where the share is, once they are in order
}

type shareID struct {
	first int64 // of the window
	shard Shard
}

// lastShare is the share of which a series had a point last: the next one is mostly of the same.
type lastShare struct {
	window Window
	number uint32
	known  bool
}

// share returns the number of the share that has a point, and its window.
func (s *splitter) share(key uint32, t int64) (number uint32, w Window) {
	l := &s.last[key]
	if l.known && l.window.Contains(t) {
		return l.number, l.window
	}
	w, shards := s.at(t)
	if !w.Contains(t) {
		panic(fmt.Sprintf("points: time %d is placed in the window from %d to %d", t, w.First, w.Last))
	}
	shard := HashOf(s.b.keys[key].in(s.b.text)).shard(shards)
	number, ok := s.numbers[shareID{w.First, shard}]
	if !ok {
		number = uint32(len(s.shares))
		s.numbers[shareID{w.First, shard}] = number
		s.shares = append(s.shares, Share{Window: w, Shard: shard, Shards: shards})
	}
	*l = lastShare{w, number, true}
	return number, w
}

// shard returns which of some shards has a series; 0 if there is none.
func (h SeriesHash) shard(shards uint32) Shard {
	if shards == 0 {
		return 0
	}
	return h.Shard(shards)
}

// stretches cuts all columns at the ends of windows.
func (s *splitter) stretches() []stretch {
	b := s.b
	stretches := make([]stretch, 0, len(b.extents))
	for x := range b.Series() {
		for _, e := range x.extents {
			for e.from < e.to {
				times := b.timesOf(e)
				number, w := s.share(x.key, times[0])
				cut := e
				if times[len(times)-1] > w.Last {
					n, found := slices.BinarySearch(times, w.Last)
					if cut.to = e.from + uint32(n); found {
						cut.to++
					}
				}
				stretches = append(stretches, stretch{number, x.key, cut})
				e.from, e.times = cut.to, e.times+cut.to-cut.from
			}
		}
	}
	return stretches
}

// order puts the shares in order.
func (s *splitter) order() {
	slices.SortFunc(s.shares, func(p, q Share) int {
		return cmp.Or(cmp.Compare(p.Window.First, q.Window.First), cmp.Compare(p.Shard, q.Shard))
	})
	s.place = make([]uint32, len(s.shares))
	for i := range s.shares {
		x := &s.shares[i]
		s.place[s.numbers[shareID{x.Window.First, x.Shard}]] = uint32(i)
	}
}

// fill gives each share its columns. Within a share series and columns stay as they are in the whole.
func (s *splitter) fill(stretches []stretch) {
	columns := make([]int, len(s.shares))
	for i := range stretches {
		columns[s.place[stretches[i].share]]++
	}
	extents := make([]extent, len(stretches))
	for i, n := range columns {
		x := &s.shares[i]
		x.Batch = *s.b
		x.Batch.written, x.Batch.points, x.Batch.rows = nil, 0, nil
		x.Batch.extents, extents = extents[:0:n], extents[n:]
	}
	for i := range stretches {
		x := &stretches[i]
		b := &s.shares[s.place[x.share]].Batch
		if n := len(b.rows); n == 0 || b.rows[n-1].key != x.key {
			b.rows = append(b.rows, row{key: x.key})
		}
		b.extents = append(b.extents, x.extent)
		b.rows[len(b.rows)-1].end = uint32(len(b.extents))
	}
}

// count tells each share which of the points as they were written are in it.
func (s *splitter) count() {
	b := s.b
	of := make([]uint32, len(b.written)) // the share of each point
	for i, x := range b.written {
		number, _ := s.share(x.series, x.time)
		of[i] = s.place[number]
		s.shares[of[i]].Batch.points++
	}
	written := make([]point, len(b.written))
	for i := range s.shares {
		n := s.shares[i].Batch.points
		s.shares[i].Batch.written, written = written[:0:n], written[n:]
	}
	for i, x := range b.written {
		p := &s.shares[of[i]].Batch
		p.written = append(p.written, x)
	}
}
