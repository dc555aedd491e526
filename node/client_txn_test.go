package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// What the client library makes of conditions, counters and leases, and of what stands in
// their way, must fit what nodes answer: its own tests know only a fake.
func TestClientTransactions(t *testing.T) {
	r := serving(t, defaultLimits())
	cl := r.library()
	ctx := t.Context()
	key := func(name string) []byte { return []byte("{shop}/" + name) }

	for want := int64(5); want <= 20; want += 5 {
		n, w, err := cl.Incr(ctx, key("stock"), 5)
		if err != nil || n != want || w.Version == 0 {
			t.Fatalf("incr: got %d at %+v, %v", n, w, err)
		}
	}
	got, err := cl.Txn(ctx, &client.Txn{
		If:   []client.Compare{client.IfValue(key("stock"), []byte("20")), client.IfAbsent(key("cart"))},
		Then: []client.Op{client.OpIncr(key("stock"), -1), client.OpIncr(key("cart"), 1), client.OpGet(key("stock")), client.OpDel(key("none"))},
	})
	if err != nil || !got.Succeeded || len(got.Results) != 4 || got.Results[0].Number != 19 || got.Results[1].Number != 1 ||
		string(got.Results[2].Value) != "19" || got.Results[2].Version != got.Version || got.Results[3].Deleted {
		t.Errorf("txn: got %+v, %v", got, err)
	}
	set := func(name string, value []byte, o client.WriteOptions) error {
		_, err := cl.Set(ctx, key(name), value, o)
		return err
	}
	large := bytes.Repeat([]byte("v"), shardmap.TxnReadMax+1)
	for _, err := range []error{set("large", large, client.WriteOptions{}), set("color", []byte("blue"), client.WriteOptions{IfAbsent: true, TTL: time.Hour})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	refused(t, "if-absent", set("color", nil, client.WriteOptions{IfAbsent: true, TTL: time.Hour}), wire.CodeConflict, `key "{shop}/color"`, "it exists, at version")
	refused(t, "if-value", set("color", nil, client.WriteOptions{IfValue: []byte("red")}), wire.CodeConflict, "its value is another one, of 4 bytes")
	refused(t, "if-value of a large one", set("large", nil, client.WriteOptions{IfValue: []byte("red")}), wire.CodeConflict, "more than 65536 bytes")
	_, _, err = cl.Incr(ctx, key("color"), 1)
	refused(t, "incr of a color", err, wire.CodeConflict, "color", "blue")
	_, err = cl.Txn(ctx, &client.Txn{Then: []client.Op{client.OpGet(key("large"))}})
	refused(t, "a large read", err, wire.CodeTooLarge, "large", "65536")

	lease, err := cl.Grant(ctx, key("any"), time.Hour)
	if err != nil || lease.TTL != time.Hour || lease.ID.Slot() != shardmap.SlotOf(key("any")) {
		t.Fatalf("grant: got %+v, %v", lease, err)
	}
	if err := set("held", nil, client.WriteOptions{Lease: lease.ID, IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	if kept, err := cl.Keepalive(ctx, lease.ID); err != nil || kept.ID != lease.ID || kept.TTL != time.Hour {
		t.Errorf("keepalive: got %+v, %v", kept, err)
	}
	rows := 0
	for row, err := range cl.Leases(ctx) {
		if err != nil || row.ID != lease.ID || row.Keys != 1 || row.TTL != time.Hour || row.Remaining <= 0 || row.Remaining > time.Hour {
			t.Errorf("list: got %+v, %v", row, err)
		}
		rows++
	}
	if rows != 1 {
		t.Errorf("%d leases", rows)
	}
	if _, err := cl.Revoke(ctx, lease.ID); err != nil {
		t.Fatal(err)
	}
	if _, missing, err := cl.Get(ctx, [][]byte{key("held"), key("color")}, client.ReadOptions{}); err != nil || fmt.Sprintf("%s", missing) != "[{shop}/held]" {
		t.Errorf("after the revoke: missing %s, %v", missing, err)
	}
	_, err = cl.Keepalive(ctx, lease.ID)
	refused(t, "keepalive", err, wire.CodeNotFound, "lease "+lease.ID.String())
	refused(t, "attach", set("held", nil, client.WriteOptions{Lease: lease.ID}), wire.CodeNotFound, "lease "+lease.ID.String())
}

// A question for a table of an index is kept until there is one.
func TestTopologyAt(t *testing.T) {
	r := serving(t, defaultLimits())
	cl := r.library()
	ctx := t.Context()
	now, err := cl.Topology(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if at, err := cl.TopologyAt(ctx, now.Index); err != nil || at.Index < now.Index {
		t.Fatalf("at once: got index %d, %v, want %d", at.Index, err, now.Index)
	}
	later := make(chan uint64, 1)
	go func() {
		at, err := cl.TopologyAt(ctx, now.Index+1)
		if err != nil {
			t.Error(err)
			at = now
		}
		later <- at.Index
	}()
	command, err := shardmap.AppendWeight(nil, &shardmap.SetWeight{Node: now.Nodes[0].ID, Weight: 2})
	if err == nil {
		_, err = cl.Order(ctx, command, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := <-later; got <= now.Index {
		t.Errorf("later: got index %d, want more than %d", got, now.Index)
	}
}

// A key with a TTL goes by itself, and one on a lease lives as long as the lease is kept
// alive, for many times its TTL, and goes soon after that ends.
func TestClientKeepsAlive(t *testing.T) {
	r := serving(t, defaultLimits())
	cl := r.library()
	const ttl = 2 * time.Second
	lease, err := cl.Grant(t.Context(), []byte("{job}"), ttl)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	kept := cl.KeepAlive(ctx, lease.ID)
	if first := <-kept; first.Err != nil || first.TTL != ttl {
		t.Fatalf("got %+v", first)
	}
	held, short := []byte("{job}/held"), []byte("{job}/short")
	if _, err := cl.SetMany(t.Context(), []client.Pair{
		{Key: held, SetOptions: client.SetOptions{Lease: lease.ID}},
		{Key: short, SetOptions: client.SetOptions{TTL: ttl}},
	}); err != nil {
		t.Fatal(err)
	}
	there := func(key []byte) bool {
		_, _, ok, err := cl.GetOne(t.Context(), key, nil, client.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	gone := func() error {
		if there(short) {
			return errors.New("the short one is there")
		}
		return nil
	}
	until(t, "the short one goes", gone)
	for range 3 { // a TTL more
		if last := <-kept; last.Err != nil {
			t.Fatalf("after the short one: %v", last.Err)
		}
		if !there(held) {
			t.Fatal("the one that is held is gone")
		}
	}
	cancel()
	var last client.LeaseKept
	for last = range kept {
	}
	if !errors.Is(last.Err, context.Canceled) {
		t.Errorf("the end: %v", last.Err)
	}
	until(t, "the lease ends", func() error {
		if there(held) {
			return errors.New("the one that was held is there")
		}
		return nil
	})
	if _, err := cl.Keepalive(t.Context(), lease.ID); err == nil || !strings.Contains(err.Error(), "not-found") {
		t.Errorf("keepalive after the end: %v", err)
	}
}

// The stream of the table that a client holds is one that nodes have: it is opened once, and
// brings each change of the table.
func TestClientFollowsTheTable(t *testing.T) {
	r := serving(t, defaultLimits())
	cl := r.library()
	seen := func() (opened, pieces uint64) {
		a, err := cl.Counters(t.Context(), r.addr)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range a.Rows {
			switch c.Name {
			case wire.TypeTableStream.String():
				opened = c.In
			case wire.TypeTablePiece.String():
				pieces = c.Out
			}
		}
		return opened, pieces
	}
	if _, err := cl.Set(t.Context(), []byte("k"), nil, client.WriteOptions{}); err != nil { // has it fetch the table
		t.Fatal(err)
	}
	last := uint64(0)
	for weight := range uint32(4) {
		until(t, "a newer table is sent", func() error {
			opened, pieces := seen()
			if opened != 1 || pieces <= last {
				return fmt.Errorf("%d tables over %d streams, want more than %d over 1", pieces, opened, last)
			}
			last = pieces
			return nil
		})
		now, err := cl.Topology(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		command, err := shardmap.AppendWeight(nil, &shardmap.SetWeight{Node: now.Nodes[0].ID, Weight: 1 + weight})
		if err == nil {
			_, err = cl.Order(t.Context(), command, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
