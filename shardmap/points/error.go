package points

import (
	"fmt"
	"strconv"

	"muster/shardmap/points/column"
)

// Reason says why a point was refused. The numbers are for programs of this version alone; people
// and clients see the words, which begin as InfluxDB's do where it has any.
type Reason uint8

// The reasons; in brackets what [Error.Name] is of.
const (
	MissingMeasurement   Reason = iota + 1
	CommentedMeasurement        // a line that begins like it is a comment
	MissingTagKey               // (the tag before it)
	MissingTagValue             // (tag)
	InvalidTag                  // a tag's value has a bare equals sign (tag)
	DuplicateTag                // (tag)
	InvalidTagKey               // of points/line: it is time (tag)
	TooManyTags                 // more than TagsMax
	KeyTooLong                  // the key has more than KeyMax bytes
	MissingFields               //
	MissingFieldKey             // (the field before it)
	MissingFieldValue           // (field)
	FieldNameTooLong            // more than NameMax bytes (field)
	InvalidFieldName            // of points/line: it is time (field)
	InvalidName                 // a name or a tag's value has control characters, or is not UTF-8 (tag, field)
	TrailingBackslash           // a name or a tag's value ends with \, which would escape what follows it (tag, field)
	InvalidValue                // it begins like no kind (field)
	InvalidNumber               // (field)
	NumberOutOfRange            // (field)
	InvalidBoolean              // (field)
	UnbalancedQuotes            // (field)
	InvalidString               // the string is not UTF-8 (field)
	StringTooLong               // more than StringMax bytes (field)
	FieldTypeConflict           // an earlier point has the field with another kind (field)
	InvalidTime                 // it is no integer
	TimeOutOfRange              // before TimeMin or after TimeMax
	TextAfterTime               //
	LineTooLong                 // of points/line
	BatchFull                   // more than PointsMax, ValuesMax or TextMax
	BatchTooLong                // of points/line: all of it is refused
	UnknownPrecision            // of points/line: all of it is refused
	TooManySeries               // of points/shard: more than the database may have (the tag that has the most values)
	TooManyValues               // of points/shard: (tag)
	TooManyFields               // of points/shard: of a measurement (field)

	reasonEnd
)

