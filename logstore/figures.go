package logstore

import "sync"

// Stats are figures of a Store since it was opened, save those that say what
// is there now.
type Stats struct {
	Batches uint64 // writes, each with its sync
	Records uint64
	Bytes   uint64 // in batches
	Moved   uint64 // bytes of records that were copied forward, within Bytes
	Entries uint64 // bytes of entries as they were given to Append, within Bytes

	Snapshots     uint64 // that were written or received whole
	SnapshotBytes uint64 // of their files, and of those that were given up
	FilledBytes   uint64 // of zeros, in segments that were made new

	Filled   uint64 // segments that were made new
	Recycled uint64 // segments that were used again
	Removed  uint64 // files that were removed

	Segments     int   // now, with the prepared ones
	SegmentBytes int64 // now, the sum of their sizes
	NeededBytes  int64 // as of the last batch: bytes of records that are still needed
	Replicas     int   // now
}

// figures counts what a Store does. Any goroutine may count.
type figures struct {
	mu  sync.Mutex // no other is taken under it
	now Stats      // guarded by mu
}

func (f *figures) count(add func(*Stats)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	add(&f.now)
}

func (f *figures) get() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}
