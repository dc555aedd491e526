package rescue

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"muster/logstore"
	"muster/raft"
	"muster/repl/machine"
	"muster/repl/mover"
	"muster/repl/wire"
	"muster/shardmap"
)

// A world in which one slot of group 1, that of key 1, moves to group 2. Entry 3 of group
// 0 began the move.
const moveNumber = 3

func moveSlot() shardmap.Slot { return shardmap.SlotOf(keyOf(1, 1)) }

func payloadOf(c shardmap.Command) []byte {
	return wire.AppendWrite(new(wire.Origin).Append(nil), &c)
}

func metaPayload(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return append(new(wire.Origin).Append(nil), b...)
}

// moveScript is what the logs get as the slot moves.
type moveScript struct {
	begun, recorded, closed [][]byte // of group 0; each has the ones before
	seal, drop, unseal      []byte   // of group 1
	chunk, takeover, refuse []byte   // of group 2
}

// scriptOf makes what moves the slot as it is behind so many entries of group 1.
func scriptOf(t testing.TB, entries int) (s moveScript) {
	t.Helper()
	slot := moveSlot()
	run := shardmap.SlotRange{From: slot, To: slot}
	one := []shardmap.NumberedRange{{SlotRange: run, Number: moveNumber}}
	s.begun = [][]byte{
		metaPayload(shardmap.AppendNewJob(nil, &shardmap.NewJob{Kind: shardmap.JobMove, Targets: []shardmap.SlotTarget{{SlotRange: run, To: 2}}})),
		metaPayload(shardmap.AppendMoveBegin(nil, &shardmap.MoveBegin{Job: 2, Slots: []shardmap.SlotRange{run}, To: 2})),
	}
	s.recorded = append(slices.Clip(s.begun), metaPayload(shardmap.AppendMoveRecord(nil, &shardmap.MoveRecord{Moves: one})))
	s.closed = append(slices.Clip(s.recorded), metaPayload(shardmap.AppendMoveClose(nil, &shardmap.MoveClose{Moves: []shardmap.MoveEnd{{NumberedRange: one[0], Taken: true, Why: shardmap.ClosedTaken}}})))
	step := func(k shardmap.CommandKind, peer raft.GroupID) []byte {
		return payloadOf(shardmap.StepCommand(k, []shardmap.Step{{Slot: slot, Number: moveNumber, Peer: peer}}))
	}
	s.seal, s.drop, s.unseal = step(shardmap.CommandSeal, 2), step(shardmap.CommandDrop, 0), step(shardmap.CommandUnseal, 0)
	s.refuse = step(shardmap.CommandRefuse, 1)

	// The source as it is sealed says what the target has to take.
	r := logstore.Replica{Group: 1, Incarnation: 1, ID: 1}
	source := newMachine(r).(*machine.Map)
	for _, e := range (log{entries: entries, more: map[raft.GroupID][][]byte{1: {s.seal}}}).of(r) {
		_, _, err := source.Apply(e, false, nil)
		must(t, err)
	}
	v := source.State.View(slot)
	copied, held := source.State.CopyToMove(slot)
	if v.Holding != shardmap.HoldsSealed || !held {
		t.Fatalf("the slot is %s", v.Holding)
	}
	defer copied.Release()
	content, more, err := shardmap.NewDiff(nil, copied).Next(shardmap.ChunkSize)
	if err != nil || more {
		t.Fatal(more, err)
	}
	s.chunk = payloadOf(shardmap.ChunkCommand([]shardmap.Piece{{Slot: slot, Number: moveNumber, Source: 1, Attempt: shardmap.Attempt{Term: 1, Number: 1}, To: v.Sealed, Content: content}}))
	s.takeover = payloadOf(shardmap.StepCommand(shardmap.CommandTakeover, []shardmap.Step{{Slot: slot, Number: moveNumber, Peer: 1, At: v.Sealed, Time: v.SealTime, Chunks: 1, Digest: v.Digest}}))
	return s
}

// settled is what becomes of the slot after a plan, on the disks of the survivors.
type settled struct {
	plan  *Plan
	table *shardmap.Table
	maps  map[raft.GroupID]*machine.Map // of the nodes whose logs count
	move  shardmap.Move
	moves bool // there is such a move
}

// settleWorld recovers a world, twice on each disk.
func settleWorld(t testing.TB, logs map[int]log) settled {
	t.Helper()
	w := newWorld(t, logs)
	p := w.plan(Options{})
	x := settled{plan: p, maps: map[raft.GroupID]*machine.Map{}}
	for _, n := range w.survivors() {
		must(t, w.apply(n, p))
		must(t, w.apply(n, p))
		r, err := open(w.nodes[n])
		must(t, err)
		x.table = r.table
		for id, m := range r.maps {
			g := group(p, id)
			if g.Action == Renew && g.Source != ID(nodeID(n)) {
				continue
			}
			x.maps[id] = m
		}
	}
	for _, m := range x.table.Moves {
		if m.Has(moveSlot()) {
			x.move, x.moves = m, true
		}
	}
	return x
}

