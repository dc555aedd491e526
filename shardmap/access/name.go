package access

import (
	"errors"
	"fmt"
	"strconv"
)

// Limits of what people write. The table bounds how many of each there are.
const (
	NameMax   = 64  // bytes of the name of a user or a role
	PrefixMax = 256 // bytes of the prefix of an object; a key may be longer, but no rule reads better for it
)

// ErrInvalid is wrapped by all errors about names, verbs, objects and grants.
var ErrInvalid = errors.New("invalid rule")

// invalid is one line: what was found, and what would be right.
type invalid string

func (e invalid) Error() string { return string(e) }
func (e invalid) Unwrap() error { return ErrInvalid }

func invalidf(format string, args ...any) error { return invalid(fmt.Sprintf(format, args...)) }

// quoteMax bounds what an error quotes.
const quoteMax = 64

func quote(v string) string {
	if len(v) > quoteMax {
		return strconv.Quote(v[:quoteMax]) + "…"
	}
	return strconv.Quote(v)
}

// bugAnyName is planted to show that its test finds it: a name may be a path, or steer a terminal.
const bugAnyName = "any name taken"

// CheckName refuses a name of a user or a role that needs quoting in a shell, a log line or a URI.
func CheckName(name string) error {
	const want = "want 1 to %d letters, digits, '.', '_' or '-'"
	switch {
	case bug(bugAnyName):
		return nil
	case name == "":
		return invalidf("empty; "+want, NameMax)
	case len(name) > NameMax:
		return invalidf("%s: %d bytes; "+want, quote(name), len(name), NameMax)
	case name[0] == '-' || name[0] == '.':
		return invalidf("%s: begins with '%c'; want a letter, a digit or '_' first", quote(name), name[0])
	}
	for _, c := range name {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return invalidf("%s: has %q; "+want, quote(name), c, NameMax)
		}
	}
	return nil
}
