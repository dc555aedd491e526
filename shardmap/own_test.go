package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"muster/raft"
	"muster/shardmap/pack"
)

// owning returns a map that owns slots, as if an entry before the first had founded
// its group: most tests are about keys.
func owning(slots []Slot) *Map { return owningAs(testGroup, slots) }

// owningAs is owning of a group.
func owningAs(g raft.GroupID, slots []Slot) *Map {
	m := NewMap(g)
	c := OwnCommand(&Own{Number: 1, Slots: SlotRanges(slots)})
	if status, err := found(m, entryAt{}, &c); err != nil || status != StatusApplied {
		panic(fmt.Sprint(status, err))
	}
	return m
}

func own(number uint64, slots ...SlotRange) *Command {
	c := OwnCommand(&Own{Number: number, Slots: slots})
	return &c
}

// run is a run of slots with one mark.
func run(from, to Slot, mark uint64) markRun { return markRun{SlotRange{from, to}, mark} }

// A group is founded once. What comes late, twice, or with a number that is not new
// for one of the slots changes nothing, not even for the other slots: else a leader
// that proposes the founding of its group anew, or one that knows another table, could
// empty a slot, or take one back that was given away.
func TestOwnAppliesOnce(t *testing.T) {
	for _, c := range []struct {
		what    string
		founded uint64 // before
		marks   marks
		owns    []SlotRange
		own     *Command
		want    Status
		after   marks
	}{
		{what: "nothing before", own: own(3, SlotRange{0, 9}, SlotRange{20, 29}), want: StatusApplied, after: marks{run(0, 9, 3), run(20, 29, 3)}},
		{what: "all slots", own: own(3, SlotRange{0, Slots - 1}), want: StatusApplied, after: marks{run(0, Slots-1, 3)}},
		{what: "once more", founded: 3, marks: marks{run(0, 9, 3)}, owns: []SlotRange{{0, 9}}, own: own(3, SlotRange{0, 9}), want: StatusMarked},
		{what: "with a higher number", founded: 3, marks: marks{run(0, 9, 3)}, owns: []SlotRange{{0, 9}}, own: own(4, SlotRange{0, 9}), want: StatusMarked},
		{what: "of other slots", founded: 3, marks: marks{run(0, 9, 3)}, owns: []SlotRange{{0, 9}}, own: own(4, SlotRange{10, 19}), want: StatusMarked},
		{what: "of slots that were given away", founded: 3, marks: marks{run(0, 9, 7)}, own: own(3, SlotRange{0, 9}), want: StatusMarked},
		{what: "of a slot whose mark is as high", marks: marks{run(5, 5, 3)}, own: own(3, SlotRange{0, 9}), want: StatusMarked},
		{what: "of a slot whose mark is higher", marks: marks{run(9, 9, 4)}, own: own(3, SlotRange{0, 9}), want: StatusMarked},
		{what: "of a slot whose mark is lower", marks: marks{run(4, 5, 2)}, own: own(3, SlotRange{0, 4}), want: StatusApplied, after: marks{run(0, 4, 3), run(5, 5, 2)}},
		{what: "of a slot that was taken over", marks: marks{run(5, 5, 2)}, owns: []SlotRange{{5, 5}}, own: own(3, SlotRange{0, 9}), want: StatusMarked},
		{what: "beside other marks", marks: marks{run(0, 9, 7), run(20, 20, 8)}, own: own(3, SlotRange{10, 19}), want: StatusApplied, after: marks{run(0, 9, 7), run(10, 19, 3), run(20, 20, 8)}},
	} {
		m := NewMap(testGroup)
		m.hold(c.founded, c.marks)
		m.slots.Store(m.slots.Load().with(c.owns))
		before := mapBytes(t, m)
		r := apply(t, m, 7, 50, c.own)
		if want := (Result{Status: c.want, Group: testGroup, ID: raft.LogID{Term: 1, Index: 7}}); !sameResult(r, want) {
			t.Errorf("%s: %+v, want %+v", c.what, r, want)
		}
		if m.Applied().Index != 7 || m.Time() != 50 {
			t.Errorf("%s: applied up to %s, time %d", c.what, m.Applied(), m.Time())
		}
		if c.want != StatusApplied {
			if !bytes.Equal(mapBytes(t, m), before) {
				t.Errorf("%s: something changed", c.what)
			}
			continue
		}
		o, _ := ReadOwn(c.own)
		if !slices.Equal(m.marks, c.after) || m.founded != o.Number || m.Unfounded() {
			t.Errorf("%s: founded by %d with marks %v, want %d with %v", c.what, m.founded, m.marks, o.Number, c.after)
		}
		for s := range Slot(Slots) {
			if want := slices.ContainsFunc(append(o.Slots, c.owns...), func(r SlotRange) bool { return r.From <= s && s <= r.To }); m.Owns(s) != want {
				t.Errorf("%s: owns slot %d: %v", c.what, s, m.Owns(s))
			}
		}
	}
}

