package machine_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"muster/logstore"
	"muster/raft"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/registry"
)

// newWatched is a client of a node that keeps the events of group 1 from here on.
func newWatched(t *testing.T) *streams {
	x := newFed(t)
	x.q.raise(t)
	x.q.state.Watched = x.feed.Group(1)
	return x
}

// raise has the machine keep a history.
func (q *requests) raise(t *testing.T) {
	t.Helper()
	c := shardmap.RaiseCommand(shardmap.LeasesLevel)
	q.index++
	if _, _, err := q.state.Apply(payloadEntry(q.index, raft.EntryNormal, wire.AppendWrite(new(wire.Origin).Append(nil), &c)), false, nil); err != nil {
		t.Fatal(err)
	}
}

// write applies a set, as if it had been proposed.
func (q *requests) write(t *testing.T, key, value string) raft.LogID {
	t.Helper()
	q.index++
	e := payloadEntry(q.index, raft.EntryNormal, set(0, 0, key, value))
	if _, _, err := q.state.Apply(e, false, nil); err != nil {
		t.Fatal(err)
	}
	q.state.Ran()
	return e.ID
}

var allSlots = []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}

// openWatch opens a watch.
func (x *streams) openWatch(number uint64, q wire.Watch) {
	if q.Group == 0 {
		q.Group = 1
	}
	if q.Slots == nil {
		q.Slots = allSlots
	}
	if q.PieceBytes == 0 {
		q.PieceBytes = wire.StreamPieceMin
	}
	if len(q.Positions) == 0 {
		q.Now = true
	}
	x.request(wire.TypeWatch, number, q.Append(nil))
}

// rest has the host, the listers and the feed do what there is to do.
func (x *streams) rest() {
	for more := true; more; {
		x.settle()
		more = x.due
		x.turn()
	}
}

// watched is what a watch was sent: events as they are shown, and how far the last piece goes.
// It fails if a piece goes back.
func (x *streams) watched(number uint64) (events []string, at wire.GroupPosition, rows []wire.WatchRow) {
	x.t.Helper()
	for i, body := range x.fed[number] {
		var p wire.WatchPiece
		if err := p.Read(body); err != nil {
			x.t.Fatal(err)
		}
		if i > 0 && p.At.Before(at.Position) {
			x.t.Fatalf("stream %d was at %s, and is at %s", number, at, shardmap.FormatPosition(p.Group, p.At))
		}
		at = wire.GroupPosition{Group: p.Group, Position: p.At}
		var r wire.WatchRow
		for p.Next(&r) {
			rows = append(rows, r)
			events = append(events, shown(&r))
			if behind := (shardmap.Position{ID: r.ID, N: r.N}); r.Kind != wire.WatchElsewhere && at.Before(behind) {
				x.t.Fatalf("stream %d is at %s, and has an event behind it", number, at)
			}
		}
	}
	return events, at, rows
}

func shown(r *wire.WatchRow) string {
	switch {
	case r.Kind == wire.WatchElsewhere:
		return fmt.Sprintf("elsewhere g%d %d", uint16(r.Group), r.Sealed.Index)
	case !r.Kind.OfKey():
		return fmt.Sprintf("%s g%d", r.Kind, uint16(r.Group))
	case r.WithPrev:
		return fmt.Sprintf("%s %s=%s was %s@%d", r.Kind, r.Key, r.Value, r.Prev, r.PrevVersion)
	}
	return fmt.Sprintf("%s %s=%s", r.Kind, r.Key, r.Value)
}

func (x *streams) wantEvents(number uint64, want ...string) {
	x.t.Helper()
	if got, _, _ := x.watched(number); !slices.Equal(got, want) {
		x.t.Fatalf("stream %d was sent\n\t%s\nwant\n\t%s; ended %+v, refused %v", number, strings.Join(got, ", "), strings.Join(want, ", "), x.ends[number], x.errs[number])
	}
}

func (x *streams) wantEnd(number uint64, want wire.EndReason, code wire.Code) *wire.StreamEnd {
	x.t.Helper()
	e := x.ends[number]
	if e == nil || e.Reason != want || e.Why.Code != code {
		x.t.Fatalf("stream %d ends with %+v, want %s, %s; refused with %v", number, e, want, code, x.errs[number])
	}
	return e
}

