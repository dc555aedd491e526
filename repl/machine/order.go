package machine

import (
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
