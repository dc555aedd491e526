package sim

import (
	"hash/crc32"

	"muster/raft"
	"muster/repl/machine"
	"muster/shardmap"
)

// compareTable checks I10 for group 0, after each entry that may have changed the table.
func (t *truth) compareTable(w *watched, e raft.Entry) {
	sum := w.tableSum()
	if was := &t.digests[e.ID.Index-1]; *was == 0 {
		*was = sum
	} else if *was != sum {
		t.c.fail("I10: after %s of group 0 the table has checksum %08x on n%d, %08x elsewhere", e.ID, sum, w.node.index, *was)
	}
}

// table returns the table of a replica of group 0; nil: it is of another group.
func (w *watched) table() *shardmap.Table {
	if w.state != nil {
		return nil
	}
	return w.inner.(*machine.Meta).Table.Table()
}

// tableSum is the checksum of the table as a snapshot has it, and not 0.
func (w *watched) tableSum() uint64 {
	t := w.inner.(*machine.Meta).Table.Table()
	if w.summed.table == t && !w.odd() { // a table never changes
		return w.summed.sum
	}
	sum := crc32.NewIEEE()
	if _, err := w.inner.Copy().WriteTo(sum); err != nil {
		w.truth.c.fail("n%d can't write its table: %v", w.node.index, err)
	}
	w.summed = summedTable{t, uint64(sum.Sum32()) + 1}
	return w.summed.sum
}

// summedTable is the checksum of a table.
type summedTable struct {
	table *shardmap.Table
	sum   uint64
}

// isTable reports whether a replica of group 0 has the table that others had after the last
// entry that may have changed it.
func (t *truth) isTable(w *watched, at raft.LogID) bool {
	for i := at.Index; i > 0; i-- {
		if t.entries[i-1].kind == raft.EntryNormal {
			return t.digests[i-1] == w.tableSum()
		}
	}
	return true
}
