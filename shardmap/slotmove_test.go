package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"muster/raft"
)

// moved moves a slot from one map to another, and returns the takeover's result.
func moved(t testing.TB, from, to *Map, slot Slot, number uint64) SlotView {
	t.Helper()
	next := func(m *Map, c Command) SlotView {
		t.Helper()
		apply(t, m, m.Applied().Index+1, m.Time(), &c)
		r := m.StepResults()[0]
		if r.Outcome != StepDone {
			t.Fatalf("%s is %s, the slot is %+v", c.Kind, r.Outcome, r.View)
		}
		return r.View
	}
	v := next(from, StepCommand(CommandSeal, []Step{{Slot: slot, Number: number, Peer: to.group}}))
	c, held := from.CopyToMove(slot)
	if !held {
		t.Fatal("a sealed slot can't be copied")
	}
	defer c.Release()
	var i ImportView
	for d := NewDiff(nil, c); i.Chunks == 0 || i.Partial; {
		content, more, err := d.Next(ChunkSize)
		if err != nil {
			t.Fatal(err)
		}
		i = next(to, ChunkCommand([]Piece{{Slot: slot, Number: number, Source: from.group, Index: i.Chunks, To: v.Sealed, More: more, Content: content}})).Import
	}
	next(to, StepCommand(CommandTakeover, []Step{{Slot: slot, Number: number, Peer: from.group, At: v.Sealed, Time: v.SealTime, Chunks: i.Chunks, Digest: v.Digest}}))
	next(from, StepCommand(CommandDrop, []Step{{Slot: slot, Number: number}}))
	return to.View(slot)
}

// Whoever reads the slot when it leaves goes on reading it as it was: a moment, one of one
// slot, and a copy, which are given up only after the drop. A moment that is taken behind
// the seal shows none of it, and none at all is to be had of a slot that was asked for.
func TestReadersOfASlotThatLeaves(t *testing.T) {
	slot, other := SlotOf([]byte("{a}")), SlotOf([]byte("{b}"))
	from, to := owning([]Slot{slot, other}), NewMap(2)
	for i := range 300 {
		apply(t, from, uint64(i+1), 0, &Command{Kind: CommandSet, Slot: slot, Items: items(fmt.Sprintf("{a}%03d", i), "v")})
	}
	apply(t, from, 301, 0, &Command{Kind: CommandSet, Slot: other, Items: items("{b}", "v")})
	count := func(t *Moment) (n int) {
		t.List(nil, nil, ListLimits{}, func([]byte, uint64, []byte) { n++ })
		return n
	}
	runs := SlotRanges([]Slot{slot, other})
	moments := map[int][]*Moment{}
	take := func(want int, prefix string, runs []SlotRange) {
		t.Helper()
		m, owned := from.Moment([]byte(prefix), runs)
		if !owned {
			t.Fatalf("no moment of %q in slots %v", prefix, runs)
		}
		moments[want] = append(moments[want], m)
	}
	take(301, "", nil)
	take(301, "", runs)
	take(300, "{a}", nil)
	take(300, "{a}", runs)
	take(0, "{a}", SlotRanges([]Slot{other}))
	take(1, "", SlotRanges([]Slot{other}))
	copied := copyOf(from, slot)
	digest := copied.Digest()

	seal := StepCommand(CommandSeal, []Step{{Slot: slot, Number: 9, Peer: 2}})
	apply(t, from, 302, 0, &seal)
	for what, c := range map[string]struct {
		prefix string
		runs   []SlotRange
	}{"of its keys": {"{a}", nil}, "of both slots": {"", runs}, "of its keys, by slot": {"{a}", runs}} {
		if m, owned := from.Moment([]byte(c.prefix), c.runs); owned {
			m.End()
			t.Errorf("a moment %s behind the seal", what)
		}
	}
	if first, is := from.OwnsAll(runs); first != slot || is != Sealed {
		t.Errorf("of both slots %d is %s", first, is)
	}
	take(1, "", nil)
	unseal := StepCommand(CommandUnseal, []Step{{Slot: slot, Number: 9}})
	apply(t, from, 303, 0, &unseal)
	moved(t, from, to, slot, 10)
	if first, is := from.OwnsAll(runs); first != slot || is != NotOwned {
		t.Errorf("after the drop %d is %s", first, is)
	}
	// The slot comes back with other keys, which the readers must not see either.
	apply(t, to, to.Applied().Index+1, 0, &Command{Kind: CommandSet, Slot: slot, Items: items("{a}000", "changed", "{a}new", "v")})
	moved(t, to, from, slot, 11)
	apply(t, from, from.Applied().Index+1, 0, &Command{Kind: CommandDel, Slot: slot, Items: items("{a}001")})
	for want, list := range moments {
		for _, m := range list {
			if got := count(m); got != want {
				t.Errorf("a moment shows %d keys, want %d", got, want)
			}
			m.End()
		}
	}
	if err := copied.Check(); err != nil || copied.Digest() != digest || copied.Len() != 300 {
		t.Errorf("the copy has %d keys, %v", copied.Len(), err)
	}
	copied.Release()
	if n := from.CopiesOut(); n != 0 {
		t.Errorf("%d copies are out", n)
	}
	if err := checkStore(&from.slot(slot).records); err != nil {
		t.Error(err)
	}
}

