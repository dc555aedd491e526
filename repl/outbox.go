package repl

import (
	"math"
	"slices"
	"time"

	"muster/logstore"
	"muster/repl/wire"
)

const (
	// peerQueueBytesMax bounds what waits for one node. What is over is
	// dropped: Raft sends it again, and a node that is that far behind
	// gains nothing from a longer queue.
	peerQueueBytesMax = 64 << 20
	// peerRepairsMax bounds the answers to one node that wait for the disk: a
	// node asks once for each group, and again after a pause.
	peerRepairsMax = 64
)

// outbox is what waits to be written to one node, guarded by its peer's lock.
//
// All that a turn of the host has for the node gathers here, whichever groups it is
// of, and is framed here: each message by itself as it comes. [outbox.endTurn] is
// where a turn is over. So one frame for the messages of all groups of a turn,
// [wire.TypeTurn], would be begun by the first of them and ended there, and nobody
// else would notice.
type outbox struct {
	counters *wire.Counters
	frames   []byte
	fetches  []fetch  // appends whose entries are still to be read
	repairs  []repair // answers whose entries are still to be read
	queued   bool     // something came since the last turn

	forwarded uint64 // the number of the last request that was queued to be passed on
	left      uint64 // of the last that was taken to be written. Invariant: left <= forwarded
}

// fetch is an append whose entries are still to be read from the log.
type fetch struct {
	envelope wire.Envelope
	current  func() bool
}

// repair is an answer whose entries are still to be read from the log.
type repair struct {
	answer  wire.RepairAnswer
	replica logstore.Replica
	wanted  []wire.RepairSpan
}

// full reports whether no more frames are taken.
func (b *outbox) full() bool { return len(b.frames) > peerQueueBytesMax }

// message adds a message of a core, unless the queue is full.
func (b *outbox) message(e *wire.Envelope) {
	if b.full() {
		return
	}
	b.frames = appendEnvelope(b.frames, b.counters, e)
	b.queued = true
}

// beat adds the heartbeats of all groups, or the answers to them.
func (b *outbox) beat(beat *wire.Beat, answer bool) {
	if b.full() {
		return
	}
	t := wire.TypeBeat
	if answer {
		t = wire.TypeBeatAnswer
	}
	before := len(b.frames)
	frames, start := wire.BeginFrame(b.frames, t, 0, 0, 0)
	if answer {
		frames = wire.AppendBeatAnswer(frames, beat)
	} else {
		frames = wire.AppendBeat(frames, beat)
	}
	b.frames = wire.EndFrame(frames, start)
	b.counters.Out(t, len(b.frames)-before-wire.HeaderSize)
	b.queued = true
}

// body adds a frame that is for none of the cores.
func (b *outbox) body(t wire.Type, body wire.Body) {
	if b.full() {
		return
	}
	b.frames = appendBody(b.frames, b.counters, t, body)
	b.queued = true
}

// forward adds a request that is passed on, and reports whether it did.
func (b *outbox) forward(number uint64, within time.Duration, f *wire.Forward) bool {
	if b.full() {
		return false
	}
	before := len(b.frames)
	frames, start := wire.BeginFrame(b.frames, wire.TypeForward, 0, uint32(max(1, min(within.Milliseconds(), math.MaxUint32))), number)
	b.frames = wire.EndFrame(f.Append(frames), start)
	b.counters.Out(wire.TypeForward, len(b.frames)-before-wire.HeaderSize)
	b.forwarded, b.queued = number, true
	return true
}

// fetch adds an append for the goroutine that writes, which may wait for the
// disk. Of one group only the newest is kept: where the queue is slow its core
// asks again.
func (b *outbox) fetch(e *wire.Envelope, current func() bool) {
	b.queued = true
	f := fetch{envelope: *e, current: current}
	if i := slices.IndexFunc(b.fetches, func(f fetch) bool { return f.envelope.Group == e.Group }); i >= 0 {
		b.fetches[i] = f
		return
	}
	b.fetches = append(b.fetches, f)
}

// repair adds an answer for the goroutine that writes, which may wait for the
// disk. A peer that asks for more than it can read waits in vain, and asks
// again.
func (b *outbox) repair(r repair) {
	if len(b.repairs) >= peerRepairsMax {
		return
	}
	b.repairs = append(b.repairs, r)
	b.queued = true
}

// endTurn ends what a turn has for the node, and reports whether it has anything.
func (b *outbox) endTurn() bool {
	queued := b.queued
	b.queued = false
	return queued
}

// take returns the frames that wait. Others gather in place, whose bytes are used again.
func (b *outbox) take(place []byte) (frames []byte) {
	frames, b.frames = b.frames, place[:0]
	b.left = b.forwarded
	return frames
}

// drop forgets all that waits: it was for a connection that has ended. It returns the
// numbers of the last request to be passed on that may have left, and of the last that was
// queued.
func (b *outbox) drop() (left, forwarded uint64) {
	b.frames, b.fetches, b.repairs = nil, nil, nil
	return b.left, b.forwarded
}

// takeFirst takes the first of a list; false if there is none.
func takeFirst[T any](list *[]T) (first T, ok bool) {
	if len(*list) == 0 {
		return first, false
	}
	first = (*list)[0]
	*list = slices.Delete(*list, 0, 1)
	return first, true
}

func appendEnvelope(b []byte, counters *wire.Counters, e *wire.Envelope) []byte {
	t := wire.TypeOf(e.Message.Type)
	before := len(b)
	b, start := wire.BeginFrame(b, t, 0, 0, 0)
	b = wire.AppendEnvelope(b, e)
	b = wire.EndFrame(b, start)
	counters.Out(t, len(b)-before-wire.HeaderSize)
	return b
}

func appendBody(b []byte, counters *wire.Counters, t wire.Type, body wire.Body) []byte {
	before := len(b)
	b = wire.AppendFrame(b, t, 0, body)
	counters.Out(t, len(b)-before-wire.HeaderSize)
	return b
}
