// Package machine lets the log of a group drive its state.
//
// It knows how a command stands in an entry, how a client asks for one or for
// what is there, and how a result is told on the wire; what a command does is
// shardmap's affair, connections are its owner's. It has one machine for the
// groups that hold keys, one for the meta group, and one core for the requests
// of a client ([Requests]).
package machine

import (
	"fmt"
	"io"

	"muster/logstore"
	"muster/raft"
	"muster/repl"
	"muster/repl/wire"
	"muster/shardmap"
)

// expectItemsMax bounds the items of a command that is read ahead: the slices
// that hold them are kept, many in each of many groups.
const expectItemsMax = 64

// Map is the state machine of a data group: a shard map, and how its results
// are told on the wire.
type Map struct {
	Group raft.GroupID
	State *shardmap.Map

	incarnation raft.Incarnation
	table       func() *shardmap.Table

	// Routes, if not nil, learn from the log which slots are here now, and which went
	// elsewhere. All groups of a node share them. Set before the first entry.
	Routes *Routes

	// Watched, if not nil, tells those who watch the group what was applied. Set before the
	// first entry.
	Watched *WatchedGroup

	// Heartbeats, if not nil, takes the report of an instance of a service, in a group that is
	// led here. The goroutine that applies calls it. It does not block, and calls answer once,
	// later, with nil if the report was taken. Set before the first entry.
	Heartbeats func(said *wire.Heartbeat, answer func(*wire.Error))

	// Checkers, if not nil, finds out which nodes run the checks of a service. The goroutine that
	// applies calls it. If the group is led here it calls answer once, later, and reports true; if
	// not it reports false. It does not block. Set before the first entry.
	Checkers func(name string, answer func([]wire.ServiceChecker)) bool

	// ServicesChanged, if not nil, is called after a run of entries by which the record of a
	// service has changed, come or gone. It must cost next to nothing. Set before the first
	// entry.
	ServicesChanged func()

	// Points is what the node does with the points of the group. Set before the first entry.
	Points PointsOwner

	// Limits keeps the group within the limits of the table.
	Limits

	// Value is scratch for who reads values between two entries.
	Value []byte

	rows []shardmap.DigestRow // scratch
	slip slip

	command    shardmap.Command // scratch
	deferred   shardmap.Command // scratch, of commands that are not applied
	shards     uint64           // the changes of shards of which Points was told
	steps      uint64           // grows with each entry that moves slots, but for chunks
	services   uint64           // the changes of services of which ServicesChanged was told
	shardsMade uint64           // shards that had been made behind the last run of entries

	// What is expected: read already, and brought into the cache.
	expected [shardmap.WarmMax]raft.LogID // of commands
	commands [shardmap.WarmMax]shardmap.Command
	next     int // what is before has come
	end      int // of commands
	warmth   uint64
	keys     [shardmap.WarmMax][]byte // scratch, of reads
}

// NewMap returns the machine of a replica before its first entry: it owns nothing.
// table returns the table as the node has it at the time, nil if it has none. No
// entry's effect depends on it: a leader's machine asks it what to propose, and
// an entry says the same on every replica, whenever it is applied.
func NewMap(r logstore.Replica, table func() *shardmap.Table) *Map {
	m := &Map{Group: r.Group, State: shardmap.NewMap(r.Group), incarnation: r.Incarnation, table: table}
	m.Limits.of = m
	return m
}

// Apply implements [repl.StateMachine].
func (m *Map) Apply(e raft.Entry, answer bool, out []byte) (wire.Type, []byte, error) {
	if m.slip.skips(e) {
		return wire.TypeError, wire.Busy("entry", "it was skipped", wire.BusyRetry).Append(out), m.State.Skip(e.ID, e.Time)
	}
	command := &m.command
	if m.next < m.end && m.expected[m.next] == e.ID {
		command = &m.commands[m.next]
		m.next++
	} else if err := ReadCommand(e.Payload(), command); err != nil {
		return 0, out, err
	}
	if bug("replay seeded from today's table") {
		m.seed(command)
	}
	if bug(bugRulesOfTable) && command.Kind == shardmap.CommandVersions && m.table() != nil {
		*command = shardmap.VersionsCommand(rulesOf(m.table()))
	}
	if command.Kind.Moves() {
		return m.step(e, command, answer, out)
	}
	r, err := m.State.Apply(e.ID, e.Time, command)
	if err != nil {
		return 0, out, err
	}
	if !answer {
		return 0, out, nil
	}
	if r.Status == shardmap.StatusNotOwned || r.Status == shardmap.StatusSealed {
		return wire.TypeError, m.notServed(command.Home()).Append(out), nil
	}
	if detailed(command, r.Status) {
		return appendDetailed(out, command, &r)
	}
	t, out := appendResult(out, m.Group, command, r)
	return t, out, nil
}

