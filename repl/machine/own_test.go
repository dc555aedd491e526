package machine_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// noTable is the table of a node that has none yet.
func noTable() *shardmap.Table { return nil }

// ownPayload is the entry that founds a group with slots.
func ownPayload(number uint64, slots []shardmap.Slot) []byte {
	c := shardmap.OwnCommand(&shardmap.Own{Number: number, Slots: shardmap.SlotRanges(slots)})
	return wire.AppendWrite(new(wire.Origin).Append(nil), &c)
}

// owning returns the machine of a group whose first entry gave it slots.
func owning(g raft.GroupID, slots []shardmap.Slot) *machine.Map {
	m := machine.NewMap(logstore.Replica{Group: g}, noTable)
	e := raft.NewEntry(raft.EntryNormal, ownPayload(1, slots))
	e.ID = raft.LogID{Term: 1, Index: 1}
	if _, _, err := m.Apply(e, false, nil); err != nil {
		panic(err)
	}
	return m
}

// tables is a node's table, as it is now.
type tables struct{ now *shardmap.Table }

func (t *tables) get() *shardmap.Table { return t.now }

// founded returns the table of a cluster whose group 1 is founded with the first half
// of the slots.
func founded() *shardmap.Table {
	t := &shardmap.Table{ClusterID: 1, Level: shardmap.Level, ValueMax: shardmap.ValueMaxDefault}
	half := shardmap.Slot(shardmap.Slots / 2)
	t.Groups = []shardmap.TableGroup{
		{ID: 1, Incarnation: 7, FirstSlots: []shardmap.SlotRange{{From: 0, To: half - 1}}},
		{ID: 2, Incarnation: 7, FirstSlots: []shardmap.SlotRange{{From: half, To: shardmap.Slots - 1}}},
		{ID: 3, Incarnation: 9},
	}
	for s := range t.Slots {
		t.Slots[s] = raft.GroupID(1 + s/int(half))
	}
	return t
}

func replicaOf(g raft.GroupID, i raft.Incarnation) logstore.Replica {
	return logstore.Replica{Group: g, Incarnation: i, ID: 1}
}

