package node

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"testing"

	"muster/repl/client"
	"muster/repl/machine"
)

// Keys of one slot that are set together are read together: no get shows a
// half of a command, not even one whose answer is so long that it is read beside
// later writes.
func TestGetAtOneMoment(t *testing.T) {
	t.Parallel()
	r := serving(t, defaultLimits())
	cl := r.library()
	const keys, writes, size = 40, 60, 20 << 10
	if keys*size < machine.InlineMax {
		t.Fatalf("%d bytes are answered at once; the test shows nothing", keys*size)
	}
	var pairs []client.Pair
	var names [][]byte
	for i := range keys {
		names = append(names, fmt.Appendf(nil, "{tag}%d", i))
		pairs = append(pairs, client.Pair{Key: names[i], Value: bytes.Repeat([]byte{1}, size)})
	}
	ctx := t.Context()
	done, stop := beside(t, writes, func(int) error {
		_, err := cl.SetMany(ctx, pairs)
		return err
	})
	defer stop()
	for reads := 0; reads < readsBeside || !done(); reads++ {
		items, _, err := cl.Get(ctx, names, client.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range items {
			if item.Version != items[0].Version {
				t.Fatalf("one get shows versions %d and %d of keys that are always set together", items[0].Version, item.Version)
			}
		}
	}
}

// readsBeside is how many reads there must be beside writes to show something.
const readsBeside = 10

// beside has write called, over and over, until stop is. done reports whether that
// was so many times. However slow who reads is, it finds writes going on.
func beside(t *testing.T, atLeast int, write func(i int) error) (done func() bool, stop func()) {
	var written atomic.Int64
	stopped, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-stopped:
				return
			default:
			}
			if err := write(i); err != nil {
				t.Error(err)
				written.Store(int64(atLeast))
				return
			}
			written.Add(1)
		}
	}()
	done = func() bool { return written.Load() >= int64(atLeast) }
	stop = func() {
		close(stopped)
		<-ended
	}
	return done, stop
}

// A page of a listing shows one moment, whichever slots its keys are in: no
// write without those that were acknowledged before it began. One would doubt
// it: the page is read beside later writes, slot after slot.
func TestPageAtOneMoment(t *testing.T) {
	t.Parallel()
	cfg := testConfig(t)
	cfg.Groups = 1 // all slots
	r := start(t, cfg, defaultLimits())
	r.serves()
	cl := r.library()
	ctx := t.Context()
	const keys, writes, others = 64, 1500, 40000
	var fill []client.Pair // so that to look into a slot takes its time
	for i := range others {
		fill = append(fill, client.Pair{Key: fmt.Appendf(nil, "other/%d", i), Value: []byte("v")})
	}
	if _, err := cl.SetMany(ctx, fill); err != nil {
		t.Fatal(err)
	}
	name := func(i uint64) []byte { return fmt.Appendf(nil, "page/%02d", i%keys) }
	write := func(i uint64) error {
		_, err := cl.Set(ctx, name(i), binary.BigEndian.AppendUint64(nil, i), client.WriteOptions{})
		return err
	}
	for i := range uint64(keys) {
		if err := write(i); err != nil {
			t.Fatal(err)
		}
	}
	done, stop := beside(t, writes, func(i int) error { return write(uint64(keys + i)) })
	defer stop()
	for pages := 0; pages < readsBeside || !done(); pages++ {
		newest := uint64(0)
		var shown []uint64
		for item, err := range cl.List(ctx, []byte("page/"), client.ListOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			n := binary.BigEndian.Uint64(item.Value)
			shown = append(shown, n)
			newest = max(newest, n)
		}
		for _, n := range shown {
			if n+keys <= newest { // its key was written once more before the newest was
				t.Fatalf("listing %d shows write %d and, of another key, still write %d, not %d", pages, newest, n, n+keys)
			}
		}
	}
}
