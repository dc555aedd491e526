package blocks

import (
	"errors"
	"fmt"
	"slices"

	"muster/shardmap/points/block"
)

// scrub is the slow walk over the files, and how far it has come.
type scrub struct {
	store *Store
	begun bool
	group Group   // that is under way, or was last
	files []File  // of it, that are still to come
	entry *entry  // that is under way
	of    *opened // nil: none is under way
	at    *block.Cursor
	block block.Block
}

// Scrub continues a slow walk over all files, and reads about maxBytes, at least one block. It reports whether the walk
// has come to its end; the next call begins anew. Each part of a file is held to its checksum; damage that it finds shows
// in [Store.Damaged] and is no error, nor is what the disk refuses. The system does not ask the disk again for what it
// still has in memory, so rot below that shows later. It may run beside all else but itself.
func (s *Store) Scrub(maxBytes int64) (done bool) {
	w := &s.walk
	for read := int64(0); read < max(maxBytes, 1); {
		if w.of == nil && !w.next() {
			w.begun = false
			return true
		}
		n, more := w.step()
		read += n
		if !more {
			w.end()
		}
	}
	return false
}

// next begins the next file. It reports false when there is none.
func (w *scrub) next() bool {
	s := w.store
	for {
		for len(w.files) > 0 {
			f := w.files[0]
			w.files = w.files[1:]
			s.mu.Lock()
			e := s.files[f.Group][f.Sum]
			s.mu.Unlock()
			if e == nil || e.isAside() {
				continue
			}
			// Not the one that others share: the ends of the file are to be read again too.
			if o, err := s.openFile(e); err == nil {
				w.entry, w.of, w.at = e, o, o.blocks.All()
				return true
			}
		}
		groups := s.Groups()
		i := slices.IndexFunc(groups, func(g Group) bool { return !w.begun || compareGroups(g, w.group) > 0 })
		if i < 0 {
			return false
		}
		w.begun, w.group = true, groups[i]
		w.files = s.List(w.group)
	}
}

// step reads a block, and returns how many bytes it took and whether there are more.
func (w *scrub) step() (n int64, more bool) {
	s := w.store
	s.mu.Lock()
	there := s.current(w.entry) && !w.entry.isAside()
	s.mu.Unlock()
	if !there {
		return 1, false // it was removed or replaced meanwhile
	}
	before := w.of.bytes.bytes.Load()
	if !w.at.Next() {
		s.found(w.entry, w.at.Err())
		return max(1, w.of.bytes.bytes.Load()-before), false
	}
	err := w.at.Read(&w.block)
	s.found(w.entry, err)
	var d *block.DamageError
	return max(1, w.of.bytes.bytes.Load()-before), !errors.As(err, &d)
}

// end closes the file that is under way.
func (w *scrub) end() error {
	if w.of == nil {
		return nil
	}
	err := w.of.file.Close()
	w.of, w.at = nil, nil
	if err != nil {
		return fmt.Errorf("end the scrub of %s: %w", w.entry.File, err)
	}
	return nil
}
