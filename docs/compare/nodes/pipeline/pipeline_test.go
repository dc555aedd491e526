package main

import (
	"bytes"
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"muster/docs/compare/frame"
	"muster/docs/compare/load"
	"muster/docs/compare/machine"
)

func key(n int) []byte {
	k := make([]byte, load.KeyBytes)
	load.WriteKey(k, n)
	return k
}

func value(n int) []byte { return bytes.Repeat([]byte{byte(n)}, valueBytes) }

// The table holds what a map holds, up to as many keys as it was made for.
func TestTableIsAMap(t *testing.T) {
	const keys = 500
	tab, want := newTable(keys), map[string]byte{}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range uint64(5000) {
		n, v := random.IntN(keys), random.IntN(256)
		tab.touch([][]byte{key(n), key(n + keys)})
		if err := tab.put(i, key(n), value(v)); err != nil {
			t.Fatal(err)
		}
		want[string(key(n))] = byte(v)
	}
	got := map[string]byte{}
	for n := range 2 * keys {
		if v := tab.get(key(n)); v != nil {
			got[string(key(n))] = v[valueBytes-1]
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %d keys, want %d, or other values", len(got), len(want))
	}
	full := newTable(1)
	if err := full.put(1, key(1), value(1)); err != nil {
		t.Error(err)
	}
	if err := full.put(2, key(2), value(2)); err == nil {
		t.Error("a key too many was taken")
	}
	if err := full.put(3, key(1), []byte("short")); err == nil {
		t.Error("a value of another size was taken")
	}
}

func TestEntriesComeBack(t *testing.T) {
	var body []byte
	for n := range 3 {
		body = appendEntry(body, uint64(n+7), append(key(n), value(n)...))
	}
	n := 0
	err := eachEntry(body, func(index uint64, k, v []byte) {
		if index != uint64(n+7) || !bytes.Equal(k, key(n)) || !bytes.Equal(v, value(n)) {
			t.Errorf("entry %d came back as %d, %s, %x", n, index, k, v)
		}
		n++
	})
	if err != nil || n != 3 {
		t.Errorf("got %d entries (%v), want 3", n, err)
	}
	for _, torn := range [][]byte{body[:5], body[:len(body)-1], {1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 'k'}} {
		if err := eachEntry(torn, func(uint64, []byte, []byte) {}); !errors.Is(err, frame.ErrDamaged) {
			t.Errorf("%d bytes: got %v, want %v", len(torn), err, frame.ErrDamaged)
		}
	}
}

// onDisk is a folder for a log.
func onDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := machine.OnDisk(dir); err != nil {
		t.Skipf("NOT TESTED: %v (writes past the system's memory need a disk)", err)
	}
	return dir
}

// Frames lie in the file from block to block, zeros behind each, and the file is
// overwritten from its beginning on once it is full.
func TestLog(t *testing.T) {
	dir := onDisk(t)
	w, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	first, second := bytes.Repeat([]byte("1"), blockBytes+1), []byte("22")
	if err := w.write(first, second); err != nil {
		t.Fatal(err)
	}
	file := func() []byte {
		b, err := os.ReadFile(filepath.Join(dir, "log"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	want := make([]byte, 3*blockBytes)
	copy(want, first)
	copy(want[2*blockBytes:], second)
	if got := file(); len(got) != logBytes || !bytes.Equal(got[:len(want)], want) {
		t.Errorf("the file has %d bytes and begins otherwise", len(got))
	}
	large := make([]byte, logBytes-2*blockBytes) // does not fit behind them
	large[0] = 'L'
	if err := w.write(large); err != nil {
		t.Fatal(err)
	}
	if got := file(); got[0] != 'L' {
		t.Errorf("the file begins with %q, want that it was overwritten", got[0])
	}
	if err := w.write(make([]byte, frame.LengthMax+1)); err == nil {
		t.Error("more was taken than the log has room for")
	}
}

// Three nodes give back what was put, to many callers at once, and both
// followers end with what the leader has.
func TestPipeline(t *testing.T) {
	const keys, callers = 300, 16
	var addrs []string
	var tables []*table
	var followed sync.WaitGroup
	for range 2 {
		w, err := openLog(onDisk(t))
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tab := newTable(keys)
		followed.Go(func() {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			follow(c, w, tab) // until the leader's side ends
		})
		addrs, tables = append(addrs, l.Addr().String()), append(tables, tab)
	}
	var conns []net.Conn
	for _, addr := range addrs {
		c, err := dialPatiently(addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	w, err := openLog(onDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	clients, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tab := newTable(keys)
	served := make(chan error, 1)
	go func() { served <- newLeader(w, tab, conns).serve(clients) }()

	c, err := frame.Dial(clients.Addr().String(), 4, callers)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Get(0, key(0)); err == nil {
		t.Error("a key was there before it was put")
	}
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for n := i; n < keys; n += callers { // keys of its own: it knows what is there
				for _, v := range []int{n, n + 1} {
					if err := c.Put(i, key(n), value(v)); err != nil {
						t.Error(err)
					}
					kind, got, err := c.Do(i, frame.Get, key(n))
					if err != nil || kind != frame.Value || !bytes.Equal(got, value(v)) {
						t.Errorf("key %d: got kind %d (%v), or another value", n, kind, err)
					}
				}
			}
		})
	}
	wg.Wait()

	// The leader ends with its followers' connections, and these with it.
	for _, conn := range conns {
		conn.(*net.TCPConn).CloseWrite()
	}
	followed.Wait()
	if err := <-served; err == nil {
		t.Error("the leader ended without its followers' end")
	}
	for i, follower := range tables {
		for n := range keys {
			if !bytes.Equal(follower.get(key(n)), tab.get(key(n))) {
				t.Errorf("follower %d has another value of key %d", i, n)
			}
		}
	}
	if tab.used != keys {
		t.Errorf("the leader has %d keys, want %d", tab.used, keys)
	}
}
