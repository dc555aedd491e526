package machine_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// streams is a client with streams, and its node.
type streams struct {
	asker
	t    *testing.T
	q    *requests
	asks []repl.Read // that the host has not run
	rows map[uint64][]string
	fed  map[uint64][][]byte // pieces that the feed made, and those of backups
	sent map[uint64]int      // bytes of pieces
	ends map[uint64]*wire.StreamEnd
	errs map[uint64]*wire.Error
	held int  // bytes that are counted
	busy bool // nothing more may wait to be sent

	feed     *machine.Feed
	due      bool // a turn of the feed is
	now      time.Duration
	bodies   int    // that were made of tables
	making   func() // is called while one is made, unless nil
	tableOut bool   // none can be made
}

func newStreams(t *testing.T) *streams {
	x := &streams{t: t, q: newRequests(t), rows: map[uint64][]string{}, fed: map[uint64][][]byte{}, sent: map[uint64]int{}, ends: map[uint64]*wire.StreamEnd{}, errs: map[uint64]*wire.Error{}}
	x.room = 1 << 30
	x.q.table.Slots[x.q.foreign] = 2
	x.feed = machine.NewFeed(machine.FeedConfig{Due: func() { x.due = true }, Table: x.Table, Topology: x.topology})
	x.q.Streams.Feed = x.feed
	x.q.Init(x, machine.RequestLimits{Wait: time.Minute, Inline: 250, Page: 1000})
	return x
}

func (x *streams) Answer(r repl.Reply, typ wire.Type, body []byte) bool {
	x.held -= r.Size
	switch typ {
	case wire.TypeError:
		e := new(wire.Error)
		if err := e.Read(body); err != nil {
			x.t.Fatal(err)
		}
		x.errs[r.Request] = e
	case wire.TypeStreamEnd:
		e := new(wire.StreamEnd)
		if err := e.Read(body); err != nil {
			x.t.Fatal(err)
		}
		if x.ends[r.Request] != nil {
			x.t.Errorf("stream %d ends twice", r.Request)
		}
		x.ends[r.Request] = e
	default:
		x.t.Fatalf("a stream is answered with %s", typ)
	}
	return true
}

func (x *streams) AnswerFrame(r repl.Reply, typ wire.Type, frame []byte) bool {
	x.held -= r.Size
	h, body, ok, err := decoded(frame)
	if !ok || err != nil || h.Type != typ || h.Flags != wire.FlagMore || h.Request != r.Request {
		x.t.Fatalf("a piece is %+v, %v", h, err)
	}
	if x.ends[r.Request] != nil {
		x.t.Errorf("stream %d has a piece behind its end", r.Request)
	}
	x.sent[r.Request] += len(body)
	if typ == wire.TypeBackupPiece {
		x.fed[r.Request] = append(x.fed[r.Request], body)
		return true
	}
	var a wire.ListAnswer
	if err := a.Read(body); err != nil {
		x.t.Fatal(err)
	}
	for {
		key, _, _, ok := a.Next()
		if !ok {
			break
		}
		x.rows[r.Request] = append(x.rows[r.Request], string(key))
	}
	return true
}

func (x *streams) AnswerPiece(r repl.Reply, typ wire.Type, body []byte) bool {
	x.held -= r.Size
	if x.ends[r.Request] != nil {
		x.t.Errorf("stream %d has a piece behind its end", r.Request)
	}
	x.fed[r.Request] = append(x.fed[r.Request], bytes.Clone(body))
	x.sent[r.Request] += len(body)
	return true
}

func decoded(frame []byte) (wire.Header, []byte, bool, error) {
	d, r := wire.NewDecoder(wire.FrameMax), bytes.NewReader(frame)
	for {
		if err := d.Fill(r); err != nil {
			return wire.Header{}, nil, false, err
		}
		if h, body, ok, err := d.Next(); ok || err != nil {
			return h, body, ok, err
		}
	}
}

func (x *streams) Reserve(r *repl.Reply, size int) bool {
	if size > x.room {
		return false
	}
	x.held += max(size-r.Size, 0)
	r.Size = max(size, r.Size)
	return true
}

func (x *streams) Spare(int) bool { return !x.busy }

