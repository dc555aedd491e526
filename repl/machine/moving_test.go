package machine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// move applies the step of a move to a machine, and returns what became of it.
func (q *requests) move(t *testing.T, k shardmap.CommandKind, steps ...shardmap.Step) []shardmap.StepResult {
	t.Helper()
	c := shardmap.StepCommand(k, steps)
	q.index++
	typ, body, err := q.state.Apply(payloadEntry(q.index, raft.EntryNormal, wire.AppendWrite(new(wire.Origin).Append(nil), &c)), true, nil)
	var a wire.StepAnswer
	if err != nil || typ != wire.TypeStepAnswer || a.Read(body) != nil || a.ID.Index != q.index || len(a.Results) != len(steps) {
		t.Fatalf("%s is answered with %s %+v, %v", k, typ, a, err)
	}
	return a.Results
}

// done applies the step of a move, which must take effect.
func (q *requests) done(t *testing.T, k shardmap.CommandKind, s shardmap.Step) shardmap.SlotView {
	t.Helper()
	r := q.move(t, k, s)
	if r[0].Outcome != shardmap.StepDone {
		t.Fatalf("%s of slot %d: %s", k, s.Slot, r[0].Outcome)
	}
	return r[0].View
}

// ask returns what a read of q is answered with, or the error with which it would be
// answered if its time were over while it waits.
func (q *requests) ask(t *testing.T, typ wire.Type, body wire.Body) (late, answered *wire.Error) {
	t.Helper()
	q.take(typ, body.Append(nil))
	reads := q.Reads()
	if len(reads) != 1 {
		_, _, e := q.asker.answer(t)
		q.Clear()
		return nil, e
	}
	if late = q.state.DeferQuery(reads[0].Query); late != nil {
		q.Clear()
		return late, nil
	}
	q.run()
	for _, read := range q.asker.later {
		read()
	}
	q.asker.later = nil
	_, _, answered = q.asker.answer(t)
	return nil, answered
}

