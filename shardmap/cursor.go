package shardmap

import (
	"slices"

	"muster/raft"
)

// History returns the history of m, always the same one: [Map.Load] replaces what is in it.
// Any goroutine may read it.
func (m *Map) History() *History { return m.history }

// Keeps reports whether the map keeps a history: an entry of [CommandRaise] has begun it.
func (h *History) Keeps() bool { return h.ring.Load() != nil }

// Bounds returns what there is to read: all events of the entries after floor, up to head,
// which is the map's applied entry. Before there is a history, both are that entry.
func (h *History) Bounds() (floor, head raft.LogID) {
	// In this order: what lets the floor rise comes before the entry is applied that does it.
	r := h.ring.Load()
	head = h.m.Applied()
	if r == nil {
		return head, head
	}
	return r.blocks[0].before.ID, head
}

// Behind returns how many bytes of events a reader has before it that has seen all up to a
// position, in whole blocks, and how many there may be before events go that it has not seen.
func (h *History) Behind(at Position) (bytes, most int) {
	r := h.ring.Load()
	if r == nil {
		return 0, h.max
	}
	end, _ := splitPlace(r.end.Load())
	for n := r.seek(at); n < end; n++ {
		bytes += len(r.blocks[n-r.first].buf)
	}
	return bytes, h.max
}

// Cursor is a place in a history. One goroutine at a time uses it. It keeps no memory alive: a
// cursor that is not moved on falls behind the floor.
type Cursor struct {
	h *History
	// at: all events up to it were seen.
	at Position
	// place is where the next event begins, or the events before it that were seen. A place
	// before the first block is none: what follows at is looked for.
	place uint64
	found Place // of the last event
	lost  bool
}

// Cursor returns a cursor behind a position, which the caller must close. It returns false,
// and no cursor, if events after the position have gone, or the map keeps no history.
func (h *History) Cursor(after Position) (Cursor, bool) {
	h.readers.Add(1) // before the ring is read
	c := Cursor{h: h, at: after}
	if r := h.ring.Load(); r == nil || after.Before(r.blocks[0].before) && !bug("watch event lost at compaction") {
		c.Close()
		return Cursor{}, false
	}
	return c, true
}

// Close ends the use of the cursor. A second Close does nothing.
func (c *Cursor) Close() {
	if c.h != nil {
		c.h.readers.Add(-1)
		c.h = nil
	}
}

// Next reads the next event into e. It returns false if there is none yet, or if the cursor is
// [Cursor.Lost]. What e aliases does not change until the cursor is closed.
func (c *Cursor) Next(e *Event) bool {
	if c.h == nil {
		return false // it was closed, or is none
	}
	r := c.h.ring.Load()
	if r == nil || c.lost {
		c.lost = true // a state without a history was loaded
		return false
	}
	block, offset := splitPlace(c.place)
	if block < r.first {
		if c.at.Before(r.blocks[0].before) && !bug("watch event lost at compaction") {
			c.lost = true
			return false
		}
		block, offset = r.seek(c.at), 0
	}
	endBlock, endOffset := splitPlace(r.end.Load())
	for {
		b := r.blocks[block-r.first]
		switch {
		case block == endBlock && offset == endOffset:
			c.place = historyPlace(block, offset)
			return false
		case block < endBlock && offset == b.used:
			block, offset = block+1, 0
			continue
		}
		from := offset
		offset += readEvent(b.buf[from:], e)
		// What lies between the beginning of the block and the position was seen.
		if at := e.Position(); c.at.Before(at) {
			c.at, c.place, c.found = at, historyPlace(block, offset), Place(historyPlace(block, from))
			return true
		}
	}
}

// Lost reports whether Next has found that events behind the cursor's position have gone. It
// finds none from then on.
func (c *Cursor) Lost() bool { return c.lost }

// At returns the position up to which the cursor has seen all events.
func (c *Cursor) At() Position { return c.at }

// seek returns the block in which the first event behind a position lies, or the block before
// that one. No event behind the position has gone.
func (r *historyRing) seek(at Position) uint64 {
	end, _ := splitPlace(r.end.Load())
	readable := r.blocks[:end-r.first+1] // later ones have nothing to be read yet
	after, _ := slices.BinarySearchFunc(readable[1:], at, func(b *historyBlock, at Position) int {
		if at.Before(b.before) {
			return 1
		}
		return -1
	})
	return r.first + uint64(after)
}

// Place is where an event lies in a history. No two events of a history ever have the same
// place, even if one has gone, or a state was loaded between them.
type Place uint64

// Place returns the place of the event that Next found last.
func (c *Cursor) Place() Place { return c.found }

// At reads the event at a place, which a cursor of this history has found, into e; it returns
// false if the event has gone. The caller has a cursor that is not closed: what e aliases does
// not change until then.
func (h *History) At(p Place, e *Event) bool {
	r := h.ring.Load()
	block, offset := splitPlace(uint64(p))
	if r == nil || block < r.first {
		return false
	}
	readEvent(r.blocks[block-r.first].buf[offset:], e)
	return true
}
