package cmd

import (
	"context"
	"fmt"
	"slices"

	"muster/raft"
	"muster/repl/wire"
)

// cursor reads the log of a group on one side, a page at a time.
type cursor struct {
	side  logSide
	group raft.GroupID
	first *wire.LogRangeAnswer // bounds, as of the first question
	page  *wire.LogRangeAnswer
	at    int    // in page.Entries
	next  uint64 // the index to ask from; 0: no more
	lost  []spanRow
}

func newCursor(ctx context.Context, side logSide, g raft.GroupID) (*cursor, error) {
	c := &cursor{side: side, group: g}
	a, err := side.logRange(ctx, wire.LogRange{Group: g})
	if err != nil {
		return nil, err
	}
	c.first, c.page, c.next = a, a, a.Base.Index+1
	return c, nil
}

// entry returns the entry that the cursor is at, or false at the end.
func (c *cursor) entry(ctx context.Context) (*wire.LogEntry, bool, error) {
	for c.at >= len(c.page.Entries) {
		if c.next == 0 {
			return nil, false, nil
		}
		a, err := c.side.logRange(ctx, wire.LogRange{Group: c.group, From: c.next, To: ^uint64(0)})
		if err != nil {
			return nil, false, err
		}
		if a.Incarnation != c.first.Incarnation {
			return nil, false, fmt.Errorf("group %d of %s was made anew meanwhile; run it again", c.group, c.side.name())
		}
		for _, s := range a.Lost {
			c.lost = append(c.lost, spanRow(s))
		}
		if a.Next <= c.next {
			a.Next = 0
		}
		c.page, c.at, c.next = a, 0, a.Next
	}
	return &c.page.Entries[c.at], true, nil
}

// hasLost reports whether an index that the cursor has passed can't be read.
func (c *cursor) hasLost(index uint64) bool {
	return slices.ContainsFunc(c.lost, func(s spanRow) bool { return s.First <= index && index <= s.Last })
}

// committed reports whether the entry that the cursor is at can't change any more,
// as its side knew when it listed it.
func (c *cursor) committed(e *wire.LogEntry) bool {
	return e.Index <= max(c.page.Commit, c.page.Applied)
}

func (c *cursor) row(e *wire.LogEntry) diffEntry {
	return diffEntry{
		LogID: raft.FormatLogID(c.group, e.ID()), Checksum: fmt.Sprintf("%08x", e.Checksum), Kind: e.Kind.String(),
		Bytes: e.Bytes, Committed: c.committed(e), index: e.Index,
	}
}
