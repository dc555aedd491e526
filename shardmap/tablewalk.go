package shardmap

import (
	"fmt"
	"slices"
)

// TableWalk recomputes the digests of a table, and compares them with those that were taken when
// an entry, or a snapshot, made it. A table never changes, and the one that an entry makes of it has
// the lists that the entry is not about from the one before: their digests stay what they were.
type TableWalk struct {
	m      *TableMachine
	next   Part
	faults []PartFault
}

// tableSums are the digests of a table's parts as of its making. Those of parts that an entry
// is not about are of an earlier one.
type tableSums struct {
	of   *Table // nil: none was made yet
	sums [partsOfTable]uint64
	lost []PartFault // what was found as another table took the place; one for each part at most
}

// note takes the digests of the parts of a new table that do not share memory with the table before.
// It first compares those parts of the earlier table a last time, because an entry copies a wrong
// one along.
func (n *tableSums) note(t *Table, scratch *summer) {
	for p := PartNodes; p < PartNodes+partsOfTable; p++ {
		if n.of != nil && t.shares(n.of, p) {
			continue
		}
		if n.of != nil {
			if f, wrong := n.compare(n.of, p, scratch); wrong && !slices.ContainsFunc(n.lost, func(o PartFault) bool { return o.Part == p }) {
				n.lost = append(n.lost, f)
			}
		}
		n.sums[p-PartNodes], _ = t.digest(p, tableFormats.newest, scratch)
	}
	n.of = t
}

// compare compares a part of the table that the digests are of.
func (n *tableSums) compare(t *Table, p Part, scratch *summer) (f PartFault, wrong bool) {
	sum, _ := t.digest(p, tableFormats.newest, scratch)
	if was := n.sums[p-PartNodes]; sum != was {
		return PartFault{p, fmt.Sprintf("it has digest %016x, it had %016x, and no entry has changed it", sum, was)}, true
	}
	return PartFault{}, false
}

// Faults returns what was found to be wrong as entries changed the table; see [Map.Faults].
func (m *TableMachine) Faults() []PartFault { return m.made.lost }

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
func (w *TableWalk) Faults() []PartFault {
	return slices.Concat(w.m.made.lost, w.faults)
}

// End gives the walk up.
func (w *TableWalk) End() { w.next = PartNodes + partsOfTable }

// part compares one part, and returns what it cost.
func (w *TableWalk) part(p Part) (cost int) {
	if f, wrong := w.m.made.compare(w.m.Table(), p, &w.m.scratch); wrong {
		w.faults = append(w.faults, f)
	}
	return w.m.scratch.bytes
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
	case PartIncidents:
		return sameList(t.Incidents, o.Incidents) && t.IncidentCount == o.IncidentCount
	case PartTrust, PartRules, PartLimits, PartTrails:
		return t.Security.shares(&o.Security, p)
	case PartDatabases:
		return sameList(t.Catalog.Databases, o.Catalog.Databases) && sameList(t.Catalog.Policies, o.Catalog.Policies) && sameList(t.Catalog.Dropped, o.Catalog.Dropped)
	case PartWindows:
		return sameList(t.Catalog.Windows, o.Catalog.Windows)
	}
	return t == o
}

// shares reports the same of a part of the security.
func (s *Security) shares(o *Security, p Part) bool {
	switch p {
	case PartTrust:
		return s.Mode == o.Mode && s.Cluster == o.Cluster && sameList(s.Roots, o.Roots) && sameList(s.Pins, o.Pins) && sameList(s.Denied, o.Denied) && sameList(s.Tokens, o.Tokens)
	case PartRules:
		return s.Rules == o.Rules && sameList(s.Users, o.Users) && sameList(s.Roles, o.Roles)
	case PartLimits:
		return sameList(s.Limits, o.Limits)
	}
	return sameList(s.Trails, o.Trails)
}

func sameList[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }
