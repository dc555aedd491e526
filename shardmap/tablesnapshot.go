package shardmap

import (
	"io"

	"muster/raft"
)

// TableCopy is the table as it was at one entry.
type TableCopy struct{ table *Table }

// Copy returns the table as it is now. It costs nothing: a table never changes.
func (m *TableMachine) Copy() *TableCopy { return &TableCopy{m.Table()} }

// Release does nothing.
func (c *TableCopy) Release() {}

// WriteTo writes the table to w.
func (c *TableCopy) WriteTo(io.Writer) (int64, error) { return 0, errToCome }

// Load makes the table the one that a [TableCopy] wrote, as it stood at the
// entry at. After an error it is as it was.
func (m *TableMachine) Load(r io.Reader, at raft.LogID) error { return errToCome }
