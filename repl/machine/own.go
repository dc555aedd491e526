package machine

import (
	"fmt"

	"muster/repl/wire"
	"muster/shardmap"
)

// Wants implements [repl.Proposer]: the leader of a group that was never founded
// founds it, with the slots that the table intends for it. If the table intends none,
// the group gets its slots by moves, and wants nothing.
func (m *Map) Wants() []byte {
	if !m.State.Unfounded() {
		return nil
	}
	t := m.table()
	if t == nil {
		return nil // the host asks again when it comes
	}
	o, ok := t.Founding(m.Group, m.incarnation)
	if !ok || shardmap.CommandOwn.Row().Admit(t.Level) != nil {
		return nil
	}
	c, nobody := shardmap.OwnCommand(&o), wire.Origin{}
	return wire.AppendWrite(nobody.Append(nil), &c)
}

// beforeFounding reports whether the group is still to be founded. Then nobody can
// say yet whose a slot is, nor that a key is not there: that passes.
func (m *Map) beforeFounding() bool {
	if !m.State.Unfounded() {
		return false
	}
	t := m.table()
	if t == nil {
		return true
	}
	g, ok := t.Group(m.Group)
	return !ok || len(g.FirstSlots) > 0
}

func (m *Map) notFounded() *wire.Error {
	return wire.NotReady(fmt.Sprintf("group %d", m.Group), "its log does not say yet which slots it owns", "try again", wire.BusyRetry)
}

// seed is a planted bug: the group owns what the table says on the day when the entry
// is applied.
func (m *Map) seed(c *shardmap.Command) {
	if c.Kind != shardmap.CommandOwn {
		return
	}
	o, err := shardmap.ReadOwn(c)
	t := m.table()
	if err != nil || t == nil || len(t.SlotsOf(m.Group)) == 0 {
		return
	}
	o.Slots = shardmap.SlotRanges(t.SlotsOf(m.Group))
	*c = shardmap.OwnCommand(&o)
}
