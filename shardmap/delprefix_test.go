package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"muster/raft"
)

// prefixSlot is the slot of the keys of these tests.
var prefixSlot = SlotOf([]byte("{p}"))

// delPrefix applies a delete of a prefix of prefixSlot as the entry of that index, and returns what
// it answers.
func delPrefix(t testing.TB, m *Map, index uint64, c Command) (deleted uint32, more bool, r Result) {
	t.Helper()
	r = apply(t, m, index, 0, &c)
	if r.Status != StatusApplied {
		t.Fatalf("entry %d: %+v", index, r)
	}
	deleted, more, _, err := ReadDelPrefixDetail(r.Detail)
	if err != nil || len(r.Detail) > delPrefixDetailMax {
		t.Fatalf("entry %d: a detail of %d bytes, %v", index, len(r.Detail), err)
	}
	return deleted, more, r
}

// A retry must get the first outcome though there are new keys by then: it was acknowledged as what
// deleted the old ones, and must not delete others.
func TestDelPrefixRetry(t *testing.T) {
	m := owning([]Slot{prefixSlot})
	set := func(index uint64) {
		apply(t, m, index, 0, &Command{Kind: CommandSet, Slot: prefixSlot, Items: items("{p}a1", "1", "{p}a2", "2", "{p}a3", "3", "{p}b", "4")})
	}
	set(1)
	c := DelPrefixCommand(prefixSlot, []byte("{p}a"), 2)
	c.Session, c.Sequence, c.Floor = 7, 1, 1
	deleted, more, first := delPrefix(t, m, 2, c)
	if deleted != 2 || !more || first.Version != 2 {
		t.Fatalf("deleted %d keys, more %t, version %d; want 2 keys, more, version 2", deleted, more, first.Version)
	}
	first.Detail = bytes.Clone(first.Detail)
	set(3)
	if _, _, again := delPrefix(t, m, 4, c); !sameResult(again, first) {
		t.Errorf("a retry got %+v, the first try %+v", again, first)
	}
	if n := m.Len(); n != 4 {
		t.Errorf("%d keys after a retry, want all 4", n)
	}
	c.Sequence = 2
	if deleted, more, _ := delPrefix(t, m, 5, c); deleted != 2 || !more {
		t.Errorf("the next command deleted %d keys, more %t; want 2, more", deleted, more)
	}
	c.Sequence = 3
	if deleted, more, _ := delPrefix(t, m, 6, c); deleted != 1 || more {
		t.Errorf("the last command deleted %d keys, more %t; want 1 and none left", deleted, more)
	}
	if _, _, is := m.Get([]byte("{p}b"), nil); is != Present {
		t.Errorf("a key that begins otherwise is %s", is)
	}
}

// One entry must stay small, however long keys are: the slot waits for it, and its events stay
// together in the history.
func TestDelPrefixBounds(t *testing.T) {
	m := owning([]Slot{prefixSlot})
	index := uint64(0)
	do := func(c Command) (uint32, bool) {
		index++
		deleted, more, _ := delPrefix(t, m, index, c)
		return deleted, more
	}
	fill := func(size, keys int) {
		c := Command{Kind: CommandSet, Slot: prefixSlot}
		for i := range keys {
			key := fmt.Sprintf("{p}%05d", i)
			c.Items = append(c.Items, []byte(key+strings.Repeat("k", size-len(key))), []byte("v"))
		}
		index++
		apply(t, m, index, 0, &c)
	}
	fill(KeyMax, 100)
	const most = DelPrefixBytesMax / KeyMax
	if deleted, more := do(DelPrefixCommand(prefixSlot, []byte("{p}"), DelPrefixMax)); deleted != most || !more {
		t.Errorf("of 100 keys of %d bytes deleted %d, more %t; want %d, more", KeyMax, deleted, more, most)
	}
	if deleted, more := do(DelPrefixCommand(prefixSlot, nil, DelPrefixMax)); deleted != 100-most || more {
		t.Errorf("then %d, more %t; want %d and none left", deleted, more, 100-most)
	}
	fill(30, DelPrefixMax+1)
	if deleted, more := do(DelPrefixCommand(prefixSlot, nil, DelPrefixMax)); deleted != DelPrefixMax || !more {
		t.Errorf("of %d keys deleted %d, more %t", DelPrefixMax+1, deleted, more)
	}
	if deleted, more := do(DelPrefixCommand(prefixSlot, nil, DelPrefixMax)); deleted != 1 || more {
		t.Errorf("the last: deleted %d, more %t", deleted, more)
	}
	if deleted, more := do(DelPrefixCommand(prefixSlot, nil, 1)); deleted != 0 || more {
		t.Errorf("of no keys deleted %d, more %t", deleted, more)
	}
}

