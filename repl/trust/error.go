package trust

import (
	"errors"
	"fmt"
)

// Reasons for which a certificate is refused, for errors.Is. What is refused
// without one of them is malformed.
var (
	// ErrNone means that no certificate was shown.
	ErrNone = errors.New("no certificate was shown")
	// ErrFounding means that the certificate is of a host that has none of a
	// cluster yet.
	ErrFounding = errors.New("the host has no certificate of a cluster yet")
	// ErrForeign means that no trusted root signed the certificate.
	ErrForeign = errors.New("no trusted root signed it")
	// ErrCluster means that the certificate has a name of another cluster than
	// that of the root which signed it.
	ErrCluster = errors.New("it is of another cluster")
	// ErrEarly means that the time of the certificate has not begun.
	ErrEarly = errors.New("its time has not begun")
	// ErrDenied means that the cluster has denied the serial.
	ErrDenied = errors.New("it was denied")
)

// Error says which field is not as it must be. None of its texts has anything
// secret in it, nor a character that is not printed.
type Error struct {
	Field  string // such as "certificate's serial"
	Found  string
	Want   string
	Reason error // one of the reasons of this package, or nil
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: found %s, want %s", e.Field, e.Found, e.Want)
}

func (e *Error) Unwrap() error { return e.Reason }

// shownMax is how much of a stranger's text an error shows, in bytes.
const shownMax = 80

// shown is a stranger's text as an error shows it: quoted, and cut.
func shown(s string) string {
	if len(s) > shownMax {
		return fmt.Sprintf("%q… (%d bytes)", s[:shownMax], len(s))
	}
	return fmt.Sprintf("%q", s)
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
