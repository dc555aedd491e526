package raft

import "fmt"

// Role is what a replica is to its group at the moment.
type Role uint8

const (
	// RoleFollower takes entries from the leader, if one is known. It leaves
	// by an election timeout, if it is a voter.
	RoleFollower Role = 1
	// RolePreCandidate asks whether an election would be won, its term
	// unchanged. It leaves by a majority either way, by word of a leader, or
	// by a timeout (and asks again).
	RolePreCandidate Role = 2
	// RoleCandidate asks for votes in a term of its own. It leaves as a
	// pre-candidate does.
	RoleCandidate Role = 3
	// RoleLeader orders the group's commands. It leaves by word of a later
	// term, or when it has not heard of a majority for an election timeout.
	RoleLeader Role = 4
)

func (r Role) String() string {
	switch r {
	case RoleFollower:
		return "follower"
	case RolePreCandidate:
		return "pre-candidate"
	case RoleCandidate:
		return "candidate"
	case RoleLeader:
		return "leader"
	}
	return fmt.Sprintf("role %d", uint8(r))
}

// ProgressState says how a leader feeds one other replica.
type ProgressState uint8

const (
	// ProgressProbe: where the logs part is not known yet. One append is
	// under way at a time. Left for replicate by the first one that fits.
	ProgressProbe ProgressState = 1
	// ProgressReplicate: the logs agree up to match, appends are sent ahead
	// of their answers. Left for probe when one is refused.
	ProgressReplicate ProgressState = 2
	// ProgressSnapshot: the replica needs entries from before the beginning
	// of the leader's log. Left when it turns out to hold what it lacked.
	ProgressSnapshot ProgressState = 3
)

func (s ProgressState) String() string {
	switch s {
	case ProgressProbe:
		return "probe"
	case ProgressReplicate:
		return "replicate"
	case ProgressSnapshot:
		return "snapshot"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Progress is what a leader knows of one other replica.
type Progress struct {
	Replica ReplicaID
	Match   uint64 // all up to here is the leader's and is durable there
	Next    uint64 // the next entry to send
	State   ProgressState
	Active  bool // heard of within an election timeout
	// CaughtUp: it may be promoted. It is active, all was sent to it, and what it has
	// not acknowledged yet fits into one append.
	CaughtUp bool
	Fenced   bool // its last answer to a heartbeat said that it does not lead
}

// Status is a picture of a Group as it is now.
type Status struct {
	Term    uint64
	Vote    ReplicaID
	Role    Role
	Leader  ReplicaID // 0: none known
	Commit  uint64
	Applied uint64
	Durable uint64 // all of the log up to here is synced on this replica
	Last    LogID
	Base    LogID // where the log begins
	Time    GroupTime

	Membership Membership
	// MembershipAt names the membership, for [Change.After]: it is the id of the entry
	// that brought it in force. Where the log began after that entry when the replica
	// started, it is that beginning, up to which nothing else came in force; of the
	// founding it is 0.1. A later membership has a larger index.
	MembershipAt LogID
	Progress     []Progress // a leader's; by replica id, itself left out

	// Joint: the membership is a joint configuration, which its leader leaves
	// once it is committed.
	Joint bool
	// Settled: the membership is known to be committed, and is not joint. What is read
	// of it can't be lost any more.
	Settled bool
	// Transferee is the replica that a leader is handing over to; 0: none.
	Transferee ReplicaID
	// Quiet: nothing happens in the group, and no ticks are needed.
	Quiet bool
	// Fenced: this replica does not lead, see [Group.Fence].
	Fenced bool
	// Stalled: this replica's disk has not synced for half an election timeout.
	Stalled bool

	PendingReads int
	// UnsyncedTicks counts the ticks since the oldest Ready that is not
	// synced yet was taken: a disk that stalls shows here.
	UnsyncedTicks int
	// Stopped is why the Group refuses every call, or nil.
	Stopped error
}
