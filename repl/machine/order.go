package machine

import (
	"errors"
	"fmt"
	"strings"

	"muster/repl/wire"
	"muster/shardmap"
)

// appendTableResult tells what became of a command for the meta group, for whom asked
// for it: a member that announced itself, or someone who gave an order. t is the table
// with the command.
func appendTableResult(out []byte, command []byte, r *shardmap.TableResult, t *shardmap.Table) (wire.Type, []byte) {
	if r.Refused != nil {
		return wire.TypeError, RefusalError(r.Refused).Append(out)
	}
	// The kind decides, and not who asked: the machine of whichever node leads by then
	// answers, and all that it has is the entry.
	if kind := shardmap.TableKindOf(command); kind == shardmap.TableFound || kind == shardmap.TableAnnounce {
		a := wire.AnnounceAnswer{Index: t.Index}
		return wire.TypeAnnounceAnswer, a.Append(out)
	}
	a := wire.OrderAnswer{Index: t.Index}
	return wire.TypeOrderAnswer, a.Append(out)
}

// RefusalError makes the typed refusal of a command that the meta group refused.
func RefusalError(r *shardmap.Refusal) *wire.Error {
	e := &wire.Error{Object: r.Object, Text: "refused, nothing was changed", State: r.Found, Next: r.Next}
	switch r.Kind {
	case shardmap.RefusedAbsent:
		e.Code = wire.CodeNotFound
	case shardmap.RefusedConflict:
		e.Code = wire.CodeConflict
	case shardmap.RefusedLevel:
		e.Code = wire.CodeLevel
	default:
		e.Code = wire.CodeBadRequest
	}
	return e
}

// AdmitOrder returns why an order must not reach the log of the meta group whose table
// is t, or nil: nobody may order such a command, the cluster is below its level, or the
// table as it is now refuses it. What changes before the command is applied is checked
// again then.
func AdmitOrder(command []byte, t *shardmap.Table) *wire.Error {
	row, err := shardmap.TableRow(command)
	if err != nil {
		return OrderError(err)
	}
	if !row.Asked {
		return wire.Unauthorized("command "+row.Name, "only the meta group's leader itself may give it", "give an order that `muster help` names")
	}
	if err := row.Admit(t.Level); err != nil {
		return BelowLevel("command "+row.Name, row.Level, t)
	}
	// The whole of it, hostile bytes too: an entry that can't be read stops its group.
	if _, err := t.Try(command); err != nil {
		return OrderError(err)
	}
	return nil
}

// OrderError makes the typed refusal of an order that shardmap refused.
func OrderError(err error) *wire.Error {
	var refusal *shardmap.Refusal
	switch {
	case errors.As(err, &refusal):
		return RefusalError(refusal)
	case errors.Is(err, shardmap.ErrLevel):
		return &wire.Error{Code: wire.CodeLevel, Object: "order", Text: "refused before the log", State: err.Error(), Next: "start the newer muster on all nodes first"}
	}
	return wire.BadRequest("order", err.Error(), "send a command as the meta group's log has it")
}

// belowNamesMax bounds the nodes that are named as below a level.
const belowNamesMax = 5

// BelowLevel refuses what needs a higher level than the cluster of t is at, and names
// the members that keep it there.
func BelowLevel(object string, needs uint32, t *shardmap.Table) *wire.Error {
	e := wire.OverLevel(object, needs, t.Level)
	var names []string
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.Level < needs {
			names = append(names, n.Name)
		}
	}
	if more := len(names) - belowNamesMax; more > 0 {
		names = append(names[:belowNamesMax], fmt.Sprintf("%d more", more))
	}
	if len(names) > 0 {
		e.Next = "start the newer muster on " + strings.Join(names, ", ") + ", then try again"
	}
	return e
}