// What a client learns from one group it can ask of the next: a version is above all that
// were before, though the target's log is shorter, and a log id of any former owner is met,
// by those who have what was there at it.
func TestVersionsAndLogIDsAcrossGroups(t *testing.T) {
	slot := SlotOf([]byte("{a}"))
	groups := map[raft.GroupID]*Map{1: owning([]Slot{slot})}
	for g := raft.GroupID(2); g <= FormersMax+3; g++ {
		groups[g] = NewMap(g)
	}
	index := uint64(100000)
	set := func(m *Map) uint64 {
		index = max(index, m.Applied().Index) + 1
		r, err := m.Apply(at(1, m.Applied().Index+1), 0, &Command{Kind: CommandSet, Slot: slot, Items: items("{a}", "v")})
		if err != nil || r.Status != StatusApplied {
			t.Fatal(r, err)
		}
		return r.Version
	}
	if _, err := groups[1].Apply(at(1, index), 0, &Command{Kind: CommandSet, Slot: slot, Items: items("{a}", "v")}); err != nil {
		t.Fatal(err)
	}
	last, number := set(groups[1]), uint64(9)
	wrote := map[raft.GroupID]raft.LogID{1: groups[1].Applied()}
	move := func(from, to raft.GroupID) {
		t.Helper()
		number++
		moved(t, groups[from], groups[to], slot, number)
		if v := set(groups[to]); v <= last {
			t.Fatalf("in %s version %d, before %d", to, v, last)
		} else {
			last = v
		}
		wrote[to] = groups[to].Applied()
	}
	move(1, 2)
	move(2, 3)
	m := groups[3]
	if !m.Met(slot, 1, wrote[1]) || !m.Met(slot, 2, wrote[2]) {
		t.Error("what was written in former groups is not met")
	}
	if m.Met(slot, 1, at(1, wrote[1].Index+5)) || m.Met(slot, 4, at(1, 1)) || groups[1].Met(slot, 2, wrote[2]) || m.Met(slot+1, 1, at(1, 1)) {
		t.Error("what was not there is met")
	}
	// Back, and on: a group counts with its newest seal, once.
	move(3, 1)
	move(1, 4)
	m = groups[4]
	if f := m.slot(slot).formers; len(f.list) != 3 || f.list[2].Group != 1 || f.more || !m.Met(slot, 1, wrote[1]) {
		t.Errorf("the former owners are %+v", f)
	}
	for g := raft.GroupID(5); g <= FormersMax+3; g++ {
		move(g-1, g)
	}
	m = groups[FormersMax+3]
	if f := m.slot(slot).formers; len(f.list) != FormersMax || !f.more || f.list[FormersMax-1].Group != FormersMax+2 {
		t.Errorf("the former owners are %+v", f)
	}
	if !m.Met(slot, 2, wrote[2]) {
		t.Error("a log id of a group that is forgotten is not met, for ever")
	}
	loaded := NewMap(m.group)
	if err := loaded.Load(bytes.NewReader(mapBytes(t, m)), m.Applied(), 0); err != nil || digestOf(loaded, slot) != digestOf(m, slot) {
		t.Errorf("through a snapshot it is another slot: %v", err)
	}
}

