package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// applyDelPrefix carries out a delete of a prefix. Its limit is small, so that few keys of a slot
// take several commands.
func (c *fakeCluster) applyDelPrefix(cmd *shardmap.Command, group int) (wire.Type, []byte) {
	const most = 3
	d, err := shardmap.ReadDelPrefix(cmd)
	if err != nil {
		return wire.TypeError, wire.BadBody(wire.TypeWrite, err).Append(nil)
	}
	c.index++
	c.applied++
	a := wire.DelPrefixAnswer{Group: raft.GroupID(group), ID: raft.LogID{Term: 1, Index: c.index}, Version: c.index}
	looked := 0
	for _, key := range slices.Sorted(maps.Keys(c.data)) {
		if shardmap.SlotOf([]byte(key)) != cmd.Slot || !bytes.HasPrefix([]byte(key), d.Prefix) || key <= string(d.After) {
			continue
		}
		if a.More = looked == most; a.More {
			break
		}
		looked++
		a.Next = []byte(key)
		if d.UpTo == 0 || c.data[key].version <= d.UpTo {
			delete(c.data, key)
			a.Deleted++
		}
	}
	if !a.More {
		a.Next = nil
	}
	return wire.TypeDelPrefixAnswer, a.Append(nil)
}

// prefixFake is a cluster at the level at which prefixes are deleted, with keys.
func prefixFake(t *testing.T, keys int, key func(i int) string) *fakeCluster {
	f := newFake(t, 3, 8)
	f.level = shardmap.RangesLevel
	for i := range keys {
		f.data[key(i)] = fakeValue{[]byte("v"), 1}
	}
	f.data["other"] = fakeValue{[]byte("v"), 1}
	return f
}

// All keys with the prefix must go, and none beside them, however often an answer is lost: by then
// the command has been carried out, and a retry must tell of the same keys once. Slots without such
// keys get no command if there are few keys.
func TestDeletePrefix(t *testing.T) {
	for _, tt := range []struct {
		what   string
		keys   int
		key    func(i int) string
		prefix string
		slots  int // 0: those of the keys
		writes int // at least
	}{
		{"a few", 40, func(i int) string { return fmt.Sprint("a/", i) }, "a/", 0, 35},
		{"many", 3 * prefixProbe, func(i int) string { return fmt.Sprint("a/", i) }, "a/", shardmap.Slots, shardmap.Slots},
		{"one slot", 50, func(i int) string { return fmt.Sprint("{t}", i) }, "{t}", 1, 17},
		{"none", 0, nil, "a/", 0, 0},
	} {
		t.Run(tt.what, func(t *testing.T) {
			f := prefixFake(t, tt.keys, tt.key)
			c := f.open(Options{})
			slots := map[shardmap.Slot]bool{}
			for k := range f.data {
				if k != "other" {
					slots[shardmap.SlotOf([]byte(k))] = true
				}
			}
			turns := 0
			for _, n := range f.nodes {
				n.do(func(h wire.Header, _ []byte) fakeOrder {
					if h.Type != wire.TypeWrite {
						return fakeOrder{}
					}
					f.mu.Lock()
					defer f.mu.Unlock()
					turns++
					return fakeOrder{hangUp: turns%97 == 5}
				})
			}
			var told []PrefixDeleted
			got, err := DeletePrefix(within(t, 30*time.Second), c, []byte(tt.prefix), PrefixOptions{Progress: func(p PrefixDeleted) { told = append(told, p) }})
			if want := max(tt.slots, len(slots)); err != nil || got.Keys != tt.keys || got.Slots != want || got.SlotsDone != want {
				t.Errorf("got %+v, %v; want %d keys of %d slots", got, err, tt.keys, want)
			}
			if len(f.data) != 1 || f.applied < tt.writes || tt.slots == 0 && f.applied > tt.keys {
				t.Errorf("%d keys are left after %d commands", len(f.data), f.applied)
			}
			if !slices.IsSortedFunc(told, func(a, b PrefixDeleted) int { return a.Keys - b.Keys }) || len(told) != f.applied || len(told) > 0 && told[len(told)-1].Keys != tt.keys {
				t.Errorf("told %d times of %d commands: %+v", len(told), f.applied, told[max(0, len(told)-3):])
			}
			groups := map[int]bool{}
			for s := range slots {
				groups[f.groupOf(s)] = true
			}
			if len(got.Last) != len(groups) {
				t.Errorf("log ids %v of the groups %v", got.Last, groups)
			}
		})
	}
}

