package wire_test

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/pack"
)

// What the state machine answers goes to the client as it is, and each result is told from
// the others by its bytes alone. One would doubt it of a number that is false or nil to
// somebody else.
func TestTxnResults(t *testing.T) {
	results := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) wire.TxnResult {
		r := wire.TxnResult{Kind: wire.TxnResultKind(rapid.IntRange(0, 3).Draw(t, "kind"))}
		switch r.Kind {
		case wire.ResultDeleted:
			r.Deleted = rapid.Bool().Draw(t, "deleted")
		case wire.ResultValue:
			r.Version, r.Value = rapid.Uint64().Draw(t, "version"), rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value")
		case wire.ResultNumber:
			r.Number = rapid.OneOf(rapid.Int64(), rapid.Int64Range(-200, 200), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64})).Draw(t, "number")
		}
		return r
	}), 0, wire.TxnResultsMax)
	rapid.Check(t, func(t *rapid.T) {
		want, succeeded := results.Draw(t, "results"), rapid.Bool().Draw(t, "succeeded")
		detail := pack.AppendArray(pack.AppendBool(pack.AppendArray(nil, 2), succeeded), len(want))
		for i := range want {
			detail = wire.AppendTxnResult(detail, &want[i])
		}
		sent := wire.TxnAnswer{Group: 3, ID: raft.LogID{Term: 7, Index: 10435}, Version: 10435}
		if err := sent.SetDetail(detail); err != nil {
			t.Fatal(err)
		}
		var got wire.TxnAnswer
		if err := got.Read(sent.Append(nil)); err != nil || got.Group != 3 || got.ID != sent.ID || got.Version != 10435 || got.Succeeded != succeeded || got.Count != len(want) {
			t.Fatalf("got %+v, %v", got, err)
		}
		for i := range want {
			if r, ok := got.Next(); !ok || !reflect.DeepEqual(r, want[i]) {
				t.Fatalf("result %d: got %+v, want %+v", i, r, want[i])
			}
		}
		if _, ok := got.Next(); ok {
			t.Fatal("a result more")
		}
	})
}

// Limits of the bodies about transactions and leases are refused by name.
func TestTxnAndLeaseLimits(t *testing.T) {
	all := []shardmap.SlotRange{{From: 0, To: 4095}}
	nils := func(n int) []byte { return (&wire.TxnAnswer{Count: n, Results: make([]byte, 0)}).Append(nil) }
	for _, c := range []struct {
		name string
		typ  wire.Type
		body []byte
		want string // in the error; "": none
	}{
		{"most results", wire.TypeTxnAnswer, append(nils(128), repeat("\xc0", 128)...), ""},
		{"a result more", wire.TypeTxnAnswer, append(nils(129), repeat("\xc0", 129)...), "129 results, want 128"},
		{"a result that is text of no value", wire.TypeTxnAnswer, append(nils(1), "\xa1x"...), "want an int"},
		{"most leases", wire.TypeLeases, (&wire.Leases{Group: 1, Slots: all, Limit: wire.LeasesMax}).Append(nil), ""},
		{"a lease more", wire.TypeLeases, (&wire.Leases{Group: 1, Slots: all, Limit: wire.LeasesMax + 1}).Append(nil), "field limit: 1025 rows; want 1024"},
		{"no slots", wire.TypeLeases, (&wire.Leases{Group: 1}).Append(nil), "field slots: 0 of them"},
		{"slots out of order", wire.TypeLeases, (&wire.Leases{Group: 1, Slots: []shardmap.SlotRange{{From: 9, To: 5}}}).Append(nil), "field slots: run 9-5"},
		{"group 10000", wire.TypeLeases, (&wire.Leases{Group: 10000, Slots: all}).Append(nil), "field group: 10000; want 9999"},
		{"most rows", wire.TypeLeasesAnswer, (&wire.LeasesAnswer{Rows: make([]wire.LeaseRow, wire.LeasesMax)}).Append(nil), ""},
		{"a row more", wire.TypeLeasesAnswer, (&wire.LeasesAnswer{Rows: make([]wire.LeaseRow, wire.LeasesMax+1)}).Append(nil), "1025 rows"},
		{"a table stream without a piece", wire.TypeTableStream, (&wire.TableStream{}).Append(nil), "field piece bytes: 0, want 256"},
		{"a table stream of a large window", wire.TypeTableStream, (&wire.TableStream{PieceBytes: 256, Window: wire.StreamWindowMax + 1}).Append(nil), "field window: 16777217"},
		{"a topology of an index", wire.TypeTopology, (&wire.Topology{Index: math.MaxUint64}).Append(nil), ""},
		{"a topology of two", wire.TypeTopology, []byte{0x92, 1, 1}, "2 fields, want none or 1"},
	} {
		err := wire.ReadBody(c.typ, c.body)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// A node of the build before this one must read what this one sends it: an index, an age and
// their modes stand only in what asks for them.
func TestBodiesOfBefore(t *testing.T) {
	if got := (&wire.Topology{}).Append(nil); string(got) != "\x90" {
		t.Errorf("a topology that does not wait: % x", got)
	}
	for mode := wire.ReadLinearizable; mode <= wire.ReadFollower; mode++ {
		if got := (&wire.Get{Mode: mode, Keys: [][]byte{[]byte("k")}, Stale: 7}).Append(nil); got[0] != 0x95 {
			t.Errorf("a get of mode %d: % x", mode, got)
		}
	}
}

// Whoever looks at a dump sees what a command does that has a body of its own, and not its
// bytes.
func TestDescribesTxnAndLease(t *testing.T) {
	slot := shardmap.SlotOf([]byte("k"))
	txn := shardmap.TxnCommand(slot, &shardmap.Txn{Then: []shardmap.Op{{Kind: shardmap.OpIncr, Key: []byte("k"), By: -7}}})
	revoke := shardmap.LeaseCommand(slot, shardmap.LeaseRevoke, shardmap.MakeLeaseID(slot, 17), 0)
	prefix := shardmap.DelPrefixCommand(slot, []byte("cart/"), 1024)
	bad := shardmap.Command{Kind: shardmap.CommandTxn, Slot: slot, Items: [][]byte{{0xc0}}}
	for _, c := range []struct {
		command shardmap.Command
		want    []string
	}{
		{txn, []string{"txn", `incr "k" by -7`}},
		{revoke, []string{"lease", "revoke", shardmap.MakeLeaseID(slot, 17).String()}},
		{prefix, []string{"del prefix", `"cart/" in slot`, "up to 1024 keys"}},
		{bad, []string{"want an array", `item "\xc0"`}},
	} {
		lines, err := wire.Describe(wire.AppendFrame(nil, wire.TypeWrite, 7, body(func(b []byte) []byte { return wire.AppendWrite(b, &c.command) })))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range c.want {
			if !strings.Contains(strings.Join(lines, "\n"), w) {
				t.Errorf("%q does not say %q", lines, w)
			}
		}
	}
}