// A slot that never moved has the digest and the bytes that it had before slots moved: a
// member of the level before reads them.
func TestUnmovedSlotIsWrittenInTheOldFormat(t *testing.T) {
	m, b := testMap(t)
	if got := string(b[8:10]); got != "\x02\x00" || bytes.Count(b, []byte("mustslot\x02\x00")) != 3 {
		t.Errorf("a state without moves is of format % x", got)
	}
	slot := SlotOf([]byte("{a}"))
	c := copyOf(m, slot)
	defer c.Release()
	if c.Digest() != slotDigest(c.recordSum, c.sessionSum, c.last, nil) || slotDigest(1, 2, 0, nil)-3 != slotDigest(0, 0, 0, nil) {
		t.Error("its digest has more in it than records, sessions and last version")
	}
	seal := StepCommand(CommandSeal, []Step{{Slot: slot, Number: 9, Peer: 2}})
	apply(t, m, 41, 40, &seal)
	if b = mapBytes(t, m); string(b[8:10]) != "\x03\x00" || bytes.Count(b, []byte("mustslot\x02\x00")) != 3 {
		t.Errorf("a state with a seal is of format % x", b[8:10])
	}
	drop := StepCommand(CommandDrop, []Step{{Slot: slot, Number: 9}})
	apply(t, m, 42, 40, &drop)
	if b = mapBytes(t, m); string(b[8:10]) != "\x02\x00" {
		t.Errorf("a state from which the slot has gone is of format % x", b[8:10])
	}
}

// A takeover is never refused for the sessions that come with it, though the group has more
// than its limit then: the client was promised that a retry is safe. New sessions wait
// until others are forgotten, and those that came are forgotten in their time.
func TestTakeoverBeyondTheSessionLimit(t *testing.T) {
	slot, other := SlotOf([]byte("{a}")), SlotOf([]byte("{b}"))
	from, to := owning([]Slot{slot}), owningAs(2, []Slot{other})
	to.quota.sessionsMax = 20
	set := func(m *Map, now raft.GroupTime, slot Slot, session uint64, key string) Status {
		return apply(t, m, m.Applied().Index+1, now, &Command{Kind: CommandSet, Slot: slot, Session: session, Sequence: 1, Items: items(key, "v")}).Status
	}
	for i := range uint64(1000) {
		set(from, 5*SessionKeep, slot, i+1, "{a}")
	}
	for i := range uint64(15) {
		set(to, SessionKeep, other, i+1, "{b}")
	}
	v := moved(t, from, to, slot, 9)
	if v.Holding != HoldsOwned || to.Sessions() != 1015 || from.Sessions() != 0 {
		t.Fatalf("taken over it is %+v, of %d sessions, %d are left", v, to.Sessions(), from.Sessions())
	}
	if got := set(to, SessionKeep, other, 99, "{b}"); got != StatusGroupTooManySessions {
		t.Errorf("a new session beyond the limit is %s", got)
	}
	if got := set(to, SessionKeep, slot, 500, "{a}"); got != StatusApplied {
		t.Errorf("a retry is %s", got)
	}
	// By the target's time they were last used when it took over.
	at, waits := to.NextDue()
	if !waits || at > 2*SessionKeep+sessionGather {
		t.Errorf("the first session is due at %d", at)
	}
	for range 3 {
		if err := to.Expire(raft.LogID{Term: 1, Index: to.Applied().Index + 1}, at+1); err != nil {
			t.Fatal(err)
		}
	}
	if to.Sessions() != 0 {
		t.Errorf("%d sessions are left", to.Sessions())
	}
	if _, waits := from.NextDue(); waits {
		t.Error("a group whose slot has gone waits for sessions")
	}
}

