package client

import (
	"errors"
	"testing"
	"time"

	"muster/repl/wire"
	"muster/shardmap/registry"
)

// A loop over the events of a watch gives up what is under way however it ends, so that nodes don't send on
// for nobody; and leaves behind from where another one goes on. TestMain sees that no goroutine stays.
func TestEventsEnd(t *testing.T) {
	f := newFakeOfLevel6(t, 1, 3)
	c := f.open(Options{})
	ctx := within(t, busyMax)
	heard := hearing(f)
	set := func() uint64 {
		w, err := c.SetService(ctx, &registry.Service{Name: "shop", Type: registry.TypeTTL, Instances: []registry.Instance{{ID: "n1"}}})
		if err != nil {
			t.Fatal(err)
		}
		return w.Version
	}
	w := c.WatchServices(ctx, "", nil)
	var first uint64
	for e, err := range w.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == WatchOpened {
			first = set()
		}
		if e.Kind == WatchSet {
			if e.Version != first {
				t.Errorf("got %+v, want version %d", e, first)
			}
			break
		}
	}
	until(t, "all streams are given up", func() bool {
		return heard.of(wire.TypeStreamCancel) == heard.of(wire.TypeWatch) && len(w.watch.open) == 0
	})
	if heard.of(wire.TypeWatch) != 3 {
		t.Errorf("it opened %s", heard.all())
	}
	for _, err := range w.Events() {
		if !errors.Is(err, errWatchClosed) {
			t.Errorf("a second loop: got %v", err)
		}
	}
	second := set()
	for e, err := range c.WatchServices(ctx, "", w.Positions()).Events() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == WatchSet {
			if e.Version != second {
				t.Errorf("from where it was: got %+v, want version %d", e, second)
			}
			break
		}
	}
	// An error is given out once, and is the last.
	short := within(t, time.Millisecond)
	<-short.Done()
	n := 0
	for _, err := range c.Watch(short, WatchQuery{}).Events() {
		if n++; err == nil {
			t.Error("an event of a watch whose context is over")
		}
	}
	if n != 1 {
		t.Errorf("%d errors", n)
	}
}
