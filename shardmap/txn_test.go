package shardmap

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"muster/repl/memtest"
)

func key(name string) []byte { return []byte(name) }

// txnSlot is the slot of the keys with the tag {t}.
var txnSlot = SlotOf(key("{t}"))

// runTxn applies a transaction, and reads what it answers.
func runTxn(t *testing.T, m *Map, index uint64, x *Txn) (Result, bool, []OpResult) {
	t.Helper()
	c := TxnCommand(txnSlot, x)
	if err := c.Validate(Limits{ValueMax: ValueMaxDefault, Level: Level}); err != nil {
		t.Fatal(err)
	}
	if back, err := ReadTxn(&c); err != nil || !reflect.DeepEqual(appendTxn(nil, back), c.Items[0]) {
		t.Fatalf("%+v is read as %+v: %v", x, back, err)
	}
	r := apply(t, m, index, 0, &c)
	if r.Status != StatusApplied {
		return r, false, nil
	}
	succeeded, results, err := ReadTxnDetail(r.Detail, x)
	if err != nil {
		t.Fatalf("detail %x: %v", r.Detail, err)
	}
	return r, succeeded, results
}

// A transaction is all or nothing: what it reads is what its operations before have left, and
// where one of them can't be carried out, none was.
func TestTxn(t *testing.T) {
	m := owning([]Slot{txnSlot})
	r, ok, results := runTxn(t, m, 5, &Txn{
		If: []Compare{{Kind: CompareAbsent, Key: key("{t}a")}},
		Then: []Op{
			{Kind: OpGet, Key: key("{t}a")},
			{Kind: OpSet, Key: key("{t}a"), Value: key("1")},
			{Kind: OpGet, Key: key("{t}a")},
			{Kind: OpIncr, Key: key("{t}n"), By: -7},
			{Kind: OpGet, Key: key("{t}n")},
			{Kind: OpDel, Key: key("{t}none")},
		},
	})
	want := []OpResult{{}, {}, {Found: true, Version: 5, Value: key("1")}, {Number: -7}, {Found: true, Version: 5, Value: key("-7")}, {}}
	if !ok || r.Version != 5 || !reflect.DeepEqual(results, want) {
		t.Fatalf("got %+v, %t, %+v; want %+v", r, ok, results, want)
	}
	// A compare that does not hold is no conflict: the other branch is carried out.
	r, ok, results = runTxn(t, m, 6, &Txn{
		If: []Compare{{Kind: CompareValue, Key: key("{t}a"), Value: key("1")}, {Kind: CompareVersion, Key: key("{t}n"), Version: 6}},
		Else: []Op{
			{Kind: OpGet, Key: key("{t}n")},
		},
	})
	if want := []OpResult{{Found: true, Version: 5, Value: key("-7")}}; ok || r.Version != 0 || !reflect.DeepEqual(results, want) {
		t.Fatalf("got %+v, %t, %+v; want %+v", r, ok, results, want)
	}
	digest := digestOf(m, txnSlot)
	for _, c := range []struct {
		ops        []Op
		want       Status
		key, found string
	}{
		{[]Op{{Kind: OpSet, Key: key("{t}b"), Value: key("x")}, {Kind: OpIncr, Key: key("{t}n"), By: -1 << 63}}, StatusOverflow, "{t}n", "-7"},
		{[]Op{{Kind: OpDel, Key: key("{t}a")}, {Kind: OpIncr, Key: key("{t}n"), By: 1}, {Kind: OpIncr, Key: key("{t}word"), By: 1}}, StatusNotNumber, "{t}word", "many"},
		{[]Op{{Kind: OpDel, Key: key("{t}a")}, {Kind: OpGet, Key: key("{t}large")}}, StatusReadTooLarge, "{t}large", ""},
	} {
		if c.want == StatusNotNumber {
			apply(t, m, m.Applied().Index+1, 0, &Command{Kind: CommandSet, Slot: txnSlot, Items: items("{t}word", "many", "{t}large", string(make([]byte, TxnReadMax+1)))})
			digest = digestOf(m, txnSlot)
		}
		r, _, _ := runTxn(t, m, m.Applied().Index+1, &Txn{Then: c.ops})
		k, found, err := ReadRefusal(r.Detail)
		if r.Status != c.want || err != nil || string(k) != c.key || string(found) != c.found || r.Version != 0 {
			t.Errorf("got %+v of key %q, found %q, %v; want %s of %q, %q", r, k, found, err, c.want, c.key, c.found)
		}
		if digestOf(m, txnSlot) != digest {
			t.Errorf("a transaction with the result %s changed something", r.Status)
		}
	}
}

