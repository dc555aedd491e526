package machine_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// asker is a client whose answers are kept.
type asker struct {
	types   []wire.Type
	bodies  [][]byte
	later   []func()
	full    string      // what Later finds
	over    *wire.Error // why a query ends
	room    int         // that Reserve has
	deaf    bool
	flushes int
}

func (a *asker) Answer(_ repl.Reply, t wire.Type, body []byte) bool {
	a.types, a.bodies = append(a.types, t), append(a.bodies, bytes.Clone(body))
	return true
}

func (a *asker) AnswerWith(r repl.Reply, t wire.Type, m machine.Maker) (first, made bool) {
	b, made := m.Make(nil)
	if made {
		a.Answer(r, t, b)
	}
	return made, made
}

func (a *asker) AnswerFrame(r repl.Reply, t wire.Type, frame []byte) bool {
	return a.Answer(r, t, frame[wire.HeaderSize:])
}

func (a *asker) AnswerPiece(r repl.Reply, t wire.Type, body []byte) bool { return a.Answer(r, t, body) }

func (a *asker) Reserve(r *repl.Reply, size int) bool {
	if size > a.room {
		return false
	}
	r.Size = size
	return true
}

func (a *asker) Deaf() bool { return a.deaf }
func (a *asker) Flush()     { a.flushes++ }

func (a *asker) Later(read func()) string {
	if a.full == "" {
		a.later = append(a.later, read)
	}
	return a.full
}

func (a *asker) Scan(scan func()) string { return a.Later(scan) }

func (a *asker) Over(uint64, shardmap.Principal, time.Duration) func() *wire.Error {
	return func() *wire.Error { return a.over }
}

func (a *asker) Spare(int) bool                           { return true }
func (a *asker) Ask(repl.Read, time.Duration) *wire.Error { return nil }
func (a *asker) Table() *shardmap.Table                   { return nil }

// answer takes the last answer; a refusal is an error.
func (a *asker) answer(t *testing.T) (wire.Type, []byte, *wire.Error) {
	t.Helper()
	if len(a.types) != 1 {
		t.Fatalf("%d answers, want one", len(a.types))
	}
	typ, body := a.types[0], a.bodies[0]
	a.types, a.bodies = nil, nil
	if typ != wire.TypeError {
		return typ, body, nil
	}
	e := new(wire.Error)
	if err := e.Read(body); err != nil {
		t.Fatal(err)
	}
	return typ, nil, e
}

// requests is a [machine.Requests] whose group owns all slots but one.
type requests struct {
	machine.Requests
	asker   asker
	table   *shardmap.Table
	state   *machine.Map
	index   uint64
	foreign shardmap.Slot // that one
}

// passesOn fails unless a question of group 1 that comes with the flag is taken by any replica,
// goes as it came to the node that it is passed on to, and is passed on no further.
func (q *requests) passesOn(t *testing.T, kind wire.Type, body []byte) {
	t.Helper()
	frame := bytes.Clone(body)
	q.Take(wire.Header{Type: kind, Flags: wire.FlagForward, Length: len(body)}, frame, repl.Reply{To: &q.asker}, q.table, nowTaken)
	clear(frame)
	reads := q.Reads()
	if len(reads) != 1 || !reads[0].AnyReplica || reads[0].Passage == nil || reads[0].Passage.Forward.Type != kind || !bytes.Equal(reads[0].Passage.Forward.Body, body) {
		t.Fatalf("with the flag: %+v", reads)
	}
	forward := reads[0].Passage.Forward
	q.Clear()
	q.TakeForward(wire.Header{Type: wire.TypeForward}, forward.Append(nil), repl.Reply{To: &q.asker}, q.table, nowTaken)
	if reads := q.Reads(); len(reads) != 1 || reads[0].Group != 1 || reads[0].Passage != nil {
		t.Errorf("passed on: %+v", reads)
	}
}

