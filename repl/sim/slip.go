package sim

import (
	"muster/raft"
	"muster/repl/machine"
	"muster/repl/wire"
	"muster/shardmap"
)

// slip is a mistake that a machine is to make: with one entry it does something else than the
// machines of other replicas.
type slip struct {
	due   *flaw         // that it makes; nil: none
	entry raft.Entry    // that is to have its effect twice; without payload: none yet
	slot  shardmap.Slot // that it is about
}

// skips reports whether the entry at hand is to have no effect.
func (s *slip) skips(w *watched, e raft.Entry, line *truthEntry) bool {
	if s.due == nil || w.odd() || !changes(e, line) {
		return false
	}
	if s.due.kind == FlawTwice {
		s.entry, s.slot = e, line.outcome.slot
		return false
	}
	s.make(w, line.outcome.slot)
	return true
}

// again returns a twin of the entry that has its effect twice, in the place of one that has
// none itself.
func (s *slip) again(w *watched, e raft.Entry) (twin raft.Entry, due bool) {
	if s.due == nil || len(s.entry.Raw) == 0 || e.Kind == raft.EntryTime {
		return twin, false
	}
	var c shardmap.Command
	if err := machine.ReadCommand(s.entry.Payload(), &c); err != nil {
		w.truth.c.fail("%v", err)
	}
	c.Session, c.Sequence, c.Floor = 0, 0, 0 // else it would be known as applied
	twin = machine.NewEntry(wire.Origin{}, wire.AppendWrite(nil, &c))
	twin.ID, twin.Time = e.ID, e.Time
	s.make(w, s.slot)
	return twin, true
}

// make makes the flaw.
func (s *slip) make(w *watched, in shardmap.Slot) {
	f := s.due
	*s = slip{}
	f.part = uint32(in)
	f.begins(w)
}

// changes reports whether an entry, applied now, leaves a slot as it could not be without it,
// however often it was applied before.
func changes(e raft.Entry, line *truthEntry) bool {
	o := &line.outcome
	if o.status != shardmap.StatusApplied || o.id != e.ID || len(o.steps) > 0 || len(o.given) > 0 {
		return false
	}
	var c shardmap.Command
	return machine.ReadCommand(e.Payload(), &c) == nil && c.Kind == shardmap.CommandSet && c.Condition == shardmap.ConditionNone
}
