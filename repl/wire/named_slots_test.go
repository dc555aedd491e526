package wire_test

import (
	"bytes"
	"reflect"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// A listing that names no slots must be what it was before any could be named, for an
// older node reads it; one that names some must name them in order, each once.
func TestNamedSlots(t *testing.T) {
	run := func(from, to shardmap.Slot) shardmap.SlotRange { return shardmap.SlotRange{From: from, To: to} }
	for _, tt := range []struct {
		name  string
		slots []shardmap.SlotRange
		good  bool
	}{
		{"none", nil, true},
		{"all", []shardmap.SlotRange{run(0, shardmap.Slots-1)}, true},
		{"two runs", []shardmap.SlotRange{run(3, 3), run(5, 4095)}, true},
		{"beyond the last", []shardmap.SlotRange{run(0, shardmap.Slots)}, false},
		{"backwards", []shardmap.SlotRange{run(4, 3)}, false},
		{"out of order", []shardmap.SlotRange{run(5, 6), run(1, 2)}, false},
		{"twice", []shardmap.SlotRange{run(1, 5), run(5, 6)}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			list := &wire.List{Group: 3, Limit: 9, MaxBytes: 9, Slots: tt.slots}
			scan := &wire.Scan{Group: 3, PieceBytes: wire.StreamPieceMin, Slots: tt.slots}
			for _, x := range []struct {
				asked, back wire.Body
				fields      byte
			}{{list, new(wire.List), 10}, {scan, new(wire.Scan), 11}} {
				body := x.asked.Append(nil)
				if want := 0x90 + x.fields; tt.slots == nil && body[0] != want || tt.slots != nil && body[0] != want+1 {
					t.Errorf("%T begins with %x, want %d fields and one more for slots", x.asked, body[0], x.fields)
				}
				err := x.back.Read(body)
				if (err == nil) != tt.good {
					t.Errorf("%T: %v, want it taken: %t", x.asked, err, tt.good)
				}
				if a, ok := x.back.(*wire.List); ok && tt.good && !reflect.DeepEqual(a.Slots, tt.slots) {
					t.Errorf("got %v, want %v", a.Slots, tt.slots)
				}
				if a, ok := x.back.(*wire.Scan); ok && tt.good && !reflect.DeepEqual(a.Slots, tt.slots) {
					t.Errorf("got %v, want %v", a.Slots, tt.slots)
				}
				further := append(bytes.Clone(body), 7)
				further[0]++
				if tt.slots == nil {
					further = append(bytes.Clone(body), 0x90) // an empty list, where there is to be none
					further[0]++
				}
				if err := x.back.Read(further); err == nil {
					t.Errorf("%T with a further field is taken", x.asked)
				}
			}
		})
	}
}

// While a cluster is upgraded its nodes of the older build say less of where a slot went,
// and nothing of the level.
func TestOlderErrorAndTopology(t *testing.T) {
	e := &wire.Error{Code: wire.CodeMoved, Epoch: 7, Group: 3, Number: 9, Slot: 5}
	body := e.Append(nil)
	older := bytes.Clone(body[:len(body)-3])
	older[0] -= 3
	var back wire.Error
	if err := back.Read(older); err != nil || back.Epoch != 7 || back.Group != 0 || back.Number != 0 {
		t.Errorf("got %+v, %v", back, err)
	}
	if err := back.Read(body); err != nil || back != *e {
		t.Errorf("got %+v, %v; want %+v", back, err, e)
	}
	status := (&wire.StatusAnswer{Problems: []wire.Problem{{What: "w", Remedy: "r", Kind: wire.ProblemLeader, About: 9}}}).Append(nil)
	row := []byte{0x94, 0xa1, 'w', 0xa1, 'r', byte(wire.ProblemLeader), 9}
	var told wire.StatusAnswer
	if err := told.Read(status); err != nil || told.Problems[0].Kind != wire.ProblemLeader || !bytes.Contains(status, row) {
		t.Errorf("got %+v, %v", told.Problems, err)
	}
	older = bytes.Replace(status, row, []byte{0x92, 0xa1, 'w', 0xa1, 'r'}, 1)
	if err := told.Read(older); err != nil || told.Problems[0] != (wire.Problem{What: "w", Remedy: "r"}) {
		t.Errorf("a problem of an older build: %+v, %v", told.Problems, err)
	}
	topology := (&wire.TopologyAnswer{Epoch: 7, Index: 8, Level: 4}).Append(nil)
	older = bytes.Clone(topology[:len(topology)-1])
	older[0]--
	var a wire.TopologyAnswer
	if err := a.Read(older); err != nil || a.Index != 8 || a.Level != 0 {
		t.Errorf("got %+v, %v", a, err)
	}
	if e := wire.NotLeader(raft.GroupID(4), 1, "a:1"); e.Group != 4 {
		t.Errorf("not-leader is of group %s, want 4", e.Group)
	}
}