// A state that contradicts itself is refused, whoever wrote it: two replicas that read it
// by their own lights would differ.
func TestLoadRefusesMoves(t *testing.T) {
	slot := SlotOf([]byte("{a}"))
	state := func() *Map {
		m := owning([]Slot{slot, 77})
		seal := StepCommand(CommandSeal, []Step{{Slot: slot, Number: 9, Peer: 2}})
		apply(t, m, 1, 0, &seal)
		first := ChunkCommand([]Piece{{Slot: 5, Number: 9, Source: 2, To: at(1, 1), More: true}, {Slot: 6, Number: 9, Source: 2, To: at(1, 1), More: true}})
		apply(t, m, 2, 0, &first)
		refuse := StepCommand(CommandRefuse, []Step{{Slot: 8, Number: 9, Peer: 2}, {Slot: 9, Number: 9, Peer: 2}})
		apply(t, m, 3, 0, &refuse)
		return m
	}
	sealOf := func(m *Map) *seal { return &m.slots.Load().sealed.at(slot).seal.seal }
	for what, change := range map[string]func(m *Map){
		"":                              func(*Map) {},
		"a seal above the mark":         func(m *Map) { sealOf(m).number = 10 },
		"a seal of number 0":            func(m *Map) { sealOf(m).number = 0 },
		"a seal for group 0":            func(m *Map) { sealOf(m).target = 0 },
		"a seal for a group above all":  func(m *Map) { sealOf(m).target = raft.GroupMax + 1 },
		"a seal at no entry":            func(m *Map) { sealOf(m).at = raft.LogID{} },
		"a sealed slot that is owned":   func(m *Map) { m.slots.Load().put(slot, newSlotState()) },
		"an import below the mark":      func(m *Map) { m.marks = append(marks{run(5, 5, 9)}, m.marks...) },
		"an import of a slot it has":    func(m *Map) { m.imports[1].slot, m.imports[1].number = 77, 99 },
		"imports out of order":          func(m *Map) { m.imports[0], m.imports[1] = m.imports[1], m.imports[0] },
		"an import from group 0":        func(m *Map) { m.imports[0].source = 0 },
		"an import of nothing":          func(m *Map) { m.imports[0].chunks = 0 },
		"an import of no pass":          func(m *Map) { m.imports[0].to = raft.LogID{} },
		"a decision above the mark":     func(m *Map) { m.decisions[0].Number = 10 },
		"a decision of number 0":        func(m *Map) { m.decisions[0].Number = 0 },
		"decisions out of order":        func(m *Map) { m.decisions[0], m.decisions[1] = m.decisions[1], m.decisions[0] },
		"a decision twice":              func(m *Map) { m.decisions[1] = m.decisions[0] },
		"a decision about no slot":      func(m *Map) { m.decisions[1].Slot = Slots },
		"more decisions than there are": func(m *Map) { m.decisions = make(decisions, DecisionsMax*Slots+1) },
		"a former owner of group 0":     func(m *Map) { m.slot(77).formers = &formers{list: []Former{{0, at(1, 1)}}} },
		"a former owner twice":          func(m *Map) { m.slot(77).formers = &formers{list: []Former{{3, at(1, 1)}, {3, at(1, 2)}}} },
		"no former owner":               func(m *Map) { m.slot(77).formers = &formers{} },
	} {
		m := state()
		change(m)
		b := uncheckedBytes(t, m)
		err := NewMap(testGroup).Load(bytes.NewReader(b), at(1, 9), 1)
		if what == "" && err != nil || what != "" && !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: %v", what, err)
		}
	}
	many := state()
	many.decisions = nil
	for i := range uint64(DecisionsMax + 1) {
		many.decisions = append(many.decisions, SlotDecision{8, Decision{Number: i + 1, Source: 2}})
	}
	if err := NewMap(testGroup).Load(bytes.NewReader(uncheckedBytes(t, many)), at(1, 9), 1); !errors.Is(err, ErrSnapshot) {
		t.Errorf("more decisions about a slot than are kept: %v", err)
	}
	good := mapBytes(t, state())
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if err := NewMap(testGroup).Load(bytes.NewReader(bad), at(1, 9), 1); !errors.Is(err, ErrSnapshot) && !errors.Is(err, ErrLevel) && !errors.Is(err, ErrOlder) {
			t.Fatalf("byte %d of %d flipped: %v", i, len(good), err)
		}
		if err := NewMap(testGroup).Load(bytes.NewReader(good[:i]), at(1, 9), 1); err == nil {
			t.Fatalf("%d bytes of %d are loaded", i, len(good))
		}
	}
}