// reasons has, for each reason, what it is about, what is wrong, and what would be right.
var reasons = [reasonEnd]struct{ of, wrong, want string }{
	MissingMeasurement:   {"", "missing measurement", "want MEASUREMENT,TAG=VALUE FIELD=VALUE TIME"},
	CommentedMeasurement: {"measurement", "invalid measurement", "want one that does not begin with #, as comments do"},
	MissingTagKey:        {"tag after", "missing tag key", "want TAG=VALUE after each comma, and no space"},
	MissingTagValue:      {"tag", "missing tag value", "want TAG=VALUE; leave out a tag that has no value"},
	InvalidTag:           {"tag", "invalid tag format", `want \= for an equals sign in its value`},
	DuplicateTag:         {"tag", "duplicate tags", "want each tag once"},
	InvalidTagKey:        {"tag", "invalid tag key", "want another name: rows have the time of a point under this one"},
	TooManyTags:          {"", "too many tags", "want at most " + strconv.Itoa(TagsMax)},
	KeyTooLong:           {"", "max key length exceeded", "want at most " + strconv.Itoa(KeyMax) + " bytes of measurement and tags"},
	MissingFields:        {"", "missing fields", "want a space and FIELD=VALUE after measurement and tags"},
	MissingFieldKey:      {"field after", "missing field key", "want FIELD=VALUE after each comma"},
	MissingFieldValue:    {"field", "missing field value", "want FIELD=VALUE"},
	FieldNameTooLong:     {"field", "name too long", "want at most " + strconv.Itoa(NameMax) + " bytes"},
	InvalidFieldName:     {"field", "invalid field name", "want another name: rows have the time of a point under this one"},
	InvalidName:          {"name", "invalid characters", "want UTF-8 without control characters"},
	TrailingBackslash:    {"name", "backslash at its end", "want another end: a backslash escapes what follows it"},
	InvalidValue:         {"field", "invalid boolean", `want a number, 1i, 1u, t, f or "text"`},
	InvalidNumber:        {"field", "invalid number", "want 1.5, 1e3, 1i or 1u; NaN and Inf can't be stored"},
	NumberOutOfRange:     {"field", "number out of range", "want what fits into 64 bits"},
	InvalidBoolean:       {"field", "invalid boolean", "want t, T, true, True, TRUE, f, F, false, False or FALSE"},
	UnbalancedQuotes:     {"field", "unbalanced quotes", `want "text", with \" for a quote and \\ for a backslash in it, and a comma or space after it`},
	InvalidString:        {"field", "invalid UTF-8", "want a string of UTF-8"},
	StringTooLong:        {"field", "string too long", "want at most " + strconv.Itoa(StringMax) + " bytes"},
	FieldTypeConflict:    {"field", "field type conflict", "write the field as what it is, or under another name"},
	InvalidTime:          {"", "bad timestamp", "want an integer, in the precision of the request"},
	TimeOutOfRange:       {"", "time out of range", fmt.Sprintf("want %d to %d ns since 1970; is the precision right?", int64(TimeMin), int64(TimeMax))},
	TextAfterTime:        {"", "point is invalid", "want nothing but spaces after the time"},
	LineTooLong:          {"", "line too long", "split the point into several with fewer fields"},
	BatchTooLong:         {"", "batch too long", "split it; nothing of it was taken"},
	BatchFull:            {"", "batch full", fmt.Sprintf("split it: want at most %d points, %d values and %d bytes of names and strings", PointsMax, ValuesMax, TextMax)},
	UnknownPrecision:     {"precision", "unknown precision", "want ns, us, ms, s, m or h"},
	TooManySeries:        {"tag", "max-series-per-database limit exceeded", "want a tag with fewer values, or a higher limit of the database"},
	TooManyValues:        {"tag", "max-values-per-tag limit exceeded", "want a tag with fewer values, or a higher limit of the database"},
	TooManyFields:        {"field", "max fields per measurement exceeded", "want fewer names of fields, or a higher limit of the database"},
}

// String returns what is wrong, without a name: "missing tag value".
func (r Reason) String() string {
	if r == 0 || r >= reasonEnd {
		return "unknown reason"
	}
	return reasons[r].wrong
}

// Error says why a point was refused. Functions within this subsystem return it by value, and the zero
// Error for none: a write may have a million bad lines, and only those that are listed become errors of
// Go.
type Error struct {
	Reason Reason
	Name   string      // what the reason is about, as it was written, cut to nameShown bytes; "" for none
	Kind   column.Kind // of FieldTypeConflict: that of the refused value
	Had    column.Kind // of FieldTypeConflict: that which the field had before
}

// nameShown is how many bytes of a name stand in an error: enough to find it.
const nameShown = 64

// Refuse returns the error for a reason, about a name as it was written.
func Refuse(r Reason, name []byte) Error {
	return Error{Reason: r, Name: string(name[:min(len(name), nameShown)])}
}

// None reports whether nothing was refused.
func (e Error) None() bool { return e.Reason == 0 }

// Is reports whether target is an Error with the same reason and no name, so that
// errors.Is(err, points.Error{Reason: points.DuplicateTag}) holds for each of its kind.
func (e Error) Is(target error) bool {
	t, ok := target.(Error)
	return ok && t == Error{Reason: e.Reason}
}

func (e Error) Error() string {
	if e.Reason == 0 || e.Reason >= reasonEnd {
		return e.Reason.String()
	}
	r := reasons[e.Reason]
	text := r.wrong
	if e.Reason == FieldTypeConflict {
		text = fmt.Sprintf("%s: it is %s here, and was %s before", r.wrong, e.Kind, e.Had)
	}
	if r.of != "" && e.Name != "" {
		text = r.of + " " + strconv.Quote(e.Name) + ": " + text
	}
	return text + "; " + r.want
}
