package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"muster/raft"
	"muster/repl/memtest"
)

// sharedState is what a copy's leaves and blocks say, by their addresses, as of the time
// when it was taken.
type sharedState struct {
	leaves map[*byte]string
	blocks map[*session]string
}

func stateOf(c *SlotCopy) sharedState {
	s := sharedState{map[*byte]string{}, map[*session]string{}}
	v := c.keys()
	for i := range v.leaves {
		var b []byte
		l := v.leaf(i)
		for pos := range l.len() {
			rec := v.at(l.ref(pos))
			b = append(b, rec[:rec.size()]...)
		}
		s.leaves[&l[0]] = string(b)
	}
	for i := range c.sessions.blocks {
		list := c.sessions.blocks[i].list
		text := ""
		for j := range list {
			text += fmt.Sprint(list[j].sessionKey, list[j].used, list[j].floor, list[j].sum, list[j].kept())
		}
		s.blocks[&list[0]] = text
	}
	return s
}

// What two copies of a slot have at one address says the same in both: [NewDiff] skips it
// unread. One would doubt it, since the writer changes records and sessions in place, and
// uses chunks and blocks again. So the oldest copy is compared with each later one, while
// further copies come and go.
func TestCopiesShareOnlyWhatIsEqual(t *testing.T) {
	skipped, leaves := 0, 0
	for seed := range uint64(12) {
		chance := rand.New(rand.NewPCG(seed, 5))
		slot := SlotOf([]byte("{a}"))
		m := owning([]Slot{slot})
		index := uint64(0)
		value := make([]byte, 3000)
		write := func(n, first, keys int) {
			for range n {
				index++
				c := Command{Kind: CommandSet, Slot: slot, Session: chance.Uint64N(400) + 1, Sequence: index, Floor: index - min(index, 3)}
				key := fmt.Appendf(nil, "{a}%04d", first+chance.IntN(keys))
				value[0]++
				switch chance.IntN(8) {
				case 0:
					c.Kind, c.Items = CommandDel, [][]byte{key}
				case 1:
					c.Items = [][]byte{key, value[:chance.IntN(3000)]}
				default: // mostly of one size, which is changed in place
					c.Items = [][]byte{key, value[:64]}
				}
				apply(t, m, index, raft.GroupTime(index)*2e9, &c)
			}
		}
		write(2500, 0, 1500)
		old := copyOf(m, slot)
		was := stateOf(old)
		var others []*SlotCopy
		for range 12 {
			write(chance.IntN(40), chance.IntN(1400), 100)
			now := copyOf(m, slot)
			is := stateOf(now)
			for l, text := range is.leaves {
				leaves++
				if before, shared := was.leaves[l]; shared {
					skipped++
					if before != text {
						t.Fatalf("seed %d, entry %d: a leaf that two copies share has changed", seed, index)
					}
				}
			}
			for s, text := range is.blocks {
				if before, shared := was.blocks[s]; shared && before != text {
					t.Fatalf("seed %d, entry %d: a block of sessions that two copies share has changed", seed, index)
				}
			}
			if !reflect.DeepEqual(stateOf(old), was) {
				t.Fatalf("seed %d, entry %d: the old copy has changed", seed, index)
			}
			others = append(others, now)
			if k := chance.IntN(len(others)); chance.IntN(2) == 0 {
				others[k].Release()
				others = append(others[:k], others[k+1:]...)
			}
		}
		for _, c := range append(others, old) {
			c.Release()
		}
	}
	if skipped < 100 || leaves-skipped < 100 {
		t.Errorf("of %d leaves %d were shared: the test shows nothing", leaves, skipped)
	}
}

// contentOf returns all content of a difference, in pieces of some max bytes.
func contentOf(t testing.TB, old, now *SlotCopy, max int) (pieces [][]byte) {
	t.Helper()
	for d := NewDiff(old, now); ; {
		content, more, err := d.Next(max)
		if err != nil {
			t.Fatal(err)
		}
		if pieces = append(pieces, content); !more {
			return pieces
		}
	}
}

// importOf makes an import of some pieces of content in m, as its pass from one log id to
// the next, and returns how the slot is then.
func importOf(t testing.TB, m *Map, slot Slot, attempt, first uint64, from, to raft.LogID, pieces [][]byte) SlotView {
	t.Helper()
	for i, content := range pieces {
		c := ChunkCommand([]Piece{{Slot: slot, Number: 9, Source: 1, Attempt: Attempt{1, attempt}, Index: first + uint64(i), From: from, To: to, More: i < len(pieces)-1, Content: content}})
		apply(t, m, m.Applied().Index+1, 0, &c)
		if got := m.StepResults()[0].Outcome; got != StepDone {
			t.Fatalf("piece %d is %s", i, got)
		}
	}
	return m.View(slot)
}

