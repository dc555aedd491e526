package node

import (
	"fmt"
	"testing"

	"muster/repl/client"
	"muster/repl/wire"
	"muster/shardmap"
)

// The client library must understand what nodes answer to a delete of a prefix: its own tests know
// only a fake. Of one slot there are more keys than one command deletes.
func TestClientDeletesPrefix(t *testing.T) {
	cl := serving(t, defaultLimits()).library()
	const many, few = shardmap.DelPrefixMax + 500, 300
	var pairs []client.Pair
	for i := range many {
		pairs = append(pairs, client.Pair{Key: fmt.Appendf(nil, "cart/{t}%d", i), Value: []byte("v")})
	}
	for i := range few {
		pairs = append(pairs, client.Pair{Key: fmt.Appendf(nil, "cart/%d", i), Value: []byte("v")}, client.Pair{Key: fmt.Appendf(nil, "carts/%d", i), Value: []byte("v")})
	}
	if _, err := cl.SetMany(t.Context(), pairs); err != nil {
		t.Fatal(err)
	}
	got, err := client.DeletePrefix(t.Context(), cl, []byte("cart/"), client.PrefixOptions{})
	if err != nil || got.Keys != many+few || got.Slots != shardmap.Slots || got.SlotsDone != got.Slots {
		t.Errorf("got %+v, %v; want %d keys of all slots", got, err, many+few)
	}
	left := 0
	for item, err := range cl.List(t.Context(), []byte("cart"), client.ListOptions{KeysOnly: true}) {
		if err != nil || string(item.Key[:6]) != "carts/" {
			t.Fatalf("left is %q, %v", item.Key, err)
		}
		left++
	}
	if left != few {
		t.Errorf("%d keys are left, want %d", left, few)
	}
	if again, err := client.DeletePrefix(t.Context(), cl, []byte("cart/"), client.PrefixOptions{}); err != nil || again.Keys != 0 || again.Slots != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

// In a cluster with members of an older build the command never reaches a log.
func TestDeletePrefixBelowItsLevel(t *testing.T) {
	older := defaultLimits()
	older.level = shardmap.RangesLevel - 1
	cl := serving(t, older).library()
	if _, err := cl.Set(t.Context(), []byte("cart/1"), []byte("v"), client.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := client.DeletePrefix(t.Context(), cl, []byte("cart/"), client.PrefixOptions{})
	refused(t, "a delete of a prefix", err, wire.CodeLevel, "level 9", "upgrade")
	if _, missing, err := cl.Get(t.Context(), [][]byte{[]byte("cart/1")}, client.ReadOptions{}); err != nil || len(missing) > 0 {
		t.Errorf("afterwards: %s missing, %v", missing, err)
	}
}
