package wire_test

import (
	"bytes"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"muster/raft"
	"muster/repl/wire"
)

// repairAnswerMirror is how a library lays the body out.
type repairAnswerMirror struct {
	Start, Number, Group, Incarnation uint64
	Base, Last                        struct{ Term, Index uint64 }
	Commit, Snapshot, Count           uint64
	Raw                               []byte
}

// An answer means the same after the wire as before it. Its entries have gaps,
// where those of an append have none.
func TestRepairAnswersComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SliceOfN(rapid.Uint64(), 10, 10).Draw(t, "numbers")
		a := wire.RepairAnswer{Start: n[0], Number: n[1], Group: raft.GroupID(n[2] % 10000), Incarnation: raft.Incarnation(n[3]),
			Base: raft.LogID{Term: n[4], Index: n[5]}, Last: raft.LogID{Term: n[6], Index: n[7]}, Commit: n[8], Snapshot: n[9]}
		m := repairAnswerMirror{Start: n[0], Number: n[1], Group: uint64(a.Group), Incarnation: n[3], Commit: n[8], Snapshot: n[9], Raw: []byte{}}
		m.Base.Term, m.Base.Index, m.Last.Term, m.Last.Index = n[4], n[5], n[6], n[7]
		index := n[5] % 1000
		for range rapid.IntRange(0, 5).Draw(t, "entries") {
			index += 1 + rapid.Uint64Range(0, 9).Draw(t, "gap")
			e := entry(a.Group, a.Incarnation, raft.LogID{Term: n[4], Index: index}, rapid.SliceOf(rapid.Byte()).Draw(t, "payload"))
			a.Entries = append(a.Entries, e)
			m.Raw = append(m.Raw, e.Raw...)
		}
		m.Count = uint64(len(a.Entries))
		mine := a.Append(nil)
		if theirs := library(t, &m); !bytes.Equal(mine, theirs) {
			t.Fatalf("got  % x\nwant % x", mine, theirs)
		}
		var back wire.RepairAnswer
		if err := back.Read(mine); err != nil || !reflect.DeepEqual(back, a) {
			t.Fatalf("got %+v, %v, want %+v", back, err, a)
		}
	})
}

// What an answer brings goes into a log. An entry that was changed, is another
// group's, or stands before the one that it follows must not get that far.
func TestBadRepairs(t *testing.T) {
	first := entry(3, 2, raft.LogID{Term: 7, Index: 9}, []byte("payload"))
	second := entry(3, 2, raft.LogID{Term: 7, Index: 12}, []byte("payload"))
	answer := func(group raft.GroupID, entries ...raft.Entry) []byte {
		return (&wire.RepairAnswer{Group: group, Incarnation: 2, Entries: entries}).Append(nil)
	}
	good := answer(3, first, second)
	for _, c := range []struct {
		name string
		body []byte
		ok   bool
	}{
		{"two entries with a gap", good, true},
		{"payload changed", flipped(good, len(good)-1), false},
		{"another group", answer(4, first), false},
		{"out of order", answer(3, second, first), false},
		{"twice", answer(3, first, first), false},
	} {
		if err := new(wire.RepairAnswer).Read(c.body); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want ok %t", c.name, err, c.ok)
		}
	}
	many := make([]wire.RepairSpan, wire.RepairSpansMax+1)
	for i := range many {
		many[i] = wire.RepairSpan{First: uint64(2*i + 1), Last: uint64(2*i + 1)}
	}
	for _, c := range []struct {
		name   string
		wanted []wire.RepairSpan
		ok     bool
	}{
		{"most spans", many[1:], true},
		{"a span more", many, false},
		{"index 0", []wire.RepairSpan{{First: 0, Last: 3}}, false},
		{"last before first", []wire.RepairSpan{{First: 4, Last: 3}}, false},
		{"overlapping", []wire.RepairSpan{{First: 4, Last: 6}, {First: 6, Last: 7}}, false},
		{"backwards", []wire.RepairSpan{{First: 4, Last: 6}, {First: 1, Last: 2}}, false},
	} {
		if err := new(wire.Repair).Read((&wire.Repair{Wanted: c.wanted}).Append(nil)); (err == nil) != c.ok {
			t.Errorf("%s: got %v, want ok %t", c.name, err, c.ok)
		}
	}
}