func newRequests(t *testing.T) *requests {
	q := &requests{foreign: shardmap.SlotOf([]byte("foreign")), table: &shardmap.Table{ClusterID: 1, Level: shardmap.Level, Epoch: 5, ValueMax: 1000}}
	q.table.Groups = []shardmap.TableGroup{{ID: 1}}
	var slots []shardmap.Slot
	for s := range shardmap.Slot(shardmap.Slots) {
		q.table.Slots[s] = 1
		if s != q.foreign {
			slots = append(slots, s)
		}
	}
	q.asker.room = 1 << 30
	q.state = owning(1, slots)
	q.index = 1
	q.Init(&q.asker, machine.RequestLimits{Wait: time.Minute, Inline: 250, Page: 1000})
	for i := range 9 {
		q.set(t, fmt.Sprintf("k%d", i), strings.Repeat("v", 40*i))
	}
	return q
}

// set applies a set, as if it had been proposed.
func (q *requests) set(t *testing.T, key, value string) {
	t.Helper()
	q.take(wire.TypeWrite, wire.AppendWrite(nil, &shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{[]byte(key), []byte(value)}}))
	for _, p := range q.Proposals() {
		q.index++
		e := p.Entry
		e.ID = raft.LogID{Term: 1, Index: q.index}
		if _, _, err := q.state.Apply(e, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	q.Clear()
}

// apply applies a command as an entry of its own.
func (q *requests) apply(t *testing.T, c shardmap.Command) {
	t.Helper()
	q.index++
	e := machine.NewEntry(wire.Origin{}, wire.AppendWrite(nil, &c))
	e.ID = raft.LogID{Term: 1, Index: q.index}
	if _, _, err := q.state.Apply(e, false, nil); err != nil {
		t.Fatal(err)
	}
}

func (q *requests) take(t wire.Type, body []byte) {
	q.Take(wire.Header{Type: t, Length: len(body), Deadline: 1000, Request: 7}, body, repl.Reply{To: &q.asker, Request: 7, Size: len(body)}, q.table, nowTaken)
}

// nowTaken is when all frames arrive.
var nowTaken = machine.Now{Host: time.Second, Wall: 1_764_000_000_000}

// run runs what is to be read, as the host does between two entries.
func (q *requests) run() (first bool) {
	for _, r := range q.Reads() {
		first = r.Query.Run(q.state, raft.LogID{Term: 1, Index: q.index}, r.Reply) || first
	}
	q.Clear()
	return first
}

// page asks a question that is a read of the group, has it run, and returns the body of its
// answer, which has to be of a type.
func (q *requests) page(t *testing.T, asked wire.Type, question []byte, answer wire.Type) []byte {
	t.Helper()
	q.take(asked, question)
	if len(q.Reads()) != 1 {
		_, _, e := q.asker.answer(t)
		t.Fatalf("%s: %v", asked, e)
	}
	q.run()
	typ, body, e := q.asker.answer(t)
	if e != nil || typ != answer {
		t.Fatalf("%s: answered with %s, %v", asked, typ, e)
	}
	return body
}

func keysOf(s ...string) [][]byte {
	var keys [][]byte
	for _, k := range s {
		keys = append(keys, []byte(k))
	}
	return keys
}

// What a group does not own is not absent: to say so would lose a key that its
// owner has. Whoever asks is sent there, for a short get, a long one, and a listing
// of one slot.
func TestForeignSlotIsNotAbsent(t *testing.T) {
	q := newRequests(t)
	long := keysOf("k8", "k7", "k6", "foreign")
	for _, c := range []struct {
		what string
		t    wire.Type
		body wire.Body
	}{
		{"a get", wire.TypeGet, &wire.Get{Keys: keysOf("k1", "foreign")}},
		{"a long get", wire.TypeGet, &wire.Get{Keys: long}},
		{"a listing", wire.TypeList, &wire.List{Group: 1, Prefix: []byte("{foreign}")}},
	} {
		q.take(c.t, c.body.Append(nil))
		q.run()
		if _, _, e := q.asker.answer(t); e == nil || e.Code != wire.CodeMoved || !strings.Contains(e.Object, fmt.Sprint(q.foreign)) {
			t.Errorf("%s of a slot that is not the group's: %v", c.what, e)
		}
		if len(q.asker.later) > 0 {
			t.Errorf("%s of a slot that is not the group's is read beside", c.what)
		}
	}
	q.take(wire.TypeGet, (&wire.Get{Keys: keysOf("k1", "absent")}).Append(nil))
	q.run()
	for _, read := range q.asker.later { // the one before was long
		read()
	}
	typ, body, e := q.asker.answer(t)
	var a wire.GetAnswer
	if e != nil || typ != wire.TypeGetAnswer || a.Read(body) != nil {
		t.Fatalf("a get: %s, %v", typ, e)
	}
	if _, _, found, _ := a.Next(); !found {
		t.Error("a key that is there is missing")
	}
	if _, _, found, _ := a.Next(); found {
		t.Error("a key that is absent is found")
	}
}

// An answer says what a key has left, by the time of the group as its replica knows it: entries come
// seldom where nobody writes. It says so whether it is short, or long and read beside the writes; and
// where no key ends its bytes are those that every build knows.
func TestAnswersTellWhenKeysEnd(t *testing.T) {
	q := newRequests(t)
	now := raft.GroupTime(0)
	q.Time = func(g raft.GroupID) raft.GroupTime {
		if g != 1 {
			t.Errorf("asked for the time of group %d", g)
		}
		return now
	}
	slot := shardmap.SlotOf([]byte("{s}"))
	q.apply(t, shardmap.LeaseCommand(slot, shardmap.LeaseGrant, 0, 60_000))
	lease := shardmap.MakeLeaseID(slot, q.index)
	for _, op := range []shardmap.Op{{Key: []byte("{s}ttl"), TTL: 5000}, {Key: []byte("{s}lease"), Lease: lease}, {Key: []byte("{s}stays")}} {
		op.Kind, op.Value = shardmap.OpSet, []byte("v")
		q.apply(t, shardmap.TxnCommand(slot, &shardmap.Txn{Then: []shardmap.Op{op}}))
	}
	ask := func(keys ...string) (a wire.GetAnswer, body []byte) {
		t.Helper()
		q.take(wire.TypeGet, (&wire.Get{Keys: keysOf(keys...)}).Append(nil))
		q.run()
		for _, read := range q.asker.later {
			now += 1e9 // the answer is of the moment of its read
			read()
			now -= 1e9
		}
		q.asker.later = nil
		typ, body, e := q.asker.answer(t)
		if e != nil || typ != wire.TypeGetAnswer || a.Read(body) != nil {
			t.Fatalf("get of %v: %s, %v", keys, typ, e)
		}
		return a, bytes.Clone(body)
	}
	ask("k1") // what gets take is known from here on
	for now = 0; now < 7e9; now += 1500e6 {
		left := uint64(5000 - min(now/1e6, 5000))
		for _, more := range [][]string{nil, {"k8", "k7", "k6"}} {
			a, _ := ask(append([]string{"{s}ttl", "absent", "{s}lease", "{s}stays"}, more...)...)
			for i, want := range []wire.KeyEnd{{Ends: true, Remaining: left}, {}, {Ends: true, Remaining: uint64(60_000 - now/1e6), Lease: lease}, {}} {
				if a.Next(); a.End != want {
					t.Errorf("at %d, with %v: row %d ends %+v, want %+v", now, more, i, a.End, want)
				}
			}
			ask("k1")
		}
		var leases wire.LeasesAnswer
		q.take(wire.TypeLeases, (&wire.Leases{Group: 1, Slots: []shardmap.SlotRange{{From: slot, To: slot}}}).Append(nil))
		q.run()
		typ, body, e := q.asker.answer(t)
		if e != nil || typ != wire.TypeLeasesAnswer || leases.Read(body) != nil || len(leases.Rows) != 1 || leases.Rows[0].Remaining != uint64(60_000-now/1e6) {
			t.Errorf("at %d the leases are %+v: %s, %v", now, leases.Rows, typ, e)
		}
	}
	at := raft.LogID{Term: 1, Index: q.index}
	if _, body := ask("{s}stays"); !bytes.Equal(body, wire.AppendFound(wire.AppendGetAnswer(nil, 1, at, 1), q.index, []byte("v"))) {
		t.Errorf("the answer about a key that stays has the bytes % x", body)
	}
}

// Gets that wait together were allocated together, with room for small bodies: each must
// answer for its own keys, whatever became of the frame that it came in.
func TestGetsBesideOthers(t *testing.T) {
	q := newRequests(t)
	long := "k1" + strings.Repeat("x", 200)
	q.set(t, long, "long")
	asked := [][]string{{"k1"}, {"k2", "k1"}, {long}, {"absent"}, {"k3"}, {"k4"}, {"k5"}, {"k2"}, {"k1"}, {"k5"}}
	frame := make([]byte, 0, 1<<10) // of a connection
	for _, keys := range asked {
		frame = (&wire.Get{Keys: keysOf(keys...)}).Append(frame[:0])
		q.take(wire.TypeGet, frame)
		clear(frame)
	}
	q.run()
	if len(q.asker.bodies) != len(asked) {
		t.Fatalf("%d answers to %d gets", len(q.asker.bodies), len(asked))
	}
	for i, keys := range asked {
		var a wire.GetAnswer
		if err := a.Read(q.asker.bodies[i]); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys {
			want, there := "long", key != "absent"
			if key != long && there {
				want = strings.Repeat("v", 40*int(key[1]-'0'))
			}
			if _, value, found, _ := a.Next(); found != there || found && string(value) != want {
				t.Errorf("get %d of %.9q: %.9q, found is %t", i, key, value, found)
			}
		}
	}
}

// Most requests are gets of one small key: several of them share an allocation.
func TestGetsAllocateLittle(t *testing.T) {
	q := newRequests(t)
	body := (&wire.Get{Keys: keysOf("bench/0000000001")}).Append(nil)
	const gets = 64
	if n := testing.AllocsPerRun(10, func() {
		for range gets {
			q.take(wire.TypeGet, body)
		}
		q.Clear()
	}); n > gets/8 {
		t.Errorf("%v allocations for %d gets", n, gets)
	}
}

// An answer is refused where there is no room for it, or nobody to make it, and
// then costs nothing: no copy stays out, no page is left open.
func TestRefusedReadsHoldNothing(t *testing.T) {
	get := (&wire.Get{Keys: keysOf("k8", "k7", "k6")}).Append(nil)
	list := (&wire.List{Group: 1}).Append(nil)
	for _, c := range []struct {
		what   string
		t      wire.Type
		body   []byte
		change func(a *asker)
		later  bool // the refusal comes from beside
	}{
		{"a get of a deaf client", wire.TypeGet, get, func(a *asker) { a.deaf = true }, false},
		{"a listing of a deaf client", wire.TypeList, list, func(a *asker) { a.deaf = true }, false},
		{"a long get behind many", wire.TypeGet, get, func(a *asker) { a.full = "many wait" }, false},
		{"a listing behind many", wire.TypeList, list, func(a *asker) { a.full = "many wait" }, false},
		{"a long get without room", wire.TypeGet, get, func(a *asker) { a.room = 500 }, true},
		{"a listing without room to begin", wire.TypeList, list, func(a *asker) { a.room = 10 }, true},
		{"a listing without room in the end", wire.TypeList, list, func(a *asker) { a.room = 1200 }, true},
	} {
		q := newRequests(t)
		q.table.Slots[q.foreign] = 2
		c.change(&q.asker)
		q.take(c.t, c.body)
		if first := q.run(); first == c.later {
			t.Errorf("%s: a flush is due: %v", c.what, first)
		}
		for _, read := range q.asker.later {
			read()
		}
		if _, _, e := q.asker.answer(t); e == nil || e.Code != wire.CodeBusy || c.later != (q.asker.flushes > 0) {
			t.Errorf("%s: %v, %d flushes", c.what, e, q.asker.flushes)
		}
		if n := q.state.State.CopiesOut(); n != 0 {
			t.Errorf("%s: %d copies are still out", c.what, n)
		}
	}
}

// A get that has been long is not tried between two entries, and is again once it
// was short. Either way the answer is the same.
func TestLongGetsAreReadBeside(t *testing.T) {
	q := newRequests(t)
	ask := func(beside int, keys ...string) {
		t.Helper()
		q.take(wire.TypeGet, (&wire.Get{Keys: keysOf(keys...)}).Append(nil))
		q.run()
		if len(q.asker.later) != beside {
			t.Errorf("get of %v: %d read beside, want %d", keys, len(q.asker.later), beside)
		}
		q.set(t, keys[0], "changed meanwhile")
		for _, read := range q.asker.later {
			read()
		}
		q.asker.later = nil
		typ, body, e := q.asker.answer(t)
		var a wire.GetAnswer
		if e != nil || typ != wire.TypeGetAnswer || a.Read(body) != nil || a.Count != len(keys) || a.At.Index != q.index-1 {
			t.Fatalf("get of %v: %s, %v, %d rows at %s", keys, typ, e, a.Count, a.At)
		}
		if _, v, found, _ := a.Next(); !found || string(v) == "changed meanwhile" {
			t.Errorf("get of %v shows %q, which was written after it ran", keys, v)
		}
		q.set(t, keys[0], strings.Repeat("w", 90))
	}
	if got := q.Expected(wire.TypeGet); got != machine.AnswerUnknown {
		t.Errorf("the first answer is expected to take %d", got)
	}
	ask(0, "k1")             // short; that it would not be is not known
	ask(1, "k8", "k7", "k6") // tried, and found to be long
	if got := q.Expected(wire.TypeGet); got < 200 {
		t.Errorf("after a long one %d bytes are expected", got)
	}
	ask(1, "k2") // not tried
	if got := q.Expected(wire.TypeGet); got != 0 {
		t.Errorf("after a short one %d bytes are expected", got)
	}
	ask(0, "k3")
}

// Each entry says, before the bytes of its client, when it was admitted; the bytes are
// the client's own. One would doubt it for a long command, which does not lie among
// others, and for the shortest.
func TestEntriesHaveAnOrigin(t *testing.T) {
	q := newRequests(t)
	q.table.ValueMax = 1 << 20
	for _, size := range []int{0, 100, 800, 900, 1000, 1100, 100_000} {
		body := wire.AppendWrite(nil, &shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{[]byte("k"), make([]byte, size)}})
		q.take(wire.TypeWrite, body)
		q.take(wire.TypeWrite, body)
		for i, p := range q.Proposals() {
			o, command, err := wire.ReadOrigin(p.Entry.Payload())
			if err != nil || o != (wire.Origin{Time: 1_764_000_000_000}) || !bytes.Equal(command, body) {
				t.Errorf("value of %d bytes, entry %d: origin %+v, %v; %d bytes of a command, want %d", size, i, o, err, len(command), len(body))
			}
		}
		q.Clear()
	}
	a := wire.Announce{Node: 1, Start: 2, Addr: "h:1"}
	q.Announce(wire.Header{Type: wire.TypeAnnounce}, &a, repl.Reply{To: &q.asker}, q.table, machine.Now{Host: 1, Wall: 77})
	if o, _, err := wire.ReadOrigin(q.Proposals()[0].Entry.Payload()); err != nil || o.Time != 77 {
		t.Errorf("an announcement: %+v, %v", o, err)
	}
}

