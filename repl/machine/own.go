package machine

import (
	"fmt"

	"muster/repl/wire"
	"muster/shardmap"
)

// Wants implements [repl.Proposer]: the leader of a group that was never founded
// founds it, with the slots that the table intends for it. If the table intends none,
// the group gets its slots by moves. Once the cluster is at a level that brings
// something to the state of groups, the leader raises its group to it. Then it gives the group the rules
// for versions that the table has, and has it drop the shards of windows that the table has no more.
func (m *Map) Wants() []byte {
	t := m.table()
	if t == nil {
		return nil // the host asks again when it comes
	}
	if o, ok := t.Founding(m.Group, m.incarnation); ok && m.State.Unfounded() {
		return wanted(shardmap.OwnCommand(&o), t.Level)
	}
	if g, ok := t.Group(m.Group); ok && g.Incarnation == m.incarnation && t.Level > m.State.History().Raised() {
		return wanted(shardmap.RaiseCommand(t.Level), t.Level)
	}
	if m.State.History().Raised() < shardmap.RangesLevel {
		return nil
	}
	if rules := rulesOf(t); !rules.Equal(shardmap.VersionRulesOf(m.State)) {
		return wanted(shardmap.VersionsCommand(rules), t.Level)
	}
	if gone := goneWindows(m, t); len(gone) > 0 {
		d := shardmap.DropShards{Windows: gone}
		return wanted(d.Command(), t.Level)
	}
	return nil
}

// wanted is the payload of a command that nobody has sent; nil if a cluster of the level
// does not take it.
func wanted(c shardmap.Command, level uint32) []byte {
	if c.Kind.Row().Admit(level) != nil {
		return nil
	}
	nobody := wire.Origin{}
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
