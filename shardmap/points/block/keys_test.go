package block

import (
	"fmt"
	"testing"

	"muster/shardmap/points/column"
)

// Keys that are kept are those of the file, take no more than they may, go with their file, and are read again when others
// took their room; a list that is too long for its share is read from the file each time.
func TestKeysAreBounded(t *testing.T) {
	const most = 64 << 10
	keys := NewKeys(most)
	var blocks []Block
	add := func(key, field string) {
		blocks = append(blocks, Block{Series: []byte(key), Field: []byte(field), Times: []int64{1}, Values: column.Values{Kind: column.Integer, Integers: []int64{1}}})
	}
	add("a", "v")
	for i := range 1000 {
		add(fmt.Sprintf("a,host=%d", 1000+i), "v")
	}
	for i := range 100 {
		add(fmt.Sprintf("b%02d,host=1", i), "v")
		add(fmt.Sprintf("b%02d,host=1", i), "w")
		add(fmt.Sprintf("b%02d,host=2,of=%0500d", i, 7), "v")
	}
	file, info := written(t, blocks)
	r, err := open(file)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := r.Keys([]byte("a")); l != nil || err != nil {
		t.Fatalf("a reader that keeps no keys: %v, %v", l, err)
	}
	r.KeepKeys(keys)
	for range 2 {
		if l, err := r.Keys([]byte("a")); l != nil || err != nil {
			t.Fatalf("the keys of a thousand series are kept in an eighth of %d bytes: %v", most, err)
		}
		for i := range 100 {
			l, err := r.Keys(fmt.Appendf(nil, "b%02d", i))
			if err != nil || l == nil || l.Len() != 2 || string(l.At(0)) != fmt.Sprintf("b%02d,host=1", i) || len(l.At(1)) != len("b00,host=2,of=")+500 {
				t.Fatalf("measurement %d: %v, %v", i, l, err)
			}
		}
		if n := keys.Bytes(); n > most || n < most/2 {
			t.Errorf("%d bytes are kept, want at most %d and not much less", n, most)
		}
	}
	if l, err := r.Keys([]byte("c")); err != nil || l == nil || l.Len() != 0 {
		t.Errorf("a measurement that is not there: %v, %v", l, err)
	}
	keys.Forget(Sum{1})
	if keys.Bytes() == 0 {
		t.Error("another file took the keys with it")
	}
	if keys.Forget(info.Sum); keys.Bytes() != 0 {
		t.Errorf("%d bytes are kept of a file that is gone", keys.Bytes())
	}
}
