package shardmap

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"muster/raft"
)

// Position is a place in the events of one group: behind all events of the entries before ID,
// and behind the first N of ID's own.
type Position struct {
	ID raft.LogID
	N  uint32 // or AllEvents
}

// AllEvents is the N of a position behind all events of its entry, however many it has.
const AllEvents = math.MaxUint32

// After returns the position behind all events of entry id.
func After(id raft.LogID) Position { return Position{ID: id, N: AllEvents} }

// Before reports whether p stands before q, a position of the same group. Terms don't matter:
// no two entries that a group applied share an index.
func (p Position) Before(q Position) bool {
	if p.ID.Index != q.ID.Index {
		return p.ID.Index < q.ID.Index
	}
	return p.N < q.N
}

// FormatPosition returns a position of group g as people see it: "g1/2.17" behind all events
// of an entry, "g1/2.17+3" behind its first three.
func FormatPosition(g raft.GroupID, p Position) string {
	if p.N == AllEvents {
		return raft.FormatLogID(g, p.ID)
	}
	return raft.FormatLogID(g, p.ID) + "+" + strconv.FormatUint(uint64(p.N), 10)
}

// ParsePosition reads what [FormatPosition] wrote.
func ParsePosition(s string) (raft.GroupID, Position, error) {
	bad := func() (raft.GroupID, Position, error) {
		return 0, Position{}, fmt.Errorf("position %q: want gGROUP/TERM.INDEX, as in g3/7.10432, or with the number of events seen of that entry, as in g3/7.10432+2", s)
	}
	text, events, some := strings.Cut(s, "+")
	g, id, err := raft.ParseLogID(text)
	if err != nil {
		return bad()
	}
	if !some {
		return g, After(id), nil
	}
	n, err := strconv.ParseUint(events, 10, 32)
	if err != nil || n == AllEvents {
		return bad()
	}
	return g, Position{ID: id, N: uint32(n)}, nil
}
