package logstore

import (
	"log/slog"
	"math/rand/v2"
	"testing"

	"muster/logstore/vfs"
)

// What room admits can be written, however it comes apart into batches: a batch
// that does not fit into the rest of a segment goes into the next, and nothing goes
// into the one before any more. One would doubt it: fits adds up what is left of
// the segments, and no batch may be larger than what is left of any.
func TestWhatFitsCanBeWritten(t *testing.T) {
	file, err := vfs.NewMem().Create("a segment, whichever")
	must(t, err)
	said := 0
	for seed := range uint64(5000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		x := &index{}
		m := room{size: SegmentBytesMin, log: slog.New(slog.DiscardHandler), index: x, gauge: &gauge{}}
		for n := range 1 + rng.Uint64N(4) {
			size := int64(1+rng.IntN(4)) * SegmentBytesMin / 4
			x.segments = append(x.segments, &segment{number: n + 1, file: file, size: size, end: segmentHeader + rng.Int64N(size-2*segmentHeader)})
		}
		x.active = x.segments[rng.IntN(len(x.segments))]
		if rng.IntN(2) == 0 {
			m.reserve = &filling{done: SegmentBytesMin + rng.Int64N(SegmentBytesMin)}
		}
		rooms := append([]int64(nil), m.rooms()...)
		need, largest := 1+rng.Int64N(2*SegmentBytesMin), rng.Int64N(SegmentBytesMin)
		if !m.fits(need, largest) {
			continue
		}
		said++
		for try := range 20 {
			left := append([]int64(nil), rooms...)
			for todo := need; todo > 0; {
				most := m.batchMax(largest)
				batch := 1 + rng.Int64N(most)
				if try == 0 && len(left) > 0 { // the worst that can be: as much as possible is left of each segment
					if batch = left[0] + 1; batch > most {
						batch = min(left[0]-most+1, most)
					}
				}
				batch = min(batch, todo)
				for len(left) > 0 && left[0] < batch {
					left = left[1:]
				}
				if len(left) == 0 {
					t.Fatalf("seed %d: %d bytes in batches of at most %d don't fit into %v, and it says that they do", seed, need, m.batchMax(largest), rooms)
				}
				left[0] -= batch
				todo -= batch
			}
		}
	}
	if said < 100 {
		t.Errorf("only %d of 5000 fitted", said)
	}
}