// A pass over a slot in which nothing changed reads no record, however large the slot:
// it has one item, the end. The import has the slot's digest after each pass.
func TestDiffOfLargeSlot(t *testing.T) {
	slot := SlotOf([]byte("{a}"))
	m, target := owning([]Slot{slot}), NewMap(2)
	for i := range 60000 {
		apply(t, m, uint64(i+1), 0, &Command{Kind: CommandSet, Slot: slot, Session: uint64(i%2000 + 1), Sequence: uint64(i), Items: [][]byte{fmt.Appendf(nil, "{a}%06d", i), make([]byte, 40)}})
	}
	first := copyOf(m, slot)
	defer first.Release()
	all := contentOf(t, nil, first, ChunkSize)
	v := importOf(t, target, slot, 1, 0, raft.LogID{}, at(1, 60000), all)
	if v.Import.Digest != first.Digest() || v.Import.Partial || v.Import.Chunks != uint64(len(all)) {
		t.Errorf("the import is %+v, the slot's digest %016x", v.Import, first.Digest())
	}
	for i, b := range all {
		if len(b) > ChunkSize+2000 { // a session with its outcomes
			t.Errorf("piece %d has %d bytes", i, len(b))
		}
	}
	same := copyOf(m, slot)
	defer same.Release()
	if b := contentOf(t, first, same, ChunkSize); len(b) != 1 || len(b[0]) != 1+endHead+formersHead {
		t.Errorf("where nothing changed the difference has %d pieces, the first of %d bytes", len(b), len(b[0]))
	}
	// What makes the records unreadable shows that nobody reads them.
	for at := first.keys().seek(nil); at.record() != nil; at.next() {
		clear(at.record()[:at.record().size()])
	}
	if b := contentOf(t, first, same, ChunkSize); len(b) != 1 || len(b[0]) != 1+endHead+formersHead {
		t.Errorf("with records that are zero the difference has %d pieces, the first of %d bytes", len(b), len(b[0]))
	}
	if _, _, err := NewDiff(nil, same).Next(ChunkSize); !errors.Is(err, ErrInvariant) {
		t.Errorf("records that are not what was written are sent: %v", err)
	}
}

// A record of the largest size moves in a piece of its own, with as little memory beside
// it as it must: the piece.
func TestLargestRecordMoves(t *testing.T) {
	key := append([]byte("{a}"), bytes.Repeat([]byte{'k'}, KeyMax-3)...)
	slot := SlotOf(key)
	m, target := owning([]Slot{slot}), NewMap(2)
	apply(t, m, 1, 0, &Command{Kind: CommandSet, Slot: slot, Items: [][]byte{key, bytes.Repeat([]byte{7}, ValueMaxLimit)}})
	apply(t, m, 2, 0, &Command{Kind: CommandSet, Slot: slot, Items: items("{a}small", "v", "{a}{", "w")})
	c := copyOf(m, slot)
	defer c.Release()
	var pieces [][]byte
	used := memtest.Allocated(func() { pieces = contentOf(t, nil, c, ChunkSize) })
	if len(pieces) != 2 || used > 3*(ValueMaxLimit+KeyMax) {
		t.Errorf("%d pieces, made with %d bytes of memory", len(pieces), used)
	}
	if v := importOf(t, target, slot, 1, 0, raft.LogID{}, at(1, 2), pieces); v.Import.Digest != c.Digest() {
		t.Errorf("the import is %+v, the slot's digest %016x", v.Import, c.Digest())
	}
}

// A difference is what turns the old copy into the new one, whatever happened between:
// leaves split and join, all keys go, sessions come and go by the thousand.
func TestDiffOfAnything(t *testing.T) {
	for seed := range uint64(30) {
		chance := rand.New(rand.NewPCG(seed, 9))
		slot := SlotOf([]byte("{a}"))
		m, target := owning([]Slot{slot}), NewMap(2)
		index, now := uint64(0), raft.GroupTime(1)
		var old *SlotCopy
		chunks, from := uint64(0), raft.LogID{}
		for pass := range 8 {
			for range []int{0, 1, 30, 1200}[chance.IntN(4)] {
				index++
				now += raft.GroupTime(chance.Int64N(2e9))
				c := Command{Kind: CommandSet, Slot: slot, Session: 1 + chance.Uint64N(1500), Sequence: index, Items: [][]byte{fmt.Appendf(nil, "{a}%03d", chance.IntN(700)), make([]byte, chance.IntN(90))}}
				if chance.IntN(3) == 0 {
					c.Kind, c.Items = CommandDel, c.Items[:1]
				}
				apply(t, m, index, now, &c)
			}
			switch chance.IntN(6) {
			case 0: // all keys go
				c := Command{Kind: CommandDel, Slot: slot}
				for i := range 700 {
					c.Items = append(c.Items, fmt.Appendf(nil, "{a}%03d", i))
				}
				index++
				apply(t, m, index, now, &c)
			case 1: // all sessions go
				now += 2 * SessionKeep
				index++
				if err := m.Expire(at(1, index), now); err != nil {
					t.Fatal(err)
				}
			}
			c := copyOf(m, slot)
			to := at(1, max(index, 1))
			pieces := contentOf(t, old, c, 1+chance.IntN(4000))
			v := importOf(t, target, slot, 1, chunks, from, to, pieces)
			if v.Import.Digest != c.Digest() || v.Import.At != to {
				t.Fatalf("seed %d, pass %d: the import is %+v, the slot's digest %016x", seed, pass, v.Import, c.Digest())
			}
			if old != nil {
				old.Release()
			}
			old, chunks, from = c, v.Import.Chunks, to
		}
		old.Release()
	}
}
