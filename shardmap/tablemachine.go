package shardmap

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"muster/raft"
)

// TableMachine builds the meta group's [Table] from its log. One goroutine
// applies; any may ask for the table.
type TableMachine struct {
	level uint32                // that it understands; set once
	table atomic.Pointer[Table] // never nil
	// Of the goroutine that applies.
	applied raft.LogID
	scratch summer
	made    tableSums
}

// NewTableMachine returns the state before any entry.
func NewTableMachine() *TableMachine {
	m := &TableMachine{level: Level}
	t := new(Table)
	m.table.Store(t)
	m.made.note(t, &m.scratch)
	return m
}

// Understand makes m one of a build that understands no more than level. It is
// for tests, as [Map.Understand].
func (m *TableMachine) Understand(level uint32) { m.level = level }

// Table returns the table as of now. It never changes.
func (m *TableMachine) Table() *Table { return m.table.Load() }

// TableResult is the outcome of a command to the meta group.
type TableResult struct {
	Changed bool
	// Refused says why nothing changed, for whom asked; nil where the
	// command took effect, or where it asked for what is so already.
	Refused *Refusal
	Index   uint64 // of the command's entry; the id of a job that it made
}

// Apply carries out the command of the entry id. After an error, which is about
// the bytes of the payload or the order of entries, nothing was changed and the
// group must stop.
func (m *TableMachine) Apply(id raft.LogID, payload []byte) (TableResult, error) {
	if id.Index <= m.applied.Index || id.Term < m.applied.Term {
		return TableResult{}, fmt.Errorf("%w: apply %s after %s", ErrInvariant, id, m.applied)
	}
	row, c, err := readTableCommand(payload)
	if err == nil {
		err = row.understood(m.level)
	}
	if err != nil {
		return TableResult{}, fmt.Errorf("apply %s: %w", id, err)
	}
	t, refused := m.table.Load().with(row, c, id)
	// What the others do from here on, this build could not.
	if err := t.understood(m.level); err != nil {
		return TableResult{}, fmt.Errorf("apply %s: %w", id, err)
	}
	m.applied = id
	if refused != nil {
		return TableResult{Refused: refusalOf(row, refused), Index: id.Index}, nil
	}
	changed := m.table.Swap(t) != t
	if changed {
		m.made.note(t, &m.scratch)
	}
	return TableResult{Changed: changed, Index: id.Index}, nil
}

// understood returns an error if a build that understands no more than level can't
// be a member of the table's cluster.
func (t *Table) understood(level uint32) error {
	if t.Level > level {
		return fmt.Errorf("cluster of level %d: %w; known is %d", t.Level, ErrLevel, level)
	}
	return nil
}

// with returns the table as the command c of row leaves it, or why the command is
// refused; then, and where nothing changes, that is t itself. It leaves t as it is.
func (t *Table) with(row *CommandRow, c tableCommand, id raft.LogID) (*Table, error) {
	if err := takes(t, row); err != nil {
		return t, err
	}
	made, err := c.apply(t, id)
	if err != nil {
		return t, err
	}
	return made, nil
}

// takes refuses a command that the cluster is not at the level for. Who proposes one
// asks [CommandRow.Admit] before; but what a command of a newer level leaves behind
// the table's older format can't hold, so it must not get by.
func takes(t *Table, row *CommandRow) error {
	if row.Level <= 1 || t.Founded() && row.Level <= t.Level {
		return nil
	}
	object := "command " + row.Name
	if !t.Founded() {
		return &Refusal{Kind: RefusedConflict, Object: object, Found: "there is no cluster yet", Next: "start muster serve on all hosts of --join, and wait for `node ready`"}
	}
	return below(t, object, row.Level)
}

// below returns the refusal of what needs a level that the cluster is not at. It names
// the nodes whose binaries are older.
func below(t *Table, object string, needs uint32) error {
	var older []string
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.Level < needs && len(older) < describedMax {
			older = append(older, n.called())
		}
	}
	found := fmt.Sprintf("it needs level %d, the cluster is at level %d", needs, t.Level)
	return &Refusal{Kind: RefusedLevel, Object: object, Found: found, Next: "start the newer muster on " + strings.Join(older, ", ")}
}

// draft is a table that an entry makes of the one before it. Its lists are those of that
// one, which must stay as it is: to change an element takes a list of its own.
type draft struct{ *Table }

// draft returns what the entry id begins with.
func (t *Table) draft(id raft.LogID) draft {
	made := *t
	made.Index = id.Index
	return draft{&made}
}

// editNode returns the line of a node to be changed, in a list of the draft's own.
func (d draft) editNode(i int) *TableNode {
	d.Nodes = slices.Clone(d.Nodes)
	return &d.Nodes[i]
}

// editGroup returns the row of a group, which is in the table, to be changed in a list of
// the draft's own.
func (d draft) editGroup(id raft.GroupID) *TableGroup {
	if id == 0 {
		return &d.Meta
	}
	i, _ := d.group(id)
	d.Groups = slices.Clone(d.Groups)
	return &d.Groups[i]
}

// editJob returns a job to be changed, in a list of the draft's own.
func (d draft) editJob(i int) *Job {
	d.Jobs = slices.Clone(d.Jobs)
	return &d.Jobs[i]
}
