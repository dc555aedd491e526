package client

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// Of many keys some can be read though others can't: what was read is returned beside the
// error, which names the others, and none of them is taken for missing.
func TestGetReportsPerKey(t *testing.T) {
	f := newFake(t, 1, 8)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	var keys [][]byte
	for i := range 40 {
		keys = append(keys, fmt.Append(nil, i))
		if i%4 == 0 {
			continue
		}
		if _, err := c.Set(ctx, keys[i], fmt.Append(nil, i), WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	bad := func(key []byte) bool { return len(key) == 2 && key[0] == '2' }
	f.nodes[0].do(func(h wire.Header, body []byte) fakeOrder {
		var g wire.Get
		if h.Type != wire.TypeGet || g.Read(body) != nil || !bad(g.Keys[0]) {
			return fakeOrder{}
		}
		return fakeOrder{refuse: wire.Unauthorized("key", "it is secret", "ask somebody")}
	})
	items, missing, err := c.Get(ctx, keys, ReadOptions{})
	var partly *PartlyError
	if !errors.As(err, &partly) || len(partly.Items) != 10 || partly.Total != 40 || codeOf(err) != wire.CodeUnauthorized {
		t.Fatalf("got %v", err)
	}
	for i, x := range partly.Items {
		if want := 20 + i; x.Index != want || string(x.Key) != fmt.Sprint(want) {
			t.Errorf("not read: got %s at %d, want %d", x.Key, x.Index, want)
		}
	}
	if len(items) != 23 || len(missing) != 7 {
		t.Errorf("got %d items and %d missing, want 23 and 7", len(items), len(missing))
	}
	for _, x := range items {
		if !bytes.Equal(x.Key, x.Value) || bad(x.Key) || x.Slot != shardmap.SlotOf(x.Key) {
			t.Errorf("got %+v", x)
		}
	}
	for _, k := range missing {
		if bad(k) {
			t.Errorf("%s is taken for missing", k)
		}
	}
}

// Options of a read that contradict each other, or mean nothing, are refused before
// anything is sent.
func TestReadsRefused(t *testing.T) {
	f := newFakeOfLevel5(t, 1, 1)
	c := f.open(Options{})
	for _, x := range []struct {
		o    ReadOptions
		want string
	}{
		{ReadOptions{MaxStale: -1}, "max-stale: not valid (-1ns, want 1ms to 1h0m0s)"},
		{ReadOptions{MaxStale: MaxStaleMax + 1}, "max-stale: not valid (1h0m0.000000001s, want 1ms to 1h0m0s)"},
		{ReadOptions{Local: true, Follower: true}, "more than one of local, follower and max-stale"},
		{ReadOptions{Local: true, MaxStale: 1}, "more than one of local, follower and max-stale"},
		{ReadOptions{Follower: true, MaxStale: 1}, "more than one of local, follower and max-stale"},
	} {
		_, _, _, one := c.GetOne(t.Context(), []byte("k"), nil, x.o)
		_, _, many := c.Get(t.Context(), [][]byte{[]byte("k"), []byte("l")}, x.o)
		for _, err := range []error{one, many} {
			if codeOf(err) != wire.CodeBadRequest || !strings.Contains(err.Error(), x.want) {
				t.Errorf("%+v: got %v, want %q", x.o, err, x.want)
			}
		}
	}
	if n := f.nodes[0].accepts.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

// keysOf returns keys of a group, each in a slot of its own.
func (c *fakeCluster) keysOf(group, n int) (keys [][]byte) {
	seen := map[shardmap.Slot]bool{}
	for i := 0; len(keys) < n; i++ {
		key := fmt.Append(nil, "key/", i)
		if s := shardmap.SlotOf(key); c.first(s) == group && !seen[s] {
			seen[s] = true
			keys = append(keys, key)
		}
	}
	return keys
}

// Keys of one group are read at one moment by one request, and keys of several groups not
// at all: the error names two of them.
func TestGetAtOnce(t *testing.T) {
	f := newFake(t, 3, 4)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	keys := f.keysOf(2, 12)
	for _, k := range keys[:8] {
		if _, err := c.Set(ctx, k, k, WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	f.mu.Lock()
	before := f.gets
	f.mu.Unlock()
	items, missing, err := c.Get(ctx, keys, ReadOptions{AtOnce: true})
	if err != nil || len(items) != 8 || len(missing) != 4 {
		t.Fatalf("got %d items, %d missing, %v", len(items), len(missing), err)
	}
	for i, x := range items {
		if !bytes.Equal(x.Key, keys[i]) || !bytes.Equal(x.Value, keys[i]) || x.At != items[0].At || x.Group != 2 || x.Slot != shardmap.SlotOf(keys[i]) {
			t.Errorf("got %+v", x)
		}
	}
	f.mu.Lock()
	if n := f.gets[wire.ReadLinearizable] - before[wire.ReadLinearizable]; n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
	f.mu.Unlock()

	other := f.keysOf(3, 1)[0]
	_, _, err = c.Get(ctx, append([][]byte{keys[0], keys[1]}, other), ReadOptions{AtOnce: true})
	for _, want := range []string{"get at once: bad-request: ", string(keys[0]), "group g2", string(other), "group g3"} {
		if codeOf(err) != wire.CodeBadRequest || !strings.Contains(err.Error(), want) {
			t.Errorf("two groups: got %v, want %q in it", err, want)
		}
	}
	many := make([][]byte, wire.GetKeysMax+1)
	for i := range many {
		many[i] = keys[i%2]
	}
	if _, _, err := c.Get(ctx, many, ReadOptions{AtOnce: true}); codeOf(err) != wire.CodeTooLarge {
		t.Errorf("many keys: got %v", err)
	}
}

// A read at once follows keys that move: while they are apart it is refused, and when they
// have come together, wherever that is, it is answered, whatever the client's table says.
func TestGetAtOnceFollowsMoves(t *testing.T) {
	f := newFake(t, 3, 4)
	c := f.open(Options{})
	ctx := within(t, busyMax+10*time.Second)
	keys := f.keysOf(2, 4)
	if _, _, err := c.Get(ctx, keys, ReadOptions{AtOnce: true}); err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		if i == 2 {
			f.record() // two are there, and two are here
			if _, _, err := c.Get(ctx, keys, ReadOptions{AtOnce: true}); codeOf(err) != wire.CodeBadRequest {
				t.Errorf("apart: got %v", err)
			}
		}
		f.move(shardmap.SlotOf(k), 3)
	}
	f.record()
	_, missing, err := c.Get(ctx, keys, ReadOptions{AtOnce: true})
	if err != nil || len(missing) != len(keys) {
		t.Errorf("together again: got %d, %v", len(missing), err)
	}
}

// Reads that any replica may answer are spread over the nodes, and are asked for in the
// mode that the cluster's level has; they go on where one of the nodes is gone.
func TestReadsAreSpread(t *testing.T) {
	const reads = 300
	for _, x := range []struct {
		name  string
		level uint32
		o     ReadOptions
		want  wire.ReadMode
	}{
		{"follower", 4, ReadOptions{Follower: true}, wire.ReadFollower},
		{"bounded", 5, ReadOptions{MaxStale: time.Second}, wire.ReadBounded},
		{"bounded below the level", 4, ReadOptions{MaxStale: time.Second}, wire.ReadFollower},
		{"bounded by next to nothing", 5, ReadOptions{MaxStale: time.Microsecond}, wire.ReadFollower},
	} {
		t.Run(x.name, func(t *testing.T) {
			f := newFake(t, 3, 1) // led by the first
			f.mu.Lock()
			f.level = x.level
			f.mu.Unlock()
			c := f.open(Options{})
			ctx := within(t, busyMax+10*time.Second)
			if _, err := c.Set(ctx, []byte("k"), []byte("v"), WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			read := func() {
				for i := range reads {
					if _, _, _, err := c.GetOne(ctx, fmt.Append(nil, i), nil, x.o); err != nil {
						t.Fatal(err)
					}
				}
			}
			read()
			until(t, "all nodes are connected", func() bool {
				read()
				return f.nodes[0].accepts.Load() == 1 && f.nodes[1].accepts.Load() == 1 && f.nodes[2].accepts.Load() == 1
			})
			f.mu.Lock()
			f.gets = [len(f.gets)]int{}
			for _, n := range f.nodes {
				n.gets = 0
			}
			f.mu.Unlock()
			read()
			f.mu.Lock()
			if f.gets[x.want] != reads {
				t.Errorf("got %v, want all of mode %d", f.gets, x.want)
			}
			for _, n := range f.nodes {
				if n.gets < reads/5 {
					t.Errorf("node %s answered %d of %d", n.id, n.gets, reads)
				}
			}
			f.mu.Unlock()
			f.nodes[2].stop()
			read()
			if _, _, err := c.Get(ctx, [][]byte{[]byte("k"), []byte("l")}, x.o); err != nil {
				t.Error(err)
			}
		})
	}
}

// A client that is given MaxStale before it has a table asks in a way that every level
// knows, which is never older.
func TestBoundedReadBeforeTheTable(t *testing.T) {
	f := newFakeOfLevel5(t, 3, 4)
	c := f.open(Options{})
	if _, _, _, err := c.GetOne(within(t, 10*time.Second), []byte("k"), nil, ReadOptions{MaxStale: time.Second}); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.gets[wire.ReadBounded] != 0 || f.gets[wire.ReadFollower] != 1 {
		t.Errorf("got %v", f.gets)
	}
}
