package shardmap

import (
	"errors"
	"fmt"

	"muster/raft"
)

// Status says what became of a command. Numbers are for ever: they are in
// snapshots.
type Status uint8

const (
	StatusApplied         Status = 1 // it took effect
	StatusConflict        Status = 2 // its condition did not hold; nothing changed
	StatusStale           Status = 3 // its outcome was forgotten because its session no longer waited; nothing changed
	StatusTooManySessions Status = 4 // the slot has no room to remember its outcome; nothing changed; later it may
	StatusNotOwned        Status = 5 // the slot is not this group's; nothing changed
	// StatusGroupTooManySessions is the same as StatusTooManySessions, for want of
	// room in the group.
	StatusGroupTooManySessions Status = 6
	StatusMarked               Status = 7 // about one of the slots something newer was decided before; nothing changed
	StatusSealed               Status = 8 // the slot is on its way to another group; nothing changed, and no outcome is kept

	// Of a transaction or of a command about a lease. Nothing changed, and the outcome is kept:
	// a retry gets it again.

	StatusNotNumber    Status = 9  // what was to be incremented is no number
	StatusOverflow     Status = 10 // the sum would not fit in an int64
	StatusReadTooLarge Status = 11 // what was to be read is more than [TxnReadMax]
	StatusNoLease      Status = 12 // there is no such lease, or no more

	// Of a command about a service. Nothing changed, and the outcome is kept.

	StatusNoService       Status = 13 // there is no such service
	StatusNoInstance      Status = 14 // the service has no such instance
	StatusServiceTooLarge Status = 15 // with its secrets the service would be more than registry.ServiceMax
	StatusServiceMasked   Status = 16 // a setting is registry.Mask, and the service had none to stand for

	StatusNoShard   Status = 17 // of points: the shard's window was dropped, or the group has none of the shard to seal; nothing changed, and no outcome is kept
	StatusNotRaised Status = 18 // the group was not raised to the command's level yet; nothing changed, and no outcome is kept
	// StatusForgotten is of a fill that is older than the deletes of which the shard knows what they took away. Nothing
	// changed, and no outcome is kept.
	StatusForgotten Status = 19
	// StatusManyDeletes is of a delete of points of a shard that has no room for another one until its next seal. Nothing
	// changed, and no outcome is kept.
	StatusManyDeletes Status = 20
)

func (s Status) String() string {
	names := [...]string{StatusApplied: "applied", StatusConflict: "conflict", StatusStale: "stale",
		StatusTooManySessions: "too many sessions", StatusNotOwned: "not owned", StatusGroupTooManySessions: "too many sessions in the group", StatusMarked: "marked", StatusSealed: "sealed",
		StatusNotNumber: "not a number", StatusOverflow: "overflow", StatusReadTooLarge: "read too large", StatusNoLease: "no lease",
		StatusNoService: "no service", StatusNoInstance: "no instance", StatusServiceTooLarge: "service too large",
		StatusServiceMasked: "service masked", StatusNoShard: "no shard", StatusNotRaised: "not raised", StatusForgotten: "forgotten",
		StatusManyDeletes: "many deletes"}
	if s == 0 || int(s) >= len(names) {
		return fmt.Sprintf("status %d", uint8(s))
	}
	return names[s]
}

// kept reports whether an outcome can have the status, with a detail or without.
func (s Status) kept(detailed bool) bool {
	switch s {
	case StatusApplied:
		return true
	case StatusConflict, StatusNoService, StatusNoInstance, StatusServiceTooLarge:
		return !detailed
	case StatusNotNumber, StatusOverflow, StatusReadTooLarge, StatusNoLease, StatusServiceMasked:
		return detailed
	}
	return false
}

// Result is the outcome of a command. A retry gets that of the first try.
type Result struct {
	Status Status
	// Group and ID are those of the entry that decided it. For a retry that is the
	// first one, in the log of the group that owned the slot then.
	Group   raft.GroupID
	ID      raft.LogID
	Version uint64 // of all keys of the command, where it was applied
	Deleted uint32 // how many keys a del found
	Current uint64 // in a conflict, the key's version; 0 if it was not there
	// Detail is what a transaction, a command about a lease, a delete of a prefix one that brings points or one that deletes some answers, or what was in the way of a command
	// (detail.go). It is good until the next Apply.
	Detail []byte
}

// ErrInvariant is wrapped by errors about a broken rule of this package's own:
// the group must stop.
var ErrInvariant = errors.New("invariant broken")
