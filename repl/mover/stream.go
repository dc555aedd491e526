package mover

import (
	"time"

	"muster/raft"
	"muster/shardmap"
)

const (
	// sealRest is how many bytes may be left to send when a slot is sealed: what is sent
	// after the seal, its clients wait for.
	sealRest = 64 << 10
	// passesMax bounds the passes before the seal. A slot that is written to faster than
	// it is sent is sealed then with what is left, which is no more than the last pass was.
	passesMax = 8
	// sealStale is for how long what was sent counts as nearly all. A slot that could not
	// be sealed by then is sent what has changed.
	sealStale = time.Second
)

// stream is the sending of one slot by one leader: one attempt.
//
// A slot is sent in passes, the first with all that it has, each later one with what has
// changed since the one before. Each is the difference of two copies, which is sent in
// pieces. What a piece says is kept until the target is known to have it, since cursors go
// forward only.
type stream struct {
	attempt shardmap.Attempt
	size    int64 // of the slot when it was copied first, in bytes

	base   *shardmap.SlotCopy // what the target holds once it has all pieces made so far, if no pass is under way
	baseAt raft.LogID         // zero: nothing
	pass   *shardmap.SlotCopy // what it will hold after the pass under way; nil: none is
	passAt raft.LogID
	diff   *shardmap.Diff // what is left of that pass
	sealed bool           // that pass, or the last one, is of the sealed slot

	index  uint64      // of the next piece that is made
	sent   []sentPiece // made, and not known to be taken; by index
	next   int         // of sent: the first that is to leave
	flying int         // chunks under way with pieces of it
	halt   bool        // a piece was lost: nothing leaves until all that is under way has ended

	passes      int
	bytes, last int64         // made in the newest pass, and in the one before
	began       time.Duration // when the newest pass was copied
}

type sentPiece struct {
	index    uint64
	from, to raft.LogID
	more     bool
	content  []byte
}

// take begins a pass with a copy of the slot.
func (k *carry) take(now time.Duration, c *Carrier, o *shardmap.SlotCopy, v *shardmap.SlotView, at raft.LogID) {
	s := k.stream
	if s == nil {
		c.attempt++
		s = &stream{attempt: shardmap.Attempt{Term: c.leads[k.move.From], Number: c.attempt}, size: int64(v.Bytes)}
		k.stream = s
	}
	s.pass, s.passAt = o, at
	// By the copy's own moment: the seal may be known by now, and be of after it.
	if s.sealed = v.Holding == shardmap.HoldsSealed && v.Number == k.move.Number; s.sealed {
		s.passAt = v.Sealed // it has not changed since
	}
	s.diff = shardmap.NewDiff(s.base, o)
	s.last, s.bytes, s.began = s.bytes, 0, now
	s.passes++
}

// end gives the copies up.
func (s *stream) end() {
	for _, o := range [...]*shardmap.SlotCopy{s.base, s.pass} {
		if o != nil {
			o.Release()
		}
	}
	s.base, s.pass, s.diff, s.sent, s.next = nil, nil, nil, nil, 0
}

// made reports whether all pieces of the newest pass are made.
func (s *stream) made() bool { return s.base != nil && s.diff == nil }

// resting reports whether the target has all pieces of the newest pass.
func (s *stream) resting() bool { return s.made() && len(s.sent) == 0 && s.flying == 0 }

// ready reports whether there is a piece to send.
func (s *stream) ready() bool { return !s.halt && (s.next < len(s.sent) || s.diff != nil) }

// again reports whether another pass is to come before the seal, of a stream at rest:
// what has changed since the last one began may be more than is to be sent after the seal.
func (s *stream) again(now time.Duration) bool {
	switch {
	case s.passes >= passesMax:
		return false
	case s.bytes <= sealRest:
		return now-s.began > sealStale
	case s.passes == 1:
		return true
	}
	return s.bytes < s.last-s.last/4 // it still shrinks
}

// taken forgets the pieces that the target has.
func (s *stream) taken(i *shardmap.ImportView, number uint64) {
	if i.Number != number || i.Attempt != s.attempt {
		return
	}
	n := 0
	for n < len(s.sent) && s.sent[n].index < i.Chunks {
		s.sent[n] = sentPiece{}
		n++
	}
	s.sent = s.sent[n:]
	s.next = max(0, s.next-n)
}

// settle has pieces sent again once all that was under way has ended and some did not
// arrive. If the target holds what does not fit them, the attempt is over.
func (s *stream) settle(now time.Duration, k *carry, c *Carrier) {
	if s.flying > 0 {
		return
	}
	s.halt = s.halt || len(s.sent) > 0 && s.next == len(s.sent)
	if !s.halt || k.target.unsure || k.target.view == nil {
		return
	}
	i := &k.target.view.Import
	mine := i.Number == k.move.Number && i.Attempt == s.attempt
	switch {
	case mine && (len(s.sent) == 0 || s.sent[0].index == i.Chunks),
		!mine && len(s.sent) > 0 && s.sent[0].index == 0 && (i.Number != k.move.Number || i.Attempt.Less(s.attempt)):
		c.counts.Again += uint64(len(s.sent))
		s.next, s.halt = 0, false
	default:
		k.end()
		k.backOff(now)
	}
}

// piece returns the next piece that is to leave, of about most bytes; false if there is
// none, or an old one does not fit.
func (k *carry) piece(most int) (p shardmap.Piece, ok bool, err error) {
	s := k.stream
	if s.next == len(s.sent) {
		if s.diff == nil {
			return p, false, nil
		}
		content, more, err := s.diff.Next(most)
		if err != nil {
			return p, false, err
		}
		s.sent = append(s.sent, sentPiece{index: s.index, from: s.baseAt, to: s.passAt, more: more, content: content})
		s.index++
		s.bytes += int64(len(content))
		if !more {
			if s.base != nil {
				s.base.Release()
			}
			s.base, s.baseAt = s.pass, s.passAt
			s.pass, s.diff = nil, nil
		}
	} else if len(s.sent[s.next].content) > most && most < shardmap.ChunkSize {
		return p, false, nil
	}
	o := &s.sent[s.next]
	s.next++
	return shardmap.Piece{Slot: k.slot, Number: k.move.Number, Source: k.move.From, Attempt: s.attempt, Index: o.index,
		From: o.from, To: o.to, More: o.more, Content: o.content}, true, nil
}
