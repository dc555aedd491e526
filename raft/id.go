package raft

import (
	"fmt"
	"strconv"
	"strings"
)

// NodeID names one node, that is one process with one data directory. It is
// random, never zero, and written as 16 hexadecimal digits.
type NodeID uint64

func (n NodeID) String() string { return fmt.Sprintf("%016x", uint64(n)) }

// GroupID names a group: 0 is the meta group, 1 to [GroupMax] own slots.
type GroupID uint16

// GroupMax is the largest group number.
const GroupMax GroupID = 9999

func (g GroupID) String() string { return "g" + strconv.Itoa(int(g)) }

// Incarnation tells two groups of one number apart: it is the index in the
// meta group's log of the entry that made the group. Anything that carries an older
// one is dropped. The meta group's own is 1.
type Incarnation uint64

// ReplicaID names one member of a group. It is allotted by the entry that
// makes the member and never used again, not even for the same node: a
// replica that lost what it promised comes back under another id. Zero is
// nobody.
type ReplicaID uint64

// LogID names one entry of a group's log: the term of the leader that made it,
// and its place. Two logs of a group that hold the same LogID are the same up
// to there (Raft, section 5.3).
type LogID struct {
	Term, Index uint64
}

func (id LogID) String() string { return fmt.Sprintf("%d.%d", id.Term, id.Index) }

// NewerOrEqual reports whether a log that ends with id is at least as up to date
// as one that ends with other (Raft, section 5.4.1).
func (id LogID) NewerOrEqual(other LogID) bool {
	if id.Term != other.Term {
		return id.Term > other.Term
	}
	return id.Index >= other.Index
}

// FormatLogID writes a log id together with its group, as "g3/7.10432".
func FormatLogID(g GroupID, id LogID) string { return g.String() + "/" + id.String() }

// ParseLogID reads what [FormatLogID] wrote.
func ParseLogID(s string) (GroupID, LogID, error) {
	bad := func() (GroupID, LogID, error) {
		return 0, LogID{}, fmt.Errorf("log id %q: want gGROUP/TERM.INDEX, as in g3/7.10432", s)
	}
	rest, ok := strings.CutPrefix(s, "g")
	if !ok {
		return bad()
	}
	group, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return bad()
	}
	term, index, ok := strings.Cut(rest, ".")
	if !ok {
		return bad()
	}
	g, err := strconv.ParseUint(group, 10, 16)
	if err != nil || GroupID(g) > GroupMax {
		return bad()
	}
	t, err := strconv.ParseUint(term, 10, 64)
	if err != nil {
		return bad()
	}
	i, err := strconv.ParseUint(index, 10, 64)
	if err != nil {
		return bad()
	}
	return GroupID(g), LogID{Term: t, Index: i}, nil
}
