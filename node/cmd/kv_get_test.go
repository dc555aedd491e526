package cmd

import (
	"testing"
	"time"

	"muster/raft"
	"muster/repl/client"
	"muster/shardmap"
)

// The line of a get is put together by hand. It must be the one that encoding/json makes of the rows, to the last byte,
// whatever is in a key or a value, and whatever becomes of the key.
func TestGotLineIsThatOfItsRows(t *testing.T) {
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
	texts := []string{"", "x", `quo"te\`, "<b>&", "tab\tline\nbell\a", "bücher", "\u2028\u202e\u0085", "\U000e0041", "no\xffUTF-8", "\xc3"}
	for _, s := range texts {
		items = append(items, of(func(i *client.Item) { i.Key = []byte(s) }), of(func(i *client.Item) { i.Value = []byte(s) }))
	}
	for _, missing := range [][][]byte{nil, keysOfTexts("x", "y"), keysOfTexts(texts...)} {
		for _, found := range [][]client.Item{nil, items[:1], items} {
			want, err := marshalLine(gotRowsOf(found, missing))
			if err != nil {
				t.Fatal(err)
			}
			if got := gotLine(found, missing); string(got) != string(want) {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
}

// gotRowsOf returns the rows that a get prints.
func gotRowsOf(items []client.Item, missing [][]byte) *gotRows {
	rows := &gotRows{Items: []gotRow{}, Missing: []string{}}
	for _, i := range items {
		row := gotRow{itemText: pairText(i.Key, i.Value), Version: i.Version, Slot: int(i.Slot), Group: int(i.Group), At: raft.FormatLogID(i.Group, i.At)}
		if i.Ends {
			left := i.Remaining.Milliseconds()
			row.Remaining = &left
			if i.Lease != 0 {
				row.Lease = i.Lease.String()
			}
		}
		rows.Items = append(rows.Items, row)
	}
	for _, k := range missing {
		if text, encoded := textOrBase64(k); text != nil {
			rows.Missing = append(rows.Missing, *text)
		} else {
			rows.MissingBase64 = append(rows.MissingBase64, *encoded)
		}
	}
	return rows
}

func keysOfTexts(texts ...string) (all [][]byte) {
	for _, s := range texts {
		all = append(all, []byte(s))
	}
	return all
}
