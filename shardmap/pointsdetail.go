package shardmap

import (
	"fmt"
	"math"

	"muster/shardmap/pack"
	"muster/shardmap/points/column"
	"muster/shardmap/points/shard"
)

// PointsOutcome is what became of the points of a share: each of them was stored, dropped, superseded or deleted. The detail of
// the result of a [CommandPoints] is a msgpack array:
//
//	[stored, dropped, superseded, deleted, [[measurement, field, kind, kind that it has] …]]
type PointsOutcome struct {
	Stored uint64
	// Dropped are points with a field that the shard has with another kind, or whose name is too long beside the
	// series' key.
	Dropped uint64
	// Superseded are points of a fill whose values were there.
	Superseded uint64
	// Deleted are points of a fill that were deleted since it was taken.
	Deleted uint64
	Refused []RefusedField // for which points were dropped, the first [RefusedFieldsMax]
}

// RefusedField is a field for which points were dropped.
type RefusedField struct {
	Measurement, Field string
	// Kind is that of the refused values, and Has that which the field has. Both are 0 if the name is too long beside
	// the series' key.
	Kind, Has column.Kind
}

// RefusedFieldsMax bounds the fields that an outcome names.
const RefusedFieldsMax = shard.RefusedListed

const (
	pointsOutcomeFields = 5
	refusedFieldFields  = 4
	refusedFieldMin     = 1 + refusedFieldFields // bytes
)

// Append appends the bytes of the outcome.
func (o *PointsOutcome) Append(b []byte) []byte {
	b = pack.AppendArray(b, pointsOutcomeFields)
	b = pack.AppendUint(b, o.Stored)
	b = pack.AppendUint(b, o.Dropped)
	b = pack.AppendUint(b, o.Superseded)
	b = pack.AppendUint(b, o.Deleted)
	b = pack.AppendArray(b, len(o.Refused))
	for i := range o.Refused {
		f := &o.Refused[i]
		b = pack.AppendArray(b, refusedFieldFields)
		b = pack.AppendString(b, f.Measurement)
		b = pack.AppendString(b, f.Field)
		b = pack.AppendUint(b, uint64(f.Kind))
		b = pack.AppendUint(b, uint64(f.Has))
	}
	return b
}

// Read reads the bytes of an outcome from r.
func (o *PointsOutcome) Read(r *pack.Reader) error {
	r.ArrayLen(pointsOutcomeFields)
	o.Stored, o.Dropped, o.Superseded, o.Deleted = r.Uint(), r.Uint(), r.Uint(), r.Uint()
	n := r.Array()
	if err := r.Err(); err != nil {
		return err
	}
	if n > RefusedFieldsMax || n > len(r.Rest())/refusedFieldMin {
		return fmt.Errorf("%d refused fields in %d bytes; want %d at most", n, len(r.Rest()), RefusedFieldsMax)
	}
	o.Refused = make([]RefusedField, n)
	for i := range o.Refused {
		r.ArrayLen(refusedFieldFields)
		o.Refused[i] = RefusedField{r.String(), r.String(), column.Kind(r.UintMax(math.MaxUint8)), column.Kind(r.UintMax(math.MaxUint8))}
	}
	return r.Err()
}

// String says what is wrong with the field, in InfluxDB's words for one of another kind: its clients show them.
func (f *RefusedField) String() string {
	if f.Kind == f.Has {
		return fmt.Sprintf("field %q of measurement %q: its name and the series' key are too long together", f.Field, f.Measurement)
	}
	return fmt.Sprintf("input field %q on measurement %q is type %s, already exists as type %s", f.Field, f.Measurement, f.Kind, f.Has)
}
