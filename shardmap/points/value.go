package points

import (
	"math"

	"muster/shardmap/points/column"
)

// Value is one value of a field. Values are equal, as == has it, if they have the same kind and the
// same bits: -0 and 0 are two floats. A float is neither infinite nor NaN; a string is UTF-8 of at most
// [StringMax] bytes. All values that a field of a measurement has in one window are of one kind.
type Value struct {
	Kind column.Kind
	bits uint64
	text string
}

// FloatValue returns a value of kind [column.Float].
func FloatValue(v float64) Value { return Value{Kind: column.Float, bits: math.Float64bits(v)} }

// IntegerValue returns a value of kind [column.Integer].
func IntegerValue(v int64) Value { return Value{Kind: column.Integer, bits: uint64(v)} }

// UnsignedValue returns a value of kind [column.Unsigned].
func UnsignedValue(v uint64) Value { return Value{Kind: column.Unsigned, bits: v} }

// StringValue returns a value of kind [column.String].
func StringValue(v string) Value { return Value{Kind: column.String, text: v} }

// BooleanValue returns a value of kind [column.Boolean].
func BooleanValue(v bool) Value {
	if v {
		return Value{Kind: column.Boolean, bits: 1}
	}
	return Value{Kind: column.Boolean}
}

// Float returns a value of kind [column.Float]; of another the number means nothing, as with the other methods.
func (v Value) Float() float64 { return math.Float64frombits(v.bits) }

// Integer returns a value of kind [column.Integer].
func (v Value) Integer() int64 { return int64(v.bits) }

// Unsigned returns a value of kind [column.Unsigned].
func (v Value) Unsigned() uint64 { return v.bits }

// Text returns a value of kind [column.String].
func (v Value) Text() string { return v.text }

// Boolean returns a value of kind [column.Boolean].
func (v Value) Boolean() bool { return v.bits != 0 }

// Point is what one line of line protocol writes.
type Point struct {
	Series Series
	Fields []Field // at least one; of several with one name the last counts
	Time   int64   // in nanoseconds since 1970 UTC
}

// Field is a field of a point, by its name as it is, with its value.
type Field struct {
	Name  string
	Value Value
}
