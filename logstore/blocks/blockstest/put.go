// Package blockstest puts small block files into the stores of tests.
package blockstest

import (
	"testing"

	"muster/logstore/blocks"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
)

// Put puts a small block file into a Store, and returns its sum.
func Put(t testing.TB, files *blocks.Store, g blocks.Group) block.Sum {
	t.Helper()
	in, err := files.Create(g)
	if err != nil {
		t.Fatal(err)
	}
	w, err := block.NewWriter(in)
	if err == nil {
		err = w.Add(&block.Block{Series: []byte("cpu"), Field: []byte("busy"), Times: []int64{1, 2}, Values: column.Values{Kind: column.Float, Floats: []float64{0.5, 7}}})
	}
	if err != nil {
		t.Fatal(err)
	}
	info, err := w.Finish()
	if err == nil {
		_, err = in.Commit(info.Sum)
	}
	if err != nil {
		t.Fatal(err)
	}
	return info.Sum
}
