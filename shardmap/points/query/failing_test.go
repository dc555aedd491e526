package query_test

import (
	"iter"

	"muster/shardmap/points"
	"muster/shardmap/points/column"
	"muster/shardmap/points/query"
)

func floatValue(i int64) points.Value { return points.FloatValue(float64(i)) }

// failing is a shard with one float field, whose values are an error or integers.
type failing struct{ err error }

func (f failing) Measurements() ([]string, error) { return []string{"cpu"}, nil }

func (f failing) Fields(string) ([]query.Field, error) {
	return []query.Field{{Name: "v", Kind: column.Float}}, nil
}

func (f failing) KnownTags(string) ([]string, int64, bool) { return nil, 0, false }

func (f failing) KeepTags(string, []string, int64) {}

func (f failing) Series(string, ...points.Tag) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) { yield([]byte("cpu"), nil) }
}

func (f failing) Columns([]byte, string, int64, int64) iter.Seq2[query.Piece, error] {
	return func(yield func(query.Piece, error) bool) {
		if f.err != nil {
			yield(query.Piece{}, f.err)
			return
		}
		yield(query.Piece{Times: []int64{1}, Values: column.Values{Kind: column.Integer, Integers: []int64{1}}}, nil)
	}
}
