package shardmap

import "fmt"

// LeftOut is what [MapCopy.WriteTo] could not write of a state that memory no longer holds as it
// was written, because what leads there leads nowhere.
type LeftOut struct {
	Leaves   int // of the order of keys, each with up to 122 records
	Records  int // that a leaf should lead to
	Sessions int // that were written without their outcomes
	Details  int // of outcomes
	Blocks   int // of the history, that were written empty
}

func (l LeftOut) String() string {
	return fmt.Sprintf("%d leaves, %d records, outcomes of %d sessions, %d details, %d blocks of the history", l.Leaves, l.Records, l.Sessions, l.Details, l.Blocks)
}

func (l *LeftOut) add(o LeftOut) {
	l.Leaves += o.Leaves
	l.Records += o.Records
	l.Sessions += o.Sessions
	l.Details += o.Details
	l.Blocks += o.Blocks
}

// Unchecked has [MapCopy.WriteTo] write what memory holds, right or wrong, so that a person can see
// it. Where something leads nowhere it is left out; [MapCopy.LeftOut] says how much. The digests
// in what is written are those that were kept, so a state whose bytes are not what they were can't
// be loaded by mistake.
func (c *MapCopy) Unchecked() { c.left = new(LeftOut) }

// LeftOut returns what WriteTo has left out so far.
func (c *MapCopy) LeftOut() LeftOut {
	if c.left == nil {
		return LeftOut{}
	}
	return *c.left
}

// unreached is what a view leads to in vain.
type unreached struct {
	leaves, records int
	err             error // of what was called
}

// reach calls f for all records that a view leads to, in order, until it returns an error. Unlike
// a cursor it trusts no place and no length.
func (v *view) reach(f func(record) error) (lost unreached) {
	for i := range v.leaves {
		l, ok := v.leafReached(i)
		if !ok {
			lost.leaves++
			continue
		}
		for pos := range l.len() {
			rec, ok := v.recordAt(l.ref(pos))
			if !ok {
				lost.records++
				continue
			}
			if lost.err = f(rec); lost.err != nil {
				return lost
			}
		}
	}
	return lost
}

// leafReached returns leaf i, if there can be one where it should lie.
func (v *view) leafReached(i int) (leaf, bool) {
	r := v.leaves[i].ref
	if r.chunk() >= len(v.bufs) || r.offset()+leafSize > len(v.bufs[r.chunk()]) {
		return nil, false
	}
	l := v.leafAt(r)
	n := l.len()
	return l, record(l).kind() == kindLeaf && n >= 0 && n <= leafMax
}

// reached returns how many records and sessions of the copy can be written, and counts the others.
func (c *SlotCopy) reached(left *LeftOut) (records, sessions int) {
	for i := range c.kinds {
		lost := c.kinds[i].view.reach(func(record) error { records++; return nil })
		left.Leaves += lost.leaves
		left.Records += lost.records
	}
	_ = c.sessions.each(func(*session) error { sessions++; return nil })
	return records, sessions
}

// reached returns the session without what can't be reached, which it counts.
func (s *session) reached(left *LeftOut) *session {
	if int(s.head) > len(s.outcomes) {
		left.Sessions++
		bare := *s
		bare.outcomes, bare.head = nil, 0
		return &bare
	}
	var made []outcome
	for i := range s.kept() {
		if o := &s.kept()[i]; o.detailed && !s.holds(o) {
			if made == nil {
				made = append(made, s.kept()...)
			}
			left.Details++
			made[i].detailed, made[i].deleted = false, 0
		}
	}
	if made == nil {
		return s
	}
	bare := *s
	bare.outcomes, bare.head = made, 0
	return &bare
}
