package shardmap

import (
	"bytes"
	"fmt"

	"muster/raft"
)

// AppendTo appends the table to b, as its snapshots have it.
func (t *Table) AppendTo(b []byte) []byte { return t.appendSnapshot(b) }

// ReadTable reads what [Table.AppendTo] wrote, all of b. An error about a table that this
// build does not understand wraps [ErrLevel] or [ErrOlder].
func ReadTable(b []byte) (*Table, error) {
	d := streamReader{r: bytes.NewReader(b)}
	t, err := readTable(&d, Level)
	if err != nil {
		return nil, fmt.Errorf("read the table: at byte %d: %w", d.offset, err)
	}
	return t, nil
}

// Try returns the table as it would be after a command to the meta group, if that were
// its next entry. t stays as it is. A command that would be refused gives the
// [Refusal]; any other error is about the bytes of the command.
func (t *Table) Try(payload []byte) (*Table, error) {
	row, c, err := readTableCommand(payload)
	if err != nil {
		return nil, err
	}
	made, refused := t.with(row, c, raft.LogID{Index: t.Index + 1})
	if refused != nil {
		return nil, refusalOf(row, refused)
	}
	return made, nil
}
