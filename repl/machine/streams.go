package machine

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// Streams are the streams of one client: what each has sent, how much it may send,
// and whose turn it is. It is a synchronous core, like [Requests], of which it is a
// part. In come frames, what pieces are made of, and room on the connection; reads and
// answers go to the [Asker].
//
// What a stream sends is a matter of its [kind]; how much it may send, and when, is not.
//
// A stream holds no piece and no goroutine while it waits, for its window or for room: its
// next piece is made when it can be sent. Some kinds ask for what it is made of; the pieces of
// others are made in the turns of a [Feed]. None but a backup holds copies of slots meanwhile.
//
// # Duties of the owner
//
//  1. Hand in grants and cancellations: [Streams.Grant], [Streams.Cancel]. What
//     is neither, though it is to be: [Streams.Refuse].
//  2. Call [Streams.Room] once there is room that [Asker.Spare] did not find.
//  3. Call [Streams.NoMore] when the client will send no more, and
//     [Streams.Close] when nothing can be sent any more.
//  4. Call [Streams.Review] when what clients may do has changed.
//
// Any goroutine may do so.
type Streams struct {
	// Set once.
	asker  Asker
	limits RequestLimits

	// groupTime returns the time of a group, within Run of a query. Set once.
	groupTime func(*Map, raft.GroupID) raft.GroupTime

	// Feed, if not nil, feeds the streams that wait for what happens at the node. All
	// connections of a node share it. Set before the first stream.
	Feed *Feed

	mu      sync.Mutex         // taken before any lock of the asker or the feed
	open    map[uint64]*stream // guarded by mu: by number
	waiting []*stream          // guarded by mu: those that may send, in the order of their turns
	fed     int                // guarded by mu: of these, those whose pieces the feed's turns make
	touched bool               // guarded by mu: the next of them makes some
	pages   int                // guarded by mu: that are being read
	bytes   int                // guarded by mu: what they may come to
	last    bool               // guarded by mu: no grant will come any more
}

// streamPages bounds the pages that are read for the streams of one client at once,
// so that what else it asks for finds room among the long reads of its connection.
const streamPages = 8

// stream is what every kind of stream has. It takes the answers to its reads.
type stream struct {
	// Set once.
	of     *Streams
	kind   kind
	typ    wire.Type // of the request that opened it, and its body
	body   []byte
	within time.Duration // how long a read may take
	base   int           // what it counts on its connection while it waits, in bytes
	piece  int           // the largest piece, in bytes of its body

	// Guarded by of.mu.
	reply  repl.Reply // Size is what it counts now
	limit  uint64     // bytes that it may have sent
	sent   uint64     // Invariant: sent <= limit, but for one row that is larger than a piece
	state  turn
	joined bool // it is in of.waiting. Invariant: then state is turnIdle
}

// kind is what is peculiar to one kind of stream: what it sends, and when there is
// something. Streams.mu is held in all calls but make.
type kind interface {
	// admit refuses what must not be opened by this table.
	admit(table *shardmap.Table) *wire.Error
	// begin is called once, when the stream is open, and over once, when it has ended.
	begin()
	over()
	// due reports whether there is something to send, or may be. When it comes to be so,
	// the kind calls [Streams.ready] and [Streams.turns].
	due() bool
	// fed reports whether the next piece is made by make, in a turn of the feed, and not
	// of what ask asks for. It stays the same while the stream waits for its turn.
	fed() bool
	// ask asks for what the next piece is made of. What comes of it, later, is a call of
	// [Streams.came], [Streams.sendPiece] or [stream.refused].
	ask(table *shardmap.Table) *wire.Error
	// make makes the next piece and sends it, by [Streams.sendFed], or ends the stream.
	make()
	// resume is where to go on, as the end of the stream says it.
	resume() []byte
}

// turn is what a stream does.
type turn uint8

const (
	turnIdle   turn = iota // it waits for its window, or in of.waiting
	turnMaking             // what it asked for is on its way; ends with the piece, or with a refusal
	turnFed                // the feed makes a piece of it; ends with the same turn of the feed
	turnOver               // it has ended, and sends nothing more
)

// opened is a stream of the kind that a request asks for, and what is wrong with the body
// of the request. It keeps the body.
func opened(h wire.Header, body []byte, principal shardmap.Principal) (s *stream, bad error) {
	switch h.Type {
	case wire.TypeWatch:
		return openWatch(body)
	case wire.TypeTableStream:
		return openTableStream(body)
	case wire.TypeBackup:
		return openBackup(h, body)
	}
	return openScan(h, body, principal)
}

