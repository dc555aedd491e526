package mover

import (
	"time"

	"muster/raft"
	"muster/shardmap"
)

// How long an action may take until it counts as failed.
const (
	stepMax = 5 * time.Second
	viewMax = 3 * time.Second
	hereMax = 3 * time.Second // for a copy or decisions, which the node's own replica answers
)

func (k CarryKind) most() time.Duration {
	switch k {
	case CarryView:
		return viewMax
	case CarryCopy, CarryDecisions:
		return hereMax
	}
	return stepMax
}

// trip is an action that has not ended.
type trip struct {
	kind    CarryKind
	group   raft.GroupID
	what    What
	carries []*carry  // by slot, as they stand in the command
	streams []*stream // of each, when it was sent; of chunks, takeovers and copies
	bytes   int       // of content
	sweep   *sweep    // of a look at decisions; nil otherwise
	began   time.Duration
	until   time.Duration
}

// far is what is known of a group that steps go to, the meta group too.
type far struct {
	bytes    int           // of chunks under way
	failures int           // in a row
	retryAt  time.Duration // before which nothing goes there
	failedAt time.Duration
	err      error // the last failure; nil: it answered since
	// refused is how many chunks have failed there in a row, and chunkAt before when none
	// goes there. A group whose disk is full answers all else.
	refused int
	chunkAt time.Duration
}

const (
	// farPause is how long nothing goes to a group where an action has failed. It doubles
	// up to farPauseMax.
	farPause    = 50 * time.Millisecond
	farPauseMax = 2 * time.Second
	// farGiveUp is after how many failures, of all or of chunks alone, the copies are given
	// up that were for it.
	farGiveUp = 4
)

func (c *Carrier) far(g raft.GroupID) *far {
	f := c.fars[g]
	if f == nil {
		f = new(far)
		c.fars[g] = f
	}
	return f
}

// rests reports whether nothing goes to a group for now, and has Turn called when it does.
func (c *Carrier) rests(now time.Duration, g raft.GroupID) bool {
	at := c.far(g).retryAt
	if at > now {
		c.wake = min(c.wake, at)
	}
	return at > now
}

// reached notes that a group has answered.
func (c *Carrier) reached(g raft.GroupID) {
	f := c.far(g)
	f.failures, f.retryAt, f.err = 0, 0, nil
}

// chunksRest reports whether no chunk goes to a group for now, and has Turn called when
// one does.
func (c *Carrier) chunksRest(now time.Duration, g raft.GroupID) bool {
	at := c.far(g).chunkAt
	if at > now {
		c.wake = min(c.wake, at)
	}
	return at > now
}

// launch hands an action to the owner with this turn.
func (c *Carrier) launch(now time.Duration, a CarryAction, f *trip) {
	c.number++
	a.Number = c.number
	row, _ := c.table.Group(a.Group)
	a.Incarnation = row.Incarnation
	f.kind, f.group = a.Kind, a.Group
	f.began, f.until = now, now+a.Kind.most()
	for i, k := range f.carries {
		switch {
		case f.what == wantView:
			k.side(f.group).asking = true
		case f.what == Chunk:
			f.streams[i].flying++
		default:
			k.under |= f.what
		}
	}
	c.far(a.Group).bytes += f.bytes
	c.flights[a.Number] = f
	c.actions = append(c.actions, a)
}

// land ends an action; nil if it had ended.
func (c *Carrier) land(number uint64) *trip {
	f := c.flights[number]
	if f == nil {
		return nil
	}
	delete(c.flights, number)
	if f.sweep != nil {
		c.landed(f.sweep)
	}
	c.far(f.group).bytes -= f.bytes
	for i, k := range f.carries {
		switch {
		case f.what == wantView:
			k.side(f.group).asking = false
		case f.what == Chunk:
			f.streams[i].flying--
		default:
			k.under &^= f.what
		}
	}
	return f
}

// fail notes that nothing is known of what became of an action that has ended.
func (c *Carrier) fail(now time.Duration, f *trip, err error) {
	if o := c.far(f.group); f.began >= o.failedAt {
		// What was under way together fails together.
		o.retryAt = now + doubled(farPause, o.failures, farPauseMax)
		o.failures, o.failedAt, o.err = o.failures+1, now, err
		if f.what == Chunk {
			o.chunkAt = now + min(farPause<<min(o.refused, 16), farPauseMax)
			o.refused++
		}
	}
	c.lost(f)
	if f.sweep != nil {
		f.sweep.due = true
	}
}

// lost has the slots looked at that a step was about.
func (c *Carrier) lost(f *trip) {
	if f.kind != CarryStep || f.group == 0 {
		return
	}
	for i, k := range f.carries {
		k.side(f.group).unsure = true
		if f.streams != nil && f.streams[i] != nil {
			f.streams[i].halt = true
		}
	}
}

// endMeta notes that the meta group has applied a step. If the table here does not show it
// yet, it will.
func (c *Carrier) endMeta(now time.Duration, f *trip) {
	for _, k := range f.carries {
		m := &k.move
		shown := f.what == Record && m.State != shardmap.MoveOpen || f.what == Close && m.State == Closed || f.what == Flag && m.Cancelled
		if !shown {
			k.sayAt = now + sayAgain
		}
	}
}

// expire ends actions whose time is over.
func (c *Carrier) expire(now time.Duration) {
	for _, n := range inOrder(c.flights) {
		if f := c.flights[n]; now >= f.until {
			c.land(n)
			c.fail(now, f, errNoAnswer)
		}
	}
}