// A frame may be longer than the longest entry. What fits in the one and not in the
// other is refused before the log, by its size: the core would refuse it together
// with whatever else is proposed at that moment, and again with each retry.
func TestLongestCommand(t *testing.T) {
	q := newRequests(t)
	q.table.ValueMax = shardmap.ValueMaxLimit
	most := raft.PayloadSizeMax - wire.OriginSizeMax
	sized := func(n int) []byte {
		c := shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{[]byte("{k}1"), make([]byte, most/2), []byte("{k}2"), make([]byte, most/2-100)}}
		c.Items[3] = make([]byte, len(c.Items[3])+n-len(wire.AppendWrite(nil, &c)))
		return wire.AppendWrite(nil, &c)
	}
	q.take(wire.TypeWrite, sized(most))
	if p := q.Proposals(); len(p) != 1 || len(p[0].Entry.Payload()) > raft.PayloadSizeMax {
		t.Fatalf("the longest command: %d proposals", len(p))
	}
	q.Clear()
	q.take(wire.TypeWrite, sized(most+1))
	_, _, e := q.asker.answer(t)
	if len(q.Proposals()) != 0 || e == nil || e.Code != wire.CodeTooLarge || !strings.Contains(e.Error(), fmt.Sprint(most)) {
		t.Errorf("a byte more: %d proposals, %v", len(q.Proposals()), e)
	}
}