// resumed is where a stream that has ended says to go on.
func resumed(t *testing.T, e *wire.StreamEnd) []wire.GroupPosition {
	t.Helper()
	p, err := wire.ReadPositions(e.Resume)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantNoWatches fails if there is a watch still.
func (x *streams) wantNoWatches() {
	x.t.Helper()
	x.rest()
	x.due = false
	if _, waits := x.feed.Turn(x.now); waits {
		x.t.Error("there are watches still")
	}
	x.q.state.Ran()
	if x.due {
		x.t.Error("the goroutine that applies has the feed turn for nobody")
	}
}

// Services are watched like keys, and apart from them: a name may be a key, too. What is secret
// in one is told to nobody. A cluster in which some node has never heard of services refuses
// such a watch.
func TestWatchOfServices(t *testing.T) {
	x := newWatched(t)
	x.q.table.Level = shardmap.ServicesLevel - 1
	x.openWatch(1, wire.Watch{From: []byte("db"), Exact: true, Services: true, Window: 1 << 20})
	x.rest()
	if e := x.errs[1]; e == nil || e.Code != wire.CodeLevel {
		t.Fatalf("below the level of services it is refused with %v", e)
	}
	x.q.table.Level = shardmap.ServicesLevel
	x.openWatch(2, wire.Watch{From: []byte("db"), Exact: true, Services: true, Window: 1 << 20})
	x.openWatch(3, wire.Watch{Services: true, Window: 1 << 20})
	x.openWatch(4, wire.Watch{Window: 1 << 20})
	x.rest()
	command := func(c shardmap.Command) {
		t.Helper()
		x.q.index++
		if _, _, err := x.q.state.Apply(payloadEntry(x.q.index, raft.EntryNormal, wire.AppendWrite(new(wire.Origin).Append(nil), &c)), false, nil); err != nil {
			t.Fatal(err)
		}
		x.q.state.Ran()
		x.rest()
	}
	command(shardmap.RaiseCommand(shardmap.ServicesLevel))
	for _, name := range []string{"db", "web"} {
		s := &registry.Service{Name: name, Type: registry.TypeRedis, Instances: []registry.Instance{{Settings: []registry.Setting{
			{Key: "host", Value: "10.0.0.7"}, {Key: "pass", Value: "s3cret"}, {Key: "port", Value: "6379"},
		}}}}
		s.Complete()
		command(shardmap.ServiceSetCommand(name, s.Append(nil)))
	}
	x.q.write(t, "db", "a key")
	x.rest()
	command(shardmap.ServiceDelCommand("db"))
	told := func(number uint64) (list []string) {
		_, _, rows := x.watched(number)
		for i := range rows {
			text := fmt.Sprintf("%s %s", rows[i].Kind, rows[i].Key)
			if rows[i].Kind == wire.WatchSet && number != 4 {
				s, err := registry.Read(rows[i].Value)
				if err != nil {
					t.Fatal(err)
				}
				text += " " + s.Instances[0].Get("pass")
			}
			list = append(list, text)
		}
		return list
	}
	for number, want := range map[uint64][]string{
		2: {"set db " + registry.Mask, "del db"},
		3: {"set db " + registry.Mask, "set web " + registry.Mask, "del db"},
		4: {"set db"},
	} {
		if got := told(number); !slices.Equal(got, want) {
			t.Errorf("watch %d was told %q, want %q; ended %+v, refused %v", number, got, want, x.ends[number], x.errs[number])
		}
	}
	x.q.Streams.Close()
	x.wantNoWatches()
}

// A watch from now says first where it begins, and then tells of its keys and of no other;
// from a position it tells what came since. What one would doubt: nothing that was applied
// before is told, nor anything of other keys.
func TestWatch(t *testing.T) {
	x := newWatched(t)
	x.q.write(t, "a/1", "before")
	x.openWatch(1, wire.Watch{From: []byte("a/"), To: []byte("a0"), Window: 1 << 20})
	x.openWatch(2, wire.Watch{From: []byte("b"), Exact: true, Window: 1 << 20, Prev: true})
	x.openWatch(3, wire.Watch{From: []byte("a/"), To: []byte("a0"), Window: 1 << 20, Positions: []wire.GroupPosition{{Group: 1, Position: shardmap.After(raft.LogID{Term: 1, Index: x.q.index - 1})}}})
	x.rest()
	for n := range uint64(2) {
		events, at, _ := x.watched(n + 1)
		if len(x.fed[n+1]) != 1 || len(events) > 0 || at.ID.Index != x.q.index {
			t.Fatalf("watch %d begins with %d pieces, at %s; ended %+v, refused %v", n+1, len(x.fed[n+1]), at, x.ends[n+1], x.errs[n+1])
		}
	}
	for i, key := range []string{"a/1", "b", "a/2", "c", "b"} {
		x.q.write(t, key, fmt.Sprint(i))
		x.rest()
	}
	x.wantEvents(1, "set a/1=0", "set a/2=2")
	x.wantEvents(2, "set b=1 was @0", fmt.Sprintf("set b=4 was 1@%d", x.q.index-3))
	x.wantEvents(3, "set a/1=before", "set a/1=0", "set a/2=2")
	// While nothing happens it says how far it is.
	pieces := len(x.fed[1])
	for range 20 {
		x.now += time.Second
		x.feed.Turn(x.now)
		x.rest()
	}
	if _, at, _ := x.watched(1); at.ID.Index != x.q.index || len(x.fed[1]) < pieces+3 || len(x.fed[1]) > pieces+4 {
		t.Errorf("in 20 quiet seconds it sent %d pieces, up to %s", len(x.fed[1])-pieces, at)
	}
	x.q.Streams.Cancel(1)
	x.q.write(t, "a/1", "late")
	x.rest()
	if events, _, _ := x.watched(1); len(events) != 2 {
		t.Error("a cancelled watch goes on")
	}
	x.wantEnd(1, wire.EndCancelled, 0)
	x.q.Streams.Close()
	x.wantNoWatches()
	if x.held != 0 {
		t.Errorf("%d bytes are still counted", x.held)
	}
}

// Whatever comes between (grants in any order, room that is gone, a client that goes away and
// comes back, pages of a scan in the same queue), a watch has every event once, in order, and
// never more than was granted, but for one event that is larger than a piece.
func TestWatchHonoursItsWindow(t *testing.T) {
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 3))
		x := newWatched(t)
		var want, got []string
		number, limit, taken := uint64(1), 0, 0
		from := []wire.GroupPosition(nil)
		open := func() {
			number++
			limit, taken = random.IntN(2000), 0
			x.openWatch(number, wire.Watch{From: []byte("w/"), To: []byte("w0"), Window: uint64(limit), Positions: from, PieceBytes: uint32(wire.StreamPieceMin + random.IntN(300))})
		}
		open()
		for x.fed[number] == nil {
			x.q.Streams.Grant(number, uint64(max(limit, 1000)))
			limit = max(limit, 1000)
			x.rest()
		}
		for step := range 1500 {
			was := x.sent[number]
			switch random.IntN(9) {
			case 0, 1:
				key, size := "w/"+fmt.Sprint(random.IntN(4)), random.IntN(120)
				if step%50 == 3 {
					size = 900 // larger than a piece
				}
				if random.IntN(3) == 0 {
					key = "v"
				}
				value := strings.Repeat("v", size) + fmt.Sprint(step)
				x.q.write(t, key, value)
				if key != "v" {
					want = append(want, "set "+key+"="+value)
				}
			case 2:
				if grant := x.sent[number] + random.IntN(2000); grant > limit {
					limit = grant
					x.q.Streams.Grant(number, uint64(grant))
				}
			case 3:
				if x.busy = !x.busy; !x.busy {
					x.q.Streams.Room()
				}
			case 4:
				if random.IntN(20) == 0 && x.fed[number] != nil {
					x.q.Streams.Cancel(number)
					from = resumed(t, x.ends[number])
					events, at, _ := x.watched(number)
					got = append(got, events...)
					if from[0].Before(at.Position) {
						t.Fatalf("seed %d: it was at %s, and is to go on from %s", seed, at, from[0])
					}
					open()
				}
			case 5:
				x.feed.Turn(x.now)
			default:
				x.work(random)
			}
			if more := x.sent[number] - was; more > 0 && x.sent[number] > limit && more < 900 {
				t.Fatalf("seed %d: %d bytes were sent, %d granted", seed, x.sent[number], limit)
			}
			taken++
		}
		x.busy = false
		x.q.Streams.Room()
		for {
			before := x.sent[number]
			x.q.Streams.Grant(number, uint64(before+4000))
			x.rest()
			if x.sent[number] == before {
				break
			}
		}
		events, _, _ := x.watched(number)
		if got = append(got, events...); !slices.Equal(got, want) {
			t.Fatalf("seed %d: it has %d events, want %d; ended %+v, refused %v", seed, len(got), len(want), x.ends[number], x.errs[number])
		}
		x.q.Streams.Close()
		x.wantNoWatches()
		if x.held != 0 {
			t.Errorf("seed %d: %d bytes are still counted", seed, x.held)
		}
	}
}

