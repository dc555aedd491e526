package points

import (
	"fmt"
	"hash/maphash"
	"testing"

	"pgregory.net/rapid"
)

// A dictionary takes names out again when a line is refused, the newest first; slots are found over
// the slots of others, and all are placed anew while it grows. Held against Go's map.
func TestDictionaryAgainstMap(t *testing.T) {
	type key struct {
		parent uint32
		name   string
	}
	rapid.Check(t, func(t *rapid.T) {
		d := dictionary{seed: maphash.MakeSeed()}
		var text []byte
		want, order := map[key]uint32{}, []key{}
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			k := key{rapid.Uint32Range(0, 2).Draw(t, "parent"), fmt.Sprint(rapid.IntRange(0, 99).Draw(t, "name"))}
			if rapid.IntRange(0, 29).Draw(t, "truncate") == 0 {
				n := rapid.IntRange(0, len(order)).Draw(t, "to")
				for _, gone := range order[n:] {
					delete(want, gone)
				}
				order = order[:n]
				d.truncate(text, n)
				continue
			}
			if rapid.IntRange(0, 59).Draw(t, "reset") == 0 {
				d.reset(text)
				clear(want)
				order = order[:0]
			}
			if rapid.IntRange(0, 29).Draw(t, "room") == 0 {
				d.room(text, rapid.IntRange(0, 8*len(order)).Draw(t, "for"))
			}
			hash := d.hash(k.parent, []byte(k.name))
			got, ok := d.find(text, hash, k.parent, []byte(k.name))
			if n, there := want[k]; ok != there || ok && got != n {
				t.Fatalf("%v: got %d, %t, want %d, %t", k, got, ok, n, there)
			}
			if !ok {
				from := uint32(len(text))
				text = append(text, k.name...)
				want[k] = d.add(text, hash, entry{parent: k.parent, from: from, length: uint16(len(k.name))})
				order = append(order, k)
			}
		}
		for k, n := range want {
			if got, ok := d.find(text, d.hash(k.parent, []byte(k.name)), k.parent, []byte(k.name)); !ok || got != n {
				t.Fatalf("%v: got %d, %t in the end, want %d", k, got, ok, n)
			}
		}
	})
}
