package shardmap

import (
	"fmt"
	"testing"

	"muster/raft"
)

// sessionSlot is a map of one slot, and counts entries.
type sessionSlot struct {
	m     *Map
	slot  Slot
	index uint64
}

func newSessionSlot() *sessionSlot {
	slot := SlotOf([]byte("{s}"))
	return &sessionSlot{m: NewMap([]Slot{slot}), slot: slot}
}

func (s *sessionSlot) set(t testing.TB, now raft.GroupTime, session, sequence, floor uint64) Result {
	t.Helper()
	s.index++
	c := Command{Kind: CommandSet, Session: session, Sequence: sequence, Floor: floor, Slot: s.slot, Items: items("{s}k", "v")}
	return apply(t, s.m, s.index, now, &c)
}

// A client that heard nothing sends again, also after others have written, and
// also what failed: it must hear what it would have heard the first time. The
// key's own state can't tell, it has moved on.
func TestRetryGetsFirstOutcome(t *testing.T) {
	s := newSessionSlot()
	send := func(c Command) Result {
		s.index++
		c.Slot = s.slot
		return apply(t, s.m, s.index, 0, &c)
	}
	set := Command{Kind: CommandSet, Session: 1, Sequence: 1, Floor: 1, Condition: ConditionAbsent, Items: items("{s}k", "v")}
	conflict := Command{Kind: CommandSet, Session: 2, Sequence: 1, Floor: 1, Condition: ConditionAbsent, Items: items("{s}k", "w")}
	del := Command{Kind: CommandDel, Session: 1, Sequence: 2, Floor: 1, Items: items("{s}k", "{s}x")}
	first := []Result{send(set), send(conflict), send(del)}
	want := []Result{
		{Status: StatusApplied, ID: raft.LogID{Term: 1, Index: 1}, Version: 1},
		{Status: StatusConflict, ID: raft.LogID{Term: 1, Index: 2}, Current: 1},
		{Status: StatusApplied, ID: raft.LogID{Term: 1, Index: 3}, Version: 3, Deleted: 1},
	}
	second := []Result{send(set), send(conflict), send(del)}
	for i := range want {
		if first[i] != want[i] || second[i] != want[i] {
			t.Errorf("command %d: first %+v, second %+v, want %+v", i, first[i], second[i], want[i])
		}
	}
	if s.m.Len() != 0 {
		t.Error("a retry took effect")
	}
	// The same sequence of no session is a new command each time.
	if a, b := s.set(t, 0, 0, 0, 0), s.set(t, 0, 0, 0, 0); a.Version == b.Version {
		t.Errorf("without a session: %+v, %+v", a, b)
	}
}

// The floor says what need not be known any more. Below it the answer must be
// "stale", never a second effect: the entry may be a late copy.
func TestFloorForgets(t *testing.T) {
	s := newSessionSlot()
	for q := uint64(1); q <= 100; q++ {
		s.set(t, 0, 7, q, 1)
	}
	table := &s.m.slot(s.slot).sessions
	if table.outcomes != 100 {
		t.Fatalf("%d outcomes are kept, want 100", table.outcomes)
	}
	version := s.m.slot(s.slot).last
	s.set(t, 0, 7, 101, 90)
	if table.outcomes != 12 {
		t.Errorf("%d outcomes are kept, want 12", table.outcomes)
	}
	for q, want := range map[uint64]Status{1: StatusStale, 89: StatusStale, 90: StatusApplied} {
		if r := s.set(t, 0, 7, q, 1); r.Status != want || want == StatusApplied && r.ID.Index != q {
			t.Errorf("sequence %d: got %+v, want %s", q, r, want)
		}
	}
	if s.m.slot(s.slot).last != version+1 {
		t.Errorf("last version %d, want %d", s.m.slot(s.slot).last, version+1)
	}
}

// A session must be remembered for ten minutes of group time, however many
// others come; then it must go, or a slot would fill for ever.
func TestSessionsAreBounded(t *testing.T) {
	s := newSessionSlot()
	for id := uint64(1); id <= SlotSessionsMax; id++ {
		if r := s.set(t, raft.GroupTime(id), id, 0, 0); r.Status != StatusApplied {
			t.Fatalf("session %d: %+v", id, r)
		}
	}
	steps := []struct {
		what    string
		now     raft.GroupTime
		session uint64
		want    Status
	}{
		{"one too many", SlotSessionsMax, SlotSessionsMax + 1, StatusTooManySessions},
		{"no session", SlotSessionsMax, 0, StatusApplied},
		{"session 1 is still known", SessionKeep, 1, StatusApplied},
		{"at the last moment of session 2", SessionKeep + 2, SlotSessionsMax + 1, StatusTooManySessions},
		{"after it", SessionKeep + 3, SlotSessionsMax + 1, StatusApplied},
		{"and full again", SessionKeep + 3, SlotSessionsMax + 2, StatusTooManySessions},
	}
	for _, c := range steps {
		if r := s.set(t, c.now, c.session, 0, 0); r.Status != c.want {
			t.Errorf("%s: got %+v, want %s", c.what, r, c.want)
		}
	}
	table := &s.m.slot(s.slot).sessions
	if _, _, ok := table.find(2); ok || table.count != SlotSessionsMax {
		t.Errorf("session 2 is known: %v; %d sessions", ok, table.count)
	}
}

// One whole window in one slot, out of order, then sent again: all must be
// known, in reasonable time, and one more must be refused until the floor
// moves.
func TestOutcomesAreBounded(t *testing.T) {
	s := newSessionSlot()
	order := func(i uint64) uint64 { return i ^ 3 } // neighbours change places
	for i := range uint64(SlotOutcomesMax) {
		s.set(t, 0, 7, order(i), 0)
	}
	for i := range uint64(SlotOutcomesMax) {
		if r := s.set(t, 0, 7, order(i), 0); r.ID.Index != i+1 {
			t.Fatalf("sequence %d: got %+v, want index %d", order(i), r, i+1)
		}
	}
	if r := s.set(t, 0, 8, 1, 0); r.Status != StatusTooManySessions {
		t.Errorf("another session: %+v", r)
	}
	if r := s.set(t, 0, 7, SlotOutcomesMax, 1); r.Status != StatusApplied {
		t.Errorf("after the floor has moved by one: %+v", r)
	}
	for i := range uint64(SlotOutcomesMax) { // the window slides, one for one
		if r := s.set(t, 0, 7, SlotOutcomesMax+1+i, 2+i); r.Status != StatusApplied {
			t.Fatalf("sliding, %d: %+v", i, r)
		}
	}
	if got := cap(s.m.slot(s.slot).sessions.blocks[0].list[0].outcomes); got > 4*SlotOutcomesMax {
		t.Errorf("room for %d outcomes is held", got)
	}
}

// What is forgotten, when, and what is used last must be the same on a replica
// that got the slot as a snapshot: the digest must see all of it.
func TestSessionsAreInDigest(t *testing.T) {
	last := uint64(0)
	s := newSessionSlot()
	for i, step := range []func(){
		func() { s.set(t, 5, 1, 1, 1) },
		func() { s.set(t, 6, 1, 1, 1) }, // only the last use moves
		func() { s.set(t, 6, 1, 1, 2) }, // only the floor moves, and an outcome goes
		func() { s.set(t, 6, 2, 1, 1) },
	} {
		step()
		if d := digestOf(s.m, s.slot); d == last {
			t.Errorf("step %d is not in the digest", i)
		} else {
			last = d
		}
	}
	fmt.Fprintf(t.Output(), "digest %016x\n", last)
}
