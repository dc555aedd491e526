package machine

import (
	"fmt"

	"muster/repl/wire"
	"muster/shardmap"
)

// tableStream is a stream of the table: as it is now, then after each change. Of several
// changes since the last piece it sends only the newest, so a slow client gets fewer pieces.
type tableStream struct {
	stream

	// Guarded by of.mu.
	index uint64 // of the last table that was sent, or that the client had

	place int // in the feed's list; owned by its turns
}

// openTableStream opens a stream of the table.
func openTableStream(body []byte) (*stream, error) {
	s := new(tableStream)
	s.kind = s
	var q wire.TableStream
	if err := q.Read(body); err != nil {
		return &s.stream, err
	}
	s.piece, s.limit, s.index = int(q.PieceBytes), q.Window, q.Index
	return &s.stream, nil
}

// admit implements [kind].
func (s *tableStream) admit(table *shardmap.Table) *wire.Error {
	if e := overLevel(wire.TypeTableStream, shardmap.LeasesLevel, table); e != nil {
		return e
	}
	if s.of.Feed == nil {
		return noFeed(wire.TypeTableStream)
	}
	return nil
}

// begin implements [kind].
func (s *tableStream) begin() {
	f := s.of.Feed
	f.tables.Add(1) // before the first look at the table
	f.post(func() { f.add(s) })
}

// over implements [kind].
func (s *tableStream) over() {
	f := s.of.Feed
	f.tables.Add(-1)
	f.post(func() { f.remove(s) })
}

// due implements [kind].
func (s *tableStream) due() bool { return s.of.asker.Table().Index > s.index }

// fed implements [kind].
func (s *tableStream) fed() bool { return true }

// ask implements [kind]: there is nothing to ask for.
func (s *tableStream) ask(*shardmap.Table) *wire.Error { return nil }

// resume implements [kind]: a client goes on from the index that it has.
func (s *tableStream) resume() []byte { return nil }

// wake puts the stream in line: there is another table.
func (s *tableStream) wake() {
	x := s.of
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ready(&s.stream)
	x.turns()
}

// make implements [kind].
func (s *tableStream) make() {
	x := s.of
	table := x.asker.Table()
	body := x.Feed.answer(table)
	x.mu.Lock()
	defer x.mu.Unlock()
	if body == nil {
		x.fail(&s.stream, wire.Unavailable(fmt.Sprintf("stream %d", s.reply.Request), "this node can't tell of the table now"))
		return
	}
	if x.sendFed(&s.stream, wire.TypeTablePiece, body) {
		s.index = table.Index
		x.ready(&s.stream)
	}
}