func (x *streams) Ask(r repl.Read, _ time.Duration) *wire.Error {
	x.asks = append(x.asks, r)
	return nil
}

func (x *streams) Table() *shardmap.Table { return x.q.table }

// topology is a table as a topology tells it, as far as it matters here.
func (x *streams) topology(t *shardmap.Table) []byte {
	if x.tableOut {
		return nil
	}
	x.bodies++
	if x.making != nil {
		x.making()
	}
	a := wire.TopologyAnswer{ClusterID: t.ClusterID, Index: t.Index, Level: t.Level}
	return a.Append(nil)
}

// newTable gives the node another table.
func (x *streams) newTable() {
	t := *x.q.table
	t.Index++
	x.q.table = &t
	x.feed.TableChanged()
}

// turn has the feed do what is due, in as many turns as that takes.
func (x *streams) turn() {
	for x.due {
		x.due = false
		x.feed.Turn(x.now)
	}
}

// open opens a stream.
func (x *streams) open(number uint64, s wire.Scan) {
	x.t.Helper()
	if s.Group == 0 {
		s.Group = 1
	}
	if s.PieceBytes == 0 {
		s.PieceBytes = wire.StreamPieceMin
	}
	body := s.Append(nil)
	x.take(number, body)
}

func (x *streams) take(number uint64, body []byte) { x.request(wire.TypeScan, number, body) }

func (x *streams) request(t wire.Type, number uint64, body []byte) {
	x.held += 100
	x.q.Take(wire.Header{Type: t, Length: len(body), Deadline: 1000, Request: number}, body, repl.Reply{To: x, Request: number, Size: 100}, x.q.table, machine.Now{Host: time.Second})
}

// work has the host and the listers do what they can, in any order; it reports
// whether there was anything.
func (x *streams) work(random *rand.Rand) bool {
	switch n, m := len(x.asks), len(x.later); {
	case n > 0 && (m == 0 || random.IntN(2) == 0):
		i := random.IntN(n)
		r := x.asks[i]
		x.asks = slices.Delete(x.asks, i, i+1)
		r.Query.Run(x.q.state, raft.LogID{Term: 1, Index: x.q.index}, r.Reply)
	case m > 0:
		i := random.IntN(m)
		read := x.later[i]
		x.later = slices.Delete(x.later, i, i+1)
		read()
	default:
		return false
	}
	return true
}

func (x *streams) settle() {
	random := rand.New(rand.NewPCG(1, 1))
	for x.work(random) {
	}
}

// settleLater does what is to be done beside the host.
func (x *streams) settleLater() {
	for _, read := range x.later {
		read()
	}
	x.later = nil
}

// fill puts keys there, and returns all that are, in order.
func (x *streams) fill(n int, size func(i int) int) (keys []string) {
	x.q.Init(&x.q.asker, machine.RequestLimits{Wait: time.Minute, Inline: 250, Page: 1000})
	for i := range n {
		x.q.set(x.t, fmt.Sprintf("s/%03d", i), strings.Repeat("v", size(i)))
		keys = append(keys, fmt.Sprintf("s/%03d", i))
	}
	x.q.Init(x, machine.RequestLimits{Wait: time.Minute, Inline: 250, Page: 1000})
	return keys
}

