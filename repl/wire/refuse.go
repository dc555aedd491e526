package wire

import (
	"fmt"
	"math"
	"time"

	"muster/raft"
	"muster/shardmap"
)

// Each code has one constructor. It asks for the object, for the limit or
// state found, and for what to do next, unless that follows from the code.

// BadRequest refuses a request without a meaning; found says which field is
// wrong, how, and what it may be.
func BadRequest(object, found, next string) *Error {
	return &Error{Code: CodeBadRequest, Object: object, Text: "not valid", State: found, Next: next}
}

// BadBody refuses a request whose body could not be read.
func BadBody(t Type, err error) *Error {
	return BadRequest("body of "+t.String(), err.Error(), nextProtocol)
}

const nextProtocol = "send what docs/protocol.md says"

// TooLarge refuses something over a limit; found names both, with their unit.
func TooLarge(object, found, next string) *Error {
	return &Error{Code: CodeTooLarge, Object: object, Text: "over the limit", State: found, Next: next}
}

// NotFound says that the named object does not exist.
func NotFound(object, looked, next string) *Error {
	return &Error{Code: CodeNotFound, Object: object, Text: "not found", State: looked, Next: next}
}

// Conflict says that the condition of a write does not hold: found says what
// is there instead.
func Conflict(object, found string) *Error {
	return &Error{Code: CodeConflict, Object: object, Text: "the condition does not hold", State: found,
		Next: "read it, then set it again on the condition that it still is what you read"}
}

// NotNumber refuses to increment a value that is no decimal int64.
func NotNumber(object, found string) *Error {
	return &Error{Code: CodeConflict, Object: object, Text: "not a number, nothing was changed", State: found,
		Next: "set it to a decimal number, or delete it"}
}

// Overflow refuses an increment whose sum would not fit in an int64.
func Overflow(object, found string) *Error {
	return &Error{Code: CodeConflict, Object: object, Text: "the sum would overflow, nothing was changed", State: found,
		Next: fmt.Sprintf("stay within %d and %d", math.MinInt64, math.MaxInt64)}
}

// NotLeader says which node leads the group, as far as is known.
func NotLeader(g raft.GroupID, leader raft.NodeID, addr string) *Error {
	e := &Error{Code: CodeNotLeader, Object: "group " + g.String(), Text: "this node does not lead it",
		LeaderNode: leader, LeaderAddr: addr, Group: g}
	if addr == "" {
		e.State, e.Next = "no leader is known", "ask any other node, or again in a moment"
	} else {
		e.State, e.Next = fmt.Sprintf("node %s at %s leads", leader, addr), "ask "+addr
	}
	return e
}

// Moved says that group g does not own the slot, as far as its log or the answering node's
// table goes, and which one does: to, by move number. 0 for either: that is not known
// here.
func Moved(s shardmap.Slot, g, to raft.GroupID, number uint64) *Error {
	e := &Error{Code: CodeMoved, Object: fmt.Sprintf("slot %d", s), Text: "another group owns it", Group: to, Number: number, Slot: s,
		State: fmt.Sprintf("group %s does not", g), Next: "fetch the topology, then ask the leader of the group that does"}
	if to != 0 {
		e.State, e.Next = fmt.Sprintf("it went from group %s to group %s", g, to), fmt.Sprintf("ask the leader of group %s", to)
	}
	return e
}

// BusyRetry is after which time a client that was told "busy" should come back:
// the queues that are meant turn over faster.
const BusyRetry = 20 * time.Millisecond

// wholeMilliseconds is a time in the unit of the wire, and not shorter: a client that comes back after it is not
// too early.
func wholeMilliseconds(d time.Duration) time.Duration {
	return (d + time.Millisecond - 1).Truncate(time.Millisecond)
}

// Busy refuses because a queue, whose state is found, is full.
func Busy(object, found string, retryAfter time.Duration) *Error {
	retryAfter = wholeMilliseconds(retryAfter)
	return &Error{Code: CodeBusy, Object: object, Text: "has too much to do", State: found,
		RetryAfterMs: uint32(retryAfter.Milliseconds()), Next: "try again after " + retryAfter.String()}
}

// Unavailable says that there was no result, and that nothing was applied.
func Unavailable(object, found string) *Error {
	return &Error{Code: CodeUnavailable, Object: object, Text: "no result, nothing was applied", State: found,
		Next: "try again; muster status shows which nodes are missing"}
}

// MaybeApplied says that there was no result, and that nobody knows whether
// there will be one.
func MaybeApplied(object, found string) *Error {
	return &Error{Code: CodeMaybeApplied, Object: object, Text: "no result, it may have been applied", State: found,
		Next: "read it before you send it again"}
}

// Unauthorized refuses a caller that may not do this or has another secret.
func Unauthorized(object, found, next string) *Error {
	return &Error{Code: CodeUnauthorized, Object: object, Text: "not permitted", State: found, Next: next}
}

// WrongCluster refuses a caller that belongs to another cluster.
func WrongCluster(object, found, next string) *Error {
	return &Error{Code: CodeWrongCluster, Object: object, Text: "belongs to another cluster", State: found, Next: next}
}

