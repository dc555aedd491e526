package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"

	"muster/repl/memtest"
	"muster/shardmap/pack"
)

func items(s ...string) [][]byte {
	var out [][]byte
	for _, s := range s {
		out = append(out, []byte(s))
	}
	return out
}

// Which slot a key is in decides which group keeps it; a client in another
// language must come to the same. The numbers are those of xxhash64.
func TestSlotOf(t *testing.T) {
	for _, c := range []struct {
		key, like string
	}{
		{"{user1}.cart", "user1"}, {"{user1}.name", "user1"}, {"a{user1}b{user2}", "user1"},
		{"{a{b}", "a{b"},
		{"{}x", "{}x"}, {"{open", "{open"}, {"closed}", "closed}"}, {"}{a}", "a"}, {"{}{a}", "{}{a}"},
	} {
		slot, hash := locate([]byte(c.key))
		if want := SlotOf([]byte(c.like)); SlotOf([]byte(c.key)) != want || slot != want || hash != hashKey([]byte(c.key)) {
			t.Errorf("slot of %q: got %d and %d, want %d, that of %q", c.key, SlotOf([]byte(c.key)), slot, want, c.like)
		}
	}
	// xxhash64 of nothing is 0xef46db3751d8e999, of "a" 0xd24ec4f1a98c6e5b.
	// The last two are the examples of docs/protocol.md.
	for key, want := range map[string]Slot{"": 0x999, "a": 0xe5b, "greeting": 3455, "{u}name": 2032} {
		if got := SlotOf([]byte(key)); got != want {
			t.Errorf("slot of %q: got %d, want %d", key, got, want)
		}
	}
}

// The bytes of a command lie in logs for years: they must not change, and any
// msgpack library must see the same in them.
func TestCommandBytes(t *testing.T) {
	c := Command{Kind: CommandSet, Session: 0x0102030405060708, Sequence: 200, Floor: 127, Slot: SlotOf([]byte("k")),
		Condition: ConditionVersion, Version: 70000, Items: items("k", "v")}
	got := fmt.Sprintf("%x", AppendCommand(nil, &c))
	if want := "9801cf0102030405060708ccc87f" + fmt.Sprintf("cd%04x", c.Slot) + "02ce0001117092c4016bc40176"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	rapid.Check(t, func(t *rapid.T) {
		c := Command{
			Kind:      rapid.SampledFrom([]CommandKind{CommandSet, CommandDel, CommandCheck}).Draw(t, "kind"),
			Session:   rapid.Uint64().Draw(t, "session"),
			Sequence:  rapid.Uint64().Draw(t, "sequence"),
			Floor:     rapid.Uint64().Draw(t, "floor"),
			Slot:      rapid.OneOf(rapid.Just(SlotByServer), rapid.Map(rapid.IntRange(0, Slots-1), func(i int) Slot { return Slot(i) })).Draw(t, "slot"),
			Condition: rapid.SampledFrom([]Condition{0, 1, 2}).Draw(t, "condition"),
			Version:   rapid.Uint64().Draw(t, "version"),
		}
		for range 2 * rapid.IntRange(1, 20).Draw(t, "pairs") {
			c.Items = append(c.Items, rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "item"))
		}
		b := AppendCommand(nil, &c)
		var back Command
		if err := ReadCommand(b, &back); err != nil || !reflect.DeepEqual(back, c) {
			t.Fatalf("got %+v, %v; want %+v", back, err, c)
		}
		var buf bytes.Buffer
		e := msgpack.NewEncoder(&buf)
		e.UseCompactInts(true)
		if err := e.Encode([]any{uint8(c.Kind), c.Session, c.Sequence, c.Floor, uint16(c.Slot), uint8(c.Condition), c.Version, c.Items}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, buf.Bytes()) {
			t.Fatalf("by hand %x, by library %x", b, buf.Bytes())
		}
	})
}