// goOn carries the move to its end, as whoever runs it would, and returns the steps. At
// each moment no two groups may serve the slot.
func (x *settled) goOn(t testing.TB, s moveScript) (steps []string) {
	t.Helper()
	slot := moveSlot()
	at := map[raft.GroupID]raft.LogID{1: {Term: 99, Index: 1 << 60}, 2: {Term: 99, Index: 1 << 60}}
	for range 10 {
		a, b := x.maps[1].State.View(slot), x.maps[2].State.View(slot)
		if a.Holding == shardmap.HoldsOwned && b.Holding == shardmap.HoldsOwned {
			t.Errorf("after %v both groups serve the slot", steps)
		}
		if !x.moves {
			return steps
		}
		next := mover.Next(&x.move, &a, &b)
		apply := func(g raft.GroupID, payload []byte) {
			id := at[g]
			id.Index++
			at[g] = id
			_, _, err := x.maps[g].Apply(raft.SealedEntry(1, id, 1<<40, raft.EntryNormal, payload), false, nil)
			must(t, err)
		}
		switch {
		case next.Has(mover.Close):
			steps, x.moves = append(steps, "close"), false
		case next.Has(mover.Record):
			steps, x.move.State = append(steps, "record"), shardmap.MoveTaken
		case next.Has(mover.Drop):
			steps = append(steps, "drop")
			apply(1, s.drop)
		case next.Has(mover.Unseal):
			steps = append(steps, "unseal")
			apply(1, s.unseal)
		case next.Has(mover.Refuse):
			steps = append(steps, "refuse")
			apply(2, s.refuse)
		default:
			return append(steps, next.String())
		}
	}
	return steps
}

// A group that begins anew may have lost what it had committed about a slot that was
// moving, and so may the meta group. Whatever was lost, the slot must be served by one
// group in the end, by none before it is clear which, and where it was taken over it must
// be that group: it has the newest writes. A slot that is nowhere is a person's.
//
// Group 1 is kept if three of its five voters survive, group 2 if two of n1 to n3 do.
func TestSlotsThatMoved(t *testing.T) { slotsThatMoved(t) }