// Keys that were written after the bound stay, wherever they stand among the others, and a command that finds many
// of them ends all the same: it says where the next one goes on. Followed to the end they delete every key of
// before, though a writer puts new ones in front all the time.
func TestDelPrefixSparesWhatIsNewer(t *testing.T) {
	if wrong := prefixNewerWrong(t); wrong != "" {
		t.Error(wrong)
	}
}

// prefixNewerWrong says what is wrong with deletes of a prefix that have a bound; "" if nothing.
func prefixNewerWrong(t *testing.T) string {
	m := owning([]Slot{prefixSlot})
	index := uint64(0)
	set := func(from, to int, key func(i int) string) {
		c := Command{Kind: CommandSet, Slot: prefixSlot}
		for i := from; i < to; i++ {
			c.Items = append(c.Items, []byte(key(i)), []byte("v"))
		}
		index++
		apply(t, m, index, 0, &c)
	}
	const old, newer = 3 * DelPrefixMax, 3 * DelPrefixLookMax / 2
	set(0, old, func(i int) string { return fmt.Sprintf("{p}%06d-old", i*27) })
	bound := m.View(prefixSlot).Last
	if bound != index {
		return fmt.Sprintf("the slot's last version is %d after entry %d", bound, index)
	}
	set(0, newer, func(i int) string { return fmt.Sprintf("{p}%06d-new", i) })
	set(0, 1, func(int) string { return "{p}000027-old" }) // which is as new as the others
	d := DelPrefix{Prefix: []byte("{p}"), Limit: DelPrefixMax, UpTo: bound}
	deleted, few := 0, 0
	for commands := 1; ; commands++ {
		index++
		c := d.Command(prefixSlot)
		r := apply(t, m, index, 0, &c)
		n, more, last, err := ReadDelPrefixDetail(r.Detail)
		if err != nil || len(r.Detail) > delPrefixDetailMax {
			return fmt.Sprintf("a detail of %d bytes, %v", len(r.Detail), err)
		}
		deleted += int(n)
		if n < DelPrefixMax && more {
			few++
		}
		if !more {
			if len(last) > 0 {
				return fmt.Sprintf("nothing is left, and it ends at %q", last)
			}
			break
		}
		if bytes.Compare(last, d.After) <= 0 || !bytes.HasPrefix(last, d.Prefix) || commands > 10 {
			return fmt.Sprintf("command %d goes on from %q to %q", commands, d.After, last)
		}
		d.After = bytes.Clone(last)
		set(commands, commands+1, func(i int) string { return fmt.Sprintf("{p}!%06d", i) })
	}
	if deleted != old-1 {
		return fmt.Sprintf("%d keys went, want %d", deleted, old-1)
	}
	if few == 0 {
		return fmt.Sprintf("no command has ended by itself among %d newer keys", newer)
	}
	if _, v, is := m.Get([]byte("{p}000027-old"), nil); is != Present || v <= bound {
		return fmt.Sprintf("a key that was written again is %s", is)
	}
	return ""
}

// A watch must show each key that went, with what it was, and leases and tallies must not count it
// any more. Services and leases have names in the same slot, and stay.
func TestDelPrefixLeavesNothingBehind(t *testing.T) {
	if wrong := prefixLeavesBehind(t); wrong != "" {
		t.Error(wrong)
	}
}

// prefixLeavesBehind says what a delete of a prefix has left behind; "" if nothing.
func prefixLeavesBehind(t *testing.T) string {
	m := owning([]Slot{prefixSlot})
	index := uint64(1)
	do := func(c Command) Result {
		index++
		return apply(t, m, index, 0, &c)
	}
	do(RaiseCommand(Level))
	m.Tallies().Count(NewPrefixes([]string{"{p}a"}))
	for !m.Tallies().Step(1000) {
	}
	grant := do(LeaseCommand(prefixSlot, LeaseGrant, 0, 60_000))
	lease, _, err := ReadLeaseDetail(&grant)
	if err != nil {
		t.Fatal(err)
	}
	do(TxnCommand(prefixSlot, &Txn{Then: []Op{
		{Kind: OpSet, Key: []byte("{p}a1"), Value: []byte("one"), Lease: lease},
		{Kind: OpSet, Key: []byte("{p}a2"), Value: []byte("two"), TTL: 1000},
		{Kind: OpSet, Key: []byte("{p}a3"), Value: []byte("three")},
		{Kind: OpSet, Key: []byte("{p}b"), Value: []byte("four")},
	}}))
	do(ServiceSetCommand("{p}a", tcpService("{p}a").Append(nil)))
	from := After(m.Applied())
	r := do(DelPrefixCommand(prefixSlot, []byte("{p}a"), DelPrefixMax))
	events := eventsAfter(m, from)
	want := ""
	for i, was := range []string{"one", "two", "three"} {
		want += fmt.Sprintf("del of \"{p}a%d\" by entry %d+%d, version %d, before %q\n", i+1, index, i+1, r.Version, was)
	}
	if events != want {
		return fmt.Sprintf("events:\n%swant:\n%s", events, want)
	}
	if rows, _ := m.Leases(0, []SlotRange{{prefixSlot, prefixSlot}}, 0, 9); len(rows) != 1 || rows[0].Keys != 0 {
		return fmt.Sprintf("leases %+v; want one without keys", rows)
	}
	if a := m.Tallies().At(0); a.Keys != 0 || a.Bytes != 0 {
		return fmt.Sprintf("tally %+v; want none", a)
	}
	if err = m.Tallies().Check(); err != nil {
		return err.Error()
	}
	if _, _, is := m.Service([]byte("{p}a")); is != Present {
		return fmt.Sprintf("the service is %s", is)
	}
	if n := m.Len(); n != 1 {
		return fmt.Sprintf("%d keys are left, want {p}b alone", n)
	}
	return ""
}

