package machine

import (
	"bytes"
	"fmt"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// scan is a stream of the keys of one group. Its pieces are pages, as of a listing: each is
// asked for after the last key that was sent, and stands at a moment of its own.
type scan struct {
	stream

	// Set once.
	request wire.Scan
	// passed: where no replica of the group is here, its pages are those of listings
	// that are passed on, on behalf of principal.
	passed    bool
	principal shardmap.Principal

	// Guarded by of.mu.
	rows  uint64               // that were sent
	after []byte               // the last of them
	runs  []shardmap.SlotRange // that the page is of which is being read; not changed meanwhile
}

// openScan opens a stream of keys. It keeps body.
func openScan(h wire.Header, body []byte, principal shardmap.Principal) (*stream, error) {
	s := &scan{passed: h.Flags&wire.FlagForward != 0, principal: principal}
	s.kind = s
	if err := s.request.Read(body); err != nil {
		return &s.stream, err
	}
	if anyReplica(h, s.request.Mode) {
		s.request.Mode = wire.ReadFollower // its pages are asked for without the frame
	}
	s.piece, s.limit, s.after = int(s.request.PieceBytes), s.request.Window, s.request.After
	return &s.stream, nil
}

// admit implements [kind].
func (s *scan) admit(table *shardmap.Table) *wire.Error {
	if e := overLevel(wire.TypeScan, s.request.Level(), table); e != nil {
		return e
	}
	_, err := slotsListed(s.request.Group, s.request.Slots, s.request.Epoch, table)
	return err
}

// begin implements [kind].
func (s *scan) begin() {}

// over implements [kind].
func (s *scan) over() {}

// due implements [kind]: it ends where nothing more is to be sent.
func (s *scan) due() bool { return true }

// fed implements [kind].
func (s *scan) fed() bool { return false }

// make implements [kind]: nothing is fed to it.
func (s *scan) make() {}

// resume implements [kind]: it is the last key that was sent.
func (s *scan) resume() []byte { return s.after }

// ask implements [kind]: it has the next page read.
func (s *scan) ask(table *shardmap.Table) *wire.Error {
	// As with a listing page by page: all pages are of the slots that the client
	// means.
	runs, err := slotsListed(s.request.Group, s.request.Slots, s.request.Epoch, table)
	if err != nil {
		return err
	}
	s.runs = runs
	return s.of.asker.Ask(repl.Read{
		Group: s.request.Group, Local: s.request.Mode == wire.ReadLocal, AnyReplica: s.request.Mode == wire.ReadFollower,
		After: s.request.AfterID.Index, Reply: repl.Reply{To: s, Request: s.reply.Request}, Query: s,
		Passage: s.passage(table),
	}, s.within)
}

// Answer implements [repl.Replier]: the host refuses a read, or brings a page that
// another node has read.
func (s *scan) Answer(r repl.Reply, t wire.Type, body []byte) (first bool) {
	if t == wire.TypeListAnswer {
		return s.arrive(body)
	}
	return s.stream.Answer(r, t, body)
}

// wanted reports whether the page that is being read is, and where it begins.
func (s *scan) wanted() (q *wire.List, wanted bool) {
	x := s.of
	x.mu.Lock()
	defer x.mu.Unlock()
	return s.page(), s.state == turnMaking
}

// page is the listing that the next page is of.
func (s *scan) page() *wire.List {
	q := &wire.List{
		Group: s.request.Group, Slots: s.runs, Prefix: s.request.Prefix, After: s.after, KeysOnly: s.request.KeysOnly, Span: s.request.Span,
		Limit: wire.ListRowsMax, MaxBytes: max(s.request.PieceBytes-wire.ListHead, 1),
	}
	if s.request.Limit > 0 {
		q.Limit = uint32(min(s.request.Limit-s.rows, wire.ListRowsMax))
	}
	return q
}

// passage is how the next page is asked for by a node without a replica of the group;
// nil if its client does not ask for that.
func (s *scan) passage(table *shardmap.Table) *repl.Passage {
	if !s.passed {
		return nil
	}
	q := s.page()
	q.Mode, q.Epoch, q.AfterID, q.Slots = s.request.Mode, s.request.Epoch, s.request.AfterID, s.request.Slots
	// A listing counts keys and values alone: the other half of the piece is for what
	// so many rows have beside them.
	q.MaxBytes = max(q.MaxBytes/2, 1)
	q.Limit = min(q.Limit, max(q.MaxBytes/wire.ListRowHead, 1))
	return newPassage(wire.Forward{Principal: s.principal, Type: wire.TypeList, Body: q.Append(nil)}, s.request.Group, table)
}

// Run implements [repl.Query]. As with a page of a listing, what it shows is settled
// here, between two entries, and read beside those that follow.
func (s *scan) Run(state repl.StateMachine, at raft.LogID, _ repl.Reply) (first bool) {
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
	if !bytes.Equal(q.After, s.request.After) { // the page before it was full
		p.expected = int(q.MaxBytes)
	}
	if found := s.of.asker.Later(func() { s.send(p) }); found != "" {
		p.drop()
		return s.refused(TooManyReads(found))
	}
	return false
}

// send reads a page and sends it.
func (s *scan) send(p *page) {
	x := s.of
	if !s.reserve(min(s.piece, x.limits.Page)) {
		p.drop()
		return
	}
	a, frame := p.read(wire.TypeScanPiece, wire.FlagMore, s.reply.Request)
	if !s.reserve(len(frame)) { // one row may be larger than a piece
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.state == turnMaking {
		s.sendPage(frame, a, p.last)
		x.asker.Flush()
	}
}

// arrive takes a page that another node has read. Its body is copied here, and looked at
// beside the goroutine that hands it in, which serves all groups.
func (s *scan) arrive(body []byte) (first bool) {
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
func (s *scan) sendPassed(frame []byte, start int) {
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
	if s.state == turnMaking {
		s.sendPage(frame, a, last)
		x.asker.Flush()
	}
}

// sendPage sends a piece, whose room is reserved, with the rows of a; last is the key
// of the last one.
func (s *scan) sendPage(frame []byte, a *wire.ListAnswer, last []byte) {
	x := s.of
	x.sendPiece(&s.stream, wire.TypeScanPiece, frame)
	s.rows += uint64(a.Count)
	if a.Count > 0 {
		s.after = last
	}
	if !a.More || s.request.Limit > 0 && s.rows >= s.request.Limit {
		x.end(&s.stream, &wire.StreamEnd{Reason: wire.EndDone})
	} else {
		x.ready(&s.stream)
	}
	x.turns()
}
