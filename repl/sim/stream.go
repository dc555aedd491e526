package sim

import (
	"slices"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
)

// Frames of streams need what a real connection gives and other requests and answers here
// do without: they arrive in the order in which they were sent, and none does after one
// was lost.

// streamCore is the core of a client's stream: [client.Stream] is that of a listing.
type streamCore interface {
	Begin(b []byte) (body []byte, attempt uint64)
	Piece(attempt uint64, body []byte)
	Ended(attempt uint64, e *wire.StreamEnd) *wire.Error
	Grant() (g wire.StreamGrant, attempt uint64, due bool)
	Brought() bool
	Complete() bool
	Finish(err error)
}

// streamOp returns the operation whose stream is a core, and its place; -1 if none is.
func streamOp(ops []*op, core streamCore) (o *op, at int) {
	for i, o := range ops {
		if o.stream == core {
			return o, i
		}
	}
	return nil, -1
}

// goOnWith does for the operations of streams what their core wants after it has gone on: of
// some it has used pieces, others it wants no more. It returns those that are left.
func goOnWith[S streamCore](ops []*op, used, dropped []S) []*op {
	for _, s := range used {
		if o, at := streamOp(ops, s); at >= 0 {
			o.grant()
		}
	}
	for _, s := range dropped {
		if o, at := streamOp(ops, s); at >= 0 {
			ops = slices.Delete(ops, at, at+1)
			s.Finish(nil)
			o.giveUp()
		}
	}
	return ops
}

// pipe is the frames of streams in one direction of a connection.
type pipe struct{ at time.Duration } // when the last one arrives

// noDeadline is for how long a watch waits for its next piece.
const noDeadline = 1000 * time.Hour

// window is what a node may send of a stream, according to the grants that have arrived.
type window struct {
	granted, sent uint64
	piece         uint64
}

// through sends a frame of a stream, to arrive at a time or later.
func (k *conn) through(p *pipe, at time.Duration, e *event) {
	c := k.client.c
	switch {
	case k.ended || k.cut:
		c.queue.put(e)
		return
	case !c.reaches(k.client, k.node):
		// The system sends it again until a side gives up. Nothing after it arrives
		// either.
		k.cut = true
		c.queue.put(e)
		r := c.queue.get(evReset)
		r.conn = k
		c.after(c.chance.between(0, silenceMax), r)
		return
	}
	p.at = max(p.at, at)
	c.queue.push(p.at, e)
}

// say sends a frame about a stream to the node.
func (k *conn) say(t wire.Type, flags uint16, number uint64, within time.Duration, body []byte) {
	c := k.client.c
	e := c.queue.get(evRequest)
	e.node, e.life, e.conn, e.number, e.wtype, e.flags, e.within = int32(k.node.index), k.life, k, number, t, flags, within
	e.body = append(e.body[:0], body...)
	k.through(&k.toNode, c.now+c.net.latency()+c.chaos.requestDelay(k.client.id), e)
}

// read reads the body of a frame of a client, which is never wrong.
func (k *conn) read(e *event, body wire.Body) {
	if err := body.Read(e.body); err != nil {
		k.client.c.fail("a client sends a bad %s: %v", e.wtype, err)
	}
}

// hears takes, at the node, frames about streams. It reports whether nothing else is left
// to do for the frame.
func (k *conn) hears(e *event) bool {
	switch e.wtype {
	case wire.TypeScan:
		var q wire.Scan
		k.read(e, &q)
		k.opens(e.number, q.Window, q.PieceBytes)
		return false
	case wire.TypeBackup:
		var q wire.Backup
		k.read(e, &q)
		k.opens(e.number, q.Window, q.PieceBytes)
		return false
	case wire.TypeWatch:
		var q wire.Watch
		k.read(e, &q)
		k.opens(e.number, q.Window, q.PieceBytes)
		return false
	case wire.TypeTableStream:
		var q wire.TableStream
		k.read(e, &q)
		k.opens(e.number, q.Window, q.PieceBytes)
		return false
	case wire.TypeStreamGrant:
		var g wire.StreamGrant
		k.read(e, &g)
		if w := k.windows[e.number]; w != nil {
			w.granted = max(w.granted, g.Limit)
		}
		k.requests.Streams.Grant(e.number, g.Limit)
		return true
	case wire.TypeStreamCancel:
		k.requests.Streams.Cancel(e.number)
		return true
	}
	return false
}

// opens notes the window of a stream.
func (k *conn) opens(number, granted uint64, piece uint32) {
	if k.windows == nil {
		k.windows = map[uint64]*window{}
	}
	k.windows[number] = &window{granted: granted, piece: uint64(piece)}
}

