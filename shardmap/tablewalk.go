package shardmap

import "fmt"

// TableWalk recomputes the digests of a table, and compares them with those that the walk before
// found. A table never changes, and the one that an entry makes of it has the lists that the entry
// is not about from the one before: their digests must be the same too.
//
// It finds what memory has lost since the walk that first saw a list. What was lost before, the
// digests of other replicas show.
type TableWalk struct {
	m      *TableMachine
	next   Part
	faults []PartFault
}

// walkedTable is what the last walk found of each part.
type walkedTable [partsOfTable]struct {
	table *Table // nil: none has seen it
	sum   uint64
}

// NewTableWalk returns a walk through the table of m. The goroutine that applies calls each step,
// between two entries.
func NewTableWalk(m *TableMachine) *TableWalk { return &TableWalk{m: m, next: PartNodes} }

// Step compares some more, about as much as lies in so many bytes, and at least one part of the
// table as it is now. It reports whether the walk has come to its end.
func (w *TableWalk) Step(bytes int) (done bool) {
	for bytes > 0 && w.next < PartNodes+partsOfTable {
		bytes -= w.part(w.next)
		w.next++
	}
	return w.next >= PartNodes+partsOfTable
}

// Faults returns what was found so far, one for each part in which something is wrong.
func (w *TableWalk) Faults() []PartFault { return w.faults }

// End gives the walk up.
func (w *TableWalk) End() { w.next = PartNodes + partsOfTable }

// part compares one part, and returns what it cost.
func (w *TableWalk) part(p Part) (cost int) {
	t, seen := w.m.Table(), &w.m.walked[p-PartNodes]
	sum, cost := t.digest(p, tableFormats.newest, &w.m.scratch)
	if seen.table != nil && sum != seen.sum && t.shares(seen.table, p) {
		// What was right stays known: until the table is another, each walk finds this.
		w.faults = append(w.faults, PartFault{p, fmt.Sprintf("it has digest %016x, it had %016x, and no entry has changed it", sum, seen.sum)})
		return cost
	}
	seen.table, seen.sum = t, sum
	return cost
}

// shares reports whether a part of t is the very memory that it is in o.
func (t *Table) shares(o *Table, p Part) bool {
	switch p {
	case PartNodes:
		return sameList(t.Nodes, o.Nodes)
	case PartGroups:
		return sameList(t.Groups, o.Groups)
	case PartSettings:
		return sameList(t.Settings, o.Settings)
	case PartJobs:
		return sameList(t.Jobs, o.Jobs)
	case PartMoves:
		return sameList(t.Moves, o.Moves)
	}
	return t == o
}

func sameList[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }
