package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// A lease takes the keys along that were attached to it, and no others; and when it is
// gone, every call about it says so.
func TestLease(t *testing.T) {
	f := newFakeOfLevel5(t, 3, 8)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	l, err := c.Grant(ctx, []byte("{job}"), 1500*time.Microsecond)
	if err != nil {
		t.Fatal(err)
	}
	if l.ID.Slot() != shardmap.SlotOf([]byte("{job}")) || l.ID.Number() == 0 || l.TTL != 2*time.Millisecond || l.Written.ID.Index == 0 {
		t.Errorf("got %+v", l)
	}
	for key, o := range map[string]WriteOptions{"{job}/a": {Lease: l.ID}, "{job}/b": {Lease: l.ID, IfAbsent: true}, "{job}/c": {Lease: l.ID}, "{job}/d": {}} {
		if _, err := c.Set(ctx, []byte(key), nil, o); err != nil {
			t.Fatal(err)
		}
	}
	// A plain set takes the lease away.
	if _, err := c.Txn(ctx, &Txn{Then: []Op{OpSet([]byte("{job}/c"), nil, SetOptions{})}}); err != nil {
		t.Fatal(err)
	}
	if kept, err := c.Keepalive(ctx, l.ID); err != nil || kept.ID != l.ID || kept.TTL != l.TTL {
		t.Errorf("keepalive: got %+v, %v", kept, err)
	}
	if w, err := c.Revoke(ctx, l.ID); err != nil || w.ID.Index == 0 {
		t.Errorf("revoke: got %+v, %v", w, err)
	}
	_, missing, err := c.Get(ctx, [][]byte{[]byte("{job}/a"), []byte("{job}/b"), []byte("{job}/c"), []byte("{job}/d")}, ReadOptions{})
	if err != nil || fmt.Sprintf("%s", missing) != "[{job}/a {job}/b]" {
		t.Errorf("gone: got %s, %v", missing, err)
	}
	_, set := c.Set(ctx, []byte("{job}/e"), nil, WriteOptions{Lease: l.ID})
	_, kept := c.Keepalive(ctx, l.ID)
	_, revoked := c.Revoke(ctx, l.ID)
	for _, err := range []error{set, kept, revoked} {
		if codeOf(err) != wire.CodeNotFound || !strings.Contains(err.Error(), "lease "+l.ID.String()) {
			t.Errorf("got %v", err)
		}
	}
}

// A listing of leases has each one once, though pages are short, and slots move between
// them.
func TestLeasesOutliveMoves(t *testing.T) {
	const leases = 200
	f := newFakeOfLevel5(t, 3, 5)
	c := f.open(Options{})
	ctx := within(t, busyMax+10*time.Second)
	var want []shardmap.LeaseID
	for i := range leases {
		l, err := c.Grant(ctx, fmt.Appendf(nil, "{%d}", i/8), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, l.ID)
	}
	slices.Sort(want)
	for _, moving := range []bool{false, true} {
		if moving {
			var slots []shardmap.Slot
			for _, id := range want {
				slots = append(slots, id.Slot())
			}
			f.moveAround(t, slots...)
		}
		var got []shardmap.LeaseID
		for row, err := range c.Leases(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			if row.TTL != time.Minute || row.Remaining != time.Minute || row.At.Index == 0 || int(row.Group) != f.ownerOf(row.ID.Slot()) && !moving {
				t.Errorf("got %+v", row)
			}
			got = append(got, row.ID)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("moving %v: got %d leases, want %d", moving, len(got), len(want))
		}
	}
	for range c.Leases(ctx) {
		break // a caller may stop
	}
}

