package node

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"muster/repl/wire"
)

// scanBody asks one group for all its keys.
func scanBody(s wire.Scan) []byte {
	if s.Group == 0 {
		s.Group = 1
	}
	if s.PieceBytes == 0 {
		s.PieceBytes = 64 << 10
	}
	return s.Append(nil)
}

// heard is what a client was sent of its streams, by number, and of the rest.
type heard struct {
	pieces map[uint64]int // bytes of pieces
	ends   map[uint64]*wire.StreamEnd
	errs   map[uint64]*wire.Error
	others []wire.Header
}

// hear takes the next frame.
func (x *heard) hear(t *testing.T, s *speaker) wire.Header {
	t.Helper()
	h, body, err := s.read()
	if err != nil {
		t.Fatalf("%v; %d streams have pieces, ended have %v, refused were %v", err, len(x.pieces), x.ends, x.errs)
	}
	switch h.Type {
	case wire.TypeScanPiece:
		if h.Flags != wire.FlagMore || x.ends[h.Request] != nil {
			t.Fatalf("a piece of stream %d with flags %d, which has ended: %t", h.Request, h.Flags, x.ends[h.Request] != nil)
		}
		x.pieces[h.Request] += len(body)
	case wire.TypeStreamEnd:
		e := new(wire.StreamEnd)
		if err := e.Read(body); err != nil || h.Flags != 0 || x.ends[h.Request] != nil {
			t.Fatalf("the end of stream %d: flags %d, twice %t, %v", h.Request, h.Flags, x.ends[h.Request] != nil, err)
		}
		x.ends[h.Request] = e
	case wire.TypeError:
		e := new(wire.Error)
		if err := e.Read(body); err != nil {
			t.Fatal(err)
		}
		x.errs[h.Request] = e
	default:
		x.others = append(x.others, h)
	}
	return h
}

func newHeard() *heard {
	return &heard{pieces: map[uint64]int{}, ends: map[uint64]*wire.StreamEnd{}, errs: map[uint64]*wire.Error{}}
}

func (s *speaker) send(t *testing.T, frames ...[]byte) {
	t.Helper()
	for _, f := range frames {
		if _, err := s.Write(f); err != nil {
			t.Fatal(err)
		}
	}
}

