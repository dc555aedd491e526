package column

import "fmt"

// Kind is what the values of a column are. Its numbers are in files: one that is retired keeps its line.
type Kind byte

// The kinds, by the words of line protocol.
const (
	Float    Kind = 1
	Integer  Kind = 2
	Unsigned Kind = 3
	Boolean  Kind = 4
	String   Kind = 5
)

// Valid reports whether k is one of the kinds above.
func (k Kind) Valid() bool { return k >= Float && k <= String }

func (k Kind) String() string {
	if k.Valid() {
		return [...]string{"float", "integer", "unsigned", "boolean", "string"}[k-Float]
	}
	return fmt.Sprintf("kind %d", byte(k))
}

// Values are those of a column of any kind. Only the slice of the kind counts.
type Values struct {
	Kind     Kind
	Floats   []float64
	Integers []int64
	Unsigned []uint64
	Booleans []bool
	Strings  []string
}

// Len is how many values there are; 0 if the kind is not valid.
func (v *Values) Len() int {
	switch v.Kind {
	case Float:
		return len(v.Floats)
	case Integer:
		return len(v.Integers)
	case Unsigned:
		return len(v.Unsigned)
	case Boolean:
		return len(v.Booleans)
	case String:
		return len(v.Strings)
	}
	return 0
}

// Append appends the column of the values, whose kind must be valid.
func (v *Values) Append(dst []byte) []byte {
	switch v.Kind {
	case Float:
		return AppendFloats(dst, v.Floats)
	case Integer:
		return AppendIntegers(dst, v.Integers)
	case Unsigned:
		return AppendUnsigned(dst, v.Unsigned)
	case Boolean:
		return AppendBooleans(dst, v.Booleans)
	case String:
		return AppendStrings(dst, v.Strings)
	}
	panic("column: append values of " + v.Kind.String())
}

// Read replaces the values by those of a column of kind k at the beginning of b, and uses the memory of the slices
// that are there. max, rest and err are as those of [ReadTimes]; after an error there are no values.
func (v *Values) Read(b []byte, k Kind, max int) (rest []byte, err error) {
	v.Kind = k
	switch k {
	case Float:
		v.Floats, rest, err = ReadFloats(b, v.Floats[:0], max)
	case Integer:
		v.Integers, rest, err = ReadIntegers(b, v.Integers[:0], max)
	case Unsigned:
		v.Unsigned, rest, err = ReadUnsigned(b, v.Unsigned[:0], max)
	case Boolean:
		v.Booleans, rest, err = ReadBooleans(b, v.Booleans[:0], max)
	case String:
		v.Strings, rest, err = ReadStrings(b, v.Strings[:0], max)
	default:
		err = &DamageError{0, fmt.Sprintf("the column is of %v; known are kinds %d to %d", k, Float, String)}
	}
	return rest, err
}