// While a slot is sealed nobody can say what is in it: what is asked of it waits, and of
// other slots it does not. It is sent on as soon as any log or table here says that the
// slot has arrived, goes on where it came back, and is told when its time is over.
func TestSealedSlot(t *testing.T) {
	slot, other := shardmap.SlotOf([]byte("k1")), shardmap.SlotOf([]byte("k2"))
	reads := []struct {
		what string
		t    wire.Type
		body wire.Body
	}{
		{"a get", wire.TypeGet, &wire.Get{Keys: keysOf("k2", "k1")}},
		{"a local get", wire.TypeGet, &wire.Get{Mode: wire.ReadLocal, Keys: keysOf("k1")}},
		{"a listing that names it", wire.TypeList, &wire.List{Group: 1, Slots: []shardmap.SlotRange{{From: slot, To: slot}}}},
		{"a listing of its prefix", wire.TypeList, &wire.List{Group: 1, Prefix: []byte("{k1}"), Slots: []shardmap.SlotRange{{From: slot, To: slot}}}},
		{"a listing that names none", wire.TypeList, &wire.List{Group: 1, Epoch: 5}},
		{"the versions of a key of it", wire.TypeHistory, &wire.History{Group: 1, Key: []byte("k1")}},
		{"the leases of it", wire.TypeLeases, &wire.Leases{Group: 1, Slots: []shardmap.SlotRange{{From: slot, To: slot}}}},
	}
	ready := func() *requests {
		q := newRequests(t)
		q.table.Slots[q.foreign] = 2
		q.table.Groups = append(q.table.Groups, shardmap.TableGroup{ID: 2})
		q.state.Routes = new(machine.Routes)
		q.Routes = q.state.Routes
		return q
	}
	commands := []struct {
		what    string
		payload []byte
	}{
		{"a set", set(0, 0, "k1", "new")},
		{"a transaction", payloadOf(newerCommand(aTxn, slot))},
		{"a grant", payloadOf(newerCommand(aGrant, slot))},
	}
	waits := func(q *requests) {
		t.Helper()
		if !q.state.Deferring() {
			t.Fatal("nothing is deferred")
		}
		for _, c := range commands {
			late, refused := q.state.DeferCommand(c.payload)
			if late == nil || refused != nil || late.Code != wire.CodeUnavailable || late.Object != fmt.Sprintf("slot %d", slot) || !strings.Contains(late.State, "to group g2") {
				t.Errorf("%s: late %v, refused %v", c.what, late, refused)
			}
		}
		for _, r := range reads {
			if late, e := q.ask(t, r.t, r.body); late == nil || late.Code != wire.CodeUnavailable || late.Object != fmt.Sprintf("slot %d", slot) {
				t.Errorf("%s: late %v, answered %v", r.what, late, e)
			}
		}
		if late, refused := q.state.DeferCommand(set(0, 0, "k2", "new")); late != nil || refused != nil {
			t.Errorf("a set in another slot: late %v, refused %v", late, refused)
		}
		if late, e := q.ask(t, wire.TypeGet, &wire.Get{Keys: keysOf("k2")}); late != nil || e != nil {
			t.Errorf("a get in another slot: late %v, %v", late, e)
		}
		if late, e := q.ask(t, wire.TypeList, &wire.List{Group: 1, Slots: []shardmap.SlotRange{{From: other, To: other}}}); late != nil || e != nil {
			t.Errorf("a listing of another slot: late %v, %v", late, e)
		}
	}
	moved := func(q *requests, what string) {
		t.Helper()
		is := func(e *wire.Error) bool {
			return e != nil && e.Code == wire.CodeMoved && e.Group == 2 && e.Number == 9 && e.Slot == slot
		}
		for _, c := range commands {
			if _, refused := q.state.DeferCommand(c.payload); q.state.Deferring() && !is(refused) {
				t.Errorf("%s: %s is refused with %v", what, c.what, refused)
			}
			q.index++
			typ, body, err := q.state.Apply(payloadEntry(q.index, raft.EntryNormal, c.payload), true, nil)
			e := new(wire.Error)
			if err != nil || typ != wire.TypeError || e.Read(body) != nil || !is(e) {
				t.Errorf("%s: %s is answered with %s %v, %v", what, c.what, typ, e, err)
			}
		}
		q.Routes = nil // a request that was on its way already
		for _, r := range reads {
			if late, e := q.ask(t, r.t, r.body); late != nil || !is(e) {
				t.Errorf("%s: %s: late %v, answered %v", what, r.what, late, e)
			}
		}
		q.Routes = q.state.Routes
	}
	seal := shardmap.Step{Slot: slot, Number: 9, Peer: 2}
	end := shardmap.Step{Slot: slot, Number: 9}

	q := ready()
	if v := q.done(t, shardmap.CommandSeal, seal); v.Holding != shardmap.HoldsSealed || v.Target != 2 || v.Number != 9 {
		t.Fatalf("sealed, it is %+v", v)
	}
	waits(q)
	decided := q.state.Decided()
	q.Routes.Took(slot, 9, 2) // another group's log says so
	if q.state.Decided() == decided {
		t.Error("what waits is not looked at")
	}
	moved(q, "the target took it over")
	decided = q.state.Decided()
	q.done(t, shardmap.CommandDrop, end)
	if q.state.Decided() == decided {
		t.Error("what waits is not looked at behind the drop")
	}
	moved(q, "it is dropped")

	q = ready()
	q.done(t, shardmap.CommandSeal, seal)
	q.done(t, shardmap.CommandDrop, end) // nobody here has heard of the takeover before
	moved(q, "it is dropped at once")
	if g := q.Routes.GroupOf(q.table, slot); g != 2 {
		t.Errorf("it is dropped, and asked for in group %d", g)
	}

	q = ready()
	q.done(t, shardmap.CommandSeal, seal)
	decided = q.state.Decided()
	q.done(t, shardmap.CommandUnseal, end)
	if q.state.Decided() == decided {
		t.Error("what waits is not looked at behind the unseal")
	}
	for _, c := range commands {
		if late, refused := q.state.DeferCommand(c.payload); late != nil || refused != nil || q.state.Deferring() {
			t.Errorf("it came back: %s: late %v, refused %v", c.what, late, refused)
		}
	}
	for _, r := range reads {
		if late, e := q.ask(t, r.t, r.body); late != nil || e != nil {
			t.Errorf("it came back: %s: late %v, answered %v", r.what, late, e)
		}
	}
	if q.state.State.CopiesOut() != 0 {
		t.Error("copies are still out")
	}
}