// take opens a stream.
func (x *Streams) take(h wire.Header, body []byte, r repl.Reply, principal shardmap.Principal, table *shardmap.Table) {
	body = append([]byte(nil), body...) // pieces are made after this frame is gone
	s, bad := opened(h, body, principal)
	s.typ, s.body = h.Type, body
	s.of, s.within, s.base, s.reply = x, x.limits.within(h), r.Size, r
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.asker.Flush()
	if old := x.open[r.Request]; old != nil {
		// Its client could not tell whose the answers are.
		x.forget(old)
		r.Size += old.reply.Size
		x.deny(r, wire.BadRequest(fmt.Sprintf("stream %d", r.Request), "a stream of this number is open", "give it another number; that one has ended"))
		x.turns() // a piece of it may have been under way
		return
	}
	if bad != nil {
		x.deny(r, wire.BadBody(h.Type, bad))
		return
	}
	if len(x.open) >= wire.StreamsMax {
		x.deny(r, wire.Busy("connection", fmt.Sprintf("%d streams are open, the limit is %d", len(x.open), wire.StreamsMax), wire.BusyRetry))
		return
	}
	if e := s.kind.admit(table); e != nil {
		x.deny(r, e)
		return
	}
	if x.open == nil {
		x.open = make(map[uint64]*stream)
	}
	x.open[r.Request] = s
	s.kind.begin()
	x.ready(s)
	x.turns()
}

// Grant raises the window of a stream to limit bytes in all. It reports false where
// there is no such stream.
func (x *Streams) Grant(number, limit uint64) (known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.open[number]
	switch {
	case s == nil:
		return false
	case limit > s.sent && limit-s.sent > wire.StreamWindowMax:
		x.fail(s, wire.BadRequest(fmt.Sprintf("window of stream %d", number),
			fmt.Sprintf("%d bytes were sent and %d granted, want %d more at most", s.sent, limit, wire.StreamWindowMax), "grant less"))
		x.asker.Flush()
	default:
		s.limit = max(s.limit, limit)
		x.ready(s)
	}
	x.turns()
	return true
}

// Cancel ends a stream as its client wants. It reports false where there is no such
// stream.
func (x *Streams) Cancel(number uint64) (known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.open[number]
	if s == nil {
		return false
	}
	x.end(s, &wire.StreamEnd{Reason: wire.EndCancelled})
	x.asker.Flush()
	x.turns()
	return true
}

// Refuse ends a stream with an error: what its client said of it means nothing. It
// reports false where there is no such stream.
func (x *Streams) Refuse(number uint64, err *wire.Error) (known bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	s := x.open[number]
	if s == nil {
		return false
	}
	x.fail(s, err)
	x.asker.Flush()
	x.turns()
	return true
}

// bugStreamStays is planted to show that its tests find it: what was allowed when it was opened goes on.
const bugStreamStays = "stream kept after its right"

// Review ends each stream whose request refused gives an error for: it is asked again what was asked
// when the stream was opened, because the answer may be another one now. refused must not call x.
func (x *Streams) Review(refused func(t wire.Type, body []byte) *wire.Error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range x.all() {
		if e := refused(s.typ, s.body); e != nil && !bug(bugStreamStays) {
			x.fail(s, e)
		}
	}
	x.asker.Flush()
	x.turns()
}

// Room says that there is room on the connection.
func (x *Streams) Room() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.turns()
}

// NoMore says that the client sends nothing more: a stream ends where its window
// does.
func (x *Streams) NoMore() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.last = true
	for _, s := range x.all() {
		x.ready(s)
	}
	x.asker.Flush()
}

// Close ends all streams: their connection has ended.
func (x *Streams) Close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range x.all() {
		x.end(s, &wire.StreamEnd{Reason: wire.EndCancelled})
	}
}

// all returns the open streams, by number.
func (x *Streams) all() []*stream {
	all := make([]*stream, 0, len(x.open))
	for _, s := range x.open {
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b *stream) int {
		if a.reply.Request < b.reply.Request {
			return -1
		}
		return 1
	})
	return all
}

// ready has s wait for its turn, if there is something to send and its window has room for
// a piece. x.mu is held, as in all that follows.
func (x *Streams) ready(s *stream) {
	switch {
	case s.state != turnIdle || s.joined:
	case s.roomy() && s.kind.due():
		s.joined = true
		x.waiting = append(x.waiting, s)
		if s.kind.fed() {
			x.fed++
		}
	case x.last:
		x.end(s, &wire.StreamEnd{Reason: wire.EndCancelled})
	}
}

// roomy reports whether the window has room for the largest piece.
func (s *stream) roomy() bool {
	return bug("window not honoured") || s.limit >= s.sent && s.limit-s.sent >= uint64(s.piece)
}

// turns has pieces made, as long as there is room for them: of each stream one at a time,
// in turn. What the feed makes is left to its next turn, with all that waits behind it.
func (x *Streams) turns() {
	for {
		if x.touched && len(x.waiting) > 0 && x.waiting[0].kind.fed() {
			return // the feed's next turn looks whether there is room
		}
		s := x.next()
		switch {
		case s == nil:
			return
		case s.kind.fed():
			x.Feed.touch(x)
			return
		}
		x.leave(s)
		x.ask(s)
	}
}

