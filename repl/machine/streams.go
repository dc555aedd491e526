package machine

import (
	"bytes"
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
// part. In come frames, pages that were read, and room on the connection; reads and
// answers go to the [Asker].
//
// A stream holds no page, no copy of a slot and no goroutine while it waits, for its
// window or for room: its next page is asked for when it can be sent, after the
// last key that was. So each page stands at a moment of its own.
//
// # Duties of the owner
//
//  1. Hand in grants and cancellations: [Streams.Grant], [Streams.Cancel]. What
//     is neither, though it is to be: [Streams.Refuse].
//  2. Call [Streams.Room] once there is room that [Asker.Spare] did not find.
//  3. Call [Streams.NoMore] when the client will send no more, and
//     [Streams.Close] when nothing can be sent any more.
//
// Any goroutine may do so.
type Streams struct {
	// Set once.
	asker  Asker
	limits RequestLimits

	mu      sync.Mutex         // taken before any lock of the asker
	open    map[uint64]*stream // guarded by mu: by number
	waiting []*stream          // guarded by mu: those that may send, in the order of their turns
	pages   int                // guarded by mu: that are being read
	bytes   int                // guarded by mu: what they may come to
	last    bool               // guarded by mu: no grant will come any more
}

// streamPages bounds the pages that are read for the streams of one client at once,
// so that what else it asks for finds room among the long reads of its connection.
const streamPages = 8

// stream is one of them. It takes the answers to its reads.
type stream struct {
	// Set once.
	of     *Streams
	within time.Duration // how long a page may take
	scan   wire.Scan
	base   int // what it counts on its connection while it waits, in bytes
	// passed: where no replica of the group is here, its pages are those of listings
	// that are passed on, on behalf of principal.
	passed    bool
	principal shardmap.Principal

	// Guarded by of.mu.
	reply  repl.Reply           // Size is what it counts now
	limit  uint64               // bytes that it may have sent
	sent   uint64               // Invariant: sent <= limit, but for one row that is larger than a piece
	rows   uint64               // that were sent
	after  []byte               // the last of them
	runs   []shardmap.SlotRange // that the page is of which is being read; not changed meanwhile
	state  turn
	joined bool // it is in of.waiting. Invariant: then state is turnIdle
}

// turn is what a stream does.
type turn uint8

const (
	turnIdle    turn = iota // it waits for its window, or in of.waiting
	turnReading             // a page of it is being read; ends with the page, or with a refusal
	turnOver                // it has ended, and sends nothing more
)

// take opens a stream.
func (x *Streams) take(h wire.Header, body []byte, r repl.Reply, principal shardmap.Principal, table *shardmap.Table) {
	s := &stream{of: x, within: x.limits.within(h), base: r.Size, passed: h.Flags&wire.FlagForward != 0, principal: principal, reply: r}
	body = append([]byte(nil), body...) // its pages are read after this frame is gone
	bad := s.scan.Read(body)
	if anyReplica(h, s.scan.Mode) {
		s.scan.Mode = wire.ReadFollower // its pages are asked for without the frame
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	defer x.asker.Flush()
	if old := x.open[r.Request]; old != nil {
		// Its client could not tell whose the answers are.
		x.forget(old)
		r.Size += old.reply.Size
		x.deny(r, wire.BadRequest(fmt.Sprintf("stream %d", r.Request), "a stream of this number is open", "give it another number; that one has ended"))
		x.turns() // a page of it may have been under way
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
	if _, e := slotsListed(s.scan.Group, s.scan.Slots, s.scan.Epoch, table); e != nil {
		x.deny(r, e)
		return
	}
	if x.open == nil {
		x.open = make(map[uint64]*stream)
	}
	x.open[r.Request] = s
	s.limit, s.after = s.scan.Window, s.scan.After
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

// ready has s wait for its turn, if its window has room for a piece. x.mu is held,
// as in all that follows.
func (x *Streams) ready(s *stream) {
	switch {
	case s.state != turnIdle || s.joined:
	case s.roomy():
		s.joined = true
		x.waiting = append(x.waiting, s)
	case x.last:
		x.end(s, &wire.StreamEnd{Reason: wire.EndCancelled})
	}
}

// roomy reports whether the window has room for the largest piece.
func (s *stream) roomy() bool {
	return bug("window not honoured") || s.limit >= s.sent && s.limit-s.sent >= uint64(s.scan.PieceBytes)
}

// turns begins to read pages, as long as there is room for them: of each stream one
// at a time, in turn.
func (x *Streams) turns() {
	for len(x.waiting) > 0 && x.pages < streamPages {
		s := x.waiting[0]
		if !x.asker.Spare(x.bytes + int(s.scan.PieceBytes)) {
			return
		}
		x.leave(s)
		x.read(s)
	}
}

// leave takes s out of those that wait for their turn.
func (x *Streams) leave(s *stream) {
	if s.joined {
		i := slices.Index(x.waiting, s)
		x.waiting = slices.Delete(x.waiting, i, i+1)
		s.joined = false
	}
}

// read asks for the next page of s.
func (x *Streams) read(s *stream) {
	// As with a listing page by page: all pages are of the slots that the client
	// means.
	table := x.asker.Table()
	runs, err := slotsListed(s.scan.Group, s.scan.Slots, s.scan.Epoch, table)
	if err == nil {
		s.runs = runs
		s.state = turnReading
		x.pages++
		x.bytes += int(s.scan.PieceBytes)
		err = x.asker.Ask(repl.Read{
			Group: s.scan.Group, Local: s.scan.Mode == wire.ReadLocal, AnyReplica: s.scan.Mode == wire.ReadFollower,
			After: s.scan.AfterID.Index, Reply: repl.Reply{To: s, Request: s.reply.Request}, Query: s,
			Passage: s.passage(table),
		}, s.within)
	}
	if err != nil {
		x.came(s)
		x.fail(s, err)
		x.asker.Flush()
	}
}

// came notes that a page of s is there, or will not be.
func (x *Streams) came(s *stream) {
	if s.state == turnReading {
		s.state = turnIdle
		x.pages--
		x.bytes -= int(s.scan.PieceBytes)
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
	e.Resume = s.after
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
}

// deny refuses to open a stream.
func (x *Streams) deny(r repl.Reply, err *wire.Error) {
	x.asker.Answer(r, wire.TypeError, err.Append(nil))
}

// Answer implements [repl.Replier]: the host refuses a read, or brings a page that
// another node has read.
func (s *stream) Answer(_ repl.Reply, t wire.Type, body []byte) (first bool) {
	if t == wire.TypeListAnswer {
		return s.arrive(body)
	}
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

// wanted reports whether the page that is being read is, and where it begins.
func (s *stream) wanted() (q *wire.List, wanted bool) {
	x := s.of
	x.mu.Lock()
	defer x.mu.Unlock()
	return s.page(), s.state == turnReading
}

// page is the listing that the next page is of.
func (s *stream) page() *wire.List {
	q := &wire.List{
		Group: s.scan.Group, Slots: s.runs, Prefix: s.scan.Prefix, After: s.after, KeysOnly: s.scan.KeysOnly,
		Limit: wire.ListRowsMax, MaxBytes: max(s.scan.PieceBytes-wire.ListHead, 1),
	}
	if s.scan.Limit > 0 {
		q.Limit = uint32(min(s.scan.Limit-s.rows, wire.ListRowsMax))
	}
	return q
}

// passage is how the next page is asked for by a node without a replica of the group;
// nil if its client does not ask for that.
func (s *stream) passage(table *shardmap.Table) *repl.Passage {
	if !s.passed {
		return nil
	}
	q := s.page()
	q.Mode, q.Epoch, q.AfterID, q.Slots = s.scan.Mode, s.scan.Epoch, s.scan.AfterID, s.scan.Slots
	// A listing counts keys and values alone: the other half of the piece is for what
	// so many rows have beside them.
	q.MaxBytes = max(q.MaxBytes/2, 1)
	q.Limit = min(q.Limit, max(q.MaxBytes/wire.ListRowHead, 1))
	return newPassage(wire.Forward{Principal: s.principal, Type: wire.TypeList, Body: q.Append(nil)}, s.scan.Group, table)
}

// Run implements [repl.Query]. As with a page of a listing, what it shows is settled
// here, between two entries, and read beside those that follow.
func (s *stream) Run(state repl.StateMachine, at raft.LogID, _ repl.Reply) (first bool) {
	m, ok := state.(*Map)
	if !ok {
		return s.refused(metaHasNoKeys())
	}
	q, wanted := s.wanted()
	if !wanted {
		return false
	}
	if m.beforeFounding() { // it would be a listing of nothing
		return s.refused(m.notFounded())
	}
	p, err := m.page(q, at)
	if err != nil {
		return s.refused(err)
	}
	p.rowHead = wire.ListRowHead
	if found := s.of.asker.Later(func() { s.send(p) }); found != "" {
		p.drop()
		return s.refused(TooManyReads(found))
	}
	return false
}

// send reads a page and sends it.
func (s *stream) send(p *page) {
	x := s.of
	if !s.reserve(min(int(s.scan.PieceBytes), x.limits.Page)) {
		p.drop()
		return
	}
	a := p.read()
	size := wire.HeaderSize + wire.ListHead + len(a.Rows)
	if !s.reserve(size) { // one row may be larger than a piece
		return
	}
	frame := wire.AppendPiece(make([]byte, 0, size), wire.TypeScanPiece, s.reply.Request, a)
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.state == turnReading {
		x.sendPiece(s, frame, a, p.last)
		x.asker.Flush()
	}
}

// arrive takes a page that another node has read. Its body is copied here, and looked at
// beside the goroutine that hands it in, which serves all groups.
func (s *stream) arrive(body []byte) (first bool) {
	if !s.reserve(wire.HeaderSize + len(body)) {
		return false
	}
	frame, start := wire.BeginFrame(make([]byte, 0, wire.HeaderSize+len(body)), wire.TypeScanPiece, wire.FlagMore, 0, s.reply.Request)
	frame = append(frame, body...)
	if found := s.of.asker.Later(func() { s.sendPassed(frame, start) }); found != "" {
		return s.refused(TooManyReads(found))
	}
	return false
}

// sendPassed sends a page that has arrived, in a frame that begins at start.
func (s *stream) sendPassed(frame []byte, start int) {
	x := s.of
	a := new(wire.ListAnswer)
	if err := a.Read(frame[start+wire.HeaderSize:]); err != nil {
		s.refused(wire.Unavailable(fmt.Sprintf("stream %d", s.reply.Request), fmt.Sprintf("the page that another node sent: %v", err)))
		x.asker.Flush()
		return
	}
	last := []byte(nil)
	for rows := *a; ; {
		key, _, _, ok := rows.Next()
		if !ok {
			break
		}
		last = key
	}
	last = bytes.Clone(last) // the frame is the asker's once it is sent
	frame = wire.EndFrame(frame, start)
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.state == turnReading {
		x.sendPiece(s, frame, a, last)
		x.asker.Flush()
	}
}

// sendPiece sends a piece, whose room is reserved, with the rows of a; last is the key
// of the last one.
func (x *Streams) sendPiece(s *stream, frame []byte, a *wire.ListAnswer, last []byte) {
	x.came(s)
	x.asker.AnswerFrame(repl.Reply{To: x.asker, Request: s.reply.Request, Size: s.reply.Size - s.base}, wire.TypeScanPiece, frame)
	s.reply.Size = s.base
	s.sent += uint64(len(frame) - wire.HeaderSize)
	s.rows += uint64(a.Count)
	if a.Count > 0 {
		s.after = last
	}
	if !a.More || s.scan.Limit > 0 && s.rows >= s.scan.Limit {
		x.end(s, &wire.StreamEnd{Reason: wire.EndDone})
	} else {
		x.ready(s)
	}
	x.turns()
}

// reserve counts in what a piece takes, before it is made. Where there is no room
// the stream ends; its client goes on from there. It reports false where the piece
// is not wanted.
func (s *stream) reserve(size int) bool {
	x := s.of
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.state != turnReading {
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