// Which command of those that name their slot.
const (
	aSet   = 0 // none of them
	aTxn   = 1
	aGrant = 2
)

// newerCommand is a command that has an effect whatever is in the slot; nil for aSet.
func newerCommand(which int, slot shardmap.Slot) *shardmap.Command {
	var c shardmap.Command
	switch which {
	case aSet:
		return nil
	case aTxn:
		c = shardmap.TxnCommand(slot, &shardmap.Txn{Then: []shardmap.Op{{Kind: shardmap.OpSet, Key: []byte("any of the slot"), Value: []byte("v")}}})
	case aGrant:
		c = shardmap.LeaseCommand(slot, shardmap.LeaseGrant, 0, 1000)
	}
	return &c
}

// payloadOf is the payload of the entry of a command.
func payloadOf(c *shardmap.Command) []byte {
	return wire.AppendWrite(new(wire.Origin).Append(nil), c)
}

// The host goes by what a machine says of a command before it applies it: one that is
// deferred, or refused, and has an effect all the same would be applied twice, or be told
// that it was not; one that is not deferred and has none, though it could wait, is an error
// that its caller need not have seen.
func TestDeferredHasNoEffect(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	q := newRequests(t)
	q.state.Routes = new(machine.Routes)
	deferred, applied := 0, 0
	for n := uint64(1); n < 1000; n++ {
		key := fmt.Sprintf("k%d", chance.IntN(9))
		slot := shardmap.SlotOf([]byte(key))
		v := q.state.State.View(slot)
		switch chance.IntN(8) {
		case 0:
			q.move(t, shardmap.CommandSeal, shardmap.Step{Slot: slot, Number: n, Peer: 2})
		case 1:
			if v.Number != 0 {
				q.move(t, shardmap.CommandUnseal, shardmap.Step{Slot: slot, Number: v.Number})
			}
		case 2:
			if v.Number != 0 && chance.IntN(100) == 0 {
				q.move(t, shardmap.CommandDrop, shardmap.Step{Slot: slot, Number: v.Number})
			}
		case 3:
			if v.Number != 0 && chance.IntN(50) == 0 {
				q.state.Routes.Took(slot, v.Number, 2)
			}
		default:
			command := set(uint64(1+chance.IntN(2)), n, key, "v")
			if c := newerCommand(chance.IntN(3), slot); c != nil {
				c.Session, c.Sequence, c.Floor = uint64(1+chance.IntN(2)), n, 1
				command = payloadOf(c)
			}
			late, refused := q.state.DeferCommand(command)
			before := state(t, q.state)
			q.index++
			typ, _, err := q.state.Apply(payloadEntry(q.index, raft.EntryNormal, command), true, nil)
			if err != nil {
				t.Fatal(err)
			}
			// The index that the state stands at is in its head.
			changed := typ == wire.TypeWriteAnswer || typ == wire.TypeTxnAnswer || typ == wire.TypeLeaseAnswer
			if v.Holding == shardmap.HoldsSealed {
				deferred++
				if (late == nil) == (refused == nil) {
					t.Fatalf("slot %d is sealed: late %v, refused %v", slot, late, refused)
				}
			}
			if (late != nil || refused != nil) != (v.Holding == shardmap.HoldsSealed) {
				t.Fatalf("slot %d is %s: late %v, refused %v", slot, v.Holding, late, refused)
			}
			if changed == (late != nil || refused != nil) && v.Holding != shardmap.HoldsNothing {
				t.Fatalf("slot %d is %s: late %v, refused %v, and its command is answered with %s", slot, v.Holding, late, refused, typ)
			}
			if !changed && len(before) != len(state(t, q.state)) {
				t.Fatalf("slot %d is %s: a command without an effect changed the state", slot, v.Holding)
			}
			if changed {
				applied++
			}
		}
	}
	if deferred < 100 || applied < 100 {
		t.Errorf("%d deferred, %d applied: the test shows nothing", deferred, applied)
	}
}

