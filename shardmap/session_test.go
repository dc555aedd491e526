package shardmap

import (
	"bytes"
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
	return &sessionSlot{m: owning([]Slot{slot}), slot: slot}
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
		{Status: StatusApplied, Group: testGroup, ID: raft.LogID{Term: 1, Index: 1}, Version: 1},
		{Status: StatusConflict, Group: testGroup, ID: raft.LogID{Term: 1, Index: 2}, Current: 1},
		{Status: StatusApplied, Group: testGroup, ID: raft.LogID{Term: 1, Index: 3}, Version: 3, Deleted: 1},
	}
	second := []Result{send(set), send(conflict), send(del)}
	for i := range want {
		if !sameResult(first[i], want[i]) || !sameResult(second[i], want[i]) {
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

// A slot that moves takes along what its sessions are to be told. Log ids count per
// group: the answer to a retry that comes after the move names the group whose log
// has the entry, not the one that answers. That one's entry of the same number is
// another.
func TestRetryAfterMoveNamesFirstGroup(t *testing.T) {
	s := newSessionSlot()
	first := s.set(t, 0, 7, 1, 1)
	conflict := Command{Kind: CommandSet, Session: 7, Sequence: 2, Floor: 1, Slot: s.slot, Condition: ConditionAbsent, Items: items("{s}k", "w")}
	refused := apply(t, s.m, 2, 0, &conflict)
	if first.Group != testGroup || refused.Group != testGroup || refused.Status != StatusConflict {
		t.Fatalf("the first answers: %+v, %+v", first, refused)
	}
	moved := newSessionSlot()
	moved.m, moved.index = owningAs(testGroup+1, []Slot{s.slot}), 40
	copied := copyOf(s.m, s.slot)
	defer copied.Release()
	var b bytes.Buffer
	if _, err := copied.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	snapshot, err := ReadSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := moved.m.Install(snapshot); err != nil {
		t.Fatal(err)
	}
	if got := moved.set(t, 0, 7, 1, 1); !sameResult(got, first) {
		t.Errorf("the write again: %+v, want %+v", got, first)
	}
	if got := apply(t, moved.m, 50, 0, &conflict); !sameResult(got, refused) {
		t.Errorf("the refused write again: %+v, want %+v", got, refused)
	}
	if got := apply(t, moved.m, 51, 0, &Command{Kind: CommandSet, Session: 7, Sequence: 3, Floor: 1, Slot: s.slot, Items: items("{s}k", "x")}); got.Group != testGroup+1 {
		t.Errorf("a new write: %+v, want group %d", got, testGroup+1)
	}
	if got := apply(t, moved.m, 52, 0, &Command{Kind: CommandSet, Session: 7, Sequence: 1, Floor: 4, Slot: s.slot, Items: items("{s}k", "x")}); got.Status != StatusStale || got.Group != testGroup+1 || got.ID.Index != 52 {
		t.Errorf("what is forgotten: %+v, want stale, from group %d", got, testGroup+1)
	}
}

// Clients choose the numbers of their sessions. One that takes another
// principal's number must neither hear what became of that one's writes, nor make
// the cluster forget it by its floor, nor have its own writes taken for retries.
func TestSessionsOfTwoPrincipals(t *testing.T) {
	s := newSessionSlot()
	send := func(p Principal, sequence, floor uint64, value string) Result {
		s.index++
		c := Command{Kind: CommandSet, Principal: p, Session: 7, Sequence: sequence, Floor: floor, Slot: s.slot, Items: items("{s}k", value)}
		return apply(t, s.m, s.index, 0, &c)
	}
	first := send(1, 1, 1, "a")
	if other := send(2, 1, 1, "b"); other.ID == first.ID || other.Status != StatusApplied {
		t.Errorf("another principal's write: %+v, after %+v", other, first)
	}
	if value, _, _ := s.m.Get([]byte("{s}k"), nil); string(value) != "b" {
		t.Errorf("the key is %q, want what the second wrote", value)
	}
	send(2, 9, 9, "c")
	if again := send(1, 1, 1, "a"); !sameResult(again, first) {
		t.Errorf("a retry of the first: %+v, want %+v", again, first)
	}
	if n := s.m.slot(s.slot).sessions.count; n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
	if err := checkSessions(&s.m.slot(s.slot).sessions); err != nil {
		t.Error(err)
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
	if _, _, ok := table.find(sessionKey{id: 2}); ok || table.count != SlotSessionsMax {
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
