package wire_test

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// A move is carried on by what these bodies say, by whoever leads the source then: a
// field that is lost or taken for another would have it do what nobody decided.
func TestStepsAndViewsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		view := func(name string) (v shardmap.SlotView) {
			drawn(t, name, reflect.ValueOf(&v).Elem())
			v.Slot, v.Holding = v.Slot%shardmap.Slots, v.Holding%3
			v.Target, v.Import.Source = v.Target%(raft.GroupMax+1), v.Import.Source%(raft.GroupMax+1)
			if v.Import.Number == 0 { // there is none
				v.Import = shardmap.ImportView{}
			}
			for i := range v.Decisions {
				v.Decisions[i].Source %= raft.GroupMax + 1
			}
			if len(v.Decisions) == 0 {
				v.Decisions = nil
			}
			return v
		}
		check := func(b, back wire.Body) {
			if err := back.Read(b.Append(nil)); err != nil || !reflect.DeepEqual(back, b) {
				t.Fatalf("got %+v, %v, want %+v", back, err, b)
			}
		}
		n := rapid.SliceOfN(rapid.Uint64(), 4, 4).Draw(t, "numbers")
		g, id := raft.GroupID(n[0]%uint64(raft.GroupMax+1)), raft.LogID{Term: n[1], Index: n[2]}
		check(&wire.Step{Group: g, Incarnation: raft.Incarnation(n[3]), Command: rapid.SliceOfN(rapid.Byte(), 1, 99).Draw(t, "command")}, new(wire.Step))
		step := &wire.StepAnswer{Group: g, ID: id}
		rows := &wire.SlotViewAnswer{Group: g, At: id, Time: raft.GroupTime(n[3])}
		for range rapid.IntRange(0, 3).Draw(t, "slots") {
			step.Results = append(step.Results, shardmap.StepResult{Outcome: shardmap.StepOutcome(n[3] & 0xff), View: view("result")})
			rows.Rows = append(rows.Rows, view("row"))
		}
		check(step, new(wire.StepAnswer))
		check(rows, new(wire.SlotViewAnswer))
	})
}

// What a view may ask of the goroutine that serves all groups is bounded before it gets
// there.
func TestSlotViewIsBounded(t *testing.T) {
	run := func(from, to shardmap.Slot) shardmap.SlotRange { return shardmap.SlotRange{From: from, To: to} }
	for _, c := range []struct {
		name  string
		slots []shardmap.SlotRange
		group raft.GroupID
		ok    bool
	}{
		{"one slot", []shardmap.SlotRange{run(4095, 4095)}, 3, true},
		{"as many as may be", []shardmap.SlotRange{run(0, 1), run(3, 1024)}, 3, true},
		{"one more", []shardmap.SlotRange{run(0, 1), run(3, 1025)}, 3, false},
		{"none", nil, 3, false},
		{"one twice", []shardmap.SlotRange{run(0, 3), run(3, 4)}, 3, false},
		{"out of order", []shardmap.SlotRange{run(5, 6), run(0, 1)}, 3, false},
		{"backwards", []shardmap.SlotRange{run(6, 5)}, 3, false},
		{"beyond the last", []shardmap.SlotRange{run(4095, 4096)}, 3, false},
		{"of no group that can be", []shardmap.SlotRange{run(0, 1)}, raft.GroupMax + 1, false},
	} {
		b := (&wire.SlotView{Group: c.group, Slots: c.slots}).Append(nil)
		if err := new(wire.SlotView).Read(b); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want it read: %t", c.name, err, c.ok)
		}
	}
}