func slotsThatMoved(t testing.TB) {
	t.Helper()
	const entries = 10
	s := scriptOf(t, entries)
	with := func(meta, source, target [][]byte) log {
		return log{entries: entries, commit: entries, trusting: true, more: map[raft.GroupID][][]byte{0: meta, 1: source, 2: target}}
	}
	some := func(payloads ...[]byte) [][]byte { return payloads }
	both := func(l log) map[int]log { return map[int]log{1: l, 2: l} }        // group 1 begins anew, group 2 is kept
	three := func(l log) map[int]log { return map[int]log{3: l, 4: l, 5: l} } // the other way round
	one := func(l log) map[int]log { return map[int]log{3: l} }               // both begin anew
	tail := func(a, b log) map[int]log { return map[int]log{1: a, 2: b} }     // as both, one log longer
	for _, c := range []struct {
		name  string
		logs  map[int]log
		steps string // that follow the recovery
		owner raft.GroupID
		says  string // of the plan
	}{
		{"begun, nothing lost", three(with(s.begun, nil, nil)), "chunk seal", 1, ""},
		{"begun, the source may have lost a seal", both(with(s.begun, nil, nil)), "refuse, unseal, close", 1, "seal"},
		{"a copy was there", both(with(s.begun, nil, some(s.chunk))), "refuse, unseal, close", 1, "seal"},
		{"the beginning is lost, a copy is there", both(with(nil, nil, some(s.chunk))), "refuse, unseal, close", 1, "seal"},
		{"seal lost, taken over", both(with(s.begun, nil, some(s.chunk, s.takeover))), "record, drop, close", 2, "seal"},
		{"seal lost, taken over by one", tail(with(s.begun, nil, some(s.chunk)), with(s.begun, nil, some(s.chunk, s.takeover))), "record, drop, close", 2, "seal"},
		{"seal lost, taken over, the beginning lost too", both(with(nil, nil, some(s.chunk, s.takeover))), "record, drop, close", 2, "seal"},
		{"seal lost, recorded", both(with(s.recorded, nil, some(s.chunk, s.takeover))), "close", 2, "seal drop"},
		{"seal lost, closed", both(with(s.closed, nil, some(s.chunk, s.takeover))), "", 2, "seal drop"},
		{"seal lost, both begin anew", one(with(s.begun, nil, some(s.chunk, s.takeover))), "record, close", 2, "seal drop"},
		{"sealed, and the target begins anew", three(with(s.begun, some(s.seal), nil)), "chunk", 0, ""},
		{"takeover lost, recorded", three(with(s.recorded, some(s.seal), nil)), "chunk", 0, ""},
		{"takeover lost, the beginning too", three(with(nil, some(s.seal), nil)), "refuse, unseal, close", 1, ""},
		{"drop lost", both(with(s.recorded, some(s.seal), some(s.chunk, s.takeover))), "drop, close", 2, ""},
		{"refused, unseal lost", both(with(s.begun, some(s.seal), some(s.refuse))), "unseal, close", 1, ""},
		{"takeover lost after the drop", three(with(s.recorded, some(s.seal, s.drop), nil)), "", 0, "nobody"},
		{"drop lost, not recorded", both(with(s.begun, some(s.seal), some(s.chunk, s.takeover))), "record, drop, close", 2, ""},
		{"drop lost, the beginning too", both(with(nil, some(s.seal), some(s.chunk, s.takeover))), "record, drop, close", 2, ""},
		{"drop lost, both begin anew", one(with(s.recorded, some(s.seal), some(s.chunk, s.takeover))), "drop, close", 2, ""},
		{"taken over and dropped", both(with(s.begun, some(s.seal, s.drop), some(s.chunk, s.takeover))), "record, close", 2, ""},
	} {
		x := settleWorld(t, c.logs)
		var says []string
		for i := range x.plan.Groups {
			for _, step := range x.plan.Groups[i].Steps {
				if step.Slot != moveSlot() || step.Number != moveNumber {
					t.Errorf("%s: a step about another slot: %+v", c.name, step)
				}
				says = append(says, step.Step)
			}
		}
		if want := moveSlot(); slices.Equal(x.plan.Nobody, []string{fmt.Sprintf("%d-%d", want, want)}) {
			says = append(says, "nobody")
		} else if len(x.plan.Nobody)+len(x.plan.Doubted) > 0 {
			t.Errorf("%s: nobody has %v, in doubt are %v", c.name, x.plan.Nobody, x.plan.Doubted)
		}
		if got := strings.Join(says, " "); got != c.says {
			t.Errorf("%s: the plan says %q, want %q", c.name, got, c.says)
		}
		if got := strings.Join(x.goOn(t, s), ", "); got != c.steps {
			t.Errorf("%s: then follow %q, want %q; the move is %+v", c.name, got, c.steps, x.move)
		}
		owner := raft.GroupID(0)
		for id, m := range x.maps {
			if m.State.View(moveSlot()).Holding == shardmap.HoldsOwned {
				owner = id
			}
		}
		if owner != c.owner {
			t.Errorf("%s: the slot is of %s, want %s", c.name, owner, c.owner)
		}
		if owner != 0 {
			if v, _, _ := x.maps[owner].State.Get(keyOf(1, 1), nil); string(v) != "value 1" {
				t.Errorf("%s: %s has %q", c.name, owner, v)
			}
		}
	}
}

// A group of which nothing is left begins without a key, with the slots that it had last: one
// that was founded with them has them no more, and must not take them back.
func TestMovedSlotOfLostGroup(t *testing.T) {
	s := scriptOf(t, 4)
	w := newWorld(t, map[int]log{4: {entries: 4, more: map[raft.GroupID][][]byte{0: s.closed, 1: {s.seal, s.drop}}}})
	p := w.plan(Options{DropLost: true})
	must(t, w.apply(4, p))
	r, err := open(w.nodes[4])
	must(t, err)
	slot := moveSlot()
	for id, want := range map[raft.GroupID]bool{1: false, 2: true} {
		row, _ := r.table.Group(id)
		if has := slices.ContainsFunc(row.FirstSlots, func(r shardmap.SlotRange) bool { return r.Has(slot) }); has != want {
			t.Errorf("%s begins with %v", id, row.FirstSlots)
		}
	}
	if g := group(p, 2); g.Action != Refound || r.table.Slots[slot] != 2 || len(p.Nobody) > 0 {
		t.Errorf("group 2: %s, slot %d of %s, nobody has %v", g.Action, slot, r.table.Slots[slot], p.Nobody)
	}
}

// A report of a build that says nothing of slots must not be taken for one of a node that
// has none.
func TestReportWithoutSlots(t *testing.T) {
	w := newWorld(t, map[int]log{1: {entries: 3}})
	reports := w.reports()
	reports[0].TellsSlots = false
	if _, err := Make(reports, Options{ID: 1}); !errors.Is(err, ErrNotNow) || !strings.Contains(err.Error(), "make it anew") {
		t.Errorf("got %v", err)
	}
}
