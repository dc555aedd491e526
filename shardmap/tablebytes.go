package shardmap

import (
	"bytes"
	"fmt"
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
