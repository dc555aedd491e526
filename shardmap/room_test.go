package shardmap

import (
	"fmt"
	"testing"

	"muster/shardmap/registry"
)

// The counts of what a group holds follow its commands: a key that is written twice is one key, and a
// deleted one is none.
func TestHoldings(t *testing.T) {
	m := owning(allSlots())
	if h := HoldingsOf(m); h.Keys+h.Leases+h.Services+h.Sessions.Used != 0 || h.Sessions.Max != GroupSessionsMax {
		t.Errorf("of nothing: %+v", h)
	}
	index := uint64(0)
	do := func(c Command) {
		t.Helper()
		index++
		if c.Slot != SlotByServer || c.Kind == CommandLease {
			c.Session, c.Sequence, c.Floor = uint64(c.Slot)+1, index, 1
		}
		if r := apply(t, m, index, 1, &c); r.Status != StatusApplied {
			t.Fatalf("%+v: %+v", c, r)
		}
	}
	set := func(key string) {
		k := []byte(key)
		do(Command{Kind: CommandSet, Slot: SlotOf(k), Items: [][]byte{k, nil}})
	}
	const keys = 30
	for i := range keys {
		set(fmt.Sprint("k", i))
		set(fmt.Sprint("k", i))
	}
	gone := []byte("k7")
	do(Command{Kind: CommandDel, Slot: SlotOf(gone), Items: [][]byte{gone}})
	do(LeaseCommand(3, LeaseGrant, 0, 60_000))
	do(LeaseCommand(4000, LeaseGrant, 0, 60_000))
	s := registry.Service{Name: "db", Type: "tcp"}
	do(ServiceSetCommand(s.Name, s.Append(nil)))
	h := HoldingsOf(m)
	if h.Keys != keys-1 || h.Leases != 2 || h.Services != 1 || h.Sessions.Used == 0 {
		t.Errorf("%+v, want %d keys, 2 leases, a service and sessions", h, keys-1)
	}
}
