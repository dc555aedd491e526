package mover

import (
	"time"

	"muster/raft"
	"muster/shardmap"
)

const (
	// helpAfter is for how long nothing happens in a move until the target's leader takes
	// the steps that the source's would take, and helpPause lies between two looks at it.
	helpAfter = 5 * time.Second
	helpPause = 5 * time.Second
	// tidyAfter is how long after a move was closed its target's leader looks whether it
	// has been told to forget it.
	tidyAfter = 2 * time.Second
	// unfitPause is how long a slot is left alone whose step did not fit. It doubles up to
	// unfitPauseMax.
	unfitPause    = 20 * time.Millisecond
	unfitPauseMax = 2 * time.Second
)

// moveKey names the move of one slot.
type moveKey struct {
	slot   shardmap.Slot
	number uint64
}

// carry is one slot's move: what the logs say of it, and what is under way.
type carry struct {
	slot  shardmap.Slot
	helps bool // the target is led here and the source is not; set once

	move     shardmap.Move // of this slot alone, as the table has it
	paused   bool          // its job is
	seen     uint64        // index of the last table that had it
	source   side
	target   side
	stream   *stream
	under    What // steps that are under way
	notEmpty bool // the source would not seal it
	gone     bool // it is not the carrier's any more

	changed  time.Duration // when anything was learnt
	lookAt   time.Duration // of a helper: when it looks next
	looked   bool          // of a helper: it has looked at both logs since
	retryAt  time.Duration // before which nothing is tried
	failures int           // in a row
	sayAt    time.Duration // before which the meta group is not told again
	sealedAt time.Duration // when the seal was heard of
}

// side is what is known of a slot in one of the two logs.
type side struct {
	group  raft.GroupID
	view   *shardmap.SlotView // nil: nothing
	at     uint64             // index as of which
	unsure bool               // a step was sent and nothing is known of it: look again
	asking bool               // a view is under way
}

// known reports whether what the log says is known, and no step since is in doubt.
func (s *side) known() bool { return s.view != nil && !s.unsure }

func (k *carry) key() moveKey { return moveKey{k.slot, k.move.Number} }

func (k *carry) side(g raft.GroupID) *side {
	if g == k.target.group {
		return &k.target
	}
	return &k.source
}

// happened notes that something has happened in the move.
func (k *carry) happened(now time.Duration) {
	k.changed, k.lookAt = now, now+helpAfter
	if k.move.State == Closed {
		k.lookAt = now + tidyAfter
	}
	k.looked = false
}

// sealed reports whether the source has sealed the slot for this move.
func (k *carry) sealed() bool {
	a := k.source.view
	return a != nil && a.Holding == shardmap.HoldsSealed && a.Number == k.move.Number
}

// over reports whether nothing is left to do: the move is closed, and its target has
// forgotten its decision.
func (k *carry) over() bool {
	return k.move.State == Closed && k.target.view != nil && !k.target.unsure && decisionOf(k.target.view, k.move.Number) == nil
}

// end gives up what the carry holds.
func (k *carry) end() {
	if k.stream != nil {
		k.stream.end()
		k.stream = nil
	}
}

// learnt says by what something was learnt.
type learnt uint8

const (
	byStep learnt = iota + 1 // an answer to a step of this carrier's
	byView                   // a look
)

// learn takes what a log says of the slot, if it is newer than what is known.
func (k *carry) learn(now time.Duration, c *Carrier, s *side, at uint64, v *shardmap.SlotView, how learnt) {
	if k.gone || s.view != nil && at < s.at {
		return
	}
	undecided := s.view == nil || decisionOf(s.view, k.move.Number) == nil
	sealed := k.sealed()
	first := s.view == nil
	if first || s.view.Mark != v.Mark || s.view.Holding != v.Holding || s.view.Import != v.Import || len(s.view.Decisions) != len(v.Decisions) {
		k.changed, k.failures = now, 0
		if k.helps && !first && how == byView {
			k.lookAt, k.looked = now+helpAfter, false // the source's carrier is at work
		}
	}
	own := *v
	s.view, s.at = &own, at
	if !sealed && k.sealed() {
		k.sealedAt = now
	}
	if d := decisionOf(v, k.move.Number); s == &k.target && undecided && d != nil && !k.helps && k.move.State == shardmap.MoveOpen {
		k.count(now, c, d)
	}
	if k.stream != nil && s == &k.target {
		k.stream.taken(&v.Import, k.move.Number)
	}
}

func (k *carry) count(now time.Duration, c *Carrier, d *shardmap.Decision) {
	if !d.Taken {
		c.counts.Refused++
		return
	}
	c.counts.Slots++
	if k.sealedAt > 0 {
		c.counts.PauseMax = max(c.counts.PauseMax, now-k.sealedAt)
	}
}

// stepped takes the result of a step of a move.
func (k *carry) stepped(now time.Duration, c *Carrier, f *trip, i int, at uint64, r *shardmap.StepResult) {
	if k.gone {
		return
	}
	k.learn(now, c, k.side(f.group), at, &r.View, byStep)
	s := k.stream
	switch {
	case r.Outcome == shardmap.StepDone, r.Outcome == shardmap.StepKnown:
		k.failures = 0
	case r.Outcome == shardmap.StepBehind:
		if s != nil && s == f.streams[i] {
			s.halt = true
		}
	case r.Outcome == shardmap.StepNotEmpty:
		k.notEmpty = true
	case r.Outcome == shardmap.StepUnfit && f.what == Takeover && s != nil && s == f.streams[i] && len(s.sent) > 0:
		s.halt = true // a piece before it was lost, and is sent again
	case r.Outcome == shardmap.StepUnfit:
		if s != nil && f.what == Chunk {
			s.halt = true
		}
		k.backOff(now)
	}
}