// Hostile bytes for the body of a transaction or of a command about a lease: none makes it panic
// or take more memory than it is worth, and what can be read is written alike, and applied.
func FuzzReadBodies(f *testing.F) {
	full := TxnCommand(txnSlot, &Txn{
		If:   []Compare{{Kind: CompareVersion, Key: key("{t}a"), Version: 1}, {Kind: CompareAbsent, Key: key("{t}b")}, {Kind: CompareValue, Key: key("{t}c"), Value: key("v")}},
		Then: []Op{{Kind: OpSet, Key: key("{t}a"), Value: key("v"), TTL: 7}, {Kind: OpIncr, Key: key("{t}b"), By: -1}},
		Else: []Op{{Kind: OpGet, Key: key("{t}a")}, {Kind: OpDel, Key: key("{t}a")}, {Kind: OpSet, Key: key("{t}c"), Lease: MakeLeaseID(txnSlot, 3)}},
	})
	lease := LeaseCommand(txnSlot, LeaseKeepalive, MakeLeaseID(txnSlot, 3), 0)
	f.Add(full.Items[0])
	f.Add(lease.Items[0])
	f.Add([]byte{0x93, 0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Add(append([]byte{0x93, 0x90, 0xdc, 0x00, TxnOpsMax}, bytes.Repeat([]byte{0x92, byte(OpDel), 0xc4, 0}, TxnOpsMax)...))
	f.Add(append([]byte{0x93, 0xdc, 0x00, TxnComparesMax}, bytes.Repeat([]byte{0x93, byte(CompareAbsent), 0xc4, 0, 0xc0}, TxnComparesMax)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, kind := range []CommandKind{CommandTxn, CommandLease} {
			c := Command{Kind: kind, Slot: txnSlot, Items: [][]byte{b}}
			var x *Txn
			var err error
			used := memtest.Allocated(func() {
				if kind == CommandTxn {
					x, err = ReadTxn(&c)
				} else {
					_, _, _, err = ReadLease(&c)
				}
			})
			if limit := 16*len(b) + 4<<10; used > limit && !raceDetector {
				t.Fatalf("%d bytes of memory for %d, the limit is %d", used, len(b), limit)
			}
			_, described := c.Describe()
			if err != nil {
				if !errors.Is(err, ErrCommand) && !errors.Is(err, ErrLevel) || described == nil {
					t.Fatalf("%s: untyped error %v, or described: %v", kind, err, described)
				}
				continue
			}
			if x != nil {
				again := TxnCommand(txnSlot, x)
				if back, err := ReadTxn(&again); err != nil || !reflect.DeepEqual(appendTxn(nil, back), again.Items[0]) {
					t.Fatalf("%+v came back as %+v, %v", x, back, err)
				}
			}
			if c.Validate(Limits{ValueMax: ValueMaxDefault, Level: Level}) == nil {
				m := owning([]Slot{txnSlot})
				if r := apply(t, m, 1, 1, &c); len(r.Detail) == 0 || len(r.Detail) > DetailMax {
					t.Fatalf("a detail of %d bytes", len(r.Detail))
				}
			}
		}
	})
}
