package node

import (
	"fmt"

	"muster/raft"
	"muster/repl/wire"
	"muster/shardmap"
)

// mapMachine is the state machine of a data group: a shard map, and how its
// results are told on the wire.
type mapMachine struct {
	group   raft.GroupID
	state   *shardmap.Map
	command shardmap.Command // scratch
	value   []byte           // scratch
}

// Apply implements [repl.StateMachine].
func (m *mapMachine) Apply(e raft.Entry, answer bool, out []byte) (wire.Type, []byte, error) {
	command, err := wire.CheckWrite(e.Payload())
	if err != nil {
		return 0, out, fmt.Errorf("command: %w", err)
	}
	if err := shardmap.ReadCommand(command, &m.command); err != nil {
		return 0, out, fmt.Errorf("command: %w", err)
	}
	r, err := m.state.Apply(e.ID, e.Time, &m.command)
	if err != nil {
		return 0, out, err
	}
	if !answer {
		return 0, out, nil
	}
	t, out := appendResult(out, m.group, &m.command, r)
	return t, out, nil
}

// Skip implements [repl.StateMachine].
func (m *mapMachine) Skip(e raft.Entry) error { return m.state.Skip(e.ID, e.Time) }

// appendResult tells what became of a command.
func appendResult(out []byte, g raft.GroupID, c *shardmap.Command, r shardmap.Result) (wire.Type, []byte) {
	switch r.Status {
	case shardmap.StatusApplied:
		a := wire.WriteAnswer{Group: g, ID: r.ID, Version: r.Version, Deleted: uint64(r.Deleted)}
		return wire.TypeWriteAnswer, a.Append(out)
	case shardmap.StatusConflict:
		return wire.TypeError, conflict(c, r).Append(out)
	case shardmap.StatusNotOwned:
		return wire.TypeError, wire.Moved(c.Home(), 0, 0).Append(out)
	case shardmap.StatusStale:
		return wire.TypeError, wire.StaleSession(fmt.Sprintf("session %016x", c.Session),
			fmt.Sprintf("sequence %d was answered before, or is too old to tell", c.Sequence)).Append(out)
	}
	return wire.TypeError, wire.Busy(fmt.Sprintf("slot %d", c.Slot),
		fmt.Sprintf("the slot remembers as many sessions or outcomes as it can (%s)", r.Status), busyRetry).Append(out)
}

func conflict(c *shardmap.Command, r shardmap.Result) *wire.Error {
	key := "key"
	if len(c.Items) > 0 {
		key = fmt.Sprintf("key %q", c.Items[0])
	}
	if r.Current == 0 {
		return wire.Conflict(key, fmt.Sprintf("it is absent, the condition wants version %d", c.Version))
	}
	if c.Condition == shardmap.ConditionAbsent {
		return wire.Conflict(key, fmt.Sprintf("it exists, at version %d, the condition wants it absent", r.Current))
	}
	return wire.Conflict(key, fmt.Sprintf("it is at version %d, the condition wants version %d", r.Current, c.Version))
}

// metaMachine is the state machine of group 0: the table of nodes, groups and
// slots.
type metaMachine struct {
	table *shardmap.TableMachine
	// changed is told each new table, in order, before anyone is answered.
	changed func(*shardmap.Table)
}

// Apply implements [repl.StateMachine].
func (m *metaMachine) Apply(e raft.Entry, answer bool, out []byte) (wire.Type, []byte, error) {
	r, err := m.table.Apply(e.ID, e.Payload())
	if err != nil {
		return 0, out, err
	}
	if r.Changed {
		m.changed(m.table.Table())
	}
	if !answer {
		return 0, out, nil
	}
	if r.Refused != "" {
		return wire.TypeError, wire.BadRequest("announcement", r.Refused, "see `muster node list` for what the cluster knows").Append(out), nil
	}
	a := wire.AnnounceAnswer{Epoch: m.table.Table().Epoch}
	return wire.TypeAnnounceAnswer, a.Append(out), nil
}

// Skip implements [repl.StateMachine].
func (m *metaMachine) Skip(raft.Entry) error { return nil }
