package block

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"muster/shardmap/points/column"
)

// written is a block file, with what the writer said of it.
func written(t testing.TB, blocks []Block) ([]byte, Info) {
	t.Helper()
	return writtenBy(t, blocks, func(*Writer) {})
}

// writtenBy is a file whose writer was changed before its end.
func writtenBy(t testing.TB, blocks []Block, change func(*Writer)) ([]byte, Info) {
	t.Helper()
	var file bytes.Buffer
	w, err := NewWriter(&file)
	if err != nil {
		t.Fatal(err)
	}
	for i := range blocks {
		if err := w.Add(&blocks[i]); err != nil {
			t.Fatal(err)
		}
	}
	change(w)
	info, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes(), info
}

func open(file []byte) (*Reader, error) {
	return Open(bytes.NewReader(file), int64(len(file)))
}

// read reads the blocks of a cursor.
func read(c *Cursor) (blocks []Block, err error) {
	for c.Next() {
		var b Block
		if err := c.Read(&b); err != nil {
			return nil, err
		}
		blocks = append(blocks, b)
	}
	return blocks, c.Err()
}

// told tells of blocks bit by bit: two lists of blocks are equal if what is told of them is.
func told(blocks []Block) string {
	var s []byte
	for i := range blocks {
		b := &blocks[i]
		s = fmt.Appendf(s, "%q %q %v %d % x\n", b.Series, b.Field, b.Values.Kind, b.Times, b.Values.Append(nil))
	}
	return string(s)
}

// sample has all kinds, shared times and others, a field in two blocks, and columns that zstd makes shorter.
func sample() []Block {
	times := []int64{1e18, 1e18 + 10e9, 1e18 + 20e9}
	later := []int64{1e18 + 30e9, 1e18 + 40e9 + 5}
	long := string(bytes.Repeat([]byte("a text that is long, "), 20))
	at := func(series, field string, times []int64, v column.Values) Block {
		return Block{Series: []byte(series), Field: []byte(field), Times: times, Values: v}
	}
	return []Block{
		at("cpu,host=a", "busy", times, column.Values{Kind: column.Float, Floats: []float64{0.25, math.NaN(), 99.75}}),
		at("cpu,host=a", "busy", later, column.Values{Kind: column.Float, Floats: []float64{1, 2}}),
		at("cpu,host=a", "count", times, column.Values{Kind: column.Integer, Integers: []int64{7, -8, 9}}),
		at("cpu,host=a", "count", later, column.Values{Kind: column.Integer, Integers: []int64{math.MaxInt64, math.MinInt64}}),
		at("cpu,host=b", "bytes", times[1:], column.Values{Kind: column.Unsigned, Unsigned: []uint64{4096, 1 << 63}}),
		at("disk,host=a", "full", times, column.Values{Kind: column.Boolean, Booleans: []bool{false, true, false}}),
		at("disk,host=a", "text", later, column.Values{Kind: column.String, Strings: []string{long + "one", long + "two"}}),
	}
}

// filtered are the blocks that satisfy keep.
func filtered(blocks []Block, keep func(b *Block) bool) []Block {
	return slices.DeleteFunc(slices.Clone(blocks), func(b Block) bool { return !keep(&b) })
}