// A stream sends every key of its range once, in order, up or down, and never more than was granted, but for
// one row that is larger than a piece, whatever comes between: grants in any order
// and twice, room that is gone, entries that are applied. One would doubt it: grants
// and pages cross each other, and a page is asked for before its size is known.
func TestStreamHonoursItsWindow(t *testing.T) {
	for seed := range uint64(100) {
		random := rand.New(rand.NewPCG(seed, 7))
		x := newStreams(t)
		keys := x.fill(60, func(i int) int {
			if i%17 == 3 {
				return 900 // larger than a piece
			}
			return random.IntN(120)
		})
		piece := wire.StreamPieceMin + random.IntN(300)
		limit := random.IntN(1000)
		span := wire.Span{Descending: seed%2 == 1}
		if seed%4 > 1 {
			span.From, span.To, keys = []byte(keys[5]), []byte(keys[50]), keys[5:50]
		}
		if span.Descending {
			slices.Reverse(keys)
		}
		x.open(9, wire.Scan{Prefix: []byte("s/"), PieceBytes: uint32(piece), Window: uint64(limit), Span: span})
		for steps := 0; x.ends[9] == nil; steps++ {
			if steps > 5000 {
				t.Fatalf("seed %d: it stands still at %d of %d bytes", seed, x.sent[9], limit)
			}
			was := x.sent[9]
			switch random.IntN(6) {
			case 0:
				if grant := x.sent[9] + random.IntN(2*piece); grant > limit {
					limit = grant
					x.q.Streams.Grant(9, uint64(grant))
				}
				x.q.Streams.Grant(9, uint64(random.IntN(limit+1))) // an old one
			case 1:
				x.busy = !x.busy
				if !x.busy {
					x.q.Streams.Room()
				}
			default:
				x.work(random)
			}
			if more := x.sent[9] - was; more > 0 && (was+piece > limit || more > piece && more < 900) {
				t.Fatalf("seed %d: %d bytes were sent behind %d, of %d granted, in pieces of %d", seed, more, was, limit, piece)
			}
		}
		if e := x.ends[9]; e.Reason != wire.EndDone || string(e.Resume) != keys[len(keys)-1] {
			t.Errorf("seed %d: it ends with %s after %q", seed, e.Reason, e.Resume)
		}
		if !slices.Equal(x.rows[9], keys) {
			t.Errorf("seed %d: it has %v", seed, x.rows[9])
		}
		if x.held != 0 {
			t.Errorf("seed %d: %d bytes are still counted", seed, x.held)
		}
	}
}

// A stream whose window is full holds nothing: no page is asked for, and its
// connection counts it as a request, however long it waits.
func TestStalledStreamHoldsNothing(t *testing.T) {
	x := newStreams(t)
	x.fill(40, func(int) int { return 100 })
	for i := range uint64(50) {
		x.open(i, wire.Scan{Prefix: []byte("s/"), Window: wire.StreamPieceMin})
	}
	x.settle()
	if len(x.ends) > 0 || x.held != 50*100 || len(x.asks)+len(x.later) > 0 {
		t.Errorf("%d have ended, %d bytes are counted, %d reads under way", len(x.ends), x.held, len(x.asks)+len(x.later))
	}
	for i := range uint64(50) {
		if x.sent[i] == 0 || x.sent[i] > wire.StreamPieceMin {
			t.Fatalf("stream %d has sent %d bytes", i, x.sent[i])
		}
	}
	x.q.Streams.Close()
	if x.held != 0 {
		t.Errorf("%d bytes are counted after the end", x.held)
	}
}

// Streams take turns: one with a large window doesn't keep others from theirs.
func TestStreamsTakeTurns(t *testing.T) {
	x := newStreams(t)
	x.fill(200, func(int) int { return 100 })
	for i := range uint64(4) {
		x.open(i, wire.Scan{Prefix: []byte("s/"), Window: wire.StreamWindowMax})
	}
	random := rand.New(rand.NewPCG(3, 3))
	for x.work(random) {
		least, most := math.MaxInt, 0
		for i := range uint64(4) {
			least, most = min(least, len(x.rows[i])), max(most, len(x.rows[i]))
		}
		if most-least > 40 {
			t.Fatalf("one has %d rows, another %d", most, least)
		}
	}
	if len(x.ends) != 4 {
		t.Errorf("%d have ended", len(x.ends))
	}
}