// eventsAfter returns the events behind a place in the history, a line each.
func eventsAfter(m *Map, from Position) (lines string) {
	c, ok := m.History().Cursor(from)
	if !ok {
		return "the history begins later"
	}
	defer c.Close()
	var e Event
	for c.Next(&e) {
		lines += fmt.Sprintf("%s of %q by entry %d+%d, version %d, before %q\n", e.Kind, e.Key, e.ID.Index, e.N, e.Version, e.Prev)
	}
	return lines
}

// A key that memory has changed can't be found by its name. The others go all the same, and the
// fault is noted: what the entry did must not hang on one bit.
func TestDelPrefixOverAFlippedKey(t *testing.T) {
	m := owning([]Slot{prefixSlot})
	apply(t, m, 1, 0, &Command{Kind: CommandSet, Slot: prefixSlot, Items: items("{p}a1", "1", "{p}a2", "2", "{p}a3", "3", "{p}b", "4")})
	st := slotStateOf(m, prefixSlot)
	st.records.get([]byte("{p}a2"), hashKey([]byte("{p}a2"))).key()[3] = 'c' // which stays where a2 was
	if deleted, more, _ := delPrefix(t, m, 2, DelPrefixCommand(prefixSlot, []byte("{p}"), DelPrefixMax)); deleted != 3 || more {
		t.Errorf("deleted %d keys, more %t; want 3 and no more to be had", deleted, more)
	}
	if f := m.Faults(); len(f) != 1 || f[0].Part != Part(prefixSlot) || !strings.Contains(f[0].What, `"{p}c2"`) {
		t.Errorf("faults %+v; want one that names the key", f)
	}
	// It is met again before each of the others, and its name must not count each time: the others are as many as one
	// entry may delete.
	const keys = 2 * DelPrefixBytesMax / KeyMax
	first := []byte("{p}0" + strings.Repeat("k", KeyMax-4))
	fill := Command{Kind: CommandSet, Slot: prefixSlot, Items: [][]byte{first, nil}}
	for i := range keys {
		fill.Items = append(fill.Items, fmt.Appendf(nil, "{p}1%03d", i), nil)
	}
	apply(t, m, 3, 0, &fill)
	st.records.get(first, hashKey(first)).key()[KeyMax-1] = 'j' // which stays where it was
	if deleted, more, _ := delPrefix(t, m, 4, DelPrefixCommand(prefixSlot, []byte("{p}"), DelPrefixMax)); deleted != keys || more {
		t.Errorf("deleted %d keys of %d, more %t", deleted, keys, more)
	}
}

