package shardmap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"muster/raft"
	"muster/repl/memtest"
)

// testMap returns a map that owns three slots, one of them empty, and the bytes
// of its state.
func testMap(t testing.TB) (*Map, []byte) {
	a, b := SlotOf([]byte("{a}")), SlotOf([]byte("{b}"))
	m := owning([]Slot{a, b, 77})
	for i := range 40 {
		tag := "{a}"
		if i%2 == 0 {
			tag = "{b}"
		}
		apply(t, m, uint64(i+1), raft.GroupTime(i), &Command{Kind: CommandSet, Session: uint64(1 + i%3), Sequence: uint64(i), Slot: SlotOf([]byte(tag)),
			Items: [][]byte{fmt.Appendf(nil, "%s%d", tag, i), bytes.Repeat([]byte{byte(i)}, 7*i)}})
	}
	return m, mapBytes(t, m)
}

func mapBytes(t rapid.TB, m *Map) []byte {
	t.Helper()
	return copyBytes(t, m.CopyAll())
}

// uncheckedBytes returns the state of a map in which something is wrong.
func uncheckedBytes(t testing.TB, m *Map) []byte {
	t.Helper()
	c := m.CopyAll()
	c.Unchecked()
	return copyBytes(t, c)
}

// copyBytes returns what a copy writes, and releases it.
func copyBytes(t rapid.TB, c *MapCopy) []byte {
	t.Helper()
	defer c.Release()
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Records are larger than the window, than a chunk, than what one read gives; a
// slot has more than one leaf. Wherever a read ends, the same map comes out, and
// it can be written to.
func TestLoadLargeAndSmall(t *testing.T) {
	slot := SlotOf([]byte("{a}"))
	m := owning([]Slot{slot})
	index := uint64(0)
	for i := range 700 {
		size := i % 40
		switch {
		case i%100 == 50:
			size = bulkChunk
		case i%100 == 70:
			size = 5 * chunkMax
		case i == 333:
			size = 3 << 20
		}
		index++
		apply(t, m, index, 0, &Command{Kind: CommandSet, Slot: slot, Items: [][]byte{fmt.Appendf(nil, "{a}%03d", i), make([]byte, size)}})
	}
	want := mapBytes(t, m)
	for name, reader := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "halves": iotest.HalfReader, "with its end": iotest.DataErrReader,
	} {
		loaded := NewMap(testGroup)
		if err := loaded.Load(reader(bytes.NewReader(want)), m.Applied(), 5); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := checkStore(&loaded.slot(slot).records); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(mapBytes(t, loaded), want) || loaded.Time() != 5 {
			t.Errorf("%s: another map", name)
		}
		for i := range 700 {
			index++
			apply(t, loaded, index, 0, &Command{Kind: CommandSet, Slot: slot, Items: [][]byte{fmt.Appendf(nil, "{a}%03dx", 699-i), make([]byte, i%50)}})
			apply(t, loaded, index+10000, 0, &Command{Kind: CommandDel, Slot: slot, Items: [][]byte{fmt.Appendf(nil, "{a}%03d", i)}})
			index += 10000
			if err := checkStore(&loaded.slot(slot).records); err != nil {
				t.Fatalf("%s, after %d more: %v", name, i, err)
			}
		}
	}
}

