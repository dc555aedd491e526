package shardmap

import (
	"fmt"
	"math"

	"muster/shardmap/pack"
	"muster/shardmap/points"
	"muster/shardmap/points/column"
	"muster/shardmap/points/shard"
)

// PointsOutcome is what became of the points of a share: each of them was stored, dropped, superseded or deleted. The detail of
// the result of a [CommandPoints] is a msgpack array:
//
//	[stored, dropped, superseded, deleted, over series, over values, over fields,
//	 [[reason, measurement, field, kind, kind that it has, tag, count, limit] …]]
type PointsOutcome struct {
	Stored uint64
	// Dropped are points with a field that the shard has with another kind, or whose name is too long beside the
	// series' key, and points over a limit.
	Dropped uint64
	// Superseded are points of a fill whose values were there.
	Superseded uint64
	// Deleted are points of a fill that were deleted since it was taken.
	Deleted uint64
	// OverSeries, OverValues and OverFields are those of Dropped that are over a limit of the database.
	OverSeries, OverValues, OverFields uint64
	Refused                            []PointsRefusal // for which points were dropped, the first [RefusedFieldsMax]
}

// RefusedReason is why points were dropped. Numbers are for ever.
type RefusedReason uint8

const (
	RefusedKind   RefusedReason = 1 // the shard has the field with another kind
	RefusedLength RefusedReason = 2 // the name of the field is too long beside the series' key
	RefusedSeries RefusedReason = 3 // the series would be one more than the shard may have
	RefusedValues RefusedReason = 4 // a tag of the series would have more values than it may
	RefusedFields RefusedReason = 5 // the measurement would have more fields than it may
)

// PointsRefusal is why points were dropped: a field, or a series that is over a limit.
type PointsRefusal struct {
	Reason             RefusedReason
	Measurement, Field string // no field with RefusedSeries and RefusedValues
	// Kind is that of the refused values, and Has that which the field has, with RefusedKind; else 0.
	Kind, Has column.Kind
	// Tag is the one of the series that has the most values, with RefusedSeries, or too many of them, with RefusedValues. A series
	// without tags has none.
	Tag string
	// Count is how many values the tag has, with RefusedFields how many fields the measurement has; Limit is how many series, values
	// or fields the shard may have.
	Count, Limit uint32
}

// outcomeOf returns what came of an entry with points.
func outcomeOf(r *shard.Result) PointsOutcome {
	o := PointsOutcome{
		Stored: uint64(r.Stored), Dropped: uint64(r.Dropped), Superseded: uint64(r.Superseded), Deleted: uint64(r.Deleted),
		OverSeries: uint64(r.Over.Series), OverValues: uint64(r.Over.Values), OverFields: uint64(r.Over.Fields),
	}
	for _, f := range r.Refused {
		x := PointsRefusal{Measurement: f.Measurement, Field: f.Field, Tag: f.Tag, Count: f.Values, Limit: f.Limit}
		switch f.Reason.Reason {
		case points.FieldTypeConflict:
			x.Reason, x.Kind, x.Has = RefusedKind, f.Reason.Kind, f.Reason.Had
		case points.TooManySeries:
			x.Reason = RefusedSeries
		case points.TooManyValues:
			x.Reason = RefusedValues
		case points.TooManyFields:
			x.Reason = RefusedFields
		default:
			x.Reason = RefusedLength
		}
		o.Refused = append(o.Refused, x)
	}
	return o
}

// RefusedFieldsMax bounds the fields that an outcome names.
const RefusedFieldsMax = shard.RefusedListed

const (
	pointsOutcomeFields = 8
	refusalFields       = 8
	refusalMin          = 1 + refusalFields // bytes
)

// Append appends the bytes of the outcome.
func (o *PointsOutcome) Append(b []byte) []byte {
	b = pack.AppendArray(b, pointsOutcomeFields)
	for _, n := range [...]uint64{o.Stored, o.Dropped, o.Superseded, o.Deleted, o.OverSeries, o.OverValues, o.OverFields} {
		b = pack.AppendUint(b, n)
	}
	b = pack.AppendArray(b, len(o.Refused))
	for i := range o.Refused {
		f := &o.Refused[i]
		b = pack.AppendArray(b, refusalFields)
		b = pack.AppendUint(b, uint64(f.Reason))
		b = pack.AppendString(b, f.Measurement)
		b = pack.AppendString(b, f.Field)
		b = pack.AppendUint(b, uint64(f.Kind))
		b = pack.AppendUint(b, uint64(f.Has))
		b = pack.AppendString(b, f.Tag)
		b = pack.AppendUint(b, uint64(f.Count))
		b = pack.AppendUint(b, uint64(f.Limit))
	}
	return b
}

// Read reads the bytes of an outcome from r.
func (o *PointsOutcome) Read(r *pack.Reader) error {
	r.ArrayLen(pointsOutcomeFields)
	for _, n := range [...]*uint64{&o.Stored, &o.Dropped, &o.Superseded, &o.Deleted, &o.OverSeries, &o.OverValues, &o.OverFields} {
		*n = r.Uint()
	}
	n := r.Array()
	if err := r.Err(); err != nil {
		return err
	}
	if n > RefusedFieldsMax || n > len(r.Rest())/refusalMin {
		return fmt.Errorf("%d refusals in %d bytes; want %d at most", n, len(r.Rest()), RefusedFieldsMax)
	}
	o.Refused = make([]PointsRefusal, n)
	for i := range o.Refused {
		r.ArrayLen(refusalFields)
		f := &o.Refused[i]
		f.Reason, f.Measurement, f.Field = RefusedReason(r.UintMax(math.MaxUint8)), r.String(), r.String()
		f.Kind, f.Has = column.Kind(r.UintMax(math.MaxUint8)), column.Kind(r.UintMax(math.MaxUint8))
		f.Tag, f.Count, f.Limit = r.String(), uint32(r.UintMax(math.MaxUint32)), uint32(r.UintMax(math.MaxUint32))
	}
	return r.Err()
}

// String says what is wrong, in InfluxDB's words where it has any: its clients show them.
func (f *PointsRefusal) String() string {
	switch f.Reason {
	case RefusedKind:
		return fmt.Sprintf("input field %q on measurement %q is type %s, already exists as type %s", f.Field, f.Measurement, f.Kind, f.Has)
	case RefusedLength:
		return fmt.Sprintf("field %q of measurement %q: its name and the series' key are too long together", f.Field, f.Measurement)
	case RefusedSeries:
		// A limit that was lowered may be less than what the shard has.
		text := fmt.Sprintf("one more of measurement %q; its shard may have %d, its part of the limit", f.Measurement, f.Limit)
		if f.Tag != "" {
			text += fmt.Sprintf(", and of its tags %q has the most values, %d", f.Tag, f.Count)
		}
		return text
	case RefusedValues:
		return fmt.Sprintf("one more of tag %q of measurement %q, which has %d; the limit is %d", f.Tag, f.Measurement, f.Count, f.Limit)
	case RefusedFields:
		// A point may bring several that are new, of which none is stored: the measurement may have few as yet.
		return fmt.Sprintf("with the fields of the point up to %q measurement %q would have more than %d; it has %d", f.Field, f.Measurement, f.Limit, f.Count)
	}
	return fmt.Sprintf("measurement %q, for reason %d", f.Measurement, f.Reason)
}