// A table that is not here yet, or is older than the log, must not send requests to where
// a slot was; and one that has recorded a move has the last word, for the slot may have
// gone on.
func TestRoutes(t *testing.T) {
	var r machine.Routes
	table := &shardmap.Table{Index: 8}
	for s := range table.Slots {
		table.Slots[s] = 1
	}
	expect := func(what string, want raft.GroupID) {
		t.Helper()
		if got := r.GroupOf(table, 5); got != want {
			t.Errorf("%s: asked is group %d, want %d", what, got, want)
		}
	}
	expect("nothing moved", 1)
	r.Took(5, 9, 2)
	expect("a log is ahead, and there is no table", 2)
	r.Follow(table)
	expect("the table does not know of the move yet", 2)
	open := *table
	open.Index, open.Moves = 10, []shardmap.Move{{SlotRange: shardmap.SlotRange{From: 3, To: 6}, Number: 9, From: 1, To: 2, State: shardmap.MoveOpen}}
	table = &open
	r.Follow(table)
	expect("the move is open", 2)
	r.Took(5, 7, 3) // of a log that is read again
	expect("an older move is told of", 2)
	recorded := open
	recorded.Index, recorded.Moves, recorded.Slots[5] = 12, nil, 4 // and it has gone on since
	table = &recorded
	r.Follow(table)
	expect("the table has more", 4)
	r.Took(5, 9, 2)
	expect("what the table has is told of late", 4)
	r.Follow(&open)
	r.Took(5, 9, 2)
	expect("an older table is told of late", 4)
	r.Took(5, 13, 3)
	expect("it moves again", 3)
	if got := (*machine.Routes)(nil).GroupOf(table, 5); got != 4 {
		t.Errorf("without routes: asked is group %d", got)
	}
}