// What a map owns, and what was decided about other slots, is in its snapshot: it is
// the whole state, so a map that was loaded refuses and takes what the other does.
func TestMarksThroughSnapshot(t *testing.T) {
	chance := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		m := NewMap(testGroup)
		var all allMarks
		for s := range all {
			if s > 0 && chance.IntN(20) > 0 {
				all[s] = all[s-1]
			} else {
				all[s] = chance.Uint64N(3)
			}
		}
		m.hold(chance.Uint64N(2), all.runs())
		var back allMarks
		back.fill(m.marks)
		if back != all {
			t.Fatalf("marks %v are others than those of which they were made", m.marks)
		}
		var owned []Slot
		for s, mark := range all {
			if mark > 0 && chance.IntN(50) == 0 {
				owned = append(owned, Slot(s))
			}
		}
		m.slots.Store(m.slots.Load().with(SlotRanges(owned)))
		b := mapBytes(t, m)
		loaded := NewMap(testGroup)
		if err := loaded.Load(bytes.NewReader(b), raft.LogID{Term: 1, Index: 1}, 1); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(loaded.marks, m.marks) || loaded.founded != m.founded || !bytes.Equal(mapBytes(t, loaded), b) {
			t.Fatal("a snapshot brings back another state")
		}
	}
}

