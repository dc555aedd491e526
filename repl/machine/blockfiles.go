package machine

import (
	"bytes"
	"fmt"
	"slices"

	"muster/logstore"
	"muster/repl"
	"muster/shardmap"
	"muster/shardmap/points/block"
)

// BlockFiles returns the block files that the state names, sorted, none twice: those that the group has confirmed and that no
// later seal has replaced. A snapshot of the state lists the same ones. The goroutine that applies calls it.
func (m *Map) BlockFiles() []block.Sum {
	files := m.NamedFiles()
	sums := make([]block.Sum, len(files))
	for i := range files {
		sums[i] = files[i].Sum
	}
	return sums
}

// NamedFiles implements [repl.FileNamer].
func (m *Map) NamedFiles() (files []repl.BlockFile) {
	for _, s := range m.State.Shards() {
		for _, f := range s.Points.Files() {
			files = append(files, repl.BlockFile{Sum: f.Sum, Bytes: f.Size})
		}
	}
	slices.SortFunc(files, func(a, b repl.BlockFile) int { return bytes.Compare(a.Sum[:], b.Sum[:]) })
	// Equal points make equal files, in two shards too.
	return slices.CompactFunc(files, func(a, b repl.BlockFile) bool { return a.Sum == b.Sum })
}

// SnapshotFiles returns the block files that a snapshot of a data group lists, as [Map.BlockFiles] does of its state. It reads
// the whole snapshot, and has the state in memory while it does: of a replica that runs ask its Map.
func SnapshotFiles(store *logstore.Store, s logstore.Snapshot) ([]block.Sum, error) {
	file, err := store.OpenSnapshot(s)
	if err != nil {
		return nil, fmt.Errorf("list the block files of %s: %w", s.File, err)
	}
	defer file.Close()
	m := NewMap(s.Replica, func() *shardmap.Table { return nil })
	if err := m.Restore(file, s.Base.ID, s.Base.Time); err != nil {
		return nil, fmt.Errorf("list the block files of %s: %w", s.File, err)
	}
	return m.BlockFiles(), nil
}