// NewEntry makes the entry of a command with its origin: the body of a Write, or a
// command to the meta group. It copies the command.
func NewEntry(o wire.Origin, command []byte) raft.Entry {
	raw := make([]byte, raft.EntryHeaderSize, raft.EntryHeaderSize+wire.OriginSizeMax+len(command))
	return raft.Entry{Kind: raft.EntryNormal, Raw: append(o.Append(raw), command...)}
}

// ReadCommand reads the payload of an entry of kind normal of a data group. The
// items of the command alias it, as with [shardmap.ReadCommand].
func ReadCommand(payload []byte, c *shardmap.Command) error {
	o, body, err := wire.CommandOf(payload)
	if err != nil {
		return fmt.Errorf("command: %w", err)
	}
	command, err := wire.CheckWrite(body)
	if err != nil {
		return fmt.Errorf("command: %w", err)
	}
	if err := shardmap.ReadCommand(command, c); err != nil {
		return fmt.Errorf("command: %w", err)
	}
	c.Principal, c.Admitted, c.Limits = o.Principal, o.Time, o.Limits
	return nil
}

// ExpectMax implements [repl.Expecter].
func (m *Map) ExpectMax() int { return shardmap.WarmMax }

// Expect implements [repl.Expecter]. What can't be read is left for Apply to
// complain of.
func (m *Map) Expect(entries []raft.Entry) {
	m.next, m.end = 0, 0
	for _, e := range entries[:min(len(entries), shardmap.WarmMax)] {
		if e.Kind != raft.EntryNormal {
			continue
		}
		c := &m.commands[m.end]
		if ReadCommand(e.Payload(), c) != nil {
			break
		}
		if len(c.Items) > expectItemsMax {
			c.Items = nil
			break
		}
		m.expected[m.end] = e.ID
		m.end++
	}
	m.warmth += m.State.Warm(m.commands[:m.end])
}

// ExpectReads implements [repl.Expecter].
func (m *Map) ExpectReads(reads []repl.Read) {
	keys := m.keys[:0]
	for i := range reads[:min(len(reads), shardmap.WarmMax)] {
		if q, ok := reads[i].Query.(*getQuery); ok {
			keys = append(keys, q.firstKey())
		}
	}
	m.warmth += m.State.WarmKeys(keys)
	clear(keys) // they are their queries'
}

// Thrifty implements [repl.Thrifty]: some commands free room, once the log is
// compacted.
func (m *Map) Thrifty(payload []byte) bool {
	var c shardmap.Command
	return ReadCommand(payload, &c) == nil && c.Frees()
}

// Skip implements [repl.StateMachine].
func (m *Map) Skip(e raft.Entry) error {
	if twin, due := m.slip.again(e); due {
		_, _, err := m.Apply(twin, false, nil)
		return err
	}
	if e.Kind == raft.EntryTime {
		return m.State.Expire(e.ID, e.Time)
	}
	return m.State.Skip(e.ID, e.Time)
}

// NextDue implements [repl.Expirer]: sessions are forgotten.
func (m *Map) NextDue() (at raft.GroupTime, waits bool) { return m.State.NextDue() }

// Copy implements [repl.StateMachine].
func (m *Map) Copy() repl.StateCopy { return m.State.CopyAll() }

// Restore implements [repl.StateMachine].
func (m *Map) Restore(r io.Reader, at raft.LogID, t raft.GroupTime) error {
	err := m.State.Load(r, at, t)
	if err == nil && m.Points.Listed != nil {
		m.Points.Listed(at, m.BlockFiles())
	}
	return err
}

// Restored implements [repl.StateMachine].
func (m *Map) Restored() { m.Watched.has(m.State.History()) }

// Ran implements [repl.Observed].
func (m *Map) Ran() (wants bool) {
	if m.leader.Charged() {
		m.leader.Applied(m.State.Applied().Index)
	}
	m.Watched.applied()
	if n := m.State.ServiceChanges(); n != m.services {
		m.services = n
		if m.ServicesChanged != nil {
			m.ServicesChanged()
		}
	}
	if n := m.State.ShardChanges(); n != m.shards {
		m.shards = n
		if m.Points.Changed != nil {
			m.Points.Changed()
		}
	}
	// Points may have been on their way while the table lost their window: the shard that they make is to go.
	made := m.State.ShardsMade()
	wants, m.shardsMade = made != m.shardsMade, made
	return wants
}