// A cluster whose nodes don't know the command is told of nothing, and the error says so: whoever
// gets it deletes the keys another way.
func TestDeletePrefixBelowItsLevel(t *testing.T) {
	f := prefixFake(t, 10, func(i int) string { return fmt.Sprint("a/", i) })
	f.level = shardmap.RangesLevel - 1
	got, err := DeletePrefix(within(t, 20*time.Second), f.open(Options{}), []byte("a/"), PrefixOptions{})
	if codeOf(err) != wire.CodeLevel || got.Keys != 0 || f.applied != 0 || len(f.data) != 11 {
		t.Errorf("got %+v, %v; %d commands, %d keys left", got, err, f.applied, len(f.data))
	}
	long := make([]byte, shardmap.KeyMax+1)
	if _, err := DeletePrefix(within(t, 20*time.Second), f.open(Options{}), long, PrefixOptions{}); codeOf(err) != wire.CodeTooLarge {
		t.Errorf("a prefix of %d bytes: %v", len(long), err)
	}
}

// A caller that may write keys and not list them can delete them. It does not learn which slots have
// any, so all get a command.
func TestDeletePrefixWithoutListing(t *testing.T) {
	f := prefixFake(t, 10, func(i int) string { return fmt.Sprint("a/", i) })
	for _, n := range f.nodes {
		n.do(func(h wire.Header, _ []byte) fakeOrder {
			if h.Type == wire.TypeScan {
				return fakeOrder{refuse: wire.Unauthorized("request", "it is not permitted", "ask for list")}
			}
			return fakeOrder{}
		})
	}
	got, err := DeletePrefix(within(t, 20*time.Second), f.open(Options{}), []byte("a/"), PrefixOptions{})
	if err != nil || got.Keys != 10 || got.Slots != shardmap.Slots || len(f.data) != 1 {
		t.Errorf("got %+v, %v; %d keys left", got, err, len(f.data))
	}
}

// After an error the result is what was acknowledged, no other command is sent, and the same call
// again deletes the rest.
func TestDeletePrefixFails(t *testing.T) {
	const keys = 2 * prefixProbe
	f := prefixFake(t, keys, func(i int) string { return fmt.Sprint("a/", i) })
	c := f.open(Options{})
	ctx, cancel := context.WithCancel(within(t, 30*time.Second))
	defer cancel()
	got, err := DeletePrefix(ctx, c, []byte("a/"), PrefixOptions{Progress: func(p PrefixDeleted) {
		if p.Keys > keys/4 {
			cancel()
		}
	}})
	f.mu.Lock()
	left, applied := len(f.data)-1, f.applied
	f.mu.Unlock()
	if !errors.Is(err, context.Canceled) || got.Keys <= keys/4 || got.Keys > keys-left || left == 0 || got.SlotsDone >= got.Slots {
		t.Errorf("got %+v, %v; %d keys left after %d commands", got, err, left, applied)
	}
	rest, err := DeletePrefix(within(t, 20*time.Second), c, []byte("a/"), PrefixOptions{Within: 10 * time.Second})
	if err != nil || len(f.data) != 1 || rest.Keys > left {
		t.Errorf("the rest: %+v, %v; %d keys left", rest, err, len(f.data))
	}
}

// A delete that is told to end sends nothing more, and has counted everything that it did: what it says is where another
// one goes on, and no key below that is left.
func TestDeletePrefixUntil(t *testing.T) {
	const keys = 2 * prefixProbe
	f := prefixFake(t, keys, func(i int) string { return fmt.Sprint("a/", i) })
	c := f.open(Options{})
	ended := make(chan struct{})
	close(ended)
	const tries = 20 // a choice that falls on either would fall on the wrong one soon
	for range tries {
		if got, err := DeletePrefix(within(t, 20*time.Second), c, []byte("a/"), PrefixOptions{Until: ended}); err != nil || got.Keys != 0 {
			t.Fatalf("one that was told before it began: %+v, %v; want no key deleted", got, err)
		}
	}
	ends := make(chan struct{})
	end := sync.OnceFunc(func() { close(ends) })
	got, err := DeletePrefix(within(t, 30*time.Second), c, []byte("a/"), PrefixOptions{Until: ends, Progress: func(p PrefixDeleted) {
		if p.Keys > keys/4 {
			end()
		}
	}})
	f.mu.Lock()
	left := len(f.data) - 1
	below := 0
	for k := range f.data {
		if strings.HasPrefix(k, "a/") && shardmap.SlotOf([]byte(k)) < got.Next {
			below++
		}
	}
	f.mu.Unlock()
	if err != nil || got.Keys != keys-left || left == 0 || got.Next == 0 || got.Next >= shardmap.Slots || below > 0 {
		t.Fatalf("got %+v, %v; %d keys left, %d of them below slot %d", got, err, left, below, got.Next)
	}
	rest, err := DeletePrefix(within(t, 20*time.Second), c, []byte("a/"), PrefixOptions{From: got.Next})
	if err != nil || len(f.data) != 1 || rest.Keys != left || rest.Next != shardmap.Slots {
		t.Errorf("the rest: %+v, %v; %d keys left", rest, err, len(f.data))
	}
}