// sends checks a piece that a node sends against the window of its stream: a node never
// has more under way than its client can take, except a row that is larger than a piece.
func (k *conn) sends(number uint64, t wire.Type, body []byte) {
	if k.node.origin().odd != 0 {
		return
	}
	k.client.c.users.sends(k, number)
	w := k.windows[number]
	rows, err := 0, error(nil)
	switch t {
	case wire.TypeWatchPiece:
		var a wire.WatchPiece
		err = a.Read(body)
		rows = a.Count
	case wire.TypeTablePiece:
		var a wire.TopologyAnswer
		err = a.Read(body)
	case wire.TypeBackupPiece:
		var a wire.BackupPiece
		err = a.Read(body)
		rows = backedUp(&a)
	default:
		var a wire.ListAnswer
		err = a.Read(body)
		rows = a.Count
	}
	if err != nil || w == nil {
		k.client.c.fail("a piece of stream %d that is none, or of none: %v", number, err)
	}
	size := uint64(len(body))
	if w.sent += size; w.sent > w.granted && (rows > 1 || size <= w.piece) {
		k.client.c.fail("I16: n%d sends %d bytes of stream %d, of %d that were granted", k.node.index, w.sent, number, w.granted)
	}
}

// begin begins an attempt of a stream on a connection.
func (o *op) begin() {
	o.body, o.attempt = o.stream.Begin(o.body[:0])
	if o.watching != nil || o.backing != nil {
		return
	}
	var q wire.Scan
	if err := q.Read(o.body); err != nil {
		o.client.c.fail("%s: %v", o, err)
	}
	o.list.After = q.After
}

// grant sends the grant of a stream if one is due.
func (o *op) grant() {
	g, attempt, due := o.stream.Grant()
	if due && o.conn != nil && attempt == o.attempt {
		o.conn.say(wire.TypeStreamGrant, 0, o.request, 0, g.Append(nil))
	}
}

// piece takes a piece.
func (o *op) piece(body []byte) {
	c := o.client.c
	if o.watching != nil {
		o.call.Deadline = o.client.now() + noDeadline
		o.stream.Piece(o.attempt, body)
		o.watching.came()
		return
	}
	if o.backing != nil {
		o.stream.Piece(o.attempt, body)
		o.backing.came()
		return
	}
	var a wire.ListAnswer
	if err := a.Read(body); err != nil && !o.doubted {
		c.fail("%s is answered with a bad piece: %v", o, err)
	}
	o.floor = max(o.floor, o.stands)
	o.stands = a.At.Index
	if o.doubted {
		o.listing.doubted = true
	} else {
		page := a
		o.checkPage(&page)
		c.users.answered(o)
	}
	c.result.Pages++
	for {
		key, _, _, ok := a.Next()
		if !ok {
			break
		}
		o.list.After = append([]byte(nil), key...)
	}
	o.stream.Piece(o.attempt, body)
	o.listing.came()
}

// streamEnded takes the end of an attempt that a node sends.
func (o *op) streamEnded(from client.Peer, body []byte) {
	cl := o.client
	var e wire.StreamEnd
	if err := e.Read(body); err != nil || e.Reason != wire.EndDone && e.Why.Code == 0 && !o.doubted {
		cl.c.fail("%s ends with %+v: %v", o, e, err)
	}
	if o.list != nil && !o.doubted && e.Reason != wire.EndDone && string(e.Resume) != string(o.list.After) {
		cl.c.fail("%s ends after %q, and says that it ends after %q", o, o.list.After, e.Resume)
	}
	why := o.stream.Ended(o.attempt, &e)
	if why == nil {
		cl.c.result.Answered++
		o.over()
		o.ended(nil)
		return
	}
	if o.goesOn() {
		cl.core.Refused(cl.now(), &o.call, from, why)
	}
}

// goesOn reports whether an operation continues after a failed attempt. A stream is
// handled as in client/streamcall.go; other operations continue.
func (o *op) goesOn() bool {
	if o.stream == nil {
		return true
	}
	if o.stream.Brought() {
		o.call.Progressed(o.client.now())
		o.call.Deadline = o.client.now() + o.within
		o.client.c.result.Resumed++
	}
	if o.stream.Complete() {
		o.over()
		o.ended(nil)
		return false
	}
	return true
}

// giveUp ends a stream that is no longer wanted, wherever it is.
func (o *op) giveUp() {
	if o.done {
		return
	}
	o.cancelled = true // it may be on its way to a connection
	if k := o.conn; k != nil {
		k.take(o.request)
		k.say(wire.TypeStreamCancel, 0, o.request, 0, new(wire.Empty).Append(nil))
		o.client.core.ExpireUnsent(o.client.now(), &o.call)
		return
	}
	o.client.core.Cancel(&o.call)
}
