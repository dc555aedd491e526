package shardmap

import (
	"fmt"
	"testing"

	"muster/raft"
)

// Warm runs ahead of Apply over state that Apply is about to change. It must
// take every command that may come, look only, and cost no memory.
func TestWarmOnlyLooks(t *testing.T) {
	owned := Slot(7)
	m := owning([]Slot{owned})
	var key []byte
	for i := 0; SlotOf(key) != owned; i++ {
		key = fmt.Appendf(nil, "k%d", i)
	}
	commands := []Command{
		{Kind: CommandSet, Slot: owned, Session: 5, Sequence: 1, Items: [][]byte{key, make([]byte, 300)}},
		{Kind: CommandSet, Slot: SlotByServer, Items: [][]byte{key, nil}},
		{Kind: CommandDel, Slot: owned, Items: [][]byte{[]byte("absent")}},
		{Kind: CommandSet, Slot: owned + 1, Items: [][]byte{[]byte("not ours"), nil}},
		{Kind: CommandSet, Slot: Slots + 5, Items: [][]byte{key, nil}},
		{Kind: CommandSet, Slot: owned},
		{Kind: CommandDel, Slot: owned},
	}
	for len(commands) < WarmMax+3 { // what is over the limit is left alone
		commands = append(commands, commands[0])
	}
	keys := [][]byte{key, []byte("absent"), []byte("not ours"), nil}
	for len(keys) < WarmMax+3 {
		keys = append(keys, key)
	}
	look := func() {
		before := digestOf(m, owned)
		if n := testing.AllocsPerRun(10, func() { m.Warm(commands); m.WarmKeys(keys) }); n != 0 {
			t.Errorf("got %v allocations, want none", n)
		}
		if after := digestOf(m, owned); after != before {
			t.Errorf("the digest went from %016x to %016x", before, after)
		}
		if err := copyOf(m, owned).Check(); err != nil {
			t.Error(err)
		}
	}
	look()
	if _, err := m.Apply(raft.LogID{Term: 1, Index: 1}, 1, &commands[0]); err != nil {
		t.Fatal(err)
	}
	look()
	m.Warm(nil)
	m.WarmKeys(nil)
}

// Commands are read ahead into memory that held others before, and looked at before the
// entry is applied that brings their slot: a takeover, or what founds the group. Each must
// find its own key all the same. They used to find that of a command before them, so that a
// key was there twice, on the replicas that had read so far ahead, and the older value was
// read.
func TestWarmBeforeTheSlotComes(t *testing.T) {
	slot := SlotOf([]byte("key"))
	var ahead [1]Command
	read := func(m *Map, key string) {
		t.Helper()
		c := Command{Kind: CommandSet, Slot: SlotOf([]byte(key)), Items: [][]byte{[]byte(key), []byte("v")}}
		if err := ReadCommand(AppendCommand(nil, &c), &ahead[0]); err != nil {
			t.Fatal(err)
		}
		m.Warm(ahead[:])
	}
	read(owning([]Slot{SlotOf([]byte("before"))}), "before")
	m := NewMap(testGroup)
	read(m, "key")
	own := OwnCommand(&Own{Number: 9, Slots: []SlotRange{{slot, slot}}})
	for i, c := range []*Command{&own, &ahead[0]} {
		if r, err := m.Apply(raft.LogID{Term: 1, Index: uint64(i + 1)}, 1, c); err != nil || r.Status != StatusApplied {
			t.Fatalf("entry %d: %v, %v", i+1, r.Status, err)
		}
	}
	if value, _, is := m.Get([]byte("key"), nil); is != Present || string(value) != "v" {
		t.Errorf("got %q, %s", value, is)
	}
	if err := copyOf(m, slot).Check(); err != nil {
		t.Error(err)
	}
}
