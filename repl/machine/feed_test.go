package machine_test

import (
	"math"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// openTable opens a stream of the table.
func (x *streams) openTable(number uint64, q wire.TableStream) {
	if q.PieceBytes == 0 {
		q.PieceBytes = wire.StreamPieceMin
	}
	x.request(wire.TypeTableStream, number, q.Append(nil))
}

// newFed is a client of a node whose cluster has the level for what is fed.
func newFed(t *testing.T) *streams {
	x := newStreams(t)
	x.q.table.Level, x.q.table.Index = shardmap.LeasesLevel, 10
	return x
}

// tables returns the indexes of the tables that a stream was sent.
func (x *streams) tables(number uint64) (all []uint64) {
	for _, body := range x.fed[number] {
		var a wire.TopologyAnswer
		if err := a.Read(body); err != nil {
			x.t.Fatal(err)
		}
		all = append(all, a.Index)
	}
	return all
}

func (x *streams) wantTables(number uint64, want ...uint64) {
	x.t.Helper()
	got := x.tables(number)
	if len(got) != len(want) {
		x.t.Fatalf("stream %d was sent the tables %v, want %v", number, got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			x.t.Fatalf("stream %d was sent the tables %v, want %v", number, got, want)
		}
	}
}

// A stream of the table sends the one that is there, and then each newer one, but of those
// that come while its client does not read only the last. What one would doubt: nothing is
// sent twice, nothing beyond the window, and all who get a table share its encoding.
func TestTableStream(t *testing.T) {
	x := newFed(t)
	const piece = wire.StreamPieceMin
	x.openTable(1, wire.TableStream{Window: 1 << 20})
	x.openTable(2, wire.TableStream{Window: 1 << 20, Index: 10})
	x.openTable(3, wire.TableStream{Window: piece - 1})
	x.turn()
	x.wantTables(1, 10)
	x.wantTables(2) // it has that one
	x.wantTables(3)
	made := x.bodies
	for range 5 {
		x.newTable()
	}
	x.turn()
	x.wantTables(1, 10, 15)
	x.wantTables(2, 15)
	if x.bodies != made+1 {
		t.Errorf("%d bodies were made for two streams of one table", x.bodies-made)
	}
	x.q.Streams.Grant(3, piece)
	x.turn()
	x.wantTables(3, 15)
	x.newTable()
	x.turn()
	x.wantTables(3, 15) // its window is used up
	x.busy = true
	x.q.Streams.Grant(3, 10*piece)
	x.newTable()
	x.turn()
	x.wantTables(3, 15)
	x.busy = false
	x.q.Streams.Room()
	x.turn()
	x.wantTables(3, 15, 17)
	x.wantTables(1, 10, 15, 16, 17)
	if x.held != 300 {
		t.Errorf("%d bytes are counted for three streams that wait", x.held)
	}
	x.q.Streams.Cancel(1)
	x.q.Streams.NoMore()
	x.newTable()
	x.turn()
	x.wantTables(1, 10, 15, 16, 17)
	for n := range uint64(3) {
		if e := x.ends[n+1]; e == nil || e.Reason != wire.EndCancelled {
			t.Errorf("stream %d ends with %+v", n+1, e)
		}
	}
	if x.held != 0 {
		t.Errorf("%d bytes are still counted", x.held)
	}
	x.due = false
	x.newTable()
	if x.due {
		t.Error("a new table has the feed turn for nobody")
	}
}

// A client that has said all that it will still gets the table that is due, and then the
// end.
func TestTableStreamOfAHalfClosedConnection(t *testing.T) {
	x := newFed(t)
	x.openTable(1, wire.TableStream{Window: 1 << 20})
	x.q.Streams.NoMore()
	x.turn()
	x.wantTables(1, 10)
	if e := x.ends[1]; e == nil || e.Reason != wire.EndCancelled {
		t.Errorf("it ends with %+v", e)
	}
}

// A turn of the feed asks for room for each piece, though more comes due while one is made. One
// would doubt it: the feed looks at the connection once more then.
func TestFedStreamsAskForRoom(t *testing.T) {
	x := newFed(t)
	const tables = 5
	for i := range uint64(tables) {
		x.openTable(1+i, wire.TableStream{Window: 1 << 20, Index: 10})
	}
	x.turn()
	x.making = func() {
		x.q.Streams.Room()
		x.busy = true
	}
	x.newTable()
	x.turn()
	pieces := 0
	for i := range uint64(tables) {
		pieces += len(x.tables(1 + i))
	}
	if pieces != 1 {
		t.Errorf("%d pieces were made where there was room for one", pieces)
	}
	x.making, x.busy = nil, false
	x.q.Streams.Room()
	x.turn()
	for i := range uint64(tables) {
		x.wantTables(1+i, 11)
	}
}

// What is fed does not wait for pages that are long in coming, and pages do not starve
// behind what is fed: one would doubt it, for both wait in one queue for the same room.
func TestFedStreamsBesideScans(t *testing.T) {
	x := newFed(t)
	x.fill(40, func(int) int { return 100 })
	const scans = 20
	for i := range uint64(scans) {
		x.open(100+i, wire.Scan{Prefix: []byte("s/"), Window: 1 << 20})
	}
	reads := len(x.asks)
	if reads == scans {
		t.Fatal("all scans are being read: the test shows nothing")
	}
	for i := range uint64(scans) {
		x.openTable(1+i, wire.TableStream{Window: 1 << 20})
	}
	x.turn()
	for i := range uint64(scans) {
		x.wantTables(1+i, 10)
	}
	for len(x.ends) < scans {
		x.newTable()
		x.settle()
		x.turn()
	}
	for i := range uint64(scans) {
		if e := x.ends[100+i]; e == nil || e.Reason != wire.EndDone {
			t.Errorf("scan %d ends with %+v", i, e)
		}
	}
}

// A stream of the table that can't be had is refused with an error that says why, before
// anything is kept of it.
func TestHostileTableStreams(t *testing.T) {
	x := newFed(t)
	refused := func(number uint64, code wire.Code) {
		t.Helper()
		if e := x.errs[number]; e == nil || e.Code != code {
			t.Errorf("request %d: got %v, want %s", number, e, code)
		}
		if x.held != 0 {
			t.Errorf("request %d: %d bytes are still counted", number, x.held)
		}
	}
	x.openTable(1, wire.TableStream{Window: wire.StreamWindowMax + 1})
	refused(1, wire.CodeBadRequest)
	x.openTable(2, wire.TableStream{PieceBytes: 1})
	refused(2, wire.CodeBadRequest)
	x.request(wire.TypeTableStream, 3, []byte{0xc0})
	refused(3, wire.CodeBadRequest)
	x.q.table.Level--
	x.openTable(4, wire.TableStream{})
	refused(4, wire.CodeLevel)
	x.q.table.Level++
	x.q.Streams.Feed = nil
	x.openTable(5, wire.TableStream{})
	refused(5, wire.CodeUnavailable)
	x.q.Streams.Feed = x.feed
	end := func(number uint64, want wire.EndReason) {
		t.Helper()
		x.turn()
		if e := x.ends[number]; e == nil || e.Reason != want {
			t.Errorf("stream %d ends with %+v, want %s", number, e, want)
		}
		if x.held != 0 {
			t.Errorf("stream %d: %d bytes are still counted", number, x.held)
		}
	}
	x.openTable(6, wire.TableStream{Window: 1 << 20})
	x.q.Streams.Grant(6, math.MaxUint64)
	end(6, wire.EndRefused)
	x.openTable(7, wire.TableStream{Window: 1 << 20})
	x.room = 50
	end(7, wire.EndUnavailable)
	x.room = 1 << 30
	x.openTable(8, wire.TableStream{Window: 1 << 20})
	x.tableOut = true
	end(8, wire.EndUnavailable)
	x.tableOut = false
	x.openTable(9, wire.TableStream{Window: 1 << 20})
	x.openTable(9, wire.TableStream{Window: 1 << 20})
	refused(9, wire.CodeBadRequest)
	x.turn()
	if x.sent[9] != 0 {
		t.Error("a stream whose number was used twice sends")
	}
}

// A request that waits for a table is answered when the table is there, or when its time is
// over, and the feed says when that is.
func TestAwaitTable(t *testing.T) {
	x := newFed(t)
	answers := map[string][]byte{}
	wait := func(name string, index uint64, deadline time.Duration) {
		x.feed.AwaitTable(index, deadline, func(body []byte) { answers[name] = body })
	}
	wait("there", 10, time.Second)
	wait("soon", 12, 3*time.Second)
	wait("late", 99, 2*time.Second)
	if next, waits := x.feed.Turn(0); next != 2*time.Second || !waits {
		t.Errorf("the next turn is at %s, %t", next, waits)
	}
	if len(answers) != 1 || answers["there"] == nil {
		t.Errorf("answered are %v", answers)
	}
	x.newTable()
	x.newTable()
	x.feed.Turn(time.Second)
	if len(answers) != 2 || answers["soon"] == nil {
		t.Errorf("answered are %v", answers)
	}
	if _, waits := x.feed.Turn(2 * time.Second); waits || len(answers) != 3 || answers["late"] != nil {
		t.Errorf("answered are %v, another waits: %t", answers, waits)
	}
}
