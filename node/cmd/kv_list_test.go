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

// A cell of ASCII is what it is by the way that all text can go, which looks each character up.
func TestCellOfASCII(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	for n := range 4000 {
		b := make([]byte, r.IntN(2*cellMax)*(n%2)+r.IntN(3))
		for i := range b {
			b[i] = byte(r.IntN([]int{0x80, 0x7f, 0x100}[n%3]))
			if n%5 == 0 {
				b[i] = 'a'
			}
		}
		if got, want := cell(b), string(appendRunes(nil, b)); got != want {
			t.Fatalf("the cell of %q is %s, want %s", b, got, want)
		}
	}
}