// A node that is wrong, or lies, may tell any number of milliseconds. What lasts for longer than a duration can say must not
// look as if it were about to end.
func TestTimesThatOverflow(t *testing.T) {
	const longest = math.MaxInt64 / time.Millisecond * time.Millisecond
	f := newFakeOfLevel5(t, 1, 1)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	key := []byte("k")
	granted, err := c.Grant(ctx, key, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	for ms, want := range map[uint64]time.Duration{
		0: 0, 1500: 1500 * time.Millisecond, 9223372036854: longest, 9223372036855: longest, 18446744073709: longest, 18446744073710: longest, math.MaxUint64: longest,
	} {
		f.mu.Lock()
		f.leases[granted.ID].ttl = ms
		f.mu.Unlock()
		for row, err := range c.Leases(ctx) {
			if err != nil || row.Remaining != want || row.TTL != want {
				t.Errorf("%d ms of a lease: got %+v, %v, want %v", ms, row, err, want)
			}
		}
		if kept, err := c.Keepalive(ctx, granted.ID); err != nil || kept.TTL != want {
			t.Errorf("%d ms of a lease that was kept alive: got %+v, %v, want %v", ms, kept, err, want)
		}
		body := wire.AppendFound(wire.AppendGetAnswer(nil, 1, raft.LogID{Term: 1, Index: 1}, 1), 1, nil)
		x := newCall(wire.TypeGet)
		x.answer = wire.AppendEnds(body, 0, []wire.KeyEnd{{Ends: true, Remaining: ms, Lease: granted.ID}})
		found := make([]Item, 1)
		if err := readItems(x, []int{0}, [][]byte{key}, found); err != nil || !found[0].Ends || found[0].Remaining != want || found[0].Lease != granted.ID {
			t.Errorf("%d ms of a key: got %+v, %v, want %v", ms, found[0], err, want)
		}
	}
}

// moveAround moves slots from group to group, until the test ends.
func (c *fakeCluster) moveAround(t *testing.T, slots ...shardmap.Slot) {
	stop := make(chan struct{})
	var mover sync.WaitGroup
	mover.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			c.move(slots[n*7%len(slots)], 1+n%c.groups)
			if n%8 == 0 {
				c.record()
			}
		}
	})
	t.Cleanup(func() { close(stop); mover.Wait() })
}

// ownerOf is groupOf for who does not hold the lock.
func (c *fakeCluster) ownerOf(s shardmap.Slot) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.groupOf(s)
}

// A lease is kept alive at a third of its TTL until its context ends, whoever reads what is
// told; then the channel says why, and is closed.
func TestKeepAlive(t *testing.T) {
	f := newFakeOfLevel5(t, 3, 8)
	c := f.open(Options{})
	l, err := c.Grant(within(t, 10*time.Second), []byte("k"), 60*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.leases[l.ID].ttl = uint64((10 * time.Second).Milliseconds()) // what the cluster says counts
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	told := c.KeepAlive(ctx, l.ID)
	if first := <-told; first.Err != nil || first.ID != l.ID || first.TTL != 10*time.Second {
		t.Fatalf("got %+v", first)
	}
	cancel()
	if last := <-told; !errors.Is(last.Err, context.Canceled) || last.ID != l.ID {
		t.Errorf("got %+v", last)
	}
	if _, open := <-told; open {
		t.Error("it is told of more")
	}

	f.mu.Lock()
	f.leases[l.ID].ttl, f.keptAlive = 30, 0
	f.mu.Unlock()
	told = c.KeepAlive(t.Context(), l.ID)
	until(t, "it is kept alive though nobody reads", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.keptAlive >= 3
	})
	f.end(l.ID)
	var last LeaseKept
	for kept := range told {
		last = kept
	}
	if codeOf(last.Err) != wire.CodeNotFound && codeOf(last.Err) != wire.CodeUnavailable {
		t.Errorf("after its end: got %+v", last)
	}
}

// Who rests on a lease must learn in time that nobody confirms it: after its TTL, and not
// when the cluster is back.
func TestKeepAliveInSilence(t *testing.T) {
	f := newFakeOfLevel5(t, 1, 1)
	c := f.open(Options{})
	l, err := c.Grant(within(t, 10*time.Second), []byte("k"), 300*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	told := c.KeepAlive(t.Context(), l.ID)
	<-told
	f.nodes[0].do(func(wire.Header, []byte) fakeOrder { return fakeOrder{silent: true} })
	var last LeaseKept
	for kept := range told {
		last = kept
	}
	if code := codeOf(last.Err); code != wire.CodeMaybeApplied && code != wire.CodeUnavailable {
		t.Errorf("got %v", last.Err)
	}
	if !strings.Contains(last.Err.Error(), "lease "+l.ID.String()) {
		t.Errorf("got %v", last.Err)
	}
}

// A client that is closed keeps nothing alive, and says so.
func TestKeepAliveOfAClosedClient(t *testing.T) {
	f := newFakeOfLevel5(t, 1, 1)
	c := f.open(Options{})
	l, err := c.Grant(within(t, 10*time.Second), []byte("k"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	told := c.KeepAlive(t.Context(), l.ID)
	<-told
	c.Close()
	if last := <-told; !errors.Is(last.Err, ErrClosed) {
		t.Errorf("got %+v", last)
	}
	if last := <-c.KeepAlive(t.Context(), l.ID); !errors.Is(last.Err, ErrClosed) {
		t.Errorf("after: got %+v", last)
	}
}