// A step changes whose a key is: it is taken from members alone, carries nothing else, and
// goes to the incarnation that it was meant for. Bytes that no replica could read would
// stop the group that they are for.
func TestSteps(t *testing.T) {
	seal := shardmap.StepCommand(shardmap.CommandSeal, []shardmap.Step{{Slot: 5, Number: 9, Peer: 2}})
	body := wire.AppendWrite(nil, &seal)
	inSession := seal
	inSession.Session, inSession.Sequence = 1, 1
	write := wire.AppendWrite(nil, &shardmap.Command{Kind: shardmap.CommandSet, Items: keysOf("k", "v")})
	own := shardmap.OwnCommand(&shardmap.Own{Number: 3, Slots: []shardmap.SlotRange{{From: 0, To: 5}}})
	drain, err := shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobDrain, Node: 2})
	if err != nil {
		t.Fatal(err)
	}
	moves := []shardmap.NumberedRange{{SlotRange: shardmap.SlotRange{From: 5, To: 5}, Number: 9}}
	record, _ := shardmap.AppendMoveRecord(nil, &shardmap.MoveRecord{Moves: moves})
	closes, _ := shardmap.AppendMoveClose(nil, &shardmap.MoveClose{Moves: []shardmap.MoveEnd{{NumberedRange: moves[0], Why: shardmap.ClosedNotEmpty}}})
	cancel, _ := shardmap.AppendMoveCancel(nil, &shardmap.MoveCancel{Moves: moves})
	incident, _ := shardmap.AppendNoteIncident(nil, &shardmap.NoteIncident{Incident: shardmap.Incident{Node: 1}})
	broken := bytes.Clone(body)
	broken[len(broken)-1]++
	for _, c := range []struct {
		what   string
		step   wire.Step
		sender wire.Sender
		level  uint32
		want   wire.Code
	}{
		{"a seal by a member", wire.Step{Group: 1, Incarnation: 7, Command: body}, wire.SenderMember, shardmap.Level, 0},
		{"over a connection for snapshots", wire.Step{Group: 1, Incarnation: 7, Command: body}, wire.SenderBulk, shardmap.Level, wire.CodeUnauthorized},
		{"by a client", wire.Step{Group: 1, Incarnation: 7, Command: body}, wire.SenderClient, shardmap.Level, wire.CodeUnauthorized},
		{"by a host that joins", wire.Step{Group: 1, Incarnation: 7, Command: body}, wire.SenderJoiner, shardmap.Level, wire.CodeUnauthorized},
		{"for the group before it was made anew", wire.Step{Group: 1, Incarnation: 6, Command: body}, wire.SenderMember, shardmap.Level, wire.CodeNotReady},
		{"for a group that is not there", wire.Step{Group: 2, Incarnation: 7, Command: body}, wire.SenderMember, shardmap.Level, wire.CodeNotReady},
		{"below the level", wire.Step{Group: 1, Incarnation: 7, Command: body}, wire.SenderMember, 3, wire.CodeLevel},
		{"with a session", wire.Step{Group: 1, Incarnation: 7, Command: wire.AppendWrite(nil, &inSession)}, wire.SenderMember, shardmap.Level, wire.CodeBadRequest},
		{"with a wrong checksum", wire.Step{Group: 1, Incarnation: 7, Command: broken}, wire.SenderMember, shardmap.Level, wire.CodeBadRequest},
		{"a set", wire.Step{Group: 1, Incarnation: 7, Command: write}, wire.SenderMember, shardmap.Level, wire.CodeUnauthorized},
		{"an own", wire.Step{Group: 1, Incarnation: 7, Command: wire.AppendWrite(nil, &own)}, wire.SenderMember, shardmap.Level, wire.CodeUnauthorized},
		{"a seal for the meta group", wire.Step{Group: 0, Incarnation: 1, Command: body}, wire.SenderMember, shardmap.Level, wire.CodeLevel},
		{"a record", wire.Step{Group: 0, Incarnation: 1, Command: record}, wire.SenderMember, shardmap.Level, 0},
		{"a close", wire.Step{Group: 0, Incarnation: 1, Command: closes}, wire.SenderMember, shardmap.Level, 0},
		{"a cancel of one whose slot is not empty", wire.Step{Group: 0, Incarnation: 1, Command: cancel}, wire.SenderMember, shardmap.Level, 0},
		{"a replica that differs", wire.Step{Group: 0, Incarnation: 1, Command: incident}, wire.SenderMember, shardmap.Level, 0},
		{"a replica that differs, by a client", wire.Step{Group: 0, Incarnation: 1, Command: incident}, wire.SenderClient, shardmap.Level, wire.CodeUnauthorized},
		{"a replica that differs, below the level", wire.Step{Group: 0, Incarnation: 1, Command: incident}, wire.SenderMember, shardmap.AuditLevel - 1, wire.CodeLevel},
		{"an order for the meta group", wire.Step{Group: 0, Incarnation: 1, Command: drain}, wire.SenderMember, shardmap.Level, wire.CodeUnauthorized},
		{"nothing for the meta group", wire.Step{Group: 0, Incarnation: 1, Command: []byte{0xc1}}, wire.SenderMember, shardmap.Level, wire.CodeBadRequest},
	} {
		q := newRequests(t)
		q.table.Level = c.level
		q.table.Groups = []shardmap.TableGroup{{ID: 1, Incarnation: 7}}
		q.table.Meta.Incarnation = 1
		q.Step(wire.Header{Type: wire.TypeStep, Deadline: 100, Request: 7}, c.step.Append(nil), repl.Reply{To: &q.asker, Request: 7}, c.sender, q.table, machine.Now{})
		got := wire.Code(0)
		if len(q.asker.types) > 0 {
			_, _, e := q.asker.answer(t)
			got = e.Code
		}
		if proposed := len(q.Proposals()) == 1; got != c.want || proposed != (c.want == 0) {
			t.Errorf("%s: %s, proposed: %t; want code %s", c.what, got, proposed, c.want)
		}
	}
}

