package raft

import "fmt"

// syncs are the Readies that were handed out and are not synced yet.
type syncs struct {
	patience int    // ticks after which the disk counts as stalled
	number   uint64 // of the last Ready
	list     []unsynced
}

// unsynced is what must be known of a Ready until it is synced.
type unsynced struct {
	number uint64
	// last is the last entry that it, or one before it, wrote and that still
	// stands: truncating the log lowers it.
	last uint64
	term uint64
	vote ReplicaID
	tick uint64 // when it was taken
}

// add records the next Ready, and numbers it.
func (s *syncs) add(u unsynced) {
	s.number++
	u.number = s.number
	s.list = append(s.list, u)
}

// done removes the Readies up to number n and returns the last of them, which
// stands for all: its last entry and its vote are the newest.
func (s *syncs) done(n uint64) (u unsynced, ok bool) {
	if n > s.number {
		panic(fmt.Sprintf("raft: Ready %d is reported as synced, the last one handed out is %d", n, s.number))
	}
	k := 0
	for k < len(s.list) && s.list[k].number <= n {
		k++
	}
	if k == 0 {
		return unsynced{}, false
	}
	u = s.list[k-1]
	s.list = append(s.list[:0], s.list[k:]...)
	return u, true
}

// truncate makes the syncs that are under way count only for entries before index.
// Later ones may be written again under the same ids, and then the report of the
// first writing would count for the second.
func (s *syncs) truncate(index uint64) {
	for i := range s.list {
		s.list[i].last = min(s.list[i].last, index-1)
	}
}

// ticks returns how long the oldest Ready has waited for its sync.
func (s *syncs) ticks(now uint64) int {
	if len(s.list) == 0 {
		return 0
	}
	return int(now - s.list[0].tick)
}

// stalled reports whether this replica's disk has been silent for so long that
// another replica should lead. Its own promises are late, but those of a majority
// without it are not: the group is slower, and nothing else is wrong yet.
func (s *syncs) stalled(now uint64) bool { return s.ticks(now) >= s.patience }
