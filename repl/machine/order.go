package machine

import (
	"errors"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// appendTableResult tells what became of a command for the meta group, whose entry is id, for
// whom asked for it: a member that announced itself or sends a step of a move, or someone
// who gave an order. t is the table with the command.
func appendTableResult(out []byte, id raft.LogID, command []byte, r *shardmap.TableResult, t *shardmap.Table) (wire.Type, []byte) {
	if r.Refused != nil {
		return wire.TypeError, RefusalError(r.Refused).Append(out)
	}
	// The kind decides, and not who asked: the machine of whichever node leads by then
	// answers, and all that it has is the entry.
	kind := shardmap.TableKindOf(command)
	if kind == shardmap.TableFound || kind == shardmap.TableAnnounce {
		a := wire.AnnounceAnswer{Index: t.Index}
		return wire.TypeAnnounceAnswer, a.Append(out)
	}
	if metaStep(kind) {
		a := wire.StepAnswer{ID: id}
		return wire.TypeStepAnswer, a.Append(out)
	}
	a := wire.OrderAnswer{Index: t.Index}
	if kind == shardmap.TableJob && r.Changed {
		a.Job = r.Index
	}
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
	// The whole of it, hostile bytes too: an entry that can't be read stops its group.
	what, asked, err := shardmap.Asked(command)
	if err != nil {
		return OrderError(err)
	}
	if !asked {
		return wire.Unauthorized("command "+what, "only the meta group's leader itself may give it", "give an order that docs/protocol.md names")
	}
	if _, err := t.Try(command); err != nil {
		return OrderError(err)
	}
	return nil
}

// OrderError makes the typed refusal of an order that shardmap refused.
func OrderError(err error) *wire.Error {
	var refusal *shardmap.Refusal
	var typed *wire.Error
	switch {
	case errors.As(err, &typed):
		return typed
	case errors.As(err, &refusal):
		return RefusalError(refusal)
	case errors.Is(err, shardmap.ErrLevel):
		return &wire.Error{Code: wire.CodeLevel, Object: "order", Text: "refused before the log", State: err.Error(), Next: "start the newer muster on all nodes first"}
	}
	return wire.BadRequest("order", err.Error(), "send a command as the meta group's log has it")
}