// A watch whose client does not read holds no event, however many there are. Once the next of
// them has fallen out of the history it ends, and says up to where it has seen all; from there
// on it can't be opened again, and the refusal says from where it can.
func TestSlowWatch(t *testing.T) {
	x := newWatched(t)
	x.openWatch(1, wire.Watch{From: []byte("k"), Exact: true, Window: 2 * wire.StreamPieceMin})
	x.rest()
	value := strings.Repeat("v", 100<<10)
	x.q.write(t, "k", value)
	x.rest()
	seen, at, _ := x.watched(1)
	if len(seen) != 1 {
		t.Fatalf("it has seen %d events", len(seen))
	}
	held := x.held
	for range 2 * shardmap.HistoryMax / len(value) {
		x.q.write(t, "k", value)
		x.rest()
	}
	if x.ends[1] != nil || x.held != held || x.held != 100 {
		t.Fatalf("while it is not read it counts %d bytes, and ended: %+v", x.held, x.ends[1])
	}
	x.q.Streams.Grant(1, uint64(x.sent[1])+1<<20)
	x.rest()
	e := x.wantEnd(1, wire.EndSlow, wire.CodeUnavailable)
	if from := resumed(t, e); len(from) != 1 || from[0] != at {
		t.Errorf("it is to go on from %v, it has seen all up to %s", from, at)
	}
	x.openWatch(2, wire.Watch{From: []byte("k"), Exact: true, Window: 1 << 20, Positions: resumed(t, e)})
	x.rest()
	e = x.wantEnd(2, wire.EndCompacted, wire.CodeNotFound)
	from := resumed(t, e)
	x.q.write(t, "k", "new")
	x.openWatch(3, wire.Watch{From: []byte("k"), Exact: true, Window: 1 << 20, Positions: from})
	x.rest()
	x.wantEvents(3, "set k=new")
}

