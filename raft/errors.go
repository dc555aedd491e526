package raft

import "errors"

// TermLimit is the first term that is refused. With an election each nanosecond it
// takes 292 years to get there; a message of a higher term is broken, and believing
// it would leave the group without terms.
const TermLimit uint64 = 1 << 63

// IndexLimit is the first index that is refused: a log that gets an entry each
// nanosecond reaches it in 146 years. TimeLimit is the same for group time.
const (
	IndexLimit uint64    = 1 << 62
	TimeLimit  GroupTime = 1 << 62
)

// Errors of a [Group]'s calls. A call that is refused has changed nothing that
// shows, except where the error wraps ErrStopped.
var (
	// ErrNotLeader: only the leader takes commands and reads. [Group.Status]
	// names the likely one.
	ErrNotLeader = errors.New("not the leader")
	// ErrBusy: a limit is reached; it clears by itself.
	ErrBusy = errors.New("busy")
	// ErrProposal: the entries can't be proposed, ever.
	ErrProposal = errors.New("bad proposal")
	// ErrMessage: no correct replica sends such a message.
	ErrMessage = errors.New("bad message")
	// ErrTerm: the term of the message is too far above this replica's to be
	// true. See [TermReach].
	ErrTerm = errors.New("term too far ahead")
	// ErrNotMember: the message is from a replica that is not, or no longer,
	// a member.
	ErrNotMember = errors.New("not a member")
	// ErrTransferring: leadership is on its way to another replica. It clears
	// by itself, in an election timeout at most: with another leader, or here.
	ErrTransferring = errors.New("leadership is being transferred")
	// ErrTarget: leadership can't go to that replica.
	ErrTarget = errors.New("no target for leadership")
	// ErrChange: the change of the membership can't be made, ever.
	ErrChange = errors.New("bad change of the membership")
	// ErrChanging: a change is under way, or this leader does not know yet
	// whether one is. It clears by itself.
	ErrChanging = errors.New("the membership is changing")
	// ErrStale: the change was made for another membership than the one in force. It
	// has to be made anew, for the one that is.
	ErrStale = errors.New("the membership has changed")
	// ErrLags: a learner that was to vote has not caught up. It clears when it has; the
	// text says how far it is.
	ErrLags = errors.New("replica has not caught up")
	// ErrNoMajority: the change would leave a group whose majority is not
	// heard of. It clears when those that are missing come back.
	ErrNoMajority = errors.New("no majority would be alive")

	// ErrStopped is wrapped by all errors of a Group that has stopped for
	// good, together with one of those below.
	ErrStopped = errors.New("group stopped")
	// ErrCommittedTruncation: the leader's log differs from what is committed
	// here. The text has both log ids.
	ErrCommittedTruncation = errors.New("committed entry would be truncated")
	// ErrLogMatching: two entries of one log id differ.
	ErrLogMatching = errors.New("entries of one log id differ")
	// ErrTwoLeaders: two replicas lead in one term.
	ErrTwoLeaders = errors.New("two leaders in one term")
	// ErrEntriesLost: the leader knows entries to be durable here that are
	// not here.
	ErrEntriesLost = errors.New("acknowledged entries are gone")
)