// However a stream ends whose page is being read, the next has its turn: one would
// wait for ever else, for nothing more happens to it.
func TestStreamLeavesItsTurn(t *testing.T) {
	for _, c := range []struct {
		what string
		end  func(x *streams)
	}{
		{"it is cancelled", func(x *streams) { x.q.Streams.Cancel(0) }},
		{"its number is used twice", func(x *streams) { x.open(0, wire.Scan{}) }},
		{"it is granted too much", func(x *streams) { x.q.Streams.Grant(0, math.MaxUint64) }},
		{"nonsense is said of it", func(x *streams) { x.q.Streams.Refuse(0, wire.BadRequest("grant", "no number", "send one")) }},
		{"its read is refused", func(x *streams) {
			r := x.asks[0]
			r.Reply.To.Answer(r.Reply, wire.TypeError, wire.NotLeader(1, 0, "").Append(nil))
		}},
	} {
		x := newStreams(t)
		x.fill(10, func(int) int { return 100 })
		waits := uint64(0)
		for ; int(waits) == len(x.asks); waits++ {
			x.open(waits, wire.Scan{Prefix: []byte("s/"), Window: wire.StreamPieceMin})
		}
		before := len(x.asks)
		if c.end(x); len(x.asks) != before+1 || x.asks[before].Reply.Request != waits-1 {
			t.Errorf("%s: %d reads were asked for, then %d", c.what, before, len(x.asks))
		}
	}
}

// A stream that has ended keeps no memory, whenever its turn would have been. One would
// doubt it: a client that reads just enough keeps the turn of one stream from coming,
// and can open and cancel others behind it for as long as it likes.
func TestEndedStreamsKeepNothing(t *testing.T) {
	x := newStreams(t)
	x.busy = true
	x.open(0, wire.Scan{Window: wire.StreamPieceMin})
	after := bytes.Repeat([]byte("k"), shardmap.KeyMax)
	const streams = 4096
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range streams {
		x.open(1, wire.Scan{After: after, Window: wire.StreamPieceMin})
		x.q.Streams.Cancel(1)
		delete(x.ends, 1)
	}
	if now := heap(); now > before+streams*uint64(len(after))/4 {
		t.Errorf("%d streams that were cancelled keep %d bytes", streams, now-before)
	}
	x.busy = false
	x.q.Streams.Room()
	x.settle()
	if x.sent[0] == 0 {
		t.Error("the stream that waited has no turn")
	}
}

// Where no replica of the group is here, a stream that its client wants passed on has its
// pages from another node, whole and in order, none larger than a piece. One would doubt
// it: a page of a listing counts its bytes in another way, and what came of a request that
// was passed on may be a refusal, or come when the stream has ended.
func TestStreamIsPassedOn(t *testing.T) {
	there := newStreams(t)
	keys := there.fill(60, func(i int) int { return 1 + i%3*(i%7) })
	keys = append(keys, there.fill(70, func(i int) int { return max(3*(i-60), 0) * (i / 60) })[60:]...)
	remote := there.q
	remote.Init(&remote.asker, machine.RequestLimits{Wait: time.Minute, Inline: 250, Page: 1000})
	for _, keysOnly := range []bool{false, true} {
		x := newStreams(t)
		x.q.table.Groups[0].Replicas = []shardmap.TableReplica{{Node: 2}, {Node: 3}}
		ask := func(flags uint16, number uint64, s wire.Scan) {
			s.Group, s.PieceBytes = 1, wire.StreamPieceMin
			body := s.Append(nil)
			x.held += 100
			x.q.Take(wire.Header{Type: wire.TypeScan, Flags: flags, Length: len(body), Deadline: 1000, Request: number}, body,
				repl.Reply{To: x, Request: number, Size: 100}, x.q.table, machine.Now{Host: time.Second})
		}
		ask(0, 1, wire.Scan{Window: wire.StreamPieceMin})
		if x.asks[0].Passage != nil {
			t.Error("a stream is passed on though nobody asks for it")
		}
		x.asks = nil
		ask(wire.FlagForward, 2, wire.Scan{Epoch: 5, Prefix: []byte("s/"), Limit: uint64(len(keys)) - 1, Window: wire.StreamPieceMin, KeysOnly: keysOnly})
		for pages := 0; len(x.asks) > 0; pages++ {
			r := x.asks[0]
			x.asks = x.asks[1:]
			if r.Passage == nil || !slices.Equal(r.Passage.Nodes, []raft.NodeID{2, 3}) {
				t.Fatalf("the read of page %d is passed on as %+v", pages, r.Passage)
			}
			before := x.sent[2]
			body := r.Passage.Forward.Append(nil)
			remote.TakeForward(wire.Header{Type: wire.TypeForward, Length: len(body), Deadline: 1000, Request: 9}, body,
				repl.Reply{To: &remote.asker, Request: 9}, remote.table, machine.Now{Host: time.Second})
			remote.run()
			for _, read := range remote.asker.later {
				read()
			}
			remote.asker.later = nil
			typ, answer, e := remote.asker.answer(t)
			if e != nil {
				t.Fatal(e)
			}
			rows := len(x.rows[2])
			r.Reply.To.Answer(r.Reply, typ, answer)
			clear(answer) // it is not kept
			x.settleLater()
			if size := x.sent[2] - before; size > wire.StreamPieceMin && len(x.rows[2]) > rows+1 {
				t.Errorf("page %d has %d bytes, want %d at most", pages, size, wire.StreamPieceMin)
			}
			x.q.Streams.Grant(2, uint64(x.sent[2])+wire.StreamPieceMin)
		}
		if e := x.ends[2]; !slices.Equal(x.rows[2], keys[:len(keys)-1]) || e == nil || e.Reason != wire.EndDone {
			t.Errorf("got %v, %+v", x.rows[2], e)
		}
		ask(wire.FlagForward, 3, wire.Scan{Window: wire.StreamPieceMin})
		r := x.asks[0]
		x.q.Streams.Cancel(3)
		r.Reply.To.Answer(r.Reply, wire.TypeListAnswer, (&wire.ListAnswer{Group: 1}).Append(nil))
		ask(wire.FlagForward, 4, wire.Scan{Window: wire.StreamPieceMin})
		r = x.asks[1]
		r.Reply.To.Answer(r.Reply, wire.TypeListAnswer, []byte{0x90})
		ask(wire.FlagForward, 5, wire.Scan{Window: wire.StreamPieceMin})
		r = x.asks[2]
		r.Reply.To.Answer(r.Reply, wire.TypeListAnswer, (&wire.ListAnswer{Group: 1}).Append(nil))
		x.q.Streams.Cancel(5) // before it is looked at
		x.settleLater()
		if e := x.ends[4]; x.sent[3]+x.sent[5] != 0 || e == nil || e.Reason != wire.EndUnavailable {
			t.Errorf("%d bytes of streams that have ended; nonsense ends one with %+v", x.sent[3]+x.sent[5], e)
		}
		x.q.Streams.Close()
		if x.held != 0 {
			t.Errorf("%d bytes are still counted", x.held)
		}
	}
}