// A group keeps no more decisions about a slot than its limit: the next waits.
func TestDecisionsAreBounded(t *testing.T) {
	m := NewMap(2)
	outcome := func(k CommandKind, number uint64) StepOutcome {
		s := Step{Slot: 5, Number: number}
		if k == CommandRefuse {
			s.Peer = 1
		}
		c := StepCommand(k, []Step{s})
		apply(t, m, m.Applied().Index+1, 0, &c)
		return m.StepResults()[0].Outcome
	}
	for n := range uint64(DecisionsMax) {
		if got := outcome(CommandRefuse, n+1); got != StepDone {
			t.Fatalf("decision %d is %s", n, got)
		}
	}
	if got := outcome(CommandRefuse, 99); got != StepUnfit || m.View(5).Mark != DecisionsMax {
		t.Errorf("one more is %s", got)
	}
	given := m.Decisions() // and read from here on while other entries are applied
	if outcome(CommandForget, 3) != StepDone || outcome(CommandRefuse, 99) != StepDone || len(m.View(5).Decisions) != DecisionsMax {
		t.Error("room for one is not used")
	}
	if len(given) != DecisionsMax || given[2] != (SlotDecision{5, Decision{Number: 3, Source: 1}}) {
		t.Errorf("%d decisions were given out, the third is now %+v", len(given), given[2])
	}
	if now := m.Decisions(); len(now) != DecisionsMax || now[2].Number != 4 || now[DecisionsMax-1].Number != 99 {
		t.Errorf("of %d decisions the third is %+v, the last %+v", len(now), now[2], now[len(now)-1])
	}
}

// Of many slots in one command each has its own outcome, and readers see the whole command
// or nothing of it.
func TestManySlotsInOneEntry(t *testing.T) {
	m := owning(allSlots())
	command := func(k CommandKind, number uint64, peer raft.GroupID) Command {
		var steps []Step
		for i := range Slot(StepsMax) {
			steps = append(steps, Step{Slot: 16 * i, Number: number, Peer: peer})
		}
		return StepCommand(k, steps)
	}
	var wait sync.WaitGroup
	done := make(chan struct{})
	wait.Add(1)
	go func() {
		defer wait.Done()
		for {
			select {
			case <-done:
				return
			default:
			}
			pages := m.slots.Load()
			n := 0
			for i := range Slot(StepsMax) {
				if pages.presence(16*i) == Sealed {
					n++
				}
			}
			if n != pages.sealedCount || n != 0 && n != StepsMax {
				t.Errorf("%d slots are sealed, %d counted", n, pages.sealedCount)
				return
			}
		}
	}()
	for i := range uint64(100) {
		for k, c := range []Command{command(CommandSeal, 9+i, 2), command(CommandUnseal, 9+i, 0)} {
			apply(t, m, 2*i+uint64(k)+1, 0, &c)
			for _, r := range m.StepResults() {
				if r.Outcome != StepDone {
					t.Fatalf("move %d: %s of slot %d is %s", 9+i, c.Kind, r.View.Slot, r.Outcome)
				}
			}
		}
	}
	close(done)
	wait.Wait()
}

// A command that moves slots reads as one line.
func TestDescribeMoves(t *testing.T) {
	for want, c := range map[string]Command{
		"seal slots 5-6 number 9 for g2, 8-8 number 9 for g2 if empty":                          StepCommand(CommandSeal, []Step{{Slot: 5, Number: 9, Peer: 2}, {Slot: 6, Number: 9, Peer: 2}, {Slot: 8, Number: 9, Peer: 2, Empty: true}}),
		"takeover slots 5-5 number 9 from g1/3.900 chunks 4":                                    StepCommand(CommandTakeover, []Step{{Slot: 5, Number: 9, Peer: 1, At: at(3, 900), Chunks: 4, Digest: 1}}),
		"refuse slots 5-5 number 9 from g1":                                                     StepCommand(CommandRefuse, []Step{{Slot: 5, Number: 9, Peer: 1}}),
		"drop slots 5-5 number 9, 6-6 number 10":                                                StepCommand(CommandDrop, []Step{{Slot: 5, Number: 9}, {Slot: 6, Number: 10}}),
		"chunk slots 1: 5 number 9 piece 0 of attempt 4/2 from 0.0 to g1/4.99 7 bytes and more": ChunkCommand([]Piece{{Slot: 5, Number: 9, Source: 1, Attempt: Attempt{4, 2}, To: at(4, 99), More: true, Content: []byte("content")}}),
	} {
		if got, err := c.Describe(); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	var steps []Step
	for i := range Slot(100) {
		steps = append(steps, Step{Slot: 2 * i, Number: 9})
	}
	c := StepCommand(CommandDrop, steps)
	if got, err := c.Describe(); err != nil || !strings.HasSuffix(got, ", …") || len(got) > 300 {
		t.Errorf("got %q, %v", got, err)
	}
}