// A snapshot is refused whose marks are not as a map keeps them: equal states have
// equal bytes, and a slot that no entry gave is nobody's.
func TestLoadRefusesMarks(t *testing.T) {
	for what, change := range map[string]func(m *Map){
		"runs out of order":           func(m *Map) { m.marks = marks{run(5, 9, 1), run(0, 4, 2)} },
		"runs that overlap":           func(m *Map) { m.marks = marks{run(0, 5, 1), run(5, 9, 2)} },
		"two runs that are one":       func(m *Map) { m.marks = marks{run(0, 4, 1), run(5, 9, 1)} },
		"a run that ends before":      func(m *Map) { m.marks = marks{run(9, 0, 1)} },
		"a slot that there is not":    func(m *Map) { m.marks = marks{run(0, Slots, 1)} },
		"a mark of 0":                 func(m *Map) { m.marks = marks{run(0, 9, 0)} },
		"an owned slot without mark":  func(m *Map) { m.slots.Store(m.slots.Load().with([]SlotRange{{3, 3}})) },
		"more runs than can be there": func(m *Map) { m.marks = make(marks, Slots+1) },
	} {
		m := NewMap(testGroup)
		change(m)
		if err := NewMap(testGroup).Load(bytes.NewReader(uncheckedBytes(t, m)), raft.LogID{Term: 1, Index: 1}, 1); !errors.Is(err, ErrSnapshot) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A moment shows the slots that its group owned then, whatever it is given while the
// lister reads; a copy of all slots too.
func TestMomentBeforeOwn(t *testing.T) {
	m := NewMap(testGroup)
	before, _ := m.Moment(nil, nil)
	defer before.End()
	copied := m.CopyAll()
	defer copied.Release()
	apply(t, m, 1, 0, own(3, SlotRange{0, Slots - 1}))
	apply(t, m, 2, 0, &Command{Kind: CommandSet, Slot: SlotByServer, Items: items("k", "v")})
	count := func(t *Moment) (n int) {
		t.List(nil, nil, ListLimits{}, func([]byte, uint64, []byte) { n++ })
		return n
	}
	if n := count(before); n != 0 {
		t.Errorf("a moment before the founding shows %d keys", n)
	}
	if len(copied.slots) != 0 || copied.founded != 0 || len(copied.marks) != 0 {
		t.Errorf("a copy before the founding has %d slots, founding %d, marks %v", len(copied.slots), copied.founded, copied.marks)
	}
	after, _ := m.Moment(nil, nil)
	defer after.End()
	if n := count(after); n != 1 {
		t.Errorf("a moment after the founding shows %d keys, want 1", n)
	}
}

// What a group owns only its own leader says: a client that sends such a command is
// refused before the log, in a cluster of any level.
func TestOwnIsNotForClients(t *testing.T) {
	for level := uint32(1); level <= Level; level++ {
		if err := own(3, SlotRange{0, 9}).Validate(Limits{ValueMax: 10, Level: level}); !errors.Is(err, ErrRequest) {
			t.Errorf("in a cluster of level %d: %v", level, err)
		}
		if err := CommandOwn.Row().Admit(level); err != nil {
			t.Errorf("a cluster of level %d can't be founded: %v", level, err)
		}
	}
}

// An own entry comes back from its bytes as it was, and what is none stops the group:
// to guess would make replicas differ.
func TestReadOwn(t *testing.T) {
	o := Own{Number: 7, Slots: []SlotRange{{0, 511}, {600, 600}, {4000, Slots - 1}}}
	c := OwnCommand(&o)
	var back Command
	if err := ReadCommand(AppendCommand(nil, &c), &back); err != nil {
		t.Fatal(err)
	}
	got, err := ReadOwn(&back)
	if err != nil || got.Number != o.Number || !slices.Equal(got.Slots, o.Slots) || back.Home() != 0 || back.Keys() != 0 {
		t.Errorf("got %v, %v of slot %d with %d keys, want %v", got, err, back.Home(), back.Keys(), o)
	}
	if want := "number 7 slots 0-511, 600-600, 4000-4095"; got.String() != want {
		t.Errorf("got %q, want %q", got.String(), want)
	}
	body := func(number uint64, slots ...SlotRange) []byte {
		return appendRanges(pack.AppendUint(pack.AppendArray(nil, 2), number), slots)
	}
	for what, items := range map[string][][]byte{
		"nothing":                  {{}},
		"two bodies":               {body(1, SlotRange{0, 1}), body(1, SlotRange{0, 1})},
		"no number":                {body(0, SlotRange{0, 1})},
		"no slot":                  {body(1)},
		"a slot that there is not": {body(1, SlotRange{0, Slots})},
		"a run that ends before":   {body(1, SlotRange{5, 4})},
		"runs out of order":        {body(1, SlotRange{5, 6}, SlotRange{0, 1})},
		"runs that could be one":   {body(1, SlotRange{0, 1}, SlotRange{2, 3})},
		"more at the end":          {append(body(1, SlotRange{0, 1}), 0)},
		"a claim of gigabytes":     {{0x92, 1, 0xdd, 0xff, 0xff, 0xff, 0xff}},
		"a body that is cut off":   {body(1, SlotRange{0, 1})[:4]},
		"a field of a newer level": {append(pack.AppendArray(nil, 3), body(1, SlotRange{0, 1})[1:]...)},
		"a text in place of slots": {{0x92, 1, 0xa1, 'x'}},
	} {
		m := NewMap(testGroup)
		c := Command{Kind: CommandOwn, Items: items}
		if _, err := m.Apply(raft.LogID{Term: 1, Index: 1}, 0, &c); err == nil || m.Applied().Index != 0 || !m.Unfounded() {
			t.Errorf("%s: %v, applied up to %s", what, err, m.Applied())
		}
	}
}

// The slots of a founding are the table's, each in one group, and they stay what they
// were when the table looks for slots elsewhere.
func TestTableFounding(t *testing.T) {
	m := testTable(t)
	table := *m.Table()
	var all []Slot
	for i := range table.Groups {
		g := &table.Groups[i]
		o, ok := table.Founding(g.ID, g.Incarnation)
		if !ok || o.Number != uint64(g.Incarnation) || !slices.Equal(o.Slots, SlotRanges(table.SlotsOf(g.ID))) {
			t.Errorf("%s: founded with %v, %v", g.ID, o, ok)
		}
		for s := range eachOf(o.Slots) {
			all = append(all, s)
		}
		if _, ok := table.Founding(g.ID, g.Incarnation+1); ok {
			t.Errorf("%s is founded in an incarnation that it does not have", g.ID)
		}
	}
	if !slices.Equal(all, allSlots()) {
		t.Errorf("groups are founded with %d slots", len(all))
	}
	was, _ := table.Founding(1, table.Groups[0].Incarnation)
	for s := range table.Slots {
		table.Slots[s] = 2
	}
	if now, ok := table.Founding(1, table.Groups[0].Incarnation); !ok || !slices.Equal(now.Slots, was.Slots) {
		t.Errorf("once its slots are elsewhere the group is founded with %v, before with %v", now, was)
	}
	if _, ok := table.Founding(0, table.Meta.Incarnation); ok {
		t.Error("the meta group is founded with slots")
	}
	table.Groups = append(slices.Clone(table.Groups), TableGroup{ID: 900, Incarnation: 9})
	if _, ok := table.Founding(900, 9); ok {
		t.Error("a group for which nothing is intended is founded")
	}
}

// Moves may come before the founding: another group's slot may move to this one, or one
// whose first slots these are may be told to keep one. Neither keeps the group from being
// founded, or its slots would be nobody's for ever.
func TestMovesBeforeFounding(t *testing.T) {
	m := NewMap(2)
	for i, c := range []Command{
		StepCommand(CommandRefuse, []Step{{Slot: 700, Number: 9, Peer: 1}}),
		StepCommand(CommandCancel, []Step{{Slot: 5, Number: 9}}),
	} {
		apply(t, m, uint64(i+1), 0, &c)
	}
	if got := m.StepResults()[0].Outcome; got != StepUnfit || !m.Unfounded() {
		t.Errorf("a group that has nothing of a slot keeps it: %s, and is unfounded: %v", got, m.Unfounded())
	}
	if r := apply(t, m, 3, 0, own(3, SlotRange{0, 9})); r.Status != StatusApplied || !m.Owns(5) || m.Unfounded() {
		t.Errorf("the founding is %s", r.Status)
	}
}