// A watch goes on over a state that is loaded in the place of the one that it reads, without a
// gap and without an event twice; and it ends where the replica goes, so that its client looks
// elsewhere.
func TestWatchOverAnInstall(t *testing.T) {
	x := newWatched(t)
	x.openWatch(1, wire.Watch{From: []byte("k"), Window: 1 << 20})
	x.openWatch(2, wire.Watch{From: []byte("k"), Window: wire.StreamPieceMin}) // it lags
	x.rest()
	want := []string{}
	write := func(value string) {
		x.q.write(t, "k", value)
		want = append(want, "set k="+value)
	}
	for i := range 10 {
		write(fmt.Sprintf("%d%s", i, strings.Repeat("v", 100)))
	}
	x.rest()
	// Another replica has applied more, and this one takes its state.
	other := x.q.state
	x.q.state.Watched = nil
	for i := range 10 {
		write(fmt.Sprintf("there%d", i))
	}
	var state bytes.Buffer
	c := other.Copy()
	if _, err := c.WriteTo(&state); err != nil {
		t.Fatal(err)
	}
	c.Release()
	x.q.state = machine.NewMap(logstore.Replica{Group: 1}, noTable)
	x.q.state.Watched = x.feed.Group(1)
	if err := x.q.state.Restore(&state, raft.LogID{Term: 1, Index: x.q.index}, raft.GroupTime(x.q.index)); err != nil {
		t.Fatal(err)
	}
	x.q.state.Restored()
	x.rest()
	x.wantEvents(1, want...)
	write("here")
	x.rest()
	x.wantEvents(1, want...)
	x.q.Streams.Grant(2, 1<<20)
	x.rest()
	x.wantEvents(2, want...)
	x.q.state.Gone()
	x.rest()
	for n := range uint64(2) {
		e := x.wantEnd(n+1, wire.EndNotLeader, wire.CodeNotLeader)
		if from := resumed(t, e); len(from) != 1 || from[0].ID.Index != x.q.index {
			t.Errorf("it is to go on from %v, it has seen all up to %d", from, x.q.index)
		}
	}
	x.wantNoWatches()
}

