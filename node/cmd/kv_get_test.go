package cmd

import (
	"testing"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/shardmap"
)

// HTTP answers a get with a line that is put together by hand where its text allows. It must be the
// one that the command prints, to the last byte, whatever becomes of the key.
func TestGotLineIsThatOfTheCommand(t *testing.T) {
	of := func(change func(*client.Item)) client.Item {
		i := client.Item{Key: []byte("k"), Value: []byte("v"), Version: 17, Slot: 1234, Group: 1, At: raft.LogID{Term: 2, Index: 17}}
		change(&i)
		return i
	}
	items := []client.Item{
		of(func(*client.Item) {}),
		of(func(i *client.Item) { i.Ends, i.Remaining = true, 21500*time.Millisecond }),
		of(func(i *client.Item) { i.Ends = true }), // it is due
		of(func(i *client.Item) { i.Ends, i.Remaining, i.Lease = true, time.Hour, shardmap.MakeLeaseID(1234, 17) }),
	}
	want, err := marshalLine(gotRowsOf(items, keysOfTexts("x", "y")))
	if err != nil {
		t.Fatal(err)
	}
	if got, plain := gotLine(items, keysOfTexts("x", "y")); !plain || string(got) != string(want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

func keysOfTexts(texts ...string) (all [][]byte) {
	for _, s := range texts {
		all = append(all, []byte(s))
	}
	return all
}
