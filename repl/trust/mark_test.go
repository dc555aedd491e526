package trust_test

import (
	"crypto/rand"
	"testing"

	"muster/repl/trust"
)

// A mark must be good for the node that it was made for, under the key that it was made with, and for
// nothing else: or strangers would take the places of members.
func TestMarks(t *testing.T) {
	const to = 0x1234
	key, other := []byte("what the members know"), []byte("what another cluster's members know")
	mark, err := trust.Mark(rand.Reader, key, to)
	if err != nil {
		t.Fatal(err)
	}
	again, err := trust.Mark(rand.Reader, key, to)
	if err != nil || again == mark {
		t.Errorf("two marks are the same, or %v", err)
	}
	if len(mark) > 255 {
		t.Errorf("a mark has %d bytes; a protocol's name has at most 255", len(mark))
	}
	changed := []byte(mark)
	changed[len(changed)-1] ^= 1
	for _, tt := range []struct {
		name      string
		protocols []string
		keys      [][]byte
		to        uint64
		want      bool
	}{
		{"it", []string{trust.ALPN, mark}, [][]byte{key}, to, true},
		{"under the second key", []string{mark}, [][]byte{other, key}, to, true},
		{"for another node", []string{mark}, [][]byte{key}, to + 1, false},
		{"under another key", []string{mark}, [][]byte{other}, to, false},
		{"without keys", []string{mark}, nil, to, false},
		{"under an empty key", []string{mark}, [][]byte{nil}, to, false},
		{"changed", []string{string(changed)}, [][]byte{key}, to, false},
		{"cut", []string{mark[:len(mark)-2]}, [][]byte{key}, to, false},
		{"no digits", []string{"muster/member/" + "zz"}, [][]byte{key}, to, false},
		{"none", []string{trust.ALPN}, [][]byte{key}, to, false},
		{"behind one that is not good", []string{string(changed), mark}, [][]byte{key}, to, false},
	} {
		if got := trust.Marked(tt.protocols, tt.keys, tt.to); got != tt.want {
			t.Errorf("%s: got %t, want %t", tt.name, got, tt.want)
		}
	}
}
