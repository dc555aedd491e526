package shard

import (
	"bytes"
	"fmt"
	"iter"
	"math"
	"slices"

	"muster/shardmap/points"
	"muster/shardmap/points/block"
	"muster/shardmap/points/column"
)

// checkKind refuses a block of another kind than its field has: deletes aside, a field keeps its kind.
func checkKind(r *block.Row, k column.Kind) error {
	if r.Kind == k {
		return nil
	}
	return fmt.Errorf("a block file has field %q of series %q as %v, the shard has it as %v: the file is of another state", r.Field, r.Series, r.Kind, k)
}

// typed makes v the values of a head by their kind. It uses the memory of v, and bits.
func (h *head) typed(v *column.Values, k column.Kind, bits []uint64) {
	v.Kind = k
	switch k {
	case column.Float:
		v.Floats = slices.Grow(v.Floats[:0], len(bits))
		for _, b := range bits {
			v.Floats = append(v.Floats, math.Float64frombits(b))
		}
	case column.Integer:
		v.Integers = slices.Grow(v.Integers[:0], len(bits))
		for _, b := range bits {
			v.Integers = append(v.Integers, int64(b))
		}
	case column.Unsigned:
		v.Unsigned = append(v.Unsigned[:0], bits...)
	case column.Boolean:
		v.Booleans = slices.Grow(v.Booleans[:0], len(bits))
		for _, b := range bits {
			v.Booleans = append(v.Booleans, b != 0)
		}
	case column.String:
		v.Strings = slices.Grow(v.Strings[:0], len(bits))
		for i, b := range bits {
			if i > 0 && b == bits[i-1] {
				v.Strings = append(v.Strings, v.Strings[i-1])
				continue
			}
			v.Strings = append(v.Strings, string(h.string(b)))
		}
	}
}

// keys is a list of keys of series in order, in a head or a file.
type keys interface {
	// key returns the key at which the list is; nil behind the last one.
	key() []byte
	// next goes to the next key. A key may come several times.
	next() error
}

// fileKeys are keys of a file: those of some cursors, one after the other.
type fileKeys struct {
	cursors []*block.Cursor
	with    [][]byte // that each key must have
	at      []byte   // a copy
}

func (k *fileKeys) key() []byte { return k.at }

func (k *fileKeys) next() error {
	for len(k.cursors) > 0 {
		if c := k.cursors[0]; c.Next() {
			if hasAll(c.Row().Series, k.with) {
				k.at = append(k.at[:0], c.Row().Series...)
				return nil
			}
		} else if c.Err() != nil {
			return c.Err()
		} else {
			k.cursors = k.cursors[1:]
		}
	}
	k.at = nil
	return nil
}

// keptKeys are keys of a file that are kept unpacked.
type keptKeys struct {
	list *block.KeyList
	with [][]byte // that each key must have
	i    int
}

func (k *keptKeys) key() []byte {
	for ; k.i < k.list.Len(); k.i++ {
		if key := k.list.At(k.i); hasAll(key, k.with) {
			return key
		}
	}
	return nil
}

func (k *keptKeys) next() error {
	k.i++
	return nil
}

// hasAll reports whether a key has all of some texts in it.
func hasAll(key []byte, texts [][]byte) bool {
	for _, t := range texts {
		if !bytes.Contains(key, t) {
			return false
		}
	}
	return true
}

// Series goes through the keys of a measurement's series that have points, in order. Of those that lack one of some tags it
// leaves out most: a key is searched for how the tag is written, which takes a fiftieth of the time that it takes to read it,
// and may stand in the value of another tag too.
func (r *Reader) Series(measurement string, tags ...points.Tag) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		written := points.AppendMeasurement(nil, []byte(measurement))
		var with [][]byte
		for _, t := range tags {
			with = append(with, points.AppendTag(nil, []byte(t.Name), []byte(t.Value)))
		}
		lists, err := r.keysOf(written, with)
		if err != nil {
			yield(nil, err)
			return
		}
		var key []byte
		for {
			least := []byte(nil)
			for _, l := range lists {
				if k := l.key(); k != nil && (least == nil || bytes.Compare(k, least) < 0) {
					least = k
				}
			}
			if least == nil {
				return
			}
			key = append(key[:0], least...)
			for _, l := range lists {
				for bytes.Equal(l.key(), key) {
					if err := l.next(); err != nil {
						yield(nil, err)
						return
					}
				}
			}
			there, err := r.hasPoints(measurement, key)
			if err != nil {
				yield(nil, err)
				return
			}
			if there && !yield(key, nil) {
				return
			}
		}
	}
}

// keysOf returns the lists of keys of a measurement.
func (r *Reader) keysOf(written []byte, with [][]byte) (lists []keys, err error) {
	v, s := r.v, r.v.shard
	s.mu.RLock()
	m := s.schema.measurement(written)
	s.mu.RUnlock()
	if m == 0 {
		return nil, nil
	}
	for _, h := range v.heads {
		lists = append(lists, h.sortedKeys(s, m, v.entry, with))
	}
	for i := range v.files {
		x, err := r.file(i)
		if err != nil {
			return nil, err
		}
		kept, err := x.Keys(written)
		if err != nil {
			return nil, err
		}
		if kept != nil {
			lists = append(lists, &keptKeys{list: kept, with: with})
			continue
		}
		k := &fileKeys{cursors: x.Measurement(written), with: with}
		if err := k.next(); err != nil {
			return nil, err
		}
		lists = append(lists, k)
	}
	return lists, nil
}

// hasPoints reports whether a series that is in a head or a file has a point that is not deleted.
func (r *Reader) hasPoints(measurement string, key []byte) (bool, error) {
	if !slices.ContainsFunc(r.v.tombstones, func(t buried) bool { return t.of(key) }) {
		return true, nil
	}
	fields, err := r.Fields(measurement)
	if err != nil {
		return false, err
	}
	for _, f := range fields {
		for _, err := range r.Columns(key, f.Name, math.MinInt64, math.MaxInt64) {
			return err == nil, err
		}
	}
	return false, nil
}
