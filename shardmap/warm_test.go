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
