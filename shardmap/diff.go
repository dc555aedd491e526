package shardmap

import (
	"bytes"
	"fmt"
	"slices"
)

// Diff is what changed in a slot from one copy to a later one, in pieces: the content that
// turns an import of the old into the new. It holds cursors into the two copies and nothing
// else, and the caller keeps both until it is done.
//
// What the two copies share by pointer is skipped unread: leaves of records, and blocks of
// sessions. That is safe because of what a copy does to its writer (store.go): it changes
// nothing in place that is older than the newest copy, so two copies that have the same
// leaf have the same records in it. So a pass over a slot in which little changed costs
// the walk over the list of its leaves.
type Diff struct {
	old, now *SlotCopy
	kinds    []RecordKind // that either copy has records of
	kind     int          // of kinds, which it is at; len(kinds): at the sessions
	records  viewDiff
	sessions sessionDiff
	begun    bool // records are those of kind
	pieces   int  // that Next has returned
	done     bool
	err      error
}

// NewDiff returns the difference between two copies of one slot, of which old was taken
// first and from the same map. old may be nil: then all of now is new.
func NewDiff(old, now *SlotCopy) *Diff {
	d := &Diff{old: old, now: now}
	d.sessions.now.v, d.sessions.old.v = &now.sessions, new(sessionView)
	if old != nil {
		d.sessions.old.v = &old.sessions
	}
	// A kind of which now has none is not among its views if the map was read from a snapshot
	// since old was taken.
	for _, c := range []*SlotCopy{old, now} {
		for i := 0; c != nil && i < len(c.kinds); i++ {
			if at, ok := slices.BinarySearch(d.kinds, c.kinds[i].kind); !ok {
				d.kinds = slices.Insert(d.kinds, at, c.kinds[i].kind)
			}
		}
	}
	return d
}

// Next returns content for the next piece: items until they have max bytes, which the last
// may pass by a record of [ValueMaxLimit]. more is false with the last, in which the
// pass ends. What memory no longer holds as it was written is an error, and stays one: the
// caller must send nothing of this slot.
func (d *Diff) Next(max int) (content []byte, more bool, err error) {
	if d.err != nil || d.done {
		return nil, false, d.err
	}
	if n := d.guess(min(max, ChunkSize)); n > 0 {
		content = make([]byte, 0, n+contentSpare)
	}
	d.pieces++
	for {
		n := len(content)
		if content, d.err = d.item(content); d.err != nil {
			return nil, false, d.err
		}
		if len(content) == n {
			d.done = true
			return appendEndItem(content, d.now.last, d.now.ahead, d.now.formers), false, nil
		}
		if len(content) >= max {
			return content, true, nil
		}
	}
}

// contentSpare is room for the item that passes the bytes asked for, if it is small, and for
// the end of a pass.
const contentSpare = 4 << 10

// guess returns for how many bytes the next piece needs room at once, rather than as it
// grows. Where one piece was full, the next mostly is; a first pass has about as much as
// lies in the slab. Nothing is known of how much changed, and mostly it is little.
func (d *Diff) guess(max int) (n int) {
	if d.pieces > 0 {
		return max
	}
	if d.old != nil {
		return 0
	}
	for i := range d.now.kinds {
		for _, buf := range d.now.kinds[i].view.bufs {
			if n += len(buf); n >= max {
				return max
			}
		}
	}
	return n
}

// item appends the next item; none when there are no more.
func (d *Diff) item(b []byte) ([]byte, error) {
	for ; d.kind < len(d.kinds); d.kind, d.begun = d.kind+1, false {
		kind := d.kinds[d.kind]
		if !d.begun {
			d.records, d.begun = viewDiff{cursor{v: d.old.viewOf(kind)}, cursor{v: d.now.viewOf(kind)}}, true
		}
		rec, gone := d.records.next()
		if gone != nil {
			return appendRecordGoneItem(b, kind, gone), nil
		}
		if rec == nil {
			continue
		}
		// The target will serve what stands here, and others have no copy of it.
		if h := rec.computeHash(); h != rec.hash() || rec.kind() != kind {
			return b, rec.rotten(d.now.slot, h)
		}
		return appendRecordItem(b, rec), nil
	}
	switch s, gone := d.sessions.next(); {
	case gone != nil:
		return appendSessionGoneItem(b, gone.sessionKey), nil
	case s != nil:
		if err := s.check(); err != nil {
			return b, fmt.Errorf("%w: slot %d: %w", ErrInvariant, d.now.slot, err)
		}
		return appendSessionItem(b, s), nil
	}
	return b, nil
}