// With bounds what is newer stays, however much of it stands between what goes: a command that finds
// nothing but newer keys deletes none, and the next one goes on behind them. A slot that was never written gets no
// command, though 0 would be no bound.
func TestDeletePrefixWithBounds(t *testing.T) {
	const keys, bound = 60, 40
	f := prefixFake(t, keys, func(i int) string { return fmt.Sprintf("{t}%02d", i) })
	for i := range keys {
		f.data[fmt.Sprintf("{t}%02d", i)] = fakeValue{[]byte("v"), uint64(1 + i*7%keys)}
	}
	bounds := new(SlotVersions)
	bounds[shardmap.SlotOf([]byte("{t}"))] = bound
	got, err := DeletePrefix(within(t, 20*time.Second), f.open(Options{}), []byte("{t}"), PrefixOptions{Bounds: bounds})
	if err != nil || got.Keys != bound || got.Next != shardmap.Slots || len(f.data) != 1+keys-bound {
		t.Errorf("got %+v, %v; %d keys left", got, err, len(f.data))
	}
	for k, v := range f.data {
		if k != "other" && v.version <= bound {
			t.Errorf("%s of version %d is left", k, v.version)
		}
	}
	applied := f.applied
	got, err = DeletePrefix(within(t, 20*time.Second), f.open(Options{}), []byte("{t}"), PrefixOptions{Bounds: new(SlotVersions)})
	if err != nil || got.Keys != 0 || got.Slots != 0 || f.applied != applied {
		t.Errorf("with no version at all: %+v, %v; %d commands", got, err, f.applied-applied)
	}
}

// The versions of slots are those that the groups have which serve them: one that a slot has left knows none, and is
// not asked for it again. Each request is for many slots.
func TestSlotVersions(t *testing.T) {
	f := prefixFake(t, 0, nil)
	c := f.open(Options{})
	f.index = 4711
	asked := 0
	for _, n := range f.nodes {
		n.do(func(h wire.Header, _ []byte) fakeOrder {
			if h.Type == wire.TypeSlotView {
				f.mu.Lock()
				defer f.mu.Unlock()
				asked++
			}
			return fakeOrder{}
		})
	}
	got, err := c.SlotVersions(within(t, 20*time.Second), nil)
	if err != nil || asked != f.groups {
		t.Fatalf("asked %d times of %d groups: %v", asked, f.groups, err)
	}
	for s, v := range got {
		if v != f.index {
			t.Fatalf("slot %d has version %d, want %d", s, v, f.index)
		}
	}
	// The table comes to know of a move while the client asks the group that the slot has left.
	one := shardmap.SlotOf([]byte("{t}"))
	f.move(one, f.groupOf(one)%f.groups+1)
	f.index = 5000
	asked = 0
	for _, n := range f.nodes {
		n.do(func(h wire.Header, _ []byte) fakeOrder {
			if h.Type == wire.TypeSlotView {
				f.mu.Lock()
				asked++
				again := asked == 2
				f.mu.Unlock()
				if again {
					f.record()
				}
			}
			return fakeOrder{}
		})
	}
	f.record()
	if got, err = c.SlotVersions(within(t, 20*time.Second), []byte("{t}")); err != nil || got[one] != 5000 || got[one+1] != 0 {
		t.Errorf("of a slot that has moved: %d, and %d of another, %v", got[one], got[one+1], err)
	}
	f.level = shardmap.RangesLevel - 1
	if _, err := f.open(Options{}).SlotVersions(within(t, 20*time.Second), nil); codeOf(err) != wire.CodeLevel {
		t.Errorf("below its level: %v", err)
	}
}