// Incarnation is that of the group's replica.
func (m *Map) Incarnation() raft.Incarnation { return m.incarnation }

// Led implements [repl.Led].
func (m *Map) Led(leader raft.ReplicaID) { m.Watched.led(leader) }

// Gone implements [repl.Observed].
func (m *Map) Gone() { m.Watched.has(nil) }

// appendResult tells what became of a command that group g was asked for.
func appendResult(out []byte, g raft.GroupID, c *shardmap.Command, r shardmap.Result) (wire.Type, []byte) {
	switch r.Status {
	case shardmap.StatusApplied:
		a := wire.WriteAnswer{Group: r.Group, ID: r.ID, Version: r.Version, Deleted: uint64(r.Deleted)}
		return wire.TypeWriteAnswer, a.Append(out)
	case shardmap.StatusConflict:
		return wire.TypeError, conflict(c, r).Append(out)
	case shardmap.StatusStale:
		return wire.TypeError, wire.StaleSession(fmt.Sprintf("session %016x", c.Session),
			fmt.Sprintf("sequence %d was answered before, or is too old to tell", c.Sequence)).Append(out)
	}
	if e := serviceRefused(c, r.Status); e != nil {
		return wire.TypeError, e.Append(out)
	}
	if r.Status == shardmap.StatusGroupTooManySessions {
		return wire.TypeError, wire.Busy(fmt.Sprintf("group %d", g),
			fmt.Sprintf("it remembers as many sessions or outcomes as it can, %d and %d", shardmap.GroupSessionsMax, shardmap.GroupOutcomesMax), wire.BusyRetry).Append(out)
	}
	return wire.TypeError, wire.Busy(fmt.Sprintf("slot %d", c.Slot),
		fmt.Sprintf("the slot remembers as many sessions or outcomes as it can (%s)", r.Status), wire.BusyRetry).Append(out)
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

// Meta is the state machine of group 0: the table of nodes, groups and slots.
type Meta struct {
	Table *shardmap.TableMachine

	changed func(*shardmap.Table)
	slip    slip
	mute    bool // nobody is told
}

// NewMeta returns the machine of group 0 before its first entry. changed is
// told each new table, in order, before anyone is answered.
func NewMeta(changed func(*shardmap.Table)) *Meta {
	return &Meta{Table: shardmap.NewTableMachine(), changed: changed}
}

// Apply implements [repl.StateMachine].
func (m *Meta) Apply(e raft.Entry, answer bool, out []byte) (wire.Type, []byte, error) {
	if m.slip.skips(e) {
		return wire.TypeError, wire.Busy("entry", "it was skipped", wire.BusyRetry).Append(out), nil
	}
	_, command, err := wire.ReadOrigin(e.Payload())
	if err != nil {
		return 0, out, fmt.Errorf("command: %w", err)
	}
	r, err := m.Table.Apply(e.ID, command)
	if err != nil {
		return 0, out, err
	}
	if r.Changed && !m.mute {
		m.changed(m.Table.Table())
	}
	if !answer {
		return 0, out, nil
	}
	t, out := appendTableResult(out, e.ID, command, &r, m.Table.Table())
	return t, out, nil
}

// Thrifty implements [repl.Thrifty]: what the meta group decides is small, and
// what gets a cluster out of trouble goes through it.
func (m *Meta) Thrifty(payload []byte) bool {
	_, command, err := wire.ReadOrigin(payload)
	if err != nil {
		return false
	}
	row, err := shardmap.TableRow(command)
	return err == nil && row.Frees
}

// Skip implements [repl.StateMachine].
func (m *Meta) Skip(e raft.Entry) error {
	if twin, due := m.slip.again(e); due {
		_, _, err := m.Apply(twin, false, nil)
		return err
	}
	return nil
}

// Copy implements [repl.StateMachine].
func (m *Meta) Copy() repl.StateCopy { return m.Table.Copy() }

// Restore implements [repl.StateMachine].
func (m *Meta) Restore(r io.Reader, at raft.LogID, _ raft.GroupTime) error {
	return m.Table.Load(r, at)
}

// Restored implements [repl.StateMachine].
func (m *Meta) Restored() { m.changed(m.Table.Table()) }
