package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"pgregory.net/rapid"

	"muster/raft"
	"muster/repl/memtest"
)

// snapshotInto moves a slot through its bytes into m, and demands that the bytes
// come out again as they went in.
func snapshotInto(t *rapid.T, c *SlotCopy, m *Map) {
	var b, again bytes.Buffer
	if n, err := c.WriteTo(&b); err != nil || n != int64(b.Len()) {
		t.Fatalf("write: %d of %d bytes, %v", n, b.Len(), err)
	}
	s, err := ReadSnapshot(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	if err := m.Install(s); err != nil {
		t.Fatalf("install: %v", err)
	}
	if err := checkStore(&m.slot(c.Slot()).records); err != nil {
		t.Fatalf("installed: %v", err)
	}
	back := copyOf(m, c.Slot())
	defer back.Release()
	if err := back.Check(); err != nil {
		t.Fatalf("installed: %v", err)
	}
	if _, err := back.WriteTo(&again); err != nil || !bytes.Equal(b.Bytes(), again.Bytes()) {
		t.Fatalf("the same slot has other bytes the second time (%v)", err)
	}
}

func testSnapshot(t testing.TB) ([]byte, Slot) {
	m := owning(allSlots())
	for i := range 30 {
		c := Command{Kind: CommandSet, Session: uint64(1 + i%3), Sequence: uint64(i), Slot: SlotOf([]byte("{a}")),
			Items: [][]byte{fmt.Appendf(nil, "{a}%d", i), bytes.Repeat([]byte{byte(i)}, 10*i)}}
		if i%7 == 6 {
			c.Condition, c.Version = ConditionVersion, 1000
		}
		apply(t, m, uint64(i+1), raft.GroupTime(i), &c)
	}
	c := copyOf(m, SlotOf([]byte("{a}")))
	defer c.Release()
	var b bytes.Buffer
	if _, err := c.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), c.Slot()
}

// Two replicas may have come to a state on different ways: records in other
// places, chunks emptied at other times, one from a snapshot. Their bytes must
// not show it.
func TestSnapshotDoesNotShowHistory(t *testing.T) {
	slot := SlotOf([]byte("{a}"))
	set := func(m *Map, index uint64, i, size int) {
		apply(t, m, index, 0, &Command{Kind: CommandSet, Slot: slot, Items: [][]byte{fmt.Appendf(nil, "{a}%d", i), make([]byte, size)}})
	}
	snapshot := func(m *Map) string {
		c := copyOf(m, slot)
		defer c.Release()
		var b bytes.Buffer
		if _, err := c.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	straight, detour := owning(allSlots()), owning(allSlots())
	for i := range 500 {
		set(detour, uint64(i+1), 499-i, i*13%700)
	}
	kept := copyOf(detour, slot)
	defer kept.Release()
	for i := range 500 {
		set(straight, uint64(1000+i), i, i%300)
		set(detour, uint64(1000+i), i, i%300)
	}
	if snapshot(straight) != snapshot(detour) || digestOf(straight, slot) != digestOf(detour, slot) {
		t.Error("equal states have different snapshots or digests")
	}
}

// A flip of any bit of a snapshot must be noticed: nothing in it is without
// meaning.
func TestSnapshotFlips(t *testing.T) {
	good, _ := testSnapshot(t)
	if _, err := ReadSnapshot(bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if _, err := ReadSnapshot(bytes.NewReader(bad)); !errors.Is(err, ErrSnapshot) && !errors.Is(err, ErrLevel) && !errors.Is(err, ErrOlder) {
			t.Fatalf("byte %d of %d flipped: %v", i, len(good), err)
		}
	}
	for i := range good {
		if _, err := ReadSnapshot(bytes.NewReader(good[:i])); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut at %d of %d: %v", i, len(good), err)
		}
	}
}

// While a copy of the old content is out, a snapshot is installed and written
// to. The copy must not change, and what it gives back must not disturb.
func TestInstallUnderCopy(t *testing.T) {
	b, slot := testSnapshot(t)
	m := owning([]Slot{slot})
	apply(t, m, 1, 0, &Command{Kind: CommandSet, Slot: slot, Items: [][]byte{[]byte("{a}old"), []byte("x")}})
	old := copyOf(m, slot)
	s, err := ReadSnapshot(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Install(s); err != nil {
		t.Fatal(err)
	}
	m.advance(raft.LogID{Term: 1, Index: 100}, 5)
	if err := m.Install(s); !errors.Is(err, ErrInvariant) {
		t.Errorf("installed twice: %v", err)
	}
	now := copyOf(m, slot)
	apply(t, m, 101, 0, &Command{Kind: CommandSet, Slot: slot, Items: [][]byte{[]byte("{a}1"), []byte("new")}})
	if old.Len() != 1 || old.Check() != nil || now.Check() != nil {
		t.Errorf("old copy has %d keys: %v; new: %v", old.Len(), old.Check(), now.Check())
	}
	old.Release()
	if m.slot(slot).records.copies != 1 {
		t.Errorf("%d copies are out, want 1", m.slot(slot).records.copies)
	}
	now.Release()
}

// Whatever the bytes claim, reading costs no more memory than they justify.
func FuzzReadSnapshot(f *testing.F) {
	good, _ := testSnapshot(f)
	f.Add(good)
	for _, n := range []int{0, 8, 39, 40, 64, 100} {
		f.Add(good[:n])
	}
	huge := bytes.Clone(good[:64])
	for i := 12; i < 40; i++ {
		huge[i] = 0x0f
	}
	copy(huge[56:], "\xff\xff\xff\x00\x10\x00\x01\x00")
	f.Add(huge)
	f.Fuzz(func(t *testing.T, b []byte) {
		used := memtest.Allocated(func() {
			s, err := ReadSnapshot(bytes.NewReader(b))
			if (s == nil) == (err == nil) {
				t.Fatalf("snapshot %v, error %v", s, err)
			}
		})
		if limit := 16*len(b) + 4<<10; used > limit {
			t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
		}
	})
}