// next returns the stream whose turn it is; nil: none has, or there is no room for its piece.
func (x *Streams) next() *stream {
	for _, s := range x.waiting {
		switch {
		case s.kind.fed():
			// It makes its piece at once: nothing that is still to come is in its way.
			if x.asker.Spare(s.piece) {
				return s
			}
			return nil
		case x.pages < streamPages:
			if x.asker.Spare(x.bytes + s.piece) {
				return s
			}
			return nil
		case x.fed == 0:
			return nil
		}
		// The pages that are being read may be long in coming, and the feed's need none.
	}
	return nil
}

// leave takes s out of those that wait for their turn.
func (x *Streams) leave(s *stream) {
	if s.joined {
		i := slices.Index(x.waiting, s)
		x.waiting = slices.Delete(x.waiting, i, i+1)
		s.joined = false
		if s.kind.fed() {
			x.fed--
		}
	}
}

// feed makes the pieces whose turn it is, as long as there is room, in a turn of the feed:
// of each stream one, so that no connection keeps the others waiting.
func (x *Streams) feed() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.touched = false
	for range len(x.waiting) {
		s := x.next()
		if s == nil || !s.kind.fed() {
			break
		}
		x.leave(s)
		s.state = turnFed
		x.mu.Unlock()
		s.kind.make()
		x.mu.Lock()
	}
	x.turns()
	x.asker.Flush()
}

// sendFed sends a piece that the feed has made, of type t. It reports false if it was not
// sent: the stream has ended.
func (x *Streams) sendFed(s *stream, t wire.Type, body []byte) bool {
	if s.state != turnFed {
		return false
	}
	s.state = turnIdle
	if !x.asker.Reserve(&s.reply, s.base+wire.HeaderSize+len(body)) {
		x.fail(s, Crowded())
		return false
	}
	x.asker.AnswerPiece(repl.Reply{To: x.asker, Request: s.reply.Request, Size: s.reply.Size - s.base}, t, body)
	s.reply.Size = s.base
	s.sent += uint64(len(body))
	return true
}

// ask asks for what the next piece of s is made of.
func (x *Streams) ask(s *stream) {
	s.state = turnMaking
	x.pages++
	x.bytes += s.piece
	if err := s.kind.ask(x.asker.Table()); err != nil {
		x.came(s)
		x.fail(s, err)
		x.asker.Flush()
	}
}

// came notes that what a piece of s is made of is there, or will not be.
func (x *Streams) came(s *stream) {
	if s.state == turnMaking {
		s.state = turnIdle
		x.pages--
		x.bytes -= s.piece
	}
}

// fail ends s with an error.
func (x *Streams) fail(s *stream, err *wire.Error) (first bool) {
	return x.end(s, &wire.StreamEnd{Reason: wire.EndReasonOf(err.Code), Why: *err})
}

// end sends the last frame of s.
func (x *Streams) end(s *stream, e *wire.StreamEnd) (first bool) {
	if s.state == turnOver {
		return false
	}
	e.Resume = s.kind.resume()
	x.forget(s)
	return x.asker.Answer(s.reply, wire.TypeStreamEnd, e.Append(nil))
}

// forget ends s without a word. A client that opens and cancels streams behind one that
// has no turn for long must find nothing to fill: s leaves the queue at once, too.
func (x *Streams) forget(s *stream) {
	x.came(s)
	x.leave(s)
	s.state = turnOver
	delete(x.open, s.reply.Request)
	s.kind.over()
}

// deny refuses to open a stream.
func (x *Streams) deny(r repl.Reply, err *wire.Error) {
	x.asker.Answer(r, wire.TypeError, err.Append(nil))
}

// Answer implements [repl.Replier]: the host refuses a read.
func (s *stream) Answer(_ repl.Reply, t wire.Type, body []byte) (first bool) {
	e := new(wire.Error)
	if err := e.Read(body); t != wire.TypeError || err != nil {
		e = wire.Unavailable(fmt.Sprintf("stream %d", s.reply.Request), fmt.Sprintf("a read of it was answered with %s", t))
	}
	return s.refused(e)
}

// Flush implements [repl.Replier].
func (s *stream) Flush() { s.of.asker.Flush() }

// refused ends the stream for want of a page. Where it has ended already that page was
// wanted no more.
func (s *stream) refused(err *wire.Error) (first bool) {
	x := s.of
	x.mu.Lock()
	defer x.mu.Unlock()
	first = x.fail(s, err)
	x.turns()
	return first
}

// sendPiece sends a piece, whose room is reserved, in a whole frame of type t.
func (x *Streams) sendPiece(s *stream, t wire.Type, frame []byte) {
	x.came(s)
	x.asker.AnswerFrame(repl.Reply{To: x.asker, Request: s.reply.Request, Size: s.reply.Size - s.base}, t, frame)
	s.reply.Size = s.base
	s.sent += uint64(len(frame) - wire.HeaderSize)
}

// reserve counts in what a piece takes, before it is made. Where there is no room
// the stream ends; its client goes on from there. It reports false where the piece
// is not wanted.
func (s *stream) reserve(size int) bool {
	x := s.of
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.state != turnMaking {
		return false
	}
	if !x.asker.Reserve(&s.reply, s.base+size) {
		x.fail(s, Crowded())
		x.turns()
		x.asker.Flush()
		return false
	}
	return true
}