// WrongVersion refuses a caller that speaks only versions lowest to highest.
func WrongVersion(object string, lowest, highest uint8) *Error {
	return &Error{Code: CodeWrongVersion, Object: object, Text: "no common version of the protocol",
		State: fmt.Sprintf("it speaks %d to %d, the other side %d to %d", lowest, highest, VersionMin, VersionMax),
		Next:  "install the same release of muster on both"}
}

// Damaged says that bytes differ from what was written; object says where.
func Damaged(object, found, next string) *Error {
	return &Error{Code: CodeDamaged, Object: object, Text: "damaged", State: found, Next: next}
}

// Unreached refuses a host that asks to be taken in, and can't be reached at the address
// that it gave.
func Unreached(n raft.NodeID, addr, found string) *Error {
	return &Error{Code: CodeUnavailable, Object: nodeObject(n, addr), Text: "not reached there, so it is not taken in", State: found,
		Next: "start it with --advertise and an address at which the members reach it, and see that nothing in between keeps them from it"}
}

// StaleSession says that the outcome of a write is no longer known.
func StaleSession(object, found string) *Error {
	return &Error{Code: CodeStaleSession, Object: object, Text: "its outcome is no longer known", State: found,
		Next: "read the key to see whether it was applied, then begin a new session"}
}

// UnknownNode refuses a node that is not on the peer list, or is an older life
// of one that is.
func UnknownNode(n raft.NodeID, found, next string) *Error {
	return &Error{Code: CodeUnknownNode, Object: "node " + n.String(), Text: "not a member", State: found, Next: next}
}

// OverLevel refuses something above the cluster's level.
func OverLevel(object string, needs, level uint32) *Error {
	return &Error{Code: CodeLevel, Object: object, Text: "above the cluster's level",
		State: fmt.Sprintf("it needs level %d, the cluster is at %d", needs, level),
		Next:  "upgrade all nodes first"}
}

// Behind refuses a member whose build understands no more than level, where the
// cluster is at another.
func Behind(n raft.NodeID, addr string, level, cluster uint32) *Error {
	return &Error{Code: CodeLevel, Object: nodeObject(n, addr), Text: "below the cluster's level",
		State: fmt.Sprintf("its muster understands level %d, the cluster is at level %d", level, cluster),
		Next:  "start the newer muster there, as on the other nodes"}
}

// Outgrown refuses to start where a newer build ran before, and has left what this one
// does not understand.
func Outgrown(object string, found error) *Error {
	return &Error{Code: CodeLevel, Object: object, Text: "of a newer muster", State: found.Error(),
		Next: "start the muster that ran here last, or a newer one"}
}

// Unlike refuses a host that would found a cluster with others of another level.
func Unlike(n raft.NodeID, addr string, theirs, mine uint32) *Error {
	return &Error{Code: CodeLevel, Object: nodeObject(n, addr), Text: "founding hosts of two levels",
		State: fmt.Sprintf("its muster understands level %d, this one level %d", theirs, mine),
		Next:  "found the cluster with the same release of muster on all hosts; upgrade them afterwards"}
}

// NotReady says that the cluster is not founded yet, or that the node has just
// started; found says who is missing. It passes by itself after
// retryAfter; 0 if nobody can tell, for example while other hosts are missing.
func NotReady(object, found, next string, retryAfter time.Duration) *Error {
	return &Error{Code: CodeNotReady, Object: object, Text: "not ready", State: found, Next: next,
		RetryAfterMs: uint32(retryAfter.Milliseconds())}
}

// Full refuses a write because disks have no room; found says which.
func Full(object, found string, retryAfter time.Duration) *Error {
	return &Error{Code: CodeFull, Object: object, Text: "no room on disk, nothing was applied", State: found,
		RetryAfterMs: uint32(retryAfter.Milliseconds()),
		Next:         "make room there: delete other files or enlarge the disk; deleting keys is possible, and writes go on by themselves"}
}

// Removed tells a node that it is no member any more, for good: its id never comes back.
func Removed(n raft.NodeID, found string) *Error {
	return &Error{Code: CodeRemoved, Object: "node " + n.String(), Text: "it was removed from the cluster", State: found,
		Next: "stop it for good; to use the host again, start it with an empty data directory and add it as a new node"}
}

// OverLimit says that a write would exceed what there may be of a prefix.
func OverLimit(object, found, next string) *Error {
	return &Error{Code: CodeOverLimit, Object: object, Text: "over its limit, nothing was applied", State: found, Next: next}
}

// WaitForLimit says that it is not known yet whether a write fits into the limit of a prefix, or that it is
// too soon for it.
func WaitForLimit(object, text, found string, retryAfter time.Duration) *Error {
	retryAfter = wholeMilliseconds(retryAfter)
	return &Error{Code: CodeBusy, Object: object, Text: text, State: found,
		RetryAfterMs: uint32(retryAfter.Milliseconds()), Next: "try again after " + retryAfter.String()}
}
