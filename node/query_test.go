package node

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"muster/repl/client"
)

// Keys of one slot that are set together are read together: no get shows a
// half of a command, also not one whose answer is so long that it is read
// beside the writes that go on.
func TestGetAtOneMoment(t *testing.T) {
	r := serving(t, defaultLimits())
	cl, err := client.Open(client.Options{Endpoints: []string{r.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	const keys, writes, size = 40, 60, 20 << 10
	if keys*size < getInlineMax {
		t.Fatalf("%d bytes are answered at once; the test shows nothing", keys*size)
	}
	var pairs []client.Pair
	var names [][]byte
	for i := range keys {
		names = append(names, fmt.Appendf(nil, "{tag}%d", i))
		pairs = append(pairs, client.Pair{Key: names[i], Value: bytes.Repeat([]byte{1}, size)})
	}
	ctx := t.Context()
	done := make(chan error, 1)
	go func() {
		for range writes {
			if _, err := cl.SetMany(ctx, pairs); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	deadline := time.After(30 * time.Second)
	for reads := 0; ; reads++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			if reads < 10 {
				t.Errorf("%d reads beside %d writes; the test shows nothing", reads, writes)
			}
			return
		case <-deadline:
			t.Fatal("the writes take too long")
		default:
		}
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
