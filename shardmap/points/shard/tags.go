package shard

import (
	"slices"
	"sync"
	"sync/atomic"

	"muster/shardmap/points"
	"muster/shardmap/points/block"
)

// knownTags is the names of tags of measurements, as queries have found them by going over all keys. Each query asks for
// them, and they rarely change.
type knownTags struct {
	bytes atomic.Int64 // Invariant: at most knownTagsMax

	mu sync.Mutex // guards all below; no other lock is taken under it
	of map[string]seriesTags
}

// knownTagsMax bounds what is kept of a shard, in bytes. What is beyond it takes the place of all others.
const knownTagsMax = 64 << 10

// seriesTags is the names of the tags of some series.
type seriesTags struct {
	names  []string
	series int64 // how many there are
	as     seriesState
}

// seriesState tells which series a view has of a measurement: equal ones have the same series.
type seriesState struct {
	heads []headState
	files []block.Sum
}

// headState is the series of a measurement in a head up to one of them.
type headState struct {
	generation uint64
	last       uint32
}

func (t *seriesTags) bytes() int64 {
	n := 200 + 16*len(t.as.heads) + len(block.Sum{})*len(t.as.files)
	for _, name := range t.names {
		n += 16 + len(name)
	}
	return int64(n)
}

// state returns which series there are of a measurement; false: deletes decide, which may have taken all points of one.
func (v *View) state(measurement string) (s seriesState, ok bool) {
	if len(v.tombstones) > 0 {
		return s, false
	}
	x := v.shard
	x.mu.RLock()
	defer x.mu.RUnlock()
	m := x.schema.measurement(points.AppendMeasurement(nil, []byte(measurement)))
	for _, h := range v.heads {
		last := uint32(0)
		if int(m) < len(h.chains) {
			last = h.chains[m]
		}
		for last != 0 && h.series.at(last).born > v.entry {
			last = h.series.at(last).next
		}
		s.heads = append(s.heads, headState{h.generation, last})
	}
	for i := range v.files {
		s.files = append(s.files, v.files[i].Sum)
	}
	return s, true
}

// KnownTags returns the names of the tags of a measurement's series, in order, and how many series these are, if
// [Reader.KeepTags] has kept them for the series that the view has.
func (r *Reader) KnownTags(measurement string) (names []string, series int64, known bool) {
	as, ok := r.v.state(measurement)
	if !ok {
		return nil, 0, false
	}
	k := &r.v.shard.tags
	k.mu.Lock()
	defer k.mu.Unlock()
	t, known := k.of[measurement]
	if !known || !slices.Equal(t.as.heads, as.heads) || !slices.Equal(t.as.files, as.files) {
		return nil, 0, false
	}
	return slices.Clone(t.names), t.series, true
}

// KeepTags keeps the names of the tags of all series of a measurement that the view has.
func (r *Reader) KeepTags(measurement string, names []string, series int64) {
	as, ok := r.v.state(measurement)
	if !ok {
		return
	}
	t := seriesTags{slices.Clone(names), series, as}
	size := t.bytes() + int64(len(measurement))
	if size > knownTagsMax {
		return
	}
	k := &r.v.shard.tags
	k.mu.Lock()
	defer k.mu.Unlock()
	if had, there := k.of[measurement]; there {
		k.bytes.Add(-had.bytes() - int64(len(measurement)))
		delete(k.of, measurement)
	}
	if k.of == nil || k.bytes.Load()+size > knownTagsMax {
		k.of = map[string]seriesTags{}
		k.bytes.Store(0)
	}
	k.bytes.Add(size)
	k.of[measurement] = t
}