// What a client does wrong with a stream ends that stream, with a typed error, or is
// told to be for none; nothing that it counted stays counted.
func TestHostileStreams(t *testing.T) {
	x := newStreams(t)
	x.fill(40, func(int) int { return 100 })
	end := func(number uint64, want wire.EndReason, code wire.Code) {
		t.Helper()
		e := x.ends[number]
		if e == nil || e.Reason != want || e.Why.Code != code {
			t.Errorf("stream %d ends with %+v, want %s, %s", number, e, want, code)
		}
	}
	refused := func(number uint64, code wire.Code) {
		t.Helper()
		if e := x.errs[number]; e == nil || e.Code != code {
			t.Errorf("request %d: got %v, want %s", number, e, code)
		}
	}
	if x.q.Streams.Grant(1, 1<<20) || x.q.Streams.Cancel(1) {
		t.Error("a stream that was never opened is known")
	}
	x.open(2, wire.Scan{Window: wire.StreamPieceMin})
	x.q.Streams.Grant(2, 1<<63)
	end(2, wire.EndRefused, wire.CodeBadRequest)
	x.open(3, wire.Scan{Window: wire.StreamPieceMin})
	x.settle()
	x.q.Streams.Grant(3, math.MaxUint64)
	end(3, wire.EndRefused, wire.CodeBadRequest)
	x.open(4, wire.Scan{Window: wire.StreamWindowMax + 1})
	refused(4, wire.CodeBadRequest)
	x.open(5, wire.Scan{PieceBytes: wire.StreamPieceMin - 1})
	refused(5, wire.CodeBadRequest)
	x.open(6, wire.Scan{PieceBytes: wire.StreamPieceMax + 1})
	refused(6, wire.CodeBadRequest)
	x.open(7, wire.Scan{Group: 2}) // the client's table may be the newer one
	refused(7, wire.CodeMoved)
	x.open(8, wire.Scan{Epoch: 4})
	refused(8, wire.CodeMoved)
	x.open(9, wire.Scan{Window: wire.StreamPieceMin})
	if !x.q.Streams.Cancel(9) || x.q.Streams.Cancel(9) {
		t.Error("a stream is not cancelled once")
	}
	end(9, wire.EndCancelled, 0)
	x.settle() // its page is read in vain
	if x.sent[9] != 0 {
		t.Error("a cancelled stream sends")
	}
	x.open(10, wire.Scan{Window: wire.StreamPieceMin})
	x.open(10, wire.Scan{Window: wire.StreamPieceMin})
	refused(10, wire.CodeBadRequest)
	if x.q.Streams.Cancel(10) {
		t.Error("a stream whose number was used twice goes on")
	}
	x.open(11, wire.Scan{Window: wire.StreamPieceMin})
	x.take(11, []byte{0x90}) // it is the number that is wrong, whatever the body
	refused(11, wire.CodeBadRequest)
	x.settle()
	if x.held != 0 {
		t.Errorf("%d bytes are still counted", x.held)
	}
	for i := range uint64(wire.StreamsMax) {
		x.open(1000+i, wire.Scan{})
	}
	x.open(999, wire.Scan{})
	refused(999, wire.CodeBusy)
	if x.held != 100*wire.StreamsMax || len(x.asks) > 0 {
		t.Errorf("%d bytes are counted for %d streams, %d reads are under way", x.held, wire.StreamsMax, len(x.asks))
	}
	x.q.Streams.NoMore() // none of them will ever have a window
	if len(x.ends) < wire.StreamsMax || x.held != 0 {
		t.Errorf("%d have ended, %d bytes are counted", len(x.ends), x.held)
	}
}