// A watch at a replica that hears of no leader would be silent for as long as that lasts, while
// the group goes on elsewhere. So it ends, and its client goes there; an election does not
// end it.
func TestWatchAtAReplicaThatIsAlone(t *testing.T) {
	x := newWatched(t)
	x.openWatch(1, wire.Watch{Window: 1 << 20})
	x.rest()
	pass := func(d time.Duration) {
		for end := x.now + d; x.now < end; x.rest() {
			x.now += time.Second
			x.feed.Turn(x.now)
		}
	}
	x.q.state.Led(0)
	pass(3 * time.Second)
	x.q.state.Led(2)
	pass(20 * time.Second)
	if x.ends[1] != nil {
		t.Fatalf("an election ends it: %+v", x.ends[1])
	}
	x.q.state.Led(0)
	pass(20 * time.Second)
	x.wantEnd(1, wire.EndNotLeader, wire.CodeNotLeader)
	x.wantNoWatches()
	x.q.state.Led(3)
	x.openWatch(2, wire.Watch{Window: 1 << 20, Positions: resumed(t, x.ends[1])})
	x.q.write(t, "k", "v")
	x.rest()
	x.wantEvents(2, "set k=v")
}

// What a client does wrong with a watch, and what stands in its way, is told by its kind, and
// nothing stays: neither bytes that are counted, nor a place in the history.
func TestHostileWatches(t *testing.T) {
	position := func(g raft.GroupID, index uint64) []wire.GroupPosition {
		return []wire.GroupPosition{{Group: g, Position: shardmap.After(raft.LogID{Term: 1, Index: index})}}
	}
	foreign := shardmap.SlotOf([]byte("foreign"))
	for _, c := range []struct {
		what  string
		watch wire.Watch
		do    func(x *streams) // before it
		meet  func(x *streams) // while it is opened
		end   wire.EndReason   // 0: refused
		code  wire.Code
		says  string
	}{
		{what: "below the level", do: func(x *streams) { x.q.table.Level-- }, code: wire.CodeLevel},
		{what: "nobody feeds it", do: func(x *streams) { x.q.Streams.Feed = nil }, code: wire.CodeUnavailable},
		{what: "too large a window", watch: wire.Watch{Window: wire.StreamWindowMax + 1}, code: wire.CodeBadRequest, says: "window"},
		{what: "too small a piece", watch: wire.Watch{PieceBytes: 1}, code: wire.CodeBadRequest, says: "piece bytes"},
		{what: "no such group", watch: wire.Watch{Group: 7}, code: wire.CodeMoved},
		{what: "no history yet", do: func(x *streams) { x.q.state = owning(1, []shardmap.Slot{1}) }, end: wire.EndUnavailable, code: wire.CodeNotReady},
		{what: "not founded yet", do: func(x *streams) {
			x.q.state = machine.NewMap(logstore.Replica{Group: 1}, func() *shardmap.Table { return x.q.table })
		}, end: wire.EndUnavailable, code: wire.CodeNotReady},
		{what: "from now, of slots that are elsewhere", watch: wire.Watch{Slots: []shardmap.SlotRange{{From: foreign, To: foreign}}}, end: wire.EndMoved, code: wire.CodeMoved},
		{what: "from where it left slots that are elsewhere", watch: wire.Watch{Slots: []shardmap.SlotRange{{From: foreign, To: foreign}}, Positions: position(1, 10)}, end: wire.EndElsewhere, code: wire.CodeMoved},
		{what: "no position that helps", watch: wire.Watch{Positions: position(3, 7)}, end: wire.EndRefused, code: wire.CodeBadRequest, says: "no position of group g1"},
		{what: "from before the history", watch: wire.Watch{Positions: position(1, 1)}, end: wire.EndCompacted, code: wire.CodeNotFound, says: "begins behind g1/1.11"},
		{what: "too many reads", meet: func(x *streams) { x.full = "many" }, end: wire.EndUnavailable, code: wire.CodeBusy},
		{what: "no room", meet: func(x *streams) { x.room = 50 }, end: wire.EndUnavailable, code: wire.CodeBusy},
		{what: "nobody leads", meet: func(x *streams) {
			r := x.asks[0]
			x.asks = nil
			r.Reply.To.Answer(r.Reply, wire.TypeError, wire.NotLeader(1, 2, "n2").Append(nil))
		}, end: wire.EndNotLeader, code: wire.CodeNotLeader},
		{what: "granted too much", meet: func(x *streams) { x.q.Streams.Grant(5, math.MaxUint64) }, end: wire.EndRefused, code: wire.CodeBadRequest},
		{what: "cancelled before the read", meet: func(x *streams) { x.q.Streams.Cancel(5) }, end: wire.EndCancelled},
		{what: "cancelled behind the read", meet: func(x *streams) {
			r := x.asks[0]
			x.asks = nil
			r.Query.Run(x.q.state, raft.LogID{Term: 1, Index: x.q.index}, r.Reply)
			x.q.Streams.Cancel(5)
		}, end: wire.EndCancelled},
		{what: "cancelled before it has its place", meet: func(x *streams) { x.settle(); x.q.Streams.Cancel(5) }, end: wire.EndCancelled},
		{what: "the replica goes meanwhile", meet: func(x *streams) { x.settle(); x.q.state.Gone() }, end: wire.EndNotLeader, code: wire.CodeNotLeader},
	} {
		t.Run(c.what, func(t *testing.T) {
			x := newWatched(t)
			if c.do != nil {
				c.do(x)
			}
			if c.watch.Window == 0 {
				c.watch.Window = 1 << 20
			}
			x.openWatch(5, c.watch)
			if c.meet != nil {
				c.meet(x)
			}
			x.rest()
			why := x.errs[5]
			if c.end != 0 {
				why = &x.wantEnd(5, c.end, c.code).Why
			}
			if why == nil || why.Code != c.code || !strings.Contains(why.Error(), c.says) {
				t.Errorf("got %v, want %s: %s", why, c.code, c.says)
			}
			x.wantNoWatches()
			if x.held != 0 || len(x.later) > 0 {
				t.Errorf("%d bytes are still counted", x.held)
			}
		})
	}
	x := newWatched(t)
	x.openWatch(5, wire.Watch{Window: 1 << 20})
	x.rest()
	x.openWatch(5, wire.Watch{Window: 1 << 20})
	if e := x.errs[5]; e == nil || e.Code != wire.CodeBadRequest {
		t.Errorf("a number that is used twice: %v", e)
	}
	x.openWatch(6, wire.Watch{Window: 1 << 20})
	x.rest()
	x.q.Streams.NoMore() // it has nothing to send, and will have no window
	x.wantEnd(6, wire.EndCancelled, 0)
	x.wantNoWatches()
	if x.held != 0 {
		t.Errorf("%d bytes are still counted", x.held)
	}
}

// How near the watches are to their limits is asked of the one goroutine that owns them.
func TestWatchRooms(t *testing.T) {
	x := newWatched(t)
	rooms := func() (got machine.WatchRooms) {
		x.feed.Rooms(func(r machine.WatchRooms) { got = r })
		x.rest()
		return got
	}
	if got := rooms(); got.Watches != 0 || got.WatchesMax == 0 || got.Behind != 0 {
		t.Errorf("of none: %+v", got)
	}
	x.openWatch(1, wire.Watch{Window: wire.StreamPieceMin})
	x.openWatch(2, wire.Watch{Window: 1 << 20})
	x.rest()
	if got := rooms(); got.Watches != 2 || got.Behind != 0 {
		t.Errorf("of two that have seen everything: %+v", got)
	}
	for i := range 200 {
		x.q.write(t, fmt.Sprint("k", i), strings.Repeat("x", 8<<10))
	}
	x.rest()
	if got := rooms(); got.Group != 1 || got.Behind == 0 || got.Behind > got.BehindMax || got.BehindMax != shardmap.HistoryMax {
		t.Errorf("of one whose client does not read: %+v", got)
	}
}