// viewOf returns the records of a kind in a copy; none if there is no copy.
func (c *SlotCopy) viewOf(k RecordKind) *view {
	if c != nil {
		for i := range c.kinds {
			if c.kinds[i].kind == k {
				return &c.kinds[i].view
			}
		}
	}
	return new(view)
}

// viewDiff walks two views of one store side by side, in the order of keys.
//
// A leaf that both have is skipped when both cursors are at its beginning. They come there
// together: all keys before it stand in leaves before it, in both views, and until both
// cursors have passed those, the one that is behind has a lower key than the leaf's first.
type viewDiff struct {
	old, now cursor
}

// next returns the next record of the new view that the old one has not, or a record of the
// old one whose key is gone; neither at the end.
func (d *viewDiff) next() (changed record, gone []byte) {
	for {
		was, is := d.old.record(), d.now.record() // which leads from the end of a leaf to the next
		if was == nil && is == nil {
			return nil, nil
		}
		if was != nil && is != nil {
			if d.old.pos == 0 && d.now.pos == 0 && &d.old.v.leaf(d.old.leaf)[0] == &d.now.v.leaf(d.now.leaf)[0] {
				d.old.leaf++
				d.now.leaf++
				continue
			}
			if &was[0] == &is[0] { // the same bytes: nobody has read them for that
				d.old.next()
				d.now.next()
				continue
			}
		}
		order := 0
		switch {
		case was == nil:
			order = 1
		case is == nil:
			order = -1
		default:
			order = bytes.Compare(was.key(), is.key())
		}
		if order <= 0 {
			d.old.next()
		}
		if order >= 0 {
			d.now.next()
		}
		switch {
		case order < 0:
			return nil, was.key()
		case order > 0 || was.hash() != is.hash(): // it covers the version
			return is, nil
		}
	}
}

// sessionDiff walks the sessions of two copies side by side, by id and principal. Blocks
// that both have are skipped as leaves are.
type sessionDiff struct {
	old, now sessionCursor
}

// next returns the next session of the new copy that the old one has not, or has
// otherwise, or one of the old copy that is gone; neither at the end.
func (d *sessionDiff) next() (changed, gone *session) {
	for {
		was, is := d.old.session(), d.now.session()
		switch {
		case was == nil && is == nil:
			return nil, nil
		case was == nil || is != nil && is.below(was.sessionKey):
			d.now.at++
			return is, nil
		case is == nil || was.below(is.sessionKey):
			d.old.at++
			return nil, was
		case d.old.at == 0 && d.now.at == 0 && was == is && len(d.old.list()) == len(d.now.list()):
			d.old.block++
			d.now.block++
			continue
		}
		d.old.at++
		d.now.at++
		if !was.same(is) {
			return is, nil
		}
	}
}

// sessionCursor walks the sessions of a copy.
type sessionCursor struct {
	v         *sessionView
	block, at int
}

func (c *sessionCursor) list() []session { return c.v.blocks[c.block].list }

// session returns the session under the cursor, or nil at the end.
func (c *sessionCursor) session() *session {
	for c.block < len(c.v.blocks) {
		if list := c.list(); c.at < len(list) {
			return &list[c.at]
		}
		c.block, c.at = c.block+1, 0
	}
	return nil
}

// same reports whether two states of one session are equal.
func (s *session) same(o *session) bool {
	a, b := s.kept(), o.kept()
	if s == o {
		return true
	}
	if s.sum != o.sum || len(a) != len(b) {
		return false
	}
	if len(a) > 0 && &a[0] == &b[0] {
		return true // what a copy sees of an array is not written again
	}
	for i := range a {
		if a[i].sum != b[i].sum {
			return false
		}
	}
	return true
}

// check recomputes the hashes of a session and of its outcomes.
func (s *session) check() error {
	if h := s.hash(); h != s.sum {
		return fmt.Errorf("session %d has hash %016x, kept was %016x", s.id, h, s.sum)
	}
	for _, o := range s.kept() {
		if h := o.hash(s.sessionKey, s.detail(&o)); h != o.sum {
			return fmt.Errorf("session %d, sequence %d has hash %016x, kept was %016x", s.id, o.sequence, h, o.sum)
		}
	}
	return nil
}
