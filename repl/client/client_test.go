package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap"
)

// busyMax is what a busy machine may add to the time that anything takes.
const busyMax = 20 * time.Second

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

func codeOf(err error) wire.Code {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// From one endpoint a client must learn the others, and find the leader of each
// key's group.
func TestSetGetDelete(t *testing.T) {
	f := newFake(t, 3, 8)
	c := f.open(Options{Endpoints: []string{f.nodes[0].addr}})
	ctx := within(t, 10*time.Second)
	for i := range 100 {
		key := fmt.Append(nil, "key/", i)
		w, err := c.Set(ctx, key, fmt.Append(nil, i), WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if int(w.Group) != f.groupOf(shardmap.SlotOf(key)) || w.Version == 0 {
			t.Fatalf("set %s: got %+v", key, w)
		}
	}
	for _, n := range f.nodes {
		if got := n.accepts.Load(); got != 1 {
			t.Errorf("node %s: got %d connections, want 1", n.id, got)
		}
	}
	items, missing, err := c.Get(ctx, [][]byte{[]byte("key/7"), []byte("nope"), []byte("key/8")}, ReadOptions{})
	if err != nil || len(items) != 2 || string(items[0].Value) != "7" || string(items[1].Value) != "8" || len(missing) != 1 {
		t.Fatalf("get: got %v, missing %q, %v", items, missing, err)
	}
	value, version, ok, err := c.GetOne(ctx, []byte("key/7"), nil, ReadOptions{})
	if err != nil || !ok || string(value) != "7" || version != items[0].Version {
		t.Fatalf("get one: got %q %d %v %v", value, version, ok, err)
	}
	if _, err := c.Set(ctx, []byte("key/7"), nil, WriteOptions{IfAbsent: true}); codeOf(err) != wire.CodeConflict {
		t.Fatalf("set if absent: got %v, want conflict", err)
	}
	if _, err := c.Set(ctx, []byte("key/7"), nil, WriteOptions{HasVersion: true, IfVersion: version}); err != nil {
		t.Fatalf("set if version: %v", err)
	}
	if _, err := c.DeleteIf(ctx, []byte("key/9"), version); codeOf(err) != wire.CodeConflict {
		t.Fatalf("delete if another version: got %v, want conflict", err)
	}
	_, version, _, err = c.GetOne(ctx, []byte("key/9"), nil, ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	one, err := c.DeleteIf(ctx, []byte("key/9"), version)
	if err != nil || one.Count != 1 || len(one.Keys) != 1 {
		t.Fatalf("delete if version: got %+v %v", one, err)
	}
	if _, err := c.DeleteIf(ctx, []byte("key/9"), 0); codeOf(err) != wire.CodeBadRequest {
		t.Fatalf("delete if version 0: got %v, want bad request", err)
	}
	d, err := c.Delete(ctx, []byte("key/7"), []byte("{key/7}x"), []byte("key/8"))
	if err != nil || len(d) != 2 || d[0].Count != 1 || len(d[0].Keys) != 2 || d[1].Count != 1 {
		t.Fatalf("delete: got %+v %v", d, err)
	}
}

// A request that can't be right must not leave, and the error must name what is
// wrong.
func TestRefusedHere(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	ctx := within(t, 10*time.Second)
	big := make([]byte, 1<<20+1)
	for _, x := range []struct {
		name string
		do   func() error
		code wire.Code
		says string
	}{
		{"empty key", func() error { _, err := c.Set(ctx, nil, nil, WriteOptions{}); return err }, wire.CodeBadRequest, "0 bytes"},
		{"long key", func() error { _, err := c.Set(ctx, big[:4097], nil, WriteOptions{}); return err }, wire.CodeTooLarge, "4097 bytes, the limit is 4096"},
		{"longest key", func() error { _, err := c.Set(ctx, big[:4096], nil, WriteOptions{}); return err }, 0, ""},
		{"large value", func() error { _, err := c.Set(ctx, []byte("k"), big, WriteOptions{}); return err }, wire.CodeTooLarge, "1048577 bytes, the limit is 1048576"},
		{"largest value", func() error { _, err := c.Set(ctx, []byte("k"), big[1:], WriteOptions{}); return err }, 0, ""},
		{"two conditions", func() error {
			_, err := c.Set(ctx, []byte("k"), nil, WriteOptions{IfAbsent: true, HasVersion: true})
			return err
		}, wire.CodeBadRequest, "if-absent"},
		{"version 0", func() error { _, err := c.Set(ctx, []byte("k"), nil, WriteOptions{HasVersion: true}); return err }, wire.CodeBadRequest, "version"},
		{"get empty key", func() error { _, _, err := c.Get(ctx, [][]byte{nil}, ReadOptions{}); return err }, wire.CodeBadRequest, "0 bytes"},
		{"get long key", func() error { _, _, err := c.Get(ctx, [][]byte{big[:4097]}, ReadOptions{}); return err }, wire.CodeTooLarge, "4097"},
		{"delete long key", func() error { _, err := c.Delete(ctx, big[:4097]); return err }, wire.CodeTooLarge, "4097"},
	} {
		err := x.do()
		if codeOf(err) != x.code || (err != nil && (x.code == 0 || !strings.Contains(err.Error(), x.says))) {
			t.Errorf("%s: got %v, want code %v with %q", x.name, err, x.code, x.says)
		}
	}
	// Before the first table the limit is not known: it is looked at later.
	fresh := f.open(Options{})
	if _, err := fresh.Set(ctx, []byte("k"), big, WriteOptions{}); codeOf(err) != wire.CodeTooLarge {
		t.Errorf("large value, first call: got %v", err)
	}
}

// What is wrong with the endpoint must be told at once and by its kind, not be
// tried until the time is over.
func TestOpenRefusals(t *testing.T) {
	f := newFake(t, 1, 1)
	f.mu.Lock()
	f.secret = []byte("right")
	f.mu.Unlock()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			conn, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"))
			conn.Close()
		}
	}()
	defer wg.Wait()
	defer other.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, x := range []struct {
		name string
		o    Options
		is   func(error) bool
	}{
		{"wrong secret", Options{Secret: []byte("wrong")}, func(err error) bool { return codeOf(err) == wire.CodeUnauthorized }},
		{"no secret", Options{}, func(err error) bool { return codeOf(err) == wire.CodeUnauthorized }},
		{"wrong cluster", Options{Secret: f.secret, Cluster: "other"}, func(err error) bool { return codeOf(err) == wire.CodeWrongCluster }},
		{"something else", Options{Endpoints: []string{other.Addr().String()}}, func(err error) bool { return errors.Is(err, wire.ErrForeign) }},
		{"nobody", Options{Endpoints: []string{closed.Addr().String()}, Patience: 200 * time.Millisecond}, func(err error) bool {
			return errors.As(err, new(*ErrNoEndpoint)) && codeOf(err) == 0
		}},
		{"right", Options{Secret: f.secret, Cluster: "fake"}, func(err error) bool { return err == nil }},
	} {
		began := time.Now()
		_, err := f.open(x.o).Set(within(t, 2*busyMax), []byte("k"), nil, WriteOptions{})
		if !x.is(err) {
			t.Errorf("%s: got %v", x.name, err)
		}
		if took := time.Since(began); took > busyMax {
			t.Errorf("%s: took %s", x.name, took)
		}
	}
	for _, o := range []Options{
		{Endpoints: []string{"nonsense:port"}}, {ConnectionsPerNode: 65}, {Patience: -1}, {DialTimeout: -1}, {Forward: ForwardNever + 1},
		{WindowMax: 63}, {KeyBytes: keyBytesMin - 1}, {KeyBytes: wire.KeyBytesMax + 1}, {WindowMax: shardmap.SessionWindowMax + 1},
	} {
		if _, err := Open(o); err == nil {
			t.Errorf("open %+v: want an error", o)
		}
	}
}

// Options that say nothing are those of a program beside a node: it goes to the address that a node
// has by default, over TLS.
func TestOpenWithoutOptions(t *testing.T) {
	var dialled []string
	c, err := Open(Options{Home: t.TempDir(), Dial: func(_ context.Context, addr string) (net.Conn, error) {
		dialled = append(dialled, addr) // one at a time: there is one endpoint
		return nil, syscall.ECONNREFUSED
	}, Patience: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	_, _, _, err = c.GetOne(within(t, busyMax), []byte("k"), nil, ReadOptions{})
	if c.Close(); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), EndpointDefault) {
		t.Errorf("got %v", err)
	}
	if len(dialled) == 0 || dialled[0] != EndpointDefault || !c.protection.on {
		t.Errorf("dialled %q, with TLS: %v", dialled, c.protection.on)
	}
}

// A local read is the first endpoint's, whoever leads.
func TestLocalRead(t *testing.T) {
	f := newFake(t, 3, 4)
	c := f.open(Options{Endpoints: []string{f.nodes[2].addr}})
	ctx := within(t, 10*time.Second)
	for i := range 20 {
		if _, err := c.Set(ctx, fmt.Append(nil, i), []byte("v"), WriteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range f.nodes[:2] {
		n.do(func(h wire.Header, _ []byte) fakeOrder {
			if h.Type == wire.TypeGet || h.Type == wire.TypeScan {
				t.Errorf("a local read went to another node: %s", h.Type)
			}
			return fakeOrder{}
		})
	}
	for i := range 20 {
		if _, _, ok, err := c.GetOne(ctx, fmt.Append(nil, i), nil, ReadOptions{Local: true}); err != nil || !ok {
			t.Fatal(err)
		}
	}
	n := 0
	for _, err := range c.List(ctx, nil, ListOptions{Local: true}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 20 {
		t.Errorf("got %d keys, want 20", n)
	}
}

// A listing must have every key once, in order, however the pages fall; also
// when the table changes on the way.
func TestList(t *testing.T) {
	f := newFake(t, 3, 8)
	c := f.open(Options{})
	ctx := within(t, 20*time.Second)
	const keys = 3000
	var pairs []Pair
	for i := range keys {
		pairs = append(pairs, Pair{Key: fmt.Appendf(nil, "k/%05d", i), Value: bytes.Repeat([]byte{byte(i)}, i%3000)})
	}
	pairs = append(pairs, Pair{Key: []byte("other")})
	if _, err := c.SetMany(ctx, pairs); err != nil {
		t.Fatal(err)
	}
	for _, o := range []ListOptions{{}, {KeysOnly: true}, {After: []byte("k/01499")}, {Limit: 10}, {Local: true}} {
		first := 0
		if o.After != nil {
			first = 1500
		}
		want := keys - first
		if o.Limit > 0 {
			want = o.Limit
		}
		n := 0
		for item, err := range c.List(ctx, []byte("k/"), o) {
			if err != nil {
				t.Fatal(err)
			}
			p := pairs[first+n]
			if !bytes.Equal(item.Key, p.Key) || (!o.KeysOnly && !bytes.Equal(item.Value, p.Value)) || item.Version == 0 {
				t.Fatalf("%+v: row %d: got %q, want %q", o, n, item.Key, p.Key)
			}
			n++
			if n == 700 && !o.Local {
				f.mu.Lock()
				f.epoch++
				f.mu.Unlock()
			}
		}
		if n != want {
			t.Errorf("%+v: got %d keys, want %d", o, n, want)
		}
	}
	for range c.List(ctx, nil, ListOptions{}) {
		break // what is under way must be dropped; goleak and the next call tell
	}
	n := 0
	for _, err := range c.List(ctx, []byte("{x}"), ListOptions{}) {
		t.Fatalf("a tag without keys: got a row, %v", err)
		n++
	}
}

// What an operator asks of one node must come from that node; from any, where
// none is named.
func TestQuestions(t *testing.T) {
	f := newFake(t, 3, 4)
	c := f.open(Options{Endpoints: []string{f.nodes[0].addr}, ConnectionsPerNode: 3})
	ctx := within(t, 10*time.Second)
	for _, n := range f.nodes {
		s, err := c.Status(ctx, n.addr)
		if err != nil || s.Self != n.id {
			t.Fatalf("status of %s: got %v, %v", n.id, s, err)
		}
	}
	if s, err := c.Status(ctx, ""); err != nil || !s.Healthy {
		t.Fatal(err)
	}
	top, err := c.Topology(ctx)
	if err != nil || len(top.Nodes) != 3 {
		t.Fatal(err)
	}
	at, err := c.Locate(ctx, []byte("key"))
	if s := shardmap.SlotOf([]byte("key")); err != nil || at.Slot != s || int(at.Group) != f.groupOf(s) || at.Name == "" {
		t.Fatalf("locate: got %+v, %v", at, err)
	}
	if _, err := c.Counters(ctx, f.nodes[1].addr); codeOf(err) != wire.CodeBadRequest {
		t.Fatalf("counters, which the fake has not: got %v", err)
	}
	if got := f.nodes[0].accepts.Load(); got != 3 {
		t.Errorf("got %d connections, want 3", got)
	}
}

// A closed client ends what waits in it, and refuses what comes later.
func TestClose(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	if _, err := c.Set(context.Background(), []byte("a"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.nodes[0].do(func(wire.Header, []byte) fakeOrder { return fakeOrder{silent: true} })
	got := make(chan error)
	go func() { _, err := c.Set(context.Background(), []byte("b"), nil, WriteOptions{}); got <- err }()
	until(t, "it is under way", func() bool {
		l := c.linkTo(0, 0)
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.pending.open == 1
	})
	c.Close()
	if err := <-got; codeOf(err) != wire.CodeMaybeApplied {
		t.Errorf("under way: got %v", err)
	}
	if _, err := c.Set(context.Background(), []byte("c"), nil, WriteOptions{}); !errors.Is(err, ErrClosed) {
		t.Errorf("later: got %v", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("twice: %v", err)
	}
}
