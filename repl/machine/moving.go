package machine

import (
	"fmt"

	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// Deferring implements [repl.Deferrer]: slots are sealed.
func (m *Map) Deferring() bool { return m.State.Sealed() > 0 }

// Decided implements [repl.Deferrer].
func (m *Map) Decided() uint64 { return m.steps + m.Routes.version() }

// DeferCommand implements [repl.Deferrer]. A client's command for a sealed slot waits: it
// would change nothing, and leave no outcome.
func (m *Map) DeferCommand(payload []byte) (late, refused *wire.Error) {
	c := &m.deferred
	if ReadCommand(payload, c) != nil || c.Kind.Row() == nil || c.Kind.Row().Internal {
		return nil, nil
	}
	v, sealed := m.sealed(c.Home())
	if !sealed {
		return nil, nil
	}
	if m.taken(&v) {
		return nil, wire.Moved(v.Slot, m.Group, v.Target, v.Number)
	}
	return m.onItsWay(&v), nil
}

// DeferQuery implements [repl.Deferrer].
func (m *Map) DeferQuery(q repl.Query) (late *wire.Error) {
	switch q := q.(type) {
	case *getQuery:
		for _, k := range q.request.Keys {
			if late := m.deferRead(shardmap.SlotOf(k)); late != nil {
				return late
			}
		}
		if q.afterFormer() {
			return m.deferUnmet(q)
		}
	case *listQuery:
		return m.deferRuns(q.request.Slots)
	case *leasesQuery:
		return m.deferRuns(q.request.Slots)
	case *servicesQuery:
		return m.deferRuns(q.request.Slots)
	case *historyQuery:
		return m.deferRead(shardmap.SlotOf(q.request.Key))
	case *scan:
		return m.deferRuns(q.runs)
	}
	return nil
}

// deferRuns defers a listing while one of its slots is sealed.
func (m *Map) deferRuns(runs []shardmap.SlotRange) (late *wire.Error) {
	if s, is := m.State.OwnsAll(runs); is == shardmap.Sealed {
		return m.deferRead(s)
	}
	return nil
}

// deferRead defers a read of a slot while it is sealed, and it is not known to have been
// taken over.
func (m *Map) deferRead(s shardmap.Slot) (late *wire.Error) {
	v, sealed := m.sealed(s)
	if !sealed || m.taken(&v) {
		return nil
	}
	return m.onItsWay(&v)
}

// deferUnmet defers a local read that is to be as new as a log id of another group, while
// this copy of one of its slots has not come from there at that log id or later. A slot that
// is known to be elsewhere by now is not waited for here: it went there, and not the other way.
func (m *Map) deferUnmet(q *getQuery) (late *wire.Error) {
	for _, k := range q.request.Keys {
		s := shardmap.SlotOf(k)
		if !m.State.Owns(s) && m.elsewhere(s) {
			return nil
		}
		if !m.State.Met(s, q.request.AfterGroup, q.request.After) {
			return wire.Unavailable(fmt.Sprintf("slot %d", s), fmt.Sprintf("this node's copy of it in group %s has not come from %s or later, as far as it knows",
				m.Group, raft.FormatLogID(q.request.AfterGroup, q.request.After)))
		}
	}
	return nil
}

// elsewhere reports whether a slot is known to be of another group, by a log here or else
// by the table.
func (m *Map) elsewhere(s shardmap.Slot) bool {
	if w := m.Routes.of(s); w != 0 {
		return w.group() != m.Group
	}
	t := m.table()
	return t != nil && t.GroupOf(s) != m.Group
}

// sealed returns what is to be said of a slot if it is sealed.
func (m *Map) sealed(s shardmap.Slot) (v shardmap.SlotView, sealed bool) {
	if m.State.Sealed() == 0 {
		return v, false
	}
	v = m.State.View(s)
	return v, v.Holding == shardmap.HoldsSealed
}

// taken reports whether it is known here that the target of a sealed slot has taken it over,
// so that whoever asks for it can be sent there: the target's log says so, or the table,
// which has it from there. If nobody here knows, the entry that drops the slot tells.
func (m *Map) taken(v *shardmap.SlotView) bool {
	if w := m.Routes.of(v.Slot); w.number() >= v.Number {
		return true
	}
	t := m.table()
	return t != nil && knows(t, v.Slot, v.Number) && t.GroupOf(v.Slot) == v.Target
}

// onItsWay is the answer to a caller whose time was over while a slot was sealed.
func (m *Map) onItsWay(v *shardmap.SlotView) *wire.Error {
	return wire.Unavailable(fmt.Sprintf("slot %d", v.Slot), fmt.Sprintf("it is on its way from group %s to group %s, by move %d, and did not arrive in time", m.Group, v.Target, v.Number))
}

// notServed refuses what is asked of a slot that the group does not serve.
func (m *Map) notServed(s shardmap.Slot) *wire.Error {
	if v, sealed := m.sealed(s); sealed {
		if m.taken(&v) {
			return wire.Moved(s, m.Group, v.Target, v.Number)
		}
		return m.onItsWay(&v)
	}
	if m.beforeFounding() {
		return m.notFounded()
	}
	if w := m.Routes.of(s); w != 0 && w.group() != m.Group {
		return wire.Moved(s, m.Group, w.group(), w.number())
	}
	if t := m.table(); t != nil && t.GroupOf(s) != m.Group {
		return wire.Moved(s, m.Group, t.GroupOf(s), 0)
	}
	return wire.Moved(s, m.Group, 0, 0)
}

// leaving returns which slots a command drops, and where they went: a group that has
// dropped a slot does not know that any more.
func (m *Map) leaving(c *shardmap.Command) (slots []shardmap.SlotView) {
	steps, err := shardmap.ReadSteps(c)
	if err != nil {
		return nil // Apply complains of it
	}
	for i := range steps {
		if v := m.State.View(steps[i].Slot); v.Holding == shardmap.HoldsSealed && v.Number == steps[i].Number {
			slots = append(slots, v)
		}
	}
	return slots
}

// step carries out a command that moves slots.
func (m *Map) step(e raft.Entry, c *shardmap.Command, answer bool, out []byte) (wire.Type, []byte, error) {
	var left []shardmap.SlotView
	if c.Kind == shardmap.CommandDrop {
		left = m.leaving(c)
	}
	if _, err := m.State.Apply(e.ID, e.Time, c); err != nil {
		return 0, out, err
	}
	results := m.State.StepResults()
	switch c.Kind {
	case shardmap.CommandChunk:
		// Nobody waits for one.
	case shardmap.CommandTakeover:
		for i := range results {
			m.Routes.Learn(&results[i].View, m.Group)
		}
		m.steps++
	default:
		for i := range left {
			m.Routes.Took(left[i].Slot, left[i].Number, left[i].Target)
		}
		m.steps++
	}
	if !answer {
		return 0, out, nil
	}
	a := wire.StepAnswer{Group: m.Group, ID: e.ID, Results: results}
	return wire.TypeStepAnswer, a.Append(out), nil
}
