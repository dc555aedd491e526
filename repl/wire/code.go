package wire

import "fmt"

// Code says which kind of thing went wrong. The list is closed and only ever
// grows at its end: programs decide by it.
type Code uint16

const (
	CodeBadRequest   Code = 1  // the request has no meaning
	CodeTooLarge     Code = 2  // something is over a limit
	CodeNotFound     Code = 3  // the named object does not exist
	CodeConflict     Code = 4  // the condition does not hold
	CodeNotLeader    Code = 5  // another node leads the group
	CodeMoved        Code = 6  // another group owns the slot
	CodeBusy         Code = 7  // a queue is full
	CodeUnavailable  Code = 8  // no majority, no leader, or no result in time; nothing was applied
	CodeMaybeApplied Code = 9  // as unavailable, but it may have been, or may yet be, applied
	CodeUnauthorized Code = 10 // not permitted, or the wrong secret
	CodeWrongCluster Code = 11 // the other side belongs to another cluster
	CodeWrongVersion Code = 12 // no common version of the protocol
	CodeDamaged      Code = 13 // bytes on a disk or on the wire differ from what was written
	CodeStaleSession Code = 14 // the outcome of so old a write is no longer known
	CodeUnknownNode  Code = 15 // the node is not on the peer list, or is an older life
	CodeLevel        Code = 16 // above the cluster's level, or a member below it
	CodeNotReady     Code = 17 // the cluster is not founded yet, or the node has just started
	CodeFull         Code = 18 // the disks that the write needs have no room
	CodeRemoved      Code = 19 // the node was taken off the peer list, for good
	CodeOverLimit    Code = 20 // a limit of what there may be of a prefix is in the way
)

// codeEnd is above every code.
const codeEnd = 21

// Retry reports whether the same request can do better later or elsewhere.
type Retry uint8

const (
	RetryNever     Retry = iota // not without a change to the request, or to the cluster by an operator
	RetrySameNode               // later, here; see Error.RetryAfterMs
	RetryOtherNode              // at once, at Error.LeaderAddr if there is one, else at any other
	RetryRefresh                // after fetching the slot table again
)

func (r Retry) String() string {
	return [...]string{"never", "same node, later", "another node", "refresh the table"}[r]
}

// codes has one row for each code.
var codes = [codeEnd]struct {
	name  string
	retry Retry
	exit  int // status of a command that ends with it
}{
	CodeBadRequest:   {"bad-request", RetryNever, 1},
	CodeTooLarge:     {"too-large", RetryNever, 1},
	CodeNotFound:     {"not-found", RetryNever, 4},
	CodeConflict:     {"conflict", RetryNever, 5},
	CodeNotLeader:    {"not-leader", RetryOtherNode, 6},
	CodeMoved:        {"moved", RetryRefresh, 6},
	CodeBusy:         {"busy", RetrySameNode, 6},
	CodeUnavailable:  {"unavailable", RetrySameNode, 6},
	CodeMaybeApplied: {"maybe-applied", RetryNever, 6},
	CodeUnauthorized: {"unauthorized", RetryNever, 7},
	CodeWrongCluster: {"wrong-cluster", RetryNever, 1},
	CodeWrongVersion: {"wrong-version", RetryNever, 1},
	CodeDamaged:      {"damaged", RetryOtherNode, 1},
	CodeStaleSession: {"stale-session", RetryNever, 6},
	CodeUnknownNode:  {"unknown-node", RetryNever, 1},
	CodeLevel:        {"level", RetryNever, 1},
	CodeNotReady:     {"not-ready", RetrySameNode, 6},
	CodeFull:         {"full", RetrySameNode, 6},
	CodeRemoved:      {"removed", RetryNever, 1},
	CodeOverLimit:    {"over-limit", RetryNever, 1},
}

// Known reports whether this version has the code.
func (c Code) Known() bool { return c < codeEnd && codes[c].name != "" }

func (c Code) String() string {
	if c.Known() {
		return codes[c].name
	}
	return fmt.Sprintf("code %d", uint16(c))
}

// Retry reports whether the same request can do better. For a code of a newer
// version it returns RetryNever, because nobody knows.
func (c Code) Retry() Retry {
	if c.Known() {
		return codes[c].retry
	}
	return RetryNever
}

// ExitStatus is the status of a command that ends with the code.
func (c Code) ExitStatus() int {
	if c.Known() {
		return codes[c].exit
	}
	return 1
}