// arrive has a machine of group 2 take over a slot that q has sealed, by the move number.
func (q *requests) arrive(t *testing.T, to *requests, slot shardmap.Slot, number uint64) {
	t.Helper()
	from := q.state.State.View(slot)
	c, held := q.state.State.CopyToMove(slot)
	if !held {
		t.Fatal("there is no copy of the sealed slot")
	}
	defer c.Release()
	diff, chunks := shardmap.NewDiff(nil, c), uint64(0)
	for more := true; more; chunks++ {
		content, rest, err := diff.Next(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		more = rest
		command := shardmap.ChunkCommand([]shardmap.Piece{{Slot: slot, Number: number, Source: q.state.Group, Attempt: shardmap.Attempt{Term: 1, Number: 1}, Index: chunks, To: from.Sealed, More: more, Content: content}})
		to.index++
		typ, body, err := to.state.Apply(payloadEntry(to.index, raft.EntryNormal, wire.AppendWrite(new(wire.Origin).Append(nil), &command)), true, nil)
		var a wire.StepAnswer
		if err != nil || typ != wire.TypeStepAnswer || a.Read(body) != nil || a.Results[0].Outcome != shardmap.StepDone {
			t.Fatalf("a chunk is answered with %s %+v, %v", typ, a, err)
		}
	}
	to.done(t, shardmap.CommandTakeover, shardmap.Step{Slot: slot, Number: number, Peer: q.state.Group, At: from.Sealed, Time: from.SealTime, Chunks: chunks, Digest: from.Digest})
}

// A log id of a former owner is met once the slot has come from there: a local read waits
// for that on a copy that is behind, and a linearizable one need not. What has arrived is
// asked for where it is, before the table says so, and so is what a client is told.
func TestAfterAFormerOwner(t *testing.T) {
	q, to := newRequests(t), newRequests(t)
	slot := shardmap.SlotOf([]byte("k1"))
	to.state = machine.NewMap(replicaOf(2, 0), noTable)
	to.state.Routes, to.index = new(machine.Routes), 0
	to.Routes = to.state.Routes
	to.table.Groups = append(to.table.Groups, shardmap.TableGroup{ID: 2})
	q.done(t, shardmap.CommandSeal, shardmap.Step{Slot: slot, Number: 9, Peer: 2})
	sealed := q.state.State.View(slot).Sealed
	get := func(mode wire.ReadMode, g raft.GroupID, id raft.LogID) (late, answered *wire.Error) {
		to.table.Slots[slot] = 2 // the node that has the copy has a newer table than its log is old
		defer func() { to.table.Slots[slot] = 1 }()
		return to.ask(t, wire.TypeGet, &wire.Get{Mode: mode, AfterGroup: g, After: id, Keys: keysOf("k1")})
	}
	if late, e := get(wire.ReadLocal, 1, sealed); late == nil || late.Code != wire.CodeUnavailable || !strings.Contains(late.State, "g1/") {
		t.Errorf("before it has arrived: late %v, answered %v", late, e)
	}
	decided := to.state.Decided()
	q.arrive(t, to, slot, 9)
	if to.state.Decided() == decided {
		t.Error("what waits is not looked at behind the takeover")
	}
	if g := to.Routes.GroupOf(to.table, slot); g != 2 {
		t.Errorf("it has arrived, and asked for is group %d", g)
	}
	for _, c := range []struct {
		what  string
		mode  wire.ReadMode
		group raft.GroupID
		id    raft.LogID
		waits bool
	}{
		{"local, at the seal", wire.ReadLocal, 1, sealed, false},
		{"local, at an entry before it", wire.ReadLocal, 1, raft.LogID{Term: 1, Index: 2}, false},
		{"local, behind the seal", wire.ReadLocal, 1, raft.LogID{Term: 1, Index: sealed.Index + 1}, true},
		{"local, of a group that never had it", wire.ReadLocal, 3, sealed, true},
		{"linearizable, behind the seal", wire.ReadLinearizable, 1, raft.LogID{Term: 1, Index: sealed.Index + 1}, false},
		{"local, of its own group", wire.ReadLocal, 2, raft.LogID{Term: 1, Index: 1}, false},
	} {
		if late, e := get(c.mode, c.group, c.id); (late != nil) != c.waits || e != nil {
			t.Errorf("%s: late %v, answered %v; want it to wait: %t", c.what, late, e, c.waits)
		}
	}
}

// A local read after a log id of the slot's new owner may come to a node that has yet to
// hear that the slot went there. It waits at the old owner's copy until that is known, and
// is sent on then.
func TestAfterANewOwner(t *testing.T) {
	q := newRequests(t)
	q.state.Routes = new(machine.Routes)
	q.Routes = q.state.Routes
	slot := shardmap.SlotOf([]byte("k1"))
	q.take(wire.TypeGet, (&wire.Get{Mode: wire.ReadLocal, AfterGroup: 2, After: raft.LogID{Term: 1, Index: 5}, Keys: keysOf("k1")}).Append(nil))
	query := q.Reads()[0].Query
	if q.state.DeferQuery(query) == nil {
		t.Error("it does not wait at a copy that has the slot")
	}
	q.done(t, shardmap.CommandSeal, shardmap.Step{Slot: slot, Number: 9, Peer: 2})
	if q.state.DeferQuery(query) == nil {
		t.Error("it does not wait while the slot is sealed")
	}
	decided := q.state.Decided()
	q.done(t, shardmap.CommandDrop, shardmap.Step{Slot: slot, Number: 9})
	if q.state.Decided() == decided {
		t.Error("it is not looked at when the slot has gone")
	}
	if late := q.state.DeferQuery(query); late != nil {
		t.Fatalf("it still waits: %v", late)
	}
	q.run()
	if _, _, e := q.asker.answer(t); e == nil || e.Code != wire.CodeMoved || e.Group != 2 {
		t.Errorf("it is answered with %v", e)
	}
}

// A view of slots is what the steps of moves go by, so it comes from the group's log, and
// costs what it counts; whoever can't take it gets nothing made.
func TestSlotViews(t *testing.T) {
	q := newRequests(t)
	slot := shardmap.SlotOf([]byte("k1"))
	q.done(t, shardmap.CommandSeal, shardmap.Step{Slot: slot, Number: 9, Peer: 2})
	runs := []shardmap.SlotRange{{From: slot, To: slot + 1}}
	if q.foreign < slot {
		runs = append([]shardmap.SlotRange{{From: q.foreign, To: q.foreign}}, runs...)
	} else {
		runs = append(runs, shardmap.SlotRange{From: q.foreign, To: q.foreign})
	}
	view := &wire.SlotView{Group: 1, Slots: runs}
	q.take(wire.TypeSlotView, view.Append(nil))
	if r := q.Reads(); len(r) != 1 || r[0].Local || r[0].AnyReplica || r[0].Group != 1 || r[0].Deadline == 0 {
		t.Fatalf("a view is read by %+v", r)
	}
	q.run()
	typ, body, e := q.asker.answer(t)
	var a wire.SlotViewAnswer
	if e != nil || typ != wire.TypeSlotViewAnswer || a.Read(body) != nil || a.Group != 1 || a.At.Index != q.index || len(a.Rows) != 3 {
		t.Fatalf("a view is answered with %s %+v, %v", typ, a, e)
	}
	for _, v := range a.Rows {
		want := q.state.State.View(v.Slot)
		if fmt.Sprint(v) != fmt.Sprint(want) || (v.Slot == slot) != (v.Holding == shardmap.HoldsSealed && v.Keys == 1 && v.Bytes > 0) || (v.Slot == q.foreign) != (v.Holding == shardmap.HoldsNothing) {
			t.Errorf("slot %d: got %+v, want %+v", v.Slot, v, want)
		}
	}
	q.asker.room = 10
	q.take(wire.TypeSlotView, view.Append(nil))
	q.run()
	if _, _, e := q.asker.answer(t); e == nil || e.Code != wire.CodeBusy {
		t.Errorf("without room: %v", e)
	}
	for group, want := range map[raft.GroupID]wire.Code{0: wire.CodeBadRequest, 7: wire.CodeMoved} {
		q.take(wire.TypeSlotView, (&wire.SlotView{Group: group, Slots: runs}).Append(nil))
		if _, _, e := q.asker.answer(t); e == nil || e.Code != want || len(q.Reads()) != 0 {
			t.Errorf("of group %d: %v, want %s", group, e, want)
		}
	}
}

// A user who does not look after the cluster is told where slots are, and nothing of the keys in them. Nodes ask for
// themselves, and are told all: moves go by it.
func TestSlotViewsOfAUser(t *testing.T) {
	const trusted, stranger = 7, 8
	q := newRequests(t)
	slot := shardmap.SlotOf([]byte("k1"))
	q.done(t, shardmap.CommandSeal, shardmap.Step{Slot: slot, Number: 9, Peer: 2})
	full := q.state.State.View(slot)
	if full.Keys == 0 || full.Bytes == 0 || full.Digest == 0 {
		t.Fatalf("the view tells nothing of keys: %+v", full)
	}
	q.Counts = func(p shardmap.Principal) bool { return p == trusted }
	body := (&wire.SlotView{Group: 1, Slots: []shardmap.SlotRange{{From: slot, To: slot}}}).Append(nil)
	for _, c := range []struct {
		of   shardmap.Principal
		want shardmap.SlotView
	}{{0, full}, {trusted, full}, {stranger, full.Bare()}} {
		q.Principal = c.of
		q.take(wire.TypeSlotView, body)
		q.run()
		var a wire.SlotViewAnswer
		typ, got, e := q.asker.answer(t)
		if e != nil || typ != wire.TypeSlotViewAnswer || a.Read(got) != nil || len(a.Rows) != 1 {
			t.Fatalf("principal %d: %s, %v", c.of, typ, e)
		}
		if fmt.Sprint(a.Rows[0]) != fmt.Sprint(c.want) {
			t.Errorf("principal %d: got %+v, want %+v", c.of, a.Rows[0], c.want)
		}
	}
}

// What ends a move, or frees room, goes on while disks are full; what takes room does not:
// the source goes on serving the slot meanwhile.
func TestStepsOnAFullDisk(t *testing.T) {
	m := machine.NewMap(replicaOf(1, 0), noTable)
	for k := shardmap.CommandKind(1); k.Row() != nil; k++ {
		if !k.Moves() {
			continue
		}
		c := shardmap.ChunkCommand([]shardmap.Piece{{Slot: 5, Number: 9, Source: 2, To: raft.LogID{Term: 1, Index: 1}, More: true}})
		if k != shardmap.CommandChunk {
			c = shardmap.StepCommand(k, []shardmap.Step{{Slot: 5, Number: 9}})
		}
		payload := wire.AppendWrite(new(wire.Origin).Append(nil), &c)
		if got := m.Thrifty(payload); got != (k != shardmap.CommandChunk) {
			t.Errorf("%s is taken while disks are full: %t", k, got)
		}
	}
	for _, k := range []shardmap.TableCommandKind{shardmap.TableMoveRecord, shardmap.TableMoveClose, shardmap.TableMoveCancel} {
		if !k.Row().Frees {
			t.Errorf("%s is refused while disks are full", k.Row().Name)
		}
	}
}