// Nothing reaches the log that would hold up a slot, or that means nothing.
func TestDelPrefixValidated(t *testing.T) {
	other := prefixSlot + 1
	long := bytes.Repeat([]byte("k"), KeyMax+1)
	with := func(change func(c *Command)) Command {
		c := DelPrefixCommand(prefixSlot, []byte("{p}"), 1)
		change(&c)
		return c
	}
	for _, tt := range []struct {
		what    string
		command Command
		err     error
		want    string
	}{
		{"one", DelPrefixCommand(prefixSlot, []byte("{p}"), 1), nil, ""},
		{"of any slot", DelPrefixCommand(other, []byte("a/"), DelPrefixMax), nil, ""},
		{"of all keys", DelPrefixCommand(other, nil, DelPrefixMax), nil, ""},
		{"the longest prefix", DelPrefixCommand(other, long[1:], 1), nil, ""},
		{"a longer one", DelPrefixCommand(other, long, 1), ErrTooLarge, "field prefix"},
		{"no keys", DelPrefixCommand(other, nil, 0), ErrRequest, "field limit: 0 keys; want 1 to 1024"},
		{"too many", DelPrefixCommand(other, nil, DelPrefixMax+1), ErrRequest, "field limit: 1025 keys; want 1 to 1024"},
		{"of another slot", DelPrefixCommand(other, []byte("{p}a"), 1), ErrRequest, fmt.Sprintf("field slot: %d; all keys that begin with \"{p}a\" are in slot %d", other, prefixSlot)},
		{"no slot", with(func(c *Command) { c.Slot = SlotByServer }), ErrRequest, "field slot"},
		{"a condition", with(func(c *Command) { c.Condition = ConditionAbsent }), ErrRequest, "field condition"},
		{"two bodies", with(func(c *Command) { c.Items = append(c.Items, c.Items[0]) }), ErrRequest, "field items: 2 items"},
		{"no body", with(func(c *Command) { c.Items = items("a") }), ErrRequest, "field body"},
		{"a body of two", with(func(c *Command) { c.Items = [][]byte{{0x92, 0xc4, 0x01, 'k', 0x05}} }), ErrRequest, "field body"},
		{"a body of five", with(func(c *Command) { c.Items = [][]byte{{0x95, 0xc4, 0x01, 'k', 0x05, 0x00, 0xc4, 0x00, 0x05}} }), ErrRequest, "field body"},
		{"with a bound", (&DelPrefix{Prefix: []byte("{p}"), Limit: 1, UpTo: 7, After: []byte("{p}a")}).Command(prefixSlot), nil, ""},
		{"after the prefix itself", (&DelPrefix{Prefix: []byte("{p}"), Limit: 1, After: []byte("{p}")}).Command(prefixSlot), nil, ""},
		{"after another key", (&DelPrefix{Prefix: []byte("{p}b"), Limit: 1, After: []byte("{p}a")}).Command(prefixSlot), ErrRequest, "field after: \"{p}a\"; want a key that begins with \"{p}b\""},
		{"after a long key", (&DelPrefix{Limit: 1, After: long}).Command(other), ErrTooLarge, "field after"},
	} {
		err := tt.command.Validate(Limits{ValueMax: 10, Level: Level})
		if !errors.Is(err, tt.err) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %v with %q", tt.what, err, tt.err, tt.want)
		}
	}
	c := DelPrefixCommand(prefixSlot, []byte("{p}"), 1)
	if text, err := c.Describe(); err != nil || text != fmt.Sprintf(`del prefix "{p}" in slot %d, up to 1 keys`, prefixSlot) {
		t.Errorf("it is described as %q, %v", text, err)
	}
	bounded := (&DelPrefix{Prefix: []byte("{p}"), Limit: 2, UpTo: 7, After: []byte("{p}a")}).Command(prefixSlot)
	if text, err := bounded.Describe(); err != nil || text != fmt.Sprintf(`del prefix "{p}" in slot %d, up to 2 keys, up to version 7 after "{p}a"`, prefixSlot) {
		t.Errorf("with a bound it is described as %q, %v", text, err)
	}
	if !c.Frees() {
		t.Error("full disks refuse what frees them")
	}
}

// The page shows the body of a command as the code writes it.
func TestDelPrefixInDocuments(t *testing.T) {
	b, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	c := DelPrefixCommand(0, []byte("cart/"), DelPrefixMax)
	if want := fmt.Sprintf("% x", c.Items[0]); !strings.Contains(string(b), want) {
		t.Errorf("docs/protocol.md does not show %s", want)
	}
}

// BenchmarkDelPrefix is one entry that deletes as many keys as it may, of a slot of ten times as
// many, with a history; bounded has a version that none of them exceeds.
func BenchmarkDelPrefix(b *testing.B) {
	b.Run("all", func(b *testing.B) { benchDelPrefix(b, 0) })
	b.Run("bounded", func(b *testing.B) { benchDelPrefix(b, math.MaxUint64) })
}

func benchDelPrefix(b *testing.B, upTo uint64) {
	const keys = 10 * DelPrefixMax
	m := owning([]Slot{prefixSlot})
	index := uint64(1)
	do := func(c Command) {
		index++
		if _, err := m.Apply(raft.LogID{Term: 1, Index: index}, 0, &c); err != nil {
			b.Fatal(err)
		}
	}
	do(RaiseCommand(Level))
	next := 0
	fill := func(n int) {
		c := Command{Kind: CommandSet, Slot: prefixSlot}
		for range n {
			next++
			c.Items = append(c.Items, fmt.Appendf(nil, "{p}%013d", next*7919%1e9), make([]byte, 128))
		}
		do(c)
	}
	for range keys / DelPrefixMax {
		fill(DelPrefixMax)
	}
	c := (&DelPrefix{Prefix: []byte("{p}"), Limit: DelPrefixMax, UpTo: upTo}).Command(prefixSlot)
	for b.Loop() {
		do(c)
		b.StopTimer()
		fill(DelPrefixMax)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/DelPrefixMax, "µs/key")
}