// Whatever is wrong with the bytes, nothing of them is taken: the map is as it
// was, and the reader's own error can be told.
func TestLoadIsAllOrNothing(t *testing.T) {
	m, good := testMap(t)
	refused := func(what string, r io.Reader, want error) {
		t.Helper()
		if err := m.Load(r, raft.LogID{Term: 9, Index: 99}, 99); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
		if m.Applied().Index != 40 || !bytes.Equal(mapBytes(t, m), good) {
			t.Fatalf("%s: the map has changed", what)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if err := NewMap(testGroup).Load(bytes.NewReader(bad), raft.LogID{Term: 1, Index: 40}, 0); !errors.Is(err, ErrSnapshot) && !errors.Is(err, ErrLevel) && !errors.Is(err, ErrOlder) {
			t.Fatalf("byte %d of %d flipped: %v", i, len(good), err)
		}
	}
	for n := 0; n < len(good); n += 97 {
		refused(fmt.Sprintf("cut at %d", n), bytes.NewReader(good[:n]), io.ErrUnexpectedEOF)
	}
	refused("more at the end", bytes.NewReader(append(bytes.Clone(good), 0)), ErrSnapshot)
	broken := errors.New("broken")
	refused("a reader's error", io.MultiReader(bytes.NewReader(good[:500]), iotest.ErrReader(broken)), broken)
	refused("a reader's error at the end", io.MultiReader(bytes.NewReader(good), iotest.ErrReader(broken)), broken)
	newer := bytes.Clone(good)
	binary.LittleEndian.PutUint16(newer[8:], mapFormats.newest+1)
	refused("newer", bytes.NewReader(newer), ErrLevel)
	older := bytes.Clone(good)
	binary.LittleEndian.PutUint16(older[8:], mapFormats.oldest-1)
	refused("older", bytes.NewReader(older), ErrOlder)
	var twice bytes.Buffer
	c := m.CopyAll()
	c.slots = append(c.slots[:1:1], c.slots...)
	if _, err := c.WriteTo(&twice); err != nil {
		t.Fatal(err)
	}
	refused("a slot twice", &twice, ErrSnapshot)
	if err := m.Load(bytes.NewReader(good), raft.LogID{Term: 2, Index: 99}, 50); err != nil || m.Applied().Index != 99 || m.Time() != 50 {
		t.Errorf("good bytes: %v, at %s", err, m.Applied())
	}
}

// Memory that rots must not get into a snapshot: the log behind it is cut off.
func TestCopyRefusesRot(t *testing.T) {
	m, _ := testMap(t)
	st := m.slot(SlotOf([]byte("{a}")))
	rec := st.records.get([]byte("{a}7"), hashKey([]byte("{a}7")))
	rec.value()[3] ^= 4
	c := m.CopyAll()
	defer c.Release()
	if _, err := c.WriteTo(io.Discard); !errors.Is(err, ErrInvariant) {
		t.Errorf("a rotten record was written: %v", err)
	}
	if _, err := c.WriteTo(io.Discard); err == nil {
		t.Error("written twice")
	}
}

// A copy that is written lets go of its slots one by one.
func TestMapCopyReleases(t *testing.T) {
	m, _ := testMap(t)
	c := m.CopyAll()
	if got := m.slot(77).records.copies; got != 1 {
		t.Fatalf("%d copies are out, want 1", got)
	}
	if _, err := c.WriteTo(io.Discard); err != nil {
		t.Fatal(err)
	}
	m.each(func(st *slotState) {
		if st.records.copies != 0 {
			t.Errorf("%d copies are out after all is written", st.records.copies)
		}
	})
	c.Release()
}

// Whatever the bytes claim, loading costs no more memory than they justify, save
// what the empty map has: 64 pages of 64 slots, and its slots.
func FuzzLoad(f *testing.F) {
	_, good := testMap(f)
	f.Add(good)
	for _, n := range []int{0, 8, 12, 14, 18, 50, 58, 100} {
		f.Add(good[:n])
	}
	huge := bytes.Clone(good[:100])
	for i := 18 + 12; i < 18+40; i++ {
		huge[i] = 0x0f
	}
	f.Add(huge)
	moves := NewMap(testGroup)
	for i, c := range []Command{
		StepCommand(CommandRefuse, []Step{{Slot: 8, Number: 9, Peer: 2}, {Slot: 9, Number: 9, Peer: 2}}),
		ChunkCommand([]Piece{{Slot: 5, Number: 9, Source: 2, To: raft.LogID{Term: 1, Index: 1}, More: true}}),
	} {
		apply(f, moves, uint64(i+1), 0, &c)
	}
	f.Add(mapBytes(f, moves))
	f.Fuzz(func(t *testing.T, b []byte) {
		used := memtest.Allocated(func() {
			m := NewMap(testGroup)
			err := m.Load(bytes.NewReader(b), raft.LogID{Term: 1, Index: 1}, 1)
			if (err == nil) != (m.Applied().Index == 1) {
				t.Fatalf("error %v, stands at %s", err, m.Applied())
			}
		})
		if limit := 16*len(b) + 48<<10; used > limit {
			t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
		}
	})
}
