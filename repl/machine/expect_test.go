package machine_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"muster/raft"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// A machine that is told what comes reads it ahead. What it does must not
// depend on that: not where something else comes than was said, nor where what
// was said can't be read.
func TestExpectChangesNothing(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var all []shardmap.Slot
	for s := range shardmap.Slot(shardmap.Slots / 2) {
		all = append(all, s)
	}
	told, untold := owning(3, all), owning(3, all)
	index := uint64(1)
	for range 200 {
		entries := make([]raft.Entry, 1+chance.IntN(80))
		for i := range entries {
			index++
			entries[i] = entry(chance, index)
		}
		for i, e := range entries {
			switch {
			case i%told.ExpectMax() == 0 && chance.IntN(5) > 0:
				told.Expect(entries[i:min(len(entries), i+told.ExpectMax())])
			case chance.IntN(50) == 0:
				told.Expect([]raft.Entry{entry(chance, 1<<40+index)}) // does not come
			}
			t1, b1, err1 := apply(told, e)
			t2, b2, err2 := apply(untold, e)
			if t1 != t2 || !bytes.Equal(b1, b2) || fmt.Sprint(err1) != fmt.Sprint(err2) {
				t.Fatalf("entry %s: told: %s %x %v, untold: %s %x %v", e.ID, t1, b1, err1, t2, b2, err2)
			}
		}
	}
	for _, s := range all {
		a, _ := told.State.Digest(s)
		if b, _ := untold.State.Digest(s); a != b {
			t.Fatalf("slot %d: digests %016x and %016x", s, a, b)
		}
	}
	if told.State.Len() == 0 {
		t.Fatal("nothing was written")
	}
}

func apply(m *machine.Map, e raft.Entry) (wire.Type, []byte, error) {
	if e.Kind != raft.EntryNormal {
		return 0, nil, m.Skip(e)
	}
	return m.Apply(e, true, nil)
}

// entry makes a set, a del, one of many items, one that is broken, or a no-op.
func entry(chance *rand.Rand, index uint64) raft.Entry {
	c := shardmap.Command{Kind: shardmap.CommandSet, Session: chance.Uint64N(3), Slot: shardmap.SlotByServer}
	if c.Session != 0 {
		c.Sequence = index - chance.Uint64N(3)
	}
	key := fmt.Appendf(nil, "k%d", chance.IntN(100))
	c.Items = [][]byte{key, make([]byte, chance.IntN(50))}
	kind := raft.EntryNormal
	broken := false
	switch chance.IntN(20) {
	case 0:
		c.Kind, c.Items = shardmap.CommandDel, c.Items[:1]
	case 1:
		for i := range 100 {
			c.Items = append(c.Items, fmt.Appendf(nil, "{%s}%d", key, i), nil)
		}
	case 2:
		broken = true
	case 3:
		kind = raft.EntryNoOp
	}
	payload := wire.AppendWrite((&wire.Origin{Time: index}).Append(nil), &c)
	if broken {
		payload[len(payload)-1] ^= 1
	}
	return raft.Entry{ID: raft.LogID{Term: 1, Index: index}, Time: raft.GroupTime(index), Kind: kind, Raw: append(make([]byte, raft.EntryHeaderSize), payload...)}
}