// A member of an older build could not apply what is above the cluster's level: it
// is refused before the log, with what is to be done.
func TestCommandAboveTheLevelIsNotProposed(t *testing.T) {
	check := wire.AppendWrite(nil, &shardmap.Command{Kind: shardmap.CommandCheck, Slot: shardmap.SlotByServer, Items: keysOf("k1")})
	q := newRequests(t)
	q.take(wire.TypeWrite, check)
	if len(q.Proposals()) != 1 || len(q.asker.types) != 0 {
		t.Errorf("in a cluster of level %d: %d proposals, %d answers", q.table.Level, len(q.Proposals()), len(q.asker.types))
	}
	q.Clear()
	q.table.Level = 1
	q.take(wire.TypeWrite, check)
	_, _, e := q.asker.answer(t)
	if len(q.Proposals()) != 0 || e == nil || e.Code != wire.CodeLevel || !strings.Contains(e.Error(), "check") || !strings.Contains(e.Error(), "level 2") || !strings.Contains(e.Next, "upgrade") {
		t.Errorf("in a cluster of level 1: %d proposals, %v", len(q.Proposals()), e)
	}
}

// An entry says who sent its command, and by which rules that was let in; of a command that is passed
// on, whoever the member says. One would doubt it of what comes after it over the same connection.
func TestOriginOfUsers(t *testing.T) {
	q := newRequests(t)
	q.table.Security.Rules = 12
	q.Principal = 7
	c := shardmap.Command{Kind: shardmap.CommandSet, Slot: shardmap.SlotByServer, Items: [][]byte{[]byte("k"), []byte("v")}}
	write := wire.AppendWrite(nil, &c)
	forward := func(p shardmap.Principal) []byte {
		return (&wire.Forward{Principal: p, Type: wire.TypeWrite, Body: write}).Append(nil)
	}
	r := repl.Reply{To: &q.asker}
	q.Take(wire.Header{Type: wire.TypeWrite}, write, r, q.table, nowTaken)
	q.TakeForward(wire.Header{Type: wire.TypeForward}, forward(9), r, q.table, nowTaken)
	q.TakeForward(wire.Header{Type: wire.TypeForward}, forward(0), r, q.table, nowTaken)
	q.Take(wire.Header{Type: wire.TypeWrite}, write, r, q.table, nowTaken)
	want := []wire.Origin{{Principal: 7, Rules: 12}, {Principal: 9, Rules: 12}, {}, {Principal: 7, Rules: 12}}
	got := q.Proposals()
	if len(got) != len(want) {
		t.Fatalf("%d proposals, want %d", len(got), len(want))
	}
	for i := range want {
		o, command, err := wire.ReadOrigin(got[i].Entry.Raw[raft.EntryHeaderSize:])
		want[i].Time = nowTaken.Wall
		if err != nil || o != want[i] || !bytes.Equal(command, write) {
			t.Errorf("proposal %d: got %+v, %v, want %+v", i, o, err, want[i])
		}
	}
}
