package shardmap

import (
	"errors"
	"fmt"
)

// RefusalKind says what kind of thing was wrong with a refused command.
type RefusalKind uint8

const (
	RefusedRequest  RefusalKind = 1 // it has no meaning, or is out of limits
	RefusedAbsent   RefusalKind = 2 // what it is about does not exist
	RefusedConflict RefusalKind = 3 // what is there stands against it
	RefusedLevel    RefusalKind = 4 // a member is below the cluster's level, or would be
)

// Refusal is why a command to the meta group changed nothing: in parts, so that none
// is forgotten. It is an error, and the answer to whoever asked for the command.
type Refusal struct {
	Kind   RefusalKind
	Object string // what the command is about: "node n3"
	Found  string // what was found there
	Next   string // what to do, with the next command where there is one
}

// Error is one line.
func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s; %s", r.Object, r.Found, r.Next) }

// refusalOf returns err, why the command of row was refused, in parts.
func refusalOf(row *CommandRow, err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return &Refusal{Kind: RefusedRequest, Object: "command " + row.Name, Found: err.Error(),
		Next: "see `muster node list` for what the cluster knows"}
}