// What is not a command must be told from what a newer level wrote: the first
// is refused, the second stops a group that finds it in its log.
func TestReadCommandRefuses(t *testing.T) {
	good := func(change func(f []any) []any) []byte {
		f := change([]any{1, 0, 0, 0, 5, 0, 0, items("k", "v")})
		var buf bytes.Buffer
		e := msgpack.NewEncoder(&buf)
		e.UseCompactInts(true)
		if err := e.Encode(f); err != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	set := func(i int, v any) []byte { return good(func(f []any) []any { f[i] = v; return f }) }
	many := make([][]byte, ItemsMax+2)
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"good", good(func(f []any) []any { return f }), nil},
		{"empty", nil, ErrCommand},
		{"no array", []byte{0x01}, ErrCommand},
		{"seven fields", good(func(f []any) []any { return f[:7] }), ErrCommand},
		{"nine fields", good(func(f []any) []any { return append(f, 1) }), ErrLevel},
		{"kind 0", set(0, 0), ErrLevel},
		{"next kind", set(0, len(commandRows)), ErrLevel},
		{"next kind of nine fields", good(func(f []any) []any { f[0] = len(commandRows); return append(f, 1) }), ErrLevel},
		{"negative session", set(1, -1), ErrCommand},
		{"text for a number", set(3, "x"), ErrCommand},
		{"slot 4096", set(4, 4096), ErrCommand},
		{"slot by server", set(4, 65535), nil},
		{"slot beyond 16 bits", set(4, 65536), ErrCommand},
		{"condition 3", set(5, 3), ErrLevel},
		{"no items", set(7, [][]byte{}), ErrCommand},
		{"key without value", set(7, items("k")), ErrCommand},
		{"item is text", set(7, []string{"k", "v"}), ErrCommand},
		{"too many items", set(7, many), ErrCommand},
		{"bytes after it", append(good(func(f []any) []any { return f }), 0), ErrCommand},
		{"cut", good(func(f []any) []any { return f })[:10], ErrCommand},
		{"items claim gigabytes", append(good(func(f []any) []any { return f })[:8], 0xdd, 0xff, 0xff, 0xff, 0xff), ErrCommand},
	} {
		var got Command
		if err := ReadCommand(c.b, &got); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

// What may enter the log is decided once, here; each refusal must name the
// field and the limit, or the user cannot mend it.
func TestValidate(t *testing.T) {
	long := strings.Repeat("k", KeyMax)
	set := func(s ...string) Command { return Command{Kind: CommandSet, Slot: SlotByServer, Items: items(s...)} }
	del := func(s ...string) Command { return Command{Kind: CommandDel, Slot: SlotByServer, Items: items(s...)} }
	with := func(c Command, f func(c *Command)) Command { f(&c); return c }
	many := make([]string, 20)
	for i := range many {
		many[i] = fmt.Sprintf("{t}%d", i)
	}
	for _, c := range []struct {
		name  string
		c     Command
		want  error
		texts string
	}{
		{"set", set("k", "v"), nil, ""},
		{"empty value", set("k", ""), nil, ""},
		{"longest key", set(long, "v"), nil, ""},
		{"largest value", set("k", strings.Repeat("v", 100)), nil, ""},
		{"its slot", with(set("k", "v"), func(c *Command) { c.Slot = SlotOf([]byte("k")) }), nil, ""},
		{"del of many", del(many...), nil, ""},
		{"absent", with(set("k", "v"), func(c *Command) { c.Condition = ConditionAbsent }), nil, ""},
		{"version", with(del("k"), func(c *Command) { c.Condition, c.Version = ConditionVersion, 1 }), nil, ""},
		{"end of window", with(set("k", "v"), func(c *Command) { c.Session, c.Floor, c.Sequence = 1, 5, 5+SessionWindowMax-1 }), nil, ""},

		{"no key", del(), ErrRequest, "items"},
		{"kind", Command{Kind: 99, Items: items("k")}, ErrRequest, "kind 99"},
		{"own", *own(1, SlotRange{0, 9}), ErrRequest, "kind own itself"},
		{"check", Command{Kind: CommandCheck, Slot: SlotByServer, Items: items("k")}, nil, ""},
		{"check of two", Command{Kind: CommandCheck, Slot: SlotByServer, Items: items("{t}a", "{t}b")}, ErrRequest, "check 2 keys"},
		{"odd", set("k"), ErrRequest, "items value"},
		{"empty key", set("", "v"), ErrRequest, "key 1 4096"},
		{"key too long", set(long+"k", "v"), ErrTooLarge, "key 4097 4096"},
		{"value too long", set("k", strings.Repeat("v", 101)), ErrTooLarge, `value 101 100 "k"`},
		{"other slot", with(set("k", "v"), func(c *Command) { c.Slot = SlotOf([]byte("k")) ^ 1 }), ErrRequest, "slot"},
		{"slot beyond", with(set("k", "v"), func(c *Command) { c.Slot = Slots }), ErrRequest, "slot 4096 4095"},
		{"two slots", set("a", "v", "b", "v"), ErrRequest, `two slots "a" "b" {tag}`},
		{"twice", set("{t}a", "1", "{t}b", "1", "{t}a", "2"), ErrRequest, `"{t}a" twice`},
		{"twice of many", del(append(many, "{t}7")...), ErrRequest, `"{t}7" twice`},
		{"condition of two", with(set("{t}a", "1", "{t}b", "1"), func(c *Command) { c.Condition = ConditionAbsent }), ErrRequest, "condition one key"},
		{"condition 3", with(set("k", "v"), func(c *Command) { c.Condition = 3 }), ErrRequest, "condition 3"},
		{"del if absent", with(del("k"), func(c *Command) { c.Condition = ConditionAbsent }), ErrRequest, "condition"},
		{"version 0", with(set("k", "v"), func(c *Command) { c.Condition = ConditionVersion }), ErrRequest, "version absent"},
		{"version without condition", with(set("k", "v"), func(c *Command) { c.Version = 4 }), ErrRequest, "version 4"},
		{"sequence without session", with(set("k", "v"), func(c *Command) { c.Sequence = 4 }), ErrRequest, "sequence session"},
		{"floor without session", with(set("k", "v"), func(c *Command) { c.Floor = 4 }), ErrRequest, "session"},
		{"below floor", with(set("k", "v"), func(c *Command) { c.Session, c.Sequence, c.Floor = 1, 4, 5 }), ErrRequest, "sequence 4 5"},
		{"beyond window", with(set("k", "v"), func(c *Command) { c.Session, c.Floor, c.Sequence = 1, 5, 5+SessionWindowMax }), ErrRequest, "sequence window 65540"},
	} {
		err := c.c.Validate(Limits{ValueMax: 100, Level: Level})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
			continue
		}
		for _, text := range strings.Fields(c.texts) {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q does not say %s", c.name, err, text)
			}
		}
	}
}