// What keeps a node from going on ends the stream with a reason by which its client
// knows where and when to go on, and after which key.
func TestStreamEndsWithAReason(t *testing.T) {
	for _, c := range []struct {
		what string
		do   func(x *streams)
		want wire.EndReason
		code wire.Code
	}{
		{"it no longer leads", func(x *streams) {
			r := x.asks[0]
			r.Reply.To.Answer(r.Reply, wire.TypeError, wire.NotLeader(1, 2, "n2").Append(nil))
		}, wire.EndNotLeader, wire.CodeNotLeader},
		{"slots move", func(x *streams) { x.q.table.Epoch++; x.work(rand.New(rand.NewPCG(1, 1))); x.settle() }, wire.EndMoved, wire.CodeMoved},
		{"too many reads", func(x *streams) { x.full = "many"; x.settle() }, wire.EndUnavailable, wire.CodeBusy},
		{"no room", func(x *streams) { x.room = 50; x.settle() }, wire.EndUnavailable, wire.CodeBusy},
	} {
		t.Run(c.what, func(t *testing.T) {
			x := newStreams(t)
			x.fill(40, func(int) int { return 100 })
			x.open(5, wire.Scan{Epoch: 5, Prefix: []byte("s/"), Window: 1 << 20})
			random := rand.New(rand.NewPCG(2, 2))
			for len(x.rows[5]) < 4 || len(x.asks) == 0 {
				x.work(random)
			}
			c.do(x)
			last := x.rows[5][len(x.rows[5])-1]
			if e := x.ends[5]; e == nil || e.Reason != c.want || e.Why.Code != c.code || string(e.Resume) != last {
				t.Errorf("got %+v, want %s after %q", e, c.want, last)
			}
			x.settle()
			if x.held != 0 {
				t.Errorf("%d bytes are still counted", x.held)
			}
		})
	}
}

// A stream that was asked for so many rows ends with them.
func TestStreamOfSomeRows(t *testing.T) {
	x := newStreams(t)
	keys := x.fill(40, func(int) int { return 100 })
	x.open(5, wire.Scan{Prefix: []byte("s/"), Limit: 7, Window: 1 << 20})
	x.settle()
	if !slices.Equal(x.rows[5], keys[:7]) || x.ends[5] == nil || x.ends[5].Reason != wire.EndDone {
		t.Errorf("got %v, %+v", x.rows[5], x.ends[5])
	}
}

