package mover

import (
	"cmp"
	"slices"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// What a carrier holds and has under way is bounded:
const (
	// copyBytesMax bounds the slots whose copies are held while they can change, in bytes
	// of the slots: that much more memory they take at most, when clients write to all of
	// it meanwhile. One slot that is larger is copied alone.
	copyBytesMax = 32 << 20
	// copyAhead is how many bytes of slots are copied before they can be sent, for each
	// target: enough that the next chunk never waits for a copy.
	copyAhead = 2 << 20
	// sealSlots is how many slots one entry seals, and sealedMax how many may be sealed for
	// one target that has not decided. Each waits for the others of its entry: few slots
	// keep the pause short.
	sealSlots = 32
	sealedMax = 64
	// chunkBytesMax bounds the chunks under way to one target before the seal: what is
	// sent after a seal waits behind them. While slots are sealed it is sealedBytesMax.
	chunkBytesMax  = 1 << 20
	sealedBytesMax = 512 << 10
	// lastBytesMax bounds what is under way of slots that are sealed.
	lastBytesMax = 2 << 20
	// carryBytesMax bounds the chunks under way to all targets together.
	carryBytesMax = 4 << 20
	// pieceMin is the room in a chunk below which no further piece is made for it.
	pieceMin = 4 << 10
)

// bill is what a turn may begin.
type bill struct {
	c      *Carrier
	now    time.Duration
	held   int64 // bytes of slots whose copies are held
	full   bool  // a slot waits for room: those behind it wait too, or a large one never had any
	ahead  map[raft.GroupID]int64
	sealed map[raft.GroupID]int
}

func (c *Carrier) bill(now time.Duration) *bill {
	b := &bill{c: c, now: now, ahead: map[raft.GroupID]int64{}, sealed: map[raft.GroupID]int{}}
	for _, k := range c.order {
		if k.helps || k.gone || k.source.view == nil {
			continue
		}
		to := k.move.To
		if k.under.Has(Seal) || k.sealed() && k.move.State == shardmap.MoveOpen && (k.target.view == nil || decisionOf(k.target.view, k.move.Number) == nil) {
			b.sealed[to]++
		}
		switch s := k.stream; {
		case k.sealed(): // it does not change, so its copies take nothing
		case s != nil:
			b.held += max(s.size, 1)
			if s.diff != nil && s.passes == 1 {
				b.ahead[to] += max(s.size-s.bytes, 0)
			}
		case k.under.Has(wantCopy):
			b.held += max(int64(k.source.view.Bytes), 1)
			b.ahead[to] += int64(k.source.view.Bytes)
		}
	}
	return b
}

// admit reports whether a slot may be copied now.
func (b *bill) admit(k *carry) bool {
	size := max(int64(k.source.view.Bytes), 1)
	switch {
	case k.under.Has(wantCopy), b.ahead[k.move.To] >= copyAhead, b.doubtful(k), b.c.chunksRest(b.now, k.move.To):
		return false
	case b.full, b.held > 0 && b.held+size > copyBytesMax:
		b.full = true
		return false
	}
	b.held += size
	b.ahead[k.move.To] += size
	return true
}

// doubtful reports whether a target has not answered since something failed there. Then it is
// only looked at.
func (b *bill) doubtful(k *carry) bool {
	f := b.c.far(k.move.To)
	if f.failures > 0 && !b.c.rests(b.now, k.move.To) && !k.target.asking {
		b.c.want(k.move.To, wantView, k)
	}
	return f.failures > 0
}

// seal reports whether one more slot may be sealed for a target now.
func (b *bill) seal(k *carry) bool {
	to := k.move.To
	if b.sealed[to] >= sealedMax || b.doubtful(k) || b.c.chunksRest(b.now, to) {
		return false
	}
	b.sealed[to]++
	return true
}

// haul sends chunks, and takeovers right behind the last ones.
func (c *Carrier) haul(now time.Duration) {
	last, before := map[raft.GroupID][]*carry{}, map[raft.GroupID][]*carry{}
	var targets []raft.GroupID
	all := 0
	for _, k := range c.order {
		s := k.stream
		if s == nil || k.gone || k.helps || now < k.retryAt || k.target.unsure || k.source.unsure || k.move.State != shardmap.MoveOpen || k.move.Cancelled || k.paused && !k.sealed() {
			continue
		}
		if !slices.Contains(targets, k.move.To) {
			targets = append(targets, k.move.To)
		}
		switch {
		case k.sealed():
			last[k.move.To] = append(last[k.move.To], k)
		case s.ready():
			before[k.move.To] = append(before[k.move.To], k)
		}
	}
	for _, f := range c.fars {
		all += f.bytes
	}
	slices.Sort(targets)
	for _, g := range targets {
		if c.rests(now, g) {
			continue
		}
		f := c.far(g)
		// Clients wait for these: they are tried whenever the group may be asked at all.
		for f.bytes < lastBytesMax && c.chunk(now, g, last[g]) > 0 {
		}
		var done []*carry
		for _, k := range last[g] {
			// A takeover that overtakes its last piece, or whose last piece is lost, is
			// refused; the piece and it are sent again.
			if s := k.stream; s != nil && s.sealed && s.made() && !s.halt && s.next == len(s.sent) && s.flying > 0 && !k.under.Has(Takeover) {
				done = append(done, k)
			}
		}
		if len(done) > 0 {
			c.errand(now, errand{g, Takeover}, done)
		}
	}
	for _, g := range targets {
		if c.rests(now, g) || c.chunksRest(now, g) {
			continue
		}
		most := chunkBytesMax
		if len(last[g]) > 0 {
			most = sealedBytesMax
		}
		for f := c.far(g); f.bytes < most && all < carryBytesMax; {
			if wait := c.rate.wait(now); wait > 0 {
				c.wake = min(c.wake, now+wait)
				break
			}
			n := c.chunk(now, g, before[g])
			if n == 0 {
				break
			}
			all += n
		}
	}
}

// chunk sends one chunk with the next pieces of some slots, and returns how many bytes it
// counts; 0 if there are none.
func (c *Carrier) chunk(now time.Duration, g raft.GroupID, list []*carry) int {
	var pieces []shardmap.Piece
	f := &trip{what: Chunk}
	for _, k := range list {
		room := shardmap.ChunkSize - f.bytes
		if room < pieceMin || len(pieces) == shardmap.StepsMax {
			break
		}
		if k.stream == nil || !k.stream.ready() {
			continue
		}
		p, ok, err := k.piece(room)
		if err != nil {
			k.end() // its bytes in memory are not what was written, which the audit finds too
			k.backOff(now)
			continue
		}
		if !ok {
			continue
		}
		pieces, f.carries = append(pieces, p), append(f.carries, k)
		f.bytes += len(p.Content)
	}
	if len(pieces) == 0 {
		return 0
	}
	slices.SortFunc(pieces, func(a, b shardmap.Piece) int { return cmp.Compare(a.Slot, b.Slot) })
	slices.SortFunc(f.carries, func(a, b *carry) int { return cmp.Compare(a.slot, b.slot) })
	for _, k := range f.carries {
		f.streams = append(f.streams, k.stream)
	}
	command := shardmap.ChunkCommand(pieces)
	c.counts.Chunks++
	c.counts.Bytes += uint64(f.bytes)
	c.rate.spend(now, f.bytes)
	f.bytes += len(pieces) // a chunk of nothing is one, too
	c.launch(now, CarryAction{Kind: CarryStep, Group: g, Command: wire.AppendWrite(nil, &command)}, f)
	return f.bytes
}
