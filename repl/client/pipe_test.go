package client

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"muster/repl/wire"
)

// A Pipe must tell of every request once, with the right answer, though its
// requests are used again and answers come from several connections and in any
// order; and never have more under way than it may.
func TestPipe(t *testing.T) {
	f := newFake(t, 3, 8)
	c := f.open(Options{ConnectionsPerNode: 2})
	var turn atomic.Int64
	for _, n := range f.nodes {
		n.do(func(h wire.Header, _ []byte) fakeOrder {
			return fakeOrder{hangUp: h.Type == wire.TypeWrite && turn.Add(1)%1777 == 0}
		})
	}
	const keys, most = 5000, 100
	key := func(i uint64) []byte { return fmt.Append(nil, "pipe/", i) }
	value := func(i uint64) string { return fmt.Sprint("value/", i) }
	told := make([]int, 3*keys)
	p := c.Pipe(within(t, 20*time.Second), most, func(o *Outcome) {
		told[o.Tag]++
		i, missing := o.Tag%keys, o.Tag >= 2*keys
		switch {
		case o.Err != nil:
			t.Errorf("request %d: %v", o.Tag, o.Err)
		case o.At.IsZero():
			t.Errorf("request %d has no time", o.Tag)
		case o.Tag < keys && o.Written.Version == 0:
			t.Errorf("set of key %d has no version", i)
		case o.Tag >= keys && (o.Found == missing || !missing && (string(o.Value) != value(i) || o.Version == 0)):
			t.Errorf("get %d: got %q, %v, version %d", o.Tag, o.Value, o.Found, o.Version)
		}
	})
	for i := range uint64(keys) {
		p.Set(key(i), []byte(value(i)), i)
		if p.Open() > most {
			t.Fatalf("%d are open, want %d at most", p.Open(), most)
		}
	}
	p.Wait()
	for i := range uint64(keys) {
		p.Get(key(i), keys+i, ReadOptions{Local: i%2 == 0})
		p.Get(key(keys+i), 2*keys+i, ReadOptions{})
	}
	p.Wait()
	for tag, n := range told {
		if n != 1 {
			t.Fatalf("request %d was told of %d times", tag, n)
		}
	}
	if f.applied != keys || p.Open() != 0 {
		t.Errorf("%d were applied and %d are open, want %d and 0", f.applied, p.Open(), keys)
	}
}

// What is refused before it is sent must be told of like the rest, and leave
// room for what follows.
func TestPipeRefuses(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	codes := map[uint64]wire.Code{}
	p := c.Pipe(within(t, 10*time.Second), 1, func(o *Outcome) {
		if o.Err != nil {
			codes[o.Tag] = codeOf(o.Err)
		}
	})
	p.Get(nil, 1, ReadOptions{})
	p.Get(make([]byte, 5000), 2, ReadOptions{})
	p.Set(nil, nil, 3)
	p.Set([]byte("a"), make([]byte, 1<<20+1), 4)
	p.Set([]byte("a"), nil, 5)
	p.Wait()
	want := map[uint64]wire.Code{1: wire.CodeBadRequest, 2: wire.CodeTooLarge, 3: wire.CodeBadRequest, 4: wire.CodeTooLarge}
	if fmt.Sprint(codes) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", codes, want)
	}
}

// A Pipe whose context ends must tell of all it was given, of what was not sent
// too, and return.
func TestPipeContextEnds(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	if _, err := c.Set(within(t, 10*time.Second), []byte("a"), nil, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.nodes[0].do(func(wire.Header, []byte) fakeOrder { return fakeOrder{silent: true} })
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	told := make([]int, 200)
	p := c.Pipe(ctx, 50, func(o *Outcome) {
		told[o.Tag]++
		if o.Err == nil {
			t.Error("a request came through")
		}
	})
	for i := range uint64(len(told)) {
		if i%2 == 0 {
			p.Set([]byte("a"), nil, i)
		} else {
			p.Get([]byte("a"), i, ReadOptions{})
		}
	}
	p.Wait()
	for tag, n := range told {
		if n != 1 {
			t.Errorf("request %d was told of %d times", tag, n)
		}
	}
}

// Await must not return before something ended or its time is over, and must
// tell of what did.
func TestPipeAwait(t *testing.T) {
	f := newFake(t, 1, 1)
	c := f.open(Options{})
	told := 0
	p := c.Pipe(within(t, 10*time.Second), 10, func(*Outcome) { told++ })
	began := time.Now()
	p.Await(20 * time.Millisecond)
	if took := time.Since(began); took < 20*time.Millisecond || told != 0 {
		t.Errorf("with nothing under way it returned after %s, %d told", took, told)
	}
	p.Set([]byte("a"), nil, 0)
	for began = time.Now(); told == 0; {
		p.Await(10 * time.Second)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("an answer was told of after %s", took)
	}
	p.Poll()
	if told != 1 {
		t.Errorf("told %d times, want once", told)
	}
}

// A request must not allocate, for the same reason as that of a blocking call.
func TestPipeAllocatesNothing(t *testing.T) {
	if raceOn {
		t.Skip("the race detector allocates")
	}
	f := newFake(t, 1, 1)
	f.nodes[0].quick = true
	c := f.open(Options{})
	p := c.Pipe(context.Background(), 64, func(o *Outcome) {
		if o.Err != nil {
			t.Error(o.Err)
		}
	})
	key, value := []byte("key"), make([]byte, 128)
	set := func() {
		for i := range uint64(64) {
			p.Set(key, value, i)
		}
		p.Wait()
	}
	for range 100 {
		set()
	}
	if n := testing.AllocsPerRun(200, set); n > 1 {
		t.Errorf("got %v allocations for 64 sets, want none", n)
	}
}