// Hostile bytes must cost no more than they are worth.
func FuzzReadCommand(f *testing.F) {
	good := AppendCommand(nil, &Command{Kind: CommandSet, Slot: 1, Items: items("k", "v")})
	f.Add(good)
	f.Add(append(bytes.Clone(good[:8]), 0xdc, 0xff, 0xff))
	f.Add(append(append(bytes.Clone(good[:8]), 0xdc, 0x40, 0x00), bytes.Repeat([]byte{0xc4, 0}, 0x4000)...))
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Command
		var err error
		used := memtest.Allocated(func() {
			c = Command{}
			err = ReadCommand(b, &c)
		})
		if limit := 16*len(b) + 4<<10; used > limit {
			t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
		}
		if err != nil {
			if !errors.Is(err, ErrCommand) && !errors.Is(err, ErrLevel) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		again := AppendCommand(nil, &c)
		var back Command
		if err := ReadCommand(again, &back); err != nil || !reflect.DeepEqual(back, c) {
			t.Fatalf("%+v came back as %+v, %v", c, back, err)
		}
		if c.Validate(Limits{ValueMax: ValueMaxDefault, Level: Level}) == nil {
			m := owning([]Slot{c.Home()})
			apply(t, m, 1, 1, &c)
		}
	})
}

// Hostile bytes for the meta group: likewise.
func FuzzReadTableCommand(f *testing.F) {
	found, _ := AppendFound(nil, testFound(3, 4))
	announce, _ := AppendAnnounce(nil, &Announce{Node: 1, Start: 2, Addr: "a:1", Labels: []Label{{"k", "v"}}})
	f.Add(found)
	f.Add(announce)
	for _, b := range tableExamples(f) {
		f.Add(b)
	}
	tables := []*Table{testTable(f).Table(), securedMachine(f).Table()}
	node := pack.AppendUint(nil, 1)
	node = append(append([]byte{0x97}, node...), 0xa0, 0xa1, 'a', 1, 0x90, 0xa0, 0)
	f.Add(append([]byte{0x92, 1, 0x96, 0xa1, 'c', 1, 1, 1, 1, 0xdc, 0x01, 0x00}, bytes.Repeat(node, 256)...))
	f.Add([]byte{0x92, 1, 0x96, 0xa1, 'c', 1, 1, 1, 1, 0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		var err error
		used := memtest.Allocated(func() { _, _, err = readTableCommand(b) })
		if limit := 16*len(b) + 4<<10; used > limit {
			t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
		}
		if err != nil {
			if !errors.Is(err, ErrCommand) && !errors.Is(err, ErrLevel) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		// Whatever can be read is refused, or leaves a table that each node can read.
		if _, err := DescribeTable(b); err != nil {
			t.Fatal(err)
		}
		for _, table := range tables {
			made, err := table.Try(b)
			var refused *Refusal
			if err != nil && !errors.As(err, &refused) {
				t.Fatalf("tried it gives %v, want a refusal", err)
			}
			if err == nil && made.Level <= Level {
				if back, err := ReadTable(made.AppendTo(nil)); err != nil || !reflect.DeepEqual(back, made) {
					t.Fatalf("through its bytes the table becomes another one, %v: %s", err, unlike(back, made))
				}
			}
		}
	})
}
