package points

// Kind is the type of a field's values. All values that a field of a measurement has in one window
// are of one kind.
type Kind uint8

// The kinds. Their numbers are in logs and files, for ever.
const (
	Float    Kind = 1 // a float64, neither infinite nor NaN
	Integer  Kind = 2 // an int64
	Unsigned Kind = 3 // a uint64
	Boolean  Kind = 4
	String   Kind = 5 // UTF-8 of at most [StringMax] bytes

	kindEnd = 6
)

var kindNames = [kindEnd]string{"unknown", "float", "integer", "unsigned", "boolean", "string"}

// Known reports whether this version knows the kind.
func (k Kind) Known() bool { return k > 0 && k < kindEnd }

// String returns the kind as InfluxDB names it: float, integer, unsigned, boolean, string.
func (k Kind) String() string {
	if !k.Known() {
		k = 0
	}
	return kindNames[k]
}
