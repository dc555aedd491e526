package raft

// HardState is what a replica must find again after a crash. Term and Vote are
// promises and want a sync; Commit is a convenience and rides along.
type HardState struct {
	Term   uint64
	Vote   ReplicaID // whom this replica voted for in Term; 0: nobody yet
	Commit uint64    // Invariant: never past the end of the log written with it
}

// Read answers one call of [Group.ReadIndex].
type Read struct {
	Number uint64 // as the owner gave it
	Index  uint64 // the read may run once all up to here is applied
}

// Ready is what the owner has to do next; its duties stand in the package
// comment. Slices in it are never changed afterwards.
type Ready struct {
	// Number is one more than that of the Ready before; the first is 1.
	// Syncs are reported by it, not by log id: an entry may be written,
	// truncated and written again under the same id, and a late report of the
	// first writing would then count for the last.
	Number uint64

	State        HardState
	StateChanged bool // State is to be written
	MustSync     bool // Term, Vote or Entries are new; a new Commit alone needs no sync

	// Entries are to be appended. If the first one's index is not past the
	// end of the log, the log is truncated from there.
	Entries []Entry

	// Messages leave at once: PreVote and its answers, heartbeats and their
	// answers, a leader's appends.
	Messages []Message
	// AfterSync leave once this Ready is synced: votes, the wish for them, and
	// acknowledgements of entries.
	AfterSync []Message

	// Committed are to be applied, in order. Each entry is handed out exactly
	// once in the life of a Group, and only when it is durable here.
	Committed []Entry

	Reads     []Read
	ReadsLost []uint64 // numbers of reads whose leader stepped down; ask again elsewhere

	Lead ReplicaID // 0: none known
	Role Role
}
