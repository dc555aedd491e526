package shardmap

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"muster/raft"
)

// copyOf returns a copy of a slot that m owns.
func copyOf(m *Map, s Slot) *SlotCopy {
	c, owned := m.Copy(s)
	if !owned {
		panic(fmt.Sprintf("slot %d is not owned", s))
	}
	return c
}

// digestOf returns the digest of a slot that m owns.
func digestOf(m *Map, s Slot) uint64 {
	d, owned := m.Digest(s)
	if !owned {
		panic(fmt.Sprintf("slot %d is not owned", s))
	}
	return d
}

// A record of another kind has the name of a key: a lease and a key can't be kept
// from it. One would doubt that they stay apart: they lie in one slot, move with
// it, are in one digest and one snapshot.
func TestKindsDoNotCollide(t *testing.T) {
	const other = RecordKind(7)
	slot, name := SlotOf([]byte("{a}")), []byte("{a}same")
	made := func(kinds ...RecordKind) *Map {
		m := owning([]Slot{slot})
		apply(t, m, 9, 0, &Command{Kind: CommandSet, Slot: slot, Items: items("{a}first", "1", "{a}zlast", "2")})
		for _, k := range kinds {
			m.slot(slot).of(k).put(name, fmt.Appendf(nil, "of kind %d", k), hashKey(name), 9)
		}
		return m
	}
	listed := func(m *Map) (got []string) {
		listNow(m, []byte("{a}"), nil, 0, 0, false, func(key []byte, version uint64, value []byte) {
			got = append(got, string(key)+"="+string(value))
		})
		return got
	}
	both := made(other, KindKey)
	if v, _, is := both.Get(name, nil); is != Present || string(v) != "of kind 1" {
		t.Errorf("the key is %s, %q", is, v)
	}
	if got := fmt.Sprint(listed(both)); got != "[{a}first=1 {a}same=of kind 1 {a}zlast=2]" {
		t.Errorf("listed are %s", got)
	}
	alone := made(other)
	if v, _, is := alone.Get(name, nil); is != Absent {
		t.Errorf("a record of kind %d passes for a key: %q", other, v)
	}
	if got := fmt.Sprint(listed(alone)); got != "[{a}first=1 {a}zlast=2]" {
		t.Errorf("listed with a record of kind %d are %s", other, got)
	}
	asKey := made(KindKey)
	if digestOf(alone, slot) == digestOf(asKey, slot) || digestOf(both, slot) == digestOf(asKey, slot) {
		t.Error("digests do not tell kinds apart")
	}

	// The key goes, and the other record stays. A copy from before has both.
	before := copyOf(both, slot)
	defer before.Release()
	apply(t, both, 10, 0, &Command{Kind: CommandDel, Slot: slot, Items: [][]byte{name}})
	if rec := both.slot(slot).of(other).get(name, hashKey(name)); rec == nil || string(rec.value()) != "of kind 7" || rec.kind() != other {
		t.Errorf("to delete the key left %v of kind %d", rec, other)
	}
	if _, _, is := both.Get(name, nil); is != Absent {
		t.Errorf("the deleted key is %s", is)
	}
	both.slot(slot).of(other).put(name, []byte("changed"), hashKey(name), 10)
	if err := before.Check(); err != nil {
		t.Error(err)
	}

	// Through a snapshot, in the order of kinds; a build that does not know the
	// kind takes none of it.
	var b, again bytes.Buffer
	if _, err := before.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	d := snapshotReader{streamReader: streamReader{r: bytes.NewReader(b.Bytes())}, newest: other}
	s, err := d.slot()
	if err != nil {
		t.Fatal(err)
	}
	back := owning([]Slot{slot})
	if err := back.Install(s); err != nil {
		t.Fatal(err)
	}
	c := copyOf(back, slot)
	defer c.Release()
	if _, err := c.WriteTo(&again); err != nil || !bytes.Equal(again.Bytes(), b.Bytes()) || c.Digest() != before.Digest() {
		t.Errorf("back from a snapshot the slot is another: %v", err)
	}
	if _, err := ReadSnapshot(bytes.NewReader(b.Bytes())); !errors.Is(err, ErrLevel) {
		t.Errorf("a snapshot with a record of kind %d is read: %v", other, err)
	}
	apply(t, back, 20, raft.GroupTime(1), &Command{Kind: CommandSet, Slot: slot, Items: [][]byte{name, []byte("new")}})
	if rec := back.slot(slot).of(other).get(name, hashKey(name)); rec == nil || string(rec.value()) != "of kind 7" {
		t.Errorf("to set the key left %v of kind %d", rec, other)
	}
}
