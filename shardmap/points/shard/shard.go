package shard

import (
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	"muster/shardmap/points"
	"muster/shardmap/points/block"
)

// Shard is the points of one shard: the head, heads that are being sealed, and the block files that have been. Its
// methods are for the goroutine that applies entries, but for those of a [View], which any may use.
type Shard struct {
	window points.Window

	applied applied // of the entry that is being applied

	mu sync.RWMutex // guards all below against readers
	// entry numbers what has changed: shares, deletes and freezes, in the order in which they came.
	entry      uint64
	schema     *schema
	census     census
	head       *head
	frozen     []*head // the oldest first
	files      []File  // the oldest first
	tombstones []buried
	forgotten  uint64 // the largest index of a tombstone that is no longer among them

	tags knownTags
}

// File is a block file of a shard.
type File struct {
	// Generation is that of the newest head in it. Older ones may be in it too.
	Generation  uint64
	Sum         block.Sum
	Size        int64
	Values      uint64
	First, Last int64 // times; both 0 if it has no points
}

// New returns a shard without points, of a window.
func New(w points.Window) *Shard {
	return &Shard{window: w, schema: newSchema(), head: newHead(1, maphash.MakeSeed())}
}

// Window returns the window that the shard is of.
func (s *Shard) Window() points.Window { return s.window }

// Bytes returns how much memory the points take that are in no file. It differs from one replica to the next: those
// that began with a snapshot have no trace of values that were replaced.
func (s *Shard) Bytes() int64 {
	n := s.schema.bytes() + s.census.bytes() + s.tags.bytes.Load()
	for _, h := range s.heads() {
		n += h.bytes()
	}
	for i := range s.tombstones {
		t := &s.tombstones[i]
		n += 100 + int64(t.size+24*len(t.Series))
	}
	return n
}

// Generation returns that of the head which takes points: the one that the next freeze ends.
func (s *Shard) Generation() uint64 { return s.head.generation }

// Digest is that of [View.Digest] of a copy, as the shard is now.
func (s *Shard) Digest() uint64 { return s.Copy().Digest() }

// HeadValues returns how many values the entries since the last freeze brought.
func (s *Shard) HeadValues() int64 { return s.head.values }

// heads returns all heads, the oldest first.
func (s *Shard) heads() []*head { return append(slices.Clone(s.frozen), s.head) }

// Files returns the files of the shard, the oldest first.
func (s *Shard) Files() []File { return slices.Clone(s.files) }

// Frozen returns the generations of the heads that are frozen and in no file yet, the oldest first.
func (s *Shard) Frozen() (generations []uint64) {
	for _, h := range s.frozen {
		generations = append(generations, h.generation)
	}
	return generations
}

// Freeze ends the head, in no time: from now on nothing comes into it, and all replicas make the same file of it. It
// returns the generation of that head; another one begins.
func (s *Shard) Freeze() (generation uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.head
	h.frozenAt = s.entry
	s.entry++
	s.frozen = append(slices.Clone(s.frozen), h)
	s.head = newHead(h.generation+1, h.seed)
	return h.generation
}

// Confirm puts a file in the place of the oldest frozen head and of the newest merged files, of which [View.Seal] made
// it. It returns the files that it replaces. It refuses another generation than the oldest frozen one, and more files
// than there are.
func (s *Shard) Confirm(generation uint64, f File, merged int) (replaced []File, err error) {
	if err := checkSeal(s.frozen, s.files, generation, merged); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f.Generation = generation
	kept := len(s.files) - merged
	replaced = slices.Clone(s.files[kept:])
	s.files = append(slices.Clone(s.files[:kept]), f)
	s.frozen = slices.Clone(s.frozen[1:])
	s.bury()
	return replaced, nil
}

func checkSeal(frozen []*head, files []File, generation uint64, merged int) error {
	switch {
	case len(frozen) == 0:
		return fmt.Errorf("seal generation %d of a shard: none of its heads is frozen", generation)
	case frozen[0].generation != generation:
		return fmt.Errorf("seal generation %d of a shard: generation %d is frozen and older; want it first", generation, frozen[0].generation)
	case merged < 0 || merged > len(files):
		return fmt.Errorf("merge %d files of a shard: it has %d", merged, len(files))
	}
	return nil
}

// bury forgets the tombstones that hide nothing any more: no file is older than they, nor a head that is in no file.
func (s *Shard) bury() {
	oldest := s.head.generation
	if len(s.frozen) > 0 {
		oldest = s.frozen[0].generation
	}
	left := make([]buried, 0, len(s.tombstones)) // views keep the list that there was
	for _, t := range s.tombstones {
		if t.generation >= oldest || slices.ContainsFunc(s.files, func(f File) bool { return f.Generation < t.generation }) {
			left = append(left, t)
		} else {
			s.forgotten = max(s.forgotten, t.index)
		}
	}
	s.tombstones = left
}
