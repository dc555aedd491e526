package shardmap

// countLeavesMax bounds the leaves that one page of a count looks at, some two milliseconds: each
// leads to at most [leafMax] keys and costs a line of memory.
const countLeavesMax = 16 << 10

// CountLimits bound one page of a count.
type CountLimits struct {
	Keys int // at most so many are counted; 0: all that a page may look at
	// From is the least key that may be counted, To the least above it that may not; without
	// bytes: none.
	From, To []byte
}

// Count counts the keys with prefix: slot by slot, those of one slot in order, from behind a key on
// (empty: all). If there may be more, last is the key up to which they are counted: count on after
// it. The prefix is the one for which the moment was taken, or a longer one.
//
// It reads two keys of each slot, and of the rest only how many there are.
func (t *Moment) Count(prefix, after []byte, l CountLimits) (n uint64, last []byte, more bool) {
	bounds := ListLimits{From: l.From, To: l.To}
	h := newLister(prefix, nil, &bounds)
	c := counter{end: h.high, keys: l.Keys, leaves: countLeavesMax}
	if c.keys <= 0 {
		c.keys = countLeavesMax * leafMax
	}
	begin, behind := Slot(0), h // behind is for the slot in which the count goes on
	if len(after) > 0 {
		begin, behind = SlotOf(after), newLister(prefix, after, &bounds)
	}
	of := func(s Slot) *lister {
		if s == begin {
			return &behind
		}
		return &h
	}
	if t.one != nil {
		s, _ := SlotOfPrefix(prefix)
		if s < begin {
			return 0, nil, false
		}
		if at, rec := of(s).first(&t.one.view); rec != nil {
			last, more = c.count(at)
		}
		return c.n, last, more
	}
	if t.number == 0 {
		return 0, nil, false
	}
	for s := range eachOf(t.shown()) {
		if s < begin {
			continue
		}
		found := t.slot(s, of(s).first)
		if found.record == nil {
			continue
		}
		last, more = c.count(found.cursor)
		found.release()
		if more {
			break
		}
	}
	return c.n, last, more
}

// counter counts what is left of a page.
type counter struct {
	end          []byte // above all that are counted; nil: nothing is
	n            uint64
	keys, leaves int // that may still be counted, or looked at
}

// count counts the keys of a slot from a cursor on. If the page is full then, more is true, and last
// the key that was counted last.
func (c *counter) count(at cursor) (last []byte, more bool) {
	stop := at.v.seekEnd(c.end)
	for {
		left := stop.pos - at.pos
		if at.leaf < stop.leaf {
			left = at.v.leaf(at.leaf).len() - at.pos
		}
		left = min(left, c.keys)
		at.pos += left
		c.n += uint64(left)
		c.keys -= left
		if c.leaves--; c.leaves <= 0 || c.keys <= 0 {
			if bug("a key counted twice") && at.pos > 1 {
				at.pos--
			}
			return append([]byte(nil), at.previous().key()...), true
		}
		if at.leaf == stop.leaf {
			return nil, false
		}
		at.leaf, at.pos = at.leaf+1, 0
	}
}