// FuzzStreams has a client say anything about streams, in any order, while its node
// works. Whatever that is: nothing is sent beyond a window, a stream ends once, and
// nothing stays counted.
func FuzzStreams(f *testing.F) {
	f.Add([]byte{0, 1, 4, 4, 2, 1, 9, 4, 4, 3, 1, 4, 4})
	f.Add([]byte{0, 1, 0, 1, 0, 2, 5, 4, 4, 5, 4, 4, 6, 2, 1, 255, 4})
	f.Add([]byte{11, 1, 200, 1, 3, 0, 20, 4, 10, 12, 90, 10, 4, 12, 9, 10, 13, 90, 10, 3, 1, 10})
	f.Add([]byte{11, 1, 200, 1, 10, 1, 20, 4, 10, 12, 255, 12, 255, 10, 2, 1, 200, 1, 10, 4, 0, 2, 99, 0, 4, 4, 10})
	f.Add([]byte{8, 1, 100, 0, 10, 9, 10, 0, 2, 100, 0, 4, 10, 4, 9, 3, 1, 10})
	f.Add([]byte{0, 0, 0, 1, 0, 2, 0, 3, 4, 4, 4, 4, 7, 4, 4, 2, 0, 40, 8})
	f.Fuzz(func(t *testing.T, ops []byte) {
		x := newWatched(t)
		x.fill(12, func(i int) int { return 40 * i })
		random := rand.New(rand.NewPCG(1, 2))
		granted := map[uint64]uint64{}
		next := func() (b byte) {
			if len(ops) > 0 {
				b, ops = ops[0], ops[1:]
			}
			return b
		}
		for len(ops) > 0 && len(ops) < 4096 {
			op, number := next(), uint64(0)
			if op < 4 {
				number = uint64(next() % 4)
			}
			switch op {
			case 0:
				delete(x.ends, number)
				delete(x.errs, number)
				x.sent[number], granted[number] = 0, uint64(next())*8
				x.open(number, wire.Scan{Group: raft.GroupID(1 + next()%8/7), Epoch: uint64(next() % 3 * 5), Window: granted[number], Limit: uint64(next() % 5)})
			case 1:
				n := int(next())
				x.take(number, ops[:min(len(ops), n)])
				delete(x.ends, number)
			case 2:
				limit := uint64(next()) << (next() % 64)
				if x.q.Streams.Grant(number, limit) && x.ends[number] == nil {
					granted[number] = max(granted[number], limit)
				}
			case 3:
				x.q.Streams.Cancel(number)
			case 5:
				if x.busy = !x.busy; !x.busy {
					x.q.Streams.Room()
				}
			case 6:
				x.q.table.Epoch++
			case 7:
				x.q.Streams.NoMore()
			case 8:
				number = uint64(next() % 4)
				delete(x.ends, number)
				delete(x.errs, number)
				x.sent[number], granted[number] = 0, uint64(next())*8
				x.openTable(number, wire.TableStream{Window: granted[number], Index: uint64(next())})
			case 9:
				x.newTable()
			case 10:
				x.turn()
			case 11:
				number = uint64(next() % 4)
				delete(x.ends, number)
				delete(x.errs, number)
				x.sent[number], granted[number] = 0, uint64(next())*8
				x.openWatch(number, wire.Watch{Window: granted[number], Positions: []wire.GroupPosition{{Group: raft.GroupID(next() % 3), Position: shardmap.After(raft.LogID{Term: 1, Index: uint64(next())})}}[:next()%2]})
			case 12:
				x.q.write(t, "w", strings.Repeat("v", int(next())))
			case 13:
				x.now += time.Duration(next()) * time.Second / 16
				x.feed.Turn(x.now)
			default:
				x.work(random)
			}
			for n, sent := range x.sent {
				// A row that is larger than a piece may be behind the window, alone.
				if uint64(sent) > granted[n]+700 {
					t.Fatalf("%d bytes of stream %d were sent, and %d granted", sent, n, granted[n])
				}
			}
		}
		x.q.Streams.Close()
		x.wantNoWatches()
		if x.held != 0 {
			t.Errorf("%d bytes are still counted", x.held)
		}
	})
}
