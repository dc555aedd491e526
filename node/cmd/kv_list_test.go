package cmd

import (
	"math/rand/v2"
	"testing"

	"muster/repl/client"
)

// A line of a list is what the encoder of all other JSON makes of it, whatever bytes the key and the value
// have: one would doubt it, since most lines are put together without it.
func TestLineOfItem(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	texts := [][]byte{nil, []byte("config/app-1"), []byte(`a "quoted" \ one`), []byte("<b>&amp;"), []byte("\x7f\u0085\u202e\u2028"), []byte("größer 漢字"), {0xff, 0xfe}}
	for c := range 256 {
		texts = append(texts, []byte{'a', byte(c), 'b'})
	}
	for range 3000 {
		i := client.ListItem{Key: texts[r.IntN(len(texts))], Value: texts[r.IntN(len(texts))], Version: r.Uint64() >> r.IntN(64)}
		for _, keysOnly := range []bool{false, true} {
			row := lineRow{keyText(i.Key), i.Version}
			if !keysOnly {
				row.itemText = pairText(i.Key, i.Value)
			}
			want, err := marshalLine(row)
			if err != nil {
				t.Fatal(err)
			}
			if got := appendLine([]byte("before "), i, keysOnly); string(got) != "before "+string(want) {
				t.Errorf("%q of %q, keys alone %v: %q; want %q", i.Value, i.Key, keysOnly, got, want)
			}
		}
	}
}
