package shardmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"muster/raft"
)

// raisedMap is a map that was raised at entry 3.2 and has had these commands since.
func raisedMap(t testing.TB, commands ...Command) *Map {
	m := owning([]Slot{SlotOf([]byte("{a}"))})
	id := raft.LogID{Term: 3, Index: 2}
	for _, c := range append([]Command{RaiseCommand(LeasesLevel)}, commands...) {
		if _, err := m.Apply(id, 0, &c); err != nil {
			t.Fatal(err)
		}
		id.Index++
	}
	return m
}

// historyOf returns the section of a state that has the history.
func historyOf(t testing.TB, m *Map) []byte {
	b := mapBytes(t, m)
	return b[bytes.Index(b, []byte(historyMagic)):]
}

// historyExample is what docs/storage.md shows of a history.
func historyExample(t testing.TB) []byte {
	slot := SlotOf([]byte("{a}"))
	return historyOf(t, raisedMap(t,
		Command{Kind: CommandSet, Slot: slot, Items: items("{a}1", "hello")},
		Command{Kind: CommandDel, Slot: slot, Items: items("{a}1")},
		StepCommand(CommandSeal, []Step{{Slot: slot, Number: 9, Peer: 2}})))
}

// The page shows the bytes as the code writes them.
func TestHistoryInDocument(t *testing.T) {
	page, err := os.ReadFile("../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(page)), " ")
	if want := fmt.Sprintf("% x", historyExample(t)); !strings.Contains(text, want) {
		t.Errorf("docs/storage.md does not show %s", want)
	}
}

// What sets, dels and moves do is in the history, with what was there before; a command that
// changes nothing, or comes again, is not.
func TestCommandsMakeEvents(t *testing.T) {
	slot := SlotOf([]byte("{a}"))
	set := Command{Kind: CommandSet, Session: 7, Sequence: 1, Slot: slot, Items: items("{a}1", "one", "{a}2", "")}
	m := raisedMap(t, set, set,
		Command{Kind: CommandSet, Slot: slot, Condition: ConditionAbsent, Items: items("{a}1", "two")},
		Command{Kind: CommandSet, Slot: slot, Items: items("{a}2", "three")},
		Command{Kind: CommandDel, Slot: slot, Items: items("{a}9", "{a}1")},
		StepCommand(CommandSeal, []Step{{Slot: slot, Number: 9, Peer: 2}}),
		Command{Kind: CommandSet, Slot: slot, Items: items("{a}3", "sealed")},
		StepCommand(CommandUnseal, []Step{{Slot: slot, Number: 9}}))
	c, ok := m.History().Cursor(After(raft.LogID{Term: 3, Index: 2}))
	if !ok {
		t.Fatal("no cursor")
	}
	defer c.Close()
	var got []string
	for e := new(Event); c.Next(e); {
		text := fmt.Sprintf("%d+%d %s", e.ID.Index, e.N, e.Kind)
		if e.Kind.OfKey() {
			text += fmt.Sprintf(" %s=%s at %d", e.Key, e.Value, e.Version)
		} else {
			text += fmt.Sprintf(" group %d move %d", e.Group, e.Number)
		}
		if e.HadPrev {
			text += fmt.Sprintf(", was %q at %d", e.Prev, e.PrevVersion)
		}
		got = append(got, text)
	}
	want := []string{
		"3+1 set {a}1=one at 3", "3+2 set {a}2= at 3",
		`6+1 set {a}2=three at 6, was "" at 3`,
		`7+1 del {a}1= at 7, was "one" at 3`,
		"8+1 left group 2 move 9",
		"10+1 back group 2 move 9",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A history that no map can have written is refused, whatever its digest says: a map that took
// it would let go other events than the rest of its group.
func TestHistoryRefused(t *testing.T) {
	m := raisedMap(t,
		Command{Kind: CommandSet, Slot: SlotOf([]byte("{a}")), Items: items("{a}1", "hello")},
		Command{Kind: CommandDel, Slot: SlotOf([]byte("{a}")), Items: items("{a}1")})
	good := mapBytes(t, m)
	from := bytes.Index(good, []byte(historyMagic))
	const block, first = historyHeader, historyHeader + historyBlockHead
	second := first + eventSize(4, 5, 0)
	for what, change := range map[string]struct {
		at    int
		bytes []byte
		want  error
	}{
		"below the first level":                  {8, []byte{LeasesLevel - 1}, ErrSnapshot},
		"more blocks than there are":             {12, []byte{2}, ErrLevel},
		"fewer blocks":                           {12, []byte{0}, ErrSnapshot},
		"a floor without index":                  {24, make([]byte, 8), ErrSnapshot},
		"a floor behind an event":                {24, []byte{9}, ErrSnapshot},
		"a floor behind no event":                {32, make([]byte, 4), ErrSnapshot},
		"something where zeros are":              {36, []byte{1}, ErrLevel},
		"a block of nothing":                     {block, make([]byte, 4), ErrSnapshot},
		"a block of more than an event can take": {block, []byte{0xff, 0xff, 0xff, 0x7f}, ErrSnapshot},
		"a block that ends within an event":      {block, []byte{byte(eventSize(4, 5, 0) + 8)}, ErrSnapshot},
		"a block with something in its head":     {block + 4, []byte{1}, ErrLevel},
		"another length of an event":             {first, []byte{0x50}, ErrSnapshot},
		"another kind":                           {first + 4, []byte{byte(eventNewest) + 1}, ErrLevel},
		"a set as a service":                     {first + 4, []byte{byte(EventService)}, ErrSnapshot},
		"a del as the end of a service":          {second + 4, []byte{byte(EventServiceGone)}, ErrSnapshot},
		"another flag":                           {first + 5, []byte{4}, ErrLevel},
		"a value before, and none":               {first + 5, []byte{eventHadPrev}, ErrSnapshot},
		"a slot that there is not":               {first + 6, []byte{0, 0x10}, ErrSnapshot},
		"an event of an entry before":            {second + 16, []byte{2}, ErrSnapshot},
		"an event of an entry after the state":   {second + 16, []byte{5}, ErrSnapshot},
		"an event without version":               {first + 24, make([]byte, 8), ErrSnapshot},
		"a second event and no first":            {first + 32, []byte{2}, ErrSnapshot},
		"a del of what was not there":            {second + 5, []byte{0}, ErrSnapshot},
		"a set as a move":                        {first + 4, []byte{byte(EventLeft)}, ErrSnapshot},
		"a set with a group":                     {first + eventGroup, []byte{1}, ErrSnapshot},
		"no digest":                              {len(good) - from - 8, nil, ErrSnapshot},
	} {
		b := bytes.Clone(good)
		section := b[from:]
		copy(section[change.at:], change.bytes)
		end := len(section) - historyDigest
		digest := xxhash.Sum64(section[len(historyMagic):end])
		if change.bytes == nil {
			digest++
		}
		binary.LittleEndian.PutUint64(section[end:], digest)
		if err := NewMap(testGroup).Load(bytes.NewReader(b), m.Applied(), 0); !errors.Is(err, change.want) {
			t.Errorf("%s: %v, want %v", what, err, change.want)
		}
	}
	if err := NewMap(testGroup).Load(bytes.NewReader(good), m.Applied(), 0); err != nil {
		t.Error(err)
	}
	for n := from; n < len(good); n++ {
		if err := NewMap(testGroup).Load(bytes.NewReader(good[:n]), m.Applied(), 0); err == nil {
			t.Errorf("a state that is cut off at %d of %d is taken", n, len(good))
		}
	}
}

// A raise is for the group's own leader, and to a level that has something to raise it to.
func TestRaise(t *testing.T) {
	c := RaiseCommand(LeasesLevel)
	if err := c.Validate(Limits{ValueMax: 10, Level: Level}); !errors.Is(err, ErrRequest) {
		t.Errorf("from a client: %v", err)
	}
	if text, err := c.Describe(); err != nil || text != "raise level 5" {
		t.Errorf("%q, %v", text, err)
	}
	below := RaiseCommand(LeasesLevel - 1)
	for what, bad := range map[string]Command{
		"below the first level": below,
		"another kind":          {Kind: CommandOwn, Items: c.Items},
		"no level":              {Kind: CommandRaise, Items: [][]byte{{0x90}}},
		"no array":              {Kind: CommandRaise, Items: [][]byte{{5}}},
		"something behind it":   {Kind: CommandRaise, Items: [][]byte{append(bytes.Clone(c.Items[0]), 0)}},
		"two items":             {Kind: CommandRaise, Items: [][]byte{c.Items[0], c.Items[0]}},
	} {
		if level, err := ReadRaise(&bad); err == nil {
			t.Errorf("%s: level %d", what, level)
		}
	}
	m := raisedMap(t)
	above := RaiseCommand(Level + 1)
	before := mapBytes(t, m)
	if _, err := m.Apply(raft.LogID{Term: 3, Index: 9}, 0, &above); !errors.Is(err, ErrLevel) {
		t.Errorf("above what is understood: %v", err)
	}
	if !bytes.Equal(mapBytes(t, m), before) || m.History().Raised() != LeasesLevel {
		t.Error("what was refused has changed the map")
	}
}
