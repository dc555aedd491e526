package logstore

import (
	"log/slog"
	"testing"

	"muster/raft"
)

func testFaults() (*faults, *index) {
	x := &index{replicas: map[Replica]*replica{}, graves: map[raft.GroupID]grave{}}
	x.segments = []*segment{{number: 1, name: segmentName(1)}}
	return &faults{log: slog.New(slog.DiscardHandler), index: x}, x
}

// What the disk refuses becomes damage at the third look and not before, is over
// once it is returned, and begins anew then. One would doubt it: the same record is
// met by readers, by the scrub and by LookAgain.
func TestRefusedBecomesDamage(t *testing.T) {
	f, x := testFaults()
	p := x.add(testReplica(1))
	at := place{1, segmentHeader, 100}
	x.take(&record{kind: kindEntries, replica: p, first: 1, term: 1, count: 3}, at)
	n := finding{replica: p.id, kind: kindEntries, run: p.runs[0], at: at, damage: Damage{File: "f", Reason: "refused"}}
	for range 2 {
		for look := 1; look <= refusedLooks; look++ {
			if got, want := f.refuse(n), look == refusedLooks; got != want {
				t.Fatalf("look %d: damage %v, want %v", look, got, want)
			}
			d, lost := f.lossNow(p.id)
			if lost != (look == refusedLooks) || lost && (len(d.Lost) != 1 || d.Lost[0] != Span{1, 3, 1} || !d.Where.Refused) {
				t.Fatalf("look %d: lost %v, %+v", look, lost, d)
			}
		}
		f.isBack(at)
		if d, lost := f.lossNow(p.id); lost || f.some.Load() {
			t.Fatalf("after it was returned: %+v", d)
		}
	}
}

// Damage is noted once for a record, shows at once, and is handed over once. One
// would doubt it: it shows from two places, here until the goroutine of Append has
// taken it over, and in the index after that.
func TestDamageIsHandedOverOnce(t *testing.T) {
	f, x := testFaults()
	p := x.add(testReplica(1))
	at := place{1, segmentHeader, 100}
	x.take(&record{kind: kindEntries, replica: p, first: 1, term: 1, count: 3}, at)
	n := finding{replica: p.id, kind: kindEntries, run: p.runs[0], at: at, damage: Damage{File: "f", Reason: "rotten"}}
	f.find(n)
	f.find(n)
	if d, lost := f.lossNow(p.id); !lost || len(d.Lost) != 1 || d.Where.Reason != "rotten" {
		t.Errorf("before it was handed over: %v %+v", lost, d)
	}
	if all := f.adopt(); len(all) != 1 {
		t.Errorf("handed over: %d, want 1", len(all))
	}
	if all := f.adopt(); len(all) != 0 {
		t.Errorf("handed over again: %d", len(all))
	}
}

// What the disk returned of a start's losses is handed out in pieces, each once, and
// none of more than a bound and one entry.
func TestReturnedInPieces(t *testing.T) {
	f, _ := testFaults()
	id := testReplica(1)
	all := span(id, 1, 1, 40, 100<<10)
	f.keepBack([]Write{{Replica: id, Mended: all}})
	var got []raft.Entry
	for {
		piece := f.handOut(id)
		if len(piece) == 0 {
			break
		}
		bytes := 0
		for _, e := range piece {
			bytes += len(e.Raw)
		}
		if last := len(piece[len(piece)-1].Raw); bytes-last >= returnedBytesMax {
			t.Errorf("a piece of %d bytes", bytes)
		}
		got = append(got, piece...)
	}
	sameEntries(t, got, all)
}
