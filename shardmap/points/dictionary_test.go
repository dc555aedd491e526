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

// One name of many parents that all begin to look in one slot: each must be told from the others.
func TestDictionaryTellsParentsApart(t *testing.T) {
	text := []byte("name")
	d := dictionary{seed: maphash.MakeSeed()}
	for n := range uint32(slotsMin / 2) {
		parent := n * slotsMin // the lowest bits of the hash are those of parent 0
		hash := d.hash(parent, text)
		if got, ok := d.find(text, hash, parent, text); ok {
			t.Fatalf("parent %d is taken for that of name %d", parent, got)
		}
		if got := d.add(text, hash, entry{parent: parent, length: uint16(len(text))}); got != n {
			t.Fatalf("parent %d: number %d, want %d", parent, got, n)
		}
	}
	for n := range uint32(slotsMin / 2) {
		if got, ok := d.find(text, d.hash(n*slotsMin, text), n*slotsMin, text); !ok || got != n {
			t.Fatalf("parent %d: got %d, %t, want %d", n*slotsMin, got, ok, n)
		}
	}
}
