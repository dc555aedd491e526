package pointwriter

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
	"muster/shardmap/points/line"
)

// opened returns a batcher on a world, whose batches wait for size or Flush alone.
func opened(t *testing.T, w *world, change func(o *Options)) *Batcher {
	t.Helper()
	o := Options{Database: "metrics", Interval: time.Hour, BatchBytes: batchBytesMin, Now: func() time.Time { return time.Unix(0, noon) }}
	if change != nil {
		change(&o)
	}
	b, err := open(w, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(t.Context()) })
	return b
}

// Lines that many goroutines write are there after a flush, each line once, whatever the sizes: also lines without a time, which must not
// take each other's place.
func TestBatcher(t *testing.T) {
	w := newWorld(t)
	b := opened(t, w, nil)
	var all sync.WaitGroup
	const writers, each = 8, 100
	for i := range writers {
		all.Go(func() {
			for range each {
				if err := b.Write(t.Context(), []byte("m v=1\nm,host=a v=2"+strings.Repeat("\nm w=1i", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := b.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := 0
	for i := range writers {
		want += each * (2 + min(i, 1)) // lines of one call have one time
	}
	if n := w.values(); n != want {
		t.Errorf("%d values are there, want %d", n, want)
	}
	if err := b.Write(t.Context(), []byte("\n# none\n")); err != nil {
		t.Error(err)
	}
	if err := b.Write(t.Context(), make([]byte, 0)); err != nil {
		t.Error(err)
	}
	if err := b.Write(t.Context(), []byte("m v=\""+strings.Repeat("x", batchBytesMin)+"\"")); err == nil || !strings.Contains(err.Error(), "write them in parts") {
		t.Errorf("more than a batch: %v", err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := b.Write(t.Context(), []byte("m v=1")); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// While groups take nothing, writers wait once the buffer is full, and go on afterwards. Nothing is lost meanwhile.
func TestBatcherHoldsBack(t *testing.T) {
	w := newWorld(t)
	sick := true
	w.refuse = func(raft.GroupID, *shardmap.PointsBody) error { // the caller holds w.mu
		if sick {
			return wire.Unavailable("group", "it has no leader")
		}
		return nil
	}
	b := opened(t, w, func(o *Options) { o.BufferBytes = 2 * batchBytesMin })
	taken := 0
	for ; ; taken++ {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		err := b.Write(ctx, fmt.Appendf(nil, "m,host=h%d v=1 %d", taken%10, noon+int64(taken)))
		cancel()
		if err == nil {
			continue
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		break
	}
	if taken < 100 || taken > 1000 {
		t.Errorf("%d lines were taken before the buffer was full", taken)
	}
	held := make(chan error)
	go func() { held <- b.Write(t.Context(), fmt.Appendf(nil, "m v=1 %d", noon+int64(taken))) }()
	w.mu.Lock()
	sick = false
	w.mu.Unlock()
	if err := <-held; err != nil {
		t.Error(err)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Error(err)
	}
	if n := w.values(); n < taken+1 {
		t.Errorf("%d values are there, want %d", n, taken+1)
	}
}

// Lines that are not stored are told, once to the callback and once by Flush; the other lines are stored. Few lines are written when
// their time has come, and what is left at the end of Close's patience is given up.
func TestBatcherRefused(t *testing.T) {
	w := newWorld(t)
	told := make(chan Result, 10)
	b := opened(t, w, func(o *Options) {
		o.Interval = time.Millisecond
		o.Refused = func(r Result, err error) {
			if err != nil {
				t.Errorf("%v, %v", r, err)
			}
			told <- r
		}
	})
	if err := b.Write(t.Context(), []byte("m v=1\nbad\nn v=1i")); err != nil {
		t.Fatal(err)
	}
	if r := <-told; r.Stored != 2 || r.Lines.Refused != 1 {
		t.Errorf("got %v", r)
	}
	if err := b.Flush(t.Context()); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("got %v", err)
	}
	if err := b.Flush(t.Context()); err != nil {
		t.Errorf("a second time: %v", err)
	}
	w.mu.Lock()
	w.refuse = func(raft.GroupID, *shardmap.PointsBody) error {
		return wire.Unavailable("group", "it has no leader")
	}
	w.mu.Unlock()
	if err := b.Write(t.Context(), []byte("m v=2")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := b.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("closed in time: %v", err)
	}
	if r := <-told; r.Failed != 1 {
		t.Errorf("given up: %v", r)
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{}, "field Database: empty"},
		{Options{Database: "d", BatchBytes: 1}, "field BatchBytes: 1; want 4096 to"},
		{Options{Database: "d", BatchBytes: line.TextMax + 1}, "field BatchBytes"},
		{Options{Database: "d", BatchBytes: 8192, BufferBytes: 8191}, "field BufferBytes: 8191; want 8192 at least"},
		{Options{Database: "d", Interval: -1}, "field Interval"},
		{Options{Database: "d", Patience: -1}, "field Patience"},
		{Options{Database: "d", Level: 99}, "level 99"},
	} {
		if b, err := open(newWorld(t), c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, %v; want %s", c.o, b, err, c.want)
		}
	}
}
