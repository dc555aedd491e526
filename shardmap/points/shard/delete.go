package shard

import (
	"bytes"
	"fmt"
	"math"
	"slices"
)

// Tombstone is what a DELETE, DROP SERIES or DROP MEASUREMENT takes away: the points of some series in a span of time.
// Points that are written later stay.
type Tombstone struct {
	Measurement []byte   // as keys have it
	Series      [][]byte // keys; none: all series of the measurement
	First, Last int64    // the span, both ends included
}

// Limits of tombstones. Reading a column compares its series with each.
const (
	// TombstonesMax is how many a shard has; each goes when what is older than it was sealed or merged.
	TombstonesMax = 1024
	// TombstoneSeriesMax and TombstoneBytesMax bound what one names, and TombstonesBytesMax what all of a shard do.
	TombstoneSeriesMax = 1 << 16
	TombstoneBytesMax  = 1 << 20
	TombstonesBytesMax = 16 << 20
)

// LimitError refuses a tombstone.
type LimitError struct {
	What        string
	Found, Most int
	Remedy      string
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %d, at most %d: %s", e.What, e.Found, e.Most, e.Remedy)
}

// buried is a tombstone with when it came.
type buried struct {
	Tombstone
	index      uint64 // of its entry in the log
	size       int    // bytes that it names
	generation uint64 // of the head into which it came: all older ones, and files of them, are older than it
	entry      uint64 // rows of that head up to this one are, too
}

// whole reports whether nothing of a measurement is left.
func (t *Tombstone) whole() bool {
	return len(t.Series) == 0 && t.First == math.MinInt64 && t.Last == math.MaxInt64
}

// of reports whether a series is one of those that it names.
func (t *Tombstone) of(key []byte) bool {
	if !contains(t.Measurement, key) {
		return false
	}
	if len(t.Series) == 0 {
		return true
	}
	_, found := slices.BinarySearchFunc(t.Series, key, bytes.Compare)
	return found
}

// check refuses a tombstone that is beyond the limits, or for which the shard has no room. It returns how many bytes it
// names.
func (s *Shard) check(t *Tombstone) (size int, err error) {
	size = len(t.Measurement)
	for _, k := range t.Series {
		size += len(k)
	}
	all := size
	for i := range s.tombstones {
		all += s.tombstones[i].size
	}
	switch {
	case len(t.Series) > TombstoneSeriesMax:
		return 0, &LimitError{"series of a delete", len(t.Series), TombstoneSeriesMax, "delete them in parts"}
	case size > TombstoneBytesMax:
		return 0, &LimitError{"bytes of the keys of a delete", size, TombstoneBytesMax, "delete them in parts"}
	case len(s.tombstones) >= TombstonesMax:
		return 0, &LimitError{"deletes since the last seal", len(s.tombstones) + 1, TombstonesMax, "try again after the next seal"}
	case all > TombstonesBytesMax:
		return 0, &LimitError{"bytes of the keys of deletes since the last seal", all, TombstonesBytesMax, "try again after the next seal"}
	}
	return size, nil
}

// Room reports whether the shard takes a tombstone: the error is that of [Shard.Delete].
func (s *Shard) Room(t *Tombstone) error {
	_, err := s.check(t)
	return err
}

// MakeRoom forgets the oldest deletes of a shard that has neither points nor files, until there is room for a tombstone that is within
// its own limits: no seal ends them, and they hide nothing. Fills that were taken before a delete which was forgotten are
// refused from then on, with a [ForgottenError].
func (s *Shard) MakeRoom(t *Tombstone) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.tombstones) > 0 && s.Room(t) != nil {
		s.forgotten = max(s.forgotten, s.tombstones[0].index)
		s.tombstones = s.tombstones[1:len(s.tombstones):len(s.tombstones)] // views keep the list that there was
	}
}

// Delete takes away what a tombstone names, by the entry of an index in the log, which is larger than those before. If it
// takes away all of a measurement, the fields go as well: they may come back with other kinds. The error is a
// [LimitError]; nothing has changed then.
func (s *Shard) Delete(t Tombstone, index uint64) error {
	if _, err := s.check(&t); err != nil { // before it is copied
		return err
	}
	kept := Tombstone{Measurement: bytes.Clone(t.Measurement), First: t.First, Last: t.Last}
	for _, k := range t.Series {
		kept.Series = append(kept.Series, bytes.Clone(k))
	}
	slices.SortFunc(kept.Series, bytes.Compare)
	kept.Series = slices.CompactFunc(kept.Series, bytes.Equal)
	size, err := s.check(&kept)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entry++
	s.tombstones = append(s.tombstones, buried{kept, index, size, s.head.generation, s.entry})
	s.deleted(&kept)
	if m := s.schema.measurement(t.Measurement); m != 0 && t.whole() {
		s.schema.drop(m, s.entry)
	}
	return nil
}

// ForgottenError refuses a fill that was taken before a delete of which the shard no longer knows what it took away.
type ForgottenError struct {
	Taken     uint64 // when it was taken, as an index in the log
	Forgotten uint64 // the index of that delete
}

func (e *ForgottenError) Error() string {
	return fmt.Sprintf("the points were taken at entry %d, and what the delete of entry %d took away is no longer known: look at them, and write those that are still wanted", e.Taken, e.Forgotten)
}

// deletedSince returns what was deleted of a series by entries behind an index.
func (s *Shard) deletedSince(dst []span, key []byte, index uint64) []span {
	for i := range s.tombstones {
		if t := &s.tombstones[i]; t.index > index && t.of(key) {
			dst = append(dst, span{t.First, t.Last, forever})
		}
	}
	return dst
}

// span is what a tombstone hides of a series.
type span struct {
	from, to int64
	entry    uint64 // of rows of a head: those up to this one
}

// layerKind says how a tombstone of the same generation sees a layer.
type layerKind uint8

const (
	ofHead layerKind = iota + 1 // its rows tell whether they are older
	ofFile                      // it was sealed without what the tombstone hides
)

// bugTombstone is planted to show that its test finds it: a tombstone hides what was written after it.
const bugTombstone = "tombstone eats newer points"

// hides appends what tombstones hide of a series in a layer.
func hides(dst []span, all []buried, key []byte, generation uint64, kind layerKind) []span {
	for i := range all {
		t := &all[i]
		if t.generation < generation || t.generation == generation && kind == ofFile || !t.of(key) {
			continue
		}
		x := span{t.First, t.Last, forever}
		if t.generation == generation && !bug(bugTombstone) {
			x.entry = t.entry
		}
		dst = append(dst, x)
	}
	return dst
}

// hidden reports whether a value is hidden. entry is of its row; that of a file is 0.
func hidden(spans []span, time int64, entry uint64) bool {
	for _, s := range spans {
		if s.from <= time && time <= s.to && entry <= s.entry {
			return true
		}
	}
	return false
}

// covered reports whether all times from one to another are hidden by one of the spans.
func covered(spans []span, from, to int64) bool {
	for _, s := range spans {
		if s.from <= from && to <= s.to && s.entry == forever {
			return true
		}
	}
	return false
}
