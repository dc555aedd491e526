package machine_test

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// command asks for a command, as a client, applies it if it is proposed, and returns the
// answer.
func (q *requests) command(t *testing.T, c shardmap.Command) (typ wire.Type, body []byte, e *wire.Error) {
	t.Helper()
	q.take(wire.TypeWrite, wire.AppendWrite(nil, &c))
	p := q.Proposals()
	if len(p) == 0 {
		return q.asker.answer(t)
	}
	q.index++
	entry := p[0].Entry
	entry.ID = raft.LogID{Term: 1, Index: q.index}
	q.Clear()
	typ, body, err := q.state.Apply(entry, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if typ != wire.TypeError {
		return typ, body, nil
	}
	e = new(wire.Error)
	if err := e.Read(body); err != nil {
		t.Fatal(err)
	}
	return typ, nil, e
}

// txn asks for a transaction, and shows its results.
func (q *requests) txn(t *testing.T, x shardmap.Txn, session, sequence uint64) (a wire.TxnAnswer, shown string, e *wire.Error) {
	t.Helper()
	c := shardmap.TxnCommand(shardmap.SlotOf([]byte("{k}")), &x)
	if c.Session, c.Sequence = session, sequence; session != 0 {
		c.Floor = 1
	}
	typ, body, e := q.command(t, c)
	if e != nil {
		return a, "", e
	}
	if typ != wire.TypeTxnAnswer || a.Read(body) != nil {
		t.Fatalf("answered with %s % x", typ, body)
	}
	for rows := a; ; {
		r, ok := rows.Next()
		if !ok {
			return a, shown, nil
		}
		switch r.Kind {
		case wire.ResultNone:
			shown += " -"
		case wire.ResultDeleted:
			shown += fmt.Sprintf(" %t", r.Deleted)
		case wire.ResultValue:
			shown += fmt.Sprintf(" %s@%d", r.Value, r.Version)
		case wire.ResultNumber:
			shown += fmt.Sprintf(" %d", r.Number)
		}
	}
}

func (q *requests) lease(t *testing.T, op shardmap.LeaseOp, id shardmap.LeaseID, ttl uint64) (wire.LeaseAnswer, *wire.Error) {
	t.Helper()
	typ, body, e := q.command(t, shardmap.LeaseCommand(shardmap.SlotOf([]byte("{k}")), op, id, ttl))
	var a wire.LeaseAnswer
	if e == nil && (typ != wire.TypeLeaseAnswer || a.Read(body) != nil) {
		t.Fatalf("answered with %s % x", typ, body)
	}
	return a, e
}

func opSet(key, value string) shardmap.Op {
	return shardmap.Op{Kind: shardmap.OpSet, Key: []byte(key), Value: []byte(value)}
}

func op(kind shardmap.OpKind, key string) shardmap.Op {
	return shardmap.Op{Kind: kind, Key: []byte(key)}
}

func incr(key string, by int64) shardmap.Op {
	return shardmap.Op{Kind: shardmap.OpIncr, Key: []byte(key), By: by}
}

// A client knows what a transaction did by its answer alone: which branch, at which log id,
// and what each operation found, in order. A retry must be told the same, whatever was
// written meanwhile.
func TestTxnIsAnswered(t *testing.T) {
	q := newRequests(t)
	x := shardmap.Txn{
		If: []shardmap.Compare{{Kind: shardmap.CompareAbsent, Key: []byte("{k}a")}},
		Then: []shardmap.Op{opSet("{k}a", "1"), op(shardmap.OpDel, "{k}b"), op(shardmap.OpGet, "{k}a"), op(shardmap.OpGet, "{k}c"),
			incr("{k}n", -7), op(shardmap.OpGet, "{k}n")},
		Else: []shardmap.Op{op(shardmap.OpDel, "{k}a"), op(shardmap.OpGet, "{k}n")},
	}
	first, shown, e := q.txn(t, x, 0, 0)
	want := fmt.Sprintf(" - false 1@%d - -7 -7@%d", first.Version, first.Version)
	if e != nil || !first.Succeeded || first.Group != 1 || first.ID.Index != q.index || first.Version != q.index || shown != want {
		t.Errorf("then: %+v: %q, %v; want %q", first, shown, e, want)
	}
	second, shown, e := q.txn(t, x, 9, 1)
	want = fmt.Sprintf(" true -7@%d", first.Version)
	if e != nil || second.Succeeded || second.ID.Index != q.index || shown != want {
		t.Errorf("else: %+v: %q, %v; want %q", second, shown, e, want)
	}
	again, shown, e := q.txn(t, x, 9, 1)
	if e != nil || again.ID != second.ID || again.Succeeded != second.Succeeded || !bytes.Equal(again.Results, second.Results) {
		t.Errorf("a retry: %+v: %q, %v; want %+v", again, shown, e, second)
	}
}

// The answer to a delete of a prefix says how many keys went and whether there are more: its client
// goes by nothing else. A retry must be told the same, though by then none are left.
func TestDelPrefixIsAnswered(t *testing.T) {
	q := newRequests(t)
	slot := shardmap.SlotOf([]byte("{k}"))
	for _, k := range []string{"{k}a", "{k}b", "{k}c"} {
		if _, _, e := q.txn(t, shardmap.Txn{Then: []shardmap.Op{opSet(k, "v")}}, 0, 0); e != nil {
			t.Fatal(e)
		}
	}
	del := func(sequence uint64) (a wire.DelPrefixAnswer) {
		t.Helper()
		c := shardmap.DelPrefixCommand(slot, []byte("{k}"), 2)
		c.Session, c.Sequence, c.Floor = 9, sequence, 1
		typ, body, e := q.command(t, c)
		if e != nil || typ != wire.TypeDelPrefixAnswer || a.Read(body) != nil {
			t.Fatalf("answered with %s % x, %v", typ, body, e)
		}
		return a
	}
	first := del(1)
	if want := (wire.DelPrefixAnswer{Group: 1, ID: first.ID, Version: q.index, Deleted: 2, More: true, Next: []byte("{k}b")}); !reflect.DeepEqual(first, want) || first.ID.Index != q.index {
		t.Errorf("got %+v, want %+v", first, want)
	}
	if last := del(2); last.Deleted != 1 || last.More || last.Version <= first.Version {
		t.Errorf("the last key: %+v", last)
	}
	if again := del(1); !reflect.DeepEqual(again, first) {
		t.Errorf("a retry: %+v, want %+v", again, first)
	}
}

// What stands in the way of a transaction or of a lease is named with what was found, in an
// error that tells whether a retry can help; it changes nothing. The same retry finds the same.
func TestObstacles(t *testing.T) {
	q := newRequests(t)
	q.table.ValueMax = shardmap.ValueMaxDefault
	gone := shardmap.MakeLeaseID(shardmap.SlotOf([]byte("{k}")), 4711)
	for _, op := range []shardmap.Op{opSet("{k}text", "eleven"), opSet("{k}most", "9223372036854775807"), opSet("{k}large", strings.Repeat("v", shardmap.TxnReadMax)), opSet("{k}more", "v")} {
		if _, _, e := q.txn(t, shardmap.Txn{Then: []shardmap.Op{op}}, 0, 0); e != nil {
			t.Fatal(e)
		}
	}
	leased := opSet("{k}x", "new")
	leased.Lease = gone
	digest := q.state.State.View(shardmap.SlotOf([]byte("{k}")))
	for i, c := range []struct {
		what string
		ops  []shardmap.Op
		code wire.Code
		want []string
	}{
		{"no number", []shardmap.Op{opSet("{k}x", "new"), incr("{k}text", 1)}, wire.CodeConflict, []string{`key "{k}text"`, "not a number", `"eleven"`}},
		{"overflow", []shardmap.Op{opSet("{k}x", "new"), incr("{k}most", 1)}, wire.CodeConflict, []string{`key "{k}most"`, "overflow", "9223372036854775807"}},
		{"too much to read", []shardmap.Op{opSet("{k}x", "new"), op(shardmap.OpGet, "{k}large"), op(shardmap.OpGet, "{k}more")}, wire.CodeTooLarge, []string{`key "{k}more"`, "65536 bytes"}},
		{"a lease that is gone", []shardmap.Op{leased}, wire.CodeNotFound, []string{"lease " + gone.String()}},
	} {
		for range 2 {
			_, _, e := q.txn(t, shardmap.Txn{Then: c.ops}, 9, uint64(i+1))
			if e == nil || e.Code != c.code || e.Next == "" {
				t.Errorf("%s: %v", c.what, e)
				continue
			}
			for _, w := range c.want {
				if !strings.Contains(e.Error(), w) {
					t.Errorf("%s: %q does not say %q", c.what, e, w)
				}
			}
		}
		now := q.state.State.View(shardmap.SlotOf([]byte("{k}")))
		if now.Keys != digest.Keys || now.Bytes != digest.Bytes {
			t.Errorf("%s: %d keys of %d bytes, want %d of %d", c.what, now.Keys, now.Bytes, digest.Keys, digest.Bytes)
		}
		if _, shown, e := q.txn(t, shardmap.Txn{Then: []shardmap.Op{op(shardmap.OpGet, "{k}x")}}, 0, 0); shown != " -" {
			t.Errorf("%s: a key of the same transaction is %q, %v", c.what, shown, e)
		}
	}
	for _, op := range []shardmap.LeaseOp{shardmap.LeaseKeepalive, shardmap.LeaseRevoke} {
		if _, e := q.lease(t, op, gone, 0); e == nil || e.Code != wire.CodeNotFound || !strings.Contains(e.Object, gone.String()) {
			t.Errorf("%s of a lease that is gone: %v", op, e)
		}
	}
}

// What means nothing never reaches the log, and the field that is wrong is named, with its
// limit.
func TestBadTxnsAndLeases(t *testing.T) {
	q := newRequests(t)
	slot, other := shardmap.SlotOf([]byte("{k}")), shardmap.SlotOf([]byte("{other}"))
	txn := func(x shardmap.Txn) shardmap.Command { return shardmap.TxnCommand(slot, &x) }
	lease := func(op shardmap.LeaseOp, id shardmap.LeaseID, ttl uint64) shardmap.Command {
		return shardmap.LeaseCommand(slot, op, id, ttl)
	}
	many := make([]shardmap.Op, shardmap.TxnOpsMax+1)
	compares := make([]shardmap.Compare, shardmap.TxnComparesMax+1)
	for i := range many {
		many[i] = op(shardmap.OpGet, fmt.Sprintf("{k}%d", i))
		compares[i] = shardmap.Compare{Kind: shardmap.CompareAbsent, Key: many[i].Key}
	}
	ends := func(ttl uint64, id shardmap.LeaseID) shardmap.Command {
		o := opSet("{k}a", "v")
		o.TTL, o.Lease = ttl, id
		return txn(shardmap.Txn{Then: []shardmap.Op{o}})
	}
	raw := func(kind shardmap.CommandKind, body string) shardmap.Command {
		return shardmap.Command{Kind: kind, Slot: slot, Items: [][]byte{[]byte(body)}}
	}
	with := func(c shardmap.Command, change func(c *shardmap.Command)) shardmap.Command { change(&c); return c }
	good := txn(shardmap.Txn{Then: []shardmap.Op{opSet("{k}a", "v")}})
	for _, c := range []struct {
		what    string
		command shardmap.Command
		code    wire.Code
		want    []string
	}{
		{"nothing", txn(shardmap.Txn{}), wire.CodeBadRequest, []string{"field then"}},
		{"an operation too many", txn(shardmap.Txn{Else: many}), wire.CodeBadRequest, []string{"129", "128"}},
		{"a compare too many", txn(shardmap.Txn{If: compares}), wire.CodeBadRequest, []string{"129", "128"}},
		{"two slots", txn(shardmap.Txn{Then: []shardmap.Op{opSet("{k}a", "v"), opSet("{other}b", "v")}}), wire.CodeBadRequest,
			[]string{"field then[1].key", `"{other}b"`, fmt.Sprintf("slot %d", slot), fmt.Sprintf("slot %d", other)}},
		{"a compare of another slot", txn(shardmap.Txn{If: []shardmap.Compare{{Kind: shardmap.CompareAbsent, Key: []byte("{other}b")}}}), wire.CodeBadRequest,
			[]string{"field if[0].key", fmt.Sprintf("slot %d", slot), fmt.Sprintf("slot %d", other)}},
		{"a key changed twice", txn(shardmap.Txn{Else: []shardmap.Op{opSet("{k}a", "v"), op(shardmap.OpDel, "{k}a")}}), wire.CodeBadRequest, []string{"field else", "twice"}},
		{"an empty key", txn(shardmap.Txn{Then: []shardmap.Op{op(shardmap.OpGet, "")}}), wire.CodeBadRequest, []string{"field then[0].key", "4096"}},
		{"a long key", txn(shardmap.Txn{Then: []shardmap.Op{op(shardmap.OpGet, "{k}"+strings.Repeat("k", shardmap.KeyMax))}}), wire.CodeTooLarge, []string{"field then[0].key", "4099", "4096", "split or shorten it"}},
		{"a long value", txn(shardmap.Txn{Then: []shardmap.Op{opSet("{k}a", strings.Repeat("v", 1001))}}), wire.CodeTooLarge, []string{"field then[0].value", "1001", "1000", "--value-max"}},
		{"a long value to compare with", txn(shardmap.Txn{If: []shardmap.Compare{{Kind: shardmap.CompareValue, Key: []byte("{k}a"), Value: make([]byte, 1001)}}}), wire.CodeTooLarge, []string{"field if[0].value", "1001"}},
		{"version 0", txn(shardmap.Txn{If: []shardmap.Compare{{Kind: shardmap.CompareVersion, Key: []byte("{k}a")}}}), wire.CodeBadRequest, []string{"field if[0].version"}},
		{"more than ten years", ends(shardmap.TTLMax+1, 0), wire.CodeBadRequest, []string{"field then[0].ttl", fmt.Sprint(shardmap.TTLMax)}},
		{"a time and a lease", ends(1, shardmap.MakeLeaseID(slot, 1)), wire.CodeBadRequest, []string{"field then[0].ttl", "one of them"}},
		{"a lease of another slot", ends(0, shardmap.MakeLeaseID(other, 1)), wire.CodeBadRequest, []string{"field then[0].lease", fmt.Sprintf("slot %d", slot), fmt.Sprintf("slot %d", other)}},
		{"no slot", with(good, func(c *shardmap.Command) { c.Slot = shardmap.SlotByServer }), wire.CodeBadRequest, []string{"slot"}},
		{"a long name of a service", shardmap.ServiceDelCommand(strings.Repeat("n", 129)), wire.CodeTooLarge, []string{"field name", "129 bytes", "128", "split or shorten it"}},
		{"a condition", with(good, func(c *shardmap.Command) { c.Condition = shardmap.ConditionAbsent }), wire.CodeBadRequest, []string{"field condition"}},
		{"two bodies", with(good, func(c *shardmap.Command) { c.Items = append(c.Items, c.Items[0]) }), wire.CodeBadRequest, []string{"item"}},
		{"a body cut short", raw(shardmap.CommandTxn, "\x93\x90\x90"), wire.CodeBadRequest, nil},
		{"an operation of kind 9", raw(shardmap.CommandTxn, "\x93\x90\x91\x92\x09\xc4\x01k\x90"), wire.CodeLevel, []string{"operation of kind 9"}},
		{"a grant of no time", lease(shardmap.LeaseGrant, 0, 0), wire.CodeBadRequest, []string{"field ttl", "0 ms"}},
		{"a grant of more than ten years", lease(shardmap.LeaseGrant, 0, shardmap.TTLMax+1), wire.CodeBadRequest, []string{"field ttl", fmt.Sprint(shardmap.TTLMax)}},
		{"a grant of an id", lease(shardmap.LeaseGrant, 5, 10), wire.CodeBadRequest, []string{"field lease"}},
		{"a keepalive with a time", lease(shardmap.LeaseKeepalive, shardmap.MakeLeaseID(slot, 1), 10), wire.CodeBadRequest, []string{"field ttl"}},
		{"a delete of a prefix of another slot", shardmap.DelPrefixCommand(slot, []byte("{other}"), 1), wire.CodeBadRequest, []string{"field slot", fmt.Sprint(other)}},
		{"a delete of no keys", shardmap.DelPrefixCommand(slot, []byte("a/"), 0), wire.CodeBadRequest, []string{"field limit", "0 keys", "1024"}},
		{"a delete of too many keys", shardmap.DelPrefixCommand(slot, []byte("a/"), shardmap.DelPrefixMax+1), wire.CodeBadRequest, []string{"field limit", "1025 keys", "1024"}},
		{"a delete after a key without the prefix", (&shardmap.DelPrefix{Prefix: []byte("b/"), Limit: 1, After: []byte("a/1")}).Command(slot), wire.CodeBadRequest, []string{"field after", `"a/1"`, `"b/"`}},
		{"a delete of a long prefix", shardmap.DelPrefixCommand(slot, make([]byte, shardmap.KeyMax+1), 1), wire.CodeTooLarge, []string{"field prefix", "4097", "4096"}},
		{"a revoke in another slot", lease(shardmap.LeaseRevoke, shardmap.MakeLeaseID(other, 1), 0), wire.CodeBadRequest, []string{fmt.Sprint(slot), fmt.Sprint(other)}},
	} {
		q.take(wire.TypeWrite, wire.AppendWrite(nil, &c.command))
		if n := len(q.Proposals()); n != 0 {
			t.Errorf("%s: %d proposals", c.what, n)
			q.Clear()
			q.asker.types, q.asker.bodies = nil, nil
			continue
		}
		_, _, e := q.asker.answer(t)
		if e == nil || e.Code != c.code || e.Next == "" {
			t.Errorf("%s: %v, want %s", c.what, e, c.code)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(e.Error(), w) {
				t.Errorf("%s: %q does not say %q", c.what, e, w)
			}
		}
	}
	q.table.Level = shardmap.LeasesLevel - 1
	for _, c := range []shardmap.Command{good, lease(shardmap.LeaseGrant, 0, 10)} {
		q.take(wire.TypeWrite, wire.AppendWrite(nil, &c))
		if _, _, e := q.asker.answer(t); len(q.Proposals()) != 0 || e == nil || e.Code != wire.CodeLevel {
			t.Errorf("a %s below its level: %d proposals, %v", c.Kind, len(q.Proposals()), e)
		}
	}
}

// A lease is granted, kept and revoked, and listed in between with what it has left.
func TestLeasesAreAnswered(t *testing.T) {
	q := newRequests(t)
	slot := shardmap.SlotOf([]byte("{k}"))
	var ids []shardmap.LeaseID
	for range 5 {
		a, e := q.lease(t, shardmap.LeaseGrant, 0, 30_000)
		if e != nil || a.Lease.Slot() != slot || a.TTL != 30_000 || a.ID.Index != q.index {
			t.Fatalf("a grant: %+v, %v", a, e)
		}
		ids = append(ids, a.Lease)
	}
	attached := opSet("{k}a", "v")
	attached.Lease = ids[1]
	if _, _, e := q.txn(t, shardmap.Txn{Then: []shardmap.Op{attached}}, 0, 0); e != nil {
		t.Fatal(e)
	}
	list := func(l wire.Leases) wire.LeasesAnswer {
		t.Helper()
		l.Group, l.Slots = 1, []shardmap.SlotRange{{From: slot, To: slot}}
		body := q.page(t, wire.TypeLeases, l.Append(nil), wire.TypeLeasesAnswer)
		var a wire.LeasesAnswer
		if err := a.Read(body); err != nil || a.Group != 1 || a.At.Index != q.index {
			t.Fatalf("leases: %+v, %v", a, err)
		}
		return a
	}
	all := list(wire.Leases{})
	if len(all.Rows) != len(ids) || all.More {
		t.Fatalf("%d leases of %d, more: %t", len(all.Rows), len(ids), all.More)
	}
	for i, row := range all.Rows {
		keys := uint64(0)
		if i == 1 {
			keys = 1
		}
		if row.Lease != ids[i] || row.TTL != 30_000 || row.Remaining == 0 || row.Remaining > 30_000 || row.Keys != keys {
			t.Errorf("lease %d: %+v, want %s with %d keys", i, row, ids[i], keys)
		}
	}
	if page := list(wire.Leases{Limit: 2, After: ids[1]}); len(page.Rows) != 2 || !page.More || page.Rows[0].Lease != ids[2] {
		t.Errorf("a page in between: %+v", page)
	}
	if page := list(wire.Leases{Limit: 2, After: ids[2]}); len(page.Rows) != 2 || page.More {
		t.Errorf("the last page: %+v", page)
	}
	if a, e := q.lease(t, shardmap.LeaseKeepalive, ids[0], 0); e != nil || a.Lease != ids[0] || a.TTL != 30_000 {
		t.Errorf("a keepalive: %+v, %v", a, e)
	}
	if a, e := q.lease(t, shardmap.LeaseRevoke, ids[1], 0); e != nil || a.Lease != ids[1] || a.TTL != 0 {
		t.Errorf("a revoke: %+v, %v", a, e)
	}
	if _, shown, e := q.txn(t, shardmap.Txn{Then: []shardmap.Op{op(shardmap.OpGet, "{k}a")}}, 0, 0); shown != " -" || e != nil {
		t.Errorf("a key of a lease that was revoked: %q, %v", shown, e)
	}
	if rest := list(wire.Leases{}); len(rest.Rows) != len(ids)-1 {
		t.Errorf("%d leases after one of %d was revoked", len(rest.Rows), len(ids))
	}
}

// A listing of leases is refused where there is nothing to list, and where its client has no
// room for it; it is passed on as a get is.
func TestLeasesRefused(t *testing.T) {
	one := func(s shardmap.Slot) []shardmap.SlotRange { return []shardmap.SlotRange{{From: s, To: s}} }
	q := newRequests(t)
	slot := shardmap.SlotOf([]byte("{k}"))
	for _, c := range []struct {
		what   string
		l      wire.Leases
		change func()
		code   wire.Code
		want   string
	}{
		{"the meta group's", wire.Leases{Group: 0, Slots: one(slot)}, func() {}, wire.CodeBadRequest, "meta group"},
		{"of a group that is not", wire.Leases{Group: 9, Slots: one(slot)}, func() {}, wire.CodeMoved, "group 9"},
		{"of a slot that the group has not", wire.Leases{Group: 1, Slots: one(q.foreign)}, func() {}, wire.CodeMoved, fmt.Sprintf("slot %d", q.foreign)},
		{"too many", wire.Leases{Group: 1, Slots: one(slot), Limit: wire.LeasesMax + 1}, func() {}, wire.CodeBadRequest, "field limit: 1025 rows; want 1024"},
		{"of a client that does not read", wire.Leases{Group: 1, Slots: one(slot)}, func() { q.asker.deaf = true }, wire.CodeBusy, "more answers wait"},
		{"without room", wire.Leases{Group: 1, Slots: one(slot)}, func() { q.asker.deaf, q.asker.room = false, 3 }, wire.CodeBusy, "more answers wait"},
	} {
		c.change()
		q.take(wire.TypeLeases, c.l.Append(nil))
		q.run()
		if _, _, e := q.asker.answer(t); e == nil || e.Code != c.code || !strings.Contains(e.Error(), c.want) {
			t.Errorf("leases %s: %v, want %s with %q", c.what, e, c.code, c.want)
		}
	}
	q.passesOn(t, wire.TypeLeases, (&wire.Leases{Group: 1, Slots: one(slot)}).Append(nil))
}