// backOff leaves the slot alone for a while.
func (k *carry) backOff(now time.Duration) {
	k.retryAt = now + doubled(unfitPause, k.failures, unfitPauseMax)
	k.failures++
	k.source.unsure, k.target.unsure = true, true
}

// consider notes what is to be done for the move.
func (k *carry) consider(now time.Duration, c *Carrier, b *bill) {
	if k.gone || k.over() {
		return
	}
	if wait := k.waits(); wait > now {
		c.wake = min(c.wake, wait)
		return
	}
	k.look(now, c)
	next := Next(&k.move, k.source.view, k.target.view)
	idle := next == 0
	if k.notEmpty && k.move.Empty && !k.move.Cancelled && k.move.State == shardmap.MoveOpen {
		next = next&^(Seal|Chunk) | Flag
	}
	if k.helps {
		next &^= Seal | Chunk | Takeover | Flag
		if next == 0 && k.under == 0 && k.looked && k.known() {
			k.lookAt, k.looked = now+helpPause, false
			c.wake = min(c.wake, k.lookAt)
		}
	} else if idle && k.under == 0 && k.stream == nil && k.move.State != Closed && !k.paused && !k.asking() && k.known() {
		// One of the groups is not ready for the move: the target may not have dropped the
		// slot yet that it gave away. Nobody tells when it is.
		k.backOff(now)
		c.wake = min(c.wake, k.retryAt)
		return
	}
	if next.Has(ofMeta) && k.sayAt > now {
		c.wake = min(c.wake, k.sayAt)
		next &^= ofMeta
	}
	if !k.helps {
		next = k.carryOn(now, c, b, next)
	}
	for _, w := range whats {
		if !next.Has(w) || k.under.Has(w) || w == Chunk {
			continue
		}
		group := k.move.From
		switch {
		case ofTarget.Has(w):
			group = k.move.To
		case ofMeta.Has(w):
			group = 0
		}
		c.want(group, w, k)
	}
}

// asking reports whether a view is under way.
func (k *carry) asking() bool { return k.source.asking || k.target.asking }

// known reports whether all that matters of what the logs say of the move is known.
func (k *carry) known() bool {
	return k.target.known() && (k.source.known() || k.move.State == Closed)
}

// waits returns until when nothing is tried.
func (k *carry) waits() time.Duration {
	if k.helps {
		return max(k.retryAt, k.lookAt)
	}
	return k.retryAt
}

// look asks for what is not known.
func (k *carry) look(now time.Duration, c *Carrier) {
	if k.helps && !k.looked {
		k.looked = true
		k.target.unsure = true
		k.source.unsure = k.move.State != Closed
	}
	need := func(s *side) bool { return !s.known() && !s.asking }
	if need(&k.source) && k.move.State != Closed && !k.under.Has(ofSource|wantCopy) {
		c.want(k.move.From, wantView, k)
	}
	if need(&k.target) && !k.under.Has(ofTarget) && (k.stream == nil || k.stream.flying == 0) {
		c.want(k.move.To, wantView, k)
	}
}

// carryOn decides about copies, the seal and the takeover, and returns the steps that are
// then to be taken.
func (k *carry) carryOn(now time.Duration, c *Carrier, b *bill, next What) What {
	a, s := k.source.view, k.stream
	if s != nil && !next.Has(Chunk|Takeover) && k.target.view != nil && a != nil && !k.under.Has(wantCopy) {
		k.end() // it was decided, or is not wanted any more
		s = nil
	}
	if k.paused && !k.sealed() {
		if s != nil && s.flying == 0 {
			k.end() // a copy that is held makes writes copy what they change
		}
		return next &^ (Seal | Chunk | Takeover)
	}
	if far := c.far(k.move.To); s != nil && !k.sealed() && s.flying == 0 && (far.failures >= farGiveUp || far.refused >= farGiveUp && far.chunkAt > now) {
		k.end() // others may have the room that its copies take
		s = nil
	}
	if s != nil {
		s.settle(now, k, c)
		s = k.stream
	}
	if !next.Has(Chunk | Takeover) {
		if k.move.Empty && next.Has(Seal) && b.seal(k) {
			return next
		}
		return next &^ Seal
	}
	switch {
	case k.target.unsure || k.source.unsure:
		return next &^ (Seal | Takeover)
	case k.sealed():
		next &^= Seal
		switch {
		case s == nil && next.Has(Takeover): // another leader has sent all
		case s == nil, s.resting() && !s.sealed:
			next &^= Takeover
			k.wantCopy(c)
		case s.sealed && s.resting() && !next.Has(Takeover):
			// It has all, and is not what it should be.
			k.end()
			k.backOff(now)
		case !s.sealed || !s.resting():
			next &^= Takeover // haul sends it, right behind the last piece
		}
	case k.move.Empty:
		if !b.seal(k) {
			next &^= Seal
		}
	case s == nil:
		next &^= Seal
		if b.admit(k) {
			k.wantCopy(c)
		}
	case s.resting() && s.again(now):
		next &^= Seal
		k.wantCopy(c)
	case s.resting():
		if !b.seal(k) {
			next &^= Seal
			c.wake = min(c.wake, now+sealStale)
		}
	default:
		next &^= Seal
	}
	return next
}

// wantCopy asks for a copy of the slot.
func (k *carry) wantCopy(c *Carrier) {
	if !k.under.Has(wantCopy) {
		c.want(k.move.From, wantCopy, k)
	}
}
