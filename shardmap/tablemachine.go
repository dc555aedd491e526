package shardmap

import (
	"sync/atomic"

	"muster/raft"
)

// TableMachine builds the meta group's [Table] from its log.
type TableMachine struct {
	applied raft.LogID            // owned by the goroutine that applies
	table   atomic.Pointer[Table] // never nil
}

// NewTableMachine returns the state before any entry.
func NewTableMachine() *TableMachine {
	m := &TableMachine{}
	m.table.Store(&Table{})
	return m
}

// Table returns the table as of now. It never changes.
func (m *TableMachine) Table() *Table { return m.table.Load() }

// TableResult is the outcome of a command to the meta group.
type TableResult struct {
	Changed bool
	// Refused says why nothing changed, for whom asked; empty where the
	// command took effect, or where it asked for what is so already.
	Refused string
}

// Apply carries out the command of the entry id.
func (m *TableMachine) Apply(id raft.LogID, payload []byte) (TableResult, error) {
	return TableResult{}, nil
}