// filled is a node with some megabytes in the slot of a tag, which is of group 1 as
// all are.
func filled(t *testing.T, bytes int) *runningNode {
	c := testConfig(t)
	c.Groups = 1
	l := defaultLimits()
	r := start(t, c, l)
	r.serves()
	s := r.client()
	defer s.Close()
	const size = 8 << 10
	for i := range bytes / size {
		if _, err := s.set(fmt.Sprintf("k/%05d", i), strings.Repeat("v", size)); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// Streams that their client leaves standing are in nobody's way: other requests on
// the connection are answered at once, and all that the node holds for them is a
// request each. One would doubt it: they are many, and all have more to send.
func TestStalledStreamsAreInNobodysWay(t *testing.T) {
	const streams, piece = 300, 64 << 10
	r := filled(t, 2<<20)
	s, x := r.client(), newHeard()
	for i := range uint64(streams) {
		s.send(t, frame(wire.TypeScan, 0, 1+i, scanBody(wire.Scan{PieceBytes: piece, Window: piece})))
	}
	for len(x.pieces) < streams {
		x.hear(t, s)
	}
	for range 50 {
		s.send(t, frame(wire.TypeGet, 0, 9999, getBody(wire.ReadLinearizable, "k/00001")))
		if h := x.hear(t, s); h.Type != wire.TypeGetAnswer {
			t.Fatalf("a get is answered with %s", h.Type)
		}
	}
	for n, bytes := range x.pieces {
		if bytes > piece {
			t.Errorf("stream %d has sent %d bytes of %d", n, bytes, piece)
		}
	}
	until(t, "what was sent is no longer counted", func() error {
		if held, bound := r.node.held.Load(), int64(streams*(requestOverhead+100)); held > bound {
			return fmt.Errorf("%d bytes are held, want %d at most", held, bound)
		}
		return nil
	})
	// One goes on to its end.
	for x.ends[7] == nil {
		s.send(t, frame(wire.TypeStreamGrant, 0, 7, (&wire.StreamGrant{Limit: uint64(x.pieces[7] + piece)}).Append(nil)))
		x.hear(t, s)
	}
	if e := x.ends[7]; e.Reason != wire.EndDone || x.pieces[7] < 2<<20 {
		t.Errorf("it ends with %s after %d bytes", e.Reason, x.pieces[7])
	}
	s.Close()
	r.idle()
}

// A stream with all the window that there may be doesn't fill the connection: a get
// beside it waits behind what streams may have sent ahead, not behind the stream.
func TestGetsBesideAStream(t *testing.T) {
	const all = 24 << 20
	r := filled(t, all)
	s, x := r.client(), newHeard()
	if err := s.Conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	const streams = 4
	for i := range uint64(streams) {
		s.send(t, frame(wire.TypeScan, 0, 1+i, scanBody(wire.Scan{PieceBytes: 256 << 10, Window: wire.StreamWindowMax})))
	}
	for range 20 {
		x.hear(t, s)
	}
	was, since := 0, 0
	for gets := 0; gets < 5; {
		s.send(t, frame(wire.TypeGet, 0, 9999, getBody(wire.ReadLinearizable, "k/00001")))
		for was, since = len(x.others), 0; len(x.others) == was; {
			h := x.hear(t, s)
			since += h.Length
		}
		gets++
		// Beside what waits in the node, the system holds some of what was sent.
		if bound := 2*streamsAhead + 8<<20; since > bound {
			t.Errorf("a get was answered behind %d bytes of streams, want %d at most", since, bound)
		}
	}
	if len(x.ends) > 0 {
		t.Error("a stream was over before the gets: the test shows nothing")
	}
}

// A client that reads nothing of its connection is cut off, streams and all; and
// until then it holds no more than one that asks for large values.
func TestStreamsOfADeafClient(t *testing.T) {
	r := filled(t, 8<<20)
	s := r.client()
	if err := s.Conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	end := r.otherEnd(s)
	for i := range uint64(100) {
		s.send(t, frame(wire.TypeScan, 0, 1+i, scanBody(wire.Scan{PieceBytes: 256 << 10, Window: wire.StreamWindowMax})))
	}
	most := 0
	until(t, "the streams stand still", func() error {
		end.mu.Lock()
		defer end.mu.Unlock()
		most = max(most, end.inflight)
		if !end.spare {
			return fmt.Errorf("there is still room, with %d bytes in flight", end.inflight)
		}
		return nil
	})
	// Pages are read beside each other; what each counts may be counted when the
	// room was found.
	if bound := 100*(requestOverhead+100) + 2*streamsAhead; most > bound {
		t.Errorf("%d bytes are in flight, want %d at most", most, bound)
	}
	if err := r.client().works(); err != nil {
		t.Errorf("a good client beside it: %v", err)
	}
	s.Close()
	r.idle()
}

// Bad frames about streams are refused with a code, or dropped and counted, and the
// connection stays.
func TestHostileStreamFrames(t *testing.T) {
	r := filled(t, 2<<20)
	s, x := r.client(), newHeard()
	grant := func(number, limit uint64) []byte {
		return frame(wire.TypeStreamGrant, 0, number, (&wire.StreamGrant{Limit: limit}).Append(nil))
	}
	cancel := func(number uint64) []byte {
		return frame(wire.TypeStreamCancel, 0, number, new(wire.Empty).Append(nil))
	}
	until := func(number uint64) {
		t.Helper()
		for x.ends[number] == nil && x.errs[number] == nil {
			x.hear(t, s)
		}
	}
	s.send(t, grant(1, 1<<20), cancel(1), cancel(1)) // of no stream
	s.send(t, frame(wire.TypeScan, 0, 2, scanBody(wire.Scan{})), grant(2, 1<<63))
	if until(2); x.ends[2].Reason != wire.EndRefused || x.ends[2].Why.Code != wire.CodeBadRequest {
		t.Errorf("a grant of 2^63 bytes: %+v", x.ends[2])
	}
	s.send(t, frame(wire.TypeScan, 0, 3, scanBody(wire.Scan{})), cancel(3), cancel(3))
	if until(3); x.ends[3].Reason != wire.EndCancelled {
		t.Errorf("a cancelled stream: %+v", x.ends[3])
	}
	s.send(t, frame(wire.TypeScan, 0, 4, scanBody(wire.Scan{})), frame(wire.TypeScan, 0, 4, scanBody(wire.Scan{})))
	if until(4); x.errs[4] == nil || x.errs[4].Code != wire.CodeBadRequest {
		t.Errorf("a number that is used twice: %+v", x.errs[4])
	}
	s.send(t, frame(wire.TypeScan, wire.FlagMore, 5, scanBody(wire.Scan{})))
	if until(5); x.errs[5] == nil || x.errs[5].Code != wire.CodeBadRequest {
		t.Errorf("a request with the flag of an answer: %+v", x.errs[5])
	}
	for i := range uint64(wire.StreamsMax + 1) {
		s.send(t, frame(wire.TypeScan, 0, 100+i, scanBody(wire.Scan{})))
	}
	if until(100 + wire.StreamsMax); x.errs[100+wire.StreamsMax] == nil || x.errs[100+wire.StreamsMax].Code != wire.CodeBusy {
		t.Errorf("one stream too many: %+v", x.errs[100+wire.StreamsMax])
	}
	s.send(t, frame(wire.TypeGet, 0, 9999, getBody(wire.ReadLinearizable, "k/00001")))
	if h := x.hear(t, s); h.Type != wire.TypeGetAnswer {
		t.Errorf("a get beside them is answered with %s", h.Type)
	}
	if got := r.node.watching.strays.Load(); got != 4 {
		t.Errorf("%d words were of no stream, want 4", got)
	}
	s.send(t, frame(wire.TypeStreamGrant, 0, 100, []byte{0x92, 1, 2}), frame(wire.TypeStreamCancel, 4, 101, []byte{0x90}))
	for _, number := range []uint64{100, 101} {
		if until(number); x.ends[number] == nil || x.ends[number].Why.Code != wire.CodeBadRequest {
			t.Errorf("stream %d, of which nonsense is said: %+v", number, x.ends[number])
		}
	}
	s.send(t, frame(wire.TypeStreamGrant, 0, 77, []byte{0x91, 0xa1, 'x'}))
	if until(77); x.errs[77] == nil || x.errs[77].Code != wire.CodeBadRequest {
		t.Errorf("nonsense of no stream: %+v", x.errs[77])
	}
	s.Close()
	r.idle()
}

// A client that closes its half has what it granted, and then an end.
func TestStreamEndsWithItsClient(t *testing.T) {
	r := filled(t, 2<<20)
	s, x := r.client(), newHeard()
	s.send(t, frame(wire.TypeScan, 0, 1, scanBody(wire.Scan{PieceBytes: 64 << 10, Window: 200 << 10})))
	if err := s.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	for x.ends[1] == nil {
		x.hear(t, s)
	}
	if e := x.ends[1]; e.Reason != wire.EndCancelled || x.pieces[1] < 100<<10 || x.pieces[1] > 200<<10 {
		t.Errorf("it ends with %s after %d bytes", e.Reason, x.pieces[1])
	}
	if took := time.Since(began); took > r.node.limits.answerTimeout/2 {
		t.Errorf("that took %s", took)
	}
	r.idle()
}
