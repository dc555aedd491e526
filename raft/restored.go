package raft

// TermRun says that the entries from First on, up to the next run, are of Term.
type TermRun struct {
	First uint64
	Term  uint64
}

// Restored is what the owner found on disk. The zero Restored with a
// Membership is that of a group just founded.
type Restored struct {
	State HardState
	// Base is where the log begins: the id of the last entry before it, 0.0
	// at founding. Membership is the one in force there.
	Base       LogID
	Membership Membership
	Changes    []Entry // the membership entries after Base, in order
	Terms      []TermRun
	Last       LogID // Base, if there are no entries
	// Applied: the owner's state machine holds all up to here.
	// Base.Index <= Applied <= the larger of State.Commit and Base.Index.
	Applied uint64
	Tail    []Entry   // the entries from Applied+1 to Last.Index
	Time    GroupTime // the largest in the log
}
