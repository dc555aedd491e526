package raft

// Group is one replica's part in one group.
type Group struct{}

// New returns a Group that goes on where r ends.
func New(c Config, r Restored) (*Group, error) { panic("not yet") }

// Tick tells that one tick has passed.
func (g *Group) Tick() { panic("not yet") }

// Step hands in a message that arrived.
func (g *Group) Step(m Message) error { panic("not yet") }

// Propose appends entries to the leader's log, all or none.
func (g *Group) Propose(now GroupTime, entries []Entry) (first LogID, err error) { panic("not yet") }

// ReadIndex asks from which index on a read that begins now may run.
func (g *Group) ReadIndex(n uint64) error { panic("not yet") }

// Campaign starts a PreVote now.
func (g *Group) Campaign() { panic("not yet") }

// HasReady says whether Ready has something to tell.
func (g *Group) HasReady() bool { panic("not yet") }

// Ready returns what is to be done.
func (g *Group) Ready() Ready { panic("not yet") }

// Synced reports that all Readies up to number n are on disk.
func (g *Group) Synced(n uint64) { panic("not yet") }

// Applied reports that the state machine has all up to index.
func (g *Group) Applied(index uint64) { panic("not yet") }

// Status returns a picture of the Group.
func (g *Group) Status() Status { panic("not yet") }

// TermAt returns the term of the entry at index, false if the log does not
// reach there.
func (g *Group) TermAt(index uint64) (uint64, bool) { panic("not yet") }

// LeadsIn says whether this replica leads in term.
func (g *Group) LeadsIn(term uint64) bool { panic("not yet") }