// state is all of a machine's state, in bytes.
func state(t *testing.T, m *machine.Map) []byte {
	t.Helper()
	var b bytes.Buffer
	c := m.Copy()
	defer c.Release()
	if _, err := c.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A log that is applied from its first entry makes the same state whatever the table
// says on that day: that slots are elsewhere by now, that there are others, or
// nothing, since group 0 is not there yet. One would doubt it: a map that begins with
// the slots of today answers old writes to a slot that has left with "not owned", and
// takes those that were refused before a slot came.
func TestReplayIgnoresTheTable(t *testing.T) {
	then := &tables{founded()}
	first := machine.NewMap(replicaOf(1, 7), then.get)
	log := []raft.Entry{payloadEntry(1, raft.EntryNoOp, nil), payloadEntry(2, raft.EntryNormal, first.Wants())}
	for i := range uint64(200) {
		key := fmt.Sprintf("key-%d", i)
		log = append(log, payloadEntry(3+i, raft.EntryNormal, set(9, i+1, key, "v")))
	}
	log = append(log, payloadEntry(300, raft.EntryNormal, ownPayload(8, []shardmap.Slot{4000}))) // late, and of another
	for i, e := range log {
		if i == 100 {
			then.now.Slots = [shardmap.Slots]raft.GroupID{} // the table changes under the first replica, too
		}
		if _, _, err := apply(first, e); err != nil {
			t.Fatal(err)
		}
	}
	want := state(t, first)
	if first.State.Len() < 50 || first.State.Len() > 150 {
		t.Fatalf("%d keys of 200 are in the group's slots; the test shows nothing", first.State.Len())
	}
	moved, none := founded(), founded()
	for s := range moved.Slots {
		moved.Slots[s] = 2 - raft.GroupID(s%2)
	}
	none.Groups, none.Slots = nil, [shardmap.Slots]raft.GroupID{}
	for what, today := range map[string]*shardmap.Table{"no table": nil, "the founding's": founded(), "one with other owners": moved, "one without groups": none} {
		m := machine.NewMap(replicaOf(1, 7), (&tables{today}).get)
		for i, e := range log {
			if i%m.ExpectMax() == 0 {
				m.Expect(log[i:])
			}
			if _, _, err := apply(m, e); err != nil {
				t.Fatal(err)
			}
		}
		for s := range shardmap.Slot(shardmap.Slots) {
			a, owned := first.State.Digest(s)
			if b, also := m.State.Digest(s); a != b || owned != also {
				t.Fatalf("with %s: slot %d has digest %016x (owned: %v), at first it was %016x (%v)", what, s, b, also, a, owned)
			}
		}
		if !bytes.Equal(state(t, m), want) {
			t.Errorf("with %s: another state", what)
		}
	}
}

func payloadEntry(index uint64, kind raft.EntryKind, payload []byte) raft.Entry {
	e := raft.NewEntry(kind, payload)
	e.ID, e.Time = raft.LogID{Term: 1, Index: index}, raft.GroupTime(index)
	return e
}

// Who founds a group, and with what: its leader, once there is a table, with what that
// intends for this founding of the group, until that is applied. A group for which
// nothing is intended wants nothing.
func TestWhatAGroupWants(t *testing.T) {
	at := &tables{}
	wants := func(r logstore.Replica) []byte {
		var p repl.Proposer = machine.NewMap(r, at.get)
		return p.Wants()
	}
	if b := wants(replicaOf(1, 7)); b != nil {
		t.Errorf("without a table %x is wanted", b)
	}
	at.now = founded()
	for _, c := range []struct {
		what    string
		replica logstore.Replica
		level   uint32
		want    bool
	}{
		{"a group of the table", replicaOf(1, 7), shardmap.MovesLevel, true},
		{"the same in a cluster of the first level", replicaOf(1, 7), 1, true},
		{"another one", replicaOf(2, 7), shardmap.MovesLevel, true},
		{"an earlier incarnation", replicaOf(1, 6), shardmap.MovesLevel, false},
		{"a group without slots", replicaOf(3, 9), shardmap.MovesLevel, false},
		{"a group that is not in the table", replicaOf(4, 9), shardmap.MovesLevel, false},
	} {
		at.now.Level = c.level
		if b := wants(c.replica); (b != nil) != c.want {
			t.Errorf("%s wants %x", c.what, b)
		}
	}
	m := machine.NewMap(replicaOf(1, 7), at.get)
	b := m.Wants()
	if !m.Thrifty(b) {
		t.Error("the founding is refused when disks are full")
	}
	if _, _, err := apply(m, payloadEntry(1, raft.EntryNormal, b)); err != nil {
		t.Fatal(err)
	}
	at.now.Level = shardmap.LeasesLevel - 1
	if m.Wants() != nil {
		t.Error("a group that is founded wants to be founded")
	}
	if _, owned := m.State.Digest(0); !owned || m.State.Owns(shardmap.Slots-1) {
		t.Error("the group does not own what the table intended for it")
	}
}

// The leader of a group raises it to the cluster's level, once it has that level, after the
// founding, and once for each level: from then on the group has a history. A command that
// comes again, or late, changes nothing.
func TestAGroupIsRaised(t *testing.T) {
	at := &tables{now: founded()}
	at.now.Level = shardmap.LeasesLevel - 1
	m := machine.NewMap(replicaOf(1, 7), at.get)
	index := uint64(0)
	next := func(b []byte) {
		t.Helper()
		index++
		if _, _, err := apply(m, payloadEntry(index, raft.EntryNormal, b)); err != nil {
			t.Fatal(err)
		}
	}
	next(m.Wants())
	if b := m.Wants(); b != nil || m.State.History().Keeps() {
		t.Fatalf("below the level %x is wanted", b)
	}
	at.now.Level = shardmap.LeasesLevel
	raise := m.Wants()
	if !m.Thrifty(raise) {
		t.Error("the raise is refused when disks are full")
	}
	next(raise)
	if m.Wants() != nil || m.State.History().Raised() != shardmap.LeasesLevel || !m.State.History().Keeps() {
		t.Errorf("raised to level %d, and %x is wanted", m.State.History().Raised(), m.Wants())
	}
	floor, _ := m.State.History().Bounds()
	next(raise)
	if again, head := m.State.History().Bounds(); again != floor || head.Index != index {
		t.Errorf("the history began at %s, and after another raise at %s", floor, again)
	}
	// A group that gets its slots by moves is raised too, one that the table does not have is not.
	for _, c := range []struct {
		replica logstore.Replica
		want    bool
	}{{replicaOf(3, 9), true}, {replicaOf(3, 8), false}, {replicaOf(4, 9), false}} {
		if b := machine.NewMap(c.replica, at.get).Wants(); (b != nil) != c.want {
			t.Errorf("%s wants %x", c.replica, b)
		}
	}
	// A replica that does not know the level stops before it.
	older := machine.NewMap(replicaOf(1, 7), at.get)
	older.State.Understand(shardmap.LeasesLevel - 1)
	if _, _, err := apply(older, payloadEntry(1, raft.EntryNormal, raise)); !errors.Is(err, shardmap.ErrLevel) {
		t.Errorf("an older replica applies a raise: %v", err)
	}
}

// Before a group is founded nobody can say whose a slot is, nor that a key is not
// there. Who asks is to come again, and is not sent elsewhere: the table has said
// where the slot is, and says no other thing when it is asked again.
func TestBeforeTheFounding(t *testing.T) {
	q := newRequests(t)
	q.table.Groups[0].FirstSlots = []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}
	q.state = machine.NewMap(replicaOf(1, 0), func() *shardmap.Table { return q.table })
	all := []shardmap.SlotRange{{From: 0, To: shardmap.Slots - 1}}
	ask := func(want wire.Code) {
		t.Helper()
		q.index = 0
		for _, body := range [][]byte{set(1, 1, "k", "v"), set(0, 0, "k", "v")} {
			q.index++
			typ, answer, err := q.state.Apply(payloadEntry(q.index, raft.EntryNormal, body), true, nil)
			e := new(wire.Error)
			if err != nil || typ != wire.TypeError || e.Read(answer) != nil || e.Code != want || want == wire.CodeNotReady && e.RetryAfterMs == 0 {
				t.Errorf("a write: %s, %v, %v; want %s", typ, e, err, want)
			}
		}
		for _, c := range []struct {
			what string
			t    wire.Type
			body wire.Body
		}{
			{"a get", wire.TypeGet, &wire.Get{Keys: keysOf("k")}},
			{"a local get", wire.TypeGet, &wire.Get{Mode: wire.ReadLocal, Keys: keysOf("k")}},
			{"a listing of one slot", wire.TypeList, &wire.List{Group: 1, Prefix: []byte("{k}"), Slots: all}},
		} {
			q.take(c.t, c.body.Append(nil))
			q.run()
			if _, _, e := q.asker.answer(t); e == nil || e.Code != want {
				t.Errorf("%s: %v, want %s", c.what, e, want)
			}
		}
		for _, scan := range []wire.Scan{{Group: 1}, {Group: 1, Mode: wire.ReadLocal}, {Group: 1, Prefix: []byte("{k}"), Slots: all}} {
			x := newStreams(t)
			x.q.table, x.q.state = q.table, q.state
			scan.Window = wire.StreamPieceMin
			x.open(1, scan)
			x.settle()
			switch e := x.ends[1]; {
			case e == nil:
				t.Errorf("a stream of %q: no end", scan.Prefix)
			case want == wire.CodeMoved && len(scan.Prefix) == 0:
				if e.Reason != wire.EndDone {
					t.Errorf("a stream: %+v", e)
				}
			case e.Why.Code != want || want == wire.CodeNotReady && e.Why.RetryAfterMs == 0:
				t.Errorf("a stream of %q: %+v, want %s", scan.Prefix, e, want)
			}
		}
		q.take(wire.TypeList, (&wire.List{Group: 1}).Append(nil))
		q.run()
		for _, read := range q.asker.later {
			read()
		}
		q.asker.later = nil
		if _, _, e := q.asker.answer(t); want == wire.CodeNotReady && (e == nil || e.Code != want) || want != wire.CodeNotReady && e != nil {
			t.Errorf("a listing: %v", e)
		}
	}
	ask(wire.CodeNotReady)

	// A group that is to get its slots by moves has none, and says so.
	q.table.Groups[0].FirstSlots = nil
	for s := range q.table.Slots {
		q.table.Slots[s] = 2
	}
	q.state = machine.NewMap(replicaOf(1, 0), func() *shardmap.Table { return q.table })
	ask(wire.CodeMoved)
}
