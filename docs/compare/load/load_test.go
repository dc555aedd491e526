package load

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// asked answers at once, and notes what it was asked.
type asked struct {
	mu     sync.Mutex
	puts   map[string]int
	gets   int
	refuse func(n int) error // by how many puts there were before; may be nil
}

func (a *asked) Put(_ int, key, value []byte) error {
	a.mu.Lock()
	n := 0
	for _, c := range a.puts {
		n += c
	}
	a.puts[string(key)]++
	refuse := a.refuse
	a.mu.Unlock()
	if refuse != nil {
		return refuse(n)
	}
	return nil
}

func (a *asked) Get(int, []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.gets++
	return nil
}

func TestWriteKey(t *testing.T) {
	for n, want := range map[int]string{0: "k000000000000000", 7: "k000000000000007", 1234567: "k000000001234567"} {
		key := make([]byte, KeyBytes)
		if WriteKey(key, n); string(key) != want {
			t.Errorf("key %d: got %s, want %s", n, key, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		sorted []time.Duration
		q      float64
		want   time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{5}, 0.5, 5},
		{[]time.Duration{5}, 0.99, 5},
		{[]time.Duration{1, 2}, 0.5, 1},
		{[]time.Duration{1, 2, 3}, 0.5, 2},
		{[]time.Duration{1, 2, 3}, 0.99, 3},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 1, 100},
		{hundred, 0, 1},
	} {
		if got := quantile(c.sorted, c.q); got != c.want {
			t.Errorf("%v of %d durations: got %d, want %d", c.q, len(c.sorted), got, c.want)
		}
	}
}

// What is answered in the window counts, and what is asked before it does not: a
// system that answers nothing but in its warm-up has done nothing.
func TestOnlyTheWindowCounts(t *testing.T) {
	a := &asked{puts: map[string]int{}}
	l := Loop{Op: Put, Callers: 4, Keys: 10, ValueBytes: 8, Warmup: 200 * time.Millisecond, Window: 100 * time.Millisecond}
	refused := errors.New("refused")
	out := l.Run(a, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if len(a.puts) == 0 {
			t.Error("nothing was asked in the warm-up")
		}
		a.refuse = func(int) error { return refused }
	}, func() {})
	// A put that was answered just before the window may end within it.
	if out.Ops > uint64(l.Callers) || out.Errors == 0 || !errors.Is(out.LastError, refused) {
		t.Errorf("got %d operations and %d errors (%v), want errors alone", out.Ops, out.Errors, out.LastError)
	}

	out = l.Run(&asked{puts: map[string]int{}}, func() {}, func() {})
	if out.Ops == 0 || out.Errors != 0 || out.Took < l.Window || out.P50 > out.P99 {
		t.Errorf("got %+v", out)
	}
	gets := &asked{}
	l.Op = Get
	if out := l.Run(gets, func() {}, func() {}); out.Ops == 0 || uint64(gets.gets) < out.Ops {
		t.Errorf("got %d operations of %d gets", out.Ops, gets.gets)
	}
}

// Fill puts each key until it is put, and ends where one can't be.
func TestFill(t *testing.T) {
	a := &asked{puts: map[string]int{}, refuse: func(n int) error {
		if n == 3 {
			return errors.New("once")
		}
		return nil
	}}
	const keys = 100
	if err := Fill(a, keys, 7, 8); err != nil {
		t.Fatal(err)
	}
	total := 0
	for n := range keys {
		key := make([]byte, KeyBytes)
		WriteKey(key, n)
		if a.puts[string(key)] == 0 {
			t.Errorf("%s was not put", key)
		}
		total += a.puts[string(key)]
	}
	if total != keys+1 || len(a.puts) != keys {
		t.Errorf("got %d puts of %d keys, want %d of %d: one was refused once", total, len(a.puts), keys+1, keys)
	}
}

// stalling answers at once but for one outage.
type stalling struct {
	mu    sync.Mutex
	until time.Time // of the outage
	fail  bool      // puts in the outage fail instead of waiting
}

func (s *stalling) stall(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = time.Now().Add(d)
}

func (s *stalling) Put(int, []byte, []byte) error {
	s.mu.Lock()
	left := time.Until(s.until)
	s.mu.Unlock()
	if left > 0 && s.fail {
		return errors.New("no leader")
	}
	time.Sleep(max(left, 100*time.Microsecond))
	return nil
}

func (s *stalling) Get(int, []byte) error { return nil }

// The figure of an interruption is what its slowest writer waited, whether puts
// wait or fail meanwhile; what stalled before the interruption is no part of it.
func TestInterrupt(t *testing.T) {
	const before, outage, settle = 700 * time.Millisecond, 60 * time.Millisecond, time.Second
	for _, fail := range []bool{false, true} {
		s := &stalling{fail: fail}
		s.stall(before)
		got, err := Interrupt(s, 8, 100, 8, settle, func() error {
			s.stall(outage)
			return nil
		})
		// The upper bound is that of a busy machine, and below the stall
		// before the interruption.
		if err != nil || got.Longest < outage || got.Longest >= before {
			t.Errorf("fail %v: got %s (%v), want at least %s and less than %s", fail, got.Longest, err, outage, before)
		}
		if (got.Failed > 0) != fail {
			t.Errorf("fail %v: got %d failed tries", fail, got.Failed)
		}
	}
	refused := errors.New("refused")
	if _, err := Interrupt(&stalling{}, 1, 1, 8, time.Millisecond, func() error { return refused }); !errors.Is(err, refused) {
		t.Errorf("got %v, want what the interruption failed with", err)
	}
}
